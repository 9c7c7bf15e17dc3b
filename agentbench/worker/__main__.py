"""The program behind workers: it imports an environment once, then forks a process for every worker.

Started as ``python -m agentbench.worker CONTROL PARENT ENTRY_POINT`` with one end of a socket pair. It is a
program of its own and no fork of its parent, so that it is small and alone in its process, and no ``__main__`` guard is
needed in the user's script. Where what was imported has started threads, which a fork would cut off, or where the
system does not fork safely, each worker is a program too: ``python -m agentbench.worker - PARENT CHANNEL PAGE``.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from agentbench.worker.frames import SHARE, Channel, Page
from agentbench.worker.host import Answer, Host, begins, ignore_signals

# The descriptors, and the numbers of processes, are those of one machine: native sizes.
ORDER = struct.Struct("=cq")
"""A message to the program: what to do, and with which process; ``b"f"`` has three descriptors with it."""

CODE = struct.Struct("=q")
"""Its answer to ``b"w"``: the exit code of a process as subprocess has it, or :data:`RUNNING`."""

RUNNING = 1 << 32
WAIT_SECONDS = 5.0
_LOOK_SECONDS = 0.5


def serve(channel: Channel, page: Page) -> None:
    """Answer requests until the other end is closed: a list of them a frame, and a list of answers.

    Answers are sent when all are there, and in between when they have waited for :data:`SHARE`.
    """
    host = Host(page.write)
    channel.send(os.getpid())
    while True:
        try:
            for requests in channel.take():
                _answer_all(channel, host, requests)
        except (EOFError, OSError):
            return


def _answer_all(channel: Channel, host: Host, requests: list[tuple[int, str, Any]]) -> None:
    answers: list[Answer] = []
    sent = time.monotonic()
    for slot, command, arguments in sorted(requests, key=begins):
        if command == "close":
            host.close(slot)
            continue
        if answers and time.monotonic() - sent > SHARE:
            channel.send(answers)
            answers, sent = [], time.monotonic()
        answers.append(packed(host.answer(slot, command, arguments)))
    if answers:
        channel.send(answers)


def packed(answer: Answer) -> Answer:
    """Return an answer whose value is bytes, so that one that no other process can be given spoils no other."""
    slot, fault, value, seconds = answer
    try:
        return slot, fault, pickle.dumps(value, pickle.HIGHEST_PROTOCOL), seconds
    except Exception as error:
        from envs.base.safe_text import redacted

        return slot, redacted(f"{type(error).__name__}: {error}"), b"", seconds


def _die_with(parent: int, until: threading.Event) -> None:
    """End this process, even in the middle of a step, soon after its parent is gone."""
    while not until.wait(_LOOK_SECONDS):
        if os.getppid() != parent:
            os._exit(1)


def work(channel: int, page: int, parent: int) -> None:
    """Be a worker, on the descriptors that it was given, for as long as they are wanted."""
    threading.Thread(target=_die_with, args=(parent, threading.Event()), daemon=True).start()
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:  # else all forks would draw the same, as numpy alone does not see to it
        numpy_random.seed()
    serve(Channel(socket.socket(fileno=channel)), Page(page))


def can_fork() -> bool:
    """Return whether this process may be forked: on Linux, and while it has no thread but this one."""
    if sys.platform != "linux":
        return False
    for _ in range(3):
        if len(list(Path("/proc/self/task").iterdir())) == 1:
            return True
        time.sleep(0.005)  # one that has just ended
    return False


def tend(control: socket.socket) -> tuple[int, int] | None:
    """Start and await workers as asked until the other end is closed.

    Returns:
        in a forked process, the descriptors of the worker that it is to be; None at the end.
    """
    forks, programs = can_fork(), []
    gc.freeze()  # what is shared with the forks stays shared
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, ORDER.size, 3)
        if len(message) < ORDER.size:
            return None
        order, process = ORDER.unpack(message)
        if order == b"w":
            control.sendall(CODE.pack(_exit_code(process)))
            continue
        channel, page, errors = descriptors
        if not forks:
            programs.append(_start(channel, page, errors))
        elif os.fork() == 0:
            control.close()
            os.dup2(errors, 2)
            os.close(errors)
            return channel, page
        for each in descriptors:
            os.close(each)


def _start(channel: int, page: int, errors: int) -> subprocess.Popen[bytes]:
    """Start a program of its own; keep what is returned: the process is awaited by its number."""
    return subprocess.Popen(
        [sys.executable, "-m", "agentbench.worker", "-", str(os.getpid()), str(channel), str(page)],
        pass_fds=[channel, page],
        stderr=errors,
    )


def _exit_code(process: int) -> int:
    """Wait for a process, but not for long."""
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        try:
            found, status = os.waitpid(process, os.WNOHANG)
        except ChildProcessError:
            return RUNNING
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    return RUNNING


def main() -> None:
    """Run the program: see the module."""
    control, parent = sys.argv[1], int(sys.argv[2])
    ignore_signals()
    if control == "-":
        work(int(sys.argv[3]), int(sys.argv[4]), parent)
        return
    prepared = threading.Event()
    watch = threading.Thread(target=_die_with, args=(parent, prepared), daemon=True)
    watch.start()
    with contextlib.suppress(Exception):  # whoever makes the environment tells why it cannot be made
        from envs.registry import load

        load(sys.argv[3])
    prepared.set()
    watch.join()
    end = socket.socket(fileno=int(control))
    nursery = os.getpid()
    with contextlib.suppress(OSError):
        end.sendall(b"r")
        wanted = tend(end)
        if wanted is not None:
            work(*wanted, nursery)


if __name__ == "__main__":
    main()
