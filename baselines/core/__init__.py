"""The base of all methods: contract, heads, losses, labels, sampling, statistics, registry.

Names are imported on first use (PEP 562), so that `baselines.core.info`, `descriptions` and
`ledger` can be imported without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from baselines.core.contract import (
        Batch,
        ClassAware,
        Clock,
        Method,
        Oracle,
        Problem,
        Rate,
        Run,
        Sampling,
        Setup,
        Shuffle,
        Stage,
        Step,
    )
    from baselines.core.draw import Draw
    from baselines.core.errors import MethodError
    from baselines.core.hyperparameters import hyper
    from baselines.core.info import MethodInfo
    from baselines.core.labels import LabelTable
    from baselines.core.losses import masked_mean, negatives, positives, unknowns

__all__ = [
    "Batch",
    "ClassAware",
    "Clock",
    "Draw",
    "LabelTable",
    "Method",
    "MethodError",
    "MethodInfo",
    "Oracle",
    "Problem",
    "Rate",
    "Run",
    "Sampling",
    "Setup",
    "Shuffle",
    "Stage",
    "Step",
    "hyper",
    "masked_mean",
    "negatives",
    "positives",
    "unknowns",
]

# name -> the submodule that defines it; everything else is in `contract`.
_SUBMODULES = {
    "Draw": "draw",
    "LabelTable": "labels",
    "MethodError": "errors",
    "MethodInfo": "info",
    "hyper": "hyperparameters",
    "masked_mean": "losses",
    "negatives": "losses",
    "positives": "losses",
    "unknowns": "losses",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    module = importlib.import_module(f"{__name__}.{_SUBMODULES.get(name, 'contract')}")
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
