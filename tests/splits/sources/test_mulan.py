from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splits.errors import InputError
from splits.sources import arrays, mulan

ARFF = """% a comment
@relation 'toy: -C 2'

@attribute happy {0,1}
@ATTRIBUTE 'loud and fast' {0,1}
@attribute tempo numeric
@attribute "key's" {minor, 'a major'}
@attribute size {2,4}
@data
1,0,0.5,minor,2
% between
0,?,-1e2,'a major',4
"""
SPARSE = ARFF.partition("@data")[0] + "@DATA\n{0 1,2 0.5}\n{ 2 -1e2, 3 'a major', 4 4 }\n{}\n"
XML = """<?xml version="1.0" encoding="utf-8"?>
<labels xmlns="http://mulan.sourceforge.net/labels">
<label name="loud and fast"><label name="happy"></label></label>
</labels>
"""


@pytest.fixture
def arff(put):
    put("toy.xml", XML)
    return put("toy.arff", ARFF)


def test_dense(arff):
    source = mulan.load(arff)
    assert source.class_names == ("loud and fast", "happy")
    assert source.labels.tolist() == [[0, 1], [-1, 0]]
    assert source.features.tolist() == [[[0.5, 0, 2]], [[-100, 1, 4]]]
    assert source.features.dtype == np.float32
    assert source.name == "toy" and source.part is None
    assert sorted(source.digests) == ["toy.arff", "toy.xml"]


def test_sparse(put):
    put("toy.xml", XML)
    source = mulan.load(put("toy.arff", SPARSE))
    assert source.labels.tolist() == [[0, 1], [0, 0], [0, 0]]
    assert source.features.tolist() == [[[0.5, 0, 2]], [[-100, 1, 4]], [[0, 0, 2]]]


def test_two_files_crlf_and_bom(arff, put, refused):
    train = put("toy-train.arff", "\ufeff" + ARFF.replace("\n", "\r\n"))
    test = put("toy-test.arff", SPARSE)
    source = mulan.load(train, test=str(test))
    assert source.part.tolist() == [0, 0, 1, 1, 1]
    assert source.labels.tolist()[:3] == [[0, 1], [-1, 0], [0, 1]]
    other = put("other.arff", ARFF.replace("tempo", "temper"))
    refused("other.arff", "are not those of", lambda: mulan.load(train, test=str(other)))


def test_labels_without_features(put):
    put("a.xml", "<labels><label name='x'/></labels>")
    source = mulan.load(put("a.arff", "@relation a\n@attribute x {0,1}\n@data\n1\n0\n"))
    assert source.labels.tolist() == [[1], [0]] and source.features is None


@pytest.mark.parametrize(
    ("old", "new", "place", "text"),
    [
        ("0,?,-1e2,'a major',4\n", "0,?,-1e2", "toy.arff:12", "3 values; there are 5 attributes"),
        ("1,0,0.5,minor,2", "1,0,0.5,minor,2,7", "toy.arff:10", "6 values"),
        ("'a major',4", "'a major,4", "toy.arff:12", "unbalanced quotes"),
        ("-1e2", "fast", "toy.arff:12", "'tempo' is 'fast'; it must be a number"),
        ("-1e2", "?", "toy.arff:12", "feature 'tempo' is missing"),
        ("minor,2", "minor,3", "toy.arff:10", "'size' is '3'; it must be one of ['2', '4']"),
        ("minor,2", "0,2", "toy.arff:10", "it must be one of ['minor', 'a major']"),
        ("1,0,0.5", "2,0,0.5", "toy.arff:10", "'happy' is '2'"),
        ("{minor, 'a major'}", "string", "toy.arff:7", "has type 'string'"),
        ("{minor, 'a major'}", "{minor", "toy.arff:7", "needs unique values in {}"),
        ("{2,4}", "{2,2}", "toy.arff:8", "needs unique values"),
        ("@attribute tempo numeric", "@attribute tempo", "toy.arff:6", "a name and a type"),
        ("@attribute tempo", "@attribute happy", "toy.arff:6", "'happy' occurs twice"),
        ("@attribute tempo", "tempo", "toy.arff:6", "a header line must be"),
        (ARFF[ARFF.index("@data") :], "", "toy.arff:8", "ends without @data"),
        (ARFF[ARFF.index("1,0,0.5") :], "", "toy.arff:9", "without a row of data"),
        (
            ARFF[ARFF.index("@attr") : ARFF.index("@data")],
            "",
            "toy.arff:4",
            "there is no @attribute before @data",
        ),
        ("@attribute happy", "@attribute sad", "toy.xml:3", "label 'happy' is not an attribute"),
        ("happy {0,1}", "happy {1,2}", "toy.arff:12", "'happy' is '0'"),
        ("happy {0,1}", "happy numeric", "toy.arff:10", "label 'happy' is 5; it must be 0, 1 or ?"),
    ],
)
def test_malformed_arff(arff, change, refused, old, new, place, text):
    if "numeric" in new and "happy" in new:
        change("toy.arff", "1,0,0.5", "5,0,0.5")
    change("toy.arff", old, new)
    refused(place, text, lambda: mulan.load(arff))


@pytest.mark.parametrize(
    ("old", "new", "line", "text"),
    [
        ("{0 1,2 0.5}", "{0 1,2 0.5", 10, "no closing brace"),
        ("{0 1,2 0.5}", "{0 1,2}", 10, "'NUMBER VALUE', not '2'"),
        ("{0 1,2 0.5}", "{0 1,9 0.5}", 10, "attribute 9 is unknown; there are 0 to 4"),
        ("{0 1,2 0.5}", f"{{{'9' * 5000} 1}}", 10, "is unknown; there are 0 to 4"),
        ("{0 1,2 0.5}", "{2 1,2 0.5}", 10, "attribute 2 occurs twice"),
        ("{0 1,2 0.5}", "{0 1,2 x}", 10, "'tempo' is 'x'"),
    ],
)
def test_malformed_sparse_rows(put, change, refused, old, new, line, text):
    put("toy.xml", XML)
    path = put("toy.arff", SPARSE)
    change("toy.arff", old, new)
    refused(f"toy.arff:{line}", text, lambda: mulan.load(path))


@pytest.mark.parametrize(
    ("old", "new", "place", "text"),
    [
        ("</labels>\n", "", "toy.xml:4", "not XML, or it is truncated"),
        (' name="happy"', "", "toy.xml:3", "has no name"),
        ("happy", "loud and fast", "toy.xml:3", "occurs twice"),
        ("<label ", "<tag ", "toy.xml", ""),
    ],
)
def test_malformed_xml(arff, change, refused, old, new, place, text):
    change("toy.xml", old, new)
    refused(place, text, lambda: mulan.load(arff))


@pytest.mark.parametrize("encoding", ["gb2312", "odd"])
def test_an_unsupported_encoding(arff, change, refused, encoding):
    change("toy.xml", "utf-8", encoding)
    refused("toy.xml:1", "save it as UTF-8", lambda: mulan.load(arff))


def test_missing_files(put, refused, tmp_path):
    path = put("toy.arff", ARFF)
    refused("toy.xml", "no such file", lambda: mulan.load(path))
    put("none.xml", XML)
    refused("none.arff", "no such file", lambda: mulan.load(tmp_path / "none.arff"))
    put("toy.xml", "<labels/>")
    refused("toy.xml:1", "contains no <label>", lambda: mulan.load(path))


def quoted(name):
    return "'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'"


names = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"]), min_size=1, max_size=5
)


@settings(max_examples=40, deadline=None)
@given(st.data(), st.booleans())
def test_round_trip(tmp_path_factory, data, sparse):
    attributes = data.draw(
        st.lists(names.filter(lambda n: n.strip() == n), min_size=2, max_size=5, unique=True)
    )
    classes = data.draw(st.integers(1, len(attributes) - 1))
    last = data.draw(st.booleans())  # labels may be the first or the last attributes
    order = attributes[classes:] + attributes[:classes] if last else attributes
    rows = data.draw(st.integers(1, 4))
    values = {name: [data.draw(st.sampled_from([0, 1])) for _ in range(rows)] for name in order}
    for name in attributes[classes:]:
        values[name] = [data.draw(st.floats(-9, 9, width=32)) for _ in range(rows)]
    lines = ["@relation r"]
    for name in order:
        kind = "{0,1}" if name in attributes[:classes] else "numeric"
        lines.append(f"@attribute {quoted(name)} {kind}")
    lines.append("@data")
    for i in range(rows):
        row = [values[name][i] for name in order]
        entries = ", ".join(f"{index} {value}" for index, value in enumerate(row) if value)
        lines.append("{" + entries + "}" if sparse else ",".join(map(str, row)))
    folder = tmp_path_factory.mktemp("arff")
    (folder / "a.arff").write_text("\n".join(lines), encoding="utf-8")
    text = "".join(f"<label name={_attribute(name)}/>" for name in attributes[:classes])
    (folder / "a.xml").write_text(f"<labels>{text}</labels>", encoding="utf-8")
    source = mulan.load(folder / "a.arff")
    assert source.class_names == tuple(attributes[:classes])
    assert source.labels.T.tolist() == [values[name] for name in attributes[:classes]]
    assert source.features[:, 0].T.tolist() == [values[name] for name in attributes[classes:]]


def _attribute(text):
    from xml.sax.saxutils import quoteattr

    return quoteattr(text)


def test_a_real_set_as_arff(data, put):
    """Yeast has 2417 x 14 labels, 4.237 per row, 103 features, 1500 training rows."""
    published = arrays.load(data("features/yeast.npz"))
    header = "@relation yeast\n" + "".join(f"@attribute f{d} numeric\n" for d in range(103))
    header += "".join(f"@attribute {name} {{0,1}}\n" for name in published.class_names)
    for name, rows in (("yeast-train", published.part == 0), ("yeast-test", published.part == 1)):
        lines = [
            ",".join([*map(repr, features.tolist()), *map(str, labels)])
            for features, labels in zip(
                published.features[rows, 0], published.labels[rows], strict=True
            )
        ]
        put(f"{name}.arff", header + "@data\n" + "\n".join(lines) + "\n")
    xml = "".join(f'<label name="{name}"/>' for name in published.class_names)
    path = put("yeast.xml", f"<labels>{xml}</labels>").with_name("yeast-train.arff")
    source = mulan.load(path, test=str(path.with_name("yeast-test.arff")))
    order = np.argsort(published.part, kind="stable")
    assert (source.labels == published.labels[order]).all()
    assert (source.features == published.features[order]).all()
    assert np.bincount(source.part).tolist() == [1500, 917]
    assert round(source.labels.sum() / 2417, 3) == 4.237


@pytest.mark.parametrize("path", ["/", "."])
def test_a_path_without_a_name_is_one_sentence(path):
    with pytest.raises(InputError, match=r" is a folder; give the path of an \.arff file"):
        mulan.load(Path(path))
