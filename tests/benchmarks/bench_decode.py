"""What keeping keys and values across turns saves, and what one sequence an episode saves in an update.

``python tests/benchmarks/bench_decode.py [episodes] [turns]`` prints both tables. The model is made on the spot, with
random weights, so no answer ends before its limit and every episode has the same shape: a system message, then in
each turn an observation with a list of actions, and an answer of 24 tokens.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import tiny_language as tiny
import transformers

from policies.contract import Turn
from policies.language.decode import Rules
from policies.language.likelihood import score_tokens
from policies.language.sequences import Sampled, lay_out, pieces

ANSWER = 24
SIZES = {"hidden_size": 256, "intermediate_size": 672, "num_attention_heads": 8, "head_dim": 32}


def clocked(job: Callable[[], Any]) -> tuple[Any, float]:
    """Run a job; return its result and its processor seconds."""
    begin = time.process_time()
    found = job()
    return found, time.process_time() - begin


def padded_generate(model: Any, episodes: int, turns: int) -> int:
    """Play the episodes with the library's ``generate``, whole conversations again each turn; return computed tokens.

    Prompts are those of our loop's episodes with the answers of this one.
    """
    writer = tiny.policy(model, max_new_tokens=ANSWER, stop=())
    histories: list[list[Turn]] = [[] for _ in range(episodes)]
    computed = 0
    for turn in range(turns):
        asked = [tiny.prompt(history, observation(episode, turn)) for episode, history in enumerate(histories)]
        ids = [writer.speaker.ask(each).written.ids for each in asked]
        longest = max(map(len, ids))
        padded = np.zeros((episodes, longest), np.int64)
        mask = np.zeros((episodes, longest), np.int64)
        for row, each in enumerate(ids):
            padded[row, longest - len(each) :] = each
            mask[row, longest - len(each) :] = 1
        out = model.generate(
            torch.from_numpy(padded),
            attention_mask=torch.from_numpy(mask),
            max_new_tokens=ANSWER,
            min_new_tokens=ANSWER,
            do_sample=True,
            pad_token_id=0,
        )
        computed += episodes * (longest + ANSWER - 1)
        for history, each, row in zip(histories, asked, out[:, longest:].numpy(), strict=True):
            trace = Sampled(np.array([0], np.int32), row.astype(np.int32), np.zeros(ANSWER, np.float32))
            history.append(Turn(each.observation, "look", "", tiny.ACTIONS, trace))
    return computed


def observation(episode: int, turn: int) -> str:
    """Return the observation of a turn: of different length in each episode."""
    return f"You arrive at desk {turn}. On the desk, you see a mug 1, " + "a book 1, " * (episode % 5) + "and a pen 2."


def our_loop(model: Any, episodes: int, turns: int, cache_mb: int) -> tuple[int, list[Any]]:
    """Play the episodes with our loop; return computed tokens and the traces."""
    player = tiny.policy(model, max_new_tokens=ANSWER, stop=(), cache_mb=cache_mb)
    player.rules = lambda: Rules(1.0, ANSWER, frozenset(), lambda _: False)  # type: ignore[method-assign]
    histories: list[list[Turn]] = [[] for _ in range(episodes)]
    traces = []
    for turn in range(turns):
        asked = [
            tiny.prompt(history, observation(episode, turn), seed=episode * 1000 + turn)
            for episode, history in enumerate(histories)
        ]
        for history, each, answer in zip(histories, asked, player.act(asked), strict=True):
            history.append(Turn(each.observation, answer.action, answer.text, tiny.ACTIONS, answer.trace))
            traces.append(answer.trace)
    return player.work.computed, traces


def update(model: Any, traces: list[Any], whole_episodes: bool, tokens: int = 8_192) -> Any:
    """Return the gradient of the mean log-probability, accumulated over passes of at most ``tokens`` tokens."""
    model.zero_grad(set_to_none=True)
    total = sum(trace.tokens for trace in traces)
    for piece in pieces(lay_out(traces, whole_episodes), tokens):
        found = score_tokens(model, own := [traces[row] for row in piece], 1.0, lay_out(own, whole_episodes), tokens)
        (found.log_probs.sum() / total).backward()
    return torch.cat([each.grad.flatten() for each in model.parameters()])


def main() -> None:
    """Print the tables."""
    episodes, turns = (int(each) for each in (*sys.argv[1:], "8", "15")[:2]) if len(sys.argv) > 2 else (8, 15)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = tiny.model(layers=4, max_position_embeddings=8192, **SIZES)
    weights = sum(each.numel() for each in model.parameters())
    print(f"Qwen3-style model of {weights:,} weights, float32; {episodes} episodes of {turns} turns, one batch;")
    print(
        f"torch {torch.__version__}, transformers {transformers.__version__}, {platform.machine()}, one thread, "
        "processor seconds.\n"
    )
    theirs, their_seconds = clocked(lambda: padded_generate(model, episodes, turns))
    (fresh, _), fresh_seconds = clocked(lambda: our_loop(model, episodes, turns, 0))
    (ours, traces), our_seconds = clocked(lambda: our_loop(model, episodes, turns, 1024))
    print("| decoding | tokens through the model | ratio | CPU seconds | ratio |\n|---|---:|---:|---:|---:|")
    for name, count, seconds in (
        ("generate, padded batch, every turn anew", theirs, their_seconds),
        ("our loop without a cache", fresh, fresh_seconds),
        ("our loop, cache kept across turns", ours, our_seconds),
    ):
        print(f"| {name} | {count:,} | {theirs / count:.1f} | {seconds:.1f} | {their_seconds / seconds:.1f} |")
    longest = max(len(trace.ids) for trace in traces)
    print(f"\nA whole episode is {longest} tokens at most.\n")
    whole, whole_seconds = clocked(lambda: update(model, traces, True))
    stepwise, step_seconds = clocked(lambda: update(model, traces, False))
    difference = float((whole - stepwise).abs().max() / stepwise.abs().max())
    print("| update (forward and backward) | CPU seconds | ratio |\n|---|---:|---:|")
    print(f"| a step a sequence | {step_seconds:.1f} | 1.0 |")
    print(f"| an episode a sequence | {whole_seconds:.1f} | {step_seconds / whole_seconds:.1f} |")
    print(f"\nLargest difference of the gradients: {difference:.1e} of the largest entry.")


if __name__ == "__main__":
    main()
