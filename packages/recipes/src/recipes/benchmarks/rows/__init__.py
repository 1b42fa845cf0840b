"""Layouts of benchmarks' files: what their rows hold, before questions are made of them."""

from recipes.benchmarks.rows.file_rows import FolderRows, PairRows
from recipes.benchmarks.rows.joined_rows import JoinedRows, PartRows
from recipes.benchmarks.rows.json_rows import JsonRows
from recipes.benchmarks.rows.llava_textvqa_rows import LlavaTextVqaRows
from recipes.benchmarks.rows.mme_rows import MmeRows
from recipes.benchmarks.rows.parquet_rows import ParquetRows
from recipes.benchmarks.rows.refcoco_rows import ExplodedRows, RefCocoRows
from recipes.benchmarks.rows.row import NoFileError, Row, Rows
from recipes.benchmarks.rows.table_rows import TableRows

__all__ = [
    "ExplodedRows",
    "FolderRows",
    "JoinedRows",
    "JsonRows",
    "LlavaTextVqaRows",
    "MmeRows",
    "NoFileError",
    "PairRows",
    "ParquetRows",
    "PartRows",
    "RefCocoRows",
    "Row",
    "Rows",
    "TableRows",
]
