"""`benchkit download` with a small catalogue of a server on loopback."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path

import pytest
from commands import call
from loopback import Answer, Site

from benchkit.download import catalogue as catalogues

PAGE = b"\n<!DOCTYPE html>\n<html><body>Please accept the licence</body></html>"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def catalogue(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive with a table, a Zenodo record, and a data set behind a form."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("annotations/a.json", "[1]")
    data = buffer.getvalue()
    site.put("birds.zip", data)
    site.put("table.csv", b"a,b\n")
    record_file = {
        "key": "birds.zip",
        "size": len(data),
        "checksum": f"md5:{hashlib.md5(data).hexdigest()}",
        "links": {"self": f"{site.root}/api/records/7/files/birds.zip/content"},
    }
    site.put("api/records/7", json.dumps({"files": [record_file]}).encode())
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
    monkeypatch.setattr(catalogues, "CATALOGUE", path)
    return path


@pytest.mark.usefixtures("catalogue")
def test_the_command_downloads_and_unpacks_once(site: Site, tmp_path: Path) -> None:
    code, out, err = call("download", "birds", "--to", tmp_path / "d")
    folder = tmp_path / "d" / "birds"
    assert (code, out) == (0, f"2 files of birds in {folder}\n")
    assert "licence: CC BY 4.0" in err
    assert "404 Not Found" in err and "no checksum is published" in err
    assert (folder / "annotations" / "a.json").read_text() == "[1]"
    assert names(folder) == {"annotations", "birds.zip", "table.csv", ".birds.zip.extracted"}
    assert len(site.requests) == 3

    code, _, err = call("download", "birds", "--to", tmp_path / "d")
    assert code == 0 and len(site.requests) == 3
    assert "birds.zip: complete\nbirds.zip: unpacked already\n" in err

    (folder / "birds.zip").unlink()
    code, _, err = call("download", "birds", "--to", tmp_path / "d")
    assert code == 0 and len(site.requests) == 3
    assert "birds.zip: unpacked before, archive deleted" in err


@pytest.mark.usefixtures("catalogue")
def test_single_files_and_no_extraction(tmp_path: Path) -> None:
    assert call("download", "birds", "--to", tmp_path, "--file", "table.csv").code == 0
    assert names(tmp_path / "birds") == {"table.csv"}
    result = call("download", "birds", "--to", tmp_path, "--file", "birds.zip", "--no-extract")
    assert result.code == 0
    assert names(tmp_path / "birds") == {"table.csv", "birds.zip"}


@pytest.mark.usefixtures("catalogue")
def test_the_files_of_a_record_are_requested_from_its_server(site: Site, tmp_path: Path) -> None:
    code, _, err = call("download", "deposit", "--to", tmp_path)
    assert code == 0, err
    assert (tmp_path / "deposit" / "annotations" / "a.json").read_text() == "[1]"
    assert [path for path, _ in site.requests] == [
        "/api/records/7",
        "/api/records/7/files/birds.zip/content",
        "/records/7/files/birds.zip?download=1",
    ]
    code, out, _ = call("download", "deposit", "--list")
    assert code == 0 and "birds.zip: " in out and "md5 " in out


@pytest.mark.usefixtures("catalogue")
@pytest.mark.parametrize(
    ("answer", "phrase"),
    [
        (Answer(b"{}", 500), "500 Internal Server Error"),
        (Answer(PAGE), "did not return the file list"),
        (Answer(b"[]"), "did not return the file list"),
        (Answer(b'{"files": []}'), "did not return the file list"),
        (Answer(b'{"files": [{"key": "../x", "checksum": "md5:0"}]}'), "did not return"),
    ],
)
def test_an_unreadable_record_is_an_error(
    answer: Answer, phrase: str, site: Site, tmp_path: Path
) -> None:
    site.answers["/api/records/7"] = answer
    code, out, err = call("download", "deposit", "--to", tmp_path / "d")
    assert (code, out) == (1, "")
    assert err.startswith("error: ") and err.count("\n") == 1 and phrase in err
    assert f"{site.root}/api/records/7" in err


@pytest.mark.usefixtures("catalogue")
def test_lists(site: Site, tmp_path: Path) -> None:
    for arguments in ((), ("--list",)):
        code, out, _ = call("download", *arguments)
        assert code == 0
        for text in ("birds", "over 1", "CC BY 4.0", "deposit", "flowers", "manual"):
            assert text in out, out
    code, out, _ = call("download", "birds", "--list", "--to", tmp_path / "d")
    assert code == 0
    assert f"table.csv: size not published, no checksum\n    {site.root}/table.csv\n" in out
    assert site.requests == [] and not (tmp_path / "d").exists()


@pytest.mark.usefixtures("catalogue")
def test_a_data_set_behind_a_form_prints_instructions(site: Site, tmp_path: Path) -> None:
    instructions = "Fill in the form at the publisher's page.\n"
    assert call("download", "flowers", "--to", tmp_path / "d") == (1, instructions, "")
    assert call("download", "flowers", "--list") == (0, instructions, "")
    assert site.requests == [] and not (tmp_path / "d").exists()


@pytest.mark.usefixtures("catalogue")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("brids",), "unknown data set 'brids'; did you mean 'birds'?"),
        (("birds", "--file", "tabel.csv"), "unknown file 'tabel.csv'; did you mean 'table.csv'?"),
        (("--file", "table.csv"), "--file needs the NAME of a data set"),
    ],
)
def test_wrong_calls(arguments: tuple[str, ...], message: str) -> None:
    code, out, err = call("download", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}") and err.count("\n") == 1


@pytest.mark.usefixtures("catalogue")
def test_a_failed_download_ends_with_one_error_line(site: Site, tmp_path: Path) -> None:
    site.put("birds.zip", PAGE, kind="text/html")
    code, out, err = call("download", "birds", "--to", tmp_path)
    assert (code, out) == (1, "")
    last = err.splitlines()[-1]
    assert last.startswith("error: birds.zip was not downloaded; ")
    assert f"{site.root}/none: 404 Not Found" in last and "HTML page" in last
    assert names(tmp_path / "birds") == set()


def test_every_option_has_help_and_a_default() -> None:
    code, out, _ = call("download", "--help")
    out = " ".join(out.split())
    assert code == 0
    for text in (
        "--to",
        "[default: data]",
        "--file",
        "all files of NAME",
        "--list",
        "--no-extract",
    ):
        assert text in out
    assert out.count("[default:") == 3
