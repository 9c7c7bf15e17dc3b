"""What a run's answers were like: how many broke the rules and why, were cut, went in loops, and what they cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from agentbench.evaluation.summary import OVERALL
from agentbench.runs.answers import Answer, answer_of
from agentbench.runs.episodes import Episode, Step, is_judged
from agentbench.runs.journal import read_sorted
from agentbench.runs.run import Run
from envs.base.safe_text import is_cut_short

LOOP = 3
"""So often the same action on the same observation in one episode, one after the other or not, is a loop."""
MOST = 0.5
"""Share of answers from which a fault of theirs is warned of."""


@dataclass(slots=True)
class Tally:
    """Counts over the episodes without an error of the infrastructure, of one task type or all.

    Attributes:
        episodes, steps: how many.
        refused: steps whose action the environment did not understand.
        answers: steps with something recorded of the answer; the next two are of these.
        invalid, cut: answers that broke the rules; that ran into the longest length.
        loops: episodes with a loop (:data:`LOOP`).
    """

    episodes: int = 0
    steps: int = 0
    refused: int = 0
    answers: int = 0
    invalid: int = 0
    cut: int = 0
    loops: int = 0


@dataclass(slots=True)
class Answers:
    """What a run's answers were like.

    Attributes:
        by_type: counts by task type, and of all under :data:`agentbench.evaluation.summary.OVERALL`.
        reasons: why answers broke the rules, and how many.
        models: who answered, and how many.
        tokens: sums by kind, of the answers where they were counted.
        shortened: number of steps in which a text was stored cut.
    """

    by_type: dict[str, Tally] = field(default_factory=lambda: {OVERALL: Tally()})
    reasons: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    shortened: int = 0

    @property
    def overall(self) -> Tally:
        """The counts of all task types."""
        return self.by_type[OVERALL]


def answers_of(run: Run) -> Answers:
    """Go through a run's episodes and count; those that ended in an error of the infrastructure are left out."""
    return count_answers(read_sorted(run.folder))


def count_answers(episodes: Iterable[Episode]) -> Answers:
    """Count what the answers of episodes were like; those with an error are left out."""
    found = Answers()
    for episode in episodes:
        if not is_judged(episode.outcome):
            continue
        answers = [answer_of(step.details) for step in episode.steps]
        for answer in filter(lambda each: each.is_known, answers):
            found.reasons.update([answer.invalid] if answer.invalid else [])
            found.models.update([answer.model] if answer.model else [])
            for kind in ("prompt_tokens", "cached_tokens", "answer_tokens"):
                found.tokens[kind] += getattr(answer, kind) or 0
        found.shortened += sum(map(_is_shortened, episode.steps))
        for label in (OVERALL, episode.task_type):
            _add(found.by_type.setdefault(label, Tally()), episode, answers)
    return found


def has_loop(steps: Iterable[Step]) -> bool:
    """Return whether an action met the same observation :data:`LOOP` times, one after the other or not."""
    pairs = Counter((step.observation, step.action) for step in steps)
    return max(pairs.values(), default=0) >= LOOP


def warnings(answers: Answers) -> list[str]:
    """Say what is wrong where most answers are cut or invalid, and what to do about it."""
    all_ = answers.overall
    said = []
    if all_.answers and all_.cut / all_.answers >= MOST:
        said.append(
            f"{all_.cut / all_.answers:.0%} of the answers were cut at the longest length: raise --max-tokens, or let "
            "the model think less (--thinking off)"
        )
    if all_.answers and all_.invalid / all_.answers >= MOST:
        said.append(
            f"{all_.invalid / all_.answers:.0%} of the answers broke the format, mostly: "
            f"{answers.reasons.most_common(1)[0][0]}. Read some with agentbench replay RUN --episode 0. Causes: "
            "too short a longest answer (--max-tokens), thinking that never ends (--thinking off), a base model, or a "
            "wrong chat template (--template)"
        )
    elif all_.steps and all_.refused / all_.steps >= MOST:
        said.append(
            f"the environment did not understand {all_.refused / all_.steps:.0%} of the actions: read some with "
            "agentbench replay RUN --episode 0 --actions, and compare them with the actions that were offered"
        )
    return said


def answer_row(answers: Answers) -> dict[str, Any]:
    """Return the counts of a run as one row of a table: shares in [0, 1], sums of tokens, the commonest model."""
    all_ = answers.overall
    return {
        "answers": all_.answers,
        "invalid_share": all_.refused / max(1, all_.steps),
        "broke_format_share": all_.invalid / max(1, all_.answers),
        "cut_share": all_.cut / max(1, all_.answers),
        "loop_share": all_.loops / max(1, all_.episodes),
        **{kind: answers.tokens[kind] for kind in ("prompt_tokens", "cached_tokens", "answer_tokens")},
        "model": next((name for name, _ in answers.models.most_common(1)), ""),
    }


def _add(tally: Tally, episode: Episode, answers: list[Answer]) -> None:
    tally.episodes += 1
    tally.steps += len(episode.steps)
    tally.refused += sum(not step.is_valid for step in episode.steps)
    tally.answers += sum(answer.is_known for answer in answers)
    tally.invalid += sum(answer.invalid is not None for answer in answers)
    tally.cut += sum(answer.cut for answer in answers)
    tally.loops += has_loop(episode.steps)


def _is_shortened(step: Step) -> bool:
    return any(map(is_cut_short, (step.observation, step.action, step.text)))
