"""The contract of every policy: a batch of prompts in, one response for each out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from envs.base.safe_text import whole
from envs.contract import Info, Task


@dataclass(frozen=True, slots=True)
class Turn:
    """One past step of an episode: what was seen, and what was done then.

    Attributes:
        observation: what was seen.
        action: what was done.
        text: the whole answer that the policy gave then (:attr:`Response.text`).
        admissible_actions: the actions that were offered then, or None where they could not be listed.
        trace: what the policy gave with its answer (:attr:`Response.trace`).
    """

    observation: str
    action: str
    text: str | None = None
    admissible_actions: Sequence[str] | None = None
    trace: Any = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """Everything that a policy may look at when it chooses one action.

    Attributes:
        task: the task being played.
        observation: the present observation.
        info: the environment's ``info`` of this moment (``admissible_actions`` and so on).
        history: all earlier turns of this episode, oldest first; its length is the step index.
        seed: a number of this step alone, derived from the run's seed, the task, the trial and the step:
            a policy that draws at random draws from it, so that its choice does not depend on which other
            episodes it is batched with, on the number of workers, or on a resume.
        trial: which time the task is played, from 0.
    """

    task: Task
    observation: str
    info: Info
    history: Sequence[Turn]
    seed: int
    trial: int = 0

    @classmethod
    def first(cls, task: Task, observation: str, info: Info, seed: int = 0, trial: int = 0) -> Prompt:
        """Return the prompt of an episode's first step.

        Args:
            task, seed, trial: as above.
            observation, info: what the environment's ``reset`` gave; halves of characters in the text are replaced.
        """
        return cls(task, whole(observation), info, (), seed, trial)

    def after(self, response: Response, observation: str, info: Info, seed: int = 0) -> Prompt:
        """Return the prompt of the next step; every past of every prompt is made here.

        Args:
            response: what was answered to this prompt, of which ``action``, ``text`` and ``trace`` are kept.
            observation, info: what the environment gave for the action; halves of characters in the text are replaced.
            seed: of the next step.
        """
        offered = self.info.get("admissible_actions")
        listed = None if offered is None else tuple(offered)
        turn = Turn(self.observation, response.action, response.text, listed, response.trace)
        return Prompt(self.task, whole(observation), info, (*self.history, turn), seed, self.trial)


@dataclass(frozen=True, slots=True)
class Response:
    """What a policy answered.

    Attributes:
        action: the string that goes to the environment, whatever it is.
        text: the whole answer of a language model, where there is more than the action.
        details: whatever the policy wants recorded with the step (must be JSON). Language models, whether behind
            ``hf``, ``openai`` or ``vllm``, all record the same keys (:func:`policies.prompts.answers.answer_details`):

            - ``invalid`` (str or None): why the answer broke :func:`policies.prompts.parsing.parse_answer`'s rules;
            - ``cut_answer`` (bool): whether it ran into the longest length (``max_tokens``);
            - ``finish`` (str or None): why it ended: ``length``, ``stop`` (a stop string, or with a server also the
              end), ``end`` (the model ended it), or another word of the server (``content_filter``);
            - ``prompt_tokens``, ``answer_tokens`` (int, or None where a server does not count);
            - ``cached_tokens`` (int): how many of the prompt's tokens the server took from its cache and may bill
              apart; 0 where it does not say, and for engines in this process;
            - ``left_out`` (int): number of oldest steps that did not fit into the context;
            - ``model`` (str or None): the model that answered, as the server calls it;
            - only where there is one: ``log_prob`` (float: of all sampled tokens together), ``cost`` (float: by the
              prices that were given), ``messages`` (with ``keep_messages``: the chat as it was sent).

            Runs of earlier versions lack some of them (then ``hf`` has ``tokens`` for ``answer_tokens``).
        trace: what a trainable policy needs to judge this answer again; kept in memory only, never stored.
    """

    action: str
    text: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    trace: Any = None


def response_faults(answer: object) -> Iterator[str]:
    """Yield what of an answer breaks the contract, a line each."""
    if not isinstance(answer, Response):
        yield f"an answer is {type(answer).__name__}, not a policies.Response"
        return
    if not isinstance(answer.action, str):
        yield f"an action is {type(answer.action).__name__}, not a string"
    if answer.text is not None and not isinstance(answer.text, str):
        yield f"the text of an answer is {type(answer.text).__name__}, neither a string nor None"
    if not answer.details:
        return
    try:
        json.dumps(answer.details)
    except (TypeError, ValueError, RecursionError) as error:
        yield f"the details of an answer cannot be written as JSON ({error})"


class Policy(Protocol):
    """Who acts. A policy keeps nothing from one call to the next that could change an answer.

    A policy that waits for something outside the program (a server) also has ``submit``: it takes one prompt and
    returns a ``concurrent.futures.Future`` of its response, without waiting; more prompts come before that is there.
    One may also have ``record``, a dictionary (JSON) that a run stores with its settings (the texts of its prompts).
    """

    @property
    def name(self) -> str:
        """Short name for tables."""

    @property
    def digest(self) -> str:
        """Short hash of everything that decides the answers; runs resume only with the same one."""

    def act(self, prompts: Sequence[Prompt]) -> list[Response]:
        """Answer each prompt: a list of the same length and order."""


class TemperedPolicy(Policy, Protocol):
    """A policy that can be asked at another temperature; one that plays in training is evaluated at its own."""

    def with_temperature(self, temperature: float) -> Self:
        """Return this policy, with the same weights, sampled (and, if it is trained, judged) at a temperature."""


class KnownPolicy(Policy, Protocol):
    """A policy that can say how likely each of its answers is. Needed for exact advantages and policy gradients."""

    @property
    def is_markov(self) -> bool:
        """Whether its answers depend on the prompt's ``info`` alone: on no observation, no history, no trial."""

    def probabilities(self, prompt: Prompt) -> Sequence[float] | None:
        """Return the chance of each action of ``info["admissible_actions"]``, in that order; they sum to 1.

        None where this prompt's answer is not one of them.
        """
