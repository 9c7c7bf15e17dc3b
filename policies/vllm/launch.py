"""Run vLLM's server, and end with it when whoever started this is gone (standard input closes). Run by path."""

import os
import runpy
import signal
import sys
import threading


def end_with_parent() -> None:
    """Wait for the end of standard input, then end every process of this group."""
    while os.read(0, 1):  # not through sys.stdin, whose lock would be held when the interpreter ends
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.path.pop(0)  # the folder of this file: its modules would hide others of the same names
    threading.Thread(target=end_with_parent, daemon=True).start()
    # The program ``vllm`` is not always installed with working metadata; the module is always there.
    runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__", alter_sys=True)
