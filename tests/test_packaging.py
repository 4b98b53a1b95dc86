"""The wheel holds what the package needs, and works from a folder of its own."""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("benchkit", "splits", "baselines", "leaderboard")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built from a copy so that the checkout stays clean, without network."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    skip = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")
    source.mkdir()
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    for room in ROOMS:
        shutil.copytree(ROOT / room, source / room, ignore=skip)
    words = [*("pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--quiet")]
    ended = subprocess.run(
        [sys.executable, "-m", *words, "--wheel-dir", str(folder), str(source)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    (found,) = folder.glob("benchkit-*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """The wheel in a folder that goes before the checkout on the path."""
    target = wheel.parent / "installed"
    words = ["pip", "install", "--no-deps", "--no-index", "--quiet", "--target", str(target)]
    subprocess.run([sys.executable, "-m", *words, str(wheel)], check=True, timeout=120)
    return target


def test_the_wheel_holds_the_four_rooms_and_their_data(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        metadata = file.read(next(n for n in names if n.endswith("/METADATA"))).decode()
        scripts = file.read(next(n for n in names if n.endswith("/entry_points.txt"))).decode()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(ROOMS)
    for room in ROOMS:
        assert f"{room}/py.typed" in names
        modules = {str(path.relative_to(ROOT)) for path in (ROOT / room).rglob("*.py")}
        assert modules <= names
    data = [*ROOT.glob("benchkit/images/*.npz"), *ROOT.glob("leaderboard/templates/*.html")]
    data += [ROOT / "baselines/ledger.json"]
    assert len(data) >= 2
    assert {str(path.relative_to(ROOT)) for path in data} <= names
    assert not [name for name in names if "test" in name.split("/")[-1] or "/tests/" in name]
    assert "benchkit = benchkit.cli:main" in scripts
    assert "Requires-Python: >=3.11" in metadata


def test_an_installed_wheel_does_the_main_job(installed: Path, tmp_path: Path) -> None:
    def benchkit(*words: str) -> str:
        program = (
            "import benchkit, splits, baselines, leaderboard\n"
            f"for room in (benchkit, splits, baselines, leaderboard):\n"
            f"    assert room.__file__.startswith({str(installed)!r}), room.__file__\n"
            "from benchkit.cli import main\n"
            "main()\n"
        )
        ended = subprocess.run(
            [sys.executable, "-c", program, *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    rows = np.arange(80)[:, None]
    labels = (rows % np.array([[2, 3, 4]]) == 0).astype(np.int8)
    np.savez(tmp_path / "mine.npz", X=np.hstack([labels, rows / 80]).astype(np.float32), Y=labels)
    listed = benchkit("methods")
    assert all(f" {key} " in listed for key in ("asl", "bce", "db-focal"))
    benchkit("make-split", "arrays:mine.npz", "--out", "mine.h5", "--regime", "ppl:0.5")
    assert benchkit("run", "--split", "mine.h5", "--method", "bce", "--out", "runs").startswith(
        "1 runs done"
    )
    benchkit("report", "runs", "--format", "html", "--out", "page.html")
    assert "mine-ppl:0.5" in (tmp_path / "page.html").read_text()
    (row,) = csv.DictReader(io.StringIO(benchkit("report", "runs", "--format", "csv")))
    assert (row["method"], row["seeds"]) == ("bce", "1")
    assert float(row["total_mean"]) > 0.5  # each label is a feature


def test_shipped_weights_are_read_from_the_wheel(installed: Path) -> None:
    program = (
        "from benchkit.images import backbones; print(backbones.build('glyphs', 'shipped').dim)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=installed.parent,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) > 0


def test_the_examples_run_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    program = (
        "import os, runpy, sys, benchkit\n"
        f"assert benchkit.__file__.startswith({str(installed)!r}), benchkit.__file__\n"
        "for path in sys.argv[1:]:\n"
        "    folder = os.path.splitext(os.path.basename(path))[0]\n"
        "    os.mkdir(folder)\n"
        "    os.chdir(folder)\n"
        "    runpy.run_path(path, run_name='__main__')\n"
        "    os.chdir('..')\n"
    )
    examples = sorted(map(str, (ROOT / "examples").glob("*.py")))
    ended = subprocess.run(
        [sys.executable, "-c", program, *examples],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("fingerprint") >= 3


def test_every_example_is_listed() -> None:
    readme = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    for path in (ROOT / "examples").glob("*.py"):
        assert f"({path.name})" in readme
