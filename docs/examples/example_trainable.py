"""A policy that can be trained: learns how far down the list of offered actions the good ones stand."""

from __future__ import annotations

import copy
import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from policies import PolicyEntry, Prompt, Response
from policies.contract import Likelihood, SampledLogProbs


@dataclass(frozen=True)
class Choice:
    """The trace of an answer: what training needs to judge it again. It counts as one token."""

    offered: int
    place: int
    log_prob: float
    tokens: int = 1


class PlacesPolicy:
    """Draws an action by its place in the list."""

    name, has_critic, is_markov = "places", False, True

    def __init__(self, temperature: float = 1.0) -> None:
        self.temperature = temperature
        self.module = torch.nn.Embedding.from_pretrained(torch.zeros(256, 1), freeze=False)

    @property
    def digest(self) -> str:
        """All that decides the answers, the weights too."""
        weights = self.module.weight.detach().cpu().numpy().tobytes()
        return hashlib.sha256(f"places-1-{self.temperature}".encode() + weights).hexdigest()[:16]

    def act(self, prompts: Sequence[Prompt]) -> list[Response]:
        """Answer each prompt, with a trace."""
        return [self._choose(prompt) for prompt in prompts]

    def probabilities(self, prompt: Prompt) -> list[float]:
        """Return the chance of each action: with it, and Markov, true advantages can be exact."""
        found: list[float] = self._log_probs(len(prompt.info["admissible_actions"])).double().exp().tolist()
        return found

    def with_temperature(self, temperature: float) -> PlacesPolicy:
        """Return this policy, with the same weights, at another temperature."""
        other = copy.copy(self)
        other.temperature = temperature
        return other

    def settings(self) -> dict[str, Any]:
        """Return all but the weights."""
        return {"temperature": self.temperature}

    def trace(self, prompt: Prompt, action: str) -> Choice | None:
        """Return the trace of somebody else's action, for cloning."""
        offered = prompt.info["admissible_actions"]
        return Choice(len(offered), offered.index(action), 0.0) if action in offered else None

    def sampled(self, traces: Sequence[Choice]) -> SampledLogProbs:
        """Return the log-probabilities that actions were drawn with: a row a step, a column a token."""
        log_probs = torch.tensor([[each.log_prob] for each in traces], device=self.module.weight.device)
        return SampledLogProbs(log_probs, torch.ones_like(log_probs, dtype=torch.bool))

    def likelihood(self, traces: Sequence[Choice]) -> Likelihood:
        """Judge actions with the present weights, with gradient; there is no critic, so no values."""
        every = [self._log_probs(each.offered) for each in traces]
        chosen = torch.stack([one[each.place] for one, each in zip(every, traces, strict=True)])[:, None]
        entropy = torch.stack([-(one.exp() * one).sum() for one in every])[:, None]
        return Likelihood(chosen, entropy, torch.ones_like(chosen, dtype=torch.bool))

    def _log_probs(self, offered: int) -> Tensor:
        return torch.log_softmax(self.module.weight[:offered, 0] / (self.temperature or 1e-3), 0)

    def _choose(self, prompt: Prompt) -> Response:
        offered = prompt.info["admissible_actions"]
        chances = self.probabilities(prompt)
        place = random.Random(prompt.seed).choices(range(len(offered)), chances)[0]
        log_prob = float(self._log_probs(len(offered))[place].detach())
        return Response(offered[place], trace=Choice(len(offered), place, log_prob))


def make_places(argument: str, environment: str) -> PlacesPolicy:
    """Make an untrained one."""
    return PlacesPolicy()


def load_places(
    folder: Path, settings: dict[str, Any], weights: dict[str, Tensor], options: Mapping[str, Any]
) -> PlacesPolicy:
    """Make a saved one again."""
    policy = PlacesPolicy(**settings)
    policy.module.load_state_dict(weights)
    return policy


PLACES = PolicyEntry("places", "draws an action by its place; can be trained", make_places, load=load_places)
