"""``agentbench truth`` and ``agentbench quality``: true advantages, and how near the schemes come to them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from envs.base.terminal import progress, say

if TYPE_CHECKING:
    from agentbench.analysis.quality.table import Quality


def truth(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="folder of the run and its truth")],
    env: Annotated[
        str, typer.Option(help="environment, or a tabular problem: chain, key-door, aliased, stochastic, harvest")
    ] = "alfworld",
    policy: Annotated[str, typer.Option(help="whose advantages (a problem has its own policy)")] = "mixed:0.5",
    split: Annotated[str | None, typer.Option(help="set of tasks; default: the environment's own")] = None,
    tasks: Annotated[int | None, typer.Option(min=1, help="play only so many tasks, drawn with the seed")] = None,
    group_size: Annotated[int, typer.Option(min=1, max=100_000, help="episodes a group")] = 8,
    groups: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="groups a task [1; for a problem 100]")
    ] = None,
    method: Annotated[str, typer.Option(help="auto, exact or monte-carlo")] = "auto",
    rollouts: Annotated[
        int, typer.Option(min=2, max=1_000_000, help="rollouts from every point, for monte-carlo")
    ] = 16,
    critic_rollouts: Annotated[
        int,
        typer.Option(
            min=0, max=1_000_000, help="further rollouts, for the value that schemes with a critic are given; 0: none"
        ),
    ] = 8,
    state_limit: Annotated[
        int, typer.Option(min=1, help="most states of a game that are counted, for exact")
    ] = 200_000,
    seed: Annotated[int, typer.Option(min=0, help="seed of every random draw")] = 0,
    workers: Annotated[int, typer.Option(min=1, max=512, help="worker processes")] = 2,
    executor: Annotated[str, typer.Option(help="where the groups are played: local, ray, or ray:HOST:PORT")] = "local",
    memory_limit: Annotated[float, typer.Option(help="MB at which a worker that plays is replaced")] = 2048.0,
    all_actions: Annotated[
        bool, typer.Option("--all-actions", help="judge the actions that were not taken too: truth-actions.parquet")
    ] = False,
    reference: Annotated[
        str | None, typer.Option(help="a policy whose advantages are found instead of those of the one that plays")
    ] = None,
) -> None:
    """Play groups of episodes, and find the true advantage of every step: truth.parquet in the run's folder.

    The same command after an interruption continues where it stopped. Any other --name value is an option of the
    environment or the problem (--max-steps 30; --length 10 --success 0.3).
    """
    from agentbench.analysis.truth.problems import PROBLEMS
    from agentbench.analysis.truth.run import make_truth
    from agentbench.cli.commands.options import extra_options
    from envs.base.options import declared
    from envs.registry import option_names

    own = [*declared(PROBLEMS[env]), "success"] if env in PROBLEMS else option_names(env)
    options = extra_options(context, own, [] if env in PROBLEMS else [f"agentbench envs {env}"])

    try:
        with progress(f"{policy} on {env}") as play, progress("true advantages") as report:
            table = make_truth(
                out, env=env, policy=policy, split=split, tasks=tasks, group_size=group_size,
                groups=groups, method=method, rollouts=rollouts,
                critic_rollouts=critic_rollouts, state_limit=state_limit, seed=seed, workers=workers,
                executor=executor, env_options=options, on_progress=report,
                memory_limit=memory_limit, all_actions=all_actions, reference=reference,
                on_played=lambda now: play(now.finished, now.total, now.note),
            )  # fmt: skip
    except KeyboardInterrupt:
        say("stopped: what is finished is stored; the same command continues from there", err=True)
        raise
    exact = (table["method"] == "exact").mean()
    say(
        f"{table['episode'].nunique()} episodes, {len(table)} steps; exact for {exact:.0%} of the steps, "
        f"else with a mean standard error of {table.loc[table['method'] != 'exact', 'standard_error'].mean():.3f}"
        if exact < 1
        else f"{table['episode'].nunique()} episodes, {len(table)} steps, all exact"
    )
    say(f"written: {out / 'truth.parquet'}{', truth-actions.parquet' if all_actions else ''}")


def quality(
    runs: Annotated[list[Path] | None, typer.Argument(help="folders that 'agentbench truth' made")] = None,
    schemes: Annotated[str, typer.Option(help="schemes, with commas between, or all")] = "all",
    group_sizes: Annotated[str, typer.Option(help="episodes a group, with commas between [the run's own; 8]")] = "",
    problems: Annotated[str, typer.Option(help="tabular problems to play beside, with commas between, or all")] = "",
    groups: Annotated[int, typer.Option(min=1, max=1_000_000, help="groups of each tabular problem")] = 200,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="vary the anchor of the runs; group size, horizon, … on key-door")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="seed of the tabular problems")] = 0,
    out: Annotated[Path | None, typer.Option(help="folder for the tables and pictures [the first run]")] = None,
    columns: Annotated[
        Path | None,
        typer.Option(
            help="Parquet or CSV file with task_id, trial, step: each further column is measured too (of one run)"
        ),
    ] = None,
) -> None:
    """Measure how near the schemes come to the true advantages: quality.csv, .json, .md and .png.

    The same command after an interruption continues where it stopped.
    """
    from agentbench.analysis.advantages import scheme_names
    from agentbench.analysis.quality.measured import (
        measure_anchors,
        measure_problems,
        measure_runs,
        measure_sweeps,
        write_all,
    )
    from agentbench.analysis.quality.parts import Parts
    from agentbench.analysis.quality.table import Quality, sheets
    from envs.base.errors import UserError

    if not runs and not problems and not sweep:
        raise UserError("nothing to measure: name a folder that 'agentbench truth' made, or --problems all, or --sweep")
    if columns is not None and len(runs or []) != 1:
        raise UserError(f"--columns has the steps of one run: name one, not {len(runs or [])}")
    folder = out or (runs[0] if runs else Path("results/quality"))
    names, sizes = scheme_names(schemes), _numbers(group_sizes)
    found = Quality(parts=Parts(folder / "quality.jsonl"))
    measure_runs(found, runs or [], names, sizes, columns)
    measure_problems(found, _listed(problems), names, sizes or [8], groups, seed)
    if sweep:
        for run in runs or []:
            measure_anchors(found, run, names)
        measure_sweeps(found, names, groups, seed)
    write_all(found, folder)
    for sheet in sheets(found.main()):
        say(sheet.text() + "\n")
    _say_skipped(found)
    say("± is half of a 95 % interval over groups, [] its ends where it is too wide for that")
    say(f"all numbers: {folder / 'quality.csv'}")


def _say_skipped(found: Quality) -> None:
    reasons = {reason: name for skipped in found.skipped.values() for name, reason in skipped.items()}
    for reason, name in reasons.items():
        say(f"left out {name}: {reason}", err=True)
    for sample, reliability in found.reliability.items():
        if reliability < 1:
            say(
                f"{sample}: {1 - reliability:.0%} of the variance of the measured truth is its own error; even a "
                f"perfect estimate would correlate with it by {reliability**0.5:.2f} only",
                err=True,
            )


def _listed(text: str) -> list[str]:
    from agentbench.analysis.truth.problems import PROBLEMS

    return list(PROBLEMS) if text.strip() == "all" else [name.strip() for name in text.split(",") if name.strip()]


def _numbers(text: str) -> list[int]:
    from envs.base.errors import UserError

    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UserError(f"--group-sizes takes whole numbers with commas between, got {text!r}") from None
