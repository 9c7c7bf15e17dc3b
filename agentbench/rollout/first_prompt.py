"""Can an episode begin at all? A context that is too short for the first prompt is told before anything is played."""

from __future__ import annotations

from envs.base.errors import UserError
from envs.contract import Task, TextEnv
from policies.contract import CountsPromptTokens, Policy, Prompt
from policies.prompts import ContextTooLong


def refuse_short_context(policy: Policy, environment: TextEnv, task: Task) -> None:
    """Refuse a policy whose context is shorter than the first prompt of a task.

    Policies that count no tokens are not asked. A task that cannot be begun is left to the run, which tells of it.

    Raises:
        UserError: the prompt does not fit.
    """
    if not isinstance(policy, CountsPromptTokens):
        return
    try:
        observation, info = environment.reset(seed=0, options={"task": task.id})
        policy.prompt_tokens(Prompt.first(task, observation, info))
    except ContextTooLong as error:
        raise UserError(f"no episode can begin: {error}") from error
    except Exception:  # whatever an environment raises costs an episode, and not the run
        return
