"""The further schemes on tables small enough to follow with a pencil; the working is in the comments."""

from math import exp, pi, sqrt

import numpy as np
import pandas as pd
import pytest
from credit_tables import episode

from credit import (
    CreditError,
    Steps,
    bi_level_gae,
    bnpo,
    drmas,
    empg,
    gae,
    gdpo,
    graph_value,
    graphgpo,
    hiper,
    igpo,
    mars,
    matchtir,
    mcgrpo,
    mgrpo,
    ngrpo,
    ocar,
    rtmc,
    seeupo,
    tempo,
    turn_ppo,
)
from credit.schemes.bi_level_gae import bi_level_gae_tokens
from credit.schemes.igpo import igpo_released
from credit.schemes.matchtir import matchtir_tokens
from credit.schemes.tempo import tempo_tokens
from credit.tokens import Tokens


def steps_of(*episodes, **columns):
    table = pd.concat(episodes, ignore_index=True).assign(**columns)
    return Steps.from_frame(table, extra=[name for name in columns if name in ("log_ratio", "style")])


def outcomes(*rewards, group="g"):
    """Episodes of one step each."""
    return [episode(group, f"{group}{i}", "pq", [r], won=r > 0) for i, r in enumerate(rewards)]


def close(values, expected):
    np.testing.assert_allclose(values, expected, atol=1e-5)


def tokens_of(mask, reward, group=None, value=None, token=None):
    mask = np.array(mask, dtype=bool)
    rows = np.arange(len(mask))
    return Tokens(
        group=np.zeros(len(mask), dtype=np.int64) if group is None else np.array(group),
        episode=rows,
        mask=mask,
        reward=np.array(reward, dtype=float),
        value=None if value is None else np.array(value, dtype=float),
        token=None if token is None else np.array(token),
    )


def test_ngrpo_blames_a_group_in_which_all_fail():
    # outcomes 0 0 0 0 and the virtual 1: mean 1/5, variance (4/25 + 16/25) / 4 = 1/5
    close(ngrpo(steps_of(*outcomes(0, 0, 0, 0))), [-0.2 / sqrt(0.2)] * 4)
    close(ngrpo(steps_of(*outcomes(1, 1))), [0, 0])
    close(ngrpo(steps_of(*outcomes(0.5))), [0])
    close(ngrpo(steps_of(*outcomes(0.5)), compat="released"), [0.5])


def test_mcgrpo_measures_from_the_median():
    # median 2, absolute deviations 2 1 0 1 8, their median 1; four of five are used
    close(mcgrpo(steps_of(*outcomes(0, 1, 2, 3, 10)), epsilon=0.0), np.array([-2, -1, 0, 1, 8]) * 5 / 4)
    # binary: the median absolute deviation is 0, the one success stands out
    close(mcgrpo(steps_of(*outcomes(0, 0, 1))), [0, 0, 3])
    close(mcgrpo(steps_of(*outcomes(0, 0, 1)), compat="released"), [0, 0, 3000])


def test_gdpo_gives_every_component_the_same_say():
    steps = steps_of(*outcomes(0, 100), *outcomes(0, 0, group="h"), style=[1.0, 0.0, 0.0, 2.0])
    z = 1 / sqrt(2)  # of two values, whatever their distance
    close(gdpo(steps, components=("reward", "style"), whitened=False), [-z + z, z - z, -z, z])
    # mean 0, variance (z^2 + z^2) / 3 = 1/3
    close(gdpo(steps, components=("reward", "style")), [0, 0, -z * sqrt(3), z * sqrt(3)])
    close(gdpo(steps, components=("reward", "style"), weights=(0, 1), whitened=False), [z, -z, -z, z])
    with pytest.raises(CreditError, match="1 weights for 2 components"):
        gdpo(steps, components=("reward", "style"), weights=(1.0,))


def test_bnpo_with_fixed_densities_is_reinforce_or_grpo():
    steps = steps_of(*outcomes(0, 0, 0, 1))
    close(bnpo(steps, alpha=1.0, beta=1.0), [-0.25] * 3 + [0.75])
    # Beta(3/2, 3/2) has the density 8 sqrt(p (1 - p)) / pi
    close(bnpo(steps, alpha=1.5, beta=1.5), np.array([-0.25] * 3 + [0.75]) * pi / (8 * sqrt(0.25 * 0.75)))
    close(bnpo(steps), [-0.25] * 3 + [0.75])  # one group fits no density


def test_bnpo_fits_the_density_to_the_success_rates():
    steps = steps_of(*outcomes(0, 1), *outcomes(0, 0, 0, 1, group="h"))
    # rates 1/2 and 1/4: mean 3/8, variance 1/32, n = (15/64) * 32 - 1 = 6.5; a = 2.4375, b = 4.0625
    from scipy.stats import beta

    weight = 1 / beta.pdf([0.5, 0.25], 1 + 2.4375 / 3, 1 + 4.0625 / 3)
    close(bnpo(steps), [-weight[0] / 2, weight[0] / 2, *[-weight[1] / 4] * 3, weight[1] * 3 / 4])


def test_bnpo_is_not_defined_for_unbounded_outcomes():
    with pytest.raises(CreditError, match="an episode earned 10: set min_value and max_value"):
        bnpo(steps_of(*outcomes(0, 10)))
    close(bnpo(steps_of(*outcomes(0, 10)), max_value=10.0), [-0.5, 0.5])


@pytest.fixture
def valued():
    """Rewards 0 1 with values 0.5 0.25, then an episode that was cut: reward 0, value 0.5."""
    return steps_of(episode("g", "X", "pqw", [0, 1], won=True), episode("g", "Y", "pq", [0]), value=[0.5, 0.25, 0.5])


def test_gae_over_turns(valued):
    # delta: 0 + .5 * .25 - .5 = -.375, 1 - .25 = .75, 0 - .5; then -.375 + .5 * .5 * .75
    close(gae(valued, gamma=0.5, lam=0.5), [-0.1875, 0.75, -0.5])
    close(gae(valued, gamma=0.5, lam=0.5, after_truncation="value"), [-0.1875, 0.75, -0.25])
    close(gae(valued, gamma=1.0, lam=1.0), [0.5, 0.75, -0.5])  # all rewards to come, less the value


def test_turn_ppo_and_bi_level_gae_whiten_it(valued):
    raw = np.array([-0.1875, 0.75, -0.5])
    expected = (raw - raw.mean()) / sqrt(raw.var(ddof=1) + 1e-8)
    close(turn_ppo(valued, gamma=0.5, lam=0.5), expected)
    close(bi_level_gae(valued, gamma_turn=0.5, lam=0.5), expected)


def test_bi_level_gae_over_tokens_shares_a_turn_out():
    # two turns of reward 1, gamma_turn .95, values 0: the turns are worth 1.95 and 1
    reward, mask = [[0, 0, 1, 0, 0, 1]], [[1, 1, 1, 0, 1, 1]]
    how = {"gamma": 0.5, "lam": 1.0, "gamma_turn": 0.95, "whitened": False}
    advantage, returned = bi_level_gae_tokens(tokens_of(mask, reward, value=[[0, 0, 0, 9, 0, 0]]), **how)
    close(advantage, [[1.95 / 4, 1.95 / 2, 1.95, 0, 0.5, 1]])
    close(returned, advantage)


def test_bi_level_gae_over_tokens_knows_turns_without_reward():
    tokens = tokens_of([[1, 1, 1]], [[0, 0, 1]], value=[[0, 0, 0]])
    ends = np.array([[True, False, True]])
    advantage, _ = bi_level_gae_tokens(tokens, gamma_turn=0.5, turn_end=ends, whitened=False)
    close(advantage, [[0.5, 1, 1]])
    with pytest.raises(CreditError, match="row 0 does not end with a turn's end"):
        bi_level_gae_tokens(tokens_of([[1, 1]], [[1, 0]], value=[[0, 0]]))


@pytest.fixture
def hierarchy():
    """Segments of two turns and one, with round values; the episode ends with success."""
    return steps_of(
        episode("g", "X", "pqrw", [0, 0, 1], won=True),
        switch=[True, False, True],
        subgoal=["find", "find", "put"],
        value_low=[0.1, 0.2, 0.3],
        value_high=[0.5, 0.0, 0.6],
        value_term=[0.2, 0.3, 0.4],
    )


def test_hiper_has_three_streams(hierarchy):
    half = {"gamma": 0.5, "lambda_turn": 0.5, "lambda_segment": 0.5}
    # last 1 - .3; before the boundary .5 * .6 - .2 = .1; first .5 * .2 - .1 + .25 * .1
    close(hiper(hierarchy, stream="low", **half), [0.025, 0.1, 0.7])
    # last segment 1 - .6 = .4; first .25 * .6 - .5 + .25 * .5 * .4
    close(hiper(hierarchy, stream="high", **half), [-0.3, 0, 0.4])
    # .25 * .6 - .2, .5 * .6 - .3, 1 - .4
    close(hiper(hierarchy, stream="term", **half), [-0.05, 0.0, 0.6])


def test_hiper_shapes_the_turns_that_keep_their_subgoal(hierarchy):
    half = {"gamma": 0.5, "lambda_turn": 0.5, "lambda_segment": 0.5}
    plain = hiper(hierarchy, **half)
    close(hiper(hierarchy, keep_penalty=-0.3, **half) - plain, [-0.075, -0.3, 0])
    close(hiper(hierarchy, keep_penalty=-0.3, keep_penalty_mode="normalized", **half) - plain, [-0.025, -0.1, 0])
    close(hiper(hierarchy, keep_consistency_penalty=-0.3, **half) - plain, [0, 0, 0])
    other = Steps.from_frame(hierarchy.to_frame().assign(subgoal=["find", "take", "put"]))
    close(hiper(other, keep_consistency_penalty=-0.3, **half) - plain, [-0.075, -0.3, 0])
    empty = Steps.from_frame(hierarchy.to_frame().assign(subgoal=["", "take", "put"]))
    close(hiper(empty, keep_consistency_penalty=-0.3, **half) - plain, [0, 0, 0])


@pytest.fixture
def crossing():
    """X goes p q and wins; Y goes p r p and is cut; both leave p, Y twice."""
    return steps_of(
        episode("g", "X", "pqw", [0, 1], actions=["a", "c"], won=True),
        episode("g", "Y", "prp", [0, 0], actions=["b", "d"]),
    )


def test_graphgpo_rewards_coming_nearer(crossing):
    # distances: goal 0, q 1, p 2, r 3. Path returns with gamma .1: 10^-0, 10^1 for X; r: 10^-2, p: 10^-1 for Y
    half = 1 / sqrt(2)
    near, far = 10 * 0.1, 10 * 0.1**3
    std = abs(near - far) / sqrt(2)
    expected = (near - far) / 2 / (std + 1e-6)
    close(graphgpo(crossing), [half + expected, half, -half - expected, -half])
    close(graphgpo(crossing, normalize="mean"), [0.5 + (near - far) / 2, 0.5, -0.5 - (near - far) / 2, -0.5])


def test_graphgpo_asks_for_a_reward_where_episodes_end_without(crossing):
    lost = Steps.from_frame(crossing.to_frame().assign(reward=0.0))
    assert not graphgpo(lost).any()  # no goal: every state is equally far
    assert graphgpo(lost, success="terminated", episode_weight=0.0).any()


def test_graph_value_is_what_the_next_state_adds(crossing):
    # V(q) = .5, V(r) = .5 * 0, V(p) = (.5 V(q) + .5 V(r)) / 2 = .125
    close(graph_value(crossing, gamma=0.5), [0.25 - 0.125, 0.5 - 0.5, 0 - 0.125, 0])
    # in p: deviations +-.125, std .125 sqrt(2)
    close(graph_value(crossing, gamma=0.5, normalize="std"), [1 / sqrt(2), 0, -1 / sqrt(2), 0])


def test_rtmc_compares_an_action_with_all_of_its_state(crossing):
    # in p: action a had outcome 1, b had 0, mean 1/2
    close(rtmc(crossing), [0.5, 0, -0.5, 0])
    more = steps_of(episode("g", "X", "pw", [1], ["a"], won=True), episode("g", "Y", "ppr", [0, 0], ["b", "b"]))
    close(rtmc(more), [2 / 3, -1 / 3, -1 / 3])
    close(rtmc(more, weighting="trajectories"), [0.5, -0.5, -0.5])


def test_tempo_credits_the_step_at_which_ways_part():
    steps = steps_of(
        episode("g", "X", "pqw", [0, 1], ["a", "a"], won=True),
        episode("g", "Y", "pqr", [0, 0], ["a", "b"]),
        episode("g", "Z", "pr", [0], ["b"]),
    )
    # mean 1/3; after the first step a: 1/2, b: 0; then X 1, Y 0
    m = 1 / 3
    close(
        tempo(steps, normalize="mean"),
        [2 / 3 + 0.5 - m, 2 / 3 + 1 - 0.5, -m + 0.5 - m, -m + 0 - 0.5, -m + 0 - m],
    )
    close(tempo(steps, epsilon=0.0), tempo(steps, normalize="mean") / sqrt(1 / 3))


def test_tempo_over_tokens():
    tokens = tokens_of([[1, 1], [1, 1]], [[0, 1], [0, 0]], token=[[5, 6], [5, 7]])
    advantage, _ = tempo_tokens(tokens, normalize="mean")
    close(advantage, [[0.5, 1], [-0.5, -1]])  # they part at the second token: V goes from 1/2 to 1 and 0
    alone, _ = tempo_tokens(tokens_of([[1]], [[1]], token=[[5]]))
    close(alone, [[0]])


def test_matchtir_is_half_outcome_half_turn():
    steps = steps_of(episode("g", "X", "pqw", [0, 1], won=True), episode("g", "Y", "pq", [0]))
    # turn 0: returns .9 and 0, z = +-1/sqrt(2); turn 1 only X: 0; outcomes +-1/sqrt(2)
    z = 1 / sqrt(2)
    close(matchtir(steps), [z, z / 2, -z])
    close(matchtir(steps, compat="released"), [z, (z + 1) / 2, -z])


def test_matchtir_over_tokens_gives_a_turn_one_number():
    tokens = tokens_of([[1, 1, 0, 1], [1, 0, 0, 0]], [[0, 0, 0, 1], [0, 0, 0, 0]])
    z = 1 / sqrt(2)
    advantage, _ = matchtir_tokens(tokens)
    close(advantage, [[z, z, 0, z / 2], [-z, 0, 0, 0]])


def test_seeupo_normalises_each_turn_and_carries_the_ratio():
    episodes = [episode("g", "X", "pqw", [0, 1], won=True), episode("g", "Y", "pqr", [0, 0])]
    z = 0.5 / sqrt(0.5)  # of centred outcomes +-1/2
    close(seeupo(steps_of(*episodes)), [z, z, -z, -z])
    close(seeupo(steps_of(*episodes), clamp=0.5), [0.5, 0.5, -0.5, -0.5])
    moved = steps_of(*episodes, log_ratio=[9.0, 0.1, 9.0, -1.0])  # the last turn moved by e^.1, and by less than .8
    close(seeupo(moved), [z * exp(0.1), z, -z * 0.8, -z])


def test_empg_favours_confident_steps():
    steps = steps_of(episode("g", "X", "pqw", [0, 1], won=True), episode("g", "Y", "pq", [0]), entropy=[0.0, 1.0, 0.0])
    z, e = 1 / sqrt(2), exp(-1)
    mean_g = (1 + e + 1) / 3
    raw = np.array([z / mean_g + 0.05 * e, z * e / mean_g, -z / mean_g])
    close(empg(steps), raw - raw.mean())


def test_igpo_sums_the_normalised_gains():
    steps = steps_of(
        episode("g", "X", "pqw", [0, 1], won=True), episode("g", "Y", "pq", [0]), info_gain=[0.5, 9.0, 9.0]
    )
    # rewards .5 1 and 0 (the last turn's is the outcome): mean .5, std .5
    close(igpo(steps, epsilon=0.0), [1, 1, -1])
    close(igpo(steps, normalize="mean", gamma=0.5), [0.25, 0.5, -0.5])


def test_igpo_as_released_begins_anew_at_every_observation():
    tokens = tokens_of([[1, 1, 0, 1, 1]], [[0, 1, 0, 0, 1]])
    _, returned = igpo_released(tokens)
    close(returned, [[1, 1, 0, 1, 1]])  # and not 2 2 0 1 1


def test_ocar_shifts_credit_by_surprise():
    steps = steps_of(episode("g", "X", "pqw", [0, 1], won=True), episode("g", "Y", "pq", [0]), surprise=[1.0, 3.0, 2.0])
    # z = -1 and 1; the winner's unsurprising step gets 2 e / (e + 1/e)
    z, e = 1 / sqrt(2), exp(1)
    close(ocar(steps), [z * 2 * e / (e + 1 / e), z * 2 / e / (e + 1 / e), -z])


@pytest.fixture
def team():
    """A main agent m and a helper h: in X h is called twice, in Y once; rewards are the steps' own."""
    return steps_of(
        episode("g", "X", "pqrsw", [0, 1, 0, 3], won=True),
        episode("g", "Y", "pqr", [0, 2]),
        agent=["m", "h", "m", "h", "m", "h"],
    )


def test_drmas_compares_an_agent_with_itself(team):
    # one sample an episode and agent: outcomes 4 and 2
    close(drmas(team, normalize="mean"), [1, 1, 1, 1, -1, -1])
    # by rows: m has 4 4 2, h has 4 4 2
    close(drmas(team, normalize="mean", weighting="rows"), [2 / 3, 2 / 3, 2 / 3, 2 / 3, -4 / 3, -4 / 3])


def test_mgrpo_counts_every_call_of_a_helper(team):
    # m: one trajectory an episode, 4 and 2; h: three calls with outcomes 4 4 2
    close(mgrpo(team, normalize="mean"), [1, 2 / 3, 1, 2 / 3, -1, -4 / 3])
    # own rewards: m 0 and 0; h 1 3 2
    close(mgrpo(team, normalize="mean", score="own"), [0, -1, 0, 1, 0, 0])


def test_mars_sums_over_the_agents_own_turns(team):
    # h: mean 2, centred -1 1 0, returns 0 1 0; unique 0 and 1: mean .5, std sqrt(.5)
    z = 0.5 / sqrt(0.5)
    close(mars(team), [0, -z, 0, z, 0, -z])
    close(mars(team, unique_values=False, epsilon=0.0), [0, -1 / sqrt(3), 0, 2 / sqrt(3), 0, -1 / sqrt(3)])


def test_graphgpo_merges_states_with_similar_texts():
    room = "You are in the middle of a room. Looking quickly around you, you see a drawer {}."
    steps = steps_of(
        episode("g", "X", [room.format(1), "q", "w"], [0, 1], won=True),
        episode("g", "Y", [room.format(2), "r"], [0]),
    )
    only_steps = {"episode_weight": 0.0, "normalize": "mean"}
    close(graphgpo(steps, **only_steps), [0, 0, 0])  # every state is left once
    # merged, the room is 2 from the goal and r, from which it was never reached, 3
    half = (10 * 0.1 - 10 * 0.1**3) / 2
    close(graphgpo(steps, grouping="similarity", **only_steps), [half, 0, -half])
