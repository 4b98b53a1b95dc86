"""Resolution of `--device`."""

from __future__ import annotations

import pytest
import torch

from benchkit.base.devices import pick_device
from benchkit.base.errors import BenchkitError


@pytest.mark.parametrize(
    ("name", "available", "expected"),
    [
        ("auto", True, "cuda"),
        ("auto", False, "cpu"),
        ("cuda", True, "cuda"),
        ("cpu", True, "cpu"),
        ("cpu", False, "cpu"),
    ],
)
def test_auto_prefers_cuda_and_a_named_device_is_kept(
    name: str, available: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert pick_device(name) == expected


def test_cuda_without_a_cuda_device_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BenchkitError, match=r"^--device cuda: torch finds no CUDA device here"):
        pick_device("cuda")
