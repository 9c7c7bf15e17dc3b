"""What is measured while training: episodes, advantages, seconds by phase, memory."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
import psutil
import torch

from agentbench.runs.episodes import Episode, is_judged
from agentbench.train.batch import Batch
from credit.tools.health import health


class Clock:
    """Seconds by phase of one training step, and the memory it took.

    Args:
        device: whose peak memory is reported, if it is a GPU.
    """

    def __init__(self, device: str = "cpu") -> None:
        self._device = torch.device(device)
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        self._started = time.perf_counter()
        self._phases: dict[str, float] = defaultdict(float)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the block's seconds to the phase ``name``; a GPU's until its work is done."""
        started = time.perf_counter()
        try:
            yield
        finally:
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)
            self._phases[name] += time.perf_counter() - started

    def metrics(self, steps: int, tokens: int) -> dict[str, float]:
        """Return the seconds in all and by phase, environment steps and sampled tokens a second, and memory in MB.

        ``memory_mb`` is this process's resident memory. Of a GPU the peaks since the clock started are told:
        ``device_memory_mb`` of what tensors took, ``device_reserved_mb`` of what the allocator held for them.
        """
        seconds = time.perf_counter() - self._started
        found = {f"seconds/{name}": round(value, 5) for name, value in self._phases.items()}
        found["seconds"] = round(seconds, 4)
        found["steps_per_second"] = round(steps / max(1e-9, seconds), 1)
        found["tokens_per_second"] = round(tokens / max(1e-9, seconds), 1)
        found["memory_mb"] = round(psutil.Process().memory_info().rss / 2**20, 1)
        if self._device.type == "cuda":
            found["device_memory_mb"] = round(torch.cuda.max_memory_allocated(self._device) / 2**20, 1)
            found["device_reserved_mb"] = round(torch.cuda.max_memory_reserved(self._device) / 2**20, 1)
        return found


def episode_metrics(episodes: Sequence[Episode]) -> dict[str, Any]:
    """Summarise judged episodes: success in all and by task type, reward, length, invalid actions; errors apart."""
    judged = [episode for episode in episodes if is_judged(episode.outcome)]
    steps = [step for episode in judged for step in episode.steps]
    if not steps:
        return {"episodes": 0, "errors": len(episodes)}
    by_type: dict[str, list[bool]] = defaultdict(list)
    for episode in judged:
        by_type[episode.task_type].append(episode.won)
    types = {f"success/{name}": float(np.mean(won)) for name, won in sorted(by_type.items())}
    return {
        "episodes": len(judged),
        "errors": len(episodes) - len(judged),
        "environment_steps": len(steps),
        "success": float(np.mean([episode.won for episode in judged])),
        **types,
        "score": float(np.mean([episode.score for episode in judged])),
        "reward": _total_reward(judged) / len(judged),
        "episode_steps": sum(episode.fork + len(episode.steps) for episode in judged) / len(judged),
        "invalid_share": float(np.mean([not step.is_valid for step in steps])),
    }


def _total_reward(judged: Sequence[Episode]) -> float:
    """Sum the rewards of whole courses: a branch earned what it shares, too. A parent stands before its branches."""
    rewards: dict[tuple[str, int], list[float]] = {}
    total = 0.0
    for episode in judged:
        shared = [] if episode.parent is None else rewards[episode.task_id, episode.parent][: episode.fork]
        rewards[episode.key] = [*shared, *(step.reward for step in episode.steps)]
        total += sum(rewards[episode.key])
    return float(total)


def advantage_metrics(scheme: str, batch: Batch) -> dict[str, Any]:
    """Summarise the advantages of a batch, with the scheme's health counters."""
    counters = {
        f"advantage/{name}": value for name, value in asdict(health(scheme, batch.table, batch.of_rows)).items()
    }
    return {
        "advantage/mean": float(batch.advantages.mean()),
        "advantage/deviation": float(batch.advantages.std()),
        **counters,
    }
