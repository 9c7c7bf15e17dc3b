"""A server on the loopback that speaks as vLLM's does, with a model of transformers behind it: no vLLM is needed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import torch

from policies.language.cache import PrefixCache, Work
from policies.language.decode import Request, Rules, decode, stop_check


class StubVllm(ThreadingHTTPServer):
    """Reads weights from folders and answers with them, as it is told to.

    Args:
        base: folder of the model that it has at first.
        stale_head: a reload leaves the output layer as it was.
        stale_cache: what was computed for earlier prompts outlives an update.
        says_tokens: whether answers hold the sampled ids.
        address: host and port that it listens on.
    """

    daemon_threads = True

    def __init__(
        self,
        *,
        base: Path | None = None,
        stale_head: bool = False,
        stale_cache: bool = False,
        says_tokens: bool = True,
        address: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        super().__init__(address, _Handler)
        self.stale_head, self.stale_cache, self.says_tokens = stale_head, stale_cache, says_tokens
        self.version = "0.32.0"
        self.paths: list[str] = []
        self.lock = threading.Lock()
        self.model: Any = None
        self.tokenizer: Any = None
        self.folder = str(base)
        self.cache = PrefixCache(2**26)
        if base is not None:
            self.reload(str(base))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def reload(self, folder: str) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        new: Any = AutoModelForCausalLM.from_pretrained(folder)
        if self.stale_head and self.model is not None:
            new.lm_head.load_state_dict(self.model.lm_head.state_dict())
        self.model, self.folder = new.eval(), folder
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def load_adapters(self, folder: str) -> None:
        from peft import PeftModel

        self.reload(self.folder)
        self.model = PeftModel.from_pretrained(self.model, folder).eval()

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        rules = Rules(
            temperature=body["temperature"],
            max_new_tokens=body["max_tokens"],
            end_tokens=frozenset(body["stop_token_ids"]),
            is_stopped=stop_check(self.tokenizer, body["stop"]),
        )
        request = Request(np.array(body["prompt"], np.int32), seed=body["seed"])
        (answer,) = decode(self.model, [request], rules, self.cache, Work())
        choice = {
            "finish_reason": "length" if answer.finish == "length" else "stop",
            "logprobs": {"token_logprobs": answer.log_probs},
            **({"token_ids": answer.tokens} if self.says_tokens else {}),
        }
        return {"choices": [choice]}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StubVllm

    def do_GET(self) -> None:
        known = {"/version": {"version": self.server.version}, "/v1/models": {"data": [{"id": "stub"}]}, "/health": ""}
        self._send(known[self.path])

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        with server.lock:
            server.paths.append(self.path)
            if self.path == "/collective_rpc":
                server.reload(body["kwargs"]["weights_path"])
                self._send({"results": [None]})
            elif self.path == "/v1/load_lora_adapter":
                server.load_adapters(body["lora_path"])
                self._send("Success")
            elif self.path == "/reset_prefix_cache":
                if not server.stale_cache:
                    server.cache.clear()
                self._send({"success": True})
            else:
                self._send(server.complete(body))

    def _send(self, content: Any) -> None:
        payload = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@contextmanager
def stub_vllm(**behaviour: Any) -> Iterator[StubVllm]:
    """Run a stub for the length of a block, with one thread of torch for all its requests."""
    server = StubVllm(**behaviour)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield server
    finally:
        torch.set_num_threads(threads)
        server.shutdown()
        server.server_close()
