"""Our environments in verifiers 0.4: ``vf-eval agentbench-verifiers --env.taskset.env alfworld``.

verifiers finds an environment as a module at the top level, so a small package of its own (the ``pyproject.toml`` in
this folder) puts ``agentbench_verifiers`` there: ``pip install -e agentbench/integrations/verifiers``.
"""

from __future__ import annotations

from agentbench.integrations.versions import VERIFIERS, require

require("verifiers", VERIFIERS, "verifiers")
