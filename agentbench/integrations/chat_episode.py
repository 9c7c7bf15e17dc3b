"""An episode for a harness that owns the conversation: what to say to the model, and what its answer does.

Inspect, verifiers and SkyRL sample themselves and keep the messages. Here is the other side, the same for all three:
the messages of a language model's prompt (:mod:`policies.prompts`), the action read out of its answer, the step, and a
record of the episode as a run of ours would have it, which ``agentbench import`` reads back.
"""

from __future__ import annotations

from typing import Any

from agentbench.integrations.workers import Split
from agentbench.rollout.contract import WorkerFailure
from agentbench.rollout.pool import Home
from agentbench.runs.episodes import Episode, Step, make_step, to_record
from agentbench.runs.provenance import stable_seed
from envs.base.safe_text import redacted, without_half_characters
from envs.contract import Task
from policies.contract import Prompt, Response
from policies.prompts import Message, PromptSettings, build_messages
from policies.prompts.parsing import cut_by, parse_answer


class ChatEpisode:
    """One episode; close it, which gives its environment back.

    Args:
        split: the tasks and the environments.
        task: which is played.
        settings: how prompts are written; the conversation is whole, so ``history`` must be None.
        seed, trial: what an episode draws derives from them and the task, as in ``agentbench eval --seed``.

    Attributes:
        steps: what was done, oldest first.
        is_over: whether the episode has ended.
        error: why the environment failed, if it did: the model is then not judged.
    """

    def __init__(self, split: Split, task: Task, settings: PromptSettings, *, seed: int = 0, trial: int = 0) -> None:
        self._split, self._task, self._settings, self._seed, self._trial = split, task, settings, seed, trial
        self._worker: Home | None = None
        self._prompt: Prompt | None = None
        self.steps: list[Step] = []
        self.is_over = False
        self.error: str | None = None

    def begin(self) -> list[Message]:
        """Begin; return the messages for the first answer, the system's and the user's.

        Raises:
            WorkerFailure: the environment failed.
            UserError: no environment is free.
        """
        seed = stable_seed(self._seed, self._task.id, self._trial)
        try:
            self._worker = self._split.take()
            observation, _, terminated, truncated, info = self._ask("reset", (self._task.id, seed))
        except WorkerFailure as failure:
            self._fail(failure)
            raise
        self._prompt = Prompt.first(self._task, observation, info, seed, self._trial)
        self.is_over = bool(terminated or truncated)
        return build_messages(self._prompt, self._settings)

    def answer(self, text: str, finish: str | None = None) -> Message:
        """Do what an answer says; return the message that tells what came of it, the last one where it is over.

        Args:
            text: the model's whole answer, with its reasoning if it has any.
            finish: why the answer ended (``length``, ``stop``, …), where that is known.

        Raises:
            WorkerFailure: the environment failed, and the episode is over.
        """
        assert self._prompt is not None and not self.is_over, "begin() comes first, and nothing after the end"
        before, text = self._prompt, without_half_characters(text)
        parsed = parse_answer(text, before.info.get("admissible_actions"), cut=cut_by(finish))
        details = {"invalid": parsed.reason, "cut_answer": finish == "length", "finish": finish}
        response = Response(parsed.action, text, details)
        try:
            observation, reward, terminated, truncated, info = self._ask("step", response.action)
        except WorkerFailure as failure:
            self._fail(failure)
            raise
        self.steps.append(
            make_step(before.observation, before.info, response.action, reward, terminated, truncated, info,
                      text=text, details=details)
        )  # fmt: skip
        self._prompt = before.after(response, observation, info)
        self.is_over = bool(terminated or truncated)
        if self.is_over:
            return {"role": "user", "content": self._prompt.observation}
        return build_messages(self._prompt, self._settings)[-1]

    @property
    def info(self) -> dict[str, Any]:
        """The environment's ``info`` of now; empty before the beginning."""
        return {} if self._prompt is None else dict(self._prompt.info)

    @property
    def rewards(self) -> list[float]:
        """The reward of every answer."""
        return [step.reward for step in self.steps]

    @property
    def episode(self) -> Episode:
        """The episode as far as it was played; one that was stopped before its end counts as cut, and as a failure."""
        info, judged = self.info, self.error is None and self._prompt is not None
        won = judged and bool(info["won"])
        if self.steps and judged and not self.is_over:
            self.steps[-1].truncated = True
        return Episode(
            task_id=self._task.id,
            task_name=self._task.name,
            task_type=self._task.type,
            instruction=str(info.get("instruction", "")),
            trial=self._trial,
            outcome=("success" if won else "failure") if judged else "error",
            won=won,
            score=float(info["score"]) if judged else 0.0,
            steps=self.steps,
            final_observation=self._prompt.observation if judged and self._prompt else "",
            final_anchor=str(info["anchor"]) if judged else "",
            error=None if judged else self.error or "it was stopped before it had begun",
        )

    def record(self) -> dict[str, Any]:
        """Return the episode as JSON, to be kept with the harness's own log under the name ``agentbench``."""
        split = self._split
        about = {"env": split.env, "split": split.name, **({"protected": split.protected} if split.protected else {})}
        return {**about, "episode": to_record(self.episode)}

    def close(self) -> None:
        """Give the environment back; called again, it does nothing."""
        if self._worker is not None:
            self._split.give_back(self._worker)
        self._worker = None

    def _ask(self, command: str, arguments: Any) -> Any:
        assert self._worker is not None
        return self._split.ask(self._worker, command, arguments)

    def _fail(self, failure: WorkerFailure) -> None:
        self._worker, self.is_over, self.error = None, True, redacted(str(failure))
