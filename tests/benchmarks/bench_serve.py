"""What a step over WebSocket costs: `agentbench serve`, a bare environment in the same server, and the original engine.

    python tests/benchmarks/bench_serve.py [--sessions 64] [--steps 8000] [--output FILE.md]

Each server is a process of its own, made by OpenEnv's `create_app` and run with the settings of ours. The client is one
process with a WebSocket for each session, which sends raw frames and parses the answers. Counted is the processor time
of the server (with the processes of its environments) and that of the client, from the first step to the last. The bare
environment always gives the same observation, one of ALFWorld's: what it costs is OpenEnv's and the socket's. The
original engine needs the packages alfworld and textworld.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
from websockets.asyncio.client import connect
from websockets.sync.client import connect as connect_and_wait

GAMES = "generated:0:64"
RESET = '{"type":"reset","data":{"index":%d}}'


@dataclass
class Measured:
    """One server under one number of sessions."""

    name: str
    sessions: int
    steps: int
    seconds: float
    server: float
    client: float
    waits: np.ndarray
    reset: float

    def row(self) -> str:
        microseconds = [f"{each / self.steps * 1e6:,.0f}" for each in (self.server, self.client)]
        a_second = f"{self.steps / self.seconds:,.0f}"
        each_a_core = f"{self.steps / max(self.server, self.client):,.0f}"
        median, late = np.percentile(self.waits, [50, 99]) * 1e3
        return (
            f"| {self.name} | {self.sessions} | {' | '.join(microseconds)} | {each_a_core} | {a_second} | "
            f"{median:,.1f} | {late:,.1f} | {self.reset * 1e3:,.1f} |"
        )


HEAD = (
    "| server | sessions | server, µs a step | client, µs a step | steps a second, a core for each | steps a second "
    "that passed | median wait, ms | p99, ms | reset, ms of the server |\n|:--|--:|--:|--:|--:|--:|--:|--:|--:|"
)


async def play(url: str, sessions: int, steps: int, server: psutil.Process, name: str) -> Measured:
    """Play ``steps`` steps in so many sessions at once; begin to count when all have begun."""
    waits: list[float] = []
    begun, ready, go = 0, asyncio.Event(), asyncio.Event()

    async def ask(socket: Any, frame: str) -> dict[str, Any]:
        await socket.send(frame)
        answer = json.loads(await socket.recv())
        assert answer["type"] == "observation", answer
        data: dict[str, Any] = answer["data"]
        return data

    async def one(number: int) -> None:
        nonlocal begun
        async with connect(url, compression=None, open_timeout=300, ping_interval=None) as socket:
            found = await ask(socket, RESET % number)
            begun += 1
            if begun == sessions:
                ready.set()
            await go.wait()
            for step in range(steps // sessions):
                offered = found["observation"]["admissible_actions"]
                frame = json.dumps({"type": "step", "data": {"action": offered[(7 * step + number) % len(offered)]}})
                begin = time.perf_counter()
                found = await ask(socket, frame)
                waits.append(time.perf_counter() - begin)
                assert not found["done"]

    def spent() -> float:
        processes = [server, *server.children(recursive=True)]
        return float(sum(sum(each.cpu_times()[:2]) for each in processes))

    before = spent()
    players = [asyncio.create_task(one(number)) for number in range(sessions)]
    await ready.wait()
    resetting = (spent() - before) / sessions
    theirs, ours, begin = spent(), time.process_time(), time.perf_counter()
    go.set()
    await asyncio.gather(*players)
    return Measured(
        name, sessions, len(waits), time.perf_counter() - begin, spent() - theirs, time.process_time() - ours,
        np.asarray(waits), resetting,
    )  # fmt: skip


@contextmanager
def running(*command: str) -> Iterator[tuple[str, psutil.Process]]:
    """Run a server; give its WebSocket's address and its process."""
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = re.search(r"http://[\d.:]+", process.stdout.readline())
        assert address, "the server did not start"
        yield address[0].replace("http", "ws") + "/ws", psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def serve_bare() -> None:
    """Serve the bare environment with our server's settings; runs in a process of its own."""
    from openenv.core.env_server.http_server import create_app
    from openenv.core.env_server.interfaces import Environment
    from openenv.core.env_server.types import ConcurrencyConfig

    from agentbench.integrations.openenv.models import TextAction, TextObservation, TextState
    from agentbench.integrations.openenv.server.app import server_of
    from envs import make

    text, info = make("alfworld", split=GAMES).reset(seed=0)
    fields = ("instruction", "admissible_actions", "is_valid", "score", "won", "task_id", "task_type")
    same = TextObservation(text=text, reward=0.0, **{name: info[name] for name in fields})

    class Bare(Environment[TextAction, TextObservation, TextState]):  # type: ignore[misc]
        SUPPORTS_CONCURRENT_SESSIONS = True

        def reset(self, *_: Any, **__: Any) -> TextObservation:
            return same

        def step(self, *_: Any, **__: Any) -> TextObservation:
            return same

        async def reset_async(self, *_: Any, **__: Any) -> TextObservation:
            return same

        async def step_async(self, *_: Any, **__: Any) -> TextObservation:
            return same

        @property
        def state(self) -> TextState:
            return TextState()

    app = create_app(
        Bare, TextAction, TextObservation, env_name="bare", state_cls=TextState,
        concurrency_config=ConcurrencyConfig(max_concurrent_envs=64, session_timeout=600.0),
    )  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as bound:
        print(f"http://127.0.0.1:{bound.getsockname()[1]}", flush=True)
        server_of(SimpleNamespace(app=app)).run(sockets=[bound])


def in_process(engine: str, steps: int) -> str:
    """Return what a step costs without any server, in microseconds of the processor."""
    from envs import make

    environment = make("alfworld", split=GAMES, engine=engine, max_steps=steps + 1)
    _, info = environment.reset(seed=0)
    begin = time.process_time()
    for step in range(steps):
        offered = info["admissible_actions"]
        info = environment.step(offered[(7 * step) % len(offered)])[4]
    return f"{(time.process_time() - begin) / steps * 1e6:,.0f}"


def measure(sessions: int, steps: int, only: list[str]) -> Iterator[Measured]:
    """Measure every server in turn."""
    ours = ("-m", "agentbench", "serve", "--port", "0", "--max-steps", "1000000", "--split", GAMES)
    servers = {
        "bare": ((__file__, "--bare"), (1, sessions), steps),
        "ALFWorld, `--inline`": ((*ours, "--inline"), (1, sessions), steps),
        "ALFWorld": (ours, (1, sessions), steps),
        "ALFWorld, original engine, `--inline`": ((*ours, "--inline", "--engine", "textworld"), (1, 4), 40),
    }
    if find_spec("textworld") is None:
        servers.popitem()
    for name, (command, counts, most) in servers.items():
        if only and name not in only:
            continue
        with running(*command) as (url, process):
            for count in counts:
                yield asyncio.run(play(url, count, most if count > 1 else most // 4, process, name))


def freed_after() -> float:
    """Return the seconds from the death of a client to when another may begin in the place of its only session."""
    script = (
        "import sys; from websockets.sync.client import connect\n"
        "with connect(sys.argv[1]) as socket:\n"
        f"    socket.send({RESET % 0!r}); socket.recv(); print('playing', flush=True); sys.stdin.read()"
    )
    ours = ("-m", "agentbench", "serve", "--port", "0", "--split", GAMES, "--max-sessions", "1")
    with running(*ours) as (url, _):
        client = subprocess.Popen([sys.executable, "-c", script, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert client.stdout is not None
        client.stdout.readline()
        client.kill()
        begin = time.perf_counter()
        while not may_begin(url):
            time.sleep(0.01)
        return time.perf_counter() - begin


def may_begin(url: str) -> bool:
    """Try to begin a session."""
    with connect_and_wait(url) as one:
        one.send(RESET % 0)
        return bool(json.loads(one.recv())["type"] == "observation")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=64)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--output", type=Path)
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.bare:
        serve_bare()
        return
    rows = [HEAD]
    for measured in measure(chosen.sessions, chosen.steps, chosen.only):
        rows.append(measured.row())
        print(rows[-1], flush=True)
    packages = ", ".join(f"{name} {version(name)}" for name in ("openenv", "uvicorn", "websockets", "pydantic"))
    rows.append(f"\nWithout a server a step of ours costs {in_process('fast', 5000)} µs of the processor.")
    rows.append(f"A killed client's session is free after {freed_after():.2f} s.")
    rows.append(f"Python {platform.python_version()}, {packages}.")
    print("\n".join(rows))
    if chosen.output:
        chosen.output.write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
