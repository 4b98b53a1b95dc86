"""What all methods for candidate labels share: which labels are candidates, oracles, options."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from baselines.bce import BCE
from baselines.bce_candidates import BCECandidates
from baselines.candidate_parts.labels import invert_prior
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
from baselines.plain import PLAIN
from baselines.proden_ml import ProdenML
from baselines.records_ml import RecordsML
from baselines.solar_ml import SoLarML
from baselines.unbiased_pml import UnbiasedPML
from benchkit.base.draw import Draw
from benchkit.training.check import CHECKS

METHODS = {
    "bce-candidates": BCECandidates,
    "db-candidates": DBCandidates,
    "cc-pml": CCPML,
    "unbiased-pml": UnbiasedPML,
    "proden-ml": ProdenML,
    "pico-bank": PiCOBank,
    "records-ml": RecordsML,
    "solar-ml": SoLarML,
    "cdcr": CDCR,
    "cones-nsl": ConesNSL,
    "plain": PLAIN,
    "gce": GCE,
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


def given_problem(method: Method, observed: torch.Tensor, truth: torch.Tensor) -> Problem:
    values = {"true_labels": truth, "true_counts": truth.sum(0), "noise_rate": 0.3}
    return Problem(LabelTable.of(observed), 4, "candidates", 10, Oracle(values, method.oracle()))


def labels(images: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    """Candidates and truth, int8 [N, 5]: an empty row and an empty class among them."""
    level = Draw(2).uniform("labels", images, 5)
    truth = (level < torch.tensor([0.5, 0.3, 0.2, 0.1, 0.0])).to(torch.int8)
    observed = torch.where(Draw(3).uniform("noise", images, 5) < 0.3, 1, truth)
    observed[0], observed[:, 4] = 0, 0
    return observed.to(torch.int8), truth


def steps(made: Method, problem: Problem, scale: float = 1.0) -> list[torch.Tensor]:
    """Losses and gradients of the first and the fifth epoch, on four kinds of batch."""
    features = Draw(4).normal("features", problem.num_images, 4) * scale
    run = made.setup(problem, Draw(0).at(0, 0))
    for value in run.params.values():
        value.requires_grad_()
    found = []
    for epoch in (1, 5):
        clock, draw = Clock(0, epoch, 10, 0, 3), Draw(0).at(0, epoch, 0)
        with torch.no_grad():
            run = made.epoch_start(run, problem, features, clock, draw)
        for rows in ([0], [1], [0, 0, 0], list(range(12))):
            index = torch.tensor(rows)
            batch = Batch(index, features[index], problem.observed[index])
            step = made.step(run, batch, clock, draw)
            for name, value in step.memory.items():
                run.memory[name] = run.memory[name].index_put((index,), value.detach())
            run.state.update({name: value.detach() for name, value in step.state.items()})
            found += [step.loss, *torch.autograd.grad(step.loss, list(run.params.values()))]
    return found


def test_is_registered_and_says_where_it_is_meant_for(method):
    info = method.info
    assert registry.get(info.key) is METHODS[info.key] is method
    assert info.regimes == ("candidates", "pal", "full")
    assert info.unknown == "estimated"
    doc = method.__doc__
    tags = ("[standard]", "[reconstruction]", "[from public code]", "[from public code, reduced]")
    assert doc is not None
    assert any(tag in doc for tag in tags)


def test_unknown_labels_are_candidates(method):
    observed, truth = labels()
    hidden = torch.where((observed == 1) & (Draw(5).uniform("hide", 24, 5) < 0.5), -1, observed)
    made = method()
    for mine, other in zip(
        steps(made, given_problem(made, observed, truth)),
        steps(made, given_problem(made, hidden.to(torch.int8), truth)),
        strict=True,
    ):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("scale", [1.0, 5000.0])
def test_finite_in_float32(method, scale):
    observed, truth = labels()
    made = method()
    for blank in (False, True):
        problem = given_problem(made, observed * (not blank), truth)
        for value in steps(made, problem, scale):
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
    check(type("Variant", (kind,), {"Hyper": other}))


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
    for kind in METHODS.values():
        assert kind().oracle() == ()
    for kind in (CCPML, UnbiasedPML, ProdenML):
        assert kind(kind.Hyper(rho="given")).oracle() == ("noise_rate",)
    assert ProdenML(ProdenML.Hyper(rho="given", form="simplex")).oracle() == ()
    wanted = {
        ("candidates", "given", "observed"): (),
        ("inverted", "estimated", "observed"): (),
        ("inverted", "given", "observed"): ("noise_rate",),
        ("true", "given", "observed"): ("true_counts",),
        ("inverted", "given", "true"): ("noise_rate", "true_labels"),
    }
    for (prior, rho, by), names in wanted.items():
        hyper = DBCandidates.Hyper(prior=prior, rho=rho, sampler_labels=by)
        assert DBCandidates(hyper).oracle() == names


def test_the_rate_is_given_or_estimated():
    observed, truth = labels()
    observed[3:9, 4] = 1  # now every class has candidates
    for rho, rate in (("given", 0.3), ("estimated", 6 / 24)):
        made = CCPML(CCPML.Hyper(rho=rho))
        run = made.setup(given_problem(made, observed, truth), Draw(0))
        assert run.constants["noise_rate"].item() == pytest.approx(rate)
    everything = torch.ones_like(observed)
    run = CCPML().setup(given_problem(CCPML(), everything, truth), Draw(0))
    assert run.constants["noise_rate"].item() == pytest.approx(0.99)


def test_candidates_without_noise_are_plain_labels():
    observed, truth = labels()
    pairs = ((BCECandidates(), BCE()), (DBCandidates(), DBFocal()))
    for mine, other in pairs:
        found, expected = (steps(m, given_problem(m, observed, truth)) for m in (mine, other))
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


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
        made = DBCandidates(DBCandidates.Hyper(prior=prior, rho=rho))
        problem = given_problem(made, observed, truth)
        run = made.setup(problem, Draw(0))
        torch.testing.assert_close(run.constants["class_counts"], counts)
        assert run.constants["num_images"].item() == 24
        order = made.sampling(run, problem, clock)
        assert isinstance(order, ClassAware)
        assert torch.equal(torch.isin(order.lists.whole(), torch.tensor(order.codes)), candidates)
    clean = DBCandidates(DBCandidates.Hyper(sampler_labels="true"))
    problem = given_problem(clean, observed, truth)
    assert torch.equal(clean.sampling(run, problem, clock).lists.whole(), truth)
    shuffled = DBCandidates(DBCandidates.Hyper(sampler="shuffle"))
    assert isinstance(shuffled.sampling(run, problem, clock), Shuffle)
