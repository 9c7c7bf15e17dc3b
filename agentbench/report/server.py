"""Serve the page of runs on this machine alone, and keep it fresh while they continue.

There are three answers: the page, its data, and a chunk of steps by its numbers. No address names a file, so nothing
but what the page shows can be asked for.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from agentbench.analysis import SHOWN_SCHEMES
from agentbench.report.data import Report, make_report
from agentbench.report.page import chunk_script, content_policy, render
from agentbench.report.runs import READ_FILES
from agentbench.report.sweeps import run_folders, sweep_files
from envs.base.digest import short_digest
from envs.base.errors import UserError
from envs.base.terminal import show_traceback

LOOPBACK = "127.0.0.1"
REST = 5.0
"""A report that took t seconds to make is made again after REST times t at the earliest."""


class LiveReport:
    """The report of runs, made again when their files have changed.

    Args:
        folders: of the runs.
        schemes: credit schemes to show.

    Raises:
        UserError: as :func:`agentbench.report.data.make_report`.
    """

    def __init__(self, folders: Sequence[Path], schemes: Sequence[str] = SHOWN_SCHEMES) -> None:
        self._folders, self._schemes = folders, schemes
        self._lock = threading.Lock()
        self._next = 0.0
        self._version, self._report = "", Report({}, [])
        self.current()

    def current(self) -> tuple[str, Report]:
        """Return the report and its version, which is another one after every change."""
        with self._lock:
            version = self._fingerprint()
            if version != self._version and time.monotonic() >= self._next:
                started = time.monotonic()
                self._report, self._version = make_report(self._folders, self._schemes), version
                self._next = time.monotonic() + REST * (time.monotonic() - started)
            return self._version, self._report

    def _fingerprint(self) -> str:
        paths = [folder / name for folder in run_folders(self._folders) for name in READ_FILES]
        paths += sweep_files(self._folders)
        facts = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths if path.exists()]
        return short_digest(repr(facts))


def make_server(folders: Sequence[Path], port: int = 0, schemes: Sequence[str] = SHOWN_SCHEMES) -> ThreadingHTTPServer:
    """Make the server, bound to the loopback address; ``serve_forever`` starts it.

    Args:
        folders: of the runs.
        port: 0 for any that is free.
        schemes: credit schemes to show.

    Raises:
        UserError: a run that cannot be read, or a port that is taken.
    """
    live = LiveReport(folders, schemes)

    class Handler(_Handler):
        report = live

    try:
        return _Server((LOOPBACK, port), Handler)
    except OSError as error:
        raise UserError(f"port {port} cannot be used ({error.strerror or error}): choose another --port") from error


class _Server(ThreadingHTTPServer):
    """Shows an unforeseen error as every command does: without control characters and secrets."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Print the error's traceback; a browser that has gone away is none."""
        kind, error, trace = sys.exc_info()
        if kind is not None and not isinstance(error, ConnectionError):
            show_traceback(kind, error, trace)


class _Handler(BaseHTTPRequestHandler):
    """Answer a browser on this machine."""

    report: LiveReport

    def do_GET(self) -> None:
        """Answer with the page, its data or a chunk; 404 for everything else."""
        if not _is_here(self.headers.get("Host", "")):
            # another site's name that leads here could read the page through the browser
            self._answer(HTTPStatus.FORBIDDEN, "text/plain", "this page is served to this machine alone")
            return
        try:
            self._answer(*self._content())
        except (UserError, OSError) as error:  # the run's files are being written: the page asks again
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", str(error))

    def _content(self) -> tuple[HTTPStatus, str, str]:
        try:
            address = urlsplit(self.path)
        except ValueError:
            return HTTPStatus.NOT_FOUND, "text/plain", "there is nothing here"
        version, report = self.report.current()
        if address.path == "/":
            source = {"kind": "live", "prefix": "steps/", "version": version}
            return HTTPStatus.OK, "text/html", render(report.index, source, {})
        if address.path == "/data.json":
            if parse_qs(address.query).get("version") == [version]:
                return HTTPStatus.NO_CONTENT, "application/json", ""
            return HTTPStatus.OK, "application/json", json.dumps({"version": version, "index": report.index})
        if found := re.fullmatch(r"/steps/(\d{1,9})-(\d{1,9})\.js", address.path):
            run, chunk = int(found[1]), int(found[2])
            with suppress(KeyError):
                return HTTPStatus.OK, "text/javascript", chunk_script(f"{run}-{chunk}", report.pack(run, chunk))
        return HTTPStatus.NOT_FOUND, "text/plain", "there is nothing here"

    def _answer(self, status: HTTPStatus, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        headers = {
            "Content-Type": f"{kind}; charset=utf-8",
            "Cache-Control": "no-store",
            "Content-Security-Policy": content_policy() + "; frame-ancestors 'none'",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        if status != HTTPStatus.NO_CONTENT:
            headers["Content-Length"] = str(len(body))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(body)
        except ConnectionError:
            self.close_connection = True  # the browser has gone to another page

    def log_message(self, format: str, *args: object) -> None:
        """Stay quiet: the terminal belongs to whoever started the program."""


def _is_here(host: str) -> bool:
    return re.fullmatch(r"(127\.0\.0\.1|localhost)(:\d+)?", host) is not None
