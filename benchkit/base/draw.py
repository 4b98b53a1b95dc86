"""The counter-based random numbers of `benchkit.base.random` as torch tensors, for training runs.

Both modules use the same 64-bit integer arithmetic (here on int64 tensors), so NumPy, torch on the
CPU and torch on CUDA return the same bits.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from benchkit.base.random import GAMMA, M1, M2, MASK, hash_text


def signed(value: int) -> int:
    """The int64 with the same bits as an integer modulo 2^64."""
    value &= MASK
    return value - (1 << 64) if value >> 63 else value


def _shift(x: Tensor, by: int) -> Tensor:
    """Logical right shift of int64; torch only has the arithmetic one."""
    return (x >> by) & ((1 << (64 - by)) - 1)


def _mix_torch(x: Tensor) -> Tensor:
    x = x + signed(GAMMA)
    x = (x ^ _shift(x, 30)) * signed(M1)
    x = (x ^ _shift(x, 27)) * signed(M2)
    return x ^ _shift(x, 31)


class Draw:
    """Random numbers of one training run at one moment (an epoch or a step), as torch tensors.

    `uniform`, `normal` and `permutation` are keyed by (run seed, moment, stream, position).
    `row_uniform` is keyed by (run seed, epoch, stream, image row, column), so that the numbers of
    an image in an epoch do not depend on its batch. Everything is integer arithmetic on tensors:
    it runs on any device, and under `torch.func.vmap` with one seed per run. The moment is part of
    the stream name, so unused numbers cost nothing.
    """

    def __init__(self, seed: int | Tensor, device: torch.device | str = "cpu") -> None:
        """Create the draws of a run, before its first epoch.

        Args:
            seed: the seed of the run, an integer or an int64 scalar tensor.
            device: the device of the numbers; for a tensor seed, its own device is used.
        """
        if isinstance(seed, int):
            seed = torch.tensor(signed(seed), dtype=torch.int64, device=device)
        self._seed, self._epoch, self._moment = seed, "", ""

    def at(self, stage: int, epoch: int, step: int | None = None) -> Draw:
        """The draws of one epoch, or of one step in it."""
        moment = Draw(self._seed)
        moment._epoch = f"@{stage}/{epoch}"
        moment._moment = moment._epoch if step is None else f"{moment._epoch}/{step}"
        return moment

    def bits(self, stream: str, *coordinates: Tensor | int) -> Tensor:
        """64 random bits per coordinate tuple, int64; the same bits as `random.bits`."""
        return self._bits(stream + self._moment, *coordinates)

    def uniform(self, stream: str, *shape: int) -> Tensor:
        """Uniform float32 numbers in [0, 1): the upper 24 of the 64 bits times 2^-24."""
        positions = torch.arange(math.prod(shape), device=self._seed.device)
        return self._to_float(self.bits(stream, positions)).reshape(shape)

    def row_uniform(self, stream: str, rows: Tensor, width: int) -> Tensor:
        """Uniform float32 numbers [B, width], keyed by epoch and image row."""
        columns = torch.arange(width, device=self._seed.device)
        return self._to_float(self._bits(stream + self._epoch, rows[:, None], columns[None, :]))

    def normal(self, stream: str, *shape: int) -> Tensor:
        """Standard normal float32 numbers, by the Box-Muller transform."""
        radius = torch.sqrt(-2.0 * torch.log1p(-self.uniform(stream + "/radius", *shape)))
        return radius * torch.cos(2.0 * math.pi * self.uniform(stream + "/angle", *shape))

    def permutation(self, stream: str, count: int) -> Tensor:
        """A uniformly random permutation of 0, ..., count - 1, int64 [count]."""
        positions = torch.arange(count, device=self._seed.device)
        return torch.argsort(self.bits(stream, positions), stable=True)

    def _bits(self, stream: str, *coordinates: Tensor | int) -> Tensor:
        state = _mix_torch(_mix_torch(self._seed) ^ signed(hash_text(stream)))
        for coordinate in coordinates:
            state = _mix_torch(state ^ coordinate)
        return state

    @staticmethod
    def _to_float(random_bits: Tensor) -> Tensor:
        return _shift(random_bits, 40).to(torch.float32) * 2.0**-24
