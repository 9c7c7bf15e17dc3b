"""What is exported comes back by ``agentbench import``: actions, calls, rewards, outcomes; and Inspect sees its log."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from report_runs import write_run

from agentbench.importing import import_run
from agentbench.importing.content import call_text
from agentbench.report.export import export
from agentbench.runs.episodes import Episode, Step
from agentbench.runs.run import open_run
from envs.base.errors import UserError

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)
CALLS = st.builds(
    lambda name, arguments: call_text({"name": name, "arguments": arguments}),
    st.sampled_from(["look", "go_to", "a.b"]),
    st.dictionaries(TEXTS, st.none() | st.integers(-9, 9) | TEXTS | st.lists(TEXTS, max_size=2), max_size=2),
)
ACTIONS = st.one_of(
    TEXTS,
    CALLS,
    st.lists(CALLS, min_size=2, max_size=3).map("\n".join),
    st.sampled_from(['look({"a": 1})', "look()", "look({})x", '{"isError": true}', "go to (1)"]),
)
OBSERVATIONS = TEXTS | st.just('{"isError": true, "content": []}')
REWARDS = st.sampled_from([0.0, 0.25, -0.5, 1.0])


@st.composite
def episodes(draw: st.DrawFn, task: str) -> Episode:
    count = draw(st.integers(1, 4))
    truncated = draw(st.booleans())
    steps = [
        Step(
            observation=draw(OBSERVATIONS),
            anchor=f"{task}{number}",
            admissible_actions=draw(st.none() | st.lists(TEXTS, max_size=2)),
            action=draw(ACTIONS),
            reward=draw(REWARDS),
            is_valid=draw(st.booleans()),
            terminated=number == count - 1 and not truncated,
            truncated=number == count - 1 and truncated,
            score=0.0,
            text=draw(st.none() | st.text("ab<>/ \n", min_size=1, max_size=9)),
        )
        for number in range(count)
    ]
    outcome = draw(st.sampled_from(["success", "failure", "error"]))
    score = draw(st.sampled_from([0.0, 0.25, 1.0]))
    error = "the server was away" if outcome == "error" else None
    return Episode(
        task, f"name of {task}", "Even", draw(TEXTS), 0, outcome, outcome == "success", score, steps,
        final_observation=draw(OBSERVATIONS), final_anchor="end", error=error,
    )  # fmt: skip


def told(episode: Episode, form: str) -> dict[str, Any]:
    """What must come back. Inspect has no score beside an error, so no rewards either."""
    is_scored = form != "inspect" or episode.outcome != "error"
    return {
        "task": episode.task_name,
        "type": episode.task_type,
        "instruction": episode.instruction,
        "outcome": (episode.outcome, episode.won, episode.error, is_scored and episode.score),
        "end": (episode.final_observation, episode.steps[-1].truncated),
        "steps": [
            (step.observation, step.action, step.is_valid, step.admissible_actions, is_scored and step.reward)
            for step in episode.steps
        ],
        "answers": [step.text or step.action for step in episode.steps],
    }


@pytest.mark.parametrize("form", ["chat", "inspect", "atif", "verifiers"])
@settings(max_examples=15, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(data=st.data())
def test_every_episode_that_is_exported_comes_back(form: str, data: st.DataObject) -> None:
    played = [data.draw(episodes(task)) for task in ("a", "b")]
    with TemporaryDirectory() as folder:
        run = write_run(Path(folder, "run"), played)
        (path,) = export([run], form, Path(folder, "log.jsonl" if form == "chat" else "logs"))
        back = import_run(path, Path(folder, "back"))
        assert not back.bad
        kept = {each.task_name: told(each, form) for each in back.run.read_episodes()}
    assert kept == {each.task_name: told(each, form) for each in played}


def test_two_runs_in_one_chat_file_are_not_merged(tmp_path: Path) -> None:
    step = Step("hall", "h", None, "look", 1.0, True, True, False, 1.0)
    folders = []
    for policy in ("small", "large"):
        folder = write_run(tmp_path / policy, [Episode("t", "t", "x", "look", 0, "success", True, 1.0, [step])])
        record = json.loads((folder / "run.json").read_text())
        record["identity"]["policy"] = policy
        record.pop("seal", None)
        (folder / "run.json").write_text(json.dumps(record))
        folders.append(folder)
    (path,) = export(folders, "chat", tmp_path / "both.jsonl")
    with pytest.raises(UserError, match=r"several models \(large, small\)"):
        import_run(path, tmp_path / "back")


INSPECT_NAME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}\+00-00_[A-Za-z0-9.-]+_[A-Za-z0-9]+\.json")
"""``<time>_<task>_<id>.json``: what Inspect calls a log, and what its listing takes for one."""


def test_a_log_in_a_folder_has_the_name_that_inspect_looks_for(
    weak: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (path,) = export([weak], "inspect", tmp_path / "logs")
    assert path.parent == tmp_path / "logs" and INSPECT_NAME.fullmatch(path.name)
    assert export([weak], "inspect", tmp_path / "logs") == [path]  # the same run, the same file
    assert export([weak], "inspect", path) == [path] and not caplog.records
    assert export([weak], "inspect", tmp_path / "mine.json") == [tmp_path / "mine.json"]
    assert "give a folder" in caplog.text
    with pytest.raises(UserError, match=r"in the \.json form"):
        export([weak], "inspect", tmp_path / "log.eval")


def test_the_offered_actions_are_in_the_inspect_log(tmp_path: Path) -> None:
    step = Step("hall", "h", ["look", "wait"], "look", 1.0, True, True, False, 1.0)
    run = write_run(tmp_path / "run", [Episode("t", "t", "x", "look", 0, "success", True, 1.0, [step])])
    (path,) = export([run], "inspect", tmp_path / "logs")
    first, answer = json.loads(path.read_text())["samples"][0]["messages"]
    assert first["metadata"] == {"admissible_actions": ["look", "wait"]}
    assert answer["content"] == "look"


def test_inspect_lists_and_reads_the_log(weak: Path, tmp_path: Path) -> None:
    pytest.importorskip("inspect_ai", reason="inspect-ai is not installed: its listing cannot be asked")
    (path,) = export([weak], "inspect", tmp_path / "logs")
    program = "import sys; from inspect_ai._cli.main import main; sys.argv[0] = 'inspect'; main()"
    command = [sys.executable, "-c", program, "log", "list", "--log-dir", str(tmp_path / "logs"), "--json"]
    listed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout)
    assert [Path(each["name"]).name for each in listed] == [path.name]
    from inspect_ai.log import read_eval_log

    log = read_eval_log(str(path))
    assert len(log.samples) == len(open_run(weak).read_episodes())
