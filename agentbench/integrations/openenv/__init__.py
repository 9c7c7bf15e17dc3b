"""Our environments as servers of OpenEnv: ``agentbench serve``, and the client of such a server.

The folder has the layout of an OpenEnv package (``openenv.yaml``, ``models.py``, ``client.py``, ``server/app.py``).
"""

from __future__ import annotations

from agentbench.integrations.versions import OPENENV, require

require("openenv", OPENENV, "openenv")
