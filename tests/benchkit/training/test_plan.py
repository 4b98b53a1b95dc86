"""Plans of epochs: rows and views, as functions of the seed and as a method meets them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from toy_training import method_info

from baselines.bce import BCE
from baselines.core import (
    Batch,
    ClassAware,
    Clock,
    LabelTable,
    Method,
    Problem,
    Run,
    Sampling,
    Setup,
    Shuffle,
    Step,
)
from baselines.core.draw import Draw as DrawInterface
from baselines.core.sampling import class_aware
from benchkit.base.draw import Draw
from benchkit.training import plan
from benchkit.training.inputs import TrainingSet
from benchkit.training.recipe import Recipe
from benchkit.training.trainer import Trained, train

IMAGES = 40

# ----------------------------------------------------------------------------- pure functions


def test_a_shuffled_epoch_is_the_keyed_permutation() -> None:
    clock = Clock(stage=1, epoch=3, epochs=5, step=0, steps=4)
    draw = Draw(7).at(1, 3)
    first, second = (draw.permutation(f"shuffle/{k}", 10).tolist() for k in range(2))
    assert plan.epoch_rows(Shuffle(), 10, 8, clock, 7).tolist() == first[:8]
    assert plan.epoch_rows(Shuffle(), 10, 10, clock, 7).tolist() == first
    assert plan.epoch_rows(Shuffle(), 10, 14, clock, 7).tolist() == first + second[:4]


def test_a_class_aware_epoch_continues_the_sequence_of_the_epoch_before() -> None:
    labels = torch.tensor([[1, 0], [1, 1], [0, 1], [1, 0], [0, 0]], dtype=torch.int8)
    request = ClassAware(LabelTable.of(labels), per_class=3)
    # Eight rows are three visits of three rows, so epoch 2 begins at row 9 of the sequence.
    sequence = class_aware(labels, 3, 0, 18, Draw(7).at(0, 0)).tolist()
    for epoch, start in ((1, 0), (2, 9)):
        rows = plan.epoch_rows(request, 5, 8, Clock(0, epoch, 2, 0, 4), 7)
        assert rows.tolist() == sequence[start : start + 8]


def test_class_aware_sampling_by_other_codes() -> None:
    labels = torch.tensor([[-1], [0], [-1], [1]], dtype=torch.int8)
    request = ClassAware(LabelTable.of(labels), codes=(-1,))
    assert set(plan.epoch_rows(request, 4, 6, Clock(0, 1, 1, 0, 1), 0).tolist()) == {0, 2}


@pytest.mark.parametrize("seeds", [[3], [3, 4]])
def test_views_are_keyed_by_run_epoch_and_row(seeds: list[int]) -> None:
    clock = Clock(stage=0, epoch=2, epochs=3, step=1, steps=2)
    axes = (len(seeds),) if len(seeds) > 1 else ()
    rows = torch.tensor([4, 9, 0, 4]).expand(*axes, 4)
    views = plan.views(rows, 3, clock, seeds)
    assert views is not None and views.shape == rows.shape
    for seed, picks in zip(seeds, views.reshape(-1, 4).tolist(), strict=True):
        uniform = Draw(seed).at(0, 2).row_uniform("view", torch.tensor([4, 9, 0, 4]), 1)[:, 0]
        assert picks == [int(u * 3) for u in uniform.tolist()]
        assert picks[0] == picks[3]  # the same image twice in a batch
    assert plan.views(rows, 1, clock, seeds) is None


def test_the_recipe_overrides_the_sampling_of_the_method(data: TrainingSet) -> None:
    (problem,) = data.problems([Aware()], 1)
    run, clock = Run({}), Clock(0, 1, 1, 0, 1)

    def sampling(method: Method, sampler: str) -> Sampling:
        return plan.sampling(method, run, problem, clock, sampler, data.observed)

    assert sampling(BCE(), "method") == sampling(Aware(), "shuffle") == Shuffle()
    assert (
        sampling(Aware(), "method") == sampling(BCE(), "class-aware") == ClassAware(problem.labels)
    )


def test_the_length_of_an_epoch(data: TrainingSet) -> None:
    problems = data.problems([BCE(), Short()], 1)
    assert plan.epoch_length([BCE()], problems[:1], 0, "method") == 40
    assert plan.epoch_length([Short()], problems[1:], 0, "method") == 20
    assert plan.epoch_length([Short()], problems[1:], 0, "shuffle") == 40
    message = r"stacked runs must visit the same number of rows per epoch, not \[20, 40\]"
    with pytest.raises(ValueError, match=message):
        plan.epoch_length([BCE(), Short()], problems, 0, "method")
    with pytest.raises(ValueError, match=message):
        train([BCE(), Short()], [0, 1], data, Recipe(epochs=1, batch=10))


# ----------------------------------------------------------------------------- as a method sees it


class Recorder(Method):
    """Records the rows of every step, and the first feature that each row has in each epoch."""

    info = method_info("recorder")

    def setup(self, problem: Problem, draw: DrawInterface) -> Setup:
        setup = super().setup(problem, draw)
        setup.state = {
            "rows": torch.zeros(0, dtype=torch.int64),
            "first_feature": torch.zeros(problem.num_images, 4),
        }
        return setup

    def epoch_start(
        self, run: Run, problem: Problem, features: Tensor, clock: Clock, draw: DrawInterface
    ) -> Run:
        assert features.shape == (problem.num_images, problem.feature_dim)
        return run

    def step(self, run: Run, batch: Batch, clock: Clock, draw: DrawInterface) -> Step:
        rows = torch.cat([run.state["rows"], batch.rows])
        first_feature = run.state["first_feature"].clone()
        column = first_feature[:, clock.epoch - 1]
        first_feature[:, clock.epoch - 1] = column.scatter(0, batch.rows, batch.features[:, 0])
        loss = self.logits(run, batch.features).square().mean()
        return Step(loss, {"rows": rows, "first_feature": first_feature})


class Aware(Recorder):
    """Asks for class-aware sampling."""

    info = method_info("aware")

    def sampling(self, run: Run, problem: Problem, clock: Clock) -> Sampling:
        return ClassAware(problem.labels)


class Short(BCE):
    """Has epochs of 20 rows."""

    info = method_info("short")

    def epoch_length(self, problem: Problem, stage: int) -> int:
        return 20


def visited_rows(result: Trained, epochs: int) -> list[list[int]]:
    return result.run.state["rows"].reshape(epochs, -1).tolist()


def test_shuffles_depend_on_the_run_and_the_epoch_only(data: TrainingSet) -> None:
    recipe = Recipe(epochs=3, batch=8)
    (alone,) = train([Recorder()], [7], data, recipe)
    stacked = train([Recorder() for _ in range(3)], [1, 7, 2], data, recipe)
    assert visited_rows(alone, 3) == visited_rows(stacked[1], 3)
    orders = [order for result in stacked for order in visited_rows(result, 3)]
    assert len({tuple(order) for order in orders}) == 9
    assert all(sorted(order) == list(range(IMAGES)) for order in orders)


def test_the_last_partial_batch_is_dropped(data: TrainingSet) -> None:
    (result,) = train([Recorder()], [0], data, Recipe(epochs=1, batch=12))
    assert len(set(result.run.state["rows"].tolist())) == 36


def test_a_batch_larger_than_the_set_holds_every_row(data: TrainingSet) -> None:
    (result,) = train([Recorder()], [0], data, Recipe(epochs=2, batch=1000))
    assert [sorted(order) for order in visited_rows(result, 2)] == [list(range(IMAGES))] * 2


@pytest.mark.parametrize("sampler", ["class-aware", "method"])
def test_class_aware_rows_depend_on_the_run_only(data: TrainingSet, sampler: str) -> None:
    recipe = Recipe(epochs=3, batch=10, sampler=sampler)
    method = Recorder if sampler == "class-aware" else Aware
    (alone,) = train([method()], [7], data, recipe)
    stacked = train([method() for _ in range(3)], [1, 7, 2], data, recipe)
    assert visited_rows(alone, 3) == visited_rows(stacked[1], 3)
    assert len({tuple(order) for r in stacked for order in visited_rows(r, 3)}) == 9
    positive = data.observed.whole() == 1
    for number, rows in enumerate(visited_rows(alone, 3)):
        # Every visit takes three images that share a positive class.
        for start in range(0, 39, 3):
            assert positive[rows[start : start + 3]].all(0).any()
        # An epoch of 40 rows is 14 visits, of which the last takes one row only; the next epoch
        # begins after all 42 rows.
        assert rows == class_aware(positive, 3, 42 * number, 40, Draw(7).at(0, 0)).tolist()


def test_shuffle_overrides_the_sampling_and_length_of_a_method(data: TrainingSet) -> None:
    class ShortAndAware(Aware):
        def epoch_length(self, problem: Problem, stage: int) -> int:
            return 16

    (free,) = train([ShortAndAware()], [0], data, Recipe(epochs=1, batch=8))
    recipe = Recipe(epochs=1, batch=8, sampler="shuffle")
    (shuffled,) = train([ShortAndAware()], [0], data, recipe)
    assert len(visited_rows(free, 1)[0]) == 16
    assert sorted(visited_rows(shuffled, 1)[0]) == list(range(IMAGES))


def test_class_aware_sampling_without_positives_shuffles(data: TrainingSet) -> None:
    empty = replace(data, observed=LabelTable.of(torch.zeros_like(data.observed.whole())))
    (result,) = train([Recorder()], [0], empty, Recipe(epochs=1, batch=8, sampler="class-aware"))
    assert sorted(visited_rows(result, 1)[0]) == list(range(IMAGES))


def test_an_epoch_longer_than_the_set_passes_over_it_again(data: TrainingSet) -> None:
    class Long(Recorder):
        def epoch_length(self, problem: Problem, stage: int) -> int:
            return 100

    (result,) = train([Long()], [0], data, Recipe(epochs=1, batch=10))
    (rows,) = visited_rows(result, 1)
    assert len(rows) == 100
    assert sorted(rows[:40]) == sorted(rows[40:80]) == list(range(IMAGES))
    assert rows[:40] != rows[40:80]
    assert len(set(rows[80:])) == 20


@pytest.mark.parametrize("seeds", [[3], [3, 4]])
def test_each_epoch_sees_a_random_view_of_every_image(
    two_views: TrainingSet, seeds: list[int]
) -> None:
    results = train([Recorder() for _ in seeds], seeds, two_views, Recipe(epochs=4, batch=10))
    picks = []
    for seed, result in zip(seeds, results, strict=True):
        for epoch in range(1, 5):
            uniform = Draw(seed).at(0, epoch).row_uniform("view", torch.arange(IMAGES), 1)[:, 0]
            view = (uniform >= 0.5).long()
            assert 8 < int(view.sum()) < 32
            expected = two_views.features[torch.arange(IMAGES), view, 0]
            assert torch.equal(result.run.state["first_feature"][:, epoch - 1], expected)
            picks.append(tuple(view.tolist()))
    assert len(set(picks)) == len(picks)
