"""Long runs: the memory of a worker stays small and flat."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys, psutil
from envs.alfworld import ALFWorldEnv
split, data = sys.argv[1], sys.argv[2] or None
env = ALFWorldEnv(split, data=data)
process, sizes = psutil.Process(), []
for episode in range(2000):
    _, info = env.reset(seed=episode)
    for command in info["walkthrough"]:
        env.step(command)
        env.step("look")
        env.snapshot()
    if episode % 100 == 99:
        sizes.append(process.memory_info().rss / 2**20)
print(sizes[2], max(sizes))
"""


def worker_memory(split: str, data: str) -> tuple[float, float]:
    """Memory in MB after 300 and at most during 2,000 episodes in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, split, data], check=True, capture_output=True, text=True, timeout=280
    )
    early, peak = map(float, done.stdout.split())
    return early, peak


@pytest.mark.slow
@pytest.mark.reference
def test_memory_stays_flat_over_official_games(shared) -> None:
    early, peak = worker_memory("train", str(shared / "data" / "alfworld" / "alfworld_games.jsonl.xz"))
    assert peak < 150 and peak - early < 10


@pytest.mark.slow
def test_memory_stays_flat_over_generated_games() -> None:
    pytest.importorskip("envs.alfworld.generator")
    early, peak = worker_memory("generated:0:2000", "")
    assert peak < 150 and peak - early < 10
