"""ALFWorld as a Gymnasium text environment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le
from gymnasium.envs.registration import EnvSpec

from envs.alfworld.games import Game
from envs.alfworld.players import FastPlayer, Player, Shown
from envs.alfworld.tasks import open_games
from envs.base.digest import digest_of_parts
from envs.contract import MOST_STEPS, Info, RenderMode, Task, TextEnv


class ALFWorldEnv(TextEnv):
    """Household tasks in text: find things, clean, heat, cool or look at them, and put them somewhere.

    The reward is 1.0 on the step that solves the task, else 0.0; the episode ends there or after
    ``max_steps``. A command that is not admissible changes nothing and gives ``Nothing happens.``. ``info``
    also has ``walkthrough``, a tuple of commands that solves the task from its start.

    Args:
        split: ``train`` (3,553 games), ``valid_seen`` (140), ``valid_unseen`` (134), ``valid_train`` (200), or
            ``generated:<seed>:<number>[:<difficulty>]``: games made on the spot, no download needed.
        engine: ``fast``, or ``textworld`` for the original packages (slow; for comparison).
        anchor: what counts as the same situation: equal ``observation`` texts, as in the published GiGPO code,
            or equal ``state`` of the game (a hash; finer where a text does not show everything).
        max_steps: the episode is truncated after this many steps; the literature uses 50.
        data: folder or archive with games to play without installing them.
        render_mode: ``None`` or ``ansi``; :meth:`render` returns the present observation either way.

    Attributes:
        notes: what a report should say of the task list, such as that an official split is incomplete.

    Raises:
        UserError: unknown split, engine or anchor; games or packages that are not installed.
    """

    name: ClassVar[str] = "alfworld"
    per_process: int = 64

    def __init__(
        self,
        split: str = "generated:0:100",
        engine: Literal["fast", "textworld"] = "fast",
        anchor: Literal["observation", "state"] = "observation",
        max_steps: Annotated[int, Ge(1), Le(MOST_STEPS)] = 50,
        data: str | Path | None = None,
        render_mode: RenderMode = None,
    ) -> None:
        super().__init__(max_steps)
        self.render_mode = render_mode
        options = {"split": split, "engine": engine, "anchor": anchor, "max_steps": max_steps, "data": data}
        self.spec = EnvSpec("agentbench/ALFWorld-v0", "envs.alfworld:ALFWorldEnv", kwargs=options)
        self._games = open_games(split, Path(data).expanduser() if data is not None else None)
        self.notes: tuple[str, ...] = self._games.notes
        self._anchor = anchor
        self.engine = engine
        if engine == "textworld":
            self.per_process = 8  # each copies a library of 34 MB, and a step is all processor time
        self._player = _make_player(engine)
        self._is_valid = True

    @property
    def tasks(self) -> Sequence[Task]:
        """All games of the split, in the order of their names (generated ones: of their numbers)."""
        return self._games.tasks

    @property
    def digest(self) -> str:
        """Short hash of engine and rules version, anchor and step limit."""
        return digest_of_parts("alfworld", self._player.version, self._anchor, self.max_steps)

    def find_task(self, key: str) -> Task:
        """Return the task whose id or name is ``key``."""
        return self._games.find(key)

    def game(self, task: Task) -> Game:
        """Return the game of a task."""
        return self._games.load(task)

    def close(self) -> None:
        """Release the engine; the environment is not used afterwards."""
        super().close()
        self._player.close()

    def _start(self, task: Task) -> tuple[str, Info]:
        game = self._games.load(task)
        turn = self._player.start(task.id, game)
        self._about = {"instruction": game.sentence, "walkthrough": game.walkthrough}
        return turn.observation, self._info(turn, turn.observation)

    def _act(self, action: str) -> tuple[str, float, bool, Info]:
        turn = self._player.act(action)
        return turn.observation, float(turn.won), turn.won, self._info(turn, turn.observation)

    def _save(self) -> Any:
        return (self._player.save(), self._is_valid)

    def _load(self, state: Any) -> Info:
        saved, is_valid = state
        return self._info(self._player.load(saved)._replace(is_valid=is_valid), self._observation)

    def _info(self, turn: Shown, observation: str) -> Info:
        self._is_valid = turn.is_valid
        return {
            "anchor": observation if self._anchor == "observation" else self._player.fingerprint(),
            "admissible_actions": turn.commands,
            "is_valid": turn.is_valid,
            "won": turn.won,
            "score": float(turn.won),
        }


def _make_player(engine: str) -> Player:
    if engine == "fast":
        return FastPlayer()
    from envs.alfworld.original import OriginalPlayer

    return OriginalPlayer()
