"""The replay policy: does again what a recorded run did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from envs.base.digest import digest_of, read_line
from envs.base.errors import UserError
from envs.base.journal import journal_of, lines
from envs.base.safe_text import is_cut_short
from policies.contract import Prompt, Response

VERSION = 1

Actions = Mapping[tuple[str, int], Sequence[str]]
"""(task id, trial) -> the actions of that episode, in order."""


class ReplayPolicy:
    """Plays recorded actions: whatever differs from the recording then is the environment's doing.

    Args:
        actions: the actions of every recorded episode, by task id and trial.
    """

    name = "replay"

    def __init__(self, actions: Actions) -> None:
        self._actions = {key: tuple(listed) for key, listed in actions.items()}
        recorded = sorted([*key, list(listed)] for key, listed in self._actions.items())
        self._digest = digest_of(self.name, VERSION, actions=recorded)

    @classmethod
    def from_run(cls, folder: str | Path) -> ReplayPolicy:
        """Read the actions from the folder of a run; the last complete record of an episode counts.

        Raises:
            UserError: the folder holds no finished episode.
        """
        path = journal_of(Path(folder))
        if not path.is_file():
            raise UserError(f"{folder} is no folder of a run: it has no {path.name}")
        actions = {}
        for line in lines(path):
            try:
                record, _ = read_line(line)
                actions[record["task_id"], record["trial"]] = [step["action"] for step in record["steps"]]
            except (ValueError, KeyError, TypeError):
                continue  # a killed run leaves a torn line, a bad disk a changed one: its episode is not finished
        if not actions:
            raise UserError(f"{path} holds no finished episode: there is nothing to replay")
        return cls(actions)

    @property
    def digest(self) -> str:
        """Short hash of what decides the answers."""
        return self._digest

    def act(self, prompts: Sequence[Prompt]) -> list[Response]:
        """Answer each prompt.

        Raises:
            UserError: the episode was not recorded, or continues longer than the recording.
        """
        return [Response(self._next_action(prompt)) for prompt in prompts]

    def _next_action(self, prompt: Prompt) -> str:
        recorded, step = self._actions.get((prompt.task.id, prompt.trial)), len(prompt.history)
        if recorded is None:
            raise UserError(
                f"trial {prompt.trial} of task {prompt.task.name} ({prompt.task.id}) is not in the replayed run: "
                "play the same tasks and trials"
            )
        if step >= len(recorded):
            raise UserError(
                f"trial {prompt.trial} of task {prompt.task.name} was recorded with {len(recorded)} actions, and "
                "the episode continues: the environment does not do what it did then, or has another step limit"
            )
        if is_cut_short(recorded[step]):
            raise UserError(
                f"the action of step {step} in trial {prompt.trial} of task {prompt.task.name} was stored cut short "
                "and cannot be replayed: play the run again with a larger --max-text"
            )
        return recorded[step]
