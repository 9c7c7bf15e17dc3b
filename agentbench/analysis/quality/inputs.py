"""What stands for the inputs that some schemes read beside states, actions and rewards.

Neither the tabular problems nor ALFWorld has several agents, sub-goals or a gold answer. So that every scheme can be
measured, each input gets the nearest thing that is known here:

================  ============================================================================================
``value``         V of the state: exact, or where the truth was measured, from rollouts apart from the truth's
``value_low``,
``value_high``,
``value_term``    the same value for all three of HiPER's heads
``switch``        HiPER: a new sub-goal every :data:`SEGMENT` steps
``info_gain``     IGPO: the rise of the expected outcome, the chance that the policy will be right, by the step
``agent``         Dr.MAS, M-GRPO, MARS: two agents with one policy that take turns, so the step modulo 2
``entropy``       EMPG: exact, of the policy's distribution over the actions
``surprise``      OCAR: minus the log of the chance that the policy's last action, and the environment, bring about
                  what is now observed; in ALFWorld, whose moves are certain, that of the action; 0 at the start
``score``         PURE, turn credit: the expected outcome after the step; a stored run has its own score
``teacher_gap``   AgentOPSD: log of the expected outcome after the step over that before it: what the policy, told
                  that it will succeed, would give the action more; at most log 1000 either way
``reference_gap`` progress advantage: log of the policy's probability of the action over that of a random choice
``baseline``      single-stream PO, RAE: the value of the first state, what the task is worth
``oracle``        VPR: the reward and the value after the step: Q, where moves are certain
``choice``        VPR: the state and the step, so the candidates are what the group tried there
================  ============================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from credit.steps import FloatArray

SEGMENT = 4
"""Steps that a sub-goal lasts."""
AGENTS = 2
"""Agents that take turns."""
_LEAST = 1e-3
"""Smaller values count as this in a logarithm."""


def with_inputs(frame: pd.DataFrame) -> pd.DataFrame:
    """Add the columns that follow from the step, the state and the value.

    Args:
        frame: rows sorted by episode and step, with ``episode``, ``step``, ``reward``, ``state`` and where known
            ``value`` and ``score``.
    """
    frame = frame.assign(agent=frame["step"] % AGENTS, switch=frame["step"] % SEGMENT == 0)
    if "value" not in frame:
        return frame
    value, episode = frame["value"], frame.groupby("episode", sort=False)
    after = episode["value"].shift(-1).fillna(0.0)
    earned = episode["reward"].cumsum()
    before, reached = earned - frame["reward"] + value, earned + after  # the outcome that is expected
    gap = np.log(np.maximum(reached, _LEAST)) - np.log(np.maximum(before, _LEAST))
    return frame.assign(
        info_gain=reached - before, value_low=value, value_high=value, value_term=value,
        score=frame.get("score", reached),
        teacher_gap=np.clip(gap, np.log(_LEAST), -np.log(_LEAST)),
        baseline=episode["value"].transform("first"),
        oracle=frame["reward"] + after,
        choice=frame.groupby(["state", "step"], sort=False).ngroup(),
    )  # fmt: skip


def reference_gap(probabilities: Iterable[FloatArray], places: Iterable[int]) -> FloatArray:
    """Log of the probability of each action over that of a random choice among those offered, shape ``(n,)``."""
    pairs = zip(probabilities, places, strict=True)
    return np.array([np.log(len(row) * max(float(row[place]), _LEAST**2)) for row, place in pairs])


def entropy(probabilities: FloatArray) -> float:
    """Entropy of a distribution, in nats."""
    positive = probabilities[probabilities > 0]
    return float(-(positive * np.log(positive)).sum())


def surprise(chance: FloatArray, step: pd.Series) -> FloatArray:
    """Surprise of what is observed before each step, in nats, shape ``(n,)``.

    Args:
        chance: of what came of each step, above 0, shape ``(n,)``, rows sorted by episode and step.
        step: within the episode.
    """
    before = np.append(1.0, chance[:-1])
    return np.where(step.to_numpy() == 0, 0.0, -np.log(before))
