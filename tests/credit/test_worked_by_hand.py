"""Each scheme on a table small enough to follow with a pencil; the working is in the comments."""

from math import sqrt

import pandas as pd
import pytest
from credit_tables import episode

from credit import Steps, advantages, dr_grpo, gigpo, grpo, hgpo, loop, mapo, reinforce_plus_plus, rloo, salt


def steps_of(*episodes):
    return Steps.from_frame(pd.concat(episodes, ignore_index=True))


def close(values, expected):
    assert values.tolist() == pytest.approx(expected, abs=1e-5)


@pytest.fixture
def uneven():
    """One step with outcome 10 against nine steps with outcome 0."""
    return steps_of(episode("g", "X", "pq", [10], won=True), episode("g", "Y", "p" * 10, [0] * 9))


def test_grpo_counts_episodes_and_compat_counts_steps(uneven):
    close(grpo(uneven), [0.70711] + [-0.70711] * 9)  # mean 5, std sqrt(50)
    close(grpo(uneven, weighting="rows"), [2.84605] + [-0.31623] * 9)  # mean 1, std sqrt(90/9)
    close(grpo(uneven, compat="verl-agent"), [2.84605] + [-0.31623] * 9)
    close(dr_grpo(uneven), [5] + [-5] * 9)


def test_rloo_leaves_the_own_episode_out_unless_steps_are_counted(uneven):
    close(rloo(uneven), [10] + [-10] * 9)
    close(rloo(uneven, weighting="rows"), [10] + [-10 / 9] * 9)  # 10/9 (s - 1)


def test_loop_drops_weak_advantages():
    steps = steps_of(*(episode("g", name, "pq", [r]) for name, r in (("X", 0.5), ("Y", 0.504), ("Z", 0.6))))
    close(loop(steps), [-0.052, -0.046, 0.098])
    close(loop(steps, drop_below=0.05), [-0.052, 0, 0.098])
    # the outcomes' standard deviation with ddof 0
    std = sqrt(((0.5 - 1.604 / 3) ** 2 + (0.504 - 1.604 / 3) ** 2 + (0.6 - 1.604 / 3) ** 2) / 3)
    assert loop(steps, normalize="std")[2] * std != pytest.approx(0)
    close(loop(steps, normalize="std"), [-0.052 / std, -0.046 / std, 0.098 / std])
    assert loop(steps, compat="released").tolist() == loop(steps, drop_below=0.01).tolist()


def test_reinforce_plus_plus_whitens_what_is_left_of_the_baseline():
    steps = steps_of(episode("g", "X", "pq", [1]), episode("g", "Y", "pp", [0]))
    # centred outcomes +0.5, -0.5: mean 0, variance with ddof 1 is 0.5
    close(reinforce_plus_plus(steps), [0.5 / sqrt(0.5), -0.5 / sqrt(0.5)])


@pytest.fixture
def two_episodes():
    """X wins in two steps; Y passes the anchor state p twice and fails. With gamma 1/2, R is .5 1 and 0 0 0."""
    return steps_of(episode("g", "X", "pqw", [0, 1], won=True), episode("g", "Y", "prps", [0, 0, 0]))


def test_gigpo_adds_the_step_term_to_the_episode_term(two_episodes):
    # outcomes 1, 0: deviations +-1/2.  State p has returns 1/2, 0, 0: deviations 1/3, -1/6, -1/6.  q, r: alone.
    close(gigpo(two_episodes, gamma=0.5, normalize="mean"), [5 / 6, 1 / 2, -2 / 3, -1 / 2, -2 / 3])
    # std of the outcomes 1/sqrt(2), of the returns in p 1/sqrt(12)
    e, s = 1 / sqrt(2), 1 / sqrt(3)
    close(gigpo(two_episodes, gamma=0.5), [e + 2 * s, e, -e - s, -e, -e - s])
    close(gigpo(two_episodes, gamma=0.5, step_weight=0), [e, e, -e, -e, -e])
    # rows: three of five steps have outcome 0, so the mean is 2/5
    by_rows = gigpo(two_episodes, gamma=0.5, normalize="mean", weighting="rows")
    close(by_rows, [0.6 + 1 / 3, 0.6, -0.4 - 1 / 6, -0.4, -0.4 - 1 / 6])


def test_the_penalty_strikes_where_it_was_asked_to():
    parts = [episode("g", "X", "pqw", [0, 1], won=True), episode("g", "Y", "prps", [0, 0, 0], invalid=[1])]
    steps, clean = steps_of(*parts), steps_of(parts[0], parts[1].assign(is_valid=True))
    how = {"gamma": 0.5, "normalize": "mean", "invalid_penalty": 0.3}
    plain = gigpo(clean, gamma=0.5, normalize="mean")
    close(gigpo(clean, **how), plain)
    # only the invalid step, and nothing else
    close(gigpo(steps, **how), plain - [0, 0, 0, 0.3, 0])
    # in the score of the invalid row (not the first of its episode, so no sample), and in its return (alone in r)
    close(gigpo(steps, **how, penalty_timing="after_discounting"), plain - [0, 0, 0, 0.3, 0])
    # in the reward: Y's outcome is -0.3 and its returns -0.15, -0.3, 0; state p has 1/2, -0.15, 0
    mean = 0.35 / 3
    close(
        gigpo(steps, **how, penalty_timing="before_discounting"),
        [0.65 + 0.5 - mean, 0.65, -0.65 - 0.15 - mean, -0.65, -0.65 - mean],
    )


def test_compat_keeps_the_raw_score_of_a_single_episode_and_strict_gives_zero():
    steps = steps_of(episode("g", "X", "pq", [10], won=True))
    assert gigpo(steps).tolist() == [0.0]
    close(gigpo(steps, compat="verl-agent"), [9.99999])
    close(rloo(steps, compat="verl-agent"), [10])


def test_similar_states_count_as_one_where_asked():
    texts = ["you see a red box and a lamp", "you see a red box and a lamb", "a door"]
    x = episode("g", "X", [texts[0], texts[2]], [1], won=True)
    y = episode("g", "Y", [texts[1], texts[2]], [0])
    steps = steps_of(x, y)
    close(gigpo(steps, normalize="mean"), [0.5, -0.5])
    close(gigpo(steps, normalize="mean", grouping="similarity", similarity_threshold=0.9), [1.0, -1.0])


@pytest.fixture
def three_episodes():
    """With gamma 1/2 the returns are X .25 .5 1, Y 0 0 0, Z .5 1."""
    return steps_of(
        episode("g", "X", "pqrw", [0, 0, 1], won=True),
        episode("g", "Y", "pqss", [0, 0, 0]),
        episode("g", "Z", "tqw", [0, 1], won=True),
    )


def test_hgpo_weighs_contexts_by_their_length(three_episodes):
    # k=1, weight 2: p has .25, 0 (+-.125); q has .5, 0, 1 (0, -.5, +.5).  k=2, weight 3: (p, q) has .5, 0 (+-.25)
    how = {"gamma": 0.5, "history_length": 1, "normalize": "mean", "epsilon": 0}
    keeps = [0.125, (2 * 0 + 3 * 0.25) / 5, 0, -0.125, (2 * -0.5 + 3 * -0.25) / 5, 0, 0, 0.5]
    close(hgpo(three_episodes, **how), keeps)
    # the released code leaves the item at the group's mean out instead of averaging it in
    drops = [0.125, 0.25, 0, -0.125, -0.35, 0, 0, 0.5]
    close(hgpo(three_episodes, **how, drop_exact_zero=True), drops)
    assert hgpo(three_episodes, **how, compat="verl-agent").tolist() == pytest.approx(drops)
    close(hgpo(three_episodes, **{**how, "history_length": 0}), [0.125, 0, 0, -0.125, -0.5, 0, 0, 0.5])


def test_hgpo_averages_the_episode_term_in_where_asked(three_episodes):
    # outcomes 1, 0, 1: 1/3, -2/3, 1/3 with weight 1
    how = {"gamma": 0.5, "history_length": 0, "normalize": "mean", "epsilon": 0, "base_group": True}
    x, y = 1 / 3, -2 / 3
    expected = [(x + 0.25) / 3, x / 3, x, (y - 0.25) / 3, (y - 1) / 3, y, x, (x + 1) / 3]
    close(hgpo(three_episodes, **how), expected)


@pytest.fixture
def merging():
    """X wins, Y and Z fail: with normalize="mean" 2/3, -1/3, -1/3. All three go from p to q, Y does so twice."""
    return steps_of(
        episode("g", "X", "pqw", [0, 1], ["go", "go"], won=True),
        episode("g", "Y", "pqpq", [0, 0, 0], ["go", "back", "go"]),
        episode("g", "Z", "prpq", [0, 0, 0], ["go", "back", "go"]),
    )


def test_salt_averages_over_the_episodes_that_share_a_transition(merging):
    a, b = 2 / 3, -1 / 3
    close(salt(merging, normalize="mean"), [0, a, 0, b, 0, b, b, 0])
    # Y's second passage counts again: (2/3 - 3 * 1/3) / 4
    c = -1 / 12
    close(salt(merging, normalize="mean", merge_mean="rows"), [c, a, c, b, c, b, b, c])
    # at least four episodes: never
    close(salt(merging, normalize="mean", min_trajectories=4), [a, a, b, b, b, b, b, b])
    # with one state of history: only the first steps of X and Y are still the same transition
    close(salt(merging, normalize="mean", history=1), [1 / 6, a, 1 / 6, b, b, b, b, b])
    # by state alone: p holds all three, q holds X and Y
    by_state = salt(merging, normalize="mean", match=("state",))
    close(by_state, [0, 1 / 6, 0, 1 / 6, 0, 0, b, 0])
    close(salt(merging, base="rloo"), [0, 1, 0, -0.5, 0, -0.5, -0.5, 0])


def test_mapo_mixes_the_turn_with_the_immediate_reward():
    steps = steps_of(episode("g", "X", "pqw", [1, 0]), episode("g", "Y", "pqrs", [0, 1, 2]))
    # gamma 1/2: G is 1 0 and 1 2 2.  Turn 0: equal.  Turn 1: 0, 2, mean 1, std 1.  Turn 2: alone.
    # rewards 1 0 0 1 2: mean .8, variance .56
    d = sqrt(0.56)
    turn, immediate = [0, -1, 0, 1, 0], [0.2 / d, -0.8 / d, -0.8 / d, 0.2 / d, 1.2 / d]
    mixed = [0.5 * t + 0.5 * i for t, i in zip(turn, immediate, strict=True)]
    close(mapo(steps, gamma=0.5), mixed)
    close(mapo(steps, gamma=0.5, alpha=1), turn)
    close(mapo(steps, gamma=0.5, alpha=0), immediate)


def test_mapo_reads_a_judges_score_or_its_progress():
    x = episode("g", "X", "pqw", [0, 0]).assign(score=[0.5, 1.0])
    y = episode("g", "Y", "pqw", [0, 0]).assign(score=[0.5, 0.0])
    # alpha 0: immediate only.  The score itself: .5 1 .5 0 (std sqrt(.125)).  Its rise: .5 .5 .5 -.5 (std sqrt(.1875))
    s = sqrt(0.125)
    close(mapo(steps_of(x, y), alpha=0, turn_reward="score"), [0, 0.5 / s, 0, -0.5 / s])
    s = sqrt(0.1875)
    close(mapo(steps_of(x, y), alpha=0, turn_reward="progress"), [0.25 / s, 0.25 / s, 0.25 / s, -0.75 / s])


def test_equal_outcomes_give_zero_even_where_the_sum_of_rewards_is_not_exact():
    parts = [episode("g", f"e{i}", "p" * 11, [0.1] * 10) for i in range(7)]
    parts.append(episode("g", "e7", "pq", [1.0]))
    for name in ("grpo", "rloo", "salt", "dr_grpo"):
        assert not advantages(name, steps_of(*parts)).any()
