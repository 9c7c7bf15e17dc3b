"""Our environments in verifiers: the real ``vf-eval`` against a server, and its traces imported back."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from appworld_here import Played
from stub_server import chat, serving

pytest.importorskip("verifiers.v1", reason="needs verifiers: make verifiers")
pytest.importorskip("agentbench_verifiers", reason="needs the package of agentbench/integrations/verifiers")

import agentbench
from agentbench.importing import import_run
from agentbench.runs.episodes import Episode
from agentbench.runs.run import open_run

pytestmark = pytest.mark.timeout(1800)

SUPPORT = Path(__file__).parents[1] / "support"


def choose(body: dict[str, Any], number: int) -> dict[str, Any]:
    """Answer by what is asked alone: whoever asks gets the same answer."""
    messages = body["messages"]
    offered = re.findall(r"^- (.*)$", messages[-1]["content"], re.MULTILINE)
    step = sum(message["role"] == "assistant" for message in messages)
    if step == 2:
        return chat("I do not know.")
    return chat(
        f"<think>step {step}</think><action>{(offered or ['up'])[(3 * step + 1) % len(offered or 'u')]}</action>"
    )


def vf_eval(url: str, out: Path, *arguments: str) -> list[dict[str, Any]]:
    """Run the command; return the lines of its ``traces.jsonl``."""
    command = [
        str(Path(sys.executable).with_name("vf-eval")), "agentbench-verifiers", *arguments, "--model", "stub",
        "--client.base-url", url, "--client.api-key-var", "NO_KEY", "--no-push", "--no-rich",
        "--output-dir", str(out), "--run.name", "traces", "--clean",
    ]  # fmt: skip
    (out / "sitecustomize.py").write_text("import toy_environment\n")
    paths = {"PYTHONPATH": f"{out}{os.pathsep}{SUPPORT}"}
    done = subprocess.run(command, env={**os.environ, **paths}, capture_output=True, text=True, check=False, cwd=out)
    traces = out / "traces" / "traces.jsonl"
    assert traces.exists() and traces.stat().st_size, done.stdout + done.stderr
    return [json.loads(line) for line in traces.read_text().splitlines()]


def episodes_of(folder: Path) -> list[Episode]:
    episodes = open_run(folder).read_episodes()
    for episode in episodes:
        episode.timing = {}
        for step in episode.steps:
            step.details = {}
    return episodes


@pytest.mark.parametrize(
    ("env", "split", "options"),
    [
        ("alfworld", "generated:0:3:small", {"max_steps": 5}),
        ("webshop", None, {"catalogue": "generated:0:50", "max_steps": 4}),
    ],
    ids=["alfworld", "webshop"],
)
def test_the_imported_traces_are_the_run_that_eval_would_have_made(
    tmp_path: Path, env: str, split: str | None, options: dict[str, Any]
) -> None:
    of = ["--env.taskset.env", env, "--env.taskset.options", json.dumps(options), "--env.taskset.inline", "true"]
    with serving(choose) as server:
        lines = vf_eval(
            server.url, tmp_path, *of, *(["--env.taskset.split", split] if split else []), "-n", "3", "-r", "2"
        )
        import_run(tmp_path / "traces", tmp_path / "theirs")
        agentbench.evaluate(
            env, "openai:stub", policy_options={"base_url": server.url}, split=split, env_options=options, trials=2,
            tasks=sorted({line["task"]["key"] for line in lines}),
            out=tmp_path / "ours",
        )  # fmt: skip
    assert len(lines) == 6 and all(line["ok"] for line in lines)
    assert episodes_of(tmp_path / "theirs") == episodes_of(tmp_path / "ours")
    for line in lines:
        (trace,) = line["traces"]
        steps = trace["info"]["agentbench"]["episode"]["steps"]
        assert trace["info"]["turn_rewards"] == [step["reward"] for step in steps]
        assert trace["rewards"]["reward"]["score"] == sum(trace["info"]["turn_rewards"])
        assert trace["metrics"]["steps"] == len(steps) and trace["metrics"]["invalid_actions"] >= 1.0


@pytest.mark.slow
def test_the_apps_are_played_in_the_real_engine(tmp_path: Path, two_tasks: Played) -> None:
    of = ["--env.taskset.env", "appworld", "--env.taskset.split", "mini", "--env.taskset.step-timeout", "280"]
    patient = {"step_timeout": 280.0, "start_timeout": 280.0}
    with serving(two_tasks.answer) as server:
        lines = vf_eval(server.url, tmp_path, *of, "-n", "2", "-c", "1")
        import_run(tmp_path / "traces", tmp_path / "theirs")
        agentbench.evaluate(
            "appworld", "openai:stub", policy_options={"base_url": server.url}, split="mini", tasks=two_tasks.tasks,
            workers=1, out=tmp_path / "ours", **patient,
        )  # fmt: skip
    assert all(line["ok"] for line in lines) and {line["task"]["key"] for line in lines} == set(two_tasks.tasks)
    assert episodes_of(tmp_path / "theirs") == episodes_of(tmp_path / "ours")
    won = {line["task"]["key"]: line["traces"][0]["rewards"]["reward"]["score"] for line in lines}
    assert [won[task] for task in two_tasks.tasks] == [1.0, 0.0]


def test_a_failing_environment_is_an_error_of_its_episode_alone(tmp_path: Path) -> None:
    options = json.dumps({"tasks": 3, "faults": {"1": "kill"}})
    with serving(lambda body, number: chat("<action>up</action>")) as server:
        lines = vf_eval(server.url, tmp_path, "--env.taskset.env", "toy", "--env.taskset.options", options)
    imported = import_run(tmp_path / "traces", tmp_path / "run").run
    assert sorted(imported.episodes["outcome"]) == ["error", "success", "success"]
    assert [line["ok"] for line in sorted(lines, key=lambda line: line["task"]["data"]["idx"])] == [True, False, True]
    assert {len(episode.steps) for episode in episodes_of(tmp_path / "run") if episode.won} == {1, 3}
