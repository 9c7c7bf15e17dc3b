"""The random policy: any admissible action, all equally likely."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from envs.errors import UserError
from policies.contract import Prompt, Response
from policies.digest import digest_of

VERSION = 1


class RandomPolicy:
    """Draws uniformly from ``info["admissible_actions"]``, with the prompt's own seed and nothing else."""

    name = "random"
    is_markov = True

    @property
    def digest(self) -> str:
        """Short hash of what decides the answers."""
        return digest_of(self.name, VERSION)

    def act(self, prompts: Sequence[Prompt]) -> list[Response]:
        """Answer each prompt.

        Raises:
            UserError: the environment lists no admissible actions.
        """
        return [Response(_draw(prompt)) for prompt in prompts]

    def probabilities(self, prompt: Prompt) -> list[float]:
        """Return the chance of each admissible action."""
        count = len(_admissible(prompt))
        return [1 / count] * count


def _draw(prompt: Prompt) -> str:
    actions = _admissible(prompt)
    return str(actions[int(np.random.default_rng(prompt.seed).integers(len(actions)))])


def _admissible(prompt: Prompt) -> Sequence[str]:
    actions: Sequence[str] | None = prompt.info.get("admissible_actions")
    if not actions:
        raise UserError(
            f"policy 'random' needs a list of admissible actions, and task {prompt.task.name} gives none: "
            "choose another policy for this environment"
        )
    return actions
