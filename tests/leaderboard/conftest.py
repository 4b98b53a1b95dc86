"""Run records that are small enough to check by hand.

    method  seeds    total            mean ± sample std
    asl     0 1 2    .60 .62 .64      62.00 ± 2.00     squares of -2 0 2: 8 / 2 = 4
    focal   0 1 2    .55 .55 .55      55.00 ± 0.00
    bce     0 1 2    .50 .51 .52      51.00 ± 1.00     squares of -1 0 1: 2 / 2 = 1
    db      0        .70              70.00            uses the true counts: oracle, not ranked
    hill    0        .65              65.00            fewer seeds than the others: not ranked

many is total + .10, medium is total, few is total - .10, average is total.
"""

import copy
import json
from pathlib import Path

import pytest
from sealing import resealed

from leaderboard import records
from leaderboard.arguments import EXTERNAL, RunArguments
from leaderboard.reader import Reader
from leaderboard.seal import content_digest

TOTALS = {
    "asl": (0.60, 0.62, 0.64),
    "focal": (0.55, 0.55, 0.55),
    "bce": (0.50, 0.51, 0.52),
    "db": (0.70,),
    "hill": (0.65,),
}
ORACLES = {"db": ["true_counts"]}
COCO = "c0c0" * 16
VOC = "70c0" * 16
DEFAULTS = {"hyperparameters": {"gamma": 2.0}, "recipe": {"epochs": 20, "lr": 0.001}}


def departures(section, values):
    """The names of the values that are not the default."""
    defaults = DEFAULTS[section]
    return [name for name, value in values.items() if defaults.get(name, "absent") != value]


def make_record(method="asl", seed=0, total=0.6, *, split=COCO, selection="last", **science):
    """The JSON of one run in format 3; keywords replace its scientific arguments."""
    arguments = {
        "split": split,
        "method": method,
        "method_version": "1",
        **DEFAULTS,
        "seed": seed,
        "selection": selection,
        "metric_version": "1",
        **science,
    }
    is_external = arguments["method_version"] == EXTERNAL
    arguments.setdefault(
        "departures",
        {
            "recipe_defaults": None if is_external else "1",
            **{section: departures(section, arguments[section]) for section in DEFAULTS},
        },
    )
    run_id = RunArguments.from_json(Reader(arguments, Path("test")), 2).run_id
    name = "coco-lt" if split == COCO else "voc-lt"
    scores = {"precision": 0.5, "recall": 0.5, "f1": 0.5}
    values = {
        "format": 3,
        "run_id": run_id,
        "science": arguments,
        "split": {
            "name": name,
            "fingerprint": split,
            "labels_fingerprint": "aa" * 32,
            "thresholds": {"many": 100, "few": 20, "reference": "true"},
            "class_names": ["cat & <dog>", "cup", "$kite_$", "unseen"],
            "shot": ["many", "medium", "few", "few"],
            "train_count": [1200, 50, 3, 0],
            "observed_count": [600, 25, 1, 0],
            "test_positives": [40, 30, 20, 0],
            "regime": "pal:0.5",
            "sizes": {"train": 1909, "val": 200, "test": 5000},
        },
        "method": {
            "key": method,
            "title": f"Title of {method}",
            "paper": "Somebody",
            "year": 2021,
            "oracle": ORACLES.get(method, []),
            "kind": "builtin",
        },
        "metrics": {
            "map": total,
            "map_many": round(total + 0.1, 4),
            "map_medium": total,
            "map_few": round(total - 0.1, 4),
            "map_groups_average": total,
            "undefined_classes": 1,
            "ap": [round(total + 0.1, 4), total, round(total - 0.1, 4), None],
            "micro": scores,
            "macro": scores,
        },
        "curve": [{"epoch": 1, "loss": 0.1, "val_map": None}],
        "environment": {"device": "cpu", "versions": {"numpy": "2.3.0"}},
        "wall_seconds": 1.25,
        "command": ["benchkit", "run", "my split.h5", "--method", method, "--seed", str(seed)],
        "scores_digest": "bb" * 32,
    }
    return copy.deepcopy({**values, "digest": content_digest(values)})


@pytest.fixture(scope="session")
def record():
    """Make the JSON of one run."""
    return make_record


@pytest.fixture
def five_methods():
    """The runs of the table above."""
    return [
        make_record(method, seed, total)
        for method, totals in TOTALS.items()
        for seed, total in enumerate(totals)
    ]


@pytest.fixture
def write(tmp_path):
    """Write runs into a folder as benchkit does, with their digests, and return the folder."""

    def write_runs(runs):
        for run in runs:
            folder = tmp_path / run["run_id"]
            folder.mkdir()
            (folder / "run.json").write_text(json.dumps(resealed(run)))
        return tmp_path

    return write_runs


@pytest.fixture
def load(write):
    """Write runs and read them."""
    return lambda runs: records.load(write(runs))


@pytest.fixture(scope="session")
def vectors():
    """A vector file by name, without its suffix, as parsed JSON."""
    folder = Path(__file__).parent / "vectors"
    return lambda name: json.loads((folder / f"{name}.json").read_text())
