"""One ALFWorld game as data: its task sentence, its PDDL problem and a list of commands that wins it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from envs.base.digest import short_digest

TASK_TYPES = {
    "pick_and_place_simple": "Pick",
    "look_at_obj_in_light": "Look",
    "pick_clean_then_place_in_recep": "Clean",
    "pick_heat_then_place_in_recep": "Heat",
    "pick_cool_then_place_in_recep": "Cool",
    "pick_two_obj_and_place": "Pick2",
}
"""Start of the official folder name of a game -> the word for its kind of task in result tables."""

SPLITS = {"train": 3553, "valid_seen": 140, "valid_unseen": 134, "valid_train": 200}
"""The official splits and how many games each has. ``valid_train`` is an extra that papers do not report."""

SENTENCE_START = "Your task is to: "
_SENTENCE_IN_GRAMMAR = re.compile(r'"' + SENTENCE_START + r'(?:[^"\\]|\\.)*"')

_GRAMMAR_SIGNS = re.compile(r"[{}\[\]#|<>;\"\\\x00-\x1f]")
_SPLIT = re.compile(r"\w[\w.-]{0,63}", re.ASCII)


class BadGameError(ValueError):
    """The text of a game cannot be understood; the message says why."""


@dataclass(frozen=True)
class Game:
    """One game.

    Attributes:
        name: ``<split>/<task folder>/<trial>`` of the official data, or ``generated:<seed>:<index>``.
        split: the list of tasks it belongs to.
        task_type: ``Pick``, ``Look``, ``Clean``, ``Heat``, ``Cool`` or ``Pick2``.
        sentence: what is to be done, as the game says it after ``Your task is to: ``, with its final dot.
        problem: text of the PDDL problem (objects, facts at the start, goal).
        walkthrough: commands that win the game, played in order from its start.
    """

    name: str
    split: str
    task_type: str
    sentence: str
    problem: str
    walkthrough: tuple[str, ...]

    @cached_property
    def id(self) -> str:
        """Id derived from sentence and problem alone: ``heat-3f09c1d2a4b7``.

        The name of the game and of its problem, upper case and white space do not count.
        """
        body = self.problem.partition("(:objects")[2] or self.problem
        text = " ".join(f"{self.sentence} {body}".lower().split())
        return f"{self.task_type.lower()}-{short_digest(text, 12)}"


@dataclass(frozen=True, slots=True)
class Damaged:
    """A game, or the rest of an archive, that could not be read.

    Attributes:
        name: the game's name, or the path of the file.
        reason: why not, in one line.
    """

    name: str
    reason: str


def parse_game_file(name: str, text: str | bytes) -> Game | None:
    """Read the text of an official ``game.tw-pddl`` file (JSON).

    Args:
        name: ``<split>/<task folder>/<trial>``.
        text: what the file holds.

    Returns:
        The game, or ``None`` where it is not a playable one: marked as unsolvable, or of a kind (sliced
        objects, movable receptacles) that the original environment passes over too.

    Raises:
        BadGameError: the text is cut short or is no game.
    """
    if "movable" in name or "Sliced" in name:
        return None
    content = _read_object(text)
    if not content.get("solvable", False):
        return None
    grammar = _field(content, "grammar", str)
    found = _SENTENCE_IN_GRAMMAR.search(grammar)
    if found is None:
        raise BadGameError(f"its grammar has no sentence {SENTENCE_START!r}")
    try:
        sentence = json.loads(found.group())[len(SENTENCE_START) :]
    except ValueError as error:
        raise BadGameError(f"the sentence in its grammar is no JSON text ({error})") from error
    return _make(name, sentence, _field(content, "pddl_problem", str), _field(content, "walkthrough", list))


def parse_compact_line(line: str | bytes) -> Game:
    """Read one line of a compact file of games: JSON with ``split, id, task, pddl_problem, walkthrough``.

    Raises:
        BadGameError: the line is cut short or is no game.
    """
    content = _read_object(line)
    name = f"{_field(content, 'split', str)}/{_field(content, 'id', str)}"
    problem, walkthrough = _field(content, "pddl_problem", str), _field(content, "walkthrough", list)
    return _make(name, _field(content, "task", str), problem, walkthrough)


def check_sentence(sentence: str) -> None:
    """Refuse a task sentence that the original engine would take for a program.

    It becomes a part of a TextWorld grammar, in which ``{…}`` is evaluated as Python: a game from a stranger could run
    anything.

    Raises:
        BadGameError: there is one of the grammar's own signs in it.
    """
    if found := _GRAMMAR_SIGNS.search(sentence):
        raise BadGameError(f"its sentence has {found[0]!r} in it, which the original engine would read as a program")


def _read_object(text: str | bytes) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise BadGameError(f"not valid JSON, perhaps cut short ({error})") from error
    if not isinstance(content, dict):
        raise BadGameError("not a JSON object")
    return content


def _field(content: dict[str, Any], key: str, kind: type) -> Any:
    if not isinstance(content.get(key), kind):
        raise BadGameError(f"it has no {key!r}")
    return content[key]


def _make(name: str, sentence: str, problem: str, walkthrough: list[Any]) -> Game:
    split, _, rest = name.partition("/")
    folder = rest.partition("-")[0]
    if folder not in TASK_TYPES:
        raise BadGameError(f"the folder name {rest.partition('/')[0]!r} starts with no known task type")
    if not _SPLIT.fullmatch(split):
        raise BadGameError(f"{split!r:.80} is no name of a split: letters, digits, _, - and dots within")
    check_sentence(sentence)
    if not all(isinstance(command, str) for command in walkthrough):
        raise BadGameError("its walkthrough is not a list of commands")
    if "(:init" not in problem or "(:goal" not in problem or problem.count("(") != problem.count(")"):
        raise BadGameError("its PDDL problem is incomplete")
    return Game(name, split, TASK_TYPES[folder], sentence, problem, tuple(walkthrough))
