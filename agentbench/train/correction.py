"""What remains between the engine that sampled and the weights that learn: truncated ratios, rejected tokens.

A token was sampled with log-probability ``s``; the trainer's weights before the update give it ``t``. Even with the
same weights the two differ where another engine sampled (other kernels, another precision), and the gradient is then
that of another policy than the one that learns. The gap's ratio is::

    correction="token"  q_t = exp(t - s)
    correction="step"   q_t = exp(sum over the step's tokens of t - s)

Each token's policy-gradient term, whose own ratio is then that to ``t``, is multiplied by ``min(q_t, clip)``: truncated
importance sampling (Yao et al. 2025, "Your efficient RL framework secretly brings you off-policy RL training"; the
separation of the two ratios is that of Hilton et al. 2022). Tokens whose ``q_t`` lies outside ``[below, above]`` are
rejected on both sides (the masking of Ling Team 2025, "Every step evolves"), and leave the denominator: what is kept
weighs as if the rejected had never been sampled. There is no ratio of whole episodes: a product over thousands of
tokens is 0 or infinite.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from agentbench.train.settings import CorrectionSettings


@dataclass(frozen=True, slots=True)
class Corrected:
    """The corrections of some steps' tokens.

    Attributes:
        factor: float32, shape (steps, tokens): what multiplies each token's policy-gradient term; 0 where rejected.
        kept: bool, shape (steps, tokens): which tokens count.
    """

    factor: Tensor
    kept: Tensor


def correct(trained: Tensor, sampled: Tensor, mask: Tensor, settings: CorrectionSettings) -> Corrected:
    """Compute factors and rejections from both log-probabilities.

    Args:
        trained: float32, shape (steps, tokens): log-probabilities under the trainer's weights before the update.
        sampled: the same as the sampler gave them.
        mask: bool, shape (steps, tokens): which columns hold a token.
        settings: which ratio, and its bounds.
    """
    gap = (trained - sampled).masked_fill(~mask, 0.0)
    ratio = (gap if settings.level == "token" else gap.sum(1, keepdim=True).expand_as(gap)).exp()
    kept = mask & (ratio >= settings.below) & (ratio <= settings.above)
    return Corrected(ratio.clamp(max=settings.clip) * kept, kept)


@dataclass(frozen=True, slots=True)
class BatchCorrection:
    """The corrections of a whole batch, computed once before its first update.

    Attributes:
        trained: for each step float32, shape (its tokens,): log-probabilities under the trainer's weights.
        factor: for each step float32, shape (its tokens,).
        kept: for each step bool, shape (its tokens,).
        gaps: for each step float32, shape (its tokens,): the trainer's log-probabilities less the sampler's.
        clip: the largest factor.
    """

    trained: Sequence[Tensor]
    factor: Sequence[Tensor]
    kept: Sequence[Tensor]
    gaps: Sequence[Tensor]
    clip: float

    @property
    def gap(self) -> float:
        """Mean absolute difference of the log-probabilities, a token."""
        return float(torch.cat(list(self.gaps)).abs().mean())

    @property
    def step_log_ratios(self) -> npt.NDArray[np.float64]:
        """Log of each step's ratio: the sum over its tokens; float64, shape (steps,)."""
        return np.array([float(gap.sum()) for gap in self.gaps], np.float64)

    @property
    def tokens(self) -> npt.NDArray[np.int64]:
        """Number of tokens of each step that count, int64, shape (steps,)."""
        return np.array([int(kept.sum()) for kept in self.kept], np.int64)

    @property
    def rejected_share(self) -> float:
        """Share of all tokens that were rejected."""
        return 1 - float(self.tokens.sum()) / sum(len(kept) for kept in self.kept)

    def of(self, rows: npt.NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``trained``, ``factor`` and ``kept`` of some steps, each of shape (rows, tokens)."""

        def table(parts: Sequence[Tensor]) -> Tensor:
            return pad_sequence([parts[row] for row in rows], batch_first=True).to(device)

        return table(self.trained), table(self.factor), table(self.kept)

    def metrics(self) -> dict[str, float]:
        """Return what ``metrics.jsonl`` says of it."""
        return {
            "sampler_gap": self.gap,
            "correction/rejected_share": self.rejected_share,
            "correction/truncated_share": float((torch.cat(list(self.factor)) >= self.clip).float().mean()),
            "correction/largest_step_log_ratio": float(np.abs(self.step_log_ratios).max()),
        }
