"""The tutorial works line by line, and its table is the one that the commands print."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from commands import succeed

TUTORIAL = (Path(__file__).parents[1] / "docs" / "tutorial.md").read_text(encoding="utf-8")


def test_every_command_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (data,) = re.findall(r"```python\n(.*?)```", TUTORIAL, re.S)
    exec(data, {"np": np})
    commands = [shlex.split(line) for line in re.findall(r"^    (benchkit .*)$", TUTORIAL, re.M)]
    printed = {" ".join(words): succeed(*words[1:]).out for words in commands}
    assert len(commands) == 7 and (tmp_path / "leaderboard.html").is_file()
    table = printed["benchkit report runs"]
    # The last digits depend on the processor; names, counts and the chance level do not.
    for line in re.findall(r"^ (?:classes|chance) .*$", TUTORIAL, re.M):
        assert line.rstrip() in table
    assert re.findall(r"^ *([a-z-]+) +5 +\d", table, re.M) == ["bce", "asl", "partial-bce"]


def test_the_page_links_to_pages_and_sections_that_exist() -> None:
    docs = Path(__file__).parents[1] / "docs"
    for target, anchor in re.findall(r"\]\(([^)#]+)(?:#([^)]+))?\)", TUTORIAL):
        path = docs / target
        assert path.is_file(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.M)
            slugs = {re.sub(r"[^a-z0-9 -]", "", t.lower()).replace(" ", "-") for t in titles}
            assert anchor in slugs, f"{target}#{anchor}"
