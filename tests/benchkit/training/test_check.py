"""Every method in the folder passes every check; methods that break the contract fail."""

from dataclasses import dataclass

import pytest
import torch

from baselines.bce import BCE
from baselines.core import MethodInfo, Step, hyper, positives, registry
from baselines.core.losses import bce_terms
from benchkit import check_method
from benchkit.training.check import CHECKS, check_learns, check_repeats, check_stacks, check_unknown


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("key", registry.builtin())
def test_every_method_keeps_the_contract(key: str, check) -> None:
    check(registry.get(key))


class Lazy(BCE):
    def loss(self, run, logits, batch, clock, draw):
        return logits.sum() * 0.0


class Careless(BCE):
    def loss(self, run, logits, batch, clock, draw):
        return bce_terms(logits, torch.rand_like(logits)).mean()


class Neighbourly(BCE):
    """Draws by a number of its own that differs between stacked and alone."""

    def step(self, run, batch, clock, draw):
        stacked = torch._C._functorch.is_batchedtensor(batch.features)
        noise = draw.uniform("noise", 1) if stacked else 0.0
        logits = self.logits(run, batch.features) + noise
        return Step(bce_terms(logits, positives(batch.observed)).mean())


class Liar(BCE):
    info = MethodInfo("liar", "Liar", "none", 2026, "none", unknown="negative")

    def loss(self, run, logits, batch, clock, draw):
        return (bce_terms(logits, positives(batch.observed)) * (batch.observed != -1)).mean()


def test_a_method_that_does_not_learn_fails() -> None:
    with pytest.raises(AssertionError, match="test mAP"):
        check_learns(Lazy)


def test_numbers_of_its_own_fail() -> None:
    with pytest.raises(AssertionError, match="differs between two equal runs"):
        check_repeats(Careless)


def test_a_run_that_feels_its_neighbours_fails() -> None:
    with pytest.raises(AssertionError, match="between stacked and alone"):
        check_stacks(Neighbourly)


def test_unknown_labels_must_be_treated_as_declared() -> None:
    with pytest.raises(AssertionError, match="unknown and negative labels differ"):
        check_unknown(Liar)


@dataclass(frozen=True)
class Mute:
    gamma: float = hyper(1.0, "")


def test_the_sentence_names_method_and_check() -> None:
    class Silent(BCE):
        Hyper = Mute

    with pytest.raises(AssertionError, match="bce: check_description: hyperparameter gamma has no"):
        check_method(Silent)
