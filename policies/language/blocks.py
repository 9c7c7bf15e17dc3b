"""Decode steps of a fixed shape on a GPU: captured once as a CUDA graph, then replayed, one launch for all rows.

A step feeds the newest token of every row and samples the next one. All it reads and writes lies at fixed addresses
(tokens, positions, draws, the buffer of keys and values), the mask follows from the positions on the device, and a
position is raised there, so nothing in it is said by the host. The draws come from the host, as everywhere, from the
seed of each answer: they are those of the processor. The host looks for the ends of answers once in :data:`BLOCK`
tokens; what was sampled behind an end is thrown away, and its row goes on until all have ended.

Against :mod:`policies.language.decode`'s own steps, only the width differs: columns are read in whole multiples of
:data:`WIDTH`, of which the further ones weigh exactly 0. So logits differ by the rounding of sums at most.

Not done so: constrained answers, whose next tokens the host must say after each, and what is sampled outside the main
thread, as other work of the device may not be captured along with it.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache

from envs.base.log import log
from policies.language.buffer import KeyValues, attention_mask
from policies.language.cache import cache_argument
from policies.language.forward import tempered

BLOCK = 4
"""Tokens that a GPU samples before the host looks at them; what is behind the end of an answer is thrown away."""

WIDTH = 256
"""Columns of the buffer are read in multiples of this, so that a graph serves as many tokens."""

KEPT = 8
"""Graphs that are kept, each for some rows, a width and a temperature: those that were used last."""


@dataclass(slots=True)
class Graphs:
    """Whether steps are captured and replayed, and how often it was so.

    Attributes:
        wanted: whether they should be, where that is possible.
        steps: decode steps on a GPU, replayed or not.
        replayed: those that were replayed.
        captured: graphs that were made.
        failure: what a capture ended with; from then on none is tried.
    """

    wanted: bool = True
    steps: int = 0
    replayed: int = 0
    captured: int = 0
    failure: str = ""
    _told: tuple[int, int] = (0, 0)

    def apply_to(self, device: torch.device) -> bool:
        """Tell whether steps of a fixed shape are what a device should be given now."""
        is_alone = threading.current_thread() is threading.main_thread()
        return self.wanted and not self.failure and device.type == "cuda" and is_alone

    def fail(self, error: Exception) -> None:
        """Go on without, and say so once."""
        self.failure = (str(error).strip().splitlines() or [type(error).__name__])[0]
        log.warning("a decode step cannot be captured as a CUDA graph, sampling goes on without: %s", self.failure)

    def metrics(self) -> dict[str, float]:
        """Return the share of the steps since it was last asked that were replayed; nothing where there were none."""
        steps, replayed = self.steps - self._told[0], self.replayed - self._told[1]
        self._told = self.steps, self.replayed
        return {"decode/graph_share": round(replayed / steps, 4)} if steps else {}

    def __bool__(self) -> bool:
        return self.steps > 0

    def __str__(self) -> str:
        share = f"CUDA graphs: {self.replayed} of {self.steps} decode steps were replayed, {self.captured} captured"
        return f"{share}; a capture failed: {self.failure}" if self.failure else share


class Step:
    """One token more for some rows, on tensors that stay where they are.

    Args:
        model: a causal language model of transformers.
        buffer: of its keys and values; it must outlive the step as it is.
        rows: of the buffer.
        width: columns that are looked at; at least one more than any position.
        temperature: 0 takes the likeliest token.
        device: where the model is.

    Attributes:
        tokens: the newest of each row, int64, shape (rows,).
        positions: where they stand, int64, shape (rows,).
        graph: the step as a graph, once it was captured.
    """

    def __init__(
        self,
        model: nn.Module,
        buffer: KeyValues,
        rows: Sequence[int],
        width: int,
        temperature: float,
        device: torch.device,
    ) -> None:
        self._model, self._width, self._temperature = model, width, temperature
        self._place = buffer.place(rows, device)
        self.tokens = torch.zeros(len(rows), dtype=torch.int64, device=device)
        self.positions = torch.zeros_like(self.tokens)
        self._draw = torch.zeros(len(rows), dtype=torch.float64, device=device)
        self._sampled = torch.zeros(2, len(rows), device=device)
        self.graph: Any = None
        self._is_warm = False

    def begin(self, tokens: Tensor, positions: Tensor) -> None:
        """Say which tokens are the newest, and where they stand."""
        self.tokens.copy_(tokens)
        self.positions.copy_(positions)

    def run(self, buffer: KeyValues, draw: Tensor | None, graphs: Graphs, among: Steps) -> Tensor:
        """Feed the newest tokens, and sample the next.

        The first time on a GPU is the warm-up of the capture, which comes with the second.

        Args:
            buffer: that of the step.
            draw: uniform in [0, 1), float64, shape (rows,); None where the likeliest token is taken.
            graphs: what is counted.
            among: the steps that this one belongs to.

        Returns:
            tokens and log-probabilities, float32, shape (2, rows): a float32 holds every token up to 2**24.
        """
        if draw is not None:
            self._draw.copy_(draw)
        if self.graph is None and self._is_warm and among.stream is not None and not graphs.failure:
            self._capture(buffer, graphs, among)
        if self.graph is not None:
            self.graph.replay()
            graphs.replayed += 1
        else:
            with _on(among.stream):
                self._compute(buffer)
            self._is_warm = True
        return self._sampled.clone()

    def _compute(self, buffer: KeyValues) -> None:
        cache = buffer.move(self.positions[:, None], self._width, self._place)
        logits = logits_behind(self._model, cache, self.tokens, self.positions, self._width)
        tokens, log_probs = pick(logits, self._temperature, self._draw if self._temperature else None)
        self.tokens.copy_(tokens)
        self._sampled[0].copy_(tokens)
        self._sampled[1].copy_(log_probs)
        self.positions.add_(1)

    def _capture(self, buffer: KeyValues, graphs: Graphs, among: Steps) -> None:
        """Capture the step, which does not run it."""
        graph = None
        try:
            graph = torch.cuda.CUDAGraph()
            # The outer block sets the stream back also where the inner one fails to. Other threads (that of NCCL) may
            # ask the device for something meanwhile.
            how: dict[str, Any] = {"stream": among.stream, "pool": among.pool(), "capture_error_mode": "thread_local"}
            with _on(among.stream), torch.cuda.graph(graph, **how):
                self._compute(buffer)
        except RuntimeError as error:
            if graph is not None:
                with contextlib.suppress(RuntimeError):
                    graph.reset()
            graphs.fail(error)
        else:
            self.graph = graph
            graphs.captured += 1


class Steps:
    """The steps that are ready for one buffer; they go with it, as its addresses are in their graphs."""

    def __init__(self, device: torch.device) -> None:
        stream: Any = torch.cuda.Stream
        self.stream = stream(device) if device.type == "cuda" else None
        self._ready: OrderedDict[Any, Step] = OrderedDict()

    def step(self, model: nn.Module, buffer: KeyValues, rows: Sequence[int], tokens: int, temperature: float) -> Step:
        """Return a step for some rows, of which ``tokens`` columns are looked at."""
        width = min(-(-tokens // WIDTH) * WIDTH, buffer.tokens)
        key = (tuple(rows), width, temperature)
        found = self._ready.pop(key, None)
        if found is None:
            device = next(model.parameters()).device
            found = Step(model, buffer, rows, width, temperature, device)
        self._ready[key] = found
        while len(self._ready) > KEPT:
            self._ready.popitem(last=False)
        return found

    def pool(self) -> Any:
        """Return where graphs have their memory, which they share as only one runs at a time; None before the first."""
        return next((step.graph.pool() for step in self._ready.values() if step.graph is not None), None)


def run_block(
    model: nn.Module,
    buffer: KeyValues,
    rows: Sequence[int],
    tokens: Tensor,
    positions: Tensor,
    width: int,
    temperature: float,
    draws: Sequence[Tensor | None],
    graphs: Graphs,
) -> tuple[list[Tensor], Tensor]:
    """Sample one token for every draw and row, without waiting for the device.

    Args:
        model: a causal language model of transformers.
        buffer: with the keys and values of all that comes before ``tokens``, and room for ``width`` columns.
        rows: of the buffer.
        tokens: the newest of each row, int64, shape (rows,).
        positions: where they stand, int64, shape (rows,).
        width: columns that are looked at in the last step.
        temperature: see :func:`pick`.
        draws: for each token one a row (see :func:`pick`).
        graphs: what is counted.

    Returns:
        what each step sampled (see :meth:`Step.run`), and the newest tokens, int64, shape (rows,).
    """
    if buffer.prepared is None:
        buffer.prepared = Steps(positions.device)
    steps: Steps = buffer.prepared
    step = steps.step(model, buffer, rows, width, temperature)
    step.begin(tokens, positions)
    return [step.run(buffer, draw, graphs, steps) for draw in draws], step.tokens


def logits_behind(model: nn.Module, cache: Cache, tokens: Tensor, positions: Tensor, width: int) -> Tensor:
    """Feed one token a row; return the logits behind it, shape (rows, vocabulary).

    Args:
        model: a causal language model of transformers.
        cache: of what comes before.
        tokens: int64, shape (rows,).
        positions: where they stand, int64, shape (rows,).
        width: columns of the cache.
    """
    where = positions[:, None]
    out = model(
        input_ids=tokens[:, None],
        attention_mask=attention_mask(model, where, width),
        position_ids=where,
        use_cache=True,
        **cache_argument(model, cache),
    )
    logits: Tensor = out.logits[:, -1]
    return logits


def pick(logits: Tensor, temperature: float, draws: Tensor | None) -> tuple[Tensor, Tensor]:
    """Choose a token a row: the likeliest, or where draws are given that at which the cumulated probability is reached.

    Args:
        logits: shape (rows, vocabulary).
        temperature: of the log-probabilities; 0 counts as 1.
        draws: uniform in [0, 1), shape (rows,); None for the likeliest.

    Returns:
        tokens, int64, and their log-probabilities, float32, shape (rows,) each.
    """
    log_probs = tempered(logits, temperature)
    chosen = log_probs.argmax(-1) if draws is None else _drawn(log_probs, draws)
    return chosen, log_probs.gather(1, chosen[:, None])[:, 0]


def _drawn(log_probs: Tensor, draws: Tensor) -> Tensor:
    """Draw a token a row by inverting the cumulated probabilities, in float64 where the device has it."""
    exact = log_probs.double() if log_probs.device.type != "mps" else log_probs
    cumulated = exact.exp().cumsum(-1)
    target = draws[:, None] * cumulated[:, -1:]
    index = torch.searchsorted(cumulated, target, right=True)[:, 0].clamp_max(log_probs.shape[1] - 1)
    # Rounding can only lead behind the last token that has a probability at all.
    possible = log_probs.gather(1, index[:, None])[:, 0] > -1e29
    return torch.where(possible, index, log_probs.argmax(-1))


@contextlib.contextmanager
def _on(stream: Any) -> Iterator[None]:
    """Within this block the device works on another stream, after all before and before all after; None: on its own."""
    if stream is None:
        yield
        return
    own = torch.cuda.current_stream(stream.device)
    stream.wait_stream(own)
    with torch.cuda.stream(stream):
        yield
    own.wait_stream(stream)
