import numpy as np
import pytest

from splits.errors import InputError
from splits.shots import FEW, MANY, MEDIUM, SHOT_NAMES, groups_of, shot_groups

VOC_LT = [6, 34, 8, 14, 154, 17, 249, 29, 479, 4, 240, 48, 11, 20, 775, 100, 5, 82, 7, 64]


def test_boundaries_belong_to_the_larger_group():
    groups = shot_groups(np.array([101, 100, 99, 21, 20, 19, 0]))
    assert groups.tolist() == [MANY, MANY, MEDIUM, MEDIUM, MEDIUM, FEW, FEW]
    assert groups.dtype == np.uint8
    assert [SHOT_NAMES[g] for g in (MANY, MEDIUM, FEW)] == ["many", "medium", "few"]


def test_published_voc_groups():
    groups = shot_groups(np.array(VOC_LT))
    assert np.flatnonzero(groups == MANY).tolist() == [4, 6, 8, 10, 14, 15]
    assert np.flatnonzero(groups == MEDIUM).tolist() == [1, 7, 11, 13, 17, 19]
    assert np.flatnonzero(groups == FEW).tolist() == [0, 2, 3, 5, 9, 12, 16, 18]


def test_own_thresholds():
    assert shot_groups(np.array([1, 2, 3]), many=3, few=2).tolist() == [FEW, MEDIUM, MANY]


@pytest.mark.parametrize(("many", "few"), [(20, 20), (10, 20), (100, 0), (100, -1)])
def test_thresholds_are_checked(many, few):
    with pytest.raises(InputError, match=rf"0 < few < many, not few = {few} and many = {many}"):
        shot_groups(np.array([1]), many, few)


@pytest.mark.parametrize("counts", [np.array([-1]), np.array([1.5]), np.array([[1]])])
def test_counts_are_checked(counts):
    with pytest.raises(InputError, match="integers >= 0, one per class"):
        shot_groups(counts)


def test_the_groups_of_a_split_follow_its_reference():
    true, observed = np.array([120, 30, 5]), np.array([40, 12, 5])
    thresholds = {"many": 100, "few": 20}
    by_true = groups_of(true, observed, {**thresholds, "reference": "true"})
    by_observed = groups_of(true, observed, {**thresholds, "reference": "observed"})
    assert by_true.tolist() == [MANY, MEDIUM, FEW] and by_true.dtype == np.uint8
    assert by_observed.tolist() == [MEDIUM, FEW, FEW]
    with pytest.raises(InputError, match="reference must be true or observed, not 'both'"):
        groups_of(true, observed, {**thresholds, "reference": "both"})
    with pytest.raises(InputError, match="0 < few < many"):
        groups_of(true, observed, {"many": 20, "few": 20, "reference": "true"})
