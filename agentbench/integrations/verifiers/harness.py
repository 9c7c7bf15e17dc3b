"""A harness that asks the model in verifiers' own process: one request a turn, no tools.

verifiers' ``null`` harness starts a program for every turn, which takes seconds; a game has fifty turns.
"""

from __future__ import annotations

from typing import Any

import httpx
import verifiers.v1 as vf
from verifiers.v1.dialects.chat import message_to_wire
from verifiers.v1.runtimes import ProgramResult


class AgentbenchHarness(vf.Harness[vf.HarnessConfig]):  # type: ignore[misc]
    """One chat request a turn, to verifiers' own endpoint, which records it and asks the model."""

    APPENDS_SYSTEM_PROMPT = True
    SUPPORTS_RESUME = True
    EXECUTES_CODE = False
    NEEDS_CONTAINER = False

    async def launch(
        self,
        ctx: Any,
        trace: Any,
        runtime: Any,
        endpoint: str,
        secret: str,
        mcp_urls: dict[str, str],
        data: vf.TaskData,
    ) -> ProgramResult:
        """Ask once; what the model answered, or what went wrong, verifiers itself has in the trace."""
        system, prompt = self.resolve_prompt(data)
        said = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else map(message_to_wire, prompt or [])
        messages = [*([{"role": "system", "content": system}] if system else []), *said]
        async with httpx.AsyncClient(timeout=None, verify=False) as client:  # this machine's own
            answer = await client.post(
                f"{endpoint}/chat/completions",
                json={"model": ctx.model, "messages": messages},
                headers={"Authorization": f"Bearer {secret}"},
            )
        return ProgramResult(0 if answer.is_success else 1, "", "" if answer.is_success else answer.text[:2000])
