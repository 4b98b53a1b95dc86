"""The digest of a record: no change of a file goes unnoticed, and none ends in another error."""

import copy
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sealing import resealed

from leaderboard import json_file, records, render
from leaderboard.errors import ReportError
from leaderboard.record import Record
from leaderboard.table import build_all

CHANGED = (
    "{}: the content does not match its digest, so the file was changed after it was written: "
    "repeat the run."
)
PATH = Path("run.json")


@pytest.mark.parametrize(
    "change",
    [
        lambda run: run["metrics"].update(map=0.9),
        lambda run: run["metrics"].update(map_few=0.9),
        lambda run: run["metrics"]["ap"].__setitem__(1, 0.9),
        lambda run: run["metrics"]["micro"].update(f1=0.9),
        lambda run: run["metrics"].update(undefined_classes=0),
        lambda run: run["split"]["test_positives"].__setitem__(0, 41),
        lambda run: run["curve"][0].update(loss=0.0),
        lambda run: run.update(wall_seconds=0.1),
        lambda run: run.update(scores_digest="cc" * 32),
        lambda run: run["science"]["recipe"].update(lr=0.5),
        lambda run: run["science"]["recipe"].update(epochs="20"),
        lambda run: run["science"]["recipe"].pop("lr"),
        lambda run: run["science"]["hyperparameters"].update(gamma=4.0),
        lambda run: run["science"]["hyperparameters"].pop("gamma"),
        lambda run: run.update(note="added"),
        lambda run: run.update(format=2),
        lambda run: run.update(format=3.0),
        lambda run: run.update(digest=run["digest"].upper()),
        lambda run: run.update(digest=None),
        lambda run: run.pop("digest"),
    ],
)
def test_an_edited_record_is_left_out_and_named(write, record, change):
    runs = write([record(seed=0), record(seed=1)])
    path = runs / record(seed=1)["run_id"] / "run.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    loaded = records.load(runs)
    assert [run.arguments.seed for run in loaded.records] == [0]
    assert loaded.unreadable == (CHANGED.format(path),)
    with pytest.raises(ReportError) as caught:
        records.load(runs, strict=True)
    assert str(caught.value) == CHANGED.format(path)


def test_an_edited_failure_is_left_out_and_named(write, record):
    runs = write([record()])
    (runs / "failures").mkdir()
    path = runs / "failures" / "00ff.json"
    values = {"format": 3, "run_id": "00ff", "method": "asl", "error": "NaN"}
    path.write_text(json.dumps(resealed(values)))
    assert len(records.load(runs).failures) == 1
    path.write_text(path.read_text().replace("NaN", "too slow"))
    loaded = records.load(runs)
    assert loaded.failures == ()
    (sentence,) = loaded.unreadable
    assert sentence.startswith(f"{path}: the content does not match its digest")


# --------------------------------------------------------------------------- any change


scalars = st.none() | st.booleans() | st.integers(-3, 2**40) | st.floats(0, 1) | st.text(max_size=4)
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=2) | st.dictionaries(st.text(max_size=4), v, max_size=2)
)


def places(value, path=()):
    """The paths of keys and indices of everything inside a JSON value."""
    items = value.items() if isinstance(value, dict) else ()
    for key, item in enumerate(value) if isinstance(value, list) else items:
        yield (*path, key)
        yield from places(item, (*path, key))


@st.composite
def edits(draw, original):
    """A record with one value changed, deleted or inserted, at any depth."""
    edited = copy.deepcopy(original)
    *path, key = draw(st.sampled_from(list(places(original))))
    parent = edited
    for step in path:
        parent = parent[step]
    kind = draw(st.sampled_from(["change", "delete", "insert", "text"]))
    if kind == "change":
        parent[key] = draw(values)
    elif kind == "delete":
        del parent[key]
    elif kind == "text":
        parent[key] = json.dumps(parent[key])
    elif isinstance(parent, list):
        parent.insert(key, draw(values))
    else:
        parent[draw(st.text(max_size=6))] = draw(values)
    return edited


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_edit_is_noticed(record, data):
    original = record()
    edited = data.draw(edits(original))
    content = json.dumps(edited)
    if content == json.dumps(original):
        return
    with pytest.raises(ReportError) as caught:
        Record.from_json(json_file.parse(content.encode(), PATH), PATH)
    message = str(caught.value)
    assert message.startswith("run.json") and message.endswith(".") and "\n" not in message


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_damaged_bytes_give_the_same_record_or_one_sentence(record, data):
    original = record()
    content = bytearray(json.dumps(original, indent=1).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        if not content:  # everything was cut
            break
        position = data.draw(st.integers(0, len(content) - 1))
        kind = data.draw(st.sampled_from(["flip", "cut", "insert", "truncate"]))
        if kind == "flip":
            content[position] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "cut":
            del content[position : position + data.draw(st.integers(1, 20))]
        elif kind == "insert":
            content[position:position] = data.draw(st.binary(min_size=1, max_size=8))
        else:
            del content[max(1, position) :]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / original["run_id"] / "run.json"
        path.parent.mkdir()
        path.write_bytes(content)
        loaded = records.load(Path(folder))
        assert len(loaded.records) + len(loaded.unreadable) == 1
        for run in loaded.records:
            assert json_file.read(path) == original
            assert run == Record.from_json(original, path)
            tables = build_all(loaded)
            for render_table in (render.markdown, render.csv):
                render_table(tables).encode()
        for sentence in loaded.unreadable:
            assert sentence.startswith(str(path)) and "\n" not in sentence
