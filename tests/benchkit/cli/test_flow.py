"""The command line as a user meets it: from arrays to a leaderboard, twice over."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from commands import Result, call, succeed

from baselines.core import registry
from benchkit.base import random
from benchkit.cli import COMMANDS, benchkit
from benchkit.runs.specs import specs
from benchkit.split.file import read
from splits import statistics

FAST = ("--recipe", "epochs=3")
SHOTS = ("--many", "30", "--few", "12")
REGIMES = ("full", "pal:0.5", "ppl:0.5", "spl", "missing:0.4", "candidates:0.2")
CLASSES = ("sky", "tree", "boat [sea]", "dog", "kite", "comet")

TINY_METHOD = """
from baselines.core import Method, MethodInfo, positives


class Hinge(Method):
    info = MethodInfo(
        key="{key}", title="Hinge", paper="none", year=2024, equation="L", unknown="negative"
    )

    def loss(self, run, logits, batch, clock, draw):
        sign = 2 * positives(batch.observed, logits.dtype) - 1
        return (1 - sign * logits).clamp(min=0).mean()
"""


def spawn(*words: object, cwd: Path) -> Result:
    """The installed console script in a process of its own."""
    script = Path(sysconfig.get_path("scripts")) / "benchkit"
    ended = subprocess.run(
        [script, *map(str, words)],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return Result(ended.returncode, ended.stdout, ended.stderr)


def arrays(images: int = 120, seed: int = 0) -> dict[str, np.ndarray]:
    """Sixteen features, of which linear functions with rising thresholds are six labels."""
    weights = random.uniform(seed, "weights", np.arange(16 * 6)).reshape(16, 6) - 0.5
    values = random.uniform(seed, "values", np.arange(images * 16)).reshape(images, 16) - 0.5
    margins = values @ weights
    wanted = np.array([0.5, 0.4, 0.3, 0.2, 0.12, 0.08])
    floors = [np.quantile(column, 1 - w) for column, w in zip(margins.T, wanted, strict=True)]
    return {
        "X": values.astype(np.float32),
        "Y": (margins > floors).astype(np.int8),
        "label_names": np.array(CLASSES),
        "image_ids": np.array([f"img-{i:03d}" for i in range(images)]),
    }


def records(runs: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """(method, seed) -> run.json; the grids here have one row per pair."""
    found = [json.loads(path.read_text()) for path in sorted(runs.glob("*/run.json"))]
    return {(r["method"]["key"], r["science"]["seed"]): r for r in found}


def stored_scores(runs: Path, record: dict[str, Any]) -> np.ndarray:
    with np.load(runs / record["run_id"] / "scores.npz") as file:
        return file["scores"]


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """The time and the content of every file, except the log, to which each run appends."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "run.log"
    }


def rows_of(runs: Path, *more: str) -> dict[str, dict[str, str]]:
    """The rows of the CSV report by label and selection rule."""
    text = succeed("report", runs, "--format", "csv", *more).out
    return {f"{row['label']}/{row['selection']}": row for row in csv.DictReader(io.StringIO(text))}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny.npz and, from it, tiny.h5: half-labelled, with a validation part."""
    folder = tmp_path_factory.mktemp("flow")
    np.savez(folder / "tiny.npz", **arrays())
    words = ("--regime", "pal:0.5", "--val-fraction", "0.2", *SHOTS)
    succeed("make-split", f"arrays:{folder / 'tiny.npz'}", "--out", folder / "tiny.h5", *words)
    return folder


@pytest.fixture(scope="module")
def runs(place: Path) -> Path:
    """Three methods with two seeds on tiny.h5."""
    methods = ("--method", "bce,asl,db-focal", "--seeds", "2")
    said = succeed("run", "--split", place / "tiny.h5", *methods, *FAST, "--out", place / "runs")
    assert said.out.startswith("6 runs done, 0 kept, 0 failed, 0 methods skipped\n")
    return place / "runs"


# ----------------------------------------------------------------------------- the whole way


def test_from_arrays_to_a_page_in_processes_of_their_own(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", **arrays())
    made = spawn("make-split", "arrays:mine.npz", "--out", "out/mine.h5", cwd=tmp_path)
    assert made.code == 0, made.err
    assert re.fullmatch(r"[0-9a-f]{64}\n", made.out)
    assert made.err == "out/mine.h5: 96 train, 24 test images, 6 classes, full labels\n"

    path = tmp_path / "out" / "mine.h5"
    assert succeed("verify", path).out == f"{path}: complete, {made.out}"

    words = ("run", "--split", "out/mine.h5", "--method", "bce,asl", "--out", "out/runs", *FAST)
    ran = spawn(*words, cwd=tmp_path)
    assert (ran.code, ran.err) == (0, "")  # no bar and no escape code where nobody watches
    assert ran.out.startswith("2 runs done, 0 kept, 0 failed, 0 methods skipped\n")

    before = snapshot(tmp_path / "out/runs")
    again = spawn(*words, cwd=tmp_path)
    assert again.out.startswith("0 runs done, 2 kept, 0 failed, 0 methods skipped\n")
    assert again.err == "2 runs are already in out/runs and are kept\n"
    assert snapshot(tmp_path / "out/runs") == before

    page = spawn("report", "out/runs", "--format", "html", "--out", "out/page.html", cwd=tmp_path)
    assert (page.code, page.out, page.err) == (0, "", "wrote out/page.html\n")
    text = (tmp_path / "out/page.html").read_text()
    assert text.lstrip().lower().startswith("<!doctype html>")
    assert "http://" not in re.sub(r"http://www\.w3\.org/\S+", "", text)  # it works offline
    assert text.count("mine-full") > 0 and "asl" in text

    shown = spawn("report", "out/runs", cwd=tmp_path)
    assert "\x1b" not in shown.out + shown.err
    assert "asl" in shown.out and "bce" in shown.out


def test_report_needs_no_torch(runs: Path) -> None:
    program = (
        "import sys; from benchkit.cli import main\n"
        "try: main()\n"
        "finally: print('torch' in sys.modules, file=sys.stderr)"
    )
    words = [sys.executable, "-c", program, "report", str(runs)]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0
    assert ended.stderr == "False\n"


# ----------------------------------------------------------------------------- make-split


@pytest.mark.parametrize("regime", REGIMES)
def test_every_regime_makes_a_verified_split(place: Path, tmp_path: Path, regime: str) -> None:
    tail = ("--long-tail", "pareto", "--max", "40", "--min", "3", "--val-fraction", "0.1")
    out = tmp_path / "s.h5"
    said = succeed(
        "make-split", f"arrays:{place / 'tiny.npz'}", "--out", out, "--regime", regime, *tail
    )
    fingerprint = said.out.strip()
    assert succeed("verify", out).out == f"{out}: complete, {fingerprint}\n"

    split = read(out)
    assert split.name == f"tiny-pareto40-{regime}"
    assert split.recipe["labels"]["long_tail"]["maximum"] == 40
    train, val, test = (split.parts[name] for name in ("train", "val", "test"))
    assert len(test.ids) == 24  # a fifth of 120
    assert len(train.ids) + len(val.ids) < 96  # the tail is a subset of the rest
    assert len(val.ids) == round(0.1 * (len(train.ids) + len(val.ids)))
    assert not {*train.ids} & {*val.ids} and not {*test.ids} & {*train.ids, *val.ids}
    # Every row carries the labels and features that its id had in the source.
    source = arrays()
    row = {name: i for i, name in enumerate(source["image_ids"])}
    for part in (train, val, test):
        rows = [row[name] for name in part.ids]
        assert np.array_equal(part.true, source["Y"][rows])
        assert np.array_equal(part.features[:, 0], source["X"][rows])
    kind = regime.partition(":")[0]
    rates = statistics.observed_rates(train.true, train.observed)
    if kind == "full":
        assert np.array_equal(train.observed, train.true)
    elif kind == "pal":
        assert 0.35 < rates["observed"] < 0.65
    elif kind == "candidates":
        noise = (train.observed == 1) & (train.true == 0)
        assert 0.1 < noise.sum() / (train.true == 0).sum() < 0.3
        assert not (train.observed == -1).any()
    else:
        assert not (train.observed == 0).any()
        has = (train.true == 1).any(1)
        assert ((train.observed == 1).any(1) == has).all()


def test_one_recipe_gives_the_same_bytes_and_another_seed_does_not(
    place: Path, tmp_path: Path
) -> None:
    def make(name: str, *more: str) -> tuple[str, bytes]:
        words = ("--regime", "pal:0.5", "--long-tail", "pareto", "--max", "40", *more)
        out = tmp_path / name
        said = succeed("make-split", f"arrays:{place / 'tiny.npz'}", "--out", out, *words)
        return said.out, out.read_bytes()

    first, again, other = make("a.h5"), make("b.h5"), make("c.h5", "--seed", "1")
    assert first == again
    assert first[0] != other[0]


def test_show_as_json_counts_what_the_file_holds(place: Path) -> None:
    found = json.loads(succeed("show", place / "tiny.h5", "--json").out)
    split = read(place / "tiny.h5")
    train = split.parts["train"]
    assert found["name"] == "tiny-pal:0.5"
    assert found["sizes"] == {"train": 77, "val": 19, "test": 24}
    assert found["thresholds"] == {"many": 30, "few": 12, "reference": "true"}
    assert found["features"] == {"views": 1, "dim": 16, "type": "float32"}
    assert found["fingerprint"] == split.fingerprints()
    assert found["recipe"]["labels"] == {
        "source": "tiny",
        "long_tail": {"kind": "none"},
        "regime": "pal:0.5",
        "val_fraction": 0.2,
        "test_fraction": 0.2,
    }
    assert found["label_cardinality"] == pytest.approx((train.true == 1).sum() / 77)
    assert found["rates"]["observed"] == pytest.approx((train.observed != -1).mean())
    assert [entry["name"] for entry in found["classes"]] == list(CLASSES)
    for c, entry in enumerate(found["classes"]):
        count = int((train.true[:, c] == 1).sum())
        assert entry["train"] == count
        assert entry["observed"] == int((train.observed[:, c] == 1).sum())
        assert entry["test"] == int((split.parts["test"].true[:, c] == 1).sum())
        assert entry["shot"] == ("many" if count >= 30 else "medium" if count >= 12 else "few")
        assert entry["observed_rate"] == pytest.approx((train.observed[:, c] != -1).mean())
    groups = [entry["shot"] for entry in found["classes"]]
    assert found["shot_groups"] == {name: groups.count(name) for name in ("many", "medium", "few")}
    assert found["provenance"]["seed"] == 0
    assert set(found["provenance"]["sources"]) == {"tiny.npz"}


def test_show_as_text_says_the_same(place: Path) -> None:
    found = json.loads(succeed("show", place / "tiny.h5", "--json").out)
    text = succeed("show", place / "tiny.h5").out
    assert found["fingerprint"]["both"] in text  # in full, not cut at the terminal's edge
    assert "77 train, 19 val, 24 test" in text
    assert "many >= 30, few < 12, true counts" in text
    for entry in found["classes"]:
        # A name with brackets is a name, not a colour.
        line = next(line for line in text.splitlines() if line.strip().startswith(entry["name"]))
        cells = line.split(entry["name"], 1)[1].split()
        counts = [str(entry[k]) for k in ("train", "observed", "test")]
        assert cells[:4] == [entry["shot"], *counts]
        assert cells[4] == f"{entry['observed_rate']:.1%}"


# ----------------------------------------------------------------------------- run


def test_a_record_says_what_was_run(place: Path, runs: Path) -> None:
    found = records(runs)
    assert set(found) == {(key, seed) for key in ("bce", "asl", "db-focal") for seed in (0, 1)}
    split = read(place / "tiny.h5")
    record = found["asl", 1]
    science = record["science"]
    assert science["split"] == split.fingerprints()["both"]
    assert science["hyperparameters"]["clip"] == 0.05
    assert (science["recipe"]["epochs"], science["recipe"]["standardise"]) == (3, "on")
    assert (science["selection"], record["selected_epoch"]) == ("last", 3)
    assert [entry["epoch"] for entry in record["curve"]] == [1, 2, 3]
    assert record["split"]["sizes"] == {"train": 77, "val": 19, "test": 24}
    assert record["split"]["class_names"] == list(CLASSES)
    assert len(record["metrics"]["ap"]) == 6
    defined = [value for value in record["metrics"]["ap"] if value is not None]
    assert record["metrics"]["map"] == pytest.approx(np.mean(defined))
    assert stored_scores(runs, record).shape == (24, 6)


def test_starting_again_keeps_everything(place: Path, runs: Path) -> None:
    before = snapshot(runs)
    methods = ("--method", "bce,asl,db-focal", "--seeds", "2")
    said = succeed("run", "--split", place / "tiny.h5", *methods, *FAST, "--out", runs)
    assert said.out.startswith("0 runs done, 6 kept, 0 failed, 0 methods skipped\n")
    assert snapshot(runs) == before


@pytest.mark.parametrize("key", ["bce", "asl", "db-focal"])
def test_the_command_of_a_record_repeats_it_to_the_bit(
    place: Path, runs: Path, tmp_path: Path, key: str
) -> None:
    record = records(runs)[key, 1]
    words = record["command"]
    assert words[0] == "benchkit"
    at = words.index("--out") + 1
    succeed(*words[1:at], tmp_path / "again", *words[at + 1 :])
    again = records(tmp_path / "again")[key, 1]
    assert again["run_id"] == record["run_id"]
    assert again["metrics"] == record["metrics"]
    first, second = (stored_scores(f, record) for f in (runs, tmp_path / "again"))
    assert np.array_equal(first, second)


def test_a_hyperparameter_is_another_run_and_its_command_names_it(
    place: Path, runs: Path, tmp_path: Path
) -> None:
    words = ("--method", "asl", "--set", "asl.clip=0.1", *FAST, "--out", tmp_path)
    succeed("run", "--split", place / "tiny.h5", *words)
    record = records(tmp_path)["asl", 0]
    assert record["run_id"] != records(runs)["asl", 0]["run_id"]
    assert record["science"]["hyperparameters"]["clip"] == 0.1
    assert "asl.clip=0.1" in record["command"]
    succeed(*record["command"][1:-1], tmp_path / "again")
    assert list(records(tmp_path / "again")) == [("asl", 0)]
    assert (tmp_path / "again" / record["run_id"]).is_dir()


def test_seeds_counts_and_seed_names(place: Path, runs: Path, tmp_path: Path) -> None:
    split = ("run", "--split", place / "tiny.h5", "--method", "bce", *FAST, "--out", tmp_path)
    succeed(*split, "--seed", "1")
    assert list(records(tmp_path)) == [("bce", 1)]
    alone = snapshot(tmp_path)
    said = succeed(*split, "--seeds", "3")
    assert said.out.startswith("2 runs done, 1 kept, 0 failed, 0 methods skipped\n")
    assert set(records(tmp_path)) == {("bce", seed) for seed in (0, 1, 2)}
    assert alone.items() <= snapshot(tmp_path).items()
    # A seed alone and the same seed beside others agree to float tolerance.
    record = records(tmp_path)["bce", 1]
    assert record["run_id"] == records(runs)["bce", 1]["run_id"]
    np.testing.assert_allclose(
        stored_scores(tmp_path, record), stored_scores(runs, record), atol=1e-5
    )


def test_a_stack_that_lost_a_record_is_trained_as_it_was(
    place: Path, runs: Path, tmp_path: Path
) -> None:
    words = ("run", "--split", place / "tiny.h5", "--method", "bce", "--seeds", "2", *FAST)
    succeed(*words, "--out", tmp_path)
    lost = records(tmp_path)["bce", 1]
    for path in (tmp_path / lost["run_id"]).iterdir():
        path.unlink()
    kept = snapshot(tmp_path)
    said = succeed(*words, "--out", tmp_path)
    assert said.out.startswith("1 runs done, 1 kept, 0 failed, 0 methods skipped\n")
    assert kept.items() <= snapshot(tmp_path).items()
    record = records(tmp_path)["bce", 1]
    assert np.array_equal(stored_scores(tmp_path, record), stored_scores(runs, record))
    assert record["command"][:-1] == records(runs)["bce", 1]["command"][:-1]


def test_selection_on_validation_and_the_oracle_on_test(place: Path, tmp_path: Path) -> None:
    words = ("run", "--split", place / "tiny.h5", "--method", "bce,asl", "--out", tmp_path)
    for rule in ("val", "test-oracle"):
        recipe = ("--recipe", "epochs=6", "--recipe", "lr=0.3", "--recipe", "weight_decay=0")
        succeed(*words, *recipe, "--select", rule)
    found = [json.loads(path.read_text()) for path in tmp_path.glob("*/run.json")]
    assert len({record["run_id"] for record in found}) == 4
    for record in found:
        oracle = record["science"]["selection"] == "test-oracle"
        assert ("best_test_epoch" in record["method"]["oracle"]) is oracle
        best = max(entry["val_map"] for entry in record["curve"])
        chosen = record["curve"][record["selected_epoch"] - 1]
        assert chosen["epoch"] == record["selected_epoch"]
        assert chosen["val_map"] == best
    # Never in one table, and the second one says what its rows have seen.
    rows = rows_of(tmp_path)
    assert set(rows) == {
        f"{key}/{rule}" for key in ("bce", "asl") for rule in ("val", "test-oracle")
    }
    assert rows["bce/val"]["oracle"] == ""
    assert rows["bce/test-oracle"]["oracle"] == "best_test_epoch"
    text = succeed("report", tmp_path, "--selection", "test-oracle").out
    assert "oracle" in text.lower() and "selection last" not in text


def test_all_methods_run_or_say_why_not(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    plugin = tmp_path / "narrow.py"
    narrow = TINY_METHOD.format(key="narrow-in-a-test").replace(
        "year=2024,", 'year=2024, regimes=("spl",),'
    )
    plugin.write_text(narrow)
    words = ("--method", "all", "--plugin", plugin, *FAST, "--out", out)
    said = succeed("run", "--split", place / "tiny.h5", *words)
    skipped = dict(re.findall(r"^skipping (\S+): (.+)$", said.err, re.M))
    assert skipped["narrow-in-a-test"] == "meant for spl labels; this split is pal"
    assert all(reason.endswith("; this split is pal") for reason in skipped.values())
    ran = {key for key, _ in records(out)}
    assert ran | set(skipped) == {*registry.builtin(), "narrow-in-a-test"}
    assert not ran & set(skipped)
    assert {"bce", "asl", "db-focal"} <= ran
    counts = f"{len(ran)} runs done, 0 kept, 0 failed, {len(skipped)} methods skipped\n"
    assert said.out.startswith(counts)


def test_all_may_stand_in_a_list() -> None:
    keys = [spec.method.info.key for spec in specs("wan, all")]
    assert keys == ["wan", *(key for key in registry.builtin() if key != "wan")]


def test_methods_may_start_from_the_values_of_their_papers(place: Path, tmp_path: Path) -> None:
    words = ("run", "--split", place / "tiny.h5", "--method", "bce,asl,em,comic-head", *FAST)
    said = succeed(*words, "--paper", "voc", "--paper", "coco", "--out", tmp_path / "runs")
    assert [line for line in said.err.splitlines() if "paper" in line] == [
        "em as in its paper: alpha=0.2",
        "comic-head as in its paper: decay_divisor=1, step=12",
    ]
    runs = records(tmp_path / "runs").items()
    found = {key: record["science"]["hyperparameters"] for (key, _), record in runs}
    assert (found["em"]["alpha"], found["comic-head"]["step"]) == (0.2, 12)
    (em,) = specs("em", settings={"em": {"alpha": "0.05"}}, papers=("coco", "voc"))
    assert em.hyper.alpha == 0.05  # --set overrides --paper


def test_hyperparameters_may_widen_the_regimes_of_a_method(place: Path, tmp_path: Path) -> None:
    spl = tmp_path / "spl.h5"
    succeed("make-split", f"arrays:{place / 'tiny.npz'}", "--out", spl, "--regime", "spl", *SHOTS)
    words = ("run", "--split", spl, "--method", "p-asl,csl", *FAST, "--out", tmp_path / "runs")
    settings = ("--set", "p-asl.mode=ignore", "--set", "csl.prior=true")
    said = succeed(*words, *settings)
    assert said.out == "0 runs done, 0 kept, 0 failed, 2 methods skipped\n"
    # The defaults follow the regime, and are recorded like values that were set.
    said = succeed(*words)
    assert said.out.startswith("2 runs done, 0 kept, 0 failed, 0 methods skipped\n")
    assert "p-asl on spl labels: mode=negative\ncsl on spl labels: prior=False\n" in said.err
    record = records(tmp_path / "runs")["p-asl", 0]
    assert record["science"]["hyperparameters"]["mode"] == "negative"
    assert " --set p-asl.mode=negative " in " ".join(record["command"])
    said = succeed(*words, "--set", "p-asl.mode=negative", "--set", "csl.prior=false")
    assert said.out.startswith("0 runs done, 2 kept, 0 failed, 0 methods skipped\n")


# ----------------------------------------------------------------------------- plugins


def test_a_plugin_of_ten_lines_is_a_method(place: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "hinge.py"
    plugin.write_text(TINY_METHOD.format(key="plugin-of-a-test"))
    assert "plugin-of-a-test" in succeed("methods", "--plugin", plugin).out
    assert "Hinge (2024)" in succeed("methods", "plugin-of-a-test", "--plugin", plugin).out
    words = (
        "run",
        "--split",
        place / "tiny.h5",
        "--method",
        "bce,plugin-of-a-test",
        "--plugin",
        plugin,
    )
    succeed(*words, *FAST, "--out", tmp_path / "runs")
    first = records(tmp_path / "runs")["plugin-of-a-test", 0]
    assert first["method"]["kind"] == "plugin"
    assert ["--plugin", str(plugin)] == first["command"][-4:-2]
    # An edit is another run, and only of the plugin.
    plugin.write_text(plugin.read_text() + "\n# edited\n")
    said = succeed(*words, *FAST, "--out", tmp_path / "runs")
    assert said.out.startswith("1 runs done, 1 kept")


def test_keys_that_clash_are_refused(place: Path, tmp_path: Path) -> None:
    for name, key in (("one", "plugin-of-a-test"), ("two", "plugin-of-a-test"), ("thief", "asl")):
        (tmp_path / f"{name}.py").write_text(TINY_METHOD.format(key=key))
    words = ("run", "--split", place / "tiny.h5", "--method", "bce", "--out", tmp_path / "r")
    both = call(*words, "--plugin", tmp_path / "one.py", "--plugin", tmp_path / "two.py")
    assert both.code == 1
    assert both.err == "error: two plugins define the method 'plugin-of-a-test'; rename one\n"
    thief = call(*words, "--plugin", tmp_path / "thief.py")
    assert thief.code == 1
    assert "thief.py" in thief.err and "both define the method 'asl'" in thief.err


# ----------------------------------------------------------------------------- report, evaluate


def test_the_report_is_the_mean_and_spread_of_the_records(runs: Path) -> None:
    rows = rows_of(runs)
    found = records(runs)
    assert set(rows) == {"bce/last", "asl/last", "db-focal/last"}
    for key in ("bce", "asl", "db-focal"):
        values = [found[key, seed]["metrics"]["map"] for seed in (0, 1)]
        row = rows[f"{key}/last"]
        assert row["seeds"] == "2"
        assert float(row["total_mean"]) == pytest.approx(np.mean(values), abs=1e-12)
        assert float(row["total_std"]) == pytest.approx(np.std(values, ddof=1), abs=1e-12)
        for form in ("terminal", "markdown", "html"):
            text = succeed("report", runs, "--format", form).out
            assert f"{100 * np.mean(values):.2f}" in text, form
            assert "tiny-pal:0.5" in text


@pytest.mark.parametrize("form", ["terminal", "markdown", "csv", "html"])
def test_a_report_can_be_written_to_a_file(runs: Path, tmp_path: Path, form: str) -> None:
    out = tmp_path / "new" / f"report.{form}"
    printed = succeed("report", runs, "--format", form).out
    said = succeed("report", runs, "--format", form, "--out", out)
    assert (said.out, said.err) == ("", f"wrote {out}\n")
    assert out.read_text(encoding="utf-8").split() == printed.split()


def test_scores_from_elsewhere_are_a_row_with_the_same_numbers(
    place: Path, runs: Path, tmp_path: Path
) -> None:
    source = records(runs)["bce", 0]
    scores = runs / source["run_id"] / "scores.npz"
    words = ("evaluate", "--split", place / "tiny.h5", "--out", tmp_path)
    said = succeed(*words, "--scores", scores, "--name", "mine")
    with np.load(scores) as file:  # the same scores in another row order
        np.savez(tmp_path / "turned.npz", scores=file["scores"][::-1], ids=file["ids"][::-1])
    turned = succeed(*words, "--scores", tmp_path / "turned.npz", "--name", "mine")
    assert turned.out == said.out
    record = json.loads((tmp_path / said.out.splitlines()[0] / "run.json").read_text())
    assert record["method"]["kind"] == "external"
    assert record["metrics"] == source["metrics"]
    row = rows_of(tmp_path)["mine/last"]
    assert float(row["total_mean"]) == source["metrics"]["map"]


# ----------------------------------------------------------------------------- help


def commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(benchkit)
    for name in COMMANDS:
        command = benchkit.get_command(context, name)
        assert command is not None
        yield name, command


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=list(COMMANDS))
def test_help_lists_every_option_with_what_it_does(name: str, command: click.Command) -> None:
    page = succeed(name, "--help").out
    text = " ".join(page.split())
    assert command.help
    for option in (p for p in command.params if isinstance(p, click.Option)):
        assert option.help, option.name
        listed = option.opts[-1]
        assert f"{listed} " in text, listed
        first = " ".join(option.help.split()[:3])
        assert first in text, f"{listed}: {first}"
        shown = option.default in (None, (), False) or option.is_flag or option.multiple
        if not shown and str(option.default) != "Sentinel.UNSET":
            # Without spaces, because lines also break at a hyphen.
            assert f"[default:{option.default}" in "".join(page.split()), listed


def test_the_first_page_names_every_command() -> None:
    text = succeed("--help").out
    for name, _ in commands():
        assert re.search(rf"^  {name} +\S", text, re.M), name
    assert succeed("-h").out == text
    assert re.fullmatch(r"benchkit, version \d+\.\d+\.\d+\n", succeed("--version").out)
