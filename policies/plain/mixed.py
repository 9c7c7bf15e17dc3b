"""The mixed policy: another policy's action, with a share of random ones; between a fool and an expert."""

from __future__ import annotations

from collections.abc import Sequence

from envs.base.digest import digest_of
from envs.base.errors import UserError
from policies.contract import Policy, Prompt, Response
from policies.plain.choices import choices
from policies.plain.draws import Draws

VERSION = 1


class MixedPolicy:
    """Takes a random admissible action with a fixed chance at every step, and asks the other policy otherwise.

    All draws come from the prompt's own seed. Rollouts of one task differ from each other, some fail and some
    succeed: what group-based credit schemes need to have something to compare.

    Args:
        policy: whom to ask; it must be able to continue from situations that others have made.
        share: chance of a random action, in [0, 1].

    Raises:
        UserError: the share is out of range.
    """

    name = "mixed"
    is_markov = False  # the policies that it asks remember the episode

    def __init__(self, policy: Policy, share: float = 0.5) -> None:
        if not 0.0 <= share <= 1.0:
            raise UserError(f"the share of random actions must be in [0, 1], got {share:g}")
        self.policy, self.share = policy, share

    @property
    def digest(self) -> str:
        """Short hash of what decides the answers."""
        return digest_of(self.name, VERSION, share=self.share, policy=self.policy.digest)

    def act(self, prompts: Sequence[Prompt]) -> list[Response]:
        """Answer each prompt.

        Raises:
            UserError: the environment lists no admissible actions.
        """
        draws = [Draws(prompt.seed, VERSION) for prompt in prompts]
        is_random = [draw.random() < self.share for draw in draws]
        asked = iter(self.policy.act([prompt for prompt, chance in zip(prompts, is_random, strict=True) if not chance]))
        return [
            Response(_any(prompt, draw)) if chance else next(asked)
            for prompt, draw, chance in zip(prompts, draws, is_random, strict=True)
        ]

    def probabilities(self, prompt: Prompt) -> list[float] | None:
        """Return the chance of each admissible action; None where the other policy's action is not among them.

        The other policy is taken to draw nothing at random, as the expert and the rule agent do.
        """
        actions = choices(prompt, "mixed")
        chances = [self.share / len(actions)] * len(actions)
        if self.share < 1:
            chosen = self.policy.act([prompt])[0].action
            if chosen not in actions:
                return None
            chances[actions.index(chosen)] += 1 - self.share
        return chances


def _any(prompt: Prompt, draw: Draws) -> str:
    actions = choices(prompt, "mixed")
    return str(actions[draw.index(len(actions))])
