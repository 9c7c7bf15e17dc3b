"""Step tables for the credit tests: small ones written out, random ones with every column a scheme may read."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from agentbench.check.tables import random_trees

COLUMNS = ["group", "episode", "step", "state", "action", "next_state", "reward", "is_valid", "terminated", "truncated"]


def episode(group, name, states, rewards, actions=None, invalid=(), won=False):
    """Rows of one episode; ``states`` has one more entry than there are steps: where the last action led."""
    return pd.DataFrame(columns_of(group, name, list(states), rewards, actions, invalid, won))


def columns_of(group, name, states, rewards, actions, invalid, won):
    steps = len(rewards)
    return {
        "group": [group] * steps,
        "episode": [name] * steps,
        "step": list(range(steps)),
        "state": states[:steps],
        "action": actions or ["go"] * steps,
        "next_state": states[1 : steps + 1],
        "reward": [float(reward) for reward in rewards],
        "is_valid": [step not in invalid for step in range(steps)],
        "terminated": [won and step == steps - 1 for step in range(steps)],
        "truncated": [not won and step == steps - 1 for step in range(steps)],
    }


def random_table(seed, groups=3, rollouts=4, longest=7, states=4, actions=2, rewards="sparse"):
    """Make a table with every documented and optional column; the same seed gives the same table."""
    rng = np.random.default_rng(seed)
    parts = []
    for group in range(groups):
        for rollout in range(int(rng.integers(1, rollouts + 1)) if rollouts > 1 else 1):
            length = int(rng.integers(1, longest + 1))
            visited = [f"s{state}" for state in rng.integers(0, states, length + 1)]
            won = bool(rng.random() < 0.5)
            if rewards == "sparse":
                gained = [0.0] * (length - 1) + [float(won)]
            else:
                gained = rng.normal(size=length).round(2).tolist()
            acted = [f"a{action}" for action in rng.integers(0, actions, length)]
            invalid = set(np.flatnonzero(rng.random(length) < 0.2))
            name = f"g{group}-e{rollout}"
            parts.append(columns_of(f"g{group}", name, visited, gained, acted, invalid, won))
    table = pd.DataFrame({column: list(chain.from_iterable(part[column] for part in parts)) for column in COLUMNS})
    return table.assign(**optional_columns(table, rng))


def optional_columns(table, rng):
    """Columns that only some schemes read; drawn per row, so they belong to the row wherever it goes."""
    rows = len(table)
    floats = (
        "score",
        "value",
        "entropy",
        "surprise",
        "surprise_ref",
        "info_gain",
        "value_low",
        "value_high",
        "value_term",
    )
    columns = {name: rng.normal(size=rows).round(3) for name in floats}
    columns["entropy"] = np.abs(columns["entropy"])
    columns["tokens"] = rng.integers(1, 6, rows)
    columns["agent"] = [f"agent{agent}" for agent in rng.integers(0, 2, rows)]
    columns["subgoal"] = [f"goal{goal}" for goal in rng.integers(0, 3, rows)]
    columns["switch"] = (table["step"] == 0).to_numpy() | (rng.random(rows) < 0.4)
    for name in ("teacher_gap", "reference_gap", "baseline", "oracle"):
        columns[name] = rng.normal(size=rows).round(1)
    columns["choice"] = [f"choice{choice}" for choice in rng.integers(0, 3, rows)]
    columns["node"], columns["own"] = np.arange(rows), np.ones(rows, dtype=bool)
    columns["parent"] = np.where(table["step"] > 0, np.arange(rows) - 1, -1)
    return columns


tables = st.builds(
    random_table,
    seed=st.integers(0, 2**32 - 1),
    groups=st.integers(1, 4),
    rollouts=st.integers(1, 5),
    longest=st.integers(1, 9),
    states=st.integers(1, 6),
    actions=st.integers(1, 3),
    rewards=st.sampled_from(["sparse", "dense"]),
)
"""Tables of all shapes: single rollouts, single steps, one state, states that hardly recur."""

trees = st.builds(
    random_trees,
    seed=st.integers(0, 2**32 - 1),
    groups=st.integers(1, 4),
    rollouts=st.integers(1, 7),
    longest=st.integers(1, 9),
    dense=st.booleans(),
)
"""Tables in which episodes of a group share beginnings."""
