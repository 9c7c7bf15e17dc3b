"""TRL's ``GRPOTrainer`` with the advantages of a scheme, one a step, spread over the tokens that were sampled.

What the two trainers of :mod:`agentbench.integrations.trl` and :mod:`agentbench.integrations.trl_tools` share: TRL
plays and scores as it does; then its advantages, of shape (batch,), are replaced by those of a scheme, of shape (batch,
tokens). Everything else is TRL's: the loss, the reference model, the optimizer, checkpoints, logging.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from agentbench.integrations.episode_tokens import Turns, refuse_unfit_scheme, spread, step_advantages
from agentbench.integrations.versions import TRL, require
from agentbench.runs.episodes import Episode
from envs.base.errors import UserError
from policies.language.threads import choose_threads

require("trl", TRL, "trl")

from accelerate.utils import gather_object  # noqa: E402
from trl import GRPOConfig, GRPOTrainer  # noqa: E402

_LOSSES = ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo")
REFUSED: dict[str, tuple[Any, ...]] = {
    "use_liger_kernel": (False,),
    "mask_truncated_completions": (False,),
    "off_policy_mask_threshold": (None,),
    "top_p": (1.0, None),
    "top_k": (0, None),
    "min_p": (None, 0.0),
    "repetition_penalty": (1.0, None),
    "loss_type": _LOSSES,
}
"""Settings of TRL, and the values with which sampling, log-probabilities and per-token advantages agree."""


class StepAdvantages(GRPOTrainer):  # type: ignore[misc]
    """Takes the advantages from a scheme; a subclass says what was played.

    Args:
        scheme, scheme_options, invalid_penalty: see :func:`agentbench.integrations.episode_tokens.step_advantages`.
        args: TRL's settings, checked with :func:`check_settings`.
        more: further arguments of ``GRPOTrainer``.

    Raises:
        UserError: an unknown scheme or option, or a scheme that needs a critic.
    """

    def __init__(
        self, *, scheme: str, scheme_options: Mapping[str, Any] | None, invalid_penalty: float, **more: Any
    ) -> None:
        self.scheme, self.scheme_options = scheme, dict(scheme_options or {})
        self.invalid_penalty = invalid_penalty
        refuse_unfit_scheme(scheme, self.scheme_options)
        super().__init__(**more)
        choose_threads(self.accelerator.unwrap_model(self.model), self.accelerator.device, None)

    def episodes_and_turns(self, output: Mapping[str, Any]) -> tuple[Sequence[Episode], Sequence[Turns | None]]:
        """Return this process's episodes, and of each the step that every completion token belongs to (-1: none).

        Args:
            output: what TRL made of them: tensors of shape (episodes, tokens).
        """
        raise NotImplementedError

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Play and score as TRL does, then put the scheme's advantages in place of its own."""
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        episodes, turns = self.episodes_and_turns(output)
        table = np.zeros((len(episodes), output["completion_ids"].shape[1]), np.float64)
        for row, (values, turn) in enumerate(zip(self._own_advantages(episodes), turns, strict=True)):
            if turn is not None:
                table[row, : len(turn)] = spread(values, turn)
        output["advantages"] = torch.as_tensor(table, dtype=torch.float32, device=output["completion_ids"].device)
        return output

    def _own_advantages(self, episodes: Sequence[Episode]) -> list[np.ndarray[Any, Any]]:
        """Return the advantages of this process's episodes; a group may lie in several processes."""
        generations = self.num_generations if self.model.training else self.num_generations_eval
        bare = [_without_traces(episode) for episode in episodes]
        everyone: list[Episode] = gather_object(bare)
        groups = [everyone[start : start + generations] for start in range(0, len(everyone), generations)]
        found = step_advantages(groups, self.scheme, self.scheme_options, self.invalid_penalty)
        flat = [values for group in found for values in group]
        # TRL's table of completions shows one advantage an episode: the mean over its steps, not TRL's own.
        logged = self._logs["advantages"]
        for _ in range(min(len(flat), len(logged))):
            logged.pop()
        logged.extend(float(values.mean()) if len(values) else 0.0 for values in flat)
        first = self.accelerator.process_index * len(bare)
        return flat[first : first + len(bare)]


def check_settings(args: GRPOConfig, more: Mapping[str, Any], refused: Mapping[str, tuple[Any, ...]]) -> None:
    """Refuse what would make the result wrong.

    Args:
        args: TRL's settings.
        more: further arguments of the trainer.
        refused: names of settings, and the values that are allowed.

    Raises:
        UserError: a setting with another value, or an argument that the environment gives.
    """
    for name in ("reward_funcs", "train_dataset", "eval_dataset", "rollout_func", "environment_factory", "tools"):
        if name in more:
            raise UserError(f"{name} is given by the environment: leave it out")
    for name, allowed in refused.items():
        if getattr(args, name) not in allowed:
            raise UserError(
                f"GRPOConfig({name}={getattr(args, name)!r}) is not supported with per-step advantages: set it to "
                + " or ".join(repr(value) for value in allowed)
            )


def _without_traces(episode: Episode) -> Episode:
    return replace(episode, steps=[replace(step, trace=None) for step in episode.steps])
