"""Schemes on problems that are known exactly: who puts a price on length, and VinePPO within its standard error."""

from dataclasses import replace

import numpy as np
import pytest

from agentbench.analysis.quality.measures import group_gradients
from agentbench.analysis.quality.sample import estimate
from agentbench.analysis.quality.tabular import problem_sample
from agentbench.analysis.truth.problems import make_problem
from agentbench.analysis.truth.tabular import play_problem
from credit import Steps, advantages
from credit.tools.exact import solve


@pytest.fixture(scope="module")
def harvest():
    """A sample of the problem, the exact gradients of return and number of steps, and the mean reward a turn."""
    problem = make_problem("harvest")
    steps = replace(problem.process, reward=np.ones_like(problem.process.reward))
    both = np.stack([solve(each).gradient.ravel() for each in (problem.process, steps)], axis=1)
    return problem_sample(problem, 8, 320), both, solve(problem.process).objective / solve(steps).objective


def price(harvest, name, agent=None):
    """What a step is worth to a scheme beyond its reward."""
    sample, both, _ = harvest
    if agent is not None:
        one = [replace(each, extra={**each.extra, "agent": agent(each)}) for each in sample.batches]
        sample = replace(sample, batches=one)
    mean = np.asarray(group_gradients(sample, estimate(sample, name)[0]).mean(axis=0)).ravel()
    of_return, of_length = np.linalg.lstsq(both, mean, rcond=None)[0]
    return of_length / of_return


@pytest.mark.parametrize("name", ["dr_grpo", "rloo", "opo", "vineppo", "graph_value", "single_stream"])
def test_schemes_that_compare_returns_put_no_price_on_length(harvest, name):
    assert abs(price(harvest, name)) < 0.03


def test_a_mean_taken_off_every_reward_is_a_price_on_every_step(harvest):
    *_, mean_reward = harvest
    assert mean_reward > 0.1
    assert price(harvest, "igpo") == pytest.approx(-mean_reward, abs=0.03)
    alone = price(harvest, "mars", lambda steps: np.zeros(len(steps), dtype=np.int64))
    assert alone == pytest.approx(-mean_reward, abs=0.04)
    assert price(harvest, "pure") < -0.04


@pytest.mark.parametrize("name", ["chain", "key-door", "stochastic"])
@pytest.mark.parametrize("rollouts", [4, 64])
def test_vineppo_is_the_exact_advantage_within_its_standard_error(name, rollouts):
    problem = make_problem(name)
    played = play_problem(problem, 200, seed=1)
    value, last = played.value, played.is_last
    # returns are 0 or 1, so the mean of K of them is a binomial number over K
    measured = np.random.default_rng(2).binomial(rollouts, value) / rollouts
    table = Steps(
        group=np.zeros(len(value), dtype=np.int64), episode=played.episode, step=played.step, reward=played.reward,
        extra={"value": measured},
    )  # fmt: skip
    after = np.where(last, 0.0, np.roll(value, -1))
    spread = np.sqrt((value * (1 - value) + after * (1 - after)) / rollouts)
    # what the step's own luck adds to the advantage of the action is no error of the estimate
    certain = played.reward + after - value
    error = (advantages("vineppo", table) - certain)[spread > 0] / spread[spread > 0]
    assert abs(error.mean()) < 4 / np.sqrt(len(error)) and error.std() == pytest.approx(1.0, abs=0.1)
    if name != "stochastic":
        going = ~last | played.terminated
        np.testing.assert_allclose(certain[going], played.advantage[going], atol=1e-12)
    exact = replace(table, extra={"value": value})
    np.testing.assert_allclose(advantages("vineppo", exact), advantages("gae", exact, gamma=1.0, lam=0.0), atol=1e-9)
