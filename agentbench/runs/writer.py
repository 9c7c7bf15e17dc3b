"""Write a run: its folder is claimed, finished episodes are added, the tables are made at the end."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import repeat
from pathlib import Path
from typing import Any

import filelock

from agentbench.runs.episodes import Episode, Key, is_judged, to_line
from agentbench.runs.journal import has_journal, repair
from agentbench.runs.run import RUN_FILE, RUN_SCHEMA, read_config, refuse_links
from envs.base.digest import sealed
from envs.base.errors import UserError
from envs.base.files import write_text
from envs.base.journal import journal_of, packed
from envs.base.safe_text import refuse_secrets

LOCK_FILE = ".lock"
_LARGE = 1 << 18
"""Bytes from which lines are packed in threads."""


def claim(folder: Path, identity: dict[str, Any], record: dict[str, Any]) -> filelock.BaseFileLock:
    """Make ``folder`` this run's own, for a new run or to continue with it; release the returned lock at the end.

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
        refuse_links(folder)
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

    Use it as a context manager. Opening a folder that holds the same run continues with it.

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
            self._path = journal_of(folder)
            self.finished: dict[Key, str] = repair(self._path)
            if retry_errors:
                self.finished = {key: outcome for key, outcome in self.finished.items() if is_judged(outcome)}
            self._file = self._path.open("ab", buffering=0)
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
        lines = self._packed([self._line(episode) for episode in episodes])
        start = self._file.seek(0, os.SEEK_END)
        try:
            written = 0
            while written < len(lines):
                written += self._file.write(lines[written:])
            os.fsync(self._file.fileno())
        except OSError as error:
            self._file.truncate(start)
            raise UserError(
                f"cannot write to {self._path}: {error.strerror or error}; "
                f"{len(self.finished)} finished episodes are safe: make room and run the same command again"
            ) from error
        self.finished |= {episode.key: episode.outcome for episode in episodes}

    def _packed(self, lines: list[bytes]) -> bytes:
        """Return lines as they are stored; many are packed side by side, which they can be in threads."""
        if sum(map(len, lines)) < _LARGE:
            return b"".join(packed(line, self._path) for line in lines)
        with ThreadPoolExecutor(2) as pool:
            return b"".join(pool.map(packed, lines, repeat(self._path)))

    def _line(self, episode: Episode) -> bytes:
        try:
            return to_line(episode).encode()
        except (TypeError, ValueError) as error:
            raise UserError(
                f"an episode of task {episode.task_name} cannot be stored ({error}): its environment or policy breaks "
                f"the contract, which agentbench check looks into; {len(self.finished)} finished episodes are safe"
            ) from error

    def close_tables(
        self, episodes: Callable[[], Iterable[Episode]] | None = None, further: tuple[bool, bool] | None = None
    ) -> None:
        """Write the two Parquet tables from the finished episodes.

        Args:
            episodes: gives all of them, sorted by key, where they are at hand; else they are read again.
            further: see :func:`agentbench.runs.tables.write_tables`.
        """
        from agentbench.runs.tables import write_tables  # slow to import, and not needed to play

        try:
            write_tables(self.folder, episodes, further)
        except OSError as error:
            raise UserError(
                f"cannot write the tables in {self.folder}: {error.strerror or error}; all "
                f"{len(self.finished)} finished episodes are safe: make room and run the same command again"
            ) from error


def _write_or_compare(folder: Path, identity: dict[str, Any], record: dict[str, Any]) -> None:
    path = folder / RUN_FILE
    identity = json.loads(json.dumps(identity, default=str))
    if not path.exists():
        if has_journal(folder):
            raise UserError(f"{folder} has episodes but no {RUN_FILE}: choose another --out")
        started = datetime.now(UTC).isoformat(timespec="seconds")
        content = {"schema": RUN_SCHEMA, "identity": identity, "started": started, **record}
        content = sealed(json.loads(json.dumps(content, default=str)))
        try:
            write_text(path, json.dumps(content, indent=2) + "\n")
        except OSError as error:
            raise UserError(f"cannot write to {folder}: {error.strerror or error}") from error
        return
    there = read_config(folder).get("identity", {})
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
