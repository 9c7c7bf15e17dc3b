"""The statistics agree with statsmodels and scipy, with cases worked by hand, and keep the coverage they claim."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, permutation_test
from typer.testing import CliRunner

from agentbench.cli.commands.plan import plan
from agentbench.statistics import (
    clopper_pearson,
    clustered_standard_error,
    holm,
    mean_interval,
    noise_of_trials,
    paired_interval,
    paired_student_test,
    pass_at_k,
    pass_hat_k,
    pass_interval,
    power_to_see,
    rate_interval,
    sign_flip_test,
    smallest_difference,
    tasks_needed,
    variance_of_difference,
    wilson,
)
from agentbench.statistics.seeds import seeds_needed, smallest_seed_difference
from envs.base.errors import UserError

# Each task: (successes, trials).
panels = st.lists(
    st.integers(1, 6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1, max_size=30
)
confidences = st.floats(0.5, 0.99)


def split(panel):
    successes, trials = np.array(panel).T
    return successes, trials


# --- intervals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("successes", "size"), [(0, 1), (0, 20), (1, 7), (10, 20), (99, 134), (134, 134)])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_wilson_equals_statsmodels(successes, size, confidence):
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    expected = proportion.proportion_confint(successes, size, alpha=1 - confidence, method="wilson")
    np.testing.assert_allclose(wilson(successes / size, size, confidence), expected, atol=1e-12)


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=40), confidences)
def test_one_trial_a_task_gives_wilsons_interval_itself(won, confidence):
    interval = rate_interval(np.array(won, dtype=float), np.ones(len(won)), confidence=confidence)
    np.testing.assert_allclose(
        (interval.low, interval.high), wilson(sum(won) / len(won), len(won), confidence), atol=1e-9
    )


def test_clustered_standard_error_equals_cluster_robust_ols():
    sm = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(1)
    clusters = np.repeat(np.arange(25), rng.integers(1, 6, size=25))
    values = rng.normal(size=25)[clusters] + rng.normal(size=len(clusters))
    shuffled = rng.permutation(len(values))
    fit = sm.OLS(values, np.ones(len(values))).fit(cov_type="cluster", cov_kwds={"groups": clusters})
    ours = clustered_standard_error(values[shuffled], clusters[shuffled].astype(str))
    assert ours == pytest.approx(float(fit.bse[0]), rel=1e-10)


def test_standard_error_of_task_means_equals_clustering_the_episodes_by_task():
    sm = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(2)
    episodes = (rng.random((40, 4)) < rng.random((40, 1))).astype(float)
    fit = sm.OLS(episodes.ravel(), np.ones(160)).fit(
        cov_type="cluster", cov_kwds={"groups": np.repeat(np.arange(40), 4)}
    )
    assert clustered_standard_error(episodes.mean(axis=1)) == pytest.approx(float(fit.bse[0]), rel=1e-10)


def test_clustered_standard_error_by_hand():
    # Residuals about the mean 0.5 are ±0.5; cluster sums are 1, 0 and -1: SE² = 3/2 · (1 + 0 + 1) / 6².
    values, clusters = [1, 1, 1, 0, 0, 0], ["a", "a", "b", "b", "c", "c"]
    assert clustered_standard_error(values, clusters) == pytest.approx(math.sqrt(1.5 * 2 / 36))
    assert math.isnan(clustered_standard_error([0.3]))


def test_effective_size_by_hand():
    # Task means 1, 1, 1/2, 0 have mean 5/8 and variance 11/48, so SE² = 11/192 and n = (15/64)/(11/192) = 45/11.
    # Shortened by (1.96/3.182)² that is 1.55: fewer than the 4 tasks, which therefore count.
    interval = rate_interval([1, 1, 0.5, 0], [2, 2, 2, 2])
    assert (interval.low, interval.high) == pytest.approx(wilson(5 / 8, 4))
    # Ten tasks of four trials that all have mean 1/2 exactly say as much as tasks can: no error was seen at all, and
    # the number of tasks counts. With a little error, at most the number of episodes, shortened by (z/t)².
    assert rate_interval([0.5] * 10, [4] * 10).low == pytest.approx(wilson(0.5, 10)[0])
    nearly = rate_interval([0.5] * 8 + [0.25, 0.75], [4] * 10)
    assert nearly.low == pytest.approx(wilson(0.5, 40 * (1.959964 / 2.262157) ** 2)[0], abs=1e-6)


@settings(deadline=None)
@given(panels, confidences)
def test_interval_holds_the_estimate_within_zero_and_one(panel, confidence):
    successes, trials = split(panel)
    for interval in (
        rate_interval(successes / trials, trials, confidence=confidence),
        mean_interval(successes / trials, confidence=confidence),
    ):
        assert 0 <= interval.low <= interval.estimate <= interval.high <= 1
        assert interval.high - interval.low > 0


@settings(deadline=None)
@given(panels, confidences)
def test_interval_of_failures_mirrors_that_of_successes(panel, confidence):
    successes, trials = split(panel)
    won = rate_interval(successes / trials, trials, confidence=confidence)
    lost = rate_interval(1 - successes / trials, trials, confidence=confidence)
    assert (1 - lost.high, 1 - lost.estimate, 1 - lost.low) == pytest.approx(
        (won.low, won.estimate, won.high), abs=1e-9
    )


def test_zero_and_all_successes_do_not_give_certainty():
    none, every = rate_interval([0.0] * 134, [4] * 134), rate_interval([1.0] * 134, [4] * 134)
    assert none.low == 0 and 0.01 < none.high < 0.04
    assert every.high == 1 and 0.96 < every.low < 0.99


def chances(rng, rate, alike, shape):
    """Draw tasks' chances of success of a given mean; ``alike`` is the correlation of two trials of a task."""
    return rng.beta(rate * (1 / alike - 1), (1 - rate) * (1 / alike - 1), size=shape)


@pytest.mark.parametrize("trials", [1, 4])
@pytest.mark.parametrize("tasks", [20, 134])
def test_coverage_of_the_success_rate(tasks, trials):
    rng = np.random.default_rng(tasks + trials)
    covered = {}
    for rate in (0.05, 0.2, 0.5, 0.8, 0.95):
        for alike in (0.05, 0.5):
            hits = []
            for chance in chances(rng, rate, alike, (1000, tasks)):
                interval = rate_interval(rng.binomial(trials, chance) / trials, np.full(tasks, trials))
                hits.append(interval.low <= rate <= interval.high)
            covered[rate, alike] = np.mean(hits)
    # With 20 tasks and a rate of 5 %, Wilson's interval itself covers 92.5 %: successes come in whole numbers.
    assert min(covered.values()) > 0.9, covered
    assert 0.94 < np.mean(list(covered.values())) < 0.985, covered


def test_coverage_of_mean_scores():
    rng = np.random.default_rng(5)
    hits = [
        interval.low <= 0.3 <= interval.high
        for interval in (mean_interval(rng.beta(3, 7, size=(60, 2)).mean(axis=1)) for _ in range(600))
    ]
    assert 0.92 < np.mean(hits) < 0.98


def test_bad_confidence_is_refused():
    for confidence in (0.0, 1.0, 95):
        with pytest.raises(UserError, match="confidence"):
            wilson(0.5, 10, confidence)


# --- pass@k, pass^k ----------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(1, 7), st.data())
def test_passes_equal_counting_all_choices_of_k_trials(n, data):
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    choices = list(itertools.combinations([True] * c + [False] * (n - c), k))
    assert pass_at_k([n], [c], k)[0] == pytest.approx(np.mean([any(each) for each in choices]))
    assert pass_hat_k([n], [c], k)[0] == pytest.approx(np.mean([all(each) for each in choices]))


@pytest.mark.parametrize("chance", [0.1, 0.5, 0.9])
def test_passes_are_unbiased(chance):
    n, k = 8, 3
    c = np.arange(n + 1)
    weight = binom.pmf(c, n, chance)
    assert weight @ pass_at_k(np.full(n + 1, n), c, k) == pytest.approx(1 - (1 - chance) ** k)
    assert weight @ pass_hat_k(np.full(n + 1, n), c, k) == pytest.approx(chance**k)


def test_tasks_with_too_few_trials_have_no_estimate():
    np.testing.assert_array_equal(np.isnan(pass_at_k([4, 2, 3], [1, 2, 0], 3)), [False, True, False])
    with pytest.raises(UserError, match="at least 1"):
        pass_at_k([4], [1], 0)
    with pytest.raises(UserError, match="successes"):
        pass_hat_k([4], [5], 1)


# --- power -------------------------------------------------------------------------------------------------------


def test_millers_example_needs_969_tasks():
    assert tasks_needed(0.03, 1 / 9) == 969
    # The same by the terms of the formula: no noise within tasks, and ω² = 2 · 1/4 · (1 - 7/9) = 1/9.
    assert variance_of_difference(rate=0.5, within_variance=0, correlation=7 / 9) == pytest.approx(1 / 9)


def test_variance_by_hand():
    # Chances spread evenly over 0 to 1: variance 1/12 over tasks, 1/6 within.
    assert variance_of_difference(rate=0.5, correlation=0.5, trials=4) == pytest.approx(1 / 12 + 2 / 6 / 4)
    assert variance_of_difference(rate=0.5, correlation=1, trials=math.inf) == 0
    assert variance_of_difference(rate=0.3, correlation=0, trials=1) == pytest.approx(2 * 0.3 * 0.7)


def test_unpaired_size_equals_statsmodels():
    power = pytest.importorskip("statsmodels.stats.power")
    variance = variance_of_difference(rate=0.5, correlation=0, trials=1)
    effect = power.NormalIndPower().solve_power(nobs1=500, alpha=0.05, power=0.8)
    assert smallest_difference(500, variance) == pytest.approx(effect * 0.5, rel=1e-4)


@settings(deadline=None)
@given(st.integers(2, 5000), st.floats(0.01, 0.99), st.floats(0, 0.99), st.integers(1, 64))
def test_planning_goes_both_ways(tasks, rate, correlation, trials):
    variance = variance_of_difference(rate=rate, correlation=correlation, trials=trials)
    difference = smallest_difference(tasks, variance)
    if difference <= 1:
        assert abs(tasks_needed(difference, variance) - tasks) <= 1
        assert power_to_see(difference, tasks, variance) == pytest.approx(0.8, abs=1e-4)


def test_the_planned_power_is_had():
    """Play the planned experiment many times, and count how often the exact test sees the difference."""
    rng = np.random.default_rng(7)
    tasks, trials, difference = 150, 2, 0.1
    seen = []
    for _ in range(400):
        # Chances 0.05 to 0.85 evenly, and 0.1 more for the other agent: perfectly correlated.
        chance = rng.uniform(0.05, 0.85, size=tasks)
        gain = rng.binomial(trials, chance + difference) - rng.binomial(trials, chance)
        seen.append(sign_flip_test(gain).p_value < 0.05)
    # E[x(1-x)] over the uniform on 0.05 to 0.85 is 0.45 - 0.256 = 0.194 (and about the same shifted by 0.1).
    variance = 2 * 0.194 / trials
    assert np.mean(seen) == pytest.approx(power_to_see(difference, tasks, variance), abs=0.06)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rate": 0.0}, "rate"),
        ({"rate": 0.5, "within_variance": 0.3}, "within-task variance"),
        ({"rate": 0.5, "correlation": 1.5}, "correlation"),
        ({"rate": 0.5, "trials": 0}, "trials"),
    ],
)
def test_impossible_assumptions_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        variance_of_difference(**options)


def test_impossible_plans_are_refused():
    with pytest.raises(UserError, match="0 tasks"):
        smallest_difference(0, 0.25)
    with pytest.raises(UserError, match=r"power of 1\.5"):
        smallest_difference(10, 0.25, power=1.5)
    with pytest.raises(UserError, match="alpha"):
        tasks_needed(0.1, 0.25, alpha=0)
    for difference in (0, 2, math.nan):
        with pytest.raises(UserError, match="difference"):
            tasks_needed(difference, 0.25)


# --- paired comparison -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (1, 0), (5, 1), (9, 9), (30, 12), (100, 60)])
def test_one_trial_equals_mcnemars_exact_test(better, worse):
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    differences = np.array([1] * better + [-1] * worse + [0] * 20)
    expected = tables.mcnemar([[10, better], [worse, 10]], exact=True).pvalue
    assert sign_flip_test(differences).p_value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("whole", [True, False])
def test_several_trials_equal_scipys_exact_permutation_test(seed, whole):
    rng = np.random.default_rng(seed)
    d = rng.integers(-4, 6, size=11) if whole else np.round(rng.normal(0.2, 0.5, size=11), 3)
    result = permutation_test((d,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_test(d).p_value == pytest.approx(result.pvalue, rel=1e-9)


def test_random_signs_come_near_the_exact_test_and_repeat():
    rng = np.random.default_rng(3)
    whole = rng.integers(-4, 6, size=60)
    exact, drawn = sign_flip_test(whole), sign_flip_test(whole / 4.0)
    assert "draws" in drawn.method and "draws" not in exact.method
    assert drawn.p_value == pytest.approx(exact.p_value, abs=0.01)
    assert sign_flip_test(rng.permutation(whole) / 4.0) == drawn


def test_a_thousand_tasks_are_tested_exactly():
    result = sign_flip_test(np.ones(3000, dtype=int))
    assert result.method == "exact McNemar" and 0 < result.p_value < 1e-300


@settings(deadline=None)
@given(st.lists(st.integers(-8, 8), min_size=1, max_size=40), st.booleans())
def test_p_value_lies_in_zero_to_one_and_ignores_direction_and_order(values, whole):
    d = np.array(values) if whole else np.array(values) / 8
    forward = sign_flip_test(d, resamples=500)
    assert 0 < forward.p_value <= 1
    assert sign_flip_test(-d[::-1], resamples=500) == forward


@settings(deadline=None)
@given(panels, confidences)
def test_paired_interval_mirrors_and_holds_the_estimate(panel, confidence):
    successes, trials = split(panel)
    d = 2 * successes / trials - 1
    for k in (1, 4, None):
        forward, backward = (paired_interval(each, trials=k, confidence=confidence) for each in (d, -d))
        assert -1 <= forward.low <= forward.estimate <= forward.high <= 1
        assert (-backward.high, -backward.estimate, -backward.low) == pytest.approx(
            (forward.low, forward.estimate, forward.high)
        )


def test_paired_interval_of_scores_is_students():
    from scipy import stats

    d = np.random.default_rng(0).normal(0.1, 0.2, size=25)
    interval = paired_interval(d, trials=None)
    expected = stats.ttest_1samp(d, 0).confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def test_no_flip_at_all_is_not_certainty():
    interval = paired_interval(np.zeros(134), trials=1)
    assert interval.low == -interval.high and 0.01 < interval.high < 0.02


@pytest.mark.parametrize("trials", [1, 4])
@pytest.mark.parametrize("tasks", [24, 134])
def test_coverage_of_the_paired_difference(tasks, trials):
    rng = np.random.default_rng(11)
    covered = {}
    for rate, gain in ((0.05, 0.0), (0.05, 0.1), (0.5, 0.0), (0.5, 0.1), (0.85, 0.1)):
        hits = []
        for chance in chances(rng, rate, 0.5, (400, tasks)):
            a = rng.binomial(trials, chance)
            # Each task moves towards success by the same share, so that the mean moves by the gain.
            b = rng.binomial(trials, chance + (1 - chance) * gain / (1 - rate))
            interval = paired_interval((b - a) / trials, trials=trials)
            hits.append(interval.low <= gain <= interval.high)
        covered[rate, gain] = np.mean(hits)
    assert min(covered.values()) > 0.9, covered
    assert 0.93 < np.mean(list(covered.values())) < 0.99, covered


def test_the_exact_test_keeps_its_level():
    rng = np.random.default_rng(12)
    rejected = [
        sign_flip_test(rng.binomial(4, chance) - rng.binomial(4, chance)).p_value < 0.05
        for chance in chances(rng, 0.6, 0.4, (600, 50))
    ]
    assert np.mean(rejected) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 600)


@pytest.mark.parametrize("number", [1, 2, 3, 12])
def test_holm_equals_statsmodels(number):
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p_values = np.round(np.random.default_rng(number).random(number) ** 3, 2)  # rounded: with ties
    expected = multitest.multipletests(p_values, method="holm")[1]
    np.testing.assert_allclose(holm(p_values), expected, atol=1e-12)


# --- agentbench plan ---------------------------------------------------------------------------------------------


def run_plan(*arguments):
    app = typer.Typer()
    app.command()(plan)
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "120"})


def test_plan_prints_the_smallest_difference_and_what_it_assumes():
    result = run_plan("--tasks", "134", "--trials", "4")
    paired = smallest_difference(134, variance_of_difference(rate=0.5, trials=4))
    unpaired = smallest_difference(134, variance_of_difference(rate=0.5, trials=4, correlation=0))
    assert result.exit_code == 0
    assert f"{paired:.1%}" in result.output and f"{unpaired:.1%}" in result.output
    assert "correlate by 0.5" in result.output and "variance 0.1667" in result.output


def test_plan_prints_millers_number_of_tasks():
    result = run_plan("--difference", "0.03", "--within-variance", "0", "--correlation", str(7 / 9))
    assert result.exit_code == 0 and "969" in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing to plan"),
        (["--tasks", "0"], "--tasks"),
        (["--tasks", "10", "--power", "1.5"], "power"),
        (["--tasks", "10", "--trials", "0"], "trials"),
        (["--difference", "0"], "difference"),
    ],
)
def test_plan_refuses_what_cannot_be(arguments, words):
    result = run_plan(*arguments)
    assert result.exit_code != 0 and isinstance(result.exception, (UserError, SystemExit))
    assert words in f"{result.exception} {result.output}"


@pytest.mark.parametrize("rate", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("strength", [1.0, 1e6])
def test_the_intervals_of_passes_cover_near_0_and_1(rate, strength):
    draw = np.random.default_rng(0)
    many = draw.beta(rate * strength, (1 - rate) * strength, 200_000)
    for tasks, trials, k in ((134, 8, 4), (20, 8, 4), (20, 4, 2)):
        for estimate, truth in ((pass_hat_k, (many**k).mean()), (pass_at_k, 1 - ((1 - many) ** k).mean())):
            covered, plain = 0, 0
            for _ in range(150):
                chances = draw.beta(rate * strength, (1 - rate) * strength, tasks)
                n = np.full(tasks, trials)
                found = pass_interval(estimate(n, draw.binomial(n, chances), k), n, k)
                covered += found.low <= truth <= found.high
                plain += found.low <= found.estimate <= found.high
            assert plain == 150
            assert covered >= 0.9 * 150, (tasks, trials, k, estimate.__name__)


def test_clopper_and_pearsons_interval_equals_scipys_and_pass_at_one_is_the_rate():
    for won, size in ((0, 8), (3, 8), (8, 8)):
        exact = binomtest(won, size).proportion_ci(method="exact")
        assert clopper_pearson(won / size, size) == pytest.approx((exact.low, exact.high))
    rates, trials = np.array([0.5, 1.0, 0.25]), np.array([4, 4, 4])
    assert pass_interval(rates, trials, 1) == rate_interval(rates, trials)


@pytest.mark.parametrize("tasks", [20, 50, 134])
@pytest.mark.parametrize("strength", [5.0, 1e4])
def test_different_numbers_of_trials_raise_no_more_false_alarms(tasks, strength):
    draw, alarms, left_out = np.random.default_rng(tasks), 0, 0
    for _ in range(1000):
        chances = draw.beta(0.95 * strength, 0.05 * strength, tasks)
        once, often = draw.binomial(1, chances), draw.binomial(8, chances)
        both = once + often
        noise = noise_of_trials(both * (9 - both) / 72, np.full(tasks, 1), np.full(tasks, 8))
        differences, how = often / 8 - once, {"trials": 1 / (0.5 + 0.5 / 8), "noise": noise}
        found = paired_interval(differences, **how)
        alarms += paired_student_test(differences, **how).p_value < 0.05
        left_out += not found.low <= 0 <= found.high
    assert alarms == left_out <= 0.05 * 1000 + 2.5 * math.sqrt(0.05 * 0.95 * 1000)


def test_families_of_tasks_that_end_alike_raise_no_more_false_alarms():
    draw, alarms, covered, by_task = np.random.default_rng(0), 0, 0, 0
    families = np.repeat(np.arange(19), 3)
    for _ in range(1000):
        chances = draw.beta(1, 1, (2, 19))
        differences = np.repeat(np.diff((draw.random((2, 19)) < chances).astype(int), axis=0)[0], 3)
        alarms += sign_flip_test(differences, clusters=families).p_value < 0.05
        found = paired_interval(differences, trials=1, clusters=families)
        covered += found.low <= 0 <= found.high
        by_task += sign_flip_test(differences).p_value < 0.05
    assert alarms <= 0.05 * 1000 and covered >= 0.93 * 1000
    assert by_task > 0.15 * 1000


def test_plan_says_how_many_seeds_a_sweep_needs():
    result = run_plan("--seeds", "--spread", "0.033", "--schemes", "8")
    assert result.exit_code == 0
    needed = seeds_needed(0.05, 0.033, 8)
    (line,) = (line for line in result.output.splitlines() if "seeds to see 5 points" in line)
    assert line.split()[-1] == str(needed)
    assert f"{100 * smallest_seed_difference(12, 0.033, 8):.1f} points" in result.output
    for arguments, message in (
        (("--seeds",), "give the spread of seeds"),
        (("--seeds", "--spread", "0.03"), "number of --schemes"),
        (("--spread", "0.03"), "give --seeds with them"),
        (("--seeds", "--spread", "0", "--schemes", "3"), "spread of seeds of 0"),
    ):
        assert message in str(run_plan(*arguments).exception)
