import pytest

from splits.numbers import round_half_up


@pytest.mark.parametrize(
    ("share", "count", "expected"),
    [
        (0.5, 1, 1),  # 0.5
        (0.5, 3, 2),  # 1.5
        (0.29, 50, 15),  # 14.5, which binary floats put at 14.499999999999998
        (0.1, 14, 1),  # 1.4
        (0.3, 5, 2),  # 1.5
        (1.0, 7, 7),
        (0.0, 7, 0),
        (1e-9, 7, 0),
    ],
)
def test_round_half_up(share, count, expected):
    assert round_half_up(share, count) == expected
