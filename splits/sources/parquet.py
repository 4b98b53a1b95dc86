"""Reads labels, and optionally features, from a Parquet file; needs the package pyarrow."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from splits.errors import InputError
from splits.source import Source
from splits.sources import _table
from splits.sources._text import need_file

FORM = "parquet:FILE"
HELP = "A Parquet file with the columns of a csv source; needs the package pyarrow."
OPTIONS = dict(_table.OPTIONS)

_MAGIC = b"PAR1"  # at the beginning and at the end
_SEPARATOR = "\x1f"  # ASCII's unit separator, which no class name contains


def load(path: Path, **options: Any) -> Source:
    """Read a Parquet file.

    Args:
        path: the file.
        options: the fields of `_table.TableOptions`; a column of lists needs no separator.

    Returns:
        The source.

    Raises:
        InputError: no such file, pyarrow is not installed, not a Parquet file, and the errors of
            `_table.read`; rows are counted from 2, like the lines of a CSV file.
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
    except Exception:  # pandas raises many types on damaged metadata
        raise InputError(f"{path}: {_damage(path)}.") from None
    frame = _with_index(frame)
    table = _table.TableOptions(**options)
    if table.label in frame and frame[table.label].map(_is_list).any():
        table = dataclasses.replace(table, separator=_SEPARATOR)
    return _table.read(path, [str(name) for name in frame], _rows(frame), table)


def _damage(path: Path) -> str:
    """Why a file cannot be read, as a sentence without its full stop."""
    content = path.read_bytes()
    if not content.startswith(_MAGIC):
        return "this is not a Parquet file"
    if not content.endswith(_MAGIC):
        return "this Parquet file is truncated"
    return "this Parquet file is damaged"


def _with_index(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with its index as the first columns, unless the index is a mere row number.

    pandas stores an index of image ids as a column and restores it as the index. An index of
    numbers without a name is the row number of some earlier frame.
    """
    index = frame.index
    has_name = any(name is not None for name in index.names)
    if not has_name and (index.nlevels > 1 or pd.api.types.is_numeric_dtype(index)):
        return frame
    return frame if set(index.names) & set(frame.columns) else frame.reset_index()


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple | np.ndarray)


def _rows(frame: pd.DataFrame) -> _table.Rows:
    for line, values in enumerate(frame.itertuples(index=False, name=None), 2):
        yield line, [_text(value) for value in values]


def _text(value: Any) -> str:
    if _is_list(value):
        return _SEPARATOR.join(map(_text, value))
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return ""
    return str(int(value)) if isinstance(value, bool | np.bool_) else str(value)
