"""Records that contradict one another: which of them a report leaves out."""

import json
import shutil

import pytest
from sealing import as_format_2

from leaderboard import records
from leaderboard.errors import ReportError
from leaderboard.table import build_all

VOC = "70c0" * 16


def refusal(runs):
    """The message of the error that strict reading of a folder raises."""
    with pytest.raises(ReportError) as caught:
        records.load(runs, strict=True)
    return str(caught.value)


def test_the_same_run_in_two_folders_is_refused(write, record):
    runs = write([record()])
    shutil.copytree(runs / record()["run_id"], runs / "copy")
    message = refusal(runs)
    assert "hold the same run (asl, seed 0): keep one of the two folders." in message
    assert "copy" in message
    loaded = records.load(runs)
    assert [run.path.parent.name for run in loaded.records] == [record()["run_id"]]
    assert loaded.unreadable == (message,)


def test_the_same_run_in_two_formats_is_refused(write, record):
    new = record(recipe={"epochs": 20, "lr": 0.1})
    old = {**as_format_2(new), "format": 1, "run_id": "old", "science": dict(new["science"])}
    del old["science"]["departures"]
    old["command"] = ["benchkit", "run", "--method", "asl", "--recipe", "lr=0.1"]
    message = refusal(write([new, old]))
    assert "old hold the same run (asl, seed 0)" in message


def edit_count(run):
    run["split"]["train_count"][0] = 1201


def edit_default(run):
    run["science"]["recipe"]["lr"] = 0.5


EDITS = {
    "split": (edit_count, "split differs from that in "),
    "default": (edit_default, "science.recipe.lr is 0.5, but 0.001 in "),
}


@pytest.mark.parametrize("kind", EDITS)
def test_a_record_that_contradicts_most_others_is_left_out(write, record, kind):
    change, contradiction = EDITS[kind]
    edited, *others = (as_format_2(record(seed=seed)) for seed in range(4))
    change(edited)
    runs = write([edited, *others])
    loaded = records.load(runs)
    assert sorted(run.arguments.seed for run in loaded.records) == [1, 2, 3]
    assert len(build_all(loaded)[0].rows[0].records) == 3
    (sentence,) = loaded.unreadable
    assert sentence.startswith(f"{runs / edited['run_id'] / 'run.json'}: {contradiction}")
    assert sentence.endswith(": remove its folder, and repeat the run.")
    assert refusal(runs) == sentence


@pytest.mark.parametrize("kind", EDITS)
def test_a_sealed_record_decides_between_unsealed_ones(write, record, kind):
    change, _ = EDITS[kind]
    edited = [as_format_2(record(seed=seed)) for seed in range(3)]
    for run in edited:
        change(run)
    loaded = records.load(write([*edited, record(seed=3)]))
    assert [run.arguments.seed for run in loaded.records] == [3]
    assert len(loaded.unreadable) == 3


@pytest.mark.parametrize("kind", EDITS)
def test_two_records_that_contradict_each_other_do_not_take_the_page(write, record, kind):
    change, contradiction = EDITS[kind]
    good, edited = (as_format_2(record(seed=seed)) for seed in range(2))
    change(edited)
    runs = write([good, edited, record("bce", split=VOC)])
    loaded = records.load(runs)
    assert [table.rows[0].label for table in build_all(loaded)] == ["bce"]
    assert len(loaded.unreadable) == 2
    assert any(contradiction in sentence for sentence in loaded.unreadable)
    for sentence in loaded.unreadable:
        assert sentence.endswith(
            ", and no other record confirms either: remove its folder, and repeat the run."
        )
    assert refusal(runs) in loaded.unreadable


def test_of_one_run_in_two_folders_the_sealed_record_is_kept(write, record):
    runs = write([as_format_2(record())])
    copied = runs / "copy"
    copied.mkdir()
    (copied / "run.json").write_text(json.dumps(record()))
    loaded = records.load(runs)
    assert [(run.format, run.path.parent) for run in loaded.records] == [(3, copied)]
    assert len(loaded.unreadable) == 1
