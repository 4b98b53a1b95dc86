"""The public losses: reductions, precision, stacking, errors and documentation of all of them."""

from __future__ import annotations

import doctest
import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchkit import losses
from benchkit.base import random

PAGE = Path(__file__).parents[2] / "docs" / "losses.md"
NAMES = sorted(set(losses.__all__) - {"check_labels"})


def loss_of(name: str) -> Callable[..., Tensor]:
    return getattr(losses, name)


def keywords(name: str) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters of a loss."""
    parameters = inspect.signature(loss_of(name)).parameters.values()
    return {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY}


def has_reduction(name: str) -> bool:
    return "reduction" in keywords(name)


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


def statistics(name: str, logits: Tensor, labels: Tensor, stream: str = "0") -> dict[str, Any]:
    """A value for every required keyword of a loss, in the dtype of the logits."""
    images, classes = logits.shape
    per_entry = {
        "pseudo_labels": numbers(f"{stream}/pseudo", images, classes),
        "weights": numbers(f"{stream}/weights", images, classes),
        "estimator_logits": numbers(f"{stream}/estimator", images, classes, low=-2, high=2),
        "head_logits": numbers(f"{stream}/head", images, classes, low=-2, high=2),
        "tail_logits": numbers(f"{stream}/tail", images, classes, low=-2, high=2),
    }
    values: dict[str, Any] = {
        **{key: value.to(logits.dtype) for key, value in per_entry.items()},
        "marked": (labels == -1) & (numbers(f"{stream}/marked", images, classes) < 0.5),
        "subset": (labels == -1) & (numbers(f"{stream}/subset", images, classes) < 0.5),
        "class_counts": torch.tensor([60, 30, 10, 3, 0, 1])[:classes],
        "num_images": 100,
        "shot": torch.tensor([0, 1, 2, 2, 2, 2])[:classes],
        "prior": numbers(f"{stream}/prior", classes).to(logits.dtype),
        "mean_probability": numbers(f"{stream}/mean", classes).to(logits.dtype),
        "noise_rate": 0.3,
        "expected_positives": 1.5,
        "epoch": 3,
        "epochs": 10,
    }
    required = [key for key, p in keywords(name).items() if p.default is p.empty]
    return {key: values[key] for key in required}


def example(name: str, dtype: torch.dtype = torch.float32, stream: str = "0") -> Any:
    """Logits, labels and the required keywords of a loss."""
    logits = numbers(f"{stream}/logits", 4, 5, low=-3, high=3).to(dtype)
    labels = toy_labels(f"{stream}/labels", 4, 5)
    return logits, labels, statistics(name, logits, labels, stream)


@pytest.mark.parametrize("name", NAMES)
def test_reductions_agree(name: str) -> None:
    logits, labels, arguments = example(name, torch.float64)
    if not has_reduction(name):
        assert loss_of(name)(logits, labels, **arguments).shape == ()
        return
    assert keywords(name)["reduction"].default == "mean"
    values = {
        reduction: loss_of(name)(logits, labels, **arguments, reduction=reduction)
        for reduction in ("mean", "sum", "none")
    }
    assert values["none"].shape == (4, 5)
    torch.testing.assert_close(values["none"].mean(), values["mean"], rtol=1e-12, atol=0)
    torch.testing.assert_close(values["none"].sum(), values["sum"], rtol=1e-12, atol=0)
    with pytest.raises(ValueError, match="reduction is 'max'; it must be"):
        loss_of(name)(logits, labels, **arguments, reduction="max")


@pytest.mark.parametrize("name", NAMES)
def test_gradients_in_double_precision(name: str) -> None:
    logits, labels, arguments = example(name, torch.float64)
    leaf = logits.requires_grad_()
    value = loss_of(name)(leaf, labels, **arguments)
    assert value.dtype == torch.float64
    (slope,) = torch.autograd.grad(value, leaf)
    single = loss_of(name)(
        leaf.float(),
        labels,
        **{
            key: v.float() if isinstance(v, Tensor) and v.is_floating_point() else v
            for key, v in arguments.items()
        },
    )
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), value, rtol=1e-4, atol=1e-6)
    (single_slope,) = torch.autograd.grad(single, leaf)
    torch.testing.assert_close(single_slope, slope, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_label_dtypes_are_equivalent(name: str) -> None:
    logits, labels, arguments = example(name)
    value = loss_of(name)(logits, labels, **arguments)
    for dtype in (torch.int64, torch.float32, torch.float64):
        assert torch.equal(loss_of(name)(logits, labels.to(dtype), **arguments), value)


@pytest.mark.parametrize("name", NAMES)
def test_stacked_equals_alone(name: str) -> None:
    examples = [example(name, torch.float64, stream) for stream in "123"]
    fixed = {key: v for key, v in examples[0][2].items() if not isinstance(v, Tensor)}
    tensors = [
        (logits, labels, {key: v for key, v in arguments.items() if isinstance(v, Tensor)})
        for logits, labels, arguments in examples
    ]

    def slope(logits: Tensor, labels: Tensor, arguments: dict[str, Tensor]) -> Tensor:
        return torch.func.grad(lambda leaf: loss_of(name)(leaf, labels, **arguments, **fixed))(
            logits
        )

    stacked = torch.utils._pytree.tree_map(lambda *leaves: torch.stack(leaves), *tensors)
    together = torch.func.vmap(slope)(*stacked)
    alone = torch.stack([slope(*one) for one in tensors])
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-12)


def real_hyperparameters(name: str) -> dict[str, float]:
    defaults = {key: p.default for key, p in keywords(name).items()}
    return {key: value for key, value in defaults.items() if type(value) is float}


@pytest.mark.parametrize("name", [name for name in NAMES if real_hyperparameters(name)])
def test_hyperparameters_may_differ_between_stacked_runs(name: str) -> None:
    logits, labels, arguments = example(name, torch.float64)
    reals = real_hyperparameters(name)

    def value(hyper: dict[str, Any]) -> Tensor:
        return loss_of(name)(logits, labels, **arguments, **hyper)

    runs = [{key: v * factor for key, v in reals.items()} for factor in (1.0, 0.9)]
    together = torch.func.vmap(value)(
        {key: torch.tensor([run[key] for run in runs], dtype=torch.float64) for key in reals}
    )
    alone = torch.stack([value(run) for run in runs])
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_reads_no_value_of_a_tensor(name: str) -> None:
    """Tensors without values suffice, so a step never waits for a GPU."""
    logits, labels, arguments = example(name)
    shapes = {key: v.to("meta") if isinstance(v, Tensor) else v for key, v in arguments.items()}
    assert loss_of(name)(logits.to("meta"), labels.to("meta"), **shapes).device.type == "meta"


def hard_cases() -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name, float32 logits and labels of batches that a loss has to survive."""
    mixed = torch.tensor([[1, 0, -1, 0], [0, 1, -1, -1], [0, 0, -1, 1]], dtype=torch.int8)
    empty = torch.tensor([[0, 0, -1, 0], [0, 0, -1, -1], [-1, -1, -1, -1]], dtype=torch.int8)
    unknown, negative = torch.full_like(mixed, -1), torch.zeros_like(mixed)
    signs = torch.tensor([[1.0, -1.0, 1.0, -1.0], [-1.0, 1.0, -1.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    for scale in (0.0, 1.0, 50.0, -50.0):
        yield f"class without positives, {scale}", scale * signs, mixed
        yield f"rows without positives, {scale}", scale * signs, empty
        yield f"nothing observed, {scale}", scale * signs, unknown
        yield f"all negative, {scale}", scale * signs, negative
        yield f"one image, {scale}", scale * signs[:1], mixed[:1]
        yield f"one class, {scale}", scale * signs[:, :1], mixed[:, :1]


@pytest.mark.parametrize("name", NAMES)
def test_stays_finite_in_single_precision(name: str) -> None:
    for case, logits, labels in hard_cases():
        leaf = logits.clone().requires_grad_()
        value = loss_of(name)(leaf, labels, **statistics(name, leaf, labels))
        assert value.dtype == torch.float32, case
        assert torch.isfinite(value), case
        (slope,) = torch.autograd.grad(value, leaf)
        assert torch.isfinite(slope).all(), case


# Wrong arguments.


@pytest.mark.parametrize("name", NAMES)
def test_wrong_arguments_are_named(name: str) -> None:
    loss, (logits, labels, arguments) = loss_of(name), example(name)
    for wrong_logits in (logits.long(), logits[0], logits.numpy()):
        with pytest.raises(ValueError, match="logits must be a floating tensor"):
            loss(wrong_logits, labels, **arguments)
    for wrong_labels in (labels[:, 1:], labels[0], labels.numpy()):
        with pytest.raises(ValueError, match="labels must be a tensor"):
            loss(logits, wrong_labels, **arguments)
    for dtype in (torch.uint8, torch.bool):
        with pytest.raises(ValueError, match="cannot hold -1 for unknown; convert them to int8"):
            loss(logits, labels.to(dtype), **arguments)
    for key, value in arguments.items():
        if isinstance(value, Tensor):
            for wrong in (value[..., 1:], value.numpy()):
                with pytest.raises(ValueError, match=f"{key} must be a tensor"):
                    loss(logits, labels, **arguments | {key: wrong})


def test_a_wrong_cooccurrence_is_named() -> None:
    logits, labels, arguments = example("multi_focal_modifier_loss")
    with pytest.raises(ValueError, match=r"cooccurrence must be a tensor \[5, 5\], one value per"):
        losses.multi_focal_modifier_loss(logits, labels, **arguments, cooccurrence=torch.eye(4))


@pytest.mark.parametrize("name", NAMES)
def test_unknown_choices_are_errors(name: str) -> None:
    logits, labels, arguments = example(name)
    for key, parameter in keywords(name).items():
        if isinstance(parameter.default, str):
            with pytest.raises(ValueError, match=f"{key} is 'nonsense'; it must be"):
                loss_of(name)(logits, labels, **arguments | {key: "nonsense"})


def test_labels_are_checked_once() -> None:
    losses.check_labels(torch.tensor([[1, 0], [-1, 0]], dtype=torch.int8))
    with pytest.raises(ValueError, match="the label in row 1, class 0 is 2; it must be 1"):
        losses.check_labels(torch.tensor([[1, 0], [2, 0]]))
    with pytest.raises(ValueError, match=r"row 0, class 1 is 0\.5"):
        losses.check_labels(torch.tensor([[1, 0.5], [-1, 0]]))
    with pytest.raises(ValueError, match=r"labels must be int8 \[N, C\], not torch.uint8"):
        losses.check_labels(torch.zeros(2, 2, dtype=torch.uint8))


# Documentation.


@pytest.mark.parametrize("name", ["", *losses.__all__])
def test_examples_run(name: str) -> None:
    """The example of every function, and that of the package ("")."""
    target = loss_of(name) if name else losses
    globs = {"torch": torch, **vars(losses)}
    (test,) = doctest.DocTestFinder(recurse=False).find(target, name or "losses", globs=globs)
    assert len(test.examples) >= 2
    runner = doctest.DocTestRunner()
    runner.run(test)
    assert runner.failures == 0


@pytest.mark.parametrize("name", NAMES)
def test_every_argument_is_documented(name: str) -> None:
    text = inspect.getdoc(loss_of(name))
    assert text is not None
    for heading in ("Args:", "Returns:", "Raises:", "Source:", "Example:"):
        assert f"\n{heading}" in text, heading
    listed = re.findall(r"^    (\w+): ", text.split("\nArgs:")[1].split("\nReturns:")[0], re.M)
    assert listed == list(inspect.signature(loss_of(name)).parameters)
    assert "unknown" in text or "-1" in text


def test_the_package_imports_nothing_but_torch() -> None:
    heavy = ["click", "h5py", "matplotlib", "pandas", "PIL", "rich", "scipy", "torchvision"]
    code = f"import sys, benchkit.losses; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"


def test_the_page_lists_every_loss() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.M)
    assert sorted(rows) == NAMES


def test_the_training_loop_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (loop,) = re.findall(r"```python\n(import.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    labels = toy_labels("page/labels", 200, 5)
    signal = (labels == 1).double() @ numbers("page/signal", 5, 8, low=-2, high=2)
    features = signal + numbers("page/noise", 200, 8, low=-1, high=1)
    np.save(tmp_path / "features.npy", features.numpy())
    np.save(tmp_path / "labels.npy", labels.numpy())
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        exec(compile(loop, str(PAGE), "exec"), {})
    first, *_, last = (float(line.split()[-1]) for line in capsys.readouterr().out.splitlines())
    assert last < 0.8 * first
    weights = torch.load(tmp_path / "head.pt", weights_only=True)
    assert weights["weight"].shape == (5, 8)
