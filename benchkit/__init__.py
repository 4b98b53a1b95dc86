"""The command line's room: split files, feature caches, the trainer, metrics and run records.

Only this room knows files and devices: `benchkit.split_file` is the one module that opens HDF5,
`benchkit.records` the one that writes run records, `benchkit.random` the one that draws numbers.
What a method is lives in `baselines`, what a split is in `splits`, what a table is in
`leaderboard`; none of those imports this room or each other.
"""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Imported when asked for: the report needs no torch, and `import benchkit` should cost nothing.
    if name == "check_method":
        from benchkit.check import check_method

        return check_method
    raise AttributeError(f"module 'benchkit' has no attribute '{name}'")
