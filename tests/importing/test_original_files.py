"""Files that Inspect and verifiers wrote themselves (tests/importing/data/make_*.py), for a toy task of ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentbench.importing import import_run

DATA = Path(__file__).parent / "data"
LOOK = 'look({{"where": "{}"}})'.format


def read(path: Path, out: Path):
    found = import_run(path, out)
    assert not found.bad
    episodes = {(each.task_id, each.trial): each for each in found.run.read_episodes()}
    return found.run, episodes


def test_a_log_that_inspect_wrote(tmp_path):
    run, episodes = read(DATA / "inspect_find_key.eval", tmp_path / "run")
    assert run.config["identity"]["policy"] == "mockllm/model"
    assert {key: each.outcome for key, each in episodes.items()} == {
        ("find_key:key-1", 0): "failure",
        ("find_key:key-1", 1): "failure",
        ("find_key:key-2", 0): "success",
        ("find_key:key-2", 1): "success",
    }
    first, second = episodes["find_key:key-2", 1].steps
    assert first.observation.startswith("Where is the cup?") and first.observation.count("look well") == 30
    assert [first.action, second.action] == [LOOK("drawer"), "the answer is drawer"]
    assert second.observation == "there is a key in the drawer"
    assert [first.reward, second.reward] == [0.0, 1.0]


def test_results_that_verifiers_wrote(tmp_path):
    run, episodes = read(DATA / "verifiers" / "results.jsonl", tmp_path / "run")
    assert run.config["identity"]["policy"] == "stand-in"
    assert {key: each.outcome for key, each in episodes.items()} == {
        ("default:0", 0): "success",
        ("default:0", 1): "failure",
        ("default:1", 0): "success",
        ("default:1", 1): "failure",
    }
    first, second = episodes["default:0", 1].steps
    assert (first.observation, first.action) == ("Where is the key?", LOOK("drawer"))
    assert (second.observation, second.action) == ("there is a key in the drawer", "in the box")


def test_traces_that_verifiers_wrote(tmp_path):
    run, episodes = read(DATA / "verifiers_traces" / "traces.jsonl", tmp_path / "run")
    assert run.config["identity"]["policy"] == "stand-in"
    assert {(each.task_name, each.trial): (each.outcome, each.score) for each in episodes.values()} == {
        ("find_key:key", 0): ("success", 1.0),
        ("find_key:key", 1): ("failure", 0.5),  # it looked, for half of the reward, and did not find
        ("find_key:cup", 0): ("success", 1.0),
        ("find_key:cup", 1): ("failure", 0.5),
    }
    episode = next(each for each in episodes.values() if (each.task_name, each.trial) == ("find_key:key", 1))
    first, second = episode.steps
    assert (first.observation, first.action) == ("Where is the key?", f"house_{LOOK('drawer')}")
    assert (second.observation, second.action) == ("there is a key in the drawer", "in the box")
    assert [first.reward, second.reward, second.terminated] == [0.0, 0.5, True]


def test_traces_of_verifiers_with_errors_limits_and_several_agents(tmp_path):
    """Of the recorded line, changed as verifiers' own types (v1/trace.py, v1/episode.py) allow."""
    lines = (DATA / "verifiers_traces" / "traces.jsonl").read_text().splitlines()

    def changed(number, on_line=None, **on_trace):
        record = json.loads(lines[number])
        trace = record["traces"][0]
        record["traces"] = [{**trace, **on_trace}]
        return {**record, **(on_line or {})}

    failed = changed(0, ok=False, errors=[{"type": "ToolsetError", "message": "no port"}], rewards={})
    cut = changed(1, stop_condition="max_turns", calls=5)
    unscored = changed(0, rewards={"found": None})
    nothing = changed(0, {"traces": [], "errors": [{"type": "SandboxError", "message": "away"}]})
    third = {"score": 1.0, "weight": 1 / 3}
    weighed = changed(2, rewards={"a": third, "b": third, "c": third})
    (solver,) = changed(0)["traces"]
    judge = {**solver, "agent": {**solver["agent"], "name": "judge", "trainable": False}}
    writer = {**solver, "agent": {**solver["agent"], "name": "writer"}}
    team = {**changed(0), "traces": [writer, judge]}
    path = tmp_path / "traces.jsonl"
    path.write_text("".join(f"{json.dumps(each)}\n" for each in (failed, cut, unscored, nothing, weighed, team)))
    found = import_run(path, tmp_path / "run")
    episodes = {(each.task_name, each.trial): each for each in found.run.read_episodes()}
    assert {key: (each.outcome, each.error) for key, each in episodes.items()} == {
        ("find_key:key", 0): ("error", "ToolsetError: no port"),
        ("find_key:key", 1): ("failure", None),
        ("find_key:key", 2): ("error", "SandboxError: away"),
        ("find_key:cup", 0): ("success", None),
        ("find_key:key:writer", 0): ("success", None),
    }
    assert episodes["find_key:key", 1].steps[-1].truncated and not episodes["find_key:cup", 0].steps[-1].truncated
    assert [(bad.where, bad.reason) for bad in found.bad] == [
        ("traces.jsonl:3", "it has no reward"),
        ("traces.jsonl:6 (agent judge)", "another agent than the policy (trainable is false)"),
    ]


def test_a_trace_of_verifiers_whose_conversation_was_shortened_keeps_every_turn(tmp_path):
    record = json.loads((DATA / "verifiers_traces" / "traces.jsonl").read_text().splitlines()[0])
    nodes = record["traces"][0]["nodes"]
    summary = {"parent": None, "message": {"role": "assistant", "content": "I looked."}, "sampled": False}
    asked = {"parent": 4, "message": {"role": "user", "content": "go on"}, "sampled": False}
    answer = {"parent": 5, "message": {"role": "assistant", "content": "in the drawer"}, "sampled": True}
    record["traces"][0]["nodes"] = [*nodes, summary, asked, answer]
    path = tmp_path / "traces.jsonl"
    path.write_text(json.dumps(record))
    (episode,) = import_run(path, tmp_path / "run").run.read_episodes()
    assert [step.action for step in episode.steps[1:]] == ["it is in the drawer", "in the drawer"]
    assert episode.steps[-1].observation == "I looked.\n\ngo on"


def test_inspect_itself_reads_the_recorded_log_alike(tmp_path):
    log = pytest.importorskip("inspect_ai.log", reason="inspect_ai is not installed")
    samples = log.read_eval_log(str(DATA / "inspect_find_key.eval")).samples
    _, episodes = read(DATA / "inspect_find_key.eval", tmp_path / "run")
    for sample in samples:
        steps = episodes[f"find_key:{sample.id}", sample.epoch - 1].steps
        assert steps[-1].action == sample.output.completion
