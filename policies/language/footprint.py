"""What an update of a language model takes: memory of its activations, and whether bfloat16 is faster here.

Both are measured on a few made-up tokens, so they hold for any architecture; what follows from them is chosen once, at
the start of a run, and recorded.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from policies.language.constraint import Trie
from policies.language.learner import Learner
from policies.language.sequences import Sampled

GAIN = 0.8
"""bfloat16 is taken only where it needs less than this share of float32's time."""

SPARE = 1.35
"""What the passing tensors of a backward pass, padding and holes add to what is kept, at most, as measured."""

_TOKENS = 32


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes that a pass keeps for its gradient, beside weights, gradients and the optimiser.

    Attributes:
        per_token: of each token of prompts and answers.
        per_answer_token: on top of it, of each token of an answer: logits over the whole vocabulary.
        recomputed: of each token where activations are computed again in the backward pass.
        fixed: of every pass: the embedding's gradient once more, from the input and from a tied output layer.
    """

    per_token: float
    per_answer_token: float
    recomputed: float
    fixed: int

    def of(self, tokens: int, answers: int, *, recompute: bool = False) -> int:
        """Return the bytes of a pass over some tokens, of which ``answers`` belong to answers."""
        each = self.recomputed if recompute else self.per_token
        return self.fixed + round(SPARE * (each * tokens + self.per_answer_token * answers))

    def tokens_in(self, size: float, share: float, *, recompute: bool = False) -> int:
        """Return how many tokens, a share of them of answers, fit into ``size`` bytes; at least one."""
        each = (self.recomputed if recompute else self.per_token) + share * self.per_answer_token
        return max(1, int((size - self.fixed) / (SPARE * each)))


def footprint(learner: Learner, constrained: bool) -> Footprint:
    """Measure what a pass keeps: the tensors that torch saves for the backward pass, each storage once.

    Args:
        learner: with its model.
        constrained: whether answers are scored under a constraint, which keeps more.
    """
    config: Any = learner.weights.model.config
    config = config.get_text_config()
    base = _saved(learner, _TOKENS, _TOKENS, constrained)
    per_token = (_saved(learner, 3 * _TOKENS, _TOKENS, constrained) - base) / (2 * _TOKENS)
    both = (_saved(learner, _TOKENS, 3 * _TOKENS, constrained) - base) / (2 * _TOKENS)
    # The backward pass begins with two further tables of logits: their gradient, and that of the log-softmax.
    logits = both - per_token + 2 * 4 * config.vocab_size
    layers = int(config.num_hidden_layers)
    # Kept is the input of every layer; one layer at a time is whole, with the gradients of its activations.
    recomputed = layers * config.hidden_size * 4 + 2 * per_token / layers
    widest = max(each.numel() * each.element_size() for each in learner.weights.parameters())
    return Footprint(per_token, logits, min(recomputed, per_token), 2 * widest)


def _saved(learner: Learner, prompt: int, answer: int, constrained: bool) -> int:
    """Return the bytes that one made-up sequence keeps for its gradient, in float32."""
    own = {each.untyped_storage().data_ptr() for each in learner.weights.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # the tensor itself would hold the graph that holds it, for ever

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        found = learner.likelihood([_made_up(prompt, answer, constrained)], 1.0)
        total = sum(kept.values())  # while the graph holds them all
    del found
    return total


def _made_up(prompt: int, answer: int, constrained: bool) -> Sampled:
    ids = np.zeros(answer, np.int32)
    trie = Trie((tuple(ids.tolist()), (*ids.tolist()[1:], 1))) if constrained else None
    return Sampled(np.zeros(prompt, np.int32), ids, np.zeros(answer, np.float32), (), trie)


def faster_precision(learner: Learner, computing_in: Callable[[str], Any]) -> tuple[str, dict[str, float]]:
    """Find out in which precision an update is faster here: ``float32`` or ``bfloat16``, by autocast.

    A forward pass is compared first, and the backward pass only where that was faster: without the processor's own
    instructions bfloat16 can take twenty times as long.

    Args:
        learner: with its model; its gradients are dropped.
        computing_in: makes the block in which a pass runs in a precision.

    Returns:
        the precision, and the seconds that were measured for each.
    """
    trace = _made_up(_TOKENS, _TOKENS, constrained=False)

    def seconds(precision: str, backward: bool) -> float:
        best = float("inf")
        for _ in range(2):  # the first one also allocates
            started = time.perf_counter()
            with computing_in(precision), torch.set_grad_enabled(backward):
                loss = learner.likelihood([trace], 1.0).log_probs.sum()
            if backward:
                loss.backward()  # type: ignore[no-untyped-call]
                learner.weights.zero_grad(set_to_none=True)
            _wait(learner.weights)
            best = min(best, time.perf_counter() - started)
        return best

    found = {precision: seconds(precision, backward=False) for precision in ("float32", "bfloat16")}
    if found["bfloat16"] < GAIN * found["float32"]:
        found = {precision: seconds(precision, backward=True) for precision in ("float32", "bfloat16")}
    chosen = "bfloat16" if found["bfloat16"] < GAIN * found["float32"] else "float32"
    return chosen, {name: round(value, 4) for name, value in found.items()}


def _wait(module: nn.Module) -> None:
    device = next(module.parameters()).device
    if device.type == "cuda":
        torch.cuda.synchronize(device)
