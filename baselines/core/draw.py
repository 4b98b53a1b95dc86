"""The interface through which a method draws random numbers; the trainer implements it."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Draw(Protocol):
    """Random numbers keyed by (run seed, moment, stream name, position).

    The same call at the same moment returns the same numbers, whatever else is drawn. Two calls
    that should differ need different stream names.
    """

    def bits(self, stream: str, *coordinates: Tensor | int) -> Tensor:
        """Sixty-four random bits per coordinate tuple, int64."""

    def uniform(self, stream: str, *shape: int) -> Tensor:
        """Uniform float32 numbers in [0, 1)."""

    def row_uniform(self, stream: str, rows: Tensor, width: int) -> Tensor:
        """Uniform float32 [B, width], keyed by epoch and row: independent of the batch."""

    def normal(self, stream: str, *shape: int) -> Tensor:
        """Standard normal float32 numbers."""

    def permutation(self, stream: str, count: int) -> Tensor:
        """A random permutation of 0..count-1, int64 [count]."""
