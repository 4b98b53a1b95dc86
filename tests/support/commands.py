"""The command line in this process: the one `call()` of all tests."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import NamedTuple
from unittest import mock

from benchkit.cli import main


class Result(NamedTuple):
    """What a command did: its exit code, standard output and standard error."""

    code: int
    out: str
    err: str


def call(*arguments: object) -> Result:
    """Run the console script, as in `call("report", runs)`.

    A traceback passes through, so that a test that meets one fails.
    """
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", ["benchkit", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Result(code, out.getvalue(), err.getvalue())


def succeed(*arguments: object) -> Result:
    """`call`, for a command that must succeed."""
    result = call(*arguments)
    assert result.code == 0, result.err
    return result


def refuse(code: int, *names: object, arguments: tuple[object, ...]) -> str:
    """`call`, for a command that must end in one sentence; returns the sentence.

    Args:
        code: the expected exit code.
        *names: texts that the sentence must contain.
        arguments: of the command.
    """
    result = call(*arguments)
    assert result.code == code, (result.out, result.err)
    assert result.out == ""
    assert result.err.startswith("error: ") and result.err.count("\n") == 1, result.err
    for name in names:
        assert str(name) in result.err, result.err
    return result.err
