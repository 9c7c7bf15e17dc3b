"""Write episodes as other programs' trajectories: ATIF of Harbor, and results of verifiers.

Both are read back by :mod:`agentbench.importing` with the same actions, tool calls, rewards and outcomes: what their
forms have no field for stands in ``extra`` and ``info``, which are free in both.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from agentbench.report.messages import messages_of
from agentbench.runs.episodes import Episode, is_judged
from agentbench.runs.run import Run
from envs.base.files import replaced, write_text

ATIF_VERSION = "ATIF-v1.4"


def facts_of(episode: Episode) -> dict[str, Any]:
    """Return what a chat record says of an episode beside its messages (:mod:`agentbench.importing.chat`)."""
    judged: dict[str, Any] = {"success": episode.won}
    return {
        "task_id": episode.task_id,
        "task_name": episode.task_name,
        "task_type": episode.task_type,
        "instruction": episode.instruction,
        "trial": episode.trial,
        "score": episode.score,
        "truncated": bool(episode.steps) and episode.steps[-1].truncated,
        **(judged if is_judged(episode.outcome) else {"error": episode.error or "error"}),
    }


def write_atif(run: Run, episodes: Iterable[Episode], out: Path) -> None:
    """Write an episode a folder, ``<number>/trajectory.json``, as Harbor names them."""
    for number, episode in enumerate(episodes):
        path = out / f"{number:06}" / "trajectory.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(trajectory(run, episode), ensure_ascii=False, indent=1) + "\n")


def trajectory(run: Run, episode: Episode) -> dict[str, Any]:
    """Return an episode in the form of ATIF; a step's reward is ``metrics.extra.reward``."""
    steps: list[dict[str, Any]] = []
    answered = iter(episode.steps)
    for message in messages_of(episode, _atif_call, dict):
        if message["role"] == "tool":
            result = {"source_call_id": message["tool_call_id"], "content": message["content"]}
            steps[-1].setdefault("observation", {"results": []})["results"].append(result)
            continue
        agent = message["role"] == "assistant"
        step: dict[str, Any] = {
            "step_id": len(steps) + 1, "source": "agent" if agent else "user", "message": message["content"]
        }  # fmt: skip
        if agent:
            of = next(answered)
            more = {name: message[name] for name in ("action", "is_valid") if name in message}
            offered: dict[str, Any] = (
                {} if of.admissible_actions is None else {"admissible_actions": of.admissible_actions}
            )
            if calls := message.get("tool_calls"):
                step["tool_calls"] = [{name: call[name] for name in call if name != "id"} for call in calls]
            step["metrics"], step["extra"] = {"extra": {"reward": of.reward}}, {**more, **offered}
        steps.append(step)
    policy = str(run.identity.get("policy", "unknown"))
    return {
        "schema_version": ATIF_VERSION,
        "session_id": f"{episode.task_id}/{episode.trial}",
        "agent": {"name": "agentbench", "version": _version(run), "model_name": policy},
        "steps": steps,
        "extra": {**facts_of(episode), "reward": sum(step.reward for step in episode.steps)},
    }


def write_verifiers(run: Run, episodes: Iterable[Episode], out: Path) -> None:
    """Write ``results.jsonl`` and ``metadata.json``, as ``vf-eval --save-results`` of verifiers 0.1.9 does."""
    out.mkdir(parents=True, exist_ok=True)
    numbers: dict[str, int] = {}
    count = 0
    with replaced(out / "results.jsonl") as temporary, temporary.open("w", encoding="utf-8") as file:
        for episode in episodes:
            example = numbers.setdefault(episode.task_id, len(numbers))
            file.write(json.dumps(result(episode, example), ensure_ascii=False) + "\n")
            count += 1
    about = {
        "env_id": str(run.identity.get("env", "agentbench")),
        "model": str(run.identity.get("policy", "unknown")),
        "num_examples": len(numbers),
        "rollouts_per_example": -(-count // max(len(numbers), 1)),
    }
    write_text(out / "metadata.json", json.dumps(about, indent=1) + "\n")


def result(episode: Episode, example: int) -> dict[str, Any]:
    """Return an episode as a line of results; ``info.agentbench`` has what the form has no field for."""
    messages = messages_of(episode, _verifiers_call, dict)
    first = next((at for at, each in enumerate(messages) if each["role"] == "assistant"), len(messages))
    rewards = [step.reward for step in episode.steps]
    facts = facts_of(episode)
    return {
        "example_id": example,
        "task": episode.task_type,
        "prompt": messages[:first],
        "completion": [_with_texts(each) for each in messages[first:]],
        "reward": sum(rewards),
        "error": facts.get("error"),
        "is_truncated": facts["truncated"],
        "info": {"agentbench": {**facts, "rewards": rewards}},
    }


def _with_texts(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message whose calls are texts of JSON, as verifiers writes them."""
    calls: Sequence[Any] = message.get("tool_calls", ())
    return {**message, "tool_calls": [json.dumps(each, ensure_ascii=False) for each in calls]} if calls else message


def _atif_call(number: str, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"tool_call_id": number, "id": number, "function_name": name, "arguments": arguments}


def _verifiers_call(number: str, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"id": number, "name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}


def _version(run: Run) -> str:
    return str(run.config.get("versions", {}).get("agentbench", ""))
