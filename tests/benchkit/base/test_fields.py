"""Typed options: conversion of text and of typed values, and the messages of refused ones."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchkit.base import fields
from benchkit.base.errors import BenchkitError
from benchkit.base.fields import Field

OWNER = "method 'm'"
SWITCH = Field("flip", False)
COUNT = Field("epochs", 20, low=1)
RATE = Field("rate", 0.5, low=0.0, high=1.0)
WEIGHT = Field("weight", 1.0)
MODE = Field("mode", "slow", choices=("slow", "quick"))
WIDTH = Field("width", 64, choices=(64, 128))
NOTE = Field("note", "")


def refused(field: Field, value: Any) -> str:
    """The message for a refused value, without the owner."""
    with pytest.raises(BenchkitError) as error:
        fields.convert(field, value, OWNER)
    message = str(error.value)
    assert message.startswith(f"{OWNER}: ")
    return message.removeprefix(f"{OWNER}: ")


@pytest.mark.parametrize(
    ("field", "text", "expected"),
    [
        *((SWITCH, text, True) for text in ("true", "yes", "on", "1", "TRUE", "Yes")),
        *((SWITCH, text, False) for text in ("false", "no", "off", "0", "False", "NO")),
        (COUNT, "7", 7),
        (COUNT, " 7 ", 7),
        (RATE, "0", 0.0),
        (RATE, "1e-3", 0.001),
        (RATE, "1", 1.0),
        (WEIGHT, "-2.5", -2.5),
        (MODE, "quick", "quick"),
        (WIDTH, "128", 128),
        (NOTE, "", ""),
        (NOTE, "5", "5"),
    ],
)
def test_text_is_converted_to_the_type_of_the_default(
    field: Field, text: str, expected: Any
) -> None:
    value = fields.convert(field, text, OWNER)
    assert value == expected
    assert type(value) is type(field.default)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        (SWITCH, True, True),
        (SWITCH, False, False),
        (COUNT, 7, 7),
        (COUNT, 7.0, 7),
        (RATE, 1, 1.0),
        (RATE, 0.25, 0.25),
        (MODE, "slow", "slow"),
    ],
)
def test_typed_values_keep_their_value(field: Field, value: Any, expected: Any) -> None:
    converted = fields.convert(field, value, OWNER)
    assert converted == expected
    assert type(converted) is type(field.default)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (COUNT, 5.7, "epochs=5.7 is not a whole number"),
        (COUNT, True, "epochs=True is not a whole number"),
        (COUNT, None, "epochs=None is not a whole number"),
        (COUNT, [5], "epochs=[5] is not a whole number"),
        (COUNT, math.inf, "epochs=inf is not a whole number"),
        (COUNT, math.nan, "epochs=nan is not a whole number"),
        (COUNT, "5.0", "epochs='5.0' is not a whole number"),
        (COUNT, "", "epochs='' is not a whole number"),
        (RATE, False, "rate=False is not a number"),
        (RATE, {}, "rate={} is not a number"),
        (RATE, "half", "rate='half' is not a number"),
        (SWITCH, 1, "flip=1 is not yes or no"),
        (SWITCH, 0.0, "flip=0.0 is not yes or no"),
        (SWITCH, "maybe", "flip='maybe' is not yes or no"),
        (NOTE, 5, "note=5 is not text"),
        (NOTE, True, "note=True is not text"),
    ],
)
def test_a_value_of_another_type_is_refused(field: Field, value: Any, message: str) -> None:
    assert refused(field, value) == message


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (COUNT, "0", "epochs=0 is less than 1"),
        (COUNT, -3, "epochs=-3 is less than 1"),
        (RATE, "1.5", "rate=1.5 is outside [0.0, 1.0]"),
        (RATE, -0.1, "rate=-0.1 is outside [0.0, 1.0]"),
        (Field("share", 0.5, high=1.0), 2, "share=2.0 is greater than 1.0"),
    ],
)
def test_a_number_out_of_range_is_refused(field: Field, value: Any, message: str) -> None:
    assert refused(field, value) == message


@pytest.mark.parametrize("bound", [1, None])
def test_the_bounds_themselves_are_allowed(bound: int | None) -> None:
    field = Field("n", 1, low=bound, high=bound)
    assert fields.convert(field, "1", OWNER) == 1


@pytest.mark.parametrize("field", [RATE, WEIGHT])
@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999"])
def test_a_number_that_is_not_finite_is_refused(field: Field, text: str) -> None:
    assert refused(field, text) == f"{field.name}={float(text)} is not a finite number"
    assert "number" in refused(field, float(text))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (MODE, "fast", "mode='fast' is not one of slow, quick"),
        (MODE, "Slow", "mode='Slow' is not one of slow, quick"),
        (WIDTH, "65", "width=65 is not one of 64, 128"),
    ],
)
def test_a_value_that_is_not_among_the_choices_is_refused(
    field: Field, value: Any, message: str
) -> None:
    assert refused(field, value) == message


def test_parse_converts_the_named_fields_only() -> None:
    known = [SWITCH, COUNT, RATE, MODE]
    assert fields.parse(known, {"rate": "0.25", "flip": True}, OWNER) == {
        "rate": 0.25,
        "flip": True,
    }
    assert fields.parse(known, {}, OWNER) == {}
    assert fields.parse([], {}, OWNER) == {}


@pytest.mark.parametrize(
    ("known", "name", "hint"),
    [
        ([COUNT, RATE], "epoch", "did you mean 'epochs'?"),
        ([COUNT, RATE], "zzz", "known: epochs, rate"),
        ([], "epochs", "there are none"),
    ],
)
def test_an_unknown_name_is_refused_with_a_hint(known: list[Field], name: str, hint: str) -> None:
    with pytest.raises(BenchkitError) as error:
        fields.parse(known, {name: "1"}, OWNER)
    assert str(error.value) == f"{OWNER} has no option '{name}'; {hint}"


def test_parse_names_the_owner_of_a_bad_value() -> None:
    with pytest.raises(BenchkitError, match=r"^recipe 'tiny': epochs='x' is not a whole number$"):
        fields.parse([COUNT], {"epochs": "x"}, "recipe 'tiny'")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=1", ("a", "1")),
        (" a = 1 ", ("a", "1")),
        ("a=", ("a", "")),
        ("a=b=c", ("a", "b=c")),
        ("path=/x y/z", ("path", "/x y/z")),
    ],
)
def test_an_assignment_is_split_at_the_first_equals_sign(
    text: str, expected: tuple[str, str]
) -> None:
    assert fields.assignment(text, "--set", "epochs=5") == expected


@pytest.mark.parametrize("text", ["", "a", "=1", " =1", "a:1"])
def test_an_argument_without_a_name_and_a_value_is_refused(text: str) -> None:
    with pytest.raises(BenchkitError) as error:
        fields.assignment(text, "--set", "epochs=5")
    assert str(error.value) == f"--set {text!r} is not NAME=VALUE, as in epochs=5"


@given(st.integers())
def test_integers_survive_the_way_through_text(number: int) -> None:
    field = Field("n", 0)
    assert fields.convert(field, str(number), OWNER) == number
    assert fields.convert(field, number, OWNER) == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_survive_the_way_through_text(number: float) -> None:
    field = Field("x", 0.0)
    assert fields.convert(field, repr(number), OWNER) == number
    assert fields.convert(field, number, OWNER) == number


@given(st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: x != int(x)))
def test_a_fraction_is_never_cut_to_an_integer(number: float) -> None:
    assert refused(Field("n", 0), number) == f"n={number!r} is not a whole number"
