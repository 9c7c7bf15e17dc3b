"""Where workers run: in processes of this machine, or as actors of a Ray cluster."""

from __future__ import annotations

from agentbench.rollout.contract import Launch
from agentbench.rollout.pool import ProcessWorker
from envs.base.errors import unknown


def launcher(executor: str) -> Launch:
    """Return what starts workers: ``local`` (processes of this machine), ``ray``, or ``ray:ADDRESS`` (a cluster).

    Raises:
        UserError: there is no such executor, or the cluster cannot be used.
    """
    name, _, address = executor.partition(":")
    if name == "ray":
        from agentbench.cluster.machines import connect

        return connect(address)
    if executor != "local":
        raise unknown("executor", executor, ("local", "ray", "ray:HOST:PORT"))
    return ProcessWorker
