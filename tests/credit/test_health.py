"""The health counters on a batch that can be counted by hand."""

import numpy as np
import pandas as pd
import pytest
from credit_tables import episode

from credit import CreditError, Health, Steps, gigpo, grpo, health


@pytest.fixture
def steps():
    parts = [
        episode("a", "a0", "pqw", [0, 1], won=True),
        episode("a", "a1", "prp", [0, 0]),
        episode("b", "b0", "pqp", [0, 0]),
        episode("b", "b1", "p" * 3, [0, 0]),
        episode("c", "c0", "pqw", [0, 1], won=True),
    ]
    return Steps.from_frame(pd.concat(parts, ignore_index=True))


def test_outcome_schemes_count_episodes(steps):
    found = health("grpo", steps, grpo(steps))
    assert found == Health(
        singleton_share=2 / 10,  # group c
        mean_group_size=5 / 3,
        zero_share=6 / 10,  # b failed throughout, c is alone
        positive_on_failure=0.0,
        equal_groups=1,
        groups=3,
        largest=pytest.approx(0.7071058),
    )


def test_step_schemes_count_steps(steps):
    found = health("gigpo", steps, gigpo(steps))
    # alone: a's q and r, b's q, c's p and q
    assert found.singleton_share == 5 / 10
    assert found.mean_group_size == 10 / 7  # groups ap aq ar bp bq cp cq
    assert found.positive_on_failure == 0.0


def test_positive_credit_on_failed_episodes_is_seen(steps):
    advantage = np.zeros(10)
    advantage[[0, 2, 4]] = 1.0  # steps 2 and 4 belong to failed episodes, which have 6 steps
    assert health("grpo", steps, advantage).positive_on_failure == 2 / 6


def test_row_order_does_not_matter(steps):
    order = np.random.default_rng(0).permutation(10)
    shuffled = Steps.from_frame(steps.to_frame().iloc[order])
    assert health("gigpo", shuffled, gigpo(shuffled)) == health("gigpo", steps, gigpo(steps))


def test_an_empty_batch_and_a_wrong_shape(steps):
    empty = Steps.from_frame(steps.to_frame().iloc[:0])
    assert health("gigpo", empty, gigpo(empty)).groups == 0
    with pytest.raises(CreditError, match="the table has 10 steps"):
        health("gigpo", steps, np.zeros(3))
    with pytest.raises(CreditError, match="did you mean gigpo"):
        health("gigpoo", steps, np.zeros(10))
