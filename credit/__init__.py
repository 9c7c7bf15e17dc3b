"""Credit: one table of steps in, one advantage a step out; every scheme a pure function."""

from typing import TYPE_CHECKING

from credit import catalogue
from credit.catalogue import *  # noqa: F403 (every scheme under its name: credit.gigpo, ...)
from credit.masks import from_tokens as from_tokens
from credit.masks import to_tokens as to_tokens
from credit.masks import turns as turns
from credit.registry import SCHEMES as SCHEMES
from credit.registry import advantages as advantages
from credit.scheme import Scheme as Scheme
from credit.steps import CreditError as CreditError
from credit.steps import Steps as Steps
from credit.tools.health import Health as Health
from credit.tools.health import health as health

if not TYPE_CHECKING:  # type checkers take the names from the imports, and no list that is computed
    __all__ = ["SCHEMES", "CreditError", "Health", "Scheme", "Steps"]
    __all__ += ["advantages", "from_tokens", "health", "to_tokens", "turns"]
    __all__ += [name for name in vars(catalogue) if not name.startswith("_")]
