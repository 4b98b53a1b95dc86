"""Errors of the standard library as phrases for messages; their own texts are for programmers."""

from __future__ import annotations

import csv
import json


def of_json(error: Exception) -> str:
    """Why a text is not JSON, as a sentence without its full stop.

    Args:
        error: the error of `json.loads`; a RecursionError or a ValueError.
    """
    if isinstance(error, json.JSONDecodeError):
        return (
            f"this is not JSON, or it is truncated, from line {error.lineno}, column "
            f"{error.colno} on"
        )
    if isinstance(error, RecursionError):
        return "this JSON is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "this is not JSON, because it is not UTF-8 text"
    return "this JSON has a number of more than 4,300 digits"


def of_csv(error: csv.Error) -> str:
    """Why a line is not CSV, as a phrase."""
    text = str(error)
    if "field limit" in text:
        return f"a cell has more than {csv.field_size_limit():,} characters"
    if "expected after" in text:
        return "a quoted cell is followed by something else than a delimiter"
    if "unexpected end" in text:
        return "a quoted cell does not end"
    if "new-line" in text:
        return "a line ends inside a cell without quotes"
    return "a cell cannot be read"
