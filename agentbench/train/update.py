"""One update: a batch's loss over minibatches, its gradient, a step of the optimiser."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import fields
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from agentbench.runs.provenance import stable_seed
from agentbench.train.batch import Batch
from agentbench.train.config import TrainConfig
from agentbench.train.correction import BatchCorrection
from agentbench.train.distributed import ALONE, Ranks, full_tensor
from agentbench.train.loss import policy_loss, token_weights
from agentbench.train.memory import give_back
from agentbench.train.optimizer import CRITIC
from policies.contract import CutsPieces, HasCritic, KeepsComputed, TrainablePolicy

Rows = npt.NDArray[np.int64]


class NonFiniteError(ArithmeticError):
    """The loss or its gradient is no longer a number."""


class Scheduled(Protocol):
    """Settings that the learning rate of every step follows from."""

    @property
    def learning_rate(self) -> float:
        """The highest one."""

    @property
    def schedule(self) -> str:
        """``constant``, ``linear`` or ``cosine``."""

    @property
    def warmup(self) -> int:
        """Steps over which it rises from 0."""

    @property
    def steps(self) -> int:
        """Number of all steps."""


def learning_rate(config: Scheduled, step: int, highest: float | None = None) -> float:
    """Return the learning rate of a training step (from 0): warm-up times schedule; nothing to be remembered.

    ``highest`` is that of weights that have one of their own.
    """
    warm = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    done = step / config.steps
    decay = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[config.schedule]
    return (config.learning_rate if highest is None else highest) * warm * decay


def computing_in(precision: str, device: str) -> AbstractContextManager[None]:
    """Return a block in which matrices are multiplied in a precision, with the weights as they are (autocast)."""
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=precision == "bfloat16")


def take_step(
    policy: TrainablePolicy, optimizer: torch.optim.Optimizer, max_grad_norm: float, step: int, ranks: Ranks = ALONE
) -> float:
    """Clip the gradient that is there to ``max_grad_norm``, change the weights, and return its norm before the clip.

    Raises:
        NonFiniteError: the gradient is not finite; the weights were not touched.
    """
    ranks.sum_gradients(policy.module)
    norm = float(full_tensor(torch.nn.utils.clip_grad_norm_(policy.module.parameters(), max_grad_norm)))
    if not math.isfinite(norm):
        raise NonFiniteError(f"the gradient's norm is {norm} at training step {step}")
    optimizer.step()
    if isinstance(policy, KeepsComputed):
        policy.forget_computed()
    return norm


def update(
    policy: TrainablePolicy,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    config: TrainConfig,
    step: int,
    reference: TrainablePolicy | None = None,
    ranks: Ranks = ALONE,
    correction: BatchCorrection | None = None,
) -> dict[str, float]:
    """Improve the policy on a batch; return means of the loss's parts, the gradient's norm and the learning rate.

    Every one of several processes must call this with the same batch. ``sampler_gap`` is the mean absolute difference
    between the log-probabilities at sampling and those found now, before the first of the updates. With a
    ``correction`` the ratios are to the weights before the update, and tokens that it rejects count for nothing.

    Raises:
        NonFiniteError: the loss or its gradient is not finite; the weights were not touched by it.
    """
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(config, step, group.get(CRITIC))
    counts = torch.tensor(batch.tokens if correction is None else correction.tokens)
    weights = token_weights(counts, torch.tensor(batch.episode), config.aggregation)
    has_gradient = with_gradient(policy, batch, config, reference)
    sums: dict[str, float] = {}
    updates = 0
    for epoch in range(config.epochs):
        seed = stable_seed(config.seed, "minibatches", step, epoch)
        for rows in minibatches(batch, config, seed, keeps_episodes(policy, config)):
            optimizer.zero_grad(set_to_none=True)
            # The weights sum to 1 over the batch; a minibatch stands for the whole, so it is scaled up to it.
            share = float((weights[rows] * counts[rows]).sum())
            if share == 0:  # all its tokens were rejected
                continue
            scored = rows[has_gradient[rows]] if has_gradient[rows].any() else rows[:1]
            parts: dict[str, float] = {}
            for piece, scale in own_pieces(policy, scored, batch, config, ranks):
                own = scale * weights[piece] / share
                found = backward(policy, batch, piece, config, own, scale / len(scored), reference, correction)
                give_back(policy)
                parts = {name: value + parts.get(name, 0.0) for name, value in found.items()}
            parts = _as_means(ranks.sum(parts), float((weights[scored] * counts[scored]).sum()) / share)
            if not math.isfinite(loss := _whole_loss(parts, config)):
                raise NonFiniteError(f"the loss is {loss} at training step {step}")
            if step < config.value_warmup:
                drop_gradients(policy)
            norm = take_step(policy, optimizer, config.max_grad_norm, step, ranks)
            updates += 1
            gap = sums.get("sampler_gap", parts["log_ratio"])
            sums = {name: value + sums.get(name, 0.0) for name, value in {**parts, "grad_norm": norm}.items()}
            sums["sampler_gap"] = gap
    of_gap = {"sampler_gap": sums.pop("sampler_gap"), **({} if correction is None else correction.metrics())}
    means = {name: value / updates for name, value in sums.items()}
    if not has_gradient.all():
        means["scored_share"] = float(has_gradient.mean())
    return means | of_gap | {"learning_rate": learning_rate(config, step)}


def with_gradient(
    policy: TrainablePolicy, batch: Batch, config: TrainConfig, reference: TrainablePolicy | None
) -> npt.NDArray[np.bool_]:
    """Return which steps have to be scored: those that can have a gradient, bool, shape (steps,).

    A step whose advantage is 0 has none where neither a KL term, an entropy bonus nor a critic sees it, and its ratio
    is its own. Such steps are many: all those of groups whose episodes scored the same, for most schemes.
    """
    every = np.ones(len(batch), np.bool_)
    skips = isinstance(policy, CutsPieces) if config.skip_zero_advantages is None else config.skip_zero_advantages
    if not skips or reference is not None or config.entropy_coefficient or config.value_coefficient:
        return every
    moves: npt.NDArray[np.bool_] = batch.advantages != 0
    if config.ratio == "sequence":
        return np.isin(batch.episode, batch.episode[moves])
    return moves


def _as_means(parts: dict[str, float], scored: float) -> dict[str, float]:
    """Make what is a mean over tokens one of those that were scored, whose share of the weights is given.

    The other parts are 0 for steps that were not.
    """
    return parts | {name: parts[name] / scored for name in ("entropy", "log_ratio") if scored}


def drop_gradients(policy: TrainablePolicy) -> None:
    """Drop all gradients but the critic's: weights without one are left as they are."""
    critic = policy.critic if isinstance(policy, HasCritic) else None
    own = set() if critic is None else {id(each) for each in critic.parameters()}
    for weight in policy.module.parameters():
        if id(weight) not in own:
            weight.grad = None


def _whole_loss(parts: dict[str, float], config: TrainConfig) -> float:
    return parts["loss"] + config.value_coefficient * parts.get("value_loss", 0.0)


def keeps_episodes(policy: TrainablePolicy, config: TrainConfig) -> bool:
    """Return whether the steps of an episode have to stay together.

    They do where the ratio is that of an episode, or where scoring them together is less work.
    """
    return config.ratio == "sequence" or isinstance(policy, CutsPieces)


def minibatches(batch: Batch, config: TrainConfig, seed: int, whole_episodes: bool) -> Iterator[Rows]:
    """Yield the rows of each minibatch, shuffled; whole episodes if so wished."""
    generator = np.random.default_rng(seed)
    if whole_episodes:
        order = generator.permutation(int(batch.episode.max()) + 1)
        for episodes in np.array_split(order, min(config.minibatches, len(order))):
            yield np.flatnonzero(np.isin(batch.episode, episodes))
    else:
        yield from np.array_split(generator.permutation(len(batch)), min(config.minibatches, len(batch)))


def pieces(
    rows: Rows, tokens: npt.NDArray[np.int64], budget: int, together: npt.NDArray[np.int64] | None = None
) -> Iterator[Rows]:
    """Cut rows into pieces of at most ``budget`` tokens, in their order; what is longer stands alone.

    Args:
        rows: int64, shape (rows,), at least one.
        tokens: int64, shape (steps,): number of tokens of every step.
        budget: tokens a piece.
        together: int64, shape (steps,): neighbours with the same number here are not parted.
    """
    if tokens[rows].sum() <= budget:
        yield rows
        return
    parted = np.ones(len(rows), np.bool_) if together is None else np.diff(together[rows], prepend=-1) != 0
    piece: list[Rows] = []
    used = 0
    for run in np.split(rows, np.flatnonzero(parted)[1:]):
        size = int(tokens[run].sum())
        if piece and used + size > budget:
            yield np.concatenate(piece)
            piece, used = [], 0
        piece.append(run)
        used += size
    yield np.concatenate(piece)


def own_pieces(
    policy: TrainablePolicy, rows: Rows, batch: Batch, config: TrainConfig, ranks: Ranks
) -> list[tuple[Rows, float]]:
    """Return this process's pieces of a minibatch, and what each counts.

    Every process gets the same number of them, since those with split weights wait for each other at every one:
    whoever has fewer fills up with pieces that count 0. Episodes stay whole where :func:`keeps_episodes` says so.
    """
    if keeps_episodes(policy, config):
        episodes = ranks.shares(np.unique(batch.episode[rows]))
        shares = [rows[np.isin(batch.episode[rows], own)] for own in episodes]
    else:
        shares = ranks.shares(rows)
    cut = [_cut(policy, share, batch, config) if len(share) else [] for share in shares]
    own = [(piece, 1.0) for piece in cut[ranks.rank]]
    return own + [(rows[:1], 0.0)] * (max(map(len, cut)) - len(own))


def _cut(policy: TrainablePolicy, rows: Rows, batch: Batch, config: TrainConfig) -> list[Rows]:
    """Cut rows into pieces; a policy that knows better than the number of sampled tokens does it itself."""
    if not isinstance(policy, CutsPieces):
        together = batch.episode if keeps_episodes(policy, config) else None
        return list(pieces(rows, batch.tokens, config.token_budget, together))
    return [rows[piece] for piece in policy.pieces([batch.traces[row] for row in rows], config.token_budget)]


def backward(
    policy: TrainablePolicy,
    batch: Batch,
    rows: Rows,
    config: TrainConfig,
    weights: torch.Tensor,
    value_weight: float,
    reference: TrainablePolicy | None = None,
    correction: BatchCorrection | None = None,
) -> dict[str, float]:
    """Add the gradient of a piece of a minibatch; return its share of the loss's parts.

    Args:
        policy, batch, config, reference, correction: see :func:`update`.
        rows: the piece.
        weights: shape (rows,): of each row's tokens in the minibatch's loss.
        value_weight: of each row in the critic's loss.
    """
    traces = [batch.traces[row] for row in rows]
    with torch.no_grad():
        old = policy.sampled(traces).log_probs
        anchor = None if reference is None else reference.likelihood(traces).log_probs
    with computing_in(config.precision, config.device):
        new = policy.likelihood(traces)
    device, mask, factor = new.log_probs.device, new.mask, None
    if correction is not None:
        old, factor, mask = correction.of(rows, device)
    _, episode = np.unique(batch.episode[rows], return_inverse=True)
    parts = policy_loss(
        new=new.log_probs.float(),
        old=old,
        advantages=torch.as_tensor(batch.advantages[rows], dtype=torch.float32, device=device),
        mask=mask,
        weights=weights.to(device),
        episode=torch.as_tensor(episode, device=device),
        settings=config.loss_settings(),
        factor=factor,
        entropy=new.entropy.float(),
        reference=anchor,
    )
    loss = parts.loss
    found = {part.name: float(getattr(parts, part.name).detach()) for part in fields(parts)}
    if new.values is not None:
        returns = torch.as_tensor(batch.returns[rows], dtype=torch.float32, device=device)
        # A value that this step says nothing about has no return (HiPER's sub-goal within it).
        error = torch.where(returns.isnan(), 0.0, new.values.float() - returns)
        value_loss = error.square().sum() * value_weight
        loss = loss + config.value_coefficient * value_loss
        found["value_loss"] = float(value_loss.detach())
    loss.backward()  # type: ignore[no-untyped-call]
    return found
