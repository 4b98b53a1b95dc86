"""Reading a folder of runs, and the sentence for every way in which a record can be wrong."""

import json
import shutil

import pytest

from leaderboard import records
from leaderboard.errors import ReportError


def refusal(runs):
    """The message of the error that reading a folder raises."""
    with pytest.raises(ReportError) as caught:
        records.load(runs)
    return str(caught.value)


def test_reads_every_run_in_the_order_of_run_ids(write, four_methods):
    loaded = records.load(write(four_methods))
    ids = [record.run_id for record in loaded.records]
    assert ids == sorted(run["run_id"] for run in four_methods)
    assert loaded.notes == ()


def test_keeps_the_values_of_a_run(write, record):
    run = records.load(write([record("asl", 3, 0.6)])).records[0]
    assert run.arguments.seed == 3
    assert run.metrics.map_many == 0.7
    assert run.metrics.ap == (0.7, 0.6, 0.5, None)
    assert run.split.without_test_positives == ("unseen",)
    assert [run.split.group_size(shot) for shot in ("many", "medium", "few")] == [1, 1, 2]
    assert run.command[2] == "my split.h5"


def test_folders_of_two_machines_merge_by_copying(tmp_path, write, record):
    runs = write([record(seed=0)])
    other = tmp_path / record(seed=1)["run_id"]
    other.mkdir()
    (other / "run.json").write_text(json.dumps(record(seed=1)))
    assert {run.arguments.seed for run in records.load(runs).records} == {0, 1}


def test_interrupted_runs_are_counted_and_other_files_ignored(write, record):
    runs = write([record()])
    (runs / ".0123.partial").mkdir()
    shutil.copy(runs / record()["run_id"] / "run.json", runs / ".0123.partial" / "run.json")
    (runs / "4567").mkdir()
    (runs / ".git").mkdir()
    (runs / "README.md").write_text("not a run")
    loaded = records.load(runs)
    assert len(loaded.records) == 1
    assert loaded.interrupted == (".0123.partial", "4567")
    assert loaded.notes == (
        "2 folders hold an interrupted run without a record: "
        "start the same command again to finish it.",
    )


def write_failure(runs, run, format, run_id=None):
    """Write the failure of a run in format 1 or 2."""
    science = dict(run["science"])
    failure = {"run_id": run_id or run["run_id"], "method": "asl", "seed": science["seed"]}
    failure |= {"error": "NaN\nlines", "science": science}
    if format == 1:
        del science["departures"]
    else:
        failure["format"] = format
    (runs / "failures").mkdir(exist_ok=True)
    (runs / "failures" / f"{failure['run_id']}.json").write_text(json.dumps(failure))


def test_failures_become_notes_until_the_run_succeeds(write, record):
    runs = write([record(seed=0)])
    for seed in (0, 1):
        write_failure(runs, record(seed=seed), 2)
    loaded = records.load(runs)
    assert loaded.notes == (f"failed: asl, seed 1 (run {record(seed=1)['run_id']}): NaN",)
    assert loaded.failures[0].group == loaded.records[0].arguments.group


def test_failures_of_format_1_become_notes_until_a_newer_file_describes_the_run(write, record):
    runs = write([record(seed=0)])
    for seed in (0, 1, 2):
        write_failure(runs, record(seed=seed), 1, run_id=f"old{seed}")
    write_failure(runs, record(seed=1), 2)
    loaded = records.load(runs)
    ids = [failure.run_id for failure in loaded.failures]
    assert sorted(ids) == sorted([record(seed=1)["run_id"], "old2"])


def test_a_failure_needs_neither_seed_nor_arguments(write, record):
    runs = write([record()])
    (runs / "failures").mkdir()
    failure = {"run_id": "00ff", "method": "asl", "error": "NaN"}
    (runs / "failures" / "00ff.json").write_text(json.dumps(failure))
    assert records.load(runs).notes == ("failed: asl (run 00ff): NaN",)
    assert records.load(runs).failures[0].group is None


def test_missing_folder(tmp_path):
    assert refusal(tmp_path / "nowhere").endswith("name the folder that holds the runs.")


def test_the_same_run_in_two_folders_is_refused(write, record):
    runs = write([record()])
    shutil.copytree(runs / record()["run_id"], runs / "copy")
    message = refusal(runs)
    assert "hold the same run (asl, seed 0): keep one of the two folders." in message
    assert "copy" in message


def test_the_same_run_in_two_formats_is_refused(write, record):
    new = record(recipe={"epochs": 20, "lr": 0.1})
    old = {**new, "format": 1, "run_id": "old", "science": dict(new["science"])}
    del old["science"]["departures"]
    old["command"] = ["benchkit", "run", "--method", "asl", "--recipe", "lr=0.1"]
    message = refusal(write([new, old]))
    assert "old hold the same run (asl, seed 0)" in message


def test_broken_json_names_the_file(write, record):
    runs = write([record()])
    path = runs / record()["run_id"] / "run.json"
    path.write_text('{"format": 1, ')
    assert refusal(runs).startswith(f"{path} is not valid JSON (")
    path.write_text('{"format": NaN}')
    assert "NaN is not JSON, a missing number is null" in refusal(runs)
    path.write_bytes(b"\xff\xfe\x00")
    assert refusal(runs).startswith(f"{path} is not valid JSON (")
    path.write_text("[1]")
    assert refusal(runs) == f"{path}: the file must hold a JSON object."


@pytest.mark.parametrize(
    ("keys", "value", "sentence"),
    [
        (["format"], 3, "format is 3, but this version of the leaderboard reads formats 1 and 2"),
        (["science", "seed"], "0", "science.seed must be a whole number, but is '0'."),
        (["science", "seed"], True, "science.seed must be a whole number, but is True."),
        (["science", "departures"], None, "science.departures must be an object, but is None."),
        (
            ["science", "departures", "recipe"],
            ["warmup"],
            "science.recipe must be an object with a value for 'warmup', which departs, but is {",
        ),
        (
            ["science", "departures", "recipe_defaults"],
            1,
            "science.departures.recipe_defaults must be a string, but is 1.",
        ),
        (["science", "recipe"], None, "science.recipe must be an object, but is None."),
        (["split", "fingerprint"], "ff", "split.fingerprint must be the same as science.split"),
        (["split", "shot"], ["many"], "split.shot must be a list of 4 of 'many', 'medium'"),
        (["split", "train_count"], [1, 2, 3, -4], "split.train_count must be a list of 4 counts"),
        (["split", "thresholds", "few"], "20", "split.thresholds.few must be a number"),
        (["split", "sizes", "test"], 1.5, "split.sizes.test must be a whole number, but is 1.5."),
        (["method", "key"], "bce", "method.key must be 'asl', as in science.method"),
        (["method", "kind"], "mine", "method.kind must be 'builtin', 'plugin' or 'external'"),
        (["method", "oracle"], [1], "method.oracle must be a list of strings, but is [1]."),
        (["metrics", "map"], 62.0, "metrics.map must be a fraction from 0 to 1, or null"),
        (["metrics", "ap"], [0.5], "metrics.ap must be a list of 4 fractions"),
        (["metrics", "micro", "f1"], "high", "metrics.micro.f1 must be a fraction from 0 to 1"),
        (["metrics", "micro", "recall"], -1, "metrics.micro.recall must be a fraction from 0 to 1"),
        (["curve"], [1], "curve must be a list of objects, but is [1]."),
        (["selected_epoch"], "1", "selected_epoch must be a whole number, but is '1'."),
        (["environment", "stacked_runs"], 1.5, "environment.stacked_runs must be a whole number"),
        (["wall_seconds"], "long", "wall_seconds must be a number, but is 'long'."),
        (["command"], "benchkit run", "command must be a list, but is 'benchkit run'."),
    ],
)
def test_ill_formed_values_name_file_and_key(write, record, keys, value, sentence):
    run = record()
    parent = run
    for key in keys[:-1]:
        parent = parent[key]
    parent[keys[-1]] = value
    runs = write([run])
    assert refusal(runs).startswith(f"{runs / run['run_id'] / 'run.json'}: {sentence}")


@pytest.mark.parametrize("key", ["science", "split", "method", "metrics", "environment", "run_id"])
def test_missing_keys_are_named(write, record, key):
    run = record()
    folder = run["run_id"]
    runs = write([run])
    del run[key]
    (runs / folder / "run.json").write_text(json.dumps(run))
    assert f"run.json: {key} must be " in refusal(runs)
    assert refusal(runs).endswith("but is nothing.")
