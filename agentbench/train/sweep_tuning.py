"""Tuning before a sweep: the same settings tried for every scheme, on seeds and tasks that the comparison never uses.

A scheme that happens to like the one learning rate of all looks better than it is, and settings chosen on the seeds or
the tasks of the comparison look better by their luck (Patterson et al. 2023, "Empirical Design in Reinforcement
Learning", arXiv 2304.01315). So every scheme gets the same grid and the same seeds, and what was tried, what came out
and what was chosen stand in ``sweep.json``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from agentbench.evaluation.compare_runs import Measure
from agentbench.evaluation.held_out import task_ids
from agentbench.train.config import TrainConfig
from agentbench.train.sweep import SweepRun, plan_sweep
from agentbench.train.sweep_record import read_record, write_record
from agentbench.train.sweep_summary import AREA, run_table
from envs.base.errors import UserError, unknown

FIRST_SEED = 10_000
"""Seeds from here on are those of the tuning."""

FOLDER = "tuning"
NOT_TUNED = ("scheme", "seed", "env", "env_options", "split", "eval_split", "eval_tasks", "eval_temperature", "steps")
"""Settings that say what is compared, and on what."""

Settings = dict[str, str]


def read_grid(options: Sequence[str]) -> list[Settings]:
    """Return every combination of the values to try, in the order they were given in.

    Args:
        options: ``NAME=VALUE,VALUE`` each.

    Raises:
        UserError: an option is not of that form, or names what is no setting to tune.
    """
    values: dict[str, list[str]] = {}
    for option in options:
        name, _, given = option.partition("=")
        name = name.strip().replace("-", "_")
        tried = [value.strip() for value in given.split(",") if value.strip()]
        if name not in TrainConfig.model_fields:
            raise unknown("training setting", name, TrainConfig.model_fields)
        if name in NOT_TUNED:
            raise UserError(f"--tune {name}: it says what is compared, and cannot differ between schemes")
        if len(set(tried)) < 2 or name in values:
            raise UserError(f"--tune {option}: name a setting once, with two values or more: learning_rate=1e-4,1e-3")
        values[name] = tried
    return [dict(zip(values, each, strict=True)) for each in product(*values.values())]


def plan_tuning(
    config: Path | None,
    flags: dict[str, Any],
    schemes: Sequence[str],
    grid: Sequence[Settings],
    seeds: int,
    out: Path,
    final: Sequence[SweepRun],
    policies: Sequence[str] = (),
    controls: Sequence[str] = (),
) -> list[SweepRun]:
    """Return the runs of the tuning: every scheme with every setting and seed, seed by seed.

    Args:
        config, flags, schemes: as for :func:`agentbench.train.sweep.plan_sweep`; the flags name the tuning's own tasks,
            ``split`` and ``eval_split``, and its ``steps`` where they are not the comparison's.
        grid: from :func:`read_grid`.
        seeds: number of seeds, from :data:`FIRST_SEED`.
        out: folder of the sweep; each setting has a folder of its own in ``tuning``.
        final: the runs of the comparison, none of whose seeds and tasks may be used.
        policies: clones that seeds take turns in, those of the comparison.
        controls: those of the comparison.

    Raises:
        UserError: a seed or a task is also one of the comparison's, or a setting is wrong.
    """
    if any(run.config.seed >= FIRST_SEED for run in final):
        raise UserError(f"seeds from {FIRST_SEED} on are those of the tuning: lower --first-seed")
    folder = out / FOLDER
    flat = [
        run
        for seed in range(FIRST_SEED, FIRST_SEED + seeds)
        for number, own in enumerate(grid)
        for run in plan_sweep(
            config, flags, schemes, 1, folder / str(number), seed, dict.fromkeys(schemes, own), policies, controls
        )
    ]
    ours, theirs = _tasks(flat[0].config), _tasks(final[0].config)
    if shared := ours & theirs:
        raise UserError(
            f"{len(shared)} tasks of the tuning are also tasks of the comparison: give --tune-split and "
            "--tune-eval-split tasks of their own (of generated games, another first number: generated:5:200)"
        )
    return flat


def _tasks(config: TrainConfig) -> set[str]:
    """Return the ids of all tasks that a run plays."""
    found = set(task_ids(config.env, config.split, config.env_options))
    if config.eval_split is not None:
        found |= set(task_ids(config.env, config.eval_split, config.env_options)[: config.eval_tasks])
    return found


def record_tuning(out: Path, plan: Mapping[str, Any]) -> None:
    """Write down what is tuned, before its first run; hold a later command against it.

    Raises:
        UserError: the sweep was planned with another tuning, or without any.
    """
    record = read_record(out)
    assert record is not None
    before = {name: record.tuning.get(name) for name in plan}
    if record.tuning and before != dict(plan):
        changed = sorted(name for name in plan if before[name] != plan[name])
        raise UserError(
            f"the tuning of this sweep was named before its first run, with other {', '.join(changed)}: repeat it as "
            "it was, or choose another --out"
        )
    if not record.tuning:
        write_record(out, replace(record, tuning=dict(plan)))


def choose(out: Path, runs: Sequence[SweepRun], grid: Sequence[Settings], measure: Measure) -> dict[str, Settings]:
    """Choose for every scheme the settings with the largest mean area under the curve; write all down.

    Of equal ones the first is taken. The area is chosen by as it varies less from seed to seed than the last point.

    Args:
        out: folder of the sweep.
        runs: of the tuning, all finished (:func:`plan_tuning`).
        grid: what was tried.
        measure: whose curve it is.
    """
    table = run_table(runs, measure)[0]
    table["setting"] = [int(run.folder.parent.name) for run in runs]
    means = table.groupby(["scheme", "setting"])[AREA].mean()
    tried: dict[str, list[dict[str, Any]]] = {}
    chosen: dict[str, Settings] = {}
    for scheme in dict.fromkeys(table["scheme"]):
        of_scheme = [round(float(means[scheme, number]), 6) for number in range(len(grid))]
        tried[scheme] = [{**own, AREA: mean} for own, mean in zip(grid, of_scheme, strict=True)]
        chosen[scheme] = grid[of_scheme.index(max(of_scheme))]
    record = read_record(out)
    assert record is not None
    write_record(out, replace(record, tuning={**record.tuning, "tried": tried, "chosen": chosen}))
    return chosen
