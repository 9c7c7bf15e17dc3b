"""How large a pass of an update may be: the memory of a language model in training, reckoned before it begins.

An update holds the weights, a gradient and two moments of AdamW for every trained weight, and the activations of one
pass. The first three are given by the model; the last is what the size of a pass decides.
"""

from __future__ import annotations

import ctypes
import functools
import gc
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import psutil
from torch import Tensor

from agentbench.train.optimizer import optimizer_bytes
from envs.base.errors import UserError
from policies.contract import TrainablePolicy

LARGE = 20_000_000
"""Weights from which on a model is taken for a pretrained one: trained with more care, and less often through."""

ANSWERS = 0.15
"""Share of the tokens of an episode that are answers, where no episode was seen yet."""

LEAST_MB = 1024.0
"""Memory of the activations of a pass where nothing is said; a model that is larger than this has as much as it."""

PROGRAM_MB = 550.0
"""Memory of torch, transformers and the texts, at least: what is loaded is not all in memory at first."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a user may have said of it; None for what is to be chosen.

    Attributes:
        token_budget: tokens of a pass.
        pass_memory: MB of the activations of a pass.
        gradient_checkpointing: whether activations are computed again.
        device: where the model is.
    """

    token_budget: int | None
    pass_memory: float | None
    gradient_checkpointing: bool | None
    device: str


@dataclass(frozen=True, slots=True)
class Fitted:
    """The size of a pass.

    Attributes:
        token_budget: tokens of a pass.
        recompute_above: tokens scored at once from which on activations are computed again; None: never.
        peak_mb: expected peak of all.
        parts_mb: what it is made of.
    """

    token_budget: int
    recompute_above: int | None
    peak_mb: float
    parts_mb: dict[str, float]


def give_back(policy: TrainablePolicy) -> None:
    """Give the system back what a pass of a large model has freed, where the C library keeps it (glibc).

    Activations of unlike lengths leave holes, and without this a process grows by a third over its largest pass.
    """
    if is_large(policy):
        _release()


def _release() -> None:
    """Give the system back what is free inside of the C library, where that is glibc."""
    if (trim := _trim()) is not None:
        trim(0)


@functools.cache
def _trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # another C library
        return None


def is_large(policy: TrainablePolicy) -> bool:
    """Tell whether a policy has at least :data:`LARGE` weights."""
    return number_of_weights(policy) >= LARGE


def number_of_weights(policy: TrainablePolicy) -> int:
    """Return the number of a policy's weights, trained or not."""
    return sum(parameter.numel() for parameter in policy.module.parameters())


def _bytes(weights: Iterable[Tensor]) -> int:
    return sum(each.numel() * each.element_size() for each in weights)


def usual_budget(policy: Any) -> int:
    """Return the tokens of a pass that fit into the memory of one where nothing is said, before any episode is seen."""
    from policies.language.footprint import footprint
    from policies.language.room import free_of_gpu

    stored = _bytes(policy.module.parameters())
    kept = footprint(policy.learner, policy.options.constrained)
    again = policy.options.gradient_checkpointing
    # Half of what a GPU has free, beside what the optimiser will take of it; the rest is for keys and values.
    spare = (free_of_gpu(policy.module) - optimizer_bytes(policy.module)) // 2
    allowed = max(LEAST_MB * 2**20, stored, spare)
    return kept.tokens_in(allowed, ANSWERS, recompute=again)


def fit(asked: Asked, policy: Any, traces: Sequence[Any]) -> Fitted:
    """Choose the size of a pass so that its activations fit into ``pass_memory``.

    Args:
        asked: what the user said.
        policy: a language policy, with its model on its device.
        traces: all that will be learned from.

    Raises:
        UserError: the longest sequence does not fit into the memory that is free, whatever is chosen.
    """
    from policies.language.footprint import footprint
    from policies.language.room import free_memory

    parameters = list(policy.module.parameters())
    stored = _bytes(parameters)
    trained = _bytes(each for each in parameters if each.requires_grad)
    held = optimizer_bytes(policy.module)
    on_processor = asked.device.partition(":")[0] == "cpu"
    # What the process did before (unpacked a model, played with another one) is no part of the peak: a pass takes the
    # memory that is free. Models go in cycles, and the C library keeps what is freed.
    gc.collect()
    _release()
    here = psutil.Process().memory_info().rss
    kept = footprint(policy.learner, policy.options.constrained)
    lengths = policy.sequence_lengths(traces)
    longest, share = max(lengths), sum(each.tokens for each in traces) / sum(lengths)
    allowed = (asked.pass_memory or max(LEAST_MB, stored / 2**20)) * 2**20
    always = asked.gradient_checkpointing is True or policy.options.gradient_checkpointing

    def fitting(recompute: bool) -> int:
        return kept.tokens_in(allowed, share, recompute=recompute)

    budget = asked.token_budget or fitting(always)
    above: int | None = 0 if always else None
    if not always and asked.gradient_checkpointing is None and max(longest, budget) > fitting(False):
        above = fitting(False)
    tokens = max(longest, budget)
    recompute = above is not None and tokens > above
    pass_bytes = kept.of(tokens, round(tokens * share), recompute=recompute)
    if recompute and above:
        pass_bytes = max(pass_bytes, kept.of(above, round(above * share)))
    parts = {
        "weights": stored / 2**20,
        "program": max(PROGRAM_MB, (here - stored) / 2**20) if on_processor else 0.0,
        "gradients": trained / 2**20,
        "optimiser": held / 2**20,
        "pass": pass_bytes / 2**20,
    }
    needed = trained + held + pass_bytes
    if on_processor and needed > (free := free_memory()):
        raise UserError(
            f"training takes {needed / 2**30:.1f} GB more ({(trained + held) / 2**30:.1f} of gradients and optimiser, "
            f"{pass_bytes / 2**30:.1f} for {tokens} tokens at once), and {free / 2**30:.1f} GB are free: train "
            "adapters (lora = 16), lower pass_memory, or show less in a prompt (history, max_context)"
        )
    return Fitted(
        budget, above, round(sum(parts.values()), 1), {name: round(value, 1) for name, value in parts.items()}
    )


def refuse_large_model(policy: Any, device: str) -> None:
    """Refuse a model whose gradients and optimiser alone are larger than the memory that is free.

    Raises:
        UserError: they are; the text has both figures.
    """
    from policies.language.room import check_memory

    trained = [each for each in policy.module.parameters() if each.requires_grad]
    needed = _bytes(trained) + optimizer_bytes(policy.module)
    check_memory(needed, "the gradients and the optimiser of this model", device, "train adapters (lora = 16)")
