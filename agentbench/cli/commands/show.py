"""``agentbench show``: the table of one or several runs again, and its picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from envs.base.terminal import make_console, plain, say

if TYPE_CHECKING:
    from rich.console import Console

    from agentbench.runs.run import Run


def show(
    runs: Annotated[list[Path], typer.Argument(help="folders of runs")],
    plot: Annotated[Path | None, typer.Option(help="also draw the success rates to this PNG, SVG or PDF file")] = None,
) -> None:
    """Print a run's success rates with intervals, by task type, with errors apart."""
    from agentbench.runs.run import names_of, open_run

    names = names_of(runs)
    opened = [open_run(folder) for folder in runs]
    print_runs(opened)
    if plot:
        from agentbench.evaluation.scenarios import summarise_run
        from agentbench.evaluation.views import plot_summaries

        plot_summaries({name: summarise_run(run) for name, run in zip(names, opened, strict=True)}, plot)
        say(f"picture: {plot}")


def print_runs(runs: list[Run]) -> None:
    """Print the table of each run, where it lies, and what a reader of the number must know."""
    from agentbench.runs.notes import run_notes

    console = make_console()
    for number, run in enumerate(runs):
        if number:
            console.print()
        if run.config.get("kind") == "train":
            _print_training(console, run)
        else:
            _print_played(console, run)
        for kind, text in run_notes(run):
            console.print(plain(f"{kind}:", "yellow"), text)
        console.print(f"run: {run.folder}")


def _print_training(console: Console, run: Run) -> None:
    from agentbench.runs.lines import METRICS_FILE, read_metrics

    identity, rows = run.identity, read_metrics(run.folder / METRICS_FILE)
    done = rows[-1]["step"] if rows else 0
    console.print(
        plain(
            f"{identity.get('policy')} trained with {identity.get('scheme')} on {identity.get('env')} "
            f"{identity.get('split') or ''}: {done} of {identity.get('steps')} training steps",
            "bold",
        )
    )
    measured = [row["eval/success"] for row in rows if "eval/success" in row]
    if measured:
        best = f"{measured[-1]:.1%} at the last measurement, {max(measured):.1%} at the best"
        console.print(f"success on {identity.get('eval_split')}: {best} (chosen on these tasks)")
    console.print("its curves: agentbench report; a table of its policy: agentbench eval --policy with its folder")


def _print_played(console: Console, run: Run) -> None:
    from agentbench.evaluation.answers import answers_of, warnings
    from agentbench.evaluation.scenarios import completion_lines, scenario_of_run, summarise_run
    from agentbench.evaluation.views import render

    identity = run.identity
    what = f"{identity.get('policy')} on {identity.get('env')} {identity.get('split') or ''}".rstrip()
    answers = answers_of(run)
    console.print(render(summarise_run(run), title=what, answers=answers))
    if scenario_of := scenario_of_run(run):
        console.print("\n".join(completion_lines(run.episodes, scenario_of)))
    if told := _errors_told(run):
        console.print(plain("errors:", "yellow"), told)
    for warning in warnings(answers):
        console.print(plain("warning:", "yellow"), plain(warning))
    if answers.shortened and not any("--max-text" in str(note) for note in run.config.get("notes", [])):
        shortened = f"{answers.shortened} of {answers.overall.steps} steps were stored with a text cut short"
        console.print(plain("note:", "yellow"), f"{shortened} (--max-text sets the longest)")


def _errors_told(run: Run) -> str | None:
    from agentbench.runs.episodes import is_judged
    from agentbench.runs.failures import tell

    found = run.episode_columns("outcome", "error")
    reasons = found["error"][~is_judged(found["outcome"])]
    return tell([str(reason or "no reason") for reason in reasons], len(found["outcome"])) if len(reasons) else None


def end_if_none_judged(run: Run, advice: str) -> None:
    """Exit with code 1, and say so, where every episode of a run ended in an error."""
    from agentbench.runs.episodes import is_judged

    outcomes = run.episode_columns("outcome")["outcome"]
    if len(outcomes) and not is_judged(outcomes).any():
        say(f"agentbench: no episode was judged, so there is no result: {advice}", err=True)
        raise typer.Exit(1)
