"""Exact advantages of the stored episodes of an ALFWorld task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

from agentbench.analysis.truth.exact import solve_game
from agentbench.analysis.truth.table import EpisodeTruth
from agentbench.runs.episodes import Episode
from envs.alfworld.engine import Engine
from envs.alfworld.tasks import open_games
from envs.contract import Task, TextEnv
from policies.contract import KnownPolicy, Policy, Prompt


def solve_task(
    environment: TextEnv, policy: Policy, task: Task, episodes: Sequence[Episode], limit: int
) -> Iterator[EpisodeTruth]:
    """Count the states of a task once, and yield the exact truth of each of its episodes.

    Args:
        environment: ALFWorld with the fast engine; its ``max_steps`` is the horizon.
        policy: one that is Markov and knows its probabilities.
        task, episodes: the task and episodes of it.
        limit: most states to count.

    Raises:
        TooManyStatesError: there are more states.
    """
    assert environment.spec is not None
    options = environment.spec.kwargs
    data = options["data"]
    game = open_games(options["split"], None if data is None else Path(data).expanduser()).load(task)
    known = cast(KnownPolicy, policy)
    observation, info = environment.reset(options={"task": task.name})

    def probabilities(actions: list[str]) -> Sequence[float]:
        found = known.probabilities(Prompt.first(task, observation, {**info, "admissible_actions": actions}))
        assert found is not None, "a Markov policy's answers are admissible"
        return found

    values = solve_game(Engine(game), environment.max_steps, probabilities, limit)
    for episode in episodes:
        steps = values.steps([step.action for step in episode.steps])
        yield EpisodeTruth(
            task.id,
            episode.trial,
            "exact",
            advantage=[advantage for _, advantage, _ in steps],
            standard_error=[0.0] * len(steps),
            value=[value for _, _, value in steps],
            state=[str(state) for state, _, _ in steps],
            probabilities=[list(probabilities(step.admissible_actions or [])) for step in episode.steps],
            critic=[value for _, _, value in steps],
        )
