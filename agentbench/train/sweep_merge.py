"""Join parts of a sweep that were run on several machines or days."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from agentbench.runs.lines import METRICS_FILE
from agentbench.runs.run import RUN_FILE
from agentbench.train.config import TrainConfig
from agentbench.train.sweep import PERHAPS_CHANGED, SweepRun
from agentbench.train.sweep_record import SWEEP_FILE, SweepRecord, read_record, run_folder, write_record
from envs.base.errors import UserError
from policies.saved import is_saved

SAME_FOR_ALL = ("env", "env_options", "split", "eval_split", "eval_tasks", "eval_temperature")
"""Settings without which runs of different schemes cannot be compared either."""


def merge_sweeps(parts: Sequence[Path], out: Path) -> list[SweepRun]:
    """Copy the finished runs of several sweeps into one folder; return the runs that were planned together.

    A run that is finished in several parts is taken once. The parts are left as they are, and the same command goes on
    where it was stopped.

    Args:
        parts: folders of sweeps, each with its ``sweep.json``.
        out: folder of the whole, which may hold an earlier merge.

    Raises:
        UserError: a part is no sweep, parts were planned with another margin, measure, clones or controls, trained with
            other settings, or two parts hold different runs of one scheme and seed. Nothing is copied then.
    """
    records = [_record(folder) for folder in parts]
    if before := read_record(out):
        records, parts = [before, *records], [out, *parts]
    for folder, record in zip(parts, records, strict=True):
        for name in ("measure", "margin", "policies", "controls"):
            if getattr(record, name) != getattr(records[0], name):
                raise UserError(f"{parts[0]} and {folder} were planned with another {name}: they are not one sweep")
    runs = [run for folder, record in zip(parts, records, strict=True) for run in _finished_runs(folder, record)]
    _check_alike(runs, records[0].policies)
    chosen: dict[tuple[str, int], SweepRun] = {}
    for run in runs:
        key = run.config.scheme, run.config.seed
        if key in chosen and _curve(chosen[key]) != _curve(run):
            raise UserError(
                f"{chosen[key].folder} and {run.folder} are different runs of one scheme and seed: keep one"
            )
        chosen.setdefault(key, run)
    record = _joined(records)
    write_record(out, record)
    for (scheme, seed), run in chosen.items():
        _copy(run.folder, run_folder(out, scheme, seed))
    return _planned(record, list(chosen.values()), out)


def _record(folder: Path) -> SweepRecord:
    found = read_record(folder)
    if found is None:
        raise UserError(
            f"{folder} has no {SWEEP_FILE}: it is no sweep, or an old one; its own command with --summary writes it"
        )
    return found


def _finished_runs(folder: Path, record: SweepRecord) -> Iterator[SweepRun]:
    for seed in record.seeds:
        for scheme in record.schemes:
            path = run_folder(folder, scheme, seed) / RUN_FILE
            if not path.exists():
                continue
            identity = json.loads(path.read_text(encoding="utf-8"))["identity"]
            config = TrainConfig(**{name: identity[name] for name in TrainConfig.model_fields if name in identity})
            run = SweepRun(config, path.parent)
            if run.is_finished:
                yield run


def _check_alike(runs: Sequence[SweepRun], policies: Sequence[str]) -> None:
    """Refuse runs of one scheme that differ in more than the seed (and its clone), and runs on other tasks."""
    of_scheme: dict[str, SweepRun] = {}
    differs = {"seed", *PERHAPS_CHANGED, *(["policy"] if policies else [])}
    own = [name for name in TrainConfig.model_fields if name not in differs]
    for run in runs:
        if policies and run.config.policy != (planned := policies[run.config.seed % len(policies)]):
            raise UserError(f"{run.folder} began from {run.config.policy} and was planned from {planned}")
        first = of_scheme.setdefault(run.config.scheme, run)
        for other, names in ((first, own), (runs[0], SAME_FOR_ALL)):
            for name in names:
                here, there = getattr(run.config, name), getattr(other.config, name)
                if here != there:
                    raise UserError(
                        f"{other.folder} and {run.folder} were trained with other settings ({name}: {there} and "
                        f"{here}): they are not one sweep"
                    )


def _curve(run: SweepRun) -> list[dict[str, Any]]:
    """What two runs of one scheme and seed must agree in: everything but times."""
    return [{name: value for name, value in row.items() if not name.startswith("seconds")} for row in run.metrics]


def _joined(records: Sequence[SweepRecord]) -> SweepRecord:
    schemes = dict.fromkeys(scheme for record in records for scheme in record.schemes)
    seeds = sorted({seed for record in records for seed in record.seeds})
    changes = dict.fromkeys(change for record in records for change in record.changes)
    return replace(records[0], schemes=list(schemes), seeds=seeds, changes=tuple(changes))


def _copy(source: Path, target: Path) -> None:
    """Copy a run, so that a copy that was cut short is made again and a whole one is left alone."""
    if source.resolve() == target.resolve():
        return
    if (target / METRICS_FILE).exists() and is_saved(target):
        return
    beside = target.with_name(f".{target.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    shutil.copytree(source, beside, ignore=shutil.ignore_patterns("checkpoints", ".lock"))
    shutil.rmtree(target, ignore_errors=True)
    beside.rename(target)


def _planned(record: SweepRecord, finished: Sequence[SweepRun], out: Path) -> list[SweepRun]:
    """Every scheme and seed of the record, the first scheme first; those that are missing are not finished."""
    if not finished:
        raise UserError("none of these sweeps has a finished run")
    known = {(run.config.scheme, run.config.seed): run.config for run in finished}
    any_config = finished[0].config
    return [
        SweepRun(
            known.get((scheme, seed)) or any_config.model_copy(update={"scheme": scheme, "seed": seed}),
            run_folder(out, scheme, seed),
            scheme in record.controls,
        )
        for seed in record.seeds
        for scheme in record.schemes
    ]
