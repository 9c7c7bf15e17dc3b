"""Environments that hang, die, grow or raise among many in one process: what becomes of the others."""

from __future__ import annotations

import contextlib
import dataclasses
import random
from pathlib import Path
from typing import Any

import psutil
from tally import Tally
from toy_environment import UpPolicy

from agentbench import evaluate, open_run
from agentbench.runs.episodes import Episode, to_line

TASKS = 40
ATTEMPTS = 3
# Long enough that a busy machine can grow a process by 400 MB within it: what is at fault must be told, not the time.
STEP_TIMEOUT = 5.0
TOLD = {
    "sleep": f"a step took more than {STEP_TIMEOUT:g} s",
    "kill": "exit code -9",
    "grow": "the worker grew to",
    "raise": "the toy is broken",
}
"""What is said of each fault."""


def play(out: Path, faults: dict[str, str], **settings: Any) -> dict[str, Episode]:
    """Play 32 episodes at once in one process; return the episodes by their tasks' names, in the order they ended."""
    plays = out.with_name(f"{out.name}-plays")
    plays.mkdir()
    options = {"tasks": TASKS, "faults": faults, "max_steps": TASKS + 2, "plays": str(plays)}
    settings = {"parallel": 32, "workers": 1, "step_timeout": STEP_TIMEOUT, "memory_limit": 300, **settings}
    evaluate("toy", UpPolicy(), out=out, env_options=options, **settings)
    return {each.task_name: each for each in open_run(out).read_episodes()}


def line_of(episode: Episode) -> str:
    """Return an episode as its line without times."""
    return to_line(dataclasses.replace(episode, timing={}))


def plays_of(out: Path) -> dict[str, int]:
    """Return how often each task was begun."""
    return {file.name: file.stat().st_size for file in out.with_name(f"{out.name}-plays").iterdir()}


def processes() -> list[psutil.Process]:
    """Return the workers of this process that live, and the programs that they come from."""
    found = []
    for each in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has just ended
            if "agentbench.worker" in each.cmdline():
                found.append(each)
    return found


def spoil_hosts(folder: Path, times: int, generator: random.Random) -> Tally:
    """Let one to three of 32 environments in a process fail at every try, each in its own way."""
    tally, whole = Tally(), play(folder / "whole", {})
    while tally.faults < times:
        out = folder / f"spoiled-{tally.faults}"
        chosen = generator.sample(range(TASKS), min(generator.randrange(1, 4), times - tally.faults))
        faults = {str(index): generator.choice(list(TOLD)) for index in chosen}
        episodes, plays = play(out, faults), plays_of(out)
        bad = {f"toy:{index}" for index in faults}
        tally.faults += len(bad)
        tally.under_way += sum(plays[name] > 1 for name in bad)  # beside others at first, and again when these went on
        for name in whole:
            if name not in episodes:
                tally.blame("lost", f"{faults}: {name} is missing")
            elif plays[name] > ATTEMPTS:
                tally.blame("wrong", f"{faults}: {name} was begun {plays[name]} times")
            elif name in bad:
                error = episodes[name].error or ""
                tally.told += bool(error)
                if not error or "\n" in error:
                    tally.blame("unclear", f"{faults}: {name} ended with {error!r}")
            elif line_of(episodes[name]) != line_of(whole[name]):
                tally.blame("wrong", f"{faults}: {name} ended otherwise")
        if left := processes():
            tally.blame("hung", f"{faults}: {len(left)} workers outlived their run")
    return tally
