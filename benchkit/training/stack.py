"""R runs as one program: parameters, state and memory with a leading axis of runs.

What was measured (two CPU cores, D = 2048, C = 80, batch 32, Adam, 16 runs): the method's step
under `torch.func.vmap`, the losses summed and differentiated once by ordinary autograd, and
torch's fused optimisers on the stacked leaves, take 0.34 to 0.56 ms per run and step against 0.6
to 0.95 ms for runs one after another: 2.4 to 3.0 times the throughput through the trainer.
Summing is exact: run r's loss depends on run r's leaves only, so each leaf slice receives its own
gradient. Optimisers of the Adam and SGD families are elementwise, so one optimiser on stacked
leaves is R optimisers. Non-fused optimisers (1.0 to 1.5 ms) and weights stored [outputs, inputs]
(0.75 ms; every gradient is copied once more) lost what stacking gains. `benchmarks/stacked.py`
repeats the measurement.

A single run takes the same path without vmap, which spares it the dispatch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from baselines.core import Batch, Clock, Method, Run, Step
from baselines.core.contract import last_write
from benchkit.base.draw import Draw, signed

Parts = dict[str, Tensor]


def _join(parts: Sequence[Parts], stacked: bool) -> Parts:
    if not stacked:
        return dict(parts[0])
    return {name: torch.stack([part[name] for part in parts]) for name in parts[0]}


@dataclass
class Stack:
    """The tensors of R runs and the method's step over all of them.

    Attributes:
        methods: one per run; equal but for their seeds and float hyperparameters.
        seeds: int64 [R].
        stacked: whether tensors carry the leading axis (R > 1).
        params, state, memory, constants: as in `baselines.core.contract.Setup`.
    """

    methods: list[Method]
    seeds: Tensor
    stacked: bool
    params: Parts
    state: Parts
    memory: Parts
    constants: Parts
    floats: Parts = field(default_factory=dict)

    @classmethod
    def of(cls, methods: list[Method], seeds: Sequence[int], setups: Sequence[Run]) -> Stack:
        """Join the setups of R runs; every tensor must have the same shape in all of them."""
        stacked = len(methods) > 1
        device = next(iter(setups[0].params.values())).device
        return cls(
            methods=methods,
            seeds=torch.tensor([signed(s) for s in seeds], dtype=torch.int64, device=device),
            stacked=stacked,
            params=_join([setup.params for setup in setups], stacked),
            state=_join([setup.state for setup in setups], stacked),
            memory=_join([setup.memory for setup in setups], stacked),
            constants=_join([setup.constants for setup in setups], stacked),
            floats=_differing_floats(methods, device) if stacked else {},
        )

    def __len__(self) -> int:
        return len(self.methods)

    def run(self, index: int) -> Run:
        """Views of one run's tensors, detached; writing into them writes into the stack."""
        parts = [self.params, self.state, self.memory, self.constants]
        if not self.stacked:
            return Run(*({k: v.detach() for k, v in part.items()} for part in parts))
        return Run(*({k: v.detach()[index] for k, v in part.items()} for part in parts))

    def write(self, index: int, run: Run) -> None:
        """Copy a run's state and memory back where a hook replaced them."""
        for mine, theirs in ((self.state, run.state), (self.memory, run.memory)):
            for name, value in theirs.items():
                target = mine[name][index] if self.stacked else mine[name]
                if value.data_ptr() != target.data_ptr():
                    target.copy_(value)

    def step(self, clock: Clock, rows: Tensor, features: Tensor, observed: Tensor) -> Step:
        """One step of every run: [R, B, ...] in, losses [R] out (no leading axis if alone)."""
        one = self._one(clock)
        run = (self.params, self.state, self.memory, self.constants, self.floats)
        if not self.stacked:
            out = one(*run, self.seeds[0], rows, features, observed)
        else:
            out = torch.func.vmap(one)(*run, self.seeds, rows, features, observed)
        loss, state, memory, corrected = out
        return Step(loss, state, memory, corrected.get("corrected"))

    def _one(self, clock: Clock) -> Callable[..., tuple[Tensor, Parts, Parts, Parts]]:
        first = self.methods[0]

        def one(
            params: Parts,
            state: Parts,
            memory: Parts,
            constants: Parts,
            floats: Parts,
            seed: Tensor,
            rows: Tensor,
            features: Tensor,
            observed: Tensor,
        ) -> tuple[Tensor, Parts, Parts, Parts]:
            method = first.with_hyper(**floats) if floats else first
            draw = Draw(seed).at(clock.stage, clock.epoch, clock.step)
            run = Run(params, state, memory, constants)
            out = method.step(run, Batch(rows, features, observed), clock, draw)
            new_state = {name: value.detach() for name, value in out.state.items()}
            new_rows = {n: last_write(rows, v.detach()) for n, v in out.memory.items()}
            # vmap returns tensors only, so an absent mask is an absent entry.
            corrected = {} if out.corrected is None else {"corrected": out.corrected}
            return out.loss, new_state, new_rows, corrected

        return one

    def apply(self, step: Step, rows: Tensor) -> None:
        """Write a step's state and memory back."""
        self.state.update(step.state)
        for name, values in step.memory.items():
            if self.stacked:
                runs = torch.arange(len(self), device=rows.device)[:, None]
                self.memory[name][runs, rows] = values.to(self.memory[name].dtype)
            else:
                self.memory[name][rows] = values.to(self.memory[name].dtype)


def _differing_floats(methods: list[Method], device: torch.device) -> Parts:
    """Float hyperparameters in which the runs differ, one tensor [R] each."""
    first: dict[str, Any] = vars(methods[0].hyper)
    result = {}
    for name, value in first.items():
        values = [getattr(method.hyper, name) for method in methods]
        if isinstance(value, float) and any(other != value for other in values):
            result[name] = torch.tensor(values, dtype=torch.float32, device=device)
    return result


def structure(method: Method) -> tuple[Any, ...]:
    """What two methods must share to be stacked: everything but float hyperparameters."""
    fixed = {k: v for k, v in vars(method.hyper).items() if not isinstance(v, float)}
    return (type(method), tuple(sorted(fixed.items())), method.head)
