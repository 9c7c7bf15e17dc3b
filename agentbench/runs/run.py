"""The run store: a folder a run, to which finished episodes are only ever added.

``run.json``         what was asked for, and by which code (written once, at the start)
``episodes.jsonl``   one finished episode a line, on disk before the next one counts: what makes a run resumable
``episodes.parquet`` one row an episode, sorted by task id and trial (written at the end)
``steps.parquet``    one row a step, in the same order
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from agentbench.runs.episodes import SCHEMA_VERSION, Episode, Key, from_line, is_judged, to_line
from envs.base.digest import check_seal, sealed
from envs.base.errors import UserError
from envs.base.files import replaced, write_text
from envs.base.log import log
from envs.base.safe_text import refuse_secrets

if TYPE_CHECKING:
    import pandas as pd

    from credit import Steps

RUN_FILE, EPISODES_FILE, LOCK_FILE = "run.json", "episodes.jsonl", ".lock"


@dataclass(frozen=True, slots=True)
class Run:
    """A run on disk, for reading.

    Attributes:
        folder: where it lies.
        config: what was asked for (``run.json``).
    """

    folder: Path
    config: dict[str, Any]

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that decides what came out: two runs with the same one are the same run."""
        return dict(self.config.get("identity", {}))

    @property
    def protected(self) -> str:
        """Why its episodes may not be passed on in the open; empty where they may (:attr:`envs.TextEnv.protected`)."""
        return str(self.config.get("protected", ""))

    @property
    def episodes(self) -> pd.DataFrame:
        """One row an episode: see :data:`agentbench.runs.tables.EPISODE_COLUMNS`."""
        return self._table("episodes")

    @property
    def step_table(self) -> pd.DataFrame:
        """One row a step, with text: see :data:`agentbench.runs.tables.STEP_COLUMNS`."""
        return self._table("steps")

    def steps(self, *, penalty: float = 0.0) -> Steps:
        """Return the step table as the credit schemes take it; a task's rollouts are one group.

        Episodes that ended in an error of the infrastructure are left out: nobody knows what they earned.

        Args:
            penalty: taken off the reward of an invalid action.
        """
        from agentbench.runs.steps import judged_table
        from credit import Steps

        return Steps.from_frame(judged_table(self, penalty=penalty))

    def read_episodes(self) -> list[Episode]:
        """Return every finished episode, sorted by key."""
        return list(read_sorted(self.folder / EPISODES_FILE))

    def _table(self, name: str) -> pd.DataFrame:
        import pandas as pd

        from agentbench.runs.tables import is_current, write_tables

        path = self.folder / f"{name}.parquet"
        if not is_current(self.folder, path.name):
            try:
                write_tables(self.folder)
            except OSError as error:
                raise UserError(f"cannot write the tables in {self.folder}: {error.strerror or error}") from error
        try:
            return pd.read_parquet(path)
        except (OSError, ValueError) as error:  # a table without the lines that it was made from
            raise UserError(f"{path} cannot be read ({error}): it is damaged") from error


def open_run(folder: str | Path) -> Run:
    """Open a run for reading, finished or not.

    Raises:
        UserError: there is no run in that folder, its ``run.json`` is damaged, or one of its files is a link that
            leads out of it, or a pipe.
    """
    path = Path(folder)
    if not (path / RUN_FILE).is_file():
        raise UserError(f"no run in {path}: it has no {RUN_FILE} (make one with: agentbench eval --out {path})")
    _refuse_links(path)
    return Run(path, _read_config(path))


def _refuse_links(folder: Path) -> None:
    """Refuse a run from a stranger whose files are links to other files here, or pipes that nobody writes to."""
    inside = folder.resolve()
    for path in folder.iterdir():
        try:
            mode = path.stat().st_mode
        except OSError:  # a temporary file that is gone already, or a link to nothing yet
            mode = stat.S_IFREG
        if path.is_symlink() and not stat.S_ISDIR(mode) and not path.resolve().is_relative_to(inside):
            raise UserError(f"{path} is a link to a file outside of the run: put the file itself there")
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise UserError(f"{path} is a pipe or a device and no file: remove it")


load = open_run


def names_of(folders: Sequence[Path]) -> list[str]:
    """Name runs by their folders, by whole paths where folders of the same name lie in different places.

    Raises:
        UserError: a folder is named twice.
    """
    resolved = [folder.resolve() for folder in folders]
    for folder in resolved:
        if resolved.count(folder) > 1:
            raise UserError(f"{folder} is named twice: name each run once")
    names = [folder.name for folder in resolved]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def claim(folder: Path, identity: dict[str, Any], record: dict[str, Any]) -> filelock.BaseFileLock:
    """Make ``folder`` this run's own, for a new run or to go on with it; release the returned lock at the end.

    Args:
        folder: made if it does not exist.
        identity: everything that decides what comes out; a folder with another identity is refused.
        record: further facts for ``run.json`` (versions, number of workers): not compared.

    Raises:
        UserError: the folder holds another run, or one that is being written now, or cannot be written; or one of its
            files is a link that leads out of it; or what would be recorded holds a key.
    """
    refuse_secrets({**record, **identity}, "the setting")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_links(folder)
        lock = filelock.FileLock(folder / LOCK_FILE)
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise UserError(
            f"{folder} is being written by another process: wait for it, or choose another --out"
        ) from error
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror or error}") from error
    try:
        _write_or_compare(folder, identity, record)
    except BaseException:
        lock.release()
        raise
    return lock


class RunWriter:
    """A run being written: holds the folder, knows what is finished, adds what finishes.

    Use it as a context manager. Opening a folder that holds the same run goes on with it.

    Args:
        folder, identity, record: see :func:`claim`, which says what is refused.
        retry_errors: forget the episodes that ended in an error, so that they are played again.
    """

    def __init__(
        self, folder: Path, identity: dict[str, Any], record: dict[str, Any], *, retry_errors: bool = False
    ) -> None:
        self.folder = folder
        self._lock = claim(folder, identity, record)
        try:
            self.finished: dict[Key, str] = _repair(folder / EPISODES_FILE)
            if retry_errors:
                self.finished = {key: outcome for key, outcome in self.finished.items() if is_judged(outcome)}
            self._file = (folder / EPISODES_FILE).open("ab", buffering=0)
        except OSError as error:
            self._lock.release()
            raise UserError(f"cannot write to {folder}: {error.strerror or error}") from error
        except UserError:
            self._lock.release()
            raise

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._lock.release()

    def add(self, *episodes: Episode) -> None:
        """Store finished episodes; on return they are on disk. Waiting for the disk once for all of them saves time.

        Raises:
            UserError: they could not be written (a full disk, a value that is none of those allowed); everything
                stored before is kept whole.
        """
        lines = "".join(map(self._line, episodes)).encode()
        start = self._file.seek(0, os.SEEK_END)
        try:
            written = 0
            while written < len(lines):
                written += self._file.write(lines[written:])
            os.fsync(self._file.fileno())
        except OSError as error:
            self._file.truncate(start)
            raise UserError(
                f"cannot write to {self.folder / EPISODES_FILE}: {error.strerror or error}; "
                f"{len(self.finished)} finished episodes are safe: make room and run the same command again"
            ) from error
        self.finished |= {episode.key: episode.outcome for episode in episodes}

    def _line(self, episode: Episode) -> str:
        try:
            return to_line(episode)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"an episode of task {episode.task_name} cannot be stored ({error}): its environment or policy breaks "
                f"the contract, which agentbench check looks into; {len(self.finished)} finished episodes are safe"
            ) from error

    def close_tables(self) -> None:
        """Write the two Parquet tables from the finished episodes."""
        from agentbench.runs.tables import write_tables

        try:
            write_tables(self.folder)
        except OSError as error:
            raise UserError(
                f"cannot write the tables in {self.folder}: {error.strerror or error}; all "
                f"{len(self.finished)} finished episodes are safe: make room and run the same command again"
            ) from error


def _write_or_compare(folder: Path, identity: dict[str, Any], record: dict[str, Any]) -> None:
    path = folder / RUN_FILE
    identity = json.loads(json.dumps(identity, default=str))
    if not path.exists():
        if (folder / EPISODES_FILE).exists():
            raise UserError(f"{folder} has episodes but no {RUN_FILE}: choose another --out")
        started = datetime.now(UTC).isoformat(timespec="seconds")
        content = {"schema": SCHEMA_VERSION, "identity": identity, "started": started, **record}
        content = sealed(json.loads(json.dumps(content, default=str)))
        try:
            write_text(path, json.dumps(content, indent=2) + "\n")
        except OSError as error:
            raise UserError(f"cannot write to {folder}: {error.strerror or error}") from error
        return
    there = _read_config(folder).get("identity", {})
    if there != identity:
        changes = [
            f"{name}: {_short(there.get(name))} → {_short(identity.get(name))}"
            for name in sorted({*there, *identity})
            if there.get(name) != identity.get(name)
        ]
        raise UserError(
            f"{folder} holds a run of another configuration ({'; '.join(changes)}): "
            "choose another --out, or repeat that run's settings to resume it"
        )


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
        _check_shape(config)
        if config.get("schema", 0) > SCHEMA_VERSION:
            raise UserError(f"{folder / RUN_FILE} was written by a newer agentbench: upgrade to read it")
        check_seal(config)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{folder / RUN_FILE} cannot be read ({error}): it is damaged. The episodes beside it are not: "
            f"put back a copy of {RUN_FILE} if you have one"
        ) from error
    return config


def _check_shape(config: Any) -> None:
    """Refuse a record in which something that is read has another shape than what was written."""
    if not isinstance(config, dict) or not isinstance(config.get("identity", {}), dict):
        raise ValueError("it describes no run")
    identity = config.get("identity", {})
    for what, found, kind in (
        ("schema", config.get("schema", 0), int),
        ("notes", config.get("notes", []), list),
        ("versions", config.get("versions", {}), dict),
        ("number_of_tasks", identity.get("number_of_tasks", 0), int),
        ("trials", identity.get("trials", 1), int),
    ):
        if not isinstance(found, kind):
            raise ValueError(f"its {what} is {found!r:.40}, no {kind.__name__}")
        if isinstance(found, int) and abs(found) >= 2**31:
            raise ValueError(f"its {what} is out of all bounds")


def _repair(path: Path) -> dict[Key, str]:
    """Read the keys of all finished episodes; cut a torn last line, set damaged ones aside, warn of both."""
    finished: dict[Key, str] = {}
    if not path.exists():
        return finished
    damaged: list[int] = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                if not line.endswith(b"\n"):
                    raise ValueError("torn")
                episode = from_line(line)
            except ValueError:
                damaged.append(number)
            else:
                finished[episode.key] = episode.outcome
    if damaged:
        listed = ", ".join(map(str, damaged[:5])) + (", …" if len(damaged) > 5 else "")
        log.warning(
            "%s: %d damaged or torn line(s) (line %s) were cut out; these episodes are played again",
            path, len(damaged), listed,
        )  # fmt: skip
        bad = set(damaged)
        with replaced(path) as temporary, path.open("rb") as old, temporary.open("wb") as new:
            new.writelines(line for number, line in enumerate(old, 1) if number not in bad)
    return finished


def read_sorted(path: Path) -> Iterator[Episode]:
    """Yield the finished episodes sorted by key, the last line of a key winning, one in memory at a time.

    Damaged lines are passed over: they count as not finished.
    """
    offsets: dict[Key, int] = {}
    if not path.exists():
        return
    with path.open("rb") as file:
        position = 0
        for line in file:
            try:
                offsets[from_line(line).key] = position
            except ValueError:
                log.warning("%s: a damaged line at byte %d is passed over", path, position)
            position += len(line)
        for _, offset in sorted(offsets.items()):
            file.seek(offset)
            yield from_line(file.readline())
