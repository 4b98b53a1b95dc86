"""Wrong calls are one line and exit code 2; the help says everything about an option."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from commands import call, refuse
from hypothesis import given, settings
from hypothesis import strategies as st

from benchkit.cli import COMMANDS, benchkit

RUN = ("run", "--split", "s.h5", "--out", "runs")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("run", "--out"), "Option '--out' requires an argument; see `benchkit run --help`"),
        (
            ("make-split", "-o"),
            "Option '-o' requires an argument; see `benchkit make-split --help`",
        ),
        (("run", "--help=3"), "Option '--help' does not take a value; see `benchkit run --help`"),
        (("--version=3",), "Option '--version' does not take a value; see `benchkit --help`"),
        (("report", "--strict=1"), "Option '--strict' does not take a value"),
        (("show",), "Missing argument 'FILE'; see `benchkit show --help`"),
        (("run",), "Missing option '--split'; see `benchkit run --help`"),
        (("show", "a", "b"), "Got unexpected extra argument (b); see `benchkit show --help`"),
        (("run", "--sede", "1"), "No such option '--sede'"),
        (("runn",), "No such command 'runn'"),
        (("a\nb\tc\x1b",), r"No such command 'a\nb\tc\x1b'; see `benchkit --help`"),
        (("run", "--a\nb"), r"No such option '--a\nb'; see `benchkit run --help`"),
        (("report", "r", "--format", "a\udcff\n"), r"'a\udcff\n' is not one of 'terminal'"),
        ((*RUN, "--method", "a\nb\udcff"), r"there is no method 'a\nb\udcff'"),
        ((*RUN, "--method", "bce", "--split", "s.h5"), "--split is given 2 times"),
        (("show", "a", "--draw", "x.png", "--draw", "y.png"), "--draw is given 2 times"),
        ((*RUN, "--method", "bce", "--seed", "0,1"), "'0,1' is not a whole number; repeat --seed"),
        ((*RUN, "--method", "bce", "--seeds", "0,1"), "'0,1' is not a whole number; use --seed"),
        (
            (*RUN, "--method", "bce", "--seeds", "0"),
            "Invalid value for '--seeds': 0 is less than 1",
        ),
        (("make-split", "x", "--views", "3"), "Invalid value for '--views': 3 is greater than 2"),
        ((*RUN, "--method", "bce", "--recipe", "epochs=2,lr=1"), "'epochs=2,lr=1' has several"),
        (("methods", "bce,asl"), "'bce,asl' names several methods; describe one at a time"),
    ],
)
def test_wrong_calls(arguments: tuple[str, ...], sentence: str) -> None:
    refuse(2, sentence, arguments=arguments)


@pytest.mark.parametrize("separator", [";", "|", "/", "+", " ", "; ", "&", ":"])
def test_methods_are_separated_by_commas(separator: str) -> None:
    sentence = f"methods are separated by commas: 'bce,asl' instead of 'bce{separator}asl'"
    refuse(2, sentence, arguments=(*RUN, "--method", f"bce{separator}asl"))


@pytest.mark.parametrize("methods", ["", ",", "bce,", "bce,,asl"])
def test_an_empty_method(methods: str) -> None:
    refuse(2, "--method has an empty name", arguments=(*RUN, "--method", methods))


def test_several_methods_in_one_option() -> None:
    head = (*RUN, "--method", "bce,asl")
    refuse(
        2,
        "--set bce,asl.NAME=VALUE names several methods",
        arguments=(*head, "--set", "bce,asl.x=1"),
    )
    refuse(2, "--paper voc,coco names several data", arguments=(*head, "--paper", "voc,coco"))


def test_a_method_may_be_named_by_several_options(tmp_path: Path) -> None:
    missing = ("run", "--split", tmp_path / "s.h5", "--out", tmp_path / "runs")
    refuse(1, "s.h5 does not exist", arguments=(*missing, "--method", "bce", "--method", "asl"))
    refuse(2, "no method 'als'", arguments=(*missing, "--method", "bce", "--method", "als"))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_option_is_complete(name: str) -> None:
    command = benchkit.get_command(None, name)  # type: ignore[arg-type]
    assert command is not None and command.help is not None
    assert any(line.strip().startswith("Example") for line in command.help.splitlines())
    context = click.Context(command, info_name=name)
    for option in command.params:
        record = option.get_help_record(context)
        if not isinstance(option, click.Option) or record is None:
            continue
        assert record[1].split("  [")[0].strip(), record
        if not option.required and not option.is_flag and not option.is_eager:
            assert "[default: " in record[1], record


NAMES = [*COMMANDS, *(f"{name} --help" for name in COMMANDS), "--version", "--help", "nothing"]
ARGUMENT = st.one_of(
    st.sampled_from(
        ["--out", "--split", "--method", "--json", "-o", "--", "-", "--seed", "--h", ""]
    ),
    st.text(st.characters(exclude_characters="\0", exclude_categories=()), max_size=8),
)


@given(st.sampled_from(NAMES), st.lists(ARGUMENT, max_size=3))
@settings(max_examples=60, deadline=None)
def test_any_arguments(name: str, arguments: list[str]) -> None:
    """Nothing but one line on standard error, or the help, and exit code 1 or 2."""
    if name.split()[0] in ("demo", "download"):  # which need no arguments
        arguments = [*arguments, "--no-such-option"]
    result = call(*name.split(), *arguments)
    assert result.code in (0, 1, 2)
    if result.code:
        assert result.err.startswith(("error: ", "Usage: ")), result.err
        assert result.err.startswith("Usage: ") or result.err.count("\n") == 1, result.err


def test_terminals_of_one_column_and_of_no_unicode(tmp_path: Path) -> None:
    traps = {"COLUMNS": "1", "TERM": "dumb", "NO_COLOR": "1", "LC_ALL": "C", "PYTHONUTF8": "0"}
    environment = {**os.environ, **traps, "PYTHONIOENCODING": "ascii"}
    program = [sys.executable, "-m", "benchkit"]
    for arguments in (["methods", "--ledger"], ["show", "nö\udcff.h5"]):
        ended = subprocess.run(
            [*program, *arguments], capture_output=True, env=environment, cwd=tmp_path
        )
        assert b"Traceback" not in ended.stderr
        assert ended.returncode == (arguments[0] == "show")
        assert ended.stdout.isascii() and ended.stderr.isascii()
