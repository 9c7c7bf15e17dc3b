"""The process that holds AppWorld: loads it once, then forks a fresh child for every episode or judgement.

Run by AppWorld's own interpreter as ``python server.py ROLE DESCRIPTOR``, normally inside :mod:`sandbox`. The
descriptor is the control socket: after loading the server sends ``R``; ``S`` with a socket attached starts a child
that answers on that socket (JSON, a line a message); ``K`` ends the child and all it started, and is answered with
``K`` once the writable folder is clean again. So nothing of an episode, not even a changed module, reaches the next
one. The player's children never see the ground truth; the judge's children never run the agent's code.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import gc
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

EXPERIMENT = "episode"
_PR_SET_DUMPABLE = 4
_WRITTEN_TABLE = re.compile(r'^(?:INSERT(?: OR \w+)? INTO|UPDATE(?: OR \w+)?|DELETE FROM)\s+"?(\w+)', re.IGNORECASE)
_RECORDED = ("INSERT", "UPDATE", "DELETE", "CREATE", "DROP")

Handler = Callable[[dict[str, Any]], dict[str, Any]]


class Player:
    """One world, played: ``start``, ``execute``, ``save``."""

    def __init__(self) -> None:
        self.world: Any = None
        self.limit = 0
        self.seen_calls = 0
        self.succeeded = False
        self.builtins = dict(vars(builtins))

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request."""
        return getattr(self, f"_{request['command']}")(request)  # type: ignore[no-any-return]

    def _start(self, request: dict[str, Any]) -> dict[str, Any]:
        from appworld.environment import AppWorld

        self.limit = request["output_limit"]
        self.world = AppWorld(
            task_id=request["task"],
            experiment_name=EXPERIMENT,
            load_ground_truth=False,
            timeout_seconds=request["seconds"],
            raise_on_unsafe_syntax=request["guard"],
            null_patch_unsafe_execution=request["guard"],
        )
        # Nobody reads the engine's logs, and writing them fails on what is harmless: half a character, a long output.
        self.world.save_logs = lambda: None
        run = self.world._shell_run_cell

        def run_and_note(code: str) -> Any:
            result = run(code)
            self.succeeded = bool(result is not None and result.success)
            return result

        self.world._shell_run_cell = run_and_note
        task = self.world.task
        names = ("first_name", "last_name", "email", "phone_number")
        return {
            "instruction": task.instruction,
            "supervisor": {name: task.supervisor[name] for name in names},
            "apps": dict(task.app_descriptions),
            "datetime": task.datetime.isoformat(),
            "digest": database_digest(),
        }

    def _execute(self, request: dict[str, Any]) -> dict[str, Any]:
        self.succeeded = False
        try:
            output = self.world.execute(request["code"])
        except BaseException as error:  # one that the engine lets through (KeyboardInterrupt), or that stopped it after
            self._restore()
            output = f"Execution failed. Traceback:\n{told(error)}"
            self.succeeded = False
            self._finish()
        self._restore()
        calls = self.world.requester.request_tracker.requests
        new, self.seen_calls = calls[self.seen_calls :], len(calls)
        return {
            "output": shorten(output.rstrip(), self.limit),
            "failed": not self.succeeded,
            "calls": [[call["method"], call["url"], sendable(call["data"])] for call in new],
            "completed": self._is_completed(new),
            "digest": database_digest(),
        }

    def _is_completed(self, new: list[Any]) -> bool:
        try:
            return bool(self.world.task_completed())
        except Exception:  # an answer such as nan, that the engine stores and cannot read again
            return any(str(call["url"]).endswith("/supervisor/message") for call in new)

    def _restore(self) -> None:
        """Take back what the code did to Python's own functions: the engine and this server use them too."""
        vars(builtins).update(self.builtins)

    def _finish(self) -> None:
        """Do what the engine does after code that it ran."""
        world = self.world
        if world.null_patch_unsafe_execution:
            with contextlib.suppress(Exception):
                world.safety_guard.disable()
        world.num_interactions += 1
        world._save_state(world.output_db_home_path_on_disk)
        world.requester.reset_request_count()

    def _save(self, request: dict[str, Any]) -> dict[str, Any]:
        folder = Path(self.world.output_db_home_path_on_disk)
        return {"files": {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.iterdir())}}


class Judge:
    """Evaluates saved databases against the ground truth."""

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer ``evaluate``: task and files to requirements passed and failed."""
        from appworld.evaluator import evaluate_task
        from sqlalchemy.exc import SQLAlchemyError

        task = request["task"]
        folder = Path(os.environ["APPWORLD_ROOT"], "experiments", "outputs", EXPERIMENT, "tasks", task, "dbs")
        folder.mkdir(parents=True)
        for name, text in request["files"].items():
            if not re.fullmatch(r"\w+\.jsonl?", name):
                return {"tampered": f"a file called {name!r}"}
            if name.endswith(".jsonl") and (odd := odd_statement(text)):
                return {"tampered": f"{name}: {odd}"}
            (folder / name).write_text(text, encoding="utf-8", errors="replace")
        try:
            result = evaluate_task(task, experiment_name=EXPERIMENT, save_report=False).to_dict()
        except (sqlite3.Error, SQLAlchemyError, ValueError, TypeError, LookupError, ArithmeticError) as error:
            # What the engine recorded can always be read again.
            return {"tampered": f"the databases cannot be read ({type(error).__name__})"}
        return {
            "success": result["success"],
            "total": result["num_tests"],
            "passes": [each["requirement"] for each in result["passes"]],
            "failures": [each["requirement"] for each in result["failures"]],
        }


def shorten(text: str, limit: int) -> str:
    """Keep the first and last half of ``limit`` characters, with a line that says how many are left out."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[len(text) - half :]}"


def told(error: BaseException) -> str:
    """Return the name of an exception and its text, if it has one."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__


def sendable(data: Any) -> Any:
    """Return the data of a call as JSON has them; what it does not know as text, or as the name of its type."""

    plain: Any = object.__str__

    def as_text(value: Any) -> str:
        try:
            # The default form of an object has its address, which is another one every time.
            return f"<{type(value).__name__}>" if type(value).__str__ is plain else str(value)
        except Exception:
            return f"<{type(value).__name__}>"

    try:
        return json.loads(json.dumps(data, default=as_text))
    except (TypeError, ValueError, RecursionError):
        return {"data": f"<{type(data).__name__}>"}


def odd_statement(text: str) -> str | None:
    """Return the first line that is not a change as the engine records it; None if all are."""
    for line in filter(None, text.splitlines()):
        try:
            statement = json.loads(line)[0]
            good = isinstance(statement, str) and statement.upper().startswith(_RECORDED)
        except (ValueError, LookupError, TypeError):
            good = False
        if not good:
            return "not a recorded change"
    return None


def database_digest() -> str:
    """Return a hash of every table that was written to since the base databases, in any order of rows."""
    from appworld.apps import get_all_apps
    from appworld.common.utils import import_models_module

    whole = hashlib.sha256()
    for app in sorted(get_all_apps(skip_admin=True)):
        database = import_models_module(app).SQLModel.db
        tables = {found[1] for change in database.tracker.changes if (found := _WRITTEN_TABLE.match(change[0]))}
        for table in sorted(tables):
            rows = sorted(map(repr, database.connection.execute(f'SELECT * FROM "{table}"')))
            whole.update(repr((app, table, rows)).encode())
    return whole.hexdigest()[:16]


def serve(handle: Handler, channel: socket.socket) -> None:
    """Answer requests until the other end is closed."""
    with channel.makefile("rw", encoding="utf-8", newline="\n") as stream:
        for line in stream:
            try:
                reply = handle(json.loads(line))
            except Exception as error:  # told to the other side, which decides
                reply = {"error": f"{type(error).__name__}: {error}"}
            stream.write(json.dumps(reply) + "\n")
            stream.flush()


def preload(role: str) -> None:
    """Load everything that takes time, so that children start with it."""
    from appworld.apps import get_all_apps
    from appworld.collections.api_docs import ApiDocCollection
    from appworld.common.utils import import_apis_module, import_models_module

    for app in get_all_apps():
        import_models_module(app)
        import_apis_module(app)
    import appworld.environment
    import appworld.evaluator  # noqa: F401

    if role == "player":
        ApiDocCollection.load(load_apps=tuple(get_all_apps(skip_admin=True)), include_response_schemas=True)


class Children:
    """The one child at a time, and how it is ended with all that it started."""

    def __init__(self, role: str, control: socket.socket) -> None:
        self.role, self.control, self.child = role, control, 0
        self.isolated = os.getppid() == 1
        self.work = Path(os.environ["APPWORLD_ROOT"])
        self.clean()

    def start(self, descriptor: int) -> None:
        """Fork a child that answers on ``descriptor``."""
        self.child = os.fork()
        if self.child:
            os.close(descriptor)
            return
        try:
            self.control.close()
            os.setsid()
            handler = Player() if self.role == "player" else Judge()
            serve(handler.handle, socket.socket(fileno=descriptor))
        finally:
            os._exit(0)

    def stop(self) -> None:
        """End the child and everything that it started, and clean the writable folder."""
        if self.child:
            try:
                # Inside the sandbox all processes but this one and process 1 are the child's.
                if self.isolated:
                    os.kill(-1, signal.SIGKILL)
                else:
                    os.killpg(self.child, signal.SIGKILL)
            except ProcessLookupError:
                pass
            os.waitpid(self.child, 0)
            self.child = 0
            self.clean()

    def clean(self) -> None:
        """Empty the writable folder but for the data."""
        for path in self.work.iterdir():
            if path.name == "data":
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        for name in ("home", "tmp"):
            (self.work / name).mkdir()


def main() -> None:
    """Load, report, and start and stop children as told."""
    role, control = sys.argv[1], socket.socket(fileno=int(sys.argv[2]))
    control.set_inheritable(False)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    children = Children(role, control)
    preload(role)
    os.dup2(nothing, 2)  # what went wrong until here is in the caller's hands; children write nowhere
    gc.collect()
    gc.freeze()
    # Not even a child of the same user may look into or change this process.
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    control.sendall(b"R")
    while True:
        command, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if command == b"S":
            children.start(descriptors[0])
        elif command == b"K":
            children.stop()
            control.sendall(b"K")
        else:
            children.stop()
            return


if __name__ == "__main__":
    main()
