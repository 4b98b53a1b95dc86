"""Plugins that change, close or end what they share with benchkit.

A run of such a plugin either works as if nothing had happened, or fails with a sentence that names
the file. Standard output holds the results only.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from commands import refuse, succeed

KEY = "plugin-of-a-test"
PLUGIN = f"""
import atexit, os, signal, subprocess, sys, threading, time, warnings
import numpy as np
import torch
from baselines.core import Method, MethodInfo, positives
from baselines.core.losses import bce_terms
TOP
class Plugin(Method):
    info = MethodInfo("{KEY}", "Plugin", "none", 2026, "L", "negative")
    def loss(self, run, logits, batch, clock, draw):
        LOSS
        return bce_terms(logits, positives(batch.observed)).mean()
"""
TOP_LINE, LOSS_LINE = 7, 11

# Commands in forks of one process, so that the heavy packages are imported once.
DRIVER = """
import atexit, importlib, json, os, sys
for name in ("api", "cli.run", "runs.execute"):
    importlib.import_module("benchkit." + name)
import leaderboard.render, torch._dynamo
from baselines.core import registry
from benchkit.cli import main
registry.builtin()
exit_now = os._exit
results = {}
for name, arguments in json.loads(sys.stdin.read()).items():
    files = [f"{name}.{stream}" for stream in ("out", "err")]
    child = os.fork()
    if child == 0:
        for number, file in enumerate(files, 1):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
        sys.argv = ["benchkit", *arguments]
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        atexit._run_exitfuncs()
        exit_now(code)
    _, status = os.waitpid(child, 0)
    texts = [open(file, encoding="utf-8").read() for file in files]
    results[name] = [os.waitstatus_to_exitcode(status), *texts]
print(json.dumps(results))
"""


class Case(NamedTuple):
    """A plugin: a line at its top or in its loss, and the messages of a run.

    Attributes:
        line: the line.
        messages: the lines on standard error. `{place}` is the file and the line.
        in_loss: whether the line is in the loss.
        failed: whether the run of the plugin fails.
    """

    line: str
    messages: tuple[str, ...] = ()
    in_loss: bool = True
    failed: bool = False


def failing(line: str, reason: str) -> Case:
    """A plugin whose loss fails."""
    return Case(line, (f"{KEY} seed 0 failed: {reason}",), failed=True)


UNCHANGED = "a method must leave the settings of the process unchanged"
UNDONE = "the change was undone"
CASES = {
    "closed": Case("sys.stdout.close(), sys.stderr.close(), sys.__stdout__.close()"),
    "replaced": Case("sys.stdout = None; sys.stderr = 3", in_loss=False),
    "descriptors": Case("os.close(1); os.close(2)", in_loss=False),
    "prints": Case("print('one'); os.write(1, b'two\\n')", ("one", "two"), in_loss=False),
    "exits": failing("os._exit(0)", "{place}: SystemExit: 0"),
    "program": failing("os.execv('/bin/true', ['true'])", "{place}: SystemExit: os.execv"),
    "at exit": Case(
        "atexit.register(os._exit, 0); atexit.register(lambda: 1 / 0)",
        ("warning: {place}: an error was ignored: ZeroDivisionError: division by zero",),
        in_loss=False,
    ),
    "warning": Case("warnings.warn('odd\\n thing')", ("warning: {place}: odd thing",)),
    "thread": Case(
        "threading.Thread(target=lambda: (time.sleep(60), os._exit(0))).start(); "
        "bad = threading.Thread(target=lambda: 1 / 0); bad.start(); bad.join()",
        ("warning: {place}: a thread failed: ZeroDivisionError: division by zero",),
        in_loss=False,
    ),
    "settings": Case(
        "os.chdir('/'); torch.set_default_dtype(torch.float64); np.seterr(all='raise'); "
        "torch.set_grad_enabled(False); sys.setrecursionlimit(500); torch.manual_seed(0); "
        "torch.set_default_device('meta'); warnings.simplefilter('error'); np.random.seed(0)",
        (
            "warning: {file} changes Python's recursion limit, the working directory, torch's "
            "default dtype, torch's default device, torch's gradient mode and NumPy's error "
            f"handling; {UNDONE}",
        ),
        in_loss=False,
    ),
    "modules": Case("sys.modules['json'] = None; sys.path.clear(); sys.excepthook = None"),
    "dtype": failing(
        "torch.set_default_dtype(torch.float64)",
        f"{{file}} changes torch's default dtype; {UNCHANGED}",
    ),
    "gradients": failing(
        "torch.set_grad_enabled(False)", f"{{file}} changes torch's gradient mode; {UNCHANGED}"
    ),
    "limit": failing(
        "sys.setrecursionlimit(20)", "{place}: RecursionError: cannot set the recursion limit to 20"
    ),
    "deaf": failing(
        "signal.signal(signal.SIGINT, signal.SIG_IGN)",
        f"{{file}} changes the handler of Ctrl-C; {UNCHANGED}",
    ),
}


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugins")
    rows, columns = np.arange(40)[:, None], np.arange(3)[None, :]
    labels = ((rows * 7 + columns * 3) % (columns + 3) == 0).astype(np.int8)
    features = np.sin(rows * np.arange(1, 5)[None, :]).astype(np.float32)
    np.savez(folder / "a.npz", X=features, Y=labels)
    succeed("make-split", f"arrays:{folder / 'a.npz'}", "--out", folder / "s.h5")
    return folder / "s.h5"


def write(path: Path, line: str, in_loss: bool = True) -> Path:
    """A plugin with a line at its top or in its loss."""
    top, loss = ("", line) if in_loss else (line, "")
    path.write_text(PLUGIN.replace("TOP", top).replace("LOSS", loss or "pass"))
    return path


@pytest.fixture(scope="module")
def results(split: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Name of a case -> exit code, standard output, standard error."""
    folder = tmp_path_factory.mktemp("runs")
    calls = {}
    for name, case in CASES.items():
        plugin = write(folder / f"{name.replace(' ', '_')}.py", case.line, case.in_loss)
        grid = ("--split", str(split), "--method", f"{KEY},bce", "--plugin", str(plugin))
        calls[name] = ["run", *grid, "--recipe", "epochs=1", "--out", str(folder / f"{name} runs")]
    ended = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps(calls),
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
        # A shell lets its background jobs ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert ended.returncode == 0, ended.stderr
    content: dict[str, list[Any]] = json.loads(ended.stdout)
    return content


@pytest.mark.parametrize("name", CASES)
def test_a_run_works_or_names_the_plugin(results: dict[str, list[Any]], name: str) -> None:
    case, (code, out, err) = CASES[name], results[name]
    file = f"{name.replace(' ', '_')}.py"
    place = f"{file}, line {LOSS_LINE if case.in_loss else TOP_LINE}"
    lines = err.splitlines()
    assert len(lines) == len(case.messages), err
    for line, message in zip(lines, case.messages, strict=True):
        assert line.startswith(message.format(file=file, place=place)), line
    assert code == case.failed
    counts = "1 runs done, 0 kept, 1 failed" if case.failed else "2 runs done, 0 kept, 0 failed"
    first, header, *rows = out.splitlines()
    assert first == f"{counts}, 0 methods skipped"
    assert header.startswith("method ")
    assert {row.split()[0] for row in rows} == ({"bce"} if case.failed else {"bce", KEY})


def test_plugins_named_like_packages_hide_nothing(tmp_path: Path) -> None:
    for name in ("torch", "numpy", "click"):
        write(tmp_path / f"{name}.py", "pass")
    program = [sys.executable, "-m", "benchkit", "methods", KEY, "--plugin", "torch.py"]
    ended = subprocess.run(program, capture_output=True, text=True, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"{KEY}: Plugin (2026)\n")


def test_the_list_of_methods_survives_a_plugin_that_closes_its_streams(tmp_path: Path) -> None:
    path = write(tmp_path / "closing.py", CASES["closed"].line, in_loss=False)
    program = [sys.executable, "-m", "benchkit", "methods", "--plugin", str(path)]
    ended = subprocess.run(program, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [line.split()[0] for line in ended.stdout.splitlines() if line.strip()][-1] == KEY


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff\xfe", "it is not UTF-8 text"),
        (b"x = 1\0", "it is not UTF-8 text"),
        (b"# coding: nonsense\n", "SyntaxError: unknown encoding: nonsense"),
    ],
)
def test_plugins_that_are_no_text(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "binary.py"
    path.write_bytes(content)
    refuse(
        1, f"plugin {path} cannot be imported: {reason}", arguments=("methods", "--plugin", path)
    )
