"""AppWorld's two rates: of tasks (a scenario's variants lie in one cluster), and of scenarios solved in all variants.

Trivedi et al. 2024, section 4: Task Goal Completion is the share of tasks whose requirements are all met, Scenario
Goal Completion the share of scenarios all of whose tasks are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from agentbench.evaluation.summary import OVERALL, Summary, summarise
from agentbench.runs.episodes import is_judged
from agentbench.statistics import rate_interval

if TYPE_CHECKING:
    from agentbench.runs.run import Run

ENVIRONMENTS = ("appworld",)
"""Those whose tasks come in families: task names are ``<scenario>_<variant>``."""


def has_scenarios(run: Run) -> bool:
    """Return whether the tasks of a run come in scenarios."""
    return run.identity.get("env") in ENVIRONMENTS


def with_scenario(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the episodes with a column ``scenario``: the task's name without its variant."""
    return frame.assign(scenario=frame["task_name"].str.rpartition("_")[0])


def clustered_episodes(run: Run) -> tuple[pd.DataFrame, str]:
    """Return a run's episodes, and the column that says which tasks belong together (each to itself, or scenarios)."""
    if has_scenarios(run):
        return with_scenario(run.episodes), "scenario"
    return run.episodes, "task_id"


def summarise_run(run: Run, *, confidence: float = 0.95) -> Summary:
    """Sum a run up; where its tasks come in scenarios, these are the clusters of all intervals."""
    episodes, cluster = clustered_episodes(run)
    return summarise(episodes, confidence=confidence, cluster=cluster)


def scenario_completion(frame: pd.DataFrame, *, confidence: float = 0.95) -> pd.DataFrame:
    """Return the share of scenarios that were solved in all their variants.

    Args:
        frame: one row an episode, with ``task_name``, ``task_type``, ``trial`` and ``outcome``. A trial of a scenario
            with an error of the infrastructure among its episodes is left out.
        confidence: of the intervals, which are over scenarios.

    Returns:
        a row for all and one a task type, with ``task_type, scenarios, rate, low, high`` (0 to 1).
    """
    episodes = with_scenario(frame)
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


def completion_lines(frame: pd.DataFrame) -> list[str]:
    """Return Scenario Goal Completion as lines of text, the overall one first, and what the table above them is."""
    return [
        "Task Goal Completion is the success above; scenarios are the clusters of its intervals",
        *(
            f"Scenario Goal Completion, {row.task_type}: {row.rate:.1%} [{row.low:.1%}, {row.high:.1%}] "
            f"of {row.scenarios}"
            for row in scenario_completion(frame).itertuples()
        ),
    ]
