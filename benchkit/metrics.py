"""Metrics of multi-label scores, on NumPy arrays and without torch.

    >>> import numpy as np
    >>> from benchkit.metrics import average_precision, summary
    >>> scores = np.array([[2.0, -1.0], [1.0, 0.5], [-1.0, 0.1]])  # logits [N, C]
    >>> labels = np.array([[1, 0], [0, -1], [1, 1]])  # 1 positive, 0 negative, -1 unknown
    >>> average_precision(scores, labels)
    array([0.83333333, 1.        ])
    >>> result = summary(scores, labels, shot=["many", "few"])
    >>> round(result["map_many"], 3), result["map_few"]
    (0.833, 1.0)

- `average_precision(scores, labels)` is the AP of every class, [C]. It equals that of scikit-learn
  and leaves unknown labels out; a class without positives is NaN.
- `threshold_metrics(scores, labels)` is precision, recall and F1 at probability 0.5, micro and
  macro.
- `summary(scores, labels, shot)` is everything that a run record holds: mAP over all classes and
  per shot group, the number of classes without positives, AP per class and the threshold metrics.

Scores are logits: the threshold 0.5 is a logit of 0. A torch tensor is passed as
`logits.detach().cpu().numpy()`. All values are fractions from 0 to 1. `METRIC_VERSION` is raised
when a definition changes, and is part of every run record.
"""

from leaderboard.metrics import METRIC_VERSION, average_precision, summary, threshold_metrics

__all__ = ["METRIC_VERSION", "average_precision", "summary", "threshold_metrics"]
