"""The run store: a folder a run, to which finished episodes are only ever added.

``run.json``          what was asked for, and by which code (written once, at the start)
``episodes.jsonl.gz`` one finished episode a line, on disk before the next one counts: what makes a run resumable
``episodes.parquet``  one row an episode, sorted by task id and trial (written at the end)
``steps.parquet``     one row a step, in the same order
"""

from __future__ import annotations

import json
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentbench.runs.episodes import Episode
from agentbench.runs.journal import read_sorted
from envs.base.digest import check_seal
from envs.base.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from credit import Steps

RUN_FILE = "run.json"
RUN_SCHEMA = 3
"""Of ``run.json``, and so of the folder: 3 has packed journals, which earlier versions would not see."""


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

    def episode_columns(self, *names: str) -> dict[str, NDArray[Any]]:
        """Return columns of :attr:`episodes` as arrays, all of them if none is named: without pandas.

        Numbers and truths have their own types, texts and what may be null are objects.
        """
        from agentbench.runs import arrow

        return arrow.columns(self._read("episodes", list(names) or None))

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
        from credit import Steps

        return Steps.from_frame(self.judged_steps(penalty=penalty))

    def judged_steps(self, *, penalty: float = 0.0, texts: bool = True) -> pd.DataFrame:
        """Return the steps of :meth:`steps` with their text: see :func:`agentbench.runs.steps.judged_table`.

        Args:
            penalty: taken off the reward of an invalid action.
            texts: without them, which are most of a run, there are the columns that schemes read alone, and ``action``
                is a whole number for each different one (:func:`agentbench.runs.columns.read_coded`).
        """
        from agentbench.runs.columns import read_coded
        from agentbench.runs.steps import judged_table

        is_tree = self.identity.get("rollouts") == "tree"  # though nothing may have branched off in it
        if texts:
            return judged_table(self.step_table, self.episodes, penalty=penalty, tree=is_tree)
        episodes = self.episodes
        table = read_coded(self.current_table("steps"), episodes)
        return judged_table(table, episodes, penalty=penalty, tree=is_tree)

    def read_episodes(self) -> list[Episode]:
        """Return every finished episode, sorted by key."""
        return list(read_sorted(self.folder))

    def _table(self, name: str) -> pd.DataFrame:
        frame: pd.DataFrame = self._read(name).to_pandas()
        return frame

    def _read(self, name: str, columns: list[str] | None = None) -> pa.Table:
        from pyarrow.parquet import ParquetFile  # pandas' own reader imports 15 MB more, for data sets of many files

        path = self.current_table(name)
        try:
            with ParquetFile(path) as file:
                return file.read(columns=columns, use_threads=False)
        except (OSError, ValueError) as error:  # a table without the lines that it was made from
            raise UserError(f"{path} cannot be read ({error}): it is damaged") from error

    def current_table(self, name: str) -> Path:
        """Return the file of a table, made again where the lines have changed."""
        from agentbench.runs.tables import is_current, write_tables

        path = self.folder / f"{name}.parquet"
        if not is_current(self.folder, path.name):
            try:
                write_tables(self.folder)
            except OSError as error:
                raise UserError(f"cannot write the tables in {self.folder}: {error.strerror or error}") from error
        return path


def open_run(folder: str | Path) -> Run:
    """Open a run for reading, finished or not.

    Raises:
        UserError: there is no run in that folder, its ``run.json`` is damaged, or one of its files is a link that
            leads out of it, or a pipe.
    """
    path = Path(folder)
    if not (path / RUN_FILE).is_file():
        raise UserError(f"no run in {path}: it has no {RUN_FILE} (make one with: agentbench eval --out {path})")
    refuse_links(path)
    return Run(path, read_config(path))


def refuse_links(folder: Path) -> None:
    """Refuse a run from a stranger whose files are links to other files here, or pipes that nobody writes to.

    Raises:
        UserError: one is.
    """
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


def read_config(folder: Path) -> dict[str, Any]:
    """Read ``run.json``.

    Raises:
        UserError: it is damaged, or of a newer version.
    """
    try:
        config: dict[str, Any] = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
        _check_shape(config)
        if config.get("schema", 0) > RUN_SCHEMA:
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
