import pytest

from splits.numbers import parse_whole, round_half_up


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


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("007", 7),
        ("9" * 18, 10**18 - 1),
        ("0" * 5000 + "1", 1),
        ("1" + "0" * 18, None),
        ("9" * 5000, None),
        ("", None),
        ("-1", None),
        ("1.0", None),
        ("\u00b2", None),
        ("\u0663", None),
    ],
)
def test_whole_numbers_in_texts(text, number):
    assert parse_whole(text) == number
