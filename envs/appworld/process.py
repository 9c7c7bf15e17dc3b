"""The player and the judge as seen from here: processes that are started, asked, ended and replaced."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from envs.appworld.layout import COMMAND, Layout
from envs.appworld.remote.sandbox import Plan
from envs.base.errors import UserError

MEGABYTE = 1024 * 1024
START_SECONDS = 240.0  # a few on an idle machine
STOP_SECONDS = 10.0
LONGEST_REPLY = 64 * MEGABYTE
_REMOTE = Path(__file__).with_name("remote")
_INSIDE = "/world"
_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache")


class Died(Exception):  # noqa: N818  (a state of affairs, answered by the environment)
    """The child ended, answered nonsense or did not answer in time.

    Attributes:
        timed_out: it did not answer in time.
        told: it lived, and told itself what went wrong.
    """

    def __init__(self, text: str, *, timed_out: bool = False, told: bool = False) -> None:
        super().__init__(text)
        self.timed_out, self.told = timed_out, told


@dataclass(frozen=True, slots=True)
class Limits:
    """What model-written code may use.

    Attributes:
        memory_mb: address space of a process.
        file_mb: size of one file; of all files together four times as much.
        processes: processes and threads at once.
        cpu_seconds: CPU time of one process.
    """

    memory_mb: int = 3072
    file_mb: int = 16
    processes: int = 64
    cpu_seconds: int = 600


class Server:
    """A process that has AppWorld loaded, and one child of it at a time.

    Args:
        place: the installation.
        role: ``player`` (sees no ground truth) or ``judge`` (runs no model-written code).
        collection: ``mini`` or ``official``.
        limits: of each process inside.
        isolate: run it in a sandbox; without, only the limits hold.

    Raises:
        UserError: it cannot be started, for instance because the system allows no sandbox.
    """

    def __init__(
        self, place: Layout, role: Literal["player", "judge"], collection: str, limits: Limits, *, isolate: bool
    ) -> None:
        self._place, self._role, self._collection = place, role, collection
        self._limits, self._isolate = limits, isolate
        self._channel: socket.socket | None = None
        self._unread = b""
        self._work: tempfile.TemporaryDirectory[str] | None = None
        self._start()

    @property
    def has_child(self) -> bool:
        """Whether there is a child to ask."""
        return self._channel is not None

    # -- children --------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start a fresh child, ending the one before."""
        self.end()
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._control, [b"S"], [theirs.fileno()])
            except OSError:  # something ended the server meanwhile
                self._restart()
                socket.send_fds(self._control, [b"S"], [theirs.fileno()])
        self._channel, self._unread = ours, b""

    def ask(self, timeout: float, **request: Any) -> dict[str, Any]:
        """Send a request to the child and return its answer.

        Raises:
            Died: no good answer within ``timeout`` seconds; the child was ended.
        """
        assert self._channel is not None
        deadline = time.monotonic() + timeout
        try:
            self._channel.settimeout(timeout)
            self._channel.sendall(json.dumps(request).encode() + b"\n")
            reply = json.loads(self._line(deadline))
        except TimeoutError:
            self.end()
            raise Died(f"no answer within {timeout:g} s", timed_out=True) from None
        except (OSError, ValueError, EOFError, RecursionError) as error:
            self.end()
            raise Died(str(error) or "the process ended") from None
        if not isinstance(reply, dict) or "error" in reply:
            self.end()
            if isinstance(reply, dict):
                raise Died(str(reply["error"]), told=True)
            raise Died("an answer that is none")
        return reply

    def refuse(self) -> Died:
        """End a child whose answer has not the shape that it must have; return what is to be raised."""
        self.end()
        return Died("an answer that is none")

    def end(self) -> None:
        """End the child and all that it started."""
        if self._channel is None:
            return
        self._channel.close()
        self._channel = None
        try:
            self._control.settimeout(STOP_SECONDS)
            self._control.sendall(b"K")
            if self._control.recv(1) != b"K":
                raise EOFError
        except (OSError, EOFError):
            self._restart()

    def close(self) -> None:
        """End everything."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        self._control.close()
        self._process.kill()
        self._process.wait()
        self._stderr.close()
        if self._work is not None:
            self._work.cleanup()
            self._work = None

    def _line(self, deadline: float) -> bytes:
        assert self._channel is not None
        parts = [self._unread]
        size = len(self._unread)
        while b"\n" not in parts[-1]:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._channel.settimeout(left)
            part = self._channel.recv(MEGABYTE)
            size += len(part)
            if not part or size > LONGEST_REPLY:
                raise EOFError("the process ended" if not part else "an answer without end")
            parts.append(part)
        line, _, self._unread = b"".join(parts).partition(b"\n")
        return line

    # -- the process -----------------------------------------------------------------------------------

    def _restart(self) -> None:
        self.close()
        self._start()

    def _start(self) -> None:
        self._control, theirs = socket.socketpair()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the process)
        with theirs:
            plan = self._plan(theirs.fileno())
            launcher = [str(self._place.python), "-I", "-S", str(_REMOTE / "sandbox.py"), json.dumps(asdict(plan))]
            self._process = subprocess.Popen(
                launcher,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                env={},
            )
        try:
            self._control.settimeout(START_SECONDS)
            ready = self._control.recv(1) == b"R"
        except OSError:
            ready = False
        if not ready:
            reason = self._reason()
            self.close()
            raise UserError(reason)

    def _reason(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=2)
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines() or ["no message"]
        if self._process.returncode == 70 and lines[-1].startswith("sandbox:"):
            return (
                f"this system does not let AppWorld's {self._role} be isolated ({lines[-1]}). Allow user namespaces "
                "(sysctl kernel.unprivileged_userns_clone=1, or a container with CAP_SYS_ADMIN), or accept that "
                "model-written code runs with your rights: unsafe=True (--unsafe true)"
            )
        return f"AppWorld's {self._role} did not start: {lines[-1]}. Type `{COMMAND}` to fix the installation"

    def _plan(self, descriptor: int) -> Plan:
        root = self._place.shown(self._collection) if self._role == "player" else self._place.whole(self._collection)
        work = _INSIDE if self._isolate else self._private_folder(root)
        environment = {
            "APPWORLD_ROOT": work,
            "APPWORLD_CACHE": f"{work}/tmp",
            "HOME": f"{work}/home",
            "TMPDIR": f"{work}/tmp",
            "IPYTHONDIR": f"{work}/home",
            "PATH": "/usr/bin:/bin",
            "USER": "player",
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
        }
        limits = self._limits
        return Plan(
            command=[str(self._place.python), str(_REMOTE / "server.py"), self._role, str(descriptor)],
            environment=environment,
            isolate=self._isolate,
            mount_point=str(self._place.mount_point),
            bind=[(str(root / "data"), f"{_INSIDE}/data"), *visible(self._place)],
            work=work,
            work_megabytes=4 * limits.file_mb,
            memory=limits.memory_mb * MEGABYTE,
            file_size=limits.file_mb * MEGABYTE,
            processes=limits.processes,
            cpu_seconds=limits.cpu_seconds,
            inherit=[descriptor],
        )

    def _private_folder(self, root: Path) -> str:
        self._work = tempfile.TemporaryDirectory(prefix="agentbench-appworld-")
        Path(self._work.name, "data").symlink_to(root / "data")
        return self._work.name


def visible(place: Layout) -> Sequence[tuple[str, str]]:
    """Return what a sandbox shows besides data: the system's libraries, the interpreter and the package, the server."""
    wanted = [*_SYSTEM, str(place.venv.resolve()), str(place.venv), base_prefix(place)]
    wanted.append(str(_REMOTE / "server.py"))  # and not its neighbours, which make the tasks of the split mini
    existing = dict.fromkeys(path for path in wanted if os.path.exists(path))  # noqa: PTH110  (plain strings)
    outer = [path for path in existing if not any(path.startswith(other + "/") for other in existing)]
    return [(path, path) for path in outer]


def base_prefix(place: Layout) -> str:
    """Return the folder of the interpreter that the virtual environment was made from."""
    for line in (place.venv / "pyvenv.cfg").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "home":
            return str(Path(value.strip()).resolve().parent)
    return sysconfig.get_config_var("prefix") or sys.base_prefix
