"""Behaviour cloning: raise the likelihood of the actions of stored episodes, as a warm start."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from agentbench.runs.episodes import Episode
from agentbench.runs.provenance import stable_seed
from agentbench.train.memory import give_back
from agentbench.train.optimizer import make_optimizer
from agentbench.train.update import NonFiniteError, computing_in, learning_rate, take_step
from envs.base.errors import UserError
from envs.base.safe_text import is_cut_short
from envs.contract import Task
from policies.contract import CutsPieces, Prompt, TrainablePolicy

Schedule = Literal["constant", "linear", "cosine"]


def prompts_of(episode: Episode) -> Iterator[tuple[Prompt, str]]:
    """Yield what the policy saw at each step of a stored episode, and the action that was taken."""
    task = Task(episode.task_id, episode.task_name, episode.task_type, 0)
    prompt, last = None, None
    for step in episode.steps:
        info = {"instruction": episode.instruction, "admissible_actions": step.admissible_actions}
        if prompt is None or last is None:
            prompt = Prompt(task, step.observation, info, (), seed=0, trial=episode.trial)
        else:
            prompt = prompt.after(last.response, step.observation, info)
        yield prompt, step.action
        last = step


def traces_of(policy: TrainablePolicy, episodes: Sequence[Episode]) -> list[Any]:
    """Return the traces of all steps that the policy could have taken, in order.

    Steps whose action was not stored to its end are left out: nobody shall learn to write the mark of a cut.
    """
    steps = (step for episode in episodes for step in prompts_of(episode))
    traces = (policy.trace(prompt, action) for prompt, action in steps if not is_cut_short(action))
    return [trace for trace in traces if trace is not None]


@dataclass(frozen=True, slots=True)
class CloneSettings:
    """How is learned.

    Attributes:
        passes: times through all steps.
        batch_size: steps an update; with language models whole episodes, until there are this many.
        learning_rate: of AdamW, the highest one.
        schedule: of the learning rate over all updates.
        warmup: updates over which it rises from 0.
        weight_decay: of AdamW.
        max_grad_norm: a longer gradient is cut to this length.
        token_budget: tokens a forward pass of a language model; more are accumulated.
        precision: of computing: ``float32`` or ``bfloat16`` (autocast; the weights stay as they are).
        device: where the policy is.
        seed: of the order.
    """

    passes: int = 10
    batch_size: int = 128
    learning_rate: float = 1e-3
    schedule: Schedule = "constant"
    warmup: int = 0
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    token_budget: int = 16_384
    precision: str = "float32"
    device: str = "cpu"
    seed: int = 0


@dataclass(frozen=True, slots=True)
class _Rate:
    """What the learning rate of an update follows from."""

    learning_rate: float
    schedule: str
    warmup: int
    steps: int


class Cloner:
    """Learns from traces, update by update. The order follows from the seed alone, so it can continue anywhere.

    Args:
        policy: who learns, in place.
        traces: of all steps.
        settings: how.

    Attributes:
        plan: for every update, which pass it belongs to and the rows of its traces.
        step: how many updates are done.
        sums: for every pass begun, the loss of its steps so far, summed.

    Raises:
        UserError: there is nothing to learn from.
    """

    def __init__(self, policy: TrainablePolicy, traces: Sequence[Any], settings: CloneSettings) -> None:
        if not traces:
            raise UserError("nothing to clone: the run has no steps whose actions this policy could have chosen")
        self.policy, self.traces, self.settings = policy, traces, settings
        self.plan = list(_plan(policy, traces, settings))
        self.rate = _Rate(settings.learning_rate, settings.schedule, settings.warmup, len(self.plan))
        self.optimizer = make_optimizer(policy.module, settings.learning_rate, settings.weight_decay)
        self.step = 0
        self.sums: list[float] = []

    @property
    def losses(self) -> list[float]:
        """The mean negative log-likelihood of every pass that is done, in nats a token."""
        return [total / len(self.traces) for total in self.sums]

    def update(self, on_piece: Callable[[int], None] | None = None) -> dict[str, Any]:
        """Make one update; return its pass, loss (nats a token), gradient norm, learning rate, steps and tokens.

        Args:
            on_piece: called after each piece of it with the number of its steps.

        Raises:
            NonFiniteError: loss or gradient are no numbers; the weights were not touched by them.
        """
        number, rows = self.plan[self.step]
        traces = [self.traces[row] for row in rows]
        rate = learning_rate(self.rate, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._backward(traces, on_piece)
        norm = take_step(self.policy, self.optimizer, self.settings.max_grad_norm, self.step)
        self.step += 1
        self.sums += [0.0] * (number + 1 - len(self.sums))
        self.sums[number] += loss * len(traces)
        tokens = sum(trace.tokens for trace in traces)
        return {
            "step": self.step,
            "pass": number + 1,
            "loss": loss,
            "grad_norm": norm,
            "learning_rate": rate,
            "steps": len(traces),
            "answer_tokens": tokens,
        }

    def _backward(self, traces: list[Any], on_piece: Callable[[int], None] | None) -> float:
        """Add the gradient of the mean negative log-likelihood of a token; return that mean."""
        tokens = sum(trace.tokens for trace in traces)
        total = 0.0
        for part in pieces_of(self.policy, traces, self.settings.token_budget):
            loss = -log_likelihood(self.policy, [traces[row] for row in part], self.settings) / tokens
            loss.backward()
            total += float(loss.detach())
            del loss
            give_back(self.policy)
            if on_piece is not None:
                on_piece(len(part))
        if not np.isfinite(total):
            raise NonFiniteError(f"the loss is {total} at update {self.step + 1}")
        return total


def log_likelihood(policy: TrainablePolicy, traces: Sequence[Any], settings: CloneSettings) -> torch.Tensor:
    """Return the summed log-probability of all tokens of some answers, a scalar with gradient."""
    with computing_in(settings.precision, settings.device):
        found = policy.likelihood(traces)
    return (found.log_probs.float() * found.mask).sum()


@torch.no_grad()
def mean_loss(policy: TrainablePolicy, traces: Sequence[Any], settings: CloneSettings) -> float:
    """Return the mean negative log-likelihood of some answers under the present weights, in nats a token."""
    parts = pieces_of(policy, traces, settings.token_budget)
    found = sum(float(log_likelihood(policy, [traces[row] for row in part], settings)) for part in parts)
    return float(-found / sum(trace.tokens for trace in traces))


def clone(
    policy: TrainablePolicy,
    episodes: Sequence[Episode],
    *,
    on_progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> list[float]:
    """Train ``policy`` in place on the actions of ``episodes``, by maximum likelihood.

    Args:
        policy: who learns.
        episodes: whose actions are to be imitated; usually successful ones.
        on_progress: called with the number of steps learned from and of all, in all passes, before and after each
            update.
        **settings: the fields of :class:`CloneSettings`.

    Returns:
        the mean negative log-likelihood of each pass, in nats a token.

    Raises:
        UserError: no steps, or actions that this policy cannot take.
    """
    cloner = Cloner(policy, traces_of(policy, episodes), CloneSettings(**settings))
    total = cloner.settings.passes * len(cloner.traces)
    tell = on_progress or (lambda done, total: None)
    tell(0, total)
    done = 0
    while cloner.step < len(cloner.plan):
        done += cloner.update()["steps"]
        tell(done, total)
    return cloner.losses


def pieces_of(policy: TrainablePolicy, traces: Sequence[Any], token_budget: int) -> Sequence[Sequence[int]]:
    """Cut traces into what is scored at once; a policy that says nothing of it scores all at once."""
    if not isinstance(policy, CutsPieces):
        return [range(len(traces))]
    return [part.tolist() for part in policy.pieces(traces, token_budget)]


def _plan(policy: TrainablePolicy, traces: Sequence[Any], settings: CloneSettings) -> Iterator[tuple[int, list[int]]]:
    """Yield the pass and rows of each update, shuffled; whole episodes where scoring them together is less work."""
    whole = isinstance(policy, CutsPieces)
    episodes = [part.tolist() for part in policy.pieces(traces, 1)] if isinstance(policy, CutsPieces) else []
    for number in range(settings.passes):
        generator = np.random.default_rng(stable_seed(settings.seed, "clone", number))
        if not whole:
            order = generator.permutation(len(traces))
            for part in np.split(order, range(settings.batch_size, len(order), settings.batch_size)):
                yield number, part.tolist()
            continue
        rows: list[int] = []
        for place in generator.permutation(len(episodes)):
            rows += episodes[place]
            if len(rows) >= settings.batch_size:
                yield number, rows
                rows = []
        if rows:
            yield number, rows
