"""The guided policy: any admissible action, those of the task's own solution more likely than the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from envs.base.digest import digest_of
from envs.base.errors import UserError
from policies.contract import Prompt, Response
from policies.plain.draws import Draws

VERSION = 1


class GuidedPolicy:
    """Draws an admissible action; one that the walkthrough has anywhere is ``weight`` times as likely as another.

    It sees part of the solution, so it is no agent. It fails and succeeds, and it remembers nothing: its exact
    advantages can be computed.

    Args:
        weight: how many times as likely; above 0 (1 is the random policy).

    Raises:
        UserError: the weight is not above 0.
    """

    name = "guided"
    is_markov = True

    def __init__(self, weight: float = 10.0) -> None:
        if not 0 < weight < float("inf"):
            raise UserError(f"the weight of the solution's actions must be above 0, got {weight:g}")
        self.weight = weight

    @property
    def digest(self) -> str:
        """Short hash of what decides the answers."""
        return digest_of(self.name, VERSION, weight=self.weight)

    def act(self, prompts: Sequence[Prompt]) -> list[Response]:
        """Answer each prompt.

        Raises:
            UserError: the environment lists no admissible actions, or gives no walkthrough.
        """
        return [Response(self._draw(prompt)) for prompt in prompts]

    def probabilities(self, prompt: Prompt) -> list[float]:
        """Return the chance of each admissible action."""
        actions, solution = prompt.info.get("admissible_actions"), prompt.info.get("walkthrough")
        if not actions or solution is None:
            raise UserError(
                f"policy 'guided' needs admissible actions and a walkthrough, and task {prompt.task.name} does not "
                "give both: choose another policy for this environment"
            )
        useful = set(solution)
        weights = [self.weight if action in useful else 1.0 for action in actions]
        total = sum(weights)
        return [weight / total for weight in weights]

    def _draw(self, prompt: Prompt) -> str:
        cumulated = np.cumsum(self.probabilities(prompt))
        drawn = Draws(prompt.seed, VERSION).random() * cumulated[-1]
        place = min(int(np.searchsorted(cumulated, drawn, side="right")), len(cumulated) - 1)
        return str(prompt.info["admissible_actions"][place])
