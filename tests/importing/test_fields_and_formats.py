"""Field names as options, what a failed detection says, formats of other projects, and formats of plug-ins."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

import credit
from agentbench.cli import app
from agentbench.importing import FORMATS, Format, from_records, import_run
from agentbench.importing.parts import Options
from agentbench.runs.episodes import Episode
from agentbench.runs.run import open_run
from envs.base.errors import UserError

SAID = [
    {"role": "user", "content": "find the key"},
    {"role": "assistant", "content": "I look."},
    {"role": "user", "content": "it is there"},
    {"role": "assistant", "content": "I take it."},
]
OWN = {"id": "t1", "log": {"turns": SAID}, "reward_score": 0.5, "agent": {"name": "m"}, "done": True}
NAMES = {"messages_field": "log.turns", "reward_field": "reward_score", "model_field": "agent.name"}


def write(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in records), encoding="utf-8")
    return path


def episodes(source: Path, tmp_path: Path, **options: Any) -> list[Episode]:
    return list(import_run(source, tmp_path / "run", options=Options(**options)).run.read_episodes())


def test_fields_with_other_names_are_read_by_options(tmp_path: Path) -> None:
    write(tmp_path / "own.jsonl", [OWN, {**OWN, "reward_score": 1.0}])
    arguments = ["import", str(tmp_path / "own.jsonl"), "--messages", "log.turns", "--reward", "reward_score"]
    arguments += ["--task-id", "id", "--model-field", "agent.name", "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    found = episodes(tmp_path / "own.jsonl", tmp_path, **NAMES, task_field="id")  # the same options: the same run
    assert [(each.task_id, each.trial, each.outcome) for each in found] == [("t1", 0, "failure"), ("t1", 1, "success")]
    assert [step.action for step in found[0].steps] == ["I look.", "I take it."]
    assert [step.reward for step in found[0].steps] == [0.0, 0.5]


def test_rewards_of_steps_success_and_messages_as_text_too(tmp_path: Path) -> None:
    record = {"chat": json.dumps(SAID), "marks": [0.25, 0.5], "solved": False}
    names = {"messages_field": "chat", "reward_field": "marks", "success_field": "solved"}
    (found,) = episodes(write(tmp_path / "own.jsonl", [record]), tmp_path, **names)
    assert [step.reward for step in found.steps] == [0.25, 0.5] and found.outcome == "failure"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({**NAMES, "messages_field": "log.lines"}, "no field 'log.lines' for the messages: it has id, log, reward"),
        ({**NAMES, "reward_field": "reward"}, "no field 'reward' for the reward"),
        ({**NAMES, "messages_field": "id"}, "id is text, and no list of messages"),
        ({"messages_field": "log.turns"}, r"name the field that says it \(reward_score, done\) with --reward"),
    ],
    ids=["messages", "reward", "text", "no outcome"],
)
def test_a_field_that_is_not_there_is_named(tmp_path: Path, options: dict[str, str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        episodes(write(tmp_path / "own.jsonl", [OWN]), tmp_path, **options)


def test_names_of_fields_are_for_chat_logs_alone(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fields of chat logs, not of verl"):
        import_run(write(tmp_path / "a.jsonl", [OWN]), tmp_path / "run", format="verl", options=Options(**NAMES))


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"uid": "a", "steps": SAID, "reward_score": 0.5}, "--messages steps --reward reward_score would read it"),
        ({"uid": "a", "steps": SAID, "solved": True}, "--messages steps --success solved would read it"),
        ({"steps": json.dumps(SAID), "reward": 1}, "--messages steps would read it"),
        ({"uid": "a", "steps": SAID, "n": 3}, "uid: text, steps: a list of 4 objects, n: a number"),
        ({"a": 1, "b": {}, "c": None}, r"a: a number, b: an object, c: null\): choose one of chat"),
    ],
    ids=["reward", "success", "text", "kinds", "nothing"],
)
def test_a_failed_detection_says_what_was_seen_and_what_would_read_it(
    tmp_path: Path, record: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        import_run(write(tmp_path / "x.jsonl", [record]), tmp_path / "run")


CALL = {"tool_call_id": "c1", "function_name": "open", "arguments": {"what": "drawer"}}
ATIF = {
    "schema_version": "ATIF-v1.4",
    "session_id": "s",
    "agent": {"name": "harness", "version": "1", "model_name": "m"},
    "steps": [
        {"step_id": 1, "source": "system", "message": "be good"},
        {"step_id": 2, "source": "user", "message": "find the key"},
        {
            "step_id": 3,
            "source": "agent",
            "message": "I look.",
            "tool_calls": [CALL],
            "observation": {"results": [{"source_call_id": "c1", "content": "a key"}]},
        },
        {"step_id": 4, "source": "agent", "message": "I have it.", "metrics": {"completion_tokens": 3}},
    ],
    "extra": {"reward": 1.0},
}


def test_a_trajectory_of_harbor(tmp_path: Path) -> None:
    (tmp_path / "trajectory.json").write_text(json.dumps(ATIF, indent=1), encoding="utf-8")
    (found,) = episodes(tmp_path / "trajectory.json", tmp_path)
    assert [step.action for step in found.steps] == ['open({"what": "drawer"})', "I have it."]
    assert [step.reward for step in found.steps] == [0.0, 1.0] and found.outcome == "success"
    assert found.instruction == "find the key" and "a key" in found.steps[1].observation


def test_rewards_of_a_trajectorys_steps_come_first_and_an_option_names_others(tmp_path: Path) -> None:
    steps = [{**each, "metrics": {"reward": 0.25}} if each["source"] == "agent" else each for each in ATIF["steps"]]
    (found,) = episodes(write(tmp_path / "a.json", [{**ATIF, "steps": steps}]), tmp_path)
    assert [step.reward for step in found.steps] == [0.25, 0.25]
    record = {**ATIF, "extra": {"verifier": {"solved": 0.5}}}
    with pytest.raises(UserError, match="nothing says how it ended"):
        episodes(write(tmp_path / "b.json", [record]), tmp_path / "b")
    (found,) = episodes(tmp_path / "b.json", tmp_path / "c", reward_field="extra.verifier.solved")
    assert [step.reward for step in found.steps] == [0.0, 0.5]


def test_results_of_tau2(tmp_path: Path) -> None:
    call = {"id": "1", "name": "book", "arguments": {"seat": 3}, "requestor": "assistant"}
    messages = [
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "a seat, please"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "id": "1", "content": "booked", "requestor": "assistant", "error": False},
        {"role": "user", "content": None, "tool_calls": [{**call, "requestor": "user"}]},
        {"role": "tool", "id": "2", "content": "secret", "requestor": "user", "error": False},
        {"role": "assistant", "content": "Done."},
    ]
    run = {"id": "x", "task_id": "7", "messages": messages, "termination_reason": "user_stop", "trial": 0}
    info = {"agent_info": {"llm": "m"}, "environment_info": {"domain_name": "airline"}}
    runs = [{**run, "reward_info": {"reward": 1.0}}, {**run, "reward_info": None}]
    record = {"info": info, "tasks": [], "simulations": runs}
    (tmp_path / "results.json").write_text(json.dumps(record), encoding="utf-8")
    good, broken = episodes(tmp_path / "results.json", tmp_path)
    assert (good.task_id, good.task_type, good.outcome, broken.outcome) == ("7", "airline", "success", "error")
    assert [step.action for step in good.steps] == ["Hello", 'book({"seat": 3})', "Done."]
    assert "secret" not in json.dumps([step.observation for step in good.steps])
    assert "user_stop" in str(broken.error)


def test_results_of_the_older_tau_bench_are_chat_logs(tmp_path: Path) -> None:
    result = {"task_id": 3, "reward": 1.0, "info": {}, "traj": SAID, "trial": 0}
    (tmp_path / "r.json.gz").write_bytes(gzip.compress(json.dumps([result, {**result, "reward": 0.0}]).encode()))
    found = episodes(tmp_path / "r.json.gz", tmp_path)
    assert [(each.task_id, each.outcome) for each in found] == [("3", "success"), ("3", "failure")]


TABLE = """group,episode,step,reward,state,action,next_state,truncated
t,1,1,1.0,open,take,end,False
t,1,0,0.0,start,open,open,False
t,2,0,0.25,start,wait,start,True
u,3,0,0,start,wait,end,False
u,3,2,0,open,wait,end,False
"""


def test_a_step_table_becomes_a_run_with_the_same_steps(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(TABLE, encoding="utf-8")
    found = import_run(tmp_path / "table.csv", tmp_path / "run")
    assert [(each.where, each.reason[:19]) for each in found.bad] == [
        ("table.csv episode 3 of u", "its steps are not 0")
    ]
    table = found.run.step_table
    assert table["action"].tolist() == ["open", "take", "wait"] and table["reward"].tolist() == [0.0, 1.0, 0.25]
    assert table["anchor"].tolist() == ["start", "open", "start"]
    assert table["next_anchor"].tolist() == ["open", "end", "start"]
    assert table["truncated"].tolist() == [False, False, True]
    assert [each.outcome for each in found.run.read_episodes()] == ["success", "failure"]
    wanted = credit.advantages("gigpo", pd.read_csv(tmp_path / "table.csv").query("group == 't'").sort_values("step"))
    assert sorted(credit.advantages("gigpo", found.run.steps())) == pytest.approx(sorted(wanted))


def test_a_runs_own_step_table_comes_back(tmp_path: Path) -> None:
    arguments = ["eval", "--split", "generated:0:2:small", "--policy", "mixed:0.5", "--trials", "2", "--inline"]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "played")])
    assert result.exit_code == 0, result.output
    before = open_run(tmp_path / "played").step_table
    after = import_run(tmp_path / "played" / "steps.parquet", tmp_path / "again").run.step_table
    pd.testing.assert_frame_equal(after[list(before.columns)], before)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"step": "0"}, "step is a whole number, got '0'"),
        ({"reward": "high"}, "reward is not a number"),
        ({"is_valid": "perhaps"}, "is_valid is true or false"),
        ({"episode": None}, "it has no episode"),
        ({"score": 3}, "score 3 is not between 0 and 1"),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
def test_a_wrong_row_is_named(tmp_path: Path, row: dict[str, Any], told: str) -> None:
    good = {"group": "t", "episode": 1, "step": 0, "reward": 1.0}
    source = write(tmp_path / "a.jsonl", [good, {**good, "episode": 2, **row}])
    found = import_run(source, tmp_path / "run")
    assert len(found.bad) == 1 and told in found.bad[0].reason


def test_a_folder_of_single_json_files(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    for number in range(3):
        record = {"task_id": "a", "messages": SAID, "reward": number / 2}
        (tmp_path / "logs" / f"{number}.json").write_text(json.dumps(record, indent=2), encoding="utf-8")
    assert [each.score for each in episodes(tmp_path / "logs", tmp_path)] == [0.0, 0.5, 1.0]


def test_a_broken_record_is_left_out_with_its_place_and_reason(tmp_path: Path) -> None:
    bad = {**ATIF, "steps": [{"message": "no source"}]}
    found = import_run(write(tmp_path / "a.jsonl", [ATIF, bad]), tmp_path / "run")
    assert [(each.where, each.reason) for each in found.bad] == [
        ("a.jsonl:2", "it is not of this format (KeyError: 'source')")
    ]


MOVES = from_records(
    lambda record: "moves" in record and "won" in record,
    lambda record: {
        "messages": [{"role": "assistant", "content": move} for move in record["moves"]],
        "task_id": record["level"],
        "success": record["won"],
    },
)


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], None]:
    """Install a plug-in called ``moves``."""

    def install(value: object) -> None:
        point = EntryPoint("moves", "a_package:FORMAT", "agentbench.importers")
        monkeypatch.setattr(EntryPoint, "load", lambda self: value)
        monkeypatch.setitem(FORMATS.__dict__, "plugins", {"moves": [point]})

    yield install  # type: ignore[misc]
    FORMATS._entries.pop("moves", None)


def test_a_plug_in_reads_its_own_format(tmp_path: Path, plugin: Callable[[object], None]) -> None:
    plugin(MOVES)
    source = write(tmp_path / "a.jsonl", [{"level": "3", "moves": ["up", "left"], "won": True}])
    (found,) = episodes(source, tmp_path)
    assert [step.action for step in found.steps] == ["up", "left"] and found.outcome == "success"


def test_a_plug_in_that_is_none_or_fails_is_named(
    tmp_path: Path, plugin: Callable[[object], None], caplog: pytest.LogCaptureFixture
) -> None:
    source = write(tmp_path / "a.jsonl", [{"level": "3"}])
    plugin("nothing")
    with pytest.raises(UserError, match="cannot tell the format"):
        episodes(source, tmp_path)
    assert "moves" in caplog.text
    plugin(Format(MOVES.read, lambda record: record["gone"]))
    with pytest.raises(UserError, match=r"moves.* failed"):
        episodes(source, tmp_path)
