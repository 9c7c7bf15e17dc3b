"""What playing costs beside other harnesses: the same games, the same stub of a server, ratios in one run.

    python tests/benchmarks/bench_harness.py --peers FOLDER [--out results/published/harness.md]

``FOLDER/inspect`` and ``FOLDER/verifiers`` are virtual environments with the peers (``pip install inspect-ai openai
gymnasium``; ``pip install verifiers==0.1.9.post3 gymnasium``); one that is not there is left out with a line. The
server answers at once, and after 50 ms; its process is not counted. Processor time and memory are those of all
processes of a harness, looked at every 50 ms (memory that several share is counted once: PSS). Random play is measured
in this process and its workers.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
GAMES, STEPS, PARALLEL = 60, 10, 64
PEERS = {"Inspect AI": ("inspect", "play_inspect.py"), "verifiers": ("verifiers", "play_verifiers.py")}


# -- the server ------------------------------------------------------------------------------------------------


class Stub(asyncio.Protocol):
    """Answers every chat request with the same words after ``latency`` seconds; ``GET`` tells when requests came."""

    latency = 0.0
    answer = b""
    came: list[float] = []  # noqa: RUF012

    def connection_made(self, transport: Any) -> None:
        self.transport, self.buffer = transport, b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, _, body = self.buffer.partition(b"\r\n\r\n")
            if head.startswith(b"GET"):
                told = json.dumps(self.came).encode()
                self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(told) + told)
                self.buffer = body
                continue
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            if len(body) < length:
                return
            self.buffer = body[length:]
            self.came.append(time.monotonic())
            asyncio.get_running_loop().call_later(self.latency, self.transport.write, self.answer)


async def serve(latency: float) -> None:
    message = {"role": "assistant", "content": "<action>look</action>"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 500, "completion_tokens": 10, "total_tokens": 510}
    facts = {"id": "1", "object": "chat.completion", "created": 1, "model": "stub"}
    body = json.dumps({**facts, "choices": [choice], "usage": usage}).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    Stub.answer, Stub.latency = head.encode() + body, latency
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def server(latency: float) -> Iterator[str]:
    """A fresh server in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--serve", str(latency)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.kill()
        process.wait()


# -- one harness ------------------------------------------------------------------------------------------------


def measure(command: list[str], latency: float) -> dict[str, float]:
    """Run a harness against a fresh server: seconds to the first request and in all, processor time, most memory."""
    with server(latency) as url, tempfile.TemporaryDirectory() as folder:
        words = [word.replace("URL", url).replace("OUT", f"{folder}/run") for word in command]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        begin = time.monotonic()
        with (Path(folder) / "said").open("w+") as said:
            process = psutil.Popen(words, env=environment, stdout=said, stderr=said, cwd=folder)
            seconds: dict[int, float] = {}
            most = 0.0
            while process.poll() is None:
                memory = 0.0
                for each in [process, *_children(process)]:
                    with suppress(psutil.Error):
                        times = each.cpu_times()
                        seconds[each.pid] = times.user + times.system
                        memory += each.memory_full_info().pss / 2**20
                most = max(most, memory)
                time.sleep(0.05)
            wall = time.monotonic() - begin
            said.seek(0)
            assert process.returncode == 0, said.read()[-2000:]
        with urllib.request.urlopen(url) as told:
            came = json.load(told)
    found = {
        "requests": len(came),
        "first": came[0] - begin,
        "wall": wall,
        "cpu": 1000 * sum(seconds.values()) / len(came),
        "memory": most,
    }
    print(f"{Path(command[1]).stem} {latency}: {found}", file=sys.stderr, flush=True)
    return found


def _children(process: psutil.Popen) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def harnesses(peers: Path) -> dict[str, list[str]]:
    """Return the command of each harness that is there."""
    ours = [sys.executable, "-m", "agentbench", "eval", "--env", "alfworld", "--split", f"generated:0:{GAMES}"]
    ours += ["--policy", "openai:stub", "--base-url", "URL", "--thinking", "no", "--out", "OUT"]
    ours += ["--env-options", json.dumps({"max_steps": STEPS})]
    found = {"agentbench": ours, "agentbench --inline": [*ours, "--inline"]}
    for name, (folder, script) in PEERS.items():
        python = peers / folder / "bin" / "python"
        if not python.exists():
            print(f"{name} is left out: no {python}", file=sys.stderr)
            continue
        script = str(Path(__file__).parent / "peers" / script)
        found[name] = [str(python), script, "URL", str(GAMES), str(STEPS), str(PARALLEL)]
    return found


# -- random play ------------------------------------------------------------------------------------------------


def tree_seconds() -> float:
    """Processor seconds of this process and all below it."""
    total = 0.0
    for each in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with suppress(psutil.Error):
            times = each.cpu_times()
            total += times.user + times.system
    return total


def ours(**settings: Any) -> float:
    """Steps a second of processor time of random play, recorded, with seeds and deadlines."""
    from agentbench.evaluation.evaluate import evaluate

    marks: list[tuple[int, float]] = []

    def note(progress: Any) -> None:
        if len(marks) < 2 or progress.finished == progress.total:
            marks.append((progress.finished, tree_seconds()))

    with tempfile.TemporaryDirectory() as folder:
        result = evaluate(
            "alfworld", "random", split="generated:0:60", trials=8, out=folder, on_progress=note, **settings
        )
        mean_steps = float(result.frame["steps"].mean())
    (first, before), (last, after) = marks[1], marks[-1]
    return mean_steps * (last - first) / (after - before)


def gymnasiums(kind: str, number: int, steps: int = 400) -> float:
    """Steps a second of processor time of random play in Gymnasium's vector environments, which record nothing."""
    import gymnasium
    import numpy as np

    import agentbench  # noqa: F401

    def make() -> Any:
        return gymnasium.make("agentbench/ALFWorld-v0", split="generated:0:60")

    vector = getattr(gymnasium.vector, kind)([make] * number)
    draw = np.random.default_rng(0)
    _, info = vector.reset(seed=0)
    before = tree_seconds()
    for _ in range(steps):
        actions = [offered[int(draw.integers(len(offered)))] for offered in info["admissible_actions"]]
        _, _, _, _, info = vector.step(actions)
    spent = tree_seconds() - before
    vector.close()
    return number * steps / spent


# -- the report ------------------------------------------------------------------------------------------------


def report(peers: Path, repeat: int, latencies: Sequence[float]) -> Iterator[str]:
    """Yield the lines of the tables."""
    yield "Random play, steps a second of processor time; ours is recorded, Gymnasium's is not:"
    yield ""
    yield "| | steps/s | beside |"
    yield "|:--|--:|--:|"
    pairs: list[tuple[str, Callable[[], float], str, Callable[[], float]]] = [
        ("two processes", lambda: ours(workers=2), "AsyncVectorEnv, 2", lambda: gymnasiums("AsyncVectorEnv", 2)),
        ("inline", lambda: ours(inline=True), "SyncVectorEnv, 8", lambda: gymnasiums("SyncVectorEnv", 8)),
    ]
    for name, one, other, two in pairs:
        found = [(one(), two()) for _ in range(repeat)]
        mine, theirs = (median(each) for each in zip(*found, strict=True))
        ratio = median(a / b for a, b in found)
        yield f"| {name} | {mine:,.0f} | {ratio:.2f} of {other} ({theirs:,.0f}) |"
    yield ""
    commands = harnesses(peers)
    for latency in latencies:
        yield f"Server that answers after {1000 * latency:.0f} ms, {GAMES} games of {STEPS} steps, {PARALLEL} at once:"
        yield ""
        yield "| | requests | first request | wall time | processor time a request | memory |"
        yield "|:--|--:|--:|--:|--:|--:|"
        rounds = [{name: measure(command, latency) for name, command in commands.items()} for _ in range(repeat)]
        for name in commands:
            mid = {key: median(each[name][key] for each in rounds) for key in rounds[0][name]}
            yield (
                f"| {name} | {mid['requests']:.0f} | {mid['first']:.2f} s | {mid['wall']:.1f} s | {mid['cpu']:.2f} ms "
                f"| {mid['memory']:.0f} MB |"
            )
        yield ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, default=Path("peers"), help="folder with the peers' environments")
    parser.add_argument("--repeat", type=int, default=3, help="how often; medians are shown")
    parser.add_argument(
        "--latency", type=float, action="append", help="of the server, in seconds (default: 0 and 0.05)"
    )
    parser.add_argument("--serve", type=float, help="be the server, with this latency")
    parser.add_argument("--out", type=Path, help="write the report to this file too")
    chosen = parser.parse_args()
    if chosen.serve is not None:
        asyncio.run(serve(chosen.serve))
        return
    lines = []
    for line in report(chosen.peers, chosen.repeat, chosen.latency or (0.0, 0.05)):
        print(line, flush=True)
        lines.append(line)
    if chosen.out:
        load = ", ".join(f"{each:.0f}" for each in os.getloadavg())
        head = f"""# What playing costs beside other harnesses

    python tests/benchmarks/bench_harness.py --peers PEERS --out results/published/harness.md

Runs: {chosen.repeat}, of which the median. {platform.machine()}, {os.cpu_count()} cores, \
Python {platform.python_version()}. \
Load at the end (1, 5, 15 minutes): {load}; where it is more than the cores, other work ran at the same time, and the \
seconds say little beside the ratios.
"""
        chosen.out.write_text(head + "\n" + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
