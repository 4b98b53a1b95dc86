"""Reads labels, and perhaps features, from a Parquet file; needs the package pyarrow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from splits.errors import InputError
from splits.source import Source
from splits.sources import _table
from splits.sources._text import need_file

FORM = "parquet:FILE"
HELP = "A Parquet file with the columns of a csv source; needs the package pyarrow."
OPTIONS = dict(_table.OPTIONS)


def load(path: Path, **words: Any) -> Source:
    """Read a Parquet file.

    Args:
        path: the file.
        words: as `_table.Words`.

    Returns:
        The source.

    Raises:
        InputError: no such file, pyarrow is not installed, not a Parquet file, and what
            `_table.read` refuses; rows are counted from 2, as the lines of a CSV file are.
    """
    path = Path(path)
    need_file(path)
    try:
        frame = pd.read_parquet(path)
    except ImportError:
        raise InputError(
            f"{path}: reading Parquet needs the package pyarrow; run 'pip install pyarrow', or "
            f"write the table as CSV."
        ) from None
    except (OSError, ValueError) as error:  # pyarrow's errors are these
        raise InputError(
            f"{path}: this is not a Parquet file, or it was cut off ({error})."
        ) from None
    return _table.read(path, [str(name) for name in frame], _rows(frame), _table.Words(**words))


def _rows(frame: pd.DataFrame) -> _table.Rows:
    for line, values in enumerate(frame.itertuples(index=False, name=None), 2):
        yield line, [_text(value) for value in values]


def _text(value: Any) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return ""
    return str(int(value)) if isinstance(value, bool) else str(value)
