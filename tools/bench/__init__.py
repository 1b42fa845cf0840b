"""Benchmarks: ratios between two implementations, measured side by side in one run."""
