"""HDF5 files that are damaged or made to harm: nothing outside the file is read."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_splits import assert_same_split

from benchkit.base.errors import BenchkitError
from benchkit.split import hdf5
from benchkit.split.build import build
from benchkit.split.features import source_features
from benchkit.split.file import read, stored_fingerprints, verify, write
from benchkit.split.model import Split
from benchkit.split.options import Options
from splits.labels import SparseLabels
from splits.regimes import Regime

Edit = Callable[[h5py.File], Any]
SECRET = b"root:x:0:0:secret" * 8
OPTIONS = Options(many=10, few=5, regime=Regime("pal", 0.5), val_fraction=0.2)


@pytest.fixture
def path(make_toy: Callable[..., Split], tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(SECRET)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.zeros((20, 5), np.int8)
    write(make_toy(OPTIONS), tmp_path / "split.h5")
    return tmp_path / "split.h5"


def edited(path: Path, edit: Edit) -> Path:
    with h5py.File(path, "r+") as file:
        edit(file)
    return path


# ----------------------------------------------------------------------------- hostile objects


def external_storage(file: h5py.File) -> None:
    secret = Path(file.filename).parent / "secret"
    del file["test/true"]
    file.create_dataset("test/true", (20, 5), np.int8, external=[(str(secret), 0, 100)])


def external_link(file: h5py.File) -> None:
    del file["test/true"]
    file["test/true"] = h5py.ExternalLink(Path(file.filename).parent / "other.h5", "x")


def linked_group(file: h5py.File) -> None:
    del file["val"]
    file["val"] = h5py.ExternalLink(Path(file.filename).parent / "other.h5", "/")


def soft_link(file: h5py.File) -> None:
    del file["train/observed"]
    file["train/observed"] = h5py.SoftLink("/train/true")


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((20, 5), np.int8)
    layout[:] = h5py.VirtualSource(Path(file.filename).parent / "other.h5", "x", (20, 5))
    del file["test/true"]
    file.create_virtual_dataset("test/true", layout)


def references(file: h5py.File) -> None:
    del file["train/id"]
    file["train/id"] = np.array([file["train/true"].ref] * 32, h5py.ref_dtype)


def regions(file: h5py.File) -> None:
    region = file["train/true"].regionref[0]
    file.create_dataset("train/path", data=np.array([region] * 32, h5py.regionref_dtype))


def huge(file: h5py.File) -> None:
    del file["train/features"]
    file.create_dataset("train/features", (1 << 40, 1, 4), "f4", chunks=(1024, 1, 4))


def compound(file: h5py.File) -> None:
    del file["classes/shot"]
    file["classes/shot"] = np.zeros(5, [("a", "i4"), ("b", "f4")])


def variable_text(file: h5py.File) -> None:
    del file["classes/name"]
    file.create_dataset("classes/name", data=["a"] * 5, dtype=h5py.string_dtype())


def unknown_filter(file: h5py.File) -> None:
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((5,))
    properties.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, ())
    space = h5py.h5s.create_simple((5,))
    del file["classes/shot"]
    h5py.h5d.create(file["classes"].id, b"shot", h5py.h5t.NATIVE_UINT8, space, properties)


def named_type(file: h5py.File) -> None:
    file["test/path"] = np.dtype("f4")


def empty_space(file: h5py.File) -> None:
    del file["classes/shot"]
    file["classes/shot"] = h5py.Empty("u1")


def nested(file: h5py.File) -> None:
    file.create_group("a/b/c/d/e")


def cycle(file: h5py.File) -> None:
    file["train/up"] = file["/"]


def long_attribute(file: h5py.File) -> None:
    del file.attrs["name"]
    file.attrs.create("name", np.bytes_(b"n" * 70_000))


def text_array_attribute(file: h5py.File) -> None:
    file.attrs["name"] = np.array([b"a", b"b"])


HOSTILE: dict[str, tuple[Edit, str]] = {
    "external storage": (external_storage, "'test/true' is stored in another file; the file must"),
    "external link": (external_link, "'test/true' is an external link; links are not followed"),
    "linked group": (linked_group, "'val' is an external link"),
    "soft link": (soft_link, "'train/observed' is a soft link"),
    "virtual": (virtual, "'test/true' is a virtual dataset"),
    "references": (references, "'train/id' holds neither numbers nor text"),
    "regions": (regions, "'train/path' holds neither numbers nor text"),
    "huge": (huge, "its arrays declare 16384.0 GiB, more than the .* KiB that are stored"),
    "compound": (compound, "'classes/shot' holds neither numbers nor text"),
    "variable text": (variable_text, "'classes/name' holds neither numbers nor text"),
    "filter": (unknown_filter, "'classes/shot' needs the HDF5 filter 32015, which is not avail"),
    "named type": (named_type, "'test/path' is a named type"),
    "empty space": (empty_space, "'classes/shot' holds neither numbers nor text"),
    "nested": (nested, "'a/b/c/d/e' is one object too many"),
    "cycle": (cycle, "one object too many"),
    "text array": (text_array_attribute, "'name' is neither one number nor one text"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused_before_its_data_are_read(path: Path, case: str) -> None:
    edit, message = HOSTILE[case]
    edited(path, edit)
    for reader in (read, verify):
        with pytest.raises(BenchkitError, match=message) as caught:
            reader(path)
        assert str(caught.value).startswith(str(path))
        assert "secret" not in str(caught.value).removeprefix(str(path))


def test_an_attribute_beyond_the_limit_is_refused(path: Path, tmp_path: Path) -> None:
    with h5py.File(path) as old, h5py.File(tmp_path / "new.h5", "w", libver="latest") as new:
        for name in old:
            old.copy(name, new)
        for name, value in old.attrs.items():
            new.attrs[name] = value
        long_attribute(new)
    with pytest.raises(BenchkitError, match=r"'name' has 68\.4 KiB; at most 64\.0 KiB are"):
        read(tmp_path / "new.h5")


def test_fingerprints_that_are_not_texts_are_refused(path: Path) -> None:
    edited(path, lambda file: file.attrs.__setitem__("fingerprint", 3))
    with pytest.raises(BenchkitError, match="is damaged"):
        stored_fingerprints(path)


OTHER = ["external storage", "external link", "soft link", "virtual", "references", "huge"]


@pytest.mark.parametrize("case", OTHER)
def test_arrays_of_any_file_are_read_as_carefully(path: Path, case: str) -> None:
    edited(path, HOSTILE[case][0])
    names = ["test/true", "train/observed", "train/id", "train/features"]
    message = "take|declare" if case == "huge" else HOSTILE[case][1].split(";")[0]
    with pytest.raises(BenchkitError, match=message):
        hdf5.read_arrays(path, names)


def test_compressed_arrays_and_texts_of_any_file_are_read(tmp_path: Path) -> None:
    values = np.arange(4000.0).reshape(1000, 4)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("X", data=values, compression="gzip", shuffle=True)
        file.create_dataset("zeros", data=np.zeros((1000, 1000), np.int8), compression="gzip")
        file["names"] = np.array(["é", "b"], h5py.string_dtype())
        group = file.create_group("S")
        group["jc"] = [0, 1]
        group.attrs["MATLAB_sparse"] = np.uint64(2)
        group.attrs["MATLAB_class"] = np.bytes_(b"double")
    arrays = hdf5.read_arrays(tmp_path / "a.h5", ["X", "zeros", "names", "S", "absent"])
    np.testing.assert_array_equal(arrays["X"], values)
    assert not arrays["zeros"].any()
    assert arrays["names"].tolist() == ["é", "b"]
    assert {name for name in arrays if name.startswith("S")} == {
        "S/jc",
        "S@MATLAB_sparse",
        "S@MATLAB_class",
    }
    assert int(arrays["S@MATLAB_sparse"]) == 2


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.h5")
    for reader in (read, verify, lambda path: hdf5.read_arrays(path, ["x"])):
        with pytest.raises(BenchkitError, match=r"pipe\.h5 is a named pipe; it must be a regular"):
            reader(tmp_path / "pipe.h5")


# ----------------------------------------------------------------------------- JSON


def texts(name: str, value: str, group: str = "/") -> Edit:
    return lambda file: file[group].attrs.__setitem__(name, np.bytes_(value.encode()))


RECIPE = '{"labels":{"regime":"pal:0.5"%s},"features":{}%s}'
JSON: dict[str, tuple[Edit, str]] = {
    "deep recipe": (texts("recipe", '{"labels":' * 3000), "the recipe is not valid JSON"),
    "deep object": (
        texts("recipe", RECIPE % ("", ',"x":' + '{"y":' * 40 + "1" + "}" * 40)),
        "the recipe is nested in more than 32 levels",
    ),
    "NaN in the recipe": (texts("recipe", RECIPE % ("", ',"x":NaN')), "recipe is not valid JSON"),
    "overlong number": (texts("recipe", RECIPE % ("", ',"x":' + "9" * 9000)), "not valid JSON"),
    "infinite number": (texts("recipe", RECIPE % ("", ',"x":1e999')), "not valid JSON"),
    "no such regime": (texts("recipe", RECIPE.replace("pal", "pla") % ("", "")), "does not exist"),
    "regime a number": (texts("recipe", '{"labels":{"regime":3},"features":{}}'), "no text 'regi"),
    "options a list": (
        texts("recipe", RECIPE % (',"regime_options":[1]', "")),
        "wrong options of the regime",
    ),
    "thresholds NaN": (
        texts("thresholds", '{"many":NaN,"few":5,"reference":"true"}', "classes"),
        "the text of the thresholds is not valid JSON",
    ),
    "thresholds a text": (
        texts("thresholds", '{"many":"9","few":5,"reference":"true"}', "classes"),
        "'few' and 'many' are not integers with 0 < few < many",
    ),
    "thresholds huge": (
        texts("thresholds", '{"many":1%s,"few":5,"reference":"true"}' % ("0" * 400), "classes"),
        "'few' and 'many' are not integers",
    ),
    "other reference": (
        texts("thresholds", '{"many":9,"few":5,"reference":[]}', "classes"),
        "the shot reference is neither 'true' nor 'observed'",
    ),
    "provenance a list": (texts("json", "[1]", "provenance"), "provenance is not a JSON object"),
    "provenance null": (texts("json", "null", "provenance"), "provenance is not a JSON object"),
    "sources a list": (texts("json", '{"sources":[]}', "provenance"), "'sources' in the proven"),
    "options of the source": (
        texts("json", '{"source_options":"x"}', "provenance"),
        "'source_options' in the provenance is not a JSON object",
    ),
}


@pytest.mark.parametrize("case", JSON)
def test_json_texts_are_checked(path: Path, case: str) -> None:
    edit, message = JSON[case]
    edited(path, edit)
    with pytest.raises(BenchkitError, match=rf"is damaged: .*{message}.*; make the split again"):
        read(path)


def test_a_provenance_needs_no_seed(path: Path) -> None:
    write(dataclasses.replace(read(path), provenance={"\ud800": "\udc80"}), path)
    assert read(path).provenance == {"\ud800": "\udc80"}


# ----------------------------------------------------------------------------- damaged bytes


@pytest.fixture(scope="module")
def files(
    make_toy: Callable[..., Split],
    make_source: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> list[tuple[Path, bytes, Split]]:
    """A dense and a sparse split file: a path to write to, the bytes, the split."""
    source = make_source(images=30, classes=3)
    sparse = dataclasses.replace(source, labels=SparseLabels.from_dense(source.labels, 0))
    splits = [
        make_toy(OPTIONS, images=30, classes=3),
        build(sparse, OPTIONS, source_features(sparse), "toy"),
    ]
    made = []
    for number, split in enumerate(splits):
        path = tmp_path_factory.mktemp("bytes") / f"{number}.h5"
        write(split, path)
        made.append((path, path.read_bytes(), split))
    return made


edits = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),  # the position, as a fraction of the file
        st.sampled_from(["flip", "cut", "insert", "zero"]),
        st.integers(0, 7),
    ),
    min_size=1,
    max_size=4,
)


def damaged(content: bytes, changes: list[tuple[float, str, int]]) -> bytes:
    data = bytearray(content)
    for fraction, kind, number in changes:
        at = int(fraction * len(data))
        if kind == "flip":
            data[at] ^= 1 << number
        elif kind == "cut":
            del data[at : at + 8**number % 1000 + 1]
        elif kind == "insert":
            data[at:at] = b"\xff" * (number + 1)
        else:
            data[at : at + 8] = bytes(len(data[at : at + 8]))
    return bytes(data)


@given(st.integers(0, 1), edits)
@settings(max_examples=80, deadline=None)
def test_changed_bytes_are_refused_or_change_nothing(
    files: list[tuple[Path, bytes, Split]], number: int, changes: list[tuple[float, str, int]]
) -> None:
    path, content, split = files[number]
    path.write_bytes(damaged(content, changes))
    try:
        loaded = read(path)
    except BenchkitError:
        return
    # Only `verify` compares the features with their fingerprint.
    assert_same_split(loaded, split, features=verify(path) == [])
