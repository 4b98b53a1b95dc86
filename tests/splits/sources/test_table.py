"""CSV and Parquet are read by the same rules."""

import csv as plain
import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splits.errors import InputError
from splits.sources import csv, parquet

WIDE = "image,cat,dog,f1,f2,part\na.jpg,1,0,0.5,-2,train\nb.jpg,-1,,1e3,0,test\n"


def test_wide(put):
    path = put("wide.csv", WIDE)
    source = csv.load(path, features="f", split="part")
    assert source.labels.tolist() == [[1, 0], [-1, -1]]
    assert source.class_names == ("cat", "dog")
    assert source.image_ids.tolist() == ["a.jpg", "b.jpg"]
    assert source.features.tolist() == [[[0.5, -2]], [[1000, 0]]]
    assert source.features.dtype == np.float32
    assert source.part.tolist() == [0, 1]
    assert source.name == "wide"
    assert list(source.digests) == ["wide.csv"]


def test_wide_with_a_class_list_and_other_ids(put, tmp_path):
    path = put("wide.csv", "dog,junk,cat\n0,x,1\n1,y,0\n")
    classes = put("classes.txt", "cat\ndog\n")
    source = csv.load(path, id="none", classes=str(classes))
    assert source.labels.tolist() == [[1, 0], [0, 1]]
    assert source.image_ids.tolist() == ["0", "1"]
    (tmp_path / "images").mkdir()
    source = csv.load(path, id="junk", images=str(tmp_path / "images"))
    assert source.paths.tolist() == ["x", "y"]
    assert source.roots == (tmp_path / "images",)


def test_harmless_variants(put):
    text = (
        WIDE.replace("\n", "\r\n").replace("a.jpg", '"a,\r\n1.jpg"').replace(",1,0,", ",1.0,0.0,")
    )
    source = csv.load(put("wide.csv", "\ufeff" + text), features="f", split="part")
    assert source.labels.tolist() == [[1, 0], [-1, -1]]
    assert source.image_ids.tolist() == ["a,\r\n1.jpg", "b.jpg"]
    path = put("wide.tsv", "image\tcat\n\na\t1\n\n")
    assert csv.load(path, delimiter="tab").labels.tolist() == [[1]]


LONG = "image,label,value,part\na,dog,1,0\na,cat,0,0\nb,,,1\nc,cat,,1\n"


def test_long(put):
    path = put("long.csv", LONG)
    source = csv.load(path, layout="long", value="value", split="part")
    assert source.class_names == ("cat", "dog")
    assert source.labels.tolist() == [[0, 1], [0, 0], [-1, 0]]
    assert source.part.tolist() == [0, 1, 1]
    source = csv.load(path, layout="long", value="value", absent="unknown")
    assert source.labels.tolist() == [[0, 1], [-1, -1], [-1, -1]]
    classes = put("classes.txt", "dog\nowl\ncat\n")
    source = csv.load(path, layout="long", classes=str(classes))
    assert source.class_names == ("dog", "owl", "cat")
    assert source.labels.tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 1]]


def test_lists_as_in_the_chest_x_ray_table(put):
    text = "Image Index,Finding Labels,Age\n1.png,Mass|Edema,7\n2.png,No Finding,8\n3.png,Mass,9\n"
    source = csv.load(
        put("xray.csv", text), layout="lists", label="Finding Labels", no_label="No Finding"
    )
    assert source.class_names == ("Edema", "Mass")
    assert source.labels.tolist() == [[1, 1], [0, 0], [0, 1]]
    assert source.features is None


def test_spellings_of_labels(put):
    text = "image,cat,dog,owl\na,.0,1.,-1.0\nb,True,false,\nc,1e0,-0.0,TRUE\n"
    source = csv.load(put("t.csv", text))
    assert source.labels.tolist() == [[0, 1, -1], [1, 0, -1], [1, 0, 1]]


@pytest.mark.parametrize(("option", "separator"), [("space", " "), ("tab", "\t"), (";", ";")])
def test_separators_of_lists(option, separator, put):
    path = put("t.csv", f"image,label\na,mass{separator}edema\nb,mass\n")
    source = csv.load(path, layout="lists", separator=option)
    assert source.class_names == ("edema", "mass")
    assert source.labels.tolist() == [[1, 1], [0, 1]]


@pytest.mark.parametrize(
    ("content", "options", "place", "text"),
    [
        ("", {}, "t.csv:1", "no header"),
        ("image,cat\n", {}, "t.csv:1", "no row"),
        ("image\na\n", {}, "t.csv:1", "no label column"),
        ("image;cat\na;1\n", {}, "t.csv:1", "no label column; its columns are ['image;cat']"),
        ("image,cat,\na,1,\n", {}, "t.csv:1", "column 3 of the header has no name"),
        ("image,label\na,b\n", {"layout": "lists", "separator": ""}, "t.csv", "separator"),
        ("image,cat,cat\na,1,1\n", {}, "t.csv:1", "'cat' occurs twice"),
        ("image,cat\na,1\nb\n", {}, "t.csv:3", "has 1 columns, the header has 2"),
        ("image,cat\na,1,0\n", {}, "t.csv:2", "has 3 columns"),
        ("image,cat\na,1\nb,2\n", {}, "t.csv:3", "'cat' is '2'; a label must"),
        ("image,cat\na,1\n\na,0\n", {}, "t.csv:4", "'a' occurs twice, first in line 2"),
        ("image,cat\n,1\n", {}, "t.csv:2", "image id is empty"),
        ('image,cat\n"a,1\nb,0\n', {}, "t.csv:2", "truncated"),
        ("image,cat\na,1\n", {"id": "name"}, "t.csv:1", "no column 'name'"),
        ("image,cat\na,1\n", {"split": "part"}, "t.csv:1", "no column 'part'"),
        ("image,cat\na,1\n", {"features": "f"}, "t.csv:1", "no feature column begins with 'f'"),
        ("image,cat,f\na,1,x\n", {"features": "f"}, "t.csv:2", "'f' must be a number, not 'x'"),
        ("image,cat,p\na,1,dev\n", {"split": "p"}, "t.csv:2", "train, test or val, not 'dev'"),
        ("image,cat\na,1\n", {"layout": "long"}, "t.csv:1", "no column 'label'"),
        ("i,label\na,x\na,x\n", {"layout": "long"}, "t.csv:3", "'x' occurs twice for an image"),
        ("i,label\na,\n", {"layout": "long"}, "t.csv", "no row names a class"),
        ("i,label,p\na,x,0\na,y,1\n", {"layout": "long", "split": "p"}, "t.csv:3", "another part"),
        ("i,label\na,x\na,y\n", {"layout": "lists"}, "t.csv:3", "'a' occurs twice"),
        ("i,label\na,x|x\n", {"layout": "lists"}, "t.csv:2", "'x' occurs twice"),
        ("image,cat\na,1\n", {"delimiter": ";;"}, "delimiter", "one character or tab"),
        ("image,cat\na,1\n", {"images": "nowhere"}, "nowhere", "no such folder"),
        (b"image,cat\na,1\n\xff,1\n", {}, "t.csv:3", "not UTF-8"),
        ("image,cat\na\0,1\n", {}, "t.csv:2", "zero byte"),
    ],
)
def test_malformed(put, refused, content, options, place, text):
    path = put("t.csv", content)
    refused(place, text, lambda: csv.load(path, **options))


def test_unknown_classes(put, refused, tmp_path):
    classes = str(put("classes.txt", "cat\ndog\n"))
    for layout in ("long", "lists"):
        path = put("t.csv", "image,label\na,cat\nb,owl\n")
        refused(
            "t.csv:3", "'owl' is not in", lambda: csv.load(path, layout=layout, classes=classes)
        )
    path = put("t.csv", "image,cat\na,1\n")
    refused("t.csv:1", "no column 'dog'", lambda: csv.load(path, classes=classes))
    refused("none.csv", "no such file", lambda: csv.load(tmp_path / "none.csv"))


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6)
stripped = names.filter(lambda name: name.strip() == name != "none")


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_round_trip(tmp_path_factory, data):
    classes = data.draw(st.lists(stripped, min_size=2, max_size=5, unique=True))
    ids = data.draw(st.lists(stripped, min_size=1, max_size=6, unique=True))
    codes = st.lists(st.sampled_from([1, 0, -1]), min_size=len(classes), max_size=len(classes))
    labels = [data.draw(codes) for _ in ids]
    text = io.StringIO()
    writer = plain.writer(text)
    writer.writerow(["image id", *classes])
    writer.writerows([name, *row] for name, row in zip(ids, labels, strict=True))
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_bytes(text.getvalue().encode())
    if "image id" in classes:
        return
    source = csv.load(path)
    assert source.labels.tolist() == labels
    assert source.image_ids.tolist() == ids
    assert source.class_names == tuple(classes)


def test_112120_images(put):
    rows = [
        f"{i}.png,{'|'.join(f'c{c}' for c in range(14) if i % (c + 2) == 0)}\n"
        for i in range(112120)
    ]
    path = put("long.csv", "image,label\n" + "".join(rows))
    source = csv.load(path, layout="lists")
    assert source.labels.shape == (112120, 14)
    expected = {f"c{c}": len(range(0, 112120, c + 2)) for c in range(14)}
    assert dict(zip(source.class_names, source.labels.sum(0).tolist(), strict=True)) == expected


# ----------------------------------------------------------------------------- Parquet


def test_parquet_needs_pyarrow(put, refused, monkeypatch, tmp_path):
    def absent(path):
        raise ImportError("no pyarrow")

    monkeypatch.setattr(pd, "read_parquet", absent)
    path = put("t.parquet", "PAR1")
    refused("t.parquet", "pip install pyarrow", lambda: parquet.load(path))
    refused("none.parquet", "no such file", lambda: parquet.load(tmp_path / "none.parquet"))


def test_parquet_is_read_like_csv(put, monkeypatch):
    frame = pd.DataFrame(
        {"image": ["a", "b"], "cat": [1.0, np.nan], "dog": [True, False], "f0": [0.25, 2]}
    )
    monkeypatch.setattr(pd, "read_parquet", lambda path: frame)
    source = parquet.load(put("t.parquet", "PAR1"), features="f")
    assert source.labels.tolist() == [[1, 1], [-1, 0]]
    assert source.features.tolist() == [[[0.25]], [[2]]]


def test_parquet_indexes_types_and_lists(put, monkeypatch):
    path = put("t.parquet", "PAR1")

    def load(frame, **options):
        monkeypatch.setattr(pd, "read_parquet", lambda path: frame)
        return parquet.load(path, **options)

    labels = {"cat": [True, False], "dog": pd.array([None, True], dtype="boolean")}
    for index in (pd.Index(["a", "b"], name="image"), pd.Index(["a", "b"])):
        source = load(pd.DataFrame(labels, index=index))
        assert source.image_ids.tolist() == ["a", "b"]
        assert source.class_names == ("cat", "dog")
        assert source.labels.tolist() == [[1, -1], [0, 1]]
    # An unnamed index of numbers is the row number of another frame.
    source = load(pd.DataFrame({"image": [b"a", b"\xff"], **labels}, index=[7, 3]))
    assert source.image_ids.tolist() == ["a", "\\xff"]
    lists = [np.array(["Mass|Edema", "Mass"]), np.array([]), None]
    source = load(pd.DataFrame({"image": list("abc"), "label": lists}), layout="lists")
    assert source.class_names == ("Mass", "Mass|Edema")
    assert source.labels.tolist() == [[1, 1], [0, 0], [0, 0]]


def test_a_broken_parquet_file(put, refused, monkeypatch):
    def broken(path):
        raise ValueError("no\n  magic bytes")

    monkeypatch.setattr(pd, "read_parquet", broken)
    path = put("t.parquet", "PAR")
    refused("t.parquet", "this is not a Parquet file.", lambda: parquet.load(path))


def test_the_table_of_chest_x_ray_14(put):
    """Its header has commas inside brackets and at the end, which give odd and empty columns."""
    text = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,OriginalImage[Width,Height],\n"
        "00000001_000.png,Cardiomegaly|Emphysema,0,1,2682,2749,\n"
        "00000002_000.png,No Finding,0,2,2500,2048,\n"
        "00000003_000.png,Hernia,0,3,2500,2048,\n"
    )
    options = dict(layout="lists", label="Finding Labels", no_label="No Finding")
    source = csv.load(put("Data_Entry_2017.csv", text), **options)
    assert source.class_names == ("Cardiomegaly", "Emphysema", "Hernia")
    assert source.image_ids.tolist() == [f"0000000{i}_000.png" for i in (1, 2, 3)]
    assert source.labels.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    listed = put("test_list.txt", "00000003_000.png\r\n00000001_000.png")
    source = csv.load(source.path, **options, test_ids=str(listed))
    assert source.part.tolist() == [1, 0, 1]
    assert list(source.digests) == ["Data_Entry_2017.csv", "test_list.txt"]
    path = put("Data_Entry_2017.csv", text.replace(",Hernia", ",No Finding|Hernia"))
    with pytest.raises(InputError, match=r"2017.csv:4: 'No Finding' means no class, but"):
        csv.load(path, **options)


def test_malformed_lists_of_test_ids(put, refused, tmp_path):
    path, parts = put("t.csv", "id,cat\na,1\nb,0\n"), put("p.csv", "id,cat,part\na,1,train\n")

    def load(text, file=path, **options):
        return lambda: csv.load(file, **options, test_ids=str(put("test.txt", text)))

    refused("test.txt:2: image 'c' is not in", "t.csv.", load("a\nc\n"))
    refused("test.txt:3: test image 'a' occurs twice, first in line 1.", "", load("a\nb\na\n"))
    refused("test.txt: the file is empty", "it must list each test image.", load("\n"))
    refused(
        "p.csv: the column 'part' and test_ids both define the test part",
        "",
        load("a\n", parts, split="part"),
    )
    missing = str(tmp_path / "none.txt")
    refused("none.txt", "", lambda: csv.load(path, test_ids=missing))
