"""Behaviour cloning: raise the likelihood of the actions of stored episodes, as a warm start."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from agentbench.runs.episodes import Episode
from agentbench.runs.provenance import stable_seed
from envs.base.errors import UserError
from envs.base.safe_text import is_cut_short
from envs.contract import Task
from policies.contract import CutsPieces, Prompt, TrainablePolicy


def prompts_of(episode: Episode) -> Iterator[tuple[Prompt, str]]:
    """Yield what the policy saw at each step of a stored episode, and the action that was taken."""
    task = Task(episode.task_id, episode.task_name, episode.task_type, 0)
    prompt, last = None, None
    for step in episode.steps:
        info = {"instruction": episode.instruction, "admissible_actions": step.admissible_actions}
        if prompt is None or last is None:
            prompt = Prompt.first(task, step.observation, info, trial=episode.trial)
        else:
            prompt = prompt.after(last.response, step.observation, info)
        yield prompt, step.action
        last = step


def clone(
    policy: TrainablePolicy,
    episodes: Sequence[Episode],
    *,
    passes: int = 10,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    seed: int = 0,
    token_budget: int = 16_384,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[float]:
    """Train ``policy`` in place on the actions of ``episodes``, by maximum likelihood.

    Args:
        policy: who learns.
        episodes: whose actions are to be imitated; usually successful ones.
        passes: times through all steps.
        batch_size: steps an update.
        learning_rate: of AdamW.
        seed: of the order.
        token_budget: tokens a forward pass of a language model; more are accumulated.
        on_progress: called with the number of steps learned from and of all, in all passes, before and after each
            update.

    Returns:
        the mean negative log-likelihood of each pass, in nats a token.

    Raises:
        UserError: no steps, or actions that this policy cannot take.
    """
    traces = [policy.trace(prompt, action) for episode in episodes for prompt, action in _whole(episode)]
    traces = [trace for trace in traces if trace is not None]
    if not traces:
        raise UserError("nothing to clone: the run has no steps whose actions this policy could have chosen")
    optimizer = torch.optim.AdamW(policy.module.parameters(), lr=learning_rate)
    losses: list[float] = []
    done = 0
    tell = on_progress or (lambda done, total: None)
    tell(0, passes * len(traces))
    for number in range(passes):
        generator = np.random.default_rng(stable_seed(seed, "clone", number))
        total = 0.0
        for rows in _batches(policy, traces, batch_size, generator):
            loss = _step(policy, optimizer, [traces[row] for row in rows], token_budget)
            total += loss * len(rows)
            done += len(rows)
            tell(done, passes * len(traces))
        losses.append(total / len(traces))
    return losses


def _whole(episode: Episode) -> Iterator[tuple[Prompt, str]]:
    """Yield the steps whose action was stored to its end: nobody shall learn to write the mark of a cut."""
    return ((prompt, action) for prompt, action in prompts_of(episode) if not is_cut_short(action))


def _batches(
    policy: TrainablePolicy, traces: list[Any], batch_size: int, generator: np.random.Generator
) -> Iterator[Any]:
    """Yield the rows of each update, shuffled; whole episodes where scoring them together is less work."""
    if not isinstance(policy, CutsPieces):
        order = generator.permutation(len(traces))
        yield from np.split(order, range(batch_size, len(order), batch_size))
        return
    episodes = policy.pieces(traces, 1)
    rows: list[int] = []
    for place in generator.permutation(len(episodes)):
        rows += episodes[place].tolist()
        if len(rows) >= batch_size:
            yield rows
            rows = []
    if rows:
        yield rows


def _step(policy: TrainablePolicy, optimizer: torch.optim.Optimizer, traces: list[Any], token_budget: int) -> float:
    parts = policy.pieces(traces, token_budget) if isinstance(policy, CutsPieces) else [np.arange(len(traces))]
    tokens = sum(trace.tokens for trace in traces)
    optimizer.zero_grad(set_to_none=True)
    total = 0.0
    for part in parts:
        found = policy.likelihood([traces[row] for row in part])
        loss = -(found.log_probs * found.mask).sum() / tokens
        loss.backward()
        total += float(loss.detach())
    torch.nn.utils.clip_grad_norm_(policy.module.parameters(), 1.0)
    optimizer.step()
    return total
