"""A finished sweep without its hours of training: curves by numbers, summed up by the code that sums up real ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from agentbench.train.sweep import SweepRun, plan_sweep
from agentbench.train.sweep_record import record_plan
from agentbench.train.sweep_summary import summarise_sweep, write_summary

SETTINGS: dict[str, Any] = {"env": "toy", "eval_split": "all", "eval_tasks": 4, "eval_every": 2, "steps": 4}


def invent_run(run: SweepRun, success: list[float], used: int = 100) -> None:
    """Write what a finished run leaves behind: success at the start, in the middle and at the end."""
    (run.folder / "policy").mkdir(parents=True)
    (run.folder / "policy" / "policy.json").write_text("{}")
    identity = json.loads(run.config.model_dump_json())
    record = {"schema": 1, "kind": "train", "identity": {"kind": "train", **identity}}
    (run.folder / "run.json").write_text(json.dumps(record))
    rows: list[dict[str, Any]] = [{"step": 0, "eval/success": success[0]}]
    for step, value in zip((2, 4), success[1:], strict=True):
        rows.append({"step": step, "eval/success": value, "environment_steps": used, "seconds": 3.0})
    (run.folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def invent_sweep(out: Path, means: Mapping[str, float], seeds: int = 6, spread: float = 0.02, **settings: Any) -> Path:
    """Write a sweep whose runs end at their scheme's mean plus a seed's luck; it is summed up as any other."""
    runs = plan_sweep(None, {**SETTINGS, **settings}, list(means), seeds, out)
    record = record_plan(out, list(means), range(seeds), "success", None)
    luck = np.random.default_rng(0).normal(0.0, spread, len(runs))
    for run, own in zip(runs, luck, strict=True):
        end = float(np.clip(means[run.config.scheme] + own, 0, 1))
        invent_run(run, [0.2, (0.2 + end) / 2, end])
    write_summary(runs, summarise_sweep(runs, "success", record.margin, len(runs)), out)
    return out
