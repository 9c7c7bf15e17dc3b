"""Measure the gap between sampler and trainer: of a batch before its update, and of a probe after new weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from agentbench.train.batch import Batch
from agentbench.train.config import TrainConfig
from agentbench.train.correction import BatchCorrection, correct
from agentbench.train.distributed import ALONE, Ranks
from agentbench.train.settings import CorrectionSettings
from agentbench.train.update import computing_in, own_pieces
from envs.base.errors import UserError
from policies.contract import Likelihood, Policy, Prompt, TrainablePolicy


def correct_batch(
    policy: TrainablePolicy, batch: Batch, config: TrainConfig, settings: CorrectionSettings, ranks: Ranks = ALONE
) -> BatchCorrection:
    """Judge a batch with the weights before its update, and correct for what the sampler said of it.

    Every one of several processes must call this; each scores its share and gets all.

    Raises:
        UserError: every token was rejected.
    """
    own: list[tuple[int, Tensor, Tensor, Tensor, Tensor]] = []
    for rows, scale in own_pieces(policy, np.arange(len(batch)), batch, config, ranks):
        traces = [batch.traces[row] for row in rows]
        trained, sampled = score_without_gradient(policy, traces, config), policy.sampled(traces).log_probs
        if not scale:  # only there to keep step with the other processes
            continue
        found = correct(trained.log_probs, sampled, trained.mask, settings)
        gap = trained.log_probs - sampled
        # All in one copy: from a GPU each would wait for all that is under way.
        table = torch.stack((trained.log_probs, found.factor, found.kept.float(), gap)).cpu()
        for place, (row, trace) in enumerate(zip(rows, traces, strict=True)):
            parts = table[:, place, : trace.tokens].clone()
            own.append((int(row), parts[0], parts[1], parts[2].bool(), parts[3]))
    every = sorted(ranks.gather(own), key=lambda each: each[0])
    _, log_probs, factors, kept, gaps = zip(*every, strict=True)
    made = BatchCorrection(log_probs, factors, kept, gaps, settings.clip)
    if not made.tokens.any():
        raise UserError(
            f"every sampled token was rejected: trainer and sampler differ by {made.gap:.3g} in log-probability on "
            f"average (ratios outside [{settings.below:g}, {settings.above:g}]); they do not have the same weights"
        )
    return made


def score_without_gradient(policy: TrainablePolicy, traces: Sequence[object], config: TrainConfig) -> Likelihood:
    """Judge answers in the precision of the update."""
    with torch.no_grad(), computing_in(config.precision, config.device):
        found = policy.likelihood(traces)
    return Likelihood(found.log_probs.float(), found.entropy, found.mask, found.values)


@dataclass(frozen=True, slots=True)
class Probe:
    """How far sampler and trainer are apart on some prompts.

    Attributes:
        mean: mean absolute difference of the log-probabilities of the sampled tokens.
        largest: largest absolute difference.
        tokens: how many tokens.
    """

    mean: float
    largest: float
    tokens: int


def probe(sampler: Policy, trainer: TrainablePolicy, prompts: Sequence[Prompt], config: TrainConfig) -> Probe:
    """Have the sampler answer prompts and the trainer score the same tokens."""
    traces = [response.trace for response in sampler.act(prompts)]
    judged, sampled = score_without_gradient(trainer, traces, config), trainer.sampled(traces)
    gap = (judged.log_probs - sampled.log_probs)[judged.mask].abs()
    return Probe(float(gap.mean()), float(gap.max()), int(judged.mask.sum()))
