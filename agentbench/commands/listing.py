"""``agentbench envs`` and ``agentbench policies``: what there is, a line each."""

from __future__ import annotations

import typer


def envs() -> None:
    """List the environments."""
    from envs.registry import ENVIRONMENTS

    _print({name: f"{each.summary}  [{each.gymnasium_id}]" for name, each in ENVIRONMENTS.items()})


def policies() -> None:
    """List the policies."""
    from policies.registry import POLICIES

    _print({name: entry.summary for name, entry in POLICIES.items()})


def _print(lines: dict[str, str]) -> None:
    width = max(map(len, lines))
    for name, line in lines.items():
        typer.echo(f"{name:<{width}}  {line}")
