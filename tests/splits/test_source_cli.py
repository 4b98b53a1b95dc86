"""The sources from the command line: `SOURCE`, `--source-option`, `--help-source`."""

import contextlib
import io
import sys
from unittest import mock

import h5py
import numpy as np
import pytest

from benchkit.cli import main
from benchkit.split import file as split_file


def call(*words):
    """The console script in this process: exit code, output, errors."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", ["benchkit", *map(str, words)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    return code, out.getvalue(), err.getvalue()


@pytest.fixture
def made(tmp_path):
    """Make a split of a source; returns what was written and what was said."""

    def make(source, *options):
        out = tmp_path / "out" / "split.h5"
        words = [word for option in options for word in ("--source-option", option)]
        code, _, err = call("make-split", source, *words, "--out", out)
        assert code == 0, err
        assert "Traceback" not in err
        return split_file.read(out), err

    return make


ROWS = "".join(
    f"{i},{i % 2},{i % 3 == 0:d},{i / 7},{'test' if i > 15 else 'train'}\n" for i in range(20)
)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "set.csv"
    path.write_text("image,odd,third,f,part\n" + ROWS)
    return path


def test_a_path_that_begins_at_home(made, table, monkeypatch):
    monkeypatch.setenv("HOME", str(table.parent))
    split, _ = made("csv:~/set.csv", "features=f", "split=part")
    assert split.class_names == ("odd", "third")


def test_csv(made, table):
    split, err = made(f"csv:{table}", "features=f", "split=part")
    assert split.class_names == ("odd", "third")
    assert split.parts["train"].true[:3].tolist() == [[0, 1], [1, 0], [0, 0]]
    assert split.parts["test"].features.shape == (4, 1, 1)
    assert "no positive" not in err
    assert split.provenance["sources"].keys() == {"set.csv"}


def test_classes_without_positives_are_counted(made, table):
    table.write_text("image,odd,none,never,part\n" + ROWS.replace(",0,", ",-1,"))
    text = table.read_text().splitlines()
    rows = [",".join([*row.split(",")[:2], "0", "", row.split(",")[4]]) for row in text[1:]]
    table.write_text("\n".join([text[0], *rows]) + "\n")
    _, err = made(f"csv:{table}", "split=part")
    assert "2 of 3 classes have no positive image" in err


def test_hdf5_and_matlab(made, tmp_path):
    labels, features = np.eye(20, 4, dtype=np.int8), np.arange(40.0).reshape(20, 2)
    labels[4:] = np.tile(np.eye(4, dtype=np.int8), (4, 1))
    with h5py.File(tmp_path / "set.h5", "w") as file:
        file["Y"], file["X"], file["split"] = labels, features, np.arange(20) > 15
    split, _ = made(f"hdf5:{tmp_path / 'set.h5'}")
    assert split.parts["train"].true.tolist() == labels[:16].tolist()
    with h5py.File(tmp_path / "new.mat", "w", userblock_size=512) as file:
        file["Y"], file["X"] = labels.T, features.T
    raw = (tmp_path / "new.mat").read_bytes()
    (tmp_path / "new.mat").write_bytes(b"MATLAB 7.3 MAT-file" + raw[19:])
    split, _ = made(f"mat:{tmp_path / 'new.mat'}")
    assert sum(len(part.ids) for part in split.parts.values()) == 20


def test_voc(made, tmp_path):
    lists = tmp_path / "VOC2007" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for name, odd in (("cat", 0), ("dog", 1)):
        for which, start in (("trainval", 0), ("test", 10)):
            rows = [f"{i:06d} {1 if i % 2 == odd else -1:2d}\n" for i in range(start, start + 10)]
            (lists / f"{name}_{which}.txt").write_text("".join(rows))
    split, _ = made(f"voc:{tmp_path / 'VOC2007'}")
    assert split.parts["test"].ids[0] == "000010"
    assert split.parts["train"].paths[0] == "JPEGImages/000000.jpg"
    assert split.recipe["labels"]["source"] == "voc2007"


def test_a_split_says_how_its_source_was_read(made, tmp_path):
    lists = tmp_path / "VOC2007" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for name, codes in (("cat", "1 0 -1"), ("dog", "0 1 1")):
        rows = "".join(f"{i} {code}\n" for i, code in enumerate(codes.split()))
        (lists / f"{name}_trainval.txt").write_text(rows)
    tests = tmp_path / "elsewhere" / "set" / "ImageSets" / "Main"
    tests.mkdir(parents=True)
    for name in ("cat", "dog"):
        (tests / f"{name}_test.txt").write_text("9 1\n")
    words = (f"voc:{tmp_path / 'VOC2007'}", f"test_root={tests.parents[1]}")
    first, _ = made(*words)
    said = {"kind": "voc", "labels": "lists", "train": "trainval", "test": "test"}
    said |= {"test_root": "set", "difficult": "positive"}
    assert first.provenance["source_options"] == said
    (tmp_path / "out" / "split.h5").rename(tmp_path / "first.h5")
    second, _ = made(*words, "difficult=unknown")
    assert second.provenance["source_options"] == {**said, "difficult": "unknown"}
    assert "difficult" not in str(second.recipe)
    code, out, _ = call("diff", tmp_path / "first.h5", tmp_path / "out" / "split.h5")
    assert code == 1
    row = next(line for line in out.splitlines() if "source_options" in line)
    assert row.split() == ["source_options.difficult", "positive", "unknown"]
    code, out, _ = call("show", tmp_path / "first.h5")
    assert code == 0
    said = " ".join(out.split())
    assert "source voc: difficult=positive, labels=lists, test=test, test_root=set, train" in said
    assert str(tmp_path) not in out


def test_only_options_with_a_say_are_recorded(made, table, tmp_path):
    split, _ = made(f"csv:{table}", "split=part", "features=f", f"images={tmp_path}")
    assert split.provenance["source_options"] == {
        "kind": "csv", "layout": "wide", "id": "", "classes": "", "features": "f", "split": "part",
        "test_ids": "",
    }  # fmt: skip
    (tmp_path / "names").mkdir()
    (tmp_path / "names" / "names.txt").write_text("odd\n")
    split, _ = made(f"csv:{table}", f"classes={tmp_path / 'names' / 'names.txt'}", "split=part")
    assert split.provenance["source_options"]["classes"] == "names.txt"


def test_coco_and_scenes_say_it_too(tmp_path):
    (tmp_path / "a.json").write_text(
        '{"images": [{"id": 1, "file_name": "a"}, {"id": 2, "file_name": "b"}, '
        '{"id": 3, "file_name": "c"}], "annotations": [{"id": 1, "image_id": 1, '
        '"category_id": 3}, {"id": 2, "image_id": 2, "category_id": 3}], '
        '"categories": [{"id": 3, "name": "cat"}]}'
    )
    out = tmp_path / "a.h5"
    words = ("--annotations", tmp_path / "a.json", "--no-crowd", "--out", out)
    assert call("make-split", "coco", *words)[0] == 0
    said = split_file.read(out).provenance["source_options"]
    assert said == {"kind": "coco", "keep_empty": "none", "crowd": False}
    words = ("--scenes-train", 9, "--scenes-test", 4, "--image-size", 48, "--out", out)
    assert call("make-split", "scenes", *words)[0] == 0
    split = split_file.read(out)
    said = {"kind": "scenes", "scenes_train": 9, "scenes_test": 4}
    assert split.provenance["source_options"] == said
    assert split.recipe["features"]["transform"].startswith("resize48-bilinear")
    assert call("make-split", "scenes", *words[:4], "--out", tmp_path / "b.h5")[0] == 0
    other = split_file.read(tmp_path / "b.h5")
    assert other.recipe["features"]["transform"].startswith("resize96-bilinear")
    assert other.fingerprints()["labels"] == split.fingerprints()["labels"]
    assert other.fingerprints()["features"] != split.fingerprints()["features"]
    code, printed, _ = call("diff", out, tmp_path / "b.h5")
    assert code == 1 and "features.transform" in printed


def test_open_images(made, tmp_path):
    (tmp_path / "class-descriptions-boxable.csv").write_text("/m/1,Cat\n/m/2,Dog\n")
    for part in ("train", "test"):
        rows = "".join(f"{part}{i},verification,/m/{i % 2 + 1},{i % 3 != 0:d}\n" for i in range(9))
        path = tmp_path / f"{part}-annotations-human-imagelabels-boxable.csv"
        path.write_text("ImageID,Source,LabelName,Confidence\n" + rows)
    split, _ = made(f"openimages:{tmp_path}")
    for part in ("train", "test"):
        labels = split.parts[part].true
        dense = labels if isinstance(labels, np.ndarray) else labels.to_dense()
        assert dense[:3].tolist() == [[0, -1], [-1, 1], [1, -1]]


def test_help_source():
    code, out, _ = call("make-split", "--help-source", "voc")
    assert code == 0
    assert out.startswith("voc:ROOT\n")
    assert "difficult (positive|negative|unknown)" in out and "[default: positive]" in out
    code, out, _ = call("make-split", "--help-source", "all")
    assert code == 0 and "nus:ROOT\n  NUS-WIDE" in out
    code, out, err = call("make-split", "--help-source", "vok")
    assert (code, out) == (2, "") and "did you mean 'voc'?" in err


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("vok:x",), 2, "source 'vok:x' is none of arrays:FILE.npz, coco:ROOT"),
        (("voc",), 2, "source voc needs a path: voc:ROOT"),
        (("voc:x", "--source-option", "dificult=1"), 2, "did you mean 'difficult'?"),
        (("coco", "--source-option", "year=2014"), 2, "is for sources KIND:PATH"),
        (("coco",), 2, "source coco needs --annotations"),
        (("cub:nowhere",), 1, "nowhere: there is no such folder"),
        (("hdf5:nowhere.h5",), 1, "nowhere.h5: there is no such file"),
        (("csv:{table}",), 1, "set.csv:3: 'odd' is '2'"),
    ],
)
def test_one_sentence_and_nothing_written(table, tmp_path, words, code, text):
    table.write_text("image,odd\n0,0\n1,2\n")
    out = tmp_path / "out" / "split.h5"
    words = [word.replace("{table}", str(table)) for word in words]
    found, printed, err = call("make-split", *words, "--out", out)
    assert (found, printed) == (code, "")
    assert err.startswith("error: ") and err.count("\n") == 1 and text in err, err
    assert not out.exists() and not out.parent.exists()
