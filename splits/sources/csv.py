"""Reads labels, and optionally features, from a CSV file with a header."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from splits import reasons
from splits.errors import InputError
from splits.source import Source
from splits.sources import _table
from splits.sources._text import line_error, read_text
from splits.sources.registry import Option

FORM = "csv:FILE"
HELP = "A CSV file with a header: a column per class, a row per image and class, or lists."
OPTIONS = {
    **_table.OPTIONS,
    "delimiter": Option(",", "the separator of columns, one character or tab", record="never"),
}


def load(path: Path, *, delimiter: str = ",", **options: Any) -> Source:
    """Read a CSV file.

    Args:
        path: the file, in UTF-8.
        delimiter: one character, or "tab".
        options: the fields of `_table.TableOptions`.

    Returns:
        The source.

    Raises:
        InputError: a missing file, a row with too few or too many columns, and the errors of
            `_table.read`.
    """
    path = Path(path)
    separator = "\t" if delimiter == "tab" else delimiter
    if len(separator) != 1:
        raise InputError(
            f"delimiter of source csv must be one character or tab, not {delimiter!r}."
        )
    reader = csv.reader(io.StringIO(read_text(path), ""), delimiter=separator, strict=True)
    header = [name.strip() for name in _next(path, reader) or []]
    if not any(header):
        raise line_error(path, 1, "the file has no header.")
    rows = _rows(path, reader, len(header))
    return _table.read(path, header, rows, _table.TableOptions(**options))


def _rows(path: Path, reader: Any, columns: int) -> _table.Rows:
    line = reader.line_num + 1
    while (fields := _next(path, reader)) is not None:
        if fields:  # not a blank line
            if len(fields) != columns:
                raise line_error(
                    path, line, f"the row has {len(fields)} columns, the header has {columns}."
                )
            yield line, fields
        line = reader.line_num + 1


def _next(path: Path, reader: Any) -> list[str] | None:
    line = reader.line_num + 1
    try:
        return next(reader, None)
    except csv.Error as error:
        sentence = f"this is not CSV, or it is truncated: {reasons.of_csv(error)}."
        raise line_error(path, line, sentence) from None
