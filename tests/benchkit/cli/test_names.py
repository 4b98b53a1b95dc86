"""Odd names in every place of every command: one sentence, or the command works.

A name may hold bytes that are no text, control characters or thousands of characters, and may name
a folder where a file is expected, or the other way round. No traceback, no second line.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from commands import Result, call, refuse

from benchkit.cli import COMMANDS, main

ARRAYS = {
    "X": np.sin(np.arange(160.0).reshape(40, 4) * 1.7),
    "Y": (np.arange(120).reshape(40, 3) * 7 % 5 < 2).astype(np.int8),
}
PLUGIN = """
from baselines.bce import BCE
from baselines.core import MethodInfo

class Guest(BCE):
    info = MethodInfo("guest-of-a-test", "Guest", "nobody, 2024", 2024, "L = 0", "negative")
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """good.npz, good.h5, scores.npz, and a folder of records."""
    folder = tmp_path_factory.mktemp("names")
    np.savez(folder / "good.npz", **ARRAYS)
    assert (
        call("make-split", f"arrays:{folder / 'good.npz'}", "--out", folder / "good.h5").code == 0
    )
    np.savez(folder / "scores.npz", scores=np.sin(np.arange(24.0)).reshape(8, 3) * 4)
    words = ("run", "--split", folder / "good.h5", "--method", "bce", "--recipe", "epochs=1")
    assert call(*words, "--out", folder / "runs").code == 0
    return folder


# The names, relative to a folder of their own.
NAMES: dict[str, Callable[[Path], str]] = {
    "bytes that are no text": lambda folder: str(folder / os.fsdecode(b"n\xff\xe9")),
    "a NUL": lambda folder: f"{folder}/a\0b",
    "a lone surrogate": lambda folder: f"{folder}/\ud800",
    "5000 characters": lambda folder: str(folder / ("x" * 5000)),
    "a line end": lambda folder: str(folder / "a\nb"),
    "an escape sequence": lambda folder: str(folder / "\x1b[31mred"),
    "a folder": lambda folder: str(folder / "folder"),
    "a file": lambda folder: str(folder / "file"),
    "below a file": lambda folder: str(folder / "file" / "x"),
    "nothing": lambda folder: "",
}

# X is the odd name, and P the folder of `place`.
RUN = "run --split P/good.h5 --recipe epochs=1 --out O"
EVALUATE = "evaluate --split P/good.h5 --out O"
SENTENCES = (
    "X",
    "run --X",
    "make-split X --out O",
    "make-split arrays:X --out O",
    "make-split csv:X --out O",
    "make-split coco:X --backbone none --out O",
    "make-split arrays:P/good.npz --out X",
    "make-split arrays:P/good.npz --out O --name X",
    "make-split arrays:P/good.npz --out O --regime X",
    "make-split arrays:P/good.npz --out O --target-counts X",
    "make-split arrays:P/good.npz --out O -o X",
    "show X",
    "verify X",
    "diff X P/good.h5",
    "diff P/good.h5 X",
    "methods X",
    "methods --plugin X",
    "download X",
    "run --split X --method bce --out O",
    "run --split P/good.h5 --method bce --recipe epochs=1 --out X",
    f"{RUN} --method X",
    f"{RUN} --method bce --plugin X",
    f"{RUN} --method bce --recipe X",
    f"{RUN} --method bce --recipe X.toml",
    f"{RUN} --method bce --recipe lr=X",
    f"{RUN} --method asl --set X",
    f"{RUN} --method asl --set asl.clip=X",
    f"{RUN} --method asl --set asl.X=1",
    f"{RUN} --method bce --seed X",
    f"{RUN} --method bce --paper X",
    f"{RUN} --method bce --class-embeddings X",
    "evaluate --split X --scores P/scores.npz --name m --out O",
    "evaluate --split P/good.h5 --scores P/scores.npz --name m --out X",
    f"{EVALUATE} --name m --scores X",
    f"{EVALUATE} --scores P/scores.npz --name X",
    "report X",
    "report P/runs --split X",
    "report P/runs --format html --out X",
    "demo --out X --nothing",
)


@pytest.mark.parametrize("sentence", SENTENCES)
def test_odd_names(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)  # the empty name is the working directory
    for kind, name_of in NAMES.items():
        folder = tmp_path / kind.replace(" ", "-")
        (folder / "folder").mkdir(parents=True)
        (folder / "file").write_text("x")
        parts = {"X": name_of(folder), "P/": f"{place}/", "O": str(folder / "out")}
        words = []
        for word in sentence.split():
            for letter, text in parts.items():
                if word == letter or (letter == "P/" and letter in word) or word.strip("X") != word:
                    word = word.replace(letter, text)
            words.append(word)
        code, out, err = call(*words)
        if code == 0 or (code == 1 and out):  # a name that is odd, but possible; `diff` differs
            continue
        assert err.startswith("error: ") and err.count("\n") == 1, (kind, err)
        assert len(err) < 2000 and "Error" not in err and "\x1b" not in err, (kind, err)


def test_every_command_without_arguments() -> None:
    for command in COMMANDS:
        if command not in ("demo", "methods", "download"):  # they need none
            refuse(2, f"`benchkit {command} --help`", arguments=(command,))


def ascii_call(*words: object) -> Result:
    """`call` with output streams that take ASCII only."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="ascii") for _ in range(2)]
    code = 0
    with (
        mock.patch.object(sys, "argv", ["benchkit", *map(str, words)]),
        mock.patch.object(sys, "stdout", streams[0]),
        mock.patch.object(sys, "stderr", streams[1]),
    ):
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    texts = []
    for stream in streams:
        stream.flush()
        texts.append(stream.buffer.getvalue().decode("utf-8"))  # type: ignore[attr-defined]
    return Result(code, *texts)


@pytest.mark.parametrize("name", ["été", os.fsdecode(b"n\xff\xe9"), "a b;'c"])
def test_a_terminal_of_ascii_and_names_of_other_letters(tmp_path: Path, name: str) -> None:
    stem, runs = tmp_path / name, tmp_path / f"{name}.runs"
    np.savez(tmp_path / "names.npz", **ARRAYS, label_names=["é", "ß", "猫"])
    (tmp_path / "names.npz").rename(f"{stem}.npz")
    (tmp_path / f"{name}.py").write_text(PLUGIN)
    (tmp_path / f"{name}.toml").write_text("epochs = 1\n")
    grid = ("run", "--split", f"{stem}.h5", "--plugin", f"{stem}.py", "--recipe", f"{stem}.toml")
    for words in (
        ("make-split", f"arrays:{stem}.npz", "--out", f"{stem}.h5"),
        ("show", f"{stem}.h5"),
        ("verify", f"{stem}.h5"),
        ("diff", f"{stem}.h5", f"{stem}.h5"),
        ("methods", "guest-of-a-test", "--plugin", f"{stem}.py"),
        (*grid, "--method", "bce,guest-of-a-test", "--out", runs),
        (*grid, "--method", "bce,guest-of-a-test", "--out", runs),
        ("report", runs),
        ("report", runs, "--format", "html", "--out", f"{stem}.html"),
    ):
        assert ascii_call(*words).code == 0, (words, ascii_call(*words).err)


def test_the_c_locale(tmp_path: Path) -> None:
    np.savez(tmp_path / "good.npz", **ARRAYS)
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PATH": ""}
    program = [sys.executable, "-c", "from benchkit.cli import main; main()"]
    out = os.fsencode(tmp_path) + b"/n\xff.h5"
    source = b"arrays:" + os.fsencode(tmp_path / "good.npz")
    for words in (
        [b"make-split", source, b"--name", "été".encode(), b"--out", out],
        [b"show", out],
    ):
        done = subprocess.run([*program, *words], env=environment, capture_output=True)
        assert done.returncode == 0 and b"Traceback" not in done.stderr, done.stderr
