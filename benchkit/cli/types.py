"""Types of command-line arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


class _Path(click.Path):
    """A path; an empty one is refused, because `Path("")` is the working directory."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)


class Whole(click.ParamType):
    """A whole number.

    Args:
        low: the smallest allowed number, or None.
        high: the largest allowed number, or None.
        hint: the end of the message for text that is not a whole number.
    """

    name = "integer"

    def __init__(self, low: int | None = None, high: int | None = None, hint: str = "") -> None:
        self.low = low
        self.high = high
        self.hint = hint

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, or an error that says what is allowed."""
        try:
            number = int(value)
        except ValueError:
            self.fail(f"{value!r} is not a whole number{self.hint}", param, ctx)
        if self.low is not None and number < self.low:
            self.fail(f"{value} is less than {self.low}", param, ctx)
        if self.high is not None and number > self.high:
            self.fail(f"{value} is greater than {self.high}", param, ctx)
        return number


FILE = _Path(path_type=Path)
"""The path of a file or a folder."""
