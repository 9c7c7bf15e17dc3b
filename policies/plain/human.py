"""The human policy: asks in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.columns import Columns
from rich.console import Console
from rich.text import Text

from envs.base.digest import digest_of
from envs.base.errors import UserError
from envs.base.safe_text import printable
from policies.contract import Prompt, Response

VERSION = 1


class HumanPolicy:
    """Shows the observation and the numbered admissible actions, and reads a number or an action.

    Args:
        console: where to write and read; None for the terminal.
    """

    name = "human"

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()

    @property
    def digest(self) -> str:
        """Short hash of the policy, not of the person: only they know what decides their answers."""
        return digest_of(self.name, VERSION)

    def act(self, prompts: Sequence[Prompt]) -> list[Response]:
        """Ask for each prompt in turn.

        Raises:
            UserError: the input ended.
        """
        return [Response(self._ask(prompt)) for prompt in prompts]

    def _ask(self, prompt: Prompt) -> str:
        actions = [str(action) for action in prompt.info.get("admissible_actions") or ()]
        self._console.rule(Text(printable(f"{prompt.task.name}, step {len(prompt.history)}")))
        self._console.print(Text(printable(prompt.observation)))
        if actions:
            self._console.print(
                Columns([Text(printable(f"{number} {action}")) for number, action in enumerate(actions, 1)])
            )
        while True:
            try:
                answer = self._console.input("> ").strip()
            except EOFError as error:
                raise UserError("policy 'human' needs a terminal: the input ended") from error
            if not answer:
                continue
            if not actions or not answer.isdecimal():
                return answer
            if 1 <= int(answer) <= len(actions):
                return actions[int(answer) - 1]
            self._console.print(Text(f"There are {len(actions)} actions: type a number from 1, or an action."))
