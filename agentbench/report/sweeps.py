"""A sweep on the page: what was named before its first run, and the verdicts, profiles and chances of its tables.

The tables are those that ``agentbench sweep`` wrote beside the runs, so the page says what the command said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agentbench.runs.run import RUN_FILE, names_of
from agentbench.train.sweep_record import SWEEP_FILE, SweepRecord, read_record, run_folder
from envs.base.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

TABLES = ("runs", "schemes", "comparisons", "profiles")


@dataclass(frozen=True)
class Sweep:
    """A sweep that is shown.

    Attributes:
        name: unique among the sweeps of a page.
        folder: where it is, resolved.
        record: what was planned before the first run.
        tables: those of :data:`TABLES` that have rows, as ``agentbench sweep`` wrote them.
        notes: what a reader must know, one sentence each.
    """

    name: str
    folder: Path
    record: SweepRecord
    tables: dict[str, pd.DataFrame]
    notes: list[str]

    def plan(self) -> list[tuple[str, str]]:
        """What was named before the first run, in words."""
        record = self.record
        area = "area under its curve over environment steps"
        names = [area if name == "area" else f"final {name} on held-out tasks" for name in record.primary_measures]
        first, last = min(record.seeds), max(record.seeds)
        spelled = first if first == last else f"{first} to {last}"
        chosen = record.tuning.get("chosen", {})
        return [
            ("primary measures", "; ".join(names)),
            ("compared with", record.schemes[0]),
            ("seeds", f"{len(record.seeds)} of each scheme ({spelled})"),
            *([("clones", f"seeds take turns in {', '.join(record.policies)}")] if record.policies else []),
            *([("controls, whose branches do not count", ", ".join(record.controls))] if record.controls else []),
            ("equal within", f"{100 * record.margin:g} points"),
            ("test", record.test),
            *((f"tuned, {scheme}", ", ".join(f"{k} = {v}" for k, v in own.items())) for scheme, own in chosen.items()),
        ]


def run_folders(folders: Sequence[Path]) -> list[Path]:
    """Return the folders of runs, with those of its runs that have begun in place of a sweep.

    Raises:
        UserError: no run of a sweep has begun, or its ``sweep.json`` is damaged.
    """
    found: list[Path] = []
    for folder in folders:
        record = read_record(folder)
        if record is None:
            found.append(folder)
            continue
        runs = [run_folder(folder, scheme, seed) for scheme in record.schemes for seed in record.seeds]
        begun = [run for run in runs if (run / RUN_FILE).exists()]
        if not begun:
            raise UserError(f"no run of the sweep {folder} has begun: there is nothing to show")
        found += begun
    return found


def read_sweeps(folders: Sequence[Path]) -> list[Sweep]:
    """Return the sweeps among some folders.

    Raises:
        UserError: a table or a record of one cannot be read.
    """
    found = [(folder, record) for folder in folders if (record := read_record(folder)) is not None]
    names = names_of([folder for folder, _ in found])
    return [_read(name, folder, record) for name, (folder, record) in zip(names, found, strict=True)]


def sweep_files(folders: Sequence[Path]) -> list[Path]:
    """Return the files of sweeps, there or not, that a page is made of beside those of runs."""
    names = [f"{name}{ending}.csv" for name in TABLES for ending in ("", "-score")]
    return [folder / name for folder in folders for name in (SWEEP_FILE, *names)]


def _read(name: str, folder: Path, record: SweepRecord) -> Sweep:
    ending = "" if record.measure == "success" else f"-{record.measure}"
    import pandas as pd

    tables: dict[str, pd.DataFrame] = {}
    for table in TABLES:
        path = folder / f"{table}{ending}.csv"
        if not path.is_file():
            continue
        try:
            tables[table] = pd.read_csv(path)
        except pd.errors.EmptyDataError:  # of one scheme there is nothing to compare
            continue
        except (ValueError, OSError) as error:
            raise UserError(f"{path} cannot be read ({error}): agentbench sweep … --summary makes it again") from error
    notes = [f"{change}; who adds runs after a look raises more false alarms" for change in record.changes]
    if "runs" not in tables:
        tables = {}
        notes.append("there are no tables of this sweep yet: agentbench sweep … --summary writes them")
    elif (missing := len(record.schemes) * len(record.seeds) - len(tables["runs"])) > 0:
        notes.append(f"{missing} of the planned runs are not in the tables, and the verdict waits for them")
    return Sweep(name, folder.resolve(), record, tables, notes)
