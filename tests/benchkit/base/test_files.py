"""Atomic files: complete or absent, however the writer ends."""

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
    """The id of a running process."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process.pid
    process.kill()
    process.communicate()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_success_leaves_only_the_target(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "a.txt"
    messages: list[str] = []
    with atomic(target, messages.append) as partial:
        assert partial.parent == target.parent
        partial.write_text("complete")
        assert not target.exists()
    assert target.read_text() == "complete"
    assert names(target.parent) == ["a.txt"]
    assert messages == []


def test_an_old_target_is_kept_until_the_new_one_is_complete(tmp_path: Path) -> None:
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
def test_an_exception_leaves_no_file_and_is_raised_again(
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


def test_a_new_folder_replaces_the_old_one(tmp_path: Path) -> None:
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
def test_leftovers_of_dead_writers_are_removed_and_logged(
    tmp_path: Path, dead: int, target: str
) -> None:
    file = tmp_path / f".{target}.{HOST}-{dead}.partial"
    file.write_text("half")
    own = tmp_path / f".{target}.{HOST}-{os.getpid()}.partial"  # an earlier process, same id
    (own / "inside").mkdir(parents=True)
    messages: list[str] = []
    with atomic(tmp_path / target, messages.append) as partial:
        partial.write_text("complete")
    assert names(tmp_path) == [target]
    assert sorted(messages) == sorted(
        f"ignoring and removing {path}: its writer was interrupted" for path in (file, own)
    )


def test_partial_files_of_possible_writers_are_kept(tmp_path: Path, live: int, dead: int) -> None:
    kept = [
        f".split.h5.{HOST}-{live}.partial",
        f".split.h5.elsewhere-{dead}.partial",  # processes of another host are unknown
        f".split.h5.{HOST}-x1.partial",
        f".other.h5.{HOST}-{dead}.partial",
    ]
    for name in kept:
        (tmp_path / name).write_text("half")
    messages: list[str] = []
    with atomic(tmp_path / "split.h5", messages.append) as partial:
        partial.write_text("complete")
    assert names(tmp_path) == sorted([*kept, "split.h5"])
    assert messages == []


def test_too_little_space_is_an_error_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: SimpleNamespace(free=3 * 2**20))
    message = r"no disk space to write .*a\.h5: it needs 5\.0 MiB and 3\.0 MiB are free"
    with pytest.raises(BenchkitError, match=message), atomic(tmp_path / "a.h5", needed=5 * 2**20):
        pytest.fail("the block must not be entered")
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
def test_a_write_error_names_the_target_and_the_reason(
    tmp_path: Path, error: OSError, message: str
) -> None:
    with pytest.raises(BenchkitError, match=message), atomic(tmp_path / "a.h5") as partial:
        partial.write_text("half")
        raise error
    assert names(tmp_path) == []


def test_an_impossible_target_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for target in (tmp_path / "file" / "a.h5", tmp_path / ("long" * 70)):
        with pytest.raises(BenchkitError, match="cannot be written: "), atomic(target) as partial:
            partial.write_text("half")
    with (
        pytest.raises(BenchkitError, match="cannot be written: "),
        atomic(tmp_path / "file") as partial,
    ):
        partial.mkdir()  # a folder cannot replace a file
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

# Another program may fill the disk after its free space was checked.
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


def test_a_disk_that_fills_up_leaves_no_partial_file(tmp_path: Path) -> None:
    """On a real file system of 200 KiB: HDF5 reports a full disk late or never."""
    mount = 'mount -t tmpfs -o size=200k tmpfs "$1" && shift && exec "$@"'
    isolated = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh", str(tmp_path)]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*isolated, "true"], capture_output=True).returncode
    ):
        pytest.skip("mounting a small file system is not permitted here")
    command = [*isolated, sys.executable, "-c", TINY_DISK, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    report = json.loads(result.stdout)
    outcomes = [outcome for outcome, _ in report.values()]
    errors = [
        f"no disk space to write {tmp_path / name}; free some space and try again"
        for name in report
    ]
    assert outcomes[0] == errors[0]
    assert outcomes[1] == "written and verified"
    assert outcomes[-3:] == errors[-3:]
    for (name, (outcome, files_left)), error in zip(report.items(), errors, strict=True):
        assert outcome in ("written and verified", error)
        assert files_left == ([name] if outcome.startswith("written") else [])


# --------------------------------------------------------------------------- sizes and locks


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (300_000, "293.0 KiB"),
        (2**20, "1.0 MiB"),
        (19_336_861_798, "18.0 GiB"),
    ],
)
def test_sizes_are_shown_in_binary_units(size: int, text: str) -> None:
    assert files.format_size(size) == text


def test_a_locked_file_is_refused_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("w") as first, path.open("r") as second:
        files.lock(first, "never shown")
        with pytest.raises(BenchkitError, match=r"^it is in use$"):
            files.lock(second, "it is in use")
        first.close()
        files.lock(second, "never shown")


def test_a_writable_path_gets_its_folder(tmp_path: Path) -> None:
    files.writable(tmp_path / "a" / "b" / "split.h5")
    assert (tmp_path / "a" / "b").is_dir()
    with pytest.raises(BenchkitError, match=r"a is a folder; --out takes the path of a file"):
        files.writable(tmp_path / "a")


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BenchkitError, match=r"file/sub cannot be created: Not a directory"):
        files.make_folder(tmp_path / "file" / "sub")
