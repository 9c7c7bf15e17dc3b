"""The contract of every policy: a batch of prompts in, one response for each out; and all that it may have beside.

The one place to look for what a policy can have. It imports no torch: weights and tensors are only named here. What is
known of a policy before it is made stands in its line of the list, :class:`policies.entry.PolicyEntry`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeGuard, runtime_checkable

from envs.base.safe_text import without_half_characters

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor, nn

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
        return cls(task, without_half_characters(observation), info, (), seed, trial)

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
        return Prompt(self.task, without_half_characters(observation), info, (*self.history, turn), seed, self.trial)


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
        trace: what a trainable policy needs to score this answer again; kept in memory only, never stored.
    """

    action: str
    text: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    trace: Any = None


_PLAIN = frozenset((str, float, bool, type(None)))


def _is_plain(details: Any) -> bool:
    """Return whether values are of types that can always be written as JSON: the most frequent case, quickly."""
    return type(details) is dict and _PLAIN.issuperset(map(type, details.values())) and set(map(type, details)) == {str}


def response_faults(answer: object) -> Iterator[str]:
    """Yield what of an answer breaks the contract, a line each."""
    if not isinstance(answer, Response):
        yield f"an answer is {type(answer).__name__}, not a policies.Response"
        return
    if not isinstance(answer.action, str):
        yield f"an action is {type(answer.action).__name__}, not a string"
    if answer.text is not None and not isinstance(answer.text, str):
        yield f"the text of an answer is {type(answer.text).__name__}, neither a string nor None"
    if not (details := answer.details) or _is_plain(details):
        return
    try:
        json.dumps(details)
    except (TypeError, ValueError, RecursionError) as error:
        yield f"the details of an answer cannot be written as JSON ({error})"


# -- what every policy has ---------------------------------------------------------------------------------


class Policy(Protocol):
    """Who acts. A policy keeps nothing from one call to the next that could change an answer.

    What it may have beside this stands below, each part with who asks for it. They are found by what the object has
    (``isinstance(policy, Submits)``), so a policy of a plug-in has them by having their members, and inherits nothing.
    """

    @property
    def name(self) -> str:
        """Short name for tables."""

    @property
    def digest(self) -> str:
        """Short hash of everything that decides the answers; runs resume only with the same one."""

    def act(self, prompts: Sequence[Prompt]) -> list[Response]:
        """Answer each prompt: a list of the same length and order."""


# -- what a policy may have: in playing and in evaluation --------------------------------------------------


@runtime_checkable
class Submits(Protocol):
    """Waits for something outside the program, a server say, and takes further prompts meanwhile.

    :mod:`agentbench.rollout.play` asks for it. Such a policy gets each prompt alone, as soon as it is there, and a slow
    answer holds up no other episode; without it the prompts that are ready are one batch of ``act``.
    """

    def submit(self, prompt: Prompt) -> Future[Response]:
        """Ask for one prompt without waiting; the future gives its response, or what ``act`` would raise."""


@runtime_checkable
class CountsUsage(Protocol):
    """Counts what it has used: requests, tokens, money.

    :func:`agentbench.evaluate` asks for it, and logs it at the end of an evaluation.
    """

    @property
    def usage(self) -> object:
        """What was used so far: its ``str`` is shown, unless it is falsy (nothing was used)."""


@runtime_checkable
class HasRecord(Protocol):
    """Has something that a run should store with its settings: the texts of its prompts, say.

    :func:`agentbench.evaluate` asks for it, and writes it to ``run.json`` as ``policy_record``.
    """

    @property
    def record(self) -> dict[str, Any]:
        """What is stored (JSON)."""


@runtime_checkable
class KnowsProbabilities(Protocol):
    """Can say how likely each action is at a prompt.

    :mod:`agentbench.analysis.truth` asks for it: only with probabilities can advantages be exact.
    """

    def probabilities(self, prompt: Prompt) -> Sequence[float] | None:
        """Return the chance of each action of ``info["admissible_actions"]``, in that order; they sum to 1.

        None where this prompt's answer is not one of them.
        """


@runtime_checkable
class SaysWhetherMarkov(Protocol):
    """Says whether it looks at anything but the present state; who does not say counts as looking at the past.

    :mod:`agentbench.analysis.truth` asks for it: the values of a Markov policy that knows its probabilities come from
    counting states, in environments that can (:attr:`envs.registry.Environment.states`).
    """

    @property
    def is_markov(self) -> bool:
        """Whether its answers depend on the prompt's ``info`` alone: on no observation, no history, no trial."""


class KnownPolicy(Policy, KnowsProbabilities, SaysWhetherMarkov, Protocol):
    """A policy whose probabilities are known, which says what they depend on."""


# -- what a policy may have: in training -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Likelihood:
    """How likely a policy finds answers that were sampled before. One row a step, one column a sampled token.

    Attributes:
        log_probs: float32, shape (steps, tokens): log-probability of each sampled token, with gradient.
        entropy: float32, shape (steps, tokens): entropy of the distribution that it was sampled from.
        mask: bool, shape (steps, tokens): which columns hold a token.
        values: float32, shape (steps,): the critic's estimate of the return from here; None without a critic. One that
            estimates several values has the shape (steps, values).
    """

    log_probs: Tensor
    entropy: Tensor
    mask: Tensor
    values: Tensor | None = None


@dataclass(frozen=True, slots=True)
class SampledLogProbs:
    """How likely answers were when they were sampled. One row a step, one column a sampled token.

    Attributes:
        log_probs: float32, shape (steps, tokens), without gradient.
        mask: bool, shape (steps, tokens): which columns hold a token.
    """

    log_probs: Tensor
    mask: Tensor


class TemperedPolicy(Policy, Protocol):
    """A policy that can be asked at another temperature; one that plays in training is evaluated at its own."""

    def with_temperature(self, temperature: float) -> Self:
        """Return this policy, with the same weights, sampled (and, if it is trained, judged) at a temperature."""


@runtime_checkable
class Trainable(Protocol):
    """Has weights, and can judge its answers again: each response has a ``trace`` from which that is done.

    :mod:`agentbench.train` asks for it, and no policy without it is trained or cloned into. A trace has ``tokens``, the
    number of tokens that were sampled. A saved one is loaded by :attr:`policies.entry.PolicyEntry.load` of the entry
    whose name stands before the colon of the policy's own (``hf`` of ``hf:my-model``).
    """

    @property
    def module(self) -> nn.Module:
        """The weights."""

    @property
    def has_critic(self) -> bool:
        """Whether :meth:`likelihood` estimates values."""

    def trace(self, prompt: Prompt, action: str) -> Any:
        """Return the trace of an action that somebody else took, or None where this policy could not have."""

    def sampled(self, traces: Sequence[Any]) -> SampledLogProbs:
        """Return the log-probabilities that the answers were sampled with."""

    def likelihood(self, traces: Sequence[Any]) -> Likelihood:
        """Judge sampled answers with the present weights."""

    def with_temperature(self, temperature: float) -> Self:
        """Return this policy, with the same weights, sampled and judged at another temperature."""

    def settings(self) -> dict[str, Any]:
        """Everything but the weights that is needed to make this policy again (JSON)."""


class TrainablePolicy(TemperedPolicy, Trainable, Protocol):
    """A policy that can be trained."""


@runtime_checkable
class CountsPromptTokens(Protocol):
    """A policy that knows how long a prompt is before it answers."""

    def prompt_tokens(self, prompt: Prompt) -> int:
        """Return the tokens of a prompt as the model would get it.

        Raises:
            ContextTooLong: it does not fit into the model's context.
        """


@runtime_checkable
class CutsPieces(Protocol):
    """Judges the steps of an episode at once for less work than one by one, and so cuts batches itself.

    :mod:`agentbench.train` asks for it. Minibatches then keep the steps of an episode together, and the token budget
    counts what the policy really computes; without it steps are shuffled and only sampled tokens are counted.
    """

    def pieces(self, traces: Sequence[Any], budget: int) -> list[npt.NDArray[np.int64]]:
        """Cut traces into pieces of at most ``budget`` tokens; return the places of each piece's traces.

        Steps that are judged at once are never parted, so a piece can be larger; with a budget of 1 each stands alone.
        """


@runtime_checkable
class KeepsComputed(Protocol):
    """Keeps what it computed with its weights from one call to the next: keys and values of prompts, say.

    :mod:`agentbench.train` asks for it after every change of the weights. A change cannot be seen at the tensors: not
    every optimiser raises their versions.
    """

    def forget_computed(self) -> None:
        """Forget what was computed with the weights as they were."""


@runtime_checkable
class MeasuresSampling(Protocol):
    """Says how it has sampled: :mod:`agentbench.train` writes it to ``metrics.jsonl``."""

    def sampling_metrics(self) -> dict[str, float]:
        """Return figures of what was sampled since this was last asked, by the name of the metric."""


@runtime_checkable
class CountsSequences(Protocol):
    """Scores answers as parts of sequences, prompts included.

    ``agentbench clone`` asks for it: its progress then counts what goes through the model; without it, the tokens of
    the answers.
    """

    def sequence_lengths(self, traces: Sequence[Any]) -> list[int]:
        """Return the tokens of every sequence that answers are scored as; what steps share counts once."""


@runtime_checkable
class MakesReference(Protocol):
    """Can stand still beside itself without a second copy of its weights.

    :mod:`agentbench.train` asks for it where a KL term needs the policy as it was at the start; others are copied.
    """

    def reference(self) -> TrainablePolicy:
        """Return this policy as it is now, frozen."""


@runtime_checkable
class Rereads(Protocol):
    """Judges answers of another policy of its kind after prompts of its own, which may say more.

    :mod:`agentbench.train` asks it of a teacher. Of one without it the answers are judged as they were traced.
    """

    def reads_answers_of(self, other: object) -> bool:
        """Return whether the other one's answers are made of the same tokens."""

    def retraced(self, prompt: Prompt, trace: Any) -> Any:
        """Return the trace of the same answer to the same prompt, as this policy would have seen it."""


@runtime_checkable
class TakesAdapters(Protocol):
    """Adapts with low-rank adapters (Hu et al. 2021) on weights that stay as they are.

    :mod:`agentbench.train` asks for it where ``lora`` is set, and refuses others.
    """

    @property
    def adapters(self) -> int:
        """Rank of the adapters that it has; 0 for none."""

    def with_adapters(self, rank: int, source: Path) -> TrainablePolicy:
        """Return a policy that trains adapters of a rank on top of this one, which is saved in ``source``."""


@runtime_checkable
class HasCritic(Protocol):
    """Knows which of its weights estimate values and do nothing else.

    :mod:`agentbench.train` asks for it where these learn at a rate of their own, or alone at the start.
    """

    @property
    def critic(self) -> nn.Module | None:
        """The critic's own weights, a part of :attr:`Trainable.module`; None where there are none."""


@runtime_checkable
class TakesCritic(HasCritic, Protocol):
    """Can be given a critic.

    :mod:`agentbench.train` asks for it where ``value_coefficient`` is set; others have a critic from the start or none.
    """

    def with_critic(self, values: int) -> TrainablePolicy:
        """Return this policy with a critic that estimates so many values a step: its own if it has such a one."""


@runtime_checkable
class SavesCompanions(Protocol):
    """Has more than weights and settings to be saved: a tokenizer, say.

    :func:`policies.trainable.save_policy` asks for it.
    """

    def save_companions(self, folder: Path) -> None:
        """Write what lies beside the weights to ``folder``."""


@runtime_checkable
class Exports(Protocol):
    """Can be written as an ordinary folder of transformers, for programs that know nothing of this one.

    ``agentbench model export`` asks for it.
    """

    def export(self, folder: Path) -> None:
        """Write the folder, adapters merged in."""


def is_trainable(policy: Policy) -> TypeGuard[TrainablePolicy]:
    """Return whether a policy can be trained."""
    return isinstance(policy, Trainable)


def lacking(policy: object, feature: type) -> list[str]:
    """Return the members of a feature that a policy lacks, by name; none where ``isinstance(policy, feature)``."""
    return [name for name in vars(feature) if not name.startswith("_") and not hasattr(policy, name)]
