"""Run records as a pandas frame: one row per run."""

import numpy as np

import benchkit

rng = np.random.default_rng(0)
labels = (rng.random((400, 5)) < [0.5, 0.3, 0.15, 0.08, 0.04]).astype(np.int8)
features = labels @ rng.normal(size=(5, 16)) + rng.normal(size=(400, 16))
np.savez("mine.npz", X=features.astype(np.float32), Y=labels)

for level in (0.3, 0.6, 0.9):
    path = f"pal{level}.h5"
    benchkit.make_split("arrays:mine.npz", path, regime=f"pal:{level}", many=60, few=20)
    benchkit.run(path, ["bce", "partial-bce"], out="runs", seeds=3)

frame = benchkit.read_records("runs")
mean = frame.groupby(["regime", "method"])["total"].agg(["mean", "std"])
print((100 * mean).round(2))

# The same frame as a CSV file, for a spreadsheet.
frame.drop(columns=["hyperparameters", "recipe"]).to_csv("runs.csv", index=False)
