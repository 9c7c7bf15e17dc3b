"""``agentbench compare-schemes``: how far credit schemes agree on the steps of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from envs.base.terminal import say


def compare_schemes(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="folder of the run")],
    schemes: Annotated[str, typer.Option(help="schemes, with commas between, or all")] = "all",
    steps: Annotated[int, typer.Option(min=0, help="how many of the steps on which they differ most to show")] = 5,
    out: Annotated[Path | None, typer.Option(help="also write it: .md the report, .csv every two schemes")] = None,
    columns: Annotated[
        Path | None, typer.Option(help="file with task_id, trial, step and columns that schemes read (value, …)")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="--columns may replace columns that the run has")] = False,
) -> None:
    """Compare credit schemes on the same steps: correlation, signs, zeros, and where they differ most.

    Any other --name value is an option of the schemes that know it (--gamma 0.9, --compat verl-agent).
    """
    from agentbench.analysis.advantages import compute, options_of, read_run, scheme_names
    from agentbench.analysis.sheets import agreement_sheets, difference_lines, health_sheet, no_credit_note
    from agentbench.cli.commands.options import extra_options
    from agentbench.runs.notes import print_state
    from agentbench.runs.run import open_run
    from credit.tools.agreement import agreement
    from envs.base.errors import UserError

    if out is not None and (out.suffix not in (".md", ".csv") or not out.parent.is_dir()):
        raise UserError(f"cannot write {out}: the name ends in .md or .csv, and its folder must exist")
    names = scheme_names(schemes)
    options = extra_options(context, options_of(names), ["agentbench schemes NAME"])
    done = compute(read_run(run, columns, replace=replace), names, options, skip=True)
    print_state([(str(run), open_run(run))])
    found = agreement(done.values)
    sheets = [health_sheet(done), *agreement_sheets(found)]
    head = (
        f"{len(done.values)} schemes on {done.table['episode'].nunique()} episodes, {len(done.table)} steps, "
        f"{done.table['group'].nunique()} groups (tasks)"
    )
    if note := no_credit_note(done):
        head += f"\n\n{note}"
    skipped = [f"skipped {name}: {reason}" for name, reason in done.skipped.items()]
    differences = difference_lines(done, steps)
    title = "where they differ most (advantages divided by the root of the scheme's mean square)"
    say("\n\n".join([head, *(sheet.text() for sheet in sheets)]))
    if differences:
        say("\n".join(["", title, *differences]))
    if skipped:
        say("\n".join(["", *skipped]))
    if out is not None and out.suffix == ".csv":
        found.pairs().to_csv(out, index=False)
    elif out is not None:
        parts = [head, *(sheet.markdown() for sheet in sheets)]
        if differences:
            parts.append("\n".join([f"**{title}**", "", "```", *differences, "```"]))
        if skipped:
            parts.append("\n".join(f"- {line}" for line in skipped))
        out.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    if out is not None:
        say(f"\nwritten: {out}")
