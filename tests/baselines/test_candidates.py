"""Methods for candidate labels: which labels are candidates, oracles, options."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from baselines.bce import BCE
from baselines.bce_candidates import BCECandidates
from baselines.cc_pml import CCPML
from baselines.cdcr import CDCR
from baselines.cones_nsl import ConesNSL
from baselines.core import (
    Batch,
    ClassAware,
    Clock,
    LabelTable,
    Method,
    Oracle,
    Problem,
    Shuffle,
    registry,
)
from baselines.db_candidates import DBCandidates
from baselines.db_focal import DBFocal
from baselines.gce import GCE
from baselines.pico_bank import PiCOBank
from baselines.proden_ml import ProdenML
from baselines.records_ml import RecordsML
from baselines.shared.candidate_labels import invert_prior
from baselines.solar_ml import SoLarML
from baselines.unbiased_pml import UnbiasedPML
from benchkit.base.draw import Draw
from benchkit.training.check import CHECKS

METHODS = {
    key: kind for key, kind in registry.builtin().items() if kind.info.family == "candidates"
}
# Key -> where the method comes from, as its docstring states it.
ORIGINS = {
    "bce-candidates": "[standard]",
    "db-candidates": "[standard]",
    "cc-pml": "[standard]",
    "unbiased-pml": "[standard]",
    "proden-ml": "[reconstruction]",
    "pico-bank": "[reconstruction]",
    "records-ml": "[reconstruction]",
    "solar-ml": "[reconstruction]",
    "cdcr": "[from public code]",
    "cones-nsl": "[from public code, reduced]",
    "plain": "[reconstruction]",
    "gce": "[standard]",
}
VARIANTS: list[tuple[type[Method], dict[str, Any]]] = [
    (DBCandidates, {"prior": "inverted"}),
    (DBCandidates, {"prior": "inverted", "rho": "given", "focal": False}),
    (DBCandidates, {"prior": "true", "sampler_labels": "true"}),
    (CCPML, {"rho": "given"}),
    (UnbiasedPML, {"form": "plain", "rho": "given"}),
    (ProdenML, {"form": "simplex"}),
    (ProdenML, {"rho": "given", "bank_rate": 1.0}),
    (RecordsML, {"warmup": 0}),
    (CDCR, {"rule": "difference", "warmup": 0.5}),
    (GCE, {"terms": "both"}),
    (GCE, {"q": 1.0}),
]


@pytest.fixture(params=METHODS.values(), ids=METHODS)
def method(request) -> type[Method]:
    return request.param


def problem_of(method: Method, observed: torch.Tensor, truth: torch.Tensor) -> Problem:
    values = {"true_labels": truth, "true_counts": truth.sum(0), "noise_rate": 0.3}
    return Problem(LabelTable.of(observed), 4, "candidates", 10, Oracle(values, method.oracle()))


def labels(images: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    """Candidates and truth, int8 [N, 5]: an empty row and an empty class among them."""
    level = Draw(2).uniform("labels", images, 5)
    truth = (level < torch.tensor([0.5, 0.3, 0.2, 0.1, 0.0])).to(torch.int8)
    observed = torch.where(Draw(3).uniform("noise", images, 5) < 0.3, 1, truth)
    observed[0], observed[:, 4] = 0, 0
    return observed.to(torch.int8), truth


def losses_and_gradients(
    method: Method, problem: Problem, scale: float = 1.0
) -> list[torch.Tensor]:
    """Losses and gradients of the first and the fifth epoch, on four kinds of batch."""
    features = Draw(4).normal("features", problem.num_images, 4) * scale
    run = method.setup(problem, Draw(0).at(0, 0))
    for value in run.params.values():
        value.requires_grad_()
    results = []
    for epoch in (1, 5):
        clock, draw = Clock(0, epoch, 10, 0, 3), Draw(0).at(0, epoch, 0)
        with torch.no_grad():
            run = method.epoch_start(run, problem, features, clock, draw)
        for rows in ([0], [1], [0, 0, 0], list(range(12))):
            index = torch.tensor(rows)
            batch = Batch(index, features[index], problem.observed[index])
            step = method.step(run, batch, clock, draw)
            for name, value in step.memory.items():
                run.memory[name] = run.memory[name].index_put((index,), value.detach())
            run.state.update({name: value.detach() for name, value in step.state.items()})
            results += [step.loss, *torch.autograd.grad(step.loss, list(run.params.values()))]
    return results


@pytest.mark.parametrize(("key", "origin"), ORIGINS.items())
def test_states_its_origin_and_its_regimes(key, origin):
    kind = registry.get(key)
    assert origin in (kind.__doc__ or "")
    assert kind.info.regimes == ("candidates", "full")
    assert kind.info.unknown == "estimated"
    assert kind().oracle() == ()


def test_unknown_labels_are_candidates(method):
    observed, truth = labels()
    hidden = torch.where((observed == 1) & (Draw(5).uniform("hide", 24, 5) < 0.5), -1, observed)
    candidates, unknown = (
        losses_and_gradients(method(), problem_of(method(), part.to(torch.int8), truth))
        for part in (observed, hidden)
    )
    for value, expected in zip(unknown, candidates, strict=True):
        assert torch.equal(value, expected)


@pytest.mark.parametrize("scale", [1.0, 5000.0])
def test_finite_in_float32(method, scale):
    observed, truth = labels()
    for part in (observed, torch.zeros_like(observed)):
        problem = problem_of(method(), part, truth)
        for value in losses_and_gradients(method(), problem, scale):
            assert torch.isfinite(value).all()


@pytest.mark.parametrize(("kind", "options"), VARIANTS, ids=str)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_options_keep_the_contract(kind, options, check):
    changed = [
        (field.name, field.type, dataclasses.field(default=value, metadata=field.metadata))
        for field in dataclasses.fields(kind.Hyper)
        for name, value in options.items()
        if field.name == name
    ]
    assert len(changed) == len(options)
    other = dataclasses.make_dataclass("Other", changed, bases=(kind.Hyper,), frozen=True)
    info = dataclasses.replace(kind.info, oracle=kind(kind.Hyper(**options)).oracle())
    check(type("Variant", (kind,), {"Hyper": other, "info": info}))


def test_stacks(method, assert_stacks):
    assert_stacks(method())


def test_stacks_with_hyperparameters(assert_stacks):
    assert_stacks(DBCandidates(), mu=[0.3, 0.2, 0.1], neg_scale=[5.0, 2.0, 1.0])
    assert_stacks(ProdenML(), bank_rate=[0.0, 0.1, 1.0])
    assert_stacks(PiCOBank(), momentum_start=[0.9, 0.95, 1.0], momentum_end=[0.8, 0.5, 0.0])
    assert_stacks(RecordsML(), tau=[0.0, 1.0, 2.0], feature_rate=[0.1, 0.5, 0.0])
    assert_stacks(SoLarML(), sharpen=[3.0, 1.0, 2.0], weight=[0.9, 0.5, 0.0])
    assert_stacks(ConesNSL(), exponent=[3.0, 2.0, 1.1], bank_rate=[0.5, 0.1, 0.2])
    assert_stacks(GCE(), q=[0.001, 0.7, 1.0])


def test_oracles_follow_the_options():
    for kind in (CCPML, UnbiasedPML, ProdenML):
        assert kind(kind.Hyper(rho="given")).oracle() == ("noise_rate",)
    assert ProdenML(ProdenML.Hyper(rho="given", form="simplex")).oracle() == ()
    expected = {
        ("candidates", "given", "observed"): (),
        ("inverted", "estimated", "observed"): (),
        ("inverted", "given", "observed"): ("noise_rate",),
        ("true", "given", "observed"): ("true_counts",),
        ("inverted", "given", "true"): ("noise_rate", "true_labels"),
    }
    for (prior, rho, sampler_labels), names in expected.items():
        hyper = DBCandidates.Hyper(prior=prior, rho=rho, sampler_labels=sampler_labels)
        assert DBCandidates(hyper).oracle() == names


def test_the_rate_is_given_or_estimated():
    observed, truth = labels()
    observed[3:9, 4] = 1  # now every class has candidates
    for rho, rate in (("given", 0.3), ("estimated", 6 / 24)):
        method = CCPML(CCPML.Hyper(rho=rho))
        run = method.setup(problem_of(method, observed, truth), Draw(0))
        assert run.constants["noise_rate"].item() == pytest.approx(rate)
    everything = torch.ones_like(observed)
    run = CCPML().setup(problem_of(CCPML(), everything, truth), Draw(0))
    assert run.constants["noise_rate"].item() == pytest.approx(0.99)


def test_candidates_without_noise_are_plain_labels():
    observed, truth = labels()
    for pair in ((BCECandidates(), BCE()), (DBCandidates(), DBFocal())):
        values, expected = (
            losses_and_gradients(method, problem_of(method, observed, truth)) for method in pair
        )
        assert all(torch.equal(a, b) for a, b in zip(values, expected, strict=True))


def test_priors_and_lists_of_the_balanced_loss():
    observed, truth = labels()
    observed[5, 2] = -1
    candidates, clock = observed != 0, Clock(0, 1, 10, 0, 1)
    expected = {
        ("candidates", "estimated"): candidates.sum(0).float(),
        ("inverted", "estimated"): invert_prior(observed),
        ("inverted", "given"): invert_prior(observed, 0.3),
        ("true", "estimated"): truth.sum(0).float(),
    }
    for (prior, rho), counts in expected.items():
        method = DBCandidates(DBCandidates.Hyper(prior=prior, rho=rho))
        problem = problem_of(method, observed, truth)
        run = method.setup(problem, Draw(0))
        assert torch.equal(run.constants["class_counts"], counts)
        assert run.constants["num_images"].item() == 24
        order = method.sampling(run, problem, clock)
        assert isinstance(order, ClassAware)
        assert torch.equal(torch.isin(order.lists.whole(), torch.tensor(order.codes)), candidates)
    clean = DBCandidates(DBCandidates.Hyper(sampler_labels="true"))
    problem = problem_of(clean, observed, truth)
    assert torch.equal(clean.sampling(run, problem, clock).lists.whole(), truth)
    shuffled = DBCandidates(DBCandidates.Hyper(sampler="shuffle"))
    assert isinstance(shuffled.sampling(run, problem, clock), Shuffle)
