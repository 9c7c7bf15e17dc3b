"""AppWorld for tests: where it is installed, and a chat server's answers that solve its tasks.

Where ``AGENTBENCH_APPWORLD_HOME`` says that it is installed, it must be; and where the system lets a process be
isolated, ours must be: a failure of our own is never a skip.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from stub_server import chat

from envs import make
from envs.appworld.layout import installed
from envs.base.errors import UserError
from envs.base.home import data_home

# Read at import: later every test gets an empty data folder of its own.
_CHOSEN = os.environ.get("AGENTBENCH_APPWORLD_HOME")
_HOME = Path(_CHOSEN).expanduser() if _CHOSEN else data_home()
DONE = "apis.supervisor.complete_task()"


@pytest.fixture(scope="session")
def appworld_home() -> Path:
    """Return the data folder with AppWorld installed; skip where there is none."""
    try:
        installed(_HOME)
    except UserError as error:
        if _CHOSEN:
            raise
        pytest.skip(f"{error} (`make appworld`); AGENTBENCH_APPWORLD_HOME names another data folder")
    if not _system_isolates():
        pytest.skip("this system gives no process a file system, process numbers and a network of its own")
    return _HOME


def _system_isolates() -> bool:
    """Ask the system's own command for what our sandbox needs."""
    if shutil.which("unshare") is None:
        return True
    spaces = ["unshare", "--mount", "--pid", "--net", "--fork"]
    mount = ["mount", "-t", "tmpfs", "none", "/tmp"]
    ways = ([*spaces, *mount], [*spaces, "--user", "--map-root-user", *mount])
    return any(subprocess.run(way, capture_output=True, check=False).returncode == 0 for way in ways)


class Played(NamedTuple):
    """Two tasks, and a chat server's answers that solve the first: see :func:`two_tasks`."""

    tasks: list[str]
    answer: Callable[[dict[str, Any], int], dict[str, Any]]


@pytest.fixture
def two_tasks(appworld_home: Path, monkeypatch: pytest.MonkeyPatch) -> Played:
    """Make AppWorld the test's and its programs'; return the ids of two tasks, and the answers of a model.

    It solves the first, where its second answer holds no code, and says of the second at once that it is done. It goes
    by what it is asked alone, so whoever asks gets the same answers.
    """
    monkeypatch.setenv("AGENTBENCH_HOME", str(appworld_home))
    environment = make("appworld", split="mini")
    try:
        ids = [task.id for task in environment.tasks[:2]]
        _, info = environment.reset(options={"task": ids[0]})
    finally:
        environment.close()

    def answer(body: dict[str, Any], number: int) -> dict[str, Any]:
        messages = body["messages"]
        step = sum(message["role"] == "assistant" for message in messages)
        is_first = any(info["instruction"] in message["content"] for message in messages)
        blocks = info["walkthrough"] if is_first else [DONE]
        if step == 1:
            return chat("")
        return chat(f"So I write:\n```python\n{blocks[step - (step > 1)]}\n```\nThat is all.")

    return Played(ids, answer)
