"""The games of ``bench_harness.py`` in Inspect AI, run by its own environment's Python: URL, games, steps, at once."""

from __future__ import annotations

import os
import re
import sys
import tempfile

from envs.alfworld.env import ALFWorldEnv

url, games, steps, parallel = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
os.environ |= {"STUB_API_KEY": "none", "STUB_BASE_URL": url}

from inspect_ai import Task, eval  # noqa: E402
from inspect_ai.dataset import MemoryDataset, Sample  # noqa: E402
from inspect_ai.model import ChatMessageUser  # noqa: E402
from inspect_ai.scorer import Score, mean, scorer  # noqa: E402
from inspect_ai.solver import solver  # noqa: E402

SPLIT = f"generated:0:{games}"


def told(observation, info):
    return f"{observation}\nActions: {', '.join(info['admissible_actions'])}\nAnswer with <action>…</action>."


@solver
def play():
    async def solve(state, generate):
        env = ALFWorldEnv(split=SPLIT, max_steps=steps)
        observation, info = env.reset(seed=0, options={"task": f"generated:0:{state.sample_id}"})
        state.messages.clear()
        ended = False
        while not ended:
            state.messages.append(ChatMessageUser(content=told(observation, info)))
            state = await generate(state)
            found = re.search(r"<action>(.*?)</action>", state.output.completion)
            observation, _, terminated, truncated, info = env.step(found[1] if found else "")
            ended = terminated or truncated
        state.metadata["won"] = info["won"]
        return state

    return solve


@scorer(metrics=[mean()])
def won():
    async def score(state, target):
        return Score(value=float(state.metadata["won"]))

    return score


task = Task(dataset=MemoryDataset([Sample(input="play", id=n) for n in range(games)]), solver=play(), scorer=won())
with tempfile.TemporaryDirectory() as folder:
    (log,) = eval(
        task, model="openai-api/stub/stub", display="none", log_dir=folder, max_samples=parallel,
        max_connections=parallel,
    )  # fmt: skip
    assert log.status == "success" and len(log.samples) == games, log.error
