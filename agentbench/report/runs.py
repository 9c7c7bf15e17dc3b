"""What the page and the export read of a run's folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentbench.analysis.files import QUALITY_FILE, TRUTH_TABLE
from agentbench.runs.frame import Columns
from agentbench.runs.journal import has_journal
from agentbench.runs.lines import METRICS_FILE, read_metrics
from agentbench.runs.run import RUN_FILE, Run, names_of, open_run
from envs.base.errors import UserError
from envs.base.journal import JOURNALS
from envs.base.log import log

if TYPE_CHECKING:
    import pandas as pd

READ_FILES = (*JOURNALS, METRICS_FILE, QUALITY_FILE, TRUTH_TABLE, RUN_FILE)


@dataclass(frozen=True)
class ReportRun:
    """A run, with the files that a page shows.

    Attributes:
        name: unique among the runs of a page.
        run: the run.
        episodes: the columns of the table of episodes, or None where there are none (a training run).
        metrics: one dictionary a training step.
        quality: how good the schemes are on this run's steps, where that was measured.
        truth: true advantages of the steps, where they were computed.
    """

    name: str
    run: Run
    episodes: Columns | None
    metrics: list[dict[str, Any]]
    quality: pd.DataFrame | None
    truth: pd.DataFrame | None

    @property
    def identity(self) -> dict[str, Any]:
        """What was asked for."""
        return self.run.identity


def read_runs(folders: Sequence[Path]) -> list[ReportRun]:
    """Read runs in the order given, finished or not.

    Raises:
        UserError: no folder, one named twice, or one that holds no run.
    """
    if not folders:
        raise UserError("name at least one folder of a run")
    return [_read(name, folder) for name, folder in zip(names_of(folders), folders, strict=True)]


def warn_of_protected(runs: Iterable[Run]) -> None:
    """Warn of the runs whose episodes may not be passed on in the open, before what is in them is written elsewhere."""
    for run in runs:
        if run.protected:
            log.warning("%s: %s; keep what is written from this run to yourself", run.folder, run.protected)


def _read(name: str, folder: Path) -> ReportRun:
    run = open_run(folder)
    has_episodes = has_journal(folder) or (folder / "episodes.parquet").exists()
    episodes = run.episode_columns() if has_episodes else None
    quality, truth = folder / QUALITY_FILE, folder / TRUTH_TABLE
    try:
        return ReportRun(
            name=name,
            run=run,
            episodes=episodes if episodes is not None and len(episodes["episode"]) else None,
            metrics=read_metrics(folder / METRICS_FILE),
            quality=_table_in(quality),
            truth=_table_in(truth),
        )
    except (ValueError, OSError) as error:
        raise UserError(f"a file in {folder} cannot be read: {error}") from error


def _table_in(path: Path) -> pd.DataFrame | None:
    """Read a table that few runs have."""
    if not path.is_file():
        return None
    import pandas as pd

    return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
