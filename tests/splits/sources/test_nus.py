import numpy as np
import pytest

from splits.sources import arrays, nus

LABELS = {
    ("sky", "Train"): [1, 0, 1],
    ("sea", "Train"): [1, 0, 0],
    ("sky", "Test"): [0, 0],
    ("sea", "Test"): [1, 0],
}


def column(values, end="\n"):
    return "".join(f"{value}{end}" for value in values)


@pytest.fixture
def root(put, tmp_path):
    put("ConceptsList/Concepts81.txt", "sky\nsea\n")
    put("ImageList/TrainImagelist.txt", "actor\\0001_21.jpg\nactor\\0002_22.jpg\nzoo\\3.jpg\n")
    put("ImageList/TestImagelist.txt", "actor\\0004_24.jpg\nzoo\\5.jpg\n")
    for (concept, part), values in LABELS.items():
        put(f"Groundtruth/TrainTestLabels/Labels_{concept}_{part}.txt", column(values))
    return tmp_path


def test_official(root):
    source = nus.load(root)
    assert source.labels.tolist() == [[1, 1], [0, 0], [1, 0], [0, 1], [0, 0]]
    assert source.labels.dtype == np.int8
    assert source.class_names == ("sky", "sea")
    assert source.image_ids.tolist()[:2] == ["actor/0001_21.jpg", "actor/0002_22.jpg"]
    assert source.paths[4] == "zoo/5.jpg"
    assert source.part.tolist() == [0, 0, 0, 1, 1]
    assert source.name == "nus-wide-all"
    assert len(source.digests) == 7
    assert "Groundtruth/TrainTestLabels/Labels_sea_Test.txt" in source.digests


def test_empty_images_are_dropped_by_option(root):
    source = nus.load(root, empty="drop")
    assert source.labels.tolist() == [[1, 1], [1, 0], [0, 1]]
    assert source.image_ids.tolist() == ["actor/0001_21.jpg", "zoo/3.jpg", "actor/0004_24.jpg"]
    assert source.part.tolist() == [0, 0, 1]
    assert source.name == "nus-wide-labelled"


def test_crlf_bom_spaces_and_an_empty_class(root, put):
    put("Groundtruth/TrainTestLabels/Labels_sky_Train.txt", "\ufeff" + column("101", "\r\n"))
    put("Groundtruth/TrainTestLabels/Labels_sea_Train.txt", column("000", " \n") + "\n\n")
    put("ImageList/TestImagelist.txt", "a\\1.jpg\r\na\\2.jpg\r\n")
    source = nus.load(root)
    assert source.labels[:3].tolist() == [[1, 0], [0, 0], [1, 0]]
    assert source.image_ids[3] == "a/1.jpg"


def test_alternative_paths(root):
    (root / "Flickr").mkdir()
    (root / "Groundtruth" / "TrainTestLabels").rename(root / "TrainTestLabels")
    (root / "ConceptsList" / "Concepts81.txt").rename(root / "Concepts81.txt")
    source = nus.load(root)
    assert source.labels.sum() == 4
    assert source.roots == (root / "Flickr",)


@pytest.mark.parametrize(
    ("content", "place", "text"),
    [
        ("1\n0\n", "Labels_sea_Train.txt:2", "ends after 2 labels"),
        ("1\n0\n0\n1\n", "Labels_sea_Train.txt:4", "ends after 4 labels"),
        ("1\n2\n0\n", "Labels_sea_Train.txt:2", "0 or 1, not '2'"),
        ("1\n\n0\n", "Labels_sea_Train.txt:2", "0 or 1, not ''"),
        ("1 0\n0 0\n0 0\n", "Labels_sea_Train.txt:1", "not '1 0'"),
        (b"1\n0\n\xff\n", "Labels_sea_Train.txt:3", "not UTF-8"),
        ("", "Labels_sea_Train.txt", "the file is empty"),
    ],
)
def test_malformed_labels(root, put, refused, content, place, text):
    put("Groundtruth/TrainTestLabels/Labels_sea_Train.txt", content)
    refused(place, text, lambda: nus.load(root))


def test_malformed_lists(root, put, change, refused):
    change("ImageList/TestImagelist.txt", "zoo\\5", "zoo\\3")
    refused("TestImagelist.txt:2", "also in", lambda: nus.load(root))
    change("ImageList/TrainImagelist.txt", "zoo\\3", "actor\\0001_21")
    refused("TrainImagelist.txt:3", "occurs twice, first in line 1", lambda: nus.load(root))
    put("ConceptsList/Concepts81.txt", "sky\nsea\nsky\n")
    refused("Concepts81.txt:3", "'sky' occurs twice", lambda: nus.load(root))
    put("ConceptsList/Concepts81.txt", "sky\nsun\n")
    put("ImageList/TrainImagelist.txt", "1\n2\n3\n")
    refused("Labels_sun_Train.txt", "there is no such file", lambda: nus.load(root))
    put("ImageList/TrainImagelist.txt", "")
    refused("TrainImagelist.txt", "is empty", lambda: nus.load(root))


@pytest.fixture
def spml(tmp_path):
    np.save(tmp_path / "formatted_train_labels.npy", np.array([[1.0, 0], [0, 0]]))
    np.save(tmp_path / "formatted_train_images.npy", np.array(["a.jpg", "b.jpg"]))
    np.save(tmp_path / "formatted_val_labels.npy", np.array([[0.0, 1]]))
    np.save(tmp_path / "formatted_val_images.npy", np.array(["c.jpg"]))
    return tmp_path


def test_formatted_arrays(spml, put, refused):
    source = nus.load(spml, layout="spml")
    assert source.labels.tolist() == [[1, 0], [0, 0], [0, 1]]
    assert source.part.tolist() == [0, 0, 1]
    assert source.class_names == ("class_0", "class_1")
    assert nus.load(spml, layout="spml", empty="drop").image_ids.tolist() == ["a.jpg", "c.jpg"]
    put("Concepts81.txt", "sky\nsea\n")
    assert nus.load(spml, layout="spml").class_names == ("sky", "sea")
    put("Concepts81.txt", "sky\n")
    refused("Concepts81.txt", "1 concepts for 2 columns", lambda: nus.load(spml, layout="spml"))


@pytest.mark.parametrize(
    ("name", "array", "text"),
    [
        ("formatted_val_labels", np.array([[0, 2]]), "row 0, class 1 is 2"),
        ("formatted_val_labels", np.array([[0, 1], [0, 0]]), "must be numbers [1, C]"),
        ("formatted_val_labels", np.array([[0, 1, 0]]), "there are 3 columns, but 2"),
        ("formatted_val_images", np.array([7]), "must be a list of texts"),
        ("formatted_train_images", np.array(["a.jpg", "a.jpg"]), "occurs twice"),
        ("formatted_val_images", np.array(["a.jpg"]), "also in"),
        ("formatted_val_images", np.array([None]), "Python objects"),
        ("formatted_val_images", np.array([b"\xff"]), "row 0 is not UTF-8 text"),
    ],
)
def test_malformed_arrays(spml, refused, name, array, text):
    np.save(spml / f"{name}.npy", array, allow_pickle=True)
    refused(f"{name}.npy", text, lambda: nus.load(spml, layout="spml"))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_damaged_header(spml, refused):
    content = (spml / "formatted_val_labels.npy").read_bytes()
    (spml / "formatted_val_labels.npy").write_bytes(content.replace(b"}", b"%"))
    refused("formatted_val_labels.npy", "not an .npy", lambda: nus.load(spml, layout="spml"))


def test_a_truncated_array(spml, refused):
    content = (spml / "formatted_val_labels.npy").read_bytes()
    (spml / "formatted_val_labels.npy").write_bytes(content[:-5])
    refused("formatted_val_labels.npy", "truncated", lambda: nus.load(spml, layout="spml"))


def test_published_rows_in_the_official_layout(data, put, tmp_path):
    """A sample of 10536 x 81 labels, 2.436 per image, counts from 3875 to 2."""
    published = arrays.load(data("labels/nuswide_sample.npz"))
    put("ConceptsList/Concepts81.txt", column(published.class_names))
    for part, rows in (("Train", slice(0, 8000)), ("Test", slice(8000, None))):
        put(f"ImageList/{part}Imagelist.txt", column(published.image_ids[rows]))
        for position, concept in enumerate(published.class_names):
            text = column(published.labels[rows, position])
            put(f"TrainTestLabels/Labels_{concept}_{part}.txt", text)
    source = nus.load(tmp_path)
    counts = source.labels.sum(0)
    assert (source.labels == published.labels).all()
    assert round(source.labels.sum() / 10536, 3) == 2.436
    assert (counts.max(), counts.min()) == (3875, 2)
