"""Our environments in SkyRL: text environments of ``skyrl_gym``, registered as ``agentbench_alfworld`` and so on.

SkyRL samples, and calls ``init`` and ``step``; call :func:`register_all` in its entry point, in the process that makes
the environments. The rows of its data set come from :func:`prompts`.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

from agentbench.integrations.chat_episode import ChatEpisode
from agentbench.integrations.versions import SKYRL_GYM, require
from agentbench.integrations.workers import Split
from agentbench.rollout.contract import WorkerFailure
from envs.base.errors import UserError
from envs.base.log import log
from policies.prompts import make_settings
from policies.prompts.template import render

require("skyrl-gym", SKYRL_GYM, "skyrl")

from skyrl_gym.envs import register  # noqa: E402
from skyrl_gym.envs.base_text_env import BaseTextEnv, BaseTextEnvStepOutput  # noqa: E402
from skyrl_gym.envs.registration import registry  # noqa: E402

ENVS = ("alfworld", "webshop", "appworld")
SETTINGS = ("split", "seed", "thinking", "show_actions", "inline", "step_timeout")
"""Names in SkyRL's ``env_config`` that are ours; all others are options of the environment."""

_trials = count()


class AgentbenchTextEnv(BaseTextEnv):  # type: ignore[misc]
    """One episode, whose turns are the model's answers. A turn's reward is the environment's.

    Where the environment fails, the episode ends with reward 0, ``error`` in the turn's metadata and 1 in the metric
    ``errors``: SkyRL has no way to leave an episode out.

    Args:
        env_config: ``split``, ``seed``, ``thinking``, ``show_actions``, ``inline`` and ``step_timeout`` as in
            :func:`agentbench.integrations.inspect_tasks.task_of`, and options of the environment.
        extras: the row of the data set, with ``task`` (an id or a name), and SkyRL's ``max_turns``.
        env: short name of the environment.

    Raises:
        UserError: an unknown environment, split, option or task, or data that is not installed.
    """

    def __init__(self, env_config: Any = None, extras: Mapping[str, Any] | None = None, *, env: str) -> None:
        super().__init__()
        config, extras = dict(env_config or {}), dict(extras or {})
        self.max_turns = int(extras.get("max_turns") or 2**31)
        split = _split(env, json.dumps(_options(config)), bool(config.get("inline")), config.get("step_timeout", 60.0))
        key = extras.get("task")
        if key not in split.places:
            raise UserError(f"the row of the data set has no task of split {split.name}: 'task' is {key!r:.80}")
        settings = make_settings(
            env, thinking=config.get("thinking", True), show_actions=config.get("show_actions", True)
        )
        task = split.tasks[split.places[str(key)]]
        self.played = ChatEpisode(split, task, settings, seed=config.get("seed", 0), trial=next(_trials))

    def init(self, prompt: Any = None) -> tuple[list[dict[str, str]], dict[str, Any]]:
        """Begin; return the first messages, which take the place of the row's own, and what is known of the task."""
        messages = self.played.begin()
        return messages, {name: self.played.info[name] for name in ("task_id", "task_type", "instruction")}

    def step(self, action: str) -> BaseTextEnvStepOutput:
        """Carry out an answer of the model."""
        self.turns += 1
        try:
            message = self.played.answer(action)
        except WorkerFailure as failure:
            log.warning("an episode ends, as its environment failed: %s", failure)
            return BaseTextEnvStepOutput(observations=[], reward=0.0, done=True, metadata={"error": self.played.error})
        done, step = self.played.is_over or self.turns >= self.max_turns, self.played.steps[-1]
        info = self.played.info
        return BaseTextEnvStepOutput(
            observations=[] if done else [message],
            reward=step.reward,
            done=done,
            metadata={"action": step.action, **{name: info[name] for name in ("anchor", "is_valid", "score", "won")}},
        )

    def get_metrics(self) -> dict[str, Any]:
        """Return whether the task was solved, the score, the steps, the invalid actions, and whether it failed."""
        episode = self.played.episode
        return {
            "won": float(episode.won),
            "score": episode.score,
            "steps": len(episode.steps),
            "invalid_actions": sum(not step.is_valid for step in episode.steps),
            "errors": float(episode.outcome == "error"),
        }

    def close(self) -> None:
        """Give the environment back."""
        self.played.close()


def register_all() -> None:
    """Register ``agentbench_alfworld``, ``agentbench_webshop`` and ``agentbench_appworld``; again, it does nothing."""
    for env in ENVS:
        if f"agentbench_{env}" not in registry:
            register(f"agentbench_{env}", "agentbench.integrations.skyrl:AgentbenchTextEnv", kwargs={"env": env})


def prompts(env: str, split: str | None = None, **options: Any) -> Iterator[dict[str, Any]]:
    """Yield a row for SkyRL's data set for every task: ``prompt``, ``env_class`` and ``task``.

    Args:
        env: short name of the environment.
        split: its tasks; None for the environment's own choice.
        options: of the environment.

    Raises:
        UserError: an unknown environment, split or option, or data that is not installed.
    """
    system = render(make_settings(env).template.system, thinking=True)
    chosen = options if split is None else {**options, "split": split}
    for task in _split(env, json.dumps(chosen), True, 60.0).tasks:
        said = [{"role": "system", "content": system}, {"role": "user", "content": f"{task.type}: {task.name}"}]
        yield {"prompt": said, "env_class": f"agentbench_{env}", "data_source": f"agentbench/{env}", "task": task.id}


def _options(config: Mapping[str, Any]) -> dict[str, Any]:
    own = {name: value for name, value in config.items() if name not in SETTINGS}
    return own if config.get("split") is None else {**own, "split": config["split"]}


@functools.cache
def _split(env: str, options: str, inline: bool, step_timeout: float) -> Split:
    """Return the environments of these options, which all episodes of this process share."""
    return Split(env, json.loads(options), inline=inline, step_timeout=step_timeout)
