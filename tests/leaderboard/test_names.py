"""Names from elsewhere cannot change the structure of a report, nor move a terminal's cursor."""

import copy
import csv as stdlib_csv
import io
import re
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from sealing import resealed

from leaderboard import render
from leaderboard.record import Record
from leaderboard.records import Records
from leaderboard.render import page
from leaderboard.render.text import printable, visible
from leaderboard.table import build

HOSTILE = (
    "<b>bold</b>",
    "</svg></td></table><script>alert(1)</script>",
    '" onload="x',
    "a|b`c`*d*_e_[f](g)~h~$i$",
    "\x1b[2J\x1b]0;title\x07",
    "\x9b31m",
    "abc\u202etxt.\u2066exe",
    "a\nb\r\nc\td\u2028e",
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "{{ 7 * 7 }}{% raw %}",
    "lone \ud800 surrogate",
    "tag \U000e0001",
    "$\\frac{1}{2}$ \\x",
    "猫 été می‌خواهم",
    "",
)
NAMES = st.one_of(
    st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=()), max_size=9)
)
HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def is_hidden(character):
    return unicodedata.category(character) in HIDDEN and character not in "\n\u200c\u200d"


def table_of(record, names):
    """A table of two methods in which every text that others choose is one of `names`."""
    runs = []
    for key, total in zip(names[:2], (0.6, 0.5), strict=True):
        run = copy.deepcopy(record(key, 0, total, hyperparameters={names[2]: names[3]}))
        run["split"] |= {"name": names[3], "regime": names[4] or "full"}
        run["split"]["class_names"] = [f"{name}{i}" for i, name in enumerate(names[1:5])]
        run["method"] |= {"title": names[3], "paper": names[4], "note": f"note {names[5]}"}
        run["method"]["oracle"] = [names[5]]
        run["environment"] |= {"device": names[0], "versions": {names[1]: names[2]}}
        run["command"] = ["benchkit", names[4], names[0]]
        run["format"] = 2  # format 3 holds no lone surrogates
        runs.append(Record.from_json(resealed(run), Path("run.json")))
    return build(Records(tuple(runs)))


class Tags(HTMLParser):
    """The tags of a page with the names of their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, *(name for name, _ in attrs)))

    def handle_endtag(self, tag):
        self.tags.append(f"/{tag}")

    def handle_data(self, data):
        self.text += data


def check_text_formats(table):
    console = Console(width=100, file=io.StringIO(), color_system=None)
    console.print(render.terminal([table]))
    texts = {
        "terminal": console.file.getvalue(),
        "plain": render.plain(table),
        "markdown": render.markdown([table]),
        "csv": render.csv([table]),
    }
    for form, text in texts.items():
        assert not list(filter(is_hidden, text)), form
        text.encode()
    assert texts["plain"].count("\n") == 3
    lines = texts["markdown"].splitlines()
    assert [len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines[2:6]] == [8] * 4
    assert all(line[:2] in ("##", "", "| ", "**", "- ") for line in lines)
    head, *rows = stdlib_csv.reader(io.StringIO(texts["csv"]))
    assert [len(row) for row in rows] == [len(head)] * 2
    cells = [cell for row in rows for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
    assert not [cell for cell in cells if "\n" in cell or "\t" in cell]


@settings(max_examples=80, deadline=None)
@given(names=st.lists(NAMES, min_size=6, max_size=6, unique=True))
def test_names_keep_the_structure_of_text_formats(record, names):
    check_text_formats(table_of(record, names))


@settings(max_examples=15, deadline=None)
@given(names=st.lists(NAMES, min_size=6, max_size=6, unique=True))
def test_names_keep_the_structure_of_the_page(record, names):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "_figures", lambda *_: [])
        expected = render.html([table_of(record, list("abcdef"))])
        text = render.html([table_of(record, names)])
    found = Tags(text)
    assert found.tags == Tags(expected).tags
    assert not [c for c in text if is_hidden(c) and c not in "\t\r"]
    text.encode()


@pytest.mark.filterwarnings("error")  # matplotlib's font need not have the letters of a name
@pytest.mark.parametrize("start", range(0, len(HOSTILE), 5))
def test_names_keep_the_structure_of_plots(record, start):
    names = (HOSTILE[start:] + HOSTILE)[:6]
    text = render.html([table_of(record, names)])
    plain = render.html([table_of(record, list("abcdef"))])
    kinds = ["svg", "path", "g", "script", "b", "style"]
    for tag in (*kinds, "td", "tr", "table"):
        assert len(re.findall(rf"<{tag}\b", text)) == len(re.findall(rf"<{tag}\b", plain)), tag
    assert not [c for c in text if is_hidden(c) and c not in "\t\r"]


def test_apostrophes_keep_formulas_as_text_and_numbers_as_numbers(record):
    run = record("=2+3", 0, 0.6, hyperparameters={})
    run["split"]["name"], run["method"]["note"] = "\t@x", "-5 seeds"
    table = build(Records((Record.from_json(resealed(run), Path("run.json")),)))
    (row,) = stdlib_csv.DictReader(io.StringIO(render.csv([table])))
    assert (row["method"], row["label"], row["note"]) == ("'=2+3", "'=2+3", "'-5 seeds")
    assert (row["split"], row["seeds"], row["total_mean"]) == ("' @x", "1", "0.6")


def test_visible_text():
    assert visible("a\r\nb\tc") == "a b c"
    assert printable("a\nb\tc") == "a\nb\tc"
    assert visible("\x1b[1m \x7f\x85\u202e\u200d\ud800") == r"\u001b[1m \u007f \u202e‍\ud800"
    assert visible("\U000e0001") == r"\udb40\udc01"
    assert visible("é 猫 \u00a0") == "é 猫 \u00a0"
