"""What one finished episode is: a record of its steps, and how it is written as one line of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from itertools import chain
from operator import attrgetter
from typing import Any, Literal, get_args

from agentbench.runs.lines import is_number
from envs.base.digest import checked_line, read_line, sealed_line
from envs.base.errors import UserError
from envs.base.safe_text import cut_short, without_half_characters
from policies.contract import Response

SCHEMA_VERSION = 2
MAX_TEXT = 20_000
"""Longest action or answer, and longest text of an imported log, in characters, that is stored whole by default."""

Outcome = Literal["success", "failure", "error"]
OUTCOMES: tuple[str, ...] = get_args(Outcome)
Key = tuple[str, int]
"""What names an episode within a run: (task id, trial)."""


@dataclass(slots=True)
class Step:
    """One observation and the action that answered it.

    Attributes:
        observation: what the policy saw.
        anchor: key of the situation before the action; equal keys in a task are the same situation.
        admissible_actions: the actions that were offered, or None where the environment cannot list them.
        action: what the policy did.
        reward: what the environment gave for it.
        is_valid: whether the environment understood the action.
        terminated: the episode ended by itself with this step.
        truncated: the episode was cut after this step.
        score: progress in [0, 1] after the action.
        text: a language model's whole answer, where there is more than the action.
        details: whatever the policy wanted recorded.
        trace: what a trainer needs of the answer (:class:`policies.contract.Response`); in memory only.
        point: how to go back to before this step (:class:`agentbench.rollout.jobs.Point`), where other episodes may
            branch off; in memory only.
    """

    observation: str
    anchor: str
    admissible_actions: list[str] | None
    action: str
    reward: float
    is_valid: bool
    terminated: bool
    truncated: bool
    score: float
    text: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    trace: Any = None
    point: Any = None

    @property
    def response(self) -> Response:
        """What the policy answered in this step."""
        return Response(self.action, self.text, self.details, self.trace)


@dataclass(slots=True)
class Episode:
    """One rollout of one task; or a branch, which begins where another episode of the task had come to.

    A branch holds its own steps alone: those that it shares are its parent's (:mod:`agentbench.runs.trees`).

    Attributes:
        task_id, task_name, task_type: the task (see :class:`envs.Task`).
        instruction: the text of the task.
        trial: 0, 1, … when a task is played several times.
        outcome: ``success``, ``failure``, or ``error``: the infrastructure failed, the agent was not judged.
        won: solved at the end (False for an error).
        score: the benchmark's score at the end, in [0, 1].
        steps: the steps, in order.
        final_observation, final_anchor: what came after the last action.
        error: what went wrong, for the outcome ``error``.
        timing: seconds and attempts; never part of what two runs are compared by.
        parent: of a branch, the trial that it continues; None for an episode from the start.
        fork: of a branch, how many steps it shares with its parent: its first own step has this index.
        fork_by: of a branch, how its worker came to where it begins: ``snapshot``, or ``replay`` of the actions before.
    """

    task_id: str
    task_name: str
    task_type: str
    instruction: str
    trial: int
    outcome: Outcome
    won: bool
    score: float
    steps: list[Step]
    final_observation: str = ""
    final_anchor: str = ""
    error: str | None = None
    timing: dict[str, float] = field(default_factory=dict)
    parent: int | None = None
    fork: int = 0
    fork_by: str | None = None

    @property
    def is_judged(self) -> bool:
        """Whether there is something to learn from: it has steps, and did not end in an error."""
        return is_judged(self.outcome) and bool(self.steps)

    @property
    def key(self) -> Key:
        """The episode's name within its run."""
        return (self.task_id, self.trial)


def is_judged(outcome: Any) -> Any:
    """Tell which outcomes say something about the agent: all but errors of the infrastructure.

    Args:
        outcome: an outcome, or an array or pandas column of them.

    Returns:
        a bool, or an array or column of them.
    """
    return outcome != "error"


def next_anchors(episode: Episode) -> list[str]:
    """Return the anchor of the situation after each step, of the same length as the steps."""
    return [step.anchor for step in episode.steps[1:]] + [episode.final_anchor] * bool(episode.steps)


_STEP_FIELDS = [each.name for each in fields(Step) if each.name not in ("trace", "point")]
_values_of = attrgetter(*_STEP_FIELDS)
BRANCH_FIELDS = ("parent", "fork", "fork_by")
"""Fields that only a branch is stored with: an episode from the start is the same line as ever."""
_EPISODE_FIELDS = [each.name for each in fields(Episode) if each.name not in BRANCH_FIELDS]


def to_line(episode: Episode) -> str:
    """Write an episode as one line of JSON with a checksum: see :func:`envs.base.digest.sealed_line`.

    Raises:
        TypeError, ValueError: it holds a value that could not be read again.
    """
    return sealed_line(to_record(episode))


def to_record(episode: Episode) -> dict[str, Any]:
    """Return an episode as a JSON object, which :func:`from_record` reads.

    Raises:
        ValueError: it holds a value that could not be read again.
    """
    _check_types(episode)
    steps = [dict(zip(_STEP_FIELDS, _values_of(step), strict=True)) for step in episode.steps]
    names = _EPISODE_FIELDS if episode.parent is None else [*_EPISODE_FIELDS, *BRANCH_FIELDS]
    return {name: getattr(episode, name) for name in names} | {"schema": SCHEMA_VERSION, "steps": steps}


def from_line(line: str | bytes) -> Episode:
    """Read what :func:`to_line` wrote; lines of schema 1 had no checksum.

    Raises:
        ValueError: the line is not an episode, or not what was written.
        UserError: it is of a newer schema than this version knows.
    """
    record, has_checksum = read_line(line)
    if ("\\ud" if isinstance(line, str) else b"\\ud") in line:  # type: ignore[operator]
        record = without_halves(record)  # half a character, or a whole one beyond the first 65,536
    if not has_checksum and record.get("schema") != 1:
        raise ValueError("its checksum is missing")
    return from_record(record)


def from_record(record: Mapping[str, Any]) -> Episode:
    """Read what :func:`to_record` gave.

    Raises:
        ValueError: it is not an episode.
        UserError: it is of a newer schema than this version knows.
    """
    try:
        if record["schema"] > SCHEMA_VERSION:  # no damage, which would be cut out: the episode is finished, and whole
            raise UserError("an episode of this run was written by a newer agentbench: upgrade to continue")
        known = {name: value for name, value in record.items() if name != "schema"}
        episode = Episode(**{**known, "steps": [Step(**step) for step in record["steps"]]})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not an episode: {error}") from error
    _check_types(episode)
    return episode


def key_of(line: bytes) -> Key:
    """Return the key of an episode's line, without reading its steps where that can be known.

    Raises:
        ValueError: the line is not an episode, or not what was written.
        UserError: as :func:`from_line`.
    """
    text, has_checksum = checked_line(line)
    before, found, _ = text.partition(b',"steps":[')  # within a text its quotes would be escaped
    if not has_checksum or not found or b"\\ud" in before:
        return from_line(line).key
    try:
        record = json.loads(before + b"}")
        task_id, trial = record["task_id"], record["trial"]
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not an episode: {error}") from error
    if not isinstance(task_id, str) or type(trial) is not int:
        raise ValueError("not an episode: a value is of another kind")
    return task_id, trial


def without_halves(value: Any) -> Any:
    """Return a JSON value without halves of characters in its texts: an environment may have shown some."""
    if isinstance(value, str):
        return without_half_characters(value)
    if isinstance(value, list):
        return [without_halves(each) for each in value]
    return (
        {without_half_characters(name): without_halves(each) for name, each in value.items()}
        if isinstance(value, dict)
        else value
    )


def _check_types(episode: Episode) -> None:
    """Refuse values that no table could hold."""
    steps = episode.steps
    texts = [episode.task_id, episode.task_name, episode.task_type, episode.instruction, episode.outcome]
    texts += [text for step in steps for text in (step.observation, step.anchor, step.action)]
    maybe = [episode.final_observation, episode.final_anchor, episode.error, *(step.text for step in steps)]
    truths = [flag for step in steps for flag in (step.is_valid, step.terminated, step.truncated)]
    numbers = [episode.score, *(number for step in steps for number in (step.reward, step.score))]
    offered = [step.admissible_actions for step in steps if step.admissible_actions is not None]
    if not (
        _are(str, texts)
        and _are(str, [text for text in maybe if text is not None])
        and _are(bool, (episode.won, *truths))
        and all(map(is_number, (*numbers, episode.trial)))
        and _are(list, offered)
        and _are(str, chain.from_iterable(offered))
        and isinstance(episode.trial, int)
        and not isinstance(episode.trial, bool)
        and episode.outcome in OUTCOMES
        and _is_branch_or_none(episode)
    ):
        raise ValueError("not an episode: a value is of another kind")


def _are(kind: type, values: Iterable[Any]) -> bool:
    """Return whether all values are of a kind: by their types first, which are one or two of thousands of values."""
    return all(issubclass(each, kind) for each in set(map(type, values)))


def _is_branch_or_none(episode: Episode) -> bool:
    """Return whether parent and fork are those of a branch, or of none. A parent is always played before."""
    if episode.parent is None:
        return episode.fork == 0 and episode.fork_by is None
    return (
        type(episode.parent) is int
        and 0 <= episode.parent < episode.trial
        and type(episode.fork) is int
        and episode.fork >= 0
        and episode.fork_by in ("snapshot", "replay")
    )


def make_step(
    observation: str,
    before: Mapping[str, Any],
    action: str,
    reward: float,
    terminated: bool,
    truncated: bool,
    after: Mapping[str, Any],
    *,
    text: str | None = None,
    details: dict[str, Any] | None = None,
    trace: Any = None,
    max_text: int = MAX_TEXT,
) -> Step:
    """Record a step from what stood before the action (observation, ``info``) and what the environment answered.

    The observation is kept whole, as the policy saw it; action and answer are cut to ``max_text`` characters.
    """
    offered = before.get("admissible_actions")
    return Step(
        observation=observation,
        anchor=str(before["anchor"]),
        admissible_actions=None if offered is None else list(offered),
        action=clean_text(action, max_text),
        reward=reward,
        is_valid=bool(after["is_valid"]),
        terminated=bool(terminated),
        truncated=bool(truncated),
        score=float(after["score"]),
        text=None if text is None else clean_text(text, max_text),
        details=details or {},
        trace=trace,
    )


def clean_text(text: str, max_text: int = MAX_TEXT) -> str:
    """Make a text storable: no lone surrogates, at most ``max_text`` characters and a mark of the cut."""
    return cut_short(without_half_characters(text), max_text)
