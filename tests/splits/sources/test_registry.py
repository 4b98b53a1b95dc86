import sys

import pytest

from splits.errors import InputError
from splits.source import Source
from splits.sources import registry

KINDS = (
    "arrays", "coco", "csv", "cub", "hdf5", "libsvm", "list", "mat", "mulan", "nus", "openimages",
    "parquet", "voc",
)  # fmt: skip

SOURCE = """
from splits.sources.registry import Option

FORM = "toy:FILE"
HELP = "A toy."
OPTIONS = {"size": Option(3, "how many")}


def load(path, *, size=3):
    return path, size
"""


def test_every_source_keeps_the_contract():
    assert registry.names() == KINDS
    for kind in KINDS:
        module = registry.get(kind)
        assert module.FORM.startswith(f"{kind}:")
        assert module.HELP.endswith(".") and "\n" not in module.HELP
        assert all(isinstance(option, registry.Option) for option in module.OPTIONS.values())
        for option in module.OPTIONS.values():
            assert option.choices is None or option.default in option.choices
        assert registry.parse_options(kind, []) == {
            key: option.default for key, option in module.OPTIONS.items()
        }
        assert module.FORM in registry.describe(kind)


def test_an_unknown_kind_names_the_nearest(refused):
    refused("no source 'vok'", "did you mean 'voc'?", lambda: registry.get("vok"))
    refused("no source 'x'", "there are arrays, coco, csv", lambda: registry.get("x"))


def test_options_have_the_type_of_their_default():
    found = registry.parse_options("coco", ["year=2014", "crowd=no", "keep-empty=test"])
    assert found == {"year": 2014, "crowd": False, "keep_empty": "test", "min_size": False}
    found = registry.parse_options("cub", ["certainty=unknown-below=3"])
    assert found == {"certainty": "unknown-below=3"}
    assert registry.parse_options("openimages", ["threshold=0.5"])["threshold"] == 0.5


@pytest.mark.parametrize(
    ("kind", "words", "text"),
    [
        ("voc", ["difficult"], "'difficult' has no value; write KEY=VALUE"),
        ("voc", ["dificult=positive"], "no option 'dificult'; did you mean 'difficult'?"),
        ("voc", ["zzz=1"], "no option 'zzz'; there are labels, train, test"),
        ("voc", ["test=none", "test=val"], "'test' comes twice"),
        ("voc", ["difficult=maybe"], "one of positive, negative, unknown, not 'maybe'"),
        ("coco", ["year=2015"], "one of 2014, 2017, not '2015'"),
        ("coco", ["year=new"], "year of source coco is a whole number, not 'new'"),
        ("coco", ["crowd=perhaps"], "crowd of source coco is yes or no, not 'perhaps'"),
        ("openimages", ["threshold=high"], "is a number, not 'high'"),
        ("openimages", ["threshold=nan"], "is a number, not 'nan'"),
        ("vok", [], "did you mean 'voc'?"),
    ],
)
def test_wrong_options(kind, words, text):
    with pytest.raises(InputError) as error:
        registry.parse_options(kind, words)
    assert text in str(error.value)


@pytest.fixture
def package(put, tmp_path, monkeypatch):
    """Discover in a package of its own; each call takes a new name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made = []

    def discover(**files):
        name = f"toy_sources_{len(made)}"
        made.append(name)
        put(f"{name}/__init__.py", "")
        for file, content in files.items():
            put(f"{name}/{file}.py", content)
        return registry.discover([str(tmp_path / name)], name)

    yield discover
    for name in [name for name in sys.modules if name.startswith("toy_sources_")]:
        del sys.modules[name]


def test_a_file_is_a_source(package):
    found = package(toy=SOURCE, _helper="raise SystemError", registry="")
    assert list(found) == ["toy"]
    assert found["toy"].load("x") == ("x", 3)


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"toy": SOURCE, "other": SOURCE}, "are both called 'toy'"),
        ({"toy": "import nowhere_to_be_found"}, "toy cannot be imported: No module named"),
        ({"toy": SOURCE.replace("FORM", "FORMS")}, "toy defines no FORM"),
        ({"toy": SOURCE.replace("def load", "def read")}, "toy defines no function 'load'"),
    ],
)
def test_a_broken_source_is_loud(package, files, text):
    with pytest.raises(InputError) as error:
        package(**files)
    assert text in str(error.value)


def test_sources_are_sources(data):
    """Whatever the kind, what comes back is a checked `Source`."""
    path = data("labels/voc_lt.npz")
    words = registry.parse_options("arrays", [])
    assert isinstance(registry.get("arrays").load(path, **words), Source)
