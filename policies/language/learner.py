"""The weights of a language model as what is trained: how likely they find answers, and a frozen copy of them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch

from policies.contract import Likelihood, SampledLogProbs
from policies.language import sequences
from policies.language.critic import Critic
from policies.language.likelihood import score_tokens
from policies.language.loading import checkpoint_activations
from policies.language.sequences import Sampled
from policies.language.settings import LanguageSettings
from policies.language.weights import ADAPTER, REFERENCE, Weights, add_reference, use_adapter


@runtime_checkable
class HasLearner(Protocol):
    """A policy that scores answers with a learner.

    ``agentbench clone`` asks for it: batches, precision and what is computed again then go by the memory there is.
    """

    @property
    def learner(self) -> Learner:
        """Its weights as what is trained."""


class Learner:
    """Judges answers with a model's weights, those of one of its adapters where it has some.

    Args:
        weights: the model.
        settings: how answers are laid out and judged.
        adapter: whose weights they are; only :data:`~policies.language.weights.ADAPTER` is ever trained.
    """

    def __init__(self, weights: Weights, settings: LanguageSettings, adapter: str = ADAPTER) -> None:
        self.weights, self.settings, self.adapter = weights, settings, adapter
        self._recompute_above: int | None = 0 if settings.gradient_checkpointing else None

    def recompute_above(self, tokens: int | None) -> None:
        """Compute activations again in the backward pass where more tokens than this are scored at once.

        Args:
            tokens: 0 for always, None for never.
        """
        if tokens is not None:
            checkpoint_activations(self.weights.model)
        self._recompute_above = tokens

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Within this block the model computes with this learner's adapter."""
        if self.adapter == ADAPTER:
            yield
            return
        use_adapter(self.weights.model, self.adapter)
        try:
            yield
        finally:
            use_adapter(self.weights.model, ADAPTER)

    def likelihood(self, traces: Sequence[Sampled], temperature: float) -> Likelihood:
        """Score answers with the present weights, with gradient."""
        model = self.weights.model
        laid_out = sequences.lay_out(traces, self._whole_episodes)
        most, tokens = self._recompute_above, sum(len(each.ids) for each in laid_out)
        # Recomputing activations is only done by models that are in training mode; dropout is off all the same.
        model.train(most is not None and tokens > most and torch.is_grad_enabled())
        try:
            with self.in_use():
                padded = self.settings.padded_tokens
                return score_tokens(model, traces, temperature, laid_out, padded, self.weights.critic)
        finally:
            model.eval()

    def sampled(self, traces: Sequence[Sampled]) -> SampledLogProbs:
        """Return the log-probabilities that answers were sampled with."""
        width = max(trace.tokens for trace in traces)
        log_probs = torch.zeros(len(traces), width)
        mask = torch.zeros(len(traces), width, dtype=torch.bool)
        for row, trace in enumerate(traces):
            log_probs[row, : trace.tokens] = torch.from_numpy(trace.log_probs)
            mask[row, : trace.tokens] = True
        device = next(self.weights.parameters()).device
        return SampledLogProbs(log_probs.to(device), mask.to(device))

    def pieces(self, traces: Sequence[Sampled], budget: int) -> list[npt.NDArray[np.int64]]:
        """Cut steps into pieces of at most ``budget`` tokens of prompts and answers; what is shared counts once."""
        return sequences.pieces(sequences.lay_out(traces, self._whole_episodes), budget)

    def lengths(self, traces: Sequence[Sampled]) -> list[int]:
        """Return the tokens of every sequence that answers are laid out as."""
        return [len(each.ids) for each in sequences.lay_out(traces, self._whole_episodes)]

    def with_critic(self, values: int) -> Learner:
        """Return the same model with a critic: its own, or a new one where that estimates another number of values."""
        critic = self.weights.critic
        if critic is None or critic.values != values:
            head: Any = self.weights.model.get_output_embeddings()  # type: ignore[operator]
            critic = Critic(head.weight.shape[1], values).to(head.weight.device)
        weights = Weights(self.weights.model, self.weights.adapters, critic)
        made = Learner(weights, self.settings, self.adapter)
        made._recompute_above = self._recompute_above
        return made

    def frozen(self) -> Learner:
        """Return the weights as they are now: the same model with other adapters, or a copy without adapters."""
        if self.settings.lora:
            add_reference(self.weights.model)
            return Learner(self.weights, self.settings, REFERENCE)
        weights = copy.deepcopy(self.weights)
        weights.requires_grad_(False)
        return Learner(weights, self.settings)

    @property
    def _whole_episodes(self) -> bool:
        return self.settings.layout == "episode"
