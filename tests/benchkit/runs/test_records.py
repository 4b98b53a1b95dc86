"""Run records on disk: writing, completeness, failures and leftovers."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unprivileged import public_folder, unprivileged

from benchkit.base.errors import BenchkitError
from benchkit.runs import records
from benchkit.runs.records import NotRecordableError, damage, find, write, write_failure
from benchkit.split.model import Split
from benchkit.split.options import Options
from leaderboard import seal
from leaderboard.record import Record, RunArguments
from leaderboard.records import load, read_record
from splits.regimes import Regime

ToyMaker = Callable[..., Split]
SCORES, IDS = np.array([[0.1], [3.0]]), np.array(["ä", "b"])


def quiet(_: str) -> None:
    """Discard a message."""


def test_a_written_record_is_complete_and_reads_back(tmp_path: Path, record: Record) -> None:
    assert damage(tmp_path / record.run_id) is not None
    folder = write(tmp_path, record, SCORES, IDS, quiet)
    assert folder == tmp_path / record.run_id
    assert damage(folder) is None
    assert damage(folder, IDS) is None
    assert sorted(path.name for path in folder.iterdir()) == ["run.json", "scores.npz"]
    digest = records.scores_digest(SCORES.astype(np.float32), IDS)
    assert read_record(folder / "run.json") == replace(record, scores_digest=digest)
    with np.load(folder / "scores.npz", allow_pickle=False) as file:
        assert file["scores"].dtype == np.float32
        np.testing.assert_array_equal(file["scores"], SCORES.astype(np.float32))
        assert file["ids"].tolist() == ["ä", "b"]


def test_a_second_record_replaces_the_first(tmp_path: Path, record: Record) -> None:
    write(tmp_path, record, SCORES, IDS, quiet)
    folder = write(tmp_path, replace(record, wall_seconds=9.0), SCORES + 1, IDS, quiet)
    assert json.loads((folder / "run.json").read_text())["wall_seconds"] == 9.0
    assert [path.name for path in tmp_path.iterdir()] == [record.run_id]


@pytest.mark.parametrize("missing", ["run.json", "scores.npz"])
def test_half_a_record_is_not_complete(tmp_path: Path, record: Record, missing: str) -> None:
    folder = write(tmp_path, record, SCORES, IDS, quiet)
    (folder / missing).unlink()
    assert missing in str(damage(folder))
    assert find(tmp_path, {record.run_id}) == {}
    write(tmp_path, record, SCORES, IDS, quiet)
    assert find(tmp_path, {record.run_id}) == {record.run_id: folder}


def test_a_record_with_a_number_that_json_cannot_hold_is_not_written(
    tmp_path: Path, record: Record
) -> None:
    for values in ({"wall_seconds": float("nan")}, {"command": (b"benchkit",)}):
        with pytest.raises(NotRecordableError, match="a value that is neither text, a finite num"):
            write(tmp_path, replace(record, **values), SCORES, IDS, quiet)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"year": "2021"}, 'method.year must be a whole number, but is "2021".'),
        ({"title": 5}, "method.title must be a string, but is 5."),
        ({"paper": None}, "method.paper must be a string, but is null."),
        ({"oracle": (1,)}, "method.oracle must be a list of strings, but is [1]."),
    ],
)
def test_a_record_that_no_report_could_read_is_not_written(
    tmp_path: Path, record: Record, values: dict[str, object], sentence: str
) -> None:
    """As the `info` of a plugin may hold anything."""
    wrong = replace(record, method=replace(record.method, **values))
    with pytest.raises(NotRecordableError) as caught:
        write(tmp_path, wrong, SCORES, IDS, quiet)
    path = tmp_path / record.run_id / "run.json"
    assert str(caught.value) == f"the result cannot be recorded: {path}: {sentence}"
    assert list(tmp_path.iterdir()) == []


# ----------------------------------------------------------------------------- damage


def saved(folder: Path, **arrays: np.ndarray) -> None:
    np.savez(folder / "scores.npz", **arrays)


ONE = np.float32([[1]])
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda f: (f / "scores.npz").write_bytes(b""), "it is not a complete .npz file"),
    "text": (lambda f: (f / "scores.npz").write_text("scores"), "it is not a complete .npz file"),
    "pipe": (
        lambda f: ((f / "scores.npz").unlink(), os.mkfifo(f / "scores.npz")),
        "it is missing",
    ),
    "truncated": (
        lambda f: (f / "scores.npz").write_bytes((f / "scores.npz").read_bytes()[:-30]),
        "it is not a complete .npz file",
    ),
    "no ids": (lambda f: saved(f, scores=SCORES.astype(np.float32)), "the array 'ids' is missing"),
    "wrong shape": (
        lambda f: saved(f, scores=ONE, ids=IDS),
        "scores has the shape [1, 1] and the type float32",
    ),
    "wrong type": (
        lambda f: saved(f, scores=np.array([["a"], ["b"]]), ids=IDS),
        "scores has the shape [2, 1] and the type <U1",
    ),
    "objects": (
        lambda f: saved(f, scores=SCORES.astype(np.float32), ids=IDS.astype(object)),
        "ids has the shape [2] and the type object",
    ),
    "not finite": (
        lambda f: saved(f, scores=(SCORES * np.nan).astype(np.float32), ids=IDS),
        "a score is not finite",
    ),
    "other ids": (
        lambda f: saved(f, scores=SCORES.astype(np.float32), ids=np.array(["ä", "c"])),
        "holds the ids of other test images",
    ),
    "no json": (lambda f: (f / "run.json").write_text(""), "run.json is not valid JSON ("),
    "another run": (
        lambda f: f.rename(f.with_name("aside")).joinpath("run.json").write_text("{}"),
        "run.json cannot be read: No such file or directory",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_record_does_not_count_as_done_until_a_new_one_is_in_place(
    tmp_path: Path, record: Record, name: str
) -> None:
    folder = write(tmp_path, record, SCORES, IDS, quiet)
    damaging, sentence = DAMAGES[name]
    damaging(folder)
    folder.mkdir(exist_ok=True)
    messages: list[str] = []
    assert find(tmp_path, {record.run_id}, messages.append, IDS) == {}
    (message,) = messages
    assert message.startswith(f"the record {folder} is damaged and does not count as done: ")
    assert sentence in message
    write(tmp_path, record, SCORES, IDS, quiet)
    assert find(tmp_path, {record.run_id}, messages.append, IDS) == {record.run_id: folder}


def test_a_record_in_the_folder_of_another_run_does_not_count(
    tmp_path: Path, record: Record, with_seed: Callable[[int], RunArguments]
) -> None:
    other = tmp_path / with_seed(4).run_id
    write(tmp_path, record, SCORES, IDS, quiet).rename(other)
    assert damage(other) == f"{other / 'run.json'} describes the run {record.run_id}"
    assert damage(other, IDS[:1]) is not None


def test_the_digest_of_the_scores_covers_names_types_shapes_and_bytes() -> None:
    digest = hashlib.sha256()
    for name, kind, shape, content in (
        ("scores", "<f4", [2, 1], SCORES.astype("<f4").tobytes()),
        ("ids", "<U1", [2], "äb".encode("utf-32-le")),
    ):
        digest.update(json.dumps([name, kind, shape], separators=(",", ":")).encode() + b"\0")
        digest.update(content)
    assert records.scores_digest(SCORES.astype(np.float32), IDS) == digest.hexdigest()
    assert records.scores_digest(SCORES.astype(">f4"), IDS) == digest.hexdigest()


@pytest.mark.parametrize(
    ("scores", "ids"),
    [
        (SCORES.astype(np.float32) + 1, IDS),
        (SCORES, IDS),  # float64
        (SCORES.astype(np.float32), np.array(["ä", "c"])),
        (SCORES.astype(np.float32), IDS.astype("U2")),
    ],
)
def test_changed_scores_do_not_count_as_done(
    tmp_path: Path, record: Record, scores: np.ndarray, ids: np.ndarray
) -> None:
    folder = write(tmp_path, record, SCORES, IDS, quiet)
    saved(folder, scores=scores, ids=ids)
    path = folder / "scores.npz"
    assert damage(folder) == (
        f"{path} does not match its digest in run.json, so it was changed afterwards"
    )
    assert damage(folder, most=2) is not None
    assert damage(folder, most=1) is None
    assert find(tmp_path, {record.run_id}) == {}


@pytest.mark.parametrize("format", [1, 2])
def test_older_formats_have_no_digests(tmp_path: Path, record: Record, format: int) -> None:
    folder = write(tmp_path, replace(record, format=format), SCORES, IDS, quiet)
    values = json.loads((folder / "run.json").read_text())
    assert values["format"] == format
    assert not {"digest", "scores_digest"} & values.keys()
    saved(folder, scores=SCORES.astype(np.float32) + 1, ids=IDS)
    assert damage(folder, IDS) is None


def test_an_edited_record_does_not_count_as_done(tmp_path: Path, record: Record) -> None:
    folder = write(tmp_path, record, SCORES, IDS, quiet)
    path = folder / "run.json"
    path.write_text(path.read_text().replace('"lr": 0.001', '"lr": 0.002'))
    messages: list[str] = []
    assert find(tmp_path, {record.run_id}, messages.append, IDS) == {}
    assert messages == [
        f"the record {folder} is damaged and does not count as done: {path}: the content does not "
        "match its digest, so the file was changed after it was written: repeat the run"
    ]


@pytest.mark.parametrize("mode", [0o000, 0o444, 0o555])
def test_a_folder_that_may_not_be_replaced_is_named_before_training(
    record: Record, mode: int
) -> None:
    with public_folder() as runs:
        folder = write(runs, record, SCORES, IDS, quiet)
        with unprivileged():
            assert find(runs, {record.run_id}) == {record.run_id: folder}
        (folder / "scores.npz").write_bytes(b"")
        folder.chmod(mode)
        sentence = f"{folder} is in the place of a record and may not be replaced; change its perm"
        with unprivileged(), pytest.raises(BenchkitError, match=sentence):
            find(runs, {record.run_id})
        with unprivileged():
            assert find(runs, {"0" * 16}) == {}


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_in_the_place_of_a_record_is_named_before_training(
    tmp_path: Path, record: Record, kind: str
) -> None:
    path = tmp_path / record.run_id
    path.write_text("") if kind == "file" else path.symlink_to(tmp_path)
    with pytest.raises(BenchkitError, match=f"{path} is in the place of a record and is no folder"):
        find(tmp_path, {record.run_id})


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_flipped_bytes_are_noticed_or_harmless(record: Record, data: st.DataObject) -> None:
    """A flipped byte in a record folder never raises; the record is then read or named."""
    with tempfile.TemporaryDirectory() as runs:
        folder = write(Path(runs), record, SCORES, IDS, quiet)
        written = read_record(folder / "run.json")
        path = folder / data.draw(st.sampled_from(["run.json", "scores.npz"]))
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 3))):
            content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
        messages: list[str] = []
        folders = find(Path(runs), {record.run_id}, messages.append, IDS)
        assert len(folders) + len(messages) == 1
        loaded = load(Path(runs))
        assert len(loaded.records) + len(loaded.unreadable) == 1
        if folders:
            assert loaded.records[0] == written
            with np.load(folder / "scores.npz", allow_pickle=False) as file:
                np.testing.assert_array_equal(file["scores"], SCORES.astype(np.float32))
                assert file["ids"].tolist() == IDS.tolist()


def test_records_of_format_1_are_found_by_their_arguments(
    tmp_path: Path, record: Record, with_seed: Callable[[int], RunArguments]
) -> None:
    command = ("benchkit", "run", "--set", "asl.gamma_negative=2.0", "--recipe", "epochs=10")
    old = replace(record, run_id="0123456789abcdef", format=1, command=command)
    folder = write(tmp_path, old, SCORES, IDS, quiet)
    other = with_seed(4).run_id
    assert find(tmp_path, {record.run_id, other}) == {record.run_id: folder}
    # A record in a newer format is found by the name of its folder only.
    new = replace(record, run_id=other, arguments=with_seed(4))
    write(tmp_path, new, SCORES, IDS, quiet).rename(tmp_path / "fedcba9876543210")
    assert find(tmp_path, {other}) == {}
    # Damaged files and other folders do not matter.
    for name, text in (("damaged", "{"), ("list", "[1]"), ("format", '{"format": 1}')):
        stranger = write(tmp_path, new, SCORES, IDS, quiet).rename(tmp_path / name)
        (stranger / "run.json").write_text(text)
    assert find(tmp_path, {record.run_id, other}) == {record.run_id: folder}
    assert find(tmp_path / "absent", {record.run_id}) == {}


def test_the_number_of_stacked_runs(tmp_path: Path, record: Record) -> None:
    folder = write(tmp_path, record, SCORES, IDS, quiet)
    assert records.stacked_runs(folder) == 2
    (folder / "run.json").write_text('{"environment": {}}')
    assert records.stacked_runs(folder) == 0
    assert records.stacked_runs(tmp_path / "absent") == 0


def test_a_failure_is_recorded_and_removed_on_success(
    tmp_path: Path, record: Record, with_seed: Callable[[int], RunArguments]
) -> None:
    arguments = record.arguments
    write_failure(tmp_path, arguments, "the loss is not finite in epoch 2", quiet)
    path = tmp_path / "failures" / f"{record.run_id}.json"
    assert json.loads(path.read_text()) == {
        "format": 3,
        "run_id": record.run_id,
        "method": "asl",
        "seed": 3,
        "error": "the loss is not finite in epoch 2",
        "science": arguments.to_json(3),
        "digest": seal.content_digest(json.loads(path.read_text())),
    }
    assert find(tmp_path, {record.run_id}) == {}
    other = with_seed(4)
    write_failure(tmp_path, other, "x", quiet)
    write(tmp_path, record, SCORES, IDS, quiet)
    assert [path.stem for path in (tmp_path / "failures").iterdir()] == [other.run_id]


def test_the_leftovers_of_dead_writers_are_removed(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    host = socket.gethostname().replace(".", "-")
    (tmp_path / "failures").mkdir()
    (tmp_path / f".{'a' * 16}.{host}-{process.pid}.partial").mkdir()
    (tmp_path / "failures" / f".{'b' * 16}.json.{host}-{process.pid}.partial").write_text("{")
    kept = tmp_path / f".{'c' * 16}.{host}-{os.getppid()}.partial"
    kept.mkdir()
    messages: list[str] = []
    records.remove_interrupted(tmp_path, messages.append)
    assert sorted(p.name for p in tmp_path.rglob("*")) == sorted([kept.name, "failures"])
    assert len(messages) == 2
    records.remove_interrupted(tmp_path / "absent", messages.append)
    assert len(messages) == 2


def test_a_record_describes_its_split(make_toy: ToyMaker) -> None:
    options = Options(many=20, few=9, regime=Regime.parse("spl"), val_fraction=0.2)
    split = make_toy(options)
    values = records.recorded_split(split, split.fingerprints()).to_json()
    assert json.loads(json.dumps(values)) == values
    assert values["fingerprint"] == split.fingerprints()["both"]
    assert values["labels_fingerprint"] == split.fingerprints()["labels"]
    assert values["class_names"] == [f"class_{c}" for c in range(5)]
    shots = ["many" if n >= 20 else "medium" if n >= 9 else "few" for n in split.train_count]
    assert values["shot"] == shots
    assert set(shots) >= {"medium", "few"}
    assert values["train_count"] == (split.parts["train"].true == 1).sum(0).tolist()
    assert values["observed_count"] == (split.parts["train"].observed == 1).sum(0).tolist()
    assert values["test_positives"] == (split.parts["test"].true == 1).sum(0).tolist()
    assert values["sizes"] == {"train": 32, "val": 8, "test": 20}
    assert (values["regime"], values["name"]) == ("spl", "toy")
