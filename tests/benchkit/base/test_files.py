"""Atomic files: complete or not there, whatever stops the writer."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchkit.base import files
from benchkit.base.errors import BenchkitError
from benchkit.base.files import atomic

HOST = socket.gethostname().replace(".", "-")


@pytest.fixture
def dead() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def live() -> Iterator[int]:
    """The id of a process that runs."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process.pid
    process.kill()
    process.communicate()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_success_leaves_only_the_target(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "a.txt"
    said: list[str] = []
    with atomic(target, said.append) as partial:
        assert partial.parent == target.parent
        partial.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert names(target.parent) == ["a.txt"]
    assert said == []


def test_an_old_target_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic(target) as partial:
        partial.write_text("half")
        raise ZeroDivisionError
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]
    with atomic(target) as partial:
        partial.write_text("new")
    assert target.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, BenchkitError])
def test_an_exception_leaves_nothing_and_passes_through(
    tmp_path: Path, error: type[BaseException]
) -> None:
    with pytest.raises(error, match=r"^stop$"), atomic(tmp_path / "a") as partial:
        partial.write_text("half")
        raise error("stop")
    with pytest.raises(error, match=r"^stop$"), atomic(tmp_path / "b") as partial:
        partial.mkdir()
        (partial / "one").write_text("half")
        raise error("stop")
    assert names(tmp_path) == []


def test_folders_are_renamed_as_a_whole_and_replace_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "run"
    (target / "sub").mkdir(parents=True)
    (target / "sub" / "stale").write_text("x")
    with atomic(target) as partial:
        (partial / "new").mkdir(parents=True)
        (partial / "new" / "file").write_text("y")
        assert (target / "sub" / "stale").is_file()
    assert names(tmp_path) == ["run"]
    assert names(target) == ["new"]
    assert (target / "new" / "file").read_text() == "y"


@pytest.mark.parametrize("target", ["split.h5", "odd [1] *.h5"])
def test_leftovers_of_the_dead_are_removed_and_said(tmp_path: Path, dead: int, target: str) -> None:
    file = tmp_path / f".{target}.{HOST}-{dead}.partial"
    file.write_text("half")
    own = tmp_path / f".{target}.{HOST}-{os.getpid()}.partial"  # of an earlier process, same id
    (own / "inside").mkdir(parents=True)
    said: list[str] = []
    with atomic(tmp_path / target, said.append) as partial:
        partial.write_text("whole")
    assert names(tmp_path) == [target]
    assert sorted(said) == sorted(
        f"ignoring and removing {path}: its writer was interrupted" for path in (file, own)
    )


def test_what_may_still_be_written_is_kept(tmp_path: Path, live: int, dead: int) -> None:
    kept = [
        f".split.h5.{HOST}-{live}.partial",
        f".split.h5.elsewhere-{dead}.partial",  # another host's process cannot be asked
        f".split.h5.{HOST}-x1.partial",
        f".other.h5.{HOST}-{dead}.partial",
    ]
    for name in kept:
        (tmp_path / name).write_text("half")
    said: list[str] = []
    with atomic(tmp_path / "split.h5", said.append) as partial:
        partial.write_text("whole")
    assert names(tmp_path) == sorted([*kept, "split.h5"])
    assert said == []


def test_too_little_space_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: SimpleNamespace(free=3 * 2**20))
    message = r"no disk space to write .*a\.h5: it needs 5 MiB and 3 MiB are free"
    with pytest.raises(BenchkitError, match=message), atomic(tmp_path / "a.h5", needed=5 * 2**20):
        pytest.fail("the block must not run")
    assert names(tmp_path) == []
    with atomic(tmp_path / "a.h5", needed=3 * 2**20) as partial:
        partial.write_text("fits")
    assert names(tmp_path) == ["a.h5"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), r"no disk space to write .*a\.h5"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), r"no disk space to write .*a\.h5"),
        (OSError("Can't write (errno = 28, 'No space left on device')"), r"no disk space to"),
        (OSError(errno.EIO, "Input/output error"), r"a\.h5 cannot be written: Input/output error"),
        (PermissionError(errno.EACCES, "Permission denied"), r"cannot be written: Permission den"),
    ],
)
def test_a_write_error_is_a_sentence(tmp_path: Path, error: OSError, message: str) -> None:
    with pytest.raises(BenchkitError, match=message), atomic(tmp_path / "a.h5") as partial:
        partial.write_text("half")
        raise error
    assert names(tmp_path) == []


def test_a_target_that_cannot_be_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for target in (tmp_path / "file" / "a.h5", tmp_path / ("long" * 70)):
        with pytest.raises(BenchkitError, match="cannot be written: "), atomic(target) as partial:
            partial.write_text("half")
    with (
        pytest.raises(BenchkitError, match="cannot be written: "),
        atomic(tmp_path / "file") as partial,
    ):
        partial.mkdir()  # a folder does not replace a file
    assert names(tmp_path) == ["file"]


TINY_DISK = """
import errno, json, os, sys
from pathlib import Path
from types import SimpleNamespace
import numpy as np
from benchkit.base import files
from benchkit.split import file as split_file
from benchkit.base.errors import BenchkitError
from benchkit.split.model import Part, Split

# As if another program filled the disk after it was looked at.
files.shutil.disk_usage = lambda _: SimpleNamespace(free=2**40)
disk, report = Path(sys.argv[1]), {}

def split(width):
    def part(name):
        ids = np.array([f"{name}{i}" for i in range(50)])
        labels = np.eye(50, 2, dtype=np.int8)
        features = np.ones((50, 1, width), np.float32)
        return Part(ids, None, labels, None if name == "test" else labels, features)
    one = np.ones(2, np.int64)
    return Split("s", {"labels": {"regime": "full"}, "features": {}}, ("a", "b"), one, one,
                 np.full(2, 2, np.uint8), {"many": 100, "few": 20, "reference": "true"},
                 {"train": part("train"), "test": part("test")}, {})

def attempt(name, write):
    target = disk / name
    try:
        write(target)
        outcome = "written"
        if name.startswith("split"):
            outcome = split_file.verify(target) or "written and verified"
    except BenchkitError as error:
        outcome = str(error)
    report[name] = [outcome, sorted(os.listdir(disk))]
    target.unlink(missing_ok=True)

def plain(target):
    with files.atomic(target) as partial:
        partial.write_bytes(bytes(400 * 1024))

attempt("plain", plain)
for width in (50, 300, 420, 460, 480, 500, 520, 600, 1000, 5000):
    attempt(f"split{width}", lambda target: split_file.write(split(width), target))
print(json.dumps(report))
"""


def test_a_disk_that_fills_up_leaves_no_file(tmp_path: Path) -> None:
    """On a real file system of 200 KiB; HDF5 tells of a full disk late, or not at all."""
    mount = 'mount -t tmpfs -o size=200k tmpfs "$1" && shift && exec "$@"'
    words = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh", str(tmp_path)]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*words, "true"], capture_output=True).returncode
    ):
        pytest.skip("mounting a small file system is not permitted here")
    done = subprocess.run(
        [*words, sys.executable, "-c", TINY_DISK, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    report = json.loads(done.stdout)
    fates = [outcome for outcome, _ in report.values()]
    full = [
        f"no disk space to write {tmp_path / name}; free some and start again" for name in report
    ]
    assert fates[0] == full[0]
    assert fates[1] == "written and verified"
    assert fates[-3:] == full[-3:]
    for (name, (outcome, left)), refusal in zip(report.items(), full, strict=True):
        assert outcome in ("written and verified", refusal)
        assert left == ([name] if outcome.startswith("written") else [])
