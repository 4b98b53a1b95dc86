"""A rehearsal of a method: its first steps on a few images, alone and stacked.

A method that breaks the rules of `baselines.core.contract` may train alone, and fail or give other
numbers as soon as several seeds train together. `violation` finds this before training and says
which rule is broken, in which line of the method's file.
"""

from __future__ import annotations

import dataclasses
import random
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baselines.core import Batch, Clock, LabelTable, Method, Run, Setup, Step
from baselines.core.errors import MethodError, last_line, message, one_line
from benchkit.base.draw import Draw
from benchkit.base.errors import BenchkitError
from benchkit.base.memory import shortage
from benchkit.training.inputs import TrainingSet
from benchkit.training.stack import Stack
from benchkit.training.trainer import setups, start_epoch

_IMAGES, _STEPS = 24, 2
# The differences that rounding may cause, relative to the largest number of the same kind.
_REPEATED, _STACKED = 1e-5, 1e-3

_TOGETHER = "which is not possible when several seeds train together"
_READS_A_VALUE = (
    f"reads a tensor's value (`.item()`, `float(tensor)` or `if tensor`), {_TOGETHER}; "
    "use torch.where"
)
_CONVERTS = (
    f"converts a tensor to a list or a NumPy array, or reads its `.data`, {_TOGETHER}; "
    "use torch functions, and `detach()` against gradients"
)
_DYNAMIC_SHAPE = (
    f"makes a tensor whose shape depends on data (a boolean index, `nonzero`, `unique`), "
    f"{_TOGETHER}; use a mask and torch.where"
)
_RANDOM = "random numbers must come from `draw`"
_SHARED = (
    f"writes into a tensor that all runs share, {_TOGETHER}; create the tensor with "
    "`torch.zeros_like` or use torch.where"
)
_DEPENDS = (
    "the step gives other numbers when several seeds train together; it may depend on its own run, "
    "batch and `draw` only"
)

# An extract of torch's message -> what the step does. The first match counts.
_REASONS: tuple[tuple[str, str], ...] = (
    (r"\.item\(\)|data-dependent control flow|allclose|aten::equal", _READS_A_VALUE),
    (r"access data pointer|have storage|accessing `data`", _CONVERTS),
    (r"dynamic shape|differently shaped|data-dependent", _DYNAMIC_SHAPE),
    (r"inplace arithmetic|doesn't match the broadcast shape", _SHARED),
)
_RANDOM_MESSAGE = "random operation"
_STACKED_MESSAGE = re.compile(r"vmap|doesn't have storage")  # torch raises it for stacked runs only


def check(method: Method, data: TrainingSet, epochs: int) -> None:
    """Refuse a method that breaks a rule of the contract.

    Raises:
        MethodError: see `violation`.
    """
    sentence = violation(method, data, epochs)
    if sentence is not None:
        raise MethodError(sentence)


def violation(method: Method, data: TrainingSet, epochs: int) -> str | None:
    """The first rule of the contract that a method breaks.

    The first two steps of the first and of the last epoch of every stage run on up to 24 images
    with random features: twice with one seed, which must give the same numbers; and stacked with
    another seed, which must give the numbers of both seeds alone.

    Args:
        method: the method with its hyperparameters and head.
        data: the training set, for its labels, its shapes and its device.
        epochs: the recipe's number of epochs.

    Returns:
        One sentence with the file, the line and the rule; None if no rule is broken, or if the
        method does not even run alone. Training then reports the error.
    """
    data = _few_images(data)
    try:
        alone, again, other = (_rehearse(method, [seed], data, epochs) for seed in (0, 0, 1))
        if not _agree(alone, again, _REPEATED):
            line = _line_of_random_numbers(method, data, epochs)
            return f"{_where(method, line)}: {_RANDOM}"
    except MethodError as error:
        return str(error)
    except Exception:
        return None
    try:
        stacked = _rehearse(method, [0, 1], data, epochs)
    except Exception as error:
        line = last_line(error, source_file(type(method)))
        return f"{_where(method, line)}: {_reason(error)}"
    if _agree([*alone, *other], stacked, _STACKED):
        return None
    line = _line_of(method, "step") or _line_of(method, "loss")
    return f"{_where(method, line)}: {_DEPENDS}"


def source_file(method: type[Method]) -> str | None:
    """The file that defines a method, as the interpreter names it in tracebacks."""
    return getattr(sys.modules.get(method.__module__), "__file__", None)


def failure(error: BaseException, method: type[Method]) -> str:
    """The reason of a failed run as one sentence, with the line of a user's file."""
    if isinstance(error, (MethodError, BenchkitError)):
        return str(error)
    sentence = shortage(error)
    if sentence is not None:
        return sentence
    file = source_file(method)
    if file is None or method.__module__.startswith("baselines."):
        return one_line(error)
    line = last_line(error, file)
    # A step that also fails alone passes the rehearsal.
    reason = _broken_rule(error) if _STACKED_MESSAGE.search(message(error)) else None
    place = f"{Path(file).name}{'' if line is None else f', line {line}'}"
    return f"{place}: {reason or one_line(error)}"


# ----------------------------------------------------------------------------- the steps

# The numbers of one run by moment, kind (parameter, loss, gradient, state, memory) and name.
_Key = tuple[str, str, str]
_Numbers = dict[_Key, Tensor]


def _few_images(data: TrainingSet) -> TrainingSet:
    """The labels of a few images of a training set, with features in general position."""
    device, count = data.features.device, min(_IMAGES, len(data.observed))
    rows = torch.linspace(0, len(data.observed) - 1, count).long().to(device)
    features = Draw(0).normal("rehearsal", count, 1, data.features.shape[-1]).to(device)
    return dataclasses.replace(
        data,
        features=features,
        observed=LabelTable.of(data.observed.rows(rows)),
        true=LabelTable.of(data.true.rows(rows)),
    )


def _rehearse(
    method: Method, seeds: Sequence[int], data: TrainingSet, epochs: int
) -> list[_Numbers]:
    """Run the first steps of one or several runs, and collect their numbers.

    Args:
        method: the method; every run gets an instance of its own.
        seeds: one per run; several runs are stacked.
        data: the training set.
        epochs: the recipe's number of epochs.

    Raises:
        MethodError: `setup` or `step` returns something of a wrong type or shape.
    """
    methods = [type(method)(method.hyper, method.head) for _ in seeds]
    problems = data.problems(methods, epochs)
    numbers: list[_Numbers] = [{} for _ in seeds]
    stack = None
    for number, stage in enumerate(methods[0].stages()):
        if stack is None:
            _check_setup(methods[0], methods[0].setup(problems[0], Draw(seeds[0]).at(0, 0)))
            stack = Stack.of(methods, seeds, setups(methods, problems, seeds, 0, data))
        if stage.restart:
            stack.restart(stage.restart, setups(methods, problems, seeds, number, data))
        length = stage.epochs or epochs
        for epoch in sorted({1, length}):
            clock = Clock(number, epoch, length, 0, _STEPS)
            start_epoch(stack, problems, seeds, data, clock)
            for step in range(_STEPS):
                now = dataclasses.replace(clock, step=step)
                for kind, name, value in _step(stack, seeds, data, now):
                    for index, own in enumerate(numbers):
                        one = value[index] if stack.stacked else value
                        own[f"{number}/{epoch}/{step}", kind, name] = one.detach().clone()
    return numbers


def _step(
    stack: Stack, seeds: Sequence[int], data: TrainingSet, clock: Clock
) -> Iterator[tuple[str, str, Tensor]]:
    """Run one step of all runs, and yield its numbers as kind, name and value."""
    images = len(data.features)
    batch = max(1, images * 2 // 3)
    shifts = torch.tensor([7 * seed + clock.step * batch for seed in seeds])
    rows = (shifts[:, None] + torch.arange(batch)[None, :]).to(data.features.device) % images
    rows = rows if stack.stacked else rows[0]
    features, observed = data.gather(rows)
    for tensor in stack.params.values():
        tensor.requires_grad_()
    if not stack.stacked:
        _check_step(stack, clock, seeds[0], rows, features, observed)
    out = stack.step(clock, rows, features, observed)
    gradients = torch.autograd.grad(out.loss.sum(), list(stack.params.values()), allow_unused=True)
    for (name, parameter), gradient in zip(stack.params.items(), gradients, strict=True):
        yield "parameter", name, parameter
        if gradient is not None:
            yield "gradient", name, gradient
    yield "loss", "", out.loss
    for kind, values in (("state", out.state), ("memory", out.memory)):
        for name, value in values.items():
            yield kind, name, value
    with torch.no_grad():
        stack.apply(out, rows)


def _agree(first: Sequence[_Numbers], second: Sequence[_Numbers], tolerance: float) -> bool:
    """Whether two lists of runs have the same numbers.

    Differences may be up to `tolerance` times the largest number of the same moment and kind.
    """
    for one, other in zip(first, second, strict=True):
        if one.keys() != other.keys():
            return False
        scales: dict[tuple[str, str], float] = {}
        for (moment, kind, _), value in other.items():
            largest = float(torch.nan_to_num(value.double()).abs().amax()) if value.numel() else 0.0
            scales[moment, kind] = max(scales.get((moment, kind), 1e-6), largest)
        for key, value in one.items():
            if value.shape != other[key].shape or not torch.allclose(
                value.double(),
                other[key].double(),
                rtol=0.0,
                atol=tolerance * scales[key[:2]],
                equal_nan=True,
            ):
                return False
    return True


# ----------------------------------------------------------------------------- types and shapes


def _check_setup(method: Method, setup: Any) -> None:
    where = _where(method, _line_of(method, "setup"))
    if not isinstance(setup, Setup):
        raise MethodError(f"{where}: setup must return a Setup")
    for part, tensors in vars(setup).items():
        for name, value in tensors.items():
            if not isinstance(value, Tensor):
                raise MethodError(f"{where}: {part}['{name}'] of the setup must be a tensor")
    if not setup.params:
        raise MethodError(f"{where}: setup returns no parameters, so that nothing can be trained")
    for name, value in setup.params.items():
        if not value.is_floating_point():
            raise MethodError(f"{where}: params['{name}'] must hold floating-point numbers")


def _check_step(
    stack: Stack, clock: Clock, seed: int, rows: Tensor, features: Tensor, observed: Tensor
) -> None:
    """Check what a step and `logits` return."""
    method = type(stack.methods[0])(stack.methods[0].hyper, stack.methods[0].head)
    parts = (stack.state, stack.memory, stack.constants)
    copies = ({name: value.clone() for name, value in part.items()} for part in parts)
    run = Run(stack.params, *copies)
    draw = Draw(seed, rows.device).at(clock.stage, clock.epoch, clock.step)
    out: Any = method.step(run, Batch(rows, features, observed), clock, draw)
    where = _where(method, _line_of(method, "step"))
    if not isinstance(out, Step):
        raise MethodError(f"{where}: step must return a Step")
    if not isinstance(out.loss, Tensor) or out.loss.dim() != 0:
        name = "loss" if _is_own(method, "loss") else "step"
        where = _where(method, _line_of(method, name))
        form = f"of shape {list(out.loss.shape)}" if isinstance(out.loss, Tensor) else "no tensor"
        raise MethodError(f"{where}: the loss is {form}; it must be a single number (a mean)")
    _check_written(out, run, len(rows), where)
    with torch.no_grad():
        shape = list(method.logits(run, features).shape)
    if shape != list(observed.shape):
        where = _where(method, _line_of(method, "logits"))
        raise MethodError(
            f"{where}: logits returns the shape {shape}; it must be {list(observed.shape)}, one "
            "score per image and class"
        )


def _check_written(out: Step, run: Run, rows: int, where: str) -> None:
    """Check the memory and the state that a step returns for a batch of some rows."""
    for part, values in (("memory", out.memory), ("state", out.state)):
        is_valid = isinstance(values, Mapping) and all(
            isinstance(value, Tensor) for value in values.values()
        )
        if not is_valid:
            raise MethodError(f"{where}: the {part} of the step must be a dictionary of tensors")
    for name, value in out.memory.items():
        if name not in run.memory:
            raise MethodError(f"{where}: setup does not create the memory '{name}' of the step")
        expected = [rows, *run.memory[name].shape[1:]]
        if list(value.shape) != expected:
            raise MethodError(
                f"{where}: the step returns the memory '{name}' in the shape {list(value.shape)}; "
                f"memory is written by rows, so it must be {expected}, one row per image of the "
                "batch"
            )
    for name, value in out.state.items():
        if name in run.state and value.shape != run.state[name].shape:
            raise MethodError(
                f"{where}: the step returns the state '{name}' in the shape {list(value.shape)}; "
                f"it must keep the shape {list(run.state[name].shape)}"
            )


# ----------------------------------------------------------------------------- sentences


def _reason(error: BaseException) -> str:
    reason = _broken_rule(error)
    return reason or f"the step fails when several seeds train together: {one_line(error)}"


def _broken_rule(error: BaseException) -> str | None:
    """The rule that a step breaks, by the message of torch; None for other errors."""
    text = message(error)
    if _RANDOM_MESSAGE in text:
        return _RANDOM
    for pattern, reason in _REASONS:
        if re.search(pattern, text):
            return f"the step {reason}"
    return None


def _where(method: Method, line: int | None) -> str:
    """The file of a method and a line of it, or the method's key if it is in no file."""
    file = source_file(type(method))
    place = f"method '{method.info.key}'" if file is None else Path(file).name
    return place if line is None else f"{place}, line {line}"


def _is_own(method: Method, name: str) -> bool:
    """Whether the file of a method defines one of its functions."""
    return _line_of(method, name) is not None


def _line_of(method: Method, name: str) -> int | None:
    """The line in which the file of a method defines one of its functions."""
    code = getattr(getattr(type(method), name, None), "__code__", None)
    if code is None or code.co_filename != source_file(type(method)):
        return None
    return int(code.co_firstlineno)


def _line_of_random_numbers(method: Method, data: TrainingSet, epochs: int) -> int | None:
    """The line of a method's file that advances a global generator of random numbers first."""
    file, lines = source_file(type(method)), []
    state, last = _generators(data), 0

    def trace(frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        nonlocal state, last
        if frame.f_code.co_filename != file:
            return None
        now = _generators(data)
        if now != state:
            lines.append(last)
            state = now
        caller = frame.f_back if event == "return" else None
        last = (caller or frame).f_lineno
        return trace

    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        _rehearse(method, [0], data, epochs)
    finally:
        sys.settrace(previous)
    return lines[0] if lines else None


def _generators(data: TrainingSet) -> tuple[object, ...]:
    """The states of the global generators of torch, NumPy and Python."""
    numpy_state: Any = np.random.get_state(legacy=False)  # noqa: NPY002
    keys = numpy_state["state"]
    device = data.features.device
    cuda = torch.cuda.get_rng_state(device).numpy().tobytes() if device.type == "cuda" else b""
    return (
        torch.get_rng_state().numpy().tobytes(),
        cuda,
        (keys["key"].tobytes(), keys["pos"], numpy_state["has_gauss"], numpy_state["gauss"]),
        random.getstate(),
    )
