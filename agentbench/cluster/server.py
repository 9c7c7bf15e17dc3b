"""vLLM's server on a machine of a Ray cluster: an actor starts it beside itself, and it ends with the actor.

Its requests do not go through Ray: it listens on the address of its machine. The weights go through files, so the run's
folder must be on a file system that its machine sees too.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from agentbench.cluster.gpus import WIDTHS, check_places, free_gpus, gpus_of, placed
from agentbench.cluster.machines import beginning_of, is_of_machine
from agentbench.rollout.contract import LOSSES
from envs.base.errors import UserError
from envs.base.safe_text import redacted
from policies.vllm.process import ServerProcess
from policies.vllm.server import VllmServerOptions, find_python

CLOSE_SECONDS = 60.0

ANSWER_SECONDS = 60.0
"""Time that the actor has to say whether its server is there; one that says nothing counts as gone."""


class ServerHost:
    """The actor that a server belongs to."""

    def start(
        self, path: Sequence[str], python: str | None, folder: str, name: str, arguments: Sequence[str], threads: int,
        log: str,
    ) -> tuple[str, str]:  # fmt: skip
        """Start the server: ``ok`` and its address, or ``failed`` and what the user can fix."""
        import ray

        sys.path += [each for each in path if each not in sys.path]
        here = f"on machine {platform.node()} of the cluster"
        if not Path(folder).is_dir():
            return "failed", f"{here} there is no {folder}: choose an --out that all machines see under the same name"
        address = ray.util.get_node_ip_address()
        try:
            program = find_python(python)
        except UserError as error:
            return "failed", redacted(f"{here}: {error}")
        self._server = ServerProcess(program, Path(folder), name, arguments, threads, Path(log), address)
        return "ok", self._server.url

    def has_ended(self) -> bool:
        """Return whether the server is gone."""
        return self._server.has_ended

    def close(self) -> None:
        """End the server."""
        self._server.close()


class RayServer(ServerProcess):
    """A server somewhere on the cluster that this process has joined, as if it were a process of this machine.

    Args:
        options: name the interpreter, and the GPUs by vLLM's own arguments.
        folder, name, arguments, threads, log: see :class:`policies.vllm.process.ServerProcess`.

    Raises:
        UserError: there are not so many GPUs, or what its machine says.
    """

    def __init__(
        self, options: VllmServerOptions, folder: Path, name: str, arguments: Sequence[str], threads: int, log: Path
    ) -> None:
        import ray

        self.log = log
        python = None if options.python is None else str(Path(options.python).absolute())
        request = (sys.path, python, str(folder.resolve()), name, list(arguments), threads, str(log.resolve()))
        gpus = gpus_of(_widths(arguments))
        for attempt in range(LOSSES):
            try:
                status, found = self._start(gpus, request, options.start_timeout)
                break
            except ray.exceptions.RayError as error:
                # A machine that had died, which the cluster only notices now, is no reason to give up.
                if attempt + 1 == LOSSES or not is_of_machine(error):
                    raise UserError(
                        f"vLLM's server was not started: the Ray actor died ({beginning_of(error)})"
                    ) from error
                with suppress(ray.exceptions.RayError):
                    ray.kill(self._actor)
        if status != "ok":
            raise UserError(found)
        self.url = found

    def _start(self, gpus: int, request: tuple[Any, ...], seconds: float) -> tuple[str, str]:
        """Start an actor and the server."""
        import ray

        check_places(gpus, 1, "vLLM's server")
        self._actor = placed(ServerHost, gpus)
        try:
            started: tuple[str, str] = ray.get(self._actor.start.remote(*request), timeout=seconds)
        except ray.exceptions.GetTimeoutError:
            raise UserError(
                f"vLLM's server found no place within {seconds:g} s: it needs {gpus} GPUs on one machine, and "
                f"{free_gpus()}"
            ) from None
        return started

    @property
    def has_ended(self) -> bool:
        """Whether it is gone, alone or with its machine, or its actor hangs."""
        import ray

        try:
            return bool(ray.get(self._actor.has_ended.remote(), timeout=ANSWER_SECONDS))
        except ray.exceptions.RayError:
            return True

    def close(self) -> None:
        """End it and its actor."""
        import ray

        with suppress(ray.exceptions.RayError):
            ray.get(self._actor.close.remote(), timeout=CLOSE_SECONDS)
        with suppress(ray.exceptions.RayError):
            ray.kill(self._actor)


def _widths(arguments: Sequence[str]) -> dict[str, int | None]:
    """Return how wide the server's own arguments make it."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name, short in zip(WIDTHS, ("-tp", "-pp", "-dp"), strict=True):
        parser.add_argument("--" + name.replace("_", "-"), short, type=int)
    try:
        return vars(parser.parse_known_args(list(arguments))[0])
    except argparse.ArgumentError as error:
        raise UserError(f"engine option arguments: {error}") from error
