"""What must hold for every scheme, and what single schemes claim of themselves, on tables of all shapes.

A property is tested on one drawn table for all schemes that have it; a failure names the scheme.
"""

import numpy as np
import pandas as pd
import pytest
from credit_tables import random_table, tables
from hypothesis import given, settings
from hypothesis import strategies as st

from credit import SCHEMES, Steps, advantages, health

IDS = ("group", "episode", "state", "action", "next_state", "agent", "subgoal")
BOUNDS = {"min_value": -50.0, "max_value": 50.0}  # BNPO is defined for bounded outcomes only
examples = settings(max_examples=40, deadline=None)


def each(table, claim=None, **options):
    """Yield the name and advantage of every scheme that makes the claim; options go to those that know them."""
    steps, options = Steps.from_frame(table), {**BOUNDS, **options}
    for name, scheme in SCHEMES.items():
        if claim is None or claim in scheme.claims:
            yield name, advantages(name, steps, **{k: v for k, v in options.items() if k in scheme.options})


def same(name, found, expected, tolerance=1e-7):
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance, err_msg=name)


def only_last_rewarded(table, reward):
    is_last = ~table["episode"].duplicated(keep="last")
    return table.assign(reward=np.where(is_last, reward, 0.0))


@examples
@given(table=tables, seed=st.integers(0, 99))
def test_the_order_of_rows_does_not_matter_to_the_last_bit(table, seed):
    shuffled = table.sample(frac=1, random_state=seed)
    other = dict(each(shuffled))
    for name, straight in each(table):
        assert straight.shape == (len(table),), name
        assert straight.dtype == np.float64, name
        assert np.isfinite(straight).all(), name
        assert (other[name] == straight[shuffled.index]).all(), name


@examples
@given(table=tables, seed=st.integers(0, 99))
def test_names_do_not_matter(table, seed):
    rng = np.random.default_rng(seed)
    renamed = table.copy()
    for columns in (*((column,) for column in IDS if column not in ("state", "next_state")), ("state", "next_state")):
        values = pd.unique(pd.concat([table[column] for column in columns]))
        new = dict(zip(values, rng.permutation(len(values)), strict=True))
        for column in columns:
            renamed[column] = table[column].map(new)
    other = dict(each(renamed))
    for name, straight in each(table):
        same(name, other[name], straight)


@examples
@given(table=tables, seed=st.integers(0, 99))
def test_an_unrelated_group_changes_nothing(table, seed):
    added = random_table(seed, groups=1, rewards="dense")
    added = added.assign(group="other", episode="other " + added["episode"])
    both = dict(each(pd.concat([added, table], ignore_index=True), "local"))
    for name, alone in each(table, "local"):
        same(name, both[name][len(added) :], alone)


@examples
@given(table=tables, shift=st.sampled_from([-3.0, 0.25, 10.0]))
def test_a_constant_added_to_every_outcome_changes_nothing(table, shift):
    is_last = ~table["episode"].duplicated(keep="last")
    shifted = dict(each(table.assign(reward=table["reward"] + shift * is_last), "shift"))
    for name, straight in each(table, "shift"):
        same(name, shifted[name], straight, tolerance=1e-6)


@examples
@given(table=tables, factor=st.sampled_from([0.5, 3.0, -2.0]))
def test_without_a_division_the_advantage_scales_with_the_rewards(table, factor):
    how = {"normalize": "mean", "epsilon": 0.0}
    scaled = dict(each(table.assign(reward=table["reward"] * factor), "scale", **how))
    for name, straight in each(table, "scale", **how):
        same(name, scaled[name], factor * straight)


@examples
@given(table=tables, factor=st.sampled_from([0.5, 3.0]))
def test_with_a_division_the_scale_of_the_rewards_does_not_matter(table, factor):
    how = {"normalize": "std", "epsilon": 0.0}
    scaled = dict(each(table.assign(reward=table["reward"] * factor), "scale_free", **how))
    for name, straight in each(table, "scale_free", **how):
        same(name, scaled[name], straight)


@examples
@given(table=tables)
def test_no_reward_no_credit(table):
    for name, advantage in each(only_last_rewarded(table, 0.0), "zero_without_reward"):
        assert not advantage.any(), name


@examples
@given(table=tables)
def test_equal_outcomes_give_zero(table):
    for name, advantage in each(only_last_rewarded(table, 0.3), "zero_when_equal"):
        assert not advantage.any(), name


@examples
@given(seed=st.integers(0, 999))
def test_a_single_rollout_gives_zero(seed):
    for name, advantage in each(random_table(seed, rollouts=1, rewards="dense"), "zero_when_alone"):
        assert not advantage.any(), name


@examples
@given(table=tables)
def test_the_advantages_of_a_groups_episodes_sum_to_zero(table):
    first = (table["step"] == 0).to_numpy()
    for name, advantage in each(table, "centred"):
        total = pd.Series(advantage[first]).groupby(table["group"][first].to_numpy()).sum()
        np.testing.assert_allclose(total, 0.0, atol=1e-9, err_msg=name)


@examples
@given(table=tables)
def test_playing_every_episode_twice_changes_only_what_counts_samples(table):
    table = table.drop(columns=["node", "parent", "own"])  # no two episodes play a step
    again = table.assign(episode="again " + table["episode"])
    once, twice = Steps.from_frame(table), Steps.from_frame(pd.concat([table, again], ignore_index=True))
    rollouts = table.groupby("group")["episode"].transform("nunique").to_numpy()
    several = rollouts > 1
    n = rollouts[several]
    same("dr_grpo", advantages("dr_grpo", twice)[: len(table)], advantages("dr_grpo", once))
    grpo = advantages("grpo", once, epsilon=0.0)[several] / np.sqrt((2 * n - 2) / (2 * n - 1))
    same("grpo", advantages("grpo", twice, epsilon=0.0)[: len(table)][several], grpo)
    rloo = advantages("rloo", once)[several] * (2 * n / (2 * n - 1)) / (n / (n - 1))
    same("rloo", advantages("rloo", twice)[: len(table)][several], rloo)


@pytest.mark.parametrize("name", ["gigpo", "hgpo"])
@examples
@given(seed=st.integers(0, 999))
def test_with_outcomes_of_zero_and_one_a_failed_episode_gets_no_positive_credit(name, seed):
    steps = Steps.from_frame(random_table(seed, rewards="sparse"))
    assert health(name, steps, advantages(name, steps)).positive_on_failure == 0.0


def test_an_empty_table_gives_an_empty_advantage():
    for name, advantage in each(random_table(0).iloc[:0]):
        assert advantage.shape == (0,), name


@pytest.mark.parametrize("name", SCHEMES)
def test_the_table_is_not_changed_and_the_result_repeats(name):
    steps = Steps.from_frame(random_table(4))
    before = steps.to_frame()
    first = advantages(name, steps)
    assert (advantages(name, steps) == first).all()
    pd.testing.assert_frame_equal(steps.to_frame(), before)


@pytest.mark.parametrize("name", SCHEMES)
def test_the_result_is_the_callers_own_where_every_episode_has_one_step(name):
    steps = Steps.from_frame(random_table(4, longest=1))
    before = steps.to_frame()
    advantage = advantages(name, steps)
    kept = advantage.copy()
    advantage += 1.0
    pd.testing.assert_frame_equal(steps.to_frame(), before)
    assert (advantages(name, steps) == kept).all()


@pytest.mark.parametrize("name", SCHEMES)
def test_every_needed_column_is_missed_by_name_and_no_other_is(name):
    table = random_table(4)
    needs = SCHEMES[name].needs
    for column in needs:
        with pytest.raises(ValueError, match=f"{name} needs the column '{column}'"):
            advantages(name, Steps.from_frame(table.drop(columns=column)))
    advantages(name, Steps.from_frame(table[["group", "episode", "step", "reward", *needs]]))
