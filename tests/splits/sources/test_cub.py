import pytest

from splits.sources import cub

# The last column is seconds; like a few official lines, the third has additional columns.
LABELS = "1 1 1 4 2.5\n1 2 0 1 2.5\n2 1 0 3 0 1.1\n2 2 1 2 1.1\n"


@pytest.fixture
def root(put, tmp_path):
    put("CUB_200_2011/images.txt", "1 001.A/A_1.jpg\n2 002.B/B_2.jpg\n")
    put("CUB_200_2011/train_test_split.txt", "1 0\n2 1\n")
    put("attributes.txt", "1 has_bill_shape::curved_(up_or_down)\n2 has_wing_color::blue\n")
    put("CUB_200_2011/attributes/image_attribute_labels.txt", LABELS)
    return tmp_path


def test_labels(root):
    source = cub.load(root)
    assert source.labels.tolist() == [[1, 0], [0, 1]]
    assert source.class_names == ("has_bill_shape::curved_(up_or_down)", "has_wing_color::blue")
    assert source.image_ids.tolist() == ["1", "2"]
    assert source.part.tolist() == [1, 0]
    assert source.paths.tolist() == ["001.A/A_1.jpg", "002.B/B_2.jpg"]
    assert source.roots == ()
    assert len(source.digests) == 4


def test_both_places_of_the_attributes(root):
    (root / "CUB_200_2011" / "images").mkdir()
    inner = cub.load(root / "CUB_200_2011")
    assert inner.roots == (root / "CUB_200_2011" / "images",)
    (root / "attributes.txt").rename(root / "CUB_200_2011" / "attributes.txt")
    assert cub.load(root).class_names == inner.class_names


@pytest.mark.parametrize(
    ("least", "labels"),
    [(1, [[1, 0], [0, 1]]), (2, [[1, -1], [0, 1]]), (4, [[1, -1], [-1, -1]])],
)
def test_certainty(root, least, labels):
    assert cub.load(root, certainty=f"unknown-below={least}").labels.tolist() == labels


@pytest.mark.parametrize("certainty", ["unknown-below=5", "unknown-below=", "3", ""])
def test_wrong_certainty(root, refused, certainty):
    refused(
        "certainty",
        "ignore or unknown-below=N with N from 1 to 4",
        lambda: cub.load(root, certainty=certainty),
    )


def test_order_of_lines_crlf_bom_and_blank_ends(root, put):
    lines = LABELS.splitlines()
    text = "\ufeff" + "\r\n".join(reversed(lines)) + "\r\n\r\n"
    put("CUB_200_2011/attributes/image_attribute_labels.txt", text)
    put("CUB_200_2011/train_test_split.txt", "\ufeff2 1\r\n1 0\r\n")
    source = cub.load(root)
    assert source.labels.tolist() == [[1, 0], [0, 1]]
    assert source.part.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("file", "old", "new", "place", "text"),
    [
        ("attributes/image_attribute_labels", "2 2 1 2 1.1\n", "", "labels.txt:3", "3 of 4 lines"),
        ("attributes/image_attribute_labels", "2 2 1 2 1.1\n", "2 2", "labels.txt:4", "'2 2'"),
        ("attributes/image_attribute_labels", "2 1 0", "2 x 0", "labels.txt:3", "'2 x 0 3 0 1.1'"),
        ("attributes/image_attribute_labels", "2 1 0", "3 1 0", "labels.txt:3", "image 3 is not"),
        ("attributes/image_attribute_labels", "2 1 0", "2 7 0", "labels.txt:3", "attribute 7 is"),
        ("attributes/image_attribute_labels", "2 1 0", "2 1 4", "labels.txt:3", "0 or 1, not 4"),
        ("attributes/image_attribute_labels", "2 1 0", "1 1 0", "labels.txt:3", "first in line 1"),
        ("attributes/image_attribute_labels", "1 2 0", "\n1 2 0", "labels.txt:2", "not ''"),
        ("images", "2 002", "1 002", "images.txt:2", "image '1' occurs twice"),
        ("images", "002.B/B_2.jpg", "001.A/A_1.jpg", "images.txt:2", "path '001.A/A_1.jpg' occurs"),
        ("images", "2 002.B/B_2.jpg", "2", "images.txt:2", "not '2'"),
        ("images", "2 002", f"{'9' * 5000} 002", "images.txt:2", "of at most 18 digits"),
        ("attributes/image_attribute_labels", "2 1 0", f"{'9' * 5000} 1 0", "txt:3", "is not in"),
        ("images", "2 002", "two 002", "images.txt:2", "whole number, not 'two'"),
        ("train_test_split", "2 1", "2 2", "split.txt:2", "not '2 2'"),
        ("train_test_split", "2 1\n", "", "split.txt:1", "no line for image '2'"),
        ("train_test_split", "2 1", "3 1", "split.txt:2", "'3' is not in images.txt"),
        ("train_test_split", "2 1", "1 1", "split.txt:2", "first in line 1"),
        ("../attributes", "2 has", "1 has", "attributes.txt:2", "attribute '1' occurs twice"),
    ],
)
def test_malformed(root, change, refused, file, old, new, place, text):
    change(f"CUB_200_2011/{file}.txt", old, new)
    refused(place, text, lambda: cub.load(root))


def test_empty_files(root, put, refused):
    for file in ("attributes/image_attribute_labels.txt", "train_test_split.txt"):
        put(f"CUB_200_2011/{file}", "")
        refused(file, "the file is empty", lambda: cub.load(root))


def test_certainties_are_checked_only_if_they_are_used(root, change, refused):
    change("CUB_200_2011/attributes/image_attribute_labels.txt", "1 1 1 4", "1 1 1 9")
    assert cub.load(root).labels.tolist() == [[1, 0], [0, 1]]
    call = lambda: cub.load(root, certainty="unknown-below=2")  # noqa: E731
    refused("labels.txt:1", "certainty must be 1 to 4, not 9", call)


def test_missing_files(root, refused, tmp_path):
    (root / "attributes.txt").unlink()
    refused("attributes.txt", "there is no such file", lambda: cub.load(root))
    refused("nowhere", "no such folder", lambda: cub.load(tmp_path / "nowhere"))


def test_official_lines(data, put, tmp_path):
    """The five lines quoted from the official file: image 1, attributes 1 to 5."""
    text = data("fixtures/CUB_200_2011/image_attribute_labels_first5.txt").read_bytes()
    put("images.txt", "1 001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg\n")
    put("train_test_split.txt", "1 0\n")
    put("attributes.txt", "".join(f"{k} a{k}\n" for k in range(1, 6)))
    put("attributes/image_attribute_labels.txt", text)
    lines = [line.split() for line in text.decode().splitlines()]
    present = [int(fields[2]) for fields in lines]
    assert cub.load(tmp_path).labels.tolist() == [present]
    certain = [-1 if int(fields[3]) < 4 else int(fields[2]) for fields in lines]
    assert cub.load(tmp_path, certainty="unknown-below=4").labels.tolist() == [certain]


def test_official_size(data, put, tmp_path):
    """11788 images x 312 attributes, in the order of the official list."""
    images = data("fixtures/CUB_200_2011/image_class_labels.txt").read_text().splitlines()
    assert len(images) == 11788
    put("images.txt", "".join(f"{k} {k}.jpg\n" for k in range(1, 11789)))
    put("train_test_split.txt", "".join(f"{k} {k % 2}\n" for k in range(1, 11789)))
    put("attributes.txt", "".join(f"{k} a{k}\n" for k in range(1, 313)))
    lines = [f" {a} {int(a % 10 == 0)} 3 1.5\n" for a in range(1, 313)]
    text = "".join(str(k) + line for k in range(1, 11789) for line in lines)
    put("attributes/image_attribute_labels.txt", text)
    source = cub.load(tmp_path)
    assert source.labels.shape == (11788, 312)
    assert source.labels.sum() == 11788 * 31
