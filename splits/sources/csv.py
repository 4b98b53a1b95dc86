"""Reads labels, and perhaps features, from a CSV file with a header."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from splits.errors import InputError
from splits.source import Source
from splits.sources import _table
from splits.sources._text import read_text, wrong
from splits.sources.registry import Option

FORM = "csv:FILE"
HELP = "A CSV file with a header: a column per class, a row per image and class, or lists."
OPTIONS = {**_table.OPTIONS, "delimiter": Option(",", "between two columns, or tab", record="no")}


def load(path: Path, *, delimiter: str = ",", **words: Any) -> Source:
    """Read a CSV file.

    Args:
        path: the file; UTF-8, quoted where needed.
        delimiter: one character, or "tab".
        words: as `_table.Words`.

    Returns:
        The source.

    Raises:
        InputError: a missing file, a row with too few or many columns, and what `_table.read`
            refuses.
    """
    path = Path(path)
    between = "\t" if delimiter == "tab" else delimiter
    if len(between) != 1:
        raise InputError(f"delimiter of source csv is one character or tab, not {delimiter!r}.")
    reader = csv.reader(io.StringIO(read_text(path), ""), delimiter=between, strict=True)
    header = [name.strip() for name in _next(path, reader) or []]
    if not any(header):
        raise wrong(path, 1, "the file has no header.")
    return _table.read(path, header, _rows(path, reader, len(header)), _table.Words(**words))


def _rows(path: Path, reader: Any, columns: int) -> _table.Rows:
    line = reader.line_num + 1
    while (fields := _next(path, reader)) is not None:
        if fields:  # not a blank line
            if len(fields) != columns:
                raise wrong(
                    path, line, f"the row has {len(fields)} columns, the header has {columns}."
                )
            yield line, fields
        line = reader.line_num + 1


def _next(path: Path, reader: Any) -> list[str] | None:
    line = reader.line_num + 1
    try:
        return next(reader, None)
    except csv.Error as error:
        raise wrong(path, line, f"this is not CSV, or it was cut off ({error}).") from None
