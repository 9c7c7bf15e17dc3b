"""``agentbench serve``: an environment as an OpenEnv server, for other people's trainers and harnesses."""

from __future__ import annotations

from typing import Annotated

import typer

from envs.base.terminal import say


def serve(
    context: typer.Context,
    env: Annotated[str, typer.Option(help="environment; 'agentbench envs' lists them")] = "alfworld",
    split: Annotated[
        list[str] | None, typer.Option(help="set of tasks, repeatable; the first is the default of a reset")
    ] = None,
    host: Annotated[str, typer.Option(help="address to listen at; any but this machine's own is open to others")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="port; 0: one that is free")] = 8000,
    max_sessions: Annotated[
        int, typer.Option(min=1, max=4096, help="most sessions at the same time, each in a process of its own")
    ] = 64,
    inline: Annotated[bool, typer.Option(help="play in this process: less work, but no supervision")] = False,
    step_timeout: Annotated[float, typer.Option(min=0.1, help="seconds a step of the environment may take")] = 60.0,
    idle_timeout: Annotated[
        float, typer.Option(min=1.0, help="seconds after which a session that is asked nothing is closed")
    ] = 600.0,
) -> None:
    """Serve an environment by the protocol of OpenEnv until Ctrl-C.

    Any other --name value is an option of the environment (--max-steps 30). It needs the extra 'openenv'.
    """
    from agentbench.cli.commands.options import extra_options
    from envs.registry import option_names

    options = extra_options(context, option_names(env))
    from agentbench.integrations.openenv.server.app import Served
    from agentbench.integrations.openenv.server.app import serve as run

    served = Served(
        env,
        split or (),
        options,
        max_sessions=max_sessions,
        inline=inline,
        step_timeout=step_timeout,
        idle_timeout=idle_timeout,
    )
    run(served, host, port, say)
