"""Selection of the device that computes."""

from __future__ import annotations

from benchkit.base.errors import BenchkitError


def pick_device(name: str) -> str:
    """Resolve a `--device` argument to a torch device.

    Args:
        name: `auto` (cuda if available, else cpu), `cuda`, or the name of any torch device.

    Raises:
        BenchkitError: `cuda` was requested and torch finds no CUDA device.
    """
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise BenchkitError("--device cuda: torch finds no CUDA device here; use auto or cpu")
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name
