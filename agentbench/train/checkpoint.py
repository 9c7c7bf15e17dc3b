"""Checkpoints: a folder each, whole or absent, verified before it is loaded.

``checkpoints/step-000010/`` holds the policy, the optimiser's state (safetensors) and ``trainer.json``: the counters,
and the digest of every other file. It is written under a temporary name, flushed, and renamed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from policies.trainable import TrainablePolicy, read_policy, save_policy

log = logging.getLogger("agentbench")

STATE_FILE, OPTIMIZER_FILE = "trainer.json", "optimizer.safetensors"


def save_checkpoint(
    folder: Path, policy: TrainablePolicy, optimizer: torch.optim.Optimizer, counters: dict[str, Any], keep: int
) -> None:
    """Write the checkpoint of ``counters["step"]`` under ``folder`` and remove all but the ``keep`` newest."""
    final = folder / f"step-{counters['step']:06d}"
    temporary = folder / f".{final.name}.part"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_policy(policy, temporary)
    tensors, numbers = _flatten(optimizer)
    save_file(tensors, temporary / OPTIMIZER_FILE)
    files = {path.name: _sha256(path) for path in sorted(temporary.iterdir())}
    state = {**counters, "optimizer": numbers, "files": files}
    (temporary / STATE_FILE).write_text(json.dumps(state) + "\n", encoding="utf-8")
    for path in temporary.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    shutil.rmtree(final, ignore_errors=True)
    temporary.rename(final)
    for old in sorted(folder.glob("step-*"))[:-keep]:
        shutil.rmtree(old)


def newest_step(folder: Path) -> int:
    """Return the training step of the newest checkpoint that is whole, 0 if there is none."""
    whole = (path for path in sorted(folder.glob("step-*"), reverse=True) if _read(path) is not None)
    return int(newest.name.removeprefix("step-")) if (newest := next(whole, None)) else 0


def load_checkpoint(folder: Path, policy: TrainablePolicy, optimizer: torch.optim.Optimizer) -> dict[str, Any] | None:
    """Load the newest whole checkpoint into policy and optimiser; return its counters, or None if there is none.

    A damaged one is passed over with a warning.
    """
    for path in sorted(folder.glob("step-*"), reverse=True):
        if (state := _read(path)) is not None:
            _, _, weights = read_policy(path)
            policy.module.load_state_dict(weights)
            _restore(optimizer, load_file(path / OPTIMIZER_FILE), state.pop("optimizer"))
            return state
    return None


def _read(path: Path) -> dict[str, Any] | None:
    """Return the state of a checkpoint, or None with a warning if any of its files is not what was written."""
    try:
        state: dict[str, Any] = json.loads((path / STATE_FILE).read_text(encoding="utf-8"))
        for name, expected in state.pop("files").items():
            if _sha256(path / name) != expected:
                raise ValueError(f"{name} has another digest")
    except (OSError, ValueError, KeyError) as error:
        log.warning("checkpoint %s is damaged (%s): going back to the one before", path, error)
        return None
    return state


def _flatten(optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """Take an optimiser's state apart into tensors and plain numbers, named ``parameter.entry``."""
    tensors: dict[str, torch.Tensor] = {}
    numbers: dict[str, float] = {}
    for parameter, entries in optimizer.state_dict()["state"].items():
        for name, value in entries.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{parameter}.{name}"] = value.contiguous()
            else:
                numbers[f"{parameter}.{name}"] = value
    return tensors, numbers


def _restore(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor], numbers: dict[str, float]) -> None:
    whole = optimizer.state_dict()
    whole["state"] = {}
    for key, value in {**tensors, **numbers}.items():
        parameter, _, name = key.partition(".")
        whole["state"].setdefault(int(parameter), {})[name] = value
    optimizer.load_state_dict(whole)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
