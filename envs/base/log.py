"""The one log of the program: what is worth saying beside a result, and does not stop anything."""

from __future__ import annotations

import logging

log = logging.getLogger("agentbench")
