"""The critic of a language model: values of a step, read off the hidden state before the answer's first token.

    V = w · h + b,   h the hidden state at the prompt's last token as the output layer gets it, brought to mean 0 and
                     length 1 (so a step of AdamW moves V alike whatever the width of the model)

At first w and b are 0: a new critic says 0 everywhere, and a scheme then credits a step as if there were none. Its loss
reaches the model through h, by the weight that ``value_coefficient`` gives it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Critic(nn.Module):
    """A linear layer in float32 on hidden states, whatever the precision of the model.

    Args:
        width: of the hidden states.
        values: how many are estimated a step.
    """

    def __init__(self, width: int, values: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(values, width))
        self.bias = nn.Parameter(torch.zeros(values))

    @property
    def values(self) -> int:
        """How many values it estimates a step."""
        return len(self.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the values of hidden states.

        Args:
            hidden: shape (steps, width).

        Returns:
            float32, shape (steps,), or (steps, values) where there are several.
        """
        hidden = nn.functional.layer_norm(hidden.float(), hidden.shape[-1:]) / math.sqrt(hidden.shape[-1])
        # Not by a product of matrices, which autocast would round.
        found = (hidden[:, None] * self.weight).sum(-1) + self.bias
        return found[:, 0] if found.shape[1] == 1 else found
