"""Archives are unpacked completely in their own folder, or refused with an error."""

from __future__ import annotations

import io
import signal
import stat
import subprocess
import sys
import tarfile
import warnings
import zipfile
from pathlib import Path

import pytest

from benchkit.base.errors import BenchkitError
from benchkit.base.terminal import bar
from benchkit.download import archives

FILES = {"VOCdevkit/a.txt": b"first " * 400, "VOCdevkit/sub/b.bin": bytes(range(256)) * 8}


def make_zip(path: Path, files: dict[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, data in (FILES if files is None else files).items():
            opened.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return path


def make_tar(path: Path, files: dict[str, bytes] | None = None) -> Path:
    mode = "w:gz" if path.name.endswith("gz") else "w"
    with tarfile.open(path, mode) as opened:  # type: ignore[call-overload]
        for name, data in (FILES if files is None else files).items():
            add(opened, name, data)
    return path


def add(opened: tarfile.TarFile, name: str, data: bytes = b"", kind: bytes = b"0") -> None:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(data), "/etc/passwd"
    info.mode = 0o4777
    opened.addfile(info, io.BytesIO(data))


def make(path: Path, files: dict[str, bytes] | None = None) -> Path:
    return (make_zip if path.suffix == ".zip" else make_tar)(path, files)


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def refused(archive: Path, *phrases: str, **options: int) -> None:
    """Unpacking fails with a message of one line, and the folder does not change."""
    before = tree(archive.parent)
    with pytest.raises(BenchkitError) as error:
        archives.extract(archive, lambda _: None, bar, **options)
    message = str(error.value)
    assert str(archive) in message and "\n" not in message
    for phrase in phrases:
        assert phrase in message, message
    assert tree(archive.parent) == before
    assert sorted(path.name for path in archive.parent.iterdir()) == sorted(
        {name.split("/")[0] for name in before}
    )


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz", "x.tgz"])
def test_an_archive_is_unpacked_once_in_its_own_folder(name: str, tmp_path: Path) -> None:
    archive, messages = make(tmp_path / name), []
    archives.extract(archive, messages.append, bar)
    contents = tree(tmp_path)
    assert {key: contents[key] for key in FILES} == FILES
    assert set(contents) == {*FILES, name, f".{name}.extracted"}
    assert messages == [f"{name}: 2 files unpacked in {tmp_path}"]
    assert stat.S_IMODE((tmp_path / "VOCdevkit/a.txt").stat().st_mode) & 0o4111 == 0

    archives.extract(archive, messages.append, bar)
    assert messages[1:] == [f"{name}: unpacked already"]


def test_two_archives_share_a_folder(tmp_path: Path) -> None:
    (tmp_path / "VOCdevkit").mkdir()
    (tmp_path / "VOCdevkit" / "mine.txt").write_text("kept")
    archives.extract(make(tmp_path / "a.tar", {"VOCdevkit/x/1": b"one"}), lambda _: None, bar)
    archives.extract(make(tmp_path / "b.tar", {"VOCdevkit/x/2": b"two"}), lambda _: None, bar)
    assert tree(tmp_path / "VOCdevkit") == {"mine.txt": b"kept", "x/1": b"one", "x/2": b"two"}


def test_a_changed_archive_or_missing_files_are_unpacked_again(tmp_path: Path) -> None:
    archive = make(tmp_path / "x.zip", {"a": b"old"})
    archives.extract(archive, lambda _: None, bar)
    make(archive, {"a": b"newer"})
    assert not archives.is_extracted(archive)
    archives.extract(archive, lambda _: None, bar)
    assert (tmp_path / "a").read_bytes() == b"newer"
    archive.unlink()
    assert archives.is_extracted(archive)
    (tmp_path / "a").unlink()
    assert not archives.is_extracted(archive)


@pytest.mark.parametrize("suffix", ["zip", "tar", "tgz"])
@pytest.mark.parametrize(
    "name", ["../out.txt", "a/../../out.txt", "/out.txt", "C:/out.txt", "..\\out.txt", "a\\b"]
)
def test_paths_that_lead_outside_are_refused(suffix: str, name: str, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "er"
    folder.mkdir(parents=True)
    refused(make(folder / f"x.{suffix}", {"good": b"1", name: b"2"}), repr(name), "outside")
    assert set(tree(tmp_path)) == {f"deep/er/x.{suffix}"}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (tarfile.SYMTYPE, "link"),
        (tarfile.LNKTYPE, "link"),
        (tarfile.CHRTYPE, "device"),
        (tarfile.BLKTYPE, "device"),
        (tarfile.FIFOTYPE, "device"),
    ],
)
def test_links_and_devices_in_a_tar_are_refused(kind: bytes, name: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as opened:
        add(opened, "good", b"1")
        add(opened, "bad", kind=kind)
    refused(tmp_path / "x.tar", f"holds a {name} ('bad')")


@pytest.mark.parametrize(
    ("kind", "name"), [(stat.S_IFLNK, "link"), (stat.S_IFCHR, "device"), (stat.S_IFIFO, "device")]
)
def test_links_and_devices_in_a_zip_are_refused(kind: int, name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as opened:
        info = zipfile.ZipInfo("bad")
        info.external_attr = (kind | 0o777) << 16
        opened.writestr(info, "/etc/passwd")
    refused(tmp_path / "x.zip", f"holds a {name} ('bad')")


def test_an_archive_with_an_implausible_size_is_refused(tmp_path: Path) -> None:
    archive = make(tmp_path / "x.zip", {"a": bytes(2**20), "b": bytes(2**20)})
    refused(archive, "more than 2.0 MiB", limit=2**21 - 1)
    assert archives.MIN_LIMIT == 2**26
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("a", bytes(2**26 + 1))
    refused(tmp_path / "bomb.zip", "more than 64.0 MiB")


def test_a_wrong_declared_size_is_refused(tmp_path: Path) -> None:
    data = bytearray(make(tmp_path / "x.zip", {"a": b"0123456789" * 50}).read_bytes())
    for signature, offset in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        at = data.index(signature) + offset
        data[at : at + 4] = (490).to_bytes(4, "little")
    (tmp_path / "x.zip").write_bytes(data)
    refused(tmp_path / "x.zip", "damaged")


@pytest.mark.parametrize("suffix", ["zip", "tar"])
def test_a_duplicate_name_or_that_of_the_archive_is_refused(suffix: str, tmp_path: Path) -> None:
    archive = tmp_path / f"x.{suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if suffix == "zip":
            with zipfile.ZipFile(archive, "w") as zipped:
                zipped.writestr("a", "1")
                zipped.writestr("./a", "2")
        else:
            with tarfile.open(archive, "w") as tarred:
                add(tarred, "a", b"1")
                add(tarred, "./a", b"2")
    refused(archive, "twice")
    refused(make(archive, {f".x.{suffix}.extracted": b"{}"}), "own name")


@pytest.mark.parametrize("suffix", ["zip", "tar", "tgz"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.9])
def test_a_truncated_archive_is_refused(suffix: str, share: float, tmp_path: Path) -> None:
    archive = make(tmp_path / f"x.{suffix}")
    content = archive.read_bytes()
    if suffix == "tar":  # without the padding after the end of the archive
        content = content[: len(content.rstrip(b"\0")) + 512]
    archive.write_bytes(content[: int(len(content) * share)])
    refused(archive, "damaged or truncated", "download it again")


def test_a_tar_that_is_cut_or_damaged_between_two_members_is_refused(tmp_path: Path) -> None:
    archive = make(tmp_path / "x.tar", {"a": b"1" * 512, "b": b"2" * 512})
    content = archive.read_bytes()
    archive.write_bytes(content[:1024])
    refused(archive, "no end after byte 1,024")
    archive.write_bytes(content[:1024] + b"\xff" * 512 + content[1536:])
    refused(archive, "no end after byte 1,024")


def test_wrong_bytes_and_encryption_in_a_zip_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as opened:
        opened.writestr("a", b"content")
    data = bytearray((tmp_path / "x.zip").read_bytes())
    at = data.index(b"content")
    (tmp_path / "x.zip").write_bytes(bytes(data[:at]) + b"CONTENT" + bytes(data[at + 7 :]))
    refused(tmp_path / "x.zip", "damaged", "CRC")
    data[data.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "x.zip").write_bytes(data)
    refused(tmp_path / "x.zip", "encrypted")


KILLED = """
import os, signal, sys
from pathlib import Path
from benchkit.download import archives
from benchkit.base.terminal import bar

left, rename = int(sys.argv[2]), Path.replace

def replace(self, target):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return rename(self, target)

Path.replace = replace
archives.extract(Path(sys.argv[1]), print, bar)
"""


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_kill_leaves_complete_files_and_the_next_call_finishes(
    steps: int, tmp_path: Path
) -> None:
    """Killed before the first move, between two moves, and before the marker."""
    files = {"a/1": b"one" * 999, "b/2": b"two" * 999}
    archive = make(tmp_path / "x.zip", files)
    command = [sys.executable, "-c", KILLED, str(archive), str(steps)]
    result = subprocess.run(command, capture_output=True, timeout=60)
    assert result.returncode == -signal.SIGKILL
    moved = {key: value for key, value in tree(tmp_path).items() if not key.startswith((".", "x"))}
    assert moved == dict(list(files.items())[:steps])
    assert not archives.is_extracted(archive)

    archives.extract(archive, lambda _: None, bar)
    assert tree(tmp_path).keys() == {*files, "x.zip", ".x.zip.extracted"}
    assert {key: tree(tmp_path)[key] for key in files} == files
