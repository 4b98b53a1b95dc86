"""R runs as one program: parameters, state and memory with a leading axis of runs.

The method's step runs under `torch.func.vmap`; the losses of all runs are summed and differentiated
once by ordinary autograd; one fused torch optimiser updates the stacked leaves. Both are exact: the
loss of run r depends only on the leaves of run r, so every slice receives its own gradient, and
the optimisers of the Adam and SGD families are elementwise, so one optimiser on stacked leaves is R
optimisers, also if the runs have rates of their own (see `benchkit.training.optimiser`).

Measured on two CPU cores with D = 2048, C = 80, batch 32, Adam and 16 runs: 0.34 to 0.56 ms per
run and step, against 0.6 to 0.95 ms for one run after another; the throughput of the trainer is
2.4 to 3.0 times as high. Non-fused optimisers (1.0 to 1.5 ms) and weights stored as [outputs,
inputs] (0.75 ms, because every gradient is copied once more) lose this gain.
`benchmarks/stacked.py` repeats the measurement.

A single run takes the same path without vmap, to avoid its overhead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from baselines.core import Batch, Clock, Method, Run, Setup, Step
from baselines.core.contract import last_write
from benchkit.base.draw import Draw, signed

Parts = dict[str, Tensor]


@dataclass
class Stack:
    """The tensors of R runs, and the method's step over all of them.

    Attributes:
        methods: one per run; equal except for float hyperparameters.
        seeds: int64 [R].
        stacked: whether tensors have the leading axis of runs (R > 1).
        params: as in `baselines.core.Setup`, as are `state`, `memory` and `constants`.
        state: see `params`.
        memory: see `params`.
        constants: see `params`.
        floats: the float hyperparameters in which the runs differ, float32 [R] each.
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
    def of(cls, methods: list[Method], seeds: Sequence[int], setups: Sequence[Setup]) -> Stack:
        """Stack the setups of R runs; a tensor must have the same shape in all of them."""
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

    # ------------------------------------------------------------------------- single runs

    def run(self, index: int) -> Run:
        """Detached views of one run's tensors; writing into them writes into the stack."""
        parts = [self.params, self.state, self.memory, self.constants]
        if not self.stacked:
            return Run(*({k: v.detach() for k, v in part.items()} for part in parts))
        return Run(*({k: v.detach()[index] for k, v in part.items()} for part in parts))

    def snapshot(self, index: int) -> Run:
        """Copies of one run's parameters, state and constants; without its memory."""
        run = self.run(index)
        empty: Parts = {}
        parts = (run.params, run.state, empty, run.constants)
        return Run(*({k: v.clone() for k, v in part.items()} for part in parts))

    def write(self, index: int, run: Run) -> None:
        """Copy the state and memory that a hook returned into the stack, where they are new."""
        for own, returned in ((self.state, run.state), (self.memory, run.memory)):
            for name, value in returned.items():
                target = own[name][index] if self.stacked else own[name]
                if value.data_ptr() != target.data_ptr():
                    target.copy_(value)

    def restart(self, prefixes: tuple[str, ...], setups: Sequence[Setup]) -> None:
        """Overwrite the parameters with one of the prefixes by those of new setups."""
        with torch.no_grad():
            for name, tensor in self.params.items():
                if name.startswith(prefixes):
                    fresh = [setup.params[name] for setup in setups]
                    tensor.copy_(torch.stack(fresh) if self.stacked else fresh[0])

    # ------------------------------------------------------------------------- one step

    def step(self, clock: Clock, rows: Tensor, features: Tensor, observed: Tensor) -> Step:
        """Call the method's step for all runs.

        Args:
            clock: the moment.
            rows: int64 [R, B].
            features: float32 [R, B, D].
            observed: int8 [R, B, C].

        Returns:
            The step, with losses [R] and the axis R on every other tensor. Repeated rows of a
            batch have equal memory values (see `last_write`).

        A run alone has no axis R, neither in the arguments nor in the result.
        """
        one_run = self._step_of_one_run(clock)
        tensors = (self.params, self.state, self.memory, self.constants, self.floats)
        if not self.stacked:
            out = one_run(*tensors, self.seeds[0], rows, features, observed)
        else:
            out = torch.func.vmap(one_run)(*tensors, self.seeds, rows, features, observed)
        loss, state, memory, corrected = out
        return Step(loss, state, memory, corrected.get("corrected"))

    def _step_of_one_run(self, clock: Clock) -> Callable[..., tuple[Tensor, Parts, Parts, Parts]]:
        first = self.methods[0]

        def step(
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
            # vmap returns only tensors, so a missing mask becomes a missing entry.
            corrected = {} if out.corrected is None else {"corrected": out.corrected}
            return out.loss, new_state, new_rows, corrected

        return step

    def clear_gradients(self) -> None:
        """Remove the gradients of the parameters."""
        for tensor in self.params.values():
            tensor.grad = None

    def apply(self, step: Step, rows: Tensor) -> None:
        """Write the state and memory of a step into the stack."""
        self.state.update(step.state)
        for name, values in step.memory.items():
            if self.stacked:
                runs = torch.arange(len(self), device=rows.device)[:, None]
                self.memory[name][runs, rows] = values.to(self.memory[name].dtype)
            else:
                self.memory[name][rows] = values.to(self.memory[name].dtype)


def _join(parts: Sequence[Parts], stacked: bool) -> Parts:
    if not stacked:
        return dict(parts[0])
    return {name: torch.stack([part[name] for part in parts]) for name in parts[0]}


def _differing_floats(methods: list[Method], device: torch.device) -> Parts:
    """The float hyperparameters in which the runs differ, one tensor [R] each."""
    first: dict[str, Any] = vars(methods[0].hyper)
    result = {}
    for name, value in first.items():
        values = [getattr(method.hyper, name) for method in methods]
        if isinstance(value, float) and any(other != value for other in values):
            result[name] = torch.tensor(values, dtype=torch.float32, device=device)
    return result


def structure(method: Method) -> tuple[Any, ...]:
    """A key that is equal for methods that can be stacked.

    It holds the class, the head, and every hyperparameter that is not a float.
    """
    fixed = {k: v for k, v in vars(method.hyper).items() if not isinstance(v, float)}
    return (type(method), tuple(sorted(fixed.items())), method.head)
