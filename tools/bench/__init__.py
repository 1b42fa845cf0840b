"""Benchmarks: ratios of two ways, measured side by side in one run."""
