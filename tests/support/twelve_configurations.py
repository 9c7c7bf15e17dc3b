"""Twelve small training runs that between them take every path of the GPU policy and its trainer."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import tiny_language as tiny
import toy_environment  # noqa: F401  (registers the environment 'toy')

from agentbench.runs.lines import METRICS_FILE, read_lines
from agentbench.train.config import TrainConfig
from agentbench.train.run import train

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "autocast": {"precision": "bfloat16"},
    "bfloat16": {"policy_options": {"precision": "bfloat16"}},
    "lora-kl": {"lora": 4, "kl_coefficient": 0.1},
    "kl-in-reward": {"kl_coefficient": 0.1, "kl_in": "reward"},
    "overlap": {"overlap": True, "eval_split": None, "checkpoint_every": 2},
    "correction": {"correction": "token"},
    "constrained": {"policy_options": {"constrained": True}},
    "checkpointing": {"policy_options": {"gradient_checkpointing": True}, "scheme": "gae", "value_coefficient": 0.5},
    "sequence": {"ratio": "sequence"},
    "scorer": {"policy": "scorer", "scheme": "gae", "value_coefficient": 0.5},
    "scorer-autocast": {"policy": "scorer", "precision": "bfloat16"},
}

STEPS = 2


def save_model(folder: Path) -> Path:
    """Write a tiny model with its tokenizer; return the folder."""
    tiny.model().save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


def configuration(name: str, model: Path, device: str) -> TrainConfig:
    """Make the settings of one of the twelve: two steps of four short episodes."""
    own = dict(CONFIGURATIONS[name])
    language = {"policy": f"hf:{model}", "policy_options": {"max_tokens": 6, **own.pop("policy_options", {})}}
    small = {
        "env": "toy",
        "env_options": {"tasks": 2, "max_steps": 2},
        "split": "all",
        "eval_split": "last",
        "eval_every": STEPS,
        "group_size": 2,
        "tasks_per_step": 2,
        "steps": STEPS,
        "minibatches": 2,
        "entropy_coefficient": 0.01,
        "learning_rate": 0.01,
        "checkpoint_every": 1,
        "device": device,
        **(language if "policy" not in own else {}),
    }
    return TrainConfig(**{**small, **own})


class _KilledError(Exception):
    pass


def run(config: TrainConfig, out: Path) -> list[dict[str, Any]]:
    """Train, be killed before the last checkpoint, go on from the one before, and return the metrics of every step."""

    def kill(metrics: dict[str, Any]) -> None:
        if metrics["step"] == STEPS:
            raise _KilledError

    with contextlib.suppress(_KilledError):
        train(config, out, on_metrics=kill)
    train(config, out, resume=True)
    return read_lines(out / METRICS_FILE)
