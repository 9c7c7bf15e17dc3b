"""The one exception that stands for a mistake the user can mend, and the help that goes with it."""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable
from pathlib import Path


class UserError(Exception):
    """Something the user gave is wrong; the text says what, and what to do. Programs exit with code 2."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Make the error for a name that does not exist, with the nearest names that do.

    Args:
        kind: what the name stands for, in words (``"environment"``).
        name: the name as it was given.
        known: every name that would have been accepted.
    """
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return UserError(f"unknown {kind} {name!r}: did you mean {' or '.join(close)}?")
    listed = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    return UserError(f"unknown {kind} {name!r}: there is {listed or 'none'}")


def told(error: BaseException) -> str:
    """Say in one line what somebody else's code raised, and where: ``KeyError: 'x' (module.py:12)``."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"
