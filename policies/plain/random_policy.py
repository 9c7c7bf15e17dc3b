"""The random policy: any admissible action, all equally likely."""

from __future__ import annotations

from collections.abc import Sequence

from envs.base.digest import digest_of
from policies.contract import Prompt, Response
from policies.plain.choices import choices
from policies.plain.draws import Draws

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
        count = len(choices(prompt, "random"))
        return [1 / count] * count


def _draw(prompt: Prompt) -> str:
    actions = choices(prompt, "random")
    return str(actions[Draws(prompt.seed).index(len(actions))])
