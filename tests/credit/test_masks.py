"""A plain table in, and between a trainer's matrices of tokens and the table; worked by hand."""

import numpy as np
import pandas as pd
import pytest
from credit_tables import random_table
from hypothesis import given
from hypothesis import strategies as st

import credit
from credit import CreditError, Steps, advantages, from_tokens, to_tokens, turns


@pytest.mark.parametrize("name", sorted(credit.SCHEMES))
def test_a_plain_table_gives_what_its_checked_form_gives(name):
    table = random_table(seed=4).sample(frac=1, random_state=2)
    assert (advantages(name, table) == advantages(name, Steps.from_frame(table))).all()


def test_a_column_that_an_option_names_is_read_from_the_table():
    table = random_table(seed=5).assign(style=lambda each: each["step"] / 7, note="text that no scheme reads")
    options = {"components": ("reward", "style")}
    wanted = advantages("gdpo", Steps.from_frame(table, extra=("style",)), **options)
    assert (advantages("gdpo", table, **options) == wanted).all()


def test_what_is_wrong_with_a_plain_table_is_one_clear_line():
    table = random_table(seed=6)
    with pytest.raises(CreditError, match="no column 'reward'"):
        advantages("grpo", table.drop(columns="reward"))
    with pytest.raises(CreditError, match="gigpo needs the column 'state'"):
        advantages("gigpo", table.drop(columns="state"))


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), min_size=1, max_size=6), st.integers(0, 3))
def test_turns_are_recovered_from_the_mask(parts, padding):
    mask, wanted = [], []
    for number, (answer, between) in enumerate(parts):
        mask += [1] * answer + [0] * between
        wanted += [number] * answer + [-1] * between
    assert turns(mask + [0] * padding).tolist() == wanted + [-1] * padding


MASK = [[1, 1, 0, 1, 0], [0, 0, 0, 0, 0], [0, 1, 0, 1, 1]]


def test_a_turn_earns_what_stands_before_the_next_begins():
    reward = [[1, 2, 3, 4, 5], [9, 9, 9, 9, 9], [1, 2, 3, 4, 5]]
    table = from_tokens(reward, MASK, ["t", "u", "t"])
    wanted = {"group": ["t"] * 4, "episode": [0, 0, 2, 2], "step": [0, 1, 0, 1], "reward": [6.0, 9.0, 6.0, 9.0]}
    assert table.to_dict("list") == wanted  # the row without a sampled token is no episode


def test_values_come_back_onto_their_tokens():
    found = to_tokens([1.0, 2.0, 3.0, 4.0], MASK)
    assert found.tolist() == [[1, 1, 0, 2, 0], [0, 0, 0, 0, 0], [0, 3, 0, 4, 4]]
    assert found.dtype == np.float64


def test_a_row_may_hold_one_step():
    assert to_tokens([1.0, 2.0], [[1, 1, 0], [0, 1, 1]]).tolist() == [[1, 1, 0], [0, 2, 2]]


def test_turns_that_touch_are_told_apart_where_they_are_given():
    turn = [[0, 0, 1, -1]]
    assert to_tokens([1.0, 2.0], [[1, 1, 1, 0]], turn=turn).tolist() == [[1, 1, 2, 0]]
    assert from_tokens([[1, 0, 2, 3]], [[1, 1, 1, 0]], [0], turn=turn)["reward"].tolist() == [1.0, 5.0]


def test_a_batch_in_which_nothing_was_sampled():
    table = from_tokens(np.zeros((2, 3)), np.zeros((2, 3)), ["a", "b"])
    assert table.empty
    assert to_tokens(advantages("grpo", table), np.zeros((2, 3))).tolist() == [[0, 0, 0]] * 2


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: to_tokens([1.0], MASK), "4 turns in the mask and values of shape"),
        (lambda: to_tokens([1.0], [1, 1, 0]), r"mask has shape \(3,\)"),
        (lambda: to_tokens([1.0], [[1, 1]], turn=[[0.0, 0.0]]), "expected integers"),
        (lambda: to_tokens([1.0, 2.0], [[1, 1]], turn=[[0, 2]]), "skips a number"),
        (lambda: to_tokens([1.0, 2.0], [[1, 1]], turn=[[1, 0]]), "skips a number"),
        (lambda: from_tokens([[0.0]], [[1, 1]], ["a"]), "do not fit each other"),
        (lambda: from_tokens([[0.0, 0.0]], [[1, 1]], ["a", "b"]), "do not fit each other"),
    ],
    ids=["count", "shape", "kind", "gap", "backwards", "reward", "group"],
)
def test_what_does_not_fit_is_said(call, told):
    with pytest.raises(CreditError, match=told):
        call()


@given(st.integers(0, 2**32 - 1))
def test_the_way_there_and_back_keeps_every_reward(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((4, 9)) < 0.6
    reward = rng.normal(size=mask.shape) * mask
    table = from_tokens(reward, mask, rng.integers(0, 2, 4))
    pd.testing.assert_index_equal(table.columns, pd.Index(["group", "episode", "step", "reward"]))
    per_row = table.groupby("episode")["reward"].sum()
    assert np.allclose(per_row, reward.sum(axis=1)[per_row.index])
    spread = to_tokens(np.arange(1, len(table) + 1), mask)
    assert ((spread > 0) == mask).all() and len(np.unique(spread[mask])) == len(table)
