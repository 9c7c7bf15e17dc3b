"""Small random step tables for checking schemes: every column that a scheme may read, drawn with a seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from credit.steps import OPTIONAL

TREE = ("node", "parent", "own")
"""Columns that say which episodes share a beginning."""


def random_table(
    seed: int, *, groups: int = 3, rollouts: int = 4, longest: int = 7, states: int = 4, dense: bool = False
) -> pd.DataFrame:
    """Make a table; equal arguments give equal tables.

    Args:
        seed: of every draw.
        groups: number of groups.
        rollouts: most episodes of a group; it has at least one, and with 1 exactly one.
        longest: most steps of an episode.
        states: number of different anchor states.
        dense: a reward at every step, of any sign; else 0 or 1 at the end.
    """
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for group in range(groups):
        for rollout in range(int(rng.integers(1, rollouts + 1))):
            length = int(rng.integers(1, longest + 1))
            visited, won = rng.integers(0, states, length + 1), bool(rng.random() < 0.5)
            for step in range(length):
                last = step == length - 1
                rows.append(
                    {
                        "group": f"g{group}",
                        "episode": f"g{group}-e{rollout}",
                        "step": step,
                        "state": f"s{visited[step]}",
                        "next_state": f"s{visited[step + 1]}",
                        "action": f"a{rng.integers(0, 2)}",
                        "reward": round(float(rng.normal()), 2) if dense else float(last and won),
                        "is_valid": bool(rng.random() < 0.8),
                        "terminated": last and won,
                        "truncated": last and not won,
                    }
                )
    table = pd.DataFrame(rows)
    for name, kind in OPTIONAL.items():
        if name not in TREE:
            table[name] = _column(name, kind, table, rng)
    return with_nodes(table)


def random_trees(seed: int, **shape: Any) -> pd.DataFrame:
    """Make a table of :func:`random_table` in which episodes of a group share beginnings."""
    rng, table = np.random.default_rng(seed), random_table(seed, **shape).drop(columns=list(TREE))
    table["source"] = table["episode"]
    parts: list[pd.DataFrame] = []
    for _, group in table.groupby("group", sort=False):
        made: list[pd.DataFrame] = []
        for name, chain in group.groupby("episode", sort=False):
            parent = made[rng.integers(len(made))] if made and rng.random() < 0.7 else chain
            fork = int(rng.integers(0, min(len(parent), len(chain))))
            made.append(pd.concat([parent.iloc[:fork].assign(episode=name), chain.iloc[fork:]]))
        parts += made
    trees = pd.concat(parts, ignore_index=True)
    return with_nodes(trees.drop(columns="source"), trees["source"])


def with_nodes(table: pd.DataFrame, source: Any = None) -> pd.DataFrame:
    """Return a table, sorted by episode and step, with the columns of a tree.

    Args:
        table: the columns group, episode and step.
        source: of every row, the episode that played it; None: its own.
    """
    played = table["episode"] if source is None else source
    node, _ = pd.factorize(pd.MultiIndex.from_arrays([played, table["step"]]))
    parent = np.where(table["step"] > 0, np.roll(node, 1), -1)
    return table.assign(node=node, parent=parent, own=(played == table["episode"]).to_numpy())


def _column(name: str, kind: type, table: pd.DataFrame, rng: np.random.Generator) -> Any:
    rows = len(table)
    if kind is bool:
        return (table["step"] == 0).to_numpy() | (rng.random(rows) < 0.4)
    if kind is int:
        return rng.integers(1, 6, rows) if name == "tokens" else [f"{name}{x}" for x in rng.integers(0, 3, rows)]
    values = rng.normal(size=rows).round(3)
    return np.abs(values) if name == "entropy" else values
