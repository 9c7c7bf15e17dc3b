"""The application, made by OpenEnv's own ``create_app``, and the server that ``agentbench serve`` runs.

``uvicorn agentbench.integrations.openenv.server.app:app`` makes it from the variables ``AGENTBENCH_ENV`` (default:
``alfworld``), ``AGENTBENCH_SPLIT`` (with commas between several) and ``AGENTBENCH_MAX_SESSIONS``.
"""

from __future__ import annotations

import functools
import ipaddress
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from openenv.core.env_server.http_server import create_app
from openenv.core.env_server.types import ConcurrencyConfig

from agentbench.integrations.openenv.environment import InlineSession, Session
from agentbench.integrations.openenv.frames import FrameGuard
from agentbench.integrations.openenv.models import TextAction, TextObservation, TextState
from agentbench.integrations.workers import Split
from agentbench.rollout.contract import WorkerFailure
from envs.base.errors import UserError

LARGEST_FRAME = 1_000_000
"""Bytes of a frame; a longer one ends its connection."""


class Served:
    """The application and what it holds; close it to end the workers.

    Args:
        env: short name of the environment.
        splits: names of the sets of tasks; none: the environment's own.
        options: of the environment.
        max_sessions: most sessions at the same time.
        inline: play in this process, without supervision.
        step_timeout: seconds that a step of the environment may take.
        idle_timeout: seconds after which a session that nobody asks anything is closed.

    Raises:
        UserError: an unknown environment, split or option, or data that is not installed.
    """

    def __init__(
        self,
        env: str,
        splits: Sequence[str] = (),
        options: Mapping[str, Any] | None = None,
        *,
        max_sessions: int = 64,
        inline: bool = False,
        step_timeout: float = 60.0,
        idle_timeout: float = 600.0,
    ) -> None:
        chosen = [{**(options or {}), "split": name} for name in splits] or [dict(options or {})]
        made = [Split(env, each, limit=max_sessions, inline=inline, step_timeout=step_timeout) for each in chosen]
        self.splits = {split.name: split for split in made}
        self.app: FastAPI = create_app(
            functools.partial(InlineSession if inline else Session, env, self.splits),
            TextAction,
            TextObservation,
            env_name=env,
            concurrency_config=ConcurrencyConfig(max_concurrent_envs=max_sessions, session_timeout=idle_timeout),
            state_cls=TextState,
        )
        for kind, status in ((UserError, 400), (WorkerFailure, 500)):
            self.app.add_exception_handler(kind, functools.partial(_told, status))

    def close(self) -> None:
        """End the workers."""
        for split in self.splits.values():
            split.close()


async def _told(status: int, _: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, status_code=status)


def serve(served: Served, host: str, port: int, say: Callable[[str], None] = print) -> None:
    """Serve until a signal ends it.

    Args:
        served: what to serve; it is closed at the end.
        host: address to listen at.
        port: port; 0: one that is free.
        say: takes the lines for people.

    Raises:
        UserError: the address or the port cannot be had.
    """
    with closing(served), _listening(host, port) as bound:
        where, at = bound.getsockname()[:2]
        tasks = ", ".join(f"{name} ({len(split.tasks)} tasks)" for name, split in served.splits.items())
        say(f"serving {tasks} at http://{where if ':' not in where else f'[{where}]'}:{at}; Ctrl-C ends it")
        if not ipaddress.ip_address(where).is_loopback:
            say("warning: there is no password: whoever reaches this address can play and use this machine's time")
        with suppress(KeyboardInterrupt):  # uvicorn ends its connections well, then lets the signal on
            server_of(served).run(sockets=[bound])


def server_of(served: Served) -> uvicorn.Server:
    """Make the server, not yet running."""
    return uvicorn.Server(
        uvicorn.Config(
            FrameGuard(served.app), log_level="warning", ws_max_size=LARGEST_FRAME, ws_per_message_deflate=False
        )
    )


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(128)  # whoever reads the address may connect at once
    except (OSError, OverflowError) as error:
        raise UserError(f"cannot listen at {host}, port {port}: {error}") from error
    return found


def of_environment_variables() -> Served:
    """Make what is served as the variables say."""
    splits = [name for name in os.environ.get("AGENTBENCH_SPLIT", "").split(",") if name]
    sessions = int(os.environ.get("AGENTBENCH_MAX_SESSIONS", "64"))
    return Served(os.environ.get("AGENTBENCH_ENV", "alfworld"), splits, max_sessions=sessions)


def __getattr__(name: str) -> Any:
    if name == "app":  # made when a server asks for it, and not when this module is imported
        return FrameGuard(of_environment_variables().app)
    raise AttributeError(name)


def main() -> None:
    """Serve on this machine's port 8000 what the variables say."""
    serve(of_environment_variables(), "127.0.0.1", 8000)


if __name__ == "__main__":
    main()
