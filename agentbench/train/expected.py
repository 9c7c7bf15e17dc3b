"""What an episode is expected to earn, from the episodes of earlier training steps: the column ``baseline``.

For ``rae`` (SPIRAL, arXiv 2506.24119) that is one moving average of the only agent, from 0,

    b <- 0.95 b + 0.05 s,

taken before each episode. For every other scheme (``single_stream``, arXiv 2509.13232) each task has a value v that
stands for n outcomes, at first 1/2 and 1 (a Beta distribution with both counts at 1/2), taken before each batch:

    v <- (rho n v + s) / (rho n + 1),   n <- rho n + 1,   rho = 0.9
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agentbench.runs.episodes import Episode
from agentbench.runs.trees import whole
from agentbench.train.config import TrainConfig
from credit.steps import FloatArray

DECAY = 0.95
KEPT = 0.9
AGENT = "agent"


class Expected:
    """Keeps what tasks, or the agent, earned so far.

    Args:
        config: its scheme says which.

    Attributes:
        known: value and number of outcomes that it stands for, by task id; under :data:`AGENT` for the agent. Goes into
            the checkpoint.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.of_agent, self.penalty = config.scheme == "rae", config.invalid_action_penalty
        self.known: dict[str, list[float]] = {}

    def before(self, groups: Sequence[Sequence[Episode]]) -> FloatArray:
        """Return what was expected of the episode of each step that was played, and learn their outcomes.

        Args:
            groups: episodes; of a branch the steps that it shares count in its outcome.

        Returns:
            float64 of shape (nodes,).
        """
        courses = [episode for group in groups for episode in whole(group)]
        found = self._moving(courses) if self.of_agent else self._of_tasks(courses)
        return np.repeat(found, [len(episode.steps) for group in groups for episode in group])

    def _moving(self, episodes: Sequence[Episode]) -> FloatArray:
        value, found = self.known.get(AGENT, [0.0, 0.0])[0], []
        for episode in episodes:
            found.append(value)
            value = DECAY * value + (1 - DECAY) * self._outcome(episode)
        self.known[AGENT] = [value, 1 / (1 - DECAY)]
        return np.array(found)

    def _of_tasks(self, episodes: Sequence[Episode]) -> FloatArray:
        found = np.array([self.known.get(episode.task_id, [0.5, 1.0])[0] for episode in episodes])
        for episode in episodes:
            value, count = self.known.get(episode.task_id, [0.5, 1.0])
            kept = KEPT * count
            self.known[episode.task_id] = [(kept * value + self._outcome(episode)) / (kept + 1), kept + 1]
        return found

    def _outcome(self, episode: Episode) -> float:
        return sum(step.reward - self.penalty * (not step.is_valid) for step in episode.steps)
