"""The walkthrough policy: an oracle that plays the task's own winning list of actions."""

from __future__ import annotations

from collections.abc import Sequence

from envs.base.digest import digest_of
from envs.base.errors import UserError
from policies.contract import Prompt, Response

VERSION = 1


class WalkthroughPolicy:
    """Plays ``info["walkthrough"]``: at step i its action i. An upper bound, not an agent: it sees the solution."""

    name = "walkthrough"

    @property
    def digest(self) -> str:
        """Short hash of what decides the answers."""
        return digest_of(self.name, VERSION)

    def act(self, prompts: Sequence[Prompt]) -> list[Response]:
        """Answer each prompt.

        Raises:
            UserError: the environment gives no walkthrough, or it is over and the episode continues.
        """
        return [Response(_next_action(prompt)) for prompt in prompts]


def _next_action(prompt: Prompt) -> str:
    walkthrough, step = prompt.info.get("walkthrough"), len(prompt.history)
    if walkthrough is None:
        raise UserError(
            f"policy 'walkthrough' needs the task's solution in info, and task {prompt.task.name} gives none: "
            "choose another policy for this environment"
        )
    if step >= len(walkthrough):
        raise UserError(
            f"the walkthrough of task {prompt.task.name} ends after {len(walkthrough)} actions, and the episode "
            "continues: the solution does not fit the task"
        )
    return str(walkthrough[step])
