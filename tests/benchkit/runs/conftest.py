"""A record that is small and complete."""

from __future__ import annotations

from dataclasses import replace

import pytest

from leaderboard.metrics import summary
from leaderboard.record import (
    Departures,
    Environment,
    Metrics,
    Record,
    RecordedMethod,
    RecordedSplit,
    RunArguments,
)


@pytest.fixture(scope="session")
def arguments() -> RunArguments:
    """Arguments of one run."""
    return RunArguments(
        split="ab" * 32,
        method="asl",
        method_version="1",
        hyperparameters={"clip": 0.05, "gamma_negative": 2.0, "focal_gradient": False},
        recipe={"optimiser": "adam", "lr": 0.001, "epochs": 10},
        seed=3,
        selection="last",
        metric_version="1",
        departures=Departures("1", ("epochs",), ("gamma_negative",)),
    )


@pytest.fixture(scope="session")
def record(arguments: RunArguments) -> Record:
    """The record of that run on two test images and one class."""
    return Record(
        run_id=arguments.run_id,
        arguments=arguments,
        split=RecordedSplit(
            name="toy",
            fingerprint=arguments.split,
            labels_fingerprint="cd" * 32,
            thresholds={"many": 10, "few": 5, "reference": "true"},
            class_names=("été",),
            shot=("few",),
            train_count=(2,),
            observed_count=(1,),
            test_positives=(1,),
            test_known=(1,),
            regime="full",
            sizes={"train": 3, "val": 0, "test": 2},
        ),
        method=RecordedMethod("asl", "ASL", "Somebody", 2021, (), "builtin"),
        metrics=Metrics.from_summary(summary([[1.0]], [[1]], ["few"])),
        environment=Environment("cpu", {"numpy": "2"}, "x86_64", 2),
        wall_seconds=1.5,
        command=("benchkit", "run"),
        curve=({"epoch": 1, "stage": "train", "loss": 0.25},),
        selected_epoch=1,
    )


@pytest.fixture(scope="session")
def with_seed(arguments: RunArguments):
    """The same arguments with another seed."""
    return lambda seed: replace(arguments, seed=seed)
