"""A training run that ends in its middle, as if it had been killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agentbench.train.config import TrainConfig
from agentbench.train.run import train


class KilledError(Exception):
    """Stands for the end of the process."""


def train_until(step: int, config: TrainConfig, folder: Path) -> None:
    """Train up to the metrics of a step, before its checkpoint, and no further."""

    def kill(metrics: dict[str, Any]) -> None:
        if metrics["step"] == step:
            raise KilledError

    with pytest.raises(KilledError):
        train(config, folder, on_metrics=kill)
