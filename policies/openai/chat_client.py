"""Talk to an OpenAI-compatible chat server: one request in, its JSON out, with bounded retries."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import random
import re
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from envs.base.errors import UserError
from envs.base.log import log
from envs.base.safe_text import redacted, remember_secret
from policies.openai.http_connection import Answer, BrokenAnswer, ClosedBefore, Connection, connect

if TYPE_CHECKING:
    from tenacity import RetryCallState

_TOO_LONG = re.compile(
    r"context.?(length|window|size)|too (long|many tokens)|maximum (input|number of) (length|tokens)|"
    r"(prompt|input|inputs|message)\b.{0,80}\b(exceeds?|longer than)\b|reduce the length|tokens.{0,40}must be <=",
    re.IGNORECASE | re.DOTALL,
)
_NO_MODEL = re.compile(
    r"\bmodels?\b.{0,120}?\b(not found|not exist|doesn.?t exist|not available|not loaded|not deployed)\b|"
    r"\bmodel\W+\S+\s+is (not (a )?(valid|supported|served)|unknown|invalid)\b|"
    r"\b(unknown|no such|invalid|unrecogni[sz]ed|unable to access|not a valid) (the )?model\b|no endpoints found",
    re.IGNORECASE | re.DOTALL,
)
_MODEL_CODES = ("model_not_found", "invalid_model", "unknown_model", "DeploymentNotFound")
"""What servers call it in ``code`` or ``type`` of an error."""


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
        backoff: seconds before the second try; doubled before each further one, up to 30, and up to half as much
            again by chance. A server that asks for a pause is given it, up to 60 s.
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
    """Asks one server, as often at the same time as you like, on one event loop.

    Args:
        settings: how it is reached.

    Raises:
        UserError: the base URL is none, or holds a secret.
    """

    def __init__(self, settings: ClientSettings) -> None:
        self.settings = settings
        remember_secret(settings.key or "")
        self.retries = 0
        self._url = _checked_url(settings.base_url)
        if settings.key and self._url.scheme == "http" and not _is_this_machine(self._url.hostname or ""):
            log.warning("the key is sent to %s without encryption: use https where it can", self._url.hostname)
        self._kept: list[Connection] = []
        self._spread = random.Random()
        self._reached_once = self._answered_well = False
        self._failed_in_a_row = 0

    async def ask(self, body: dict[str, Any]) -> dict[str, Any]:
        """Send one chat request (``messages`` and more) and return the answer, whose first choice has a message.

        Raises:
            PassingFailure: all tries failed.
            TooLong: the request does not fit into the context; not counted as a failure.
            RefusedRequest: the server refuses this request.
            UserError: the server is gone, was never there, does not let us in, or does not know the model.
        """
        payload = _as_json(body)
        try:
            answer = await self._try_often(payload, str(body.get("model")))
        except TooLong:
            raise
        except (PassingFailure, RefusedRequest) as failure:
            self._count_failure(failure)
            raise
        self._failed_in_a_row = 0
        return answer

    def close(self) -> None:
        """Close the kept connections."""
        while self._kept:
            self._kept.pop().close()

    async def _try_often(self, payload: bytes, model: str) -> dict[str, Any]:
        try:
            return await self._try(payload, model)
        except PassingFailure as failure:
            return await self._try_again(payload, model, failure)

    async def _try_again(self, payload: bytes, model: str, first: PassingFailure) -> dict[str, Any]:
        """Try on after the first failure. Apart, since tenacity's bookkeeping costs as much as a whole good request."""
        from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt

        failures = [first]

        async def attempt() -> dict[str, Any]:
            if failures:
                raise failures.pop()
            self.retries += 1
            return await self._try(payload, model)

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(PassingFailure),
            stop=stop_after_attempt(self.settings.attempts),
            wait=self._pause,
            reraise=True,
        )
        return await retrying(attempt)

    # -- one try -----------------------------------------------------------------------------------

    async def _try(self, payload: bytes, model: str) -> dict[str, Any]:
        answer = await self._exchange("POST", "/chat/completions", payload)
        status = answer.status
        if status == 200:
            found = _read_answer(answer.body)
            self._answered_well = True
            return found
        said = _reason(answer.body)
        if await self._lacks_model(status, answer.body, said, model):
            raise UserError(
                f"{self.settings.base_url} has no model {model!r}, or no chat (HTTP {status}: {said})"
                + _told(await self._offers())
            )
        if status in (408, 409, 425, 429) or status >= 500:
            raise PassingFailure(f"HTTP {status}: {said}", _retry_after(answer.headers))
        if status in (401, 403):
            raise UserError(f"{self.settings.base_url} does not let us in (HTTP {status}: {said}): check the key")
        if _TOO_LONG.search(said):
            raise TooLong(said)
        raise RefusedRequest(f"HTTP {status}: {said}")

    async def _lacks_model(self, status: int, body: bytes, said: str, model: str) -> bool:
        """Return whether a refusal means that the server does not have the model: no further request can go well.

        Servers say so with 404 or 400 (some with 422 or 500), each in its own words. A 400 may also be about this one
        request, so where the words say nothing, and no request has gone well yet, the server's list decides.
        """
        if status == 404:
            return True
        if status not in (400, 422, 500) or _TOO_LONG.search(said):
            return False
        if _error_codes(body) & {*_MODEL_CODES} or _NO_MODEL.search(said):
            return True
        if status == 500 or self._answered_well or not re.search("model", said, re.IGNORECASE):
            return False
        offered = await self._offers()
        return bool(offered) and model not in offered

    async def _exchange(self, method: str, path: str, payload: bytes = b"") -> Answer:
        """Send and receive within the timeout."""
        request = self._head(method, path, len(payload)) + payload
        try:
            async with asyncio.timeout(self.settings.timeout):
                return await self._exchange_kept(request)
        except TimeoutError as error:
            raise PassingFailure(f"no whole answer within {self.settings.timeout:g} s") from error
        except (BrokenAnswer, OSError) as error:
            raise PassingFailure(redacted(str(error)) or type(error).__name__) from error

    async def _exchange_kept(self, request: bytes) -> Answer:
        """Send on a kept connection, or on a new one where there is none or the server has closed it meanwhile."""
        if self._kept:
            with contextlib.suppress(ClosedBefore, ConnectionError):
                return await self._exchange_on(self._kept.pop(), request)
        return await self._exchange_on(await self._connect(), request)

    async def _exchange_on(self, connection: Connection, request: bytes) -> Answer:
        try:
            answer = await connection.exchange(request)
        except BaseException:
            connection.close()
            raise
        if connection.is_open:
            self._kept.append(connection)
        else:
            connection.close()
        return answer

    async def _connect(self) -> Connection:
        try:
            connection = await connect(self._url)
        except OSError as error:
            # Where somebody was once, a refused connection is a server that starts anew.
            if self._reached_once or isinstance(error, TimeoutError):
                raise
            raise UserError(
                f"no server answers at {self.settings.base_url} ({error}): start it, or fix --base-url"
            ) from error
        self._reached_once = True
        return connection

    def _head(self, method: str, path: str, length: int) -> bytes:
        head = f"{method} {self._url.path}{path} HTTP/1.1\r\nHost: {self._url.netloc}\r\nAccept: application/json\r\n"
        if self.settings.key is not None:
            head += f"Authorization: Bearer {self.settings.key}\r\n"
        return f"{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n".encode()

    # -- failures ----------------------------------------------------------------------------------

    def _pause(self, state: RetryCallState) -> float:
        """Return for how many seconds to wait after some tries."""
        failure = state.outcome.exception() if state.outcome else None
        wanted = failure.wait if isinstance(failure, PassingFailure) else None
        # Requests that failed together must not come back together.
        spread = self._spread.uniform(1.0, 1.5)
        waited = min(30.0, self.settings.backoff * 2.0 ** (state.attempt_number - 1)) * spread
        return waited if wanted is None else max(waited, min(wanted, 60.0))

    def _count_failure(self, failure: Exception) -> None:
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= self.settings.patience:
            raise UserError(
                f"{self.settings.base_url}: {self.settings.patience} requests in a row failed, the last: {failure}. "
                "Finished episodes are stored; once the server works, the same command with --retry-errors continues"
            ) from failure

    async def _offers(self) -> list[str]:
        """Return the models that the server says it has; none where it does not say."""
        try:
            answer = await self._exchange("GET", "/models")
            names = [str(each["id"]) for each in json.loads(answer.body)["data"]] if answer.status == 200 else []
        except (PassingFailure, ValueError, KeyError, TypeError):
            return []
        return sorted(names)


def key_from_environment(variable: str) -> str | None:
    """Return the key that the environment variable holds, without spaces at its ends; None if there is none.

    Raises:
        UserError: it cannot be sent, or what should be the variable's name cannot be one (it may be the key itself).
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
        raise UserError("key_variable is no name of an environment variable: give the name, never the key itself")
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"the key in {variable} cannot be sent: it holds characters that no key has")
    return key or None


def _checked_url(base_url: str) -> urllib.parse.SplitResult:
    try:
        url = urllib.parse.urlsplit(base_url.rstrip("/"))
        port = url.port
    except ValueError:
        raise UserError("the base URL is none: write --base-url http://localhost:8000/v1") from None
    if url.username or url.password or url.query or url.fragment:
        raise UserError("the base URL must hold no user, password or query: keys come from the environment alone")
    is_plain = base_url.isascii() and base_url.isprintable() and " " not in base_url
    if "@" in base_url:
        raise UserError("the base URL is none: write --base-url http://localhost:8000/v1")
    if url.scheme not in ("http", "https") or not url.hostname or port == 0 or not is_plain:
        raise UserError(f"{base_url!r} is no base URL: write --base-url http://localhost:8000/v1")
    return url


def _is_this_machine(host: str) -> bool:
    return host in ("localhost", "::1") or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


def _as_json(body: dict[str, Any]) -> bytes:
    rest = json.dumps({name: value for name, value in body.items() if name != "messages"})
    messages = ", ".join(_message_as_json(tuple(message.items())) for message in body["messages"])
    return f'{{"messages": [{messages}], {rest[1:]}'.encode()


@functools.lru_cache(maxsize=16_384)
def _message_as_json(message: tuple[tuple[str, str], ...]) -> str:
    """Write one message; a conversation repeats its past ones at every step, and they are written once."""
    return json.dumps(dict(message))


def _read_answer(text: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(text)
        message = answer["choices"][0]["message"]
        if not isinstance(message, dict) or not isinstance(message.get("content"), str | list | None):
            raise TypeError
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        start = redacted(text[:4096].decode("utf-8", "replace"))[:80]
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
    return redacted(" ".join(said.split()))[:300] or "no reason given"


def _error_codes(text: bytes) -> set[str]:
    """Return what an error body calls itself."""
    try:
        body = json.loads(text)
        error = body.get("error", body)
        return {str(error[name]) for name in ("code", "type") if name in error} if isinstance(error, dict) else set()
    except (ValueError, AttributeError, RecursionError):
        return set()


def _told(offered: Sequence[str]) -> str:
    return redacted(f": it has {', '.join(offered[:10])}") if offered else ""


def _retry_after(headers: dict[str, str]) -> float | None:
    try:
        return max(0.0, float(headers.get("retry-after", "")))
    except ValueError:
        return None
