"""Average precision at the size of COCO against scikit-learn, on one core.

python benchmarks/average_precision.py
"""

from __future__ import annotations

import numpy as np
from common import ratio
from sklearn.metrics import average_precision_score

from benchkit.base.random import generator
from leaderboard.metrics import average_precision


def main() -> None:
    rng = generator(0, "benchmark")
    labels = (rng.random((40_137, 80)) < 0.036).astype(np.int8)
    for name, shift in (("random scores", 0.0), ("a good classifier's scores", 2.5)):
        scores = (rng.standard_normal(labels.shape) + shift * labels).astype(np.float32)
        ours, theirs = average_precision(scores, labels), _sklearn(scores, labels)
        print(f"{name}: largest difference {np.abs(ours - theirs).max():.1e}")
        ratio(lambda: average_precision(scores, labels), lambda: _sklearn(scores, labels))


def _sklearn(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return average_precision_score(labels, scores, average=None)


if __name__ == "__main__":
    main()
