"""SIGKILL at random moments, and at every file operation: of evaluations, their workers, trainers, model servers."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import hosts
import psutil
from tally import LIMIT, Run, Tally, checkpoints, ends, environment, finished, start, tables, wait_for_change, weights

from agentbench import UserError, evaluate

EVALUATION: dict[str, Any] = {"trials": 8, "workers": 2, "seed": 3, "env_options": {"delay": 0.004}}
EVALUATE = """
import json, sys
import toy_environment
from pathlib import Path
from agentbench import evaluate
evaluate("toy", "random", out=Path(sys.argv[1]), **json.loads(sys.argv[2]))
"""

TRAINING: dict[str, Any] = {
    "env": "toy", "split": "all", "env_options": {"tasks": 4, "max_steps": 6}, "group_size": 6,
    "tasks_per_step": 4, "steps": 20, "learning_rate": 0.01, "checkpoint_every": 2, "eval_split": "all",
    "eval_every": 5,
}  # fmt: skip
TRAIN = """
import json, sys
import toy_environment
from pathlib import Path
from agentbench.train.config import read_config
from agentbench.train.run import train
train(read_config(None, json.loads(sys.argv[2])), Path(sys.argv[1]), resume=True)
"""

AT_OPERATION = """
import os, signal, sys
left, place = int(sys.argv[3]), os.path.abspath(sys.argv[1])
WATCHED = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "shutil.rmtree"}
def watch(event, arguments):
    global left
    if event in WATCHED and isinstance(arguments[0], str | os.PathLike) and os.fspath(arguments[0]).startswith(place):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
"""
"""Put before a script: it is killed right before its n-th operation on a file of its run (n = 0: never)."""
TELL = "\nprint(-left)\n"

SAMPLED_ELSEWHERE: dict[str, Any] = {
    "env": "toy", "split": "all", "env_options": {"tasks": 3, "max_steps": 2}, "policy_options": {"max_new_tokens": 6},
    "engine": "vllm", "group_size": 2, "tasks_per_step": 2, "steps": 12, "minibatches": 1, "entropy_coefficient": 0.5,
    "learning_rate": 0.02, "checkpoint_every": 1,
}  # fmt: skip

SERVE = """
import sys
import stub_server
server = stub_server.StubServer(stub_server.up, port=int(sys.argv[1]))
server.serve_forever()
"""

SERVE_WEIGHTS = """
import sys, torch
from stub_vllm import StubVllm
torch.set_num_threads(1)
StubVllm(address=("127.0.0.1", int(sys.argv[1]))).serve_forever()
"""


def random_kills(
    folder: Path, times: int, generator: random.Random, script: str, about: dict[str, Any], look: Callable[[Path], Any]
) -> Tally:
    """Kill a run some time after something new was finished, several times a run, and let it end at last."""
    tally, whole, number = Tally(), folder / "whole", 0
    assert ends(start(script, str(whole), json.dumps(about)))
    while tally.faults < times:
        number += 1
        out = folder / f"random-{number}"
        for _ in range(min(generator.randrange(2, 6), times - tally.faults)):
            before = kept(out)
            process = start(script, str(out), json.dumps(about))
            wait_for_change(look, out, look(out), process)
            time.sleep(generator.random() * 0.5)
            kill(process, tally)
            count(tally, before, out, whole)
        conclude(tally, script, about, out, whole)
    return tally


def kills_at_operations(
    folder: Path, times: int, generator: random.Random, script: str, about: dict[str, Any], _: Callable[[Path], Any]
) -> Tally:
    """Kill a run at a file operation and, when it continues, at another; all operations are taken in turn."""
    tally, whole, number = Tally(), folder / "whole", 0
    watched = AT_OPERATION + script
    told = subprocess.run(
        [sys.executable, "-c", watched + TELL, str(whole), json.dumps(about), "0"],
        env=environment(), capture_output=True, check=True, timeout=LIMIT,
    )  # fmt: skip
    operations = list(range(1, int(told.stdout.split()[-1]) + 1))
    generator.shuffle(operations)
    while tally.faults < times:
        number += 1
        out = folder / f"operation-{number}"
        for place in (operations[number % len(operations)], generator.choice(operations)):
            before = kept(out)
            process = start(watched, str(out), json.dumps(about), str(place))
            if ends(process):
                break  # a run that goes on has fewer operations left
            tally.faults += process.returncode == -signal.SIGKILL
            count(tally, before, out, whole)
        conclude(tally, script, about, out, whole)
    return tally


def kept(out: Path) -> tuple[bytes, str]:
    """Return what a later look must still find: the finished episodes, and the newest checkpoint."""
    return finished(out), max(checkpoints(out), default="")


def kill(process: Run, tally: Tally) -> None:
    """Kill a run; the workers that it leaves behind must end by themselves."""
    try:
        workers = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        workers = []
    process.kill()
    tally.faults += process.wait() == -signal.SIGKILL
    _, left = psutil.wait_procs(workers, timeout=LIMIT)
    if left:
        tally.blame("hung", f"{len(left)} workers outlived their run")


def count(tally: Tally, before: tuple[bytes, str], out: Path, whole: Path) -> None:
    """Take in what a kill has left."""
    now = kept(out)
    is_over = (out / "steps.parquet").exists() or (out / "policy").exists()
    tally.under_way += any(now) and not is_over
    if not now[0].startswith(before[0]) or now[1] < before[1]:
        tally.blame("lost", f"{len(before[0])} bytes, {before[1]} -> {len(now[0])} bytes, {now[1]}")


def conclude(tally: Tally, script: str, about: dict[str, Any], out: Path, whole: Path) -> None:
    """Let a run that was killed end, and compare it with the one that never was."""
    before = kept(out)
    if not ends(start(script, str(out), json.dumps(about))):
        tally.blame("hung", f"{out.name} did not end")
        return
    count(tally, before, out, whole)
    is_training = (whole / "policy").exists()
    if weights(out) != weights(whole) if is_training else tables(out) != tables(whole):
        tally.blame("wrong", f"{out.name} ended otherwise")


def kill_evaluations(folder: Path, times: int, generator: random.Random) -> Tally:
    """Kill evaluations at random moments."""
    return random_kills(folder, times, generator, EVALUATE, EVALUATION, finished)


def kill_evaluations_at_operations(folder: Path, times: int, generator: random.Random) -> Tally:
    """Kill evaluations at each of their file operations."""
    return kills_at_operations(folder, times, generator, EVALUATE, EVALUATION, finished)


def kill_trainers(folder: Path, times: int, generator: random.Random) -> Tally:
    """Kill trainers at random moments."""
    return random_kills(folder, times, generator, TRAIN, TRAINING, checkpoints)


def kill_trainers_at_operations(folder: Path, times: int, generator: random.Random) -> Tally:
    """Kill trainers at each of their file operations."""
    return kills_at_operations(folder, times, generator, TRAIN, TRAINING, checkpoints)


def kill_workers(folder: Path, times: int, generator: random.Random) -> Tally:
    """Kill workers under evaluations that go on; episodes that lost their three tries are played again at the end."""
    return workers_killed(folder, times, generator, {**EVALUATION, "trials": 20, "env_options": {"delay": 0.02}})


def kill_hosts(folder: Path, times: int, generator: random.Random) -> Tally:
    """Kill workers that host 32 environments each, as :func:`kill_workers` does."""
    options = {"delay": 0.004, "tasks": 48}
    return workers_killed(folder, times, generator, {**EVALUATION, "trials": 4, "parallel": 64, "env_options": options})


def workers_killed(folder: Path, times: int, generator: random.Random, about: dict[str, Any]) -> Tally:
    """Kill workers under evaluations with these settings."""
    tally = Tally()
    evaluate("toy", "random", out=folder / "whole", **about)

    def shoot() -> bool:
        workers = hosts.processes()
        for worker in generator.sample(workers, min(1, len(workers))):
            worker.kill()
        return bool(workers)

    while tally.faults < times:
        evaluate_under_fire(tally, folder, times, generator, shoot, "random", about)
    return tally


def kill_servers(folder: Path, times: int, generator: random.Random) -> Tally:
    """Kill and start the model server under evaluations whose requests wait for it."""
    import stub_server

    tally = Tally()
    with stub_server.serving() as probe:
        port = probe.server_port
    options = {"base_url": f"http://127.0.0.1:{port}/v1", "attempts": 40, "backoff": 0.05, "timeout": 10.0}
    about = {"trials": 30, "workers": 2, "policy_options": options, "env_options": {"delay": 0.02}}
    servers = [start(SERVE, str(port))]

    def shoot() -> bool:
        servers[-1].kill()
        servers[-1].wait()
        servers.append(start(SERVE, str(port)))
        return True

    try:
        evaluate_at_last(folder / "whole", "openai:stub", about)
        while tally.faults < times:
            evaluate_under_fire(tally, folder, times, generator, shoot, "openai:stub", about)
    finally:
        servers[-1].kill()
        servers[-1].wait()
    return tally


def evaluate_under_fire(
    tally: Tally,
    folder: Path,
    times: int,
    generator: random.Random,
    shoot: Callable[[], bool],
    policy: str,
    about: dict[str, Any],
) -> None:
    """Evaluate in this process while a thread shoots whenever something was finished since its last shot."""
    out, over = folder / f"cut-{tally.faults}", threading.Event()

    def keep_shooting() -> None:
        seen = b""
        while not over.wait(generator.uniform(0.0, 0.3)) and tally.faults < times:
            now = finished(out)
            if now != seen and not over.is_set() and shoot():
                seen = now
                tally.faults += 1
                tally.under_way += not (out / "steps.parquet").exists()

    shooter = threading.Thread(target=keep_shooting)
    shooter.start()
    try:
        evaluate_at_last(out, policy, about)
    finally:
        over.set()
        shooter.join()
    before = finished(out)
    evaluate_at_last(out, policy, about)
    if not finished(out).startswith(before):
        tally.blame("lost", f"{out.name} lost lines")
    if tables(out) != tables(folder / "whole"):
        tally.blame("wrong", f"{out.name} ended otherwise")


def evaluate_at_last(out: Path, policy: str, about: dict[str, Any]) -> None:
    """Evaluate; where the run stops with a message (three starts killed in a row, say), do as it says: once more."""
    end = time.monotonic() + LIMIT
    while True:
        try:
            evaluate("toy", policy, out=out, retry_errors=True, **about)
        except UserError:
            if time.monotonic() > end:
                raise
            time.sleep(0.3)
        else:
            return


def kill_servers_of_trainings(folder: Path, times: int, generator: random.Random) -> Tally:
    """Kill the server that a training samples from, after some checkpoint: it stops, and continues with another."""
    import tiny_language

    from agentbench.train.config import TrainConfig
    from agentbench.train.run import train

    model, whole, tally = folder / "model", folder / "whole", Tally()
    tiny_language.model().save_pretrained(model)
    tiny_language.tokenizer().save_pretrained(model)

    def go_on(out: Path, port: int) -> None:
        about = {"policy": f"hf:{model}", "engine_options": {"base_url": f"http://127.0.0.1:{port}", "timeout": 20}}
        train(TrainConfig(**SAMPLED_ELSEWHERE, **about), out, resume=True)

    with server_of_weights() as (_, port):
        go_on(whole, port)
    while tally.faults < times:
        out = folder / f"server-{tally.faults}"
        while not (out / "policy").exists():
            before = kept(out)
            with server_of_weights() as (server, port):
                wait = generator.uniform(0.0, 1.5)
                shooter = threading.Thread(target=shoot_later, args=(server, out, wait), daemon=True)
                if tally.faults < times:
                    shooter.start()
                try:
                    go_on(out, port)
                except UserError as error:
                    tally.told += 1
                    if "\n" in str(error):
                        tally.blame("unclear", str(error))
                if server.poll() == -signal.SIGKILL:
                    tally.faults += 1
                    count(tally, before, out, whole)
        if weights(out) != weights(whole):
            tally.blame("wrong", f"{out.name} ended otherwise")
    return tally


def shoot_later(server: Run, out: Path, wait: float) -> None:
    """Kill a server some seconds after the next checkpoint."""
    wait_for_change(checkpoints, out, checkpoints(out), server)
    time.sleep(wait)
    server.kill()


@contextmanager
def server_of_weights() -> Iterator[tuple[Run, int]]:
    """Start a server in the place of vLLM's, and wait until it answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = start(SERVE_WEIGHTS, str(port))
    try:
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
                break
            time.sleep(0.1)
        yield server, port
    finally:
        server.kill()
        server.wait()
