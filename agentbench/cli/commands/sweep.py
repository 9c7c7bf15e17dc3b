"""``agentbench sweep``: train with several schemes and seeds, and say which differences are more than chance."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from envs.base.errors import UserError, unknown
from envs.base.terminal import ProgressLines, make_console, plain, say

if TYPE_CHECKING:
    from agentbench.evaluation.compare_runs import Measure
    from agentbench.train.sweep import SweepRun
    from agentbench.train.sweep_record import SweepRecord


def sweep(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="folder of the sweep; each run has a folder in it")],
    schemes: Annotated[str, typer.Option(help="credit schemes, with commas between; the first is compared with")] = "",
    config: Annotated[Path | None, typer.Option(help="TOML file of settings; flags go over it")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="runs of each scheme, with the seeds 0, 1, …")] = 5,
    policies: Annotated[
        str, typer.Option(help="clones, with commas between, that the seeds take turns in; else one policy for all")
    ] = "",
    controls: Annotated[
        str,
        typer.Option(help="schemes, with commas between, whose measuring branches do not count as environment steps"),
    ] = "",
    first_seed: Annotated[int, typer.Option(min=0, help="the first seed, for parts that are merged later")] = 0,
    jobs: Annotated[int | None, typer.Option(min=1, help="runs side by side [number of cores]")] = None,
    measure: Annotated[str, typer.Option(help="what is summed up: success or score")] = "success",
    margin: Annotated[
        float | None, typer.Option(min=0, max=1, help="difference below which schemes count as equal  [default: 0.05]")
    ] = None,
    tune: Annotated[
        list[str] | None,
        typer.Option(help="a setting and the values to try for every scheme first, as learning_rate=1e-4,1e-3; again"),
    ] = None,
    tune_seeds: Annotated[int, typer.Option(min=1, help="with --tune: runs of each scheme and setting")] = 3,
    tune_steps: Annotated[
        int | None, typer.Option(min=1, help="with --tune: training steps of its runs  [default: the comparison's]")
    ] = None,
    tune_split: Annotated[str, typer.Option(help="with --tune: tasks to train on that the comparison never uses")] = "",
    tune_eval_split: Annotated[str, typer.Option(help="with --tune: held-out tasks that it never uses")] = "",
    merge: Annotated[
        Path | None, typer.Option(help="join the sweeps in this folder and those named after it, and sum them up")
    ] = None,
    summary: Annotated[bool, typer.Option("--summary", help="train nothing: sum up what is finished")] = False,
) -> None:
    """Train with several credit schemes and seeds, and compare them on held-out tasks.

    Every setting of a training below is a flag too. The same command after an interruption continues: finished runs are
    skipped. A failed run is named and the others continue; the exit code is then 1.

    What is compared (final success and the area under its curve), the seeds and the margin of a tie are written to
    sweep.json before the first run. 'agentbench sweep --merge A B --out C' joins parts that were run elsewhere.

    With --policies A,B,C seed 0 starts from A, seed 1 from B and so on, so that the verdict is not about one clone.

    With --controls vineppo what it plays to measure values does not count: it shows what better values would win were
    they free.

    With --tune every scheme is first tuned on seeds and tasks of its own, all with the same effort; what was tried and
    chosen is in sweep.json.
    """
    from agentbench.cli.commands.options import extra_options
    from agentbench.evaluation.held_out import say_notes
    from agentbench.train.config import flag_names
    from agentbench.train.soundness import training_notes
    from agentbench.train.sweep import plan_sweep
    from agentbench.train.sweep_record import record_plan

    if measure not in ("success", "score"):
        raise unknown("measure", measure, ("success", "score"))
    if merge is not None:
        _merge([merge, *context.args], out, cast("Measure", measure))
        return
    settings = extra_options(context, flag_names(context.args))
    names = _names(schemes)
    if not names:
        raise UserError("name the credit schemes to compare, as --schemes grpo,gigpo: the first is compared with")
    clones, free = _names(policies), _names(controls)
    own: dict[str, dict[str, str]] = {}
    planned = range(first_seed, first_seed + seeds)
    if tune:
        from agentbench.train.sweep_tuning import choose, plan_tuning, read_grid, record_tuning

        grid = read_grid(tune)
        if not (tune_split and tune_eval_split):
            raise UserError(
                "--tune needs tasks that the comparison never uses: give --tune-split and --tune-eval-split "
                "(generated:5:200 and generated:6:60, say)"
            )
        apart = {"split": tune_split, "eval_split": tune_eval_split}
        if tune_steps is not None:
            apart["steps"] = str(tune_steps)
        # Its tasks are left alone.
        final = plan_sweep(config, settings, names, 1, out / "-", first_seed, None, clones, free)
        tuning = plan_tuning(config, {**settings, **apart}, names, grid, tune_seeds, out, final, clones, free)
        record_plan(out, names, planned, measure, margin, clones, free)
        record_tuning(out, {"grid": grid, "seeds": tune_seeds, **apart})
        if not summary and _run(tuning, jobs):
            raise typer.Exit(1)
        if not all(run.is_finished for run in tuning):
            raise UserError(
                "the tuning is not finished, so there is nothing to sum up: run the command without --summary"
            )
        own = {name: dict(each) for name, each in choose(out, tuning, grid, cast("Measure", measure)).items()}
        for name, each in own.items():
            say(f"{name}: {', '.join(f'{key} = {value}' for key, value in each.items())}", err=True)
    runs = plan_sweep(config, settings, names, seeds, out, first_seed, own, clones, free)
    record = record_plan(out, names, planned, measure, margin, clones, free)
    say_notes(dict.fromkeys(note for run in runs for note in training_notes(run.config)))
    failed = 0 if summary else _run(runs, jobs)
    _show(runs, out, cast("Measure", measure), record)
    if failed:
        raise typer.Exit(1)


def _names(listed: str) -> list[str]:
    return [name.strip() for name in listed.split(",") if name.strip()]


def _run(runs: list[SweepRun], jobs: int | None) -> int:
    """Train what is not finished, saying what happens; return how many runs failed."""
    from agentbench.train.sweep import run_sweep

    done, failed = sum(run.is_finished for run in runs), 0
    say(f"{len(runs)} runs, {done} of them finished; logs: {runs[0].folder.parent}/<scheme>-<seed>/train.log", err=True)
    try:
        with _lines(runs):
            for ended in run_sweep(runs, jobs or os.cpu_count() or 1, on_start=_say_start):
                done += not ended.error
                failed += bool(ended.error)
                what = f"FAILED, {ended.error}" if ended.error else _result(ended.run)
                say(f"{ended.run.folder.name}: {what} ({done}/{len(runs)})", err=True)
    except KeyboardInterrupt:
        say(f"stopped: {done} of {len(runs)} runs are finished; the same command continues from there", err=True)
        raise
    if failed:
        say(f"agentbench: {failed} of {len(runs)} runs failed; the same command tries them again", err=True)
    return failed


def _merge(parts: Sequence[str | Path], out: Path, measure: Measure) -> None:
    """Join sweeps and sum them up; what is left of the command line are further folders."""
    from agentbench.train.sweep_merge import merge_sweeps
    from agentbench.train.sweep_record import read_record

    folders = [Path(part) for part in parts]
    if flags := [str(part) for part in parts if str(part).startswith("--")]:
        raise UserError(f"--merge joins finished runs and trains nothing: leave {flags[0]} out")
    if len(folders) < 2:
        raise UserError("--merge joins two sweeps or more: name their folders, as --merge A B --out C")
    runs = merge_sweeps(folders, out)
    record = read_record(out)
    assert record is not None
    _show(runs, out, measure, record)


@contextmanager
def _lines(runs: list[SweepRun]) -> Iterator[None]:
    """Say every so often, where there is no terminal, how many training steps of all runs are done."""
    if make_console(stderr=True).is_terminal:
        yield
        return
    total = sum(run.config.steps for run in runs)
    with ProgressLines("sweep", "training steps", lambda: (sum(run.step for run in runs), total, "")):
        yield


def _say_start(run: SweepRun) -> None:
    where = f"going on after step {run.step}" if run.step else "started"
    say(f"{run.folder.name}: {where}", err=True)


def _result(run: SweepRun) -> str:
    success = run.metrics[-1].get("eval/success")
    return "no held-out episode was judged" if success is None else f"held-out success {success:.3f}"


def _show(runs: list[SweepRun], out: Path, measure: Measure, record: SweepRecord) -> None:
    from agentbench.train.sweep_summary import render_summary, summarise_sweep, write_summary

    planned = len(record.schemes) * len(record.seeds)
    found = summarise_sweep(runs, measure, record.margin, planned)
    if found.runs.empty:
        say("no run is finished: nothing to sum up", err=True)
        return
    console = make_console()
    for table in render_summary(found):
        console.print(table)
    planned = max(planned, len(runs))
    missing = planned - len(found.runs)
    if missing:
        console.print(
            plain("not finished:", "yellow"),
            f"{missing} of {planned} runs; they are not in the tables, and the verdict waits for them",
        )
    if measure != record.measure:
        console.print(f"The measure that was named before the first run is {record.measure}: read this one beside it.")
    for change in record.changes:
        console.print(plain("note:", "yellow"), f"{change}; who adds runs after a look raises more false alarms")
    console.print(f"written: {', '.join(str(path) for path in write_summary(runs, found, out))}", soft_wrap=True)
