"""`--out` on a read-only or full disk is refused in one sentence, before anything is computed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import benchkit

# Runs each command in a fork, with everything that takes long replaced by a failure.
PROGRAM = """
import json, os, sys, traceback
from pathlib import Path
from benchkit.cli import main
from benchkit.runs import execute, external
import leaderboard.render

try:
    Path(sys.argv[1], "full", "ballast").write_bytes(bytes(2**20))
except OSError:
    pass

def computed(*_, **__):
    raise AssertionError("something was computed")

execute.train = external.metrics.summary = leaderboard.render.html = computed
results = []
for words in json.loads(sys.argv[2]):
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.dup2(writer, 2)
        sys.argv = ["benchkit", *words]
        code = 70
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        except BaseException:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(code)
    os.close(writer)
    with open(reader) as pipe:
        text = pipe.read()
    results.append([os.waitstatus_to_exitcode(os.wait()[1]), text])
print(json.dumps(results))
"""


MOUNT = """
mount -t tmpfs -o size=64k,ro tmpfs "$1/read-only" &&
mount -t tmpfs -o size=64k tmpfs "$1/full" &&
shift && exec "$@"
"""
REASONS = {
    "read-only": "{} cannot be written: Read-only file system",
    "full": "no disk space to write {}; free some space and try again",
}


def commands(work: Path, disk: Path) -> list[list[str]]:
    """One call of each command that writes to `disk`."""
    split, scores = str(work / "s.h5"), str(work / "scores.npz")
    return [
        ["run", "--split", split, "--method", "bce", "--out", str(disk)],
        ["evaluate", "--split", split, "--scores", scores, "--name", "x", "--out", str(disk)],
        ["report", str(work / "runs"), "--format", "html", "--out", str(disk / "page.html")],
        ["make-split", f"arrays:{work / 'mine.npz'}", "--out", str(disk / "s.h5")],
    ]


def test_every_command_refuses_a_disk_that_it_cannot_write(tmp_path: Path) -> None:
    for kind in REASONS:
        (tmp_path / kind).mkdir()
    isolated = ["unshare", "--map-root-user", "--mount", "sh", "-c", MOUNT, "sh", str(tmp_path)]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*isolated, "true"], capture_output=True).returncode
    ):
        pytest.skip("mounting a small file system is not permitted here")
    rows = np.arange(60)
    labels = (rows[:, None] % (np.arange(3)[None, :] + 2) == 0).astype(np.int8)
    features = np.sin(rows[:, None] * np.arange(1, 9)[None, :]).astype(np.float32)
    scores = np.linspace(-3, 3, 36).reshape(12, 3)
    np.savez(tmp_path / "mine.npz", X=features, Y=labels)
    np.savez(tmp_path / "scores.npz", scores=scores)
    benchkit.make_split(f"arrays:{tmp_path / 'mine.npz'}", tmp_path / "s.h5")
    benchkit.evaluate(tmp_path / "s.h5", scores, name="mine", out=tmp_path / "runs")
    calls = {kind: commands(tmp_path, tmp_path / kind) for kind in REASONS}
    arguments = json.dumps([words for group in calls.values() for words in group])
    ended = subprocess.run(
        [*isolated, sys.executable, "-c", PROGRAM, str(tmp_path), arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    results = iter(json.loads(ended.stdout))
    for kind, group in calls.items():
        for words in group:
            sentence = f"error: {REASONS[kind].format(tmp_path / kind)}\n"
            assert next(results) == [1, sentence], words
