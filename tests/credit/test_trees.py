"""Schemes on trees: worked by hand, against slow loops, and the table that they read."""

from __future__ import annotations

from math import sqrt

import credit_family_oracles as oracle
import numpy as np
import pandas as pd
import pytest
from credit_tables import tables, trees
from hypothesis import given, settings
from hypothesis import strategies as st

from credit import SCHEMES, CreditError, Steps, advantages

examples = settings(max_examples=40, deadline=None)


def forest(paths, won):
    """Make a table of episodes of one group, each a string of one letter a node; ``won`` are those that earn 1."""
    letters = {letter: number for number, letter in enumerate(dict.fromkeys("".join(paths)))}
    seen, rows = set(), []
    for number, path in enumerate(paths):
        for step, letter in enumerate(path):
            is_last = step == len(path) - 1
            before = letters[path[step - 1]] if step else -1
            rows.append(
                {"group": "g", "episode": number, "step": step, "node": letters[letter], "parent": before}
                | {"own": letter not in seen, "reward": float(is_last and number in won), "letter": letter}
            )
            seen.add(letter)
    return pd.DataFrame(rows)


def by_letter(table, values):
    found = pd.Series(values).groupby(table["letter"].to_numpy()).agg(["min", "max"])
    assert (found["min"] == found["max"]).all(), "rows of one node differ"
    return found["min"].to_dict()


#   a - b - c        won        One tree of three episodes that share a, of which two share b; and one alone.
#        \- d        lost
#    \- e - f        lost
#   x - y            won
TABLE = forest(["abc", "abd", "aef", "xy"], won={0, 3})


def test_tree_grpo_by_hand():
    # Outcomes 1 0 0 in the tree: mean 1/3; over the task 1 0 0 1: mean 1/2. Without the division:
    #   c: 2/3 + 1/2 = 7/6     d, f: -1/3 - 1/2 = -5/6     x, y: 0 (alone in its tree) + 1/2
    #   b: (7/6 - 5/6) / 2 = 1/6     a: (7/6 - 5/6 - 5/6) / 3 = -1/6
    found = by_letter(TABLE, advantages("tree_grpo", TABLE, normalize="mean"))
    expected = {"a": -1 / 6, "b": 1 / 6, "c": 7 / 6, "d": -5 / 6, "e": -5 / 6, "f": -5 / 6, "x": 0.5, "y": 0.5}
    assert found == pytest.approx(expected)
    # Child by child: a has b (1/6) and e (-5/6), so -1/3; with half taken off a step, b = 1/2 * 1/6, e = -5/12,
    # a = 1/2 * (1/12 - 5/12) / 2.
    mean = by_letter(TABLE, advantages("tree_grpo", TABLE, normalize="mean", backup="children"))
    assert (mean["a"], mean["b"]) == pytest.approx((-1 / 3, 1 / 6))
    less = by_letter(TABLE, advantages("tree_grpo", TABLE, normalize="mean", backup="children", gamma=0.5))
    assert (less["a"], less["b"], less["e"], less["c"]) == pytest.approx((-1 / 12, 1 / 12, -5 / 12, 7 / 6))
    # Weighed by leaves: a has three, b two.
    for weight, power in (("sqrt", 0.5), ("inverse", 1.0)):
        weighed = by_letter(TABLE, advantages("tree_grpo", TABLE, normalize="mean", leaf_weight=weight))
        assert weighed["a"] == pytest.approx(-1 / 6 / 3**power) and weighed["b"] == pytest.approx(1 / 6 / 2**power)
    # Divided by deviations, 1/sqrt(3) in the tree and over the task. As released, x keeps its outcome 1 in its tree.
    divided = by_letter(TABLE, advantages("tree_grpo", TABLE, epsilon=0.0))
    assert divided["c"] == pytest.approx(7 / 6 * sqrt(3)) and divided["y"] == pytest.approx(sqrt(3) / 2)
    assert by_letter(TABLE, advantages("tree_grpo", TABLE, compat="released", epsilon=0.0))["x"] == pytest.approx(
        1 + sqrt(3) / 2
    )


def test_spo_by_hand():
    # Segments: a; b; c; d; e f; x y. V: c 1, d 0, so b 1/2; ef 0; a (1/2 + 0) / 2 = 1/4; xy 1.
    # The trees: mean 5/8. At a: mean of b and ef 1/4. At b: mean of c and d 1/2.
    found = by_letter(TABLE, advantages("spo", TABLE))
    expected = {"a": -3 / 8, "b": 1 / 4, "c": 1 / 2, "d": -1 / 2, "e": -1 / 4, "f": -1 / 4, "x": 3 / 8, "y": 3 / 8}
    assert found == pytest.approx(expected)
    assert by_letter(TABLE, advantages("spo", TABLE, normalize="std", epsilon=0.0)) == pytest.approx(
        {letter: np.sign(value) for letter, value in expected.items()}  # of two sisters each is one deviation away
    )


def test_pivot_retry_by_hand():
    # Outcomes 1 0 0 1, mean 1/2: a, b and c are the first episode's, d the second's, e and f the third's.
    found = by_letter(TABLE, advantages("pivot_retry", TABLE, normalize="mean"))
    assert found == pytest.approx({**dict.fromkeys("abcxy", 0.5), **dict.fromkeys("def", -0.5)})


@examples
@given(trees, st.booleans(), st.sampled_from([0, 1]))
def test_spo_is_the_slow_loop(table, std, ddof):
    found = advantages("spo", table, normalize="std" if std else "mean", ddof=ddof)
    np.testing.assert_allclose(found, oracle.spo(table.to_dict("records"), std, ddof), rtol=1e-7, atol=1e-7)


@examples
@given(trees, st.booleans())
def test_pivot_retry_is_the_slow_loop(table, std):
    found = advantages("pivot_retry", table, normalize="std" if std else "mean")
    np.testing.assert_allclose(found, oracle.pivot_retry(table.to_dict("records"), std), rtol=1e-7, atol=1e-7)


@examples
@given(
    st.one_of(trees, tables),
    st.booleans(),
    st.booleans(),
    st.sampled_from([("leaves", 1.0), ("children", 1.0), ("children", 0.7), ("children", 0.0)]),
    st.sampled_from([("none", 0.0), ("sqrt", -0.5), ("inverse", -1.0)]),
)
def test_tree_grpo_is_the_slow_loop(table, std, raw, backup, weight):
    expected = oracle.tree_grpo(table.to_dict("records"), std, raw, *backup, weight[1])
    found = advantages(
        "tree_grpo", table, normalize="std" if std else "mean", singleton="raw" if raw else "zero",
        backup=backup[0], gamma=backup[1], leaf_weight=weight[0],
    )  # fmt: skip
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-7)


TREE_SCHEMES = [name for name, scheme in SCHEMES.items() if "node" in scheme.needs]


@examples
@given(table=trees, seed=st.integers(0, 99))
def test_rows_of_one_node_are_equal_in_any_order_of_rows(table, seed):
    shuffled = table.sample(frac=1, random_state=seed)
    for name in TREE_SCHEMES:
        found = advantages(name, table)
        assert (pd.Series(found).groupby(table["node"]).nunique() == 1).all(), name
        assert (advantages(name, shuffled) == found[shuffled.index]).all(), name


@examples
@given(table=trees)
def test_a_tree_goes_through_a_frame_and_back(table):
    again = Steps.from_frame(Steps.from_frame(table).to_frame())
    for name in ("node", "parent", "own"):
        np.testing.assert_array_equal(again.extra[name], table[name])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"node": [0, 1, 2, 0, 1, 3, 0, 4, 1, 6, 7]}, "does not stand where its other rows"),
        ({"node": [0, 1, 2, 0, 1, 3, 0, 4, 5, 6, -7]}, "numbered from 0"),
        ({"parent": [-1, 0, 1, -1, 0, 1, -1, 0, 3, -1, 6]}, "'parent'"),
        ({"own": [True] * 11}, "one episode played it"),
        ({"node": [0, 1, 2, 0, 1, 3, 0, 4, 5, 6, None]}, "holds float64, expected int"),
    ],
)
def test_a_tree_that_is_none_is_refused_in_a_line(change, said):
    with pytest.raises(CreditError, match=said) as caught:
        Steps.from_frame(TABLE.assign(**change))
    assert "\n" not in str(caught.value)


def test_an_episode_does_not_end_where_another_goes_on():
    with pytest.raises(CreditError, match="go on after it"):
        Steps.from_frame(forest(["ab", "abc"], won=set()).drop(columns="own"))


def test_columns_of_these_names_without_nodes_are_left_alone():
    table = TABLE.drop(columns="node").assign(parent="someone", own="something")
    assert not {"parent", "own"} & set(Steps.from_frame(table).extra)


def test_chains_have_no_nodes_and_a_scheme_of_trees_says_what_to_do():
    with pytest.raises(CreditError, match="rollouts = tree"):
        advantages("tree_grpo", TABLE.drop(columns=["node", "parent", "own"]))
