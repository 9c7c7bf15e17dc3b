"""Stands in for vLLM's server: the stub of ``tests/support/stub_vllm.py`` as a program with vLLM's own arguments."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch
from stub_vllm import StubVllm

if __name__ == "__main__":
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("--model", "--host", "--port"):
        parser.add_argument(name, required=True)
    given, _ = parser.parse_known_args()
    torch.set_num_threads(1)
    print(f"pid {os.getpid()}", flush=True)
    StubVllm(base=Path(given.model), address=(given.host, int(given.port))).serve_forever()
