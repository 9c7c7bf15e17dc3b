"""The games of ``bench_harness.py`` in verifiers 0.1.9, run by its own environment's Python: as play_inspect.py."""

from __future__ import annotations

import re
import sys

import verifiers as vf
from datasets import Dataset
from openai import AsyncOpenAI

from envs.alfworld.env import ALFWorldEnv

url, games, steps, parallel = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
SPLIT = f"generated:0:{games}"


def told(observation, info):
    text = f"{observation}\nActions: {', '.join(info['admissible_actions'])}\nAnswer with <action>…</action>."
    return {"role": "user", "content": text}


class Games(vf.MultiTurnEnv):
    async def setup_state(self, state):
        state["env"] = ALFWorldEnv(split=SPLIT, max_steps=steps)
        observation, info = state["env"].reset(seed=0, options={"task": state["info"]["task"]})
        state["prompt"] = [told(observation, info)]
        state["ended"] = state["won"] = False
        return state

    async def env_response(self, messages, state, **kwargs):
        found = re.search(r"<action>(.*?)</action>", messages[-1]["content"])
        observation, _, terminated, truncated, info = state["env"].step(found[1] if found else "")
        state["won"] = info["won"]
        answer = [told(observation, info)]
        if terminated or truncated:
            state["final_env_response"] = answer
        return answer


async def won(state, **kwargs) -> float:
    return float(state["won"])


rows = [{"prompt": [{"role": "user", "content": ""}], "info": {"task": f"generated:0:{n}"}} for n in range(games)]
played = Games(eval_dataset=Dataset.from_list(rows), rubric=vf.Rubric(funcs=[won])).evaluate_sync(
    AsyncOpenAI(base_url=url, api_key="none"), "stub", max_concurrent=parallel
)
assert len(played["reward"]) == games
