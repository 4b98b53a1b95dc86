"""`kill -9` at any moment leaves whole files or none, and the next start finishes the work.

A driver process imports the package once and forks a command per attempt (this file run as a
script), so that many moments can be tried. A command is killed either after a delay, or exactly
before its n-th step of writing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchkit.runs.records import damage, remove_interrupted
from leaderboard.records import load

FRACTIONS = (0.15, 0.4, 0.65, 0.9)
SENTENCE = "interrupted; finished work is kept\n"
FAST = ["--recipe", "epochs=2", "--recipe", "batch=16"]


Attempts = list[dict[str, Any]]
Drive = Callable[[Attempts], Attempts]


@pytest.fixture(scope="module")
def drive() -> Iterator[Drive]:
    """A function that runs commands one after another in forks of the driver.

    It takes the `words` of attempts, and how each is killed: `step` (before the n-th step of
    writing, from 0), `fraction` (of the time that the first attempt took), or neither; with
    `beside`, an attempt runs at the same time as the next one. It returns for each the exit code
    (-9 if it was killed), its output, and its seconds.
    """
    pipe = subprocess.PIPE
    # One thread each: the forks do small sums, and threads only wait for one another.
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, __file__], stdin=pipe, stdout=pipe, text=True, env=env
    ) as driver:
        assert driver.stdin is not None and driver.stdout is not None

        def ask(attempts: Attempts) -> Attempts:
            driver.stdin.write(json.dumps(attempts) + "\n")
            driver.stdin.flush()
            return json.loads(driver.stdout.readline())

        yield ask
        driver.stdin.close()


def leftovers(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if ".partial" in path.name)


def dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        pid = child.pid
    return pid


def abandoned(target: Path) -> Path:
    """The name under which a writer that is no more would have written a target."""
    host = socket.gethostname().replace(".", "-")
    return target.with_name(f".{target.name}.{host}-{dead_pid()}.partial")


# ----------------------------------------------------------------------------- make-split


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6000 images with 512 features: enough bytes for a kill to fall among them."""
    folder = tmp_path_factory.mktemp("kill-split")
    rows = np.arange(6000)
    features = np.sin(rows[:, None] * np.arange(1, 513)[None, :] * 0.01).astype(np.float32)
    labels = (rows[:, None] % (np.arange(8)[None, :] + 2) == 0).astype(np.int8)
    np.savez(folder / "wide.npz", X=features, Y=labels)
    return folder / "wide.npz"


def test_a_killed_make_split_leaves_a_whole_file_or_none(
    drive: Drive, wide: Path, tmp_path: Path
) -> None:
    def words(name: str) -> list[str]:
        laws = ["--regime", "pal:0.5", "--long-tail", "pareto", "--max", "2000"]
        return ["make-split", f"arrays:{wide}", "--out", str(tmp_path / name / "s.h5"), *laws]

    # Steps of writing: sync the file, rename it, sync the folder; then the partial folder goes.
    kills = [{"step": n} for n in range(3)] + [{"fraction": f} for f in FRACTIONS]
    names = [f"kill{i}" for i in range(len(kills))]
    whole, *killed = drive(
        [{"words": words("whole")}]
        + [{"words": words(name), **kill} for name, kill in zip(names, kills, strict=True)]
    )
    assert whole["code"] == 0
    assert [found["code"] for found in killed[:3]] == [-signal.SIGKILL] * 3
    expected = (tmp_path / "whole" / "s.h5").read_bytes()
    partial = {name: leftovers(tmp_path / name) for name in names}
    states = [(tmp_path / name / "s.h5").exists() for name in names[:3]]
    assert states == [False, False, True]
    assert [len(partial[name]) for name in names[:3]] == [1, 1, 1]
    for name in names:
        target = tmp_path / name / "s.h5"
        assert not target.exists() or target.read_bytes() == expected

    again = drive([{"words": words(name)} for name in names])
    for name, found in zip(names, again, strict=True):
        assert (found["code"], found["out"]) == (0, whole["out"])
        assert (tmp_path / name / "s.h5").read_bytes() == expected
        assert leftovers(tmp_path / name) == []
        for path in partial[name]:
            assert f"ignoring and removing {path}: its writer was interrupted\n" in found["err"]


def test_a_cut_partial_is_never_read(drive: Drive, wide: Path, tmp_path: Path) -> None:
    """A killed HDF5 writer leaves a file that opens; neither its name nor its content is taken."""
    target = tmp_path / "s.h5"
    words = ["make-split", f"arrays:{wide}", "--out", str(target)]
    (first,) = drive([{"words": words}])
    whole = target.read_bytes()
    partial = abandoned(target)
    target.rename(partial)
    partial.write_bytes(whole[: len(whole) // 2])
    read, made = drive([{"words": ["verify", str(target)]}, {"words": words}])
    assert read["code"] == 1
    assert f"{target} does not exist" in read["err"]
    assert (made["code"], made["out"]) == (0, first["out"])
    assert str(partial) in made["err"]
    assert target.read_bytes() == whole
    assert leftovers(tmp_path) == []


def test_what_a_living_writer_holds_is_left_alone(drive: Drive, wide: Path, tmp_path: Path) -> None:
    target = tmp_path / "s.h5"
    host = socket.gethostname().replace(".", "-")
    mine = tmp_path / f".s.h5.{host}-{os.getpid()}.partial"
    mine.write_text("at work")
    (found,) = drive([{"words": ["make-split", f"arrays:{wide}", "--out", str(target)]}])
    assert found["code"] == 0
    assert str(mine) not in found["err"]
    assert mine.read_text() == "at work"


# ----------------------------------------------------------------------------- run


@pytest.fixture(scope="module")
def split(drive: Drive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kill-run")
    rows = np.arange(300)
    labels = (rows[:, None] % (np.arange(5)[None, :] + 2) == 0).astype(np.int8)
    features = np.sin(rows[:, None] * np.arange(1, 25)[None, :] * 0.1).astype(np.float32)
    features[:, :5] += labels
    np.savez(folder / "mine.npz", X=features, Y=labels)
    made = ["make-split", f"arrays:{folder / 'mine.npz'}", "--out", str(folder / "s.h5")]
    (found,) = drive([{"words": [*made, "--regime", "pal:0.5"]}])
    assert found["code"] == 0
    return folder / "s.h5"


def finished(runs: Path) -> dict[str, np.ndarray]:
    """Run id -> scores; whatever bears a run's name must be whole."""
    found = {}
    for folder in runs.iterdir() if runs.is_dir() else []:
        if folder.name.startswith(".") or folder.name == "run.log":
            continue
        record = json.loads((folder / "run.json").read_text())
        with np.load(folder / "scores.npz") as file:
            found[folder.name] = file["scores"]
        assert record["run_id"] == folder.name
        assert found[folder.name].shape == (60, 5)
    return found


def test_a_killed_run_is_finished_by_the_next_start_to_the_bit(
    drive: Drive, split: Path, tmp_path: Path
) -> None:
    def words(name: str) -> list[str]:
        grid = ["--method", "bce,asl,db-focal", "--seeds", "2", *FAST]
        return ["run", "--split", str(split), *grid, "--out", str(tmp_path / name)]

    # Six records in seven steps each: save the scores, sync two files and their folder, rename it,
    # sync the parent, remove the partial folder. Step 10 falls between the two seeds of a stack.
    steps = (0, 1, 3, 4, 5, 6, 10, 17, 41)
    kills = [{"step": n} for n in steps] + [{"fraction": f} for f in FRACTIONS]
    names = [f"kill{i}" for i in range(len(kills))]
    whole, *killed = drive(
        [{"words": words("whole")}]
        + [{"words": words(name), **kill} for name, kill in zip(names, kills, strict=True)]
    )
    assert whole["code"] == 0, whole["err"]
    assert [found["code"] for found in killed[: len(steps)]] == [-signal.SIGKILL] * len(steps)
    expected = finished(tmp_path / "whole")
    assert len(expected) == 6
    kept, partial = {}, {}
    for name in names:
        kept[name] = finished(tmp_path / name)
        partial[name] = leftovers(tmp_path / name)
        for identity, scores in kept[name].items():
            assert np.array_equal(scores, expected[identity])
    assert [len(kept[name]) for name in names[: len(steps)]] == [0, 0, 0, 0, 1, 1, 1, 2, 6]

    again = drive([{"words": words(name)} for name in names])
    for name, found in zip(names, again, strict=True):
        count = len(kept[name])
        assert found["code"] == 0
        assert found["out"].startswith(f"{6 - count} runs done, {count} kept, 0 failed")
        for path in (p for p in partial[name] if p.parent == tmp_path / name):
            assert f"ignoring and removing {path}: its writer was interrupted\n" in found["err"]
        assert leftovers(tmp_path / name) == []
        done = finished(tmp_path / name)
        assert set(done) == set(expected)
        for identity, scores in done.items():
            assert np.array_equal(scores, expected[identity]), (name, identity)


def test_a_report_counts_what_was_interrupted_and_run_removes_it(
    drive: Drive, split: Path, tmp_path: Path
) -> None:
    words = ["run", "--split", str(split), "--method", "bce", *FAST, "--out", str(tmp_path)]
    drive([{"words": words}])
    (record,) = tmp_path.glob("*/run.json")
    folder = abandoned(tmp_path / "0123456789abcdef")
    folder.mkdir()
    (folder / "run.json").write_text(record.read_text()[:100])
    failure = abandoned(tmp_path / "failures" / "0123456789abcdef.json")
    failure.parent.mkdir()
    failure.write_text("{")
    shown, again = drive(
        [{"words": ["report", str(tmp_path), "--format", "markdown"]}, {"words": words}]
    )
    assert shown["code"] == 0
    assert "interrupted" in shown["out"]
    assert again["out"].startswith("0 runs done, 1 kept")
    for path in (folder, failure):
        assert f"ignoring and removing {path}: its writer was interrupted\n" in again["err"]
        assert not path.exists()


def test_a_killed_repetition_of_evaluate_keeps_a_whole_record(
    drive: Drive, split: Path, tmp_path: Path
) -> None:
    """At every step, the record is the old or the new one: for a report, and after the next run."""
    scores = tmp_path / "scores.npz"
    np.savez(scores, scores=np.sin(np.arange(300.0)).reshape(60, 5).astype(np.float32))

    def words(step: int, note: str) -> list[str]:
        rest = ["--note", note, "--name", "mine", "--out", str(tmp_path / str(step))]
        return ["evaluate", "--split", str(split), "--scores", str(scores), *rest]

    # Save the scores, sync three paths, set the old record aside, rename the new one, sync the
    # folder, discard the old record, remove the partial folder.
    steps = range(10)
    (first,) = drive([{"words": words(0, "old")}])
    assert first["code"] == 0, first["err"]
    for step in steps[1:]:
        shutil.copytree(tmp_path / "0", tmp_path / str(step))
    killed = drive([{"words": words(step, "new"), "step": step} for step in steps])
    assert [found["code"] for found in killed] == [-signal.SIGKILL] * 9 + [0]
    notes, kept = [], []
    for step in steps:
        runs = tmp_path / str(step)
        before = sorted(runs.rglob("*"))
        (record,) = load(runs, strict=True).records
        assert sorted(runs.rglob("*")) == before
        assert len(list(record.path.parent.iterdir())) == 2
        notes.append(record.method.note)
        messages: list[str] = []
        remove_interrupted(runs, messages.append)
        assert any(text.startswith("restoring") for text in messages) == (step == 5)
        assert leftovers(runs) == []
        assert damage(runs / record.run_id) is None
        (again,) = load(runs, strict=True).records
        kept.append(again.method.note)
    assert notes == kept == ["old"] * 6 + ["new"] * 4
    (repeated,) = drive([{"words": words(0, "new")}])
    assert (repeated["code"], repeated["out"]) == (0, first["out"])
    assert load(tmp_path / "0").records[0].method.note == "new"


def test_two_processes_on_one_folder_train_every_run_once(
    drive: Drive, split: Path, tmp_path: Path
) -> None:
    grid = ["--method", "bce,asl,db-focal", "--seeds", "2", "--out", str(tmp_path)]
    words = ["run", "--split", str(split), *grid, "--recipe", "epochs=60", "--recipe", "batch=16"]
    results = drive([{"words": words, "beside": True}, {"words": words}])
    assert [found["code"] for found in results] == [0, 0], results
    assert len(finished(tmp_path)) == 6
    lines = (tmp_path / "run.log").read_text().splitlines()
    trained = [line.split("] ")[1] for line in lines if line.endswith(": done")]
    assert len(trained) == len(set(trained)) == 6
    assert len({line.split("[")[1].split("]")[0] for line in lines}) == 2
    done, kept, busy = 0, 0, 0
    for found in results:
        words_out = found["out"].split()
        done, kept = done + int(words_out[0]), kept + int(words_out[3])
        match = re.search(r"^(\d+) runs are being trained by another process", found["err"], re.M)
        busy += int(match[1]) if match else 0
    assert (done, done + kept + busy) == (6, 12)
    assert not (tmp_path / ".claims").exists()


def test_the_claims_of_a_killed_process_are_void(drive: Drive, split: Path, tmp_path: Path) -> None:
    words = ["run", "--split", str(split), "--method", "bce", *FAST, "--out", str(tmp_path)]
    (killed,) = drive([{"words": words, "step": 0}])
    assert killed["code"] == -signal.SIGKILL
    assert len(list((tmp_path / ".claims").glob("*.claim"))) == 1
    (again,) = drive([{"words": words}])
    assert again["out"].startswith("1 runs done, 0 kept")
    assert not (tmp_path / ".claims").exists()


def test_ctrl_c_is_one_sentence(split: Path, tmp_path: Path) -> None:
    words = ["run", "--split", str(split), "--method", "bce", "--recipe", "epochs=100000"]
    program = "from benchkit.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", program, *words, "--out", str(tmp_path / "runs")],
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in the background, the shell has them ignore Ctrl-C, and what is
        # ignored is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            until = time.monotonic() + 60
            while not (tmp_path / "runs").is_dir() and time.monotonic() < until:
                time.sleep(0.05)
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    # click ends the line with the terminal's ^C before it.
    assert (process.returncode, err.strip()) == (130, SENTENCE.strip())
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["run.log"]


def run_interrupted(program: str, **environment: str) -> tuple[int, str, str]:
    """The exit code and the output of a program that sends itself a Ctrl-C."""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=60,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    return ended.returncode, ended.stdout, ended.stderr


def interrupted_in_import(folder: Path, module: str) -> tuple[int, str, str]:
    """The end of a command that imports a module, in which an interrupt comes, and then sleeps."""
    (folder / "slow.py").write_text(module)
    program = """
import time
from benchkit import cli
cli.interrupts.WAITING_LIMIT = 1.0
def command(**_):
    import slow
    try:
        time.sleep(20)
    finally:
        print("whole:", slow.done)
cli.benchkit = command
cli.main()
"""
    return run_interrupted(program, PYTHONPATH=str(folder))


INTERRUPTED = """
import os, signal, time, weakref
from benchkit import cli

def interrupt(*_):
    os.kill(os.getpid(), signal.SIGINT)
    sum(range(100_000))

class Final:
    __del__ = interrupt

class Plain:
    pass

def command(**_):
    MOMENT
    time.sleep(20)
    print("lost")

cli.benchkit = command
cli.main()
"""


@pytest.mark.parametrize(
    "moment",
    [
        "interrupt()",
        "Final()",
        "plain = Plain(); reference = weakref.ref(plain, interrupt); del plain",
    ],
)
def test_ctrl_c_is_not_lost(moment: str) -> None:
    """Python drops what a finaliser or a weakref callback raises."""
    assert run_interrupted(INTERRUPTED.replace("MOMENT", moment)) == (130, "", SENTENCE)


@pytest.mark.parametrize("function", ["write", "seek", "truncate", "flush"])
def test_ctrl_c_waits_for_hdf5(function: str) -> None:
    """After an exception in one of these functions HDF5 could not close the file."""
    moment = f"""
    import h5py, io
    def inside(disk, *arguments):
        interrupt()
        return getattr(io.BytesIO, {function!r})(disk, *arguments)
    with h5py.File(type("Disk", (io.BytesIO,), {{{function!r}: inside}})(), "w") as file:
        file["x"] = 1"""
    assert run_interrupted(INTERRUPTED.replace("    MOMENT", moment)) == (130, "", SENTENCE)


def test_a_method_that_catches_ctrl_c_does_not_keep_it(split: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "deaf.py"
    plugin.write_text("""
import os, signal
from baselines.core import Method, MethodInfo, positives
from baselines.core.losses import bce_terms

class Deaf(Method):
    info = MethodInfo("deaf-in-a-test", "Deaf", "none", 2026, "L", "negative")
    def loss(self, run, logits, batch, clock, draw):
        if clock.epoch == 3 and clock.step == 0:
            try:
                os.kill(os.getpid(), signal.SIGINT)
                sum(range(100_000))
            except BaseException:
                pass
        return bce_terms(logits, positives(batch.observed)).mean()
""")
    out = tmp_path / "runs"
    arguments = ["--method", "deaf-in-a-test", "--plugin", str(plugin), "--out", str(out)]
    arguments = ["benchkit", "run", "--split", str(split), *arguments, "--recipe", "epochs=5"]
    program = f"import sys; sys.argv = {arguments!r}; from benchkit.cli import main; main()"
    code, shown, err = run_interrupted(program)
    assert (code, shown, err.strip()) == (130, "", SENTENCE.strip())
    assert [path.name for path in out.iterdir()] == ["run.log"]


def test_ctrl_c_waits_for_an_import(tmp_path: Path) -> None:
    # A class would turn the interrupt into a RuntimeError (before Python 3.12).
    module = """
import os, signal
class Field:
    def __set_name__(self, owner, name):
        os.kill(os.getpid(), signal.SIGINT)
        sum(range(100_000))
class Owner:
    field = Field()
done = True
"""
    assert interrupted_in_import(tmp_path, module) == (130, "whole: True\n", SENTENCE)


def test_ctrl_c_ends_an_import_that_hangs(tmp_path: Path) -> None:
    module = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(40)\n"
    began = time.monotonic()
    assert interrupted_in_import(tmp_path, module) == (130, "", SENTENCE)
    assert time.monotonic() - began < 30


# ----------------------------------------------------------------------------- the driver


def _die_before_step(number: int) -> None:
    """Kill this process before its n-th call of what writes: save, sync, rename."""
    from benchkit.base import files

    left = [number]

    def counted(function: Any) -> Any:
        def step(*arguments: Any, **more: Any) -> Any:
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return function(*arguments, **more)

        return step

    files.sync = counted(files.sync)
    Path.replace = counted(Path.replace)
    np.savez = counted(np.savez)
    files.shutil.rmtree = counted(files.shutil.rmtree)


def _start(attempt: dict[str, Any], log: Path) -> int:
    from benchkit.cli import main

    log.mkdir()
    child = os.fork()
    if child == 0:
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(log / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        if "step" in attempt:
            _die_before_step(attempt["step"])
        sys.argv = ["benchkit", *attempt["words"]]
        code = 70
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            sys.stdout.flush()
            os._exit(code)
    return child


def _attempts(attempts: Attempts, log: Path) -> Attempts:
    done: Attempts = []
    running: list[tuple[int, float, dict[str, Any], Path]] = []
    for number, attempt in enumerate(attempts):
        folder = log / str(number)
        running.append((_start(attempt, folder), time.perf_counter(), attempt, folder))
        if not attempt.get("beside"):
            first = done[0]["seconds"] if done else 0.0
            done += [_end(*process, first) for process in running]
            running = []
    return done


def _end(
    child: int, began: float, attempt: dict[str, Any], log: Path, seconds: float
) -> dict[str, Any]:
    if "fraction" in attempt:
        time.sleep(attempt["fraction"] * seconds)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "out": (log / "out").read_text(),
        "err": (log / "err").read_text(),
        "seconds": time.perf_counter() - began,
    }


def _drive() -> None:
    import importlib
    import tempfile

    from baselines.core import registry

    # What commands import late is imported once, here; nothing is computed before the forks.
    for name in ("api", "cli.run", "cli.show", "cli.report", "split.make", "split.summary"):
        importlib.import_module(f"benchkit.{name}")
    for name in ("benchkit.runs.execute", "benchkit.runs.external", "leaderboard.render"):
        importlib.import_module(name)
    for name in ("splits.sources.arrays", "splits.sources.coco", "torch._dynamo"):
        importlib.import_module(name)
    registry.builtin()
    for line in sys.stdin:
        with tempfile.TemporaryDirectory() as log:
            done = _attempts(json.loads(line), Path(log))
        sys.stdout.write(json.dumps(done) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _drive()
