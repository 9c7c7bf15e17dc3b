"""Formats of agents' own programs: SWE-agent, OpenHands, Claude Code, Responses items, LangSmith, AppWorld."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from foreign_logs import ASKED, CALL, EVENTS, ROLLOUT, ROOT, SESSION, TRAJ, event, interactions, lines, whole
from typer.testing import CliRunner

from agentbench.cli import app
from agentbench.evaluation.scenarios import clustered_episodes
from agentbench.importing import import_run
from agentbench.importing.parts import Options
from agentbench.runs.episodes import Episode, to_record
from agentbench.runs.run import open_run
from envs.base.errors import UserError


def episodes(source: Path, tmp_path: Path, **options: Any) -> list[Episode]:
    return list(import_run(source, tmp_path / "run", options=Options(**options)).run.read_episodes())


def actions(episode: Episode) -> list[str]:
    return [step.action for step in episode.steps]


def test_trajectories_of_swe_agent_and_the_report_of_their_evaluation(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    whole(logs / "a-1" / "a-1.traj", TRAJ)
    whole(logs / "b-2" / "b-2.traj", {**TRAJ, "info": {"exit_status": "exit_cost"}})
    whole(logs / "c-3" / "c-3.traj", {**TRAJ, "info": {"exit_status": "exit_environment_error"}})
    whole(logs / "preds.json", {"a-1": {"model_patch": "diff"}})  # no log, and no reason to complain
    report = whole(tmp_path / "report.json", {"resolved_ids": ["a-1"], "unresolved_ids": ["b-2"], "error_ids": ["c-3"]})
    with pytest.raises(UserError, match="--outcomes FILE takes it from another file"):
        episodes(logs / "a-1", tmp_path / "x")
    found = import_run(logs, tmp_path / "run", options=Options(outcomes=report))
    assert not found.bad and found.run.identity["policy"] == "some-model"
    solved, cut, broken = found.run.read_episodes()
    assert [each.task_id for each in (solved, cut, broken)] == ["a-1", "b-2", "c-3"]
    assert [each.outcome for each in (solved, cut, broken)] == ["success", "failure", "error"]
    assert actions(solved) == ["ls -F", "submit"] and solved.steps[0].text == "I look.\n```\nls -F\n```"
    assert solved.instruction == "sum is wrong" and solved.steps[1].observation == "setup.py"
    assert cut.steps[-1].truncated and not solved.steps[-1].truncated


def test_the_outcomes_are_part_of_what_a_run_is(tmp_path: Path) -> None:
    whole(tmp_path / "a-1.traj", TRAJ)
    outcomes = whole(tmp_path / "outcomes.json", {"a-1": True})
    arguments = ["import", str(tmp_path / "a-1.traj"), "--outcomes", str(outcomes), "--out", str(tmp_path / "run")]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    whole(outcomes, {"a-1": False})
    with pytest.raises(UserError, match="another configuration"):
        import_run(tmp_path / "a-1.traj", tmp_path / "run", options=Options(outcomes=outcomes))
    result = CliRunner().invoke(app, [*arguments[:3], str(tmp_path / "none.json"), *arguments[4:]])
    assert isinstance(result.exception, UserError) and "none.json" in str(result.exception)


@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        ('{"a-1": 0.5}', ("failure", 0.5)),
        ('{"individual": {"a-1": {"success": true, "num_tests": 2}}}', ("success", 1.0)),
        ('{"instance_id": "a-1", "resolved": true}\n{"instance_id": "b", "resolved": false}\n', ("success", 1.0)),
        ("file,reward\na-1,1.0\n", ("success", 1.0)),
        ('[{"task_id": "a-1", "error": "no disk"}]', ("error", 0.0)),
    ],
    ids=["numbers", "individual", "lines", "table", "error"],
)
def test_outcomes_in_every_form(tmp_path: Path, content: str, outcome: tuple[str, float]) -> None:
    whole(tmp_path / "a-1.traj", TRAJ)
    path = tmp_path / ("outcomes.csv" if content.startswith("file,") else "outcomes.json")
    path.write_text(content, encoding="utf-8")
    (found,) = episodes(tmp_path / "a-1.traj", tmp_path, outcomes=path)
    assert (found.outcome, found.score) == outcome


def test_outcomes_that_do_not_fit_are_told(tmp_path: Path) -> None:
    whole(tmp_path / "a-1.traj", TRAJ)
    with pytest.raises(UserError, match=r"outcomes.json has no outcome of a-1"):
        episodes(tmp_path / "a-1.traj", tmp_path, outcomes=whole(tmp_path / "outcomes.json", {"b": True}))
    with pytest.raises(UserError, match="holds no outcome: it needs records with a name"):
        episodes(tmp_path / "a-1.traj", tmp_path, outcomes=whole(tmp_path / "empty.json", {"b": []}))
    lines(tmp_path / "verl.jsonl", [{"input": "q", "output": "a", "score": 1.0, "step": 1}])
    with pytest.raises(UserError, match="--outcomes is not for logs of verl"):
        episodes(tmp_path / "verl.jsonl", tmp_path, outcomes=tmp_path / "outcomes.json")


def test_a_line_of_an_evaluation_of_openhands(tmp_path: Path) -> None:
    line = {
        "instance_id": "a__b-1", "instruction": "fix it", "metadata": {"llm_config": {"model": "m"}},
        "history": EVENTS, "error": None, "test_result": {"git_patch": "d", "report": {"resolved": True}},
    }  # fmt: skip
    pairs = [[EVENTS[1], EVENTS[2]], [EVENTS[3], EVENTS[4]]]  # as older versions wrote them
    older = {**line, "instance_id": "c", "history": pairs, "test_result": {"report": {"resolved": False}}}
    lost = {**line, "instance_id": "d", "error": "RuntimeError: no container", "test_result": {}}
    found, old, broken = episodes(lines(tmp_path / "output.jsonl", [line, older, lost]), tmp_path)
    assert (found.task_id, found.outcome, old.outcome, broken.outcome) == ("a__b-1", "success", "failure", "error")
    assert actions(found)[0] == 'execute_bash({"command": "ls", "thoughtful": true})'  # as the model wrote it
    assert actions(found)[1:] == [
        'read({"path": "/a.py"})',
        'finish({"final_thought": "done", "task_completed": "true"})',
    ]
    assert [step.is_valid for step in found.steps] == [True, False, True]
    assert found.instruction == "fix it" and found.steps[1].observation == "a.py"


def test_a_file_of_events_of_openhands(tmp_path: Path) -> None:
    path = whole(tmp_path / "session-1.json", EVENTS)
    (found,) = episodes(path, tmp_path, outcomes=whole(tmp_path / "o.json", {"session-1": 0.25}))
    assert len(found.steps) == 3 and found.score == 0.25 and found.outcome == "failure"


def test_events_of_the_openhands_sdk(tmp_path: Path) -> None:
    def call(number: int, name: str, answer: str) -> dict[str, Any]:
        made = {"id": f"c{number}", "name": name, "arguments": '{"path": "a"}', "origin": "completion"}
        about = {"kind": "ActionEvent", "tool_name": name, "tool_call_id": f"c{number}", "llm_response_id": answer}
        thought = [{"type": "text", "text": "Both."}] if number == 1 else []
        return event(number, "agent", **about, tool_call=made, thought=thought)

    def result(number: int, to: str, failed: bool) -> dict[str, Any]:
        seen = {"content": [{"type": "text", "text": "ok"}], "is_error": failed, "kind": "TerminalObservation"}
        about = {"kind": "ObservationEvent", "tool_name": "terminal", "tool_call_id": to}
        return event(number, "environment", **about, observation=seen)

    message = {"role": "user", "content": [{"type": "text", "text": "fix it"}]}
    history = [
        event(0, "user", kind="MessageEvent", llm_message=message),
        call(1, "terminal", "r1"), call(2, "file_editor", "r1"), result(3, "c1", False), result(4, "c2", True),
        event(5, "environment", kind="ConversationStateUpdateEvent", key="x", value=1),
        call(6, "finish", "r2"),
    ]  # fmt: skip
    line = {"instance_id": "x", "history": history, "test_result": {"report": {"resolved": True}}}
    (found,) = episodes(lines(tmp_path / "output.jsonl", [line]), tmp_path)
    assert actions(found) == ['terminal({"path": "a"})\nfile_editor({"path": "a"})', 'finish({"path": "a"})']
    assert [step.is_valid for step in found.steps] == [False, True] and found.steps[0].text == "Both."


def test_a_session_of_claude_code(tmp_path: Path) -> None:
    outcomes = lines(tmp_path / "o.jsonl", [{"session_id": "s1", "success": True}])
    found = import_run(lines(tmp_path / "s1.jsonl", SESSION), tmp_path / "run", options=Options(outcomes=outcomes))
    (episode,) = found.run.read_episodes()
    assert not found.bad and found.run.identity["policy"] == "claude-x" and episode.outcome == "success"
    assert actions(episode) == ['Bash({"command": "ls"})', "Done."] and episode.steps[0].text == "I look."
    assert [step.is_valid for step in episode.steps] == [False, True]
    assert episode.instruction == "fix the parser" and episode.steps[1].observation == "a.py"


def test_a_session_that_ended_in_an_error_or_at_a_limit(tmp_path: Path) -> None:
    failed = {"type": "result", "session_id": "s1", "is_error": True, "subtype": "error_during_execution"}
    (found,) = episodes(lines(tmp_path / "a.jsonl", [*SESSION, failed]), tmp_path / "a")
    assert found.outcome == "error" and found.error == "error_during_execution"
    limit = {**failed, "subtype": "error_max_turns"}
    outcomes = whole(tmp_path / "o.json", {"s1": 0})
    (found,) = episodes(lines(tmp_path / "b.jsonl", [*SESSION, limit]), tmp_path / "b", outcomes=outcomes)
    assert found.outcome == "failure" and found.steps[-1].truncated


def test_rollouts_of_nemo_gym(tmp_path: Path) -> None:
    shown = [*ASKED, {"role": "assistant", "content": "an example"}]
    other = {**ROLLOUT, "responses_create_params": {"input": shown}, "reward": 0.0, "_ng_rollout_index": 1}
    found, second = episodes(lines(tmp_path / "rollouts.jsonl", [ROLLOUT, other]), tmp_path)
    assert (found.task_id, found.task_type, found.outcome) == ("library:3", "library", "success")
    assert (second.task_id, second.trial, second.outcome) == ("library:3", 1, "failure")
    assert actions(found) == ['open({"what": "drawer"})', "I have it.", "Thanks."] == actions(second)
    assert found.steps[1].observation == "a key" and found.instruction == "find the key"


def test_tools_that_the_server_calls_itself_and_kinds_that_nobody_knows(tmp_path: Path) -> None:
    own = {"type": "mcp_call", "id": "m1", "name": "search", "arguments": '{"q": "key"}', "output": "in the drawer"}
    search = {"type": "web_search_call", "id": "w1", "action": {"type": "search", "query": "key"}}
    output = [{"type": "mcp_list_tools", "id": "l"}, own, search]
    new = {**ROLLOUT, "response": {"output": [{"type": "telepathy"}]}}
    other = {**ROLLOUT, "response": {**ROLLOUT["response"], "output": output}}
    found = import_run(lines(tmp_path / "rollouts.jsonl", [other, new]), tmp_path / "run")
    (episode,) = found.run.read_episodes()
    assert actions(episode)[0] == 'search({"q": "key"})' and episode.steps[1].observation == "in the drawer"
    assert actions(episode)[1] == 'web_search({"action": {"query": "key", "type": "search"}})'
    assert found.bad[0].reason == "an item is of the unknown kind 'telepathy'"


def test_a_response_alone_needs_its_outcome(tmp_path: Path) -> None:
    path = whole(tmp_path / "r.json", {**ROLLOUT["response"], "input": "find the key"})
    with pytest.raises(UserError, match="nothing says how it ended"):
        episodes(path, tmp_path / "x")
    (found,) = episodes(path, tmp_path, outcomes=whole(tmp_path / "o.json", {"r": True}))
    assert found.outcome == "success" and len(found.steps) == 3


def test_traces_of_langsmith(tmp_path: Path) -> None:
    (found,) = episodes(lines(tmp_path / "runs.jsonl", [CALL, ROOT]), tmp_path / "a")
    assert actions(found) == ['open({"what": "drawer"})', "I have it."]
    assert (found.task_id, found.outcome) == ("e1", "success")
    plain = {**ROOT, "inputs": {"question": "x"}, "outputs": {"answer": "y"}}
    (found,) = episodes(lines(tmp_path / "plain.jsonl", [plain, CALL]), tmp_path / "b")
    assert actions(found) == ["I know where."] and found.instruction == "find the key"


def test_a_bulk_export_of_langsmith_has_its_objects_as_text(tmp_path: Path) -> None:
    held = ("inputs", "outputs", "feedback_stats", "extra")
    rows = [{**run, **{name: json.dumps(run.get(name)) for name in held}} for run in (ROOT, CALL)]
    pd.DataFrame(rows).to_parquet(tmp_path / "part-0.parquet")
    found = import_run(tmp_path / "part-0.parquet", tmp_path / "run").run
    assert found.identity["policy"] == "m" and len(found.step_table) == 2


def test_several_marks_of_langsmith_are_chosen_from(tmp_path: Path) -> None:
    two = {**ROOT, "feedback_stats": {"correctness": {"n": 1, "avg": 1.0}, "style": {"n": 1, "avg": 0.25}}}
    path = lines(tmp_path / "runs.jsonl", [two])
    with pytest.raises(UserError, match=r"several values \(correctness, style\): choose one with --score"):
        episodes(path, tmp_path / "a")
    (found,) = episodes(path, tmp_path / "b", score="style")
    assert found.score == 0.25
    child = {**CALL, "trace_id": "t2"}
    assert "root run" in import_run(lines(path, [ROOT, child]), tmp_path / "c").bad[0].reason


def write_experiment(folder: Path) -> Path:
    turns = ("print(1)\nprint(2)", "1\n2"), ("apis.supervisor.complete_task()", "Execution failed. Traceback:\nx")
    for task in ("a_1", "b_1", "c_1"):
        log = folder / "react" / "tasks" / task / "logs" / "environment_io.md"
        log.parent.mkdir(parents=True)
        log.write_text(interactions(*turns), encoding="utf-8")
        lines(log.with_name("lm_calls.jsonl"), [{"messages": [], "reward": 1}])
    judged = {"a_1": {"success": True, "difficulty": 1, "num_tests": 2, "passes": [{}, {}], "failures": []}}
    whole(folder / "react" / "evaluations" / "dev.json", {"aggregate": {}, "individual": judged})
    report = folder / "react" / "tasks" / "b_1" / "evaluation" / "report.md"
    report.parent.mkdir()
    report.write_text("Num Passed Tests : 1\nNum Failed Tests : 3\nNum Total  Tests : 4\n".replace("  ", " "))
    return folder


def test_outputs_of_an_appworld_experiment(tmp_path: Path) -> None:
    found = import_run(write_experiment(tmp_path / "outputs"), tmp_path / "run")
    solved, failed = found.run.read_episodes()
    assert actions(solved) == ["print(1)\nprint(2)", "apis.supervisor.complete_task()"]
    assert (solved.outcome, solved.score, solved.task_type) == ("success", 1.0, "difficulty 1")
    assert (failed.outcome, failed.score) == ("failure", 0.25) and [s.is_valid for s in failed.steps] == [True, False]
    assert solved.steps[1].observation == "1\n2" and found.run.identity["policy"] == "react"
    assert [each.where for each in found.bad] == ["c_1/environment_io.md"]  # not judged
    assert "AppWorld" in open_run(tmp_path / "run").protected
    shown = CliRunner().invoke(app, ["show", str(tmp_path / "run")]).output
    assert "Scenario Goal Completion, overall: 50.0%" in shown and "of 2" in shown
    (only,) = episodes(
        tmp_path / "outputs" / "react" / "tasks" / "a_1" / "logs" / "environment_io.md", tmp_path / "one"
    )
    assert only.outcome == "success"


def test_a_harness_log_of_ours_says_what_was_played_and_that_it_is_protected(tmp_path: Path) -> None:
    """Two variants of one scenario are one cluster, as in a run of our own."""
    run = import_run(write_experiment(tmp_path / "outputs"), tmp_path / "run").run
    samples = []
    for number, episode in enumerate(run.read_episodes()):
        record = to_record(episode) | {"task_name": f"a_{number}"}
        ours = {"env": "appworld", "split": "train", "protected": "not in the open", "episode": record}
        samples.append({"id": number, "epoch": 1, "messages": [], "metadata": {"agentbench": ours}})
    (tmp_path / "log.json").write_text(json.dumps({"eval": {"task": "t", "model": "m"}, "samples": samples}))
    found = import_run(tmp_path / "log.json", tmp_path / "again", format="inspect").run
    assert len(found.read_episodes()) == 2 and found.protected == "not in the open"
    assert clustered_episodes(found)[0]["scenario"].unique().tolist() == ["a"]
