"""`benchkit tune` on a small split: draws, choice, continuation, failures."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import call, refuse, succeed

import benchkit
from benchkit.base.random import uniform
from benchkit.runs import workers
from benchkit.runs.claims import claim
from benchkit.runs.tune import fixed_fields
from leaderboard.record import Record
from leaderboard.records import load

METHODS = "hill,asl"
FAST = ("--recipe", "epochs=2", "--seeds", "2")

PLUGIN = """
from dataclasses import dataclass

from baselines.core import Method, MethodInfo, positives
from baselines.core.hyperparameters import hyper
from baselines.core.losses import bce_terms


@dataclass(frozen=True)
class Hyper:
    scale: float = hyper(1.0, "factor", search=(1.0, {high}))
    mode: str = hyper("fine", "what happens", search={modes})


class Fragile(Method):
    info = MethodInfo("fragile", "Fragile", "none", 2026, "L = scale BCE", "negative")
    Hyper = Hyper

    def loss(self, run, logits, batch, clock, draw):
        if self.hyper.mode == "raise":
            raise RuntimeError("out of luck")
        loss = self.hyper.scale * bce_terms(logits, positives(batch.observed)).mean()
        return loss / 0 if self.hyper.mode == "nan" else loss
"""


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 images, 16 features and 6 classes, half labelled, with a validation part."""
    folder = tmp_path_factory.mktemp("tune")
    features = uniform(0, "X", np.arange(120)[:, None], np.arange(16)[None, :]) - 0.5
    margins = features @ (uniform(0, "W", np.arange(16)[:, None], np.arange(6)[None, :]) - 0.5)
    labels = (margins > np.quantile(margins, [0.5, 0.6, 0.7, 0.75, 0.8, 0.85])).astype(np.int8)
    np.savez(folder / "a.npz", X=features.astype(np.float32), Y=labels)
    options = ("--regime", "pal:0.5", "--many", "30", "--few", "12")
    for name, more in (("a.h5", ("--val-fraction", "0.25")), ("without.h5", ())):
        source = f"arrays:{folder / 'a.npz'}"
        succeed("make-split", source, *options, *more, "--out", folder / name)
    return folder / "a.h5"


def tune(split: Path, out: Path, *more: object) -> Any:
    return call("tune", "--split", split, "--method", METHODS, *FAST, "--out", out, *more)


def draw_files(out: Path) -> dict[str, dict[str, Any]]:
    """Id -> content of every file of a draw."""
    return {path.stem: json.loads(path.read_text()) for path in (out / "draws").glob("*.json")}


def rows(out: Path) -> dict[tuple[str, int], list[Record]]:
    """(method, number of draws) -> its records in the order of their seeds."""
    result: dict[tuple[str, int], list[Record]] = {}
    for record in sorted(load(out, strict=True).records, key=lambda r: r.arguments.seed):
        key = (record.method.key, record.arguments.draws)
        result.setdefault(key, []).append(record)
    return result


def means(out: Path, method: str, rule: str = "val") -> dict[str, float]:
    """Setting, as JSON -> mean score over seeds."""
    scores: dict[str, list[float]] = {}
    for content in draw_files(out).values():
        science = content["science"]
        if science["method"] == method:
            setting = json.dumps([science["hyperparameters"], science["recipe"]])
            scores.setdefault(setting, []).append(content["scores"][rule])
    assert {len(values) for values in scores.values()} == {2}
    return {setting: statistics.fmean(values) for setting, values in scores.items()}


@pytest.fixture(scope="module")
def tuned(split: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished search with four draws; tests do not change it."""
    out = tmp_path_factory.mktemp("tuned") / "runs"
    result = tune(split, out, "--draws", 4)
    assert result.code == 0, result.err
    assert "16 runs of draws: 16 to train, 0 kept\n" in result.err
    assert "8 runs done, 0 kept, 0 failed, 0 methods skipped\n" in result.out
    return out


# ----------------------------------------------------------------------------- choice


def test_the_best_validation_score_is_chosen_and_trained_anew(tuned: Path) -> None:
    table = rows(tuned)
    assert {key: len(members) for key, members in table.items()} == {
        ("asl", 0): 2,
        ("asl", 4): 2,
        ("hill", 0): 2,
        ("hill", 4): 2,
    }
    for method in ("asl", "hill"):
        arguments = table[method, 4][0].arguments
        assert arguments.search.keys() == {"protocol", "draws", "seeds", "select", "draw"}
        assert (arguments.search["protocol"], arguments.search["seeds"]) == ("random-1", 2)
        assert arguments.search["select"] == "val"
        scores = means(tuned, method)
        chosen = json.dumps([dict(arguments.hyperparameters), dict(arguments.recipe)])
        assert len(scores) == 4
        assert scores[chosen] == max(scores.values())


def test_draws_have_no_test_score(tuned: Path) -> None:
    files = draw_files(tuned)
    assert len(files) == 16
    for content in files.values():
        assert content.keys() == {
            *("format", "run_id", "science", "scores", "estimator", "failure"),
            *("wall_seconds", "digest"),
        }
        assert content["scores"].keys() == {"val", "val-observed"}
        assert "search" not in content["science"]
    assert len(list(tuned.glob("*/scores.npz"))) == 8


def test_the_default_rows_are_those_of_run(split: Path, tuned: Path, tmp_path: Path) -> None:
    grid = ("run", "--split", split, "--method", METHODS, *FAST)
    succeed(*grid, "--out", tmp_path)
    expected = {path.parent.name for path in tmp_path.glob("*/run.json")}
    table = rows(tuned)
    assert {r.run_id for method in ("asl", "hill") for r in table[method, 0]} == expected
    for record in table["asl", 0]:
        theirs = np.load(tmp_path / record.run_id / "scores.npz")["scores"]
        assert np.array_equal(np.load(tuned / record.run_id / "scores.npz")["scores"], theirs)


def test_the_choice_is_printed(split: Path, tuned: Path) -> None:
    result = tune(split, tuned, "--draws", 4)
    assert "16 runs of draws: 0 to train, 16 kept\n" in result.err
    lines = result.out.splitlines()
    assert [line.split(":")[0] for line in lines[:2]] == ["hill", "asl"]
    for line in lines[:2]:
        assert "validation mAP" in line
    assert lines[2] == "0 runs done, 8 kept, 0 failed, 0 methods skipped"
    labels = {line.rsplit("  ", 6)[0].strip() for line in lines[4:]}
    assert {label.split("  ")[0] for label in labels} == {
        *("hill (default)", "hill (tuned, 4 draws)"),
        *("asl (default)", "asl (tuned, 4 draws)"),
    }


def test_the_command_of_a_tuned_row_repeats_it(tuned: Path, tmp_path: Path) -> None:
    record = rows(tuned)["asl", 4][0]
    command = list(record.command)
    assert command[:2] == ["benchkit", "tune"]
    command[command.index("--out") + 1] = str(tmp_path)
    succeed(*command[1:])
    assert {r.run_id for r in rows(tmp_path)["asl", 4]} == {r.run_id for r in rows(tuned)["asl", 4]}


def test_the_report_names_the_budget(tuned: Path) -> None:
    report = succeed("report", tuned, "--format", "markdown").out
    assert "| asl (tuned, 4 draws) |" in report
    assert "protocol random-1, chosen by val (mAP on the true labels" in report
    frame = benchkit.read_records(tuned)
    assert sorted(frame["draws"]) == [0] * 4 + [4] * 4


def test_fixed_values_are_not_drawn(split: Path, tmp_path: Path) -> None:
    options = ("--draws", 4, "--set", "asl.clip=0.02", "--recipe", "lr=0.002")
    result = call("tune", "--split", split, "--method", "asl", *FAST, "--out", tmp_path, *options)
    assert result.code == 0, result.err
    science = [content["science"] for content in draw_files(tmp_path).values()]
    assert {entry["hyperparameters"]["clip"] for entry in science} == {0.02}
    assert {entry["recipe"]["lr"] for entry in science} == {0.002}
    assert len({entry["recipe"]["weight_decay"] for entry in science}) > 1
    assert len({entry["hyperparameters"]["gamma_negative"] for entry in science}) == 4


def test_observed_labels_choose_without_training_again(split: Path, tuned: Path) -> None:
    before = draw_files(tuned)
    result = tune(split, tuned, "--draws", 4, "--select", "val-observed")
    try:
        assert result.code == 0, result.err
        assert "16 runs of draws: 0 to train, 16 kept\n" in result.err
        assert draw_files(tuned) == before
        for method in ("hill", "asl"):
            (record, *_) = [
                r for r in rows(tuned)[method, 4] if r.arguments.search["select"] == "val-observed"
            ]
            scores = means(tuned, method, "val-observed")
            values = [dict(record.arguments.hyperparameters), dict(record.arguments.recipe)]
            assert scores[json.dumps(values)] == max(scores.values())
        labels = succeed("report", tuned, "--format", "markdown").out
        assert "asl (tuned, 4 draws, select=val-observed)" in labels
    finally:
        for record in load(tuned).records:
            if record.arguments.search.get("select") == "val-observed":
                for path in sorted(record.path.parent.iterdir()):
                    path.unlink()
                record.path.parent.rmdir()


# ----------------------------------------------------------------------------- continuation


def test_more_draws_train_only_the_new_ones(split: Path, tmp_path: Path) -> None:
    tune(split, tmp_path, "--draws", 2)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "draws").iterdir()}
    assert len(before) == 8
    result = tune(split, tmp_path, "--draws", 5)
    assert "20 runs of draws: 12 to train, 8 kept\n" in result.err
    assert len(draw_files(tmp_path)) == 20
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert {draws for _, draws in rows(tmp_path)} == {0, 2, 5}


def in_fork(function: Callable[[], object]) -> int:
    """Start a function in a process group of its own; returns the process id."""
    pid = os.fork()
    if pid == 0:
        code = 1
        with contextlib.suppress(BaseException):
            os.setsid()
            torch.set_num_threads(1)  # the threads of the parent do not exist here
            function()
            code = 0
        os._exit(code)
    return pid


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, for at most a minute."""
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize("count", [1, 2])
def test_a_killed_search_continues(
    split: Path, tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(workers, "worker_count", lambda pieces: count)
    pid = in_fork(lambda: tune(split, tmp_path, "--draws", 4))
    wait_for(lambda: bool(list(tmp_path.glob("draws/*.json"))))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    kept = draw_files(tmp_path)
    result = tune(split, tmp_path, "--draws", 4)  # it waits for workers that have not ended yet
    assert result.code == 0, result.err
    files = draw_files(tmp_path)
    for run_id, content in draw_files(tuned).items():
        assert files[run_id]["scores"] == pytest.approx(content["scores"], abs=1e-6)
    assert {run_id: files[run_id] for run_id in kept} == kept
    assert {key: [r.run_id for r in members] for key, members in rows(tmp_path).items()} == {
        key: [r.run_id for r in members] for key, members in rows(tuned).items()
    }


def test_two_processes_share_the_draws(split: Path, tuned: Path, tmp_path: Path) -> None:
    pids = [in_fork(lambda: tune(split, tmp_path, "--draws", 4)) for _ in range(2)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    assert codes == [0, 0]
    lines = (tmp_path / "run.log").read_text().splitlines()
    done = [line.split(", ")[1].split()[0] for line in lines if line.endswith("of draws: done")]
    assert sum(map(int, done)) == 16
    assert draw_files(tmp_path).keys() == draw_files(tuned).keys()
    assert not (tmp_path / ".claims").exists()


def test_claimed_draws_are_waited_for(
    split: Path, tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.ExitStack() as stack:
        tmp_path.joinpath("draws").mkdir()
        stack.enter_context(claim(tmp_path, [f"draw-{run_id}" for run_id in draw_files(tuned)]))
        monkeypatch.setattr("benchkit.runs.tune.time.sleep", lambda seconds: stack.close())
        result = tune(split, tmp_path, "--draws", 4)
    assert result.code == 0, result.err
    assert "waiting for 16 draws that another process is training\n" in result.err
    assert draw_files(tmp_path).keys() == draw_files(tuned).keys()


def test_a_changed_draw_is_trained_again(split: Path, tuned: Path, tmp_path: Path) -> None:
    (tmp_path / "draws").mkdir()
    for path in (tuned / "draws").iterdir():
        (tmp_path / "draws" / path.name).write_bytes(path.read_bytes())
    changed, cut, other, *_ = sorted((tmp_path / "draws").iterdir())
    changed.write_text(changed.read_text().replace('"val": 0.', '"val": 0.9'))
    cut.write_text(cut.read_text()[:100])
    other.write_text(other.read_text().replace("known_labels", "former_labels"))
    result = tune(split, tmp_path, "--draws", 4)
    assert "16 runs of draws: 3 to train, 13 kept\n" in result.err
    for path in (changed, cut, other):
        assert f"the draw {path} does not count and is trained again: " in result.err
    for run_id, content in draw_files(tuned).items():
        scores = draw_files(tmp_path)[run_id]["scores"]
        assert scores == pytest.approx(content["scores"], abs=1e-6)


# ----------------------------------------------------------------------------- failures


def with_plugin(folder: Path, modes: str, high: float = 2.0) -> Path:
    path = folder / "fragile.py"
    path.write_text(PLUGIN.replace("{modes}", modes).replace("{high}", repr(high)))
    return path


def test_a_draw_without_a_finite_loss_is_the_worst(split: Path, tmp_path: Path) -> None:
    plugin = with_plugin(tmp_path, '("nan", "nan")')
    grid = ("--method", "fragile", "--plugin", plugin, "--draws", 4, *FAST)
    result = call("tune", "--split", split, *grid, "--out", tmp_path / "runs")
    assert result.code == 0, result.err
    files = draw_files(tmp_path / "runs").values()
    failures = [content for content in files if content["failure"] is not None]
    assert len(failures) == 6
    assert {content["failure"] for content in failures} == {"the loss is not finite in epoch 1"}
    assert all(set(content["scores"].values()) == {None} for content in failures)
    assert result.out.startswith("fragile: the default is the best of 4 draws, validation mAP ")
    assert "8 runs of draws: 0 to train, 8 kept" in (
        call("tune", "--split", split, *grid, "--out", tmp_path / "runs").err
    )


def test_a_draw_that_raises_leaves_its_method_untuned(split: Path, tmp_path: Path) -> None:
    plugin = with_plugin(tmp_path, '("raise", "raise")')
    grid = ("--method", "fragile,hill", "--plugin", plugin, "--draws", 3, *FAST)
    result = call("tune", "--split", split, *grid, "--out", tmp_path / "runs")
    assert result.code == 1
    assert "fragile is not tuned: fragile.py, line 21: RuntimeError: out of luck\n" in result.err
    assert "\n6 runs done, 0 kept, 1 failed, 0 methods skipped\n" in result.out
    assert set(rows(tmp_path / "runs")) == {("hill", 0), ("hill", 3), ("fragile", 0)}


def test_wrong_calls(split: Path, tmp_path: Path) -> None:
    without = split.with_name("without.h5")
    start = ("--method", "asl", "--out", tmp_path / "runs")
    refuse(1, "--val-fraction 0.2", arguments=("tune", "--split", without, *start))
    wrong = (
        (("--draws", 0), "0 is less than 1"),
        (("--select", "last"), "--select"),
        (("--set", "asl.clip=0,0.1"), "tune takes one"),
        (("--set", "asl.clip=2"), "clip=2.0"),
    )
    for options, text in wrong:
        refuse(2, text, arguments=("tune", "--split", split, *start, *options))
    assert not (tmp_path / "runs").exists()


def test_a_worker_that_is_killed_is_one_sentence() -> None:
    def work(send: workers.Send) -> None:
        send(os.getpid())
        time.sleep(20)

    with pytest.raises(benchkit.BenchkitError, match=r"exit code -9\); start the same command"):
        workers.run(2, work, lambda pid: os.kill(pid, signal.SIGKILL))


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    def work(send: workers.Send) -> None:
        number = 0
        while True:
            send(number)
            number += 1
            (tmp_path / str(os.getpid())).write_text("alive")
            time.sleep(0.01)

    pid = in_fork(lambda: workers.run(2, work, lambda number: None))
    wait_for(lambda: len(list(tmp_path.iterdir())) == 2)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    children = [int(path.name) for path in tmp_path.iterdir()]
    wait_for(lambda: not any(is_running(child) for child in children))


def is_running(pid: int) -> bool:
    """Whether a process exists that has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except OSError:
        return False


def test_an_error_in_a_worker_reaches_its_parent() -> None:
    def work(send: workers.Send) -> None:
        raise benchkit.BenchkitError("the disk is full")

    with pytest.raises(benchkit.BenchkitError, match="the disk is full"):
        workers.run(2, work, print)


# ----------------------------------------------------------------------------- recipes


def test_which_recipe_fields_are_fixed(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("lr = 0.002\nbatch = 32\n")
    assert fixed_fields([]) == fixed_fields(["features"]) == frozenset()
    assert fixed_fields(["lr=0.001", {"steps": 100}]) == {"lr", "steps"}
    assert fixed_fields([str(file)]) == {"lr", "batch"}
    assert {"lr", "weight_decay", "steps"} <= fixed_fields(["dbl"])
