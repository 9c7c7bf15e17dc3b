"""``agentbench check``: does an environment, a policy or a scheme keep its contract?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from agentbench.cli.commands.options import EXTRA, command
from envs.base.terminal import say

if TYPE_CHECKING:
    from agentbench.check import Outcome

app = typer.Typer(
    help="Check that an environment, a policy or a scheme keeps its contract: ours, or a plug-in.",
    no_args_is_help=True,
)


@app.command(context_settings=EXTRA)
@command
def env(context: typer.Context, name: Annotated[str, typer.Argument(help="environment to check")]) -> None:
    """Check an environment; any --name value is an option of it (--split generated:0:6)."""
    from agentbench.check import check_environment
    from agentbench.cli.commands.options import extra_options
    from envs.registry import option_names, read_options

    options = read_options(name, extra_options(context, option_names(name), [f"agentbench envs {name}"]))
    _tell(f"environment {name}", check_environment(name, **options))


@app.command()
@command
def scheme(name: Annotated[str, typer.Argument(help="credit scheme to check")]) -> None:
    """Check a credit scheme: what must hold for every one, and what it claims of itself."""
    from agentbench.check import check_scheme

    _tell(f"scheme {name}", check_scheme(name))


@app.command(context_settings=EXTRA)
@command
def policy(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="policy to check")],
    env: Annotated[str, typer.Option(help="environment that gives the prompts")] = "alfworld",
) -> None:
    """Check a policy on prompts of an environment; any other --name value is an option of the environment."""
    from agentbench.check import check_policy
    from agentbench.cli.commands.options import extra_options
    from envs.registry import option_names, read_options

    options = read_options(env, extra_options(context, option_names(env), [f"agentbench envs {env}"]))
    _tell(f"policy {name} on {env}", check_policy(name, env, **options))


def _tell(what: str, outcomes: Iterable[Outcome]) -> None:
    """Print a line for each check and each failure; end with exit code 1 if there is one."""
    failed = 0
    for outcome in outcomes:
        failed += bool(outcome.failures)
        if not outcome.failures:
            say(f"ok    {outcome.name}")
        for failure in outcome.failures:
            say(f"FAIL  {outcome.name}: {failure.encode('utf-8', 'backslashreplace').decode()}")
    say(f"{what}: " + (f"{failed} checks failed" if failed else "keeps its contract"))
    if failed:
        raise typer.Exit(1)
