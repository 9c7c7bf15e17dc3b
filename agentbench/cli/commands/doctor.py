"""``agentbench doctor``: what is installed, what is missing, what to type."""

from __future__ import annotations

import typer

from envs.base.terminal import make_console, make_table, plain


def doctor() -> None:
    """Examine the installation; exit code 1 if something needed is missing."""
    from agentbench.cli.doctor import examine

    colours = {"ok": "green", "missing": "red", "optional": "yellow"}
    table = make_table(["", "what", "found", "to fix it, type"])
    findings = examine()
    for finding in findings:
        mark = plain(finding.state, colours[finding.state])
        table.add_row(mark, finding.what, finding.detail, finding.remedy)
    make_console().print(table)
    if any(finding.state == "missing" for finding in findings):
        raise typer.Exit(1)
