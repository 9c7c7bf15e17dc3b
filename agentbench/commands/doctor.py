"""``agentbench doctor``: what is installed, what is missing, what to type."""

from __future__ import annotations

import typer


def doctor() -> None:
    """Examine the installation; exit code 1 if something needed is missing."""
    from rich.console import Console
    from rich.table import Table

    from agentbench.doctor import examine

    marks = {"ok": "[green]ok[/]", "missing": "[red]missing[/]", "optional": "[yellow]optional[/]"}
    table = Table("", "what", "found", "to mend it, type", box=None, pad_edge=False)
    findings = examine()
    for finding in findings:
        what, detail, remedy = (text.replace("[", r"\[") for text in (finding.what, finding.detail, finding.remedy))
        table.add_row(marks[finding.state], what, detail, remedy)
    Console().print(table)
    if any(finding.state == "missing" for finding in findings):
        raise typer.Exit(1)
