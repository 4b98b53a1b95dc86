"""Downloads against a server on loopback that cuts, lies and refuses; nothing else is reached."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from benchkit.base.errors import BenchkitError
from benchkit.base.terminal import bar
from benchkit.cli import main
from benchkit.download import archives
from benchkit.download import fetch as download
from benchkit.download.fetch import File

BODY = hashlib.shake_256(b"a data set").digest(300_000)
SHA256, MD5 = hashlib.sha256(BODY).hexdigest(), hashlib.md5(BODY).hexdigest()
PAGE = b"\n<!DOCTYPE html>\n<html><body>Please accept the licence</body></html>"


@dataclass
class Answer:
    """How the server answers for one path."""

    body: bytes = BODY
    status: int = 200
    ranges: bool = True
    if_range: bool = True
    kind: str = "application/octet-stream"
    etag: str | None = None
    length: bool = True
    cuts: list[int] = field(default_factory=list)  # bytes after which answers are cut
    failures: list[int] = field(default_factory=list)  # codes of the first answers
    stall: bool = False  # send half, then nothing until the client goes
    headers: dict[str, str] = field(default_factory=dict)


class Site:
    """A server on loopback: `paths` says how it answers, `asked` what it was asked for."""

    def __init__(self) -> None:
        self.paths: dict[str, Answer] = {}
        self.asked: list[tuple[str, str | None]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.root = f"http://127.0.0.1:{self.server.server_address[1]}"

    def put(self, name: str, *args: Any, **how: Any) -> str:
        self.paths[f"/{name}"] = Answer(*args, **how)
        return f"{self.root}/{name}"

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        wanted = to.headers.get("Range")
        self.asked.append((to.path, wanted))
        how = self.paths.get(to.path, Answer(b"<html>none</html>", 404, kind="text/html"))
        status = how.failures.pop(0) if how.failures else how.status
        body, start = how.body, 0
        if status == 200 and wanted is not None and how.ranges:
            condition = to.headers.get("If-Range")
            if condition is None or condition == how.etag or not how.if_range:
                start, status = int(wanted.removeprefix("bytes=").rstrip("-")), 206
        if start >= len(body) and status == 206:
            status, body = 416, b"<html>no such range</html>"
        to.send_response(status)
        if status == 206:
            to.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            body = body[start:]
        to.send_header("Content-Type", "text/html" if status == 416 else how.kind)
        if how.length:
            to.send_header("Content-Length", str(len(body)))
        if how.etag is not None:
            to.send_header("ETag", how.etag)
        for key, value in how.headers.items():
            to.send_header(key, value)
        to.end_headers()
        with contextlib.suppress(OSError):
            if how.stall:
                to.wfile.write(body[: len(body) // 2])
                to.connection.recv(1)
            elif how.cuts and status in (200, 206):
                to.wfile.write(body[: how.cuts.pop(0)])
            else:
                to.wfile.write(body)
        to.close_connection = True

    def ranges(self) -> list[str | None]:
        return [wanted for _, wanted in self.asked]


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every connection and every look-up of these tests stays on this machine."""
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def guarded(self: socket.socket, address: Any) -> None:
        assert address[0] == "127.0.0.1", address
        connect(self, address)

    def looked_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        assert host == "127.0.0.1", host
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(download, "WAIT", 0.001)


def fetch(file: File, folder: Path) -> tuple[Path, list[str]]:
    said: list[str] = []
    return download.fetch(file, folder, said.append, bar), said


def fails(file: File, folder: Path, *words: str) -> str:
    """The download ends in one sentence that names the file."""
    with pytest.raises(BenchkitError) as error:
        fetch(file, folder)
    sentence = str(error.value)
    assert file.name in sentence and "\n" not in sentence
    for word in words:
        assert word in sentence, sentence
    return sentence


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def known(url: str, *more: str, **changes: Any) -> File:
    return File(**{"name": "x.bin", "urls": (url, *more), "sha256": SHA256} | changes)


# ------------------------------------------------------------------------- one file that arrives


def test_a_file_arrives_whole_and_is_not_fetched_again(site: Site, tmp_path: Path) -> None:
    file = known(site.put("x"), size=len(BODY))
    path, said = fetch(file, tmp_path)
    assert path.read_bytes() == BODY
    assert names(tmp_path) == {"x.bin"}
    assert said[-1] == "x.bin: 293.0 KiB fetched"
    assert site.asked == [("/x", None)]

    _, said = fetch(file, tmp_path)
    assert said == ["x.bin: complete"]
    assert len(site.asked) == 1


def test_what_is_there_but_wrong_is_fetched_again(site: Site, tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"old")
    path, said = fetch(known(site.put("x")), tmp_path)
    assert path.read_bytes() == BODY
    assert f"has SHA256 {hashlib.sha256(b'old').hexdigest()}, expected {SHA256}" in said[0]


@pytest.mark.parametrize("checksum", [{"md5": MD5}, {}])
def test_an_md5_is_checked_and_a_missing_checksum_is_said(
    checksum: dict[str, str], site: Site, tmp_path: Path
) -> None:
    file = known(site.put("x"), sha256=None, **checksum)
    path, said = fetch(file, tmp_path)
    assert path.read_bytes() == BODY
    note = "no checksum is published: size and type were checked"
    assert (note in said[-1]) == (not checksum)
    site.put("x", BODY[::-1])
    path.unlink()
    if checksum:
        fails(file, tmp_path, f"MD5 {hashlib.md5(BODY[::-1]).hexdigest()}", f"expected {MD5}")


def test_an_empty_file_arrives(site: Site, tmp_path: Path) -> None:
    path, _ = fetch(known(site.put("x", b""), sha256=hashlib.sha256().hexdigest()), tmp_path)
    assert path.read_bytes() == b""
    assert names(tmp_path) == {"x.bin"}


# --------------------------------------------------------------------------------- continuing


@pytest.mark.parametrize("size", [len(BODY), None])
def test_a_cut_connection_goes_on_where_it_stopped(
    size: int | None, site: Site, tmp_path: Path
) -> None:
    file = known(site.put("x", cuts=[140_000, 70_000]), size=size)
    path, said = fetch(file, tmp_path)
    assert path.read_bytes() == BODY
    assert names(tmp_path) == {"x.bin"}
    first, *later = site.ranges()
    starts = [int(str(wanted)[len("bytes=") : -1]) for wanted in later]
    assert first is None
    # Less than one chunk of what was sent before a cut may be lost.
    assert 140_000 - download.CHUNK < starts[0] <= 140_000
    assert starts[0] < starts[1] <= starts[0] + 70_000
    assert any("the connection was cut, at 1" in line for line in said)


def test_a_server_without_ranges_starts_again(site: Site, tmp_path: Path) -> None:
    file = known(site.put("x", ranges=False, cuts=[200_000, 100_000]), size=len(BODY))
    path, _ = fetch(file, tmp_path)
    assert path.read_bytes() == BODY
    assert len(site.asked) == 3
    assert None not in site.ranges()[1:]


def test_without_a_checksum_only_the_same_version_goes_on(site: Site, tmp_path: Path) -> None:
    file = known(site.put("x", cuts=[200_000], etag='"1"'), sha256=None)
    path, _ = fetch(file, tmp_path)
    assert path.read_bytes() == BODY
    assert site.ranges()[1] is not None

    def unfinished(etag: str | None) -> None:
        path.unlink()
        site.put("x", cuts=[200_000] + [0] * 9, etag=etag)
        fails(file, tmp_path, "the connection was cut (5 tries)")

    for if_range in (True, False):
        unfinished('"1"')
        assert names(tmp_path) == {".x.bin.part", ".x.bin.part.version"}
        site.put("x", BODY[::-1], etag='"2"', if_range=if_range)
        assert fetch(file, tmp_path)[0].read_bytes() == BODY[::-1]
        assert names(tmp_path) == {"x.bin"}
    unfinished(None)
    site.put("x", BODY[::-1])
    assert fetch(file, tmp_path)[0].read_bytes() == BODY[::-1]


@pytest.mark.parametrize("size", [len(BODY), None])
def test_a_wrong_beginning_is_thrown_away(size: int | None, site: Site, tmp_path: Path) -> None:
    file = known(site.put("x"), size=size)
    for kept in (b"wrong" * 100, BODY[::-1], BODY + b"too long"):
        (tmp_path / ".x.bin.part").write_bytes(kept)
        path, _ = fetch(file, tmp_path)
        assert path.read_bytes() == BODY
        path.unlink()


def test_a_killed_download_goes_on(site: Site, tmp_path: Path) -> None:
    file = known(site.put("x", stall=True), size=len(BODY))
    code = (
        "import sys; from pathlib import Path; from benchkit.download import fetch as download;"
        "from benchkit.base.terminal import bar; file = download.File('x.bin', (sys.argv[1],),"
        f"sha256='{SHA256}'); download.fetch(file, Path(sys.argv[2]), print, bar)"
    )
    part = tmp_path / ".x.bin.part"
    words = [sys.executable, "-c", code, file.urls[0], str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as child:
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

    site.put("x")
    path, _ = fetch(file, tmp_path)
    assert path.read_bytes() == BODY
    assert site.ranges() == [None, f"bytes={kept}-"]
    assert names(tmp_path) == {"x.bin"}


# ------------------------------------------------------------------------------ wrong answers


def test_wrong_bytes_are_refused_and_not_kept(site: Site, tmp_path: Path) -> None:
    wrong = BODY[:-1] + b"?"
    file = known(site.put("x", wrong), size=len(BODY))
    found = hashlib.sha256(wrong).hexdigest()
    fails(file, tmp_path, f"SHA256 {found}", f"expected {SHA256}", "nothing of it was kept")
    assert names(tmp_path) == set()


@pytest.mark.parametrize("length", [True, False])
def test_a_wrong_size_is_refused_and_not_kept(length: bool, site: Site, tmp_path: Path) -> None:
    file = known(site.put("x", BODY + b"more", length=length), size=len(BODY))
    fails(file, tmp_path, "300,004 bytes", "expected 300,000", "nothing of it was kept")
    assert names(tmp_path) == set()


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/zip"])
@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("page", [PAGE, b"\xef\xbb\xbf<HTML lang='en'>" + bytes(2000)])
def test_an_html_page_is_refused(
    kind: str, length: bool, page: bytes, site: Site, tmp_path: Path
) -> None:
    file = known(site.put("x", page, kind=kind, length=length), sha256=None, name="x.csv")
    fails(file, tmp_path, "HTML page", "nothing of it was kept")
    assert names(tmp_path) == set()
    assert len(site.asked) == 1


def test_an_html_page_does_not_cost_what_was_kept(site: Site, tmp_path: Path) -> None:
    (tmp_path / ".x.bin.part").write_bytes(BODY[:1000])
    fails(known(site.put("x", PAGE, ranges=False)), tmp_path, "HTML page", "1000 bytes are kept")
    assert (tmp_path / ".x.bin.part").read_bytes() == BODY[:1000]


@pytest.mark.parametrize("name", ["x.zip", "x.tgz", "x.npy"])
def test_without_a_checksum_the_type_is_checked(name: str, site: Site, tmp_path: Path) -> None:
    file = known(site.put("x"), name=name, sha256=None)
    fails(file, tmp_path, f"does not begin as a .{name[2:]} file does")
    assert names(tmp_path) == set()


def test_a_file_in_another_encoding_is_refused(site: Site, tmp_path: Path) -> None:
    url = site.put("x", headers={"Content-Encoding": "gzip"})
    fails(known(url), tmp_path, "another encoding")


def test_a_full_disk_is_a_sentence(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})()
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: usage)
    fails(known(site.put("x")), tmp_path, "no disk space", "needs 293.0 KiB and 1000 bytes")


# ------------------------------------------------------------------------------------ mirrors


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (Answer(b"no", 404), "404 Not Found"),
        (Answer(BODY[::-1]), "expected " + SHA256),
        (Answer(PAGE), "HTML page"),
        (Answer(cuts=[0] * 9), "the connection was cut (5 tries)"),
    ],
)
def test_the_next_mirror_is_tried(first: Answer, reason: str, site: Site, tmp_path: Path) -> None:
    site.paths["/bad"] = first
    path, said = fetch(known(f"{site.root}/bad", site.put("good")), tmp_path)
    assert path.read_bytes() == BODY
    assert any(f"{site.root}/bad: " in line and reason in line for line in said)
    assert site.asked[-1][0] == "/good"


def test_a_second_mirror_goes_on_where_the_first_died(site: Site, tmp_path: Path) -> None:
    dead = site.put("dead", cuts=[150_000] + [0] * 9)
    path, _ = fetch(known(dead, site.put("good")), tmp_path)
    assert path.read_bytes() == BODY
    assert re.fullmatch(r"bytes=1\d{5}-", str(site.ranges()[-1]))


def test_when_every_mirror_fails_one_sentence_names_them(site: Site, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}/x"
        urls = [f"{site.root}/none", site.put("busy", status=503), closed, "gopher://127.0.0.1/x"]
        sentence = fails(known(*urls), tmp_path)
    expected = [
        f"{urls[0]}: 404 Not Found",
        f"{urls[1]}: 503 Service Unavailable (5 tries)",
        f"{urls[2]}: no connection (5 tries)",
        f"{urls[3]}: InvalidSchema",
    ]
    assert sentence == f"x.bin was not downloaded; {'; '.join(expected)}; nothing of it was kept"
    assert names(tmp_path) == set()


def test_a_busy_server_is_asked_again(site: Site, tmp_path: Path) -> None:
    path, said = fetch(known(site.put("x", failures=[503, 429, 500])), tmp_path)
    assert path.read_bytes() == BODY
    assert len(site.asked) == 4
    assert "x.bin: 503 Service Unavailable, at 0 bytes; trying again" in said


# ---------------------------------------------------------------------------- the command line


def call(*words: object) -> tuple[int, str, str]:
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["benchkit", "download", *map(str, words)])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
            except SystemExit as stop:
                code = int(stop.code or 0)
    return code, out.getvalue(), err.getvalue()


@pytest.fixture
def catalogue(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small catalogue of the server: an archive and a table, a record, and a form to fill in."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as opened:
        opened.writestr("annotations/a.json", "[1]")
    data = packed.getvalue()
    site.put("birds.zip", data)
    site.put("table.csv", b"a,b\n")
    listed = {
        "key": "birds.zip",
        "size": len(data),
        "checksum": f"md5:{hashlib.md5(data).hexdigest()}",
        "links": {"self": f"{site.root}/api/records/7/files/birds.zip/content"},
    }
    site.put("api/records/7", json.dumps({"files": [listed]}).encode())
    site.put("records/7/files/birds.zip?download=1", data)
    path = tmp_path / "catalogue.toml"
    path.write_text(f"""
        [birds]
        title = "Birds"
        licence = "CC BY 4.0"
        [[birds.files]]
        name = "birds.zip"
        urls = ["{site.root}/none", "{site.root}/birds.zip"]
        sha256 = "{hashlib.sha256(data).hexdigest()}"
        size = {len(data)}
        extract = true
        [[birds.files]]
        name = "table.csv"
        urls = ["{site.root}/table.csv"]
        [deposit]
        title = "A record"
        licence = "see there"
        record = "{site.root}/api/records/7"
        [flowers]
        title = "Flowers"
        licence = "after an agreement"
        manual = "Fill in the form at the publisher's page."
    """)
    monkeypatch.setattr(download, "CATALOGUE", path)
    return path


@pytest.mark.usefixtures("catalogue")
def test_the_command_fetches_and_unpacks_and_does_it_once(site: Site, tmp_path: Path) -> None:
    code, out, err = call("birds", "--to", tmp_path / "d")
    folder = tmp_path / "d" / "birds"
    assert (code, out) == (0, f"2 files of birds in {folder}\n")
    assert "licence: CC BY 4.0" in err
    assert "404 Not Found" in err and "no checksum is published" in err
    assert (folder / "annotations" / "a.json").read_text() == "[1]"
    assert names(folder) == {"annotations", "birds.zip", "table.csv", ".birds.zip.extracted"}
    assert len(site.asked) == 3

    code, _, err = call("birds", "--to", tmp_path / "d")
    assert code == 0 and len(site.asked) == 3
    assert "birds.zip: complete\nbirds.zip: unpacked already\n" in err

    (folder / "birds.zip").unlink()
    code, _, err = call("birds", "--to", tmp_path / "d")
    assert code == 0 and len(site.asked) == 3
    assert "birds.zip: unpacked, and deleted since" in err


@pytest.mark.usefixtures("catalogue")
def test_single_files_and_no_extraction(tmp_path: Path) -> None:
    assert call("birds", "--to", tmp_path, "--file", "table.csv")[0] == 0
    assert names(tmp_path / "birds") == {"table.csv"}
    assert call("birds", "--to", tmp_path, "--file", "birds.zip", "--no-extract")[0] == 0
    assert names(tmp_path / "birds") == {"table.csv", "birds.zip"}


@pytest.mark.usefixtures("catalogue")
def test_a_record_lists_its_files_itself(site: Site, tmp_path: Path) -> None:
    code, _, err = call("deposit", "--to", tmp_path)
    assert code == 0, err
    assert (tmp_path / "deposit" / "annotations" / "a.json").read_text() == "[1]"
    assert [path for path, _ in site.asked] == [
        "/api/records/7",
        "/api/records/7/files/birds.zip/content",
        "/records/7/files/birds.zip?download=1",
    ]
    code, out, _ = call("deposit", "--list")
    assert code == 0 and "birds.zip: " in out and "md5 " in out


@pytest.mark.usefixtures("catalogue")
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(b"{}", 500), "500 Internal Server Error"),
        (Answer(PAGE), "did not answer with the file list"),
        (Answer(b"[]"), "did not answer with the file list"),
        (Answer(b'{"files": []}'), "did not answer with the file list"),
        (Answer(b'{"files": [{"key": "../x", "checksum": "md5:0"}]}'), "did not answer"),
    ],
)
def test_a_record_that_cannot_be_read_is_a_sentence(
    answer: Answer, words: str, site: Site, tmp_path: Path
) -> None:
    site.paths["/api/records/7"] = answer
    code, out, err = call("deposit", "--to", tmp_path / "d")
    assert (code, out) == (1, "")
    assert err.startswith("error: ") and err.count("\n") == 1 and words in err
    assert f"{site.root}/api/records/7" in err


@pytest.mark.usefixtures("catalogue")
def test_lists(site: Site, tmp_path: Path) -> None:
    for words in ((), ("--list",)):
        code, out, _ = call(*words)
        assert code == 0
        for word in ("birds", "over 1", "CC BY 4.0", "deposit", "flowers", "by hand"):
            assert word in out, out
    code, out, _ = call("birds", "--list", "--to", tmp_path / "d")
    assert code == 0
    assert f"table.csv: size not published, no checksum\n    {site.root}/table.csv\n" in out
    assert site.asked == [] and not (tmp_path / "d").exists()


@pytest.mark.usefixtures("catalogue")
def test_a_data_set_behind_a_form_says_what_to_do(site: Site, tmp_path: Path) -> None:
    told = "Fill in the form at the publisher's page.\n"
    assert call("flowers", "--to", tmp_path / "d") == (1, told, "")
    assert call("flowers", "--list") == (0, told, "")
    assert site.asked == [] and not (tmp_path / "d").exists()


@pytest.mark.usefixtures("catalogue")
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("brids",), "there is no data set 'brids'; the nearest name is 'birds'"),
        (("birds", "--file", "tabel.csv"), "there is no file 'tabel.csv'; the nearest name is"),
        (("--file", "table.csv"), "--file needs the NAME of a data set"),
    ],
)
def test_wrong_calls(words: tuple[str, ...], sentence: str) -> None:
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {sentence}") and err.count("\n") == 1


@pytest.mark.usefixtures("catalogue")
def test_a_failed_download_is_one_sentence_after_its_notes(site: Site, tmp_path: Path) -> None:
    site.put("birds.zip", PAGE, kind="text/html")
    code, out, err = call("birds", "--to", tmp_path)
    assert (code, out) == (1, "")
    last = err.splitlines()[-1]
    assert last.startswith("error: birds.zip was not downloaded; ")
    assert f"{site.root}/none: 404 Not Found" in last and "HTML page" in last
    assert names(tmp_path / "birds") == set()


def test_every_option_has_help_and_a_default() -> None:
    code, out, _ = call("--help")
    out = " ".join(out.split())
    assert code == 0
    for word in (
        "--to",
        "[default: data]",
        "--file",
        "all files of NAME",
        "--list",
        "--no-extract",
    ):
        assert word in out
    assert out.count("[default:") == 3


# ------------------------------------------------------------------------------ the catalogue


def test_the_catalogue_is_well_formed() -> None:
    entries = download.entries()
    expected = {"coco2014", "coco2017", "voc2007", "voc2012", "open-images", "cub", "nus-wide"}
    assert expected <= set(entries)
    for entry in entries.values():
        assert entry.title and entry.licence
        assert [bool(entry.files), bool(entry.record), bool(entry.manual)].count(True) == 1
        if entry.record is not None:
            assert re.fullmatch(r"https://zenodo\.org/api/records/\d+", entry.record)
        found = [file.name for file in entry.files]
        assert len(set(found)) == len(found)
        for file in entry.files:
            assert file.name == Path(file.name).name and not file.name.startswith(".")
            assert len(set(file.urls)) == len(file.urls) > 0
            for url in file.urls:
                assert re.fullmatch(r"https?://[a-z0-9.-]+/\S+", url), url
                assert url.endswith("/" + file.name)
            assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
            assert file.md5 is None or re.fullmatch("[0-9a-f]{32}", file.md5)
            assert file.size is None or file.size > 0
            # What travels without encryption, or is unpacked, has a checksum.
            plain = any(url.startswith("http://") for url in file.urls)
            assert file.checksum is not None or not (plain or file.extract)
            assert file.extract == archives.is_archive(file.name)
