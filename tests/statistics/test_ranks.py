"""Rank correlation over units of several environments, against SciPy and against simulations whose truth is known."""

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from agentbench.statistics.ranks import aligned_rank_correlation, rank_power
from envs.base.errors import UserError

SIZES = (6, 6, 4)
ENVIRONMENT = np.repeat(["a", "b", "c"], SIZES)


def linked(random, pearson, levels=(0.0, 9.0, -9.0), spreads=(1.0, 5.0, 0.1)):
    """Two values a unit that are linked within environments, whose levels and spreads differ."""
    x = random.normal(size=sum(SIZES))
    y = pearson * x + math.sqrt(1 - pearson**2) * random.normal(size=sum(SIZES))
    level, spread = np.repeat(levels, SIZES), np.repeat(spreads, SIZES)
    return level + spread * x, level + spread * y


def test_one_environment_is_spearman():
    x, y = np.random.default_rng(0).normal(size=(2, 20))
    y[3] = y[4]  # a tie
    found = aligned_rank_correlation(x, y, np.zeros(20))
    assert found.estimate == pytest.approx(spearmanr(x, y).statistic)
    assert found.plain == pytest.approx(found.estimate)
    assert found.p == pytest.approx(spearmanr(x, y).pvalue, abs=0.02)
    assert found.low < found.estimate < found.high


def test_levels_and_units_of_environments_do_not_matter():
    x, y = linked(np.random.default_rng(1), 0.7)
    moved = aligned_rank_correlation(100 * x + 7, y - 10 * (ENVIRONMENT == "b"), ENVIRONMENT)
    found = aligned_rank_correlation(x, y, ENVIRONMENT)
    assert (moved.estimate, moved.low, moved.p) == pytest.approx((found.estimate, found.low, found.p))
    assert moved.plain != pytest.approx(found.plain)


def test_the_order_of_units_does_not_matter_and_draws_are_seeded():
    x, y = linked(np.random.default_rng(2), 0.5)
    found = aligned_rank_correlation(x, y, ENVIRONMENT, seed=4)
    assert aligned_rank_correlation(x, y, ENVIRONMENT, seed=4) == found
    places = np.argsort(ENVIRONMENT == "a", kind="stable")  # environments in another order
    assert aligned_rank_correlation(x[places], y[places], ENVIRONMENT[places], seed=4).estimate == found.estimate


def test_what_is_not_known_is_left_out_and_what_does_not_vary_gives_no_number():
    x, y = linked(np.random.default_rng(3), 0.5)
    x[0] = np.nan
    assert aligned_rank_correlation(x, y, ENVIRONMENT).units == 15
    alone = np.array([*ENVIRONMENT[:-1], "d"])
    assert aligned_rank_correlation(x, y, alone).units == 14
    assert math.isnan(aligned_rank_correlation(np.ones(16), y, ENVIRONMENT).p)
    assert math.isnan(aligned_rank_correlation([1, 2, 3], [1, 2, 3], [0, 0, 0]).estimate)
    assert math.isnan(aligned_rank_correlation([], [], []).estimate)
    with pytest.raises(UserError, match="same units"):
        aligned_rank_correlation([1, 2], [1], [0, 0])


@pytest.mark.parametrize("pearson", [0.0, 0.6, 0.9])
def test_the_interval_covers_what_endlessly_many_units_would_give(pearson):
    random, truth = np.random.default_rng(5), 6 / math.pi * math.asin(pearson / 2)
    found = [aligned_rank_correlation(*linked(random, pearson), ENVIRONMENT, draws=200) for _ in range(200)]
    assert np.mean([each.low <= truth <= each.high for each in found]) > 0.92


def test_without_a_link_the_test_keeps_its_level_though_environments_differ():
    random = np.random.default_rng(6)
    found = [aligned_rank_correlation(*linked(random, 0.0), ENVIRONMENT, draws=200) for _ in range(300)]
    assert np.mean([each.p <= 0.05 for each in found]) < 0.085  # 0.05 and 2.8 standard errors
    assert np.mean([each.plain for each in found]) > 0.5  # levels alone would have made a link


def test_power_is_the_share_of_samples_in_which_a_link_is_found():
    found = rank_power(0.8, SIZES)
    random, pearson = np.random.default_rng(7), 2 * math.sin(math.pi * 0.8 / 6)
    shares = [aligned_rank_correlation(*linked(random, pearson), ENVIRONMENT, draws=200).p <= 0.05 for _ in range(200)]
    assert found == pytest.approx(np.mean(shares), abs=0.1)
    assert rank_power(0.0, SIZES) < 0.1 < rank_power(0.5, SIZES) < found
