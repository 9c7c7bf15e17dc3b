"""Write a run as a log of Inspect (version 2 of its JSON form), which ``inspect view`` and its Python API read."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from agentbench.evaluation.scenarios import summarise_run
from agentbench.report.messages import messages_of
from agentbench.runs.answers import answer_of
from agentbench.runs.episodes import Episode, is_judged
from agentbench.runs.run import Run
from envs.base.digest import digest_of_json
from envs.base.errors import UserError
from envs.base.files import write_text
from envs.base.log import log

SCORER = "success"
_NAMED = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}[:-]\d{2}[:-]\d{2}.*\.json")
"""Names of ``.json`` files that Inspect's own listing takes for logs (``inspect_ai/log/_file.py``)."""
_EPOCH_START = "1970-01-01T00:00:00+00:00"


def log_path(run: Run, out: Path) -> Path:
    """Return where a run's log goes.

    Args:
        run: the run.
        out: a folder, in which the file is called ``<time>_<task>_<id>.json``, as Inspect's listing and viewer want
            it; or a ``.json`` or ``.jsonl`` file, which is written as it is called.
    """
    if not out.is_dir() and out.suffix in (".json", ".jsonl"):
        if not _NAMED.fullmatch(out.name):
            log.warning(
                "%s: Inspect's own listing and viewer see logs that are named in their way: give a folder as --out", out
            )
        return out
    if out.suffix == ".eval" and not out.is_dir():
        raise UserError(f"cannot write {out}: logs are written in the .json form; give a folder, or a .json file")
    task = re.sub(r"[^A-Za-z0-9.-]+", "-", _task(run)).strip("-")
    try:
        created = datetime.fromisoformat(_created(run))
    except ValueError:
        created = datetime.fromisoformat(_EPOCH_START)
    return out / f"{created.strftime('%Y-%m-%dT%H-%M-%S')}+00-00_{task}_{_short_id(run)}.json"


def _created(run: Run) -> str:
    return str(run.config.get("started", _EPOCH_START))


def _task(run: Run) -> str:
    identity = run.identity
    return f"{identity.get('env', 'agentbench')}/{identity.get('split') or 'tasks'}"


def _short_id(run: Run) -> str:
    """Return the log's id: the same for the same run."""
    return digest_of_json([run.identity, _created(run)], 22)


def write_inspect_log(run: Run, episodes: Sequence[Episode], out: Path) -> None:
    """Write the finished episodes of a run; a task is a sample, a trial an epoch.

    The log's accuracy is the run's success rate: the mean over tasks, without episodes that ended in an error of
    the infrastructure. These are samples with an error and without a score.
    """
    identity = run.identity
    created = _created(run)
    tasks = sorted({episode.task_id for episode in episodes})
    content = {
        "version": 2,
        "status": "success",
        "eval": {
            "eval_id": _short_id(run),
            "run_id": _short_id(run),
            "task_id": _short_id(run),
            "created": created,
            "task": _task(run),
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
    write_text(out, json.dumps(content, ensure_ascii=False, default=str) + "\n")


def _results(run: Run, episodes: Sequence[Episode]) -> dict[str, Any]:
    overall = summarise_run(run).overall
    judged = sum(is_judged(episode.outcome) for episode in episodes)
    interval = {"low": float(overall["success_low"]), "high": float(overall["success_high"]), "confidence": 0.95}
    value = float(overall["success_rate"])
    metrics = {"accuracy": {"name": "accuracy", "value": value, "metadata": interval}} if judged else {}
    return {
        "total_samples": len(episodes),
        "completed_samples": judged,
        "scores": [{"name": SCORER, "scorer": SCORER, "scored_samples": judged, "metrics": metrics}],
    }


def _sample(episode: Episode) -> dict[str, Any]:
    messages = messages_of(episode, _call, _beside)
    said = [message for message in messages if message["role"] == "assistant"]
    for step, message in zip(episode.steps, said, strict=True):
        if (answer := answer_of(step.details)).is_known:
            message["metadata"] = asdict(answer) | message["metadata"]
    ours = {
        "rewards": [step.reward for step in episode.steps],
        "score": episode.score,
        "task_name": episode.task_name,
        "task_type": episode.task_type,
    }
    about = {"task_type": episode.task_type, "task_name": episode.task_name, "steps": len(episode.steps)}
    sample: dict[str, Any] = {
        "id": episode.task_id,
        "epoch": episode.trial + 1,
        "input": episode.instruction,
        "target": "",
        "messages": messages,
        "metadata": about | {"agentbench": ours},
    }
    if episode.steps and episode.steps[-1].truncated:
        sample["limit"] = {"type": "custom", "limit": len(episode.steps)}
    if not is_judged(episode.outcome):
        text = episode.error or "error"
        return sample | {"error": {"message": text, "traceback": text, "traceback_ansi": text}}
    score = {"value": float(episode.won), "metadata": {"score": episode.score}}
    return sample | {"scores": {SCORER: score}}


def _call(number: str, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"id": number, "function": name, "arguments": arguments, "type": "function"}


def _beside(facts: dict[str, Any]) -> dict[str, Any]:
    """Place what our own import reads back in the metadata of a message."""
    return {"metadata": {"agentbench": facts} if "admissible_actions" not in facts else facts}
