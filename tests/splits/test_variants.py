import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splits.errors import InputError
from splits.variants import LabelRates, class_rates


@settings(deadline=None)
@given(
    st.floats(0, 0.99), st.lists(st.floats(0.001, 1000), min_size=1, max_size=20), st.floats(0, 1)
)
def test_class_rates_have_the_mean_and_the_proportions(level, weights, share):
    weights = np.array(weights)
    rates = class_rates(level, weights)
    assert rates.mean() == pytest.approx(level, abs=1e-9)
    assert (rates >= 0).all() and (rates <= 1).all()
    free = rates < 1
    if free.any() and level > 0:
        factor = rates[free] / weights[free]
        assert factor.max() == pytest.approx(factor.min(), rel=1e-9)
        assert (weights[~free] * factor.max() >= 1 - 1e-9).all()
    assert (class_rates(level * share, weights) <= rates + 1e-12).all()


def test_class_rates_by_hand():
    assert class_rates(0.3, np.array([1.0, 2.0, 3.0])).tolist() == pytest.approx([0.15, 0.3, 0.45])
    assert class_rates(0.5, np.array([8.0, 1.0, 1.0])).tolist() == pytest.approx([1, 0.25, 0.25])
    assert class_rates(0.5, np.array([0.0, 5.0])).tolist() == [0, 1]
    assert class_rates(0.0, np.array([0.0, 0.0])).tolist() == [0, 0]
    with pytest.raises(
        InputError, match=r"mean rate of 0.6 over 2 classes .* only 1 have a weight"
    ):
        class_rates(0.6, np.array([0.0, 5.0]))


def test_label_rates_by_hand():
    rows, columns = np.array([0, 0, 1]), np.array([0, 1, 1])
    assert LabelRates(0.3).at(rows, columns) == 0.3
    weights, numbers = np.array([1.0, 3.0]), np.array([0.5, 1.0])
    by_class = LabelRates(0.2, class_weights=weights)
    assert by_class.at(rows, columns).tolist() == pytest.approx([0.1, 0.3, 0.3])
    by_image = LabelRates(0.2, spread=0.5, image_numbers=numbers)
    assert by_image.at(rows, columns).tolist() == pytest.approx([0.2, 0.2, 0.3])
    both = LabelRates(0.2, weights, 0.5, numbers)
    assert both.at(rows, columns).tolist() == pytest.approx([0.1, 0.3, 0.45])
    high = LabelRates(0.9, spread=0.5, image_numbers=numbers)  # the half width is 1 - 0.9
    assert high.at(rows, columns).tolist() == pytest.approx([0.9, 0.9, 1.0])


def test_sort_keys_by_hand():
    u, columns = np.array([0.6, 0.4, 0.2]), np.array([0, 1, 2])
    assert LabelRates(0.3).sort_keys(u, columns).tolist() == [0.6, 0.4, 0.2]
    weighted = LabelRates(0.3, class_weights=np.array([3.0, 1.0, 0.0]))
    assert weighted.sort_keys(u, columns).tolist() == pytest.approx([0.2, 0.4, np.inf])
