"""``agentbench serve``: OpenEnv's own client over a socket, many sessions, faults, and frames that nobody can read."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import toy_environment  # noqa: F401  (the environment "toy")

pytest.importorskip("openenv", reason="serving needs OpenEnv: pip install -e '.[openenv]'")

from served_here import serving
from websockets.asyncio.client import connect

from agentbench.integrations.openenv.client import AgentbenchEnv
from agentbench.integrations.openenv.environment import ENDED
from agentbench.integrations.openenv.frames import GONE, fault_of
from agentbench.integrations.openenv.models import TextAction
from agentbench.integrations.openenv.server.app import Served
from envs import make
from envs.base.errors import UserError


@pytest.fixture(scope="module")
def alfworld() -> Iterator[str]:
    with serving("alfworld", ["generated:0:4:small", "generated:1:2:small"], {"max_steps": 9}, inline=True) as address:
        yield address


def ask(address: str, path: str, body: Any = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address + path, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_an_episode_by_openenvs_client_is_that_of_the_environment(alfworld: str) -> None:
    environment = make("alfworld", split="generated:0:4:small", max_steps=9)
    task = environment.tasks[2]
    text, info = environment.reset(seed=5, options={"task": task.id})
    with AgentbenchEnv(base_url=alfworld).sync() as client:
        found = client.reset(seed=5, split="generated:0:4:small", index=2, episode_id="mine")
        assert (found.observation.text, found.reward, found.done) == (text, 0.0, False)
        assert found.observation.task_id == task.id and found.observation.instruction == info["instruction"]
        total, ended = 0.0, False
        for action in [*info["walkthrough"], "look", "look", "look", "look", "look", "look", "look", "look", "look"]:
            text, _, terminated, truncated, info = environment.step(action)
            found = client.step(TextAction(action=action))
            seen, total = found.observation, total + found.reward
            assert (seen.text, seen.admissible_actions) == (text, info["admissible_actions"])
            assert (seen.score, seen.won, seen.is_valid) == (info["score"], info["won"], info["is_valid"])
            assert seen.truncated == truncated and found.done == (terminated or truncated)
            assert total == pytest.approx(seen.score)
            if ended := found.done:
                break
        state = client.state()
        assert ended and state.done and state.score == info["score"] and state.episode_id == "mine"


def test_the_task_api_needs_no_session(alfworld: str) -> None:
    assert ask(alfworld, "/list_environments")[1] == ["alfworld"]
    names = [each["name"] for each in ask(alfworld, "/alfworld/splits")[1]]
    assert names == ["generated:0:4:small", "generated:1:2:small"]
    split = {"split": names[0]}
    assert ask(alfworld, "/alfworld/num_tasks", split)[1] == {"num_tasks": 4}
    listed = ask(alfworld, "/alfworld/tasks", split)[1]["tasks"]
    wanted = make("alfworld", split=names[0]).tasks
    assert [each["id"] for each in listed] == [task.id for task in wanted]
    assert ask(alfworld, "/alfworld/task", {**split, "index": 3})[1]["task"] == listed[3]
    assert ask(alfworld, "/alfworld/task_range", {**split, "start": 1, "stop": 3})[1]["tasks"] == listed[1:3]
    assert ask(alfworld, "/alfworld/task", {**split, "index": 4})[0] == 400
    assert ask(alfworld, "/alfworld/num_tasks", {"split": "nowhere"})[0] == 404
    assert set(ask(alfworld, "/schema")[1]["action"]["required"]) == {"action"}
    assert ask(alfworld, "/health")[1] == {"status": "healthy"}
    status, told = ask(alfworld, "/step", {"action": {"action": "look"}})
    assert status == 400 and "send a reset first" in told["detail"]


def test_a_snapshot_brings_a_session_back_exactly(alfworld: str) -> None:
    async def play() -> None:
        async with AgentbenchEnv(base_url=alfworld) as client:
            first = await client.reset(index=0)
            actions = first.observation.admissible_actions
            kept = await client.snapshot()
            gone_on = [await client.step(TextAction(action=actions[i])) for i in (0, 1)]
            back = await client.restore(kept)
            assert back.observation.text == first.observation.text and back.reward == 0.0
            again = [await client.step(TextAction(action=actions[i])) for i in (0, 1)]
            assert [(each.observation, each.reward) for each in again] == [
                (each.observation, each.reward) for each in gone_on
            ]
            with pytest.raises(RuntimeError, match="keeps no snapshot 'nothing'"):
                await client.restore("nothing")

    asyncio.run(play())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"index": 4}, "none of the 4 tasks"),
        ({"index": "0"}, "index is a whole number"),
        ({"seed": -1}, "seed is a whole number"),
        ({"seed": True}, "seed is a whole number"),
        ({"split": "nowhere"}, "no split 'nowhere'"),
        ({"task": "nothing"}, "no task 'nothing'"),
        ({"task": "nothing", "index": 0}, "not both"),
        ({"level": 3}, "not 'level'"),
    ],
    ids=lambda each: json.dumps(each) if isinstance(each, dict) else "",
)
def test_a_reset_that_cannot_be_is_one_line(alfworld: str, arguments: dict[str, Any], told: str) -> None:
    with AgentbenchEnv(base_url=alfworld).sync() as client:
        with pytest.raises(RuntimeError, match=told):
            client.reset(**arguments)
        assert client.reset(index=0).observation.text


@pytest.mark.parametrize("inline", [True, False], ids=["inline", "processes"])
def test_the_shop_is_served_too(inline: bool) -> None:
    environment = make("webshop", catalogue="generated:0:200", max_steps=3)
    with serving("webshop", options={"catalogue": "generated:0:200", "max_steps": 3}, inline=inline) as address:
        for _ in range(2):  # the second session gets the worker of the first
            text, info = environment.reset(seed=1, options={"task": environment.tasks[5].id})
            with AgentbenchEnv(base_url=address).sync() as client:
                found = client.reset(seed=1, index=5)
                assert found.observation.text == text and found.observation.instruction == info["instruction"]
                for action in ("search[red shoes]", "nonsense", "click[back to search]"):
                    text, _, _, _, info = environment.step(action)
                    found = client.step(TextAction(action=action))
                    assert (found.observation.text, found.observation.is_valid) == (text, info["is_valid"])
                assert found.done and found.observation.truncated


async def many(address: str, count: int, steps: int) -> list[list[str]]:
    """Play on so many sessions at once; every session does its own thing."""
    ready = asyncio.Event()

    async def one(number: int) -> list[str]:
        async with AgentbenchEnv(base_url=address, connect_timeout_s=60, message_timeout_s=120) as client:
            found = await client.reset(index=number % 4)
            texts = [found.observation.text]
            await ready.wait()
            for step in range(steps):
                actions = found.observation.admissible_actions
                found = await client.step(TextAction(action=actions[(number + step) % len(actions)]))
                texts.append(found.observation.text)
            return texts

    tasks = [asyncio.create_task(one(number)) for number in range(count)]
    await asyncio.sleep(0.5)
    ready.set()
    return await asyncio.gather(*tasks)


def alone(number: int, steps: int) -> list[str]:
    environment = make("alfworld", split="generated:0:4:small", max_steps=9)
    text, info = environment.reset(seed=0, options={"task": environment.tasks[number % 4].id})
    texts = [text]
    for step in range(steps):
        actions = info["admissible_actions"]
        text, _, _, _, info = environment.step(actions[(number + step) % len(actions)])
        texts.append(text)
    return texts


def test_64_sessions_at_once_do_not_see_each_other(alfworld: str) -> None:
    assert asyncio.run(many(alfworld, 64, 6)) == [alone(number, 6) for number in range(64)]


@pytest.mark.slow
def test_64_sessions_at_once_in_processes_of_their_own() -> None:
    with serving("alfworld", ["generated:0:4:small"], {"max_steps": 9}) as address:
        assert asyncio.run(many(address, 64, 6)) == [alone(number, 6) for number in range(64)]


def wait_until(true: Callable[[], bool]) -> None:
    for _ in range(1200):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def test_sessions_are_bounded_and_a_killed_client_frees_its_own() -> None:
    with serving("toy", options={"tasks": 3}, max_sessions=1) as address:
        script = (
            "import sys; from agentbench.integrations.openenv.client import AgentbenchEnv\n"
            f"with AgentbenchEnv(base_url={address!r}).sync() as client:\n"
            "    client.reset(); print('playing', flush=True); sys.stdin.read()"
        )
        client = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert client.stdout is not None and client.stdout.readline() == b"playing\n"

        def can_play() -> bool:
            try:
                with AgentbenchEnv(base_url=address).sync() as other:
                    other.reset()
            except (RuntimeError, ConnectionError) as error:
                assert "capacity" in str(error).lower() or isinstance(error, ConnectionError)
                return False
            return True

        assert not can_play()
        client.kill()
        client.wait()
        wait_until(can_play)


def test_a_client_killed_in_mid_episode_frees_its_session_within_5_seconds(caplog: pytest.LogCaptureFixture) -> None:
    """By the server's own clock: from when it sees the connection end. Nothing here is measured across processes."""
    script = (
        "import sys; from agentbench.integrations.openenv.client import AgentbenchEnv\n"
        "from agentbench.integrations.openenv.models import TextAction\n"
        "with AgentbenchEnv(base_url=sys.argv[1]).sync() as client:\n"
        "    client.reset(); client.step(TextAction(action='look')); print('playing', flush=True); sys.stdin.read()"
    )
    with caplog.at_level(logging.DEBUG, "agentbench"), serving("alfworld", ["generated:0:4:small"]) as address:
        command = [sys.executable, "-c", script, address]
        client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert client.stdout is not None and client.stdout.readline() == b"playing\n"
        assert not {GONE, ENDED} & {record.message for record in caplog.records}
        client.kill()
        client.wait()
        wait_until(lambda: any(record.message == ENDED for record in caplog.records))
        at = {record.message: record.created for record in caplog.records}
    assert at[ENDED] - at[GONE] < 5.0


def test_a_hung_or_dead_environment_is_an_error_of_its_session_alone() -> None:
    faults = {"0": "kill", "1": "sleep", "2": "raise"}
    with (
        serving("toy", options={"tasks": 4, "faults": faults}, step_timeout=5.0) as address,
        AgentbenchEnv(base_url=address).sync() as well,
        AgentbenchEnv(base_url=address).sync() as unlucky,
    ):
        well.reset(index=3)
        for index, told in enumerate(("process died", "did not answer within 5 seconds", "toy is broken")):
            unlucky.reset(index=index)
            with pytest.raises(RuntimeError, match=told):
                unlucky.step(TextAction(action="up"))
            with pytest.raises(RuntimeError, match="no episode"):
                unlucky.step(TextAction(action="up"))
        assert unlucky.reset(index=3).observation.text == "count to 4"
        assert [well.step(TextAction(action="up")).done for _ in range(4)] == [False, False, False, True]


def test_an_idle_session_is_closed_and_says_so() -> None:
    with serving("toy", max_sessions=1, idle_timeout=0.2) as address, AgentbenchEnv(base_url=address).sync() as idle:
        idle.reset()

        def is_closed() -> bool:
            try:
                with AgentbenchEnv(base_url=address).sync() as other:
                    other.reset()
            except (RuntimeError, ConnectionError):
                return False
            return True

        wait_until(is_closed)
        with pytest.raises(RuntimeError, match="perhaps for having been idle"):
            idle.step(TextAction(action="up"))


BAD = [
    "{",
    "",
    "[]",
    "3",
    "null",
    '"text"',
    "[" * 5000,
    '{"type":"step","data":' + "[" * 5000,
    '{"type":"step","data":' + "9" * 5000 + "}",
    '{"type":"step","data":{"action":"\\ud800"}}',
    '{"type":"fly"}',
    '{"type":[]}',
    "{}",
    '{"type":"step"}',
    '{"type":"step","data":{}}',
    '{"type":"step","data":{"action":3}}',
    '{"type":"step","data":{"action":"look","more":1}}',
    '{"type":"reset","data":7}',
    '{"type":"reset","data":{"index":1e400}}',
    '{"type":"mcp","data":{"method":"tools/call"}}',
]


@pytest.mark.parametrize("rounds", [10, pytest.param(500, marks=pytest.mark.slow)], ids=["200", "10,000"])
def test_every_malformed_frame_is_one_error_and_the_session_goes_on(alfworld: str, rounds: int) -> None:
    async def send(frames: list[Any]) -> list[dict[str, Any]]:
        async with connect(alfworld.replace("http", "ws") + "/ws", compression=None) as client:
            await client.send('{"type":"reset","data":{"index":0}}')
            first = json.loads(await client.recv())
            assert first["type"] == "observation"
            found = []
            for frame in frames:
                await client.send(frame)
                found.append(json.loads(await client.recv()))
            await client.send('{"type":"step","data":{"action":"look"}}')
            last = json.loads(await client.recv())
            assert last["type"] == "observation"
            return found

    answers = asyncio.run(send([b"bytes", *BAD * rounds]))
    assert len(answers) == 1 + len(BAD) * rounds
    for answer in answers:
        is_error = answer["type"] == "error" or (answer["type"] == "mcp" and "error" in answer["data"])
        assert is_error and len(json.dumps(answer)) < 20_000, answer


def test_a_readable_frame_has_no_fault() -> None:
    assert fault_of('{"type": "step", "data": {"action": "caf\\u00e9 \\ud83d\\ude00"}}') == ""


def test_what_cannot_be_served_is_one_line() -> None:
    with pytest.raises(UserError, match="unknown environment 'alfwrld'"):
        Served("alfwrld")
    with pytest.raises(UserError, match="max_steps"):
        Served("alfworld", ["generated:0:2:small"], {"max_steps": 0})


def test_the_command_serves_until_ctrl_c() -> None:
    command = [sys.executable, "-m", "agentbench", "serve", "--split", "generated:0:2:small", "--port", "0", "--inline"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert address and "2 tasks" in line
        with AgentbenchEnv(base_url=address[0]).sync() as client:
            assert client.reset(index=1).observation.admissible_actions
            server.send_signal(signal.SIGINT)
            assert server.wait(timeout=600) == 0
    finally:
        server.kill()
        server.communicate()


@pytest.mark.slow
def test_openenv_validates_the_package_and_the_server(alfworld: str) -> None:
    program = shutil.which("openenv") or str(Path(sys.executable).parent / "openenv")
    if not Path(program).exists():
        pytest.skip("the program openenv is not on the path")
    package = Path(__file__).parents[2] / "agentbench" / "integrations" / "openenv"
    for arguments in (["validate", str(package), "--level", "static", "--skip-build"], ["validate", "--url", alfworld]):
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
