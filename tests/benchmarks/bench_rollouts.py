"""Rollouts of a real language model: this project's decode loop beside ``generate`` and vLLM, on the same prompts.

``python tests/benchmarks/bench_rollouts.py MODEL [--episodes 8] [--max-steps 10] [--vllm PYTHON]``

MODEL is the folder of a saved policy (``agentbench clone``). It plays games of ALFWorld; every prompt and the number of
tokens of its answer are kept. The others are then given the same prompts, turn by turn, and write as many tokens:

- ``generate``: transformers, all episodes of a turn in one padded batch;
- ``generate, one by one``: the same without padding;
- ``vLLM``: its server (of the interpreter of ``make vllm``), in float32, prefixes kept; all episodes of a turn at once.

Seconds are those of processors, of this process or of the server's. One thread each.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
import transformers

import agentbench
from agentbench import Prompt, Response
from policies.registry import load_policy

LAUNCH = Path(__file__).resolve().parents[2] / "policies" / "vllm" / "launch.py"
Turn = list[tuple[list[int], int]]
"""Of every episode that is still played: the tokens of its prompt, and how many its answer has."""


class Recorded:
    """A policy whose time is taken and whose prompts are kept."""

    def __init__(self, policy: Any) -> None:
        self.policy, self.seconds = policy, 0.0
        self.name, self.digest = policy.name, policy.digest
        self.turns: list[Turn] = []

    def act(self, prompts: Sequence[Prompt]) -> list[Response]:
        begin = time.process_time()
        found: list[Response] = self.policy.act(prompts)
        self.seconds += time.process_time() - begin
        for prompt, response in zip(prompts, found, strict=True):
            place = len(prompt.history)
            self.turns += [[] for _ in range(place + 1 - len(self.turns))]
            self.turns[place].append((response.trace.prompt.tolist(), response.trace.tokens))
        return found


def clocked(job: Callable[[], Any]) -> float:
    """Run a job; return its processor seconds."""
    begin = time.process_time()
    job()
    return time.process_time() - begin


def generated(model: Any, turn: Turn) -> None:
    """Answer a turn's prompts with ``generate``, padded on the left."""
    longest, most = max(len(ids) for ids, _ in turn), max(tokens for _, tokens in turn)
    padded, mask = (np.zeros((len(turn), longest), np.int64) for _ in range(2))
    for row, (ids, _) in enumerate(turn):
        padded[row, longest - len(ids) :], mask[row, longest - len(ids) :] = ids, 1
    tokens = {"max_new_tokens": most, "min_new_tokens": most, "do_sample": True, "pad_token_id": 0}
    model.generate(torch.from_numpy(padded), attention_mask=torch.from_numpy(mask), **tokens)


@contextmanager
def served(python: str, folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Run vLLM's server on a folder of transformers, from when it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = [
        "--dtype",
        "float32",
        "--port",
        str(port),
        "--max-model-len",
        "4096",
        "--served-model-name",
        "model",
        "--enforce-eager",
    ]
    threads = {"OMP_NUM_THREADS": "1", "VLLM_CPU_KVCACHE_SPACE": "2", "HF_HUB_OFFLINE": "1"}
    with (folder / "vllm.log").open("w") as log:
        process = subprocess.Popen(
            [python, str(LAUNCH), "--model", str(folder), *settings],
            env={**os.environ, **threads}, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        while True:
            if process.poll() is not None:
                raise SystemExit(f"vLLM ended: {(folder / 'vllm.log').read_text()[-2000:]}")
            try:
                urllib.request.urlopen(f"{url}/health", timeout=10).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(1)
        yield url, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def processor_seconds(process: psutil.Process) -> float:
    """Return what a process and all below it have used so far."""
    every = [process, *process.children(recursive=True)]
    return sum(times.user + times.system for times in (each.cpu_times() for each in every))


def asked(url: str, ids: list[int], tokens: int) -> None:
    """Have the server complete a prompt."""
    body = {"model": "model", "prompt": ids, "max_tokens": tokens, "min_tokens": tokens, "ignore_eos": True}
    data = json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/v1/completions", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=3600) as answer:
        found = json.load(answer)["usage"]
    assert found["prompt_tokens"] == len(ids) and found["completion_tokens"] == tokens, found


def by_vllm(python: str, policy: Any, turns: list[Turn]) -> float:
    """Return the server's processor seconds for all turns, without its start."""
    with tempfile.TemporaryDirectory() as temporary:
        policy.learner.weights.model.save_pretrained(temporary)
        policy.tokenizer.save_pretrained(temporary)
        with served(python, Path(temporary)) as (url, process), ThreadPoolExecutor(64) as threads:
            asked(url, turns[0][0][0][:4], 2)
            begin = processor_seconds(process)
            for turn in turns:
                list(threads.map(lambda each: asked(url, *each), turn))
            return processor_seconds(process) - begin


def main() -> None:
    """Play, have the others answer the same prompts, print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--episodes", type=int, default=8)
    parser.add_argument("--max-steps", type=int, default=10)
    parser.add_argument("--vllm", help="an interpreter that has vLLM: .venv-vllm/bin/python")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    policy: Any = load_policy(given.model)
    player = Recorded(policy)
    split = f"generated:9:{given.episodes}:small"
    options = {"max_steps": given.max_steps}
    with tempfile.TemporaryDirectory() as out:
        settings = {"inline": True, "parallel": given.episodes, "env_options": options}
        agentbench.evaluate("alfworld", player, split=split, out=Path(out) / "run", **settings)
    prompts = sum(len(ids) for turn in player.turns for ids, _ in turn)
    answers = sum(tokens for turn in player.turns for _, tokens in turn)
    print(
        f"{given.episodes} episodes, {sum(map(len, player.turns))} answers; {prompts:,} tokens of prompts, "
        f"{answers:,} of answers. torch {torch.__version__}, transformers {transformers.__version__}.\n"
    )
    print("| rollouts | processor seconds | ratio |\n|---|---:|---:|")
    model = policy.learner.weights.model.eval()
    policy.forget_computed()
    others: dict[str, Callable[[], float]] = {
        "our loop, keys and values kept over the turns": lambda: player.seconds,
        "`generate`, a padded batch a turn": lambda: clocked(lambda: [generated(model, turn) for turn in player.turns]),
        "`generate`, one by one": lambda: clocked(
            lambda: [generated(model, [each]) for turn in player.turns for each in turn]
        ),
    }
    if given.vllm:
        others["vLLM's server, prefixes kept"] = lambda: by_vllm(given.vllm, policy, player.turns)
    for name, measure in others.items():
        seconds = measure()
        print(f"| {name} | {seconds:.1f} | {seconds / player.seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
