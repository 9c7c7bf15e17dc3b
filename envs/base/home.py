"""Where data sets lie: ``$AGENTBENCH_HOME``, or the user's cache folder."""

from __future__ import annotations

import os
from pathlib import Path


def data_home() -> Path:
    """Return the folder of installed data sets (it may not exist yet).

    ``AGENTBENCH_HOME`` if set and not empty, else ``$XDG_CACHE_HOME/agentbench``, else ``~/.cache/agentbench``.
    """
    if chosen := os.environ.get("AGENTBENCH_HOME"):
        return Path(chosen).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "agentbench"
