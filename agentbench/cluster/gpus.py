"""GPUs of the Ray cluster that this process has joined: how many an engine holds, and whether there are so many."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from envs.base.errors import UserError

WIDTHS = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
"""Arguments of vLLM whose product is the number of GPUs of an engine."""


def gpus_of(arguments: Mapping[str, Any]) -> int:
    """Return the number of GPUs that an engine holds: 0 on a cluster without any, where it asks for none.

    Args:
        arguments: of vLLM; only :data:`WIDTHS` are looked at.

    Raises:
        UserError: the arguments ask for some, and the cluster has none.
    """
    import ray

    asked = {name: arguments[name] for name in WIDTHS if arguments.get(name) is not None}
    for name, value in asked.items():
        if not isinstance(value, int) or value < 1:
            raise UserError(f"engine option {name} must be a whole number from 1 on, got {value!r}")
    if ray.cluster_resources().get("GPU", 0):
        return math.prod(asked.values())
    if asked:
        written = " and ".join(f"{name} = {value}" for name, value in asked.items())
        raise UserError(
            f"{written} asks for GPUs, and the Ray cluster has none: add a machine with some, or leave it out"
        )
    return 0


def check_places(gpus: int, engines: int, what: str) -> None:
    """Refuse what the machines of the cluster could never hold: it would wait forever.

    Args:
        gpus: of each engine; all on one machine.
        engines: how many there are.
        what: they are, for the message.

    Raises:
        UserError: there are too few GPUs, or too few on one machine.
    """
    import ray

    each = sorted(int(node["Resources"].get("GPU", 0)) for node in ray.nodes() if node["Alive"])
    if gpus and sum(number // gpus for number in each) < engines:
        raise UserError(
            f"{engines} x {gpus} GPUs for {what} (engines x GPUs on one machine) are more than the Ray cluster has: "
            f"{' + '.join(map(str, each))}"
        )


def placed(host: type, gpus: int) -> Any:
    """Start an actor that holds so many GPUs; it is not started again by Ray.

    Without a GPU a CPU is needed to be placed and none is held, as for the workers of environments.
    """
    import ray

    needs = {"num_gpus": gpus, "num_cpus": 0} if gpus else {}
    return ray.remote(host).options(scheduling_strategy="SPREAD", max_restarts=0, **needs).remote()


def free_gpus() -> str:
    """Return how many GPUs of the cluster nobody holds, for a message."""
    import ray

    return f"{ray.available_resources().get('GPU', 0):g} of the cluster's GPUs are free"
