"""The command line's room: split files, feature caches, the trainer, metrics and run records.

Only this package knows files and devices: `benchkit.split.file` is the one module that opens HDF5,
`benchkit.runs.records` the one that writes run records, and `benchkit.base.random` draws numbers.
What a method is lives in `baselines`, what a split is in `splits`, what a table is in
`leaderboard`; none of those imports this room or each other.
"""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Imported when asked for: the report needs no torch, and `import benchkit` should cost nothing.
    if name == "check_method":
        from benchkit.training.check import check_method

        return check_method
    raise AttributeError(f"module 'benchkit' has no attribute '{name}'")
