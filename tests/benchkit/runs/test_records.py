"""Run records: what a run is called, what counts as done, and scores from elsewhere."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from baselines.asl import ASL
from baselines.asl import Hyper as ASLHyper
from benchkit.base.errors import BenchkitError
from benchkit.runs import records
from benchkit.runs.external import read_scores
from benchkit.runs.plan import Grid, Spec, science_of
from benchkit.runs.records import is_done, run_id, write, write_failure
from benchkit.split.build import Options
from benchkit.split.model import Split
from benchkit.training.recipe import Recipe

ToyMaker = Callable[..., Split]

SCIENCE: dict[str, Any] = {
    "split": "ab" * 32,
    "method": "asl",
    "method_version": "1",
    "hyperparameters": {"clip": 0.05, "gamma_negative": 4.0, "focal_gradient": False},
    "recipe": {"optimiser": "adam", "lr": 0.001, "epochs": 10},
    "seed": 3,
    "selection": "last",
    "metric_version": "1",
}


def quiet(_: str) -> None:
    """Say nothing."""


def test_a_run_id_never_changes() -> None:
    assert run_id(SCIENCE) == "8533d242fd2c1482"
    turned = {name: SCIENCE[name] for name in reversed(SCIENCE)}
    assert run_id(json.loads(json.dumps(turned))) == run_id(SCIENCE)


def test_every_scientific_argument_is_in_the_run_id() -> None:
    others = [
        {**SCIENCE, "split": "cd" * 32},
        {**SCIENCE, "method": "bce"},
        {**SCIENCE, "method_version": "2"},
        {**SCIENCE, "hyperparameters": {**SCIENCE["hyperparameters"], "clip": 0.1}},
        {**SCIENCE, "recipe": {**SCIENCE["recipe"], "epochs": 11}},
        {**SCIENCE, "seed": 4},
        {**SCIENCE, "selection": "val"},
        {**SCIENCE, "metric_version": "2"},
        {**SCIENCE, "inputs": {"class_embeddings": "00"}},
    ]
    assert len({run_id(science) for science in [SCIENCE, *others]}) == 10


def test_paths_and_devices_are_not_in_the_run_id(make_toy: ToyMaker, tmp_path: Path) -> None:
    split = make_toy()
    spec = Spec(ASL, ASLHyper())
    grid = Grid(
        split_path=tmp_path / "a.h5",
        split=split,
        fingerprints=split.fingerprints(),
        specs=[spec],
        seeds=[0],
        recipe=Recipe(),
        selection="last",
        device="cpu",
        out=tmp_path,
    )
    moved = replace(
        grid,
        split_path=Path("/elsewhere/b.h5"),
        device="cuda",
        out=Path("/elsewhere/runs"),
        width=1,
        embeddings_path=Path("/elsewhere/c.npy"),
        plugins=(Path("/elsewhere/p.py"),),
        seeds=[0, 1],
    )
    ids = [run_id(science_of(g, spec, 0, g.recipe)) for g in (grid, moved)]
    assert ids[0] == ids[1]
    assert run_id(science_of(grid, spec, 1, grid.recipe)) != ids[0]
    science = science_of(grid, spec, 0, grid.recipe)
    assert set(science) == set(SCIENCE)
    assert science["split"] == split.fingerprints()["both"]


def a_record() -> dict[str, Any]:
    return {"run_id": run_id(SCIENCE), "science": SCIENCE, "metrics": {"map": 0.5, "ap": [None]}}


def test_what_is_written_is_done(tmp_path: Path) -> None:
    identity = run_id(SCIENCE)
    scores, ids = np.array([[0.1, -2.0], [3.0, 0.0]]), np.array(["ä", "b"])
    assert not is_done(tmp_path, identity)
    folder = write(tmp_path, a_record(), scores, ids, quiet)
    assert folder == tmp_path / identity
    assert is_done(tmp_path, identity)
    assert sorted(p.name for p in folder.iterdir()) == ["run.json", "scores.npz"]
    assert json.loads((folder / "run.json").read_text()) == a_record()
    with np.load(folder / "scores.npz", allow_pickle=False) as file:
        assert file["scores"].dtype == np.float32
        np.testing.assert_array_equal(file["scores"], scores.astype(np.float32))
        assert file["ids"].tolist() == ["ä", "b"]
    write(tmp_path, {**a_record(), "again": 1}, scores + 1, ids, quiet)
    assert json.loads((folder / "run.json").read_text())["again"] == 1
    assert [p.name for p in tmp_path.iterdir()] == [identity]


@pytest.mark.parametrize("missing", ["run.json", "scores.npz"])
def test_half_a_record_is_not_done(tmp_path: Path, missing: str) -> None:
    folder = write(tmp_path, a_record(), np.zeros((1, 1)), np.array(["a"]), quiet)
    (folder / missing).unlink()
    assert not is_done(tmp_path, run_id(SCIENCE))
    write(tmp_path, a_record(), np.zeros((1, 1)), np.array(["a"]), quiet)
    assert is_done(tmp_path, run_id(SCIENCE))


def test_a_record_with_a_number_that_is_none_is_not_written(tmp_path: Path) -> None:
    record = {**a_record(), "metrics": {"map": float("nan")}}
    with pytest.raises(ValueError, match="JSON compliant"):
        write(tmp_path, record, np.zeros((1, 1)), np.array(["a"]), quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_is_recorded_and_forgotten_on_success(tmp_path: Path) -> None:
    write_failure(tmp_path, SCIENCE, "the loss is not finite in epoch 2", quiet)
    path = tmp_path / "failures" / f"{run_id(SCIENCE)}.json"
    assert json.loads(path.read_text()) == {
        "run_id": run_id(SCIENCE),
        "method": "asl",
        "seed": 3,
        "error": "the loss is not finite in epoch 2",
        "science": SCIENCE,
    }
    assert not is_done(tmp_path, run_id(SCIENCE))
    other = {**SCIENCE, "seed": 4}
    write_failure(tmp_path, other, "x", quiet)
    write(tmp_path, a_record(), np.zeros((1, 1)), np.array(["a"]), quiet)
    assert [p.stem for p in (tmp_path / "failures").iterdir()] == [run_id(other)]


def test_tidy_removes_what_dead_writers_left(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    host = socket.gethostname().replace(".", "-")
    (tmp_path / "failures").mkdir()
    (tmp_path / f".{'a' * 16}.{host}-{process.pid}.partial").mkdir()
    (tmp_path / "failures" / f".{'b' * 16}.json.{host}-{process.pid}.partial").write_text("{")
    kept = tmp_path / f".{'c' * 16}.{host}-{os.getppid()}.partial"
    kept.mkdir()
    said: list[str] = []
    records.tidy(tmp_path, said.append)
    assert sorted(p.name for p in tmp_path.rglob("*")) == sorted([kept.name, "failures"])
    assert len(said) == 2
    records.tidy(tmp_path / "absent", said.append)
    assert len(said) == 2


def test_a_record_says_what_its_split_is(make_toy: ToyMaker) -> None:
    options = Options(many=20, few=9, regime="spl", val_fraction=0.2)
    split = make_toy(options)
    said = records.describe_split(split, split.fingerprints())
    assert json.loads(json.dumps(said)) == said
    assert said["fingerprint"] == split.fingerprints()["both"]
    assert said["labels_fingerprint"] == split.fingerprints()["labels"]
    assert said["class_names"] == [f"class_{c}" for c in range(5)]
    shots = ["many" if n >= 20 else "medium" if n >= 9 else "few" for n in split.train_count]
    assert said["shot"] == shots
    assert set(shots) >= {"medium", "few"}
    assert said["train_count"] == (split.parts["train"].true == 1).sum(0).tolist()
    assert said["observed_count"] == (split.parts["train"].observed == 1).sum(0).tolist()
    assert said["test_positives"] == (split.parts["test"].true == 1).sum(0).tolist()
    assert said["sizes"] == {"train": 32, "val": 8, "test": 20}
    assert (said["regime"], said["name"]) == ("spl", "toy")


# ----------------------------------------------------------------------------- scores


@pytest.fixture(scope="module")
def split(make_toy: ToyMaker) -> Split:
    return make_toy()


def saved(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


SCORES = np.arange(100).reshape(20, 5) / 7 - 3


def test_scores_come_in_the_order_of_the_split(split: Split, tmp_path: Path) -> None:
    ids = split.parts["test"].ids
    order = np.argsort(SCORES[:, 0] % 1)
    assert order.tolist() != list(range(20))
    expected = SCORES.astype(np.float32)
    for arrays in (
        {"scores": SCORES},
        {"scores": SCORES, "ids": ids},
        {"scores": SCORES[order], "ids": ids[order]},
        {"scores": SCORES[order], "ids": np.char.encode(ids[order])},
    ):
        got = read_scores(saved(tmp_path / "s.npz", **arrays), split)
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, expected)


def test_a_record_reads_back_as_scores(split: Split, tmp_path: Path) -> None:
    folder = write(tmp_path, a_record(), SCORES, split.parts["test"].ids, quiet)
    np.testing.assert_array_equal(
        read_scores(folder / "scores.npz", split), SCORES.astype(np.float32)
    )


def bad(place: tuple[int, int], value: float) -> np.ndarray:
    scores = SCORES.copy()
    scores[place] = value
    return scores


IDS = np.array([f"image_{i}" for i in range(2, 60, 3)])
WRONG: dict[str, tuple[dict[str, np.ndarray], str]] = {
    "no scores": ({"logits": SCORES}, r"has no array 'scores'; it must be \[20, 5\]"),
    "transposed": (
        {"scores": SCORES.T},
        r"scores have shape \[5, 20\]; the test part .* \[20, 5\]",
    ),
    "too few rows": ({"scores": SCORES[:-1]}, r"have shape \[19, 5\]"),
    "flat": ({"scores": SCORES[0]}, r"have shape \[5\]"),
    "NaN": ({"scores": bad((3, 1), np.nan)}, "a value that is not a finite float32 number"),
    "infinite": ({"scores": bad((3, 1), -np.inf)}, "not a finite float32 number"),
    "too large": ({"scores": bad((3, 1), 1e300)}, "not a finite float32 number"),
    "complex": ({"scores": SCORES + 0j}, "not a finite float32 number"),
    "text": ({"scores": SCORES.astype(str)}, "not a finite float32 number"),
    "objects": ({"scores": SCORES.astype(object)}, "it holds Python objects, which are not read"),
    "an id missing": (
        {"scores": SCORES, "ids": np.array(["x", *IDS[1:]])},
        r"image 'image_2' is missing; ids must be those of the split's test part",
    ),
    "an id twice": (
        {"scores": SCORES, "ids": np.array([IDS[1], *IDS[1:]])},
        r"image 'image_2' is missing",
    ),
    "an id too many": ({"scores": SCORES, "ids": np.array([*IDS, "x"])}, r"ids have shape \[21\]"),
    "an id too many, first": ({"scores": SCORES, "ids": np.array(["x", *IDS])}, r"\[21\], not"),
    "an id too few": ({"scores": SCORES, "ids": IDS[1:]}, r"ids have shape \[19\], not \[20\]"),
    "ids in a table": ({"scores": SCORES, "ids": IDS[:, None]}, r"ids have shape \[20, 1\]"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_scores_are_a_sentence(split: Split, tmp_path: Path, case: str) -> None:
    arrays, message = WRONG[case]
    path = saved(tmp_path / "s.npz", **arrays)
    with pytest.raises(BenchkitError, match=message) as caught:
        read_scores(path, split)
    assert str(caught.value).startswith(str(path))


def test_files_that_are_no_scores(split: Split, tmp_path: Path) -> None:
    with pytest.raises(BenchkitError, match=r"s\.npz does not exist; give an \.npz with an array"):
        read_scores(tmp_path / "s.npz", split)
    with pytest.raises(BenchkitError, match=r"is not a readable \.npz file: it is a folder"):
        read_scores(tmp_path, split)
    np.save(tmp_path / "s.npy", SCORES)
    with pytest.raises(BenchkitError, match=r"not a readable \.npz file: it holds one array"):
        read_scores(tmp_path / "s.npy", split)
    (tmp_path / "s.npz").write_text("1,2,3\n")
    with pytest.raises(BenchkitError, match=r"npz file: it is neither an \.npy nor an \.npz file"):
        read_scores(tmp_path / "s.npz", split)
    whole = saved(tmp_path / "whole.npz", scores=SCORES).read_bytes()
    for size in (0, 1, 2, 30, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.npz").write_bytes(whole[:size])
        with pytest.raises(BenchkitError, match=r"is not a readable \.npz file"):
            read_scores(tmp_path / "cut.npz", split)
    refused, good = 0, read_scores(tmp_path / "whole.npz", split).tolist()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 255
        (tmp_path / "cut.npz").write_bytes(bytes(damaged))
        try:
            # A date, say, may differ without harm; the archive's checksum notices the rest.
            assert read_scores(tmp_path / "cut.npz", split).tolist() == good
        except BenchkitError as error:
            assert str(error).startswith(str(tmp_path / "cut.npz"))
            refused += 1
    assert refused > len(whole) // 2
