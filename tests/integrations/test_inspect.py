"""Our tasks in Inspect: the real ``inspect eval``, against a server and with its mock model; the log imported back."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import toy_environment  # noqa: F401  (the environment "toy")
from appworld_here import Played
from stub_server import chat, serving

pytest.importorskip("inspect_ai", reason="needs Inspect: make inspect")

from inspect_ai import eval as inspect_eval
from inspect_ai.log import EvalLog, list_eval_logs, read_eval_log
from inspect_ai.model import ModelOutput, ModelUsage, get_model

import agentbench
from agentbench.evaluation.scenarios import clustered_episodes, summarise_run
from agentbench.importing import import_run
from agentbench.integrations.inspect_tasks import task_of
from agentbench.runs.episodes import Episode
from agentbench.runs.run import Run, open_run

pytestmark = pytest.mark.timeout(1800)

GAMES = "generated:0:3:small"


def choose(body: dict[str, Any], number: int) -> dict[str, Any]:
    """Answer by what is asked alone: whoever asks gets the same answer."""
    messages = body["messages"]
    offered = re.findall(r"^- (.*)$", messages[-1]["content"], re.MULTILINE)
    step = sum(message["role"] == "assistant" for message in messages)
    if step == 2:
        return chat("I do not know.")
    return chat(f"<think>step {step}</think><action>{offered[(3 * step + 1) % len(offered)]}</action>")


def inspect_command(*arguments: str, **variables: str) -> EvalLog:
    program = Path(sys.executable).with_name("inspect")
    command = [str(program), "eval", *arguments, "--display", "plain", "--max-retries", "1"]
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
    folder = arguments[arguments.index("--log-dir") + 1]
    logs = list_eval_logs(folder)
    assert logs, done.stdout + done.stderr
    return read_eval_log(logs[0])


def episodes_of(run: Run | Path) -> list[Episode]:
    episodes = (open_run(run) if isinstance(run, Path) else run).read_episodes()
    for episode in episodes:
        episode.timing = {}
        for step in episode.steps:
            step.details = {}
    return episodes


def test_the_imported_log_is_the_run_that_eval_would_have_made(tmp_path: Path) -> None:
    with serving(choose) as server:
        log = inspect_command(
            *("agentbench/alfworld", "--model", "openai-api/stub/stub", "-T", f"split={GAMES}", "-T", "max_steps=5"),
            *("-T", "inline=true", "--epochs", "2", "--log-dir", str(tmp_path / "logs")),
            STUB_API_KEY="none",
            STUB_BASE_URL=server.url,
        )
        ours = agentbench.evaluate(
            "alfworld", "openai:stub", policy_options={"base_url": server.url}, split=GAMES,
            env_options={"max_steps": 5}, trials=2, out=tmp_path / "ours",
        )  # fmt: skip
    assert log.status == "success" and log.eval.metadata["env"] == "alfworld"
    theirs = import_run(tmp_path / "logs", tmp_path / "theirs").run
    assert episodes_of(tmp_path / "theirs") == episodes_of(tmp_path / "ours")
    assert any(not step.is_valid for episode in episodes_of(tmp_path / "theirs") for step in episode.steps)
    assert theirs.identity["policy"] == "openai-api/stub/stub"

    overall = summarise_run(ours.run).overall
    found = {name: each.value for score in log.results.scores for name, each in score.metrics.items()}
    assert found == {name: pytest.approx(overall[name]) for name in found} and len(found) == 6


@pytest.mark.slow
def test_the_apps_are_played_in_the_real_engine(tmp_path: Path, two_tasks: Played) -> None:
    patient = {"step_timeout": 280.0, "start_timeout": 280.0}
    with serving(two_tasks.answer) as server:
        log = inspect_command(
            *("agentbench/appworld", "--model", "openai-api/stub/stub", "-T", "split=mini", "-T", "step_timeout=280"),
            *("--sample-id", ",".join(two_tasks.tasks), "--max-samples", "1", "--log-dir", str(tmp_path / "logs")),
            STUB_API_KEY="none",
            STUB_BASE_URL=server.url,
        )
        agentbench.evaluate(
            "appworld", "openai:stub", policy_options={"base_url": server.url}, split="mini", tasks=two_tasks.tasks,
            workers=1, out=tmp_path / "ours", **patient,
        )  # fmt: skip
    assert log.status == "success" and log.results.completed_samples == 2
    run = import_run(tmp_path / "logs", tmp_path / "theirs").run
    episodes = {episode.task_id: episode for episode in episodes_of(run)}
    assert list(episodes.values()) == episodes_of(tmp_path / "ours")
    assert [episodes[task].outcome for task in two_tasks.tasks] == ["success", "failure"]
    assert [step.is_valid for step in episodes[two_tasks.tasks[0]].steps] == [True, False, True, True]
    # The two are variants of one scenario, and so one cluster, in the log as in the run that it becomes.
    rates = {name: each.value for name, each in log.results.scores[0].metrics.items()}
    overall = summarise_run(run).overall
    assert rates == {name: pytest.approx(overall[name]) for name in rates} and clustered_episodes(run)[1] == "scenario"


def test_inspects_mock_model_plays_by_the_command(tmp_path: Path) -> None:
    # The mock model counts tokens with a vocabulary that tiktoken would download.
    (tmp_path / "sitecustomize.py").write_text(
        "import types, tiktoken\n"
        "tiktoken.get_encoding = lambda name: types.SimpleNamespace(encode=lambda text, **more: text.split())\n"
    )
    log = inspect_command(
        *("agentbench/webshop", "--model", "mockllm/model", "-T", "catalogue=generated:0:50", "-T", "max_steps=2"),
        *("-T", "inline=true", "--limit", "2", "--log-dir", str(tmp_path / "logs")),
        PYTHONPATH=str(tmp_path),
    )
    assert log.status == "success" and log.results.completed_samples == 2
    episodes = episodes_of(import_run(tmp_path / "logs", tmp_path / "run").run)
    assert len(episodes) == 2
    for episode in episodes:
        assert [step.text for step in episode.steps] == ["Default output from mockllm/model"] * 2
        assert episode.outcome == "failure" and episode.steps[-1].truncated


def up(*_: Any) -> ModelOutput:
    output = ModelOutput.from_content("mockllm/model", "<action>up</action>")
    output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
    return output


def test_a_failing_environment_is_a_sample_without_a_score(tmp_path: Path) -> None:
    task = task_of("toy", tasks=3, faults={"1": "raise"}, inline=True)
    (log,) = inspect_eval(
        task, model=get_model("mockllm/model", custom_outputs=up), log_dir=str(tmp_path / "logs"), display="none"
    )
    assert log.status == "success" and log.results.completed_samples == 2
    imported = import_run(tmp_path / "logs", tmp_path / "run").run
    assert sorted(imported.episodes["outcome"]) == ["error", "success", "success"]
    (error,) = (episode.error for episode in episodes_of(imported) if episode.outcome == "error")
    assert error is not None and "toy is broken" in error
    rates = {name: each.value for name, each in log.results.scores[0].metrics.items()}
    assert rates["success_rate"] == 1.0 and rates["success_low"] < 0.5


def test_a_stop_of_inspects_is_a_cut_episode(tmp_path: Path) -> None:
    task = task_of("toy", tasks=3, inline=True)
    inspect_eval(
        task, model=get_model("mockllm/model", custom_outputs=up), log_dir=str(tmp_path / "logs"), display="none",
        limit=(2, 3), message_limit=4,
    )  # fmt: skip
    (episode,) = episodes_of(import_run(tmp_path / "logs", tmp_path / "run").run)
    assert episode.outcome == "failure" and episode.steps and episode.steps[-1].truncated


def test_what_cannot_be_played_is_one_line() -> None:
    with pytest.raises(Exception, match="unknown environment 'alfwrld'"):
        task_of("alfwrld")
    with pytest.raises(Exception, match="max_steps"):
        task_of("alfworld", "generated:0:2:small", max_steps=0)
