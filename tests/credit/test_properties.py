"""What must hold for every scheme, and what single schemes claim of themselves, on tables of all shapes."""

import numpy as np
import pandas as pd
import pytest
from credit_tables import random_table, tables
from hypothesis import given, settings
from hypothesis import strategies as st

from credit import SCHEMES, Steps, advantages

IDS = ("group", "episode", "state", "action", "next_state", "agent", "subgoal")


def claimants(claim):
    return [name for name, scheme in SCHEMES.items() if claim in scheme.claims]


def run(name, table, **options):
    known = SCHEMES[name].options
    return advantages(name, Steps.from_frame(table), **{k: v for k, v in options.items() if k in known})


def same(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-8)


def with_rewards(table, last, other=0.0):
    """The same table, where only the last step of every episode is rewarded, or all steps alike."""
    is_last = ~table["episode"].duplicated(keep="last")
    return table.assign(reward=np.where(is_last, last, other).astype(float))


every_scheme = pytest.mark.parametrize("name", SCHEMES)
examples = settings(max_examples=15, deadline=None)


@every_scheme
@examples
@given(table=tables, seed=st.integers(0, 99))
def test_the_order_of_rows_does_not_matter_to_the_last_bit(name, table, seed):
    shuffled = table.sample(frac=1, random_state=seed)
    straight = run(name, table)
    assert straight.shape == (len(table),)
    assert straight.dtype == np.float64
    assert np.isfinite(straight).all()
    assert (run(name, shuffled) == straight[shuffled.index]).all()


@every_scheme
@examples
@given(table=tables, seed=st.integers(0, 99))
def test_names_do_not_matter(name, table, seed):
    rng = np.random.default_rng(seed)
    renamed = table.copy()
    for columns in (*((column,) for column in IDS if column not in ("state", "next_state")), ("state", "next_state")):
        values = pd.unique(pd.concat([table[column] for column in columns]))
        new = dict(zip(values, rng.permutation(len(values)), strict=True))
        for column in columns:
            renamed[column] = table[column].map(new)
    same(run(name, renamed), run(name, table))


@every_scheme
def test_an_empty_table_gives_an_empty_advantage(name):
    assert run(name, random_table(0).iloc[:0]).shape == (0,)


@every_scheme
def test_the_table_is_not_changed_and_the_result_repeats(name):
    steps = Steps.from_frame(random_table(4))
    before = steps.to_frame()
    first = advantages(name, steps)
    assert (advantages(name, steps) == first).all()
    pd.testing.assert_frame_equal(steps.to_frame(), before)


@every_scheme
def test_every_needed_column_is_missed_by_name(name):
    table = random_table(4)
    for column in SCHEMES[name].needs:
        with pytest.raises(ValueError, match=f"{name} needs the column '{column}'"):
            run(name, table.drop(columns=column))
    run(name, table[["group", "episode", "step", "reward", *SCHEMES[name].needs]])


@pytest.mark.parametrize("name", claimants("local"))
@examples
@given(table=tables, seed=st.integers(0, 99))
def test_an_unrelated_group_changes_nothing(name, table, seed):
    other = random_table(seed, groups=1, rewards="dense")
    other = other.assign(group="other", episode="other " + other["episode"])
    both = run(name, pd.concat([other, table], ignore_index=True))
    same(both[len(other) :], run(name, table))


@pytest.mark.parametrize("name", claimants("shift"))
@examples
@given(table=tables, shift=st.sampled_from([-3.0, 0.25, 10.0]))
def test_a_constant_added_to_every_outcome_changes_nothing(name, table, shift):
    is_last = ~table["episode"].duplicated(keep="last")
    shifted = table.assign(reward=table["reward"] + shift * is_last)
    np.testing.assert_allclose(run(name, shifted), run(name, table), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", claimants("scale"))
@examples
@given(table=tables, factor=st.sampled_from([0.5, 3.0, -2.0]))
def test_without_a_division_the_advantage_scales_with_the_rewards(name, table, factor):
    scaled = table.assign(reward=table["reward"] * factor)
    how = {"normalize": "mean", "epsilon": 0.0}
    same(run(name, scaled, **how), factor * run(name, table, **how))


@pytest.mark.parametrize("name", claimants("scale_free"))
@examples
@given(table=tables, factor=st.sampled_from([0.5, 3.0]))
def test_with_a_division_the_scale_of_the_rewards_does_not_matter(name, table, factor):
    scaled = table.assign(reward=table["reward"] * factor)
    how = {"normalize": "std", "epsilon": 0.0}
    same(run(name, scaled, **how), run(name, table, **how))


@pytest.mark.parametrize("name", claimants("zero_without_reward"))
@examples
@given(table=tables)
def test_no_reward_no_credit(name, table):
    assert not run(name, with_rewards(table, 0.0)).any()


@pytest.mark.parametrize("name", claimants("zero_when_equal"))
@examples
@given(table=tables)
def test_equal_outcomes_give_zero(name, table):
    assert not run(name, with_rewards(table, 0.3)).any()


@pytest.mark.parametrize("name", claimants("zero_when_alone"))
@examples
@given(seed=st.integers(0, 999))
def test_a_single_rollout_gives_zero(name, seed):
    assert not run(name, random_table(seed, rollouts=1, rewards="dense")).any()


@pytest.mark.parametrize("name", claimants("centred"))
@examples
@given(table=tables)
def test_the_advantages_of_a_groups_episodes_sum_to_zero(name, table):
    first = table["step"] == 0
    total = pd.Series(run(name, table)[first]).groupby(table["group"][first].to_numpy()).sum()
    np.testing.assert_allclose(total, 0.0, atol=1e-9)
