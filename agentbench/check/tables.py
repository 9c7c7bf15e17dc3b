"""Small random step tables for checking schemes: every column that a scheme may read, drawn with a seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from credit.steps import OPTIONAL


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
        table[name] = _column(name, kind, table, rng)
    return table


def _column(name: str, kind: type, table: pd.DataFrame, rng: np.random.Generator) -> Any:
    rows = len(table)
    if kind is bool:
        return (table["step"] == 0).to_numpy() | (rng.random(rows) < 0.4)
    if kind is int:
        return rng.integers(1, 6, rows) if name == "tokens" else [f"{name}{x}" for x in rng.integers(0, 3, rows)]
    values = rng.normal(size=rows).round(3)
    return np.abs(values) if name == "entropy" else values
