"""What to type for an extra: the one place that knows under which name this project is distributed.

The name ``agentbench`` on the public package index is another project's. The distribution is called
``agentbench-credit``; what is imported keeps its names.
"""

from __future__ import annotations

import shlex
from pathlib import Path

DISTRIBUTION = "agentbench-credit"

CHECKOUT = Path(__file__).resolve().parents[2]


def how_to_install(extra: str = "") -> str:
    """Return the command that installs this project with an extra (``train``), or without any.

    In a checkout it installs the checkout, named by its path where the command is typed somewhere else; a wheel is
    asked for by the distribution's name.
    """
    wanted = f"[{extra}]" if extra else ""
    if not (CHECKOUT / "pyproject.toml").is_file():
        return f"pip install {_quoted(DISTRIBUTION + wanted)}"
    here = "." if Path.cwd() == CHECKOUT else str(CHECKOUT)
    return f"pip install -e {_quoted(here + wanted)}"


def _quoted(what: str) -> str:
    return f"'{what}'" if "[" in what and "'" not in what else shlex.quote(what)
