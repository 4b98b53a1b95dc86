"""Run arguments: run ids, departures from defaults, and the keys of rows."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from leaderboard.arguments import Departures, RunArguments, canonical
from leaderboard.reader import Reader

ARGUMENTS = RunArguments(
    split="ab" * 32,
    method="asl",
    method_version="1",
    hyperparameters={"clip": 0.1, "gamma_negative": 4.0, "focal_gradient": False},
    recipe={"optimiser": "adam", "lr": 0.001, "epochs": 10},
    seed=3,
    selection="last",
    metric_version="1",
    departures=Departures("1", ("epochs",), ("clip",)),
)


def test_the_run_id_is_the_digest_of_the_departing_values():
    identity = {
        "split": "ab" * 32,
        "method": "asl",
        "method_version": "1",
        "hyperparameters": {"clip": 0.1},
        "recipe": {"epochs": 10},
        "recipe_defaults": "1",
        "seed": 3,
        "selection": "last",
        "metric_version": "1",
    }
    assert ARGUMENTS.identity == identity
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    assert ARGUMENTS.run_id == hashlib.sha256(text.encode()).hexdigest()[:16] == "e8c3f880c361a93d"


def test_canonical_json_has_one_form():
    assert canonical({"b": [1, 0.5, None, True], "a": "é"}) == (
        '{"a":"\\u00e9","b":[1,0.5,null,true]}'
    )
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical({"a": float("nan")})


def test_the_order_of_values_does_not_matter():
    reversed_values = {
        section: dict(reversed(getattr(ARGUMENTS, section).items()))
        for section in ("hyperparameters", "recipe")
    }
    assert replace(ARGUMENTS, **reversed_values).run_id == ARGUMENTS.run_id
    through_json = json.loads(json.dumps(ARGUMENTS.to_json(2)))
    arguments = RunArguments.from_json(Reader(through_json, Path("run.json")), 2)
    assert arguments == ARGUMENTS
    assert arguments.run_id == ARGUMENTS.run_id


def test_every_argument_is_part_of_the_run_id():
    others = [
        replace(ARGUMENTS, split="cd" * 32),
        replace(ARGUMENTS, method="bce"),
        replace(ARGUMENTS, method_version="2"),
        replace(ARGUMENTS, hyperparameters={**ARGUMENTS.hyperparameters, "clip": 0.2}),
        replace(ARGUMENTS, recipe={**ARGUMENTS.recipe, "epochs": 11}),
        replace(ARGUMENTS, seed=4),
        replace(ARGUMENTS, selection="val"),
        replace(ARGUMENTS, metric_version="2"),
        replace(ARGUMENTS, inputs={"class_embeddings": "00"}),
        replace(ARGUMENTS, departures=Departures("2", ("epochs",), ("clip",))),
        replace(ARGUMENTS, departures=Departures("1", ("epochs", "lr"), ("clip",))),
        replace(ARGUMENTS, departures=Departures("1", ("epochs",), ("clip", "focal_gradient"))),
    ]
    assert len({each.run_id for each in [ARGUMENTS, *others]}) == len(others) + 1


def test_values_at_their_default_are_not_part_of_the_run_id():
    longer = replace(
        ARGUMENTS,
        hyperparameters={**ARGUMENTS.hyperparameters, "added_later": 0.0},
        recipe={**ARGUMENTS.recipe, "added_later": "off"},
    )
    assert longer.run_id == ARGUMENTS.run_id
    assert (longer.row, longer.setting) == (ARGUMENTS.row, ARGUMENTS.setting)


def test_the_setting_leaves_out_the_seed():
    assert replace(ARGUMENTS, seed=4).setting == ARGUMENTS.setting
    assert replace(ARGUMENTS, selection="val").setting != ARGUMENTS.setting


def test_seeds_of_external_scores_share_a_row_and_not_a_setting():
    one, other = (
        replace(
            ARGUMENTS,
            method_version="external",
            hyperparameters={},
            recipe={},
            seed=seed,
            inputs={"scores": str(seed)},
            departures=Departures(),
        )
        for seed in (0, 1)
    )
    assert one.external
    assert one.row == other.row
    assert one.setting != other.setting


def test_departures_of_a_command():
    command = (
        *("benchkit", "run", "--split", "a b.h5", "--method", "asl", "--seed", "--set"),
        *("--set", "asl.clip=0.1", "--set", "asl.note=x=y", "--recipe", "epochs=2"),
        *("--select", "last", "--out", "--recipe"),
    )
    assert Departures.from_command(command, "asl") == Departures("1", ("epochs",), ("clip", "note"))
    assert Departures.from_command(command[:8], "asl") == Departures("1")


def test_the_same_run_is_recognised_without_departures():
    unknown = replace(ARGUMENTS, departures=None)
    assert unknown.is_same_run(ARGUMENTS) and ARGUMENTS.is_same_run(unknown)
    assert unknown.is_same_run(unknown)
    assert not unknown.is_same_run(replace(ARGUMENTS, seed=4))
    assert not unknown.is_same_run(replace(ARGUMENTS, inputs={"class_embeddings": "00"}))
    other_value = {**ARGUMENTS.recipe, "lr": 0.1}
    assert not unknown.is_same_run(replace(ARGUMENTS, recipe=other_value))
    # A field that the older record does not hold had its default.
    longer = replace(ARGUMENTS, recipe={**ARGUMENTS.recipe, "added_later": 2})
    assert unknown.is_same_run(longer)
    departing = Departures("1", ("epochs", "added_later"), ("clip",))
    assert not unknown.is_same_run(replace(longer, departures=departing))
