"""Code that means harm: it ends its own step or episode, and nothing else.

The engine's own list of forbidden functions is switched off here (``guard=False``), so that the sandbox alone holds.
After each attack the same episode is solved to its end, which shows that nothing was harmed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from envs.appworld import AppWorldEnv
from envs.appworld.env import MAX_DEATHS

pytestmark = pytest.mark.slow

MakeEnv = Callable[..., AppWorldEnv]
OPTIONS = {"guard": False, "step_seconds": 4, "memory_mb": 2048}

ENDS_THE_INTERPRETER = {
    "leave by os._exit": "import os\nos._exit(0)",
    "abort": "import os\nos.abort()",
    "segmentation fault": "import ctypes\nctypes.string_at(0)",
    "kill itself": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    "kill everything": "import os, signal\nos.kill(-1, signal.SIGKILL)\nos._exit(1)",
    "kill the parent": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nos._exit(1)",
    "loop in C": "sum(iter(int, 1))",
    "loop that catches the alarm": (
        "import signal\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\nwhile True:\n    try:\n        pass\n"
        "    except BaseException:\n        pass"
    ),
    "sleep without signals": (
        "import signal, threading\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))\nthreading.Event().wait()"
    ),
    # One that obeys the engine's own alarm is sometimes ended by it, and sometimes too busy: this one never is.
    "fork bomb": (
        "import os, signal\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\nwhile True:\n    try:\n        os.fork()\n"
        "    except BaseException:\n        pass"
    ),
    "close all descriptors": "import os\nos.closerange(3, 256)",
    "answer with nonsense": (
        "import os\nfor descriptor in range(3, 256):\n    try:\n        os.write(descriptor, b'nonsense\\n')\n"
        "    except OSError:\n        pass"
    ),
    "answer without end": (
        "import os\nwhile True:\n  for each in range(3, 64):\n    try:\n      os.write(each, b'x' * 65536)\n"
        "    except OSError:\n      pass"
    ),
}

IS_REFUSED = {
    "allocate ten gigabytes": ("print(len(bytearray(10 << 30)))", "MemoryError"),
    "endless loop": ("while True:\n    pass", "timed out"),
    "fill the disk with one file": (
        "import os\nwith open('/world/tmp/big', 'wb') as file:\n    for _ in range(64):\n"
        "        file.write(bytes(1 << 20))",
        "File too large",
    ),
    "read the ground truth": (
        "import glob\nprint(open('/world/data/tasks/alarmoff_1/ground_truth/private_data.json').read())",
        "No such file",
    ),
    "find the ground truth": ("import glob\nprint(glob.glob('/world/data/tasks/*/ground_*')[0])", "out of range"),
    "find the makers of the tasks": (
        "import glob, sys\nprint(glob.glob(sys.argv[0].replace('server', 'mini_*'))[0])",
        "out of range",
    ),
    "read the password file": ("print(open('/etc/passwd').read())", "No such file"),
    "open a socket to the world": (
        "import socket\nsocket.create_connection(('1.1.1.1', 80), timeout=1)",
        "Network is unreachable",
    ),
    "reach this machine": ("import socket\nsocket.create_connection(('127.0.0.1', 22), timeout=1)", "unreachable"),
    "write into the package": (
        "import appworld, os\nopen(os.path.dirname(appworld.__file__) + '/__init__.py', 'a')",
        "[Errno ",
    ),
    "write over the data": ("open('/world/data/tasks/alarmoff_1/specs.json', 'w')", "Read-only file system"),
    "write to the system": ("open('/usr/bin/python3', 'w')", "Read-only file system"),
    "become root": ("import os\nos.setuid(0)\nassert os.getuid() != 0, 'not root outside'", "Error"),
    "undo the mounts": (
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nlibc.unshare(0x10020000)\n"
        "assert libc.umount2(b'/world/data', 2) == 0, 'it stays'",
        "it stays",
    ),
    "trace the parent": (
        "import ctypes, os\nassert ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0, 'may not'",
        "may not",
    ),
}  # fmt: skip


def solve(env: AppWorldEnv, walkthrough: tuple[str, ...]) -> None:
    for block in walkthrough:
        observation, reward, terminated, _, info = env.step(block)
        assert info["is_valid"], observation
    assert terminated and reward == 1.0 and info["won"], info["requirements_failed"]


@pytest.mark.parametrize("attack", ENDS_THE_INTERPRETER)
def test_code_that_ends_or_blocks_the_interpreter_loses_its_step_alone(make_env: MakeEnv, attack: str) -> None:
    env = make_env(**OPTIONS)
    _, info = env.reset(options={"task": "alarmoff_2"})
    walkthrough = info["walkthrough"]
    env.step(walkthrough[0] + "\nkept = 41")
    observation, reward, terminated, _, info = env.step("kept = 0\n" + ENDS_THE_INTERPRETER[attack])
    assert observation.startswith("Execution failed.") and not info["is_valid"]
    assert (reward, terminated) == (0.0, False)
    assert env.step("print(kept + 1)")[0] == "42"
    solve(env, walkthrough[1:])


@pytest.mark.parametrize("attack", IS_REFUSED)
def test_code_that_wants_too_much_is_refused(make_env: MakeEnv, attack: str) -> None:
    code, expected = IS_REFUSED[attack]
    env = make_env(**OPTIONS)
    _, info = env.reset(options={"task": "alarmoff_1"})
    observation, _, terminated, _, refused = env.step(code)
    assert expected in observation and not refused["is_valid"] and not terminated
    solve(env, info["walkthrough"])


def test_nothing_of_an_episode_reaches_the_next(make_env: MakeEnv) -> None:
    env = make_env(**OPTIONS)
    env.reset(options={"task": "alarmoff_1"})
    env.step("import builtins, json\nbuiltins.len = lambda _: 7\njson.dumps = None\nopen('/world/tmp/left', 'w')")
    _, info = env.reset(options={"task": "alarmoff_1"})
    observation = env.step("import os\nprint(len([]), json.dumps([]), os.listdir('/world/tmp'))")[0]
    assert observation == "0 [] []"
    solve(env, info["walkthrough"])


def test_a_full_disk_is_empty_again_in_the_next_episode(make_env: MakeEnv) -> None:
    env = make_env(**OPTIONS)
    env.reset(options={"task": "alarmoff_1"})
    fill = "for number in range(64):\n    with open(f'/world/tmp/{number}', 'wb') as file:\n        file.write(bytes(8 << 20))"  # noqa: E501
    observation, reward, terminated, _, info = env.step(fill)
    assert observation.startswith("Execution failed.") and (reward, terminated) == (0.0, False)
    _, info = env.reset(options={"task": "alarmoff_1"})
    solve(env, info["walkthrough"])


def test_processes_left_behind_end_with_the_episode(make_env: MakeEnv) -> None:
    env = make_env(**OPTIONS)
    env.reset(options={"task": "alarmoff_1"})
    before = len(_descendants())
    env.step(
        "import os, time\nfor _ in range(5):\n    if os.fork() == 0:\n        os.setsid()\n        time.sleep(1000)"
    )
    assert len(_descendants()) >= before + 5
    env.reset(options={"task": "alarmoff_1"})
    assert len(_descendants()) == before


def test_everything_ends_with_the_environment(make_env: MakeEnv) -> None:
    make_env(**OPTIONS)
    before = set(_descendants())
    env = AppWorldEnv(**OPTIONS)
    env.reset(options={"task": "alarmoff_1"})
    started = set(_descendants()) - before
    assert started
    env.close()
    deadline = time.monotonic() + 120
    while set(_descendants()) & started and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not set(_descendants()) & started


def test_the_player_runs_as_nobody_in_particular(make_env: MakeEnv) -> None:
    env = make_env(**OPTIONS)
    env.reset(options={"task": "alarmoff_1"})
    assert int(env.step("import os\nprint(os.getuid())")[0]) != 0
    environment = env.step("print(sorted(os.environ))")[0]
    assert "KEY" not in environment and "HOME" in environment
    assert os.environ["PATH"] not in env.step("print(dict(os.environ))")[0]


def test_code_that_keeps_ending_the_interpreter_loses_the_task(make_env: MakeEnv) -> None:
    env = make_env(**OPTIONS)
    env.reset(options={"task": "alarmoff_1"})
    for number in range(1, MAX_DEATHS + 1):
        observation, reward, terminated, _, info = env.step("import os\nos._exit(0)")
        assert terminated == (number == MAX_DEATHS)
    assert reward == 0.0 and not info["won"] and "over" in observation


def test_databases_changed_past_the_apis_are_not_judged_as_solved(make_env: MakeEnv) -> None:
    env = make_env(**OPTIONS)
    env.reset(options={"task": "alarmoff_1"})
    env.step(
        "from appworld.common.utils import import_models_module\n"
        "tracker = import_models_module('phone').SQLModel.db.tracker\n"
        "tracker.changes.append(('ATTACH DATABASE \"/world/tmp/x\" AS x', [], False))"
    )
    _, reward, terminated, _, info = env.step("apis.supervisor.complete_task()")
    assert terminated and reward == 0.0 and "past the APIs" in info["error"]


GOOD = {"output": "x", "completed": False, "digest": "d", "calls": []}
FORGED = {
    "no reply at all": "[]",
    "nothing in it": "{}",
    "a number for a text": json.dumps({**GOOD, "output": 7}),
    "a text without end": json.dumps({**GOOD, "output": "x" * 1_000_000}),
    "no calls": json.dumps({**GOOD, "calls": [1]}),
    "calls of another shape": json.dumps({**GOOD, "calls": [["GET", "/x"]]}),
    "nested without end": "[" * 200_000,
    "a call nested without end": json.dumps({**GOOD, "calls": []}).replace(
        "[]", '[["GET","/",' + "[" * 50_000 + "]" * 50_000 + "]]"
    ),
}


@pytest.mark.parametrize("reply", FORGED.values(), ids=FORGED)
def test_a_forged_reply_costs_the_agent_its_step_and_is_no_error_of_the_machine(make_env: MakeEnv, reply: str) -> None:
    """An error of the machine is not counted against the agent: code must not be able to make one."""
    env = make_env(**OPTIONS)
    env.reset(options={"task": "alarmoff_1"})
    attack = (
        f"import os, time\nfor each in range(3, 256):\n    try:\n        os.write(each, {reply!r}.encode() + b'\\n')\n"
    )
    observation, reward, _, _, info = env.step(attack + "    except OSError:\n        pass\ntime.sleep(1)")
    assert reward == 0.0 and not info["is_valid"] and "was stopped" in observation


def test_half_a_character_in_a_reply_is_a_question_mark(make_env: MakeEnv) -> None:
    """No tokenizer and no file takes one: the episode would end in an error."""
    env = make_env(**OPTIONS)
    env.reset(options={"task": "alarmoff_1"})
    line = json.dumps({**GOOD, "output": "a\ud800b"})
    attack = (
        f"import os, time\nfor each in range(3, 256):\n    try:\n        os.write(each, {line!r}.encode() + b'\\n')\n"
    )
    assert env.step(attack + "    except OSError:\n        pass\ntime.sleep(1)")[0] == "a?b"


SPOILT = {
    "a statement that never ends": (
        "CREATE TABLE endless AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT 1 FROM n) SELECT count(*) FROM n",
        [],
    ),
    "a table that is not there": ("INSERT INTO nothing VALUES (1)", []),
    "parameters of another number": ("UPDATE alarms SET label = ?", [1, 2, 3]),
    "no parameters": ("UPDATE alarms SET label = ?", 5),
    "text that is none": ("UPDATE alarms SET label = ?", ["\ud800"]),
    "values of another type": ("UPDATE alarms SET time = ?", ["no time"]),
    "the table is gone": ("DROP TABLE alarms", []),
}


@pytest.mark.parametrize("change", SPOILT.values(), ids=SPOILT)
def test_changes_that_cannot_be_judged_lose_the_task_and_are_no_error_of_the_machine(
    make_env: MakeEnv, change: tuple[str, object]
) -> None:
    env = make_env(**{**OPTIONS, "judge_seconds": 20})
    env.reset(options={"task": "alarmoff_1"})
    env.step(
        "from appworld.common.utils import import_models_module\n"
        "tracker = import_models_module('phone').SQLModel.db.tracker\n"
        f"tracker.changes.append(({change[0]!r}, {change[1]!r}, False))"
    )
    _, reward, terminated, _, info = env.step("apis.supervisor.complete_task()")
    assert terminated and reward == 0.0 and not info["won"]


@pytest.mark.parametrize("reply", ["{}", '{"files": 5}', '{"files": {"a.json": 7}}', '{"files": {"../x": "y"}}'])
def test_forged_databases_lose_the_task_and_are_no_error_of_the_machine(make_env: MakeEnv, reply: str) -> None:
    env = make_env(**OPTIONS)
    env.reset(options={"task": "alarmoff_1"})
    lines = json.dumps({**GOOD, "completed": True}) + "\n" + reply + "\n"
    attack = f"import os, time\nfor each in range(3, 256):\n    try:\n        os.write(each, {lines!r}.encode())\n"
    _, reward, terminated, _, info = env.step(attack + "    except OSError:\n        pass\ntime.sleep(1)")
    assert terminated and reward == 0.0 and not info["won"]


def test_without_a_sandbox_it_is_refused_unless_it_is_asked_for(
    appworld_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from envs.base.errors import UserError

    monkeypatch.setenv("AGENTBENCH_HOME", str(appworld_home))
    # A mount point that is none makes every sandbox fail, as a system without namespaces does.
    monkeypatch.setattr("envs.appworld.layout.Layout.mount_point", property(lambda self: self.folder / "install.json"))
    env = AppWorldEnv()
    with pytest.raises(UserError, match=r"does not let AppWorld's player be isolated.*--unsafe true"):
        env.reset(options={"task": "alarmoff_1"})
    unsafe = AppWorldEnv(unsafe=True)
    assert unsafe.notes == ("played without a sandbox",)
    try:
        _, info = unsafe.reset(options={"task": "alarmoff_1"})
        solve(unsafe, info["walkthrough"])
    finally:
        unsafe.close()


def _descendants() -> list[int]:
    return [child.pid for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE]
