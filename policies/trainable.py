"""How policies with weights lie on disk; what they are is in :mod:`policies.contract`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from envs.base.digest import read_sealed, sealed, sha256_of
from envs.base.errors import UserError
from envs.base.files import replaced, write_text
from policies.contract import SavesCompanions, TrainablePolicy
from policies.saved import POLICY_FILE, WEIGHTS_FILE


def save_policy(policy: TrainablePolicy, folder: Path, tensors: dict[str, Tensor] | None = None) -> None:
    """Write a policy's settings and weights to ``folder``; a reader never sees half of them (rename comes last).

    ``tensors`` are the weights where the module itself does not hold them as a whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / WEIGHTS_FILE
    with replaced(weights) as temporary:
        save_tensors(policy.module.state_dict() if tensors is None else tensors, temporary)
    if isinstance(policy, SavesCompanions):
        policy.save_companions(folder)
    record = sealed({"policy": policy.name, "settings": policy.settings(), "sha256": sha256_of(weights)})
    write_text(folder / POLICY_FILE, json.dumps(record, indent=2) + "\n")


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write tensors as safetensors.

    Raises:
        OSError: the disk is full, or broken.
    """
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    except SafetensorError as error:  # its own class, also where the disk is to blame
        raise OSError(f"{path.name}: {error}") from error


def read_policy(folder: Path) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """Read what :func:`save_policy` wrote: the policy's name, its settings and its weights.

    Raises:
        UserError: files are missing, damaged, or do not belong together.
    """
    try:
        record = read_sealed(folder / POLICY_FILE)
        if sha256_of(folder / WEIGHTS_FILE) != record["sha256"]:
            raise UserError(f"{folder / WEIGHTS_FILE} is damaged: its digest is not the one in {POLICY_FILE}")
        return record["policy"], record["settings"], load_file(folder / WEIGHTS_FILE)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise UserError(f"{folder} holds no readable policy ({error})") from error
