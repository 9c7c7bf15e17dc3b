"""Options of a policy as a user writes them: read as the fields of its dataclass of options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from envs.base.options import declared, read, resolve

Options = TypeVar("Options")


def read_options(kind: type[Options], values: Mapping[str, Any], owner: str = "") -> Options:
    """Make a dataclass of options from values by name; a whole number for a field of numbers becomes a float.

    Args:
        kind: the dataclass, whose annotations say what is allowed (:mod:`envs.base.options`).
        values: by name of the field.
        owner: whose options they are, in words, for messages.

    Raises:
        UserError: one line that names every unknown option or value that is not allowed.
    """
    known = declared(kind)
    found = resolve(owner, known, values, is_quiet=True)
    return kind(**{name: _as_float(known[name].kind, value) for name, value in found.items()})


def _as_float(kind: Any, value: Any) -> Any:
    """Make a float of a whole number where no whole number is meant: digests distinguish 0 and 0.0."""
    if type(value) is not int:
        return value
    try:
        return value if read(kind, 0.5) != 0.5 else float(value)
    except ValueError:
        return value
