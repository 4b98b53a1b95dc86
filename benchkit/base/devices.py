"""Which device computes."""

from __future__ import annotations

from benchkit.base.errors import BenchkitError


def pick_device(name: str) -> str:
    """The torch device of a `--device` argument: `auto` is cuda where there is one, else cpu.

    Raises:
        BenchkitError: cuda was asked for and torch finds no CUDA device.
    """
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise BenchkitError("--device cuda: torch finds no CUDA device here; use auto or cpu")
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name
