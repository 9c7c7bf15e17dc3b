"""What a check found, and how a list of checks is carried out: one that breaks fails, and the others continue."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from envs.base.errors import error_line

MOST = 3  # failures of one check that are reported

RUBBISH = (
    "", " ", "\n\n", "\x00", "\ud800", "🏠" * 50, "a" * 100_000, "'; DROP TABLE tasks; --", "../../etc/passwd",
    "{{7*7}}", "%s%n", "<script>alert(1)</script>", "__import__('os').system('true')", "action: ", "[]", "search[",
    "search[]", "click[\x1b]", "go to", "take from", "\u202eexit", "NaN", "-1", "0" * 400,
)  # fmt: skip
"""Strings that a careless reader of text trips over."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one check found.

    Attributes:
        name: what was checked, in words.
        failures: what is wrong, a line each; empty if all is well.
    """

    name: str
    failures: tuple[str, ...]


Check = Callable[[], Iterable[str]]


def run_checks(checks: Iterable[tuple[str, Check]]) -> Iterator[Outcome]:
    """Carry out each check; an exception is a failure of its check."""
    for name, check in checks:
        failures: list[str] = []
        try:
            failures.extend(islice(check(), MOST))
        except Exception as error:  # the code that is checked is a stranger's: whatever it raises is the finding
            failures.append(f"it raised {error_line(error)}")
        yield Outcome(name, tuple(failures))
