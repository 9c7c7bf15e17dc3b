"""Where the worker processes of this machine come from: one program that has imported the environment, and forks."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
from typing import IO, Any

from agentbench.worker.__main__ import CODE, ORDER, RUNNING, WAIT_SECONDS


class Nursery:
    """The program that workers are forked from; they end with it. Safe to use from several threads.

    Args:
        entry_point: of the environment: imported there, once.
    """

    def __init__(self, entry_point: str) -> None:
        self._control, theirs = socket.socketpair()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the program)
        self._lock = threading.Lock()
        self._is_ready = False
        self._ended = ""
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "agentbench.worker", str(theirs.fileno()), str(os.getpid()), entry_point],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
            )

    @property
    def is_alive(self) -> bool:
        """Whether more workers can come from here."""
        return self._process.poll() is None

    @property
    def is_ready(self) -> bool:
        """Whether it has imported the environment."""
        with self._lock, contextlib.suppress(OSError):  # nothing there yet, or gone
            if not self._is_ready:
                self._is_ready = self._control.recv(1, socket.MSG_DONTWAIT) == b"r"
        return self._is_ready

    def start(self, channel: socket.socket, page: IO[bytes], errors: IO[bytes]) -> None:
        """Ask for a worker that has these descriptors; does not wait for it.

        Where the program is gone, nobody will hold the other end of the channel.
        """
        with self._lock, contextlib.suppress(OSError):
            socket.send_fds(self._control, [ORDER.pack(b"f", 0)], [channel.fileno(), page.fileno(), errors.fileno()])

    def wait(self, process: int) -> int | None:
        """Return the exit code of a worker that has ended, waiting some seconds; None: it is not known."""
        if not self.is_ready:
            return None
        with self._lock, contextlib.suppress(OSError):
            self._control.settimeout(WAIT_SECONDS + 1)
            self._control.sendall(ORDER.pack(b"w", process))
            answer = self._control.recv(CODE.size)
            if len(answer) == CODE.size:
                code = int(CODE.unpack(answer)[0])
                return None if code == RUNNING else code
        return None

    def cause(self) -> str:
        """Say how the program itself ended, if it has: exit code and last line."""
        if self._ended:
            return self._ended
        if self.is_ready and self.is_alive:
            return "before it began"
        with contextlib.suppress(subprocess.TimeoutExpired):
            return told(self._process.wait(timeout=WAIT_SECONDS), self._errors)
        return "still running"

    def close(self) -> None:
        """End the program, and with it every worker that is left."""
        self._process.kill()
        code = self._process.wait()
        if not self._errors.closed:  # others of its workers may still ask why
            self._ended = told(code, self._errors)
        self._control.close()
        self._errors.close()


def told(code: int | None, errors: Any) -> str:
    """Write an exit code, and the last line that a process wrote to its errors."""
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines()
    return ("gone" if code is None else f"exit code {code}") + (f": {lines[-1]}" if lines else "")
