"""Claims of runs among processes, and the log that they share."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest

from benchkit.base import files
from benchkit.base.errors import BenchkitError
from benchkit.runs import claims
from benchkit.runs.run_log import RunLog

RUNS = ["a" * 16, "b" * 16, "c" * 16]


def test_a_run_is_claimed_once_and_released_at_the_end(tmp_path: Path) -> None:
    with claims.claim(tmp_path, RUNS[:2]) as first:
        assert first == set(RUNS[:2])
        with claims.claim(tmp_path, RUNS) as second:
            assert second == {RUNS[2]}
            with claims.claim(tmp_path, RUNS) as third:
                assert third == set()
        with claims.claim(tmp_path, RUNS) as again:
            assert again == {RUNS[2]}
    with claims.claim(tmp_path, RUNS) as later:
        assert later == set(RUNS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_releases_the_claim(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), claims.claim(tmp_path, RUNS):
        raise error
    assert list(tmp_path.iterdir()) == []


def test_the_claim_of_a_killed_process_is_void(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with claims.claim(tmp_path, RUNS[:1]):
                os.write(writer, b"claimed")
                signal.pause()
        finally:
            os._exit(1)
    os.read(reader, 7)
    with claims.claim(tmp_path, RUNS) as others:
        assert others == set(RUNS[1:])
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(list((tmp_path / claims.FOLDER).glob("*.claim"))) == 1
    with claims.claim(tmp_path, RUNS) as all_runs:
        assert all_runs == set(RUNS)
    assert list(tmp_path.iterdir()) == []
    os.close(reader)
    os.close(writer)


def test_files_that_were_left_or_planted_do_no_harm(tmp_path: Path) -> None:
    folder = tmp_path / claims.FOLDER
    folder.mkdir()
    (folder / "old.claim").write_text("\n".join(RUNS))
    (folder / "link.claim").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / "pipe.claim")
    (folder / "note.txt").write_text("kept")
    with claims.claim(tmp_path, RUNS) as claimed:
        assert claimed == set(RUNS)
    assert (folder / "note.txt").read_text() == "kept"
    assert not (folder / "old.claim").exists()


def test_without_locks_nothing_is_claimed_by_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", unsupported)
    with claims.claim(tmp_path, RUNS) as first, claims.claim(tmp_path, RUNS) as second:
        assert first == second == set(RUNS)


def test_a_lock_that_is_never_released_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_PATIENCE", 0.05)
    (tmp_path / claims.FOLDER).mkdir()
    with (tmp_path / claims.FOLDER / "lock").open("w") as held:
        files.lock(held, "never shown")
        with (
            pytest.raises(BenchkitError, match=r"another process holds .*/lock and does not go on"),
            claims.claim(tmp_path, RUNS),
        ):
            pytest.fail("the block must not be entered")


@pytest.mark.parametrize("kind", ["file", "link", "dangling"])
def test_what_is_in_the_place_of_the_folder_of_claims_is_named(tmp_path: Path, kind: str) -> None:
    runs, elsewhere = tmp_path / "runs", tmp_path / "elsewhere"
    runs.mkdir()
    elsewhere.mkdir()
    folder = runs / claims.FOLDER
    {
        "file": lambda: folder.write_text(""),
        "link": lambda: folder.symlink_to(elsewhere),
        "dangling": lambda: folder.symlink_to(tmp_path / "nowhere"),
    }[kind]()
    sentence = f"{folder} is in the place of the folder of claims and is no folder; move it away"
    with pytest.raises(BenchkitError, match=sentence), claims.claim(runs, RUNS):
        pytest.fail("the block must not be entered")
    with pytest.raises(BenchkitError, match=sentence):
        claims.remove_void(runs, print)
    assert list(elsewhere.iterdir()) == []
    (tmp_path / "other" / claims.FOLDER / "lock").mkdir(parents=True)
    with (
        pytest.raises(
            BenchkitError, match=r"other/\.claims/lock cannot be written: Is a directory"
        ),
        claims.claim(tmp_path / "other", RUNS),
    ):
        pytest.fail("the block must not be entered")


def test_void_claims_are_removed_and_logged(tmp_path: Path) -> None:
    folder = tmp_path / claims.FOLDER
    messages: list[str] = []
    claims.remove_void(tmp_path, messages.append)
    claims.remove_void(tmp_path / "absent", messages.append)
    assert messages == []
    sentence = f"ignoring and removing claims in {folder}: their process was interrupted"
    for names in (("lock",), ("old.claim",), ("lock", "old.claim", "older.claim")):
        folder.mkdir()
        for name in names:
            (folder / name).write_text(RUNS[0])
        claims.remove_void(tmp_path, messages.append)
        assert list(tmp_path.iterdir()) == []
        assert messages.pop() == sentence
    with claims.claim(tmp_path, RUNS[:1]):
        (folder / "old.claim").write_text(RUNS[1])
        claims.remove_void(tmp_path, messages.append)
        assert messages.pop() == sentence
        claims.remove_void(tmp_path, messages.append)
        with (folder / "lock").open("w") as held:
            files.lock(held, "never shown")
            (folder / "old.claim").write_text(RUNS[1])
            claims.remove_void(tmp_path, messages.append)
        assert messages == []
        with claims.claim(tmp_path, RUNS) as others:
            assert others == set(RUNS[1:])
    assert list(tmp_path.iterdir()) == []


def test_the_log_has_one_line_per_event_and_epochs_every_ten_seconds(tmp_path: Path) -> None:
    now = [0.0]
    log = RunLog(tmp_path, lambda: now[0])
    log.write("failed: two\nlines")
    advance = log.epochs("asl seeds 0 1", 40)
    for second in range(25):
        now[0] = second
        advance()
    lines = (tmp_path / "run.log").read_text().splitlines()
    assert [line.split(f"Z [{os.getpid()}] ")[1] for line in lines] == [
        "failed: two lines",
        "asl seeds 0 1: epoch 11 of 40",
        "asl seeds 0 1: epoch 21 of 40",
    ]
    assert all(line[4] == "-" and line[10] == "T" for line in lines)


def test_a_log_that_cannot_be_written_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "run.log").mkdir()
    RunLog(tmp_path).write("not written")
    RunLog(tmp_path / "absent").write("not written")
