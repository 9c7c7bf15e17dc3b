"""Which tasks are played: what the rules prefer, what they cost, and that a run goes on exactly."""

from __future__ import annotations

import json
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch: pip install -e '.[train]'")

import toy_environment  # noqa: F401  (registers the environment 'toy')
from killed_run import train_until

from agentbench.runs.episodes import Episode, Step
from agentbench.train.config import TrainConfig
from agentbench.train.run import train
from agentbench.train.sampling import CHOSEN, LARGEST, SMALLEST, Sampling, marginal_gain
from envs.contract import Task

TOY = {"env": "toy", "split": "all", "env_options": {"tasks": 6, "max_steps": 5}, "policy": "scorer"}
SMALL = {**TOY, "group_size": 4, "tasks_per_step": 3, "steps": 6, "checkpoint_every": 2, "scheme": "grpo"}
RULES = ["uniform", "thompson", "variance", "knapsack"]


def group(task: str, won: list[bool]) -> list[Episode]:
    """Episodes of one step, won or lost."""
    return [
        Episode(task, task, "", "", trial, "success" if each else "failure", each, float(each), [
            Step("", "", None, "", float(each), True, True, False, float(each))
        ])
        for trial, each in enumerate(won)
    ]  # fmt: skip


def sampling(rule: str, tasks: int = 3, **settings: Any) -> Sampling:
    """A rule that knows an easy task 0, a mixed task 1 and a hopeless task 2."""
    config = TrainConfig(**{"group_size": 8, "tasks_per_step": 3, "sampling": rule, **settings})
    made = Sampling(config, [Task(str(k), f"task {k}", "", k) for k in range(tasks)])
    played = [group("0", [True] * 8), group("1", [True, False] * 4), group("2", [False] * 8)]
    for _ in range(30):
        made.learn(played, [(task, 8) for task in made.tasks[:3]])
    made.metrics()
    return made


@pytest.mark.parametrize("rule", ["thompson", "variance"])
def test_the_task_that_teaches_is_chosen_and_unknown_ones_are_tried(rule: str) -> None:
    made = sampling(rule)
    first = [made.choose(1, step, 0)[0].id for step in range(50)]
    assert first.count("1") > 40
    unknown = sampling(rule, tasks=9)
    chosen = {task.id for step in range(50) for task in unknown.choose(2, step, 0)}
    assert chosen >= {str(number) for number in range(3, 9)} and "0" not in chosen
    # A round of the same step plays others before it plays one again; where there are too few, one comes twice.
    made.learn([], [(made.tasks[1], 8)])
    assert made.choose(2, 0, 1)[-1].id != "1" and len(made.choose(7, 0, 0)) == 7
    assert unknown.choose(3, 4, 0) == unknown.choose(3, 4, 0) != unknown.choose(3, 5, 0)


def test_the_knapsack_gives_a_step_to_the_tasks_that_gain_most_at_the_same_cost() -> None:
    made = sampling("knapsack")
    sizes = made.sizes(made.tasks)
    assert sum(sizes) == 24 and min(sizes) >= SMALLEST and max(sizes) <= LARGEST * 8
    assert sizes[1] > sizes[0] and sizes[2] > sizes[0]
    # No other way to deal them out is worth more.
    won, lost = np.array([made.known[task.id] for task in made.tasks]).T
    p = won / (won + lost)

    def value(given: Any) -> float:
        n = np.array(given)
        return float(((1 - p**n - (1 - p) ** n) * p * (1 - p) ** 2).sum())

    best = max((each for each in product(range(2, 33), repeat=3) if sum(each) == 24), key=value)
    assert value(sizes) == pytest.approx(value(best), rel=1e-12)
    assert Sampling(made.config, made.tasks).sizes(made.tasks) == [8, 8, 8]  # where nothing is known


def test_what_an_episode_adds_is_the_difference_of_the_values_and_falls() -> None:
    for p in (0.0, 0.1, 0.5, 0.9, 1.0):
        values = [(1 - p**n - (1 - p) ** n) * p * (1 - p) ** 2 for n in range(1, 12)]
        gains = [float(marginal_gain(p, n)) for n in range(1, 11)]
        assert gains == pytest.approx(np.diff(values).tolist(), abs=1e-12)
        assert all(later <= earlier + 1e-15 for earlier, later in pairwise(gains))


def test_what_was_learned_fades() -> None:
    made = sampling("variance", tasks=1)
    for _ in range(30):
        made.learn([group("0", [False] * 8)], [])
    won, lost = made.known["0"]
    assert won < 4 and 60 < lost < 90


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """The metrics of a run without what a clock measured."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    timed = ("seconds", "steps_per_second", "tokens_per_second", "memory", "crc32")
    return [{name: value for name, value in row.items() if not name.startswith(timed)} for row in rows]


@pytest.mark.parametrize("rule", RULES)
def test_a_killed_run_goes_on_to_the_same_curve(tmp_path: Path, rule: str) -> None:
    config = TrainConfig(**SMALL, sampling=rule, drop_equal_groups=True, refills=1, overlap=rule == "thompson")
    train(config, tmp_path / "whole")

    train_until(5, config, tmp_path / "cut")
    train(config, tmp_path / "cut", resume=True)
    whole, cut = (tmp_path / name / "policy" / "weights.safetensors" for name in ("whole", "cut"))
    assert whole.read_bytes() == cut.read_bytes()
    rows = rows_of(tmp_path / "whole")
    assert rows == rows_of(tmp_path / "cut")
    if rule == "uniform":
        assert not any(name.startswith("sampling/") for name in rows[-1])
        return
    for row in rows:
        chosen = {name.removeprefix(CHOSEN): row[name] for name in row if name.startswith(CHOSEN)}
        assert sum(chosen.values()) == row["episodes"] + row["errors"]
        assert set(chosen) <= {f"toy:{number}" for number in range(6)}
    assert rows[-1]["sampling/known_tasks"] >= 3


def test_the_default_is_no_part_of_what_a_run_is() -> None:
    assert "sampling" not in TrainConfig(**SMALL).deciding()
    assert TrainConfig(**SMALL, sampling="knapsack").deciding()["sampling"] == "knapsack"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"group_size": 1}, "set group_size >= 2"),
        ({"rollouts": "tree", "scheme": "tree_grpo"}, "set rollouts = chain"),
        ({"step_budget": 100}, "no step_budget"),
    ],
)
def test_what_cannot_be_dealt_out_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig(**{**SMALL, "sampling": "knapsack", **settings})
