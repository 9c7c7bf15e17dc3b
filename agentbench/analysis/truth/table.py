"""The files of a truth: ``truth.parquet``, one row a judged step, and ``truth.json``, how it was made."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from agentbench.analysis.files import ACTIONS_TABLE, TRUTH_SETTINGS, TRUTH_TABLE
from agentbench.runs.run import Run
from envs.base.digest import read_sealed, sealed, sha256_of
from envs.base.errors import UserError
from envs.base.files import replaced, write_text

TRUTH_COLUMNS = pa.schema(
    [
        ("episode", pa.int64()),  # as in steps.parquet
        ("task_id", pa.string()),
        ("trial", pa.int64()),
        ("step", pa.int64()),
        ("true_advantage", pa.float64()),  # of the action that was taken
        ("standard_error", pa.float64()),  # of true_advantage; 0 where it is exact
        ("value", pa.float64()),  # V of the point before the action
        ("method", pa.string()),  # exact or monte-carlo
        ("state", pa.string()),  # of the game; with task and step, what an exact value depends on
        ("probabilities", pa.list_(pa.float64())),  # of the admissible actions; null where the policy does not say
        ("critic", pa.float64()),  # V again, without the errors of true_advantage; null where there is none
    ]
)
"""Columns of ``truth.parquet``, sorted by task id, trial and step."""


ACTION_COLUMNS = pa.schema(
    [
        ("task_id", pa.string()),
        ("trial", pa.int64()),
        ("step", pa.int64()),
        ("action", pa.string()),  # an admissible one
        ("taken", pa.bool_()),  # it is the one that the episode took
        ("true_advantage", pa.float64()),
        ("standard_error", pa.float64()),
    ]
)
"""Columns of ``truth-actions.parquet``, sorted by task id, trial and step; actions in the order they were offered."""


@dataclass(frozen=True)
class EpisodeTruth:
    """The truth of one episode of T steps; all lists have length T.

    Attributes:
        task_id, trial: which episode.
        method: ``exact`` or ``monte-carlo``.
        advantage, standard_error, value, state, probabilities, critic: see :data:`TRUTH_COLUMNS`.
        actions: advantage and standard error of every admissible action, in their order; None where nobody asked.
    """

    task_id: str
    trial: int
    method: str
    advantage: list[float]
    standard_error: list[float]
    value: list[float]
    state: list[str | None]
    probabilities: list[list[float] | None]
    critic: list[float] | None
    actions: list[list[list[float]]] | None = None

    def as_line(self) -> dict[str, Any]:
        """Return what is kept of it; what nobody asked for is left out."""
        fields = asdict(self)
        return {name: fields[name] for name in fields if name != "actions" or self.actions is not None}


def write_truth(run: Run, found: list[EpisodeTruth], settings: dict[str, Any]) -> pd.DataFrame:
    """Write both files into the run's folder, and return the table.

    Args:
        run: the run whose steps these are.
        found: the truth of each of its judged episodes, in any order.
        settings: what decided them; ``group_size`` trials of a task are a group.

    Raises:
        UserError: the truth of an episode has not as many steps as the episode.
    """
    episodes = run.episodes
    number = {
        (task, trial): (episode, steps)
        for episode, task, trial, steps in episodes[["episode", "task_id", "trial", "steps"]].itertuples(index=False)
    }
    rows: list[dict[str, Any]] = []
    for each in sorted(found, key=lambda one: (one.task_id, one.trial)):
        episode, steps = number[each.task_id, each.trial]
        if steps != len(each.advantage):
            raise UserError(
                f"task {each.task_id}, trial {each.trial}: the truth has {len(each.advantage)} steps of {steps}"
            )
        rows += [
            {
                "episode": episode, "task_id": each.task_id, "trial": each.trial, "step": step,
                "true_advantage": each.advantage[step], "standard_error": each.standard_error[step],
                "value": each.value[step], "method": each.method, "state": each.state[step],
                "probabilities": each.probabilities[step],
                "critic": None if each.critic is None else each.critic[step],
            }
            for step in range(steps)
        ]  # fmt: skip
    with replaced(run.folder / TRUTH_TABLE) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=TRUTH_COLUMNS), temporary)
    if any(each.actions is not None for each in found):
        _write_actions(run, found)
    record = sealed({**settings, "sha256": sha256_of(run.folder / TRUTH_TABLE)})
    write_text(run.folder / TRUTH_SETTINGS, json.dumps(record, indent=2) + "\n")
    return pd.read_parquet(run.folder / TRUTH_TABLE)


def _write_actions(run: Run, found: list[EpisodeTruth]) -> None:
    """Write a row for every admissible action of every step."""
    table = run.step_table[["task_id", "trial", "step", "action", "admissible_actions"]]
    steps = {tuple(row[:3]): row[3:] for row in table.itertuples(index=False, name=None)}
    rows = []
    for each in sorted(found, key=lambda one: (one.task_id, one.trial)):
        for step, judged in enumerate(each.actions or []):
            taken, offered = steps[each.task_id, each.trial, step]
            rows += [
                {
                    "task_id": each.task_id, "trial": each.trial, "step": step, "action": action,
                    "taken": action == taken, "true_advantage": advantage, "standard_error": error,
                }
                for action, (advantage, error) in zip(offered if judged else [], judged, strict=True)
            ]  # fmt: skip
    with replaced(run.folder / ACTIONS_TABLE) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=ACTION_COLUMNS), temporary)


def read_truth(folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read the table and the settings of a truth.

    Raises:
        UserError: there is none in the folder.
    """
    table = folder / TRUTH_TABLE
    try:
        settings = read_sealed(folder / TRUTH_SETTINGS)
        if settings.get("sha256", digest := sha256_of(table)) != digest:
            raise ValueError(f"{table.name} is damaged")
        return pd.read_parquet(table), {**settings, "group_size": int(settings["group_size"])}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise UserError(
            f"no true advantages in {folder} ({error}): make them with agentbench truth --out {folder}"
        ) from error
