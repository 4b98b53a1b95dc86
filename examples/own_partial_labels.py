"""Labels that are unknown in your own data: 1 positive, 0 negative, -1 unknown."""

import numpy as np

import benchkit

rng = np.random.default_rng(0)
labels = (rng.random((400, 5)) < [0.5, 0.3, 0.15, 0.08, 0.04]).astype(np.int8)
features = labels @ rng.normal(size=(5, 16)) + rng.normal(size=(400, 16))
is_test = np.arange(400) % 4 == 0

# Annotators checked 60 % of the training labels. The test labels are complete.
unknown = (rng.random(labels.shape) > 0.6) & ~is_test[:, None]
labels[unknown] = -1

np.savez("partial.npz", X=features.astype(np.float32), Y=labels, split=is_test.astype(np.uint8))

# The regime is `full`: nothing is hidden beyond what is unknown already.
split = benchkit.make_split("arrays:partial.npz", "partial.h5", many=40, few=10)
observed = split.train.dense("observed")
print(f"{(observed == -1).mean():.0%} of the training labels are unknown")

# `bce` takes unknown labels as negative, `partial-bce` ignores them.
benchkit.run("partial.h5", ["bce", "partial-bce"], out="runs", seeds=3)
print(benchkit.report("runs"))
