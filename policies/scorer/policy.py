"""The scorer: a small trainable policy that chooses among the admissible actions of any text game or shop."""

from __future__ import annotations

import copy
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

import numpy as np
import torch

from envs.base.digest import digest_of_stream
from envs.base.errors import UserError
from policies.contract import Likelihood, Prompt, Response, SampledLogProbs
from policies.plain.choices import choices
from policies.scorer.network import Decisions, ScorerNetwork, collate
from policies.scorer.relations import Features, features, features_of

VERSION = 2


@dataclass(frozen=True, slots=True)
class Choice:
    """The trace of one decision: what was chosen among, and how likely it was."""

    features: Features
    index: int
    log_prob: float

    @property
    def tokens(self) -> int:
        """A choice among actions is drawn at once: one "token"."""
        return 1


class ScorerPolicy:
    """Score every admissible action and draw one from the softmax of the scores.

    Args:
        seed: of the first weights.
        temperature: the scores are divided by it before the softmax; 0 takes the best action.
        word_size, hidden: see :class:`~policies.scorer.network.ScorerNetwork`.
        codes: how a code (a product's number) is read: ``place``, which of the codes on offer it is; or ``word``, as
            one more word, which says nothing of products that were not met in training (all scorers until 0.1.0).
    """

    name = "scorer"
    has_critic = True
    is_markov = False  # its features look at the history

    def __init__(
        self,
        seed: int = 0,
        temperature: float = 1.0,
        word_size: int = 24,
        hidden: int = 128,
        codes: Literal["place", "word"] = "place",
    ) -> None:
        if temperature < 0:
            raise UserError(f"temperature must not be negative, got {temperature}")
        self.seed, self.temperature = seed, temperature
        self.codes = codes
        self._sizes = {"word_size": word_size, "hidden": hidden}
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.network = ScorerNetwork(**self._sizes)

    @property
    def module(self) -> torch.nn.Module:
        """The network."""
        return self.network

    @property
    def critic(self) -> torch.nn.Module:
        """The layer that estimates values."""
        return self.network.value

    @property
    def digest(self) -> str:
        """Hash of version, temperature and weights."""
        codes = () if self.codes == "word" else (self.codes,)  # those that read words are digested as they ever were
        about = repr((self.name, VERSION, self.temperature, self._sizes, *codes)).encode()
        weights = sorted(self.network.state_dict().items())
        return digest_of_stream([about, *(name.encode() + tensor.cpu().numpy().tobytes() for name, tensor in weights)])

    def settings(self) -> dict[str, Any]:
        """Return the arguments that make this policy again."""
        return {"seed": self.seed, "temperature": self.temperature, "codes": self.codes, **self._sizes}

    def act(self, prompts: Sequence[Prompt]) -> list[Response]:
        """Choose for each prompt; the draw is made with the prompt's own seed."""
        if not prompts:
            return []
        offered = [choices(prompt, "scorer") for prompt in prompts]
        described = features_of(prompts, offered, self.codes)
        batch = collate(described, self._device)
        with torch.no_grad():
            scores, _ = self.network(batch)
            log_probs = self._tempered(scores, batch).cpu().numpy().astype("float64")
        logs, chances = log_probs.tolist(), np.exp(log_probs).tolist()
        responses, start = [], 0
        for prompt, actions, one in zip(prompts, offered, described, strict=True):
            end = start + len(actions)
            if self.temperature == 0:
                index = int(log_probs[start:end].argmax())
            else:
                index = _draw(chances[start:end], prompt.seed)
            chosen = logs[start + index]
            responses.append(Response(actions[index], details={"log_prob": chosen}, trace=Choice(one, index, chosen)))
            start = end
        return responses

    def probabilities(self, prompt: Prompt) -> list[float]:
        """Return the chance of each admissible action."""
        batch = collate([features(prompt, choices(prompt, "scorer"), self.codes)], self._device)
        with torch.no_grad():
            log_probs = self._tempered(self.network(batch)[0], batch).double()
        if self.temperature == 0:
            return [float(place == int(log_probs.argmax())) for place in range(len(log_probs))]
        chances = log_probs.exp()
        return [float(chance) for chance in chances / chances.sum()]

    def trace(self, prompt: Prompt, action: str) -> Choice | None:
        """Return the trace of an action that somebody else took, or None if it is not among the choices."""
        actions = choices(prompt, "scorer")
        if action not in actions:
            return None
        return Choice(features(prompt, actions, self.codes), actions.index(action), 0.0)

    def with_temperature(self, temperature: float) -> ScorerPolicy:
        """Return this policy, with the same weights, drawn from at another temperature."""
        other = copy.copy(self)
        other.temperature = temperature
        return other

    def sampled(self, traces: Sequence[Choice]) -> SampledLogProbs:
        """Return the log-probabilities that the choices were sampled with."""
        log_probs = torch.tensor([[trace.log_prob] for trace in traces], dtype=torch.float32, device=self._device)
        return SampledLogProbs(log_probs, torch.ones_like(log_probs, dtype=torch.bool))

    def likelihood(self, traces: Sequence[Choice]) -> Likelihood:
        """Judge choices with the present weights: one "token" a step."""
        batch = collate([trace.features for trace in traces], self._device)
        scores, values = self.network(batch)
        log_probs = self._tempered(scores, batch)
        index = torch.tensor([trace.index for trace in traces], device=self._device)
        entropy = log_probs.new_zeros(len(values)).index_add(0, batch.decision, -log_probs.exp() * log_probs)
        chosen = log_probs.index_select(0, batch.starts + index)[:, None]
        return Likelihood(chosen, entropy[:, None], torch.ones_like(chosen, dtype=torch.bool), values)

    def _tempered(self, log_probs: torch.Tensor, batch: Decisions) -> torch.Tensor:
        if self.temperature in (0, 1):
            return log_probs
        from policies.scorer.network import log_softmax_by

        return log_softmax_by(log_probs / self.temperature, batch)

    @property
    def _device(self) -> torch.device:
        return self.network.score.weight.device


def _draw(chances: list[float], seed: int) -> int:
    """Draw an index: ``seed`` in [0, 2**63) is itself the random number, so no generator has to be set up."""
    cumulated = list(accumulate(chances))
    return min(bisect_right(cumulated, seed / 2**63 * cumulated[-1]), len(chances) - 1)
