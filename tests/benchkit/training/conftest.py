"""Training sets of the tests in this folder."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from toy_training import training_set

from benchkit.split.model import Split
from benchkit.training.inputs import TrainingSet


@pytest.fixture
def data(make_toy: Callable[..., Split]) -> TrainingSet:
    """Forty images, one view, four features, five classes; class 4 is the only few-shot one."""
    return training_set(make_toy())


@pytest.fixture
def two_views(make_toy: Callable[..., Split]) -> TrainingSet:
    """The same with two views per image."""
    return training_set(make_toy(views=2))
