"""What playing costs beside other harnesses: the same games, the same stub of a server, ratios in one run.

    python tests/benchmarks/bench_harness.py --peers FOLDER

It writes results/published/harness.md, and can be stopped and started: what was measured is kept.

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
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
GAMES, STEPS, PARALLEL = 60, 10, 64
INSPECT = "Inspect AI"
FIRST, COST = ("0.3 (1 s of 3.3)", 1 / 3.3), ("0.17 (2.5 ms of 14.6)", 2.5 / 14.6)
"""The aims in seconds as shares of what the peers took on the machine on which they were set."""
PEERS = {INSPECT: ("inspect", "play_inspect.py"), "verifiers": ("verifiers", "play_verifiers.py")}


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
    return {
        "requests": len(came),
        "first": came[0] - begin,
        "wall": wall,
        "cpu": 1000 * sum(seconds.values()) / len(came),
        "memory": most,
    }


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


def ours(split: str = "generated:0:60", trials: int = 8, **settings: Any) -> float:
    """Steps a second of processor time of random play, recorded, with seeds and deadlines."""
    from agentbench.evaluation.evaluate import evaluate

    marks: list[tuple[int, float]] = []

    def note(progress: Any) -> None:
        if len(marks) < 2 or progress.finished == progress.total:
            marks.append((progress.finished, tree_seconds()))

    with tempfile.TemporaryDirectory() as folder:
        result = evaluate("alfworld", "random", split=split, trials=trials, out=folder, on_progress=note, **settings)
        mean_steps = float(result.frame["steps"].mean())
    (first, before), (last, after) = marks[1], marks[-1]
    return mean_steps * (last - first) / (after - before)


def gymnasiums(kind: str, number: int, steps: int = 2000) -> float:
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


def original(games: int = 12, steps: int = 20) -> dict[str, float]:
    """Steps a second of processor time of the original engine: in two processes of ours, in its own batch of two."""
    from envs.alfworld.generator import parse_split
    from envs.alfworld.original import game_file

    split = f"generated:0:{games}:small"
    options = {"engine": "textworld", "max_steps": steps}
    found = {"ours": ours(split=split, trials=2, workers=2, parallel=2, env_options=options)}
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number, game in enumerate(parse_split(split)):
            file = Path(folder) / str(number) / "game.tw-pddl"
            file.parent.mkdir()
            file.write_text(json.dumps(game_file(game)), encoding="utf-8")
            files.append(str(file))
        found["theirs"] = _batch_of_two(files, steps)
    return found | {"ratio": found["ours"] / found["theirs"]}


def _batch_of_two(files: Sequence[str], steps: int) -> float:
    """Play every file twice, as the package's own environment sets its batch up."""
    import numpy as np
    import textworld.gym
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler, AlfredInfos

    asked = textworld.EnvInfos(won=True, admissible_commands=True, extras=["gamefile"])
    name = textworld.gym.register_games(
        list(files), asked, batch_size=2, asynchronous=True, max_episode_steps=steps,
        wrappers=[AlfredDemangler(shuffle=False), AlfredInfos],
    )  # fmt: skip
    env = textworld.gym.make(name)
    draw, played, before = np.random.default_rng(0), 0, 0.0
    for episode in range(len(files) + 1):  # the first pair of episodes is not counted, as it is not of ours
        if episode == 1:
            played, before = 0, tree_seconds()
        _, info = env.reset()
        for _ in range(steps):
            offered = info["admissible_commands"]
            _, _, _, info = env.step([each[int(draw.integers(len(each)))] for each in offered])
            played += 2
    spent = tree_seconds() - before
    env.close()
    return played / spent


# -- what is paid beside playing ----------------------------------------------------------------------------------


def page(run: Path) -> dict[str, float]:
    """Processor seconds and most memory (MB) of ``agentbench report`` on a run of 1,000 episodes, made if need be."""
    if not (run / "tables.json").exists():
        words = ["eval", "--env", "alfworld", "--split", "generated:0:1000", "--policy", "random", "--inline"]
        subprocess.run(
            [sys.executable, "-m", "agentbench", *words, "--out", run], check=True, cwd=ROOT, stdout=subprocess.DEVNULL
        )
    words = ["agentbench", "report", str(run), "--out", str(run / "page.html")]
    script = (  # what a parent is told of a child's memory counts what the parent had when it began
        f"import sys, time; sys.argv = {words!r}\n"
        "from agentbench.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1]\n"
        "print(time.process_time(), int(peak) / 1024)"
    )
    seconds, memory = map(float, _said(script).split())
    return {"seconds": seconds, "memory": memory}


def _said(script: str) -> str:
    """Return the last line that a script of Python prints."""
    command = [sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.splitlines()[-1]


def record(run: Path) -> dict[str, float]:
    """Milliseconds of processor time to read the record of a run, imports and all."""
    script = (
        "import sys, time; sys.argv = ['agentbench']; begin = time.process_time()\n"
        f"import agentbench; agentbench.open_run({str(run)!r}).identity\n"
        "print(1000 * (time.process_time() - begin))"
    )
    return {"ms": float(_said(script))}


def grpo(rows: int = 65_536, size: int = 8) -> dict[str, float]:
    """Milliseconds of processor time for GRPO on one-step episodes in groups, from the pandas table on."""
    import numpy as np
    import pandas as pd

    from credit import Steps, advantages

    reward = np.random.default_rng(0).random(rows)
    ends, number = np.ones(rows, np.bool_), np.arange(rows)
    columns = {"group": number // size, "episode": number, "step": 0, "reward": reward}
    table = pd.DataFrame({**columns, "terminated": ends, "truncated": ~ends})
    spent = []
    for _ in range(50):
        begin = time.process_time()
        advantages("grpo", Steps.from_frame(table))
        spent.append(1000 * (time.process_time() - begin))
    return {"ms": median(spent)}


# -- the report ------------------------------------------------------------------------------------------------


class Kept:
    """Measurements by name, in a file: whoever stops the script and starts it again pays for none twice."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.exists() else {}

    def of(self, name: str, make: Callable[[], dict[str, float]]) -> dict[str, float]:
        if name not in self.found:
            self.found[name] = make()
            print(f"{name}: {self.found[name]}", file=sys.stderr, flush=True)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(self.found, indent=1))
        return self.found[name]

    def middle(self, name: str, repeat: int, make: Callable[[], dict[str, float]]) -> dict[str, float]:
        rounds = [self.of(f"{name}, {number}", make) for number in range(repeat)]
        return {key: median(each[key] for each in rounds) for key in rounds[0]}


Aim = tuple[str, str, str, bool]
"""What is measured, the aim, the figure, and whether the figure holds it."""

PAIRS: dict[str, tuple[float, Callable[[], float], str, Callable[[], float]]] = {
    "two processes": (1.2, lambda: ours(workers=2), "AsyncVectorEnv, 2", lambda: gymnasiums("AsyncVectorEnv", 2)),
    "inline": (0.9, lambda: ours(inline=True), "SyncVectorEnv, 8", lambda: gymnasiums("SyncVectorEnv", 8)),
}


def measured(kept: Kept, peers: Path, repeat: int, latencies: Sequence[float]) -> tuple[list[Aim], list[str]]:
    """Measure everything that is not kept; return the aims, and the lines of the tables."""
    aims: list[Aim] = []
    lines = ["Random play, steps a second of processor time; ours is recorded, Gymnasium's is not:", ""]
    lines += ["| | steps/s | beside |", "|:--|--:|--:|"]
    for name, (aim, one, other, two) in PAIRS.items():
        found = kept.middle(name, repeat, lambda one=one, two=two: _pair(one(), two()))  # type: ignore[misc]
        lines.append(f"| {name} | {found['ours']:,.0f} | {found['ratio']:.2f} of {other} ({found['theirs']:,.0f}) |")
        figure = f"{found['ratio']:.2f} times"
        aims.append((f"random play, {name}, beside {other}", f"{aim} times", figure, found["ratio"] >= aim))
    if find_spec("textworld") and find_spec("alfworld"):
        found = kept.middle("original", repeat, original)
        lines.append(
            f"| the original engine, two processes | {found['ours']:,.1f} | {found['ratio']:.2f} of its own batch "
            f"({found['theirs']:,.1f}) |"
        )
        figure = f"{found['ratio']:.2f} times"
        aims.append(("the original engine, beside its own batch of two", "1 times", figure, found["ratio"] >= 1))
    run = kept.path.parent / "thousand"
    found = kept.middle("page", repeat, lambda: page(run))
    aims.append(("page of 1,000 episodes", "1.5 s", f"{found['seconds']:.1f} s", found["seconds"] <= 1.5))
    aims.append(("the same, memory", "150 MB", f"{found['memory']:.0f} MB", found["memory"] <= 150))
    ms = kept.middle("GRPO", repeat, grpo)["ms"]
    aims.append(("GRPO, 65,536 rows, table included", "3 ms", f"{ms:.1f} ms", ms <= 3))
    ms = kept.middle("record", repeat, lambda: record(run))["ms"]
    aims.append(("record of a run, with imports", "–", f"{ms:.0f} ms", True))
    for latency in latencies:
        table, more = _beside_peers(kept, harnesses(peers), repeat, latency)
        lines += table
        aims += more
    return aims, lines


def _pair(one: float, two: float) -> dict[str, float]:
    return {"ours": one, "theirs": two, "ratio": one / two}


def _beside_peers(
    kept: Kept, commands: dict[str, list[str]], repeat: int, latency: float
) -> tuple[list[str], list[Aim]]:
    for number in range(repeat):  # in turns, so that other work on the machine meets all alike
        for name, command in commands.items():
            kept.of(f"{name} at {latency}, {number}", lambda command=command: measure(command, latency))  # type: ignore[misc]
    mid = {name: kept.middle(f"{name} at {latency}", repeat, dict) for name in commands}
    ms = f"{1000 * latency:.0f} ms"
    lines = ["", f"Server that answers after {ms}, {GAMES} games of {STEPS} steps, {PARALLEL} at once:", ""]
    lines += ["| | requests | first request | wall time | processor time a request | memory |"]
    lines += ["|:--|--:|--:|--:|--:|--:|"]
    for name, each in mid.items():
        lines.append(
            f"| {name} | {each['requests']:.0f} | {each['first']:.2f} s | {each['wall']:.1f} s | {each['cpu']:.2f} ms "
            f"| {each['memory']:.0f} MB |"
        )
    own = mid["agentbench"]
    what = f"{PARALLEL} in flight, server after {ms}"
    aims: list[Aim] = [
        (f"{what}: first request", "1 s", f"{own['first']:.2f} s", own["first"] <= 1),
        (f"{what}: memory", "400 MB", f"{own['memory']:.0f} MB", own["memory"] <= 400),
        (f"{what}: processor time a request", "2.5 ms", f"{own['cpu']:.2f} ms", own["cpu"] <= 2.5),
    ]
    theirs = [each["wall"] for name, each in mid.items() if name in PEERS]
    if theirs:
        share = own["wall"] / min(theirs)
        aims.append((f"{what}: wall time beside the quicker peer", "half", f"{share:.2f} of it", share <= 0.5))
        first = own["first"] / min(each["first"] for name, each in mid.items() if name in PEERS)
        aims.append(
            (f"{what}: first request beside the quicker peer", FIRST[0], f"{first:.2f} of it", first <= FIRST[1])
        )
    if INSPECT in mid:
        share = own["cpu"] / mid[INSPECT]["cpu"]
        name = f"{what}: processor time a request beside {INSPECT}"
        aims.append((name, COST[0], f"{share:.2f} of it", share <= COST[1]))
    return lines, aims


def written(aims: Sequence[Aim], lines: Sequence[str], repeat: int) -> str:
    """Return the page: what was found, how, and every table."""
    missed = [what for what, _, _, holds in aims if not holds]
    count = sum(aim != "–" for _, aim, _, _ in aims)
    told = "all of them" if not missed else f"{count - len(missed)} of {count}; missed: {'; '.join(missed)}"
    load = ", ".join(f"{each:.0f}" for each in os.getloadavg())
    rows = [
        f"| {what} | {aim} | {figure} | {'–' if aim == '–' else 'yes' if holds else '**no**'} |"
        for what, aim, figure, holds in aims
    ]
    return "\n".join(
        [
            "# What playing costs beside other harnesses",
            "",
            "The same games and the same stub of a server for all, processor time and memory of all processes of a "
            f"harness, ratios in one run. Aims that are held: {told}.",
            "",
            "| what | aim | found | held |",
            "|:--|--:|--:|:--|",
            *rows,
            "",
            *lines,
            "",
            f"Medians of {repeat}. {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
            f"{', '.join(f'{name} {version(name)}' for name in ('gymnasium', 'numpy', 'pandas', 'pyarrow'))}. Load at "
            f"the end (1, 5, 15 minutes): {load}; where it is more than the cores, other work ran at the same time, "
            "and the seconds say little beside the ratios.",
            "",
            "The aims in seconds were set on a quicker machine, on which Inspect AI took 14.6 ms of processor time a "
            "request and 3.3 s to its first: as shares of what the peers took they stand in the table too.",
            "",
            "Made by (stopped and started again, it goes on where it was)",
            "",
            "```bash",
            "python -m venv peers/inspect && peers/inspect/bin/pip install inspect-ai openai gymnasium",
            "python -m venv peers/verifiers && peers/verifiers/bin/pip install verifiers==0.1.9.post3 gymnasium",
            "python tests/benchmarks/bench_harness.py --peers peers",
            "```",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, default=Path("peers"), help="folder with the peers' environments")
    parser.add_argument("--repeat", type=int, default=3, help="how often; medians are shown")
    parser.add_argument(
        "--latency", type=float, action="append", help="of the server, in seconds (default: 0 and 0.05)"
    )
    parser.add_argument("--serve", type=float, help="be the server, with this latency")
    parser.add_argument(
        "--kept", type=Path, default=ROOT / "results/bench-harness/kept.json", help="measurements; remove to begin anew"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results/published/harness.md", help="the page")
    chosen = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # compiled once, as what is installed is
    if chosen.serve is not None:
        asyncio.run(serve(chosen.serve))
        return
    aims, lines = measured(Kept(chosen.kept.resolve()), chosen.peers, chosen.repeat, chosen.latency or (0.0, 0.05))
    chosen.out.write_text(written(aims, lines, chosen.repeat), encoding="utf-8")
    print(f"written: {chosen.out}")


if __name__ == "__main__":
    main()
