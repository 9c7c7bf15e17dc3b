"""What a reader of a run's numbers must know: that it is not finished, what was left out of it, and its notes.

Every command that shows a number of a run says it, so a rate over a part of the episodes is never shown as the whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agentbench.runs.journal import has_journal
from agentbench.runs.run import Run
from envs.base.terminal import make_console, plain

Note = tuple[str, str]
"""What kind of note it is (``not finished``, ``left out``, ``note``), and the text."""


def expected_episodes(run: Run) -> int:
    """Return how many episodes belong to a run; 0 where its record does not say."""
    identity = run.identity
    played = identity.get("number_of_tasks", 0) * identity.get("trials", 1)
    read = _imported(run).get("episodes", 0)
    return int(played or (read if isinstance(read, int) else 0))


def run_notes(run: Run) -> list[Note]:
    """Return what must be said beside every number of a run."""
    return [*state_notes(run), *(("note", str(note)) for note in run.config.get("notes", []))]


def state_notes(run: Run) -> list[Note]:
    """Return whether episodes are missing: not there yet, or left out when the run was imported."""
    found: list[Note] = []
    expected = expected_episodes(run)
    if expected and has_journal(run.folder):
        there = len(run.episode_columns("trial")["trial"])
        if there < expected:
            found.append(("not finished", f"{there} of {expected} episodes; the same command continues"))
    imported = _imported(run)
    left_out = imported.get("left_out", 0)
    if isinstance(left_out, int) and left_out > 0:
        reasons = [each for each in imported.get("reasons") or [] if isinstance(each, dict)]
        told = "; ".join(f"{each.get('first')}: {each.get('reason')}" for each in reasons[:2])
        more = "; …" if len(reasons) > 2 else ""
        what = f"{left_out} part{'s' * (left_out != 1)} of the logs could not be read, and no number counts them"
        found.append(("left out", f"{what} ({told}{more})"))
    return found


def print_state(runs: Iterable[tuple[str, Run]]) -> None:
    """Print what is missing in each of several runs, by name."""
    for name, run in runs:
        for kind, text in state_notes(run) if isinstance(run, Run) else ():  # a table alone has no record
            make_console(stderr=True).print(plain(f"{kind}:", "yellow"), plain(f"{name}: {text}"))


def _imported(run: Run) -> dict[str, Any]:
    found = run.config.get("imported")
    return found if isinstance(found, dict) else {}
