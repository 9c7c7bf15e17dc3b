"""What computing advantages costs: CPU time, peak memory and growth, from a training batch to a million steps.

    python tests/benchmarks/bench_credit.py [--schemes gigpo,hgpo] [--output FILE.md]

Made-up batches in the layout of the published measurement: 8 rollouts of 50 steps a task, anchor states drawn
from a Zipf law (400 states, exponent 1.3), 5 % invalid actions. The published seconds of the released code stand
beside ours; they were taken on another machine, so read the order of magnitude and not the digits.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from credit import SCHEMES, Steps, advantages

ROLLOUTS, LENGTH = 8, 50
TASKS = (16, 128, 1024, 2560)
RELEASED = {  # CPU seconds at each number of tasks; HGPO's leave out the step returns it takes from GiGPO's code
    "gigpo": (0.70, 28.5, 1733.0, 10811.0),
    "hgpo": (0.39, 3.3, 32.7, 93.5),
    "graphgpo": (0.65, 29.5, None, None),
}
LATER = """\
The returns of the first release are not the last word of its authors: those of their later repository (DrMAS) are the
same numbers and 35 times faster. Measured by others, side by side on one machine, on 77,412 steps: 63 s with the first
release, 4.2 s with the later returns, 12 ms with ours. Of these the last alone was measured here too (GiGPO on 77,600
steps of the batches above: 9 ms, and 18 ms for checking and indexing the table, on a machine with other work)."""
TARGET_SECONDS = {"gigpo": 1.5, "hgpo": 2.5, "salt": 2.0, "mapo": 2.0, "grpo": 2.0}


def batch(tasks: int, seed: int = 0) -> pd.DataFrame:
    """Make a table of ``tasks * 400`` steps with every column that a scheme may need."""
    rng = np.random.default_rng(seed)
    episodes, rows = tasks * ROLLOUTS, tasks * ROLLOUTS * LENGTH
    chance = 1.0 / np.arange(1, 401) ** 1.3
    state = rng.choice(400, rows, p=chance / chance.sum())
    is_last = np.tile(np.arange(LENGTH) == LENGTH - 1, episodes)
    won = np.repeat(rng.random(episodes) < 0.4, LENGTH)
    numbers = (
        "score", "value", "surprise", "surprise_ref", "info_gain", "value_low", "value_high", "value_term",
        "teacher_gap", "reference_gap", "baseline", "oracle",
    )  # fmt: skip
    return pd.DataFrame(
        {
            "group": np.repeat(np.arange(tasks), ROLLOUTS * LENGTH),
            "episode": np.repeat(np.arange(episodes), LENGTH),
            "step": np.tile(np.arange(LENGTH), episodes),
            "state": state,
            "action": rng.integers(0, 20, rows),
            "next_state": np.where(is_last, rng.integers(0, 400, rows), np.roll(state, -1)),
            "reward": np.where(is_last & won, 1.0, 0.0),
            "is_valid": rng.random(rows) > 0.05,
            "terminated": is_last & won,
            "truncated": is_last & ~won,
            **{name: rng.normal(size=rows) for name in numbers},
            "entropy": rng.random(rows),
            "tokens": rng.integers(1, 512, rows),
            "agent": rng.integers(0, 2, rows),
            "subgoal": rng.integers(0, 5, rows),
            "choice": rng.integers(0, 100, rows),
            "switch": (np.tile(np.arange(LENGTH), episodes) == 0) | (rng.random(rows) < 0.3),
            **_tree(np.arange(episodes), rng),
        }
    )


def _tree(episode: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Columns of trees: of every four rollouts the last three branch off the first, wherever."""
    first = episode - episode % 4
    fork = np.where(episode == first, 0, rng.integers(1, LENGTH, len(episode)))
    own = np.arange(LENGTH) >= fork[:, None]
    node = np.where(own, episode[:, None], first[:, None]) * LENGTH + np.arange(LENGTH)
    before = np.hstack([np.full((len(episode), 1), -1), node[:, :-1]])
    return {"node": node.ravel(), "parent": before.ravel(), "own": own.ravel()}


def seconds(work: Callable[[], Any], repeats: int) -> float:
    """Least CPU seconds of several calls, all threads of this process together."""
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return min(times)


def peak_bytes(work: Callable[[], Any]) -> int:
    """Most bytes held at once during a call, beyond those that were held before it."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def growth(sizes: list[int], times: list[float]) -> float:
    """Exponent k of the power law time ~ size^k that fits best."""
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


def measure(schemes: list[str]) -> Iterator[str]:
    """Yield the lines of the report."""
    tables = {}
    doors = []
    for tasks in TASKS:
        frame = batch(tasks)
        doors.append(seconds(partial(Steps.from_frame, frame), 3))
        tables[tasks] = Steps.from_frame(frame)
    sizes = [len(steps) for steps in tables.values()]
    yield "| scheme | " + " | ".join(f"{size:,} steps" for size in sizes) + " | exponent | peak bytes a step |"
    yield "|---|" + "---:|" * (len(sizes) + 2)
    for name in schemes:
        times = [seconds(partial(advantages, name, steps), 5) for steps in tables.values()]
        peaks = [peak_bytes(partial(advantages, name, steps)) / len(steps) for steps in tables.values()]
        cells = [_time(value) for value in times]
        yield f"| {name} | {' | '.join(cells)} | {growth(sizes, times):.2f} | {max(peaks):.0f} |"
        print(f"{name} done", file=sys.stderr)
    yield f"| `Steps.from_frame`, integer ids | {' | '.join(map(_time, doors))} | {growth(sizes, doors):.2f} | |"
    texts = [_door_with_texts(tasks) for tasks in TASKS[:3]]
    yield f"| `Steps.from_frame`, states of 200 characters | {' | '.join(map(_time, texts))} | | | |"
    yield ""
    yield "The released code, as published (CPU seconds on another machine; its step returns are quadratic):"
    yield ""
    yield "| scheme | " + " | ".join(f"{size:,} steps" for size in sizes) + " |"
    yield "|---|" + "---:|" * len(sizes)
    for name, published in RELEASED.items():
        cells = ["" if value is None else f"{value:,.2f} s" for value in published]
        yield f"| {name}, verl-agent | {' | '.join(cells)} |"
    yield ""
    yield LATER


def shuffled_cost(name: str) -> float:
    """CPU seconds of the first call on a million steps whose rows come in no order."""
    steps = Steps.from_frame(batch(TASKS[-1]).sample(frac=1, random_state=0))
    return seconds(partial(advantages, name, steps), 1)


def _door_with_texts(tasks: int) -> float:
    frame = batch(tasks)
    for name in ("state", "next_state"):
        frame[name] = frame[name].map({state: f"{state:04d}" * 50 for state in range(400)})
    return seconds(partial(Steps.from_frame, frame), 1)


def _time(value: float) -> str:
    return f"{value * 1e3:.2f} ms" if value < 0.1 else f"{value:.2f} s"


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schemes", default=",".join(SCHEMES))
    parser.add_argument("--output", type=Path, help="write the report as Markdown")
    arguments = parser.parse_args()
    lines = list(measure(arguments.schemes.split(",")))
    slow = ", ".join(f"{name} {shuffled_cost(name):.2f} s" for name in ("gigpo", "hgpo"))
    report = f"""# What computing advantages costs

    python tests/benchmarks/bench_credit.py --output results/published/credit-cost.md

Default options; CPU time (least of five calls), one process, Python {platform.python_version()}, numpy \
{np.__version__}, pandas {pd.__version__}, {platform.machine()}, {os.cpu_count()} cores, shared. Peak bytes are those \
that a call holds at once beyond the table, at the worst of the four sizes; a bare table holds 67 bytes a step. \
The exponent is the least-squares slope over the four sizes. Checking and indexing the table is `Steps.from_frame`, \
paid once for all schemes.

{chr(10).join(lines)}

Targets at 1,024,000 steps: {", ".join(f"{name} {value} s" for name, value in TARGET_SECONDS.items())}; exponent at \
most 1.15; every scheme below 10 ms at 6,400 steps; at most 200 bytes a step.

The first call on 1,024,000 rows in no order also sorts them: {slow}.
"""
    print(report)
    if arguments.output:
        arguments.output.write_text(report, encoding="utf-8")


if __name__ == "__main__":
    main()
