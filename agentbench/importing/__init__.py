"""Importing: episodes that were made elsewhere become an ordinary run. Each format has a reader of its own.

``chat``        conversations as JSON, one a record (:mod:`agentbench.importing.chat`)
``inspect``     logs of Inspect, ``.eval`` or ``.json`` (:mod:`agentbench.importing.inspect_log`)
``verifiers``   ``results.jsonl`` of verifiers (:mod:`agentbench.importing.verifiers`)
``verl-agent``  rollout dumps of verl-agent, a step a line (:mod:`agentbench.importing.verl_agent`)
``verl``        rollout dumps of verl, a rollout a line (:mod:`agentbench.importing.verl`)
``trl``         completions of TRL's trainers (:mod:`agentbench.importing.trl`)
``atif``        trajectories of Harbor (:mod:`agentbench.importing.atif`)
``tau2``        results of tau2-bench (:mod:`agentbench.importing.tau2`)
``steps``       step tables, one row a step (:mod:`agentbench.importing.step_table`)

and of agents' own programs, ``responses``, ``openhands``, ``swe-agent``, ``claude-code``, ``langsmith``, ``appworld``.

Further formats come from plug-ins (:mod:`agentbench.importing.formats`).
"""

from agentbench.importing.detect import FORMATS
from agentbench.importing.formats import Format, from_groups, from_records
from agentbench.importing.run import Imported, import_run

__all__ = ["FORMATS", "Format", "Imported", "from_groups", "from_records", "import_run"]
