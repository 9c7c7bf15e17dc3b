"""Every scheme equals the slow loop written from its equation, on tables of all shapes."""

import credit_oracles as oracle
import numpy as np
from credit_tables import tables
from hypothesis import given, settings
from hypothesis import strategies as st

from credit import Steps, gigpo, grpo, hgpo, mapo, reinforce_plus_plus, rloo, salt
from credit.grouping import Groups, combine
from credit.returns import discounted_sum, step_returns

discounts = st.sampled_from([0.0, 0.5, 0.95, 1.0])
kinds = st.sampled_from(["std", "mean"])


def same(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9)


def rows_of(table):
    return table.to_dict("records")


@settings(max_examples=60, deadline=None)
@given(tables, discounts)
def test_step_returns(table, gamma):
    steps = Steps.from_frame(table)
    same(steps.given_order(step_returns(steps.in_order(), gamma=gamma)), oracle.returns_of(rows_of(table), gamma))


@settings(max_examples=60, deadline=None)
@given(tables, st.sampled_from(["trajectories", "rows"]), kinds, st.sampled_from(["zero", "raw"]))
def test_grpo(table, weighting, normalize, singleton):
    found = grpo(Steps.from_frame(table), weighting=weighting, normalize=normalize, singleton=singleton)
    same(found, oracle.grpo(rows_of(table), weighting, std=normalize == "std", singleton=singleton))


@settings(max_examples=60, deadline=None)
@given(tables)
def test_rloo(table):
    same(rloo(Steps.from_frame(table)), oracle.rloo(rows_of(table)))


@settings(max_examples=60, deadline=None)
@given(tables, st.booleans())
def test_reinforce_plus_plus(table, tokens):
    found = reinforce_plus_plus(Steps.from_frame(table), count_tokens=tokens)
    np.testing.assert_allclose(found, oracle.reinforce_plus_plus(rows_of(table), tokens), rtol=1e-6, atol=1e-6)


@settings(max_examples=80, deadline=None)
@given(tables, discounts, st.sampled_from([0.0, 0.5, 1.0]), kinds)
def test_gigpo(table, gamma, step_weight, normalize):
    found = gigpo(Steps.from_frame(table), gamma=gamma, step_weight=step_weight, normalize=normalize)
    same(found, oracle.gigpo(rows_of(table), gamma, step_weight, std=normalize == "std"))


@settings(max_examples=60, deadline=None)
@given(tables, kinds)
def test_gigpo_as_released(table, normalize):
    found = gigpo(Steps.from_frame(table), normalize=normalize, compat="verl-agent")
    expected = oracle.gigpo(rows_of(table), weighting="rows", singleton="raw", penalty=0.1, std=normalize == "std")
    same(found, expected)


@settings(max_examples=80, deadline=None)
@given(tables, discounts, st.integers(0, 4), st.sampled_from([0.0, 1.0, 2.0]), kinds, st.booleans(), st.booleans())
def test_hgpo(table, gamma, history, alpha, normalize, base, drop):
    found = hgpo(
        Steps.from_frame(table),
        gamma=gamma,
        history_length=history,
        length_weight_alpha=alpha,
        normalize=normalize,
        base_group=base,
        drop_exact_zero=drop,
    )
    same(found, oracle.hgpo(rows_of(table), gamma, history, alpha, base, drop, std=normalize == "std"))


@settings(max_examples=80, deadline=None)
@given(
    tables,
    st.sampled_from(["grpo", "rloo"]),
    st.integers(0, 3),
    st.integers(1, 3),
    st.sampled_from(["distinct_trajectories", "rows"]),
    st.sampled_from([("state", "action", "next_state"), ("state", "action"), ("next_state",)]),
)
def test_salt(table, base, history, least, mean, match):
    found = salt(
        Steps.from_frame(table), base=base, history=history, min_trajectories=least, merge_mean=mean, match=match
    )
    same(found, oracle.salt(rows_of(table), base, history, least, mean, match))


@settings(max_examples=80, deadline=None)
@given(
    tables,
    st.sampled_from([0.0, 0.5, 1.0]),
    discounts,
    st.sampled_from(["group", "batch"]),
    st.sampled_from(["reward", "score"]),
)
def test_mapo(table, alpha, gamma, scope, column):
    found = mapo(Steps.from_frame(table), alpha=alpha, gamma=gamma, immediate_scope=scope, turn_reward=column)
    same(found, oracle.mapo(rows_of(table), alpha, gamma, scope, column))


@given(st.lists(st.tuples(st.floats(-9, 9), st.sampled_from([0.0, 0.3, 0.99, 1.0])), min_size=1, max_size=70))
def test_discounted_sum_equals_the_loop(pairs):
    values, decay = np.array(pairs).T
    expected, following = [], 0.0
    for value, factor in reversed(pairs):
        following = value + factor * following
        expected.append(following)
    np.testing.assert_allclose(discounted_sum(values, decay), expected[::-1], rtol=1e-12, atol=1e-12)


def test_discounted_sum_stays_exact_over_a_very_long_episode():
    rows, gamma = 100_000, 0.9999
    total = discounted_sum(np.ones(rows), np.full(rows, gamma))
    left = np.arange(rows, 0, -1)
    np.testing.assert_allclose(total, -np.expm1(left * np.log1p(gamma - 1)) / (1 - gamma), rtol=1e-12)


@given(
    st.lists(
        st.tuples(*[st.sampled_from([-(2**63), -1, 0, 1, 2, 2**40, 2**62, 2**63 - 1])] * 3), min_size=1, max_size=40
    )
)
def test_keys_are_equal_exactly_where_all_columns_are(rows):
    key = combine(*np.array(rows, dtype=np.int64).T)
    for i, one in enumerate(rows):
        for j, other in enumerate(rows):
            assert (key[i] == key[j]) == (one == other)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_groups_know_their_size_and_first_row(column):
    groups = Groups.by(np.array(column))
    assert groups.count == len(set(column))
    assert [column[row] for row in groups.first] == list(dict.fromkeys(column))
    assert groups.size[groups.code].tolist() == [column.count(x) for x in column]


def test_the_mean_of_very_many_equal_values_is_that_value():
    rows = 2_000_003
    mean = Groups.all(rows).mean(np.full(rows, 0.1))
    assert abs(mean[0] - 0.1) <= 1e-16
