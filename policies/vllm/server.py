"""vLLM's server as the engine that samples for a policy in training: token ids in, ids and log-probabilities out."""

from __future__ import annotations

import functools
import http.client
import importlib.util
import json
import math
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tenacity

from envs.base.errors import UserError, unknown
from envs.base.options import read_options
from envs.base.safe_text import redacted
from policies.language.decode import Answer, Request, Rules
from policies.language.loading import context_length
from policies.vllm.process import ServerProcess
from policies.vllm.weights import ADAPTERS, check_version, load_adapters_over_http, reload_over_http

if TYPE_CHECKING:
    from policies.language.engine import Servable

MODEL = "policy"
"""What a server that was started here calls its model."""

USUAL_PYTHON = Path(".venv-vllm/bin/python")
"""Where ``make vllm`` puts vLLM."""

NARROWEST_HEAD = 32
"""Numbers a head, at vLLM's kernels for processors."""

ATTEMPTS = 4

Launch = Callable[[Path, str, Sequence[str], int, Path], ServerProcess]
"""Starts a server: folder and name of its model, its arguments, threads, and the file for what it says."""


@dataclass(frozen=True, slots=True)
class VllmServerOptions:
    """How vLLM's server is reached or started.

    Attributes:
        base_url: a server that runs already (``http://localhost:8000``, without ``/v1``) and sees the same files;
            None starts one, and ends it with the training.
        python: the interpreter that has vLLM; None: this one if it has, else that of ``make vllm``.
        precision: in which the server computes; None: that of the policy's weights.
        arguments: further arguments of the server (``["--gpu-memory-utilization", "0.5"]``).
        concurrency: most requests at the same time.
        timeout: seconds that one answer or one update of the weights may take.
        start_timeout: seconds within which the server must be ready.
    """

    base_url: str | None = None
    python: str | None = None
    precision: str | None = None
    arguments: tuple[str, ...] = ()
    concurrency: int = 64
    timeout: float = 600.0
    start_timeout: float = 900.0


def server_options(options: dict[str, Any]) -> VllmServerOptions:
    """Make options from a dictionary.

    Raises:
        UserError: an unknown name, or a value that it cannot have.
    """
    known = [each.name for each in fields(VllmServerOptions)]
    for name in options:
        if name not in known:
            raise unknown("engine option", name, known)
    arguments = options.get("arguments", [])
    written = [str(each) for each in arguments] if isinstance(arguments, list | tuple) else arguments
    made = read_options(VllmServerOptions, {**options, "arguments": written})
    for name in ("concurrency", "timeout", "start_timeout"):
        if not getattr(made, name) > 0:
            raise UserError(f"engine option {name} must be above 0, got {getattr(made, name)}")
    return made


class VllmServer:
    """One server: samples answers, and takes new weights.

    Args:
        options: how it is reached.
        launch: starts it somewhere else than on this machine.

    Raises:
        UserError: there is no vLLM to start, or nobody answers where a server should be.
    """

    def __init__(self, options: VllmServerOptions, launch: Launch | None = None) -> None:
        self.options, self.concurrency = options, options.concurrency
        self.url = (options.base_url or "").rstrip("/").removesuffix("/v1")
        self.model = MODEL
        self._launch = launch
        if not self.url and launch is None:
            self._launch = functools.partial(ServerProcess, find_python(options.python))
        self._process: ServerProcess | None = None
        # A server on this machine or its network: never through a proxy.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=tenacity.wait_exponential(max=10),
            retry=tenacity.retry_if_exception_type((OSError, http.client.HTTPException)),
            reraise=True,
        )
        if self.url:
            self._check_version()
            self.model = str(self._exchange("/v1/models", None)["data"][0]["id"])

    # -- its life ------------------------------------------------------------------------------------

    def start(self, policy: Servable, folder: Path, threads: int, log: Path) -> None:
        """Start the server on the folder of a policy's model, and wait until it answers.

        Args:
            policy: whose answers it will sample.
            folder: as :func:`policies.vllm.weights.write_model` writes it.
            threads: of the server on a processor.
            log: file for what it says.

        Raises:
            UserError: it ended, was not ready in time (the text has the end of its log), or cannot serve such a model.
        """
        assert self._launch is not None
        _check_heads(policy)
        self._process = self._launch(folder, MODEL, self._arguments(policy), threads, log)
        self._process.wait_until_ready(self.options.start_timeout)
        self.url = self._process.url
        self._check_version()

    def follow(self, url: str, with_adapters: bool) -> None:
        """Use the server that another process of this training started or updated."""
        self.url = url
        self.model = ADAPTERS if with_adapters else self.model

    def close(self) -> None:
        """End the server, if it was started here."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def _check_version(self) -> None:
        check_version(str(self._exchange("/version", None)["version"]))

    def _arguments(self, policy: Servable) -> list[str]:
        """Return the server's arguments for a policy."""
        settings, most = policy.options, context_length(policy.weights.model, policy.options)
        found = ["--dtype", self.options.precision or settings.precision, "--max-num-seqs", str(self.concurrency)]
        # Log-probabilities as sampled, after the temperature; no defaults that a model's folder may hold.
        found += ["--logprobs-mode", "processed_logprobs", "--generation-config", "vllm"]
        # A request with a seed whose prompt is computed in chunks has ended the engine in some versions.
        found += ["--no-enable-chunked-prefill", "--max-num-batched-tokens", str(max(8192, most or 0))]
        found += [] if most is None else ["--max-model-len", str(most)]
        found += ["--enforce-eager"] if settings.device == "cpu" else []
        if settings.lora:
            rank = next(each for each in (8, 16, 32, 64, 128, 256, settings.lora) if each >= settings.lora)
            found += ["--enable-lora", "--max-loras", "1", "--max-lora-rank", str(rank)]
        return [*found, *self.options.arguments]

    # -- what it does --------------------------------------------------------------------------------

    def load(self, folder: Path) -> None:
        """Take all weights from a folder (:func:`policies.vllm.weights.write_model`)."""
        reload_over_http(self._exchange, folder)

    def load_adapters(self, folder: Path) -> None:
        """Take adapters from a folder (:func:`policies.vllm.weights.write_adapters`), and answer with them."""
        load_adapters_over_http(self._exchange, folder)
        self.model = ADAPTERS

    def answer(self, requests: Sequence[Request], rules: Rules) -> list[Answer]:
        """Answer every request, many at once.

        Raises:
            UserError: the server is gone, refuses a request, or does not say which tokens it sampled.
        """
        if len(requests) == 1:
            return [self._answer(requests[0], rules)]
        with ThreadPoolExecutor(min(len(requests), self.concurrency)) as pool:
            return list(pool.map(lambda request: self._answer(request, rules), requests))

    def _answer(self, request: Request, rules: Rules) -> Answer:
        body = {
            "model": self.model,
            "prompt": request.ids.tolist(),
            "max_tokens": rules.max_new_tokens,
            "temperature": rules.temperature,
            "seed": request.seed % 2**31,
            "stop": list(rules.stop),
            "include_stop_str_in_output": True,
            "skip_special_tokens": False,
            "stop_token_ids": sorted(rules.end_tokens),
            "ignore_eos": True,  # the ends are those of the policy, which stand in the line above
            "logprobs": 0,  # those of the sampled tokens, no others
            "return_token_ids": True,
            # A model's own defaults would change the distribution that was sampled from.
            "top_p": 1.0,
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
        }
        return read_answer(self._exchange("/v1/completions", body), rules, self.url)

    def _exchange(self, path: str, body: dict[str, Any] | None) -> Any:
        """Send JSON (or ask, without a body) and return what comes back; try again where that may help."""
        try:
            return self._retrying(self._exchange_once, path, body)
        except (OSError, http.client.HTTPException) as error:
            raise UserError(
                f"vLLM's server at {self.url} does not answer {path} ({error}){self._last_words()}; "
                "the last checkpoint is whole: the same command with --resume continues from it"
            ) from error

    def _exchange_once(self, path: str, body: dict[str, Any] | None) -> Any:
        if self._process is not None and self._process.has_ended:
            raise UserError(f"vLLM's server has ended{self._last_words()}; --resume continues from the last checkpoint")
        payload = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, payload, {"Content-Type": "application/json"})
        try:
            with self._opener.open(request, timeout=self.options.timeout) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            said = redacted(error.read().decode("utf-8", "replace"))[:300]
            if error.code >= 500 or error.code == 429:
                raise OSError(f"HTTP {error.code}: {said}") from error
            hint = " (a server of your own needs VLLM_SERVER_DEV_MODE=1)" if error.code == 404 else ""
            raise UserError(f"vLLM's server refuses {path}{hint}: HTTP {error.code}: {said}") from error
        return json.loads(text) if text[:1] in (b"{", b"[") else text.decode("utf-8", "replace")

    def _last_words(self) -> str:
        return "" if self._process is None else f": {self._process.last_words()}"


def _check_heads(policy: Servable) -> None:
    """Refuse what would start, and end with the first request."""
    model: Any = policy.weights.model
    width = getattr(model.config, "head_dim", None) or model.config.hidden_size // model.config.num_attention_heads
    if policy.options.device == "cpu" and width < NARROWEST_HEAD:
        raise UserError(
            f"vLLM on processors has no kernels for attention heads of {width} numbers, only from {NARROWEST_HEAD} on: "
            "take another model (agentbench model init --size 800k, or larger, with a vocabulary of 600)"
        )


def read_answer(answer: dict[str, Any], rules: Rules, url: str) -> Answer:
    """Read the ids and log-probabilities of a completion.

    Raises:
        UserError: not all of them are there.
    """
    try:
        choice = answer["choices"][0]
        tokens = [int(token) for token in choice["token_ids"]]
        log_probs = [float(each) for each in choice["logprobs"]["token_logprobs"]]
        if not tokens or len(tokens) != len(log_probs) or not all(map(math.isfinite, log_probs)):
            raise ValueError("ids and log-probabilities do not belong together")
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(f"{url} does not return the sampled token ids and log-probabilities ({error})") from error
    if tokens[-1] in rules.end_tokens:
        return Answer(tokens, log_probs, "end")
    return Answer(tokens, log_probs, "stop" if choice.get("finish_reason") == "stop" else "length")


def find_python(chosen: str | None) -> str:
    """Return the interpreter that has vLLM.

    Raises:
        UserError: none was named, and there is none where one is usually.
    """
    if chosen is not None:
        if not Path(chosen).is_file():
            raise UserError(f"engine option python: there is no interpreter {chosen}")
        return chosen
    if importlib.util.find_spec("vllm") is not None:
        return sys.executable
    if USUAL_PYTHON.is_file():
        return str(USUAL_PYTHON.absolute())
    raise UserError(
        "engine 'vllm' finds no vLLM: 'make vllm' installs it in an environment of its own; or name an interpreter "
        "(--engine-options '{\"python\": …}') or a server that runs ('{\"base_url\": …}')"
    )
