"""Benchmarks as tables: which files, which prompt, which answers, which metric."""
