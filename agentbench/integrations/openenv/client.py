"""The client: OpenEnv's own, with our action, observation and state, and the two tools of the snapshots."""

from __future__ import annotations

from typing import Any

from openenv.core import EnvClient
from openenv.core.client_types import StepResult

from agentbench.integrations.openenv.models import TextAction, TextObservation, TextState


class AgentbenchEnv(EnvClient[TextAction, TextObservation, TextState]):  # type: ignore[misc]
    """One session of a server that ``agentbench serve`` started.

    ``with AgentbenchEnv(base_url="http://127.0.0.1:8000").sync() as env: result = env.reset(split=…, index=0)``
    """

    async def snapshot(self) -> str:
        """Keep the present point of the episode on the server; return its name, which :meth:`restore` takes."""
        return str((await self._tool("snapshot", {}))["snapshot"])

    async def restore(self, snapshot: str) -> StepResult[TextObservation]:
        """Go back to a point that was kept in this session: what follows is what would have followed there."""
        return self._parse_result(await self._tool("restore", {"snapshot": snapshot}))

    async def _tool(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
        answer = (await self._send_and_receive({"type": "mcp", "data": call}))["data"]
        if answer.get("error"):
            raise RuntimeError(answer["error"]["message"])
        found: dict[str, Any] = answer["result"]
        return found

    def _step_payload(self, action: TextAction) -> dict[str, Any]:
        return {"action": action.action}

    def _parse_result(self, payload: dict[str, Any]) -> StepResult[TextObservation]:
        reward, done = payload.get("reward"), payload.get("done", False)
        fields = {name: value for name, value in payload["observation"].items() if name in TextObservation.model_fields}
        return StepResult(
            observation=TextObservation(**{**fields, "reward": reward, "done": done}), reward=reward, done=done
        )

    def _parse_state(self, payload: dict[str, Any]) -> TextState:
        return TextState(**payload)
