"""Every wrong input is one clear sentence on standard error, never a traceback.

Exit code 2 says that the call is wrong, 1 that something could not be used or failed.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
from commands import call, refuse
from PIL import Image

from benchkit.cli.split_options import REPLACED

FAST = ("--recipe", "epochs=1")


def arrays(**changes: np.ndarray | None) -> dict[str, np.ndarray]:
    rows, columns = np.arange(60)[:, None], np.arange(3)[None, :]
    labels = ((rows * 7 + columns * 3) % (columns + 3) == 0).astype(np.int8)
    features = np.sin(rows * np.arange(1, 5)[None, :]).astype(np.float32)
    names = {"label_names": np.array(["cat", "dog", "owl"])}
    found = {"X": features, "Y": labels, **names, **changes}
    return {key: array for key, array in found.items() if array is not None}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """good.npz, and from it good.h5 (no validation part) and bare.h5 (no features)."""
    folder = tmp_path_factory.mktemp("errors")
    np.savez(folder / "good.npz", **arrays())
    np.savez(folder / "bare.npz", **arrays(X=None))
    for name in ("good", "bare"):
        code, _, err = call(
            "make-split", f"arrays:{folder / name}.npz", "--out", folder / f"{name}.h5"
        )
        assert code == 0, err
    return folder


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


# ----------------------------------------------------------------------------- arrays


class Bad(NamedTuple):
    """What is wrong with the arrays, and what the sentence must name."""

    changes: dict[str, Any]
    names: tuple[str, ...]


def changed(key: str, at: Any, value: Any) -> dict[str, np.ndarray]:
    array = arrays()[key].copy()
    array[at] = value
    return {key: array}


IDS = np.array([f"i{k}" for k in range(60)])
BAD_ARRAYS = {
    "fewer features than labels": Bad({"X": arrays()["X"][:50]}, ("bad.npz", "'X'", "60", "50")),
    "a label that is 3": Bad(
        changed("Y", (5, 2), 3), ("bad.npz", "'Y'", "label 3", "row 5", "class 2")
    ),
    "features not a number": Bad(changed("X", (7, 1), np.nan), ("bad", "row 7", "NaN")),
    "an image id twice": Bad(
        {"image_ids": np.where(IDS == "i9", "i4", IDS)}, ("bad", "image id 'i4'", "4 and 9")
    ),
    "a class name twice": Bad(
        {"label_names": np.array(["cat", "dog", "cat"])}, ("bad", "class name 'cat'", "0 and 2")
    ),
    "a class name too few": Bad(
        {"label_names": np.array(["cat", "dog"])}, ("bad.npz", "'label_names'", "(3,)", "(2,)")
    ),
    "no labels": Bad({"Y": None}, ("bad.npz", "no labels", "'Y'")),
    "a part that is 3": Bad({"split": np.arange(60) % 4}, ("bad.npz", "'split'", "3 in row 3")),
    "objects": Bad(
        {"label_names": np.array(["cat", "dog", None], object)}, ("bad.npz", "'label_names'")
    ),
}


@pytest.mark.parametrize("bad", BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_arrays_that_do_not_fit(tmp_path: Path, bad: Bad) -> None:
    np.savez(tmp_path / "bad.npz", **arrays(**bad.changes))
    out = tmp_path / "out.h5"
    refuse(1, *bad.names, arguments=("make-split", f"arrays:{tmp_path / 'bad.npz'}", "--out", out))
    assert leftovers(tmp_path) == ["bad.npz"]


def test_files_that_are_no_arrays(tmp_path: Path, shared: Path) -> None:
    whole = (shared / "good.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.npz").write_text("hello")
    for name in ("cut.npz", "text.npz", "absent.npz"):
        words = ("make-split", f"arrays:{tmp_path / name}", "--out", tmp_path / "o.h5")
        refuse(1, tmp_path / name, arguments=words)


# ----------------------------------------------------------------------------- laws


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("--regime", "pal:1.5"), ("pal", "(0, 1]", "1.5")),
        (("--regime", "pal:0"), ("pal", "(0, 1]", "0.0")),
        (("--regime", "ppl"), ("ppl", "it has none")),
        (("--regime", "pal:half"), ("'pal:half'", "not a number")),
        (("--regime", "spl:0.3"), ("spl", "no level")),
        (("--regime", "palm:0.5"), ("'palm'", "pal:R")),
        (("--regime", "missing:1"), ("missing", "[0, 1)")),
        (("--regime", "candidates:nan"), ("candidates", "nan")),
        (("--val-fraction", "1.5"), ("--val-fraction", "1.5")),
        (("--val-fraction", "-0.1"), ("--val-fraction", "-0.1")),
        (("--val-fraction", "nan"), ("nan",)),
        (("--test-fraction", "1"), ("--test-fraction", "1.0")),
        (("--test-fraction", "0"), ("--test-fraction", "0.0")),
        (("--many", "5", "--few", "10"), ("few = 10", "many = 5")),
        (("--long-tail", "pareto", "--max", "-1"), ("maximum -1",)),
        (("--long-tail", "pareto", "--pareto-b", "0"), ("b must be", "0.0")),
        (("--long-tail", "zipf"), ("--long-tail", "'zipf'", "pareto")),
        (("--views", "3"), ("--views", "3")),
        (("--seed", "one"), ("--seed", "'one'")),
        (("--sede", "1"), ("--sede", "--seed")),
    ],
    ids=lambda value: " ".join(value),
)
def test_laws_out_of_range_are_wrong_calls(
    shared: Path, tmp_path: Path, words: tuple[str, ...], names: tuple[str, ...]
) -> None:
    source = f"arrays:{shared / 'good.npz'}"
    err = refuse(2, *names, arguments=("make-split", source, "--out", tmp_path / "o.h5", *words))
    assert "`benchkit make-split --help`" in err
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("source", ["foo:bar", "arrays:", "coco", "scene:x", "lists"])
def test_sources_that_are_none(tmp_path: Path, source: str) -> None:
    kind = source.removesuffix(":")
    refuse(2, f"source '{kind}", arguments=("make-split", source, "--out", tmp_path / "o.h5"))


@pytest.mark.parametrize(("option", "sentence"), REPLACED.items())
def test_former_options_name_their_replacement(tmp_path: Path, option: str, sentence: str) -> None:
    words = ("make-split", "arrays:x.npz", "--out", tmp_path / "o.h5", option, "x")
    error = refuse(2, f"{option} is now ", arguments=words)
    assert error == f"error: {option} {sentence}; see `benchkit make-split --help`\n"


def test_a_source_option_is_set_once(shared: Path, tmp_path: Path) -> None:
    words = ("make-split", f"arrays:{shared / 'good.npz'}", "--out", tmp_path / "o.h5")
    twice = ("-o", "minus-one=unknown", "--source-option", "minus_one=negative")
    refuse(2, "-o sets 'minus_one' twice", arguments=(*words, *twice))
    refuse(2, "'features'", "NAME=VALUE", arguments=(*words, "-o", "features"))


def test_laws_that_leave_nothing(shared: Path, tmp_path: Path) -> None:
    words = ("--long-tail", "pareto", "--max", "0", "--min", "0", "--out", tmp_path / "o.h5")
    refuse(1, "'good'", "train", arguments=("make-split", f"arrays:{shared / 'good.npz'}", *words))
    np.savez(tmp_path / "two.npz", Y=np.ones((2, 1)), split=[0, 1])
    words = ("make-split", f"arrays:{tmp_path / 'two.npz'}", "--out", tmp_path / "o.h5")
    refuse(1, "no image in the val", arguments=(*words, "--val-fraction", "0.5"))


def test_inputs_are_not_written_over(tmp_path: Path) -> None:
    table, counts = tmp_path / "a.csv", tmp_path / "counts.csv"
    rows = "".join(f"image-{i},{i % 2}\n" for i in range(40))
    table.write_text(f"image,cat\n{rows}")
    counts.write_text("cat\n")
    words = ("make-split", f"csv:{table}", "--source-option", f"classes={counts}")
    for file in (table, counts):
        before = file.read_text()
        refuse(1, file, "--out must name another file", arguments=(*words, "--out", file))
        assert file.read_text() == before
    assert call(*words, "--out", tmp_path / "o.h5")[0] == 0
    assert call(*words, "--out", tmp_path / "o.h5")[0] == 0  # a split may be made again


def test_names_that_the_system_does_not_take(shared: Path, tmp_path: Path) -> None:
    long, out = tmp_path / ("x" * 300), tmp_path / "o.h5"
    for kind in ("arrays", "csv", "voc"):
        refuse(1, long, "too long", arguments=("make-split", f"{kind}:{long}", "--out", out))
    words = ("make-split", f"arrays:{shared / 'good.npz'}", "--out", long)
    refuse(1, long, "too long", arguments=words)
    refuse(1, long, "too long", arguments=("show", long))
    code, _, err = call("diff", shared / "good.h5", long)
    assert code == 2 and "too long" in err and err.count("\n") == 1


def test_a_backbone_for_arrays_that_bring_features(shared: Path, tmp_path: Path) -> None:
    words = ("--backbone", "resnet18", "--out", tmp_path / "o.h5")
    refuse(
        1, "'good'", "--backbone", arguments=("make-split", f"arrays:{shared / 'good.npz'}", *words)
    )


# ----------------------------------------------------------------------------- COCO


def coco(folder: Path, images: int = 24) -> Path:
    """Annotations of small images that exist and decode."""
    (folder / "images").mkdir()
    for i in range(images):
        image = Image.new("RGB", (40, 30), (10 * i, 90, 200))
        image.save(folder / "images" / f"{i}.png")
    file = folder / "instances.json"
    boxes = [{"id": i, "image_id": i, "category_id": 1 + i % 2} for i in range(images)]
    classes = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    pictures = [{"id": i, "file_name": f"{i}.png"} for i in range(images)]
    file.write_text(json.dumps({"images": pictures, "annotations": boxes, "categories": classes}))
    return file


def from_coco(file: Path, *words: object) -> tuple[object, ...]:
    return ("make-split", f"coco:{file}", "--out", file.parent / "o.h5", *words)


def test_json_that_is_not_coco(tmp_path: Path) -> None:
    file = coco(tmp_path)
    text = file.read_text()
    good = json.loads(text)
    stray = {"id": 9, "image_id": 77, "category_id": 1}
    cases = {
        "[1, 2]": ("'images'",),
        text[: len(text) // 2]: ("truncated", "line 1"),
        "\x00\x01": ("instances.json:1: ", "it contains a zero byte"),
        json.dumps({**good, "annotations": [stray]}): ("annotation 9", "image_id 77"),
        json.dumps({**good, "images": good["images"] + good["images"][:1]}): ("image id 0",),
        json.dumps({**good, "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "cat"}]}): (
            "category name 'cat'",
        ),
    }
    for wrong, names in cases.items():
        file.write_text(wrong)
        refuse(1, file, *names, arguments=from_coco(file, "--backbone", "none"))
    absent = tmp_path / "absent.json"
    refuse(1, absent, arguments=from_coco(absent, "--backbone", "none"))


def test_images_that_are_broken_or_gone(tmp_path: Path) -> None:
    file = coco(tmp_path)
    images = ("-o", f"images={tmp_path / 'images'}")
    backbone = (*images, "--backbone", "resnet18", "--weights", "random")
    image = tmp_path / "images" / "1.png"
    whole = image.read_bytes()
    for content in (b"no image", whole[: len(whole) // 2], b""):
        image.write_bytes(content)
        refuse(1, image, "does not decode", arguments=from_coco(file, *backbone))
    image.unlink()
    refuse(1, image, arguments=from_coco(file, *backbone))
    assert not (tmp_path / "o.h5").exists()
    folder = tmp_path / "nowhere"
    refuse(1, folder, arguments=from_coco(file, "-o", f"images={folder}"))


def test_backbones_and_weights_that_are_none(tmp_path: Path) -> None:
    file = coco(tmp_path)
    images = ("-o", f"images={tmp_path / 'images'}")
    words = from_coco(file, *images, "--backbone", "resnet81")
    refuse(1, "'resnet81'", "resnet18", arguments=words)
    weights = tmp_path / "none.pth"
    words = from_coco(file, *images, "--backbone", "resnet18", "--weights", weights)
    refuse(1, weights, arguments=words)
    # Checked before any weights are downloaded.
    words = from_coco(file, "--backbone", "resnet18")
    refuse(2, "source 'coco' names no images", "--backbone", arguments=words)


# ----------------------------------------------------------------------------- split files


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def edited(change: Callable[[h5py.File], None]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        with h5py.File(path, "a") as file:
            change(file)

    return edit


def without_mark(file: h5py.File) -> None:
    del file.attrs["complete"]


def without_labels(file: h5py.File) -> None:
    del file["train/true"]


def without_test(file: h5py.File) -> None:
    del file["test"]


def short_labels(file: h5py.File) -> None:
    labels = file["train/true"][()]
    del file["train/true"]
    file["train/true"] = labels[:-1]


BROKEN = {
    "missing": (Path.unlink, ("does not exist",)),
    "text": (lambda path: path.write_text("hello"), ("not HDF5",)),
    "empty": (lambda path: path.write_bytes(b""), ("s.h5",)),
    "truncated": (cut, ("truncated",)),
    "without complete": (edited(without_mark), ("'complete'", "interrupted")),
    "without labels": (edited(without_labels), ("true",)),
    "without test": (edited(without_test), ("'test'",)),
    "wrong shape": (edited(short_labels), ("train/true",)),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_split_files_that_are_broken(shared: Path, tmp_path: Path, kind: str) -> None:
    harm, names = BROKEN[kind]
    path = tmp_path / "s.h5"
    shutil.copy(shared / "good.h5", path)
    harm(path)
    scores = ("--scores", tmp_path / "scores.npz", "--name", "x")
    for words in (
        ("show", path),
        ("verify", path),
        ("run", "--split", path, "--method", "bce", "--out", tmp_path / "runs"),
        ("evaluate", "--split", path, *scores, "--out", tmp_path / "runs"),
    ):
        refuse(1, path, *names, arguments=words)
    assert not (tmp_path / "runs").exists()


def test_verify_tells_every_fault_and_fails(shared: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    shutil.copy(shared / "good.h5", path)
    with h5py.File(path, "a") as file:
        file["train/true"][3, 1] = 1 - file["train/true"][3, 1]
    code, out, err = call("verify", path)
    assert (code, out) == (1, "")
    assert all(line.startswith(f"{path}: ") for line in err.splitlines())
    assert "fingerprint of the labels" in err
    assert "train_count" in err


def test_a_split_without_features_cannot_be_run(shared: Path, tmp_path: Path) -> None:
    words = ("run", "--split", shared / "bare.h5", "--method", "bce", "--out", tmp_path / "r")
    refuse(1, "'bare-full'", "no features", "--backbone", arguments=words)


# ----------------------------------------------------------------------------- run


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("--method", "assl"), ("'assl'", "'asl'")),
        (("--method", "all,nothing-like-it"), ("'nothing-like-it'", "`benchkit methods`")),
        (("--method", "bce,nothing-like-it"), ("'nothing-like-it'", "`benchkit methods`")),
        (("--method", "asl", "--set", "asl.clp=1"), ("'clp'", "'clip'")),
        (
            ("--method", "asl", "--set", "asl.clip=much"),
            ("method 'asl'", "clip='much'", "a number"),
        ),
        (("--method", "asl", "--set", "asl.clip=2"), ("method 'asl'", "clip=2.0", "[0.0, 1.0]")),
        (("--method", "asl", "--set", "asl.clip=nan"), ("method 'asl'", "clip=nan", "finite")),
        (("--method", "db", "--set", "db.mu=inf"), ("method 'db'", "mu=inf", "finite")),
        (("--method", "asl", "--set", "asl.focal_gradient=2"), ("focal_gradient='2'", "yes or no")),
        (("--method", "asl", "--set", "clip=2"), ("'clip=2'", "KEY.NAME=VALUE")),
        (
            ("--method", "asl", "--set", "asl.clip=0.1", "--set", "asl.clip=0.2"),
            ("asl.clip is set twice", "--set asl.clip=0.1 and --set asl.clip=0.2"),
        ),
        (("--method", "asl", "--set", "bce.clip=2"), ("--set bce", "'bce'")),
        (("--method", "bce", "--set", "bce.x=2"), ("'bce'", "'x'")),
        (("--method", "bce", "--paper", "imagenet"), ("--paper imagenet", "coco-lt, ")),
        (("--method", "bce", "--recipe", "featurs"), ("'featurs'", "'features'")),
        (("--method", "bce", "--recipe", "epoch=3"), ("'epoch'", "'epochs'")),
        (("--method", "bce", "--recipe", "lr=fast"), ("lr='fast'", "number")),
        (("--method", "bce", "--recipe", "epochs=-1"), ("epochs=-1", "0")),
        (("--method", "bce", "--recipe", "optimiser=lion"), ("optimiser='lion'", "adamw")),
        (("--method", "bce", "--recipe", "head=deep"), ("head='deep'", "hidden:WIDTH")),
        (("--method", "bce", "--recipe", "nowhere.toml"), ("nowhere.toml",)),
        (("--method", "bce", "--seeds", "-3"), ("--seeds", "-3")),
        (("--method", "bce", "--seeds", "0"), ("--seeds", "0")),
        (("--method", "bce", "--seed", "x"), ("--seed", "'x'")),
        (("--method", "bce", "--seed", "1", "--seeds", "2"), ("--seeds N", "--seed S")),
        (("--method", "bce", "--select", "best"), ("--select", "'best'", "test-oracle")),
        (("--method", "bce", "--stack", "0"), ("--stack", "0")),
        ((), ("--method",)),
    ],
    ids=lambda value: " ".join(value),
)
def test_wrong_calls_of_run(
    shared: Path, tmp_path: Path, words: tuple[str, ...], names: tuple[str, ...]
) -> None:
    call_words = ("run", "--split", shared / "good.h5", *words, "--out", tmp_path / "r")
    err = refuse(2, *names, arguments=call_words)
    assert "`benchkit run --help`" in err
    assert leftovers(tmp_path) == []


def bce(shared: Path, out: Path, *words: object) -> tuple[object, ...]:
    return ("run", "--split", shared / "good.h5", "--method", "bce", *FAST, "--out", out, *words)


def test_selection_on_a_validation_part_that_is_not_there(shared: Path, tmp_path: Path) -> None:
    words = bce(shared, tmp_path, "--select", "val")
    refuse(1, "--select val", "--val-fraction", arguments=words)


def test_plugins_that_cannot_be_used(shared: Path, tmp_path: Path) -> None:
    cases = {
        "imports.py": ("import no_such_module\n", "no_such_module"),
        "syntax.py": ("x = (1\n", "SyntaxError"),
        "empty.py": ("x = 1\n", "no method"),
        "plain.txt": ("x = 1\n", ".py"),
    }
    for name, (text, why) in cases.items():
        (tmp_path / name).write_text(text)
        refuse(
            1, tmp_path / name, why, arguments=bce(shared, tmp_path, "--plugin", tmp_path / name)
        )
        refuse(1, tmp_path / name, why, arguments=("methods", "--plugin", tmp_path / name))
    absent = tmp_path / "absent.py"
    refuse(1, absent, arguments=bce(shared, tmp_path, "--plugin", absent))


FAILING = """
from baselines.core import Method, MethodInfo


class Failing(Method):
    info = MethodInfo(
        key="failing-in-a-test", title="F", paper="no", year=2024, equation="L", unknown="negative"
    )

    def loss(self, run, logits, batch, clock, draw):
        return {loss}
"""


@pytest.mark.parametrize(
    ("loss", "why"),
    [
        ("logits[:, 99].sum()", "failing.py, line 11: IndexError: index 99"),
        ("logits.sum() * float('nan')", "not finite in epoch 1"),
        ("logits[logits > 0].sum()", "failing.py, line 11: the step makes a tensor whose shape"),
        ("exit(0)", "failing.py, line 11: SystemExit: 0"),
        ("__import__('os')._exit(0)", "failing.py, line 11: SystemExit: 0"),
        ("(_ for _ in ()).throw(KeyboardInterrupt)", "failing.py, line 11: KeyboardInterrupt"),
        ("(_ for _ in ()).throw(BaseException('x'))", "failing.py, line 11: BaseException: x"),
    ],
)
def test_a_method_that_fails_spares_the_others(
    shared: Path, tmp_path: Path, loss: str, why: str
) -> None:
    (tmp_path / "failing.py").write_text(FAILING.format(loss=loss))
    words = ("run", "--split", shared / "good.h5", "--method", "failing-in-a-test,bce", *FAST)
    words = (*words, "--plugin", tmp_path / "failing.py", "--out", tmp_path / "runs")
    for done, kept in ((1, 0), (0, 1)):  # a failure is tried again, a success is not
        code, out, err = call(*words)
        assert code == 1
        assert out.startswith(f"{done} runs done, {kept} kept, 1 failed, 0 methods skipped\n")
        assert "failing-in-a-test seed 0 failed: " in err and why in err
        assert "Traceback" not in err
    (failure,) = (tmp_path / "runs" / "failures").glob("*.json")
    assert why in json.loads(failure.read_text())["error"]
    code, out, _ = call("report", tmp_path / "runs", "--format", "markdown")
    assert code == 0
    assert "failing-in-a-test" in out and why in out


def test_a_broken_rule_is_refused_with_any_number_of_seeds(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text(FAILING.format(loss="logits.sum() * logits.sum().item()"))
    words = ("run", "--split", shared / "good.h5", "--method", "failing-in-a-test,bce", *FAST)
    sentences = set()
    for seeds in (1, 3):
        runs = ("--seeds", seeds, "--plugin", tmp_path / "failing.py", "--out", tmp_path / "runs")
        code, _, err = call(*words, *runs)
        assert code == 1
        lines = [line for line in err.splitlines() if " failed: " in line]
        assert len(lines) == seeds
        sentences |= {line.partition(" failed: ")[2] for line in lines}
    (sentence,) = sentences
    assert sentence.startswith("failing.py, line 11: the step reads a tensor's value")
    assert len(list((tmp_path / "runs").glob("*/run.json"))) == 3  # of bce


def test_a_method_that_fails_in_evaluation(shared: Path, tmp_path: Path) -> None:
    code = (
        "    def logits(self, run, features):\n        exit(0) if len(features) == 12 else None\n"
    )
    code += "        return super().logits(run, features)\n"
    (tmp_path / "failing.py").write_text(FAILING.format(loss="logits.mean()") + code)
    words = ("run", "--split", shared / "good.h5", "--method", "failing-in-a-test,bce", *FAST)
    said = call(*words, "--plugin", tmp_path / "failing.py", "--out", tmp_path / "runs")
    assert (
        said.code == 1
        and "failing-in-a-test seed 0 failed: failing.py, line 13: SystemExit: 0" in said.err
    )
    assert said.out.startswith("1 runs done, 0 kept, 1 failed, 0 methods skipped\n")


def test_plugins_that_end_the_program_or_lie_about_themselves(shared: Path, tmp_path: Path) -> None:
    path = tmp_path / "failing.py"
    good = FAILING.format(loss="logits.mean()")
    for text, names in (
        ("exit(0)", ("cannot be imported: SystemExit: 0 (line 1)",)),
        (good.replace("year=2024", "year='x'"), ("info.year is 'x'", "such as 2024")),
        (
            good.replace('key="failing-in-a-test"', 'key="../x"'),
            ("info.key is '../x'", "lower case"),
        ),
        (good.replace('unknown="', 'regimes="pal", unknown="'), ("info.regimes is 'pal'", "tuple")),
    ):
        path.write_text(text)
        refuse(1, path, *names, arguments=bce(shared, tmp_path / "r", "--plugin", path))
        refuse(1, path, *names, arguments=("methods", "--plugin", path))
        refuse(1, path, *names, arguments=("methods", "failing-in-a-test", "--plugin", path))
    assert not (tmp_path / "r").exists()


def test_class_embeddings_that_do_not_fit(shared: Path, tmp_path: Path) -> None:
    spoilt = np.zeros((3, 4))
    spoilt[1, 2] = np.inf
    np.save(tmp_path / "few.npy", np.zeros((2, 4)))
    np.save(tmp_path / "flat.npy", np.zeros(3))
    np.save(tmp_path / "words.npy", np.array([["a"], ["b"], ["c"]]))
    np.save(tmp_path / "spoilt.npy", spoilt)
    np.savez(tmp_path / "many.npz", a=np.zeros((3, 4)))
    (tmp_path / "text.npy").write_text("hello")
    (tmp_path / "cut.npy").write_bytes((tmp_path / "few.npy").read_bytes()[:90])
    for name, why in {
        "few.npy": "[2, 4]",
        "flat.npy": "[3]",
        "words.npy": "<U1",
        "spoilt.npy": "row 1",
        "many.npz": "numpy.save",
        "text.npy": "numpy.save",
        "cut.npy": "numpy.save",
        "absent.npy": "do not exist",
    }.items():
        words = bce(shared, tmp_path / "r", "--class-embeddings", tmp_path / name)
        refuse(1, tmp_path / name, why, arguments=words)


# ----------------------------------------------------------------------------- evaluate, report


def test_scores_that_do_not_fit(shared: Path, tmp_path: Path) -> None:
    fits = np.zeros((12, 3))
    spoilt = fits.copy()
    spoilt[4, 1] = np.nan
    cases: dict[str, tuple[dict[str, np.ndarray], str]] = {
        "shape": ({"scores": np.zeros((5, 3))}, "[12, 3]"),
        "name": ({"logits": fits}, "'scores'"),
        "nan": ({"scores": spoilt}, "finite"),
        "words": ({"scores": np.full((12, 3), "a")}, "number"),
        "ids": ({"scores": fits, "ids": np.array([f"x{i}" for i in range(12)])}, "missing"),
        "short": ({"scores": fits, "ids": np.arange(5)}, "ids"),
    }
    head = ("evaluate", "--split", shared / "good.h5", "--name", "mine", "--out", tmp_path / "r")
    for name, (content, why) in cases.items():
        path = tmp_path / f"{name}.npz"
        np.savez(path, **content)
        refuse(1, path, why, arguments=(*head, "--scores", path))
    np.save(tmp_path / "plain.npy", fits)
    (tmp_path / "text.npz").write_text("hello")
    for name in ("plain.npy", "text.npz", "absent.npz"):
        refuse(1, tmp_path / name, arguments=(*head, "--scores", tmp_path / name))
    np.savez(tmp_path / "good.npz", scores=fits)
    unnamed = ("evaluate", "--split", shared / "good.h5", "--name", " ", "--out", tmp_path / "r")
    refuse(2, "--name", arguments=(*unnamed, "--scores", tmp_path / "good.npz"))
    assert not (tmp_path / "r").exists()


def test_reports_of_nothing(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refuse(1, tmp_path / "empty", "holds no records", arguments=("report", tmp_path / "empty"))
    refuse(1, tmp_path / "absent", arguments=("report", tmp_path / "absent"))
    refuse(1, shared / "good.h5", arguments=("report", shared / "good.h5"))
    runs = tmp_path / "runs"
    assert call(*bce(shared, runs))[0] == 0
    refuse(1, "abc", arguments=("report", runs, "--split", "abc"))
    refuse(1, "val", arguments=("report", runs, "--selection", "val"))
    refuse(2, "--format", "'pdf'", arguments=("report", runs, "--format", "pdf"))
    (record,) = runs.glob("*/run.json")
    cut(record)
    refuse(1, record, arguments=("report", runs))


# ----------------------------------------------------------------------------- disks and folders


def test_folders_that_cannot_be_made(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    source = f"arrays:{shared / 'good.npz'}"
    inside = tmp_path / "file" / "x"
    refuse(1, tmp_path / "file", arguments=("make-split", source, "--out", inside))
    refuse(1, tmp_path, "folder", arguments=("make-split", source, "--out", tmp_path))
    refuse(1, inside, arguments=bce(shared, inside))
    refuse(1, tmp_path / "file", arguments=bce(shared, tmp_path / "file"))
    runs = tmp_path / "runs"
    assert call(*bce(shared, runs))[0] == 0
    refuse(1, inside, arguments=("report", runs, "--out", inside))
    refuse(1, tmp_path, arguments=("report", runs, "--out", tmp_path))
    (scores,) = runs.glob("*/scores.npz")
    words = ("evaluate", "--split", shared / "good.h5", "--name", "m", "--scores", scores)
    refuse(1, inside, arguments=(*words, "--out", inside))
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_full_disk_is_said_before_anything_is_written(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    out = tmp_path / "out.h5"
    words = ("make-split", f"arrays:{shared / 'good.npz'}", "--out", out)
    refuse(1, out, "no disk space", "KiB and 1000 bytes are free", arguments=words)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("what", ["make-split", "run"])
def test_a_disk_that_fills_up_while_it_is_written(shared: Path, tmp_path: Path, what: str) -> None:
    """The kernel refuses every byte after the first so many, as a full disk does."""
    source = arrays(X=np.arange(120_000, dtype=np.float32).reshape(60, 2000))
    np.savez(tmp_path / "wide.npz", **source)
    words = ["make-split", f"arrays:{tmp_path / 'wide.npz'}", "--out", tmp_path / "out.h5"]
    if what == "run":
        words = [*bce(shared, tmp_path / "out")]
    limit = 100_000 if what == "make-split" else 500
    program = "from benchkit.cli import main; main()"
    ended = subprocess.run(
        [sys.executable, "-B", "-c", program, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: no disk space to write "), ended.stderr
    assert str(tmp_path / "out") in ended.stderr and ended.stderr.count("\n") == 1
    assert leftovers(tmp_path) == ["wide.npz"]


# ----------------------------------------------------------------------------- calls


@pytest.mark.parametrize(
    "arguments",
    [("show", ""), ("run", "--split", "s.h5", "--method", "bce", "--out", ""), ("report", "")],
)
def test_an_empty_path_is_not_the_working_directory(arguments: tuple[str, ...]) -> None:
    refuse(2, "the path is empty", arguments=arguments)


def test_calls_of_nothing() -> None:
    refuse(2, "'repot'", "`benchkit --help`", arguments=("repot",))
    refuse(2, "--split", arguments=("run",))
    refuse(2, "SOURCE", arguments=("make-split",))
    refuse(2, "'assl'", "'asl'", arguments=("methods", "assl"))
    code, out, err = call()
    assert code == 2
    assert "Usage: benchkit" in out + err and "make-split" in out + err
