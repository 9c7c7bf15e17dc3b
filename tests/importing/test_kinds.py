"""Kinds of logs that once gave a wrong number without a word: each is read rightly now, or refused with the reason."""

from __future__ import annotations

import base64
import bz2
import gzip
import json
import lzma
import subprocess
import sys
from pathlib import Path
from typing import Any

import journals
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agentbench.importing import import_run
from agentbench.importing.parts import Options
from agentbench.runs.notes import run_notes
from envs.base.errors import UserError


def user(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **more}


def did(content: Any, *calls: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": list(calls)}


def lines(path: Path, *records: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    return path


def read(source: Path, **options: Any):
    found = import_run(source, source.parent / f"run-{source.name}-{len(options)}", options=Options(**options))
    return found, found.run.read_episodes()


def notes_of(found: Any) -> str:
    return "\n".join(": ".join(note) for note in run_notes(found.run))


ONE = {"task_id": "cup", "reward": 1.0, "messages": [user("find the cup"), did("shelf")]}


# which episodes are of one task


def rollout(example: int, asked: str, reward: float) -> dict[str, Any]:
    return {
        "example_id": example,
        "prompt": [user(asked)],
        "completion": [did("x")],
        "reward": reward,
        "task": "default",
    }


@pytest.mark.parametrize("has_metadata", [True, False])
def test_two_environments_of_verifiers_are_two_sets_of_tasks(tmp_path: Path, has_metadata: bool) -> None:
    for env, reward in (("spell", 1.0), ("count", 0.0)):
        folder = tmp_path / "evals" / f"{env}--some--model" / "0a1b"
        lines(folder / "results.jsonl", rollout(0, f"{env} a", reward), rollout(1, f"{env} b", reward))
        if has_metadata:
            (folder / "metadata.json").write_text(json.dumps({"env_id": env, "model": "some/model"}))
    found, episodes = read(tmp_path / "evals")
    assert not found.bad
    assert [(each.task_id, each.trial, each.outcome) for each in episodes] == [
        ("count:default:0", 0, "failure"),
        ("count:default:1", 0, "failure"),
        ("spell:default:0", 0, "success"),
        ("spell:default:1", 0, "success"),
    ]
    assert set(found.run.episodes["task_type"]) == {"count", "spell"}
    assert found.run.config["identity"]["policy"] == "some/model"


def opened_alike(goal: str, **fields: Any) -> dict[str, Any]:
    said = [user("You act in a kitchen."), did("Understood."), user(f"Your goal: {goal}."), did("go on")]
    return {"messages": said, "reward": 1.0, **fields}


@pytest.mark.parametrize("field", ["task_id", "id", "question_id", "instance_id"])
def test_an_id_tells_the_task_where_all_open_alike(tmp_path: Path, field: str) -> None:
    records = [opened_alike(goal, **{field: f"kitchen-{goal}"}) for goal in ("tea", "soup")]
    found, episodes = read(lines(tmp_path / "log.jsonl", *records))
    assert [each.task_id for each in episodes] == ["kitchen-soup", "kitchen-tea"]
    assert notes_of(found) == ""


def test_the_field_that_tells_the_task_can_be_named(tmp_path: Path) -> None:
    records = [opened_alike(goal, meta={"game": goal}) for goal in ("tea", "soup")]
    path = lines(tmp_path / "log.jsonl", *records)
    found, episodes = read(path)
    assert len({each.task_id for each in episodes}) == 1
    assert "may be of several tasks" in notes_of(found) and "--task-field" in notes_of(found)
    assert [each.task_id for each in read(path, task_field="meta.game")[1]] == ["soup", "tea"]
    with pytest.raises(UserError, match="no field 'game' to identify its task: it has messages, reward, meta"):
        import_run(path, tmp_path / "none", options=Options(task_field="game"))


def test_episodes_of_one_id_that_begin_differently_are_told(tmp_path: Path) -> None:
    records = [{**ONE, "messages": [user(asked), did("x")]} for asked in ("find the cup", "find the pan")]
    assert "begin differently" in notes_of(read(lines(tmp_path / "log.jsonl", *records))[0])
    same = lines(tmp_path / "same.jsonl", ONE, ONE)
    assert notes_of(read(same)[0]) == ""


def test_an_id_that_names_the_episode_is_told_and_can_be_passed_over(tmp_path: Path) -> None:
    records = [
        {"id": f"rollout-{number}", "reward": 1, "messages": [user("find it"), did(str(number))]} for number in (1, 2)
    ]
    path = lines(tmp_path / "log.jsonl", *records)
    assert "--task-field messages" in notes_of(read(path)[0])
    assert [each.trial for each in read(path, task_field="messages")[1]] == [0, 1]


# pictures

PNG = "data:image/png;base64,"
SHOWN = {
    "openai": lambda data: user([{"type": "image_url", "image_url": {"url": PNG + data}}]),
    "inspect": lambda data: user([{"type": "image", "image": PNG + data}]),
    "anthropic": lambda data: user(
        [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}]
    ),
    "tool": lambda data: user([{"type": "tool_result", "content": [{"type": "image", "source": {"data": data}}]}]),
    "audio": lambda data: user([{"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}]),
    "beside": lambda data: user("<image>", images=[data]),
}


@pytest.mark.parametrize("dialect", SHOWN)
def test_different_pictures_are_different_states_and_tasks(tmp_path: Path, dialect: str) -> None:
    shown = SHOWN[dialect]
    records = [
        {"reward": 1.0, "messages": [shown(first), did("look"), shown(then), did("done")]}
        for first, then in (("QQ==", "Ug=="), ("QQ==", "Uw=="), ("Qg==", "Ug=="))
    ]
    found, episodes = read(lines(tmp_path / "log.jsonl", *records))
    by_instruction = sorted(found.run.episodes.groupby("task_id").size())
    assert by_instruction == [1, 2]
    anchors = {tuple(step.anchor for step in each.steps) for each in episodes}
    assert len(anchors) == 3 and len({second for _, second in anchors}) == 2


def test_a_picture_beside_the_conversation_tells_the_task(tmp_path: Path) -> None:
    records = [
        {"images": [name], "reward": 1, "messages": [user("<image>What?"), did("x")]} for name in ("a.png", "b.png")
    ]
    assert len(read(lines(tmp_path / "log.jsonl", *records))[0].run.episodes["task_id"].unique()) == 2


# what a file is


def plain_dump(prompt: str, output: str, score: float) -> dict[str, Any]:
    return {"input": prompt, "output": output, "gts": "x", "score": score, "step": 7}


CALLED = (
    '<tool_call>\n{"name": "find", "arguments": {"what": "cup"}}\n</tool_call>\nuser\n<tool_response>\na shelf\n'
    "</tool_response>\nassistant\n<think>so</think>on the shelf"
)
MARKED = CALLED.replace("\nuser\n", "<|im_end|>\n<|im_start|>user\n").replace(
    "\nassistant\n", "<|im_end|>\n<|im_start|>assistant\n"
)


@pytest.mark.parametrize("output", [CALLED, MARKED])
def test_a_plain_dump_of_verl_has_a_step_for_every_turn(tmp_path: Path, output: str) -> None:
    prompt = "system\nHelp.\nuser\nWhere is the cup?\nassistant\n"
    records = [plain_dump(prompt, output, 1.0), plain_dump(prompt, "<think>hm</think>nowhere", 0.0)]
    found, episodes = read(lines(tmp_path / "7.jsonl", *records))
    assert found.run.config["identity"]["env"] == "imported:verl"
    assert {each.task_id for each in episodes} == {episodes[0].task_id} and episodes[0].task_id.endswith("-step7")
    assert [[(step.observation, step.action, step.is_valid) for step in each.steps] for each in episodes] == [
        [("Where is the cup?", 'find({"what": "cup"})', True), ("a shelf", "on the shelf", True)],
        [("Where is the cup?", "nowhere", True)],
    ]
    with pytest.raises(UserError, match="not a step of verl-agent"):
        import_run(tmp_path / "7.jsonl", tmp_path / "none", format="verl-agent")


def agent_line(taken: int, output: str, score: float) -> dict[str, Any]:
    history = f"you have already taken {taken} step(s). <information>seen {taken}</information>\n\n" if taken else ""
    prompt = f"Your question: Who?\n\n{history}Now it's your turn to respond for the current step."
    return {"input": prompt, "output": output, "score": score, "step": 1}


@pytest.mark.parametrize(
    ("said", "action"),
    [
        ("<search> Ann </search>", "<search>Ann</search>"),
        ("<answer>Ann</answer>", "<answer>Ann</answer>"),
        ("<code>\nprint(1)\n</code>", "print(1)"),
        ("<action>look</action>", "look"),
    ],
)
def test_every_tag_of_verl_agent_is_an_action(tmp_path: Path, said: str, action: str) -> None:
    records = [agent_line(0, f"<think>hm</think>{said}", 1.0), agent_line(1, "no tag", 1.0)]
    _, (episode,) = read(lines(tmp_path / "1.jsonl", *records))
    assert [(step.action, step.is_valid) for step in episode.steps] == [(action, True), ("no tag", False)]
    assert episode.steps[1].observation == "seen 1"


def trl_row(step: int, asked: str, said: str, **rewards: float | None) -> dict[str, Any]:
    return {
        "step": step,
        "prompt": [user(asked)],
        "completion": [{"role": "assistant", "content": said}],
        **rewards,
        "advantage": 0.5,
    }


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_completions_of_trl_are_read(tmp_path: Path, kind: str) -> None:
    rows = [
        trl_row(step, asked, said, correct=correct, short=0.25)
        for step in (1, 2)
        for asked in ("cup?", "pan?")
        for said, correct in (("shelf", 1.0), ("floor", None))
    ]
    path = lines(tmp_path / "completions_00001.jsonl", *rows)
    if kind == "parquet":
        path = tmp_path / "completions_00001.parquet"
        pq.write_table(pa.Table.from_pylist(rows), path)
    found, episodes = read(path)
    assert not found.bad and len(found.run.episodes["task_id"].unique()) == 4
    assert [each.steps[0].reward for each in episodes][:2] == [1.25, 0.25]
    assert {each.outcome for each in read(path, score="short")[1]} == {"failure"}


def test_a_table_of_chats_in_parquet_is_read_as_its_json(tmp_path: Path) -> None:
    record = {
        "task_id": "cup",
        "reward": 1.0,
        "messages": [user("find"), did("", {"name": "go", "args": {"to": "shelf"}})],
    }
    pq.write_table(pa.Table.from_pylist([record]), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet")[1] == read(lines(tmp_path / "a.jsonl", record))[1]


# tool calls, and whether they failed

CALLS = {
    "openai": {"type": "function", "function": {"name": "go", "arguments": '{"to": "hall"}'}},
    "openai, an object": {"function": {"name": "go", "arguments": {"to": "hall"}}},
    "langchain": {"name": "go", "args": {"to": "hall"}, "id": "1", "type": "tool_call"},
    "anthropic": {"name": "go", "input": {"to": "hall"}},
    "parameters": {"name": "go", "parameters": '{"to": "hall"}'},
    "kwargs": {"tool": "go", "kwargs": {"to": "hall"}},
    "empty beside full": {"name": "go", "arguments": "", "args": {"to": "hall"}},
    "beside the function": {"function": {"name": "go"}, "arguments": {"to": "hall"}},
}


@pytest.mark.parametrize("shape", CALLS)
def test_the_arguments_of_a_call_are_read_under_any_name(tmp_path: Path, shape: str) -> None:
    record = {"reward": 1, "messages": [user("find"), did("", CALLS[shape])]}
    _, (episode,) = read(lines(tmp_path / "log.jsonl", record))
    assert episode.steps[0].action == 'go({"to": "hall"})'


def test_arguments_under_a_name_that_nobody_knows_are_not_lost_in_silence(tmp_path: Path) -> None:
    record = {"reward": 1, "messages": [user("find"), did("", {"name": "go", "what_with": {"to": "hall"}})]}
    found, _ = read(lines(tmp_path / "log.jsonl", record, ONE))
    assert "unknown name 'what_with'" in found.bad[0].reason


FAILED = {
    "inspect": {"role": "tool", "content": "boom", "error": {"type": "timeout", "message": "boom"}},
    "anthropic": user([{"type": "tool_result", "content": "boom", "is_error": True}]),
    "langchain": {"role": "tool", "content": "boom", "status": "error"},
    "langchain, by its type": {"type": "tool", "content": "boom", "status": "error"},
    "mcp": {"role": "tool", "content": {"content": [{"type": "text", "text": "boom"}], "isError": True}},
    "mcp, as text": {"role": "tool", "content": '{"content": [{"type": "text", "text": "boom"}], "isError": true}'},
    "autogen": {"role": "tool", "content": "boom", "is_error": True},
}
FINE = {
    "inspect": {"role": "tool", "content": "ok", "error": None},
    "anthropic": user([{"type": "tool_result", "content": "ok", "is_error": False}]),
    "langchain": {"role": "tool", "content": "ok", "status": "success"},
    "openai": {"role": "tool", "content": "Error: no such door"},
}


@pytest.mark.parametrize("dialect", [*FAILED, *(f"{name}, fine" for name in FINE)])
def test_a_failure_that_a_tool_states_makes_its_step_invalid(tmp_path: Path, dialect: str) -> None:
    name = dialect.removesuffix(", fine")
    result = FAILED.get(dialect) or FINE[name]
    record = {"reward": 1, "messages": [user("find"), did("", CALLS["openai"]), result, did("done")]}
    _, (episode,) = read(lines(tmp_path / "log.jsonl", record))
    assert [step.is_valid for step in episode.steps] == [dialect not in FAILED, True]


def test_answers_without_an_observation_between_them_are_not_one_state(tmp_path: Path) -> None:
    records = [
        {"task_id": "t", "reward": 1, "messages": [user("go"), *map(did, walk)]} for walk in ("abc", "abd", "xbc")
    ]
    found, (first, second, third) = read(lines(tmp_path / "log.jsonl", *records))
    anchors = [[step.anchor for step in each.steps] for each in (first, second, third)]
    assert len(set(anchors[0])) == 3
    assert anchors[0] == anchors[1]  # the same actions led to the same states
    assert anchors[0][0] == anchors[2][0] and not set(anchors[0][1:]) & set(anchors[2][1:])
    assert found.run.step_table["next_anchor"][0] == anchors[0][1]


# errors, rewards, scores


@pytest.mark.parametrize("nothing", [False, None, "", 0, "none", "None", "null", "false", {}, [], {"message": ""}])
def test_what_says_that_there_was_no_error_is_none(tmp_path: Path, nothing: Any) -> None:
    result = {"prompt": "a", "completion": "b", "example_id": 1, "reward": 1.0, "error": nothing}
    for name, record in (("chat", {**ONE, "error": nothing}), ("results", result)):
        (episode,) = read(lines(tmp_path / f"{name}.jsonl", record))[1]
        assert (episode.outcome, episode.error) == ("success", None)
    alone = lines(tmp_path / "alone.jsonl", {"messages": ONE["messages"], "error": nothing})
    with pytest.raises(UserError, match="nothing says how it ended"):
        import_run(alone, tmp_path / "none")


@pytest.mark.parametrize("stated", [True, "timeout", {"type": "Timeout"}, ["timeout"], 500])
def test_what_states_an_error_is_one(tmp_path: Path, stated: Any) -> None:
    (episode,) = read(lines(tmp_path / "log.jsonl", {**ONE, "error": stated}))[1]
    assert episode.outcome == "error" and episode.error


@pytest.mark.parametrize("rewards", [1.0, "[1.0]", True, {"exact": 1.0}, "1"])
def test_rewards_that_are_no_list_are_refused_by_name(tmp_path: Path, rewards: Any) -> None:
    record = {"messages": ONE["messages"], "rewards": rewards}
    with pytest.raises(UserError, match=r"log.jsonl:1: rewards (is a list of numbers|has several values \(exact\))"):
        import_run(lines(tmp_path / "log.jsonl", record), tmp_path / "run")


@pytest.mark.parametrize("field", ["reward", "rewards", "score"])
def test_one_of_several_values_is_chosen_by_name(tmp_path: Path, field: str) -> None:
    path = lines(tmp_path / "log.jsonl", {"messages": ONE["messages"], field: {"exact": 1.0, "format": 0.5}})
    with pytest.raises(UserError, match=rf"{field} has several values \(exact, format\): choose one with --score"):
        import_run(path, tmp_path / "none")
    assert read(path, score="format")[1][0].score == 0.5


# Inspect


def sample(name: int, value: Any, **more: Any) -> dict[str, Any]:
    said = [user(f"q{name}"), {"role": "assistant", "content": "a"}]
    return {
        "id": name,
        "epoch": 1,
        "input": f"q{name}",
        "messages": said,
        "scores": {"match": {"value": value}},
        **more,
    }


def inspect_log(path: Path, created: str, *samples: Any, **about: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    log = {"version": 2, "eval": {"task": "sums", "model": "m", "created": created, **about}, "samples": samples}
    path.write_text(json.dumps(log))
    return path


@pytest.mark.parametrize("about", [{}, {"task_id": "T"}])
def test_a_sample_in_a_log_and_in_its_retry_counts_once(tmp_path: Path, about: dict[str, str]) -> None:
    lost = {"message": "away"}
    # named so that the newer log comes first
    inspect_log(
        tmp_path / "logs" / "b.json",
        "2026-01-01T10:00",
        sample(1, "I", uuid="u1"),
        sample(2, "C", uuid="u2", error=lost),
        **about,
    )
    inspect_log(
        tmp_path / "logs" / "a.json", "2026-01-01T11:00", sample(1, "C", uuid="u1"), sample(2, "I", uuid="u3"), **about
    )
    found, episodes = read(tmp_path / "logs")
    outcomes = [(each.task_id, each.outcome) for each in episodes]
    assert outcomes[0] == ("sums:1", "success") and outcomes.count(outcomes[0]) == 1
    assert len(outcomes) == (2 if about else 3)  # without the evaluation's id, nothing ties the failed try to the other
    assert "the newest counts" in notes_of(found)


def test_a_judged_sample_without_an_answer_counts_in_every_format(tmp_path: Path) -> None:
    silent = sample(2, "I") | {"messages": [user("q2")], "limit": {"type": "token", "limit": 1}}
    logs = [
        inspect_log(tmp_path / "log.json", "2026", sample(1, "C"), silent),
        lines(tmp_path / "chat.jsonl", ONE, {"task_id": "b", "reward": 0.0, "messages": [user("q")]}),
        lines(tmp_path / "results.jsonl", rollout(0, "a", 1.0), {**rollout(1, "b", 0.0), "completion": []}),
    ]
    for log in logs:
        found, episodes = read(log)
        assert not found.bad
        assert sorted((each.outcome, len(each.steps)) for each in episodes) == [("failure", 0), ("success", 1)]


def test_scores_of_several_values_and_of_old_logs(tmp_path: Path) -> None:
    several = inspect_log(tmp_path / "several.json", "2026", sample(1, {"exact": 1, "style": 0.5}))
    with pytest.raises(UserError, match=r"choose one of exact of match, style of match \(--score\)"):
        import_run(several, tmp_path / "none")
    assert read(several, score="style")[1][0].score == 0.5
    old = sample(1, None) | {"score": {"value": "C"}}
    del old["scores"]
    assert read(inspect_log(tmp_path / "old.json", "2024", old))[1][0].outcome == "success"


# models


def test_lines_of_several_models_are_refused_by_name_and_can_be_chosen(tmp_path: Path) -> None:
    path = lines(tmp_path / "log.jsonl", {**ONE, "model": "small"}, {**ONE, "model": "large", "reward": 0.0})
    with pytest.raises(UserError, match=r"several models \(large, small\).*--model"):
        import_run(path, tmp_path / "none")
    found, episodes = read(path, model="large")
    assert [each.outcome for each in episodes] == ["failure"]
    assert found.run.config["identity"]["policy"] == "large"
    with pytest.raises(UserError, match="did you mean large"):
        import_run(path, tmp_path / "none", options=Options(model="larg"))


# how a file is packed, encoded and laid out

TEXT = json.dumps(ONE)
CELL = '"' + json.dumps(ONE["messages"]).replace('"', '""') + '"'
LAYOUTS = {
    "one.json": TEXT.encode(),
    "pretty.json": json.dumps(ONE, indent=2).encode(),
    "pretty.jsonl": json.dumps(ONE, indent=2).encode(),
    "list.jsonl": json.dumps([ONE]).encode(),
    "list.json": json.dumps([ONE], indent=1).encode(),
    "wrapped.json": json.dumps({"episodes": [ONE]}).encode(),
    "mark.jsonl": b"\xef\xbb\xbf" + TEXT.encode(),
    "mark.json": b"\xef\xbb\xbf" + json.dumps([ONE], indent=1).encode(),
    "utf16.jsonl": TEXT.encode("utf-16"),
    "utf16be.json": TEXT.encode("utf-16-be"),
    "utf32.jsonl": TEXT.encode("utf-32"),
    "a.jsonl.gz": gzip.compress(TEXT.encode()),
    "a.jsonl.bz2": bz2.compress(TEXT.encode()),
    "a.json.xz": lzma.compress(json.dumps(ONE, indent=2).encode()),
    "a.jsonl.zst": pa.compress(TEXT.encode(), codec="zstd", asbytes=True),
    "misnamed.jsonl": gzip.compress(TEXT.encode("utf-16")),
    "a.csv": b"task_id,reward,messages\ncup,1.0," + CELL.encode() + b"\n",
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_file_is_read_however_it_is_packed_and_laid_out(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / name).write_bytes(LAYOUTS[name])
    for source in (folder / name, folder):
        found = import_run(source, tmp_path / f"run-{source.name}")
        (episode,) = found.run.read_episodes()
        assert (episode.task_id, episode.steps[0].action, episode.outcome) == ("cup", "shelf", "success")
        assert not found.bad


UNREADABLE = {
    "empty.jsonl": (b"", "the file is empty"),
    "blank.jsonl": (b"\n \n", "only white space"),
    "table.csv": (b"run,rate\na,0.5\n", "a table with the columns run, rate, and no log"),
    "cut.json": (b'{\n "task_id": "a",\n "messages": [', "cut.json:1: not JSON .*ends in the middle"),
    "cut.gz": (gzip.compress(TEXT.encode() * 1000)[:-200], "damaged"),
    "latin.jsonl": (b'{"task_id": "caf\xe9"}\n', "not UTF-8 text .byte 0xe9 in line 1"),
    "a.zip.json": (b"PK\x05\x06" + bytes(18), "zip archive"),
    "torn.parquet": (b"PAR1 torn", "no whole Parquet file"),
    "object.pkl": (b"\x80\x04\x95", "pickle"),
    "page.json": (b"<html></html>", "page.json:1: not JSON"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_refused_with_the_reason_and_the_place(tmp_path: Path, name: str) -> None:
    content, reason = UNREADABLE[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=reason) as refused:
        import_run(tmp_path / name, tmp_path / "run")
    assert "cannot tell" not in str(refused.value) and str(tmp_path / name) in str(refused.value)


def test_a_cut_list_is_read_up_to_the_cut(tmp_path: Path) -> None:
    (tmp_path / "log.json").write_text(json.dumps([ONE, ONE, ONE])[:-40])
    found, episodes = read(tmp_path / "log.json")
    assert len(episodes) == 2
    assert [(bad.where, "the file ends" in bad.reason) for bad in found.bad] == [("log.json[2]", True)]
    assert "left out: 1 part of the logs" in notes_of(found)


def test_a_picture_held_as_bytes_in_parquet_is_told_from_another(tmp_path: Path) -> None:
    rows = [
        {"reward": 1.0, "messages": [user("what?"), did("x")], "images": [{"bytes": base64.b64decode(data)}]}
        for data in ("QQ==", "/w==")
    ]
    for row in rows:
        row["messages"][1].pop("tool_calls")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert len({each.task_id for each in read(tmp_path / "a.parquet")[1]}) == 2


# what stays on the record


def command(*words: object) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "agentbench", *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, check=True, env=None)


def test_an_import_that_was_killed_says_so_wherever_a_number_is_shown(tmp_path: Path) -> None:
    path = lines(tmp_path / "log.jsonl", *(ONE | {"reward": float(number % 2)} for number in range(4)), {"messages": 5})
    run = import_run(path, tmp_path / "run").run
    whole = journals.stored(run.folder)
    journals.store(run.folder, whole[:2])
    for table in ("episodes.parquet", "steps.parquet", "tables.json"):
        (run.folder / table).unlink()
    again = import_run(path, tmp_path / "other").run
    for words in (
        ("show", run.folder),
        ("compare-runs", again.folder, run.folder),
        ("credit", run.folder, "--scheme", "grpo"),
        ("report", run.folder, "--out", tmp_path / "page.html"),
        ("export", run.folder, "--to", "csv", "--out", tmp_path / "tables"),
    ):
        done = command(*words)
        told = " ".join((done.stdout + done.stderr).split())
        assert "2 of 4 episodes" in told, words
        assert "log.jsonl:5" in told and "left out" in told, words
    assert '"expected":4' in (tmp_path / "page.html").read_text().replace(" ", "")
    import_run(path, run.folder)
    assert journals.stored(run.folder) == whole
    assert "not finished" not in notes_of(import_run(path, run.folder))


def test_texts_that_were_cut_are_told_and_the_limit_can_be_set(tmp_path: Path) -> None:
    record = {**ONE, "messages": [user("x" * 21_000), did("y")]}
    path = lines(tmp_path / "log.jsonl", record)
    found, (episode,) = read(path)
    assert episode.steps[0].observation.endswith("[cut: 21000 characters]")
    assert "1 episodes have texts of more than 20,000 characters" in notes_of(found)
    found, (episode,) = read(path, max_text=30_000)
    assert len(episode.steps[0].observation) == 21_000 and notes_of(found) == ""


def test_a_run_that_was_read_otherwise_is_not_mixed_with(tmp_path: Path) -> None:
    path = lines(tmp_path / "log.jsonl", ONE)
    run = import_run(path, tmp_path / "run").run
    stored = run.read_episodes()
    stored[0].steps[0].action = "another"
    from agentbench.runs.episodes import to_line

    journals.store(run.folder, [to_line(stored[0]).encode()])
    with pytest.raises(UserError, match="as another version of agentbench read them"):
        import_run(path, run.folder)


@pytest.mark.parametrize("text", ["{}\n{}\n", "{}", "[{}, {}]", "\n\n", "[]"])
@pytest.mark.parametrize("name", ["log.jsonl", "log.json"])
def test_a_file_of_nothing_is_told_as_what_it_is(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as caught:
        import_run(tmp_path / name, tmp_path / "run")
    assert name in str(caught.value) and "\n" not in str(caught.value)
