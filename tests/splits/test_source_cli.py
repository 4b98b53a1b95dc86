"""Sources on the command line: `SOURCE`, `--source-option`, `--help-source`."""

import json

import h5py
import numpy as np
import pytest
from commands import call

from benchkit.split import file as split_file


@pytest.fixture
def make(tmp_path):
    """Make a split of a source; returns the split and the messages."""

    def run(source, *options):
        out = tmp_path / "out" / "split.h5"
        arguments = [argument for option in options for argument in ("--source-option", option)]
        code, _, err = call("make-split", source, *arguments, "--out", out)
        assert code == 0, err
        return split_file.read(out), err

    return run


ROWS = "".join(
    f"{i},{i % 2},{i % 3 == 0:d},{i / 7},{'test' if i > 15 else 'train'}\n" for i in range(20)
)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "set.csv"
    path.write_text("image,odd,third,f,part\n" + ROWS)
    return path


def test_a_tilde_in_the_path_is_the_home_folder(make, table, monkeypatch):
    monkeypatch.setenv("HOME", str(table.parent))
    split, _ = make("csv:~/set.csv", "features=f", "split=part")
    assert split.class_names == ("odd", "third")


def test_csv(make, table):
    split, err = make(f"csv:{table}", "features=f", "split=part")
    assert split.class_names == ("odd", "third")
    assert split.parts["train"].true[:3].tolist() == [[0, 1], [1, 0], [0, 0]]
    assert split.parts["test"].features.shape == (4, 1, 1)
    assert "no positive" not in err
    assert split.provenance["sources"].keys() == {"set.csv"}


def test_the_number_of_classes_without_positives_is_logged(make, table):
    table.write_text("image,odd,none,never,part\n" + ROWS.replace(",0,", ",-1,"))
    text = table.read_text().splitlines()
    rows = [",".join([*row.split(",")[:2], "0", "", row.split(",")[4]]) for row in text[1:]]
    table.write_text("\n".join([text[0], *rows]) + "\n")
    _, err = make(f"csv:{table}", "split=part")
    assert "2 of 3 classes have no positive image" in err


def test_hdf5_and_matlab(make, tmp_path):
    labels, features = np.eye(20, 4, dtype=np.int8), np.arange(40.0).reshape(20, 2)
    labels[4:] = np.tile(np.eye(4, dtype=np.int8), (4, 1))
    with h5py.File(tmp_path / "set.h5", "w") as file:
        file["Y"], file["X"], file["split"] = labels, features, np.arange(20) > 15
    split, _ = make(f"hdf5:{tmp_path / 'set.h5'}")
    assert split.parts["train"].true.tolist() == labels[:16].tolist()
    with h5py.File(tmp_path / "new.mat", "w", userblock_size=512) as file:
        file["Y"], file["X"] = labels.T, features.T
    raw = (tmp_path / "new.mat").read_bytes()
    (tmp_path / "new.mat").write_bytes(b"MATLAB 7.3 MAT-file" + raw[19:])
    split, _ = make(f"mat:{tmp_path / 'new.mat'}")
    assert sum(len(part.ids) for part in split.parts.values()) == 20


def test_voc(make, tmp_path):
    lists = tmp_path / "VOC2007" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for name, odd in (("cat", 0), ("dog", 1)):
        for image_set, start in (("trainval", 0), ("test", 10)):
            rows = [f"{i:06d} {1 if i % 2 == odd else -1:2d}\n" for i in range(start, start + 10)]
            (lists / f"{name}_{image_set}.txt").write_text("".join(rows))
    split, _ = make(f"voc:{tmp_path / 'VOC2007'}")
    assert split.parts["test"].ids[0] == "000010"
    assert split.parts["train"].paths[0] == "JPEGImages/000000.jpg"
    assert split.recipe["labels"]["source"] == "voc2007"


def test_a_split_records_the_options_of_its_source(make, tmp_path):
    lists = tmp_path / "VOC2007" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for name, codes in (("cat", "1 0 -1"), ("dog", "0 1 1")):
        rows = "".join(f"{i} {code}\n" for i, code in enumerate(codes.split()))
        (lists / f"{name}_trainval.txt").write_text(rows)
    tests = tmp_path / "elsewhere" / "set" / "ImageSets" / "Main"
    tests.mkdir(parents=True)
    for name, code in (("cat", 1), ("dog", -1)):
        (tests / f"{name}_test.txt").write_text(f"9 {code}\n")
    source, test_root = f"voc:{tmp_path / 'VOC2007'}", f"test_root={tests.parents[1]}"
    recorded = {
        "kind": "voc", "labels": "lists", "train": "trainval", "test": "test",
        "test_root": "set", "difficult": "positive",
    }  # fmt: skip
    first, _ = make(source, test_root)
    assert first.provenance["source_options"] == recorded
    (tmp_path / "out" / "split.h5").rename(tmp_path / "first.h5")
    second, _ = make(source, test_root, "difficult=unknown")
    assert second.provenance["source_options"] == {**recorded, "difficult": "unknown"}
    assert "difficult" not in str(second.recipe)
    code, out, _ = call("diff", tmp_path / "first.h5", tmp_path / "out" / "split.h5")
    assert code == 1
    row = next(line for line in out.splitlines() if "source_options" in line)
    assert row.split() == ["source_options.difficult", "positive", "unknown"]
    code, out, _ = call("show", tmp_path / "first.h5")
    assert code == 0
    text = " ".join(out.split())
    assert "source voc: difficult=positive, labels=lists, test=test, test_root=set, train" in text
    assert str(tmp_path) not in out


def test_only_options_with_an_effect_are_recorded(make, table, tmp_path):
    split, _ = make(f"csv:{table}", "split=part", "features=f", f"images={tmp_path}")
    assert split.provenance["source_options"] == {
        "kind": "csv", "layout": "wide", "id": "", "classes": "", "features": "f", "split": "part",
        "test_ids": "",
    }  # fmt: skip
    (tmp_path / "names").mkdir()
    (tmp_path / "names" / "names.txt").write_text("odd\n")
    split, _ = make(f"csv:{table}", f"classes={tmp_path / 'names' / 'names.txt'}", "split=part")
    assert split.provenance["source_options"]["classes"] == "names.txt"


def annotations(path, ids):
    """Write a COCO annotation file in which all images but the last have a cat, and none a dog."""
    document = {
        "images": [{"id": image, "file_name": f"{image}.jpg"} for image in ids],
        "annotations": [{"id": k, "image_id": k, "category_id": 3} for k in ids[:-1]],
        "categories": [{"id": 3, "name": "cat"}, {"id": 4, "name": "dog"}],
    }
    path.write_text(json.dumps(document))
    return path


def test_an_annotation_file_records_its_options(make, tmp_path):
    train = annotations(tmp_path / "a.json", [1, 2, 3])
    test = annotations(tmp_path / "b.json", [7, 8, 9])
    split, _ = make(f"coco:{train}", "crowd=no")
    recorded = {"kind": "coco", "keep_empty": "none", "crowd": False}
    assert split.provenance["source_options"] == recorded
    split, _ = make(f"coco:{train}", "crowd=no", "keep-empty=test", f"test={test}")
    assert split.provenance["source_options"] == {**recorded, "keep_empty": "test"}
    assert [len(split.parts[part].ids) for part in ("train", "test")] == [2, 3]
    split, _ = make(f"coco:{train}", "min_size=no")
    assert "min_size" not in split.provenance["source_options"]


def test_scenes_are_drawn_beside_the_split(tmp_path):
    out = tmp_path / "a.h5"
    scenes = ("make-split", "scenes", "-o", "train=9", "-o", "test=4")
    assert call(*scenes, "--image-size", 48, "--out", out).code == 0
    assert len(list((tmp_path / "scenes" / "train").iterdir())) == 9
    split = split_file.read(out)
    recorded = {"kind": "scenes", "scenes_train": 9, "scenes_test": 4}
    assert split.provenance["source_options"] == recorded
    assert split.recipe["features"]["transform"].startswith("resize48-bilinear")
    assert call(*scenes, "--out", tmp_path / "b.h5").code == 0
    other = split_file.read(tmp_path / "b.h5")
    assert other.recipe["features"]["transform"].startswith("resize96-bilinear")
    assert other.fingerprints()["labels"] == split.fingerprints()["labels"]
    assert other.fingerprints()["features"] != split.fingerprints()["features"]
    code, printed, _ = call("diff", out, tmp_path / "b.h5")
    assert code == 1 and "features.transform" in printed


def test_open_images(make, tmp_path):
    (tmp_path / "class-descriptions-boxable.csv").write_text("/m/1,Cat\n/m/2,Dog\n")
    for part in ("train", "test"):
        rows = "".join(f"{part}{i},verification,/m/{i % 2 + 1},{i % 3 != 0:d}\n" for i in range(9))
        path = tmp_path / f"{part}-annotations-human-imagelabels-boxable.csv"
        path.write_text("ImageID,Source,LabelName,Confidence\n" + rows)
    split, _ = make(f"openimages:{tmp_path}")
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
    ("arguments", "code", "text"),
    [
        (("vok:x",), 2, "there is no source 'vok'; did you mean 'voc'?"),
        (("voc",), 2, "needs a path: voc:ROOT"),
        (("coco",), 2, "needs a path: coco:ROOT|FILE.json"),
        (("voc:x", "-o", "dificult=1"), 2, "did you mean 'difficult'?"),
        (("voc:x", "-o", "difficult"), 2, "'difficult' is not NAME=VALUE"),
        (("voc:x", "-o", "test=none", "-o", "test=val"), 2, "sets 'test' twice"),
        (("voc:x", "-o", "difficult=maybe"), 2, "not one of positive, negative, unknown"),
        (("coco:x", "-o", "year=2015"), 2, "not one of 2014, 2017"),
        (("coco:x", "-o", "year=new"), 2, "year='new' is not a whole number"),
        (("coco:x", "-o", "crowd=perhaps"), 2, "crowd='perhaps' is not yes or no"),
        (("openimages:x", "-o", "threshold=high"), 2, "threshold='high' is not a number"),
        (("openimages:x", "-o", "threshold=nan"), 2, "threshold=nan is not a finite number"),
        (("coco:{table}", "-o", "year=2014"), 2, "can only be used with a folder as PATH"),
        (("coco:{table}", "-o", "keep_empty=test"), 2, "there is no test part"),
        (("scenes", "-o", "train=0"), 2, "train=0"),
        (("cub:nowhere",), 1, "nowhere: there is no such folder"),
        (("hdf5:nowhere.h5",), 1, "nowhere.h5: there is no such file"),
        (("csv:{table}",), 1, "set.csv:3: 'odd' is '2'"),
    ],
)
def test_errors_are_one_sentence_and_write_nothing(table, tmp_path, arguments, code, text):
    table.write_text("image,odd\n0,0\n1,2\n")
    out = tmp_path / "out" / "split.h5"
    arguments = [argument.replace("{table}", str(table)) for argument in arguments]
    result = call("make-split", *arguments, "--out", out)
    assert (result.code, result.out) == (code, "")
    assert result.err.startswith("error: ") and result.err.count("\n") == 1
    assert text in result.err
    assert not out.exists() and not out.parent.exists()
