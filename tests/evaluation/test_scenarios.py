"""Scenario Goal Completion, against a case worked by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from agentbench.evaluation.scenarios import completion_lines, scenario_completion, with_scenario
from agentbench.evaluation.summary import summarise
from envs.appworld.tasks import scenario_of

OUTCOMES = {
    "book_1": "success", "book_2": "success", "book_3": "success",
    "call_1": "success", "call_2": "failure", "call_3": "success",
    "pay_1": "success", "pay_2": "success",
    "plan_1": "error", "plan_2": "success",
}  # fmt: skip


def frame() -> pd.DataFrame:
    rows = [
        {
            "task_id": f"id-{name}", "task_name": name, "task_type": f"difficulty {1 if name < 'd' else 2}", "trial": 0,
            "outcome": outcome, "won": outcome == "success", "score": float(outcome == "success"), "steps": 3,
            "invalid_actions": 0,
        }
        for name, outcome in OUTCOMES.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_scenario_counts_if_all_its_variants_were_solved_and_none_was_lost_to_an_error() -> None:
    table = scenario_completion(frame(), scenario_of).set_index("task_type")
    assert table["scenarios"].to_dict() == {"overall": 3, "difficulty 1": 2, "difficulty 2": 1}
    assert table["rate"].to_dict() == pytest.approx({"overall": 2 / 3, "difficulty 1": 1 / 2, "difficulty 2": 1.0})
    assert ((table["low"] <= table["rate"]) & (table["rate"] <= table["high"])).all()
    assert completion_lines(frame(), scenario_of)[1].startswith("Scenario Goal Completion, overall: 66.7% [")


def test_scenarios_are_the_clusters_of_the_rate_of_tasks() -> None:
    summary = summarise(with_scenario(frame(), scenario_of), cluster="scenario")
    assert summary.overall["success_rate"] == pytest.approx(8 / 9) and summary.overall["errors"] == 1
