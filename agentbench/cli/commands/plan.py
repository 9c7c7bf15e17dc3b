"""``agentbench plan``: how small a difference can be seen, or how many tasks it takes to see one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from envs.base.terminal import make_console, make_table

if TYPE_CHECKING:
    from rich.table import Table

_Rate = Annotated[float, typer.Option(min=0, max=1, help="success rate that both agents have, about")]
_Within = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="variance of a trial about its task's own rate, 0 (a task always ends alike) to rate·(1-rate) "
        "(all tasks are equally hard)  [default: two thirds of that]",
    ),
]


def plan(
    tasks: Annotated[int | None, typer.Option(min=1, help="tasks each agent is evaluated on")] = None,
    trials: Annotated[int, typer.Option(min=1, help="times each task is played")] = 1,
    difference: Annotated[
        float | None, typer.Option(min=0, max=1, help="difference of success rates to see (0.03)")
    ] = None,
    rate: _Rate = 0.5,
    within_variance: _Within = None,
    correlation: Annotated[
        float,
        typer.Option(min=-1, max=1, help="of the two agents' success rates over tasks, when both play the same tasks"),
    ] = 0.5,
    power: Annotated[float, typer.Option(min=0, max=1, help="chance to see a difference that is there")] = 0.8,
    alpha: Annotated[float, typer.Option(min=0, max=1, help="chance to see one that is not there (two-sided)")] = 0.05,
    seeds: Annotated[bool, typer.Option("--seeds", help="plan a sweep: how many seeds of each scheme")] = False,
    schemes: Annotated[
        int | None, typer.Option(min=2, help="with --seeds: schemes, the one compared with among them")
    ] = None,
    spread: Annotated[
        float | None, typer.Option(min=0, help="with --seeds: standard deviation of a seed (0.03 is three points)")
    ] = None,
    sweep: Annotated[
        Path | None, typer.Option(help="with --seeds: a sweep whose seeds the spread is taken from")
    ] = None,
    measure: Annotated[str, typer.Option(help="with --sweep: success, score or area")] = "success",
) -> None:
    """Say how small a difference of two agents can be seen with some tasks, or how many tasks a difference needs.

    With --tasks, the smallest difference; with --difference, the number of tasks; with both, also the power.

    With --seeds, how many seeds a sweep needs to see --difference (0.05 where it is not given), from the --spread of
    seeds or from the seeds of a finished --sweep, for Dunnett's test against the first scheme.
    """
    import math

    from agentbench.statistics import variance_of_difference
    from envs.base.errors import UserError

    if seeds:
        _plan_seeds(0.05 if difference is None else difference, schemes, spread, sweep, measure, power, alpha)
        return
    if schemes is not None or spread is not None or sweep is not None:
        raise UserError("--schemes, --spread and --sweep plan the seeds of a sweep: give --seeds with them")
    if tasks is None and difference is None:
        raise UserError("nothing to plan: give --tasks NUMBER, or --difference SIZE (0.03 is three points)")
    pairings = {"same tasks (paired)": correlation, "unpaired": 0.0}
    variances = [
        [
            variance_of_difference(rate=rate, within_variance=within_variance, correlation=rho, trials=number)
            for rho in pairings.values()
        ]
        for number in (trials, math.inf)
    ]
    console = make_console()
    console.print(_table(list(pairings), variances, tasks, trials, difference, power, alpha))
    within = 2 / 3 * rate * (1 - rate) if within_variance is None else within_variance
    between = rate * (1 - rate) - within
    console.print(
        f"Assumed: both agents succeed in about {100 * rate:.3g} % of trials; a trial varies about its task's own rate "
        f"with variance {within:.4g} (--within-variance), the rates vary over tasks with {between:.4g}; "
        f"on the same tasks the two agents' rates correlate by {correlation:.3g} (--correlation). Two-sided test at "
        f"{100 * alpha:.3g} % with power {100 * power:.3g} %. Normal approximation, Miller 2024 (arXiv 2411.00640)."
    )


def _plan_seeds(
    difference: float,
    schemes: int | None,
    spread: float | None,
    sweep: Path | None,
    measure: str,
    power: float,
    alpha: float,
) -> None:
    """Print how many seeds show the difference, and what some numbers of seeds show."""
    from rich import box
    from rich.table import Table

    from agentbench.statistics.seeds import seed_power, seeds_needed, smallest_seed_difference, spread_limit
    from agentbench.train.sweep_record import spread_of_sweep
    from envs.base.errors import UserError

    if (spread is None) == (sweep is None):
        raise UserError("give the spread of seeds, as --spread (0.03 is three points) or from the runs of a --sweep")
    spreads = {} if spread is None else {"spread of seeds": spread}
    count = schemes
    if sweep is not None:
        found = spread_of_sweep(sweep, measure)
        count = schemes or found.schemes
        limit = spread_limit(found.spread, found.degrees)
        spreads = {"spread as measured": found.spread, "its upper end (80 %)": limit}
    if count is None:
        raise UserError("give the number of --schemes, the one compared with among them")
    console = make_console()
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(f"{count} schemes, each against the first")
    for name, value in spreads.items():
        table.add_column(f"{name}: {100 * value:.2f} points", justify="right")
    values = list(spreads.values())
    needed = [seeds_needed(difference, value, count, power=power, alpha=alpha) for value in values]
    table.add_row(f"seeds to see {100 * difference:g} points with power {power:.0%}", *map(str, needed))
    for number in sorted({3, 5, 8, 12, 20, *needed}):
        cells = [
            f"{100 * smallest_seed_difference(number, value, count, power=power, alpha=alpha):.1f} points "
            f"({seed_power(difference, number, value, count, alpha=alpha):.0%} for {100 * difference:g})"
            for value in values
        ]
        table.add_row(f"smallest difference seen with {number} seeds", *cells)
    console.print(table)
    console.print(
        f"Dunnett's test with pooled spread, two-sided, {100 * alpha:.3g} % false alarms over all schemes. Name the "
        "number of seeds before the first run, and look at the verdict when all are finished."
    )


def _table(
    pairings: list[str],
    variances: list[list[float]],
    tasks: int | None,
    trials: int,
    difference: float | None,
    power: float,
    alpha: float,
) -> Table:
    """Make the table: a column a pairing; ``variances`` with the given trials first, then without their noise."""
    from agentbench.statistics import power_to_see, smallest_difference, tasks_needed

    table = make_table(["two agents, compared on"], list(pairings))
    budget = f"{trials} trial{'s' * (trials != 1)} each"
    if tasks is not None:
        for label, row in zip((f"{tasks} tasks, {budget}", "however many trials"), variances, strict=True):
            sizes = [smallest_difference(tasks, variance, power=power, alpha=alpha) for variance in row]
            table.add_row(f"smallest difference, {label}", *(f"{size:.1%}" if size <= 1 else "none" for size in sizes))
    if difference is not None:
        for label, row in zip((budget, "however many trials"), variances, strict=True):
            needed = [tasks_needed(difference, variance, power=power, alpha=alpha) for variance in row]
            table.add_row(f"tasks to see {difference:.3g}, {label}", *map(str, needed))
    if tasks is not None and difference is not None:
        chances = [power_to_see(difference, tasks, variance, alpha=alpha) for variance in variances[0]]
        table.add_row(
            f"power to see {difference:.3g}, {tasks} tasks, {budget}", *(f"{chance:.0%}" for chance in chances)
        )
    return table
