"""Truncated, flipped, replaced and foreign files: of runs, of checkpoints, of saved policies."""

from __future__ import annotations

import pickle
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import toy_environment
from tally import Tally, tables, weights

from agentbench import evaluate, open_run

RUN_FILES = ("run.json", "episodes.jsonl.gz", "episodes.parquet", "steps.parquet", "tables.json")

TRAINING: dict[str, Any] = {
    "env": "toy", "split": "all", "env_options": {"tasks": 2, "max_steps": 4}, "group_size": 2, "tasks_per_step": 2,
    "steps": 6, "learning_rate": 0.01, "checkpoint_every": 2,
}  # fmt: skip


class Planted:
    """Pickled, this makes a file when it is read: what a checkpoint that came from elsewhere could do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


REPLACEMENTS = (
    b"", b"{}", b"[]", b"null", b'"text"', b"[" * 100_000, b'{"files":{}}', b"\xff\xfe", b"\x80\x04.", b'{"a":1e999}',
)  # fmt: skip


def flip(content: bytes, generator: random.Random) -> bytes:
    place = generator.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << generator.randrange(8)]) + content[place + 1 :]


def cut(content: bytes, generator: random.Random) -> bytes:
    return content[: generator.randrange(len(content))]


def scramble(content: bytes, generator: random.Random) -> bytes:
    return generator.randbytes(len(content))


DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    flip, cut, scramble, *(lambda _, __, text=text: text for text in REPLACEMENTS),
)  # fmt: skip


def damage(path: Path, number: int, generator: random.Random) -> None:
    """Change a file in the ``number``-th way."""
    path.write_bytes(DAMAGES[number % len(DAMAGES)](path.read_bytes(), generator))


def play(out: Path) -> None:
    evaluate("toy", toy_environment.UpPolicy(lazy=[1]), out=out, inline=True)


def damage_runs(folder: Path, times: int, generator: random.Random) -> Tally:
    """Damage one file of a finished run, read it, and let it be resumed."""
    tally, whole, damaged = Tally(), folder / "whole", folder / "damaged"
    play(whole)
    for number in range(times):
        shutil.rmtree(damaged, ignore_errors=True)
        shutil.copytree(whole, damaged)
        name = RUN_FILES[number % len(RUN_FILES)]
        damage(damaged / name, number // len(RUN_FILES), generator)
        tally.faults += 1
        tally.attempt(name, lambda name=name: read_and_resume(tally, name, damaged, whole))
    return tally


def read_and_resume(tally: Tally, name: str, damaged: Path, whole: Path) -> None:
    run = open_run(damaged)
    # A line that was lost counts as not finished; all that is shown must be what was played.
    shown, expected = (
        each.episodes.set_index(["task_id", "trial"]).drop(columns="episode") for each in (run, open_run(whole))
    )
    if not shown.equals(expected.loc[shown.index]) or len(run.step_table) != shown["steps"].sum():
        tally.blame("wrong", f"{name}: a wrong number is shown")
    play(damaged)
    if tables(damaged) != tables(whole):
        tally.blame("wrong", f"{name}: the run ended otherwise")


def damage_checkpoints(folder: Path, times: int, generator: random.Random) -> Tally:
    """Damage a file of the newest checkpoint, or put another run's there, and go on from what is left."""
    from agentbench.train.config import read_config
    from agentbench.train.run import train

    def go_on(out: Path, **more: Any) -> None:
        train(read_config(None, {**TRAINING, **more}), out, resume=True)

    tally, whole, part, other = Tally(), folder / "whole", folder / "part", folder / "other"
    damaged, planted = folder / "damaged", folder / "planted"
    for out, more in ((whole, {}), (other, {"seed": 1})):
        go_on(out, **more)
    shutil.copytree(whole, part)  # as if it was killed after its last checkpoint
    shutil.rmtree(part / "policy")
    names = sorted(path.name for path in (part / "checkpoints" / "step-000006").iterdir())
    for number in range(times):
        shutil.rmtree(damaged, ignore_errors=True)
        shutil.copytree(part, damaged)
        newest = damaged / "checkpoints" / "step-000006"
        path = newest / names[number % len(names)]
        way = number // len(names) % (len(DAMAGES) + 3)
        if way < len(DAMAGES):
            damage(path, way, generator)
        elif way == len(DAMAGES):
            shutil.copy(other / "checkpoints" / newest.name / path.name, path)
        elif way == len(DAMAGES) + 1:
            path.write_bytes(pickle.dumps(Planted(planted)))
        else:
            path.unlink()
        tally.faults += 1
        done = tally.attempt(f"{path.name}, way {way}", lambda: go_on(damaged))
        if done and weights(damaged) != weights(whole):
            tally.blame("wrong", f"{path.name}, way {way}: trained on otherwise")
        look_for(planted, tally, path)
    return tally


def damage_policies(folder: Path, times: int, generator: random.Random) -> Tally:
    """Damage a file of a saved policy, or put another policy's there, and evaluate it: it must be told."""
    from agentbench.train.config import read_config
    from agentbench.train.run import train

    tally, damaged, planted = Tally(), folder / "damaged", folder / "planted"
    good, other = (
        train(read_config(None, {**TRAINING, "steps": 2, "seed": seed}), folder / f"seed-{seed}") for seed in (0, 1)
    )
    names: Sequence[str] = sorted(path.name for path in good.iterdir())
    for number in range(times):
        shutil.rmtree(damaged, ignore_errors=True)
        shutil.copytree(good, damaged)
        path = damaged / names[number % len(names)]
        way = number // len(names) % (len(DAMAGES) + 2)
        if way < len(DAMAGES):
            damage(path, way, generator)
        elif way == len(DAMAGES):
            shutil.copy(other / path.name, path)
        else:
            path.write_bytes(pickle.dumps(Planted(planted)))
        tally.faults += 1
        is_same = path.read_bytes() == (good / path.name).read_bytes()
        out = folder / f"run-{number}"
        done = tally.attempt(
            f"{path.name}, way {way}", lambda out=out: evaluate("toy", str(damaged), out=out, inline=True)
        )
        if done and not is_same:
            tally.blame("wrong", f"{path.name}, way {way}: it was played")
        look_for(planted, tally, path)
    return tally


def look_for(planted: Path, tally: Tally, path: Path) -> None:
    """A file that a pickle makes must not be there."""
    if planted.exists():
        tally.blame("wrong", f"{path.name}: a pickle was run")
        planted.unlink()
