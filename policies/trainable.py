"""The contract of policies that can be trained, and how they lie on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from envs.base.digest import check_seal, sealed, sha256_of
from envs.base.errors import UserError
from envs.base.files import replaced, write_text
from policies.contract import Prompt, TemperedPolicy
from policies.saved import POLICY_FILE, WEIGHTS_FILE


@dataclass(frozen=True, slots=True)
class Likelihood:
    """How likely a policy finds answers that were sampled before. One row a step, one column a sampled token.

    Attributes:
        log_probs: float32, shape (steps, tokens): log-probability of each sampled token, with gradient.
        entropy: float32, shape (steps, tokens): entropy of the distribution that it was sampled from.
        mask: bool, shape (steps, tokens): which columns hold a token.
        values: float32, shape (steps,): the critic's estimate of the return from here; None without a critic.
    """

    log_probs: Tensor
    entropy: Tensor
    mask: Tensor
    values: Tensor | None = None


@dataclass(frozen=True, slots=True)
class SampledLogProbs:
    """How likely answers were when they were sampled. One row a step, one column a sampled token.

    Attributes:
        log_probs: float32, shape (steps, tokens), without gradient.
        mask: bool, shape (steps, tokens): which columns hold a token.
    """

    log_probs: Tensor
    mask: Tensor


class TrainablePolicy(TemperedPolicy, Protocol):
    """A policy with weights. Its responses carry a ``trace``, from which the same answer can be judged again.

    A trace has ``tokens``, the number of tokens that were sampled.
    """

    @property
    def module(self) -> nn.Module:
        """The weights."""

    def trace(self, prompt: Prompt, action: str) -> Any:
        """Return the trace of an action that somebody else took, or None where this policy could not have."""

    def sampled(self, traces: Sequence[Any]) -> SampledLogProbs:
        """Return the log-probabilities that the answers were sampled with."""

    def likelihood(self, traces: Sequence[Any]) -> Likelihood:
        """Judge sampled answers with the present weights."""

    def settings(self) -> dict[str, Any]:
        """Everything but the weights that is needed to make this policy again (JSON)."""


def save_policy(policy: TrainablePolicy, folder: Path, tensors: dict[str, Tensor] | None = None) -> None:
    """Write a policy's settings and weights to ``folder``; a reader never sees half of them (rename comes last).

    ``tensors`` are the weights where the module itself does not hold them as a whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / WEIGHTS_FILE
    with replaced(weights) as temporary:
        save_tensors(policy.module.state_dict() if tensors is None else tensors, temporary)
    if (companions := getattr(policy, "save_companions", None)) is not None:
        companions(folder)  # a tokenizer, say
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
        record = json.loads((folder / POLICY_FILE).read_text(encoding="utf-8"))
        check_seal(record)
        if sha256_of(folder / WEIGHTS_FILE) != record["sha256"]:
            raise UserError(f"{folder / WEIGHTS_FILE} is damaged: its digest is not the one in {POLICY_FILE}")
        return record["policy"], record["settings"], load_file(folder / WEIGHTS_FILE)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise UserError(f"{folder} holds no readable policy ({error})") from error
