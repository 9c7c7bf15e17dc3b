"""``agentbench credit``: the advantages of a run's steps under chosen schemes, to a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from envs.base.terminal import say


def credit(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="folder of the run")],
    scheme: Annotated[str, typer.Option(help="schemes, with commas between: salt,gigpo,hgpo,mapo")],
    out: Annotated[Path | None, typer.Option(help="write a Parquet or CSV file: task_id, trial, step, schemes")] = None,
    columns: Annotated[
        Path | None, typer.Option(help="file with task_id, trial, step and columns that schemes read (value, …)")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="--columns may replace columns that the run has")] = False,
    invalid_action_penalty: Annotated[
        float, typer.Option(min=0.0, help="taken off the reward of an invalid action, as in training")
    ] = 0.0,
) -> None:
    """Compute advantages for every judged step of a run, and count the health of each scheme.

    Any other --name value is an option of the schemes that know it (--gamma 0.9, --compat verl-agent).
    """
    from agentbench.analysis.advantages import compute, options_of, read_run, scheme_names
    from agentbench.analysis.sheets import health_sheet, no_credit_note
    from agentbench.cli.commands.options import extra_options
    from agentbench.runs.notes import print_state
    from agentbench.runs.run import open_run
    from envs.base.errors import UserError

    if out is not None and out.suffix not in (".parquet", ".csv"):
        raise UserError(f"cannot write {out}: its name must end in .parquet or .csv")
    if out is not None and not out.parent.is_dir():
        raise UserError(f"cannot write {out}: there is no folder {out.parent}")
    names = scheme_names(scheme)
    options = extra_options(context, options_of(names), ["agentbench schemes NAME"])
    steps = read_run(run, columns, replace=replace, texts=False, penalty=invalid_action_penalty)
    done = compute(steps, names, options, skip=scheme.strip() == "all")
    for name, reason in done.skipped.items():
        say(f"skipped {name}: {reason}", err=True)
    episodes = done.table["episode"].nunique()
    say(f"{episodes} episodes, {len(done.table)} steps, {done.table['group'].nunique()} groups (tasks)\n")
    say(health_sheet(done).text())
    if note := no_credit_note(done):
        say(f"\n{note}")
    print_state([(str(run), open_run(run))])
    if out is not None:
        tree = [name for name in ("node", "own") if name in done.table]
        table = done.table[["group", "trial", "step", *tree]].rename(columns={"group": "task_id"}).assign(**done.values)
        if out.suffix == ".csv":
            table.to_csv(out, index=False)
        else:
            table.to_parquet(out, index=False)
        say(f"\nwritten: {out}")
