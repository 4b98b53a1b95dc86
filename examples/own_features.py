"""From NumPy arrays to a leaderboard."""

import numpy as np

import benchkit

# 400 images with 16 features each, and 5 classes of falling frequency.
rng = np.random.default_rng(0)
labels = (rng.random((400, 5)) < [0.5, 0.3, 0.15, 0.08, 0.04]).astype(np.int8)
features = labels @ rng.normal(size=(5, 16)) + rng.normal(size=(400, 16))

# `X` are features, `Y` labels; every fourth image is a test image.
is_test = np.arange(400) % 4 == 0
np.savez("mine.npz", X=features.astype(np.float32), Y=labels, split=is_test.astype(np.uint8))

# Half of the training labels become unknown; the test labels stay complete.
split = benchkit.make_split("arrays:mine.npz", "mine.h5", regime="pal:0.5", many=60, few=20)
print(split.train.features.shape, "features,", split.train_count, "positives per class")

# Three seeds of three methods, trained as one program per method.
benchkit.run("mine.h5", ["bce", "partial-bce", "asl"], out="runs", seeds=3)
print(benchkit.report("runs"))
