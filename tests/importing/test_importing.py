"""Logs of other programs become runs. The logs here are made by hand in the published formats.

Inspect: inspect_ai, log version 2 (``header.json``, ``samples/<id>_epoch_<n>.json``, attachments, Zstandard members).
verifiers: ``utils/save_utils.py`` (``results.jsonl`` and ``metadata.json``). verl-agent: ``_dump_generations`` of its
trainer and its ALFWorld prompts.
"""

import json
import struct
import subprocess
import sys
import zipfile
import zlib

import journals
import pyarrow as pa
import pytest

from agentbench.evaluation.evaluate import evaluate
from agentbench.importing import import_run
from agentbench.importing.parts import Options
from credit import advantages
from envs.base.errors import UserError


def write_lines(path, records):
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return path


def user(text):
    return {"role": "user", "content": text}


def assistant(text, *calls):
    return {"role": "assistant", "content": text, "tool_calls": list(calls)}


def tool(text, **more):
    return {"role": "tool", "content": text, **more}


def chat_call(name, arguments):
    return {"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}}


CHAT = {
    "task_id": "key",
    "messages": [
        {"role": "system", "content": "be good"},
        user("find the key"),
        assistant("I look.", chat_call("open", '{"b": 1, "a": "é"}')),
        tool("a drawer"),
        assistant([{"type": "text", "text": "done"}]),
        user("well done"),
    ],
    "rewards": [0.25, 0.75],
}


def test_a_chat_log_becomes_steps(tmp_path):
    run = import_run(write_lines(tmp_path / "a.jsonl", [CHAT]), tmp_path / "run").run
    (episode,) = run.read_episodes()
    first, last = episode.steps
    assert (first.observation, first.action, first.text) == ("find the key", 'open({"a": "é", "b": 1})', "I look.")
    assert (last.observation, last.action, last.text) == ("a drawer", "done", None)
    assert [step.reward for step in episode.steps] == [0.25, 0.75]
    assert (last.terminated, last.truncated, last.score) == (True, False, 1.0)
    assert (episode.outcome, episode.instruction, episode.final_observation) == ("success", "find the key", "well done")
    assert run.step_table["next_anchor"][0] == run.step_table["anchor"][1]


OPEN = [("find the key", 'open({"what": "drawer"})', 0.0), ("a key", "done", 1.0)]
"""What was seen, done and earned in each of the conversations below."""
SHAREGPT = [
    {"from": "system", "value": "be good"},
    {"from": "human", "value": "find the key"},
    {"from": "function_call", "value": '{"name": "open", "arguments": {"what": "drawer"}}'},
    {"from": "observation", "value": "a key"},
    {"from": "gpt", "value": "done"},
]
ANTHROPIC = [
    user("find the key"),
    assistant([{"type": "text", "text": "I look."}, {"type": "tool_use", "name": "open", "input": {"what": "drawer"}}]),
    {"role": "user", "content": [{"type": "tool_result", "content": [{"type": "text", "text": "a key"}]}]},
    assistant("done"),
]
OLD_OPENAI = [
    user("find the key"),
    {"role": "assistant", "function_call": {"name": "open", "arguments": '{"what": "drawer"}'}},
    {"role": "function", "name": "open", "content": "a key"},
    assistant("done"),
]


@pytest.mark.parametrize(
    "line", [{"conversations": SHAREGPT}, {"conversation": SHAREGPT}, {"messages": ANTHROPIC}, {"messages": OLD_OPENAI}]
)
def test_common_shapes_of_chats_are_read(tmp_path, line):
    record = {**line, "reward": 1}
    (tmp_path / "list.json").write_text(json.dumps([record]))
    for path in (write_lines(tmp_path / "lines.jsonl", [record]), tmp_path / "list.json"):
        found = import_run(path, tmp_path / path.stem)
        (episode,) = found.run.read_episodes()
        assert [(step.observation, step.action, step.reward) for step in episode.steps] == OPEN
        assert not found.bad


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        (
            [{"instruction": "a", "input": "", "output": "b"}],
            "has instruction: text, input: text, output: text",
        ),
        ([{"prompt": "a", "chosen": "b", "rejected": "c"}], "choose one of chat, inspect"),
        (
            [{"messages": [user("a"), assistant("b")]}] * 3,
            "a.jsonl:1 and 2 more: nothing says how it ended: add one of",
        ),
        ([{"conversations": [{"from": "elf", "value": "a"}], "reward": 1}], "the unknown role 'elf'"),
    ],
)
def test_what_is_no_log_of_episodes_is_refused_with_what_it_lacks(tmp_path, records, reason):
    with pytest.raises(UserError) as refused:
        import_run(write_lines(tmp_path / "a.jsonl", records), tmp_path / "run")
    assert reason in str(refused.value)


def test_without_a_task_id_the_first_user_message_makes_the_group(tmp_path):
    def said(text, reward):
        return {"messages": [user(text), assistant("x")], "reward": reward}

    lines = [said("one", 1), said("two", 0), said("one", 0)]
    found = import_run(write_lines(tmp_path / "a.jsonl", lines), tmp_path / "run").run.episodes
    assert sorted(zip(found["instruction"], found["trial"], found["outcome"], strict=True)) == [
        ("one", 0, "success"),
        ("one", 1, "failure"),
        ("two", 0, "failure"),
    ]


@pytest.mark.parametrize(
    ("fields", "outcome", "score"),
    [
        ({"reward": 10}, "success", 1.0),
        ({"reward": 0.5}, "failure", 0.5),
        ({"reward": -1}, "failure", 0.0),
        ({"success": True}, "success", 1.0),
        ({"reward": 0.2, "success": True, "score": 0.9}, "success", 0.9),
        ({"error": "the server was away"}, "error", 0.0),
    ],
)
def test_the_outcome_is_what_the_log_says_and_else_what_the_reward_says(tmp_path, fields, outcome, score):
    line = {"messages": [user("one"), assistant("x")], **fields}
    (episode,) = import_run(write_lines(tmp_path / "a.jsonl", [line]), tmp_path / "run").run.read_episodes()
    assert (episode.outcome, episode.score, episode.won) == (outcome, score, outcome == "success")


def test_the_anchor_is_the_observation_or_the_whole_history(tmp_path):
    def walk(*moves):
        said = [message for move in moves for message in (assistant(move), tool("a room"))]
        return {"messages": [user("go"), *said], "success": True}

    path = write_lines(tmp_path / "a.jsonl", [walk("left", "on"), walk("right", "on"), walk("left", "off")])

    def anchors(anchor):
        run = import_run(path, tmp_path / anchor, options=Options(anchor=anchor)).run
        table = run.step_table
        return [tuple(table[table["trial"] == trial]["anchor"]) for trial in range(3)]

    by_observation, by_history = anchors("observation"), anchors("history")
    assert len(set(by_observation)) == 1
    assert by_history[0] == by_history[2]
    assert by_history[0][0] == by_history[1][0]
    assert by_history[0][1] != by_history[1][1]


BAD_LINES = [
    ("{", "not JSON"),
    ("[1]", "not a JSON object"),
    ('{"reward": 1}', "the messages are not a list"),
    ('{"messages": [], "reward": 1}', "no assistant message"),
    ('{"messages": [3], "reward": 1}', "unknown role"),
    ('{"messages": [{"role": "assistant", "content": "x"}]}', "nothing says how it ended"),
    ('{"messages": [{"role": "assistant", "content": "x"}], "reward": NaN}', "not finite"),
    ('{"messages": [{"role": "assistant", "content": "x"}], "reward": "1"}', "not a number"),
    ('{"messages": [{"role": "assistant", "content": "x"}], "reward": 1' + "0" * 400 + "}", "not finite"),
    ('{"messages": [{"role": "assistant", "content": "x"}], "rewards": [1, 2]}', "2 rewards for 1 steps"),
    ('{"messages": [{"role": "assistant", "content": "x"}], "score": 2}', "not between 0 and 1"),
    ('{"messages": [{"role": "assistant", "content": 5}], "reward": 1}', "not text"),
    ('{"messages": [{"role": "assistant", "tool_calls": 5}], "reward": 1}', "not a list"),
    ('{"messages": [{"role": "assistant", "tool_calls": [{}]}], "reward": 1}', "no name"),
    ('{"messages": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
]


def test_bad_lines_are_named_and_left_out(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join([json.dumps(CHAT), *(line for line, _ in BAD_LINES), json.dumps(CHAT)]))
    found = import_run(path, tmp_path / "run")
    assert len(found.run.episodes) == 2
    assert [part.where for part in found.bad] == [f"a.jsonl:{number}" for number in range(2, len(BAD_LINES) + 2)]
    for part, (line, reason) in zip(found.bad, BAD_LINES, strict=True):
        assert reason in part.reason, line[:80]


def inspect_sample(name, epoch, value, **more):
    return {
        "id": name,
        "epoch": epoch,
        "input": [user("example?"), assistant("so"), user("compute 2+2")],
        "target": "4",
        "messages": [
            {"role": "system", "content": "s"},
            user("example?"),
            assistant("so"),
            user("attachment://abc"),
            assistant("", {"id": "c", "function": "python", "arguments": {"code": "2+2"}, "type": "function"}),
            tool("boom", error={"type": "unknown", "message": "boom"}),
            assistant([{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "4"}]),
        ],
        "attachments": {"abc": "compute 2+2"},
        "scores": {"judge": {"value": {"a": 1}}, "match": {"value": value, "answer": "4"}},
        **more,
    }


def write_eval(path, samples, model="mock/model"):
    header = {"version": 2, "status": "success", "eval": {"task": "sums", "model": model}}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("_journal/start.json", json.dumps(header))
        for sample in samples:
            archive.writestr(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", json.dumps(sample))
        archive.writestr("header.json", json.dumps(header))
    return path


def test_an_inspect_log_becomes_a_run(tmp_path):
    limit = {"type": "message", "limit": 5}
    samples = [inspect_sample("a", 10, "I"), inspect_sample("a", 2, "C"), inspect_sample(7, 1, 0.5, limit=limit)]
    samples.append(inspect_sample("b", 1, "C", error={"message": "timeout", "traceback": "…"}))
    run = import_run(write_eval(tmp_path / "log.eval", samples), tmp_path / "run").run
    episodes = {(each.task_id, each.trial): each for each in run.read_episodes()}
    assert {key: each.outcome for key, each in episodes.items()} == {
        ("sums:a", 0): "success",
        ("sums:a", 1): "failure",
        ("sums:7", 0): "failure",
        ("sums:b", 0): "error",
    }
    assert run.config["identity"]["policy"] == "mock/model"
    first, last = episodes["sums:a", 0].steps
    assert first.action == 'python({"code": "2+2"})'
    assert "compute 2+2" in first.observation
    assert "so" in first.observation  # what an example's assistant said was seen, and is no step
    assert (first.is_valid, last.is_valid) == (False, True)
    assert last.action == "4"
    assert episodes["sums:7", 0].steps[-1].truncated
    assert episodes["sums:b", 0].error == "timeout"


def test_an_inspect_log_as_json_is_the_same(tmp_path):
    samples = [inspect_sample("a", 1, "C"), inspect_sample("a", 2, "I")]
    log = {"version": 2, "eval": {"task": "sums", "model": "mock/model"}, "samples": samples}
    (tmp_path / "log.json").write_text(json.dumps(log))
    one = import_run(tmp_path / "log.json", tmp_path / "one").run
    two = import_run(write_eval(tmp_path / "log.eval", samples), tmp_path / "two").run
    assert one.read_episodes() == two.read_episodes()
    (tmp_path / "log.json").rename(tmp_path / "misnamed.eval")
    assert import_run(tmp_path / "misnamed.eval", tmp_path / "three").run.read_episodes() == two.read_episodes()


@pytest.mark.parametrize("kind", [pytest.param("chat", marks=pytest.mark.slow), "inspect"])
def test_what_we_export_comes_back(tmp_path, kind):
    run = evaluate("alfworld", "mixed:0.5", split="generated:0:2", trials=2, inline=True, out=tmp_path / "run").run
    command = [sys.executable, "-m", "agentbench", "export", run.folder, "--to", kind, "--out", tmp_path / "log.jsonl"]
    subprocess.run([*map(str, command)], check=True, capture_output=True)
    back = import_run(tmp_path / "log.jsonl", tmp_path / "back", format=kind).run
    pairs = list(zip(run.read_episodes(), back.read_episodes(), strict=True))
    for ours, theirs in pairs:
        assert (theirs.trial, theirs.outcome, theirs.score) == (ours.trial, ours.outcome, ours.score)
        assert theirs.task_id.endswith(ours.task_id)
        assert [step.action for step in theirs.steps] == [step.action for step in ours.steps]
        assert [step.observation for step in theirs.steps[1:]] == [step.observation for step in ours.steps[1:]]


def test_the_scorer_can_be_chosen(tmp_path):
    sample = inspect_sample("a", 1, "C")
    sample["scores"]["other"] = {"value": 0}
    path = write_eval(tmp_path / "log.eval", [sample])
    (episode,) = import_run(path, tmp_path / "run", options=Options(scorer="other")).run.read_episodes()
    assert episode.outcome == "failure"
    with pytest.raises(UserError, match="no scorer 'nobody': there is judge, match, other"):
        import_run(path, tmp_path / "none", options=Options(scorer="nobody"))


def repack_zstandard(path):
    """Rewrite an archive's members as Zstandard, which zipfile itself cannot write before Python 3.14."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    body, directory = b"", b""
    for name, content in members.items():
        packed, raw = pa.compress(content, codec="zstd", asbytes=True), name.encode()
        fields = (93, 0, 0, zlib.crc32(content), len(packed), len(content), len(raw), 0)
        directory += (
            struct.pack(
                "<4s4B4HL2L5H2L", b"PK\x01\x02", 63, 0, 63, 0, 0, *fields[:3], *fields[3:], 0, 0, 0, 0, len(body)
            )
            + raw
        )
        body += struct.pack("<4s2B4HL2L2H", b"PK\x03\x04", 63, 0, 0, *fields) + raw + packed
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, len(members), len(members), len(directory), len(body), 0)
    path.write_bytes(body + directory + end)


def test_members_packed_with_zstandard_are_read(tmp_path):
    samples = [inspect_sample("a", 1, "C")]
    plain = import_run(write_eval(tmp_path / "a.eval", samples), tmp_path / "plain").run
    repack_zstandard(write_eval(tmp_path / "b.eval", samples))
    assert import_run(tmp_path / "b.eval", tmp_path / "packed").run.read_episodes() == plain.read_episodes()


def test_damaged_samples_are_named(tmp_path):
    path = write_eval(tmp_path / "log.eval", [inspect_sample("good", 1, "C"), inspect_sample("none", 1, {"a": 1})])
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("samples/torn_epoch_1.json", '{"id": ')
        archive.writestr("samples/empty_epoch_1.json", "{}")
    content = bytearray(path.read_bytes())
    found = import_run(path, tmp_path / "run")
    assert len(found.run.episodes) == 1
    assert [part.where.partition(" ")[2] for part in found.bad] == [
        "'samples/empty_epoch_1.json'",
        "'samples/none_epoch_1.json'",
        "'samples/torn_epoch_1.json'",
    ]
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="not a whole zip archive"):
        import_run(path, tmp_path / "none")


def test_results_of_verifiers_become_a_run(tmp_path):
    def line(example, reward, **more):
        call = json.dumps({"id": "1", "name": "look", "arguments": '{"at": "table"}'})
        completion = [assistant("", call), tool("a cup", tool_call_id="1"), assistant("cup")]
        prompt = [{"role": "system", "content": "s"}, user("what is there?")]
        return {"example_id": example, "task": "rooms", "prompt": prompt, "completion": completion, "answer": "cup",
                "reward": reward, "metrics": {"exact": reward}, **more}  # fmt: skip

    error = {"error": "ModelError", "error_chain_repr": "ModelError -> Timeout", "error_chain_str": "…"}
    lines = [line(0, 1.0), line(0, 0.0, is_truncated=True), line(1, 0.5), line(1, 0.0, error=error), line(2, None)]
    lines.append({"id": 3, "prompt": "2+2=", "completion": "4", "reward": 1.0})
    (tmp_path / "metadata.json").write_text('{"model": "some/model", "env_id": "rooms"}')
    found = import_run(write_lines(tmp_path / "results.jsonl", lines), tmp_path / "run")
    assert [(part.where, part.reason) for part in found.bad] == [("results.jsonl:5", "it has no reward")]
    episodes = {(each.task_id, each.trial): each for each in found.run.read_episodes()}
    assert {key: each.outcome for key, each in episodes.items()} == {
        ("rooms:0", 0): "success",
        ("rooms:0", 1): "failure",
        ("rooms:1", 0): "failure",
        ("rooms:1", 1): "error",
        ("imported:3", 0): "success",
    }
    assert [step.action for step in episodes["rooms:0", 0].steps] == ['look({"at": "table"})', "cup"]
    assert episodes["rooms:0", 1].steps[-1].truncated
    assert found.run.config["identity"]["policy"] == "some/model"


def verl_line(step, observation, action, score, task="cool some lettuce", training_step=5, **more):
    prompt = (
        "user\nYou are an expert agent operating in the ALFRED Embodied Environment. Your task is to: "
        f"{task}\nPrior to this step, you have already taken {step - 1} step(s). Below are the most recent 2 "
        f"observaitons and the corresponding actions you took: …\nYou are now at step {step} and your current "
        f"observation is: {observation}\nYour admissible actions of the current situation are: ['go to fridge 1',\n "
        "'look'].\n\nNow it's your turn to take an action.\nassistant\n"
    )
    return {"input": prompt, "output": f"<think>hm</think><action>{action}</action>", "score": score,
            "step": training_step, **more}  # fmt: skip


def verl_episode(actions, score, **more):
    seen = ["a room", *(f"after {action}" for action in actions)]
    return [verl_line(index + 1, seen[index], action, score, **more) for index, action in enumerate(actions)]


def test_a_dump_of_verl_agent_becomes_a_run(tmp_path):
    first, second = verl_episode(["look", "go to fridge 1"], 10.0), verl_episode(["go to fridge 1"], 0.0)
    second += [{**verl_line(2, "after go to fridge 1", "", -0.1), "output": "I do not know"}]
    path = write_lines(tmp_path / "5.jsonl", first + second + [first[1]])
    found = import_run(path, tmp_path / "run")
    assert [(part.where, part.reason) for part in found.bad] == [
        ("5.jsonl:5", "a copy of an earlier line, made to fill a batch")
    ]
    won, lost = found.run.read_episodes()
    assert won.task_id == lost.task_id
    assert won.task_id.endswith("-step5")
    assert (won.instruction, won.outcome, won.score) == ("cool some lettuce", "success", 1.0)
    assert [step.action for step in won.steps] == ["look", "go to fridge 1"]
    assert won.steps[0].observation == "a room"
    assert won.steps[0].admissible_actions == ["go to fridge 1", "look"]
    assert [step.reward for step in won.steps] == [0.0, 10.0]
    assert lost.outcome == "failure"
    assert [step.reward for step in lost.steps] == [0.0, 0.0]  # the penalty of one line is not the episode's reward
    assert [(step.is_valid, step.action) for step in lost.steps][1] == (False, "I do not know")


def test_scrambled_lines_of_verl_agent_are_refused_unless_they_have_ids(tmp_path):
    first, second = (
        verl_episode(actions, score, traj_uid=f"t{score}", uid="g")
        for actions, score in ((["look", "look"], 10.0), (["go", "look"], 0.0))
    )
    scrambled = [second[1], first[0], first[1], second[0]]
    plain = [{name: line[name] for name in ("input", "output", "score", "step")} for line in scrambled]
    with pytest.raises(UserError, match=r"not in the order of the episodes .*balance_batch=False"):
        import_run(write_lines(tmp_path / "a.jsonl", plain), tmp_path / "none")
    found = import_run(write_lines(tmp_path / "b.jsonl", scrambled), tmp_path / "run")
    assert sorted((each.task_id, each.outcome, len(each.steps)) for each in found.run.read_episodes()) == [
        ("g-step5", "failure", 2),
        ("g-step5", "success", 2),
    ]
    torn = import_run(write_lines(tmp_path / "c.jsonl", scrambled[:3]), tmp_path / "torn")
    assert "steps of this episode are missing" in torn.bad[0].reason


def test_rollouts_of_different_training_steps_are_no_group(tmp_path):
    (tmp_path / "dumps").mkdir()
    for step in (1, 2):
        lines = verl_episode(["look"], 10.0, training_step=step) + verl_episode(["go"], 0.0, training_step=step)
        write_lines(tmp_path / "dumps" / f"{step}.jsonl", lines)
    run = import_run(tmp_path / "dumps", tmp_path / "run").run
    assert sorted(run.episodes["trial"]) == [0, 0, 1, 1]
    assert run.steps().group.max() == 1


def test_importing_again_changes_nothing_and_other_logs_are_refused(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", [CHAT, CHAT])
    first = import_run(path, tmp_path / "run").run
    before = journals.stored(first.folder)
    import_run(path, tmp_path / "run")
    assert journals.stored(first.folder) == before
    with pytest.raises(UserError, match="holds a run of another configuration"):
        import_run(write_lines(tmp_path / "b.jsonl", [CHAT]), tmp_path / "run")


def test_mistakes_are_one_clear_line(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        import_run(tmp_path / "none", tmp_path / "run")
    with pytest.raises(UserError, match="holds no log"):
        import_run(tmp_path, tmp_path / "run")
    with pytest.raises(UserError, match="did you mean chat"):
        import_run(tmp_path, tmp_path / "run", format="chats")
    with pytest.raises(UserError, match="cannot tell the format"):
        import_run(write_lines(tmp_path / "x.jsonl", [{"a": 1}]), tmp_path / "run")
    with pytest.raises(UserError, match=r"holds no episode of the format 'chat' \(x.jsonl:1: "):
        import_run(tmp_path / "x.jsonl", tmp_path / "run", format="chat")
    (tmp_path / "logs").mkdir()
    write_eval(tmp_path / "logs" / "a.eval", [inspect_sample("a", 1, "C")], model="one")
    write_eval(tmp_path / "logs" / "b.eval", [inspect_sample("a", 1, "C")], model="two")
    with pytest.raises(UserError, match=r"several models \(one, two\)"):
        import_run(tmp_path / "logs", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_link_leads_nowhere_out_of_a_folder_of_logs(tmp_path):
    logs, secret = tmp_path / "logs", write_lines(tmp_path / "secret.jsonl", [CHAT])
    logs.mkdir()
    write_lines(logs / "a.jsonl", [CHAT])
    (logs / "same.jsonl").symlink_to("a.jsonl")
    assert len(import_run(logs, tmp_path / "within").run.episodes) == 2
    (logs / "b.jsonl").symlink_to(secret)
    with pytest.raises(UserError, match=r"b\.jsonl is a link out of the folder, to .*secret\.jsonl: remove it"):
        import_run(logs, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_schemes_read_an_imported_run(tmp_path):
    def said(action, reward):
        return {"messages": [user("one"), assistant("look"), tool("a room"), assistant(action)], "reward": reward}

    path = write_lines(tmp_path / "a.jsonl", [said("left", 1), said("right", 0), said("left", 1)])
    steps = import_run(path, tmp_path / "run").run.steps()
    found = advantages("gigpo", steps)
    assert found.shape == (6,)
    assert found[1] > 0 > found[3]


def test_the_command_line_names_what_it_left_out(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(CHAT) + "\nrubbish\n")
    command = [sys.executable, "-m", "agentbench", "import", str(path), "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "left out a.jsonl:2: not JSON" in done.stderr
    assert "1 left out" in done.stderr
    assert "unknown on imported:chat" in done.stdout


@pytest.mark.parametrize("kind", ["chat", "verifiers", "verl-agent", "inspect"])
def test_no_rubbish_stops_a_reader(tmp_path, kind):
    """Every field of a good record becomes each of many wrong values: an episode or a named reason, never a crash."""
    good = {
        "chat": CHAT,
        "verifiers": {"example_id": 1, "task": "t", "prompt": [user("a")], "completion": [assistant("b")], "reward": 1},
        "verl-agent": verl_line(1, "a", "b", 1.0),
        "inspect": inspect_sample("a", 1, "C"),
    }[kind]
    wrong = [None, True, 3, 1e308, "", "\ud800\x00", [], [[]], {}, {"role": []}, [{"role": "assistant"}], [None], -1]
    changed = [{**good, field: value} for field in good for value in wrong]
    if kind == "inspect":
        path = tmp_path / "log.json"
        path.write_text(json.dumps({"eval": {"task": "t"}, "samples": [good, *changed, *wrong]}))
    else:
        path = write_lines(tmp_path / "log.jsonl", changed)
    found = import_run(path, tmp_path / "run", format=kind)
    assert len(found.run.episodes) > 0
    assert len(found.bad) > 0
