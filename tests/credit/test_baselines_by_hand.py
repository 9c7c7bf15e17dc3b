"""Baselines of outcomes and schemes with one more column, on tables small enough to follow with a pencil."""

from math import exp, sqrt

import numpy as np
import pandas as pd
from credit_tables import episode

from credit import (
    Steps,
    agentopsd,
    gpg,
    grpo,
    grpo_passk,
    max_rl,
    opo,
    progress_advantage,
    pure,
    rae,
    single_stream,
    turn_credit,
    vineppo,
    vpr,
)


def steps_of(*episodes, **columns):
    return Steps.from_frame(pd.concat(episodes, ignore_index=True).assign(**columns))


def outcomes(*rewards, group="g"):
    """Episodes of one step each."""
    return [episode(group, f"{group}{i}", "pq", [r], won=r > 0) for i, r in enumerate(rewards)]


def close(values, expected):
    np.testing.assert_allclose(values, expected, atol=1e-5)


def test_opo_weighs_long_episodes_more():
    # outcomes 1 (two steps) and 0 (one step): the baseline is 2/3
    steps = steps_of(episode("g", "X", "pqw", [0, 1], won=True), episode("g", "Y", "pq", [0]), tokens=[1, 2, 9])
    close(opo(steps), [1 / 3, 1 / 3, -2 / 3])
    close(opo(steps, length="tokens"), [3 / 4, 3 / 4, -1 / 4])
    close(opo(steps_of(*outcomes(0, 0, 3))), [-1, -1, 2])  # equally long: the plain mean
    close(opo(steps_of(*outcomes(2))), [0])
    close(opo(steps_of(*outcomes(2), tokens=[5]), compat="released"), [2])


def test_gpg_makes_up_for_groups_that_say_nothing():
    steps = steps_of(*outcomes(0, 1), *outcomes(1, 1, group="h"))
    close(gpg(steps), [-1, 1, 0, 0])  # 4 episodes, 2 of them in a group with different outcomes
    close(gpg(steps, compat="released"), [-2 / 3, 2 / 3, 0, 0])  # 3 of 4 are not 0
    close(gpg(steps_of(*outcomes(0, 0))), [0, 0])


def test_passk_pays_the_lead_of_the_best():
    close(grpo_passk(steps_of(*outcomes(1, 4, 2)), normalize="mean"), [0, 2, 0])
    close(grpo_passk(steps_of(*outcomes(0, 0, 1)), epsilon=0.0), [0, 0, 1 / sqrt(1 / 3)])
    close(grpo_passk(steps_of(*outcomes(1, 1, 0))), [0, 0, 0])
    close(grpo_passk(steps_of(*outcomes(1))), [0])


def test_max_rl_counts_rare_successes_more():
    close(max_rl(steps_of(*outcomes(0, 0, 0, 1))), [-1, -1, -1, 3])
    close(max_rl(steps_of(*outcomes(0, 1))), [-1, 1])
    close(max_rl(steps_of(*outcomes(0, -1))), [0, 0])  # no success rate


def test_single_stream_compares_with_the_past_of_the_task():
    steps = steps_of(*outcomes(1, 0), baseline=[0.75, 0.25])
    close(single_stream(steps, whitened=False), [0.25, -0.25])
    close(single_stream(steps), [1 / sqrt(2), -1 / sqrt(2)])
    again = steps_of(episode("g", "X", "pqw", [0, 1], won=True), baseline=[0.75, 9.0])
    close(single_stream(again, whitened=False), [0.25, 0.25])  # the first step's counts


def test_rae_compares_an_agent_with_its_own_past():
    steps = steps_of(episode("g", "X", "pqrw", [1, 2, 4], won=True), agent=["m", "h", "m"], baseline=[0.5, 1.0, 0.5])
    close(rae(steps), [6.5, 6, 6.5])
    close(rae(steps, score="own"), [4.5, 1, 4.5])


def test_progress_is_the_log_ratio():
    steps = steps_of(*outcomes(1, 0), reference_gap=[0.5, -2.0])
    close(progress_advantage(steps, beta=0.1), [0.05, -0.2])
    z = 1 / sqrt(2)
    close(progress_advantage(steps, beta=0.1, outcome_weight=2.0), [0.05 + 2 * z, -0.2 - 2 * z])


def test_agentopsd_moves_credit_to_where_the_belief_moves():
    steps = steps_of(
        episode("g", "X", "pqw", [0, 1], won=True), episode("g", "Y", "pqr", [0, 0]), teacher_gap=[2.0, 0.0, 2.0, 0.0]
    )
    # the belief rises from .5 at the first turn and then stays: z = +-1/sqrt(2) for X, the other way for Y
    z, w = 1 / sqrt(2), 0.2 / sqrt(2)
    found = agentopsd(steps, z_epsilon=1e-12)
    close(found, [z * (1 + w / 2), z * (1 - w / 2), -z * (1 - w / 2), -z * (1 + w / 2)])
    close(agentopsd(steps, lam=0.0), grpo(steps))
    # with band 0.5 a weight of 1 +- .5 / sqrt(2); all of it moved
    close(agentopsd(steps, lam=1.0, band=0.5)[0], z * (1 + 0.5 / sqrt(2)))
    # forgetting all evidence: the belief falls back to .5 at the second turn
    close(agentopsd(steps, gamma=0.0), found)


def test_agentopsd_begins_at_the_groups_share_of_successes():
    episodes = [episode("g", "X", "pqrw", [0, 0, 1], won=True), episode("g", "Y", "pq", [0]), *outcomes(0, 0)]
    steps = steps_of(*episodes, teacher_gap=[1.0, 1.0, -2.0, 0.0, 0.0, 0.0])
    belief = [0.25, *(1 / (1 + 3 * exp(-e)) for e in (1.0, 2.0, 0.0))]
    rise = np.diff(belief)
    z = (rise - rise.mean()) / rise.std(ddof=1)
    base = grpo(steps)[:3]
    found = agentopsd(steps, prior="group", lam=1.0, band=0.9)[:3]
    close(found, base * np.clip(1 + 0.9 * z, 0.1, 1.9))


def test_pure_gives_an_episode_the_worth_of_its_worst_turn():
    steps = steps_of(episode("g", "X", "pqw", [0, 1], won=True), episode("g", "Y", "pq", [0]), score=[0.0, 1.0, 0.5])
    # X: weights 1 and e^-10: p = 0, 4.54e-5. Y: p = .5, so X has .5 taken off twice, and Y half of X's 4.54e-5
    small = exp(-10) / (1 + exp(-10))
    close(pure(steps, outcome_weight=0.0), [small - 1.0, small - 0.5, 0.5 - small / 2])
    close(pure(steps), [small, small + 0.5, 0.5 - small / 2 - 1])
    close(pure(steps, gamma=0.5, temperature=1e9, outcome_weight=0.0), [-0.5 + 0.5 * (0.5 - 0.5), 0.0, 0.5 - 0.25])


def test_pure_counts_tokens():
    steps = steps_of(
        episode("g", "X", "pqw", [0, 0]), episode("g", "Y", "pq", [0]), score=[0.4, 0.4, 0.5], tokens=[1, 3, 5]
    )
    # Y earned .5 with 5 tokens: .1 a token off X; X earned .4 with 4: .1 a token off Y
    close(pure(steps, baseline="token", outcome_weight=0.0), [0.2 - 0.1 + 0.2 - 0.3, 0.2 - 0.3, 0.5 - 0.5])


def test_turn_credit_shares_progress_out_over_the_turns_that_led_to_it():
    steps = steps_of(
        episode("g", "X", "pqrw", [0, 0, 1], won=True), episode("g", "Y", "pq", [0]), score=[0.25, 0.25, 1.0, 0.5]
    )
    # progress 0 0 .75 of X: over three turns with weights 1/4 1/2 1 of 7/4; Y makes none
    credit = np.array([0.25, 0.5, 1.0]) * 0.75 / 1.75
    level = 1.75 / 2
    close(turn_credit(steps, gamma=0.5), [*(level + credit - credit.mean()), -level])
    close(turn_credit(steps, gamma=0.5, beta=0.0), [level, level, level, -level])
    # from 0, the first turns made .25 and .5: levels (2 - .5) / 2, and X's first turn has .25 more
    credit = credit + np.array([0.25, 0, 0])
    close(turn_credit(steps, gamma=0.5, start="zero"), [*(0.75 + credit - credit.mean()), -0.75])


def test_vineppo_is_the_change_of_the_value():
    steps = steps_of(episode("g", "X", "pqw", [0.5, 1], won=True), episode("g", "Y", "pq", [0]), value=[0.5, 0.25, 0.5])
    close(vineppo(steps), [0.25, 0.75, -0.5])
    close(vineppo(steps, gamma=0.5), [0.125, 0.75, -0.5])
    raw = np.array([0.25, 0.75, -0.5])
    close(vineppo(steps, whitened=True), (raw - raw.mean()) / raw.std(ddof=1))


def test_vpr_compares_the_candidates_of_one_decision():
    # one decision with candidates a b c of which a was played, then one whose candidates are equally good
    steps = steps_of(
        episode("g", "X", "pqw", [0, 1], won=True),
        episode("g", "X-b", "pq", [0]),
        episode("g", "X-c", "pr", [0]),
        episode("g", "X-d", "qr", [0]),
        oracle=[1.0, 0.5, 0.0, 0.5, 0.5],
        choice=[0, 1, 0, 0, 1],
    )
    std = sqrt(1 / 6)
    close(vpr(steps), [0.5 / std, 0, -0.5 / std, 0, 0])
    close(vpr(steps, normalize="mean"), [0.5, 0, -0.5, 0, 0])
    close(vpr(steps, normalize="mean", outcome_bonus=1.0), [0.5, 0.5, -0.5, 0, -0.5])
    close(vpr(steps, compare="turn", normalize="mean"), [0.5, 0, -0.5, 0, 0])


def test_vpr_with_exact_q_ranks_actions_as_q_does():
    quality = np.random.default_rng(0).normal(size=(6, 4))
    table = pd.concat(
        [episode("g", f"{s}-{a}", [s, "end"], [0.0]) for s in range(6) for a in range(4)], ignore_index=True
    ).assign(oracle=quality.ravel(), choice=np.repeat(range(6), 4))
    found = vpr(Steps.from_frame(table)).reshape(6, 4)
    np.testing.assert_array_equal(found.argsort(axis=1), quality.argsort(axis=1))
