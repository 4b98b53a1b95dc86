"""Archives that are damaged or made to harm: one sentence, and nothing is unpacked."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import tempfile
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchkit.base.errors import BenchkitError
from benchkit.base.messages import no_bar, no_log
from benchkit.download import archives

FILES = {"d/a.txt": b"first " * 40, "d/sub/b.bin": bytes(range(256)), f"d/{'n' * 120}": b"x" * 700}
BLOCK = 512


def zip_bytes(method: int) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as file:
        for name, data in FILES.items():
            file.writestr(zipfile.ZipInfo(name), data, method)
    return raw.getvalue()


class Pipe(io.RawIOBase):
    """A file that cannot seek, so that zip writes sizes and checksums after the data."""

    def __init__(self) -> None:
        self.content = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.content += data
        return len(data)


def piped_zip(large: bool) -> bytes:
    """A zip file with data descriptors, with sizes of 64 bits if `large`; one file is empty."""
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w") as file:
        for name, data in {**FILES, "d/empty": b""}.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            with file.open(info, "w", force_zip64=large) as member:
                member.write(data)
    return bytes(pipe.content)


def commented_zip() -> bytes:
    """A zip file with a folder, sizes of 64 bits and a comment."""
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as file:
        file.mkdir("d")
        for name, data in FILES.items():
            with file.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member:
                member.write(data)
        file.comment = b"a comment"
    return raw.getvalue()


def tar_bytes(mode: str, layout: int) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode=mode, format=layout) as file:  # type: ignore[call-overload]
        for name, data in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return raw.getvalue()


ARCHIVES = {
    "stored.zip": zip_bytes(zipfile.ZIP_STORED),
    "deflated.zip": zip_bytes(zipfile.ZIP_DEFLATED),
    "bzip2.zip": zip_bytes(zipfile.ZIP_BZIP2),
    "lzma.zip": zip_bytes(zipfile.ZIP_LZMA),
    "piped.zip": piped_zip(False),
    "piped64.zip": piped_zip(True),
    "commented.zip": commented_zip(),
    "pax.tar": tar_bytes("w", tarfile.PAX_FORMAT),
    "gnu.tar": tar_bytes("w", tarfile.GNU_FORMAT),
    "pax.tgz": tar_bytes("w:gz", tarfile.PAX_FORMAT),
    "stored.tar.gz": gzip.compress(tar_bytes("w", tarfile.GNU_FORMAT), compresslevel=0),
}


def header(kind: bytes, size: int, name: str = "m", size_field: bytes = b"") -> bytes:
    """A tar header block with a valid checksum; `size_field` replaces the bytes of the size."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT)[:BLOCK])
    block[124 : 124 + len(size_field)] = size_field
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax(records: bytes) -> bytes:
    """A PAX header, followed by an empty member and the end of the archive."""
    padded = records + bytes(-len(records) % BLOCK)
    return header(tarfile.XHDTYPE, len(records)) + padded + header(b"0", 0) + bytes(2 * BLOCK)


def refused(folder: Path, name: str, content: bytes) -> str:
    (folder / name).write_bytes(content)
    with pytest.raises(BenchkitError) as error:
        archives.extract(folder / name, no_log, no_bar)
    assert [path.name for path in folder.iterdir()] == [name]
    message = str(error.value)
    assert "\n" not in message and name in message
    return message


def unpacked(name: str, content: bytes) -> dict[str, bytes] | None:
    """The files of an archive; None if it is refused with one sentence and nothing is unpacked."""
    with tempfile.TemporaryDirectory() as outer:
        folder = Path(outer)
        (folder / name).write_bytes(content)
        try:
            archives.extract(folder / name, no_log, no_bar)
        except BenchkitError as error:
            assert "\n" not in str(error)
            assert [path.name for path in folder.iterdir()] == [name]
            return None
        (folder / name).unlink()
        archives.marker(folder / name).unlink()
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("kind", [b"x", b"g", b"X", b"L", b"K"])
def test_a_large_header_is_refused_before_it_is_read(kind: bytes, tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        message = refused(tmp_path, "a.tar", header(kind, 1 << 32) + bytes(4 * BLOCK))
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()
    assert "holds a header of 4.0 GiB; nothing was unpacked" in message


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (header(b"S", 100) + bytes(4 * BLOCK), "holds a sparse file ('m')"),
        (pax(b"30 GNU.sparse.size=9999999999\n22 GNU.sparse.map=0,1\n"), "holds a sparse file"),
        (pax(b"30 GNU.sparse.size=one million\n"), "damaged or truncated"),
        (pax(b"16 size=1000000\n"), "damaged or truncated"),
        (pax(b"11 size=-5\n"), "damaged or truncated"),
        (header(b"0", 0, size_field=b"\xff" * 12) + bytes(2 * BLOCK), "damaged or truncated"),
        (header(b"0", 0, "a") + header(b"0", 0, "a/b") + bytes(2 * BLOCK), "'a' as a file and as"),
        (header(b"0", 0, ".") + bytes(2 * BLOCK), "holds a file with the name '.'"),
        (header(b"2", 0, "a\nb") + bytes(2 * BLOCK), r"holds a link ('a\nb')"),
    ],
)
def test_headers_with_odd_content(content: bytes, text: str, tmp_path: Path) -> None:
    assert text in refused(tmp_path, "a.tar", content)


def test_a_number_that_is_none_is_ignored_or_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(pax(b"13 mtime=1e9e\n"))
    archives.extract(tmp_path / "a.tar", no_log, no_bar)
    assert (tmp_path / "m").read_bytes() == b""


def test_many_members_without_data_are_refused(tmp_path: Path) -> None:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz", compresslevel=1) as file:
        for number in range(150):
            file.addfile(tarfile.TarInfo(str(number)))
    (tmp_path / "a.tgz").write_bytes(raw.getvalue())
    with pytest.raises(BenchkitError, match="would unpack to more than"):
        archives.extract(tmp_path / "a.tgz", no_log, no_bar, limit=149 * BLOCK)
    archives.extract(tmp_path / "a.tgz", no_log, no_bar, limit=150 * BLOCK)


@pytest.mark.parametrize("name", ["bzip2.zip", "lzma.zip", "deflated.zip", "pax.tgz"])
def test_damaged_compression(name: str, tmp_path: Path) -> None:
    content = bytearray(ARCHIVES[name])
    content[60:75] = b"\xa5" * 15
    assert "damaged or truncated" in refused(tmp_path, name, bytes(content))


@pytest.mark.parametrize("is_folder", [False, True])
def test_an_existing_folder_or_file_in_the_way(is_folder: bool, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("kept")
    (tmp_path / "z").mkdir() if is_folder else (tmp_path / "z").write_text("kept")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("a", "new")
        file.writestr("z" if is_folder else "z/b", "new")
    with pytest.raises(BenchkitError, match=r"'z', but .*z is a (folder|file); nothing was"):
        archives.extract(tmp_path / "x.zip", no_log, no_bar)
    assert (tmp_path / "a").read_text() == "kept"


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    """An archive with changed, removed and inserted bytes; tar headers get a valid checksum."""
    name = draw(st.sampled_from(sorted(ARCHIVES)))
    content = bytearray(ARCHIVES[name])
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(content)))
        new = draw(st.binary(max_size=12) | st.sampled_from([b"x", b"S", b"g", b"../", b"9" * 12]))
        content[start : start + draw(st.integers(0, 12))] = new
    if name.endswith(".tar") and draw(st.booleans()):
        for start in range(0, len(content) - BLOCK + 1, BLOCK):
            if content[start + 257 : start + 262] == b"ustar":
                content[start + 148 : start + 156] = b" " * 8
                total = sum(content[start : start + BLOCK])
                content[start + 148 : start + 156] = b"%06o\0 " % total
    return name, bytes(content)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(damaged())
def test_a_damaged_archive_is_unpacked_inside_or_not_at_all(case: tuple[str, bytes]) -> None:
    name, content = case
    with tempfile.TemporaryDirectory() as outer:
        folder = Path(outer) / "in"
        folder.mkdir()
        (folder / name).write_bytes(content)
        try:
            archives.extract(folder / name, no_log, no_bar)
        except BenchkitError as error:
            assert "\n" not in str(error)
            assert [path.name for path in folder.iterdir()] == [name]
        assert [path.name for path in Path(outer).iterdir()] == ["in"]
        assert all(path.is_dir() or path.is_file() for path in folder.rglob("*"))
        assert not any(path.is_symlink() for path in folder.rglob("*"))


# ----------------------------------------------------------------------------- checksums and ends


def files_of(name: str) -> dict[str, bytes]:
    return {**FILES, "d/empty": b""} if name.startswith("piped") else FILES


def data_blocks() -> set[int]:
    """The blocks of the tar files that no checksum protects: contents and long names."""
    return {1, 3, 5, 7, 8}


@st.composite
def changed_once(draw: st.DrawFn) -> tuple[str, bytes]:
    """An archive with one bit flipped, or some bytes removed, or inserted, or cut off."""
    name = draw(st.sampled_from(sorted(ARCHIVES)))
    content = ARCHIVES[name]
    start = draw(st.integers(0, len(content) - 1))
    change = draw(st.sampled_from(["flip", "remove", "insert", "cut"]))
    if change == "flip":
        if name.endswith(".tar") and start // BLOCK in data_blocks():
            start = 0
        flipped = content[start] ^ 1 << draw(st.integers(0, 7))
        return name, content[:start] + bytes([flipped]) + content[start + 1 :]
    if change == "insert":
        return name, content[:start] + draw(st.binary(min_size=1, max_size=40)) + content[start:]
    length = len(content) if change == "cut" else draw(st.integers(1, 40))
    return name, content[:start] + content[start + length :]


@settings(max_examples=400, deadline=None)
@given(changed_once())
def test_one_change_is_refused_or_changes_no_file(case: tuple[str, bytes]) -> None:
    name, content = case
    assert unpacked(name, content) in (None, files_of(name))


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_of_ordinary_programs_are_unpacked(name: str) -> None:
    assert unpacked(name, ARCHIVES[name]) == files_of(name)


@pytest.mark.parametrize("name", ["pax.tgz", "stored.tar.gz"])
def test_the_trailer_of_gzip_is_compared(name: str, tmp_path: Path) -> None:
    content = ARCHIVES[name]
    for back, text in ((8, "does not match its checksum"), (4, "not have the length that it")):
        changed = bytearray(content)
        changed[-back] ^= 1
        assert text in refused(tmp_path, name, bytes(changed))
    for length in range(1, 9):
        assert "it ends too early" in refused(tmp_path, name, content[:-length])
    assert "other data follow" in refused(tmp_path, name, content + b"more")
    assert unpacked(name, content + bytes(5)) == FILES


def test_a_changed_bit_of_stored_data_is_seen_by_the_checksum_alone(tmp_path: Path) -> None:
    content = bytearray(ARCHIVES["stored.tar.gz"])
    content[content.index(b"first ") + 2] ^= 4
    assert "checksum" in refused(tmp_path, "stored.tar.gz", bytes(content))


@pytest.mark.parametrize(
    ("end", "text"),
    [
        (bytes(BLOCK), "no end after byte 4,608"),
        (bytes(2 * BLOCK - 1), "no end after byte 4,608"),
        (bytes(2 * BLOCK + 1), "no end after byte 4,608"),
        (bytes(2 * BLOCK) + b"x" * BLOCK, "other data follow its end at byte 4,608"),
        (bytes(BLOCK) + header(b"0", 0) + bytes(2 * BLOCK), "other data follow its end"),
        (b"", "no end after byte 4,608"),
    ],
)
def test_the_end_of_a_tar_file(end: bytes, text: str, tmp_path: Path) -> None:
    members = ARCHIVES["gnu.tar"][: 9 * BLOCK]
    assert unpacked("a.tar", members + bytes(2 * BLOCK)) == FILES
    assert text in refused(tmp_path, "a.tar", members + end)


@pytest.mark.parametrize("name", ["a.tar", "a.tgz", "a.zip"])
def test_a_named_pipe_is_refused_instead_of_read(name: str, tmp_path: Path) -> None:
    archive = tmp_path / name
    os.mkfifo(archive)
    with pytest.raises(BenchkitError, match="is a named pipe; it must be a regular file"):
        archives.extract(archive, no_log, no_bar)
    assert list(tmp_path.iterdir()) == [archive]


@pytest.mark.parametrize("name", ["a.tar", "a.tgz", "a.zip"])
def test_an_archive_without_a_file_is_refused(name: str, tmp_path: Path) -> None:
    folder = header(tarfile.DIRTYPE, 0, "d") + bytes(2 * BLOCK)
    if name == "a.zip":
        raw = io.BytesIO()
        with zipfile.ZipFile(raw, "w") as file:
            file.mkdir("d")
        empty, folder = b"PK\5\6" + bytes(18), raw.getvalue()
    elif name == "a.tgz":
        empty, folder = gzip.compress(bytes(2 * BLOCK)), gzip.compress(folder)
    else:
        empty = bytes(2 * BLOCK)
        refused(tmp_path, name, bytes(3 * BLOCK - 1))
    for content in (empty, folder):
        assert "holds no file; nothing was unpacked" in refused(tmp_path, name, content)


def directory(content: bytes) -> tuple[bytes, list[bytes], bytes]:
    """The members, the entries of the directory and the end record of a zip file."""
    end = content.rindex(b"PK\5\6")
    start = int.from_bytes(content[end + 16 : end + 20], "little")
    entries = [b"PK\1\2" + entry for entry in content[start:end].split(b"PK\1\2")[1:]]
    return content[:start], entries, content[end:]


def joined(members: bytes, entries: list[bytes], end: bytes, count: int) -> bytes:
    """A zip file whose end record fits the size and the position of the directory."""
    length = sum(map(len, entries))
    numbers = count.to_bytes(2, "little") * 2 + length.to_bytes(4, "little")
    return (
        members
        + b"".join(entries)
        + end[:8]
        + numbers
        + len(members).to_bytes(4, "little")
        + end[20:]
    )


def test_a_directory_that_lists_fewer_files_is_refused(tmp_path: Path) -> None:
    members, entries, end = directory(ARCHIVES["deflated.zip"])
    assert unpacked("a.zip", joined(members, entries, end, 3)) == FILES
    for count in (2, 4):
        text = refused(tmp_path, "a.zip", joined(members, entries, end, count))
        assert "its directory and its end record list different numbers of files" in text
    gap = int.from_bytes(entries[1][42:46], "little")
    for kept, place in (([0, 2], gap), ([1, 2], 0), ([], 0)):
        listed = [entries[number] for number in kept]
        text = refused(tmp_path, "a.zip", joined(members, listed, end, len(kept)))
        assert f"its directory does not list the data at byte {place:,})" in text
    zeroed = members + bytes(sum(map(len, entries))) + end
    assert "is damaged" in refused(tmp_path, "a.zip", zeroed)
    assert "is damaged" in refused(tmp_path, "a.zip", b"more" + ARCHIVES["deflated.zip"])
    assert "not at its end" in refused(tmp_path, "a.zip", ARCHIVES["deflated.zip"] + b"more")


def test_the_texts_of_libraries_do_not_appear(tmp_path: Path) -> None:
    content = bytearray(ARCHIVES["stored.zip"])
    for place in (content.index(b"PK\1\2") + 10, 8):
        content[place] = 9
    message = refused(tmp_path, "a.zip", bytes(content))
    assert message == (
        f"{tmp_path / 'a.zip'} uses a compression or an encryption that is not supported; unpack "
        f"it with another program"
    )
    (tmp_path / "a.zip").unlink()
    message = refused(tmp_path, "a.tgz", b"\x1f\x8b\x08" + bytes(7) + b"\xff" * 40)
    assert "(its compressed content cannot be decompressed); delete it" in message
    assert "(it is not a gzip file, or " in refused(tmp_path, "a.tgz", b"<html>" * 9)
