"""Where workers run: in processes of this machine, or as actors of a Ray cluster."""

from __future__ import annotations

import os

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


def processors(executor: str) -> int:
    """Return the number of processors where the workers run: those of the cluster that :func:`launcher` has joined."""
    if executor != "local":
        import ray

        return max(1, int(ray.cluster_resources().get("CPU", 1)))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
