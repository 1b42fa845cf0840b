"""Benchmarks as tables: which files, which prompt, which answers, which metric."""

from pathlib import Path

TABLE = Path(__file__).parent / "table"
"""Folder of the benchmarks that come with the package."""
