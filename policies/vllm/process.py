"""vLLM's server as a process of its own: started, waited for, ended with whoever started it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from envs.base.errors import UserError
from envs.base.safe_text import redacted

LAUNCHER = Path(__file__).with_name("launch.py")


class ServerProcess:
    """A server of this machine; it ends when this process does, however that ends.

    Args:
        python: the interpreter that has vLLM.
        folder: of the model.
        name: what the model is called in requests.
        arguments: of the server.
        threads: of the server on a processor; small models are slower with more.
        log: file for what it says.
        host: address that it listens on.
    """

    def __init__(
        self,
        python: str,
        folder: Path,
        name: str,
        arguments: Sequence[str],
        threads: int,
        log: Path,
        host: str = "127.0.0.1",
    ) -> None:
        self.log = log
        port = _free_port(host)
        self.url = f"http://{host}:{port}"
        command = [python, str(LAUNCHER), "--model", str(folder.resolve()), "--served-model-name", name]
        command += ["--host", host, "--port", str(port), *arguments]
        usual = {"OMP_NUM_THREADS": str(threads), "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_CPU_KVCACHE_SPACE": "2"}
        needed = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", "VLLM_NO_USAGE_STATS": "1"}
        environment = {**usual, **os.environ, **needed}
        environment.pop("PYTHONPATH", None)  # that of this interpreter
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=file, stderr=file, env=environment, start_new_session=True
            )

    @property
    def has_ended(self) -> bool:
        """Whether it is gone."""
        return self._process.poll() is not None

    def wait_until_ready(self, seconds: float) -> None:
        """Return as soon as it answers.

        Raises:
            UserError: it ended, or ``seconds`` went by.
        """
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.has_ended:
                raise UserError(f"vLLM's server did not start: {self.last_words()} (all of it: {self.log})")
            try:
                with opener.open(f"{self.url}/health", timeout=10):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        self.close()
        raise UserError(f"vLLM's server was not ready within {seconds:g} s: see {self.log}")

    def last_words(self) -> str:
        """Return the last line that names an error, else the last line."""
        said = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        lines = redacted(said).splitlines()
        lines = [line.strip() for line in lines[-200:] if line.strip()]
        errors = [line for line in lines if "rror" in line.split(" ", 1)[0] or "error:" in line.lower()]
        return (errors or lines or ["it said nothing"])[-1][:300]

    def close(self) -> None:
        """End it and all its processes."""
        if not self.has_ended:
            os.killpg(self._process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(15)
        with suppress(ProcessLookupError):  # whatever of it is left
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()


def _free_port(host: str) -> int:
    with socket.socket() as found:
        found.bind((host, 0))
        return int(found.getsockname()[1])
