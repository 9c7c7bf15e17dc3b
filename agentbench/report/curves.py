"""Learning curves over seeds: training runs that differ only in their seed are one line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from agentbench.report.runs import ReportRun
from agentbench.statistics.robust import interquartile_mean_interval

Row = dict[str, Any]

METRICS = {
    "eval/success": "success rate on held-out tasks",
    "success": "success rate while training",
    "eval/score": "score on held-out tasks",
    "score": "score while training",
    "episode_steps": "steps an episode",
    "entropy": "entropy of the policy, in nats",
    "advantage/zero_share": "share of steps without credit",
}
MOST_POINTS = 200
"""Training steps that a line shows at most: of more, evenly chosen ones, with the first and the last."""
LONGEST_LABEL = 48
"""Where the settings that distinguish lines are longer than this, lines are named by their runs."""


def learning_curves(runs: Sequence[ReportRun], notes: list[str]) -> list[Row]:
    """Return one row a line, metric and training step.

    The estimate is the interquartile mean over seeds and its 95 % interval (Agarwal et al. 2021), at the
    training steps that all seeds have. One seed has no interval: NaN, and a note says that it is no result.

    Returns:
        Values by column: ``line, seeds, metric, step, estimate, low, high``.
    """
    groups = _by_setting([run for run in runs if run.metrics])
    rows = []
    for label, seeds in groups.items():
        if len(seeds) == 1:
            notes.append(f"{label}: a single training run ({seeds[0].name}) has no interval; train more seeds")
        rows += [row for metric in METRICS for row in _line(label, seeds, metric)]
    return rows


def _line(label: str, seeds: list[ReportRun], metric: str) -> list[Row]:
    series = [{row["step"]: row[metric] for row in run.metrics if row.get(metric) is not None} for run in seeds]
    steps = sorted(set.intersection(*(set(each) for each in series)))
    if len(steps) > MOST_POINTS:
        steps = [steps[place] for place in np.unique(np.linspace(0, len(steps) - 1, MOST_POINTS).astype(int))]
    rows = []
    for step in steps:
        interval = interquartile_mean_interval([each[step] for each in series])
        alone = len(seeds) == 1
        low, high = (np.nan, np.nan) if alone else (interval.low, interval.high)
        facts = {"line": label, "seeds": len(seeds), "metric": metric, "step": step}
        rows.append(facts | {"estimate": interval.estimate, "low": low, "high": high})
    return rows


def _by_setting(runs: Sequence[ReportRun]) -> dict[str, list[ReportRun]]:
    """Put together the runs whose settings are equal but for the seed, named by the settings in which they differ."""
    groups: dict[str, list[ReportRun]] = {}
    for run in runs:
        setting = {name: value for name, value in run.identity.items() if name != "seed"}
        groups.setdefault(json.dumps(setting, sort_keys=True), []).append(run)
    settings = [json.loads(text) for text in groups]
    keys = sorted({name for setting in settings for name in setting})
    differing = [key for key in keys if len({json.dumps(setting.get(key)) for setting in settings}) > 1]
    labels = [_label(setting, differing) for setting in settings]
    if max(map(len, labels), default=0) > LONGEST_LABEL:
        labels = [" + ".join(run.name for run in seeds) for seeds in groups.values()]
    return dict(zip(labels, groups.values(), strict=True))


def _label(setting: dict[str, object], differing: list[str]) -> str:
    rest = [f"{key} {setting.get(key)}" for key in differing if key != "scheme"]
    return ", ".join([str(setting.get("scheme", "training")), *rest])
