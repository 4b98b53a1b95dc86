"""Downloads of single files: resuming, checks, mirrors."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import requests
from loopback import Answer, Site

from benchkit.base import files
from benchkit.base.errors import BenchkitError
from benchkit.base.terminal import bar
from benchkit.download import fetch as fetching
from benchkit.download import network
from benchkit.download.catalogue import File

BODY = hashlib.shake_256(b"a data set").digest(300_000)
SHA256, MD5 = hashlib.sha256(BODY).hexdigest(), hashlib.md5(BODY).hexdigest()
PAGE = b"\n<!DOCTYPE html>\n<html><body>Please accept the licence</body></html>"


def fetch(file: File, folder: Path) -> tuple[Path, list[str]]:
    """Download a file; returns its path and the messages."""
    messages: list[str] = []
    return fetching.fetch(file, folder, messages.append, bar), messages


def fails(file: File, folder: Path, *phrases: str) -> str:
    """The download fails with a message of one line that names the file."""
    with pytest.raises(BenchkitError) as error:
        fetch(file, folder)
    message = str(error.value)
    assert file.name in message and "\n" not in message
    for phrase in phrases:
        assert phrase in message, message
    return message


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def file_at(*urls: str, **changes: Any) -> File:
    """`x.bin` with the checksum of `BODY`."""
    return File(**{"name": "x.bin", "urls": urls, "sha256": SHA256} | changes)


# ---------------------------------------------------------------------- a successful download


def test_a_file_is_downloaded_completely_and_once(site: Site, tmp_path: Path) -> None:
    file = file_at(site.put("x", BODY), size=len(BODY))
    path, messages = fetch(file, tmp_path)
    assert path.read_bytes() == BODY
    assert names(tmp_path) == {"x.bin"}
    assert messages[-1] == "x.bin: 293.0 KiB downloaded"
    assert site.requests == [("/x", None)]

    _, messages = fetch(file, tmp_path)
    assert messages == ["x.bin: complete"]
    assert len(site.requests) == 1


def test_a_wrong_existing_file_is_downloaded_again(site: Site, tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"old")
    path, messages = fetch(file_at(site.put("x", BODY)), tmp_path)
    assert path.read_bytes() == BODY
    assert f"has SHA256 {hashlib.sha256(b'old').hexdigest()}, expected {SHA256}" in messages[0]


@pytest.mark.parametrize(
    ("name", "noun"), [("x.bin", "file"), (".x.bin.part", "unfinished download")]
)
def test_a_named_pipe_in_the_way_is_refused(
    name: str, noun: str, site: Site, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / name)
    file = file_at(site.put("x", BODY))
    fails(file, tmp_path, f"the {noun} {tmp_path / name} is a named pipe; it must be a regular")
    assert names(tmp_path) == {name} and site.requests == []


def test_a_link_in_place_of_an_unfinished_download_is_refused(site: Site, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"precious")
    (tmp_path / ".x.bin.part").symlink_to(other)
    fails(file_at(site.put("x", BODY)), tmp_path, "is a link, not an unfinished download")
    assert other.read_bytes() == b"precious"


@pytest.mark.parametrize("version", [b"\xff\xfe", b"a\nb: c", "é".encode(), b"x" * 100_000])
def test_a_damaged_version_starts_again(version: bytes, site: Site, tmp_path: Path) -> None:
    (tmp_path / ".x.bin.part").write_bytes(BODY[:1000][::-1])
    (tmp_path / ".x.bin.part.version").write_bytes(version)
    file = file_at(site.put("x", BODY, etag='"v1"'), sha256=None)
    path, _ = fetch(file, tmp_path)
    assert path.read_bytes() == BODY
    assert names(tmp_path) == {"x.bin"}


@pytest.mark.parametrize("checksum", [{"md5": MD5}, {}])
def test_an_md5_is_checked_and_a_missing_checksum_is_reported(
    checksum: dict[str, str], site: Site, tmp_path: Path
) -> None:
    file = file_at(site.put("x", BODY), sha256=None, **checksum)
    path, messages = fetch(file, tmp_path)
    assert path.read_bytes() == BODY
    remark = "no checksum is published: only size and type were checked"
    assert (remark in messages[-1]) == (not checksum)
    site.put("x", BODY[::-1])
    path.unlink()
    if checksum:
        fails(file, tmp_path, f"MD5 {hashlib.md5(BODY[::-1]).hexdigest()}", f"expected {MD5}")


def test_an_empty_file_is_downloaded(site: Site, tmp_path: Path) -> None:
    path, _ = fetch(file_at(site.put("x", b""), sha256=hashlib.sha256().hexdigest()), tmp_path)
    assert path.read_bytes() == b""
    assert names(tmp_path) == {"x.bin"}


# --------------------------------------------------------------------------------- resuming


@pytest.mark.parametrize("size", [len(BODY), None])
def test_a_cut_connection_is_resumed(size: int | None, site: Site, tmp_path: Path) -> None:
    file = file_at(site.put("x", BODY, cuts=[140_000, 70_000]), size=size)
    path, messages = fetch(file, tmp_path)
    assert path.read_bytes() == BODY
    assert names(tmp_path) == {"x.bin"}
    first, *later = site.ranges()
    starts = [int(str(header)[len("bytes=") : -1]) for header in later]
    assert first is None
    # Less than one chunk of the bytes sent before a cut may be lost.
    assert 140_000 - fetching.CHUNK < starts[0] <= 140_000
    assert starts[0] < starts[1] <= starts[0] + 70_000
    assert any("the connection was cut, at 1" in line for line in messages)


def test_a_server_without_ranges_starts_again(site: Site, tmp_path: Path) -> None:
    url = site.put("x", BODY, ranges=False, cuts=[200_000, 100_000])
    path, _ = fetch(file_at(url, size=len(BODY)), tmp_path)
    assert path.read_bytes() == BODY
    assert len(site.requests) == 3
    assert None not in site.ranges()[1:]


def test_without_a_checksum_only_the_same_version_is_resumed(site: Site, tmp_path: Path) -> None:
    file = file_at(site.put("x", BODY, cuts=[200_000], etag='"1"'), sha256=None)
    path, _ = fetch(file, tmp_path)
    assert path.read_bytes() == BODY
    assert site.ranges()[1] is not None

    def leave_unfinished(etag: str | None) -> None:
        path.unlink()
        site.put("x", BODY, cuts=[200_000] + [0] * 9, etag=etag)
        fails(file, tmp_path, "the connection was cut (5 tries)")

    for if_range in (True, False):
        leave_unfinished('"1"')
        assert names(tmp_path) == {".x.bin.part", ".x.bin.part.version"}
        site.put("x", BODY[::-1], etag='"2"', if_range=if_range)
        assert fetch(file, tmp_path)[0].read_bytes() == BODY[::-1]
        assert names(tmp_path) == {"x.bin"}
    leave_unfinished(None)
    site.put("x", BODY[::-1])
    assert fetch(file, tmp_path)[0].read_bytes() == BODY[::-1]


@pytest.mark.parametrize("size", [len(BODY), None])
def test_a_wrong_beginning_is_discarded(size: int | None, site: Site, tmp_path: Path) -> None:
    file = file_at(site.put("x", BODY), size=size)
    for beginning in (b"wrong" * 100, BODY[::-1], BODY + b"too long"):
        (tmp_path / ".x.bin.part").write_bytes(beginning)
        path, _ = fetch(file, tmp_path)
        assert path.read_bytes() == BODY
        path.unlink()


def test_a_killed_download_is_resumed(site: Site, tmp_path: Path) -> None:
    file = file_at(site.put("x", BODY, stall=True), size=len(BODY))
    code = (
        "import sys; from pathlib import Path; from benchkit.base.terminal import bar;"
        "from benchkit.download.catalogue import File; from benchkit.download.fetch import fetch;"
        f"file = File('x.bin', (sys.argv[1],), sha256='{SHA256}');"
        "fetch(file, Path(sys.argv[2]), print, bar)"
    )
    part = tmp_path / ".x.bin.part"
    command = [sys.executable, "-c", code, file.urls[0], str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        deadline = time.monotonic() + 30
        while not (part.exists() and part.stat().st_size > 0) and time.monotonic() < deadline:
            time.sleep(0.01)
        with pytest.raises(BenchkitError, match="is being downloaded by another process"):
            fetch(file, tmp_path)
        child.send_signal(signal.SIGKILL)
        assert child.wait(30) == -signal.SIGKILL
    kept = part.stat().st_size
    assert 0 < kept <= len(BODY) // 2
    assert part.read_bytes() == BODY[:kept]

    site.put("x", BODY)
    path, _ = fetch(file, tmp_path)
    assert path.read_bytes() == BODY
    assert site.ranges() == [None, f"bytes={kept}-"]
    assert names(tmp_path) == {"x.bin"}


# ------------------------------------------------------------------------------ wrong answers


def test_wrong_bytes_are_refused_and_not_kept(site: Site, tmp_path: Path) -> None:
    wrong = BODY[:-1] + b"?"
    digest = hashlib.sha256(wrong).hexdigest()
    file = file_at(site.put("x", wrong), size=len(BODY))
    fails(file, tmp_path, f"SHA256 {digest}", f"expected {SHA256}", "no part of it was kept")
    assert names(tmp_path) == set()


@pytest.mark.parametrize("length", [True, False])
def test_a_wrong_size_is_refused_and_not_kept(length: bool, site: Site, tmp_path: Path) -> None:
    file = file_at(site.put("x", BODY + b"more", length=length), size=len(BODY))
    fails(file, tmp_path, "300,004 bytes", "300,000", "no part of it was kept")
    assert names(tmp_path) == set()


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/zip"])
@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("page", [PAGE, b"\xef\xbb\xbf<HTML lang='en'>" + bytes(2000)])
def test_an_html_page_is_refused(
    kind: str, length: bool, page: bytes, site: Site, tmp_path: Path
) -> None:
    url = site.put("x", page, kind=kind, length=length)
    fails(file_at(url, sha256=None, name="x.csv"), tmp_path, "HTML page", "no part of it was kept")
    assert names(tmp_path) == set()
    assert len(site.requests) == 1


def test_an_html_page_does_not_replace_valid_bytes(site: Site, tmp_path: Path) -> None:
    (tmp_path / ".x.bin.part").write_bytes(BODY[:1000])
    file = file_at(site.put("x", PAGE, ranges=False))
    fails(file, tmp_path, "HTML page", "1000 bytes were kept; run the same command again")
    assert (tmp_path / ".x.bin.part").read_bytes() == BODY[:1000]


@pytest.mark.parametrize("name", ["x.zip", "x.tgz", "x.npy"])
def test_without_a_checksum_the_type_is_checked(name: str, site: Site, tmp_path: Path) -> None:
    file = file_at(site.put("x", BODY), name=name, sha256=None)
    fails(file, tmp_path, f"does not begin like a .{name[2:]} file")
    assert names(tmp_path) == set()


def test_a_compressed_answer_is_refused(site: Site, tmp_path: Path) -> None:
    url = site.put("x", BODY, headers={"Content-Encoding": "gzip"})
    fails(file_at(url), tmp_path, "compressed")


def test_a_full_disk_is_an_error(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})()
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage)
    fails(file_at(site.put("x", BODY)), tmp_path, "no disk space", "needs 293.0 KiB and 1000 bytes")


# ------------------------------------------------------------------------------------ mirrors


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (Answer(b"no", 404), "404 Not Found"),
        (Answer(BODY[::-1]), "expected " + SHA256),
        (Answer(PAGE), "HTML page"),
        (Answer(BODY, cuts=[0] * 9), "the connection was cut (5 tries)"),
    ],
)
def test_the_next_mirror_is_tried(first: Answer, reason: str, site: Site, tmp_path: Path) -> None:
    site.answers["/bad"] = first
    path, messages = fetch(file_at(f"{site.root}/bad", site.put("good", BODY)), tmp_path)
    assert path.read_bytes() == BODY
    assert any(f"{site.root}/bad: " in line and reason in line for line in messages)
    assert site.requests[-1][0] == "/good"


def test_a_second_mirror_resumes_the_download_of_the_first(site: Site, tmp_path: Path) -> None:
    dead = site.put("dead", BODY, cuts=[150_000] + [0] * 9)
    path, _ = fetch(file_at(dead, site.put("good", BODY)), tmp_path)
    assert path.read_bytes() == BODY
    assert re.fullmatch(r"bytes=1\d{5}-", str(site.ranges()[-1]))


def test_when_every_mirror_fails_one_message_names_them(site: Site, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}/x"
        busy = site.put("busy", BODY, status=503)
        urls = [f"{site.root}/none", busy, closed, "gopher://127.0.0.1/x"]
        message = fails(file_at(*urls), tmp_path)
    expected = [
        f"{urls[0]}: 404 Not Found",
        f"{urls[1]}: 503 Service Unavailable (5 tries)",
        f"{urls[2]}: no connection (5 tries)",
        f"{urls[3]}: the address is not valid",
    ]
    assert message == f"x.bin was not downloaded; {'; '.join(expected)}; no part of it was kept"
    assert names(tmp_path) == set()


def test_a_busy_server_is_asked_again(site: Site, tmp_path: Path) -> None:
    path, messages = fetch(file_at(site.put("x", BODY, failures=[503, 429, 500])), tmp_path)
    assert path.read_bytes() == BODY
    assert len(site.requests) == 4
    assert "x.bin: 503 Service Unavailable, at 0 bytes; trying again" in messages


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (requests.exceptions.TooManyRedirects(), "the server redirects without end"),
        (requests.exceptions.InvalidURL(), "the address is not valid"),
        (requests.exceptions.ContentDecodingError(), "the request failed"),
        (requests.exceptions.ReadTimeout(), "the server timed out"),
        (requests.exceptions.SSLError(), "the certificate is not trusted"),
    ],
)
def test_network_errors_in_a_few_words(error: requests.RequestException, text: str) -> None:
    assert network.reason(error) == text
