"""Options of a policy as a user writes them: checked against the fields of its dataclass of options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from envs.errors import UserError

Options = TypeVar("Options")


def read_options(kind: type[Options], values: Mapping[str, Any]) -> Options:
    """Make a dataclass of options from values by name; ``on`` and ``off`` are true and false.

    Raises:
        UserError: one line that names every value of a wrong type, without repeating it.
    """
    adapter = TypeAdapter(with_config(ConfigDict(extra="forbid"))(kind))
    try:
        return adapter.validate_python(dict(values))
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, each['loc'][:1]))}: {each['msg'].lower()}" for each in error.errors()]
        raise UserError(f"bad option: {'; '.join(dict.fromkeys(problems))}") from None
