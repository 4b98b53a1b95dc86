import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchkit.base.random import image_uniform
from splits.errors import InputError
from splits.holdout import held_out

U = np.array([0.9, 0.1, 0.5, 0.3, 0.7])


@pytest.mark.parametrize(
    ("fraction", "rows"),
    [(0.0, []), (0.01, [1]), (0.2, [1]), (0.3, [1, 3]), (0.5, [1, 2, 3]), (0.99, [1, 2, 3, 4])],
)
def test_smallest_numbers_are_held_out(fraction, rows):
    held = held_out(U, fraction)
    assert np.flatnonzero(held).tolist() == rows
    assert held.dtype == bool


def test_one_row_stays_in_training():
    assert held_out(np.array([0.2]), 0.9).tolist() == [False]
    assert held_out(np.array([0.2, 0.1]), 0.9).tolist() == [False, True]
    assert held_out(np.empty(0), 0.5).tolist() == []


@settings(deadline=None)
@given(st.integers(2, 60), st.floats(0, 0.999), st.floats(0, 0.999), st.randoms())
def test_nested_and_bound_to_ids(n, one, two, shuffler):
    small, large = sorted((one, two))
    ids = np.arange(n).astype(np.str_)
    order = np.array(shuffler.sample(range(n), n))
    held = held_out(image_uniform(3, "validation", ids), large)
    assert (held[order] == held_out(image_uniform(3, "validation", ids[order]), large)).all()
    assert not (held_out(image_uniform(3, "validation", ids), small) & ~held).any()
    assert large == 0 or 1 <= held.sum() <= n - 1


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_fraction_is_checked(fraction):
    with pytest.raises(InputError, match=rf"must be in \[0, 1\), not {fraction}"):
        held_out(U, fraction)


def test_shape_is_checked():
    with pytest.raises(InputError, match=r"one number per row, \[N\], not shape \(2, 2\)"):
        held_out(np.zeros((2, 2)), 0.5)
