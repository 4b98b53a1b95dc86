"""Recipes: parsing, errors, versioned defaults, and the learning rate of every step."""

from __future__ import annotations

import dataclasses
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
    DEFAULTS_VERSION,
    LARGEST,
    RECIPES,
    Recipe,
    departures,
    milestones,
    parse,
)

# ----------------------------------------------------------------------------- parsing


def test_no_arguments_give_the_default() -> None:
    assert parse([]) == Recipe() == RECIPES["features"][1]


def test_the_published_schedules() -> None:
    dbl = parse(["dbl"])
    assert (dbl.optimiser, dbl.lr, dbl.momentum, dbl.weight_decay) == ("sgd", 0.02, 0.9, 1e-4)
    assert (dbl.warmup_steps, dbl.warmup_ratio, dbl.epochs, dbl.batch) == (500, 1 / 3, 8, 32)
    assert (dbl.milestones, dbl.factor, dbl.clip) == ("5,7", 0.1, 35.0)
    spml = parse(["spml-linear"])
    assert (spml.optimiser, spml.epochs, spml.batch, spml.schedule) == ("adam", 25, 16, "constant")
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
    assert Recipe().make_head() == LinearHead(scaled=True)
    assert parse(["head=linear"]).make_head() == LinearHead(scaled=False)
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
        ("lr = ", r"r\.toml is not valid TOML"),
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
        (b"epochs = 1\nepochs = 2\n", r"r\.toml is not valid TOML: Cannot overwrite a value"),
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
        assert str(file) in str(error)
    else:
        assert math.isfinite(recipe.lr) and 1 <= recipe.epochs <= LARGEST
        assert math.isfinite(recipe.rate_factor(1, 0, 4))
        recipe.make_head()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("feature", r"no recipe 'feature'; did you mean 'features'\?"),
        ("zzz", r"no recipe 'zzz'; known: features, dbl"),
        ("epoch=3", r"no option 'epoch'; did you mean 'epochs'\?"),
        ("zzz=3", r"no option 'zzz'; known: optimiser, lr"),
        ("=3", r"--recipe '=3' is not NAME=VALUE, as in epochs=20"),
        ("epochs=5.7", r"epochs='5.7' is not a whole number"),
        ("epochs=0", r"epochs=0 is less than 1"),
        ("batch=0", r"batch=0 is less than 1"),
        ("warmup_steps=-1", r"warmup_steps=-1 is less than 0"),
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
        ("head=hidden", r"head='hidden' is not one of linear-scaled, linear, hidden:WIDTH"),
        ("head=hidden:0", r"head='hidden:0' is not one of linear-scaled, linear, hidden:WIDTH"),
        ("head=hidden:²", r"head='hidden:²' is not one of linear-scaled, linear, hidden:WIDTH"),
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
    with pytest.raises(BenchkitError, match="recipe: epochs=0 is less than 1"):
        Recipe(epochs=0)


def test_recipes_can_be_listed_without_torch() -> None:
    program = f"import sys, {recipes.__name__}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# ----------------------------------------------------------------------------- defaults


def test_the_defaults_of_version_1_never_change() -> None:
    """Run ids depend on them. A new field is added here with the value of the old behaviour."""
    assert DEFAULTS_VERSION == "1"
    assert dataclasses.asdict(DEFAULTS["1"]) == {
        "optimiser": "adam",
        "lr": 0.001,
        "momentum": 0.9,
        "weight_decay": 0.0001,
        "schedule": "cosine",
        "milestones": "",
        "factor": 0.1,
        "warmup_steps": 0,
        "warmup_ratio": 1 / 3,
        "epochs": 20,
        "batch": 32,
        "clip": 0.0,
        "sampler": "method",
        "head": "linear-scaled",
        "standardise": "on",
    }


def test_departures_from_the_defaults() -> None:
    assert departures(DEFAULTS[DEFAULTS_VERSION]) == {}
    assert departures(parse(["spml-linear", "lr=0.001", "batch=8"])) == {
        "weight_decay": 0.0,
        "schedule": "constant",
        "epochs": 25,
        "batch": 8,
    }


# ----------------------------------------------------------------------------- learning rates


def test_milestones() -> None:
    assert milestones("5,7") == [5, 7]
    assert milestones("") == []


def test_a_constant_schedule() -> None:
    recipe = Recipe(schedule="constant", epochs=3, warmup_steps=0)
    assert [recipe.rate_factor(epoch, step, 4) for epoch in (1, 2, 3) for step in (0, 3)] == [
        1.0
    ] * 6


def test_dbl_warms_up_and_steps_after_epochs_5_and_7() -> None:
    recipe, steps = parse(["dbl"]), 150  # warm-up ends in epoch 4: 500 = 3 * 150 + 50
    for t in (0, 1, 149, 150, 250, 499):
        expected = 1 - (1 - t / 500) * (1 - 1 / 3)
        assert recipe.rate_factor(1 + t // steps, t % steps, steps) == pytest.approx(expected)
    assert recipe.rate_factor(1, 0, steps) == pytest.approx(1 / 3)
    assert recipe.rate_factor(2, 100, steps) == pytest.approx(2 / 3)  # t = 250, half of the warm-up
    assert recipe.rate_factor(4, 50, steps) == 1.0
    by_epoch = [recipe.rate_factor(e, s, steps) for e in (5, 6, 7, 8) for s in (0, 149)]
    assert by_epoch == pytest.approx([1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01])


def test_warm_up_and_milestones_multiply() -> None:
    recipe = parse(["dbl"])
    # With 64 steps per epoch, epoch 6 begins at t = 320, within the warm-up.
    assert recipe.rate_factor(6, 0, 64) == pytest.approx(0.1 * (1 - 0.36 * 2 / 3))


def test_cosine_falls_from_one_to_zero() -> None:
    recipe = Recipe(schedule="cosine", epochs=4)
    assert recipe.rate_factor(1, 0, 10) == 1.0
    assert recipe.rate_factor(3, 0, 10) == pytest.approx(0.5)
    assert recipe.rate_factor(2, 0, 10) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert recipe.rate_factor(4, 9, 10) == pytest.approx((1 + math.cos(math.pi * 39 / 40)) / 2)
    assert recipe.rate_factor(5, 0, 10) == 0.0


def test_cosine_ends_with_the_stage() -> None:
    recipe = Recipe(schedule="cosine", epochs=4)
    assert recipe.rate_factor(5, 0, 10, epochs=8) == pytest.approx(0.5)
    falling = [recipe.rate_factor(e, 0, 10, epochs=8) for e in range(1, 10)]
    assert falling == sorted(falling, reverse=True)
    assert falling[-1] == 0.0
