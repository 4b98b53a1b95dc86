"""Reading a folder of runs, and the sentence for every way in which a record can be wrong."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from sealing import edit, resealed
from unprivileged import public_folder, unprivileged

from leaderboard import records
from leaderboard.errors import ReportError
from leaderboard.table import build_all

VOC = "70c0" * 16


def refusal(runs):
    """The message of the error that strict reading of a folder raises."""
    with pytest.raises(ReportError) as caught:
        records.load(runs, strict=True)
    return str(caught.value)


def test_reads_every_run_in_the_order_of_run_ids(write, five_methods):
    loaded = records.load(write(five_methods))
    ids = [record.run_id for record in loaded.records]
    assert ids == sorted(run["run_id"] for run in five_methods)
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
    """Write the failure of a run in a format."""
    science = dict(run["science"])
    failure = {"run_id": run_id or run["run_id"], "method": "asl", "seed": science["seed"]}
    failure |= {"error": "NaN\nlines", "science": science}
    if format == 1:
        del science["departures"]
    else:
        failure = resealed({"format": format, **failure})
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
        (
            ["format"],
            4,
            "format is 4, but this version of the leaderboard reads formats 1, 2 and 3",
        ),
        (["format"], None, "format is null, but this version of the leaderboard reads formats"),
        (["science", "seed"], "0", 'science.seed must be a whole number, but is "0".'),
        (["science", "seed"], True, "science.seed must be a whole number, but is true."),
        (["science", "departures"], None, "science.departures must be an object, but is null."),
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
        (["science", "recipe"], None, "science.recipe must be an object, but is null."),
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
        (["selected_epoch"], "1", 'selected_epoch must be a whole number, but is "1".'),
        (["environment", "stacked_runs"], 1.5, "environment.stacked_runs must be a whole number"),
        (["wall_seconds"], "long", 'wall_seconds must be a number, but is "long".'),
        (["command"], "benchkit run", 'command must be a list, but is "benchkit run".'),
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


@pytest.mark.parametrize(
    "key", ["science", "split", "method", "metrics", "environment", "run_id", "scores_digest"]
)
def test_missing_keys_are_named(write, record, key):
    run = record()
    folder = run["run_id"]
    runs = write([run])
    edit(runs / folder / "run.json", lambda values: values.pop(key))
    assert f"run.json: {key} must be " in refusal(runs)
    assert refusal(runs).endswith("but is nothing.")


# --------------------------------------------------------------------------- one bad record


def test_a_bad_record_is_left_out_and_named_under_every_table(write, record):
    good = [record(seed=0), record(seed=1)]
    bad = record("asl", 7)
    runs = write([*good, bad])
    path = runs / bad["run_id"] / "run.json"
    path.write_text("{")
    (runs / "failures").mkdir()
    (runs / "failures" / "x.json").write_text("[]")
    loaded = records.load(runs)
    assert len(loaded.records) == 2
    assert len(loaded.unreadable) == 2
    assert loaded.unreadable[0].startswith(f"{path} is not valid JSON (")
    assert (
        loaded.unreadable[1] == f"{runs / 'failures' / 'x.json'}: the file must hold a JSON object."
    )
    assert loaded.general_notes == tuple(f"left out: {text}" for text in loaded.unreadable)
    (table,) = build_all(loaded)
    assert table.notes[:2] == loaded.general_notes
    assert refusal(runs) == loaded.unreadable[0]


@pytest.mark.parametrize("kind", ["folder", "pipe", "loop", "dangling", "device"])
def test_a_record_that_is_no_regular_file_is_named(write, record, kind):
    runs = write([record(seed=0), record(seed=1)])
    path = runs / record(seed=1)["run_id"] / "run.json"
    path.unlink()
    {
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "loop": lambda: path.symlink_to(path),
        "dangling": lambda: path.symlink_to("nowhere"),
        "device": lambda: path.symlink_to("/dev/null"),
    }[kind]()
    loaded = records.load(runs)
    assert len(loaded.records) == 1
    assert loaded.unreadable == (f"{path} is not a regular file: repeat the run.",)


def test_only_bad_records_are_a_refusal_that_names_them(write, record):
    runs = write([record()])
    path = runs / record()["run_id"] / "run.json"
    path.write_text("{")
    with pytest.raises(ReportError, match=r"There is no finished run to report \(left out: "):
        build_all(records.load(runs))


def test_a_record_whose_arguments_were_edited_is_noticed(write, record):
    run = record()
    run["science"]["seed"] = 5
    message = refusal(write([run]))
    expected = record(seed=5)["run_id"]
    assert f"run_id must be '{expected}', the digest of science, but is " in message


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (DEEP, "it is nested more than 32 levels deep"),
        ('{"curve": ' + DEEP[99_960:100_040] + "}", "it is nested more than 32 levels deep"),
        ('{"seed": ' + "9" * 10_000 + "}", "a whole number has 10000 digits, and at most 20 are"),
        ('{"seed": 1e999}', "the number 1e999 is too large"),
        ('{"seed": -Infinity}', "-Infinity is not JSON, a missing number is null"),
        ('{"seed": 1, "b": 2, "seed": 3}', "the key 'seed' occurs twice in one object"),
        (b'{"seed": "\xff"}', "byte 10 is not UTF-8"),
        ("", "it breaks off or is damaged at line 1, column 1"),
    ],
)
def test_hostile_json_is_one_sentence(write, record, content, sentence):
    runs = write([record()])
    path = runs / record()["run_id"] / "run.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert refusal(runs).startswith(f"{path} is not valid JSON ({sentence}")
    assert refusal(runs).endswith(": repeat the run, or remove its folder.")


def test_a_file_that_is_too_large_or_not_regular_is_refused(write, record):
    runs = write([record()])
    path = runs / record()["run_id"] / "run.json"
    with path.open("r+b") as file:
        file.truncate(100 << 20)
    assert refusal(runs) == (
        f"{path} has 100.0 MiB, and a record has at most 16 MiB: repeat the run, or remove its "
        "folder."
    )
    shutil.rmtree(path.parent)
    (runs / "failures").mkdir()
    os.mkfifo(runs / "failures" / "pipe.json")
    assert "pipe.json is not a regular file" in refusal(runs)


def test_names_that_are_not_utf_8_can_be_printed_and_encoded(write, record):
    run = record()
    run["command"] = ["benchkit", "run", "--split", "s\udcff.h5"]
    run["method"]["title"] = "\ud800 A\u00e9\U0001f600"
    loaded = records.load(write([run])).records[0]
    assert loaded.command[-1] == "s\\udcff.h5"
    assert loaded.method.title == "\\ud800 A\u00e9\U0001f600"


# --------------------------------------------------------------------------- folders


@pytest.mark.parametrize("kind", ["folder", "not entered", "file", "link", "failures"])
def test_what_may_not_be_read_is_named_and_left_out(record, kind):
    with public_folder() as runs:
        for seed in (0, 1):
            folder = runs / record(seed=seed)["run_id"]
            folder.mkdir()
            path = folder / "run.json"
            path.write_text(json.dumps(record(seed=seed)))
        (runs / "failures").mkdir()
        {
            "folder": lambda: folder.chmod(0),
            "not entered": lambda: folder.chmod(0o444),
            "file": lambda: path.chmod(0),
            "link": lambda: (folder.rename(runs / ".x"), (runs / ".x").chmod(0)),
            "failures": lambda: (runs / "failures").chmod(0),
        }[kind]()
        if kind == "link":
            folder.symlink_to(runs / ".x" / "inside")
        named = runs / "failures" if kind == "failures" else path
        with unprivileged():
            loaded = records.load(runs)
            message = refusal(runs)
        assert loaded.unreadable == (f"{named} cannot be read: Permission denied.",)
        assert len(loaded.records) == (2 if kind == "failures" else 1)
        assert message == loaded.unreadable[0]
        runs.chmod(0)
        with unprivileged():
            assert refusal(runs) == f"{runs} cannot be read: Permission denied."
            assert (
                refusal(runs / "inside") == f"{runs / 'inside'} cannot be read: Permission denied."
            )


def test_a_record_that_was_set_aside_is_read_until_its_target_is_back(write, record):
    runs = write([record(seed=0), record(seed=1)])
    run_id = record(seed=1)["run_id"]
    partial = runs / f".{run_id}.0123456789abcdef.partial"
    partial.mkdir()
    shutil.move(runs / run_id, partial / ".old0")
    before = sorted(runs.rglob("*"))
    loaded = records.load(runs)
    assert {run.arguments.seed for run in loaded.records} == {0, 1}
    assert loaded.notes == ()
    assert sorted(runs.rglob("*")) == before
    shutil.copytree(partial / ".old0", runs / run_id)
    assert len(records.load(runs).records) == 2
    shutil.rmtree(runs / run_id)
    shutil.rmtree(partial / ".old0")
    assert records.load(runs).interrupted == (partial.name,)


def test_a_folder_above_the_runs_is_not_taken_for_interrupted_runs(write, record, tmp_path):
    runs = write([record()])
    for name in ("empty", "other"):
        (runs.parent / name).mkdir(exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=tmp_path.parent))
    shutil.move(runs, work / "runs")
    (work / "notes").mkdir()
    with pytest.raises(ReportError) as caught:
        build_all(records.load(work))
    assert str(caught.value) == f"{work} holds no records; did you mean {work / 'runs'}?"
    folder = work / "runs" / record()["run_id"]
    with pytest.raises(ReportError) as caught:
        build_all(records.load(folder))
    assert str(caught.value) == (
        f"{folder} holds no records, because it is the record of one run; did you mean "
        f"{work / 'runs'}?"
    )


def test_folders_with_other_files_are_not_interrupted_runs(write, record):
    runs = write([record()])
    (runs / "figures").mkdir()
    (runs / "figures" / "plot.svg").write_text("")
    (runs / "half").mkdir()
    (runs / "half" / "scores.npz").write_text("")
    (runs / "0123456789abcdef").mkdir()
    (runs / "0123456789abcdef" / "run.json.bak").write_text("")
    (runs / "lost").mkdir()
    for name in ("scores.npz", "notes.txt"):
        (runs / "lost" / name).write_text("")
    assert records.load(runs).interrupted == ("0123456789abcdef", "half", "lost")
