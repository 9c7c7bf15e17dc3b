"""How fast AppWorld's worlds are, and how much memory they take.

    python tests/benchmarks/bench_appworld.py [--episodes 200] [--worlds 4] [--output FILE.md]

Needs the split mini installed (`make appworld`). An episode is a step that does nothing, two API calls, and the
task's solution. Times are wall times, since the work is done elsewhere; memory is the proportional share (PSS: pages
that processes share count once) of this process and every one below it.
"""

from __future__ import annotations

import argparse
import contextlib
import platform
import statistics
import time
from pathlib import Path

import psutil

from envs.appworld import AppWorldEnv
from envs.base.errors import UserError

MEGABYTE = 1 << 20
CALL = "print(apis.phone.get_current_date_and_time())"


def memory() -> float:
    """Return MB of this process and of all below it."""
    total = 0.0
    own = psutil.Process()
    for process in (own, *own.children(recursive=True)):
        try:
            total += process.memory_full_info().pss / MEGABYTE
        except psutil.Error:  # it ended meanwhile
            continue
    return total


def resident() -> dict[int, float]:
    """Return MB of resident memory by process: this one and all below it."""
    found = {}
    own = psutil.Process()
    for process in (own, *own.children(recursive=True)):
        with contextlib.suppress(psutil.Error):  # it ended meanwhile
            found[process.pid] = process.memory_info().rss / MEGABYTE
    return found


def growth(resident: list[dict[int, float]], tasks: int) -> tuple[float, int]:
    """Return by how many MB the processes grew that were there from the second round of all tasks to the last.

    Each episode is a fresh process and can leave nothing behind; what could grow are the servers and this process.
    """
    rounds = len(resident) // tasks
    first, last = resident[tasks : 2 * tasks], resident[(rounds - 1) * tasks : rounds * tasks]
    stay = set.intersection(*(set(each) for each in (*first, *last)))
    means = [statistics.mean(sum(each[pid] for pid in stay) for each in part) for part in (first, last)]
    return means[1] - means[0], len(stay)


def milliseconds(times: list[float]) -> str:
    ordered = sorted(times)
    return f"{statistics.median(times) * 1e3:.0f} (95 % under {ordered[int(0.95 * (len(ordered) - 1))] * 1e3:.0f})"


def timed(action: object, *arguments: object, **options: object) -> float:
    begin = time.perf_counter()
    action(*arguments, **options)  # type: ignore[operator]
    return time.perf_counter() - begin


def measure(episodes: int, worlds: int) -> dict[str, str]:
    rows: dict[str, str] = {}
    env, won = AppWorldEnv(), 0
    rows["first reset, with the start of the player, s"] = f"{timed(env.reset, options={'task': 'alarmoff_1'}):.1f}"
    names = [task.name for task in env.tasks]
    resets, empty, calls, ends, used, held = [], [], [], [], [], []
    for episode in range(episodes):
        begin = time.perf_counter()
        _, info = env.reset(options={"task": names[episode % len(names)]})
        resets.append(time.perf_counter() - begin)
        empty.append(timed(env.step, "pass"))
        env.step(CALL)  # the first call of an episode sets up more than a call
        calls.append(timed(env.step, CALL))
        *work, last = info["walkthrough"]
        for block in work:
            env.step(block)
        begin = time.perf_counter()
        won += env.step(last)[4]["won"]
        ends.append(time.perf_counter() - begin)
        used.append(memory())
        held.append(resident())
    rows["later reset, ms"] = milliseconds(resets[1:])
    rows["step that does nothing, ms"] = milliseconds(empty)
    rows["step with one API call, ms"] = milliseconds(calls)
    rows["last step, judged, ms"] = milliseconds(ends[1:])
    rows["one world with its judge, MB"] = f"{used[-1]:.0f}"
    rows["episodes won by the solution"] = f"{won} of {episodes}"
    if episodes >= 3 * len(names):
        grown, processes = growth(held, len(names))
        rows[f"growth of the {processes} lasting processes over {episodes} episodes, MB"] = f"{grown:+.2f}"
    env.close()
    envs = [AppWorldEnv() for _ in range(worlds)]
    for each in envs:
        each.reset(options={"task": "alarmoff_1"})
        each.step("apis.supervisor.complete_task()")
        each.reset(options={"task": "alarmoff_1"})
        each.step(CALL)
    rows[f"{worlds} worlds side by side with their judges, MB"] = f"{memory():.0f}"
    for each in envs:
        each.close()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--worlds", type=int, default=4)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    load = psutil.getloadavg()[0]
    try:
        rows = measure(arguments.episodes, arguments.worlds)
    except UserError as error:
        print(f"not measured: {error}")
        return
    lines = ["| what | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
    lines += ["", f"{psutil.cpu_count()} cores ({platform.machine()}), load {load:.0f} before and "
              f"{psutil.getloadavg()[0]:.0f} after: wall times of a busy machine are upper bounds."]  # fmt: skip
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
