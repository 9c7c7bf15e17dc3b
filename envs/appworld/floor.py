"""What an agent scores that does nothing but end the task: many requirements ask that nothing else changed."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from envs.contract import Task

MINI_FLOOR = {
    "countnotes": 1 / 2, "alarmoff": 1 / 3, "findnumber": 1 / 2,
    "deletefiles": 1 / 3, "finishproject": 1 / 3, "textgroup": 1 / 4,
    "requestmoney": 1 / 4, "notetoproject": 1 / 4,
}  # fmt: skip
"""Scenario of the split ``mini`` -> score of ``apis.supervisor.complete_task()`` alone, as AppWorld's evaluation gave
it in the real engine; the three variants of a scenario have the same requirements, and so the same floor."""


def floor_note(split: str, tasks: Sequence[Task]) -> str:
    """Return what a reader of a mean score on ``tasks`` must know of the score that is had by doing nothing.

    Args:
        split: of AppWorld.
        tasks: exactly those that are played; at least one.

    Returns:
        one sentence: with the mean floor of these tasks where it was measured (``mini``), else that it was not.
    """
    scenarios = [task.name.rpartition("_")[0] for task in tasks]
    if split == "mini" and MINI_FLOOR.keys() >= set(scenarios):
        floor = fmean(MINI_FLOOR[scenario] for scenario in scenarios)
        return f"the score of an agent that does nothing but end the task is {floor:.1%} on these tasks"
    return (
        "part of the score may be had by an agent that does nothing but end the task: how much was not measured on "
        f"the split {split}"
    )
