"""The tasks of a split, from the lists that the installation wrote."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from envs.appworld.layout import COMMAND, Layout, installed
from envs.appworld.official import OFFICIAL_SPLITS
from envs.base.errors import UserError, unknown
from envs.contract import Task

SPLITS = ("mini", *OFFICIAL_SPLITS)
PROTECTED = (
    "these episodes hold protected content of AppWorld (instructions, outputs): its licence asks that they are passed "
    "on in public only in encrypted form"
)


@dataclass(frozen=True, slots=True)
class TaskSet:
    """The tasks of one split, and where their data are.

    Attributes:
        collection: ``mini`` or ``official``.
        digest: short hash of the package and of the collection.
        protected: why its episodes may not be passed on in the open; empty where they may.
    """

    place: Layout
    collection: str
    tasks: tuple[Task, ...]
    digest: str
    protected: str

    def walkthrough(self, task: Task) -> tuple[str, ...] | None:
        """Return code blocks that solve the task, where there are any (the split ``mini``)."""
        path = self.place.whole(self.collection) / "data" / "tasks" / task.name / "ground_truth" / "walkthrough.json"
        return tuple(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def scenario_of(name: str) -> str:
    """Return the scenario of a task by the task's name, which is ``<scenario>_<variant>``."""
    return name.rpartition("_")[0]


def open_tasks(split: str, home: Path | None = None) -> TaskSet:
    """Open a split.

    A task's name is ``<scenario>_<variant>``; its type is its difficulty, ``difficulty 1`` to ``difficulty 3``.

    Raises:
        UserError: unknown split, or it is not installed.
    """
    if split not in SPLITS:
        raise unknown("AppWorld split", split, SPLITS)
    place, record = installed(home)
    collection = "official" if split in OFFICIAL_SPLITS else "mini"
    index = place.index(collection)
    if not index.is_file():
        raise UserError(
            f"the AppWorld split {split!r} needs the official data: type `{COMMAND} --data download`, or give a copy "
            f"at hand with `{COMMAND} --data ARCHIVE_OR_FOLDER`; the split 'mini' needs none"
        )
    entries = json.loads(index.read_text(encoding="utf-8"))[split]
    tasks = tuple(
        Task(f"appworld-{entry['digest']}", entry["name"], f"difficulty {entry['difficulty']}", number)
        for number, entry in enumerate(entries)
    )
    digest = f"{record['package_digest']} {record['collections'][collection]}"
    return TaskSet(place, collection, tasks, digest, PROTECTED if collection == "official" else "")
