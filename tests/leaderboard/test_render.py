import csv as stdlib_csv
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from rich.console import Console

from leaderboard import render
from leaderboard.table import build, build_all

VOC = "70c0" * 16
VOID = {"meta", "link", "br", "hr", "img", "input"}


@pytest.fixture
def table(load, five_methods):
    return build(load(five_methods))


class Outline(HTMLParser):
    """Checks that tags close in order, and collects ids, texts and addresses."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.tags, self.addresses = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if "id" in attributes:
            self.ids.append(attributes["id"])
        self.addresses += [v for k, v in attrs if k in ("src", "href", "xlink:href", "srcset")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def terminal_text(tables, width=100):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(render.terminal(tables))
    return console.file.getvalue().replace("\u00a0", " ")


def test_markdown(table):
    lines = render.markdown([table]).splitlines()
    assert lines[:9] == [
        "## coco-lt, pal:0.5, selection last",
        "",
        "| method | n | total | many | medium | few | average |",
        "| :--- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| db † | 1 | 70.00 | 80.00 | 70.00 | 60.00 | 70.00 |",
        "| hill | 1 | 65.00 | 75.00 | 65.00 | 55.00 | 65.00 |",
        "| asl | 3 | **62.00 ± 2.00** | **72.00 ± 2.00** | **62.00 ± 2.00** | **52.00 ± 2.00** "
        "| **62.00 ± 2.00** |",
        "| focal | 3 | _55.00 ± 0.00_ | _65.00 ± 0.00_ | _55.00 ± 0.00_ | _45.00 ± 0.00_ "
        "| _55.00 ± 0.00_ |",
        "| bce | 3 | 51.00 ± 1.00 ↓ | 61.00 ± 1.00 ↓ | 51.00 ± 1.00 ↓ | 41.00 ± 1.00 ↓ "
        "| 51.00 ± 1.00 ↓ |",
    ]
    assert "- split: coco-lt, fingerprint c0c0c0c0c0c0" in lines


def test_markdown_keeps_signs_of_names(load, record):
    runs = [
        record("a_b", 0, 0.6, hyperparameters={"f": "x|y<z> *q* _e_"}),
        record("a_b", 0, 0.5, hyperparameters={"f": "g"}),
    ]
    line = render.markdown([build(load(runs))]).splitlines()[4]
    assert line.startswith(r"| a_b (f=x\|y\<z\> \*q\* \_e\_) | 1 |")


def test_csv_is_tidy_and_exact(load, record, five_methods):
    runs = [*five_methods, record("asl", 0, 0.3, split=VOC)]
    lines = list(stdlib_csv.DictReader(io.StringIO(render.csv(build_all(load(runs))))))
    assert [(line["split"], line["method"], line["seeds"]) for line in lines] == [
        ("coco-lt", "db", "1"),
        ("coco-lt", "hill", "1"),
        ("coco-lt", "asl", "3"),
        ("coco-lt", "focal", "3"),
        ("coco-lt", "bce", "3"),
        ("voc-lt", "asl", "1"),
    ]
    assert float(lines[4]["total_mean"]) == 0.51
    assert float(lines[4]["total_std"]) == pytest.approx(0.01, abs=1e-10)
    assert (lines[0]["total_std"], lines[0]["oracle"]) == ("", "true_counts")
    assert json.loads(lines[2]["hyperparameters"]) == {"gamma": 2.0}
    assert lines[5]["fingerprint"] == VOC


def test_terminal_fits_100_columns_and_reads_without_colour(table):
    text = terminal_text([table])
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 100
    rows = {line.split()[0]: " ".join(line.split()) for line in text.splitlines() if line.strip()}
    assert rows["db"].startswith("db † 1 70.00 80.00")
    assert rows["hill"].startswith("hill 1 65.00 75.00")
    assert rows["asl"].startswith("asl 3 62.00±2.00 ¹ 72.00±2.00 ¹")
    assert rows["focal"].startswith("focal 3 55.00±0.00 ² 65.00±0.00 ²")
    assert rows["bce"].startswith("bce 3 51.00±1.00 ↓ 61.00±1.00 ↓")
    assert rows["marks"] == "marks ¹ best, ² second, ↓ lowest of a column"


def test_terminal_aligns_decimal_points(table):
    lines = terminal_text([table]).splitlines()
    start = next(i for i, line in enumerate(lines) if line.strip().startswith("db †"))
    rows = lines[start : start + 5]
    assert (
        len({tuple(m.start() for m in re.finditer(r"\.\d\d(?![±\d])|±", r)) for r in rows[2:]}) == 1
    )
    points = [[m.start() for m in re.finditer(r"(?<!±)\b\d\d(?=\.\d\d)", row)] for row in rows]
    assert points == 5 * [points[0]] and len(points[0]) == 5


def test_terminal_folds_long_labels_and_keeps_brackets(load, record):
    long = "[red]" + "x" * 80
    runs = [
        record("asl", 0, 0.6, hyperparameters={"f": long}),
        record("asl", 0, 0.5, hyperparameters={"f": 1}),
    ]
    text = terminal_text([build(load(runs))])
    assert "[red]" in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 100


def test_html_is_well_formed_and_loads_nothing(load, record, five_methods):
    page = render.html(build_all(load([*five_methods, record(split=VOC)])))
    outline = Outline(page)
    assert len(outline.ids) == len(set(outline.ids))
    assert all(address.startswith("#") for address in outline.addresses)
    assert {address[1:] for address in outline.addresses} <= set(outline.ids)
    assert not re.search(r"https?://|@import|<script|<link|url\((?!#)", page)
    assert page.count("<section") == 2


def test_html_table_marks_and_footer(table):
    page = render.html([table])
    cells = re.sub(r"<[^>]*>", "", page)
    assert "62.00 ± 2.00 best" in cells
    assert "55.00 ± 0.00 second" in cells
    assert "51.00 ± 1.00 lowest" in cells
    assert '<tr class="oracle">' in page
    assert "fingerprint c0c0c0c0c0c0" in page
    assert "benchkit run &#39;my split.h5&#39; --method asl --seed 2" in page
    assert "AP per class: asl" in page  # db is the oracle, and hill has too few seeds
    hill = cells[cells.index("Title of hill") : cells.index("Title of asl")]
    assert hill.split()[3:6] == ["1", "65.00", "75.00"] and "±" not in hill
    assert "rows with fewer seeds than others are not ranked" in cells


def test_html_is_accessible(table):
    tags = Outline(render.html([table])).tags
    assert all("scope" in attributes for tag, attributes in tags if tag == "th")
    pictures = [attributes for tag, attributes in tags if tag == "svg"]
    assert len(pictures) == 3
    assert all(picture["role"] == "img" for picture in pictures)
    assert "asl: many 72.00, medium 62.00, few 52.00" in pictures[0]["aria-label"]
    assert any(tag == "caption" for tag, _ in tags)
    assert ("html", {"lang": "en"}) in tags


def test_html_escapes_names(load, record):
    runs = [record("asl", 0, 0.6), record("bce", 0, 0.5)]
    for run in runs:
        run["split"]["name"] = '<script>alert("1")</script>'
        run["method"]["title"] = "<b>bold</b> & more"
    page = render.html(build_all(load(runs)))
    assert "<script" not in page
    assert "<b>bold" not in page
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; more" in page
    assert "cat &amp; &lt;dog&gt;" in page
    assert "$kite_$" in page
    Outline(page)


def test_html_follows_the_theme_in_its_plots(table):
    svg = re.findall(r"<svg.*?</svg>", render.html([table]), re.DOTALL)
    assert all("var(--many)" in picture and "var(--muted)" in picture for picture in svg)
    assert not any("#0001" in picture or "#0004" in picture for picture in svg)


def test_html_of_rows_without_values(load, record):
    runs = [record("asl", 0), record("db", 0)]
    for run in runs:
        metrics = run["metrics"]
        metrics.update(dict.fromkeys(key for key in metrics if key.startswith("map")))
        metrics["ap"] = [None] * 4
    page = render.html([build(load(runs))])
    assert "AP per class" not in page
    Outline(page)


def test_the_same_records_give_the_same_bytes(load, five_methods):
    records = load(five_methods)
    first, second = (render.html(build_all(records)) for _ in range(2))
    assert first == second


def test_the_package_imports_neither_torch_nor_other_packages():
    program = (
        "import pkgutil, sys, leaderboard; "
        "modules = pkgutil.walk_packages(leaderboard.__path__, 'leaderboard.'); "
        "[__import__(module.name) for module in modules]; "
        "assert 'leaderboard.render.plots' in sys.modules; "
        "others = {'torch', 'benchkit', 'splits', 'baselines'} & set(sys.modules); "
        "assert not others, others"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
