"""``agentbench graph``: the trajectory graph of one task's episodes, coloured by a scheme's advantages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from envs.base.terminal import say

if TYPE_CHECKING:
    import pandas as pd


def graph(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="folder of the run")],
    out: Annotated[Path, typer.Option(help="file to write; its ending decides: .svg, .png, .pdf or .graphml")],
    task: Annotated[str | None, typer.Option(help="id or name of the task, or the beginning of one")] = None,
    scheme: Annotated[str, typer.Option(help="scheme whose advantages colour the edges")] = "salt",
    edges: Annotated[
        int | None, typer.Option(min=0, help="draw only so many edges, those with the most credit")
    ] = None,
    columns: Annotated[
        Path | None, typer.Option(help="file with task_id, trial, step and columns that the scheme reads (value, …)")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="--columns may replace columns that the run has")] = False,
) -> None:
    """Merge the episodes of a task to one graph of situations and actions, and draw or export it.

    Any other --name value is an option of the scheme (--gamma 0.9).
    """
    from agentbench.analysis.advantages import compute, options_of, read_run, scheme_names
    from agentbench.cli.commands.options import extra_options
    from agentbench.runs.run import open_run
    from credit.tools.graph import strongest, trajectory_graph, write_graphml
    from envs.base.errors import UserError

    if out.suffix not in (".svg", ".png", ".pdf", ".graphml") or not out.parent.is_dir():
        raise UserError(f"cannot write {out}: the name ends in .svg, .png, .pdf or .graphml, and its folder must exist")
    names = scheme_names(scheme)
    if len(names) > 1:
        raise UserError(f"one scheme colours the edges, got {len(names)}: name one")
    options = extra_options(context, options_of(names), ["agentbench schemes NAME"])
    done = compute(read_run(run, columns, replace=replace), names, options, skip=False)
    episodes = open_run(run).episodes
    task_id, name = _task(episodes[episodes["task_id"].isin(done.table["group"])], task)
    found = trajectory_graph(done.steps, done.values[names[0]], group=task_id)
    shown = found if edges is None else strongest(found, edges)
    if out.suffix == ".graphml":
        write_graphml(shown, out)
    else:
        from credit.tools.picture import draw_graph

        played = episodes[episodes["task_id"] == task_id]
        draw_graph(shown, out, title=f"{name}: {len(played)} episodes, {played['won'].sum()} won; {names[0]}")
    part = "" if shown is found else f" ({len(shown)} and {shown.number_of_edges()} of them shown)"
    say(f"{len(found)} situations, {found.number_of_edges()} transitions{part}: {out}")


def _task(episodes: pd.DataFrame, wanted: str | None) -> tuple[str, str]:
    """Find a task by its id, its name, or the beginning of either; return id and name."""
    from envs.base.errors import UserError, unknown

    tasks = episodes.drop_duplicates("task_id")
    if wanted is None:
        if len(tasks) > 1:
            listed = ", ".join(tasks["task_id"].head(5)) + (", …" if len(tasks) > 5 else "")
            raise UserError(f"the run has {len(tasks)} tasks: choose one with --task ({listed})")
        return str(tasks["task_id"].iloc[0]), str(tasks["task_name"].iloc[0])
    for test in (str.__eq__, str.startswith):
        match = tasks[[test(i, wanted) or test(n, wanted) for i, n in tasks[["task_id", "task_name"]].to_numpy()]]
        if len(match) > 1:
            raise UserError(f"{len(match)} tasks begin with {wanted!r}: write more of the id or the name")
        if len(match):
            return str(match["task_id"].iloc[0]), str(match["task_name"].iloc[0])
    raise unknown("task of this run", wanted, tasks["task_id"].tolist())
