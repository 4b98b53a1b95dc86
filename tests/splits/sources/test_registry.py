import inspect
import itertools
import sys

import pytest

from splits.errors import InputError
from splits.source import Source
from splits.sources import registry

SOURCE = """
from splits.sources.registry import Option

FORM = "toy:FILE"
HELP = "A toy."
OPTIONS = {"size": Option(3, "how many")}


def load(path, *, size=3):
    return path, size
"""


PATHS = ("file", "folder", "")


@pytest.mark.parametrize("kind", registry.names())
def test_every_source_keeps_the_contract(kind):
    module = registry.get(kind)
    assert module.FORM.startswith((f"{kind}:", f"{kind}[:"))
    assert module.FORM.startswith(f"{kind}[:") is hasattr(module, "DEFAULT_PATH")
    assert module.HELP.endswith(".") and "\n" not in module.HELP
    assert all(isinstance(option, registry.Option) for option in module.OPTIONS.values())
    defaults = {name: option.default for name, option in module.OPTIONS.items()}
    for option in module.OPTIONS.values():
        assert option.choices is None or option.default in option.choices
        records = option.record.values() if isinstance(option.record, dict) else [option.record]
        assert set(records) <= {"always", "changed", "never"}
    for path in PATHS:
        assert registry.complete(kind, {}, path) == defaults
        assert registry.recorded(kind, defaults, path)["kind"] == kind
    parameters = inspect.signature(module.load).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        assert {*defaults, *getattr(module, "TOOLS", ())} <= set(parameters)
    assert module.FORM in registry.describe(kind)


def test_discovery_finds_sources_in_order():
    assert list(registry.names()) == sorted(registry.names())
    assert {"arrays", "coco", "csv", "scenes", "voc"} <= set(registry.names())


def test_an_unknown_kind_names_the_nearest(refused):
    refused("no source 'vok'", "did you mean 'voc'?", lambda: registry.get("vok"))
    refused("no source 'x'", "known: arrays, coco, csv", lambda: registry.get("x"))


def test_defaults_fill_the_options():
    values = registry.complete("coco", {"year": 2014, "crowd": False, "keep_empty": "test"})
    assert values == {
        "year": 2014, "crowd": False, "keep_empty": "test", "min_size": False,
        "images": "", "test": "", "test_images": "",
    }  # fmt: skip
    values = registry.complete("cub", {"certainty": "unknown-below=3"})
    assert values == {"certainty": "unknown-below=3"}
    assert registry.complete("openimages", {"threshold": 0.5})["threshold"] == 0.5


def test_a_tilde_in_a_path_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert registry.complete("list", {"test": "~/b.txt"})["test"] == "/home/me/b.txt"
    assert registry.complete("coco", {"images": "~/a"}, "file")["images"] == "/home/me/a"
    assert registry.complete("csv", {"features": "~x"})["features"] == "~x"


@pytest.mark.parametrize(
    ("kind", "values", "path", "text"),
    [
        ("voc", {"dificult": "positive"}, "", "no option 'dificult'; did you mean 'difficult'?"),
        ("voc", {"zzz": "1"}, "", "no option 'zzz'; known: labels, train"),
        ("voc", {"difficult": "maybe"}, "", "one of positive, negative, unknown, not 'maybe'"),
        ("coco", {"year": 2015}, "folder", "one of 2014, 2017, not '2015'"),
        ("coco", {"year": 2014}, "file", "year of source coco has no effect here; it can only be "
         "used with a folder as PATH"),
        ("coco", {"test": "b.json"}, "folder", "it can only be used with a file as PATH"),
        ("coco", {"keep_empty": "test"}, "file", "there is no test part; name its annotations"),
        ("voc", {"test": "none", "test_root": "x"}, "", "only be used with test=test or test=val"),
        ("scenes", {"train": 0}, "", "train of source scenes must be at least 1, not 0"),
        ("vok", {}, "", "did you mean 'voc'?"),
    ],
)  # fmt: skip
def test_wrong_options(kind, values, path, text):
    with pytest.raises(InputError) as error:
        registry.complete(kind, values, path)
    assert text in str(error.value)


@pytest.mark.parametrize(
    ("kind", "values", "path", "record"),
    [
        ("scenes", {}, "", {"scenes_train": 4000, "scenes_test": 1000}),
        ("scenes", {"train": 9}, "folder", {"scenes_train": 9, "scenes_test": 1000}),
        (
            "coco",
            {"test": "b.json", "images": "one", "test_images": "two"},
            "file",
            {"keep_empty": "none", "crowd": True},
        ),
        (
            "coco",
            {"min_size": True},
            "file",
            {"keep_empty": "none", "crowd": True, "min_size": True},
        ),
        (
            "coco",
            {},
            "folder",
            {"year": 2017, "keep_empty": "none", "crowd": True, "min_size": False},
        ),
        (
            "list",
            {"test": "lists/b.txt", "images": "folder", "labels": "flags"},
            "file",
            {"test": "b.txt", "labels": "flags", "classes": ""},
        ),
    ],
)  # fmt: skip
def test_recorded_options(kind, values, path, record):
    completed = registry.complete(kind, values, path)
    assert registry.recorded(kind, completed, path) == {"kind": kind, **record}


@pytest.mark.parametrize(
    ("kind", "values", "path", "backbone"),
    [
        ("scenes", {}, "", "glyphs"),
        ("coco", {}, "folder", "none"),
        ("coco", {}, "file", "none"),
        ("coco", {"images": "one"}, "file", "resnet50"),
    ],
)
def test_default_backbones(kind, values, path, backbone):
    options = registry.complete(kind, values, path)
    assert registry.get(kind).default_backbone(options) == backbone


@pytest.fixture
def package(put, tmp_path, monkeypatch):
    """Discover in a package of its own; each call takes a new name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    count = itertools.count()

    def discover(**files):
        name = f"toy_sources_{next(count)}"
        put(f"{name}/__init__.py", "")
        for file, content in files.items():
            put(f"{name}/{file}.py", content)
        return registry.discover([str(tmp_path / name)], name)

    yield discover
    for name in [name for name in sys.modules if name.startswith("toy_sources_")]:
        del sys.modules[name]


def test_a_file_is_a_source(package):
    sources = package(toy=SOURCE, _helper="raise SystemError", registry="")
    assert list(sources) == ["toy"]
    assert sources["toy"].load("x") == ("x", 3)


def test_a_source_may_have_a_default_path(package):
    assert list(package(toy=SOURCE.replace("toy:FILE", "toy[:FILE]"))) == ["toy"]


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"toy": SOURCE, "other": SOURCE}, "are both called 'toy'"),
        ({"toy": "import nowhere_to_be_found"}, "toy cannot be imported: No module named"),
        ({"toy": SOURCE.replace("FORM", "FORMS")}, "toy defines no FORM"),
        ({"toy": SOURCE.replace("def load", "def read")}, "toy defines no function 'load'"),
    ],
)
def test_a_broken_source_is_an_error(package, files, text):
    with pytest.raises(InputError) as error:
        package(**files)
    assert text in str(error.value)


def test_load_returns_a_source(data):
    path = data("labels/voc_lt.npz")
    options = registry.complete("arrays", {})
    assert isinstance(registry.get("arrays").load(path, **options), Source)
