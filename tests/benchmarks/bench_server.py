"""How busy an evaluation keeps a server, and whether a slow environment slows the others.

Run it alone on the machine: ``python tests/benchmarks/bench_server.py [--out FILE]``. The server answers after 50 ms,
from a process of its own; the ideal is one request per 50 ms for each episode in flight.
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
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from toy_environment import ToyEnv

from agentbench import evaluate
from envs import ENVIRONMENTS, Environment

LATENCY = 0.05
IN_FLIGHT = 64


class OneSleepsEnv(ToyEnv):
    """The toy, where task 0 sleeps a second in every step."""

    def _act(self, action: str) -> tuple[str, float, bool, dict[str, Any]]:
        assert self._task is not None
        if self._task.index == 0:
            time.sleep(1.0)
        return super()._act(action)


ENVIRONMENTS["sleepy"] = Environment("sleepy", "agentbench/Sleepy-v0", "bench_server:OneSleepsEnv", "for this script")


# -- the server ------------------------------------------------------------------------------------------------


class Stub(asyncio.Protocol):
    """Answers any whole request after the latency, always with the same words."""

    answer = b""

    def connection_made(self, transport: Any) -> None:
        self.transport, self.buffer = transport, b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if found:
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            if len(body) >= length:
                self.buffer = body[length:]
                asyncio.get_running_loop().call_later(LATENCY, self.transport.write, self.answer)


async def serve() -> None:
    choice = {"message": {"role": "assistant", "content": "<action>look</action>"}, "finish_reason": "stop"}
    body = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 500, "completion_tokens": 10}}).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    Stub.answer = head.encode() + body
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


# -- the measurements --------------------------------------------------------------------------------------------


def rate(url: str, env: str, *, workers: int = IN_FLIGHT, **settings: Any) -> tuple[float, float]:
    """Return requests a second between the first and the last finished round, and our CPU milliseconds for each."""
    wall: list[float] = []
    cpu: list[float] = []

    def note(progress: Any) -> None:
        wall.append(time.monotonic())
        cpu.append(time.process_time())

    options = {"base_url": url, "thinking": False, **settings.pop("policy_options", {})}
    with tempfile.TemporaryDirectory() as folder:
        policy = "openai:stub"
        result = evaluate(
            env, policy, out=folder, workers=workers, policy_options=options, on_progress=note, **settings
        )
        steps = int(result.frame["steps"].sum())
    # The first round starts the workers; from its end on every seat is busy (all episodes have the same length).
    rounds = (len(wall) - 1) // workers
    assert len(wall) - 1 == workers * rounds and rounds >= 3, "whole rounds only"
    steps = steps * (rounds - 1) // rounds
    return steps / (wall[-1] - wall[workers]), 1000 * (cpu[-1] - cpu[workers]) / steps


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
    parser.add_argument("--out", type=Path, help="write the table to this file too")
    chosen = parser.parse_args()
    if chosen.serve:
        asyncio.run(serve())
        return
    server = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        text = measure(url)
    finally:
        server.kill()
    print(text)
    if chosen.out:
        chosen.out.write_text(text + "\n", encoding="utf-8")


def measure(url: str) -> str:
    ideal = IN_FLIGHT / LATENCY
    house = {"split": f"generated:0:{IN_FLIGHT * 5}", "env_options": {"max_steps": 15}}
    toy = {"env_options": {"tasks": IN_FLIGHT * 5, "max_steps": 20}}
    cases: dict[str, tuple[str, dict[str, Any]]] = {
        "toy, in this process": ("toy", {**toy, "inline": True}),
        "toy, 64 worker processes": ("toy", toy),
        "ALFWorld, in this process, window of 2 steps": (
            "alfworld",
            {**house, "inline": True, "policy_options": {"history": 2}},
        ),
        "ALFWorld, in this process, whole conversation": ("alfworld", {**house, "inline": True}),
    }
    lines = [
        f"64 episodes in flight, answers after 50 ms: ideal {ideal:.0f} requests/s",
        "",
        "| | requests/s | share of the ideal | our CPU a request |",
        "|---|---|---|---|",
    ]
    for name, (env, settings) in cases.items():
        print(name, file=sys.stderr, flush=True)
        found, cpu = rate(url, env, **settings)
        lines.append(f"| {name} | {found:.0f} | {100 * found / ideal:.0f} % | {cpu:.2f} ms |")
        print(lines[-1], file=sys.stderr, flush=True)
    print("slowdown", file=sys.stderr)
    slower = slowdown(url, 7)
    lines += [
        "",
        f"Seven environments beside one that sleeps a second a step: {100 * slower:+.1f} % time (median of 3).",
    ]
    lines += [
        "",
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
