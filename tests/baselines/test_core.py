"""The core: discovery, hyperparameters, contract, statistics, heads, class-aware sampling."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import math
import os
import pkgutil
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import baselines
from baselines.bce import BCE
from baselines.core import (
    LabelTable,
    Method,
    MethodError,
    MethodInfo,
    Oracle,
    Problem,
    hyper,
    ledger,
    masked_mean,
    registry,
)
from baselines.core.contract import last_write
from baselines.core.errors import Interrupt
from baselines.core.heads import HiddenHead, LinearHead
from baselines.core.hyperparameters import describe, published
from baselines.core.info import REGIMES, problems
from baselines.core.sampling import class_aware, epoch_length
from baselines.core.statistics import class_counts, cooccurrence
from benchkit.base.draw import Draw
from splits import regimes

LABELS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "labels"

FILE = '''"""A method."""
from __future__ import annotations
from dataclasses import dataclass
from baselines.core import Method, MethodInfo, hyper

@dataclass(frozen=True)
class Some:
    """Hyperparameters."""
    rate: float = hyper(0.5, "a rate")

class Mine(Method):
    """A method."""
    info = MethodInfo("KEY", "Title", "Paper", 2020, "L = 0", "negative")
    Hyper = Some
'''

# ------------------------------------------------------------------- registry


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder in place of `baselines/`; its modules are unloaded afterwards."""
    monkeypatch.setattr(baselines, "__path__", [str(tmp_path)])
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [])
    known, names = set(sys.modules), set(vars(baselines))
    registry.builtin.cache_clear()
    yield tmp_path
    registry.builtin.cache_clear()
    for name in set(sys.modules) - known:
        del sys.modules[name]
    for name in set(vars(baselines)) - names:
        delattr(baselines, name)


def write(folder: Path, name: str, key: str = "mine", text: str = FILE) -> Path:
    """A method file NAME.py that defines the method KEY."""
    path = folder / f"{name}.py"
    path.write_text(text.replace("KEY", key))
    return path


def test_a_file_in_the_folder_is_a_method(folder: Path) -> None:
    write(folder, "core_test_two", "two")
    write(folder, "core_test_one", "one")
    assert list(registry.builtin()) == ["one", "two"]
    assert registry.get("one").info.title == "Title"


def test_an_unknown_key_names_the_nearest(folder: Path) -> None:
    write(folder, "core_test_asl", "asl")
    with pytest.raises(MethodError, match="no method 'als'; did you mean 'asl'"):
        registry.get("als")
    with pytest.raises(MethodError, match="no method 'ASL'; did you mean 'asl'"):
        registry.get("ASL")
    with pytest.raises(MethodError, match="`benchkit methods` lists them"):
        registry.get("zzzzzz")


def test_two_equal_keys_are_an_error_that_names_both(folder: Path) -> None:
    write(folder, "core_test_a")
    write(folder, "core_test_b")
    with pytest.raises(MethodError, match=r"core_test_b.py and baselines.core_test_a both define"):
        registry.builtin()


def test_a_file_that_fails_to_import_is_an_error(folder: Path) -> None:
    write(folder, "core_test_broken", text="import a_module_that_is_not_there\n")
    with pytest.raises(MethodError, match=r"core_test_broken.py cannot be imported: No module"):
        registry.builtin()


def test_a_file_without_a_method_is_an_error(folder: Path) -> None:
    write(folder, "core_test_empty", text="from baselines.core import Method\n")
    with pytest.raises(MethodError, match=r"core_test_empty.py defines no method"):
        registry.builtin()


def test_imported_methods_are_not_listed() -> None:
    module = SimpleNamespace(__name__="somewhere", BCE=BCE, Method=Method)
    assert registry.methods_of(module) == []  # type: ignore[arg-type]


def test_entry_points_add_methods(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "core_test_own", "own")
    point = SimpleNamespace(name="other", module="baselines.bce_of_somebody_else")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point])
    with pytest.raises(MethodError, match="entry point other cannot be imported"):
        registry.builtin()
    monkeypatch.setattr(
        importlib.metadata,
        "entry_points",
        lambda group: [SimpleNamespace(name="other", module="baselines.core_test_own")],
    )
    with pytest.raises(MethodError, match=r"entry point other and .* both define the method 'own'"):
        registry.builtin()


def test_plugins(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("plugins")
    write(folder, "core_test_own", "own")
    plugins = registry.load_plugin(write(elsewhere, "good", "guest"))
    assert list(plugins) == ["guest"]
    assert plugins["guest"].Hyper(rate=0.25).rate == 0.25
    assert registry.get("guest", plugins) is plugins["guest"]
    with pytest.raises(MethodError, match="both define the method 'own'"):
        registry.load_plugin(write(elsewhere, "clash", "own"))
    with pytest.raises(MethodError, match=r"broken\.py cannot be imported: NameError"):
        registry.load_plugin(write(elsewhere, "broken", text="undefined_name\n"))
    with pytest.raises(MethodError, match="defines no method"):
        registry.load_plugin(write(elsewhere, "nothing", text="x = 1\n"))
    with pytest.raises(MethodError, match="does not exist"):
        registry.load_plugin(elsewhere / "absent.py")
    (elsewhere / "text.txt").write_text("")
    with pytest.raises(MethodError, match=r"must end in \.py"):
        registry.load_plugin(elsewhere / "text.txt")


GOOD = MethodInfo("mine", "Mine", "none", 2024, "L", "negative")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key": "My Method"}, "info.key is 'My Method'; write it in lower case"),
        ({"key": "../x"}, "info.key is '../x'; "),
        ({"key": "all"}, "info.key is 'all'; "),
        ({"key": "x" * 5000}, "info.key is 'xxx"),
        ({"key": ["mine"]}, "info.key is ['mine']; "),
        ({"title": 3}, "info.title is 3; it must be one line of text of at most 100 printable"),
        ({"title": "a\nb"}, "info.title is 'a\\nb'; it must be one line of text"),
        ({"paper": "\udc80"}, "info.paper is '\\udc80'; it must be one line of text"),
        ({"equation": None}, "info.equation is None; it must be a text"),
        ({"year": "x"}, "info.year is 'x'; it must be a whole number such as 2024"),
        ({"year": True}, "info.year is True; it must be a whole number"),
        ({"unknown": "maybe"}, "info.unknown is 'maybe'; it must be one of negative, ignored, est"),
        ({"unknown": []}, "info.unknown is []; it must be one of negative"),
        (
            {"regimes": "pal"},
            "info.regimes is 'pal'; it must be a tuple of names such as (\"full\",)",
        ),
        ({"regimes": ("pall",)}, "info.regimes contains pall; the names are full, pal, ppl"),
        ({"oracle": ("truth",)}, "info.oracle contains truth; the names are true_labels, "),
        ({"needs": ("a", 1)}, "info.needs is ('a', 1); it must be a tuple of names"),
        ({"family": "x"}, "info.family is 'x'; it must be one of plain, long-tailed"),
        ({"version": 2}, "info.version is 2; it must be one line of text"),
    ],
)
def test_metadata_of_a_wrong_type(changes: dict[str, Any], message: str) -> None:
    assert list(problems(GOOD)) == []
    (problem,) = problems(dataclasses.replace(GOOD, **changes))
    assert problem.startswith(message)
    assert len(problem) < 250


def test_the_regimes_are_those_of_splits() -> None:
    assert REGIMES == regimes.KINDS
    assert next(problems("text")) == "info is 'text'; it must be a MethodInfo"
    expected = "info is an object of the type property; it must be a MethodInfo"
    assert next(problems(property())) == expected


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"Title"', "3", "info.title is 3; it must be"),
        ("info = MethodInfo(", "info = tuple; other = MethodInfo(", "it must be a MethodInfo"),
        ("@dataclass(frozen=True)", "@dataclass", "Hyper must be frozen"),
        ("    Hyper = Some", "    Hyper = 3", "Hyper must be a dataclass"),
        ('float = hyper(0.5, "a rate")', "float", "the hyperparameter rate has no default"),
        ("hyper(0.5,", "hyper(float('nan'),", "the hyperparameter rate has the default nan"),
        ('"a rate")', '"a rate", low="0")', "the hyperparameter rate has low='0'; it must be a"),
        ('"a rate")', '"a rate", choices="ab")', "choices='ab'; it must be a tuple"),
        (
            "    Hyper = Some",
            "    Hyper = Some\n    def regimes(self): raise SystemExit(0)",
            "regimes() fails: SystemExit: 0 (line 15)",
        ),
        (
            "    Hyper = Some",
            "    Hyper = Some\n    loss = None",
            "loss is None; it must be a function",
        ),
        (
            "    Hyper = Some",
            "    Hyper = Some\n    def oracle(self): return 'truth'",
            "oracle() is 'truth'; it must be a tuple of names",
        ),
        (
            "    Hyper = Some",
            "    Hyper = Some\n    def defaults_for(self, regime): return {'rat': 1}",
            "defaults_for('full') names 'rat'; the hyperparameters are rate",
        ),
        (
            "    Hyper = Some",
            "    Hyper = Some\n    def __init__(self): pass",
            "regimes() fails: TypeError: ",
        ),
    ],
)
def test_plugins_that_are_refused(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, old: str, new: str, message: str
) -> None:
    path = tmp_path_factory.mktemp("plugins") / "mine.py"
    assert old in FILE
    path.write_text(FILE.replace("KEY", "mine").replace(old, new))
    with pytest.raises(MethodError, match=re.escape(message)) as error:
        registry.load_plugin(path)
    assert str(error.value).startswith(str(path))


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("raise BaseException('bye')", "BaseException: bye"),
        ("import os; os._exit(0)", "SystemExit: 0"),
        ("raise Exception('a' + chr(10) + chr(27))", "Exception: a"),
        ("def f(): f()\nf()", "RecursionError: maximum recursion depth exceeded"),
    ],
)
def test_plugins_that_end_their_import(tmp_path: Path, code: str, reason: str) -> None:
    path, exit_of_the_process = tmp_path / "mine.py", os._exit
    path.write_text(code)
    with pytest.raises(MethodError) as error:
        registry.load_plugin(path)
    assert str(error.value) == f"plugin {path} cannot be imported: {reason} (line 1)"
    assert os._exit is exit_of_the_process


def test_ctrl_c_while_a_plugin_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.py"
    path.write_text("raise KeyboardInterrupt")
    monkeypatch.setattr(Interrupt, "handled", False)  # without the handler of the command line
    with pytest.raises(KeyboardInterrupt):
        registry.load_plugin(path)
    monkeypatch.setattr(Interrupt, "handled", True)
    with pytest.raises(MethodError, match="cannot be imported: KeyboardInterrupt"):
        registry.load_plugin(path)


def test_an_entry_point_with_wrong_metadata(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "core_test_own", "Own")
    point = SimpleNamespace(name="other", module="baselines.core_test_own")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point])
    monkeypatch.setattr(pkgutil, "iter_modules", lambda path: [])
    with pytest.raises(MethodError, match=r"entry point other: info\.key is 'Own'; write it in"):
        registry.builtin()


def test_two_plugins_of_one_file_name(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, "same", f"{name}-in-a-test")
    one = registry.load_plugin(tmp_path / "one" / "same.py")["one-in-a-test"]
    two = registry.load_plugin(tmp_path / "two" / "same.py")["two-in-a-test"]
    assert one.__module__ != two.__module__
    assert sys.modules[one.__module__].__file__ == str(tmp_path / "one" / "same.py")


@pytest.mark.parametrize("key", registry.builtin())
def test_the_shipped_methods_pass_the_check_of_plugins(key: str) -> None:
    registry.check(registry.get(key), key)


# ------------------------------------------------------------------- hyperparameters


@dataclass(frozen=True)
class Published:
    a: float = hyper(1.0, "a", paper={"voc": 2.0, "coco": 3.0})
    b: int = hyper(1, "b", paper={"coco": 4})
    c: bool = hyper(False, "c")


def test_the_first_data_set_that_defines_a_value_wins() -> None:
    assert published(Published, ["voc", "coco"]) == {"a": 2.0, "b": 4}
    assert published(Published, ["coco", "voc"]) == {"a": 3.0, "b": 4}
    assert published(Published, []) == {}


@dataclass(frozen=True)
class Example:
    rate: float = hyper(0.5, "a rate", search=(0.0, 1.0), low=0.0, high=1.0)
    width: int = hyper(8, "a width", low=1)
    fast: bool = hyper(False, "whether")
    mode: str = hyper("slow", "how", choices=("slow", "quick"))
    free: float = hyper(1.0, "of any size")
    tall: int = hyper(1, "a height", high=2)


def test_describe() -> None:
    entries = {entry["name"]: entry for entry in describe(Example)}
    assert list(entries) == ["rate", "width", "fast", "mode", "free", "tall"]
    assert entries["rate"]["default"] == 0.5
    assert entries["rate"]["search"] == (0.0, 1.0)
    assert entries["width"]["help"] == "a width"


# ------------------------------------------------------------------- contract


def test_oracle_opens_only_what_is_declared() -> None:
    oracle = Oracle({"noise_rate": 0.3}, ("noise_rate", "true_counts"))
    assert oracle["noise_rate"] == 0.3
    with pytest.raises(MethodError, match="'true_labels' without declaring it"):
        oracle["true_labels"]
    with pytest.raises(MethodError, match="'true_counts' does not exist for this split"):
        oracle["true_counts"]


def test_the_base_method() -> None:
    problem = Problem(
        LabelTable.of(torch.zeros(4, 3, dtype=torch.int8)), 5, "full", 2, Oracle({}, ())
    )
    assert (problem.num_images, problem.num_classes) == (4, 3)
    method = BCE()
    run = method.setup(problem, Draw(1))
    assert method.logits(run, torch.zeros(2, 5)).shape == (2, 3)
    assert [stage.name for stage in method.stages()] == ["train"]
    with pytest.raises(NotImplementedError, match="Method defines neither loss nor step"):
        Method().loss(run, torch.zeros(1), None, None, None)  # type: ignore[arg-type]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_last_write(rows: list[int]) -> None:
    values = torch.arange(2 * len(rows)).reshape(len(rows), 2)
    last: dict[int, Any] = {row: values[i].tolist() for i, row in enumerate(rows)}
    assert last_write(torch.tensor(rows), values).tolist() == [last[row] for row in rows]


def test_masked_mean() -> None:
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    mask = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert masked_mean(values, mask).item() == 2.0
    assert masked_mean(values, mask, 0).tolist() == [2.0, 0.0]
    assert masked_mean(values, mask * 0).item() == 0.0


def test_statistics_count_observed_positives_only() -> None:
    observed = torch.tensor([[1, 1, -1], [1, 0, 0], [-1, 1, 0], [1, 1, 0]], dtype=torch.int8)
    assert class_counts(observed).tolist() == [3, 3, 0]
    assert cooccurrence(observed).tolist() == [[3, 2, 0], [2, 3, 0], [0, 0, 0]]


# ------------------------------------------------------------------- heads


def test_linear_head(assert_close: Callable[..., None]) -> None:
    params = LinearHead().init(100, 7, Draw(1))
    assert {name: tuple(p.shape) for name, p in params.items()} == {
        "head.weight": (100, 7),
        "head.bias": (7,),
    }
    weight = params["head.weight"]
    assert weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert not params["head.bias"].any()
    params["head.bias"] = Draw(3).normal("bias", 7)
    features = Draw(2).normal("features", 4, 100)
    expected = torch.nn.functional.linear(features, weight.T, params["head.bias"])
    assert_close(LinearHead().apply(params, features), expected, 2e-6)


def test_a_scaled_bias_is_the_weight_of_a_feature_of_size_sqrt_d(
    assert_close: Callable[..., None],
) -> None:
    head, params = LinearHead(scaled=True), LinearHead().init(100, 7, Draw(1))
    assert all(torch.equal(head.init(100, 7, Draw(1))[key], params[key]) for key in params)
    params["head.bias"] = Draw(3).normal("bias", 7)
    features = Draw(2).normal("features", 4, 100)
    longer = torch.cat([features, torch.full((4, 1), 10.0)], 1)
    expected = longer @ torch.cat([params["head.weight"], params["head.bias"][None]])
    assert_close(head.apply(params, features), expected, 2e-6)


def test_hidden_head(assert_close: Callable[..., None]) -> None:
    head = HiddenHead(16)
    params = head.init(5, 3, Draw(1))
    assert set(params) == {"neck.weight", "neck.bias", "head.weight", "head.bias"}
    features = Draw(2).normal("features", 4, 5)
    hidden = np.maximum(
        features.numpy() @ params["neck.weight"].numpy() + params["neck.bias"].numpy(), 0
    )
    expected = hidden @ params["head.weight"].numpy() + params["head.bias"].numpy()
    assert_close(head.apply(params, features), expected, 2e-6)


# ------------------------------------------------------------------- class-aware sampling


def single_label_lists(sizes: list[int]) -> torch.Tensor:
    """One class per image, so that a row identifies the class that was visited."""
    owner = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    return torch.nn.functional.one_hot(owner, len(sizes)).bool()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any),
    st.integers(1, 4),
    st.integers(0, 2**40),
)
def test_class_aware_visits_classes_and_images_in_cycles(
    sizes: list[int], per_class: int, seed: int
) -> None:
    lists, draw = single_label_lists(sizes), Draw(seed)
    present = [c for c, size in enumerate(sizes) if size]
    cycles = 6
    count = cycles * len(present) * per_class
    rows = class_aware(lists, per_class, 0, count, draw)
    classes = lists[rows].int().argmax(1)
    visits = classes.reshape(-1, per_class)
    assert (visits == visits[:, :1]).all()
    for cycle in visits[:, 0].reshape(cycles, -1).tolist():
        assert sorted(cycle) == present
    for c in present:
        own = rows[classes == c].tolist()
        members = sorted(torch.nonzero(lists[:, c]).flatten().tolist())
        for start in range(0, len(own) - len(members) + 1, len(members)):
            assert sorted(own[start : start + len(members)]) == members


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**40), st.integers(1, 4), st.lists(st.integers(1, 15), min_size=2, max_size=5)
)
def test_class_aware_rows_do_not_depend_on_the_chunks(
    seed: int, per_class: int, visits: list[int]
) -> None:
    lists = Draw(seed).uniform("lists", 17, 5) < 0.4
    lists[0, 0] = True
    all_rows = class_aware(lists, per_class, 0, per_class * sum(visits), Draw(seed))
    parts, start = [], 0
    for number in visits:
        parts.append(class_aware(lists, per_class, start, number * per_class, Draw(seed)))
        start += number * per_class
    assert torch.equal(torch.cat(parts), all_rows)


def test_class_aware_cuts_the_last_group_and_varies() -> None:
    lists = single_label_lists([5, 4, 7])
    rows = class_aware(lists, 3, 0, 30, Draw(1))
    assert torch.equal(class_aware(lists, 3, 0, 25, Draw(1)), rows[:25])
    assert not torch.equal(class_aware(lists, 3, 0, 30, Draw(2)), rows)
    cycles = [lists[rows[i : i + 9 : 3]].int().argmax(1).tolist() for i in range(0, 27, 9)]
    assert any(cycle != cycles[0] for cycle in cycles)  # the order of the classes varies


def test_class_order_is_uniform() -> None:
    rows = class_aware(single_label_lists([2, 2, 2]), 1, 0, 3 * 3000, Draw(7))
    orders = Counter(map(tuple, (rows // 2).reshape(-1, 3).tolist()))
    assert len(orders) == 6
    assert all(abs(number - 500) < 5 * math.sqrt(500) for number in orders.values())


def test_epoch_length() -> None:
    assert epoch_length("classes", torch.tensor([6, 34, 775] + [1] * 17), 1142) == 3875
    assert epoch_length("classes", torch.tensor([1128] + [6] * 79), 1909) == 22560
    assert epoch_length("classes", torch.tensor([7, 2]), 9, reduce=1) == 14
    assert epoch_length("classes", torch.zeros(3), 9) == 1
    assert epoch_length("images", torch.tensor([7, 2]), 9) == 9


def test_class_aware_statistics_on_voc_lt(vectors: Callable[[str], Any]) -> None:
    path = LABELS / "voc_lt.npz"
    if not path.is_file():
        pytest.skip(f"{path.name} is not here")
    published = vectors("lt_sampler_voc")
    data = np.load(path, allow_pickle=False)
    pointers, indices, split = data["indptr"], data["indices"], data["split"]
    labels = np.zeros(tuple(data["shape"]), bool)
    labels[np.repeat(np.arange(len(labels)), np.diff(pointers)), indices] = True
    lists = torch.from_numpy(labels[split == 0])
    assert lists.sum(0).tolist() == published["class_freq"]
    length = epoch_length("classes", lists.sum(0), len(lists))
    assert length == published["epoch_length"]
    epochs = [class_aware(lists, 3, 0, length, Draw(seed)) for seed in range(4)]
    counts = torch.stack([lists[rows].sum(0) for rows in epochs]).float()
    distinct = [len(rows.unique()) for rows in epochs]
    assert abs(np.mean(distinct) - published["distinct_images_epoch1"]) < 25
    # Each class is visited 64 or 65 times for 3 images; its other draws come with other classes.
    assert (counts >= 64 * 3).all()
    expected = torch.tensor(published["label_counts"]).float()
    assert ((counts.mean(0) - expected).abs() < 0.05 * expected + 15).all()


@pytest.mark.parametrize("key", ledger.read())
def test_every_hyperparameter_of_the_shipped_methods_has_a_search_range(key: str) -> None:
    for entry in describe(registry.get(key).Hyper):
        switch = isinstance(entry["default"], bool)
        assert switch or entry["search"] or entry["choices"], entry["name"]


@pytest.mark.parametrize("key", sorted(registry.builtin()))
def test_search_ranges_are_within_the_limits(key: str) -> None:
    for entry in describe(registry.get(key).Hyper):
        if entry["search"] and not isinstance(entry["default"], str):
            low, high = min(entry["search"]), max(entry["search"])
            assert low < high
            assert entry["low"] is None or low >= entry["low"], entry["name"]
            assert entry["high"] is None or high <= entry["high"], entry["name"]


@pytest.mark.parametrize("key", registry.builtin())
def test_a_method_that_estimates_labels_declares_regimes_with_unknown_labels(key: str) -> None:
    info = registry.get(key).info
    if info.unknown == "estimated":
        assert info.regimes, "some regime has nothing to estimate"
        assert "candidates" not in info.regimes or "spl" not in info.regimes
