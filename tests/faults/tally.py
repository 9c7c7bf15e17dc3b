"""What a part of the fault campaign counts, and how its runs are started, watched and compared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from credit import CreditError
from envs.base.errors import UserError
from envs.base.journal import journal_of, lines

LIMIT = 240.0
"""Seconds that a process may take before it counts as hanging. Generous: other jobs may run beside it."""

Run = subprocess.Popen[bytes]


@dataclass
class Tally:
    """What one kind of fault did.

    Attributes:
        faults: how many were made.
        under_way: of them, how many hit when something was finished already, and the run went on.
        told: how many ended in one line that says what is wrong; the others were fixed unseen, or changed nothing.
        lost: finished episodes, checkpoints or rows that were gone afterwards.
        wrong: runs that ended with other numbers than the uninterrupted one.
        hung: processes that did not end in time, or outlived the one that they worked for.
        unclear: ends without a message, or with a traceback.
        notes: the first few of what went wrong, for whoever fixes it.
    """

    faults: int = 0
    under_way: int = 0
    told: int = 0
    lost: int = 0
    wrong: int = 0
    hung: int = 0
    unclear: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether the promise was kept: nothing lost, no wrong number, no hang, one clear message."""
        return not (self.lost or self.wrong or self.hung or self.unclear)

    def blame(self, what: str, note: str) -> None:
        """Count a broken promise."""
        setattr(self, what, getattr(self, what) + 1)
        if len(self.notes) < 10:
            self.notes.append(f"{what}: {note}")

    def attempt(self, label: str, work: Callable[[], object]) -> bool:
        """Do what may be refused, but only in one line; tell whether it was done."""
        try:
            work()
        except (UserError, CreditError) as error:
            self.told += 1
            if "\n" in str(error):
                self.blame("unclear", f"{label}: {str(error)[:300]}")
            return False
        except Exception as error:
            self.blame("unclear", f"{label}: {error!r:.300}")
            return False
        return True

    def hear(self, code: int, said: str) -> None:
        """Take in how a command ended whose work could not be done: it must have said so in one line.

        The code is 2, and 1 where parts of the work failed (runs of a sweep).
        """
        lines = said.strip().splitlines()
        if code in (1, 2) and lines and lines[-1].startswith("agentbench: ") and "Traceback" not in said:
            self.told += 1
        else:
            self.blame("unclear", f"code {code}: {said[-400:]}")


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a process that finds the helpers of the tests and uses one core."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1", **more}


def start(script: str, *arguments: str) -> Run:
    """Start a Python script whose output nobody reads."""
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([sys.executable, "-c", script, *arguments], env=environment(), **quiet)


def ends(process: Run) -> bool:
    """Wait for a process; tell whether it ended well and in time."""
    try:
        return process.wait(LIMIT) == 0
    except subprocess.TimeoutExpired:
        process.kill()
        return False


def command(*arguments: str | Path, **more: str) -> tuple[int, str]:
    """Run ``agentbench ARGUMENTS``; return its exit code (None after :data:`LIMIT` seconds) and what it said."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "agentbench", *map(str, arguments)],
            env=environment(**more), capture_output=True, timeout=LIMIT, check=False, text=True, errors="replace",
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return -1, "it did not end"
    return done.returncode, done.stderr


def finished(out: Path) -> bytes:
    """Return the whole lines of a run: the episodes that it may never lose."""
    return b"".join(lines(journal_of(out)))


def tables(out: Path) -> list[bytes]:
    """Return the tables of a run, byte for byte."""
    return [(out / f"{name}.parquet").read_bytes() for name in ("episodes", "steps")]


def weights(out: Path) -> bytes:
    """Return the weights of the policy that a training run ended with."""
    return (out / "policy" / "weights.safetensors").read_bytes()


def checkpoints(out: Path) -> set[str]:
    """Return the names of a training run's checkpoints."""
    return {path.name for path in (out / "checkpoints").glob("step-*")}


def wait_for_change(look: Callable[[Path], Any], out: Path, before: Any, process: Run) -> None:
    """Wait until something else is seen in a folder, or the process has ended."""
    end = time.monotonic() + LIMIT
    while look(out) == before and process.poll() is None and time.monotonic() < end:
        time.sleep(0.005)


@contextmanager
def small_disk(size: int) -> Iterator[Path]:
    """Give a folder on a disk of ``size`` bytes. Only root may: see :func:`why_no_small_disk`."""
    folder = Path(tempfile.mkdtemp(prefix="small-disk-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


def resize(folder: Path, size: int) -> None:
    """Make a small disk larger."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)


def why_no_small_disk() -> str:
    """Return why this process cannot mount a small disk; empty where it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "only root on Linux can mount a small disk"
    try:
        with small_disk(1 << 20):
            return ""
    except (OSError, subprocess.CalledProcessError) as error:
        return f"a small disk cannot be mounted here ({error})"


def settings(values: dict[str, Any]) -> str:
    """Write keyword arguments for a script."""
    return json.dumps(values)
