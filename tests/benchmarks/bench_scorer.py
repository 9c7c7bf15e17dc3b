"""What it saves to describe the decisions of a batch at once: processor time of the scorer's features, two ways.

    python tests/benchmarks/bench_scorer.py

The decisions are those of random play in small generated houses, as many at once as a training step has episodes. Both
ways give the same numbers, which is held here too; they take turns, and the ratio is of their medians.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from envs.registry import make
from policies.contract import Prompt, Response
from policies.plain.choices import choices
from policies.scorer import past, relations
from policies.scorer.relations import Features, features, features_of

GROUPS, SIZE, STEPS, ROUNDS = 6, 8, 15, 5

Batches = list[list[Prompt]]


def played() -> Batches:
    """Return the prompts of every step, of all episodes that are still under way there."""
    environment = make("alfworld", split=f"generated:1:{GROUPS}:small")
    rng = random.Random(0)
    batches: Batches = [[] for _ in range(STEPS)]
    for task in environment.tasks:
        for trial in range(SIZE):
            observation, info = environment.reset(seed=trial, options={"task": task.name})
            prompt = Prompt.first(task, observation, info, trial=trial)
            for batch in batches:
                batch.append(prompt)
                action = rng.choice(choices(prompt, "bench"))
                observation, _, terminated, truncated, info = environment.step(action)
                if terminated or truncated:
                    break
                prompt = prompt.after(Response(action), observation, info)
    return batches


def measured(describe: Callable[[list[Prompt]], list[Features]], batches: Batches) -> tuple[float, list[Features]]:
    """Return microseconds of processor time a decision, from a start at which nothing is kept, and the features."""
    past._known.clear()
    relations._offer.cache_clear()
    relations._view.cache_clear()
    begun = time.process_time()
    found = [each for batch in batches for each in describe(batch)]
    return 1e6 * (time.process_time() - begun) / len(found), found


def main() -> None:
    """Measure both, and print a line."""
    batches = played()
    ways: dict[str, Callable[[list[Prompt]], list[Features]]] = {
        "alone": lambda batch: [features(prompt, choices(prompt, "bench")) for prompt in batch],
        "at once": lambda batch: features_of(batch, [choices(prompt, "bench") for prompt in batch]),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        results = {name: measured(way, batches) for name, way in ways.items()}
        for name, (each, _) in results.items():
            taken[name].append(each)
        for pair in zip(results["alone"][1], results["at once"][1], strict=True):
            arrays: list[Any] = [*zip(*pair, strict=True)]
            assert all(np.array_equal(one, other) for one, other in arrays)
    alone, together = (statistics.median(taken[name]) for name in ways)
    print(f"{alone:.0f} us a decision alone, {together:.0f} at once: {alone / together:.1f} times")


if __name__ == "__main__":
    main()
