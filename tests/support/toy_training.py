"""Small pieces that tests of training share: metadata, training sets, parameters as one vector."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from baselines.core import MethodInfo
from benchkit.split.model import Split
from benchkit.training import inputs
from benchkit.training.inputs import TrainingSet
from benchkit.training.trainer import Trained


def method_info(key: str) -> MethodInfo:
    """The metadata of a method that exists only in a test."""
    return MethodInfo(key, key, "none", 2000, "none", "negative")


def training_set(split: Split) -> TrainingSet:
    """The training part of a split of five classes: two many-shot, two medium-shot, one few-shot.

    Features are not standardised.
    """
    features = inputs.standardised(split, on=False)["train"]
    data = inputs.training_set(split, features, "cpu")
    return dataclasses.replace(data, shot=torch.tensor([0, 0, 1, 1, 2]))


def parameters(result: Trained) -> Tensor:
    """All parameters of a run, sorted by name, as one vector."""
    return torch.cat([value.flatten() for _, value in sorted(result.run.params.items())])
