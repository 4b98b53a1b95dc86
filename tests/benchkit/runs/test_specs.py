"""From names to methods with hyperparameters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from baselines.asl import ASL
from baselines.core import Method, MethodError, MethodInfo, hyper, registry
from benchkit.base.errors import BenchkitError, UsageError
from benchkit.runs.specs import hyper_of, in_regime, specs

PLUGIN = """
from baselines.core import Method, MethodInfo


class {name}(Method):
    info = MethodInfo("{key}", "{name}", "none", 2026, "L", "negative")
"""


WITH_GAMMA = """
    import dataclasses
    from baselines.core import hyper
    Hyper = dataclasses.make_dataclass(
        "Hyper", [("gamma", float, hyper(1.0, "an exponent"))], frozen=True
    )
"""


@dataclass(frozen=True)
class Options:
    rate: float = hyper(0.5, "a rate", search=(0.0, 1.0), low=0.0, high=1.0)
    width: int = hyper(8, "a width", low=1)
    fast: bool = hyper(False, "whether it is fast")
    mode: str = hyper("slow", "how", choices=("slow", "quick"))
    free: float = hyper(1.0, "any number")


class Example(Method):
    info = MethodInfo("example", "Example", "none", 2026, "L", "negative")
    Hyper = Options


def plugin(folder: Path, key: str, name: str = "Mine") -> Path:
    path = folder / f"{key}_{name}.py"
    path.write_text(PLUGIN.format(key=key, name=name))
    return path


def test_hyperparameters_from_text() -> None:
    text = {"rate": "0.25", "width": "3", "fast": "on", "mode": "quick"}
    assert hyper_of(Example, text) == Options(0.25, 3, True, "quick")
    assert hyper_of(Example, {}) == Options()
    assert hyper_of(Example, {"fast": "FALSE", "rate": "1e-1"}) == Options(0.1)
    assert hyper_of(Example, {"rate": "0.1"}, {"rate": 0.9, "width": 2}) == Options(0.1, 2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rte": "1"}, "method 'example' has no option 'rte'; did you mean 'rate'"),
        ({"zzz": "1"}, "has no option 'zzz'; known: rate, width, fast, mode, free"),
        ({"rate": "much"}, "rate='much' is not a number"),
        ({"width": "2.5"}, "width='2.5' is not a whole number"),
        ({"fast": "maybe"}, "fast='maybe' is not yes or no"),
        ({"mode": "idle"}, "mode='idle' is not one of slow, quick"),
        ({"rate": "1.5"}, r"rate=1.5 is outside \[0.0, 1.0\]"),
        ({"free": "nan"}, "free=nan is not a finite number"),
        ({"width": "0"}, "width=0 is less than 1$"),
    ],
)
def test_wrong_hyperparameters(values: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        hyper_of(Example, values)


def test_keys_classes_and_all() -> None:
    assert [spec.method.info.key for spec in specs("bce, asl")] == ["bce", "asl"]
    assert [spec.method.info.key for spec in specs(["asl", "bce,asl"])] == ["asl", "bce"]
    assert [spec.method for spec in specs(ASL)] == [ASL]
    everything = [spec.method.info.key for spec in specs(["wan", "all"])]
    assert everything == ["wan", *(key for key in registry.builtin() if key != "wan")]


def test_values_as_text_and_typed() -> None:
    for value in ("0.1", 0.1):
        (spec,) = specs("asl", settings={"asl": {"clip": value}})
        assert spec.hyper == ASL.Hyper(clip=0.1)
    (spec,) = specs("asl", settings={"asl": {"focal_gradient": "yes"}})
    assert spec.hyper.focal_gradient is True
    assert specs("asl")[0].hyper == ASL.Hyper()


def test_lists_of_values_make_a_row_for_each_combination() -> None:
    settings = {"asl": {"clip": ["0", "0.05"], "gamma_negative": (2, 4.0), "gamma_positive": 1}}
    rows = specs("bce,asl", settings=settings)
    assert [row.key for row in rows] == ["bce", *["asl"] * 4]
    assert [(row.hyper.clip, row.hyper.gamma_negative) for row in rows[1:]] == [
        (0.0, 2.0),
        (0.0, 4.0),
        (0.05, 2.0),
        (0.05, 4.0),
    ]
    assert {row.hyper.gamma_positive for row in rows[1:]} == {1.0}
    assert {row.explicit for row in rows[1:]} == {frozenset(settings["asl"])}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["0.1", "0.10"], "method 'asl': clip has the value 0.1 twice"),
        ([0.1, "x"], "clip='x' is not a number"),
        ([], "method 'asl': clip has an empty list of values"),
    ],
)
def test_wrong_lists_of_values(values: list[Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        specs("asl", settings={"asl": {"clip": values}})


def test_published_values_and_settings() -> None:
    messages: list[str] = []
    (em,) = specs("em", papers=["voc", "coco"], log=messages.append)
    assert em.hyper.alpha == 0.2 and messages == ["em as in its paper: alpha=0.2"]
    (em,) = specs("em", papers=["voc"], settings={"em": {"alpha": 0.05}})
    assert em.hyper.alpha == 0.05


def test_defaults_follow_the_regime_unless_they_are_set() -> None:
    def modes(regime: str, **settings: Any) -> list[Any]:
        rows = specs("p-asl,csl,bce", settings={"p-asl": settings})
        p_asl, csl, _ = in_regime(rows, regime)
        assert p_asl.hyper.gamma_unknown == settings.get("gamma_unknown", 4.0)
        return [p_asl.hyper.mode, csl.hyper.prior, p_asl.departures(), p_asl.version]

    assert modes("pal") == ["ignore", True, {}, "1"]
    assert modes("missing") == ["negative", False, {"mode": "negative"}, "1"]
    assert modes("spl", gamma_unknown=2.0)[0] == "negative"
    assert modes("spl", mode="ignore")[:3] == ["ignore", False, {}]


def test_a_plugin_is_checked_with_its_values(tmp_path: Path) -> None:
    path = plugin(tmp_path, "plugin-of-a-test")
    text = "    def regimes(self):\n        return () if self.hyper.gamma == 1 else 1 / 0\n"
    path.write_text(path.read_text() + WITH_GAMMA + text)
    assert [spec.hyper.gamma for spec in specs("plugin-of-a-test", plugins=[path])] == [1.0]
    with pytest.raises(MethodError, match=r"regimes\(\) fails: ZeroDivisionError: .* \(line \d+\)"):
        specs("plugin-of-a-test", plugins=[path], settings={"plugin-of-a-test": {"gamma": "2"}})


def test_classes_that_are_no_methods() -> None:
    for wrong in (int, Method):
        with pytest.raises(UsageError, match="is no method; it needs to be a subclass of Method"):
            specs(wrong)
    info = MethodInfo("wrong", 3, "none", 2026, "L", "negative")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"Wrong: info\.title is 3; it must be one line of text"):
        specs(type("Wrong", (ASL,), {"info": info}))


def test_a_plugin_has_a_version_of_its_own(tmp_path: Path) -> None:
    path = plugin(tmp_path, "plugin-of-a-test")
    (first,) = specs("plugin-of-a-test", plugins=[path])
    assert (first.kind, first.version[:2], len(first.version)) == ("plugin", "1+", 14)
    path.write_text(path.read_text() + "# edited\n")
    (second,) = specs("plugin-of-a-test", plugins=[path])
    assert second.version != first.version
    assert [(s.kind, s.version) for s in specs("bce")] == [("builtin", "1")]


def test_two_plugins_with_one_key(tmp_path: Path) -> None:
    paths = [plugin(tmp_path, "plugin-of-a-test"), plugin(tmp_path, "plugin-of-a-test", "Other")]
    with pytest.raises(BenchkitError, match="two plugins define the method 'plugin-of-a-test'"):
        specs("plugin-of-a-test", plugins=paths)


def test_a_class_that_takes_the_key_of_a_builtin_method() -> None:
    class Other(ASL):
        info = MethodInfo("asl", "Other", "none", 2026, "L", "negative")

    with pytest.raises(UsageError, match="the method 'asl' exists already"):
        specs(Other)


def test_a_class_without_source() -> None:
    namespace: dict[str, Any] = {}
    exec(PLUGIN.format(key="typed-in-a-test", name="TypedIn"), namespace)
    with pytest.raises(
        UsageError, match="the source of the method 'typed-in-a-test' cannot be read"
    ):
        specs(namespace["TypedIn"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"methods": "ASL"}, "there is no method 'ASL'; did you mean 'asl'"),
        ({"methods": "asl", "settings": {"asl": {"clp": 1}}}, "no option 'clp'; did you mean"),
        ({"methods": "asl", "settings": {"asl": {"clip": 2}}}, r"outside \[0.0, 1.0\]"),
        ({"methods": "asl", "settings": {"bce": {}}}, "'bce' is not in --method"),
        ({"methods": "asl", "papers": ["mnist"]}, "--paper mnist: no method has values"),
    ],
)
def test_wrong_calls(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        specs(**arguments)
