"""The rollout pool: episodes finish whatever their workers do, and failures of the machine are never the agent's."""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from toy_environment import ToyEnv, UpPolicy

from agentbench import Response, UserError, evaluate
from agentbench.rollout.contract import MachineFailure, Recipe
from agentbench.rollout.pool import ProcessWorker


def outcomes(tmp_path: Path, **settings: Any) -> list[str]:
    """Play the toy and return the outcomes in the order of its tasks."""
    env_options = {"folder": str(tmp_path), **settings.pop("env_options", {})}
    result = evaluate(
        "toy",
        settings.pop("policy", UpPolicy()),
        out=tmp_path / "run",
        env_options=env_options,
        **{"workers": 1, **settings},
    )
    frame = result.frame.sort_values("task_name")
    return list(frame["outcome"])


def test_a_policy_that_can_wins_every_task(tmp_path: Path) -> None:
    result = evaluate("toy", UpPolicy(lazy=[2]), out=tmp_path / "run", workers=2)
    frame = result.frame.set_index("task_name")
    assert list(frame["outcome"]).count("success") == 5
    assert frame.loc["toy:2", "outcome"] == "failure"
    assert frame.loc["toy:2", "steps"] == 10 and frame.loc["toy:2", "truncated"]
    assert frame.loc["toy:4", "steps"] == 5 and frame.loc["toy:4", "score"] == 1.0


@pytest.mark.parametrize("fault", ["kill", "raise", "sleep"])
def test_a_fault_that_passes_costs_nothing(tmp_path: Path, fault: str) -> None:
    """A worker that is killed, raises or hangs once is replaced and its episode played again."""
    env_options = {"faults": {"3": fault}, "times": 1}
    assert outcomes(tmp_path, env_options=env_options, workers=2, step_timeout=5.0) == ["success"] * 6


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("kill", "exit code -9"), ("raise", "the toy is broken"), ("sleep", "a step took more than 5 s")],
)
def test_a_lasting_fault_is_an_error_and_never_a_failure(tmp_path: Path, fault: str, reason: str) -> None:
    env_options = {"faults": {"1": fault}, "times": None, "tasks": 3}
    assert outcomes(tmp_path, env_options=env_options, step_timeout=5.0) == ["success", "error", "success"]
    from agentbench import open_run

    run = open_run(tmp_path / "run")
    row = run.episodes.set_index("task_name").loc["toy:1"]
    assert reason in row["error"] and not row["won"] and row["score"] == 0.0
    assert [episode.timing["attempts"] for episode in run.read_episodes() if episode.error] == [3]


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_a_reward_that_is_no_number_is_an_error_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: float
) -> None:
    act = ToyEnv._act

    def without_number(env: ToyEnv, action: str) -> Any:
        observation, reward, ended, info = act(env, action)
        return observation, odd if env._count == 2 else reward, ended, info

    monkeypatch.setattr(ToyEnv, "_act", without_number)
    result = evaluate("toy", UpPolicy(), out=tmp_path / "run", inline=True, env_options={"tasks": 2})
    frame = result.frame.set_index("task_name")
    assert list(frame["outcome"].sort_index()) == ["success", "error"]
    assert f"the reward {odd} or the score 1.0 is not finite" in frame.loc["toy:1", "error"]


def test_a_worker_that_grows_past_its_bound_is_replaced(tmp_path: Path) -> None:
    env_options = {"faults": {"0": "grow"}, "times": 1, "tasks": 2}
    assert outcomes(tmp_path, env_options=env_options, memory_limit=300) == ["success", "success"]
    assert (tmp_path / "fault-0-0").exists()


@pytest.mark.parametrize("attempts", [1, 3])
def test_a_memory_limit_below_what_a_worker_needs_is_one_line(tmp_path: Path, attempts: int) -> None:
    needs = r"cannot start the environment 'toy': .*\d+ MB.* and the limit is 2 MB \(memory_limit\): raise it"
    with pytest.raises(UserError, match=needs):
        outcomes(tmp_path, memory_limit=2, attempts=attempts, workers=2)


class HeavyWorker(ProcessWorker):
    """Has the memory of its list; the first number is what it starts with, the last stays."""

    def __init__(self, recipe: Recipe, start_timeout: float, sizes: list[float]) -> None:
        super().__init__(recipe, start_timeout)
        self.sizes = list(sizes)

    def memory(self) -> float:
        return self.sizes.pop(0) if len(self.sizes) > 1 else self.sizes[0]


def launched(monkeypatch: pytest.MonkeyPatch, sizes: list[float]) -> list[HeavyWorker]:
    """Have evaluations start workers of these sizes; return the list of those that were."""
    workers: list[HeavyWorker] = []

    def launch(recipe: Recipe, start_timeout: float) -> HeavyWorker:
        workers.append(HeavyWorker(recipe, start_timeout, sizes))
        return workers[-1]

    monkeypatch.setattr("agentbench.evaluation.evaluate.launcher", lambda executor: launch)
    return workers


def test_a_fresh_worker_above_the_limit_is_a_failed_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workers = launched(monkeypatch, [500])
    with pytest.raises(UserError, match=r"(needs|grew to) 500 MB"):
        outcomes(tmp_path, memory_limit=400, attempts=3)
    assert len(workers) == 3


def test_a_worker_that_has_grown_by_its_episode_is_replaced_at_no_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below the limit at its start, above it ever after: a new worker for each episode, and no attempt lost."""
    workers = launched(monkeypatch, [100, 500])
    monkeypatch.setattr(sys.modules["agentbench.rollout.seats"], "MEMORY_SECONDS", 3600.0)
    assert outcomes(tmp_path, memory_limit=400, attempts=1, env_options={"tasks": 3}) == ["success"] * 3
    assert len(workers) == 3


@pytest.mark.parametrize("limits", [{"step_timeout": 0.001}, {"episode_timeout": 0.001}])
def test_limits_that_no_episode_can_meet_cost_the_episodes_and_end(tmp_path: Path, limits: dict[str, float]) -> None:
    """A reset or a step takes longer than it may: every try counts."""
    found = outcomes(tmp_path, attempts=2, env_options={"tasks": 2, "delay": 3}, **limits)
    assert found == ["error", "error"]


def test_a_start_that_takes_longer_than_it_may_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the worker did not start within 0\.01 s"):
        outcomes(tmp_path, start_timeout=0.01, attempts=2)


def test_an_episode_has_a_deadline_of_its_own(tmp_path: Path) -> None:
    found = outcomes(tmp_path, env_options={"delay": 0.5}, episode_timeout=2.25, attempts=1, workers=3)
    assert found[:3] == ["success"] * 3 and found[5] == "error"


class RaisesOnOdd(UpPolicy):
    name = "raises"

    def act(self, prompts: Any) -> Any:
        if any(prompt.task.index % 2 for prompt in prompts):
            raise ConnectionError("no answer")
        return super().act(prompts)


def test_a_policy_that_raises_spoils_only_its_own_episodes(tmp_path: Path) -> None:
    assert outcomes(tmp_path, policy=RaisesOnOdd(), workers=3) == ["success", "error"] * 3


class WrongCount(UpPolicy):
    def act(self, prompts: Any) -> Any:
        return []


def test_a_policy_that_breaks_its_contract_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must return a list of 1 responses"):
        outcomes(tmp_path, policy=WrongCount())


class Rubbish(UpPolicy):
    name = "rubbish"

    def act(self, prompts: Any) -> Any:
        words = ["", "x" * 1_000_000, "\ud800 lone surrogate", "\x00\n\t"]
        return [Response(words[len(prompt.history) % len(words)]) for prompt in prompts]


def test_rubbish_is_an_invalid_action_and_not_a_crash(tmp_path: Path) -> None:
    assert outcomes(tmp_path, policy=Rubbish(), env_options={"tasks": 2}) == ["failure", "failure"]
    from agentbench import open_run

    run = open_run(tmp_path / "run")
    assert list(run.episodes["invalid_actions"]) == [10, 10]
    actions = run.step_table["action"]
    assert actions.str.len().max() < 21_000 and actions[1].endswith("[cut: 1000000 characters]")


def test_an_environment_that_cannot_start_in_the_workers_ends_the_run(tmp_path: Path, monkeypatch: Any) -> None:
    import dataclasses

    from envs import ENVIRONMENTS

    broken = dataclasses.replace(ENVIRONMENTS["toy"], entry_point="toy_environment:ToyEnv")
    monkeypatch.setitem(ENVIRONMENTS, "toy", broken)
    monkeypatch.setattr("agentbench.rollout.nursery.sys.executable", "/bin/false")
    with pytest.raises(UserError, match="workers cannot start the environment 'toy'"):
        outcomes(tmp_path)


class LostWorker:
    """A worker whose machine is gone."""

    def __init__(self) -> None:
        self.connection, theirs = socket.socketpair()
        theirs.close()

    def request(self, slot: int, command: str, arguments: Any) -> None:
        pass

    def send(self) -> None:
        pass

    def receive(self, seconds: float = 0.0) -> Any:
        raise MachineFailure("its machine is gone")

    def busy(self) -> None:
        return None

    def memory(self) -> float:
        return 0.0

    def kill(self) -> None:
        self.connection.close()


@pytest.mark.parametrize(("lost", "ends"), [(19, False), (20, True)])
def test_machines_lost_at_a_start_are_not_held_against_the_environment_but_have_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: int, ends: bool
) -> None:
    """One attempt, two workers: neither may be lost more than ten times in a row."""
    workers = iter([LostWorker() for _ in range(lost)])

    def launch(recipe: Recipe, start_timeout: float) -> Any:
        return next(workers, None) or ProcessWorker(recipe, start_timeout)

    monkeypatch.setattr("agentbench.evaluation.evaluate.launcher", lambda executor: launch)
    if ends:
        with pytest.raises(UserError, match="cannot start the environment 'toy': its machine is gone"):
            outcomes(tmp_path, workers=2, attempts=1)
    else:
        assert outcomes(tmp_path, workers=2, attempts=1) == ["success"] * 6


class Slow(UpPolicy):
    """Takes more time than the environment has."""

    name = "slow"

    def act(self, prompts: Any) -> Any:
        time.sleep(3.0)
        return super().act(prompts)


def test_the_time_of_a_policy_is_not_counted_as_the_environments(tmp_path: Path) -> None:
    """Workers answer while the policy thinks about others: neither late, nor slow, by what it took."""
    options = {"delay": 0.2, "tasks": 3}
    limits = {"step_timeout": 2.5, "episode_timeout": 6.0, "attempts": 1}
    assert outcomes(tmp_path, policy=Slow(), env_options=options, workers=3, **limits) == ["success"] * 3
    from agentbench import open_run

    for episode in open_run(tmp_path / "run").read_episodes():
        assert 0.2 <= episode.timing["environment_seconds"] / len(episode.steps) < 2.5


def test_no_worker_outlives_the_evaluation(tmp_path: Path) -> None:
    before = set(psutil.Process().children(recursive=True))
    outcomes(tmp_path, workers=3)
    assert set(psutil.Process().children(recursive=True)) <= before


def test_the_number_of_workers_changes_no_byte(tmp_path: Path) -> None:
    tables = []
    for workers in (1, 3):
        out = tmp_path / str(workers)
        evaluate("toy", "random", out=out, trials=3, workers=workers, seed=5)
        tables.append([(out / f"{name}.parquet").read_bytes() for name in ("episodes", "steps")])
    assert tables[0] == tables[1]


def test_no_split_of_episodes_over_processes_changes_a_byte(tmp_path: Path) -> None:
    tables = []
    for workers, inline in ((1, True), (1, False), (2, False), (64, False)):
        out = tmp_path / f"{workers}-{inline}"
        evaluate(
            "toy", "random", out=out, parallel=64, workers=workers, inline=inline, seed=5, env_options={"tasks": 80}
        )
        tables.append([(out / f"{name}.parquet").read_bytes() for name in ("episodes", "steps")])
    assert all(each == tables[0] for each in tables)
