"""SkyRL with a credit scheme: import this inside the Ray entry point, and set ``trainer.algorithm.advantage_estimator``
to ``agentbench_NAME``.

Written against the registry of skyrl 0.3.0. SkyRL hands over rewards, mask and groups, so a scheme that needs more
(``state``, a critic) refuses with one line. In step-wise mode SkyRL asks about the last step of each episode alone.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from skyrl.backends.skyrl_train.utils.ppo_utils import AdvantageEstimatorRegistry

import credit


def estimate(
    scheme: str, token_level_rewards: torch.Tensor, response_mask: torch.Tensor, index: Any, **_: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return advantages and returns (the same numbers), each of shape (episodes, tokens)."""
    mask = response_mask.cpu().numpy()
    table = credit.from_tokens(token_level_rewards.cpu().numpy(), mask, np.asarray(index))
    found = torch.as_tensor(credit.to_tokens(credit.advantages(scheme, table), mask))
    found = found.to(token_level_rewards)
    return found, found.clone()


for _name in credit.SCHEMES:
    AdvantageEstimatorRegistry.register(f"agentbench_{_name}", functools.partial(estimate, _name))
