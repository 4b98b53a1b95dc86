"""`make` without the command line: values of arguments, messages, and paths as objects."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchkit.base.errors import BenchkitError, UsageError
from benchkit.split import file as split_file
from benchkit.split.make import make
from benchkit.split.request import CHOICES, Request
from splits.errors import InputError


@pytest.fixture
def source(tmp_path: Path) -> str:
    """Twenty images of three classes, of which the last has no positive image."""
    labels = np.zeros((20, 3), np.int8)
    labels[::2, 0] = labels[1::4, 1] = 1
    features = np.arange(40, dtype=np.float32).reshape(20, 2)
    np.savez(tmp_path / "a.npz", Y=labels, X=features, split=np.arange(20) > 14)
    return f"arrays:{tmp_path / 'a.npz'}"


def test_the_result_is_the_split_in_the_file(source: str, tmp_path: Path) -> None:
    messages: list[str] = []
    out = tmp_path / "new" / "a.h5"
    split = make(Request(source, out, regime="spl", name="mine"), messages.append)
    assert split.name == "mine"
    assert split_file.read(out).fingerprints() == split.fingerprints()
    assert messages == [
        f"{source}: 1 of 3 classes have no positive image",
        f"{out}: 15 train, 5 test images, 3 classes, spl labels",
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        {"regime": "bogus"},
        {"source": "arrays:absent.npz"},
        {"backbone": "resnet18"},
        {"backbone": "glyphs", "source_options": {"features": "none"}},
        {"source_options": {"minus_one": "unknown"}},  # no known negative in the test part
        {"val_fraction": 0.999},
    ],
)
def test_a_refusal_creates_no_folder(tmp_path: Path, arguments: dict[str, Any]) -> None:
    labels = np.where(np.arange(40).reshape(20, 2) % 3 == 0, 1, -1)
    np.savez(tmp_path / "a.npz", Y=labels, X=np.eye(20, dtype=np.float32))
    with pytest.raises((BenchkitError, InputError)):
        source = f"arrays:{tmp_path / 'a.npz'}"
        make(Request(**{"source": source, "out": tmp_path / "new" / "er" / "a.h5", **arguments}))
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_an_unwritable_output_is_refused_before_the_source_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out, message in [
        (tmp_path, "is a folder; --out takes the path of a file"),
        (tmp_path / "file" / "a.h5", "file is not a folder"),
        (tmp_path / f"{'a' * 253}.h5", "a file name of 256 bytes is too long, at most 255"),
    ]:
        with pytest.raises(BenchkitError, match=message):
            make(Request("arrays:absent.npz", out))


def test_leftovers_of_interrupted_drawings_are_logged(tmp_path: Path) -> None:
    leftover = tmp_path / ".scenes.0123456789abcdef.partial"
    leftover.mkdir()
    messages: list[str] = []
    options = {"train": 20, "test": 10}
    request = Request("scenes", tmp_path / "a.h5", source_options=options, backbone="none")
    make(request, messages.append)
    assert f"ignoring and removing {leftover}: its writer was interrupted" in messages


@pytest.mark.parametrize("argument", CHOICES)
def test_a_value_that_is_not_a_choice(source: str, tmp_path: Path, argument: str) -> None:
    with pytest.raises(
        UsageError, match=f"{argument}='other' is not one of {CHOICES[argument][0]}"
    ):
        Request(source, tmp_path / "a.h5", **{argument: "other"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"regime": "pal:2"}, r"pal needs a level R in \(0, 1\]"),
        ({"val_fraction": 1.5}, r"1\.5"),
        ({"many": 5, "few": 10}, "few = 10 and many = 5"),
        ({"source_options": {"featurs": "X"}}, "did you mean 'features'"),
        ({"source_options": {"zero": 3}}, "zero=3 is not text"),
        ({"published_files": {"train": Path("x")}}, "--published-file must be used with"),
        ({"maximum": 9, "explicit": frozenset({"maximum"})}, "--max has no effect"),
        ({"backbone": "resnet18", "source_options": {"features": "none"}}, "names no images"),
    ],
)
def test_a_wrong_call_writes_nothing(
    source: str, tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        make(Request(source, tmp_path / "a.h5", **arguments))
    assert not (tmp_path / "a.h5").exists()


def test_left_out_images_are_as_many_as_training_images_by_default(
    source: str, tmp_path: Path
) -> None:
    arguments: dict[str, Any] = dict(long_tail="pareto", maximum=3, minimum=1)
    split = make(Request(source, tmp_path / "a.h5", val_from="left-out", **arguments))
    assert split.val is not None
    assert len(split.val.ids) == len(split.train.ids)
    recipe = split.recipe["labels"]
    assert (recipe["val_fraction"], recipe["val_from"]) == (1.0, "left-out")
    plain = make(Request(source, tmp_path / "b.h5", **arguments)).recipe["labels"]
    assert plain.keys() == recipe.keys() - {"val_from"}


def test_a_default_without_effect_is_no_error(source: str, tmp_path: Path) -> None:
    split = make(Request(source, tmp_path / "a.h5", maximum=9))
    assert split.recipe["labels"]["long_tail"] == {"kind": "none"}


def test_source_options_may_be_typed(tmp_path: Path) -> None:
    bars: list[tuple[str, int]] = []

    @contextlib.contextmanager
    def bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
        bars.append((title, total))
        yield lambda steps: None

    request = Request(
        "scenes",
        tmp_path / "s.h5",
        source_options={"train": 5, "test": "3"},
        backbone="none",
        explicit=frozenset({"backbone", "source_options"}),
    )
    split = make(request, bar=bar)
    assert bars == [("drawing scenes", 8)]
    assert (len(split.train.ids), len(split.test.ids)) == (5, 3)
    assert split.train.features is None
    assert split.provenance["source_options"] == {
        "kind": "scenes",
        "scenes_train": 5,
        "scenes_test": 3,
    }
    annotations = tmp_path / "scenes" / "annotations"
    request = Request(
        f"coco:{annotations / 'instances_train.json'}",
        tmp_path / "c.h5",
        source_options={"test": annotations / "instances_test.json", "crowd": False},
    )
    other = make(request)
    assert other.test.ids.tolist() == split.test.ids.tolist()
    assert other.provenance["source_options"]["crowd"] is False


def test_a_file_name_that_is_not_utf_8(source: str, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.npz")
    (tmp_path / "a.npz").rename(tmp_path / name)
    split = make(Request(f"arrays:{tmp_path / name}", tmp_path / "a.h5"))
    assert split_file.verify(tmp_path / "a.h5") == []
    assert split.name == r"caf\udce9-full"
    assert list(split.provenance["sources"]) == [r"caf\udce9.npz"]


def test_a_table_with_three_parts(tmp_path: Path) -> None:
    parts = ("train", "test", "val", "train")
    rows = "".join(f"{i},{i % 2},{i % 3 % 2},{parts[i % 4]}\n" for i in range(24))
    (tmp_path / "a.csv").write_text(f"image,cat,dog,part\n{rows}")
    request = Request(
        f"csv:{tmp_path / 'a.csv'}", tmp_path / "a.h5", source_options={"split": "part"}
    )
    split = make(request)
    assert {name: len(part.ids) for name, part in split.parts.items()} == {
        "train": 12,
        "val": 6,
        "test": 6,
    }
    assert split.val is not None and split.val.ids.tolist() == ["2", "6", "10", "14", "18", "22"]
