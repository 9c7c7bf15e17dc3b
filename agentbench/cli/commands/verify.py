"""``agentbench verify``: compare our engines and schemes with recordings of the originals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from envs.base.terminal import say


def verify(
    name: Annotated[str, typer.Argument(help="an environment, or credit")],
    reference: Annotated[Path, typer.Option(help="folder of recorded walks or vectors")],
) -> None:
    """Compare with recordings of the original; exit code 1 on any mismatch. The last line is the summary."""
    from envs.base.errors import UserError, unknown
    from envs.registry import ENVIRONMENTS, load

    verifiers = {each.name: each.verifier for each in ENVIRONMENTS.values() if each.verifier}
    verifiers["credit"] = "credit.verification.verify:verify"
    if name not in verifiers:
        raise unknown("thing to verify", name, verifiers)
    if not reference.is_dir():
        raise UserError(f"no folder {reference}: give the folder of the recordings")
    mismatches, summary = load(verifiers[name])(reference, say)
    say(summary)
    if mismatches:
        raise typer.Exit(1)
