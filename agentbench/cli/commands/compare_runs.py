"""``agentbench compare-runs``: compare runs with a baseline, task by task."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from envs.base.terminal import make_console, make_table, plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from agentbench.evaluation.compare_runs import Comparison


def compare_runs(
    runs: Annotated[list[Path], typer.Argument(help="folders of runs, the baseline first")],
    measure: Annotated[str, typer.Option(help="what to compare: success or score")] = "success",
    confidence: Annotated[float, typer.Option(min=0, max=1, help="of the intervals")] = 0.95,
    changes: Annotated[int, typer.Option(min=0, help="changed tasks to list for each run")] = 20,
    out: Annotated[Path | None, typer.Option(help="also write the comparisons to this CSV file")] = None,
    tasks_out: Annotated[Path | None, typer.Option(help="also write every task's difference to this CSV file")] = None,
    seed: Annotated[int, typer.Option(min=0, help="of the random draws, where a test is not exact")] = 0,
) -> None:
    """Compare runs on the same tasks with the first one: difference, interval, p-value, and the tasks that flipped."""
    from agentbench.evaluation.compare_runs import compare_with_baseline, comparison_table, task_table
    from agentbench.evaluation.scenarios import clustered_episodes
    from agentbench.runs.notes import print_state
    from agentbench.runs.run import names_of, open_run
    from envs.base.errors import UserError, unknown

    if measure not in ("success", "score"):
        raise unknown("measure", measure, ("success", "score"))
    if len(runs) < 2:
        raise UserError("compare-runs needs two runs or more: name the baseline's folder first, then the others")
    names = names_of(runs)
    for path in filter(None, (out, tasks_out)):
        if not path.parent.is_dir():
            raise UserError(f"cannot write {path}: there is no folder {path.parent}")
    opened = {name: open_run(folder) for name, folder in zip(names, runs, strict=True)}
    found = {name: clustered_episodes(run) for name, run in opened.items()}
    baseline, *others = ((name, frame) for name, (frame, _) in found.items())
    comparisons = compare_with_baseline(
        baseline,
        dict(others),
        measure="score" if measure == "score" else "success",
        confidence=confidence,
        cluster=found[baseline[0]][1],
        seed=seed,
    )
    console = make_console()
    console.print(_results(comparisons))
    for one in comparisons:
        _print_details(console, one, changes)
    print_state(opened.items())
    for target, table in ((out, comparison_table), (tasks_out, task_table)):
        if target:
            table(comparisons).to_csv(target, index=False)
            console.print(f"written: {target}")


def _results(comparisons: list[Comparison]) -> Table:
    first = comparisons[0]
    several = len(comparisons) > 1
    headings = ["tasks", "baseline", "run", "points", f"[{first.confidence * 100:g} %]", "better", "worse", "p"]
    headings += ["p (Holm)"] if several else []
    table = make_table(["run"], headings, title=f"{first.measure}, compared with {first.baseline}")
    for one in comparisons:
        cells = [
            one.other, str(len(one.tasks)), f"{one.baseline_mean:.1%}", f"{one.other_mean:.1%}",
            f"{100 * one.difference:+.1f}", f"[{100 * one.low:+.1f}, {100 * one.high:+.1f}]",
            str(one.better), str(one.worse), _p(one.p_value),
        ]  # fmt: skip
        table.add_row(*cells, *([_p(one.p_adjusted)] if several else []))
    return table


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "<0.001"


def _print_details(console: Console, one: Comparison, limit: int) -> None:
    head = plain(one.other, "bold")
    console.print(head.append(f": test: {one.test}, on {_units(one)}", "not bold"))
    if one.dropped:
        count = f"{len(one.dropped)} task{'s' * (len(one.dropped) != 1)}"
        listed = ", ".join(one.dropped[:5]) + (", …" if len(one.dropped) > 5 else "")
        console.print(
            f"left out: {count} with an error of the infrastructure in one of the runs ({listed}); "
            "agentbench eval --retry-errors plays them again",
            style="yellow",
        )
    flips = one.flips
    if flips.empty or limit < 1:
        return
    table = make_table(["changed task", "task type", one.baseline, one.other])
    for row in flips.head(limit).to_dict("records"):
        name = str(row.get("task_name") or row["task_id"])
        values = [_outcome(one, row["baseline"]), _outcome(one, row["other"])]
        table.add_row(name, str(row["task_type"]), *values)
    console.print(table)
    if len(flips) > limit:
        console.print(f"and {len(flips) - limit} more: --changes {len(flips)}, or --tasks-out FILE.csv for all")


def _units(one: Comparison) -> str:
    tasks = f"{len(one.tasks)} tasks"
    return tasks if one.clusters is None else f"{tasks} in {one.clusters} scenarios, which are the unit"


def _outcome(one: Comparison, value: float) -> str:
    single = bool((one.tasks[["baseline_trials", "other_trials"]] == 1).all(axis=None))
    if single and one.measure == "success":
        return "success" if value == 1 else "failure"
    return f"{value:.2f}"
