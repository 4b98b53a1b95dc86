"""Recipes: reading them, refusing what is wrong, and the rate at every step."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from baselines.core.heads import HiddenHead, LinearHead
from benchkit.base.errors import BenchkitError
from benchkit.training.recipe import RECIPES, Recipe, milestones, parse


def test_no_words_give_the_default() -> None:
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


def test_words_apply_from_left_to_right(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('lr = 0.5\nepochs = 3\nhead = "hidden:7"\nmilestones = "1,2"\n')
    got = parse(["dbl", "batch=4", str(file), "lr=0.25"])
    assert (got.optimiser, got.batch, got.lr, got.epochs) == ("sgd", 4, 0.25, 3)
    assert got.make_head() == HiddenHead(7)
    assert parse(["lr=0.25", "dbl"]).lr == 0.02  # a name replaces everything before it
    assert Recipe().make_head() == LinearHead(scaled=True)
    assert parse(["head=linear"]).make_head() == LinearHead(scaled=False)


def test_toml_integers_serve_as_floats(tmp_path: Path) -> None:
    file = tmp_path / "r.toml"
    file.write_text("lr = 1\nweight_decay = 0\nepochs = 4.0\n")
    got = parse([str(file)])
    assert repr((got.lr, got.weight_decay, got.epochs)) == "(1.0, 0.0, 4)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs = 5.7", r"epochs=5.7 is not a value of type int"),
        ("batch = true", r"batch=True is not a value of type int"),
        ("lr = true", r"lr=True is not a value of type float"),
        ("epochs = inf", r"epochs=inf is not a value of type int"),
        ("lr = [1]", r"lr=\[1\] is not a value of type float"),
        ("optimiser = 3", r"optimiser=3 is not a value of type str"),
        ("epoch = 5", r"has no field 'epoch'; did you mean 'epochs'\?"),
        ("lr = ", r"is not TOML"),
    ],
)
def test_toml_values_are_not_bent(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "r.toml"
    file.write_text(text + "\n")
    with pytest.raises(BenchkitError, match=message):
        parse([str(file)])


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BenchkitError, match=r"no\.toml cannot be read: No such file"):
        parse([str(tmp_path / "no.toml")])
    (tmp_path / "latin.toml").write_bytes(b'head = "\xe9"\n')
    with pytest.raises(BenchkitError, match="is not TOML"):
        parse([str(tmp_path / "latin.toml")])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("feature", r"no recipe 'feature'; did you mean 'features'\?"),
        ("zzz", r"no recipe 'zzz'; known: features, dbl"),
        ("epoch=3", r"no field 'epoch'; did you mean 'epochs'\?"),
        ("zzz=3", r"no field 'zzz'; fields: optimiser, lr"),
        ("epochs=5.7", r"epochs='5.7' is not a value of type int"),
        ("epochs=0", r"epochs=0 must be a finite number of at least 1"),
        ("batch=0", r"batch=0 must be"),
        ("lr=nan", r"lr=nan must be a finite number"),
        ("lr=-1", r"lr=-1.0 must be"),
        ("momentum=nan", r"momentum=nan must be"),
        ("clip=inf", r"clip=inf must be"),
        ("optimiser=lion", r"optimiser='lion' is not one of adam, adamw, sgd"),
        ("schedule=linear", r"schedule='linear' is not one of"),
        ("sampler=none", r"sampler='none' is not one of"),
        ("standardise=yes", r"standardise='yes' is not one of"),
        ("head=hidden", r"head='hidden' is not linear-scaled, linear, hidden:WIDTH"),
        ("head=hidden:0", r"is not linear-scaled, linear, hidden:WIDTH"),
        ("head=hidden:²", r"is not linear-scaled, linear, hidden:WIDTH"),
        ("milestones=5;7", r"milestones='5;7' is not a list such as 5,7"),
    ],
)
def test_what_is_wrong_is_said(word: str, message: str) -> None:
    with pytest.raises(BenchkitError, match=message):
        parse([word])


def test_milestones() -> None:
    assert milestones("5,7") == [5, 7]
    assert milestones("") == []


def test_constant() -> None:
    recipe = Recipe(schedule="constant", epochs=3, warmup_steps=0)
    assert [recipe.rate_factor(e, s, 4) for e in (1, 2, 3) for s in (0, 3)] == [1.0] * 6


def test_dbl_warm_up_then_steps_after_epochs_5_and_7() -> None:
    recipe, steps = parse(["dbl"]), 150  # warm-up ends inside epoch 4: 500 = 3 * 150 + 50
    for t in (0, 1, 149, 150, 250, 499):
        expected = 1 - (1 - t / 500) * (1 - 1 / 3)
        assert recipe.rate_factor(1 + t // steps, t % steps, steps) == pytest.approx(expected)
    assert recipe.rate_factor(1, 0, steps) == pytest.approx(1 / 3)
    assert recipe.rate_factor(2, 100, steps) == pytest.approx(2 / 3)  # t = 250, half way
    assert recipe.rate_factor(4, 50, steps) == 1.0
    by_epoch = [recipe.rate_factor(e, s, steps) for e in (5, 6, 7, 8) for s in (0, 149)]
    assert by_epoch == pytest.approx([1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01])


def test_warm_up_multiplies_a_rate_that_has_stepped_already() -> None:
    recipe = parse(["dbl"])
    # 64 steps an epoch: epoch 6 begins at t = 320, still warming up: lr = 0.1 (1 - 0.36 * 2/3).
    assert recipe.rate_factor(6, 0, 64) == pytest.approx(0.1 * (1 - 0.36 * 2 / 3))


def test_cosine_goes_from_one_to_zero() -> None:
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
