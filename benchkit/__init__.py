"""The command line's room: split files, feature caches, the trainer, metrics and run records.

Only this room knows files and devices: `benchkit.split_file` is the one module that opens HDF5,
`benchkit.records` the one that writes run records, `benchkit.random` the one that draws numbers.
What a method is lives in `baselines`, what a split is in `splits`, what a table is in
`leaderboard`; none of those imports this room or each other.
"""

__version__ = "0.1.0"
