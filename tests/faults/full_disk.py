"""A disk that fills up under a command: one line says so, nothing finished is lost, with more room it continues."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tally import Tally, checkpoints, command, finished, resize, small_disk, tables, weights

from agentbench import open_run

PAGE, PLENTY = 4096, 64 << 20
Places = dict[str, Path | str]
GAMES = ("--env", "alfworld", "--split", "generated:0:6:small")


@dataclass(frozen=True)
class Work:
    """A command that writes below a folder.

    Attributes:
        arguments: of the command; ``OUT`` stands for what it writes, ``RUN`` and ``CHATS`` for what it reads.
        again: what is added to go on.
        result: what equal work ends with, as bytes.
        resumes: whether it leaves finished work behind for the next try.
    """

    arguments: tuple[str, ...]
    result: Callable[[Path], object]
    again: tuple[str, ...] = ()
    resumes: bool = True

    def typed(self, places: Places) -> list[str]:
        """Return the command with real paths in it."""
        typed = list(self.arguments)
        for name, path in places.items():
            typed = [each.replace(name, str(path)) if each.startswith(name) else each for each in typed]
        return typed


def is_file(out: Path) -> object:
    return out.is_file() and out.stat().st_size > 100


def content(out: Path) -> object:
    return out.read_bytes()


def names(out: Path) -> object:
    return sorted(path.name for path in out.iterdir())


def rows(out: Path) -> object:
    return tables(out)


def truth(out: Path) -> object:
    return (out / "truth.parquet").read_bytes()


def policy(out: Path) -> object:
    return (out / "weights.safetensors").read_bytes()


def sweep(out: Path) -> object:
    return weights(out / "gigpo-0")


EVALUATE = Work(("eval", *GAMES, "--policy", "expert", "--inline", "--trials", "4", "--out", "OUT"), rows)
TRUTH = ("truth", *GAMES, "--max-steps", "4", "--policy", "random", "--group-size", "2", "--rollouts", "2")
LEARNING = (
    "--split", "generated:1:4:small", "--steps", "4", "--tasks-per-step", "2", "--group-size", "2",
    "--checkpoint-every", "1", "--env-options", '{"max_steps": 5}', "--out", "OUT",
)  # fmt: skip
WORK = [
    EVALUATE,
    Work(("train", "--scheme", "gigpo", *LEARNING), weights, again=("--resume",)),
    Work((*TRUTH, "--out", "OUT"), truth),
    Work(("sweep", "--schemes", "gigpo", "--seeds", "1", "--eval-split", "generated:9:2:small", *LEARNING), sweep),
    Work(("import", "CHATS", "--out", "OUT"), rows),
    Work(("clone", "--from", "RUN", "--out", "OUT", "--passes", "1"), policy, resumes=False),
    Work(("export", "RUN", "--to", "chat", "--out", "OUT"), content, resumes=False),
    Work(("export", "RUN", "--to", "parquet", "--out", "OUT"), names, resumes=False),
    Work(("credit", "RUN", "--scheme", "gigpo", "--out", "OUT.csv"), is_file, resumes=False),
    Work(("compare-schemes", "RUN", "--out", "OUT.md"), is_file, resumes=False),
    Work(("graph", "RUN", "--task", "FIRST", "--out", "OUT.svg"), is_file, resumes=False),
    Work(("report", "RUN", "--out", "OUT"), is_file, resumes=False),
]


def fill_disks(folder: Path, times: int, generator: random.Random) -> Tally:
    """Run each command on disks of random sizes that are too small for it, and again when there is room."""
    tally, places = Tally(), {"RUN": folder / "run", "CHATS": folder / "chats.jsonl"}
    try_well(EVALUATE, {**places, "OUT": folder / "run"})
    places["FIRST"] = open_run(folder / "run").episodes.task_id[0]
    try_well(Work(("export", "RUN", "--to", "chat", "--out", "CHATS"), content), places)
    whole = [folder / f"whole-{number}" for number in range(len(WORK))]
    for work, out in zip(WORK, whole, strict=True):
        try_well(work, {**places, "OUT": out})
    for number in range(times):
        place = number % len(WORK)
        fill_one(tally, WORK[place], places, whole[place], generator)
    return tally


def fill_one(tally: Tally, work: Work, places: Places, whole: Path, generator: random.Random) -> None:
    """Run one command on a small disk, make the disk larger, and run it again."""
    whole = written(work, whole)
    files = [path for path in whole.rglob("*") if path.is_file()] if whole.is_dir() else [whole]
    needed = sum(-(-path.stat().st_size // PAGE) * PAGE for path in files)
    with small_disk(generator.randrange(PAGE, max(needed, PAGE + 1))) as disk:
        out, label = written(work, disk / "out"), " ".join(work.arguments[:4])
        typed = work.typed({**places, "OUT": disk / "out"})
        code, said = command(*typed)
        if code == 0:
            return  # it needed less than was thought: no fault
        tally.faults += 1
        tally.hear(code, said)
        before = kept(work, out)
        tally.under_way += any(before)
        resize(disk, PLENTY)
        code, said = command(*typed, *(work.again if (out / "run.json").exists() else ()))
        if code != 0:
            tally.blame("unclear", f"{label} did not go on: {said[-300:]}")
            return
        now = kept(work, out)
        if not now[0].startswith(before[0]) or now[1] < before[1]:
            tally.blame("lost", f"{label} lost what was finished")
        if work.result(out) != work.result(whole):
            tally.blame("wrong", f"{label} ended otherwise")
        if leftovers := [path.name for path in disk.rglob("*.part")]:
            tally.blame("unclear", f"{label} left {leftovers}")


def try_well(work: Work, places: Places) -> None:
    code, said = command(*work.typed(places))
    assert code == 0, said


def kept(work: Work, out: Path) -> tuple[bytes, str]:
    return (finished(out), max(checkpoints(out), default="")) if work.resumes else (b"", "")


def written(work: Work, out: Path) -> Path:
    """Return the path that a command writes: some need an ending."""
    (name,) = (each for each in work.arguments if each.startswith("OUT"))
    return Path(name.replace("OUT", str(out)))
