"""The public losses equal those that the methods train with, to the bit, under all settings."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from baselines.cones_nsl import believed
from baselines.core import Batch, Clock, LabelTable, Method, Oracle, Problem, Run, Step, registry
from baselines.core.hyperparameters import describe
from baselines.pal import random_subset
from benchkit import losses
from benchkit.base import random
from benchkit.base.draw import Draw

NAMES = sorted(set(losses.__all__) - {"check_labels"})
CLOCK = Clock(stage=0, epoch=3, epochs=10, step=1, steps=3)


def loss_of(name: str) -> Callable[..., Tensor]:
    return getattr(losses, name)


def keywords(name: str) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters of a loss."""
    parameters = inspect.signature(loss_of(name)).parameters.values()
    return {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY}


def numbers(stream: str, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Seeded float64 numbers."""
    positions = np.arange(int(np.prod(shape))).reshape(shape)
    return torch.as_tensor(low + (high - low) * random.uniform(0, stream, positions))


def toy_labels(stream: str, images: int, classes: int) -> Tensor:
    """int8 labels with all three codes; nothing is known of the first image."""
    uniform = numbers(stream, images, classes)
    labels = torch.where(uniform < 0.3, 1, torch.where(uniform < 0.6, 0, -1)).to(torch.int8)
    labels[0] = -1
    return labels


@dataclass(frozen=True)
class Moment:
    """A step of a method: what it started with and what it returned."""

    method: Method
    run: Run
    batch: Batch
    draw: Any
    step: Step


Extract = Callable[[Moment], dict[str, Any]]


def nothing(moment: Moment) -> dict[str, Any]:
    return {}


def counts(moment: Moment) -> dict[str, Any]:
    return {"class_counts": moment.run.constants["class_counts"]}


def counts_and_size(moment: Moment) -> dict[str, Any]:
    return counts(moment) | {"num_images": int(moment.run.constants["num_images"])}


def groups(moment: Moment) -> dict[str, Any]:
    return {"shot": moment.run.constants["shot"]}


def epoch(moment: Moment) -> dict[str, Any]:
    return {"epoch": CLOCK.epoch}


def rate(moment: Moment) -> dict[str, Any]:
    return {"noise_rate": moment.run.constants["noise_rate"]}


def expected(moment: Moment) -> dict[str, Any]:
    return {"expected_positives": float(moment.run.constants["expected_positives"])}


def memory(**names: str) -> Extract:
    """Keyword -> name in the memory, rows of the batch."""

    def extract(moment: Moment) -> dict[str, Any]:
        rows = moment.batch.rows
        return {key: moment.run.memory[name][rows] for key, name in names.items()}

    return extract


def estimator(moment: Moment) -> dict[str, Any]:
    rows = moment.run.params["estimator.logits"][moment.batch.rows]
    return expected(moment) | {"estimator_logits": rows}


def pal_subset(moment: Moment) -> dict[str, Any]:
    rows, observed = moment.batch.rows, moment.batch.observed
    uniform = moment.draw.row_uniform("subset", rows, observed.shape[1])
    return {
        "subset": random_subset(observed == -1, uniform, 0.5),
        "pseudo_labels": moment.run.memory["pseudo"][rows],
        "epoch": CLOCK.epoch,
        "epochs": CLOCK.epochs,
    }


def believed_labels(moment: Moment) -> dict[str, Any]:
    candidates = moment.batch.observed != 0
    return {"pseudo_labels": believed(moment.step.memory["bank"], candidates)}


def bank(moment: Moment) -> dict[str, Any]:
    """The EM form trains on the bank that it writes, the simplex form on the bank that it reads."""
    if moment.method.hyper.form == "simplex":
        return {"weights": moment.run.memory["bank"][moment.batch.rows]}
    return {"weights": moment.step.memory["bank"]}


def branch_counts(moment: Moment) -> dict[str, Any]:
    return {"class_counts": moment.run.constants["counts"]}


@dataclass(frozen=True)
class Case:
    """How a public loss is compared with a method.

    Attributes:
        method: its key.
        extract: the statistics that the method gives to its loss.
        outside: hyperparameters of the method that do not concern the loss.
        prefix: what the names of its hyperparameters begin with, beside the keyword.
        variants: further hyperparameters to compare under.
        stage: of the method.
    """

    method: str
    extract: Extract = nothing
    outside: tuple[str, ...] = ()
    prefix: str = ""
    variants: tuple[dict[str, Any], ...] = ()
    stage: int = 0


SAMPLER = ("sampler", "sampler_labels", "length", "reduce")
COUNTED = ("counts",)
GROUPED = ("many", "few")
NETWORK = (
    "mfm_kind",
    "classifier",
    "scale",
    "width",
    "projection_activation",
    "step",
    "schedule_epochs",
    "decay_divisor",
)

CASES = {
    "binary_cross_entropy": Case("bce"),
    "smoothed_binary_cross_entropy": Case("bce-ls"),
    "focal_loss": Case("focal"),
    "asymmetric_loss": Case("asl"),
    "reweighted_bce": Case("rw", counts_and_size, COUNTED),
    "class_balanced_focal_loss": Case("cb-focal", counts, SAMPLER + COUNTED),
    "ldam_loss": Case("ldam", counts, COUNTED),
    "rebalanced_bce": Case("r-bce", counts, SAMPLER + COUNTED),
    "negative_tolerant_loss": Case("ntr", counts_and_size, SAMPLER + COUNTED),
    "distribution_balanced_loss": Case("db-focal", counts_and_size, SAMPLER + COUNTED),
    "adaptive_focal_loss": Case("apaf", groups, SAMPLER + COUNTED + GROUPED),
    "probability_rebalancing_loss": Case(
        "pr", lambda m: counts_and_size(m) | groups(m), SAMPLER + COUNTED + GROUPED
    ),
    "probability_guided_loss": Case(
        "pg", lambda m: counts_and_size(m) | groups(m), SAMPLER + COUNTED + GROUPED
    ),
    "multi_focal_modifier_loss": Case("comic-head", branch_counts, NETWORK, prefix="mfm_"),
    "assume_negative_loss": Case("an"),
    "smoothed_assume_negative_loss": Case("an-ls"),
    "weak_assume_negative_loss": Case("wan"),
    "ignore_unknown_loss": Case("iu"),
    "expected_positive_regularisation": Case("epr", expected, ("expected_positives",)),
    "role_loss": Case("role", estimator, ("expected_positives",)),
    "entropy_maximisation_loss": Case("em"),
    "asymmetric_pseudo_label_loss": Case(
        "em-apl", memory(pseudo_labels="soft", marked="marked"), ("warmup", "share")
    ),
    "hill_loss": Case("hill"),
    "splc_loss": Case("splc", epoch, variants=({"change_epoch": 5}, {"tau": 0.1})),
    "large_loss_rejection": Case("ll-r", epoch, variants=({"delta": 15.0},)),
    "large_loss_correction": Case("ll-ct", epoch, variants=({"delta": 15.0},)),
    "permanent_large_loss_correction": Case(
        "ll-cp", epoch, ("as_released",), variants=({"delta": 30.0},)
    ),
    "partial_bce": Case("partial-bce"),
    "partial_asymmetric_loss": Case("p-asl"),
    "class_aware_selective_loss": Case(
        "csl",
        lambda m: {"prior": m.run.state["prior"]},
        ("prior",),
        variants=({"likelihood_topk": 1}, {"likelihood_topk": 0, "prior_threshold": 0.3}),
        stage=1,
    ),
    "pseudo_label_loss": Case("pseudo-label", memory(pseudo_labels="pseudo")),
    "pal_loss": Case("pal", pal_subset, ("q", "online")),
    "generalised_cross_entropy": Case("gce"),
    "forward_corrected_loss": Case("cc-pml", rate, ("rho",)),
    "unbiased_pml_loss": Case("unbiased-pml", rate, ("rho",)),
    "weighted_candidate_loss": Case(
        "cdcr", memory(weights="weights"), ("rule", "threshold", "warmup")
    ),
    "progressive_identification_loss": Case("proden-ml", bank, ("rho", "bank_rate")),
    "negative_suppression_loss": Case("cones-nsl", believed_labels, ("bank_rate",)),
}
# The names of COMIC's hyperparameters for two terms of its loss, which have tests of their own.
MODIFIER = ("gamma_negative", "gamma_positive", "clip", "head_tail", "class_weight")
COMIC_TERMS = {
    "reflective_label_correction_loss": {
        **{key: f"rlc_{key}" for key in ("tau", "margin", "momentum", "power")},
        **{key: f"mfm_{key}" for key in MODIFIER},
    },
    "head_tail_balancer": {
        "alpha": "htb_alpha",
        **{key: f"mfm_{key}" for key in ("power", *MODIFIER)},
    },
}


def toy_problem() -> Problem:
    observed = toy_labels("toy", 20, 5)
    observed[:, -1] = observed[:, -1].clamp(max=0)  # a class without positives
    truth = torch.where(observed == -1, (numbers("truth", 20, 5) < 0.3).to(torch.int8), observed)
    oracle = {"expected_positives": float(truth.sum(1).double().mean())}
    return Problem(
        LabelTable.of(observed), 6, "pal", CLOCK.epochs, Oracle(oracle, ("expected_positives",))
    )


def moment_of(case: Case, hyper: dict[str, Any]) -> Moment:
    """A step of the method in the middle of training, with parameters and state made up."""
    method_class = registry.builtin()[case.method]
    method = method_class(method_class.Hyper(**hyper))
    problem, draw = toy_problem(), Draw(0).at(case.stage, CLOCK.epoch, CLOCK.step)
    run = method.setup(problem, draw)
    for part in (run.params, run.state, run.memory):
        for name, value in part.items():
            if value.dtype == torch.bool:
                part[name] = numbers(f"toy/{name}", *value.shape) < 0.5
            elif value.is_floating_point():
                low, high = (-1, 1) if part is run.params else (0, 1)
                drawn = numbers(f"toy/{name}", *value.shape, low=low, high=high)
                part[name] = drawn.to(value.dtype).requires_grad_(part is run.params)
    for name in run.state:
        if name.endswith(".counts"):
            run.state[name] = 1 + (20 * run.state[name]).round()
    if "bank" in run.memory:
        run.memory["bank"] *= problem.observed != 0  # a bank is zero outside the candidates
    rows = torch.arange(12) % 10  # two rows occur twice
    features = numbers("toy/features", 12, 6, low=-2, high=2).float()
    batch = Batch(rows, features, problem.observed[rows])
    step = method.step(run, batch, dataclasses.replace(CLOCK, stage=case.stage), draw)
    return Moment(method, run, batch, draw, step)


def hyper_variants(name: str) -> Iterator[dict[str, Any]]:
    """The method's defaults; all numbers changed, alone and with every switch and choice."""
    case = CASES[name]
    fields = {entry["name"]: entry for entry in describe(registry.builtin()[case.method].Hyper)}
    entries = [fields[case.prefix + key] for key in hyper_keywords(name)]
    yield {}
    numeric: dict[str, Any] = {}
    for place, entry in enumerate(entries):  # no two numbers become equal
        if type(entry["default"]) is float:
            numeric[entry["name"]] = 0.9 * entry["default"] + 0.01 * (place + 1)
        elif type(entry["default"]) is int:
            numeric[entry["name"]] = entry["default"] + 1
    yield numeric
    for entry in entries:
        if isinstance(entry["default"], bool):
            yield numeric | {entry["name"]: not entry["default"]}
        for choice in entry.get("choices") or ():
            yield numeric | {entry["name"]: choice}
    yield from case.variants


def hyper_keywords(name: str) -> list[str]:
    """The keywords of a loss that are hyperparameters of its method."""
    optional = {"reduction", "cooccurrence"}
    return [
        key for key, p in keywords(name).items() if p.default is not p.empty and key not in optional
    ]


@pytest.mark.parametrize("name", CASES)
def test_equals_the_method_to_the_bit(name: str) -> None:
    case = CASES[name]
    for hyper in hyper_variants(name):
        moment = moment_of(case, hyper)
        logits = moment.method.logits(moment.run, moment.batch.features)
        arguments = {key.removeprefix(case.prefix): value for key, value in hyper.items()}
        value = loss_of(name)(logits, moment.batch.observed, **case.extract(moment), **arguments)
        assert torch.equal(value, moment.step.loss), (hyper, value, moment.step.loss)
        params = list(moment.run.params.values())
        slopes = torch.autograd.grad(value, params)
        expected_slopes = torch.autograd.grad(moment.step.loss, params)
        assert all(map(torch.equal, slopes, expected_slopes)), hyper


@pytest.mark.parametrize("name", CASES)
def test_has_the_hyperparameters_of_the_method(name: str) -> None:
    case = CASES[name]
    hyper = registry.builtin()[case.method].Hyper()
    defaults = {f.name: getattr(hyper, f.name) for f in dataclasses.fields(hyper)}
    ours = {case.prefix + key: keywords(name)[key].default for key in hyper_keywords(name)}
    assert ours == {key: value for key, value in defaults.items() if key not in case.outside}
    assert {key: type(value) for key, value in ours.items()} == {
        key: type(value) for key, value in defaults.items() if key in ours
    }


def test_every_loss_is_compared_with_a_method() -> None:
    assert set(CASES) | set(COMIC_TERMS) == set(NAMES)


@pytest.mark.parametrize("name", COMIC_TERMS)
def test_terms_of_comic_have_its_hyperparameters(name: str) -> None:
    hyper = registry.builtin()["comic"].Hyper()
    ours = {key: keywords(name)[key].default for key in hyper_keywords(name)}
    assert ours == {key: getattr(hyper, field) for key, field in COMIC_TERMS[name].items()}


def changed(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Hyperparameters of COMIC unlike its defaults, and the same as keywords of a term."""
    defaults = registry.builtin()["comic"].Hyper()
    values = {
        key: value if isinstance(value, bool) else 0.8 * value + 0.1
        for key, field in COMIC_TERMS[name].items()
        for value in [getattr(defaults, field)]
    }
    return {COMIC_TERMS[name][key]: value for key, value in values.items()}, values


def modifier_loss(moment: Moment, logits: Tensor) -> Tensor:
    hyper = moment.method.hyper
    arguments = {key: getattr(hyper, f"mfm_{key}") for key in ("power", *MODIFIER)}
    return losses.multi_focal_modifier_loss(
        logits, moment.batch.observed, **branch_counts(moment), **arguments
    )


def assert_same(moment: Moment, value: Tensor) -> None:
    """The value and its gradient are those of the step, but for the order of its sums."""
    torch.testing.assert_close(value, moment.step.loss, rtol=1e-6, atol=0)
    trained = list(moment.run.params.values())
    slopes = torch.autograd.grad(value, trained, allow_unused=True)
    expected_slopes = torch.autograd.grad(moment.step.loss, trained, allow_unused=True)
    for slope, expected_slope in zip(slopes, expected_slopes, strict=True):
        if slope is None:
            assert expected_slope is None or not expected_slope.any()
        else:
            torch.testing.assert_close(slope, expected_slope, rtol=1e-5, atol=1e-7)


def test_label_correction_is_the_term_of_comic() -> None:
    name = "reflective_label_correction_loss"
    hyper, arguments = changed(name)
    fixed: dict[str, Any] = {"branches": "b", "rlc_weight": 0.7}
    fixed["projection_activation"] = "none"
    fixed["width"] = toy_problem().feature_dim  # with these values some labels are corrected
    moment = moment_of(Case("comic"), hyper | fixed)
    logits = moment.method.logits(moment.run, moment.batch.features)
    state = moment.run.state
    term = losses.reflective_label_correction_loss(
        logits,
        moment.batch.observed,
        class_counts=state["balanced.counts"],
        mean_probability=state["balanced.probability"],
        **arguments,
    )
    assert moment.step.corrected is not None
    assert moment.step.corrected.any()
    assert_same(moment, modifier_loss(moment, logits) + 0.7 * term)


def test_balancer_is_the_term_of_comic() -> None:
    hyper, arguments = changed("head_tail_balancer")
    still = {"fusion": 0.0, "attention_dropout": 0.0, "shift_head": 0.0, "shift_tail": 0.0}
    moment = moment_of(Case("comic"), hyper | still | {"rlc_weight": 0.0, "htb_weight": 0.7})
    single = registry.builtin()["comic-head"]()

    def branch(name: str) -> Tensor:
        params = {
            key.replace(name, "single"): value
            for key, value in moment.run.params.items()
            if key.startswith(name)
        }
        return single.logits(Run(params), moment.batch.features)

    balanced, head, tail = (branch(name) for name in ("balanced", "head_branch", "tail_branch"))
    term = losses.head_tail_balancer(
        balanced,
        moment.batch.observed,
        head_logits=head,
        tail_logits=tail,
        **branch_counts(moment),
        **arguments,
    )
    modified = sum(modifier_loss(moment, logits) for logits in (balanced, head, tail))
    assert_same(moment, modified + 0.7 * term)


def test_prior_focal_modifier_is_that_of_comic() -> None:
    moment = moment_of(Case("comic-head"), {"mfm_kind": "pfm"})
    logits = moment.method.logits(moment.run, moment.batch.features)
    positive = (toy_problem().observed == 1).float()
    value = losses.multi_focal_modifier_loss(
        logits,
        moment.batch.observed,
        **branch_counts(moment),
        cooccurrence=positive.T @ positive,
    )
    assert torch.equal(value, moment.step.loss)
