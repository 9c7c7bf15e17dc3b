"""AdamW, with a float32 copy of weights that have fewer digits.

A weight in bfloat16 has 8 bits: AdamW's steps of a usual learning rate are lost in it (at 1e-6 99 % of what was
asked for). So the steps are taken by a float32 copy; the weights, which sample and are scored, are that copy rounded.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from envs.base.errors import UserError

CRITIC = "critic"
"""Key of the group of weights whose learning rate is its own, at its highest."""


def make_optimizer(
    module: nn.Module,
    learning_rate: float,
    weight_decay: float,
    critic: nn.Module | None = None,
    critic_rate: float | None = None,
) -> torch.optim.AdamW:
    """Make the optimiser of a module's weights.

    Args:
        module: what is trained.
        learning_rate, weight_decay: of AdamW.
        critic: a part of the module with a learning rate of its own.
        critic_rate: that rate; None: the same as of the rest.

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
    if critic is None or critic_rate is None:
        return kind(module.parameters(), lr=learning_rate, weight_decay=weight_decay)
    own = list(critic.parameters())
    others = [each for each in module.parameters() if not any(each is its for its in own)]
    groups: list[dict[str, Any]] = [{"params": others}, {"params": own, "lr": critic_rate, CRITIC: critic_rate}]
    return kind(groups, lr=learning_rate, weight_decay=weight_decay)


def optimizer_bytes(module: nn.Module) -> int:
    """Return the bytes that the optimiser holds: two moments, and of weights in bfloat16 the copy, all in float32."""
    trained = [each for each in module.parameters() if each.requires_grad]
    copied = any(each.dtype == torch.bfloat16 for each in trained)
    return sum(each.numel() for each in trained) * (12 if copied else 8)


def _copy_of(weight: Tensor) -> Tensor:
    return weight.detach().float().clone().requires_grad_(weight.requires_grad)


class Float32AdamW(torch.optim.AdamW):
    """AdamW (Loshchilov and Hutter 2019) on float32 copies of the weights; its state holds them for a checkpoint."""

    def __init__(self, weights: Any, **settings: Any) -> None:
        given = list(weights)
        groups = given if isinstance(given[0], dict) else [{"params": given}]
        copied = [{**group, "params": [_copy_of(each) for each in group["params"]]} for group in groups]
        self._weights: list[Tensor] = [*chain.from_iterable(group["params"] for group in groups)]
        self._copies: list[Tensor] = [*chain.from_iterable(group["params"] for group in copied)]
        super().__init__(copied, **settings)

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
