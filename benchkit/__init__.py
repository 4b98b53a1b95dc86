"""benchkit: splits, methods, one trainer and one leaderboard for long-tailed, partial labels.

The public API; the command line is its first user. Names are imported on first use, so that
`import benchkit` is cheap and `report` needs no torch.

    split = benchkit.make_split("arrays:mine.npz", "mine.h5", regime="pal:0.5")
    benchkit.run("mine.h5", ["bce", "asl"], out="runs", seeds=3)
    print(benchkit.report("runs"))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "evaluate": "benchkit.api",
    "load_split": "benchkit.api",
    "make_split": "benchkit.api",
    "read_records": "benchkit.api",
    "report": "benchkit.api",
    "run": "benchkit.api",
    "tune": "benchkit.api",
    "check_method": "benchkit.training.check",
    "Method": "baselines.core",
    "MethodInfo": "baselines.core",
    "BenchkitError": "benchkit.base.errors",
    "losses": "benchkit.losses",
    "metrics": "benchkit.metrics",
}

__all__ = [
    "BenchkitError",
    "Method",
    "MethodInfo",
    "check_method",
    "evaluate",
    "load_split",
    "losses",
    "make_split",
    "metrics",
    "read_records",
    "report",
    "run",
    "tune",
]

if TYPE_CHECKING:
    import benchkit.losses as losses
    import benchkit.metrics as metrics
    from baselines.core import Method, MethodInfo
    from benchkit.api import evaluate, load_split, make_split, read_records, report, run, tune
    from benchkit.base.errors import BenchkitError
    from benchkit.training.check import check_method


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'benchkit' has no attribute '{name}'")
    from benchkit.base.packages import check_siblings

    check_siblings()
    home = _HOMES[name]
    module = importlib.import_module(home)
    return module if home == f"benchkit.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
