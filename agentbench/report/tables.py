"""The tables behind every picture of the page: what is shown is what is exported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from agentbench.evaluation.answers import answer_row, answers_of, warnings
from agentbench.evaluation.scenarios import clustered_episodes, summarise_run
from agentbench.report.curves import Row, learning_curves
from agentbench.report.runs import ReportRun
from envs.base.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    Table = list[Row] | pd.DataFrame
    """Rows of plain values where they are made one by one, as those of every page; else a pandas table."""


def result_tables(runs: Sequence[ReportRun]) -> tuple[dict[str, Table], list[str]]:
    """Make every table that the runs have something for.

    Returns:
        Tables by name, of ``rates`` (one row a run and task type), ``passes`` (pass@k and pass^k), ``comparisons``
        and ``tasks`` (paired by task with the first run on the same tasks), ``curves`` (over training seeds),
        ``quality`` (of credit schemes), ``answers`` and ``reasons`` (what a language model's answers were like, and
        why they broke the format); and notes for the reader, one sentence each.
    """
    played = [run for run in runs if run.episodes is not None]
    notes: list[str] = [f"{run.name}: {note}" for run in runs for note in run.run.config.get("notes", [])]
    tables: dict[str, Table] = {}
    if played:
        summaries = {run.name: summarise_run(run.run) for run in played}
        tables["rates"] = [{"run": name, **row} for name, each in summaries.items() for row in each.rows]
        tables["passes"] = [{"run": name, **row} for name, each in summaries.items() for row in each.pass_rows]
        tables |= _answers(played, notes)
        tables |= _compared(played, notes)
    tables["curves"] = learning_curves(runs, notes)
    if quality := {run.name: run.quality for run in runs if run.quality is not None}:
        tables["quality"] = stacked(quality)
    return {name: table for name, table in tables.items() if len(table)}, notes


def _answers(played: Sequence[ReportRun], notes: list[str]) -> dict[str, Table]:
    """What answers were like, a row a run where anything was recorded of them; warnings go to the notes."""
    found = {run.name: answers_of(run.run) for run in played}
    for name, each in found.items():
        notes += [f"{name}: {warning}" for warning in warnings(each)]
        if each.shortened:
            notes.append(f"{name}: {each.shortened} of {each.overall.steps} steps were stored with a text cut short")
    known = {name: each for name, each in found.items() if each.overall.answers}
    return {
        "answers": [{"run": name, **answer_row(each)} for name, each in known.items()],
        "reasons": [
            {"run": name, "reason": reason, "answers": count, "share": count / each.overall.answers}
            for name, each in known.items()
            for reason, count in each.reasons.most_common()
        ],
    }


def stacked(parts: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Return one table from one a run, with the run's name as first column."""
    import pandas as pd

    parts = {name: part.drop(columns="run", errors="ignore") for name, part in parts.items()}
    named = [pd.concat([pd.Series(name, part.index, name="run"), part], axis=1) for name, part in parts.items()]
    named = [part for part in named if len(part)]
    return pd.concat(named, ignore_index=True) if named else pd.DataFrame()


def _compared(played: Sequence[ReportRun], notes: list[str]) -> dict[str, Table]:
    """Compare each run with the first one that was played on the same tasks."""
    panels: dict[frozenset[str], list[ReportRun]] = {}
    for run in played:
        assert run.episodes is not None
        panels.setdefault(frozenset(run.episodes["task_id"]), []).append(run)
    if len(panels) > 1:
        notes.append(
            f"the runs were played on {len(panels)} different sets of tasks: only runs on the same are compared"
        )
    if not any(others for _, *others in panels.values()):
        return {}
    from agentbench.evaluation.compare_runs import compare_with_baseline, comparison_table, task_table  # with pandas

    results = []
    for first, *others in panels.values():
        if not others:
            continue
        try:
            frames = {run.name: clustered_episodes(run.run)[0] for run in others}
            frame, cluster = clustered_episodes(first.run)
            results += compare_with_baseline((first.name, frame), frames, cluster=cluster)
        except UserError as error:
            notes.append(str(error))
    if not results:
        return {}
    return {"comparisons": comparison_table(results), "tasks": task_table(results)}
