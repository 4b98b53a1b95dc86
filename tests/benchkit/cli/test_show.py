"""`benchkit show`: counts, text and drawings."""

from __future__ import annotations

import dataclasses
import io
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import matplotlib
import numpy as np
import pytest
from commands import call, refuse
from rich.console import Console

from benchkit.base.errors import BenchkitError
from benchkit.cli.show import class_table
from benchkit.split import drawing as split_drawing
from benchkit.split import file as split_file
from benchkit.split import summary as split_summary
from benchkit.split.build import build
from benchkit.split.features import source_features
from benchkit.split.model import Split
from benchkit.split.options import Options
from splits import noise, statistics
from splits.labels import SparseLabels
from splits.regimes import Regime

TRUE = np.array([[1, 0, -1], [1, 1, 0], [1, 0, 0], [0, 0, 0]], np.int8)
SEEN = np.array([[1, -1, -1], [-1, 1, 1], [1, 0, 1], [1, 0, 0]], np.int8)


def summary(split: Split) -> dict[str, Any]:
    return split_summary.summary(split, split.fingerprints())


def reported(split: Split) -> Split:
    """The split with a long-tail report: twice as many available, and one more as the target."""
    classes = [
        {"name": name, "target": n + 1, "achieved": n, "available": 2 * n}
        for name, n in zip(split.class_names, split.train_count.tolist(), strict=True)
    ]
    report = {"classes": classes, "not_met": ["class_0", "class_1"], "cooccurrence_drift": 0.125}
    return dataclasses.replace(split, provenance={**split.provenance, "long_tail_report": report})


# ----------------------------------------------------------------------------- counts


def test_pairs_of_codes_by_hand() -> None:
    cells = split_summary.cross_counts(TRUE, SEEN)
    assert cells.shape == (3, 3, 3)
    assert cells.sum() == 12
    assert (cells[0, 1, 1], cells[0, 1, -1], cells[0, 0, 1]) == (2, 1, 1)
    assert (cells[1, 1, 1], cells[1, 0, 0], cells[1, 0, -1]) == (1, 2, 1)
    assert (cells[2, -1, -1], cells[2, 0, 1], cells[2, 0, 0]) == (1, 2, 1)


def test_pairs_of_codes_do_not_depend_on_blocks_or_storage() -> None:
    expected = split_summary.cross_counts(TRUE, SEEN)
    with mock.patch("benchkit.split.summary._ENTRIES", 4):
        assert np.array_equal(split_summary.cross_counts(TRUE, SEEN), expected)
    for fill in (0, -1):
        sparse = SparseLabels.from_dense(TRUE, fill), SparseLabels.from_dense(SEEN, fill)
        assert np.array_equal(split_summary.cross_counts(*sparse), expected)


def test_cardinality_by_hand() -> None:
    assert split_summary.cardinality_histogram(TRUE).tolist() == [1, 2, 1]
    assert split_summary.cardinality_histogram(SEEN).tolist() == [0, 2, 2]


def test_histograms_share_their_bins() -> None:
    assert split_summary.binned([[1, 2], [0, 3, 4]], 5) == [
        ("0", [1, 0]),
        ("1", [2, 3]),
        ("2", [0, 4]),
    ]
    assert split_summary.binned([[1, 2], [0, 3, 4]], 2) == [("0–1", [3, 3]), ("2–3", [0, 4])]


def test_cooccurrence_by_hand() -> None:
    found = split_summary.conditional_cooccurrence(TRUE, np.array([1, 0, 2]))
    nan = np.nan
    expected = [[nan, 1.0, 0.0], [1 / 3, nan, 0.0], [nan, nan, nan]]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("regime", ["pal:0.4", "ppl:0.5", "candidates:0.3"])
def test_summary_agrees_with_the_splits_package(make_toy: Any, regime: str) -> None:
    split = make_toy(Options(regime=Regime.parse(regime), many=10, few=5))
    found, train = summary(split), split.parts["train"]
    rates = statistics.observed_rates(train.true, train.observed)
    for c, entry in enumerate(found["classes"]):
        assert sum(entry["shares"].values()) == pytest.approx(1)
        assert entry["observed_rate"] == pytest.approx(1 - entry["shares"]["unknown"])
        shown = entry["shares"]["positive"] + entry["shares"]["false_positive"]
        assert shown * len(train.ids) == pytest.approx(split.observed_count[c])
        assert entry["candidate_noise"] == pytest.approx(rates["candidate_noise_by_class"][c])
        assert entry["target"] is entry["available"] is None
    assert found["rates"]["positives_kept"] == pytest.approx(rates["positives_kept"])
    assert found["noise"] == noise.estimate(train.observed, Regime.parse(regime))
    for what, labels in (("true", train.true), ("observed", train.observed)):
        assert found["cardinality"][what] == np.bincount((labels == 1).sum(1)).tolist()
    assert found["observed_cardinality"] == pytest.approx((train.observed == 1).sum(1).mean())
    assert found["long_tail_report"] is None


def test_noise_by_class_is_not_estimated_as_one_rate(make_toy: Any) -> None:
    def estimates(text: str) -> dict[str, float]:
        options = Options(regime=Regime.parse(text), many=10, few=5)
        return summary(make_toy(options))["noise"]

    plain = estimates("candidates:0.3")
    by_image = estimates("candidates:0.3,by-image=0.5")
    by_class = estimates("candidates:0.3,by-class=frequency")
    rates = {"noise_rate", "false_candidates", "positives_per_image"}
    assert rates <= set(plain)
    assert rates <= set(by_image)
    assert not rates & set(by_class)


def test_before_and_after_come_from_the_long_tail_report(make_toy: Any) -> None:
    split = reported(make_toy())
    for entry in summary(split)["classes"]:
        assert entry["available"] == 2 * entry["train"]
        assert entry["target"] == entry["train"] + 1


@pytest.mark.parametrize("report", [[], {"classes": [{"name": "x"}]}, {"classes": [1]}, 7])
def test_a_damaged_long_tail_report_is_an_error(make_toy: Any, report: Any) -> None:
    split = dataclasses.replace(make_toy(), provenance={"long_tail_report": report})
    with pytest.raises(BenchkitError, match="long-tail report of the split 'toy' is damaged"):
        summary(split)


# ----------------------------------------------------------------------------- text


@pytest.fixture
def file(tmp_path: Path, make_toy: Any) -> Path:
    path = tmp_path / "toy.h5"
    split_file.write(make_toy(Options(regime=Regime("pal", 0.5), many=10, few=5)), path)
    return path


def test_bars_are_logarithmic_and_plain_in_a_pipe(file: Path) -> None:
    code, out, err = call("show", file)
    assert (code, err) == (0, "")
    assert "\x1b" not in out
    lines = [line for line in out.splitlines() if line.strip().startswith("class_")]
    counts = [int(line.split()[2]) for line in lines]
    assert counts == sorted(counts, reverse=True)
    bars = [line.split()[-1] for line in lines]
    assert bars[0] == "█" * 24
    for count, bar in zip(counts, bars, strict=True):
        assert len(bar) == pytest.approx(24 * np.log1p(count) / np.log1p(counts[0]), abs=1)


def test_bars_have_the_colour_of_their_shot_group(make_toy: Any) -> None:
    classes = summary(make_toy())["classes"]
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=120, color_system="standard")
    console.print(class_table(classes, console.width))
    lines = shown.getvalue().splitlines()
    for entry in classes:
        line = next(line for line in lines if entry["name"] in line)
        code = {"many": 34, "medium": 33, "few": 35}[entry["shot"]]
        assert f"\x1b[{code}m█" in line


def test_the_text_shows_the_long_tail(tmp_path: Path, make_toy: Any) -> None:
    split_file.write(reported(make_toy()), tmp_path / "s.h5")
    out = call("show", tmp_path / "s.h5")[1]
    assert "2 of 5 targets not met, co-occurrence drift 0.125" in out
    row = next(line for line in out.splitlines() if line.strip().startswith("class_0")).split()
    assert int(row[8]) == 2 * int(row[2])
    assert int(row[9]) == int(row[2]) + 1


def test_the_text_shows_estimated_noise(tmp_path: Path, make_toy: Any) -> None:
    split = make_toy(Options(regime=Regime("candidates", 0.3)))
    split_file.write(split, tmp_path / "s.h5")
    out = call("show", tmp_path / "s.h5")[1]
    rate = summary(split)["noise"]["noise_rate"]
    assert f"noise rate {rate:.3f}, false candidates" in out


def hostile(split: Split, name: str) -> Split:
    """The split with control characters in every text that a command prints."""
    parts = {
        part: dataclasses.replace(value, ids=np.array([f"\x1b[2J{image}" for image in value.ids]))
        for part, value in split.parts.items()
    }
    return dataclasses.replace(
        split,
        name=f"{name}\x1b]0;title\x07",
        class_names=tuple(f"\x1b[31m{name}\u202e" for name in split.class_names),
        recipe={**split.recipe, "labels": {**split.recipe["labels"], "source": "\x1b[8m"}},
        provenance={
            "sources": {"\x1b[8m": name},
            "source_options": {"kind": "\x1b[1m", "\x1b[1m": "\x9b1m\udc80"},
        },
        parts=parts,
    )


def test_control_characters_are_shown_as_escapes(tmp_path: Path, make_toy: Any) -> None:
    one, two = tmp_path / "a.h5", tmp_path / "b.h5"
    split = make_toy()
    split_file.write(hostile(split, "a"), one)
    test, train = split.parts["test"], split.parts["train"]
    swapped = dataclasses.replace(  # two images leak
        split,
        parts={
            **split.parts,
            "test": dataclasses.replace(
                test, ids=np.append(train.ids[:2], test.ids[2:]), true=1 - test.true
            ),
            "train": dataclasses.replace(train, ids=np.append(test.ids[:2], train.ids[2:])),
        },
    )
    split_file.write(hostile(swapped, "b"), two)
    for arguments in (["show", one], ["diff", one, two], ["verify", one]):
        _, out, err = call(*arguments)
        assert err == "" and out
        assert not [letter for letter in out if letter < " " and letter != "\n"]
        assert not {"\x9b", "\u202e", "\udc80"} & set(out)
    assert r"\x1b[31mclass_0\u202e" in call("show", one).out
    assert r"LEAK: 2 images" in call("diff", one, two).out
    assert r"\x1b[2Jimage_" in call("diff", one, two).out
    for arguments in (["show", one, "--json"], ["diff", one, two, "--json"]):
        assert call(*arguments).out.isascii()


def test_a_split_without_a_seed_is_shown(tmp_path: Path, make_toy: Any) -> None:
    split_file.write(dataclasses.replace(make_toy(), provenance={}), tmp_path / "a.h5")
    line = next(line for line in call("show", tmp_path / "a.h5").out.splitlines() if "seed" in line)
    assert line.split() == ["seed", "–"]
    assert call("diff", tmp_path / "a.h5", tmp_path / "a.h5").code == 0


def test_changed_labels_are_refused_by_every_command(file: Path) -> None:
    with h5py.File(file, "r+") as content:
        content["train/observed"][0] = 1
    for arguments, code in [(["show", file], 1), (["diff", file, file], 2)]:
        sentence = refuse(code, file, "do not match their fingerprint", arguments=tuple(arguments))
        assert "make the split again, or restore the file" in sentence
    assert "the fingerprint of the labels is" in call("verify", file).err


def test_a_changed_name_is_refused_by_every_command(file: Path, tmp_path: Path) -> None:
    with h5py.File(file, "r+") as content:
        content.attrs["name"] = np.bytes_(b"coco-lt")
    out = ("--out", tmp_path / "runs")
    problem = "its name, recipe, thresholds, paths or provenance do not match their digest"
    for arguments, code in [
        (("show", file), 1),
        (("diff", file, file), 2),
        (("run", "--split", file, "--method", "bce", *out), 1),
        (("evaluate", "--split", file, "--scores", file, "--name", "mine", *out), 1),
    ]:
        refuse(code, file, f"was changed after it was written: {problem}", arguments=arguments)
    result = call("verify", file)
    assert (result.code, result.err) == (1, f"{file}: {problem}\n")
    assert not (tmp_path / "runs").exists()


# ----------------------------------------------------------------------------- drawings


def test_a_png_is_written_and_logged(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "toy.PNG"
    code, out, err = call("show", file, "--json", "--draw", target)
    assert (code, err) == (0, f"wrote {target}\n")
    assert json.loads(out)["name"] == "toy"
    data = target.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(data) > 30_000
    assert not list(target.parent.glob(".*"))


def test_an_svg_shows_class_names_and_has_the_same_bytes_twice(file: Path, tmp_path: Path) -> None:
    split = split_file.read(file)
    found = summary(split)
    split_drawing.draw(split, found, tmp_path / "a.svg")
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9}):  # a user's own style
        split_drawing.draw(split, found, tmp_path / "b.svg")
    data = (tmp_path / "a.svg").read_bytes()
    assert data == (tmp_path / "b.svg").read_bytes()
    texts = [node.text for node in ElementTree.fromstring(data).iter() if node.text]
    for name in split.class_names:
        assert texts.count(name) == 3  # below the bars, and on both axes of the heat map
    assert any("Label cardinality" in text for text in texts)
    assert b"<dc:date>" not in data


def test_every_regime_and_a_report_can_be_drawn(tmp_path: Path, make_toy: Any) -> None:
    for regime in ("full", "candidates:0.3"):
        split = reported(make_toy(Options(regime=Regime.parse(regime), val_fraction=0.1)))
        split_drawing.draw(split, summary(split), tmp_path / f"{regime}.svg")
    full, candidates = ((tmp_path / f"{r}.svg").read_text() for r in ("full", "candidates:0.3"))
    assert "kept of the true positives" in full and "negative" in full
    assert "share of true and false ones" in candidates
    assert "available before" in full and "target" in full


@pytest.mark.filterwarnings("error")
def test_a_split_without_known_labels_can_be_drawn(tmp_path: Path, make_source: Any) -> None:
    made = make_source()
    made = dataclasses.replace(made, labels=np.full_like(made.labels, -1))
    options = Options(regime=Regime("candidates", 0.3))
    split = build(made, options, source_features(made), "unknown")
    split_drawing.draw(split, summary(split), tmp_path / "s.svg")
    assert (tmp_path / "s.svg").is_file()


def test_names_of_many_classes_are_left_out_and_the_map_shows_the_largest(
    tmp_path: Path, make_toy: Any
) -> None:
    split = make_toy(images=90, classes=120)
    split_drawing.draw(split, summary(split), tmp_path / "s.svg")
    text = (tmp_path / "s.svg").read_text()
    assert "the 60 largest of 120 classes" in text
    assert "120 classes, most training positives first" in text
    ranked = np.argsort(-split.train_count, kind="stable")
    assert text.count(f">{split.class_names[ranked[0]]}<") == 2
    assert text.count(f">{split.class_names[ranked[60]]}<") == 0


def test_names_with_characters_that_fonts_or_svg_lack(tmp_path: Path, make_source: Any) -> None:
    names = ("$x$", "a & <b>", "\x07bell", "天空", "a class with a very long name indeed")
    made = dataclasses.replace(make_source(), class_names=names)
    split = build(made, Options(), source_features(made), "odd \x01")
    split_drawing.draw(split, summary(split), tmp_path / "s.svg")
    text = "".join(ElementTree.parse(tmp_path / "s.svg").getroot().itertext())
    for name in ("$x$", "a & <b>", "�bell", "天空", "a class wi…me indeed", "odd �"):
        assert name in text


@pytest.mark.parametrize("name", ["s.pdf", "s", "s.png.gz"])
def test_another_suffix_is_an_error(file: Path, tmp_path: Path, name: str) -> None:
    code, out, err = call("show", file, "--draw", tmp_path / name)
    assert (code, out) == (2, "")
    assert f"{name} ends in neither .png nor .svg" in err
    assert not (tmp_path / name).exists()
    with pytest.raises(BenchkitError, match="neither"):
        split_drawing.check_suffix(Path(name))
