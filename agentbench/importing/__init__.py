"""Importing: episodes that were made elsewhere become an ordinary run. Each format has a reader of its own.

``chat``        one conversation a line, as JSON (:mod:`agentbench.importing.chat`)
``inspect``     logs of Inspect, ``.eval`` or ``.json`` (:mod:`agentbench.importing.inspect_log`)
``verifiers``   ``results.jsonl`` of verifiers (:mod:`agentbench.importing.verifiers`)
``verl-agent``  rollout dumps of verl-agent (:mod:`agentbench.importing.verl_agent`)
"""

from agentbench.importing.run import FORMATS, Imported, import_run

__all__ = ["FORMATS", "Imported", "import_run"]
