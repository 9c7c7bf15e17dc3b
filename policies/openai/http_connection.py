"""One kept HTTP/1.1 connection of an event loop: a request out, its whole answer in.

Only as much of HTTP as a chat interface needs. Against the same server a request takes 0.06 ms of processor time here,
0.2 ms in aiohttp or in threads on ``http.client``, 2.5 ms in httpx: the difference decides how busy a server is kept.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
import urllib.parse
import urllib.request
from dataclasses import dataclass

from envs.base.safe_text import redacted

MAX_BYTES = 64 * 1024 * 1024
"""Longest answer that is read: more is no chat answer."""


class BrokenAnswer(Exception):  # noqa: N818  (what came is no whole HTTP answer)
    """The other side does not speak HTTP, breaks off in the middle, or does not come to an end."""


class ClosedBefore(BrokenAnswer):
    """The connection was closed, or is of no more use, before the first byte of an answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        status: of HTTP.
        headers: by name, in lower case.
        body: all of it.
    """

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """A connection to one host. Use it for one request at a time, and close it after any exception.

    Attributes:
        is_open: whether another request may follow.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.is_open = True

    def close(self) -> None:
        """Close it at once."""
        self.is_open = False
        self._writer.transport.abort()

    async def exchange(self, request: bytes) -> Answer:
        """Send a whole request and return its answer.

        Raises:
            BrokenAnswer: no whole answer came.
            OSError: the connection broke.
        """
        # What came without being asked for (a second answer, a time-out of the idle connection) must not be taken for
        # the answer to this request, and every answer for that to the request before it.
        if self._reader._buffer:  # type: ignore[attr-defined]
            raise ClosedBefore("the connection holds what nobody asked for")
        self._writer.write(request)
        try:
            status, headers = await self._head()
            while status < 200:  # an interim answer
                status, headers = await self._head()
            body = await self._body(headers)
        except asyncio.IncompleteReadError as error:
            raise BrokenAnswer(f"the answer breaks off after {len(error.partial)} bytes of a part") from error
        except (asyncio.LimitOverrunError, ValueError) as error:
            raise BrokenAnswer(f"what came is no HTTP answer ({error})") from error
        return Answer(status, headers, body)

    async def _head(self) -> tuple[int, dict[str, str]]:
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            raise ClosedBefore("the connection was closed") from error
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        protocol, status, *_ = first.split(" ", 2)
        if not protocol.startswith("HTTP/1."):
            raise ValueError(redacted(first)[:40])
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        wanted = headers.get("connection", "keep-alive" if protocol == "HTTP/1.1" else "close").lower()
        self.is_open = "close" not in wanted
        return int(status), headers

    async def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return await self._chunks()
        if (length := headers.get("content-length")) is not None:
            return await self._reader.readexactly(_small(int(length)))
        self.is_open = False
        return await self._rest()

    async def _chunks(self) -> bytes:
        parts, size = [], 0
        while length := int((await self._reader.readuntil(b"\r\n")).partition(b";")[0], 16):
            size = _small(size + length)
            parts.append(await self._reader.readexactly(length))
            await self._reader.readuntil(b"\r\n")
        while await self._reader.readuntil(b"\r\n") != b"\r\n":
            pass  # further headers
        return b"".join(parts)

    async def _rest(self) -> bytes:
        parts, size = [], 0
        while part := await self._reader.read(1 << 16):
            size = _small(size + len(part))
            parts.append(part)
        return b"".join(parts)


async def connect(url: urllib.parse.SplitResult) -> Connection:
    """Connect to the host of a URL; ``https`` by way of the proxy that the environment names, if it names one.

    Raises:
        OSError: no connection.
        BrokenAnswer: the proxy refuses.
    """
    host, port = url.hostname or "", url.port
    if url.scheme == "http":
        return Connection(*await asyncio.open_connection(host, port or 80))
    proxy = None if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get("https")
    if proxy is None:
        return Connection(*await asyncio.open_connection(host, port or 443, ssl=trusted()))
    between = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}")
    reader, writer = await asyncio.open_connection(between.hostname or "", between.port or 80)
    connection = Connection(reader, writer)
    target = f"{host}:{port or 443}"
    try:
        writer.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        status, _ = await connection._head()
        if status != 200:
            raise BrokenAnswer(f"the proxy {between.hostname} refuses (HTTP {status})")
        await writer.start_tls(trusted(), server_hostname=host)
    except BaseException:
        connection.close()
        raise
    connection.is_open = True
    return connection


@functools.cache
def trusted() -> ssl.SSLContext:
    """Return what decides which certificates are believed."""
    return ssl.create_default_context()


def _small(size: int) -> int:
    if not 0 <= size <= MAX_BYTES:
        raise BrokenAnswer(f"an answer of more than {MAX_BYTES >> 20} MB")
    return size
