"""How fast the shop is, and how much memory a worker takes: CPU time of one process.

    python tests/benchmarks/bench_webshop.py [--data FOLDER] [--steps 20000] [--output FILE.md]

The shopper clicks at random among what can be clicked and types a new query, made of words of a random
instruction, one step in six, so that searches come from the index and not from a cache. FOLDER holds WebShop's files;
without it the generated catalogue is used. Every row is measured in a fresh process.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def options(data: str | None) -> dict[str, Any]:
    return {"goals": "synthetic", "data": data, "split": "all"} if data else {"split": "all"}


def measure_start(data: str | None, steps: int) -> dict[str, float]:
    begin = time.process_time()
    from envs.webshop import WebShopEnv

    imported = time.process_time()
    env = WebShopEnv(**options(data))
    env.reset(seed=0)
    end = time.process_time()
    return {"import, s": imported - begin, "make and first reset, s": end - imported, "both, s": end - begin}


def measure_reset(data: str | None, steps: int) -> dict[str, float]:
    from envs.webshop import WebShopEnv

    env = WebShopEnv(**options(data))
    tasks = random.Random(0).sample(list(env.tasks), min(3000, len(env.tasks)))
    result = {}
    for name in ("first reset to a task, ms", "later reset to a task, ms"):
        begin = time.process_time()
        for task in tasks:
            env.reset(options={"task": task.id})
        result[name] = (time.process_time() - begin) / len(tasks) * 1e3
    return result


def play(env: Any, steps: int, words: list[list[str]]) -> float:
    """Take ``steps`` random steps; return the CPU seconds spent in the environment's step."""
    draws, spent, running, info = random.Random(0), 0.0, False, {}
    for step in range(steps):
        if not running:
            _, info = env.reset(seed=step)
        choices = info["clickables"]
        if info["has_search_bar"] or not choices or draws.random() < 1 / 6:
            some = draws.choice(words)
            action = f"search[{' '.join(draws.sample(some, min(len(some), draws.randint(2, 8))))}]"
        else:
            action = f"click[{draws.choice(choices)}]"
        begin = time.process_time()
        _, _, terminated, truncated, info = env.step(action)
        spent += time.process_time() - begin
        running = not (terminated or truncated)
    return spent


def measure_steps(data: str | None, steps: int) -> dict[str, float]:
    from envs.webshop import WebShopEnv

    result = {}
    for mode in ("text", "text_rich"):
        env = WebShopEnv(mode, **options(data))
        words = [goal.instruction.replace("[", " ").replace("]", " ").split() for goal in env.goals]
        result[f"{mode}, steps/s"] = steps / play(env, steps, words)
    env = WebShopEnv(**options(data))
    texts = [" ".join(random.Random(k).sample(some, min(len(some), 6))) for k, some in enumerate(words)]
    begin = time.process_time()
    for text in texts:
        env.shop.results(env.shop.act(env._visit, f"search[{text}]", env.goals[0], ()))
    result["searches alone, queries/s"] = len(texts) / (time.process_time() - begin)
    return result


def measure_memory(data: str | None, steps: int) -> dict[str, float]:
    import psutil

    from envs.webshop import WebShopEnv

    env = WebShopEnv(**options(data))
    words = [goal.instruction.split() for goal in env.goals]
    play(env, min(steps, 5000), words)
    return {"resident memory after 5,000 steps, MB": psutil.Process().memory_info().rss / 1e6}


MEASURES: dict[str, Callable[[str | None, int], dict[str, float]]] = {
    "start": measure_start,
    "reset": measure_reset,
    "steps": measure_steps,
    "memory": measure_memory,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of WebShop's files; by default the generated catalogue")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--output", type=Path, help="also write the table to this file")
    parser.add_argument("--only", choices=MEASURES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(MEASURES[arguments.only](arguments.data, arguments.steps)))
        return
    rows: dict[str, float] = {}
    for name in MEASURES:
        command = [sys.executable, __file__, "--only", name, "--steps", str(arguments.steps)]
        command += ["--data", arguments.data] if arguments.data else []
        rows |= json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    source = "WebShop's 1,000 products" if arguments.data else "generated catalogue, 1,000 products"
    lines = [f"Python {platform.python_version()}, {platform.machine()}, one process, CPU time; {source}.", ""]
    lines += [
        "| what | value |",
        "|---|---:|",
        *(
            f"| {name} | {value:,.0f} |" if value >= 100 else f"| {name} | {value:.3g} |"
            for name, value in rows.items()
        ),
    ]
    print("\n".join(lines))
    if arguments.output:
        arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
