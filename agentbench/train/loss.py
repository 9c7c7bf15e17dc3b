"""The policy-gradient loss: per-step advantages, spread over sampled tokens, with a clipped importance ratio.

For a sampled token t of step k of episode e, with advantage ``A`` and ratio ``r`` of the new to the sampling policy::

    ratio="token"     r_t = exp(l_t - l'_t)                                (PPO, Schulman et al. 2017)
    ratio="step"      r_t = exp(mean over the step's tokens of l - l')     (GSPO, Zheng et al. 2025, step by step)
    ratio="sequence"  r_t = exp(mean over the episode's tokens of l - l')  (GSPO, the whole episode)

    L_t = -min(r A, clip(r, 1 - clip_low, 1 + clip_high) A)
    L_t = min(L_t, -dual_clip A)   where A < 0 and dual_clip is set        (Ye et al. 2020)

How the L_t are averaged decides which episodes weigh most, hence which method wins, so it has names::

    aggregation="token"    every token weighs the same: long answers and long episodes weigh more
    aggregation="step"     every step weighs the same: long episodes weigh more, long answers do not
    aggregation="episode"  every episode weighs the same

Where another engine sampled, l' is that of the trainer before the update, and each L_t has a factor of its own for the
gap between the two (:mod:`agentbench.train.correction`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agentbench.train.settings import Aggregation, KlEstimator, LossSettings, Ratio


@dataclass(frozen=True, slots=True)
class LossParts:
    """The loss and what it is made of; all scalars.

    Attributes:
        loss: with gradient, to be minimised.
        policy: the clipped policy-gradient part.
        kl: estimate of the divergence from the reference, before its coefficient (0 without one).
        entropy: mean entropy, before its coefficient.
        clip_share: weighted share of tokens whose gradient the clip removed.
        log_ratio: weighted mean of |l - l'|.
    """

    loss: Tensor
    policy: Tensor
    kl: Tensor
    entropy: Tensor
    clip_share: Tensor
    log_ratio: Tensor


def token_weights(tokens: Tensor, episode: Tensor, aggregation: Aggregation) -> Tensor:
    """Return what one token of each step weighs in the batch's loss; over all tokens the weights sum to 1.

    Computed once for a whole batch, so that its loss does not depend on how it is cut into pieces.

    Args:
        tokens: int64, shape (steps,): number of tokens of each step that count. A step or an episode without any
            weighs 0 and leaves the denominator.
        episode: int64, shape (steps,): which episode a step belongs to, numbered from 0.
        aggregation: see the module's text.

    Returns:
        float64, shape (steps,).
    """
    counts = tokens.double()
    if aggregation == "token":
        shared, sharers = counts.sum(), 1
    elif aggregation == "step":
        shared, sharers = counts, int((counts > 0).sum())
    else:
        per_episode = counts.new_zeros(int(episode.max()) + 1).index_add(0, episode, counts)
        shared, sharers = per_episode[episode], int((per_episode > 0).sum())
    return torch.where(counts > 0, 1 / (shared * sharers), 0.0)


def log_ratios(new: Tensor, old: Tensor, mask: Tensor, episode: Tensor, ratio: Ratio) -> Tensor:
    """Return the log of each token's importance ratio, shape (steps, tokens), 0 outside the mask.

    With ``ratio="sequence"`` the mean runs over those of an episode's steps that are in this batch.
    """
    difference = (new - old).masked_fill(~mask, 0.0)
    if ratio == "token":
        return difference
    total, count = difference.sum(1), mask.float().sum(1)
    if ratio == "sequence":
        episodes = int(episode.max()) + 1
        total = total.new_zeros(episodes).index_add(0, episode, total)[episode]
        count = count.new_zeros(episodes).index_add(0, episode, count)[episode]
    # A step of which every token was rejected has none left.
    return (total / count.clamp(min=1))[:, None].expand_as(difference).masked_fill(~mask, 0.0)


def kl_estimate(new: Tensor, reference: Tensor, estimator: KlEstimator) -> Tensor:
    """Estimate KL(new || reference) from samples of the new policy, a number a token (Schulman 2020).

    k1 = l - l_ref (unbiased, can be negative); k2 = (l - l_ref)² / 2 (biased, its gradient is right);
    k3 = exp(l_ref - l) - 1 - (l_ref - l) (unbiased, never negative).
    """
    difference = new - reference
    if estimator == "k1":
        return difference
    if estimator == "k2":
        return difference.square() / 2
    return torch.expm1(-difference) + difference


def policy_loss(
    new: Tensor,
    old: Tensor,
    advantages: Tensor,
    mask: Tensor,
    weights: Tensor,
    episode: Tensor,
    settings: LossSettings,
    *,
    factor: Tensor | None = None,
    entropy: Tensor | None = None,
    reference: Tensor | None = None,
) -> LossParts:
    """Compute the loss of some steps of a batch: the sum over tokens of weight times the token's loss.

    Args:
        new: float32, shape (steps, tokens): log-probabilities under the present weights, with gradient.
        old: the same under the weights that the ratio is to: those that sampled.
        advantages: float32, shape (steps,).
        mask: bool, shape (steps, tokens).
        weights: shape (steps,), from :func:`token_weights` of the whole batch.
        episode: int64, shape (steps,), numbered from 0 within these steps.
        settings: which terms, and how.
        factor: shape (steps, tokens), multiplies each token's policy-gradient term.
        entropy: shape (steps, tokens), of the present policy; needed for an entropy bonus.
        reference: shape (steps, tokens), log-probabilities of the reference; needed for a KL term.
    """
    log_ratio = log_ratios(new, old, mask, episode, settings.ratio)
    ratio = log_ratio.exp()
    gain = advantages[:, None]
    weights = weights.to(new.dtype)[:, None] * mask
    clipped = ratio.clamp(1 - settings.clip_low, 1 + settings.clip_high)
    objective = torch.minimum(ratio * gain, clipped * gain)
    inactive = ratio * gain > clipped * gain
    if settings.dual_clip is not None:
        floor = torch.where(gain < 0, settings.dual_clip * gain, torch.full_like(gain, -torch.inf))
        inactive = inactive | (objective < floor)
        objective = torch.maximum(objective, floor)
    policy = -(weights * (objective if factor is None else factor * objective)).sum()
    zero = policy.new_zeros(())
    kl = zero if reference is None else (weights * kl_estimate(new, reference, settings.kl_estimator)).sum()
    # Without a bonus nothing goes back through it: its gradient has the size of the vocabulary.
    counted = entropy.detach() if entropy is not None and not settings.entropy_coefficient else entropy
    bonus = zero if counted is None else (weights * counted).sum()
    loss = policy + settings.kl_coefficient * kl - settings.entropy_coefficient * bonus
    return LossParts(
        loss=loss,
        policy=policy.detach(),
        kl=kl.detach(),
        entropy=bonus.detach(),
        clip_share=(weights * inactive).sum().detach(),
        log_ratio=(weights * log_ratio.abs()).sum().detach(),
    )
