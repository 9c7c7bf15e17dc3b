"""The actions that a policy can choose among."""

from __future__ import annotations

from envs.base.errors import UserError
from policies.contract import Prompt


def choices(prompt: Prompt, policy: str) -> list[str]:
    """Return the admissible actions, with forms such as ``search[<query>]`` filled in.

    Where actions cannot be listed, these are the few that the environment gives as examples, if it gives any.

    A form's query is the task's own instruction: what a shopper would type first.

    Args:
        prompt: the moment.
        policy: who asks, for the error's text.

    Raises:
        UserError: the environment lists no actions and gives no examples.
    """
    offered = prompt.info.get("admissible_actions") or prompt.info.get("example_actions")
    if not offered:
        raise UserError(
            f"policy {policy!r} needs a list of admissible actions, and task {prompt.task.name} gives none: "
            "choose another policy for this environment"
        )
    return [
        action.replace("<query>", prompt.info["instruction"]) if "<query>" in action else action for action in offered
    ]
