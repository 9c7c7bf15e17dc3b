"""A wall clock that jumps by years, back and forth, under evaluations and trainings: nothing may notice."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from kills import EVALUATE, EVALUATION, TRAIN, TRAINING
from tally import LIMIT, Tally, checkpoints, ends, environment, finished, start, tables, weights

# The library mends sleeps wrongly while it jumps, so nothing sleeps in this evaluation.
WORK = {"eval": (EVALUATE, {**EVALUATION, "trials": 150, "env_options": {}}), "train": (TRAIN, TRAINING)}
DATES = ("1970-01-02", "1999-12-31", "2001-09-09", "2026-02-28", "2037-12-31", "2038-01-20", "2099-06-01")


def library() -> str:
    """Return the library that sets the clock of a process; empty where it is not installed."""
    return next(map(str, Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), "")


def jump_clocks(folder: Path, times: int, generator: random.Random) -> Tally:
    """Run evaluations and trainings while their clock jumps; kill each once, and go on at another date."""
    tally = Tally()
    for name, (script, about) in WORK.items():
        assert ends(start(script, str(folder / f"whole-{name}"), json.dumps(about)))
    while tally.faults < times:
        for name, (script, about) in WORK.items():
            out, whole = folder / f"{name}-{tally.faults}", folder / f"whole-{name}"
            jump_under(tally, script, about, out, generator, kill=True)
            before = finished(out), max(checkpoints(out), default="")
            jump_under(tally, script, about, out, generator, kill=False)
            if not finished(out).startswith(before[0]) or max(checkpoints(out), default="") < before[1]:
                tally.blame("lost", f"{out.name} lost what was finished")
            if (tables(out) != tables(whole)) if name == "eval" else (weights(out) != weights(whole)):
                tally.blame("wrong", f"{out.name} ended otherwise")
            if name == "train":
                check_seconds(tally, out)
    return tally


def jump_under(
    tally: Tally, script: str, about: dict[str, Any], out: Path, generator: random.Random, *, kill: bool
) -> None:
    """Run a script and set its clock again and again until it ends."""
    clock = out.with_suffix(".clock")
    clock.write_text("@2026-01-01 00:00:00")
    fake = {"LD_PRELOAD": library(), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(out), json.dumps(about)],
        # A real clock jumps alone: the one that only ever goes forward stays as it is.
        env=environment(**fake, FAKETIME_DONT_FAKE_MONOTONIC="1", DONT_FAKE_MONOTONIC="1"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + LIMIT
    while process.poll() is None:
        other = clock.with_suffix(".new")
        other.write_text(f"@{generator.choice(DATES)} {generator.randrange(24):02d}:00:00")
        other.replace(clock)
        tally.faults += 1
        has_something = bool(finished(out) or checkpoints(out))
        tally.under_way += has_something
        time.sleep(generator.uniform(0.05, 0.3))
        if time.monotonic() > end or (kill and has_something):
            process.kill()
    code = process.wait()
    if time.monotonic() > end:
        tally.blame("hung", f"{out.name} did not end")
    elif code and not kill:
        tally.blame("unclear", f"{out.name} ended with code {code}")


def check_seconds(tally: Tally, out: Path) -> None:
    """The seconds of a training step are of this hour, whatever the clock said."""
    for line in (out / "metrics.jsonl").read_text().splitlines():
        if not 0 <= (seconds := json.loads(line).get("seconds", 0.0)) < 3600:
            tally.blame("wrong", f"{out.name}: a step took {seconds} s")
