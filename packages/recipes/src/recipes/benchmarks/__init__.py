"""Benchmarks as tables: which files, which prompt, which answers, which metric."""

from recipes.benchmarks.benchmark import Benchmark, Prompt
from recipes.benchmarks.conversations import ConversationRecords
from recipes.benchmarks.item import Item
from recipes.benchmarks.pages import PageRecords
from recipes.benchmarks.records import Records
from recipes.benchmarks.regions import RegionRecords
from recipes.benchmarks.row_records import FirstThatIsThere, RowRecords
from recipes.benchmarks.submission import Submission

__all__ = [
    "Benchmark",
    "ConversationRecords",
    "FirstThatIsThere",
    "Item",
    "PageRecords",
    "Prompt",
    "Records",
    "RegionRecords",
    "RowRecords",
    "Submission",
]
