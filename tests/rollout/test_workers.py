"""Worker processes: where they come from, what becomes of them, and what passes between them and this process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import toy_environment  # noqa: F401  (its environment)
from toy_environment import UpPolicy

from agentbench import evaluate, open_run
from agentbench.rollout import Job, PlayOptions, play
from agentbench.rollout.contract import Recipe, WorkerFailure
from agentbench.rollout.jobs import shape_of
from agentbench.rollout.nursery import Nursery
from agentbench.rollout.pool import Home, ProcessWorker, Workers, replies_of
from envs.registry import find, make

PATIENCE = 60.0


@contextmanager
def worker(name: str, **options: Any) -> Iterator[ProcessWorker]:
    """A worker process in whose slot 0 an environment is made."""
    recipe = Recipe(find(name), options)
    made = ProcessWorker(recipe, PATIENCE)
    try:
        made.request(0, "make", recipe.order)
        made.send()
        assert [reply.fault for reply in replies_of(made, PATIENCE)] == [None]
        yield made
    finally:
        made.kill()


_earlier: set[int] = set()
"""Processes that a test before may have left to end, on a busy machine long after it."""


@pytest.fixture(autouse=True)
def note_earlier_processes() -> None:
    _earlier.clear()
    _earlier.update(each.pid for each in psutil.Process().children())


def nurseries() -> list[psutil.Process]:
    """The programs that this test's workers come from and that have not ended."""
    own = [each for each in psutil.Process().children() if each.pid not in _earlier]
    return [each for each in own if each.status() != psutil.STATUS_ZOMBIE and "agentbench.worker" in each.cmdline()]


def test_workers_are_forked_from_one_program() -> None:
    with worker("toy"):
        (nursery,) = nurseries()
        (forked,) = nursery.children()
        assert forked.cmdline() == nursery.cmdline()
    assert not nurseries()


def test_where_an_import_starts_threads_a_worker_is_a_program_of_its_own(tmp_path: Path) -> None:
    import odd_environments  # noqa: F401

    with worker("unpicklable"):
        (nursery,) = nurseries()
        (program,) = nursery.children()
        assert program.cmdline() != nursery.cmdline() and "agentbench.worker" in program.cmdline()
    assert not nurseries()


def test_what_no_process_can_be_given_costs_its_own_episode_alone(tmp_path: Path) -> None:
    import odd_environments  # noqa: F401

    result = evaluate("unpicklable", UpPolicy(), out=tmp_path / "run", workers=1, parallel=6, attempts=2)
    frame = result.frame.set_index("task_name")
    assert list(frame["outcome"].sort_index()) == ["success"] * 2 + ["error"] + ["success"] * 3
    assert "pickle" in frame.loc["toy:2", "error"]
    tries = {each.task_name: each.timing["attempts"] for each in open_run(tmp_path / "run").read_episodes()}
    assert tries.pop("toy:2") == 2 and set(tries.values()) == {1}


def test_a_program_that_dies_takes_its_workers_along_and_is_replaced(tmp_path: Path) -> None:
    shot: list[int] = []

    def shoot(progress: Any) -> None:
        if progress.finished >= 3 and not shot:
            (nursery,) = nurseries()
            shot.append(nursery.pid)
            nursery.kill()

    result = evaluate(
        "toy", UpPolicy(), out=tmp_path / "run", workers=2, parallel=8, on_progress=shoot,
        env_options={"tasks": 20, "max_steps": 30, "delay": 0.02},
    )  # fmt: skip
    assert shot and set(result.frame["outcome"]) == {"success"}
    assert not nurseries()


def test_all_workers_of_a_program_that_is_gone_say_how_it_ended() -> None:
    recipe = Recipe(find("toy"), {})
    nursery = Nursery(recipe.environment.entry_point)
    workers = [ProcessWorker(recipe, 60.0, nursery) for _ in range(2)]
    nursery._process.kill()
    for worker in workers:
        with pytest.raises(WorkerFailure, match="exit code -9"):
            replies_of(worker, 60.0)
        worker.kill()


def test_requests_of_many_environments_go_out_together_and_come_back_in_their_turn() -> None:
    with worker("toy", tasks=3) as host:
        order = Recipe(find("toy"), {"tasks": 3}).order
        for slot in (1, 2):
            host.request(slot, "make", order)
        host.send()
        found: list[Any] = []
        while len(found) < 2:
            found += replies_of(host, PATIENCE)
        host.request(0, "reset", ("toy:0", 1))
        host.request(1, "reset", ("toy:1", 1))
        host.request(2, "reset", ("no such task", 1))
        host.send()
        host.request(0, "step", "up")
        host.send()  # busy: it waits
        while len(found) < 5:
            found += replies_of(host, PATIENCE)
        assert [reply.slot for reply in found[2:]] == [0, 1, 2]
        assert "no such task" in found[4].fault and found[2].value[0] == "count to 1"
        assert host.busy() is None
        host.send()
        (step,) = replies_of(host, PATIENCE)
        assert step.slot == 0 and step.value[1:3] == (1.0, True)
        assert host.memory() > 1


def test_it_is_known_which_environment_of_a_dead_worker_was_at_work() -> None:
    with worker("toy", tasks=2, faults={"1": "kill"}, times=None) as host:
        host.request(0, "reset", ("toy:1", 1))
        host.send()
        replies_of(host, PATIENCE)
        host.request(0, "step", "up")
        host.send()
        with pytest.raises(WorkerFailure, match=r"died \(exit code -9\)"):
            replies_of(host, PATIENCE)
        busy = host.busy()
        assert busy is not None and busy[0] == 0


def test_workers_and_their_environments_are_kept_from_one_rollout_to_the_next(tmp_path: Path) -> None:
    options = {"tasks": 8, "max_steps": 9, "present": str(tmp_path)}
    tasks = make("toy", **options).tasks
    played: list[Any] = []
    with Workers(Recipe(find("toy"), options)) as workers:
        for trial in range(2):
            jobs = [Job(task, trial) for task in tasks]
            play(workers, UpPolicy(), jobs, PlayOptions(workers=2, parallel=6), played.extend)
    assert len(played) == 16
    starting = {path.name for path in tmp_path.iterdir() if path.name.endswith("-starting")}
    assert len(starting - {f"{os.getpid()}-starting"}) == 2


def test_an_idle_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    tasks = make("toy").tasks
    played: list[Any] = []
    with Workers(Recipe(find("toy"), {})) as workers:
        for trial in range(2):
            jobs = [Job(task, trial) for task in tasks]
            play(workers, UpPolicy(), jobs, PlayOptions(workers=1, parallel=3), played.extend)
            homes: list[Home] = workers._idle
            if trial == 0:
                homes[0].worker._process.kill()  # type: ignore[attr-defined]
    assert [episode.outcome for episode in played] == ["success"] * 12


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ((None, None, 64, 2), (64, 2)),
        ((None, None, 64, 1), (64, 1)),
        ((None, None, 64, 96), (64, 64)),
        ((None, None, 1, 2), (2, 2)),
        ((64, None, 64, 2), (64, 2)),
        ((64, None, 1, 2), (64, 64)),
        ((1000, None, 64, 2), (1000, 16)),
        ((1, None, 64, 8), (1, 1)),
        ((64, 4, 1, 2), (64, 4)),
        ((None, 4, 64, 2), (64, 4)),
        ((None, 100, 64, 2), (100, 100)),
        ((3, 8, 1, 2), (3, 3)),
    ],
)
def test_how_many_play_where_nothing_or_something_is_said(given: Any, found: tuple[int, int]) -> None:
    assert shape_of(*given) == found
