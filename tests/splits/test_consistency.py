import numpy as np
import pytest

from splits.consistency import contradictions
from splits.labels import SparseLabels

TRUE = np.array([[1, 1, 0], [0, 0, -1]], np.int8)


@pytest.mark.parametrize("fill", [None, 0, -1])
@pytest.mark.parametrize(
    ("kind", "observed", "expected"),
    [
        ("full", [[1, 1, 0], [0, 0, -1]], []),
        ("full", [[1, 1, 0], [0, -1, -1]], ["the regime is full and a label is hidden"]),
        ("pal", [[1, -1, 0], [-1, 0, -1]], []),
        ("pal", [[1, 0, 0], [0, 0, -1]], ["an observed label differs from the true one"]),
        ("ppl", [[1, -1, -1], [-1, -1, -1]], []),
        ("ppl", [[1, -1, 0], [-1, -1, -1]], ["a negative is observed, which ppl must not show"]),
        ("missing", [[-1] * 3, [-1] * 3], ["an image with positives has none observed"]),
        ("spl", [[1, 1, -1], [-1] * 3], ["an image has more than one observed positive"]),
        ("candidates", [[1, 1, 1], [0, 1, -1]], []),
        ("candidates", [[1, 0, 1], [0, 1, -1]], ["a true positive is not a candidate"]),
        (
            "candidates",
            [[1, 1, 1], [0, 1, 0]],
            ["a label is unknown in one matrix and known in the other"],
        ),
    ],
)
def test_each_rule(kind, observed, expected, fill):
    labels = [TRUE, np.array(observed, np.int8)]
    if fill is not None:
        labels = [SparseLabels.from_dense(one, fill) for one in labels]
    assert contradictions(*labels, kind) == expected
