"""Rows of Arrow tables, as Parquet files and saved data sets hold them, as records."""

import re
from collections.abc import Callable
from typing import Any

from recipes.reading.keys import refuse_meant_keys

PICTURES = ("image", "images")
KNOWN = ("id", *PICTURES, "conversations", "messages", "caption", "text", "system")
QUESTIONS, ANSWERS = ("question", "query"), ("answer", "answers", "label", "labels")
EMBEDDED = re.compile(r"embedded:([0-9]{1,18})/([^/]{1,100})/([0-9]{1,9})")

Columns = Callable[[Any], list[str]]
"""Chooses the columns that are read, by the schema of the table (a `pyarrow.Schema`)."""


def columns_to_read(schema: Any, *, questions: bool = False) -> list[str]:
    """The columns that records are made of; the others are never read.

    Args:
        schema: of the table (a `pyarrow.Schema`).
        questions: whether the records are questions, under `question`.

    Raises:
        ValueError: naming the column, if one has a type that cannot be used, is there twice or cannot be read although
            its name looks like it is meant; for questions and answers in columns of their own, unless questions are
            wanted.
    """
    known = (*KNOWN, "question") if questions else KNOWN
    wanted = [name for name in schema.names if name in known]
    if double := [name for name in wanted if schema.names.count(name) > 1]:
        raise ValueError(f"there are several columns {double[0]!r}: rename or leave out all but one")
    if not questions:
        _refuse_questions(schema.names)
    for name in wanted:
        kind = schema.field(name).type
        if name in PICTURES and not _holds_pictures(kind):
            raise ValueError(
                f"the column {name!r} holds {kind}; expected are encoded pictures: bytes, a struct of bytes "
                "and path, or the name of a file, or a list of these"
            )
        if name not in PICTURES and not _is_plain(kind):
            raise ValueError(
                f"the column {name!r} holds {kind}; expected are texts, numbers, lists and structs of them"
                ", and pictures only under 'image' or 'images'"
            )
    for position, name in enumerate(schema.names):
        if name not in known:
            try:
                refuse_meant_keys(dict.fromkeys([*wanted, name], True), known, "columns")
            except ValueError:
                if not _is_plain(schema.field(position).type):
                    raise
                wanted.append(name)  # refused for the rows in which it is not empty
    return wanted


def usable_columns(schema: Any) -> list[str]:
    """All columns that hold pictures, or texts, numbers, lists and structs of them; the others are never read.

    Raises:
        ValueError: naming the column, if it is there twice.
    """
    wanted = [field.name for field in schema if _holds_bytes(field.type) or _is_plain(field.type)]
    if double := [name for name in wanted if schema.names.count(name) > 1]:
        raise ValueError(f"there are several columns {double[0]!r}: rename or leave out all but one")
    return wanted


def record_of(batch: Any, position: int, number: int) -> dict[str, Any]:
    """A row as a record; embedded pictures are replaced by names, which `embedded_picture` understands.

    Nulls are left out, also inside of structs: a table cannot tell them from keys that are not there.

    Args:
        batch: rows of the columns to be read (a `pyarrow.RecordBatch`).
        position: of the row in the batch.
        number: of the record; it becomes a part of the names.

    Raises:
        ValueError: if a text is not UTF-8, or looks like such a name.
    """
    record = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        value, pictures = column[position].as_py(), name in PICTURES or _holds_bytes(column.type)
        if pictures and isinstance(value, list):
            value = [_name(each, f"{number}/{name}/{place}") for place, each in enumerate(value)]
        elif pictures:
            value = _name(value, f"{number}/{name}/0")
        else:
            value = _without_nulls(value)
        if value is not None:
            record[name] = value
    return record


def embedded_number(name: str) -> int | None:
    """The number of the record that a picture is embedded in; None if this is the name of a file."""
    found = EMBEDDED.fullmatch(name)
    return int(found[1]) if found else None


def embedded_picture(batch: Any, position: int, name: str) -> bytes:
    """The bytes of an embedded picture.

    Args:
        batch: rows (a `pyarrow.RecordBatch`).
        position: of the row in the batch.
        name: from `record_of`.

    Raises:
        ValueError: if there is no such picture.
    """
    found = EMBEDDED.fullmatch(name)
    assert found is not None
    column, place = found[2], int(found[3])
    value = batch.column(column)[position].as_py() if column in batch.schema.names else None
    pictures = value if isinstance(value, list) else [value]
    picture = pictures[place] if place < len(pictures) else None
    content = picture["bytes"] if isinstance(picture, dict) else picture
    if not isinstance(content, bytes):
        raise ValueError(f"no bytes of a picture are in column {column!r}")
    return content


def _refuse_questions(names: list[str]) -> None:
    """Data sets of questions often have a column for each part; which of several answers to learn, only users know."""
    question, answer = (next((name for name in some if name in names), None) for some in (QUESTIONS, ANSWERS))
    if question and answer and not set(names) & {"conversations", "messages", "caption", "text"}:
        raise ValueError(
            f"{question!r} and {answer!r} are no conversation. Make them a column 'messages':\n"
            f"  rows.map(lambda row: {{'messages': [{{'role': 'user', 'content': row[{question!r}]}},\n"
            f"                                      {{'role': 'assistant', 'content': row[{answer!r}]}}]}})"
        )


def _holds_pictures(kind: Any) -> bool:
    from pyarrow import types

    if _is_list(kind):
        kind = kind.value_type
    if types.is_struct(kind):
        fields = {field.name: field.type for field in kind}
        path = fields.get("path")
        return "bytes" in fields and _is_bytes(fields["bytes"]) and (path is None or _is_text(path))
    return bool(_is_bytes(kind) or _is_text(kind))


def _holds_bytes(kind: Any) -> bool:
    """Whether these are pictures, whatever the column is called."""
    from pyarrow import types

    if _is_list(kind):
        kind = kind.value_type
    return _holds_pictures(kind) and not _is_text(kind) and not types.is_null(kind)


def _is_plain(kind: Any) -> bool:
    """Whether JSON has values of this type."""
    from pyarrow import types

    if types.is_struct(kind):
        return all(_is_plain(field.type) for field in kind)
    if _is_list(kind) or types.is_dictionary(kind):
        return _is_plain(kind.value_type)
    return bool(_is_text(kind) or types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind))


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return bool(
        types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind) or types.is_null(kind)
    )


def _is_bytes(kind: Any) -> bool:
    from pyarrow import types

    return bool(
        types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind) or types.is_null(kind)
    )


def _name(picture: Any, place: str) -> str | None:
    if isinstance(picture, dict):
        picture = picture.get("path") if picture["bytes"] is None else picture["bytes"]
    if isinstance(picture, bytes):
        return f"embedded:{place}"
    if picture is not None and EMBEDDED.fullmatch(picture):
        raise ValueError(f"a file cannot be called {picture!r}")
    return picture  # type: ignore[no-any-return]


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value
