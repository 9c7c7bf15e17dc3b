"""Importing: episodes that were made elsewhere become an ordinary run. Each format has a reader of its own.

``chat``        conversations as JSON, one a record (:mod:`agentbench.importing.chat`)
``inspect``     logs of Inspect, ``.eval`` or ``.json`` (:mod:`agentbench.importing.inspect_log`)
``verifiers``   ``results.jsonl`` of verifiers (:mod:`agentbench.importing.verifiers`)
``verl-agent``  rollout dumps of verl-agent, a step a line (:mod:`agentbench.importing.verl_agent`)
``verl``        rollout dumps of verl, a rollout a line (:mod:`agentbench.importing.verl`)
``trl``         completions of TRL's trainers (:mod:`agentbench.importing.trl`)
"""

from agentbench.importing.detect import FORMATS
from agentbench.importing.run import Imported, import_run

__all__ = ["FORMATS", "Imported", "import_run"]
