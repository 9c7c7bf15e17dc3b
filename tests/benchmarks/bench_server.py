"""How busy an evaluation keeps a server, and whether a slow environment slows the others.

Run it alone on the machine: ``python tests/benchmarks/bench_server.py [--out FILE]``. The server answers after 50 ms,
from a process of its own, and says when each request came and what processor time it took itself; the ideal is one
request per 50 ms for each episode in flight. Episodes end after 30 to 50 steps, so that they do not all end at once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from toy_environment import ToyEnv

from agentbench import evaluate
from envs import ENVIRONMENTS, Environment
from envs.alfworld.env import ALFWorldEnv

LATENCY = 0.05
IN_FLIGHT = 64
ROUNDS = 4


def limit_of(index: int) -> int:
    """Return after how many steps a task ends here: 30 to 50."""
    return 30 + 7 * index % 21


class HouseEnv(ALFWorldEnv):
    """ALFWorld, whose episodes end after 30 to 50 steps."""

    def _start(self, task: Any) -> Any:
        self.max_steps = limit_of(task.index)
        return super()._start(task)


class CountEnv(ToyEnv):
    """The toy, whose episodes end after 30 to 50 steps."""

    def _start(self, task: Any) -> Any:
        self.max_steps = limit_of(task.index)
        return super()._start(task)


class OneSleepsEnv(ToyEnv):
    """The toy, where task 0 sleeps a second in every step."""

    def _act(self, action: str) -> tuple[str, float, bool, dict[str, Any]]:
        assert self._task is not None
        if self._task.index == 0:
            time.sleep(1.0)
        return super()._act(action)


for name, kind in (("sleepy", OneSleepsEnv), ("count", CountEnv), ("house", HouseEnv)):
    ENVIRONMENTS[name] = Environment(
        name, f"agentbench/Bench{name}-v0", f"bench_server:{kind.__name__}", "for this script"
    )


# -- the server ------------------------------------------------------------------------------------------------


class Stub(asyncio.Protocol):
    """Answers any whole request after the latency, always with the same words; ``GET`` tells what it noted."""

    answer = b""
    noted: tuple[list[float], ...] = ([], [], [])
    """When a request came and when it was answered, on the machine's clock; the processor time of this process then."""

    def connection_made(self, transport: Any) -> None:
        self.transport, self.parts, self.missing = transport, [], 0

    def data_received(self, data: bytes) -> None:
        if not self.missing:
            head, _, body = data.partition(b"\r\n\r\n")
            if head.startswith(b"GET"):
                told = json.dumps(self.noted).encode()
                self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(told) + told)
                return
            self.missing = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0]) - len(body)
        else:
            self.missing -= len(data)
        if not self.missing:
            # The event loop wakes at whole milliseconds, half of one too late on average.
            asyncio.get_running_loop().call_later(LATENCY - 0.0005, self.finish, time.monotonic())

    def finish(self, came: float) -> None:
        self.transport.write(self.answer)
        for notes, note in zip(self.noted, (came, time.monotonic(), time.process_time()), strict=True):
            notes.append(note)


async def serve() -> None:
    choice = {"message": {"role": "assistant", "content": "<action>look</action>"}, "finish_reason": "stop"}
    body = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 500, "completion_tokens": 10}}).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    Stub.answer = head.encode() + body
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


# -- the measurements --------------------------------------------------------------------------------------------


def rate(url: str, env: str, **settings: Any) -> dict[str, float]:
    """Return requests a second while every seat was busy, and the processor milliseconds of each, ours and theirs."""
    ends: list[tuple[float, float]] = []

    def note(progress: Any) -> None:
        ends.append((time.monotonic(), time.process_time()))

    options = {"base_url": url, "thinking": False, **settings.pop("policy_options", {})}
    with tempfile.TemporaryDirectory() as folder:
        evaluate(
            env, "openai:stub", out=folder, parallel=IN_FLIGHT, policy_options=options, on_progress=note, **settings
        )
    # From the end of the first episode on every seat is busy, until the first one finds nothing more to play.
    (begin, ours_before), (end, ours) = ends[1], ends[-IN_FLIGHT]
    with urllib.request.urlopen(url) as told:
        came, answered, theirs = json.load(told)
    inside = [place for place, when in enumerate(answered) if begin <= when < end]
    return {
        "rate": len(inside) / (end - begin),
        "latency": 1000 * sum(answered[place] - came[place] for place in inside) / len(inside),
        "ours": 1000 * (ours - ours_before) / len(inside),
        "theirs": 1000 * (theirs[inside[-1]] - theirs[inside[0]]) / len(inside),
    }


def slowdown(url: str, others: int, repeats: int = 3) -> float:
    """Return by how much longer the others take beside an environment that sleeps a second a step."""

    def seconds(workers: int, tasks: list[str] | None, number: int) -> float:
        finished: list[float] = []
        with tempfile.TemporaryDirectory() as folder:
            evaluate(
                "sleepy",
                "openai:stub",
                out=folder,
                workers=workers,
                tasks=tasks,
                env_options={"tasks": number, "max_steps": 40},
                policy_options={"base_url": url},
                on_progress=lambda progress: finished.append(time.monotonic()),
            )
        quick = finished[
            1 : 1 + others * rounds
        ]  # the first report says that nothing is finished; the sleeper ends last
        return quick[-1] - quick[others - 1]

    rounds = 6
    number = others * rounds + 1
    ratios = []
    for _ in range(repeats):
        alone = seconds(others, [f"toy:{k}" for k in range(1, number)], number)
        beside = seconds(others + 1, None, number)
        ratios.append(beside / alone)
    return median(ratios) - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true", help="be the server")
    parser.add_argument("--case", type=int, action="append", choices=range(len(CASES)), help="measure only this one")
    parser.add_argument("--repeat", type=int, default=3, help="how often each is measured")
    parser.add_argument("--out", type=Path, help="write the table to this file too")
    chosen = parser.parse_args()
    if chosen.serve:
        asyncio.run(serve())
        return
    text = measure(chosen.case or list(range(len(CASES))), chosen.repeat)
    print(text)
    if chosen.out:
        chosen.out.write_text(text + "\n", encoding="utf-8")


@contextmanager
def server() -> Iterator[str]:
    """A fresh server in a process of its own."""
    process = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.kill()


HOUSES = {"split": f"generated:0:{IN_FLIGHT * ROUNDS}"}
TOY = {"env_options": {"tasks": IN_FLIGHT * ROUNDS}}
CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("counting toy, whole conversation", "count", {**TOY, "inline": True}),
    ("ALFWorld, window of 2 steps", "house", {**HOUSES, "inline": True, "policy_options": {"history": 2}}),
    ("ALFWorld, whole conversation", "house", {**HOUSES, "inline": True}),
    ("counting toy, 64 worker processes", "count", {**TOY, "workers": IN_FLIGHT}),
    ("ALFWorld, whole conversation, two worker processes", "house", {**HOUSES, "workers": 2}),
]


def measure(cases: Sequence[int], repeats: int) -> str:
    lines = [
        f"{IN_FLIGHT} episodes in flight; the ideal is as many requests in each of the server's latencies.",
        "",
        "| | requests/s | the server's latency | share of the ideal | our CPU a request | the server's | load |",
        "|---|---|---|---|---|---|---|",
    ]
    for number in cases:
        name, env, settings = CASES[number]
        for _ in range(repeats):
            with server() as url:
                found = rate(url, env, **settings)
            share = found["rate"] * found["latency"] / 1000 / IN_FLIGHT
            lines.append(
                f"| {name} | {found['rate']:.0f} | {found['latency']:.1f} ms | {100 * share:.0f} % "
                f"| {found['ours']:.2f} ms | {found['theirs']:.3f} ms | {os.getloadavg()[0]:.1f} |"
            )
            print(lines[-1], file=sys.stderr, flush=True)
    print("slowdown", file=sys.stderr)
    with server() as url:
        slower = slowdown(url, 7)
    lines += [
        "",
        f"Seven environments beside one that sleeps a second a step: {100 * slower:+.1f} % time (median of 3).",
    ]
    lines += ["", f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
