"""``agentbench install``: fetch a benchmark's data, or take a local copy."""

from __future__ import annotations

from typing import Annotated

import typer

from envs.base.terminal import say


def install(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="environment whose data to install")],
    source: Annotated[
        str | None, typer.Option("--from", help="archive or folder to take it from, instead of a download")
    ] = None,
) -> None:
    """Install the official data of an environment under $AGENTBENCH_HOME, with digests checked."""
    from agentbench.cli.commands.options import extra_options
    from envs.base.errors import UserError
    from envs.base.options import declared, resolve
    from envs.registry import find, load

    environment = find(name)
    if environment.installer is None:
        raise UserError(f"environment {name!r} needs no data")
    installer = load(environment.installer)
    known = declared(installer, 2)
    installer(source, say, **resolve(f"installing {name!r}", known, extra_options(context, known)))
