"""The sub-goals that an agent names in its answers, as columns of the step table.

An answer may hold ``<subgoal>find a mug</subgoal>`` before its action (a prompt of your own asks for it, the option
``template``). The agent pursues what it named last; a step begins a new sub-goal where another one is named.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from agentbench.runs.episodes import Episode, Step
from agentbench.runs.trees import whole
from credit.registry import find as find_scheme

_SUBGOAL = re.compile(r"<subgoal\s*>(.*?)</subgoal\s*>", re.DOTALL | re.IGNORECASE)


def needs_subgoals(scheme: str) -> bool:
    """Return whether a scheme reads where sub-goals begin."""
    return "switch" in find_scheme(scheme).needs


def subgoals(groups: Sequence[Sequence[Episode]]) -> dict[str, npt.NDArray[np.bool_ | np.int64]]:
    """Return the columns ``switch`` and ``subgoal`` of the steps of groups of episodes.

    Args:
        groups: as :func:`agentbench.runs.steps.steps_of` takes them.

    Returns:
        ``switch``: bool, shape (nodes,): a sub-goal begins here; true at an episode's first step.
        ``subgoal``: int64, shape (nodes,): number of the text of the sub-goal that is pursued, -1 before any was named.
    """
    switch: list[bool] = []
    numbers: list[int] = []
    known: dict[str, int] = {}
    for episode in (each for group in groups for each in whole(group)):
        pursued = ""
        for index, step in enumerate(episode.steps):
            named = _named(step) or pursued
            if index >= episode.fork:  # those before are the parent's
                switch.append(index == 0 or named != pursued)
                numbers.append(known.setdefault(named, len(known)) if named else -1)
            pursued = named
    return {"switch": np.array(switch, dtype=np.bool_), "subgoal": np.array(numbers, dtype=np.int64)}


def _named(step: Step) -> str:
    """Return the sub-goal of an answer, the last one if there are several; empty where it names none."""
    found = _SUBGOAL.findall(step.text or "")
    return " ".join(found[-1].split()) if found else ""
