"""How many threads a model on a processor is computed with: whatever is fastest here and now."""

from __future__ import annotations

import os
import time
from typing import Any

import torch
from torch import nn

GAIN = 0.8
"""More threads are taken only where they need less than this share of the time: they take cores from others."""

PATIENCE = 0.5
"""Seconds that are measured for each number of threads, and one answer's worth in any case."""

TOKENS = 4
"""Length of what is computed: decoding takes one token an answer at a time."""


def choose_threads(model: Any, device: str | torch.device, wanted: int | None) -> None:
    """Set torch's number of threads for a model on a processor.

    A model's matrices, the number of cores and what else runs on them decide which number is fastest, by up to eight
    times: threads that wait for each other on busy cores cost more than they bring. So it is measured, unless the user
    says a number, here or by ``OMP_NUM_THREADS``.

    Args:
        model: a causal language model, on its device.
        device: where it is.
        wanted: the number that the user chose; None to measure.
    """
    if torch.device(device).type != "cpu":
        return
    if wanted is not None:
        torch.set_num_threads(wanted)
    elif "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(fastest(model, torch.get_num_threads()))


@torch.no_grad()
def fastest(model: nn.Module, most: int) -> int:
    """Return the number of threads, at most ``most``, that a short computation is fastest with: 1, 2, 4, … are tried.

    Each number is tried as long as the one before it brought something.
    """
    ids = torch.zeros((1, TOKENS), dtype=torch.long)
    was_training = model.training
    model.eval()  # nothing is drawn
    try:
        best, seconds = 1, _seconds(model, ids, 1)
        for threads in [number for number in (2, 4, 8, 16, 32, 64, 128) if number < most] + [most] * (most > 1):
            found = _seconds(model, ids, threads)
            if found > GAIN * seconds:
                break
            best, seconds = threads, found
        return best
    finally:
        model.train(was_training)


def _seconds(model: nn.Module, ids: torch.Tensor, threads: int) -> float:
    """Return the median time of a forward pass."""
    torch.set_num_threads(threads)
    model(input_ids=ids)  # the first one also allocates
    found: list[float] = []
    end = time.monotonic() + PATIENCE
    while not found or (time.monotonic() < end and len(found) < 9):
        start = time.perf_counter()
        model(input_ids=ids)
        found.append(time.perf_counter() - start)
    return sorted(found)[len(found) // 2]
