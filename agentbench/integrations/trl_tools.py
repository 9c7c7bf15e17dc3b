"""TRL's way to play environments, ``environment_factory``: the model acts by calling a tool, and TRL samples.

``GRPOTrainer(..., environment_factory=environment_factory("alfworld", "generated:0:64"), train_dataset=prompts(...))``
trains with TRL's own advantages. :class:`ToolGRPOTrainer` does the same with those of a scheme: every message of the
model is one step, whose advantage its tokens get. It suits models that were trained to call tools, and, since TRL
samples, also vLLM; :class:`agentbench.integrations.trl.AgentGRPOTrainer` suits every chat model.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any, TypeVar

import numpy as np

from agentbench.importing.content import call_text
from agentbench.integrations.episode_tokens import Turns
from agentbench.integrations.trl_advantages import REFUSED, StepAdvantages, check_settings
from agentbench.runs.episodes import Episode, Step, clean_text, make_step
from agentbench.runs.provenance import stable_seed
from credit import turns
from envs.base.deadline import within
from envs.base.errors import UserError
from envs.contract import Info, TextEnv
from envs.registry import make
from policies.prompts import make_settings
from policies.prompts.template import ANSWER, render

# After the version was checked (in trl_advantages):
from datasets import Dataset  # isort: skip
from trl import GRPOConfig  # isort: skip

T = TypeVar("T")

RULE = """\
Call the tool `act` with one action at a time, and wait for what it answers, until it says that the episode is over."""
OVER = "The episode is over."
FAILED = "The environment failed. The episode is over."


class ToolEnvironment:
    """An environment as TRL wants it: ``reset`` begins an episode, ``act`` is its only tool, ``get_reward`` scores it.

    Args:
        make_environment: makes an environment; called again for the next episode where one did not answer in time.
        seed: of this copy; each episode draws its own from it.
        show_actions: list the admissible actions, where the environment knows them.
        step_timeout: seconds that one ``reset`` or ``step`` of the environment may take.

    Attributes:
        steps: of the present episode.
        before: observation and ``info`` of its present moment.
        error: why the environment failed, if it did: the episode is then no failure of the model.
    """

    def __init__(
        self, make_environment: Callable[[], TextEnv], seed: int, show_actions: bool = True, step_timeout: float = 60.0
    ) -> None:
        self._make, self._seed, self._show_actions, self._seconds = make_environment, seed, show_actions, step_timeout
        self._environment: TextEnv | None = make_environment()
        self._episodes = count()
        self.steps: list[Step] = []
        self.before: tuple[str, Info] = ("", {})
        self.error: str | None = None

    def reset(self, task: str, **_: Any) -> str:
        """Begin the task with this id or name; return what TRL puts behind the prompt. Other columns are ignored."""
        self.steps, self.error, self.before = [], None, ("", {"task_id": task})
        seed = stable_seed(self._seed, task, next(self._episodes)) % 2**31
        try:
            environment = self._environment = self._environment or self._make()
            self.before = self._in_time(lambda: environment.reset(seed=seed, options={"task": task}))
        except UserError:
            raise
        except Exception as error:  # an engine's own: the episode is left out, the training continues
            return self._fail(error)
        instruction = self.before[1]["instruction"]
        return f"Task: {instruction}\n\n{self._present()}"

    def act(self, action: str) -> str:
        """Do one thing in the environment, and see what happens.

        Args:
            action: What to do, in words.

        Returns:
            What is seen then, and which actions are possible.
        """
        if self.is_over:
            return OVER
        action, (observation, info) = str(action), self.before
        environment = self._environment
        assert environment is not None, "an episode whose environment was given up is over"
        try:
            seen, reward, terminated, truncated, after = self._in_time(lambda: environment.step(action))
        except Exception as error:  # as above
            return self._fail(error)
        self.steps.append(make_step(observation, info, action, reward, terminated, truncated, after))
        self.before = (seen, after)
        return f"{seen}\n\n{OVER}" if self.is_over else self._present()

    def get_reward(self) -> float | None:
        """Return the sum of the episode's rewards; None (no reward) where the environment failed."""
        return None if self.error is not None else float(sum(step.reward for step in self.steps))

    @property
    def is_over(self) -> bool:
        """Whether the episode ended."""
        return self.error is not None or bool(self.steps and (self.steps[-1].terminated or self.steps[-1].truncated))

    def _in_time(self, call: Callable[[], T]) -> T:
        try:
            return within(self._seconds, call, "see step_timeout")
        except TimeoutError:
            self._environment = None  # it may be at work still
            raise

    def _fail(self, error: Exception) -> str:
        self.error = f"the environment failed: {type(error).__name__}: {error}"
        return FAILED

    def _present(self) -> str:
        observation, info = self.before
        offered = info.get("admissible_actions") if self._show_actions else None
        listed = "\n".join(f"- {action}" for action in offered or ())
        return f"{observation}\n\nAdmissible actions:\n{listed}" if listed else observation


def environment_factory(
    env: str,
    split: str,
    env_options: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    show_actions: bool = True,
    step_timeout: float = 60.0,
) -> Callable[[], ToolEnvironment]:
    """Return what makes copies of an environment, for ``GRPOTrainer(environment_factory=...)``.

    Args:
        env: short name of the environment.
        split: its tasks.
        env_options: of the environment.
        seed: of what the environments draw; other in each copy and process.
        show_actions: list the admissible actions, where the environment knows them.
        step_timeout: seconds that one ``reset`` or ``step`` may take; an episode over it teaches nothing.
    """
    options = {**(env_options or {}), "split": split}
    number = count()

    def factory() -> ToolEnvironment:
        own = stable_seed(seed, "trl tools", int(os.environ.get("RANK", "0")), next(number))
        return ToolEnvironment(functools.partial(make, env, **options), own, show_actions, step_timeout)

    return factory


def prompts(env: str, split: str, env_options: Mapping[str, Any] | None = None) -> Dataset:
    """Return the data set of a split: one row a task, with its ``prompt`` (the rules; ``reset`` adds the rest) and id.

    Raises:
        UserError: an unknown environment, split or option, or no tasks.
    """
    environment = make(env, **{**(env_options or {}), "split": split})
    tasks = [task.id for task in environment.tasks]
    environment.close()
    if not tasks:
        raise UserError(f"split {split!r} of {env!r} has no tasks")
    rules = render(make_settings(env).template.system.removesuffix(ANSWER), thinking=False)
    message = {"role": "user", "content": f"{rules}\n\n{RULE}\n\n"}
    return Dataset.from_dict({"prompt": [[message]] * len(tasks), "task": tasks})


class ToolGRPOTrainer(StepAdvantages):
    """TRL's ``GRPOTrainer`` with ``environment_factory``, and the advantages of a scheme.

    Args:
        model: as TRL takes it: a folder, a name on the model hub, or a model. Its chat template must know tools.
        env, split, env_options, show_actions, step_timeout: see :func:`environment_factory`.
        scheme: of :data:`credit.SCHEMES`; one that needs no critic.
        scheme_options: of the scheme.
        invalid_penalty: taken off the reward of an invalid action.
        args: TRL's settings; a whole episode must fit into ``max_completion_length``.
        more: further arguments of ``GRPOTrainer``.

    Raises:
        UserError: a setting with which the result would be wrong, or one that does not exist.
    """

    def __init__(
        self,
        model: Any,
        *,
        env: str,
        split: str,
        env_options: Mapping[str, Any] | None = None,
        scheme: str = "gigpo",
        scheme_options: Mapping[str, Any] | None = None,
        invalid_penalty: float = 0.0,
        show_actions: bool = True,
        step_timeout: float = 60.0,
        args: GRPOConfig | None = None,
        **more: Any,
    ) -> None:
        args = GRPOConfig("results/trl") if args is None else args
        check_settings(args, more, REFUSED)
        self._said: list[list[dict[str, Any]]] = []
        super().__init__(
            scheme=scheme,
            scheme_options=scheme_options,
            invalid_penalty=invalid_penalty,
            model=model,
            args=args,
            train_dataset=prompts(env, split, env_options),
            environment_factory=environment_factory(
                env, split, env_options, seed=args.seed, show_actions=show_actions, step_timeout=step_timeout
            ),
            **more,
        )

    def _generate(self, prompts: list[Any]) -> Any:
        found = super()._generate(prompts)
        self._said = found[3]
        return found

    def episodes_and_turns(self, output: Mapping[str, Any]) -> tuple[Sequence[Episode], Sequence[Turns | None]]:
        """Return the episodes, a message of the model being a step, and of each token the step of its message."""
        masks = (output["tool_mask"] * output["completion_mask"]).cpu().numpy()
        episodes: list[Episode] = []
        numbers: list[Turns | None] = []
        for environment, messages, mask in zip(self.environments, self._said, masks, strict=True):
            episode, turn = episode_of(environment, messages), turns(mask)
            said = sum(message["role"] == "assistant" for message in messages)
            if turn.max(initial=-1) + 1 != said:
                raise UserError(f"TRL gives {turn.max(initial=-1) + 1} runs of sampled tokens for {said} messages")
            episodes.append(episode)
            numbers.append(np.where(turn < len(episode.steps), turn, -1) if episode.is_judged else None)
        return episodes, numbers


def episode_of(environment: ToolEnvironment, messages: Sequence[Mapping[str, Any]]) -> Episode:
    """Put what an environment recorded and what the model said together: each message is one step.

    A message with several calls is one step whose action is all of them. One without a call that reached the
    environment changes nothing, and is invalid. What is said after the end is no step.

    Args:
        environment: after the episode.
        messages: of the model and the tool, in order.
    """
    steps: list[Step] = []
    taken = 0
    for message in messages:
        if message["role"] != "assistant" or (steps and (steps[-1].terminated or steps[-1].truncated)):
            continue
        calls = message.get("tool_calls") or []
        reached = sum(map(_reaches, calls))
        own = environment.steps[taken : taken + reached]
        taken += len(own)
        text = clean_text(str(message.get("content") or ""))
        said = clean_text("\n".join(map(call_text, calls))) or text
        steps.append(_joined(own, text) if own else _idle(environment, taken, said, is_valid=bool(reached)))
    if taken != len(environment.steps):
        raise UserError(f"the environment took {len(environment.steps)} steps, the messages call for {taken}")
    if steps and not steps[-1].terminated:
        steps[-1].truncated = True
    observation, info = environment.before
    won, score = bool(info.get("won")), float(info.get("score", 0.0))
    about = str(info["task_id"]), str(info.get("task_type", "")), str(info.get("instruction", ""))
    episode = Episode(about[0], about[0], about[1], about[2], 0, "success" if won else "failure", won, score, steps)
    episode.final_observation, episode.final_anchor = observation, str(info.get("anchor", ""))
    if environment.error is not None:
        episode.outcome, episode.won, episode.error = "error", False, environment.error
    return episode


def _reaches(call: Mapping[str, Any]) -> bool:
    """Return whether TRL could carry out a call: of the tool that there is, with its only argument."""
    function = call.get("function") or {}
    arguments = function.get("arguments")
    return function.get("name") == "act" and isinstance(arguments, Mapping) and set(arguments) == {"action"}


def _joined(own: Sequence[Step], text: str) -> Step:
    first, last = own[0], own[-1]
    return Step(
        observation=first.observation,
        anchor=first.anchor,
        admissible_actions=first.admissible_actions,
        action="\n".join(step.action for step in own),
        reward=sum(step.reward for step in own),
        is_valid=all(step.is_valid for step in own),
        terminated=last.terminated,
        truncated=last.truncated,
        score=last.score,
        text=text or None,
    )


def _idle(environment: ToolEnvironment, taken: int, said: str, *, is_valid: bool) -> Step:
    """Return the step of a message that did nothing, at the moment before the next step of the environment."""
    score = environment.steps[taken - 1].score if taken else 0.0
    if taken < len(environment.steps):
        now = environment.steps[taken]
        moment = now.observation, now.anchor, now.admissible_actions
    else:
        observation, info = environment.before
        moment = observation, str(info.get("anchor", "")), info.get("admissible_actions")
    return Step(*moment, said, 0.0, is_valid, terminated=False, truncated=False, score=score)
