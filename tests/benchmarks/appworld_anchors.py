"""Which anchor state suits AppWorld: the same episodes keyed in three ways, and what credit schemes make of each.

    python tests/benchmarks/appworld_anchors.py [--limit 24] [--trials 8] [--share 0.4] [--out results/appworld-anchors]

Needs the split mini installed (`make appworld`). The runs stay in the folder and are not played
again; the one keyed by observation is the first one's, keyed anew. A key is mixed if the finest anchor, ``calls``,
tells several situations apart under it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from agentbench import evaluate
from agentbench.runs.run import Run, open_run
from agentbench.runs.writer import RunWriter
from credit import advantages
from credit.tools.health import health
from envs.appworld.anchors import ANCHORS

SCHEMES = ("salt", "gigpo", "hgpo")


def play(anchor: str, out: Path, limit: int, trials: int, share: float) -> Run:
    return evaluate(
        "appworld", f"mixed:{share}", split="mini", limit=limit, trials=trials, workers=1, out=out / anchor,
        env_options={"anchor": anchor, "max_steps": 12},
    ).run  # fmt: skip


def keyed_by_text(run: Run, out: Path) -> Run:
    """Return the same run with the observation's text as anchor, which is what the anchor ``observation`` is."""
    with RunWriter(out, {**run.config["identity"], "anchor": "observation"}, {}) as writer:
        for episode in run.read_episodes():
            for step in episode.steps:
                step.anchor = step.observation
            episode.final_anchor = episode.final_observation
            if episode.key not in writer.finished:
                writer.add(episode)
        writer.close_tables()
    return open_run(out)


def keys(run: Run) -> pd.DataFrame:
    """Return task, trial, step, action and anchor of every step, in that order."""
    table = run.step_table
    return table[["task_id", "trial", "step", "action", "anchor"]].sort_values(["task_id", "trial", "step"])


def mixed(coarse: pd.DataFrame, finest: pd.DataFrame) -> tuple[int, float, float]:
    """Return the number of keys, the share of them that are mixed, and the share of steps under a mixed one."""
    joined = coarse.assign(finest=finest["anchor"].to_numpy())
    kinds = joined.groupby(["task_id", "anchor"])["finest"].transform("nunique")
    first = ~joined.duplicated(["task_id", "anchor"])
    return int(first.sum()), float((kinds > 1)[first].mean()), float((kinds > 1).mean())


def describe(runs: dict[str, Run]) -> list[str]:
    tables = {name: keys(run).reset_index(drop=True) for name, run in runs.items()}
    finest = tables["calls"]
    for table in tables.values():
        assert table["action"].tolist() == finest["action"].tolist(), "the anchor must not change the episodes"
    rows = {name: mixed(table, finest) for name, table in tables.items()}
    episodes = runs["calls"].episodes
    lines = [f"{len(episodes)} episodes, {len(finest)} steps, success {np.mean(episodes['outcome'] == 'success'):.0%}."]
    lines += ["", "| | " + " | ".join(rows) + " |", "|---|" + "---:|" * len(rows)]
    lines.append("| different keys | " + " | ".join(str(count) for count, _, _ in rows.values()) + " |")
    lines.append(
        "| keys that hold several situations | " + " | ".join(f"{keys:.1%}" for _, keys, _ in rows.values()) + " |"
    )
    lines.append("| steps under such a key | " + " | ".join(f"{steps:.1%}" for _, _, steps in rows.values()) + " |")
    credit = {(scheme, name): advantages(scheme, run.steps()) for scheme in SCHEMES for name, run in runs.items()}
    for scheme in SCHEMES:
        found = [health(scheme, run.steps(), credit[scheme, name]) for name, run in runs.items()]
        lines.append(
            f"| {scheme}: steps with nothing to compare with | {_row(f'{h.singleton_share:.1%}' for h in found)} |"
        )
        lines.append(f"| {scheme}: mean steps compared | {_row(f'{h.mean_group_size:.1f}' for h in found)} |")
        lines.append(f"| {scheme}: steps with advantage 0 | {_row(f'{h.zero_share:.1%}' for h in found)} |")
    lines += ["", "| against `calls` | anchor | correlation | opposite or vanishing sign |", "|---|---|---:|---:|"]
    for scheme in SCHEMES:
        base = credit[scheme, "calls"]
        for name in runs:
            if name != "calls":
                other = credit[scheme, name]
                flips = np.mean(np.sign(base) != np.sign(other))
                lines.append(f"| {scheme} | {name} | {np.corrcoef(base, other)[0, 1]:.3f} | {flips:.1%} |")
    return lines


def _row(cells: object) -> str:
    return " | ".join(cells)  # type: ignore[call-overload,no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--limit", type=int, default=24)
    parser.add_argument("--share", type=float, default=0.4)
    parser.add_argument("--out", type=Path, default=Path("results/appworld-anchors"))
    arguments = parser.parse_args()
    played = {
        name: play(name, arguments.out, arguments.limit, arguments.trials, arguments.share)
        for name in ("calls", "database")
    }
    played["observation"] = keyed_by_text(played["calls"], arguments.out / "observation")
    runs = {name: played[name] for name in ANCHORS}
    print("\n".join(describe(runs)))


if __name__ == "__main__":
    main()
