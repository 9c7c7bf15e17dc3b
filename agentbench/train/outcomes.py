"""What became of each held-out task at a run's last evaluation: what paired comparisons of runs stand on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from agentbench.runs.episodes import Episode
from envs.base.digest import read_sealed, sealed
from envs.base.errors import UserError
from envs.base.files import write_text

OUTCOMES_FILE = "evaluation.json"


def save_outcomes(folder: Path, step: int, episodes: Sequence[Episode]) -> None:
    """Write the outcomes of the evaluation after training step ``step``, in place of the one before."""
    rows = [
        {
            "task_id": episode.task_id,
            "trial": episode.trial,
            "task_type": episode.task_type,
            "outcome": episode.outcome,
            "score": episode.score,
            "steps": len(episode.steps),
            "invalid_actions": sum(not each.is_valid for each in episode.steps),
        }
        for episode in sorted(episodes, key=lambda each: each.key)
    ]
    write_text(folder / OUTCOMES_FILE, json.dumps(sealed({"step": step, "episodes": rows})) + "\n")


def read_outcomes(folder: Path, step: int) -> pd.DataFrame | None:
    """Return the outcomes after training step ``step``, one row an episode, or None where they are not there.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / OUTCOMES_FILE
    if not path.exists():
        return None
    try:
        found = read_sealed(path)
        return pd.DataFrame(found["episodes"]) if found["step"] == step else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path} cannot be read ({error}): it is damaged; without it, runs are compared by their metrics alone"
        ) from error
