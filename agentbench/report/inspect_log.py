"""Write a run as a log of Inspect (version 2 of its JSON form), which ``inspect view`` and its Python API read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agentbench.answers import answer_of
from agentbench.episodes import Episode
from agentbench.files import write_text
from agentbench.scenarios import summarise_run
from agentbench.store import Run

SCORER = "success"


def write_inspect_log(run: Run, episodes: Sequence[Episode], out: Path) -> None:
    """Write the finished episodes of a run; a task is a sample, a trial an epoch.

    The log's accuracy is the run's success rate: the mean over tasks, without episodes that ended in an error of
    the infrastructure. These are samples with an error and without a score.
    """
    identity = run.config.get("identity", {})
    created = run.config.get("started", "1970-01-01T00:00:00+00:00")
    tasks = sorted({episode.task_id for episode in episodes})
    log = {
        "version": 2,
        "status": "success",
        "eval": {
            "created": created,
            "task": f"{identity.get('env', 'agentbench')}/{identity.get('split') or 'tasks'}",
            "dataset": {"name": str(identity.get("env", "")), "samples": len(tasks), "sample_ids": tasks},
            "model": f"agentbench/{identity.get('policy', 'policy')}",
            "config": {"epochs": 1 + max((episode.trial for episode in episodes), default=0)},
            "packages": {"agentbench": str(run.config.get("versions", {}).get("agentbench", ""))},
            "metadata": identity | ({"protected": run.protected} if run.protected else {}),
        },
        "results": _results(run, episodes),
        "stats": {"started_at": created, "completed_at": created},
        "samples": [_sample(episode) for episode in episodes],
    }
    write_text(out, json.dumps(log, ensure_ascii=False, default=str) + "\n")


def _results(run: Run, episodes: Sequence[Episode]) -> dict[str, Any]:
    overall = summarise_run(run).overall
    judged = sum(episode.outcome != "error" for episode in episodes)
    interval = {"low": float(overall["success_low"]), "high": float(overall["success_high"]), "confidence": 0.95}
    value = float(overall["success_rate"])
    metrics = {"accuracy": {"name": "accuracy", "value": value, "metadata": interval}} if judged else {}
    return {
        "total_samples": len(episodes),
        "completed_samples": judged,
        "scores": [{"name": SCORER, "scorer": SCORER, "scored_samples": judged, "metrics": metrics}],
    }


def _sample(episode: Episode) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    for step in episode.steps:
        messages.append({"role": "user", "content": step.observation})
        answer = answer_of(step.details)
        about = {"metadata": asdict(answer)} if answer.is_known else {}
        messages.append({"role": "assistant", "content": step.text or step.action, **about})
    if episode.final_observation:
        messages.append({"role": "user", "content": episode.final_observation})
    sample: dict[str, Any] = {
        "id": episode.task_id,
        "epoch": episode.trial + 1,
        "input": episode.instruction,
        "target": "",
        "messages": messages,
        "metadata": {"task_type": episode.task_type, "task_name": episode.task_name, "steps": len(episode.steps)},
    }
    if episode.outcome == "error":
        text = episode.error or "error"
        return sample | {"error": {"message": text, "traceback": text, "traceback_ansi": text}}
    score = {"value": float(episode.won), "metadata": {"score": episode.score}}
    return sample | {"scores": {SCORER: score}}
