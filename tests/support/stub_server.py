"""A chat server on the loopback that answers, fails and misbehaves as it is told: for tests of its clients."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[dict[str, Any], int], Any]
"""From a request's body and its number (from 0) to what happens: see :class:`StubServer`."""


def chat(text: str | None, **message: Any) -> dict[str, Any]:
    """Return the answer of a chat server that says ``text``."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    about = {"id": "stub", "object": "chat.completion", "created": 0, "model": "stub"}
    return {**about, "choices": [choice], "usage": usage}


def up(body: dict[str, Any], number: int) -> dict[str, Any]:
    """Always answer with the action ``up``."""
    return chat("<think>higher</think><action>up</action>")


class StubServer(ThreadingHTTPServer):
    """Calls ``answer(body, number)`` for each chat request and does what it returns.

    A dictionary is sent as JSON; ``(status, dictionary)`` with that status; bytes as they are; the word ``close``
    closes the connection, ``hang`` keeps it open in silence, ``half`` announces more bytes than it sends. An event is
    set when the client closes the connection instead of waiting on.

    Args:
        answer: what happens.
        port: of the loopback; 0 for any that is free.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, answer: Answer, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.answer = answer
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.lock = threading.Lock()
        self.now = self.most = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: StubServer

    def do_GET(self) -> None:
        self._send(200, json.dumps({"data": [{"id": "stub"}, {"id": "other"}]}).encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        with server.lock:
            number = len(server.bodies)
            server.bodies.append(body)
            server.headers.append(dict(self.headers))
            server.now += 1
            server.most = max(server.most, server.now)
        try:
            self._do(server.answer(body, number))
        finally:
            with server.lock:
                server.now -= 1

    def _do(self, what: Any) -> None:
        if what == "close":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif what == "hang":
            time.sleep(5)
            self.close_connection = True
        elif what == "half":
            self._send(200, b'{"choices": [{"mess', promised=500)
            self.close_connection = True
        elif isinstance(what, threading.Event):
            self.connection.settimeout(60)
            with suppress(ConnectionError):  # one way of closing it
                assert not self.connection.recv(1)
            what.set()
            self.close_connection = True
        elif isinstance(what, bytes):
            self._send(200, what)
        elif isinstance(what, tuple):
            self._send(what[0], json.dumps(what[1]).encode(), retry_after=what[2] if len(what) > 2 else None)
        else:
            self._send(200, json.dumps(what).encode())

    def _send(self, status: int, text: bytes, promised: int | None = None, retry_after: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(promised or len(text)))
        if retry_after is not None:
            self.send_header("Retry-After", retry_after)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""


@contextmanager
def serving(answer: Answer = up, port: int = 0) -> Iterator[StubServer]:
    """Run a server in a thread."""
    server = StubServer(answer, port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
