"""Our OpenEnv server in a thread of the test's own process."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agentbench.integrations.openenv.server.app import Served, server_of


@contextmanager
def serving(*args: Any, **kwargs: Any) -> Iterator[str]:
    """Serve what :class:`Served` is given; give the address."""
    served = Served(*args, **kwargs)
    server = server_of(served)
    with socket.create_server(("127.0.0.1", 0)) as bound:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
            served.close()
