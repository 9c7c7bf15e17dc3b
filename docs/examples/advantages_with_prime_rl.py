"""prime-rl with a credit scheme, in place of its algorithm ``grpo``: import this module before the orchestrator starts.

Written against the interface that prime-rl publishes (``orchestrator/algo``, October 2026); no package index has it.
The rewards of the turns are ``trace.info["turn_rewards"]``; without them the last turn gets the episode's reward.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from prime_rl.orchestrator.algo import ALGORITHM_CLASSES
from prime_rl.orchestrator.algo.base import Algorithm, iter_trainable_traces
from prime_rl.orchestrator.algo.routing import assign_advantages

import credit

SCHEME, OPTIONS = "gigpo", {"gamma": 0.95}


class StepCredit(Algorithm):
    """Gives every sampled token the advantage of its turn; for traces that do not fork."""

    async def score_group(self, episodes: list[Any]) -> None:
        """Assign advantages to the traces of one task."""
        traces = [trace for _, trace in iter_trainable_traces(episodes)]
        turns = [[node for node in trace.nodes if any(node.mask)] for trace in traces]
        rows = []
        for number, (trace, nodes) in enumerate(zip(traces, turns, strict=True)):
            rewards = trace.info.get("turn_rewards") or [0.0] * (len(nodes) - 1) + [trace.reward]
            for step, (node, reward) in enumerate(zip(nodes, rewards, strict=True)):
                seen = trace.nodes[node.parent].message.content  # the observation is what the turns are compared by
                rows.append({"group": 0, "episode": number, "step": step, "reward": float(reward), "state": str(seen)})
        values = iter(credit.advantages(SCHEME, pd.DataFrame(rows), **OPTIONS) if rows else [])
        for trace, nodes in zip(traces, turns, strict=True):
            assign_advantages(trace, np.concatenate([np.full(sum(node.mask), next(values)) for node in nodes]).tolist())


ALGORITHM_CLASSES["grpo"] = StepCredit
