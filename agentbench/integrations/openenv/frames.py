"""A guard before OpenEnv's server: a frame that is no JSON object costs its sender an error, and not the session.

OpenEnv answers broken JSON itself, and ends the session at JSON that is no object, at nesting too deep to read and at
binary frames. With the guard each of them is one error, and the session goes on.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from envs.base.log import log

GONE = "a client has gone"
"""What the log says then, at level debug."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class FrameGuard:
    """ASGI middleware around an application, for its WebSockets alone."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Pass everything on, but frames that nobody can read."""
        if scope["type"] != "websocket":
            await self.app(scope, receive, send)
            return

        async def receive_readable() -> Message:
            while True:
                message = await receive()
                if message["type"] == "websocket.disconnect":
                    log.debug(GONE)
                if message["type"] != "websocket.receive" or not (fault := fault_of(message.get("text"))):
                    return message
                await send({"type": "websocket.send", "text": _error(scope["path"], fault)})

        await self.app(scope, receive_readable, send)


def fault_of(text: str | None) -> str:
    """Say what is wrong with a frame; empty where it is a JSON object of text that can be sent back."""
    if text is None:
        return "frames are text, not bytes"
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        return f"Invalid JSON: {str(error) or 'nested too deep'}"
    if not isinstance(found, dict):
        return "a frame is a JSON object"
    if "\\u" in text:  # half a surrogate pair: no text, though JSON can write it
        try:
            json.dumps(found, ensure_ascii=False).encode()
        except UnicodeError:
            return "Invalid JSON: half a surrogate pair"
    return ""


def _error(path: str, fault: str) -> str:
    if path == "/mcp":
        return json.dumps({"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": fault}})
    return json.dumps({"type": "error", "data": {"message": fault, "code": "INVALID_JSON"}})
