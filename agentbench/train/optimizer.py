"""AdamW, with a float32 copy of weights that have fewer digits.

A weight in bfloat16 has 8 bits: AdamW's steps of a usual learning rate are lost in it (at 1e-6 99 % of what was
asked for). So the steps are taken by a float32 copy; the weights, which sample and are scored, are that copy rounded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from envs.base.errors import UserError


def make_optimizer(module: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """Make the optimiser of a module's weights.

    Raises:
        UserError: weights that are trained are in float16, whose range gradients and moments leave at once.
    """
    kinds = {each.dtype for each in module.parameters() if each.requires_grad}
    if torch.float16 in kinds:
        raise UserError(
            "weights in float16 cannot be trained: set precision = bfloat16 or float32 of the policy, or train "
            "adapters (lora = 16)"
        )
    kind = Float32AdamW if torch.bfloat16 in kinds else torch.optim.AdamW
    return kind(module.parameters(), lr=learning_rate, weight_decay=weight_decay)


def optimizer_bytes(module: nn.Module) -> int:
    """Return the bytes that the optimiser holds: two moments, and of weights in bfloat16 the copy, all in float32."""
    trained = [each for each in module.parameters() if each.requires_grad]
    copied = any(each.dtype == torch.bfloat16 for each in trained)
    return sum(each.numel() for each in trained) * (12 if copied else 8)


class Float32AdamW(torch.optim.AdamW):
    """AdamW (Loshchilov and Hutter 2019) on float32 copies of the weights; its state holds them for a checkpoint."""

    def __init__(self, weights: Any, **settings: Any) -> None:
        self._weights: list[Tensor] = list(weights)
        self._copies = [each.detach().float().clone().requires_grad_(each.requires_grad) for each in self._weights]
        super().__init__(self._copies, **settings)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take a step with the gradients of the weights, and round its result into them."""
        for weight, own in zip(self._weights, self._copies, strict=True):
            own.grad = None if weight.grad is None else weight.grad.float()
        super().step(closure)
        for weight, own in zip(self._weights, self._copies, strict=True):
            if own.grad is not None:
                weight.copy_(own)
                own.grad = None
                self.state[own]["weight"] = own.detach()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of the weights."""
        for weight in self._weights:
            if set_to_none:
                weight.grad = None
            elif weight.grad is not None:
                weight.grad.zero_()

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take a state over. The copies are those in it; of a state without them, the weights as they are."""
        super().load_state_dict(state_dict)
        for weight, own in zip(self._weights, self._copies, strict=True):
            own.copy_(self.state[own].get("weight", weight) if own in self.state else weight)
