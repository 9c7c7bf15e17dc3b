"""A policy of one's own: takes the middle one of the actions that are offered, or now and then any of them."""

from __future__ import annotations

import random
from collections.abc import Sequence

from envs import UserError
from policies import PolicyEntry, Prompt, Response


class HalvePolicy:
    """Halves what is offered.

    Args:
        share: of steps at which any action is taken, in [0, 1].
    """

    name = "halve"
    is_markov = True

    def __init__(self, share: float = 0.0) -> None:
        self.share = share

    @property
    def digest(self) -> str:
        """All that decides the answers: runs resume only with the same one."""
        return f"halve-1-{self.share}"

    def act(self, prompts: Sequence[Prompt]) -> list[Response]:
        """Answer each prompt from nothing but the prompt: the same whatever it is batched with."""
        return [Response(self._choose(prompt)) for prompt in prompts]

    def probabilities(self, prompt: Prompt) -> list[float]:
        """Return the chance of each offered action; with this, and Markov, true advantages can be exact."""
        offered = prompt.info["admissible_actions"]
        middle = (len(offered) - 1) // 2
        return [self.share / len(offered) + (1 - self.share) * (place == middle) for place in range(len(offered))]

    def _choose(self, prompt: Prompt) -> str:
        offered = prompt.info.get("admissible_actions")
        if not offered:
            raise UserError("policy 'halve' needs a list of admissible actions")
        draw = random.Random(prompt.seed)  # the seed belongs to this step: draws do not depend on any other
        if draw.random() < self.share:
            return str(draw.choice(offered))
        return str(offered[(len(offered) - 1) // 2])


def make_halve(argument: str, environment: str) -> HalvePolicy:
    """Make the policy of ``halve`` or ``halve:SHARE``."""
    try:
        share = float(argument or 0.0)
    except ValueError:
        raise UserError(f"policy 'halve' takes a share of random actions, got {argument!r}: halve:0.5") from None
    return HalvePolicy(share)


HALVE = PolicyEntry("halve", "the middle one of the offered actions, or any: halve:0.5", make_halve)
