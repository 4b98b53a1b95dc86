"""The schema: every record that can be built is read back as it was written."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sealing import resealed

from leaderboard import json_file
from leaderboard.errors import ReportError
from leaderboard.record import (
    KINDS,
    SHOTS,
    Departures,
    Environment,
    Failure,
    Metrics,
    Record,
    RecordedMethod,
    RecordedSplit,
    RunArguments,
    ThresholdMetrics,
)

PATH = Path("run.json")

texts = st.text(max_size=8)
fractions = st.none() | st.floats(0, 1)
counts = st.integers(0, 10**6)
scalars = st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False, allow_infinity=False)
values = st.dictionaries(texts, scalars | texts, max_size=4)


searches = st.fixed_dictionaries(
    {
        **dict.fromkeys(("protocol", "select"), texts),
        **dict.fromkeys(("draws", "seeds", "draw"), counts),
    }
)


def tuples(elements, **sizes):
    return st.lists(elements, **sizes).map(tuple)


@st.composite
def run_arguments(draw):
    hyperparameters, recipe = draw(values), draw(values)
    return RunArguments(
        split=draw(texts),
        method=draw(texts),
        method_version=draw(texts),
        hyperparameters=hyperparameters,
        recipe=recipe,
        seed=draw(st.integers(-3, 2**40)),
        selection=draw(texts),
        metric_version=draw(texts),
        inputs=draw(st.dictionaries(texts, texts, max_size=2)),
        departures=Departures(
            recipe_defaults=draw(st.none() | texts),
            recipe=tuple(name for name in recipe if draw(st.booleans())),
            hyperparameters=tuple(name for name in hyperparameters if draw(st.booleans())),
        ),
        search=draw(st.just({}) | searches),
    )


@st.composite
def splits(draw, fingerprint):
    classes = draw(st.integers(0, 3))

    def per_class(elements):
        return draw(tuples(elements, min_size=classes, max_size=classes))

    return RecordedSplit(
        name=draw(texts),
        fingerprint=fingerprint,
        labels_fingerprint=draw(texts),
        thresholds={"many": draw(counts), "few": draw(st.floats(0, 9)), "reference": draw(texts)},
        class_names=per_class(texts),
        shot=per_class(st.sampled_from(SHOTS)),
        train_count=per_class(counts),
        observed_count=per_class(counts),
        test_positives=per_class(counts),
        test_known=per_class(counts),
        regime=draw(texts),
        sizes={part: draw(counts) for part in ("train", "val", "test")},
    )


@st.composite
def all_metrics(draw, classes):
    thresholds = st.builds(ThresholdMetrics, fractions, fractions, fractions)
    return Metrics(
        *(draw(fractions) for _ in range(5)),
        ap=draw(tuples(fractions, min_size=classes, max_size=classes)),
        micro=draw(thresholds),
        macro=draw(thresholds),
    )


@st.composite
def records(draw):
    arguments = draw(run_arguments())
    split = draw(splits(arguments.split))
    year = draw(st.none() | st.integers(0, 3000))
    kind = draw(st.sampled_from(KINDS))
    return Record(
        run_id=arguments.run_id,
        arguments=arguments,
        split=split,
        method=RecordedMethod(
            arguments.method, draw(texts), draw(texts), year, draw(tuples(texts, max_size=2)), kind
        ),
        metrics=draw(all_metrics(len(split.class_names))),
        environment=Environment(
            device=draw(texts),
            versions=draw(st.dictionaries(texts, texts, max_size=2)),
            machine=draw(st.none() | texts),
            stacked_runs=draw(st.none() | counts),
        ),
        wall_seconds=draw(st.floats(0, 1e9)),
        command=draw(tuples(texts, max_size=4)),
        curve=draw(tuples(values, max_size=2)),
        selected_epoch=draw(st.none() | counts),
        scores_digest=draw(texts),
    )


def through_json(value):
    return json.loads(json.dumps(value, allow_nan=False))


@given(records())
@settings(max_examples=100, deadline=None)
def test_a_record_is_read_as_it_was_written(record):
    read = Record.from_json(through_json(record.to_json()), PATH)
    assert read == record
    assert read.arguments.run_id == record.run_id


@given(run_arguments(), texts, st.none() | st.integers(0, 9))
@settings(deadline=None)
def test_a_failure_is_read_as_it_was_written(arguments, error, seed):
    for known in (arguments, None):
        failure = Failure("00ff", arguments.method, seed, error, known)
        assert Failure.from_json(through_json(failure.to_json()), PATH) == failure


def test_json_of_every_format_is_kept_key_by_key(record):
    values = record()
    values["split"]["test_known"] = [5000] * 4
    values["selected_epoch"] = 1
    values = resealed(values)
    assert set(values) >= {"digest", "scores_digest"}
    assert Record.from_json(values, PATH).to_json() == values
    values["format"] = 2
    del values["digest"], values["scores_digest"]
    assert Record.from_json(values, PATH).to_json() == values
    values["format"] = 1
    del values["science"]["departures"]
    assert Record.from_json(values, PATH).to_json() == values


def test_the_digest_is_that_of_the_canonical_json_of_all_other_keys(record):
    values = record()
    others = {key: value for key, value in values.items() if key != "digest"}
    text = json.dumps(others, sort_keys=True, separators=(",", ":"))
    assert values["digest"] == hashlib.sha256(text.encode()).hexdigest()


def test_keys_of_later_versions_are_ignored_but_sealed(record):
    values = {**record(), "later": {"a": [1]}}
    assert Record.from_json(resealed(values), PATH) == Record.from_json(record(), PATH)
    with pytest.raises(ReportError, match="the content does not match its digest"):
        Record.from_json(values, PATH)


def test_values_are_sealed_as_a_reader_parses_them(record):
    read = Record.from_json(record(), PATH)
    odd = replace(read, command=("s\udcff.h5",), curve=({10: (1, 2), 9: 0.5},))
    values = json_file.parse(json.dumps(odd.to_json()).encode(), PATH)
    assert values["command"] == ["s\\udcff.h5"]
    assert Record.from_json(values, PATH).curve == ({"10": [1, 2], "9": 0.5},)


def test_undefined_classes_are_counted(record):
    read = Record.from_json(record(), PATH)
    assert read.metrics.undefined_classes == 1
    assert read.split.without_test_positives == ("unseen",)


def test_a_failure_is_a_short_sentence():
    failure = Failure("00ff", "asl", 3, "NaN\nlines")
    assert failure.sentence() == "failed: asl, seed 3 (run 00ff): NaN"
    assert Failure("00ff", "asl", None, " ").sentence() == (
        "failed: asl (run 00ff): no reason was recorded"
    )
    long = Failure("00ff", "asl", 3, "x" * 400).sentence()
    assert long == f"failed: asl, seed 3 (run 00ff): {'x' * 299}…"
