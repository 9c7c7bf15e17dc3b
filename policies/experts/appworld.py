"""The AppWorld expert: plays the code blocks that solve the task, where the task comes with them.

It is an upper bound and not an agent: it sees the solution. The tasks of the split ``mini`` come with one; those of
the official data are AppWorld's to keep.
"""

from __future__ import annotations

from collections.abc import Sequence

from envs.base.digest import digest_of
from envs.base.errors import UserError
from policies.contract import Prompt, Response

VERSION = 1


class AppworldExpert:
    """Plays ``info["walkthrough"]`` block by block; steps that another policy took in between change nothing."""

    name = "expert"

    @property
    def digest(self) -> str:
        """Short hash of what decides the answers."""
        return digest_of("appworld-expert", VERSION)

    def act(self, prompts: Sequence[Prompt]) -> list[Response]:
        """Answer each prompt.

        Raises:
            UserError: the task comes without a solution.
        """
        return [Response(_next_block(prompt)) for prompt in prompts]


def _next_block(prompt: Prompt) -> str:
    walkthrough = prompt.info.get("walkthrough")
    if walkthrough is None:
        raise UserError(
            f"policy 'expert' needs the task's solution, and AppWorld's task {prompt.task.name} comes with none: "
            "use the split 'mini', or another policy"
        )
    done = 0  # blocks already played, whatever a mixed policy did between them
    for turn in prompt.history:
        done += done < len(walkthrough) and turn.action == walkthrough[done]
    return str(walkthrough[min(done, len(walkthrough) - 1)])
