"""Archives that are damaged or made to harm: one sentence, and nothing is unpacked."""

from __future__ import annotations

import io
import tarfile
import tempfile
import tracemalloc
import zipfile
from pathlib import Path

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
    "pax.tar": tar_bytes("w", tarfile.PAX_FORMAT),
    "gnu.tar": tar_bytes("w", tarfile.GNU_FORMAT),
    "pax.tgz": tar_bytes("w:gz", tarfile.PAX_FORMAT),
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
