"""Rollouts of a training step as stored runs: to be shown, drawn, and credited again with any scheme."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agentbench.runs.episodes import Episode
from agentbench.runs.provenance import describe
from agentbench.runs.writer import RunWriter
from agentbench.train.config import TrainConfig
from envs.base.files import replaced_folder
from envs.registry import make

ROLLOUTS_FOLDER = "rollouts"


def store_rollouts(folder: Path, config: TrainConfig, step: int, episodes: Sequence[Episode]) -> list[Path]:
    """Store the episodes of training step ``step`` in ``folder/rollouts/step-NNNNNN``, all or nothing.

    A task may be drawn twice in a step; each draw is a group of its own, so the second one is in a run of its own, with
    ``-2`` after its name.

    Args:
        folder: of the training run.
        config: of it.
        step: from 1.
        episodes: as they were played: those of one draw of a task follow each other, trial 0 first.

    Returns:
        the folders.

    Raises:
        UserError: an episode cannot be written.
        OSError: the disk is full, or broken.
    """
    written, record = [], _record(config)
    for number, part in enumerate(_draws(episodes), start=1):
        name = f"step-{step:06d}" + (f"-{number}" if number > 1 else "")
        with (
            replaced_folder(folder / ROLLOUTS_FOLDER / name) as temporary,
            RunWriter(temporary, _identity(config, step), record) as writer,
        ):
            writer.add(*part)
            writer.close_tables()
        written.append(folder / ROLLOUTS_FOLDER / name)
    return written


def _draws(episodes: Sequence[Episode]) -> list[list[Episode]]:
    """Split episodes where one has the key of an earlier one."""
    parts: list[list[Episode]] = []
    keys: set[tuple[str, int]] = set()
    for episode in episodes:
        if not parts or episode.key in keys:
            parts.append([])
            keys = set()
        keys.add(episode.key)
        parts[-1].append(episode)
    return parts


def _identity(config: TrainConfig, step: int) -> dict[str, Any]:
    names = ("env", "split", "env_options", "policy", "scheme", "scheme_options", "invalid_action_penalty", "rollouts")
    settings = config.model_dump(include={*names, "seed"})
    return {"kind": "rollouts", "training_step": step, **settings}


def _record(config: TrainConfig) -> dict[str, Any]:
    environment = make(config.env, **{**config.env_options, "split": config.split})
    try:
        return {"kind": "rollouts", "protected": environment.protected, **describe()}
    finally:
        environment.close()
