"""The first reading of logs: what they hold, what is there twice, and what a reader of the run must be told."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from agentbench.importing.parts import Bad, Options, Read
from agentbench.runs.episodes import Episode

_SHOWN = 3


@dataclass(slots=True)
class Survey:
    """What a first reading found.

    Attributes:
        kept: number of episodes that belong to the run.
        bad: what is no episode, and why.
        models: names of the models.
        envs: names of the environments within which the logs' ids name tasks.
        played: the environments of ours that were played; None among them for another, or an unknown one.
        protected: why some of the episodes may not be passed on in the open; empty where all may.
        passed_over: numbers of the parts that are there again in a newer log, or of another model than asked for.
        notes: what a reader of the run must know.
    """

    kept: int = 0
    bad: list[Bad] = field(default_factory=list)
    models: set[str] = field(default_factory=set)
    envs: set[str] = field(default_factory=set)
    played: set[str | None] = field(default_factory=set)
    protected: str = ""
    passed_over: set[int] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    def placed(self, episode: Episode, env: str | None) -> Episode:
        """Return an episode whose task is told from those of the other environments."""
        if len(self.envs) > 1 and env is not None:
            plain = episode.task_type in ("default", "imported", env)
            episode.task_type = env if plain else f"{env}:{episode.task_type}"
            episode.task_id = f"{env}:{episode.task_id}"
            episode.task_name = f"{env}:{episode.task_name}"
        return episode


def survey(parts: Iterable[Read | Bad], options: Options) -> Survey:
    """Go through all parts."""
    found = Survey()
    seen: list[tuple[int, Read]] = []
    tasks = _Tasks()
    cut = 0
    for number, part in enumerate(parts):
        if isinstance(part, Bad):
            found.bad.append(part)
            continue
        if part.model:
            found.models.add(part.model)
        if options.model is not None and part.model != options.model:
            found.passed_over.add(number)
            continue
        if part.env is not None:
            found.envs.add(part.env)
        found.played.add(part.played)
        found.protected = found.protected or part.protected
        cut += _is_cut(part.episode, options)
        tasks.add(part)
        if part.same_as:
            seen.append((number, _light(part)))
        found.kept += 1
    again = _older(seen)
    found.passed_over |= again
    found.kept -= len(again)
    if again:
        found.notes.append(f"{len(again)} samples are in several of the logs (a retry, or a copy): the newest counts")
    if cut:
        found.notes.append(
            f"{cut} episodes have texts of more than {options.max_text:,} characters, which are stored cut (--max-text)"
        )
    if len(found.envs) < 2:  # the same id in two environments is two tasks
        found.notes += tasks.notes()
    return found


def _light(part: Read) -> Read:
    """Return a part without its steps, which would fill the memory."""
    part.episode.steps = []
    return part


def _older(seen: list[tuple[int, Read]]) -> set[int]:
    """Return the numbers of the samples of which there is a newer one: by the log's time, then by the order."""
    newest: dict[str, tuple[str, int]] = {}
    for number, part in seen:
        for name in part.same_as:
            newest[name] = max(newest.get(name, ("", -1)), (part.created, number))
    return {number for number, part in seen if any(newest[name][1] != number for name in part.same_as)}


def _is_cut(episode: Episode, options: Options) -> bool:
    texts = [text for step in episode.steps for text in (step.observation, step.action, step.text or "")]
    return any(len(text) > options.max_text for text in (*texts, episode.final_observation, episode.instruction))


class _Tasks:
    """Whether the episodes that the logs make one task look like rollouts of one."""

    def __init__(self) -> None:
        self.openings: dict[str, set[str]] = defaultdict(set)
        self.courses: dict[tuple[str, str], set[str]] = defaultdict(set)
        self.names: dict[str, str] = {}
        self.by_message: dict[str, Counter[str]] = defaultdict(Counter)

    def add(self, part: Read) -> None:
        task = part.episode.task_id
        self.names[task] = part.episode.task_name
        if part.opening:
            self.openings[task].add(part.opening)
        if part.went_on:
            begun, then = part.went_on
            if not part.is_named:
                self.courses[task, begun].add(then)
            elif part.by_message:
                self.courses[f"by message {part.by_message}", begun].add(then)
        if part.by_message and part.is_named:
            self.by_message[part.by_message][task] += 1

    def notes(self) -> list[str]:
        notes = []
        if apart := [task for task, openings in self.openings.items() if len(openings) > 1]:
            notes.append(
                f"episodes of one task begin differently, so they may be of several tasks: {self._listed(apart)}; "
                "--task-field names the field that identifies the task"
            )
        split = {task for (task, _), then in self.courses.items() if len(then) > 1}
        if apart := sorted(split & self.names.keys()):
            notes.append(
                "the logs name no task, and episodes with the same first message continue differently before the agent "
                f"has acted otherwise, so they may be of several tasks: {self._listed(apart)}; --task-field names the "
                "field that identifies the task"
            )
        alike = [
            ids
            for message, ids in self.by_message.items()
            if len(ids) > 1 and max(ids.values()) == 1 and f"by message {message}" not in split
        ]
        if alike and all(max(ids.values()) == 1 for ids in self.by_message.values()):
            notes.append(
                f"every id is there once, though {sum(map(len, alike))} episodes begin with a message that others "
                "begin with too; where 'id' names the episode and not the task, use --task-field messages"
            )
        return notes

    def _listed(self, tasks: list[str]) -> str:
        shown = ", ".join(f"{self.names[task]:.60}" for task in tasks[:_SHOWN])
        return f"{len(tasks)} task{'s' * (len(tasks) != 1)} ({shown}{', …' if len(tasks) > _SHOWN else ''})"
