"""Split files: written and read back unchanged, the same bytes twice, damage detected."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from toy_splits import assert_same_split

from benchkit.base.errors import BenchkitError
from benchkit.split import file as split_file
from benchkit.split.checks import has_repeats
from benchkit.split.file import read, stored_fingerprints, verify, write
from benchkit.split.model import Part, Split, decode, encode
from benchkit.split.options import Options
from splits.regimes import Regime

ToyMaker = Callable[..., Split]
SMALL = Options(many=10, few=5)


def counted(parts: dict[str, Part], names: tuple[str, ...], regime: str) -> Split:
    """A split around parts, its counts right; every class is few-shot."""
    train = parts["train"]
    assert train.observed is not None
    return Split(
        name="smål",
        recipe={"labels": {"regime": regime, "source": "ŝ"}, "features": {"kind": "raw"}},
        class_names=names,
        train_count=(train.true == 1).sum(0, dtype=np.int64),
        observed_count=(train.observed == 1).sum(0, dtype=np.int64),
        shot=np.full(len(names), 2, np.uint8),
        thresholds={"many": 100, "few": 20, "reference": "true"},
        parts=parts,
        provenance={"seed": -3, "sources": {"ä.npz": "00"}},
    )


# A fixed-length text cannot end with NUL, and no file name or class contains it.
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@st.composite
def small_splits(draw: Callable[..., Any]) -> Split:
    classes = draw(st.integers(1, 4))
    sizes = {"train": draw(st.integers(1, 5)), "test": draw(st.integers(1, 4))}
    if draw(st.booleans()):
        sizes = {"train": sizes["train"], "val": draw(st.integers(1, 3)), "test": sizes["test"]}
    total = sum(sizes.values())
    names = draw(st.lists(text, min_size=classes, max_size=classes, unique=True))
    ids = draw(st.lists(text, min_size=total, max_size=total, unique=True))
    with_paths = draw(st.booleans())
    shape = draw(st.sampled_from([None, (1, 3), (2, 2)]))
    kind = draw(st.sampled_from([np.float16, np.float32]))
    parts = {}
    for part, rows in sizes.items():
        true = draw(hnp.arrays(np.int8, (rows, classes), elements=st.sampled_from([-1, 0, 1])))
        hidden = draw(hnp.arrays(bool, (rows, classes)))
        mine, ids = ids[:rows], ids[rows:]
        features = None
        if shape is not None:
            features = draw(hnp.arrays(kind, (rows, *shape), elements=st.floats(-4, 4, width=16)))
        parts[part] = Part(
            ids=np.array(mine),
            paths=np.array([f"é/{i}.jpg" for i in range(rows)]) if with_paths else None,
            true=true,
            observed=None if part == "test" else np.where(hidden, np.int8(-1), true),
            features=features,
        )
    return counted(parts, tuple(names), "pal:0.5")


@given(small_splits())
@settings(max_examples=60, deadline=None)
def test_a_split_is_read_as_it_was_written(split: Split) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, again = Path(folder) / "a.h5", Path(folder) / "b.h5"
        fingerprints = write(split, path)
        got = read(path)
        assert_same_split(split, got)
        assert (
            fingerprints == split.fingerprints() == got.fingerprints() == stored_fingerprints(path)
        )
        assert verify(path) == []
        bare = read(path, features=False)
        assert all(part.features is None for part in bare.parts.values())
        assert_same_split(bare, split, features=False)
        write(got, again)
        assert path.read_bytes() == again.read_bytes()
        assert sorted(p.name for p in Path(folder).iterdir()) == ["a.h5", "b.h5"]


@pytest.fixture
def split(make_toy: ToyMaker) -> Split:
    options = dataclasses.replace(SMALL, regime=Regime("ppl", 0.5), val_fraction=0.2)
    return make_toy(options, views=2)


@pytest.fixture
def path(split: Split, tmp_path: Path) -> Path:
    write(split, tmp_path / "split.h5")
    return tmp_path / "split.h5"


def test_an_interrupt_inside_a_write_is_raised_when_the_file_is_closed(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    writes, left = 0, -2  # so far, and before the interrupt

    def view(data: Any) -> memoryview:
        nonlocal writes, left
        writes, left = writes + 1, left - 1
        if left == -1:
            raise KeyboardInterrupt
        return memoryview(data)

    monkeypatch.setattr(split_file, "memoryview", view, raising=False)
    write(split, tmp_path / "a.h5")
    content = (tmp_path / "a.h5").read_bytes()
    for number in range(writes):
        left = number
        with pytest.raises(KeyboardInterrupt):
            write(split, tmp_path / "a.h5")
    assert (tmp_path / "a.h5").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]
    assert capfd.readouterr().err == ""


# ----------------------------------------------------------------------------- identity


def changed(split: Split, part: str, **fields: Any) -> Split:
    parts = {**split.parts, part: dataclasses.replace(split.parts[part], **fields)}
    return dataclasses.replace(split, parts=parts)


def test_the_fingerprint_leaves_out_name_provenance_and_paths(split: Split) -> None:
    fingerprints = split.fingerprints()
    assert (
        fingerprints["both"]
        == hashlib.sha256(
            f"{fingerprints['labels']}:{fingerprints['features']}".encode()
        ).hexdigest()
    )
    same = dataclasses.replace(split, name="other", provenance={"seed": 99})
    assert same.fingerprints() == fingerprints
    paths = np.array([f"{i}.jpg" for i in range(len(split.parts["train"].ids))])
    assert changed(split, "train", paths=paths).fingerprints() == fingerprints


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_every_label_bit_and_id_is_in_the_identity(split: Split, part: str) -> None:
    fingerprints, seen = split.fingerprints(), set()
    mine = split.parts[part]
    for field in ("true", "observed"):
        matrix = getattr(mine, field)
        if matrix is None:
            continue
        for place in [(0, 0), (len(matrix) - 1, 4), (1, 2)]:
            for value in {-1, 0, 1} - {int(matrix[place])}:
                flipped = matrix.copy()
                flipped[place] = value
                seen.add(changed(split, part, **{field: flipped}).fingerprints()["labels"])
    ids = mine.ids.copy()
    ids[0] = "image_x"
    seen.add(changed(split, part, ids=ids).fingerprints()["labels"])
    seen.add(changed(split, part, ids=mine.ids[::-1]).fingerprints()["labels"])
    assert len(seen) == (6 if part == "test" else 12) + 2
    assert fingerprints["labels"] not in seen


def test_names_recipe_and_thresholds_are_in_the_identity(split: Split) -> None:
    labels = split.recipe["labels"]
    others = [
        dataclasses.replace(split, class_names=("class_x", *split.class_names[1:])),
        dataclasses.replace(split, recipe={**split.recipe, "labels": {**labels, "x": 1}}),
        dataclasses.replace(split, thresholds={**split.thresholds, "few": 6}),
        dataclasses.replace(split, shot=split.shot[::-1].copy()),
        dataclasses.replace(split, train_count=split.train_count + 1),
    ]
    fingerprints = [s.fingerprints() for s in [split, *others]]
    assert len({p["labels"] for p in fingerprints}) == len({p["both"] for p in fingerprints}) == 6
    assert len({p["features"] for p in fingerprints}) == 1


def test_features_have_a_fingerprint_of_their_own(split: Split) -> None:
    features = split.parts["val"].features
    assert features is not None
    touched = features.copy()
    touched[0, 1, 2] = np.nextafter(touched[0, 1, 2], np.float32(9))
    others = [
        changed(split, "val", features=touched),
        changed(split, "val", features=features.astype(np.float16)),
        dataclasses.replace(split, recipe={**split.recipe, "features": {"kind": "backbone"}}),
    ]
    fingerprints = [s.fingerprints() for s in [split, *others]]
    assert len({p["features"] for p in fingerprints}) == len({p["both"] for p in fingerprints}) == 4
    assert len({p["labels"] for p in fingerprints}) == 1


def test_the_fingerprint_is_one_of_logical_little_endian_values(split: Split) -> None:
    train = split.parts["train"]
    assert train.features is not None
    big = train.features.astype(">f4")
    turned = np.asfortranarray(train.true)
    other = changed(split, "train", features=big, true=turned)
    assert other.fingerprints() == split.fingerprints()


def test_a_known_fingerprint() -> None:
    part = Part(np.array(["a"]), None, np.array([[1]], np.int8), np.array([[1]], np.int8), None)
    test = dataclasses.replace(part, ids=np.array(["b"]), observed=None)
    split = counted({"train": part, "test": test}, ("c",), "full")

    def head(name: str, kind: str, shape: str, data: bytes) -> bytes:
        return f'["{name}","{kind}",[{shape}]]'.encode() + b"\0" + data

    one = (1).to_bytes(8, "little")
    labels = hashlib.sha256(
        head("classes/name", "|S1", "1", b"c")
        + head("classes/train_count", "<i8", "1", one)
        + head("classes/observed_count", "<i8", "1", one)
        + head("classes/shot", "|u1", "1", b"\2")
        + head("train/id", "|S1", "1", b"a")
        + head("train/true", "|i1", "1,1", b"\1")
        + head("train/observed", "|i1", "1,1", b"\1")
        + head("test/id", "|S1", "1", b"b")
        + head("test/true", "|i1", "1,1", b"\1")
        + b'{"regime":"full","source":"\\u015d"}\0'
        + b'{"few":20,"many":100,"reference":"true"}\0'
    ).hexdigest()
    features = hashlib.sha256(b'{"kind":"raw"}\0').hexdigest()
    assert split.fingerprints()["labels"] == labels
    assert split.fingerprints()["features"] == features


REBUILD = """
import json, runpy, sys
from pathlib import Path
from benchkit.split import file as split_file
toy = runpy.run_path(sys.argv[1])
from benchkit.split.options import Options
from splits.regimes import Regime
options = Options(many=10, few=5, regime=Regime("ppl", 0.5), val_fraction=0.2)
fingerprints = split_file.write(toy["toy_split"](options, views=2), Path(sys.argv[2]))
print(json.dumps(fingerprints))
"""


def test_another_process_makes_the_same_bytes(split: Split, path: Path, tmp_path: Path) -> None:
    words = [str(Path(__file__).parents[1] / "conftest.py"), str(tmp_path / "again.h5")]
    done = subprocess.run(
        [sys.executable, "-c", REBUILD, *words], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == split.fingerprints()
    assert (tmp_path / "again.h5").read_bytes() == path.read_bytes()


@given(st.lists(text | st.just(""), min_size=1, max_size=6), st.sampled_from(["", ">U40", "U99"]))
@settings(max_examples=60, deadline=None)
def test_texts_are_encoded_and_decoded_as_one_by_one(texts: list[str], kind: str) -> None:
    array = np.array(texts, kind or None)
    encoded = encode(array)
    longest = max(len(text.encode()) for text in array.tolist()) or 1
    assert encoded.dtype == f"S{longest}"
    assert encoded.tolist() == [text.encode() for text in array.tolist()]
    for width in (longest, longest + 9):
        decoded = decode(encoded.astype(f"S{width}"))
        assert decoded.dtype == np.char.decode(encoded, "utf-8").dtype
        assert decoded.tolist() == array.tolist()


@pytest.mark.parametrize("repeats", [[], [(3, 700)], [(0, 999), (5, 6)]])
def test_repeated_ids_are_detected(repeats: list[tuple[int, int]]) -> None:
    ids = np.array([f"image_{row:0{row % 9}d}" for row in range(1000)])
    for one, two in repeats:
        ids[one] = ids[two]
    assert has_repeats(ids) == bool(repeats)
    assert not has_repeats(ids[:1])


def test_texts_are_fixed_length_utf8() -> None:
    assert encode(["a", "é", ""]).tolist() == [b"a", "é".encode(), b""]
    assert encode(["a", "é"]).dtype == "S2"
    assert encode([]).dtype == encode([""]).dtype == "S1"


# ----------------------------------------------------------------------------- damaged files


def test_files_that_are_not_split_files(tmp_path: Path) -> None:
    with pytest.raises(BenchkitError, match=r"a\.h5 does not exist; `benchkit make-split`"):
        read(tmp_path / "a.h5")
    with pytest.raises(BenchkitError, match="is a folder, not a split file; give the path"):
        read(tmp_path)
    (tmp_path / "a.h5").write_text("id,label\n1,2\n" * 1000)
    with pytest.raises(BenchkitError, match=r"a\.h5 is not a split file: it is not HDF5"):
        read(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["x"] = [1]
    for reader in (read, verify, stored_fingerprints):
        with pytest.raises(BenchkitError, match=r"b\.h5 has no 'complete' attribute"):
            reader(tmp_path / "b.h5")


def test_a_file_truncated_anywhere_is_an_error(path: Path) -> None:
    whole = path.read_bytes()
    for size in [0, 1, 7, 8, 100, 512, *range(1000, len(whole), 997), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(BenchkitError, match=r"truncated|not HDF5|damaged|complete"):
            read(path)
    path.write_bytes(whole[:-1])
    with pytest.raises(BenchkitError, match="is a truncated HDF5 file; make the split again"):
        read(path)


def test_zeros_in_place_of_data_are_detected(path: Path, split: Split) -> None:
    whole = path.read_bytes()
    path.write_bytes(bytes(len(whole)))
    with pytest.raises(BenchkitError, match="it is not HDF5"):
        read(path)
    features = split.parts["train"].features
    assert features is not None
    start = whole.index(features.tobytes())
    for begin, end in ((start, start + features.nbytes), (start + 8, start + 12)):
        path.write_bytes(whole[:begin] + bytes(end - begin) + whole[end:])
        assert len(verify(path)) == 2  # the fingerprint of the features, and the whole one
        assert "fingerprint of the features" in verify(path)[0]


Edit = Callable[[h5py.File], None]


def edited(path: Path, edit: Edit) -> Path:
    with h5py.File(path, "r+") as file:
        edit(file)
    return path


def replaced(name: str, value: Any) -> Edit:
    def edit(file: h5py.File) -> None:
        del file[name]
        if value is not None:
            file[name] = value

    return edit


def attribute(name: str, value: Any, group: str = "/") -> Edit:
    def edit(file: h5py.File) -> None:
        del file[group].attrs[name]
        if value is not None:
            file[group].attrs[name] = value

    return edit


RECIPE = {"labels": {"regime": "full"}, "features": {}}
DAMAGE: dict[str, tuple[Edit, str]] = {
    "no complete": (attribute("complete", None), "has no 'complete' attribute"),
    "complete is 0": (attribute("complete", np.uint8(0)), "has no 'complete' attribute"),
    "other format": (attribute("format", np.bytes_(b"2")), "has format 2; this version reads f"),
    "no format": (attribute("format", None), "damaged: it has no 'format'"),
    "format not text": (attribute("format", np.bytes_(b"\xff")), "damaged"),
    "no recipe": (attribute("recipe", None), "damaged"),
    "recipe not JSON": (attribute("recipe", np.bytes_(b"{")), "damaged"),
    "recipe a list": (attribute("recipe", np.bytes_(b"[1]")), "damaged"),
    "recipe of no regime": (
        attribute("recipe", np.bytes_(b'{"labels":{}}')),
        "the recipe has no text 'regime'",
    ),
    "recipe of no features": (
        attribute("recipe", np.bytes_(json.dumps({"labels": RECIPE["labels"]}).encode())),
        "the recipe has no object 'features'",
    ),
    "no thresholds": (attribute("thresholds", None, "classes"), "damaged"),
    "half thresholds": (attribute("thresholds", np.bytes_(b"{}"), "classes"), "damaged"),
    "no provenance": (replaced("provenance", None), "damaged"),
    "no train": (replaced("train", None), "has no group 'train'; make the split again"),
    "no test": (replaced("test", None), "has no group 'test'; make the split again"),
    "train an array": (replaced("train", [1]), "damaged"),
    "no ids": (replaced("train/id", None), "damaged"),
    "ids numbers": (replaced("train/id", [1, 2]), "damaged"),
    "ids not UTF-8": (replaced("train/id", np.array([b"\xff"] * 32)), "damaged"),
    "ids too few": (replaced("train/id", np.array([b"a"])), r"train/true has shape \[32, 5\], not"),
    "ids a number": (replaced("train/id", np.bytes_(b"a")), "damaged"),
    "true a group": (
        lambda f: replaced("train/true", None)(f) or f.create_group("train/true"),
        "damaged",
    ),
    "true flat": (replaced("test/true", np.zeros(20, np.int8)), r"test/true has shape \[20\]"),
    "true wide": (replaced("test/true", np.zeros((20, 6), np.int8)), r"not \[20, 5\]"),
    "true of int64": (replaced("test/true", np.zeros((20, 5))), "test/true holds a label outside"),
    "label 2": (
        lambda f: f["train/true"].write_direct(np.full((32, 5), 2, np.int8)),
        r"train/true holds a label outside \{-1, 0, 1\}",
    ),
    "observed 2": (
        lambda f: f["val/observed"].write_direct(np.full((8, 5), -2, np.int8)),
        "val/observed holds a label outside",
    ),
    "no observed": (
        replaced("train/observed", None),
        "has no 'train/observed'; make the split",
    ),
    "no observed in val": (replaced("val/observed", None), "has no 'val/observed'"),
    "counts too many": (replaced("classes/train_count", np.ones(6, int)), r"shape \[6\], not \[5"),
    "shot too few": (replaced("classes/shot", np.ones(4, np.uint8)), r"classes/shot has shape"),
    "shot 64": (replaced("classes/shot", np.full(5, 64, np.uint8)), "other than 0, 1 and 2"),
    "no shot": (replaced("classes/shot", None), "damaged"),
    "features flat": (replaced("test/features", np.zeros((20, 4))), r"not \[20, V, D\]"),
    "features short": (replaced("test/features", np.zeros((19, 2, 4))), r"not \[20, V, D\]"),
    "features apart": (
        replaced("test/features", np.zeros((20, 2, 3), np.float32)),
        "differ in shape",
    ),
    "features missing": (replaced("val/features", None), "differ in shape"),
    "features integers": (
        replaced("val/features", np.zeros((8, 2, 4), int)),
        "val/features does not hold float16 or float32",
    ),
    "features a group": (
        lambda f: replaced("val/features", None)(f) or f.create_group("val/features"),
        "damaged",
    ),
    "path short": (lambda f: f.create_dataset("test/path", data=encode("abc")), "test/path has sh"),
}


@pytest.mark.parametrize("features", [True, False])
@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_a_sentence(path: Path, case: str, features: bool) -> None:
    edit, message = DAMAGE[case]
    edited(path, edit)
    with pytest.raises(BenchkitError, match=message) as caught:
        read(path, features=features)
    assert str(caught.value).startswith(str(path))
    with pytest.raises(BenchkitError, match=message):
        verify(path)


def test_a_file_without_fingerprints_is_damaged(path: Path) -> None:
    edited(path, attribute("fingerprint_labels", None))
    with pytest.raises(BenchkitError, match="damaged"):
        stored_fingerprints(path)


# ----------------------------------------------------------------------------- changed files


LABELS = ["train/true", "val/true", "test/true", "train/observed", "val/observed"]


def flip(name: str) -> Edit:
    def edit(file: h5py.File) -> None:
        file[name][3, 2] = 1 - abs(file[name][3, 2])

    return edit


@pytest.mark.parametrize("name", LABELS)
def test_a_flipped_label_is_refused(path: Path, name: str) -> None:
    edited(path, flip(name))
    for features in (True, False):
        with pytest.raises(BenchkitError, match="its labels do not match their fingerprint; make"):
            read(path, features=features)
    assert read(path, check=False).labels_fingerprint() != stored_fingerprints(path)["labels"]


def test_changed_names_counts_and_recipes_are_refused(path: Path) -> None:
    def other(old: bytes) -> bytes:
        return old[:-1] + b"x"

    content = path.read_bytes()
    edits: list[Edit] = [
        lambda f: f["train/id"].__setitem__(0, other(f["train/id"][0])),
        lambda f: f["classes/name"].__setitem__(1, other(f["classes/name"][1])),
        lambda f: f["classes/train_count"].__setitem__(1, 7),
        lambda f: f["classes/shot"].__setitem__(1, 2 - f["classes/shot"][1] // 2),
        lambda f: f["classes"].attrs.__setitem__(
            "thresholds", np.bytes_(b'{"few":5,"many":11,"reference":"true"}')
        ),
        lambda f: f.attrs.__setitem__(
            "recipe", np.bytes_(f.attrs["recipe"].replace(b"ppl:0.5", b"ppl:0.6"))
        ),
    ]
    for edit in edits:
        edited(path, edit)
        with pytest.raises(BenchkitError, match="its labels do not match their fingerprint"):
            read(path)
        path.write_bytes(content)
    for kind in ("", "_features"):
        edited(path, attribute(f"fingerprint{kind}", np.bytes_(b"0" * 64)))
        with pytest.raises(BenchkitError, match="its three fingerprints do not match each other"):
            read(path)
        path.write_bytes(content)


def texts(name: str, old: bytes, new: bytes, group: str = "/") -> Edit:
    def edit(file: h5py.File) -> None:
        content = file[group].attrs[name]
        assert old in content
        file[group].attrs[name] = np.bytes_(content.replace(old, new))

    return edit


METADATA: dict[str, Edit] = {
    "the name": texts("name", b"toy", b"toz"),
    "the recipe of the features": texts("recipe", b'"kind":"raw"', b'"kind":"war"'),
    "another key of the recipe": texts("recipe", b'{"features"', b'{"a":1,"features"'),
    "a seed": texts("json", b'"seed":0', b'"seed":1', "provenance"),
    "a key of the provenance": texts("json", b'"seed"', b'"sead"', "provenance"),
    "a path": lambda file: file["val/path"].__setitem__(3, b"3.jpe"),
    "paths removed": replaced("test/path", None),
    "paths added": lambda f: f.create_dataset("train/path", data=encode([*map(str, range(32))])),
    "the digest": attribute("metadata_digest", np.bytes_(b"0" * 64)),
}


@pytest.mark.parametrize("case", METADATA)
def test_changed_metadata_are_refused(split: Split, path: Path, case: str) -> None:
    for part in ("val", "test"):
        names = np.array([f"{row}.jpg" for row in range(len(split.parts[part].ids))])
        split = changed(split, part, paths=names)
    write(split, path)
    assert verify(path) == []
    edited(path, METADATA[case])
    problem = "its name, recipe, thresholds, paths or provenance do not match their digest"
    for features in (True, False):
        with pytest.raises(BenchkitError, match=rf"after it was written: {problem}; m") as caught:
            read(path, features=features)
        assert str(caught.value).startswith(str(path))
    assert problem in verify(path)
    assert read(path, check=False).class_names == split.class_names


def test_a_known_metadata_digest(path: Path, split: Split) -> None:
    names = np.array([f"{row}.jpg" for row in range(32)])
    write(changed(split, "train", paths=names), path)
    head = b'["train/path","|S6",[32]]\0' + b"".join(b"%d.jpg\0" % row for row in range(10))
    document = {
        "format": 1,
        "name": split.name,
        "recipe": split.recipe,
        "thresholds": split.thresholds,
        "provenance": split.provenance,
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\0"
    content = head + b"".join(b"%d.jpg" % row for row in range(10, 32)) + text
    with h5py.File(path) as file:
        assert file.attrs["metadata_digest"] == hashlib.sha256(content).hexdigest().encode()


def test_files_of_earlier_versions_have_no_metadata_digest(path: Path, split: Split) -> None:
    edited(path, attribute("metadata_digest", None))
    assert verify(path) == []
    assert_same_split(read(path), split)


def test_changed_features_are_left_to_verify(path: Path) -> None:
    edited(path, lambda file: file["test/features"].__setitem__((3, 1, 0), 9.0))
    features = read(path).test.features
    assert features is not None
    assert features[3, 1, 0] == 9.0
    assert "fingerprint of the features" in verify(path)[0]


# ----------------------------------------------------------------------------- verify


@pytest.mark.parametrize("name", LABELS[:4])
def test_verify_detects_a_flipped_label(path: Path, name: str) -> None:
    found = verify(edited(path, flip(name)))
    assert any(problem.startswith("the fingerprint of the labels is") for problem in found)
    assert any(problem.startswith("the fingerprint is") for problem in found)


def rewritten(path: Path, edit: Edit) -> list[str]:
    """The problems of a file whose fingerprints were recomputed after the edit."""
    edited(path, edit)
    fingerprints = read(path, check=False).fingerprints()

    def stamp(file: h5py.File) -> None:
        for kind, tail in {"labels": "_labels", "features": "_features", "both": ""}.items():
            file.attrs[f"fingerprint{tail}"] = np.bytes_(fingerprints[kind].encode())

    edited(path, stamp)
    return verify(path)


def test_verify_checks_names_counts_and_features(path: Path, split: Split) -> None:
    def edit(file: h5py.File) -> None:
        names = file["classes/name"][()]
        names[1] = names[0]
        file["classes/name"][...] = names
        ids = file["train/id"][()]
        ids[4] = file["test/id"][0]
        file["train/id"][...] = ids
        file["classes/train_count"][0] = 0
        file["classes/observed_count"][1] = 0
        file["classes/shot"][3] = 0
        file["val/features"][2, 1, 0] = np.nan

    assert rewritten(path, edit) == [
        "a class name occurs twice",
        "an image id occurs twice",
        "classes/train_count is not the number of true training positives",
        "classes/observed_count is not the number of observed training positives",
        "classes/shot does not follow from the counts and the thresholds",
        "val/features holds a value that is not finite",
    ]


def test_verify_uses_the_shot_reference_of_the_file(make_toy: ToyMaker) -> None:
    options = dataclasses.replace(SMALL, regime=Regime("spl"), shot_reference="observed")
    split = make_toy(options)
    other = make_toy(dataclasses.replace(SMALL, regime=Regime("spl")))
    assert not np.array_equal(split.shot, other.shot)
    with tempfile.TemporaryDirectory() as folder:
        write(split, Path(folder) / "a.h5")
        assert verify(Path(folder) / "a.h5") == []


TRUE = np.array([[1, 1, 0], [1, 0, 0], [0, 0, -1]], np.int8)
LEGAL = {
    "full": TRUE,
    "pal:0.5": [[-1, 1, 0], [-1, -1, 0], [-1, 0, -1]],
    "ppl:0.5": [[-1, 1, -1], [1, -1, -1], [-1, -1, -1]],
    "spl": [[-1, 1, -1], [1, -1, -1], [-1, -1, -1]],
    "missing:0.4": [[1, 1, -1], [1, -1, -1], [-1, -1, -1]],
    "candidates:0.3": [[1, 1, 1], [1, 0, 1], [0, 0, -1]],
}
BROKEN: list[tuple[str, tuple[int, int], int, str]] = [
    ("full", (0, 0), -1, "the regime is full and a label is hidden"),
    ("full", (1, 1), 1, "an observed label differs from the true one"),
    ("pal:0.5", (0, 2), 1, "an observed label differs from the true one"),
    ("pal:0.5", (2, 2), 1, "an observed label differs from the true one"),
    ("ppl:0.5", (0, 2), 0, "a negative is observed, which ppl must not reveal"),
    ("ppl:0.5", (1, 0), -1, "an image with positives has none observed"),
    ("spl", (0, 0), 1, "an image has more than one observed positive"),
    ("spl", (2, 0), 0, "a negative is observed, which spl must not reveal"),
    ("missing:0.4", (1, 0), -1, "an image with positives has none observed"),
    ("missing:0.4", (1, 2), 0, "a negative is observed, which missing must not reveal"),
    ("missing:0.4", (2, 0), 1, "an observed label differs from the true one"),
    ("candidates:0.3", (0, 1), 0, "a true positive is not a candidate"),
    ("candidates:0.3", (1, 1), -1, "a label is unknown in one matrix and known in the other"),
    ("candidates:0.3", (2, 2), 1, "a label is unknown in one matrix and known in the other"),
]


def of_regime(regime: str) -> Split:
    observed = np.array(LEGAL[regime], np.int8)
    train = Part(np.array(["a", "b", "c"]), None, TRUE, observed, None)
    val = dataclasses.replace(train, ids=np.array(["d", "e", "f"]))
    test = dataclasses.replace(train, ids=np.array(["g", "h", "i"]), observed=None)
    return counted({"train": train, "val": val, "test": test}, ("x", "y", "z"), regime)


@pytest.mark.parametrize("regime", LEGAL)
def test_verify_accepts_labels_that_a_regime_allows(tmp_path: Path, regime: str) -> None:
    write(of_regime(regime), tmp_path / "a.h5")
    assert verify(tmp_path / "a.h5") == []


@pytest.mark.parametrize("part", ["train", "val"])
@pytest.mark.parametrize(("regime", "place", "value", "problem"), BROKEN)
def test_verify_detects_labels_that_a_regime_forbids(
    tmp_path: Path, regime: str, place: tuple[int, int], value: int, problem: str, part: str
) -> None:
    write(of_regime(regime), tmp_path / "a.h5")

    def edit(file: h5py.File) -> None:
        file[f"{part}/observed"][place] = value
        file["classes/observed_count"][...] = (file["train/observed"][()] == 1).sum(0)

    assert f"{part}: {problem}" in rewritten(tmp_path / "a.h5", edit)
    with pytest.raises(BenchkitError, match=r"a\.h5 is damaged: (train|val): .*; make the split"):
        read(tmp_path / "a.h5")
