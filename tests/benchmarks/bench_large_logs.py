"""What large logs cost: seconds and peak memory of ``import``, ``credit`` and ``report`` on 500 MB of distinct text.

    python tests/benchmarks/bench_large_logs.py [--megabytes 500] [--keep FOLDER] [--output FILE.md]

A chat log of 20 steps an episode and 8 episodes a task is made in a temporary folder (about five times its size is
needed there), with 2,500 characters of random letters a step of which no two are equal: no text is stored once for
many, and packing wins little. Each command runs as a process of its own, as a user would start it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

STEPS, TRIALS = 20, 8
CHARACTERS = 2500
SCHEMES = "grpo,gigpo,hgpo,salt,mapo"
BOUNDS = {"import": (30, 400), "credit": (5, 500), "report": (60, 500)}
"""Seconds and MB that each command may take for 500 MB."""
_LETTERS = (b"eeeeaaattooiinnsshrrdlucmfwygpbvk" * 8)[:208] + b" " * 46 + b".,"


@dataclass(frozen=True)
class Cost:
    """What a command took: seconds that passed, seconds of processor time, and its largest memory in MB."""

    passed: float
    processor: float
    memory: float


def write_log(path: Path, megabytes: int, seed: int = 0) -> int:
    """Write a chat log with that much text, and return its number of steps."""
    draw = np.random.default_rng(seed)
    episodes = round(megabytes * 1e6 / CHARACTERS / STEPS)
    with path.open("w", encoding="ascii") as file:
        for episode in range(episodes):
            text = draw.bytes(STEPS * CHARACTERS).translate(_LETTERS).decode("ascii")
            won = bool(draw.random() < 0.4)
            messages = []
            for step in range(STEPS):
                part = text[step * CHARACTERS : (step + 1) * CHARACTERS]
                messages.append({"role": "user", "content": part[:1500]})
                messages.append({"role": "assistant", "content": part[1500:]})
            record = {"task_id": f"task-{episode // TRIALS}", "messages": messages, "reward": float(won)}
            file.write(json.dumps(record) + "\n")
    return episodes * STEPS


def cost_of(*command: str) -> Cost:
    """Run ``agentbench`` with these arguments as a process of its own."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # compiled once, as what is installed is
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "agentbench", *command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    passed = time.perf_counter() - begun
    if status:
        raise SystemExit(f"agentbench {' '.join(command)} failed")
    per_unit = 1 if sys.platform == "darwin" else 1024
    cost = Cost(passed, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * per_unit / 1e6)
    print(f"{command[0]}: {cost}, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    return cost


def measure(folder: Path, megabytes: int) -> str:
    """Make the log, run the commands and return their table."""
    log, run = folder / "log.jsonl", folder / "run"
    steps = write_log(log, megabytes)
    costs = {
        "import": cost_of("import", str(log), "--out", str(run)),
        "credit": cost_of("credit", str(run), "--scheme", SCHEMES, "--out", str(folder / "credit.parquet")),
        "report": cost_of("report", str(run), "--out", str(folder / "page.html")),
    }
    lines = [
        f"{megabytes} MB of text, {steps:,} steps; {os.cpu_count()} cores, {platform.machine()}, "
        f"Python {platform.python_version()}", "",
        "| command | seconds | of the processor | bound | MB at most | bound |",
        "|:--|--:|--:|--:|--:|--:|",
    ]  # fmt: skip
    for name, cost in costs.items():
        seconds, memory = BOUNDS[name]
        lines.append(
            f"| `{name}` | {cost.passed:.1f} | {cost.processor:.1f} | {seconds * megabytes / 500:.0f} "
            f"| {cost.memory:.0f} | {memory} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--keep", type=Path, help="make everything in this folder, and leave it there")
    parser.add_argument("--output", type=Path, help="write the table there too")
    arguments = parser.parse_args()
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="agentbench-large-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        table = measure(folder, arguments.megabytes)
    finally:
        if arguments.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    print(table)
    if arguments.output:
        arguments.output.write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
