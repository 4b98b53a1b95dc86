"""A method that breaks a rule of the contract is refused with the file, the line and the rule."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from baselines.bce import BCE
from baselines.core import Method, registry
from benchkit.training import check, rehearsal
from benchkit.training.inputs import TrainingSet

HEAD = """\
import random
import numpy as np
import torch
from torch import nn
from baselines.core import Method, MethodInfo, Step, positives
from baselines.core.losses import bce_terms

class Mine(Method):
    info = MethodInfo("mine", "Mine", "none", 2026, "L", "negative")
"""
LOSS = """
    def loss(self, run, logits, batch, clock, draw):
        y = positives(batch.observed, logits.dtype)
        terms = bce_terms(logits, y)
"""
LINE = (HEAD + LOSS).count("\n") + 1


@pytest.fixture(scope="module")
def data() -> TrainingSet:
    return check.toy_data("pal")[0]


def method_of(folder: Path, body: str) -> Method:
    """A method of a plugin `mine.py` whose class has the given functions."""
    path = folder / "mine.py"
    path.write_text(HEAD + body)
    (method,) = registry.load_plugin(path).values()
    return method()


READS = "the step reads a tensor's value (`.item()`, `float(tensor)` or `if tensor`)"
SHAPE = "the step makes a tensor whose shape depends on data"
SHARED = "the step writes into a tensor that all runs share"
RANDOM = "random numbers must come from `draw`"


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ("return terms.mean() * (1 if terms.mean().item() > 0 else 2)", READS),
        ("return terms.mean() * float(terms.detach().max())", READS),
        ("return terms.mean() if terms.sum() > 0 else -terms.mean()", READS),
        ("return terms.mean() if clock.epoch < 3 or terms.sum() > 0 else terms.sum()", READS),
        ("return terms.mean() * terms.detach().numpy().mean()", "the step converts a tensor to"),
        ("return terms.mean() * len(terms.tolist())", "the step converts a tensor to a list"),
        ("return terms[y > 0].sum()", SHAPE),
        ("return terms.mean() * len(torch.nonzero(y))", SHAPE),
        ("weight = torch.zeros(terms.shape); weight += terms; return weight.mean()", SHARED),
        ("weight = torch.zeros(len(y)); weight[:] = terms.mean(1); return weight.mean()", SHARED),
        ("return bce_terms(logits, torch.rand_like(logits)).mean()", RANDOM),
        ("return nn.functional.dropout(terms, 0.5).mean()", RANDOM),
        ("return terms.mean() * np.random.rand()", RANDOM),
        ("return terms.mean() * random.random()", RANDOM),
    ],
)
def test_a_step_that_breaks_a_rule(data: TrainingSet, tmp_path: Path, code: str, rule: str) -> None:
    method = method_of(tmp_path, LOSS + f"        {code}\n")
    sentence = rehearsal.violation(method, data, 5)
    assert sentence is not None and sentence.startswith(f"mine.py, line {LINE}: {rule}"), sentence
    assert "vmap" not in sentence and "\n" not in sentence


STEP = """
    def setup(self, problem, draw):
        setup = super().setup(problem, draw)
        setup.memory["soft"] = problem.observed.float()
        setup.state["mean"] = torch.zeros(problem.num_classes)
        return setup

    def step(self, run, batch, clock, draw):
        logits = self.logits(run, batch.features)
        loss = bce_terms(logits, logits.detach().sigmoid()).mean()
        RESULT
"""


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            LOSS + "        return terms\n",
            "the loss is of shape [16, 5]; it must be a single number",
        ),
        (LOSS + "        return 0.5\n", "the loss is no tensor"),
        (STEP.replace("RESULT", "return loss"), "step must return a Step"),
        (
            STEP.replace("RESULT", "return Step(loss, memory=dict(run.memory))"),
            "the step returns the memory 'soft' in the shape [24, 5]; memory is written by rows, "
            "so it must be [16, 5]",
        ),
        (
            STEP.replace("RESULT", "return Step(loss, state=5)"),
            "the state of the step must be a dictionary of tensors",
        ),
        (
            STEP.replace("RESULT", 'return Step(loss, memory={"soft": None})'),
            "the memory of the step must be a dictionary of tensors",
        ),
        (
            STEP.replace("RESULT", 'return Step(loss, memory={"hard": logits})'),
            "setup does not create the memory 'hard'",
        ),
        (
            STEP.replace("RESULT", 'return Step(loss, state={"mean": logits})'),
            "the step returns the state 'mean' in the shape [16, 5]; it must keep the shape [5]",
        ),
        (
            "    def setup(self, problem, draw):\n        return None\n",
            "setup must return a Setup",
        ),
        (
            "    def logits(self, run, features):\n"
            "        return super().logits(run, features)[:, :1]\n"
            + LOSS
            + "        return logits.mean()\n",
            "logits returns the shape [16, 1]; it must be [16, 5]",
        ),
    ],
)
def test_results_of_a_wrong_type_or_shape(
    data: TrainingSet, tmp_path: Path, body: str, message: str
) -> None:
    sentence = rehearsal.violation(method_of(tmp_path, body), data, 5)
    assert sentence is not None and sentence.startswith("mine.py, line "), sentence
    assert message in sentence


def test_a_step_that_knows_whether_it_is_stacked(data: TrainingSet, tmp_path: Path) -> None:
    code = "return terms.mean() * (1 + torch._C._functorch.is_batchedtensor(logits))"
    sentence = rehearsal.violation(method_of(tmp_path, LOSS + f"        {code}\n"), data, 5)
    assert sentence is not None and "other numbers when several seeds train together" in sentence


def test_random_parameters(data: TrainingSet, tmp_path: Path) -> None:
    body = """
    def setup(self, problem, draw):
        setup = super().setup(problem, draw)
        setup.params["head.weight"] = torch.randn(problem.feature_dim, problem.num_classes)
        return setup
"""
    sentence = rehearsal.violation(
        method_of(tmp_path, body + LOSS + "        return terms.mean()\n"), data, 5
    )
    assert sentence == f"mine.py, line {HEAD.count(chr(10)) + 4}: {RANDOM}"


def test_a_method_that_fails_alone_is_left_to_training(data: TrainingSet, tmp_path: Path) -> None:
    method = method_of(tmp_path, LOSS + "        return run.memory['soft'].mean()\n")
    assert rehearsal.violation(method, data, 5) is None
    with pytest.raises(KeyError) as error:
        rehearsal._rehearse(method, [0], data, 5)
    assert rehearsal.failure(error.value, type(method)) == f"mine.py, line {LINE}: KeyError: 'soft'"


def test_an_exception_without_a_message(data: TrainingSet, tmp_path: Path) -> None:
    class OddError(Exception):
        def __str__(self) -> str:
            raise ZeroDivisionError

    method = method_of(tmp_path, LOSS + "        return terms.mean()\n")
    assert rehearsal.failure(OddError(), type(method)) == "mine.py: OddError"
    assert rehearsal._reason(OddError()).endswith("train together: OddError")


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ("return logits.unique().sum()", SHAPE),
        ("return logits.cpu().numpy().sum()", "the step converts a tensor to a list"),
    ],
)
def test_a_rule_that_is_broken_by_a_step_that_fails_alone(
    data: TrainingSet, tmp_path: Path, code: str, rule: str
) -> None:
    method = method_of(tmp_path, LOSS + f"        {code}\n")
    assert rehearsal.violation(method, data, 5) is None
    with pytest.raises(RuntimeError) as error:
        rehearsal._rehearse(method, [0, 1], data, 5)
    sentence = rehearsal.failure(error.value, type(method))
    assert sentence.startswith(f"mine.py, line {LINE}: {rule}"), sentence


def test_a_method_that_keeps_the_rules(data: TrainingSet) -> None:
    assert rehearsal.violation(BCE(), data, 5) is None


def test_one_image_and_one_class(data: TrainingSet) -> None:
    one = dataclasses.replace(
        data,
        features=data.features[:1],
        observed=type(data.observed)(data.observed.whole()[:1, :1]),
        true=type(data.true)(data.true.whole()[:1, :1]),
        shot=data.shot[:1],
    )
    assert rehearsal.violation(BCE(), one, 1) is None
