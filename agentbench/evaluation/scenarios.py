"""The two rates where tasks are variants of scenarios: of tasks, a scenario's in one cluster, and of scenarios.

AppWorld has them (Trivedi et al. 2024, section 4): Task Goal Completion is the share of tasks whose requirements are
all met, Scenario Goal Completion the share of scenarios all of whose tasks are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from agentbench.evaluation.summary import OVERALL, Summary, summarise
from agentbench.runs.episodes import is_judged
from agentbench.runs.frame import COLUMNS
from agentbench.statistics import rate_interval
from envs.registry import ENVIRONMENTS, load

if TYPE_CHECKING:
    import pandas as pd

    from agentbench.runs.run import Run

ScenarioOf = Callable[[str], str]
"""Names the scenario of a task by the task's name."""


def scenario_of_run(run: Run) -> ScenarioOf | None:
    """Return what names the scenarios of a run's tasks (:attr:`envs.registry.Environment.scenario`), None for none.

    The environment of an imported run is the one that its logs say was played, if they do.
    """
    entry = ENVIRONMENTS.get(str(run.config.get("played", run.identity.get("env"))))
    if entry is None or entry.scenario is None:
        return None
    found: ScenarioOf = load(entry.scenario)
    return found


def with_scenario(frame: pd.DataFrame, scenario_of: ScenarioOf) -> pd.DataFrame:
    """Return the episodes with a column ``scenario``."""
    return frame.assign(scenario=frame["task_name"].map(scenario_of).astype(object))


def clustered_episodes(run: Run) -> tuple[pd.DataFrame, str]:
    """Return a run's episodes, and the column that says which tasks belong together (each to itself, or scenarios)."""
    if scenario_of := scenario_of_run(run):
        return with_scenario(run.episodes, scenario_of), "scenario"
    return run.episodes, "task_id"


def summarise_run(run: Run, *, confidence: float = 0.95) -> Summary:
    """Sum a run up; where its tasks come in scenarios, these are the clusters of all intervals."""
    scenario_of = scenario_of_run(run)
    if scenario_of is None:
        return summarise(run.episode_columns(*COLUMNS), confidence=confidence)
    episodes = run.episode_columns(*COLUMNS, "task_name")
    episodes["scenario"] = np.array([scenario_of(name) for name in episodes["task_name"]], dtype=object)
    return summarise(episodes, confidence=confidence, cluster="scenario")


def scenario_completion(frame: pd.DataFrame, scenario_of: ScenarioOf, *, confidence: float = 0.95) -> pd.DataFrame:
    """Return the share of scenarios that were solved in all their variants.

    Args:
        frame: one row an episode, with ``task_name``, ``task_type``, ``trial`` and ``outcome``. A trial of a scenario
            with an error of the infrastructure among its episodes is left out.
        scenario_of: names the scenario of a task by the task's name.
        confidence: of the intervals, which are over scenarios.

    Returns:
        a row for all and one a task type, with ``task_type, scenarios, rate, low, high`` (0 to 1).
    """
    import pandas as pd

    episodes = with_scenario(frame, scenario_of)
    grouped = episodes.groupby(["task_type", "scenario", "trial"], sort=True)["outcome"]
    trials = grouped.agg(
        solved=lambda outcomes: bool((outcomes == "success").all()),
        whole=lambda outcomes: bool(is_judged(outcomes).all()),
    ).reset_index()
    trials = trials[trials["whole"]]
    rows = []
    for label, part in [(OVERALL, trials), *trials.groupby("task_type", sort=True)]:
        scenarios = part.groupby("scenario", sort=True)["solved"].agg(["mean", "size"])
        rate = rate_interval(scenarios["mean"], scenarios["size"], confidence=confidence)
        rows.append(
            {"task_type": str(label), "scenarios": len(scenarios), "rate": rate.estimate, "low": rate.low,
             "high": rate.high}
        )  # fmt: skip
    return pd.DataFrame(rows)


def completion_lines(frame: pd.DataFrame, scenario_of: ScenarioOf) -> list[str]:
    """Return Scenario Goal Completion as lines of text, the overall one first, and what the table above them is."""
    return [
        "Task Goal Completion is the success above; scenarios are the clusters of its intervals",
        *(
            f"Scenario Goal Completion, {row.task_type}: {row.rate:.1%} [{row.low:.1%}, {row.high:.1%}] "
            f"of {row.scenarios}"
            for row in scenario_completion(frame, scenario_of).itertuples()
        ),
    ]
