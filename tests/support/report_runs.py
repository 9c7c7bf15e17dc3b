"""Runs written by hand, for tests of the page and the export."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from agentbench.runs.episodes import Episode, Step, to_line

EVIL = "</script><script>window.evil = 1</script><img src=x onerror='window.evil = 2'> & \u2028 <!--"

Writer = Callable[..., Path]


def make_episode(task: int, trial: int, states: Sequence[str], won: bool, *, evil: bool = False) -> Episode:
    steps = [
        Step(
            observation=f"you are in {state}" + (f" {EVIL}" if evil and place == 0 else ""),
            anchor=state,
            admissible_actions=["wait", f"leave {state}"],
            action=f"leave {state}",
            reward=float(won and place == len(states) - 1),
            is_valid=not (task == 1 and place == 0),
            terminated=won and place == len(states) - 1,
            truncated=not won and place == len(states) - 1,
            score=0.0,
        )
        for place, state in enumerate(states)
    ]
    kind = ("Even", "Odd")[task % 2]
    outcome = "success" if won else "failure"
    return Episode(
        f"task-{task}",
        f"house {task}",
        kind,
        f"find way {task}",
        trial,
        outcome,
        won,
        float(won),
        steps,
        "the end",
        "end",
    )


def write_run(folder: Path, episodes: Sequence[Episode], **identity: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tasks = len({episode.task_id for episode in episodes})
    trials = 1 + max((episode.trial for episode in episodes), default=0)
    settings = {"env": "toy", "split": "all", "policy": folder.name, "number_of_tasks": tasks, "trials": trials}
    record = {"schema": 1, "identity": settings | identity, "started": "2026-01-01T00:00:00+00:00", "kind": "evaluate"}
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "episodes.jsonl").write_text("".join(map(to_line, episodes)))
    return folder
