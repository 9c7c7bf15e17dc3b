"""What a sweep was planned as, written before its first run; and what its seeds say about the next one's plan."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from agentbench.statistics.seeds import MARGIN, pooled_spread
from envs.base.digest import read_sealed, sealed
from envs.base.errors import UserError
from envs.base.files import write_text

SWEEP_FILE = "sweep.json"
TEST = "Dunnett over seeds, 5 % over schemes; a tie by two one-sided tests within the margin"


@dataclass(frozen=True, slots=True)
class SweepRecord:
    """What was decided before the first run.

    Attributes:
        schemes: the first is the one that the others are compared with.
        seeds: of every scheme.
        measure: ``success`` or ``score``.
        primary_measures: what the verdict is about: the final measure, and the area under its curve.
        margin: difference below which two schemes count as equal.
        test: how it is decided.
        changes: what was added later, one sentence each.
        tuning: what every scheme was tuned with (``grid``, ``seeds``, ``split``, ``eval_split``), and then what was
            ``tried`` and ``chosen`` for each (:mod:`agentbench.train.sweep_tuning`); empty without tuning.
        policies: clones that the seeds take turns in; empty where all start from one policy.
        controls: schemes whose measuring branches do not count as environment steps.
    """

    schemes: list[str]
    seeds: list[int]
    measure: str
    primary_measures: list[str]
    margin: float
    test: str = TEST
    changes: tuple[str, ...] = ()
    tuning: dict[str, Any] = field(default_factory=dict)
    policies: list[str] = field(default_factory=list)
    controls: list[str] = field(default_factory=list)


def run_folder(sweep: Path, scheme: str, seed: int) -> Path:
    """Return the folder of one run of a sweep."""
    return sweep / f"{scheme}-{seed}"


def read_record(folder: Path) -> SweepRecord | None:
    """Return the record of a sweep, or None where there is none.

    Raises:
        UserError: it is damaged.
    """
    path = folder / SWEEP_FILE
    if not path.exists():
        return None
    try:
        found = read_sealed(path)
        later = {"tuning": found.get("tuning", {}), **{name: found.get(name, []) for name in ("policies", "controls")}}
        values: dict[str, Any] = {name: found[name] for name in SweepRecord.__dataclass_fields__ if name not in later}
        return SweepRecord(**{**values, "changes": tuple(values["changes"]), **later})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}): it is damaged; the runs beside it are not") from error


def write_record(folder: Path, record: SweepRecord) -> None:
    """Write the record of a sweep."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / SWEEP_FILE, json.dumps(sealed(asdict(record)), indent=1) + "\n")


def record_plan(
    folder: Path,
    schemes: Sequence[str],
    seeds: Sequence[int],
    measure: str,
    margin: float | None,
    policies: Sequence[str] = (),
    controls: Sequence[str] = (),
) -> SweepRecord:
    """Write down what a sweep is planned as, or hold what is asked now against what was written down.

    More schemes or seeds than were planned are let in and noted, as the runs before may have been looked at.

    Args:
        folder: of the sweep.
        schemes, seeds, measure: what is asked for now.
        margin: the same; None for the record's own, or 5 points.
        policies: clones that seeds take turns in.
        controls: schemes whose measuring branches do not count.

    Raises:
        UserError: another margin, other clones or other controls than were named before the first run.
    """
    before = read_record(folder)
    if before is None:
        chosen = MARGIN if margin is None else margin
        if not 0 < chosen < 1:
            raise UserError(f"--margin {chosen:g} makes no test of equality: give one above 0 (0.05 is five points)")
        record = SweepRecord(
            list(schemes),
            list(seeds),
            measure,
            [measure, "area"],
            chosen,
            policies=list(policies),
            controls=list(controls),
        )
        write_record(folder, record)
        return record
    if margin is not None and margin != before.margin:
        raise UserError(
            f"the margin of this sweep was named before its first run, as {before.margin:g}: leave --margin out"
        )
    for what, flag, now, then in (
        ("clones", "--policies", policies, before.policies),
        ("controls", "--controls", controls, before.controls),
    ):
        if list(now) != then:
            named = f"{flag} {','.join(then)}" if then else f"without {flag}"
            raise UserError(f"the {what} of this sweep were named before its first run: repeat it {named}")
    added = [f"scheme {name}" for name in schemes if name not in before.schemes]
    added += [f"seed {seed}" for seed in seeds if seed not in before.seeds]
    if not added:
        return before
    record = replace(
        before,
        schemes=[*before.schemes, *(name for name in schemes if name not in before.schemes)],
        seeds=sorted({*before.seeds, *seeds}),
        changes=(*before.changes, f"added after the first runs: {', '.join(added)}"),
    )
    write_record(folder, record)
    return record


@dataclass(frozen=True, slots=True)
class SeedSpread:
    """How much the seeds of a sweep vary: pooled standard deviation, its degrees of freedom, number of schemes."""

    spread: float
    degrees: int
    schemes: int


def spread_of_sweep(folder: Path, measure: str) -> SeedSpread:
    """Read the spread of seeds about their scheme's mean from the ``runs.csv`` of a sweep.

    Args:
        folder: of the sweep, summed up.
        measure: ``success``, ``score`` or ``area``.

    Raises:
        UserError: there is no such table or column, or no scheme has two seeds.
    """
    import pandas as pd

    ending = "-score" if measure == "score" else ""
    path = folder / f"runs{ending}.csv"
    try:
        table = pd.read_csv(path)
        values = table.pivot(index="seed", columns="scheme", values=measure)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"cannot read the column {measure!r} of {path} ({error}): sum the sweep up first, with agentbench "
            "sweep … --summary"
        ) from error
    spread, degrees = pooled_spread(values.to_numpy(dtype=np.float64))
    return SeedSpread(spread, degrees, values.shape[1])
