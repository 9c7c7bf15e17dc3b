"""Comparing schemes by seeds: against SciPy, and by simulation with known truth through the same code."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import stats

from agentbench import UserError
from agentbench.statistics.robust import (
    chance_of_improvement,
    interquartile_mean,
    interquartile_mean_interval,
    performance_profile,
)
from agentbench.statistics.seeds import (
    SeedTests,
    compare_seeds,
    dunnett_cdf,
    dunnett_quantile,
    pooled_spread,
    seed_power,
    seeds_needed,
    smallest_seed_difference,
    spread_limit,
)

SPREAD = 0.033
"""Of seeds, as measured on ALFWorld and WebShop: 2.9 to 3.85 points."""


@cache
def sweeps(schemes: int, seeds: int, last: float, alike: float = 0.0, number: int = 1000) -> list[SeedTests]:
    """Simulate sweeps whose last scheme differs by ``last``; ``alike`` is the correlation of schemes over seeds."""
    draw = np.random.default_rng([schemes, seeds])
    own = draw.normal(size=(number, seeds, schemes)) * np.sqrt(1 - alike)
    values = SPREAD * (own + draw.normal(size=(number, seeds, 1)) * np.sqrt(alike))
    values[:, :, -1] += last
    return [compare_seeds(each) for each in values]


def share(found: list[SeedTests], *verdicts: str, last: bool) -> float:
    """Share of sweeps in which the last scheme, or any other, got one of these verdicts."""
    return float(
        np.mean([any(v in verdicts for v in (one.verdict[-1:] if last else one.verdict[:-1])) for one in found])
    )


def test_dunnetts_test_agrees_with_scipy_for_equal_and_unequal_numbers_of_seeds() -> None:
    draw = np.random.default_rng(0)
    for counts in [(5,) * 6, (3, 4, 7), (12,) * 8]:
        groups = [draw.normal(0.4 * place, 1, count) for place, count in enumerate(counts)]
        table = np.full((max(counts), len(counts)), np.nan)
        for place, group in enumerate(groups):
            table[: len(group), place] = group
        ours = compare_seeds(table)
        theirs = stats.dunnett(*groups[1:], control=groups[0], rng=np.random.default_rng(1))
        ends = theirs.confidence_interval()
        assert not ours.paired
        assert ours.p_differs == pytest.approx(theirs.pvalue, abs=1e-3)
        assert ours.low == pytest.approx(ends.low, abs=3e-3) and ours.high == pytest.approx(ends.high, abs=3e-3)


def test_two_schemes_are_students_test() -> None:
    assert dunnett_quantile(0.95, (2, 2), 2) == pytest.approx(stats.t.ppf(0.975, 2), abs=1e-6)
    assert dunnett_cdf([1.3], (9, 4), 11)[0] == pytest.approx(1 - 2 * stats.t.sf(1.3, 11), abs=1e-8)
    # Dunnett 1955, table 2: two-sided, 5 treatments and a control, 24 degrees of freedom.
    assert dunnett_quantile(0.95, (5,) * 6, 24) == pytest.approx(2.70, abs=0.01)


@pytest.mark.parametrize(("schemes", "seeds"), [(6, 5), (8, 12)])
@pytest.mark.parametrize("alike", [0.0, 0.4])
def test_equal_schemes_raise_at_most_five_per_cent_of_false_alarms(schemes: int, seeds: int, alike: float) -> None:
    found = sweeps(schemes, seeds, 0.0, alike)
    alarms = np.mean([any(v in ("better", "worse") for v in one.verdict) for one in found])
    assert alarms <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / len(found))
    covered = np.mean([((one.low <= 0) & (one.high >= 0)).all() for one in found])
    assert covered >= 0.95 - 2.5 * np.sqrt(0.05 * 0.95 / len(found))


def test_seeds_of_unequal_spread_raise_hardly_more() -> None:
    draw = np.random.default_rng(1)
    values = draw.normal(size=(800, 12, 8)) * np.linspace(0.029, 0.0385, 8)
    alarms = np.mean([any(v in ("better", "worse") for v in compare_seeds(each).verdict) for each in values])
    assert alarms <= 0.07


def test_differences_of_five_and_ten_points_are_found_as_often_as_planned() -> None:
    five, ten = sweeps(8, 12, 0.05), sweeps(8, 12, 0.10)
    assert share(five, "better", last=True) == pytest.approx(seed_power(0.05, 12, SPREAD, 8), abs=0.03)
    assert share(ten, "better", last=True) == pytest.approx(1.0, abs=0.005)
    # The other six stay what they are: the family holds beside a scheme that differs.
    assert share(five, "better", "worse", last=False) <= 0.06


def test_equal_schemes_are_called_a_tie_and_others_are_not() -> None:
    ties = sweeps(8, 12, 0.0)
    assert np.mean([one.verdict.count("tie") / 7 for one in ties]) > 0.88
    # At a true difference of exactly the margin, "tie" is wrong in at most 5 % of cases.
    assert share(sweeps(8, 12, 0.05), "tie", last=True) <= 0.05
    # Five seeds are too few for either answer, and say so.
    few = sweeps(6, 5, 0.0)
    assert np.mean([one.verdict.count("not decided") / 5 for one in few]) > 0.8


def test_seeds_that_are_alike_are_paired_and_show_more() -> None:
    alike, apart = sweeps(8, 12, 0.04, alike=0.5, number=600), sweeps(8, 12, 0.04, number=600)
    assert np.mean([one.paired for one in alike]) > 0.95 and np.mean([one.paired for one in apart]) < 0.03
    assert np.mean([one.correlation for one in alike]) == pytest.approx(0.5, abs=0.06)
    assert abs(np.mean([one.correlation for one in apart])) < 0.03
    assert share(alike, "better", last=True) > share(apart, "better", last=True) + 0.2


def test_what_has_no_spread_is_not_decided() -> None:
    for table in ([[0.2, 0.9]], [[0.2, 0.9], [0.2, 0.9]], [[0.2, 0.9], [np.nan, np.nan]]):
        found = compare_seeds(table)
        assert found.verdict == ("not decided",) and np.isnan(found.low[0])
        assert found.difference[0] == pytest.approx(0.7)
    for wrong in (0.0, -0.1, np.nan):
        with pytest.raises(UserError, match="margin"):
            compare_seeds([[0.1, 0.2], [0.2, 0.3]], margin=wrong)
    with pytest.raises(UserError, match="without a finished run"):
        compare_seeds([[0.1, np.nan], [0.2, np.nan]])


def test_the_plan_of_eight_schemes_and_twelve_seeds() -> None:
    assert smallest_seed_difference(12, 0.029, 8) == pytest.approx(0.042, abs=0.001)
    assert smallest_seed_difference(12, 0.0385, 8) == pytest.approx(0.055, abs=0.001)
    needed = seeds_needed(0.05, SPREAD, 8)
    assert seed_power(0.05, needed, SPREAD, 8) >= 0.8 > seed_power(0.05, needed - 1, SPREAD, 8)
    for wrong, message in [
        ({"seeds": 1}, "1 seeds have no spread"), ({"spread": 0.0}, "spread of seeds of 0"),
        ({"schemes": 1}, "1 schemes"), ({"difference": 0.0}, "difference of 0"),
    ]:  # fmt: skip
        with pytest.raises(UserError, match=message):
            seed_power(**{"difference": 0.05, "seeds": 5, "spread": 0.03, "schemes": 4} | wrong)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="more than 10000 seeds"):
        seeds_needed(0.0001, 0.05, 8)


def test_the_spread_of_a_few_seeds_has_an_upper_limit() -> None:
    values = np.random.default_rng(2).normal(size=(4000, 3, 4)) * SPREAD
    limits = []
    for each in values:
        spread, degrees = pooled_spread(each)
        assert degrees == 8
        limits.append(spread_limit(spread, degrees))
    assert np.mean(np.array(limits) > SPREAD) == pytest.approx(0.8, abs=0.02)
    with pytest.raises(UserError, match="no scheme has two finished seeds"):
        pooled_spread([[0.1, 0.2]])


@pytest.mark.parametrize("seeds", [3, 4, 5, 8, 12])
def test_the_interval_of_the_interquartile_mean_covers_it(seeds: int) -> None:
    draw = np.random.default_rng(seeds)
    shapes = {
        "normal": (draw.normal(size=(600, seeds)), 0.0, 0.93),
        "two humps": (draw.normal(size=(600, seeds)) + 4.0 * (draw.random((600, seeds)) < 0.3), None, 0.89),
        "long tails": (draw.standard_t(3, size=(600, seeds)), 0.0, 0.93),
    }
    for name, (values, truth, least) in shapes.items():
        if truth is None:
            truth = interquartile_mean(draw.normal(size=200_000) + 4.0 * (draw.random(200_000) < 0.3))
        found = [interquartile_mean_interval(each) for each in values]
        assert np.mean([one.low <= truth <= one.high for one in found]) >= least, name


def test_the_chance_of_improvement_has_an_interval_that_covers_it_and_keeps_a_width() -> None:
    draw = np.random.default_rng(0)
    truth = stats.norm.cdf(1 / np.sqrt(2))
    found = [chance_of_improvement(draw.normal(1, 1, 12), draw.normal(0, 1, 12)) for _ in range(800)]
    assert np.mean([one.low <= truth <= one.high for one in found]) >= 0.93
    assert np.mean([one.estimate for one in found]) == pytest.approx(truth, abs=0.01)
    sure = chance_of_improvement([0.9, 0.8, 0.7], [0.1, 0.2, 0.3])
    assert sure.estimate == sure.high == 1.0 and 0.3 < sure.low < 0.9
    even = chance_of_improvement([0.5, 0.5], [0.5, 0.5])
    assert even.estimate == 0.5 and even.low < 0.3 and even.high > 0.7


def test_a_performance_profile_is_the_share_of_runs_that_reach_a_level() -> None:
    found = performance_profile([0.2, 0.4, 0.4, 0.9], [0.0, 0.4, 0.5, 1.0])
    assert found[:, 0].tolist() == [1.0, 0.75, 0.25, 0.0]
    assert (found[:, 1] <= found[:, 0]).all() and (found[:, 2] >= found[:, 0]).all()
