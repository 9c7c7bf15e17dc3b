"""Further places for the metrics: what arrives there, and what happens where they are missing or break."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[train]'")

import toy_environment  # noqa: E402, F401  (registers the environment 'toy')

from agentbench import UserError  # noqa: E402
from agentbench.runs.lines import read_lines  # noqa: E402
from agentbench.train.config import read_config  # noqa: E402
from agentbench.train.run import train  # noqa: E402


def config(**settings: Any) -> Any:
    small = {"env": "toy", "split": "all", "env_options": {"tasks": 2, "max_steps": 4}, "steps": 3}
    return read_config(None, {**small, "group_size": 2, "tasks_per_step": 2, **settings})


class FakeRun:
    """What ``wandb.init`` and ``trackio.init`` return: both have these two methods, with these arguments."""

    def __init__(self, broken_at: int | None) -> None:
        self.rows: list[dict[str, Any]] = []
        self.finished = False
        self.broken_at = broken_at

    def log(self, metrics: dict[str, Any], step: int | None = None) -> None:
        if step == self.broken_at:
            raise ConnectionError("the server is gone")
        self.rows.append({"step": step, **metrics})

    def finish(self) -> None:
        self.finished = True


class FakeTracker(ModuleType):
    """A module with the part of the published interface that is used; unknown arguments are a TypeError."""

    def __init__(self, name: str, broken_at: int | None = None) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)
        self.run = FakeRun(broken_at)
        self.arguments: dict[str, Any] = {}
        self.init = self._init_wandb if name == "wandb" else self._init_trackio

    def _init_wandb(self, *, project: str, name: str, id: str, dir: str, config: Any, resume: str) -> FakeRun:
        self.arguments = {"project": project, "name": name, "id": id, "dir": dir, "config": config, "resume": resume}
        return self.run

    def _init_trackio(self, project: str, name: str | None = None, config: Any = None, resume: str = "") -> FakeRun:
        self.arguments = {"project": project, "name": name, "config": config, "resume": resume}
        return self.run


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_tracker_gets_the_rows_of_the_metrics_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    tracker = FakeTracker(name)
    monkeypatch.setitem(sys.modules, name, tracker)
    train(config(sinks=name), tmp_path / "run-7")
    assert tracker.run.rows == read_lines(tmp_path / "run-7" / "metrics.jsonl")
    assert tracker.run.finished
    assert tracker.arguments["resume"] == "allow" and tracker.arguments["name"].startswith("run-7-")
    assert tracker.arguments["config"]["steps"] == 3


def test_a_tracker_that_breaks_is_left_out_and_the_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = FakeTracker("trackio", broken_at=2)
    monkeypatch.setitem(sys.modules, "trackio", tracker)
    train(config(sinks=["trackio"]), tmp_path)
    assert [row["step"] for row in tracker.run.rows] == [1]
    assert len(read_lines(tmp_path / "metrics.jsonl")) == 3
    assert [record.message for record in caplog.records] == [
        "sink 'trackio' failed and is left out: ConnectionError: the server is gone"
    ]


def test_tensorboard_holds_the_same_numbers(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the package tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(config(sinks=["tensorboard"]), tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    rows = read_lines(tmp_path / "metrics.jsonl")
    assert set(events.Tags()["scalars"]) == {name for row in rows for name in row} - {"step"}
    for name in ("success", "grad_norm"):
        assert [(event.step, event.value) for event in events.Scalars(name)] == [
            (row["step"], pytest.approx(row[name])) for row in rows
        ]


def test_a_missing_package_is_named_before_anything_is_played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentbench.train.sinks.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"sink 'wandb' needs a package that is not installed: pip install wandb"):
        train(config(sinks=["wandb"]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_tracker_that_cannot_be_opened_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = FakeTracker("wandb")
    monkeypatch.setitem(sys.modules, "wandb", tracker)
    monkeypatch.setattr(tracker, "init", lambda **_: (_ for _ in ()).throw(RuntimeError("no API key")))
    with pytest.raises(UserError, match="sink 'wandb' cannot be opened: no API key"):
        train(config(sinks=["wandb"]), tmp_path)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_an_unknown_sink_is_refused() -> None:
    with pytest.raises(UserError, match="sinks"):
        config(sinks=["tensorbord"])


def test_a_resumed_run_may_have_other_sinks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(config(), tmp_path)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    monkeypatch.setitem(sys.modules, "trackio", FakeTracker("trackio"))
    train(config(sinks=["trackio"]), tmp_path, resume=True)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
