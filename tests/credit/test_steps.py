"""The door: a wrong table is refused with one clear error, a right one comes back as it was."""

import numpy as np
import pandas as pd
import pytest
from credit_tables import episode, random_table
from hypothesis import given
from hypothesis import strategies as st

from credit import CreditError, Steps, advantages, gigpo, grpo


@pytest.fixture
def table():
    return random_table(seed=1)


def test_a_table_comes_back_with_its_rows_order_and_ids(table):
    shuffled = table.sample(frac=1, random_state=3)
    again = Steps.from_frame(shuffled).to_frame()
    pd.testing.assert_frame_equal(again, shuffled.reset_index(drop=True)[again.columns], check_dtype=False)
    assert set(again.columns) == set(table.columns)


def test_integer_ids_stay_as_they_are():
    table = pd.DataFrame({"group": [7, 7], "episode": [-3, 99], "step": [0, 0], "reward": [0, 1], "state": [10**15, 5]})
    steps = Steps.from_frame(table)
    assert steps.group.tolist() == [7, 7]
    assert steps.episode.tolist() == [-3, 99]
    assert steps.state.tolist() == [10**15, 5]
    assert not steps.labels


def test_state_and_next_state_share_their_codes():
    steps = Steps.from_frame(episode("g", "e", ["a", "b", "a"], [0, 0]))
    assert steps.next_state[0] == steps.state[1]
    assert steps.next_state[1] == steps.state[0]
    assert steps.labels["state"][steps.next_state].tolist() == ["b", "a"]


@pytest.mark.parametrize(
    ("state", "next_state"),
    [([("a", 1), ("b", 2)], [("b", 2), ("a", 1)]), ([1, "x"], ["x", 1]), ([2**64 - 1, 2**64 - 2], [2**64 - 2, 0])],
    ids=["tuples", "mixed", "beyond int64"],
)
def test_any_hashable_ids_are_taken(state, next_state):
    table = pd.DataFrame({"group": 0, "episode": 0, "step": [0, 1], "reward": 0.0})
    steps = Steps.from_frame(table.assign(state=pd.Series(state), next_state=pd.Series(next_state)))
    assert steps.next_state[0] == steps.state[1]
    assert steps.to_frame()["next_state"].tolist() == next_state


def test_rows_may_come_in_any_order(table):
    shuffled = table.sample(frac=1, random_state=5)
    for name in ("grpo", "gigpo", "hgpo", "salt", "mapo"):
        straight = advantages(name, Steps.from_frame(table))
        assert (advantages(name, Steps.from_frame(shuffled)) == straight[shuffled.index]).all()


def test_arrays_are_read_only_and_the_callers_are_not_touched():
    reward = np.array([1.0, 2.0])
    steps = Steps(group=[0, 0], episode=[0, 1], step=[0, 0], reward=reward)
    with pytest.raises(ValueError, match="read-only"):
        steps.reward[0] = 3.0
    reward[0] = 5.0


def test_an_empty_table_gives_an_empty_advantage(table):
    empty = Steps.from_frame(table.iloc[:0])
    assert len(empty) == 0
    assert gigpo(empty).shape == (0,)
    assert len(Steps.from_frame(pd.DataFrame(columns=table.columns))) == 0


def test_optional_columns_of_nulls_count_as_absent(table):
    steps = Steps.from_frame(table.assign(value=None, action=np.nan))
    assert "value" not in steps.extra
    assert steps.action is None


WRONG = {
    "step missing": (lambda t: t[~((t.episode == "y") & (t.step == 1))], "episode 'y' has no step 1"),
    "first step missing": (lambda t: t.assign(step=t.step + 1), "episode 'x' has no step 0"),
    "step twice": (lambda t: pd.concat([t, t[t.step == 2]]), "episode 'y' has step 2 twice"),
    "negative step": (lambda t: t.assign(step=-t.step), "episode 'x' has no step 1"),
    "two groups": (lambda t: t.assign(group=[*"ab", *"aaa"]), r"episode 'x' is in two groups \('a' and 'b'\)"),
    "end too early": (lambda t: t.assign(terminated=True), "episode 'x' is terminated at step 0"),
    "cut too early": (lambda t: t.assign(truncated=True), "episode 'x' is truncated at step 0"),
    "reward not finite": (lambda t: t.assign(reward=[0, 0, np.inf, 0, 0]), "'reward' is not finite in row 2"),
    "reward missing": (lambda t: t.assign(reward=[0, None, 0, 0, 0]), "'reward' is not finite in row 1"),
    "value not finite": (lambda t: t.assign(value=[0, 0, 0, np.nan, 0]), "'value' is not finite in row 3"),
    "text as reward": (lambda t: t.assign(reward="much"), "column 'reward' holds"),
    "fractional step": (lambda t: t.assign(step=t.step / 2), "column 'step' holds float64"),
    "numbers as flags": (lambda t: t.assign(is_valid=0.5), "column 'is_valid' holds float64, expected bool"),
    "state missing": (lambda t: t.assign(state=["a", "b", None, "d", "e"]), "'state' has no value in row 2"),
    "group missing": (lambda t: t.assign(group=["a", "a", "a", None, "a"]), "'group' has no value in row 3"),
    "no column": (lambda t: t.drop(columns="episode"), "no column 'episode'; it has: group, step"),
    "column twice": (lambda t: pd.concat([t, t[["reward"]]], axis=1), "column 'reward' twice"),
}


@pytest.mark.parametrize(("spoil", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_table_is_refused_by_name(spoil, message):
    parts = [episode("a", "x", "pqr", [0, 1], won=True), episode("a", "y", "pqqr", [0, 0, 0])]
    with pytest.raises(CreditError, match=message):
        Steps.from_frame(spoil(pd.concat(parts, ignore_index=True)))


def test_unequal_lengths_and_wrong_shapes_are_refused():
    with pytest.raises(CreditError, match=r"column 'group' has shape \(3,\), expected \(2,\)"):
        Steps(group=[0, 0, 0], episode=[0, 0], step=[0, 1], reward=[0.0, 1.0])
    with pytest.raises(CreditError, match=r"column 'reward' has shape \(1, 2\)"):
        Steps(group=[0], episode=[0], step=[0], reward=[[0.0, 1.0]])
    with pytest.raises(CreditError, match="beyond the range of int64"):
        Steps(group=np.array([2**63], dtype=np.uint64), episode=[0], step=[0], reward=[0.0])


def test_a_missing_column_is_named_together_with_the_scheme(table):
    with pytest.raises(CreditError, match="gigpo needs the column 'state', which this table does not have"):
        gigpo(Steps.from_frame(table.drop(columns="state")))
    with pytest.raises(CreditError, match="grpo needs the column 'is_valid'"):
        grpo(Steps.from_frame(table.drop(columns="is_valid")), invalid_penalty=0.1)


def test_further_columns_are_taken_by_name(table):
    steps = Steps.from_frame(table.assign(helpful=1, text="so"), extra=["helpful"])
    assert steps.column("helpful").dtype == np.float64
    assert "text" not in steps.extra
    with pytest.raises(CreditError, match="no column 'helpfull'"):
        Steps.from_frame(table, extra=["helpfull"])


@given(st.permutations(range(12)))
def test_order_and_given_order_undo_each_other(order):
    table = pd.concat([episode(0, name, "abcd", [0, 0, 1]) for name in (3, 1, 2, 0)], ignore_index=True).iloc[order]
    steps = Steps.from_frame(table)
    ordered = steps.in_order()
    assert ordered.episode.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert ordered.step.tolist() == [0, 1, 2] * 4
    values = np.arange(12.0)
    assert (steps.given_order(steps.to_order(values)) == values).all()
    assert (steps.given_order(ordered.step) == steps.step).all()


def test_it_says_what_it_holds(table):
    assert repr(Steps.from_frame(table)).startswith(f"Steps({len(table)} steps, ")
