"""What doing nothing scores on AppWorld's tasks: the table, the note of a run, and the table against the engine."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from toy_environment import ToyEnv, UpPolicy

from agentbench import evaluate
from agentbench.cli.commands.show import print_runs
from envs import Task
from envs.appworld import AppWorldEnv
from envs.appworld.floor import MINI_FLOOR, floor_note

REMOTE = Path(__file__).parents[3] / "envs" / "appworld" / "remote"


def tasks_named(*names: str) -> list[Task]:
    return [Task(f"appworld-{name}", name, "difficulty 1", index) for index, name in enumerate(names)]


def test_the_table_is_the_share_of_requirements_that_are_met_from_the_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(REMOTE))
    mini_tasks, mini_world = (importlib.import_module(name) for name in ("mini_tasks", "mini_world"))
    tasks = mini_tasks.make_tasks(mini_world.make_world(7), 7)
    assert {task.scenario for task in tasks} == set(MINI_FLOOR)
    for (
        task
    ) in tasks:  # the answer, nothing else changed, and each table's changes: met by doing nothing where none are asked
        met = (task.answer is None) + (not task.changes)
        assert MINI_FLOOR[task.scenario] == met / (2 + len(task.changes)), task.name


def test_the_note_speaks_of_exactly_the_tasks_that_are_played() -> None:
    everything = tasks_named(*(f"{scenario}_{variant}" for scenario in MINI_FLOOR for variant in (1, 2, 3)))
    assert floor_note("mini", everything) == (
        "the score of an agent that does nothing but end the task is 34.4% on these tasks"
    )
    assert "is 25.0% on these" in floor_note("mini", tasks_named("requestmoney_2", "textgroup_1"))
    assert "is 41.7% on these" in floor_note("mini", tasks_named("alarmoff_1", "findnumber_3"))


@pytest.mark.parametrize(("split", "name"), [("dev", "50e1ac9_1"), ("mini", "newscenario_1"), ("dev", "alarmoff_1")])
def test_where_it_was_not_measured_the_note_gives_no_number(split: str, name: str) -> None:
    note = floor_note(split, tasks_named(name))
    assert f"not measured on the split {split}" in note and "%" not in note


def test_a_run_shows_what_its_environment_notes_on_the_tasks_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def notes_on(env: ToyEnv, tasks: Sequence[Task]) -> list[str]:
        return [f"played: {' '.join(task.name for task in tasks)}"]

    monkeypatch.setattr(ToyEnv, "notes_on", notes_on)
    result = evaluate("toy", UpPolicy(), tasks=["toy:1", "toy:3"], out=tmp_path / "run", inline=True)
    assert result.notes == ("played: toy:1 toy:3",)
    print_runs([result.run])
    assert "note: played: toy:1 toy:3" in capsys.readouterr().out


@pytest.mark.timeout(1800)
def test_the_engine_gives_the_table(make_env: Callable[..., AppWorldEnv]) -> None:
    env = make_env()
    for name in ("countnotes_1", "alarmoff_2", "textgroup_3", "notetoproject_1"):
        env.reset(options={"task": name})
        _, _, terminated, _, info = env.step("apis.supervisor.complete_task()")
        assert terminated and not info["won"]
        assert info["score"] == pytest.approx(MINI_FLOOR[name.rpartition("_")[0]])
        assert env.notes_on([env.find_task(name)]) == (floor_note("mini", [env.find_task(name)]),)
