"""Scores that were computed elsewhere: reading them and recording them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchkit.base.errors import BenchkitError
from benchkit.runs import external
from benchkit.runs.external import logits_of, read_scores
from benchkit.runs.records import write
from benchkit.split import file as split_file
from benchkit.split.model import Split
from leaderboard.metrics import average_precision, summary
from leaderboard.record import Record

ToyMaker = Callable[..., Split]
SCORES = np.arange(100).reshape(20, 5) / 7 - 3
IDS = np.array([f"image_{i}" for i in range(2, 60, 3)])


@pytest.fixture(scope="module")
def split(make_toy: ToyMaker) -> Split:
    return make_toy()


def quiet(_: str) -> None:
    """Discard a message."""


def saved(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def test_scores_are_returned_in_the_order_of_the_split(split: Split, tmp_path: Path) -> None:
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
        scores = read_scores(saved(tmp_path / "s.npz", **arrays), split)
        assert scores.dtype == np.float32
        np.testing.assert_array_equal(scores, expected)


def test_the_scores_of_a_record_can_be_read(split: Split, record: Record, tmp_path: Path) -> None:
    folder = write(tmp_path, record, SCORES, split.parts["test"].ids, quiet)
    scores = read_scores(folder / "scores.npz", split)
    np.testing.assert_array_equal(scores, SCORES.astype(np.float32))


def test_an_array_and_a_file_of_scores_are_one_run(split: Split, tmp_path: Path) -> None:
    split_file.write(split, tmp_path / "s.h5")
    runs = tmp_path / "runs"
    path = saved(tmp_path / "s.npz", scores=SCORES[::-1], ids=split.parts["test"].ids[::-1])
    run_ids = [
        external.record(tmp_path / "s.h5", source, "mine", 2, "test-oracle", runs, quiet)
        for source in (SCORES, path)
    ]
    assert run_ids[0] == run_ids[1]
    assert [folder.name for folder in runs.iterdir()] == [run_ids[0]]
    record = json.loads((runs / run_ids[0] / "run.json").read_text())
    labels, shot = split.parts["test"].true, split.shot
    assert record["metrics"] == summary(SCORES.astype(np.float32), labels, shot)
    assert record["method"]["oracle"] == ["best_test_epoch"]
    departures = {"recipe_defaults": None, "recipe": [], "hyperparameters": []}
    assert record["science"]["departures"] == departures
    assert record["command"][:6] == [
        *("benchkit", "evaluate", "--split", str(tmp_path / "s.h5"), "--scores", str(path))
    ]


def with_score(position: tuple[int, int], value: float) -> np.ndarray:
    scores = SCORES.copy()
    scores[position] = value
    return scores


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from([np.float16, np.float32, np.float64]))
def test_logits_order_images_as_their_probabilities_do(data: st.DataObject, kind: type) -> None:
    width = np.dtype(kind).itemsize * 8
    values = st.one_of(
        st.floats(0, 1, width=width),
        st.sampled_from([0.0, 1.0, 0.5, np.nextafter(kind(0.5), kind(1)), np.finfo(kind).tiny]),
        # Neighbours that float32 logits cannot tell apart by rounding alone.
        st.integers(0, 40).map(lambda k: 2.0**-13 * (1 + k * float(np.finfo(kind).eps))),
    )
    scores = np.array(data.draw(st.lists(st.tuples(values, values), min_size=1, max_size=40)), kind)
    labels = np.array(
        data.draw(st.lists(st.tuples(*2 * [st.integers(-1, 1)]), min_size=len(scores),
                           max_size=len(scores)))
    )  # fmt: skip
    logits = logits_of(scores)
    assert logits.dtype == np.float32 and np.isfinite(logits).all()
    np.testing.assert_array_equal(logits > 0, scores > 0.5)
    for given_scores, converted in zip(scores.T, logits.T, strict=True):
        assert np.array_equal(np.unique(given_scores, return_inverse=True)[1],
                              np.unique(converted, return_inverse=True)[1])  # fmt: skip
    np.testing.assert_array_equal(
        average_precision(logits, labels), average_precision(scores, labels)
    )


def test_logits_of_probabilities_by_hand() -> None:
    scores = np.array([[0.0], [1e-300], [0.25], [0.5], [0.75], [1.0]])
    expected = [-1000, np.log(1e-300), -np.log(3), 0, np.log(3), 1000]
    np.testing.assert_allclose(logits_of(scores)[:, 0], expected, rtol=1e-6)
    assert logits_of(np.array([[0, 1], [1, 1]])).tolist() == [[-1000, 1000], [1000, 1000]]


WRONG: dict[str, tuple[dict[str, np.ndarray], str]] = {
    "no scores": ({"logits": SCORES}, r"has no array 'scores' of shape \[20, 5\]"),
    "transposed": (
        {"scores": SCORES.T},
        r"scores have shape \[5, 20\]; the test part .* \[20, 5\]",
    ),
    "too few rows": ({"scores": SCORES[:-1]}, r"have shape \[19, 5\]"),
    "flat": ({"scores": SCORES[0]}, r"have shape \[5\]"),
    "NaN": ({"scores": with_score((3, 1), np.nan)}, "a value that is not a finite float32 number"),
    "infinite": ({"scores": with_score((3, 1), -np.inf)}, "not a finite float32 number"),
    "too large": ({"scores": with_score((3, 1), 1e300)}, "not a finite float32 number"),
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
def test_wrong_scores_are_refused_in_one_sentence(split: Split, tmp_path: Path, case: str) -> None:
    arrays, message = WRONG[case]
    path = saved(tmp_path / "s.npz", **arrays)
    with pytest.raises(BenchkitError, match=message) as caught:
        read_scores(path, split)
    assert str(caught.value).startswith(str(path))


def test_files_without_scores(split: Split, tmp_path: Path) -> None:
    with pytest.raises(BenchkitError, match=r"s\.npz does not exist; give an \.npz file with an"):
        read_scores(tmp_path / "s.npz", split)
    with pytest.raises(BenchkitError, match=r"is not a readable \.npz file: it is a folder"):
        read_scores(tmp_path, split)
    np.save(tmp_path / "s.npy", SCORES)
    with pytest.raises(BenchkitError, match=r"not a readable \.npz file: it holds one array"):
        read_scores(tmp_path / "s.npy", split)
    (tmp_path / "s.npz").write_text("1,2,3\n")
    with pytest.raises(BenchkitError, match=r"npz file: it is neither an \.npy nor an \.npz file"):
        read_scores(tmp_path / "s.npz", split)


def test_cut_and_damaged_files(split: Split, tmp_path: Path) -> None:
    intact = saved(tmp_path / "intact.npz", scores=SCORES).read_bytes()
    damaged_path = tmp_path / "damaged.npz"
    for size in (0, 1, 2, 30, len(intact) // 2, len(intact) - 1):
        damaged_path.write_bytes(intact[:size])
        with pytest.raises(BenchkitError, match=r"is not a readable \.npz file"):
            read_scores(damaged_path, split)
    refused, expected = 0, read_scores(tmp_path / "intact.npz", split).tolist()
    for position in range(len(intact)):
        damaged = bytearray(intact)
        damaged[position] ^= 255
        damaged_path.write_bytes(bytes(damaged))
        try:
            # A flipped date does no harm; the checksum of the archive detects the rest.
            assert read_scores(damaged_path, split).tolist() == expected
        except BenchkitError as error:
            assert str(error).startswith(str(damaged_path))
            refused += 1
    assert refused > len(intact) // 2
