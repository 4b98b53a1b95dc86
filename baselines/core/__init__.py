"""What every method stands on: the contract, heads, statistics, sampling, the registry."""

from baselines.core.contract import (
    Batch,
    ClassAware,
    Clock,
    Method,
    MethodInfo,
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
