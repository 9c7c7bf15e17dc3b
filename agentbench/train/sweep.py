"""A sweep: one training run for each scheme and seed, side by side in processes of their own, resumable."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentbench.runs.lines import METRICS_FILE, read_metrics
from agentbench.runs.run import RUN_FILE
from agentbench.train.config import TrainConfig, read_config
from agentbench.train.run import refuse_unfit_scheme
from agentbench.train.sweep_record import run_folder
from agentbench.train.trainer import Metrics
from envs.base.errors import UserError
from policies.saved import is_saved

LOG_FILE = "train.log"
STOP_SECONDS = 60.0
"""Time that the runs of a sweep have to end by themselves when it is stopped."""

COMMAND = (sys.executable, "-m", "agentbench")
PERHAPS_CHANGED = frozenset(("device", "threads", "workers", "parallel"))


@dataclass(frozen=True, slots=True)
class SweepRun:
    """One training run of a sweep: its settings and its folder, ``<out>/<scheme>-<seed>``.

    Attributes:
        is_control: its scheme shows what better values would win: the branches that measure them do not count as
            environment steps when the sweep is summed up.
    """

    config: TrainConfig
    folder: Path
    is_control: bool = False

    @property
    def metrics(self) -> list[Metrics]:
        """The metrics so far, one dictionary a training step."""
        return read_metrics(self.folder / METRICS_FILE)

    @property
    def is_finished(self) -> bool:
        """Whether it was trained to its end."""
        return is_saved(self.folder) and self.step == self.config.steps

    @property
    def step(self) -> int:
        """The training steps that are done."""
        rows = self.metrics
        return int(rows[-1]["step"]) if rows else 0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended: ``error`` is empty, or what went wrong in one line."""

    run: SweepRun
    error: str


def plan_sweep(
    config: Path | None,
    flags: dict[str, Any],
    schemes: Sequence[str],
    seeds: int,
    out: Path,
    first_seed: int = 0,
    own: Mapping[str, dict[str, Any]] | None = None,
    policies: Sequence[str] = (),
    controls: Sequence[str] = (),
) -> list[SweepRun]:
    """Return the runs of a sweep, seed by seed, so that a sweep cut short has compared all schemes alike.

    Args:
        config: TOML file of settings; its table ``[schemes.NAME]`` holds what one scheme has of its own.
        flags: settings that go over it.
        schemes: names of credit schemes; the first is the one that the others are compared with.
        seeds: number of seeds, from ``first_seed``.
        out: folder of the sweep.
        first_seed: the first one, so that several machines can each run some of the seeds.
        own: settings of a scheme that go over all others, by its name.
        policies: clones that seeds take turns in, seed s the one at place s modulo their number; all schemes of a seed
            start from the same. None: the settings' own ``policy``.
        controls: those of the schemes that are controls (:attr:`SweepRun.is_control`).

    Raises:
        UserError: a setting is wrong, no held-out tasks are named, or a folder holds a run with other settings.
        CreditError: a scheme or one of its options does not exist.
    """
    if repeated := {name for name in schemes if schemes.count(name) > 1}:
        raise UserError(f"scheme {min(repeated)!r} is named twice")
    if repeated := {name for name in policies if policies.count(name) > 1}:
        raise UserError(f"clone {min(repeated)!r} is named twice")
    if strangers := [name for name in controls if name not in schemes[1:]]:
        raise UserError(
            f"--controls {strangers[0]}: a control is one of --schemes, and not the first, which all are compared with"
        )
    for name, instead in (("scheme", "schemes"), ("seed", "seeds"), *([("policy", "policies")] if policies else [])):
        if name in flags:
            raise UserError(f"--{name} is set by the sweep itself: use --{instead}")
    runs = []
    for seed in range(first_seed, first_seed + seeds):
        start = {"policy": policies[seed % len(policies)]} if policies else {}
        for scheme in schemes:
            said = {**flags, **(own or {}).get(scheme, {}), **start}
            settings = read_config(config, {**said, "scheme": scheme, "seed": seed})
            runs.append(SweepRun(settings, run_folder(out, scheme, seed), scheme in controls))
    for run in runs:
        if run.config.eval_split is None:
            raise UserError("a sweep compares success on held-out tasks: set eval_split (and eval_tasks)")
        refuse_unfit_scheme(run.config)
        _check_same(run)
    return runs


def run_sweep(
    runs: Sequence[SweepRun], jobs: int, command: Sequence[str] = COMMAND, on_start: Callable[[SweepRun], None] = print
) -> Iterator[Ended]:
    """Train what is not finished, ``jobs`` runs at a time, and yield each run as it ends.

    Args:
        runs: from :func:`plan_sweep`; finished ones are skipped, others continue from their last checkpoint.
        jobs: processes side by side.
        command: how to start agentbench.
        on_start: called when a run starts, from its own thread.
    """

    children = _Children()

    def work(run: SweepRun) -> str:
        on_start(run)
        return _train(run, command, children)

    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(work, run): run for run in runs if not run.is_finished}
        try:
            for future in as_completed(futures):
                yield Ended(futures[future], future.result())
        except BaseException:
            for future in futures:
                future.cancel()
            children.end()
            raise


class _Children:
    """The training processes that are running, so that none outlives the sweep."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._ended = False

    def run(self, command: Sequence[str], **how: Any) -> int:
        """Start a process, wait for its end, and return its exit code."""
        with self._lock:
            if self._ended:
                return -signal.SIGTERM
            process = subprocess.Popen(command, **how)
            self._running.add(process)
        code = process.wait()
        with self._lock:
            self._running.discard(process)
        return code

    def end(self) -> None:
        """Have all stop as by Ctrl-C, which some may have got already; kill what has not ended after a time."""
        with self._lock:
            self._ended = True
            running = list(self._running)
        for process in running:
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()


def _train(run: SweepRun, command: Sequence[str], children: _Children) -> str:
    """Train one run in a process of its own; return what went wrong, in one line."""
    run.folder.mkdir(parents=True, exist_ok=True)
    default = TrainConfig()
    flags = [
        f"--{name.replace('_', '-')}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in run.config.model_dump().items()
        if value != getattr(default, name) or name in ("scheme", "seed")
    ]
    environment = {"OMP_NUM_THREADS": str(run.config.threads), **os.environ}
    with (run.folder / LOG_FILE).open("a", encoding="utf-8") as log:
        code = children.run(
            [*command, "train", f"--out={run.folder}", "--resume", *flags],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
        )
    if code == 0:
        return ""
    lines = (run.folder / LOG_FILE).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    said = lines[-1].removeprefix("agentbench: ") if lines else "it said nothing"
    ended = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    return f"{ended}: {said}"


def _check_same(run: SweepRun) -> None:
    """Refuse a folder whose run has other settings: it would be taken for this one."""
    path = run.folder / RUN_FILE
    if not path.exists():
        return
    now = json.loads(run.config.model_dump_json())
    before = {**TrainConfig.unsaid(), **json.loads(path.read_text(encoding="utf-8"))["identity"]}
    changed = [
        f"{name}: {before[name]} → {value}"
        for name, value in now.items()
        if name in before and before[name] != value and name not in PERHAPS_CHANGED
    ]
    if changed:
        raise UserError(f"{run.folder} was made with other settings ({', '.join(changed)}): choose another --out")
