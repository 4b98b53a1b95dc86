"""Terminal output: streams, folders and usage errors."""

from __future__ import annotations

import click
import pytest

from benchkit.base import terminal
from benchkit.base.errors import BenchkitError


def test_messages_go_to_stderr_and_tables_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.log("a message")
    terminal.page().print("[bold]name :smile:[/bold]")
    captured = capsys.readouterr()
    assert captured.err == "a message\n"
    assert captured.out == "[bold]name :smile:[/bold]\n"


def test_a_pipe_has_100_columns(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.page().print("x " * 60)
    lines = capsys.readouterr().out.splitlines()
    assert [len(line.rstrip()) for line in lines] == [99, 19]


def test_a_bar_prints_nothing_if_stderr_is_not_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with terminal.bar("title", 3) as advance:
        advance(1)
        advance(2)
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal_shows_its_title(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with terminal.bar("title", 3) as advance:
        advance(3)
    captured = capsys.readouterr()
    assert "title" in captured.err and "3/3" in captured.err
    assert captured.out == ""


def test_the_named_exceptions_become_usage_errors() -> None:
    with (
        pytest.raises(click.UsageError, match=r"^no such name$"),
        terminal.wrong_call(BenchkitError, KeyError),
    ):
        raise BenchkitError("no such name")
    with pytest.raises(ValueError, match=r"^other$"), terminal.wrong_call(BenchkitError):
        raise ValueError("other")


def test_a_message_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.log("wrote a\nb\x1b[31m.h5")
    assert capsys.readouterr().err == "wrote a\\nb\\x1b[31m.h5\n"
