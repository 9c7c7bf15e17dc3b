"""Agreement of schemes, against scipy and against counting."""

import numpy as np
import pytest
from credit_tables import tables
from hypothesis import given, settings
from scipy import stats

from credit import CreditError, Steps, advantages
from credit.tools.agreement import agreement, largest_differences, scaled

NAMES = ("grpo", "gigpo", "hgpo", "mapo", "salt")


@settings(max_examples=40, deadline=None)
@given(tables)
def test_every_pair_agrees_with_scipy_and_with_counting(table):
    steps = Steps.from_frame(table)
    values = {name: advantages(name, steps) for name in NAMES}
    found = agreement(values)
    for i, one in enumerate(NAMES):
        x = values[one]
        assert found.zero_share[i] == (x == 0).mean()
        assert found.positive_share[i] == (x > 0).mean()
        for j, other in enumerate(NAMES):
            y = values[other]
            if np.ptp(x) < 1e-9 or np.ptp(y) < 1e-9:
                assert np.isnan(found.pearson[i, j])
            else:
                assert found.pearson[i, j] == pytest.approx(stats.pearsonr(x, y)[0], abs=1e-9)
                assert found.spearman[i, j] == pytest.approx(stats.spearmanr(x, y)[0], abs=1e-9)
            both = (x != 0) & (y != 0)
            expected = (np.sign(x) == np.sign(y))[both].mean() if both.any() else np.nan
            np.testing.assert_allclose(found.same_sign[i, j], expected)


def test_pairs_are_listed_once():
    frame = agreement({"a": np.array([1.0, -1, 0]), "b": np.array([2.0, -2, 0]), "c": np.array([-1.0, 1, 5])}).pairs()
    assert frame[["scheme", "other"]].to_numpy().tolist() == [["a", "b"], ["a", "c"], ["b", "c"]]
    assert frame["pearson"].iloc[0] == pytest.approx(1)
    assert frame["same_sign"].tolist() == [1, 0, 0]


def test_differences_are_measured_on_a_common_scale():
    values = {"small": np.array([0.1, 0.1, -0.1, 0.1]), "large": np.array([10.0, 10, -10, -10])}
    np.testing.assert_allclose(scaled(values), [[1, 1, -1, 1], [1, 1, -1, -1]])
    assert largest_differences(values, 3).tolist() == [3]  # the others do not differ
    assert largest_differences({"one": np.array([1.0, 2])}, 3).tolist() == []


def test_the_same_situation_is_shown_once():
    values = {"a": np.array([1.0, 1, 1]), "b": np.array([-1.0, -1, 1])}
    situation = np.array([7, 7, 8])
    assert largest_differences(values, 3).tolist() == [0, 1]
    assert largest_differences(values, 3, distinct=[situation]).tolist() == [0]


def test_nothing_to_compare_is_refused():
    with pytest.raises(CreditError, match="at least one scheme"):
        agreement({})
    with pytest.raises(CreditError, match="for each step"):
        agreement({"a": np.zeros(2), "b": np.zeros(3)})
