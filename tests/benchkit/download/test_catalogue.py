"""The shipped catalogue is well formed."""

from __future__ import annotations

import re
from pathlib import Path

from benchkit.download import archives, catalogue


def test_the_catalogue_is_well_formed() -> None:
    entries = catalogue.entries()
    expected = {"coco2014", "coco2017", "voc2007", "voc2012", "open-images", "cub", "nus-wide"}
    assert expected <= set(entries)
    for entry in entries.values():
        assert entry.title and entry.licence
        assert [bool(entry.files), bool(entry.record), bool(entry.manual)].count(True) == 1
        if entry.record is not None:
            assert re.fullmatch(r"https://zenodo\.org/api/records/\d+", entry.record)
        names = [file.name for file in entry.files]
        assert len(set(names)) == len(names)
        for file in entry.files:
            assert file.name == Path(file.name).name and not file.name.startswith(".")
            assert len(set(file.urls)) == len(file.urls) > 0
            for url in file.urls:
                assert re.fullmatch(r"https?://[a-z0-9.-]+/\S+", url), url
                assert url.endswith("/" + file.name)
            assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
            assert file.md5 is None or re.fullmatch("[0-9a-f]{32}", file.md5)
            assert file.size is None or file.size > 0
            # Archives and files sent without encryption have a checksum.
            unencrypted = any(url.startswith("http://") for url in file.urls)
            assert file.checksum is not None or not (unencrypted or file.extract)
            assert file.extract == archives.is_archive(file.name)
