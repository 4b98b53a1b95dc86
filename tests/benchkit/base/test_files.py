"""Atomic files: complete or absent, however the writer ends."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_disks import mounted

from benchkit.base import files, outputs
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
        assert partial.parent.parent == target.parent  # on the same disk
        assert partial.name == target.name
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


def test_a_writer_that_fails_removes_the_folders_that_it_created(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    with pytest.raises(ZeroDivisionError), atomic(tmp_path / "old" / "new" / "er" / "a") as partial:
        partial.write_text("half")
        raise ZeroDivisionError
    assert names(tmp_path / "old") == []
    with pytest.raises(ZeroDivisionError), atomic(tmp_path / "old" / "new" / "er" / "a") as partial:
        (tmp_path / "old" / "new" / "another").write_text("kept")
        raise ZeroDivisionError
    assert names(tmp_path / "old" / "new") == ["another"]


LONG = ["a" * 229, "a" * 230, "\u00e9" * 127, "a.b" * 80 + ".partial", "n\udcff" * 127, "a" * 255]


@pytest.mark.parametrize("name", LONG)
def test_names_of_up_to_255_bytes_are_written_and_cleaned_up(tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    with atomic(target) as partial:
        partial.write_text("first")
    assert names(tmp_path) == [name]
    pid = os.fork()
    if pid == 0:
        with atomic(target):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert len(names(tmp_path)) == 2
    messages: list[str] = []
    with atomic(target, messages.append) as partial:
        partial.write_text("second")
    assert len(messages) == 1 and "its writer was interrupted" in messages[0]
    assert names(tmp_path) == [name]
    assert target.read_text() == "second"


def test_hidden_names_hold_the_target_or_its_digest(tmp_path: Path) -> None:
    with atomic(tmp_path / "a.h5") as partial:
        partial.write_text("x")
        assert re.fullmatch(r"\.a\.h5\.[0-9a-f]{16}\.partial", partial.parent.name)
    with atomic(tmp_path / ("a" * 230)) as partial:
        partial.write_text("x")
        digest = hashlib.sha256(b"a" * 230).hexdigest()
        assert partial.parent.name.startswith(f".sha256-{digest}.")


def test_a_long_name_set_aside_is_restored_under_its_own_name(tmp_path: Path) -> None:
    target = tmp_path / ("a" * 240)
    digest = hashlib.sha256(b"a" * 240).hexdigest()
    partial = tmp_path / f".sha256-{digest}.0123456789abcdef.partial"
    (partial / ".old0").mkdir(parents=True)
    (partial / ".old0" / "one").write_text("old")
    (partial / ".lock").write_text("")
    files.remove_all_unfinished(tmp_path, lambda _: None)  # it does not know the name
    assert names(tmp_path) == [partial.name]
    files.remove_unfinished(target, lambda _: None)
    assert names(tmp_path) == [target.name]
    assert (target / "one").read_text() == "old"


@pytest.mark.parametrize(
    "path", ["a" * 256, "\u00e9" * 128, f"new/{'a' * 256}/b", "a/" * 2048 + "b"]
)
def test_an_impossible_name_is_refused_in_a_sentence(tmp_path: Path, path: str) -> None:
    limit = 255 if len(path) < 1000 else 4095
    message = rf"cannot be written: a (file name|path) of \d+ bytes is too long, at most {limit}"
    for write in (
        lambda target: outputs.writable(target),
        lambda target: outputs.make_folder(target),
        lambda target: atomic(target).__enter__(),
    ):
        with pytest.raises(BenchkitError, match=message) as caught:
            write(tmp_path / path)
        assert str(caught.value).startswith(str(tmp_path / path))
    assert names(tmp_path) == []


# --------------------------------------------------------------------------- killed writers


KILLED = """
import os, signal, sys
from pathlib import Path
from benchkit.base import files, outputs

def killed_after(calls, function):
    def counted(*arguments, **options):
        calls[0] -= 1
        if calls[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return counted

def write(target, steps):
    calls = [steps]
    for owner, name in [
        (Path, "mkdir"), (Path, "replace"), (files.os, "open"), (files, "sync"),
        (files.shutil, "rmtree"), (files.os, "unlink"), (files.os, "rmdir"),
    ]:
        setattr(owner, name, killed_after(calls, getattr(owner, name)))
    with files.atomic(target) as partial:
        partial.mkdir()
        (partial / "one").write_text("new")
        (partial / "two").write_text("new")

for folder in sys.argv[1:]:
    target = Path(folder) / "run"
    if os.fork() == 0:
        write(target, int(Path(folder).name))
        os._exit(0)
    _, status = os.wait()
    print(os.waitstatus_to_exitcode(status))
"""


def contents(target: Path) -> set[str]:
    assert names(target) == ["one", "two"]
    return {path.read_text() for path in target.iterdir()}


def test_a_replacement_killed_at_any_step_leaves_the_old_or_the_new_folder(tmp_path: Path) -> None:
    folders = [tmp_path / str(step) for step in range(40)]
    for folder in folders:
        (folder / "run").mkdir(parents=True)
        (folder / "run" / "one").write_text("old")
        (folder / "run" / "two").write_text("old")
    command = [sys.executable, "-c", KILLED, *map(str, folders)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    codes = [int(line) for line in output.split()]
    killed = codes.index(0)
    assert set(codes[:killed]) == {-signal.SIGKILL} and set(codes[killed:]) == {0}
    assert killed >= 15
    restored = 0
    for folder, code in zip(folders, codes, strict=True):
        messages: list[str] = []
        files.remove_all_unfinished(folder, messages.append)
        assert names(folder) == ["run"]
        assert len(contents(folder / "run")) == 1
        restored += any(message.startswith("restoring") for message in messages)
        assert code != 0 or messages == []
    states = [contents(folder / "run").pop() for folder in folders]
    assert states == sorted(states, reverse=True) and set(states) == {"old", "new"}
    assert restored == 1  # killed between the two renames
    # The next writer itself cleans up as well.
    with atomic(folders[0] / "run") as partial:
        partial.mkdir()
    assert names(folders[0]) == ["run"]


def half_replaced(folder: Path, token: str) -> Path:
    """The state of a writer that was killed between its two renames."""
    partial = folder / f".run.{token}.partial"
    (partial / ".old0").mkdir(parents=True)
    (partial / ".old0" / "one").write_text("old")
    (partial / ".lock").write_text("")
    return partial


def test_a_folder_that_was_set_aside_is_restored_only_if_nothing_replaced_it(
    tmp_path: Path,
) -> None:
    partial = half_replaced(tmp_path, "0123456789abcdef")
    messages: list[str] = []
    files.remove_unfinished(tmp_path / "run", messages.append)
    assert messages == [
        f"restoring {tmp_path / 'run'}: its replacement was interrupted",
        f"ignoring and removing {partial}: its writer was interrupted",
    ]
    assert names(tmp_path) == ["run"]
    assert (tmp_path / "run" / "one").read_text() == "old"
    (tmp_path / "run" / "one").write_text("newer")
    half_replaced(tmp_path, "0123456789abcdee")
    files.remove_unfinished(tmp_path / "run", messages.append)
    assert (tmp_path / "run" / "one").read_text() == "newer"
    assert names(tmp_path) == ["run"]


def test_a_writer_that_fails_between_the_renames_restores_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "run"
    target.mkdir()
    (target / "one").write_text("old")
    replace = Path.replace

    def failing(self: Path, other: Path) -> Path:
        if self.name == "run" and self.parent != tmp_path:
            raise OSError(errno.EIO, "Input/output error")
        return replace(self, other)

    monkeypatch.setattr(Path, "replace", failing)
    message = r"run cannot be written: Input/output error"
    with pytest.raises(BenchkitError, match=message), atomic(target) as partial:
        partial.mkdir()
    assert names(tmp_path) == ["run"]
    assert (target / "one").read_text() == "old"


def test_two_writers_of_one_folder_both_succeed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second puts its folder in place between the renames of the first."""
    target = tmp_path / "run"
    target.mkdir()
    replace, second = Path.replace, []

    def interleaved(self: Path, other: Path) -> Path:
        if self.name == "run" and other == target and not second:
            second.append(True)
            with atomic(target) as partial:
                partial.mkdir()
                (partial / "second").write_text("")
        return replace(self, other)

    monkeypatch.setattr(Path, "replace", interleaved)
    with atomic(target) as partial:
        partial.mkdir()
        (partial / "first").write_text("")
    assert names(tmp_path) == ["run"]
    assert names(target) == ["first"]


def test_a_living_writer_holds_a_lock_whatever_its_process(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with atomic(target) as partial:
        partial.write_text("first")
        with atomic(target) as second:
            second.write_text("second")
        assert partial.exists()
        assert target.read_text() == "second"
    assert target.read_text() == "first"
    assert names(tmp_path) == ["a.txt"]


def test_temporary_names_are_unpredictable_and_what_is_planted_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("kept")
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("0123456789abcdef", f"{HOST}-999999999"):
        (folder / f".a.txt.{name}.partial").symlink_to(outside)
    seen = []
    for _ in range(2):
        with atomic(folder / "a.txt") as partial:
            partial.write_text("x")
            seen.append(partial.parent.name)
            assert partial.parent.stat().st_mode & 0o777 == 0o700
    assert seen[0] != seen[1]
    assert names(outside) == ["file"]
    # Even a name that was guessed is refused.
    monkeypatch.setattr(files.secrets, "token_hex", lambda _: "0123456789abcdef")
    with pytest.raises(BenchkitError, match="File exists"), atomic(folder / "a.txt") as partial:
        pytest.fail("the block must not be entered")
    assert names(outside) == ["file"]


def test_a_file_system_without_locks_keeps_every_leftover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", unsupported)
    partial = half_replaced(tmp_path, "0123456789abcdef")
    with atomic(tmp_path / "run") as new:
        new.mkdir()
    assert names(tmp_path) == sorted([partial.name, "run"])


def test_a_line_is_appended_by_one_write(tmp_path: Path) -> None:
    files.append_line(tmp_path / "run.log", "first")
    files.append_line(tmp_path / "run.log", "caf\u00e9 \udcff")
    assert (tmp_path / "run.log").read_text() == "first\ncaf\u00e9 \\udcff\n"


# --------------------------------------------------------------------------- disks


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
from benchkit.base import files, outputs
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
    result = mounted("size=200k", [sys.executable, "-c", TINY_DISK, str(tmp_path)])
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


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe"])
def test_a_target_that_is_no_file_is_not_replaced(tmp_path: Path, kind: str) -> None:
    target, other = tmp_path / "target", tmp_path / "other"
    if kind == "pipe":
        os.mkfifo(target)
    else:
        target.symlink_to(other)
        if kind == "link":
            other.write_text("old")
    for write in (lambda: outputs.writable(target), lambda: atomic(target).__enter__()):
        with pytest.raises(BenchkitError, match="is not replaced; give the path of a file"):
            write()
    assert target.is_symlink() or target.is_fifo()
    assert not other.exists() or other.read_text() == "old"
