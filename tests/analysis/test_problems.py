"""The tabular problems, the episodes that are played on them, and their exact values."""

import numpy as np
import pytest

from agentbench.analysis.truth.problems import PROBLEMS, make_problem
from agentbench.analysis.truth.tabular import as_episodes, play_problem
from credit.tools.exact import solve
from envs.base.errors import UserError


@pytest.mark.parametrize("name", PROBLEMS)
def test_probabilities_sum_to_one_and_the_goal_earns_one(name):
    problem = make_problem(name, invalid=0.2)
    process = problem.process
    np.testing.assert_allclose(process.probability.sum(axis=2), 1)
    np.testing.assert_allclose(process.policy.sum(axis=1), 1)
    assert (process.going_on <= process.probability + 1e-12).all()
    # the reward is 1 exactly where the episode ends
    if not problem.pays_on_the_way:
        np.testing.assert_allclose((process.probability - process.going_on).sum(axis=2), process.reward, atol=1e-12)


@pytest.mark.parametrize("name", PROBLEMS)
def test_played_episodes_agree_with_the_exact_values(name):
    problem = make_problem(name)
    played = play_problem(problem, 4000, seed=3)
    success = played.reward.sum() / 4000
    exact = played.solution.objective
    assert abs(success - exact) < 4 * np.sqrt(exact * (1 - exact) / 4000)
    # the policy's advantages sum to 0 in every state, so their mean over its own steps is near 0
    spread = played.advantage.std() / np.sqrt(len(played.advantage))
    assert abs(played.advantage.mean()) < 5 * spread
    # telescoping: what an episode earned is V of its start, plus A of its steps, plus the luck of the environment
    first = played.step == 0
    np.testing.assert_allclose(played.value[first], exact)
    assert (np.bincount(played.episode) <= problem.process.horizon).all()


def test_in_a_deterministic_problem_advantages_telescope_to_the_outcome():
    played = play_problem(make_problem("key-door"), 50, seed=0)
    earned = np.bincount(played.episode, played.reward)
    total = np.bincount(played.episode, played.advantage)
    np.testing.assert_allclose(total, earned - played.solution.objective, atol=1e-12)


def test_the_short_chain_by_hand():
    # Two cells, two steps, one move to the goal: with p to go forward, V = 1 - (1 - p)^2.
    process = make_problem("chain", length=2, horizon=2).process
    forward = process.policy[0, 0]
    assert solve(process).objective == pytest.approx(1 - (1 - forward) ** 2)


def test_the_door_needs_the_key():
    process = make_problem("key-door", length=3).process
    without, with_key, behind = 4, 5, 6
    assert process.reward[without, 0] == 0 and process.probability[without, 0, without] == 1
    assert process.reward[with_key, 0] == 1 and process.probability[with_key, 0, behind] == 1
    assert process.probability[0, 3, 1] == 1  # picking up where the key lies
    assert process.probability[2, 3, 2] == 1  # and elsewhere


def test_the_harvest_is_best_left_after_the_rows_that_pay():
    process = make_problem("harvest", length=8, best=3, cost=0.25).process
    pick, wait, leave = range(3)
    assert process.reward[:3, pick].sum() == pytest.approx(1.0)
    assert (process.reward[:3, pick] > 0).all() and (process.reward[3:, pick] < 0).all()
    assert (process.reward[:, wait] == -0.25).all() and not process.reward[:, leave].any()
    assert not process.going_on[:, leave].any() and not process.going_on[-1, pick].any()
    best = np.zeros(8)
    for _ in range(process.horizon):  # dynamic programming over policies that look at the row alone
        quality = process.reward + process.going_on @ best
        best = quality.max(axis=1)
    assert best[0] == pytest.approx(1.0)
    assert quality.argmax(axis=1).tolist() == [pick] * 3 + [leave] * 5


def test_a_harvest_is_stored_with_what_it_earned():
    played = play_problem(make_problem("harvest"), 60, seed=0)
    episodes = list(as_episodes(played))
    earned = np.bincount(played.episode, played.reward)
    assert earned.min() < 0.5 < earned.max() <= 1 + 1e-9
    for episode, total in zip(episodes, earned, strict=True):
        assert sum(step.reward for step in episode.steps) == pytest.approx(total)
        assert episode.score == pytest.approx(np.clip(total, 0, 1)) and episode.won == (total > 1 - 1e-9)
        assert episode.steps[-1].terminated != episode.steps[-1].truncated
    assert {step.action for episode in episodes for step in episode.steps} == {"pick", "wait", "leave"}


def test_aliased_hides_the_key():
    seen = make_problem("aliased", length=3).process.observation
    assert seen.tolist() == [0, 0, 1, 1, 2, 2, 3]


@pytest.mark.parametrize("success", [0.1, 0.5, 0.9])
def test_a_success_rate_can_be_asked_for(success):
    assert solve(make_problem("key-door", success=success).process).objective == pytest.approx(success, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("chian", {}, "chain"),
        ("chain", {"lenght": 3}, "lenght"),
        ("chain", {"length": 1}, "from 2"),
        ("chain", {"skill": 2.0}, "skill"),
        ("chain", {"invalid": 1.0}, "invalid"),
        ("aliased", {"success": 0.99}, "success can be"),
        ("chain", {"success": 0.5, "skill": 0.5}, "not both"),
        ("harvest", {"best": 10}, "best is a row before the last of 10"),
    ],
)
def test_mistakes_are_named(name, settings, message):
    with pytest.raises(UserError, match=message):
        make_problem(name, **settings)
