"""Checks of outputs before long work: a full disk or a wrong path is noticed, no file is left."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_disks import mounted

from benchkit.base import outputs
from benchkit.base.errors import BenchkitError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_writable_path_is_checked_and_nothing_is_created(tmp_path: Path) -> None:
    outputs.writable(tmp_path / "a" / "b" / "split.h5")
    assert names(tmp_path) == []
    (tmp_path / "a").mkdir()
    with pytest.raises(BenchkitError, match=r"a is a folder; --out takes the path of a file"):
        outputs.writable(tmp_path / "a")


UNWRITABLE = """
import sys
from pathlib import Path
from benchkit.base import outputs
from benchkit.base.errors import BenchkitError
disk = Path(sys.argv[1])
try:
    (disk / "ballast").write_bytes(bytes(2**20))
except OSError:
    pass
for check in (outputs.writable_folder, lambda path: outputs.writable(path / "page.html")):
    try:
        check(disk)
    except BenchkitError as error:
        print(error)
print(sorted(path.name for path in disk.iterdir() if path.name != "ballast"))
"""


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("size=64k", "no disk space to write {}; free some space and try again"),
        ("size=64k,ro", "{} cannot be written: Read-only file system"),
    ],
)
def test_a_full_or_read_only_disk_is_noticed_before_anything_is_computed(
    tmp_path: Path, options: str, sentence: str
) -> None:
    result = mounted(options, [sys.executable, "-c", UNWRITABLE, str(tmp_path)])
    assert result.stderr == ""
    assert result.stdout.splitlines() == [sentence.format(tmp_path)] * 2 + ["[]"]


def test_a_file_in_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    message = r"file is not a folder, and a folder is needed here"
    for check in (outputs.make_folder, outputs.writable_folder):
        with pytest.raises(BenchkitError, match=message):
            check(tmp_path / "file")
    message = r"file/page\.html cannot be written: .*/file is not a folder$"
    with pytest.raises(BenchkitError, match=message):
        outputs.writable(tmp_path / "file" / "page.html")
    outputs.writable_folder(tmp_path / "new" / "runs")
    assert names(tmp_path / "new" / "runs") == []


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BenchkitError, match=r"file/sub cannot be created: Not a directory"):
        outputs.make_folder(tmp_path / "file" / "sub")


# --------------------------------------------------------------------------- killed checks


KILLED = """
import os, signal, sys
from pathlib import Path
from benchkit.base import outputs

def killed(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[2] == "named":
    os.O_TMPFILE = 0  # as on file systems without unnamed files
    outputs.Path.unlink = killed
else:
    outputs.os.fsync = killed
outputs.writable_folder(Path(sys.argv[1]))
"""


@pytest.mark.parametrize(("kind", "left"), [("unnamed", 0), ("named", 1)])
def test_a_killed_check_leaves_nothing_that_the_next_one_keeps(
    tmp_path: Path, kind: str, left: int
) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path), kind]
    assert subprocess.run(command, check=False).returncode < 0
    assert len(names(tmp_path)) == left
    kept = [".0123.probe", ".0123456789abcdee.probe"]
    for name in kept:
        (tmp_path / name).write_text("of another program")
    messages: list[str] = []
    outputs.writable(tmp_path / "split.h5", messages.append)
    assert names(tmp_path) == kept
    assert [message.split(":")[0].startswith("removing ") for message in messages] == [True] * left


def test_a_file_system_without_unnamed_files_is_checked_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, opens = [], os.open

    def without(path: Path, flags: int, mode: int = 0o777) -> int:
        if Path(path) == tmp_path:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        opened.append(Path(path).name)
        return opens(path, flags, mode)

    monkeypatch.setattr(outputs.os, "open", without)
    outputs.writable_folder(tmp_path)
    assert len(opened) == 1 and opened[0].endswith(".probe")
    assert names(tmp_path) == []
