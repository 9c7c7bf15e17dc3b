"""Talk to an OpenAI-compatible chat server: one request in, its JSON out, with bounded retries.

On ``http.client`` with one kept connection a thread: at 64 requests in flight the usual client libraries take two to
fourteen times the processor time a request, and would keep the server waiting.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import re
import socket
import ssl
import threading
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

import tenacity

from envs.errors import UserError

log = logging.getLogger("agentbench")

_TOO_LONG = re.compile(r"context.?(length|window|size)|too (long|many tokens)", re.IGNORECASE)
MAX_BYTES = 64 * 1024 * 1024
"""Longest answer that is read: more is no chat answer."""


class PassingFailure(Exception):  # noqa: N818  (it may go well the next time)
    """Overloaded, timed out, closed, half an answer: worth another try after ``wait`` seconds, if it says so."""

    def __init__(self, text: str, wait: float | None = None) -> None:
        super().__init__(text)
        self.wait = wait


class RefusedRequest(Exception):  # noqa: N818  (the server's word on this one request)
    """The server will not answer this request, however often it is asked (HTTP 400, 413, 422)."""


class TooLong(RefusedRequest):
    """The request is longer than the model's context."""


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """How the server is reached.

    Attributes:
        base_url: up to and without ``/chat/completions`` (``http://localhost:8000/v1``).
        key: goes into the ``Authorization`` header and nowhere else.
        timeout: seconds that one try may take.
        attempts: tries of one request before it counts as failed; at least 1.
        backoff: seconds before the second try; doubled before each further one, up to 30.
        patience: requests in a row that may fail, all tries included, before the server counts as gone.
    """

    base_url: str
    key: str | None = None
    timeout: float = 120.0
    attempts: int = 7
    backoff: float = 1.0
    patience: int = 8

    def __repr__(self) -> str:
        return f"ClientSettings(base_url={self.base_url!r})"


class ChatClient:
    """Asks one server, from as many threads as you like.

    Args:
        settings: how it is reached.

    Raises:
        UserError: the base URL is none, or holds a secret.
    """

    def __init__(self, settings: ClientSettings) -> None:
        self.settings = settings
        self.retries = 0
        self._url = _checked_url(settings.base_url)
        self._tls = ssl.create_default_context() if self._url.scheme == "https" else None
        self._local = threading.local()
        self._lock = threading.Lock()
        self._answered_once = False
        self._failed_in_a_row = 0
        self._retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(settings.attempts),
            wait=self._wait,
            retry=tenacity.retry_if_exception_type(PassingFailure),
            before_sleep=self._count_retry,
            reraise=True,
        )

    def ask(self, body: dict[str, Any]) -> dict[str, Any]:
        """Send one chat request and return the answer; its first choice has a message.

        Raises:
            PassingFailure: all tries failed.
            TooLong: the request does not fit into the context; not counted as a failure.
            RefusedRequest: the server refuses this request.
            UserError: the server is gone, was never there, does not let us in, or does not know the model.
        """
        payload = json.dumps(body).encode()
        try:
            answer: dict[str, Any] = self._retrying(self._try, payload, str(body.get("model")))
        except TooLong:
            raise
        except (PassingFailure, RefusedRequest) as failure:
            self._count_failure(failure)
            raise
        self._failed_in_a_row = 0
        return answer

    # -- one try -----------------------------------------------------------------------------------

    def _try(self, payload: bytes, model: str) -> dict[str, Any]:
        status, headers, text = self._exchange("POST", "/chat/completions", payload)
        if status == 200:
            return _read_answer(text)
        said = self._redacted(_reason(text))
        if status in (408, 409, 425, 429) or status >= 500:
            raise PassingFailure(f"HTTP {status}: {said}", _retry_after(headers))
        if status in (401, 403):
            raise UserError(f"{self.settings.base_url} does not let us in (HTTP {status}: {said}): check the key")
        if status == 404:
            raise UserError(
                f"{self.settings.base_url} has no model {model!r}, or no chat (HTTP 404: {said}){self._offers()}"
            )
        if _TOO_LONG.search(said):
            raise TooLong(said)
        raise RefusedRequest(f"HTTP {status}: {said}")

    def _exchange(self, method: str, path: str, payload: bytes | None) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Send and receive; a kept connection that the server closed meanwhile is opened anew, once."""
        kept = getattr(self._local, "connection", None) is not None
        deadline = time.monotonic() + self.settings.timeout
        try:
            return self._exchange_once(method, path, payload, deadline)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as error:
            if not kept:
                raise PassingFailure(f"the connection was closed ({type(error).__name__})") from error
        except (ConnectionRefusedError, socket.gaierror) as error:
            if not self._answered_once:
                raise UserError(
                    f"no server answers at {self.settings.base_url} ({error}): start it, or mend --base-url"
                ) from error
            raise PassingFailure(f"no connection ({error})") from error
        except (OSError, http.client.HTTPException) as error:
            raise PassingFailure(_named(error, self.settings.timeout)) from error
        return self._exchange(method, path, payload)

    def _exchange_once(
        self, method: str, path: str, payload: bytes | None, deadline: float
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = getattr(self._local, "connection", None) or self._connect()
        self._local.connection = None  # kept again only after a whole answer
        try:
            connection.request(method, self._url.path + path, payload, self._headers())
            response = connection.getresponse()
            self._answered_once = True
            text = _read_all(response, deadline)
        except BaseException:
            connection.close()
            raise
        if response.will_close:
            connection.close()
        else:
            self._local.connection = connection
        return response.status, response.headers, text

    def _connect(self) -> http.client.HTTPConnection:
        host, port, timeout = self._url.hostname or "", self._url.port, self.settings.timeout
        if self._tls is None:
            return http.client.HTTPConnection(host, port, timeout=timeout)
        proxy = None if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get("https")
        if proxy is None:
            return http.client.HTTPSConnection(host, port, timeout=timeout, context=self._tls)
        between = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}")
        tunnel = http.client.HTTPSConnection(between.hostname or "", between.port, timeout=timeout, context=self._tls)
        tunnel.set_tunnel(host, port or 443)
        return tunnel

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        return headers if self.settings.key is None else {**headers, "Authorization": f"Bearer {self.settings.key}"}

    # -- failures ----------------------------------------------------------------------------------

    def _wait(self, state: tenacity.RetryCallState) -> float:
        failure = state.outcome.exception() if state.outcome else None
        asked = failure.wait if isinstance(failure, PassingFailure) else None
        # Spread by thread, so that requests that failed together do not come back together.
        spread = 1.0 + (threading.get_ident() // 64 % 97) / 194
        waited: float = min(30.0, self.settings.backoff * 2.0 ** (state.attempt_number - 1)) * spread
        return waited if asked is None else max(waited, min(asked, 60.0))

    def _count_retry(self, state: tenacity.RetryCallState) -> None:
        with self._lock:
            self.retries += 1

    def _count_failure(self, failure: Exception) -> None:
        with self._lock:
            self._failed_in_a_row += 1
            gone = self._failed_in_a_row >= self.settings.patience
        if gone:
            raise UserError(
                f"{self.settings.base_url}: {self.settings.patience} requests in a row failed, the last: {failure}. "
                "Finished episodes are stored; once the server works, the same command with --retry-errors goes on"
            ) from failure

    def _offers(self) -> str:
        """Return the models that the server says it has, for the message that it lacks one."""
        try:
            status, _, text = self._exchange("GET", "/models", None)
            names = [str(each["id"]) for each in json.loads(text)["data"]] if status == 200 else []
        except (PassingFailure, ValueError, KeyError, TypeError):
            return ""
        return f": it has {', '.join(sorted(names)[:10])}" if names else ""

    def _redacted(self, text: str) -> str:
        return text.replace(self.settings.key, "…") if self.settings.key else text


def key_from_environment(variable: str) -> str | None:
    """Return the key that the environment variable holds, without spaces at its ends; None if there is none."""
    return os.environ.get(variable, "").strip() or None


def _checked_url(base_url: str) -> urllib.parse.SplitResult:
    try:
        url = urllib.parse.urlsplit(base_url.rstrip("/"))
        port = url.port
    except ValueError:
        raise UserError("the base URL is none: write --base-url http://localhost:8000/v1") from None
    if url.username or url.password or url.query or url.fragment:
        raise UserError("the base URL must hold no user, password or query: keys come from the environment alone")
    if url.scheme not in ("http", "https") or not url.hostname or port == 0:
        raise UserError(f"{base_url!r} is no base URL: write --base-url http://localhost:8000/v1")
    return url


def _read_all(response: http.client.HTTPResponse, deadline: float) -> bytes:
    """Read to the end, however slowly it drips, until the deadline."""
    parts, size = [], 0
    while part := response.read1(1 << 16):
        parts.append(part)
        size += len(part)
        if size > MAX_BYTES:
            raise http.client.HTTPException(f"an answer of more than {MAX_BYTES >> 20} MB")
        if time.monotonic() > deadline:
            raise TimeoutError
    if response.length:
        raise http.client.IncompleteRead(b"".join(parts), response.length)
    response.close()  # the response, not the connection: only now may the next request follow
    return b"".join(parts)


def _read_answer(text: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(text)
        message = answer["choices"][0]["message"]
        if not isinstance(message, dict):
            raise TypeError
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        start = text[:80].decode("utf-8", "replace")
        raise PassingFailure(f"what came is no chat answer: {start!r}") from error
    return dict(answer)


def _reason(text: bytes) -> str:
    """Return what an error body says, in one short line."""
    try:
        body = json.loads(text)
        error = body.get("error", body)
        said = str(error.get("message", error) if isinstance(error, dict) else error)
    except (ValueError, AttributeError, RecursionError):
        said = text.decode("utf-8", "replace")
    return " ".join(said.split())[:300] or "no reason given"


def _retry_after(headers: http.client.HTTPMessage) -> float | None:
    try:
        return max(0.0, float(headers.get("Retry-After", "")))
    except ValueError:
        return None


def _named(error: Exception, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no whole answer within {timeout:g} s"
    return f"{type(error).__name__}: {error}"
