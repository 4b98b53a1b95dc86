"""Training loops in plain PyTorch, against which tests compare whole runs of the trainer.

`PlainRun` is one run of one method, written as a training script for that method alone would be: no
stacking, no vmap, memory in ordinary tensors. A test derives a class from it that holds the
equations of its method, and calls `assert_equal_runs`. Nothing here imports a loss. Two things come
from the package, because their bits must agree: random numbers and initial parameters.

Everything is float64, so that a comparison after three epochs sees a wrong constant and not the
rounding that Adam amplifies.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from baselines.core import LabelTable, Method, Problem, Run, Setup
from baselines.core.draw import Draw as DrawInterface
from baselines.core.heads import LinearHead
from benchkit.base import random
from benchkit.base.draw import Draw
from benchkit.training.inputs import TrainingSet
from benchkit.training.recipe import Recipe
from benchkit.training.trainer import scores, train
from splits.regimes import Regime, observe

IMAGES, WIDTH, CLASSES, BATCH, EPOCHS = 60, 12, 7, 16, 3
STEPS = IMAGES // BATCH  # of an epoch; the last partial batch is dropped
SEEDS = [[0], [1], [0, 1]]  # alone, and both as one stack


def training_set(regime: str) -> TrainingSet:
    """Sixty images with twelve features and seven classes, float64.

    Class 6 has no positives, and image 5 has none.

    Args:
        regime: of the observed labels, such as "pal:0.5".
    """
    rows, columns = np.arange(IMAGES)[:, None], np.arange(CLASSES)[None, :]
    frequency = np.array([0.55, 0.4, 0.3, 0.2, 0.15, 0.1, 0.0])
    true = (random.uniform(3, "labels", rows, columns) < frequency).astype(np.int8)
    true[5] = 0
    features = random.uniform(3, "features", rows, np.arange(WIDTH)[None, :]) * 2.0 - 1.0
    features[:, :CLASSES] += true
    parsed = Regime.parse(regime)
    observed = observe(true, parsed, lambda i, c: random.uniform(3, "regime", i, c))
    return TrainingSet(
        features=torch.from_numpy(features)[:, None].contiguous(),
        observed=LabelTable.of(torch.from_numpy(np.asarray(observed))),
        true=LabelTable.of(torch.from_numpy(true)),
        regime=parsed.kind,
        shot=torch.zeros(CLASSES, dtype=torch.int64),
        noise_rate=parsed.noise_rate,
    )


def plain_recipe(**changes: Any) -> Recipe:
    """Adam at a constant rate for three epochs; every field is set, so defaults do not matter."""
    fields: dict[str, Any] = dict(
        optimiser="adam",
        lr=0.02,
        lr_scale="none",
        momentum=0.9,
        weight_decay=1e-3,
        schedule="constant",
        milestones="",
        factor=0.1,
        warmup=0.0,
        warmup_ratio=1.0 / 3.0,
        steps=1,
        epochs=EPOCHS,
        batch=BATCH,
        clip=0.0,
        sampler="method",
        head="linear",
        standardise="off",
        row_norm=0.0,
    )
    return Recipe(**(fields | changes))


# ----------------------------------------------------------------------------- a plain run


class PlainRun:
    """One run with a linear layer; a subclass defines `loss`.

    Attributes:
        params: the parameters, by the names that the package gives them.
        z: the observed labels int64 [N, C]: 1 positive or candidate, 0 negative, -1 unknown.
        seed: of the run.
        epoch: the current epoch, from 1.
        step: the current step of the epoch, from 0.
    """

    def __init__(self, initial: dict[str, Tensor], data: TrainingSet, seed: int) -> None:
        self.params = {name: value.clone().requires_grad_() for name, value in initial.items()}
        self.z = data.observed.whole().long()
        self.seed = seed
        self.epoch, self.step = 0, 0

    def logits(self, x: Tensor) -> Tensor:
        """The scores of images [B, D]."""
        return x @ self.params["head.weight"] + self.params["head.bias"]

    def loss(self, rows: Tensor, x: Tensor) -> Tensor:
        """The loss of a batch: its rows [B] and its features [B, D]; may write memory."""
        raise NotImplementedError

    def groups(self) -> list[dict[str, Any]]:
        """Parameter groups: `params`, optionally `factor` of the rate, `every`, `weight_decay`.

        `every` divides the rate by ten after that many epochs, which may be a fraction, instead of
        following the recipe.
        """
        return [{"params": list(self.params.values())}]

    def start_epoch(self) -> None:
        """Called before the rows of an epoch are drawn."""

    def order(self) -> list[int]:
        """The images of the epoch, at least `STEPS * BATCH` of them."""
        return self.draw_of_epoch().permutation("shuffle/0", IMAGES).tolist()

    def memory(self) -> dict[str, Tensor]:
        """State and memory, by the names that the package gives them."""
        return {}

    def draw_of_epoch(self) -> Draw:
        """The random numbers of the current epoch."""
        return Draw(self.seed).at(0, self.epoch)

    def draw_of_step(self) -> Draw:
        """The random numbers of the current step."""
        return Draw(self.seed).at(0, self.epoch, self.step)


def plain_epochs(
    run: PlainRun, x: Tensor, recipe: Recipe
) -> Iterator[tuple[dict[str, Tensor], float]]:
    """Train; after every epoch, yield all tensors of the run and the mean loss of the epoch."""
    base = recipe.lr * (CLASSES if recipe.lr_scale == "classes" else 1)
    optimiser = make_optimiser(run.groups(), base, recipe)
    for run.epoch in range(1, EPOCHS + 1):
        run.start_epoch()
        order, total = run.order(), 0.0
        for run.step in range(STEPS):
            rows = torch.tensor(order[run.step * BATCH : (run.step + 1) * BATCH])
            loss = run.loss(rows, x[rows])
            optimiser.zero_grad()
            loss.backward()
            if recipe.clip:
                torch.nn.utils.clip_grad_norm_(run.params.values(), recipe.clip)
            for group in optimiser.param_groups:
                scheduled = schedule(recipe, run.epoch, run.step)
                if group["every"]:
                    scheduled = 0.1 ** int(run.epoch // group["every"])
                group["lr"] = base * group["factor"] * scheduled
            optimiser.step()
            total += loss.item()
        tensors = run.params | run.memory()
        yield {name: value.detach().clone() for name, value in tensors.items()}, total / STEPS


def make_optimiser(
    groups: list[dict[str, Any]], base: float, recipe: Recipe
) -> torch.optim.Optimizer:
    """The optimiser of a recipe, of torch's plain implementation."""
    groups = [{"factor": 1.0, "every": None} | group for group in groups]
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(
            groups,
            lr=base,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            foreach=False,
        )
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimiser]
    return kind(
        groups,
        lr=base,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=recipe.weight_decay,
        foreach=False,
    )


def schedule(recipe: Recipe, epoch: int, step: int) -> float:
    """The factor of the learning rate at a step of an epoch."""
    done, total = (epoch - 1) * STEPS + step, EPOCHS * STEPS
    factor = 1.0
    if recipe.schedule == "cosine":
        factor = (1.0 + math.cos(math.pi * done / total)) / 2.0
    if recipe.schedule == "step":
        for milestone in recipe.milestones.split(","):
            if epoch > int(milestone):
                factor *= recipe.factor
    warmup_steps = recipe.warmup * total
    if done < warmup_steps:
        factor *= recipe.warmup_ratio + (1.0 - recipe.warmup_ratio) * done / warmup_steps
    return factor


# ----------------------------------------------------------------------------- sampler


@dataclass
class ClassAwareSampler:
    """The sampler of the DB-loss code: visit a class, then some images of its list.

    The iterator over classes and that over the images of each class run through all their members
    and start again in a new order.

    Attributes:
        lists: the images of each class; a class without images is skipped.
        per_class: images per visited class.
        seed: of the run.
    """

    lists: list[list[int]]
    per_class: int
    seed: int
    classes: Iterator[int] = field(init=False)
    images: list[Iterator[int]] = field(init=False)

    def __post_init__(self) -> None:
        self.classes = self._all_classes()
        self.images = [self._all_images(k) for k in range(len(self.lists))]

    def epoch(self, count: int) -> list[int]:
        """The next `count` images; the last group may be cut."""
        rows: list[int] = []
        while len(rows) < count:
            k = next(self.classes)
            rows += [next(self.images[k]) for _ in range(self.per_class)]
        return rows[:count]

    def _all_classes(self) -> Iterator[int]:
        cycle, members = 0, [k for k, images in enumerate(self.lists) if images]
        while True:
            yield from self._shuffled("class-aware/classes", members, cycle, 0)
            cycle += 1

    def _all_images(self, k: int) -> Iterator[int]:
        cycle = 0
        while True:
            yield from self._shuffled("class-aware/images", self.lists[k], k, cycle)
            cycle += 1

    def _shuffled(self, stream: str, members: list[int], *key: int) -> list[int]:
        first, second = (torch.full((len(members),), number) for number in key)
        bits = Draw(self.seed).at(0, 0).bits(stream, first, second, torch.tensor(members)).tolist()
        return [member for _, member in sorted(zip(bits, members, strict=True))]


def positive_lists(labels: Tensor) -> list[list[int]]:
    """The images whose label is 1, for each class."""
    return [torch.nonzero(labels[:, k] == 1).flatten().tolist() for k in range(CLASSES)]


# ----------------------------------------------------------------------------- comparison

SomePlainRun = TypeVar("SomePlainRun", bound=PlainRun)


class Recording(Method):
    """A method that keeps the initial parameters of its run."""

    initial: dict[str, Tensor]


def in_float64(kind: type[Method]) -> type[Recording]:
    """The same method with float64 tensors; it keeps the initial parameters of its run."""

    class Wide(kind, Recording):  # type: ignore[valid-type, misc]
        def setup(self, problem: Problem, draw: DrawInterface) -> Setup:
            setup = super().setup(problem, draw)
            parts = (setup.params, setup.state, setup.memory, setup.constants)
            wide = [
                {name: t.double() if t.is_floating_point() else t for name, t in part.items()}
                for part in parts
            ]
            self.initial = {name: value.clone() for name, value in wide[0].items()}
            return Setup(*wide)

    return Wide


def assert_equal_runs(
    kind: type[Method],
    hyper: Any,
    plain: type[SomePlainRun],
    data: TrainingSet,
    recipe: Recipe | list[Recipe],
    seeds: list[int],
    tolerance: float = 1e-9,
    **options: Any,
) -> list[SomePlainRun]:
    """Train with the package and plainly; compare everything after every epoch.

    Args:
        kind: the method.
        hyper: its hyperparameters, all of them set.
        plain: its plain run; called with (initial parameters, data, seed, **options).
        data: the training set.
        recipe: the recipe of all runs, or one per run.
        seeds: trained as one stack.
        tolerance: the largest difference within a parameter or memory, relative to its largest
            entry or to 1.
        **options: see `plain`.

    Returns:
        The plain runs after training, one per seed.
    """
    wide = in_float64(kind)
    methods = [wide(hyper, LinearHead(scaled=False)) for _ in seeds]
    history: list[list[dict[str, Tensor]]] = [[] for _ in seeds]

    def record(method: Method, run: Run) -> None:
        index = next(k for k, candidate in enumerate(methods) if candidate is method)
        tensors = run.params | run.state | run.memory
        history[index].append({name: value.clone() for name, value in tensors.items()})

    x = data.features[:, 0]
    results = train([*methods], seeds, data, recipe, score=record)
    recipes = recipe if isinstance(recipe, list) else [recipe] * len(seeds)
    runs = []
    for index, (seed, method, result) in enumerate(zip(seeds, methods, results, strict=True)):
        run, epochs = plain(method.initial, data, seed, **options), history[index]
        assert len(epochs) == EPOCHS
        for epoch, (expected, loss) in enumerate(plain_epochs(run, x, recipes[index])):
            assert expected.keys() == epochs[epoch].keys()
            for name, value in expected.items():
                size = max(1.0, value.abs().max().item())
                difference = (epochs[epoch][name] - value).abs().max().item() / size
                at = f"{name} of seed {seed} after epoch {epoch + 1}"
                assert difference <= tolerance, f"{at} differs by {difference:.1e}"
            assert abs(result.curve[epoch]["loss"] - loss) <= 1e-5 * max(1.0, abs(loss))
        with torch.no_grad():
            expected_scores = run.logits(x).numpy()
        actual = scores(result.method, result.run, x)
        np.testing.assert_allclose(actual, expected_scores, rtol=0, atol=1e-5)
        for name, start in method.initial.items():
            assert (run.params[name] - start).abs().max() > 1e-4, f"{name} was not trained"
        runs.append(run)
    return runs
