"""Recipes: parsing, errors, versioned defaults, and the learning rate of every step."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from baselines.core.heads import HiddenHead, LinearHead
from benchkit.base.errors import BenchkitError
from benchkit.training import recipe as recipes
from benchkit.training.recipe import (
    DEFAULTS,
    FEWEST_EPOCHS,
    LARGEST,
    MOST_EPOCHS,
    RECIPES,
    Recipe,
    departures,
    milestones,
    parse,
)

# ----------------------------------------------------------------------------- parsing


def test_no_arguments_give_the_default() -> None:
    assert parse([]) == Recipe() == RECIPES["features"][1] == DEFAULTS["2"]


def test_the_published_schedules() -> None:
    dbl = parse(["dbl"])
    assert (dbl.optimiser, dbl.lr, dbl.momentum, dbl.weight_decay) == ("sgd", 0.02, 0.9, 1e-4)
    assert (dbl.warmup, dbl.warmup_ratio, dbl.epochs, dbl.batch) == (0.09, 1 / 3, 8, 32)
    assert dbl.for_classes(80).lr == pytest.approx(1.6)  # a loss that is a sum over classes
    assert (dbl.milestones, dbl.factor, dbl.clip) == ("5,7", 0.1, 35.0)
    spml = parse(["spml-linear"])
    assert (spml.optimiser, spml.epochs, spml.batch, spml.schedule) == ("adam", 25, 16, "constant")
    assert (spml.standardise, spml.row_norm, spml.weight_decay) == ("off", 0.0, 0.0)
    assert spml.make_head() == LinearHead(uniform=True)
    comic = parse(["comic"])
    assert (comic.optimiser, comic.lr, comic.weight_decay) == ("adam", 1e-3, 1e-4)
    assert (comic.epochs, comic.batch, comic.schedule) == (40, 32, "constant")


def test_arguments_apply_from_left_to_right(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('lr = 0.5\nepochs = 3\nhead = "hidden:7"\nmilestones = "1,2"\n')
    recipe = parse(["dbl", "batch=4", str(file), "lr=0.25"])
    assert (recipe.optimiser, recipe.batch, recipe.lr, recipe.epochs) == ("sgd", 4, 0.25, 3)
    assert recipe.make_head() == HiddenHead(7)
    assert parse(["dbl", {"batch": 4, "clip": "2"}]) == parse(["dbl", "batch=4", "clip=2.0"])
    assert parse(["lr=0.25", "dbl"]).lr == 0.02  # a name replaces everything before it


def test_heads() -> None:
    assert Recipe().make_head() == LinearHead(scaled=True, row_norm=16.0)
    assert parse(["row_norm=0"]).make_head() == LinearHead(scaled=True)
    assert parse(["head=linear", "row_norm=0"]).make_head() == LinearHead(scaled=False)
    assert parse(["head=hidden:12"]).make_head() == HiddenHead(12)


def test_values_take_the_type_of_their_field(tmp_path: Path) -> None:
    file = tmp_path / "r.toml"
    file.write_text("lr = 1\nweight_decay = 0\nepochs = 4.0\n")
    for recipe in (parse([str(file)]), Recipe(lr=1, weight_decay=0, epochs=4.0)):  # type: ignore[arg-type]
        assert repr((recipe.lr, recipe.weight_decay, recipe.epochs)) == "(1.0, 0.0, 4)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs = 5.7", r"r\.toml: epochs=5.7 is not a whole number"),
        ("batch = true", r"batch=True is not a whole number"),
        ("lr = true", r"lr=True is not a number"),
        ("epochs = inf", r"epochs=inf is not a whole number"),
        ("lr = [1]", r"lr=\[1\] is not a number"),
        ("lr = -1", r"r\.toml: lr=-1\.0 is less than 0\.0"),
        ("optimiser = 3", r"optimiser=3 is not text"),
        ("epoch = 5", r"r\.toml has no option 'epoch'; did you mean 'epochs'\?"),
        ("lr = ", r"r\.toml is not valid TOML at (line 1, column 6|end of document); give FIELD"),
    ],
)
def test_invalid_toml(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "r.toml"
    file.write_text(text + "\n")
    with pytest.raises(BenchkitError, match=message):
        parse([str(file)])


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "r.toml"
    with pytest.raises(BenchkitError, match=r"r\.toml does not exist"):
        parse([str(file)])
    for content, message in (
        (b'head = "\xe9"\n', r"r\.toml is not UTF-8 text, at byte 8"),
        (b"#" * (1 << 20) + b"\n", r"r\.toml has more than 1024 KiB"),
        (b"lr = " + b"[" * 50_000, r"r\.toml is nested too deeply; give FIELD = VALUE"),
        (b"epochs = " + b"1" * 5000, r"r\.toml has a number of too many digits"),
        (b"epochs = 0x" + b"f" * 5000, r"epochs=0xf{118}\.\.\. is greater than 2147483647"),
        (b"epochs = 1\nepochs = 2\n", r"r\.toml sets a field twice at (line 2|end of document)"),
        (b"lr = nan", "lr=nan is not a finite number"),
        (b"lr = -inf", "lr=-inf is not a finite number"),
        (b"epochs = 3.5", "epochs=3.5 is not a whole number"),
        (b"epochs = true", "epochs=True is not a whole number"),
        (b"epochs = [1]", r"epochs=\[1\] is not a whole number"),
        (b"[lr]\nx = 1", r"r\.toml: \[lr\] is a table; give lr = VALUE"),
        (b"[recipe]\nlr = 1", r"r\.toml: \[recipe\] is a table"),
        (b"lr = 1979-05-27", r"is not a number$"),
    ):
        file.write_bytes(content)
        with pytest.raises(BenchkitError, match=message) as error:
            parse([str(file)])
        assert str(file) in str(error.value) and len(str(error.value)) < 400
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(BenchkitError, match=r"r\.toml is a named pipe"):
        parse([str(file)])
    file.unlink()
    file.mkdir()
    with pytest.raises(BenchkitError, match=r"r\.toml is a folder"):
        parse([str(file)])


VALID = b'lr = 0.5\nepochs = 3\nhead = "hidden:7"\nmilestones = "1,2"\nclip = 1_0.5e0\n'


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(edits=st.lists(st.tuples(st.integers(0, len(VALID)), st.binary(max_size=3)), max_size=4))
def test_a_damaged_file_is_a_recipe_or_a_sentence(
    tmp_path: Path, edits: list[tuple[int, bytes]]
) -> None:
    content = bytearray(VALID)
    for position, replacement in edits:
        content[position : position + 1] = replacement
    file = tmp_path / "r.toml"
    file.write_bytes(content)
    try:
        recipe = parse([str(file)])
    except BenchkitError as error:
        assert str(file) in str(error) or "adamw multiplies the weights" in str(error)
    else:
        assert math.isfinite(recipe.lr) and 0 <= recipe.epochs <= LARGEST
        assert math.isfinite(recipe.rate_factor(1, 0, 4, recipe.epochs_of(100)))
        recipe.make_head()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("feature", r"no recipe 'feature'; did you mean 'features'\?"),
        ("zzz", r"no recipe 'zzz'; known: features, features-v1"),
        ("epoch=3", r"no option 'epoch'; did you mean 'epochs'\?"),
        ("zzz=3", r"no option 'zzz'; known: optimiser, lr"),
        ("=3", r"--recipe '=3' is not NAME=VALUE, as in epochs=20"),
        ("epochs=5.7", r"epochs='5.7' is not a whole number"),
        ("epochs=-1", r"epochs=-1 is less than 0"),
        ("steps=0", r"steps=0 is less than 1"),
        ("batch=0", r"batch=0 is less than 1"),
        ("warmup=-1", r"warmup=-1.0 is outside"),
        ("warmup=1.5", r"warmup=1.5 is outside"),
        ("row_norm=-1", r"row_norm=-1.0 is less than 0"),
        ("lr_scale=2", r"lr_scale='2' is not one of none, classes"),
        ("defaults=1", r"no option 'defaults'"),
        ("lr=nan", r"lr=nan is not a finite number"),
        ("lr=-1", r"lr=-1.0 is less than 0"),
        ("momentum=nan", r"momentum=nan is not a finite number"),
        ("weight_decay=-1", r"weight_decay=-1.0 is less than 0"),
        ("factor=-1", r"factor=-1.0 is less than 0"),
        ("warmup_ratio=-1", r"warmup_ratio=-1.0 is less than 0"),
        ("clip=-1", r"clip=-1.0 is less than 0"),
        ("clip=inf", r"clip=inf is not a finite number"),
        ("optimiser=lion", r"optimiser='lion' is not one of adam, adamw, sgd"),
        ("schedule=linear", r"schedule='linear' is not one of constant, cosine, step"),
        ("sampler=none", r"sampler='none' is not one of method, shuffle, class-aware"),
        ("standardise=yes", r"standardise='yes' is not one of on, off"),
        (
            "head=hidden",
            r"head='hidden' is not one of linear-scaled, linear, linear-uniform, hidden:WIDTH",
        ),
        (
            "head=hidden:0",
            r"head='hidden:0' is not one of linear-scaled, linear, linear-uniform, hidden:WIDTH",
        ),
        (
            "head=hidden:²",
            r"head='hidden:²' is not one of linear-scaled, linear, linear-uniform, hidden:WIDTH",
        ),
        ("head=hidden:" + "9" * 5000, r"WIDTH \(WIDTH from 1 to 1048576\)"),
        ("milestones=" + "9" * 5000, r"milestones='9+\.\.\. is not a list of epochs such as 5,7"),
        ("epochs=" + "9" * 5000, r"epochs='9+\.\.\. is not a whole number"),
        ("epochs=1000000000000", r"epochs=1000000000000 is greater than 2147483647"),
        ("batch=1000000000000", r"batch=1000000000000 is greater than 2147483647"),
        ("lr=1e400", r"lr=inf is not a finite number"),
        (3, r"recipe 3 is neither a text nor a mapping"),
        ({"epochs": 10**10000}, r"epochs=0x[0-9a-f]+\.\.\. is greater than 2147483647"),
        ({"lr": 10**10000}, r"lr=0x[0-9a-f]+\.\.\. is not a number"),
        ("milestones=5;7", r"milestones='5;7' is not a list of epochs such as 5,7"),
    ],
)
def test_invalid_arguments(argument: str, message: str) -> None:
    with pytest.raises(BenchkitError, match=message):
        parse([argument])


def test_recipes_made_in_python_are_checked() -> None:
    with pytest.raises(BenchkitError, match="recipe: epochs=-1 is less than 0"):
        Recipe(epochs=-1)


def test_a_decay_that_turns_the_weights_round_is_refused() -> None:
    message = r"recipe: lr=0.1 times weight_decay=16 is 1.6, .* must be less than 1; lower weight"
    with pytest.raises(BenchkitError, match=message):
        parse(["lr=0.1"])
    assert parse([{"lr": 0.1, "weight_decay": 1.0}]).lr == 0.1
    assert parse(["optimiser=adam", "lr=0.1"]).lr == 0.1


def test_recipes_can_be_listed_without_torch() -> None:
    program = f"import sys, {recipes.__name__}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# ----------------------------------------------------------------------------- defaults


def test_the_defaults_of_version_1_never_change() -> None:
    """Run ids depend on them. A new field is added here with the value of the old behaviour."""
    assert DEFAULTS["1"].defaults == "1" and RECIPES["features-v1"][1] == DEFAULTS["1"]
    assert DEFAULTS["1"].values() == {
        "optimiser": "adam",
        "lr": 0.001,
        "lr_scale": "none",
        "momentum": 0.9,
        "weight_decay": 0.0001,
        "schedule": "cosine",
        "milestones": "",
        "factor": 0.1,
        "warmup": 0.0,
        "warmup_ratio": 1 / 3,
        "steps": 2000,
        "epochs": 20,
        "batch": 32,
        "clip": 0.0,
        "sampler": "method",
        "head": "linear-scaled",
        "standardise": "on",
        "row_norm": 0.0,
    }


def test_the_defaults_of_version_2_never_change() -> None:
    assert DEFAULTS["2"].defaults == "2"
    changed = {"optimiser": "adamw", "weight_decay": 16.0, "epochs": 0, "row_norm": 16.0}
    assert DEFAULTS["2"].values() == {**DEFAULTS["1"].values(), **changed}


def test_departures_from_the_defaults() -> None:
    assert departures(DEFAULTS["1"]) == departures(DEFAULTS["2"]) == {}
    assert departures(parse(["features-v1", "epochs=40"])) == {"epochs": 40}
    assert departures(parse(["spml-linear", "lr=0.001", "batch=8", "standardise=on"])) == {
        "optimiser": "adam",
        "weight_decay": 0.0,
        "schedule": "constant",
        "epochs": 25,
        "batch": 8,
        "head": "linear-uniform",
        "row_norm": 0.0,
    }


# ----------------------------------------------------------------------------- budget


@pytest.mark.parametrize(
    ("rows", "epochs"),
    [
        (1434, 46),  # 44 steps per epoch: 2024 steps
        (1440, 45),  # 45 steps per epoch: 2000 steps
        (594, 112),
        (100, MOST_EPOCHS),
        (7, MOST_EPOCHS),  # a batch of 7
        (82_081, FEWEST_EPOCHS),
    ],
)
def test_the_budget_in_steps_gives_the_number_of_epochs(rows: int, epochs: int) -> None:
    assert Recipe().epochs_of(rows) == epochs
    assert Recipe(epochs=3).epochs_of(rows) == 3


# ----------------------------------------------------------------------------- learning rates


def test_milestones() -> None:
    assert milestones("5,7") == [5, 7]
    assert milestones("") == []


def test_a_constant_schedule() -> None:
    recipe = Recipe(schedule="constant", warmup=0.0)
    assert [recipe.rate_factor(epoch, step, 4, 3) for epoch in (1, 2, 3) for step in (0, 3)] == [
        1.0
    ] * 6


def test_dbl_warms_up_and_steps_after_epochs_5_and_7() -> None:
    recipe, steps = parse(["dbl"]), 150  # warm-up: 0.09 * 8 * 150 = 108 steps
    for t in (0, 1, 27, 54, 107):
        expected = 1 - (1 - t / 108) * (1 - 1 / 3)
        assert recipe.rate_factor(1, t, steps, 8) == pytest.approx(expected)
    assert recipe.rate_factor(1, 0, steps, 8) == pytest.approx(1 / 3)
    assert recipe.rate_factor(1, 54, steps, 8) == pytest.approx(2 / 3)
    assert recipe.rate_factor(1, 108, steps, 8) == recipe.rate_factor(5, 149, steps, 8) == 1.0
    by_epoch = [recipe.rate_factor(e, s, steps, 8) for e in (6, 7, 8) for s in (0, 149)]
    assert by_epoch == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.01, 0.01])


def test_warm_up_and_milestones_multiply() -> None:
    recipe = parse(["dbl", "warmup=0.8"])
    # With 10 steps per epoch, epoch 6 begins at t = 50 of 80, within the warm-up of 64 steps.
    assert recipe.rate_factor(6, 0, 10, 8) == pytest.approx(0.1 * (1 - (1 - 50 / 64) * 2 / 3))


def test_cosine_falls_from_one_to_zero() -> None:
    recipe = Recipe(schedule="cosine")
    assert recipe.rate_factor(1, 0, 10, 4) == 1.0
    assert recipe.rate_factor(3, 0, 10, 4) == pytest.approx(0.5)
    assert recipe.rate_factor(2, 0, 10, 4) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert recipe.rate_factor(4, 9, 10, 4) == pytest.approx((1 + math.cos(math.pi * 39 / 40)) / 2)
    assert recipe.rate_factor(5, 0, 10, 4) == 0.0
    falling = [recipe.rate_factor(e, 0, 10, 8) for e in range(1, 10)]
    assert falling == sorted(falling, reverse=True) and falling[4] == pytest.approx(0.5)
