"""A Ray cluster of several nodes on this machine, for tests: each node can be killed by itself."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

HERE = Path(sys.executable).parent
SMALL = ("--object-store-memory", "80000000", "--disable-usage-stats", "--block")


class Node:
    """One node: a raylet and its workers, in a process group of their own.

    Args:
        options: of ``ray start``.
        programs: folder of the interpreter that it runs.
        variables: of its environment.
    """

    def __init__(self, *options: str, programs: Path = HERE, **variables: str) -> None:
        # Ray asks for a token where it finds one in the home folder, and so would a cluster of the tests.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled", **variables}
        self._process = subprocess.Popen(
            [str(programs / "ray"), "start", *options, *SMALL],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )

    def kill(self) -> None:
        """Kill every process of the node at once, as a power cut would."""
        processes = self._processes()
        for end in (psutil.Process.suspend, psutil.Process.kill):  # none lives to tell of the death of another
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    end(process)
        self._process.wait()

    def pids(self) -> set[int]:
        """Return the ids of the node's processes."""
        return {process.pid for process in self._processes()}

    def _processes(self) -> list[psutil.Process]:
        if self._process.poll() is not None:
            return []
        node = psutil.Process(self._process.pid)
        return [node, *node.children(recursive=True)]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def cluster(nodes: int = 2, cpus: int = 2, **variables: str) -> Iterator[tuple[str, list[Node]]]:
    """Run a cluster; give its address and its nodes, the head first; those that a test adds to them end with it."""
    address = f"127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        port = address.rpartition(":")[2]
        head = Node("--head", "--port", port, "--num-cpus", str(cpus), "--include-dashboard", "false",
                    "--temp-dir", folder, **variables)  # fmt: skip
        running = [head]
        try:
            _wait_for(address)
            running += [Node("--address", address, "--num-cpus", str(cpus), **variables) for _ in range(nodes - 1)]
            yield address, running
        finally:
            for node in reversed(running):
                node.kill()


@contextmanager
def gpu_cluster(**variables: str) -> Iterator[tuple[str, list[Node]]]:
    """Run a cluster of a head and a machine with two GPUs, as far as Ray knows; leave it in the end."""
    import ray

    with cluster(nodes=1) as (address, nodes):
        nodes.append(gpu_node(address, **variables))
        wait_for_nodes(address, 2)
        yield address, nodes
        ray.shutdown()


def gpu_node(address: str, **variables: str) -> Node:
    """Start a machine with two GPUs, as far as Ray knows."""
    return Node("--address", address, "--num-cpus", "2", "--num-gpus", "2", **variables)


def _wait_for(address: str, seconds: float = 600) -> None:
    host, _, port = address.rpartition(":")
    end = time.monotonic() + seconds
    while True:
        try:
            return socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def wait_for_nodes(address: str, count: int, seconds: float = 600) -> None:
    """Wait in a process of its own until so many nodes of a cluster are alive."""
    script = (
        "import sys, time, ray\n"
        "ray.init(address=sys.argv[1], log_to_driver=False, logging_level='ERROR')\n"
        "while sum(node['Alive'] for node in ray.nodes()) < int(sys.argv[2]): time.sleep(0.2)\n"
    )
    subprocess.run([sys.executable, "-c", script, address, str(count)], check=True, timeout=seconds)
