"""The one exception that stands for a mistake the user can fix, and the help that goes with it."""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path


class UserError(Exception):
    """Something the user gave is wrong; the text says what, and what to do. Programs exit with code 2."""

    exit_code = 2


class ContractError(ValueError):
    """An environment gave what its contract does not allow; the text names the value. It costs the episode."""


def unknown(kind: str, name: str, known: Iterable[str], listed_by: str | Sequence[str] = ()) -> UserError:
    """Make the error for a name that does not exist, with the nearest names that do, in small or capital letters.

    Args:
        kind: what the name stands for, in words (``"environment"``).
        name: the name as it was given.
        known: every name that would have been accepted.
        listed_by: the commands that list them, where there are some.
    """
    names = sorted(set(known))
    by_small = {each.lower(): each for each in names}
    close = [by_small[each] for each in difflib.get_close_matches(name.lower(), by_small, n=3, cutoff=0.5)]
    commands = [f"'{each}'" for each in ([listed_by] if isinstance(listed_by, str) else listed_by) if each]
    listing = f"{', '.join(commands[:-1])} and {commands[-1]} list" if commands[1:] else f"{''.join(commands)} lists"
    more = f" ({listing} them)" if commands else ""
    if close:
        return UserError(f"unknown {kind} {name!r}: did you mean {' or '.join(close)}?{more}")
    listed = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    return UserError(f"unknown {kind} {name!r}: there is {listed or 'none'}{more}")


def error_line(error: BaseException) -> str:
    """Say in one line what somebody else's code raised, and where: ``KeyError: 'x' (module.py:12)``."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"
