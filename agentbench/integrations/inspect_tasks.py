"""Our environments as tasks of Inspect: ``inspect eval agentbench/alfworld --model …``, by an entry point.

Inspect asks the model, keeps the log and shows it; the environment, the prompts, the reading of answers and the
intervals are those of ``agentbench eval``, and ``agentbench import`` makes the log the run that it would have been.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from agentbench.evaluation.scenarios import with_scenario
from agentbench.evaluation.summary import summarise
from agentbench.integrations.chat_episode import ChatEpisode
from agentbench.integrations.versions import INSPECT, require
from agentbench.integrations.workers import Split
from envs.base.errors import UserError
from envs.contract import Task as OurTask
from envs.registry import find, load
from policies.prompts import Message, make_settings

require("inspect-ai", INSPECT, "inspect", "agentbench.integrations.inspect_tasks")

from inspect_ai import Task, task  # noqa: E402
from inspect_ai._util.error import PrerequisiteError  # noqa: E402
from inspect_ai.dataset import MemoryDataset, Sample  # noqa: E402
from inspect_ai.model import (  # noqa: E402
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    ContentReasoning,
    ContentText,
    get_model,
)
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, metric, scorer  # noqa: E402
from inspect_ai.solver import Generate, Solver, TaskState, solver  # noqa: E402

OURS = "agentbench"
"""Where a sample's metadata holds our record of the episode."""

FINISH = {"max_tokens": "length", "unknown": None}
"""Inspect's words for why an answer ended, where they are not a server's."""


def named(name: str) -> str:
    """Return the name under which Inspect lists something of ours as ``agentbench/NAME``.

    It puts the package's name before it itself where it finds the package among the installed ones, and not in a
    checkout, since the distribution is called otherwise.
    """
    installed = {"site-packages", "dist-packages"} & set(Path(__file__).parts)
    return name if installed else f"agentbench/{name}"


@task(name=named("alfworld"))  # type: ignore[untyped-decorator]
def alfworld(split: str | None = None, **options: Any) -> Task:
    """Household tasks in text; for the arguments see :func:`task_of`."""
    return task_of("alfworld", split, **options)


@task(name=named("webshop"))  # type: ignore[untyped-decorator]
def webshop(split: str | None = None, **options: Any) -> Task:
    """A shop with a search engine; for the arguments see :func:`task_of`."""
    return task_of("webshop", split, **options)


@task(name=named("appworld"))  # type: ignore[untyped-decorator]
def appworld(split: str | None = None, **options: Any) -> Task:
    """Nine apps, driven by code; for the arguments see :func:`task_of`."""
    return task_of("appworld", split, **options)


def task_of(
    env: str,
    split: str | None = None,
    *,
    seed: int = 0,
    thinking: bool = True,
    show_actions: bool = True,
    inline: bool = False,
    step_timeout: float = 60.0,
    **options: Any,
) -> Task:
    """Make a task of an environment; one of a plug-in too.

    Args:
        env: short name of the environment.
        split: its tasks; None for the environment's own choice.
        seed: what episodes draw derives from it, as in ``agentbench eval --seed``; an epoch is a trial.
        thinking: ask for reasoning before the action.
        show_actions: list the admissible actions, where the environment knows them.
        inline: play in Inspect's own process: faster, but nothing ends an environment that hangs.
        step_timeout: seconds that one reset or step of the environment may take.
        options: of the environment.

    Raises:
        PrerequisiteError: an unknown environment, split or option, or data that is not installed, in one line.
    """
    wanted = options if split is None else {**options, "split": split}
    try:
        served = Split(env, wanted, inline=inline, step_timeout=step_timeout)
    except UserError as error:
        raise PrerequisiteError(str(error)) from error
    about = {"env": env, "split": served.name, "digest": served.digest}
    return Task(
        dataset=MemoryDataset([_sample(each) for each in served.tasks], name=f"{env}/{served.name}"),
        solver=play(served, seed=seed, thinking=thinking, show_actions=show_actions),
        scorer=[success(), score()],
        fail_on_error=False,  # a failure of the environment is a sample without a score, and no failure of the model
        metadata=about | ({"protected": served.protected} if served.protected else {}),
    )


def _sample(of: OurTask) -> Sample:
    about = {"task_name": of.name, "task_type": of.type}
    return Sample(id=of.id, input=f"{of.type}: {of.name}", metadata=about)


@solver(name=named("play"))  # type: ignore[untyped-decorator]
def play(split: Split, *, seed: int = 0, thinking: bool = True, show_actions: bool = True) -> Solver:
    """Play a sample's episode: the model answers, its answer is carried out, until the end or a limit of Inspect's."""
    settings = make_settings(split.env, thinking=thinking, show_actions=show_actions)

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        task = split.tasks[split.places[str(state.sample_id)]]
        episode = ChatEpisode(split, task, settings, seed=seed, trial=state.epoch - 1)
        try:
            state.messages = [_inspects(each) for each in await _done(split, episode.begin)]
            while not (episode.is_over or state.completed):
                state.output = await get_model().generate(state.messages)
                state.messages.append(state.output.message)
                finish = FINISH.get(state.output.stop_reason, state.output.stop_reason)
                said = _said(state.output.message)
                state.messages.append(_inspects(await _done(split, lambda: episode.answer(said, finish))))  # noqa: B023
        finally:
            state.metadata[OURS] = episode.record()
            episode.close()
        return state

    return solve


async def _done(split: Split, call: Callable[[], Any]) -> Any:
    return call() if split.inline else await asyncio.to_thread(call)


def _said(message: ChatMessageAssistant) -> str:
    """Return the whole answer; reasoning, which Inspect takes out of it, in its tags again."""
    if isinstance(message.content, str):
        return message.content
    return "".join(each.text for each in message.content if isinstance(each, ContentReasoning | ContentText))


def _inspects(message: Message) -> ChatMessage:
    kind = ChatMessageSystem if message["role"] == "system" else ChatMessageUser
    return kind(content=message["content"])


@metric(named("rate"), scores="unreduced")  # type: ignore[untyped-decorator]
def rate() -> Metric:
    """Return the success rate with its 95 % interval: a task's epochs are averaged first, as in ``agentbench show``."""
    return _summed_up("success_rate", "success_low", "success_high")


@metric(named("mean_score"), scores="unreduced")  # type: ignore[untyped-decorator]
def mean_score() -> Metric:
    """Return the mean score with its 95 % interval, made as :func:`rate` is."""
    return _summed_up("mean_score", "score_low", "score_high")


def _summed_up(*columns: str) -> Metric:
    def summed_up(scores: list[SampleScore]) -> dict[str, float]:
        if not scores:  # Inspect asks before the first sample is there
            return dict.fromkeys(columns, math.nan)
        rows = pd.DataFrame([each.score.metadata for each in scores])
        scenario = find(str(rows["env"].iloc[0])).scenario
        if scenario is None:
            overall = summarise(rows).overall
        else:
            overall = summarise(with_scenario(rows, load(scenario)), cluster="scenario").overall
        return {column: float(overall[column]) for column in columns}

    return summed_up


@scorer(metrics=[rate()], name=named("success"))  # type: ignore[untyped-decorator]
def success() -> Scorer:
    """Whether the task was solved: 1 or 0."""
    return _scored(lambda episode: float(episode["won"]))


@scorer(metrics=[mean_score()], name=named("score"))  # type: ignore[untyped-decorator]
def score() -> Scorer:
    """Progress as the benchmark scores it: 0 to 1."""
    return _scored(lambda episode: float(episode["score"]))


def _scored(value: Callable[[dict[str, Any]], float]) -> Scorer:
    async def scored(state: TaskState, target: Target) -> Score | None:
        ours = state.metadata.get(OURS)
        if ours is None:  # another solver played, and not our environment
            return None
        episode = ours["episode"]
        names = ("task_id", "task_name", "task_type", "trial", "outcome", "score")
        row = {"env": ours["env"], **{name: episode[name] for name in names}}
        row["steps"] = len(episode["steps"])
        row["invalid_actions"] = sum(not step["is_valid"] for step in episode["steps"])
        return Score(value=value(episode), metadata=row)

    return scored
