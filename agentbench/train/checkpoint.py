"""Checkpoints: a folder each, whole or absent, verified before it is loaded.

``checkpoints/step-000010/`` holds the policy, the optimiser's state (safetensors) and ``trainer.json``: the counters,
and the digest of every other file. It is written under a temporary name, flushed, and renamed.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from agentbench.train.distributed import full_tensor, full_weights, load_weights, split_like
from envs.base.digest import read_sealed, sealed, sha256_of
from envs.base.files import replaced_folder
from envs.base.log import log
from policies.contract import TrainablePolicy
from policies.trainable import read_policy, save_policy, save_tensors

STATE_FILE, OPTIMIZER_FILE = "trainer.json", "optimizer.safetensors"


def save_checkpoint(
    folder: Path,
    policy: TrainablePolicy,
    optimizer: torch.optim.Optimizer,
    counters: dict[str, Any],
    keep: int,
    *,
    writes: bool = True,
) -> None:
    """Write the checkpoint of ``counters["step"]`` under ``folder`` and remove all but the ``keep`` newest.

    Every one of several processes must call this (their parts are put together), but only one of them ``writes``.
    Where writing fails, what was there before is left as it was.

    Raises:
        OSError: the disk is full, or broken.
    """
    weights = full_weights(policy.module)
    tensors, numbers = _flatten(optimizer)
    if not writes:
        return
    final = folder / f"step-{counters['step']:06d}"
    with replaced_folder(final) as temporary:
        save_policy(policy, temporary, weights)
        save_tensors(tensors, temporary / OPTIMIZER_FILE)
        files = {path.name: sha256_of(path) for path in sorted(temporary.iterdir())}
        state = sealed({**counters, "optimizer": numbers, "files": files})
        (temporary / STATE_FILE).write_text(json.dumps(state) + "\n", encoding="utf-8")
    for old in sorted(folder.glob("step-*"))[:-keep]:
        shutil.rmtree(old)


def load_checkpoint(
    folder: Path, policy: TrainablePolicy, optimizer: torch.optim.Optimizer, run: str
) -> dict[str, Any] | None:
    """Load the newest whole checkpoint into policy and optimiser; return its counters, or None if there is none.

    A damaged one, and one whose counter ``run`` names another run, are skipped with a warning.
    """
    for path in sorted(folder.glob("step-*"), reverse=True):
        if (state := _read(path, run)) is not None:
            _, _, weights = read_policy(path)
            load_weights(policy.module, weights)
            _restore(optimizer, load_file(path / OPTIMIZER_FILE), state.pop("optimizer"))
            return state
    return None


def _read(path: Path, run: str) -> dict[str, Any] | None:
    """Return the state of a checkpoint, or None with a warning if any of its files is not what was written."""
    try:
        state = read_sealed(path / STATE_FILE)
        if "seal" not in state:
            raise ValueError("it has no seal")
        del state["seal"]
        if state.get("run", run) != run:
            raise ValueError("it is of another run")
        for name, expected in state.pop("files").items():
            if sha256_of(path / name) != expected:
                raise ValueError(f"{name} has another digest")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
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
                tensors[f"{parameter}.{name}"] = full_tensor(value)
            else:
                numbers[f"{parameter}.{name}"] = value
    return tensors, numbers


def _restore(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor], numbers: dict[str, float]) -> None:
    state = optimizer.state_dict()
    state["state"] = {}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for key, value in {**tensors, **numbers}.items():
        place, _, name = key.partition(".")
        parameter = parameters[int(place)]
        is_moment = isinstance(value, torch.Tensor) and value.shape == parameter.shape
        found = split_like(value, parameter) if is_moment else value  # type: ignore[arg-type]
        state["state"].setdefault(int(place), {})[name] = found
    optimizer.load_state_dict(state)
