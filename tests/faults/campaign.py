"""Kill evaluations, their workers, trainers and model servers at random moments, damage files, and report.

Run from the repository: ``python tests/faults/campaign.py --out results/published/faults.md``. Each part plays or
trains a small counting game, and compares what is there at the end with an uninterrupted run, byte for byte.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]

import psutil  # noqa: E402

from agentbench import UserError, evaluate  # noqa: E402

LIMIT = 120.0
"""Seconds that a process may take before it counts as hanging."""


@dataclass
class Tally:
    """What one part of the campaign found.

    Attributes:
        faults: how many were made.
        under_way: of them, how many hit when something was finished already, and something not yet.
        lost: finished episodes or checkpoints that were gone afterwards.
        wrong: runs that ended with other bytes than the uninterrupted one.
        hung: processes that did not end in time.
    """

    faults: int = 0
    under_way: int = 0
    lost: int = 0
    wrong: int = 0
    hung: int = 0


def tables(folder: Path) -> list[bytes]:
    return [(folder / f"{name}.parquet").read_bytes() for name in ("episodes", "steps")]


def finished(folder: Path) -> bytes:
    """Return the whole lines of a run."""
    path = folder / "episodes.jsonl"
    content = path.read_bytes() if path.exists() else b""
    return content[: content.rfind(b"\n") + 1]


def start(script: str, *arguments: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([sys.executable, "-c", script, *arguments], env=environment, **quiet)  # type: ignore[call-overload, no-any-return]


EVALUATE = """
import sys
import toy_environment
from pathlib import Path
from agentbench import evaluate
evaluate("toy", "random", out=Path(sys.argv[1]), trials=8, workers=2, seed=3, env_options={"delay": 0.004})
"""


def kill_evaluations(folder: Path, times: int, generator: random.Random) -> Tally:
    """Kill an evaluation again and again, and finish it, until enough were killed."""
    settings: dict[str, Any] = {"trials": 8, "workers": 2, "seed": 3, "env_options": {"delay": 0.004}}
    evaluate("toy", "random", out=folder / "whole", **settings)
    tally, number = Tally(), 0
    while tally.faults < times:
        number += 1
        out = folder / f"cut-{number}"
        kills = min(generator.randrange(2, 6), times - tally.faults)
        for _ in range(kills):
            before = finished(out)
            process = start(EVALUATE, str(out))
            wait_for_change(finished, out, before, process)
            time.sleep(generator.random() * 0.5)
            process.kill()
            tally.faults += process.wait() == -signal.SIGKILL
            tally.under_way += bool(finished(out))
            tally.lost += not finished(out).startswith(before)
        tally.hung += not ends(start(EVALUATE, str(out)))
        tally.wrong += tables(out) != tables(folder / "whole")
    return tally


def kill_workers(folder: Path, times: int, generator: random.Random) -> Tally:
    """Kill workers under a run that goes on; episodes that lost their three tries are played again at the end."""
    settings: dict[str, Any] = {"trials": 20, "workers": 2, "seed": 3, "env_options": {"delay": 0.02}}
    evaluate("toy", "random", out=folder / "whole", **settings)
    tally, number = Tally(), 0
    while tally.faults < times:
        number += 1
        out, over = folder / f"cut-{number}", threading.Event()

        def shoot(over: threading.Event = over) -> None:
            seen = b""
            while not over.wait(generator.uniform(0.0, 0.3)) and tally.faults < times:
                if finished(out) == seen:  # noqa: B023  (workers that are starting are let in peace)
                    continue
                seen = finished(out)  # noqa: B023
                workers = [
                    child for child in psutil.Process().children() if "agentbench.rollout.worker" in child.cmdline()
                ]
                if workers:
                    generator.choice(workers).kill()
                    tally.faults += 1
                    tally.under_way += bool(finished(out))  # noqa: B023

        shooter = threading.Thread(target=shoot)
        shooter.start()
        evaluate_at_last("random", out, **settings)
        over.set()
        shooter.join()
        before = finished(out)
        evaluate("toy", "random", out=out, retry_errors=True, **settings)
        tally.lost += not finished(out).startswith(before)
        tally.wrong += tables(out) != tables(folder / "whole")
    return tally


TRAIN = """
import sys
import toy_environment
from pathlib import Path
from agentbench.train.config import read_config
from agentbench.train.run import train
small = {"env": "toy", "split": "all", "env_options": {"tasks": 4, "max_steps": 6}, "group_size": 6}
small |= {"tasks_per_step": 4, "steps": 20, "learning_rate": 0.01, "checkpoint_every": 2}
train(read_config(None, small), Path(sys.argv[1]), resume=True)
"""


def checkpoints(out: Path) -> set[str]:
    return {path.name for path in (out / "checkpoints").glob("step-*")}


def weights(out: Path) -> bytes:
    return (out / "policy" / "weights.safetensors").read_bytes()


def kill_trainers(folder: Path, times: int, generator: random.Random) -> Tally:
    """Kill a trainer after some checkpoint, several times a run."""
    whole = folder / "whole"
    ends(start(TRAIN, str(whole)))
    tally, number = Tally(), 0
    while tally.faults < times:
        number += 1
        out = folder / f"cut-{number}"
        for _ in range(min(4, times - tally.faults)):
            before = checkpoints(out)
            process = start(TRAIN, str(out))
            wait_for_change(checkpoints, out, before, process)
            time.sleep(generator.random() * 0.3)
            process.kill()
            tally.faults += process.wait() == -signal.SIGKILL
            tally.under_way += bool(checkpoints(out)) and not (out / "policy").exists()
            tally.lost += bool(before) and max(checkpoints(out), default="") < max(before)
        tally.hung += not ends(start(TRAIN, str(out)))
        tally.wrong += weights(out) != weights(whole)
    return tally


SERVE = """
import sys
import stub_server
class Here(stub_server.StubServer):
    allow_reuse_address = True
    def __init__(self):
        stub_server.ThreadingHTTPServer.__init__(self, ("127.0.0.1", int(sys.argv[1])), stub_server._Handler)
        import threading
        self.answer, self.bodies, self.headers, self.lock, self.now, self.most = (
            stub_server.up, [], [], threading.Lock(), 0, 0)
Here().serve_forever()
"""


def kill_servers(folder: Path, times: int, generator: random.Random) -> Tally:
    """Kill and start the model server under an evaluation whose requests wait for it."""
    import stub_server

    tally, over = Tally(), threading.Event()
    with stub_server.serving() as probe:
        port = probe.server_port
    options = {"base_url": f"http://127.0.0.1:{port}/v1", "attempts": 40, "backoff": 0.05, "timeout": 10.0}
    out = folder / "cut"
    settings: dict[str, Any] = {"workers": 2, "policy_options": options, "env_options": {"delay": 0.02}}
    servers = [start(SERVE, str(port))]
    time.sleep(3)

    def shoot() -> None:
        seen = b""
        while tally.faults < times and not over.wait(generator.uniform(0.0, 0.3)):
            if finished(out) == seen:
                continue
            seen = finished(out)
            servers[-1].kill()
            servers[-1].wait()
            tally.faults += 1
            tally.under_way += bool(finished(out))
            servers.append(start(SERVE, str(port)))

    shooter = threading.Thread(target=shoot)
    shooter.start()
    runs = 0
    while shooter.is_alive():
        runs += 1
        out = folder / f"cut-{runs}"
        evaluate_at_last("openai:stub", out, trials=30, **settings)
    shooter.join()
    evaluate("toy", "openai:stub", out=folder / "whole", trials=30, **settings)
    servers[-1].kill()
    servers[-1].wait()
    tally.wrong = sum(tables(folder / f"cut-{n}") != tables(folder / "whole") for n in range(1, runs + 1))
    return tally


def evaluate_at_last(policy: str, out: Path, **settings: Any) -> None:
    """Evaluate; where the run stops with a message (three starts killed in a row, say), do as it says: once more."""
    for _ in range(50):
        try:
            evaluate("toy", policy, out=out, retry_errors=True, **settings)
        except UserError as error:
            print(f"told: {error}", file=sys.stderr)
            time.sleep(0.5)
        else:
            return
    raise SystemExit("the run did not end")


def wait_for_change(look: Callable[[Path], Any], out: Path, before: Any, process: subprocess.Popen[bytes]) -> None:
    """Wait until something else is seen in a folder, or the process has ended."""
    end = time.monotonic() + LIMIT
    while look(out) == before and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)


def ends(process: subprocess.Popen[bytes]) -> bool:
    """Wait for a process; tell whether it ended well and in time."""
    try:
        return process.wait(LIMIT) == 0
    except subprocess.TimeoutExpired:
        process.kill()
        return False


PARTS: dict[str, tuple[str, Callable[[Path, int, random.Random], Tally], int]] = {
    "evaluations": ("evaluation killed", kill_evaluations, 80),
    "workers": ("worker killed", kill_workers, 60),
    "trainers": ("trainer killed", kill_trainers, 24),
    "servers": ("model server killed", kill_servers, 36),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part")
    parser.add_argument("--share", type=float, default=1.0, help="share of the faults to make")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="file that the rows are added to")
    chosen = parser.parse_args()
    for name in chosen.part or PARTS:
        label, part, times = PARTS[name]
        folder = Path(tempfile.mkdtemp(prefix="faults-"))
        tally = part(folder, max(1, round(times * chosen.share)), random.Random(chosen.seed))
        shutil.rmtree(folder, ignore_errors=True)
        row = (
            f"| {label} (SIGKILL) | {tally.faults} | {tally.under_way} | {tally.lost} | {tally.wrong} | {tally.hung} |"
        )
        print(row, flush=True)
        if chosen.out:
            with chosen.out.open("a", encoding="utf-8") as file:
                file.write(row + "\n")


if __name__ == "__main__":
    main()
