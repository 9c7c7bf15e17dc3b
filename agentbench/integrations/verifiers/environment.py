"""A taskset of our tasks, and the environment that plays them: the model's turns are verifiers', the game is ours."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import verifiers.v1 as vf

from agentbench.integrations.chat_episode import ChatEpisode
from agentbench.integrations.workers import Split
from policies.prompts import make_settings
from policies.prompts.template import render

OURS = "agentbench"
"""Where a trace's ``info`` holds our record of the episode."""


class AgentbenchTaskConfig(vf.TaskConfig):  # type: ignore[misc]
    """What verifiers can set for a task; nothing of ours."""


class AgentbenchConfig(vf.TasksetConfig):  # type: ignore[misc]
    """Which tasks, and how they are shown.

    Attributes:
        env: short name of an environment, one of a plug-in too.
        split: its tasks; None for the environment's own choice.
        options: of the environment, as JSON (``{"max_steps": 30}``).
        thinking: ask for reasoning before the action.
        show_actions: list the admissible actions, where the environment knows them.
        inline: play in verifiers' own process: faster, but nothing ends an environment that hangs.
        step_timeout: seconds that one reset or step of the environment may take.
    """

    env: str = "alfworld"
    split: str | None = None
    options: dict[str, Any] = {}  # noqa: RUF012  (pydantic copies it)
    thinking: bool = True
    show_actions: bool = True
    inline: bool = False
    step_timeout: float = 60.0
    task: AgentbenchTaskConfig = AgentbenchTaskConfig()


class AgentbenchData(vf.TaskData):  # type: ignore[misc]
    """A task as a trace records it; ``id`` is the stable one. The environment opens the conversation."""

    env: str
    split: str
    type: str


class AgentbenchTask(vf.Task[AgentbenchData, vf.State, AgentbenchTaskConfig]):  # type: ignore[misc]
    """One problem; its rewards are given by the environment while it is played."""

    @property
    def key(self) -> str:
        """The task's id, which is derived from its content."""
        return str(self.data.id)


class AgentbenchTaskset(vf.Taskset[AgentbenchTask, AgentbenchConfig]):  # type: ignore[misc]
    """The tasks of a split.

    Raises:
        UserError: an unknown environment, split or option, or data that is not installed.
    """

    def __init__(self, config: AgentbenchConfig) -> None:
        super().__init__(config)
        options = config.options if config.split is None else {**config.options, "split": config.split}
        self.served = Split(config.env, options, inline=config.inline, step_timeout=config.step_timeout)
        self.settings = make_settings(config.env, thinking=config.thinking, show_actions=config.show_actions)

    def load(self) -> Iterator[AgentbenchTask]:
        """Yield the tasks in the environment's order."""
        system = render(self.settings.template.system, thinking=self.settings.thinking)
        for each in self.served.tasks:
            about = {"env": self.served.env, "split": self.served.name, "type": each.type}
            data = AgentbenchData(id=each.id, name=each.name, prompt=None, system_prompt=system, **about)
            yield AgentbenchTask(data, self.config.task)


class AgentbenchEnvConfig(vf.EnvConfig):  # type: ignore[misc]
    """Who plays, and the seed from which episodes draw, as in ``agentbench eval --seed``."""

    player: vf.AgentConfig = vf.AgentConfig(runtime={"type": "subprocess"})
    seed: int = 0


class AgentbenchEnv(vf.Env[AgentbenchEnvConfig]):  # type: ignore[misc]
    """One episode of a task. Its trace has the sum of its rewards, and each in ``info["turn_rewards"]``."""

    def __init__(self, config: AgentbenchEnvConfig) -> None:
        super().__init__(config)
        self._trials: Counter[str] = Counter()

    async def run(self, task: AgentbenchTask, agents: Any) -> None:
        """Play until the episode ends, or a limit of verifiers' stops the player."""
        taskset: AgentbenchTaskset = self.taskset
        split = taskset.served
        of = split.tasks[split.places[task.key]]
        trial, self._trials[of.id] = self._trials[of.id], self._trials[of.id] + 1
        episode = ChatEpisode(split, of, taskset.settings, seed=self.config.seed, trial=trial)
        try:
            async with agents.player.interaction(task) as interaction:
                trace = interaction.trace
                try:
                    message = (await _done(split, episode.begin))[-1]
                    segment = await interaction.turn(message["content"])
                    while not segment.terminated:
                        said = _said(segment), trace.calls[-1].finish_reason if trace.calls else None
                        message = await _done(split, lambda: episode.answer(*said))  # noqa: B023
                        if episode.is_over:
                            break
                        segment = await interaction.turn(message["content"])
                finally:
                    trace.info["turn_rewards"] = episode.rewards
                    trace.info[OURS] = episode.record()
            if not trace.errors:  # a failure of the model's server says nothing of the model
                _judge(trace, episode)
        finally:
            episode.close()

    async def stop(self) -> None:
        """End the workers."""
        taskset: AgentbenchTaskset = self.taskset
        taskset.served.close()


def _judge(trace: Any, episode: ChatEpisode) -> None:
    found = episode.episode
    trace.record_reward("reward", sum(episode.rewards), 1.0)
    trace.record_metric("won", float(found.won))
    trace.record_metric("score", found.score)
    trace.record_metric("steps", float(len(found.steps)))
    trace.record_metric("invalid_actions", float(sum(not step.is_valid for step in found.steps)))


def _said(segment: Any) -> str:
    """Return the whole last answer; reasoning that a server gives apart stands before it, in tags."""
    answers = [message for message in segment.messages if isinstance(message, vf.AssistantMessage)]
    if not answers:
        return str(segment.last_reply)
    thought = answers[-1].reasoning_content
    return (f"<think>{thought}</think>" if thought else "") + (answers[-1].content or "")


async def _done(split: Split, call: Callable[[], Any]) -> Any:
    return call() if split.inline else await asyncio.to_thread(call)
