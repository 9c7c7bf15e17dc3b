"""The parts of ``run.py``: ``python parts.py PART JSON``. Each appends its figures as soon as it has them."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Asked:
    """What ``run.py`` was asked for.

    Attributes:
        device: of torch.
        tiny: whether only the script is tested.
        out: folder of the figures and of runs.
        weights: a model's folder or file; empty for random weights.
        seconds: until this part is ended.
        games: folder of ALFWorld's official games; empty for generated ones.
        lessons: a run of expert episodes; empty to play them.
        lora: rank of the adapters that are trained on a language model; 0 trains all weights.
    """

    device: str
    tiny: bool
    out: str
    weights: str
    seconds: float
    games: str = ""
    lessons: str = ""
    lora: int = 0

    def tell(self, part: str, **figures: Any) -> None:
        """Append a line of figures, and show it."""
        line = json.dumps({"part": part, **figures})
        print(line, flush=True)
        with (Path(self.out) / "figures.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def wait(self) -> None:
        """Wait until the device has done all that it was given."""
        if torch.device(self.device).type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds_of(self, call: Callable[[], Any], times: int = 3) -> float:
        """Return the median seconds of a call, after one that warms up."""
        found = []
        for _ in range(times + 1):
            self.wait()
            started = time.perf_counter()
            call()
            self.wait()
            found.append(time.perf_counter() - started)
        return float(np.median(found[1:]))


def versions(asked: Asked) -> None:
    """The machine and what is installed."""

    def of(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    packages = {name: of(name) for name in ("torch", "transformers", "peft", "numpy", "gymnasium", "gguf")}
    device: dict[str, Any] = {"device": asked.device}
    if torch.device(asked.device).type == "cuda":
        found = torch.cuda.get_device_properties(asked.device)
        device = {"device": found.name, "device_gb": round(found.total_memory / 2**30, 1), "cuda": torch.version.cuda}
    asked.tell("versions", python=platform.python_version(), platform=platform.platform(), **packages, **device)


def ceilings(asked: Asked) -> None:
    """What the device can do at most: bytes a second of a copy, operations a second of a matrix product."""
    size = 2**18 if asked.tiny else 2**28
    numbers = torch.ones(size, device=asked.device)
    copied = torch.empty_like(numbers)
    seconds = asked.seconds_of(lambda: copied.copy_(numbers))
    asked.tell("ceilings", what="copy", gb_per_second=round(2 * 4 * size / seconds / 1e9, 1))
    side = 128 if asked.tiny else 8192
    for name, kind, how in (
        ("float32", "float32", "highest"),
        ("tf32", "float32", "high"),
        ("bf16", "bfloat16", "high"),
    ):
        torch.set_float32_matmul_precision(how)
        matrix = torch.randn(side, side, device=asked.device).to(getattr(torch, kind))
        seconds = asked.seconds_of(lambda matrix=matrix: matrix @ matrix)  # type: ignore[misc]
        asked.tell("ceilings", what=f"product, {name}", tflops=round(2 * side**3 / seconds / 1e12, 3))


def configurations(asked: Asked) -> None:
    """Twelve small training runs, killed and continued, against the same on the processor."""
    from twelve_configurations import CONFIGURATIONS, configuration, run, save_model

    folder = Path(asked.out) / f"configurations-{time.time_ns()}"
    model = save_model(folder / "model")
    worst = 0.0
    for name in ("plain", "scorer") if asked.tiny else CONFIGURATIONS:
        there = run(configuration(name, model, asked.device), folder / f"{name}-there")
        here = run(configuration(name, model, "cpu"), folder / f"{name}-here")
        first = [next(row for row in rows if "grad_norm" in row) for rows in (there, here)]
        apart = abs(first[0]["grad_norm"] - first[1]["grad_norm"]) / max(1e-9, abs(first[1]["grad_norm"]))
        gap = max(row["sampler_gap"] for row in there if "sampler_gap" in row)
        worst = max(worst, apart)
        asked.tell("configurations", name=name, grad_norm_apart=apart, sampler_gap=gap, steps=len(there))
    # Products with TF32 have 10 bits of fraction; a wrong mask or a stale cache is far outside.
    assert worst < 0.2, f"gradients differ by {worst:.2g} from those of the processor"


def _policy(asked: Asked, **options: Any) -> Any:
    """Make a policy: of the weights that were given, or of random ones in the shape of 135 million weights."""
    import tiny_language as tiny

    from policies.registry import make_policy

    if asked.weights:
        own = {"device": asked.device, "thinking": False, "temperature": 1.0, **options}
        return make_policy(f"hf:{asked.weights}", environment="alfworld", options=own)
    shape: dict[str, Any] = (
        {}
        if asked.tiny
        else {
            "vocab_size": 49152,
            "hidden_size": 576,
            "intermediate_size": 1536,
            "layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "head_dim": 64,
            "initializer_range": 0.04,
        }
    )
    made = tiny.model("llama", **shape)
    made = made.to(asked.device, getattr(torch, options.get("precision", "float32")))
    return tiny.policy(made, device=asked.device, **options)


def _traces(rows: int, prompt: int, answer: int) -> list[Any]:
    """Make up answers to prompts of a length, one an episode."""
    from policies.language.sequences import Sampled

    generator = np.random.default_rng(0)
    return [
        Sampled(
            generator.integers(10, 300, prompt).astype(np.int32),
            generator.integers(10, 300, answer).astype(np.int32),
            np.full(answer, -5.0, np.float32),
        )
        for _ in range(rows)
    ]


def decode(asked: Asked) -> None:
    """Tokens a second and share of the weights' bandwidth, with CUDA graphs and without; and what makes the host wait.

    Where there are no graphs, as on a processor, the same steps of a fixed shape are run one by one.
    """
    from policies.language.blocks import Graphs
    from policies.language.cache import PrefixCache, Work
    from policies.language.decode import Request, Rules
    from policies.language.decode import decode as answer

    class Anywhere(Graphs):
        """Steps of a fixed shape on any device."""

        def apply_to(self, device: torch.device) -> bool:
            return self.wanted and not self.failure

    rules = Rules(1.0, 6 if asked.tiny else 16, frozenset(), lambda tokens: False)
    failures: set[str] = set()
    torch.set_float32_matmul_precision("high")
    for precision in ("float32", "bfloat16"):
        player = _policy(asked, precision=precision)
        model = player.weights.model
        stored = sum(each.numel() * each.element_size() for each in model.parameters())
        for rows, length in (
            ((1, 20), (4, 40)) if asked.tiny else ((1, 1000), (32, 1000), (128, 700), (128, 2000), (256, 1000))
        ):
            requests = [Request(each.prompt, seed=number) for number, each in enumerate(_traces(rows, length, 1))]
            plain: list[Any] = []
            for graphs in (Anywhere(wanted=False), Anywhere()):
                cache = PrefixCache(2**40)
                # The prompts are in the cache from here on, and answers take turns in the same rows.
                for _ in range(3):
                    answers = answer(model, requests, rules, cache, Work(), graphs)
                before = graphs.replayed
                seconds = asked.seconds_of(lambda: answer(model, requests, rules, cache, Work(), graphs))  # noqa: B023
                steps = rules.max_new_tokens
                figures = {
                    "tokens_per_second": round(rows * steps / seconds, 1),
                    "ms_per_step": round(1000 * seconds / steps, 3),
                    "weights_gb_per_second": round(stored * steps / seconds / 1e9, 2),
                }
                if graphs.wanted:
                    figures |= {"captured": graphs.captured, "replayed": graphs.replayed - before}
                    figures |= {**_apart(plain, answers), **({"failure": graphs.failure} if graphs.failure else {})}
                plain = answers
                shape = {"precision": precision, "rows": rows, "context": length, "fixed": graphs.wanted}
                asked.tell("decode", **shape, **figures)
                failures |= {graphs.failure} - {""}
    activities = [torch.profiler.ProfilerActivity.CPU]
    if torch.device(asked.device).type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profile:
        answer(model, requests, rules, cache, Work(), graphs)
    for each in sorted(profile.key_averages(), key=_own_time, reverse=True)[:12]:
        asked.tell(
            "decode", what="profile", kernel=each.key[:80], calls=each.count, ms=round(_own_time(each) / 1000, 2)
        )
    if torch.device(asked.device).type == "cuda":
        torch.cuda.set_sync_debug_mode("warn")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            answer(model, requests, rules, cache, Work(), graphs)
        torch.cuda.set_sync_debug_mode("default")
        where = sorted({f"{Path(each.filename).name}:{each.lineno}" for each in caught})
        asked.tell("decode", what="waits of one call", count=len(caught), where=where[:20])
    assert not failures, f"decode steps were not captured: {failures}"


def _apart(ours: list[Any], theirs: list[Any]) -> dict[str, Any]:
    """Return the share of answers with the same tokens, and how far their log-probabilities are apart at most."""
    same = [(one, other) for one, other in zip(ours, theirs, strict=True) if one.tokens == other.tokens]
    apart = [np.abs(np.subtract(one.log_probs, other.log_probs)).max() for one, other in same]
    return {"same_answers": round(len(same) / len(ours), 4), "log_probs_apart": float(max(apart, default=0.0))}


def _own_time(event: Any) -> float:
    """Return the microseconds of a kernel itself: on the device, where there is one."""
    return float(getattr(event, "self_device_time_total", 0) or event.self_cpu_time_total)


def update(asked: Asked) -> None:
    """Tokens a second and memory of an update, in every precision; and the largest batch that fits."""
    from agentbench.train.update import computing_in

    prompt, answer = (30, 4) if asked.tiny else (1000, 15)
    for name, weights, computing, how in (
        ("float32", "float32", "float32", "highest"),
        ("tf32", "float32", "float32", "high"),
        ("autocast", "float32", "bfloat16", "high"),
        ("bf16 weights", "bfloat16", "float32", "high"),
    ):
        torch.set_float32_matmul_precision(how)
        player = _policy(asked, precision=weights)
        parameters = sum(each.numel() for each in player.module.parameters())
        for rows in (2, 4) if asked.tiny else (8, 16, 32, 64, 128):
            traces = _traces(rows, prompt, answer)

            def once() -> None:
                with computing_in(computing, asked.device):  # noqa: B023
                    loss = player.likelihood(traces).log_probs.float().sum()  # noqa: B023
                loss.backward()  # type: ignore[no-untyped-call]
                player.module.zero_grad(set_to_none=True)  # noqa: B023

            on_gpu = torch.device(asked.device).type == "cuda"
            if on_gpu:
                torch.cuda.reset_peak_memory_stats(asked.device)
            try:
                seconds = asked.seconds_of(once, times=2)
            except torch.OutOfMemoryError:
                asked.tell("update", precision=name, rows=rows, error="out of memory")
                torch.cuda.empty_cache()
                break
            tokens = rows * (prompt + answer)
            if on_gpu:
                asked.tell("update", precision=name, rows=rows, what="memory", **_memory_by_part(asked, player, once))
            peak = round(torch.cuda.max_memory_allocated(asked.device) / 2**20) if on_gpu else None
            figures = {
                "tokens_per_second": round(tokens / seconds),
                "tflops": round(6e-12 * parameters * tokens / seconds, 3),
            }
            asked.tell("update", precision=name, rows=rows, peak_mb=peak, **figures)


def _memory_by_part(asked: Asked, player: Any, once: Callable[[], None]) -> dict[str, int]:
    """Return the megabytes of the weights, of their gradients and of what a pass needs beside them."""
    weights = sum(each.numel() * each.element_size() for each in player.module.parameters())
    trained = sum(each.numel() * each.element_size() for each in player.module.parameters() if each.requires_grad)
    before = torch.cuda.memory_allocated(asked.device)
    torch.cuda.reset_peak_memory_stats(asked.device)
    once()
    peak = torch.cuda.max_memory_allocated(asked.device)
    found = {"weights_mb": weights, "gradients_mb": trained, "pass_mb": max(0, peak - before - trained)}
    return {name: round(size / 2**20) for name, size in found.items()}


ADAPTERS = 16 * 2**20
"""Bytes of a trained policy that are still carried back."""


def learn(asked: Asked) -> None:
    """Clone from expert episodes, evaluate on held-out games, train with two schemes for as long as there is time.

    Training is stopped when three quarters of its time are over, goes on from its checkpoint for two more steps, and
    what was best on held-out games comes back as ``SCHEME-adapters`` where it is small enough.
    """
    out = Path(asked.out) / f"learn-{time.time_ns()}"
    end = time.monotonic() + asked.seconds

    def agentbench(*arguments: str | Path, stop: Callable[[], bool] = lambda: False) -> None:
        """Run a command to its end, or until it is to stop."""
        command = [sys.executable, "-m", "agentbench", *map(str, arguments)]
        begun = time.monotonic()
        environment = {**os.environ, **({"ALFWORLD_DATA": asked.games} if asked.games else {})}
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as process:
            while process.poll() is None and not (stopped := stop()) and time.monotonic() < end - 5:
                time.sleep(0.2)
            if process.poll() is None:
                process.terminate()
                process.wait(120)
            elif process.returncode:
                raise subprocess.CalledProcessError(process.returncode, command)
        asked.tell("learn", command=arguments[0], seconds=round(time.monotonic() - begun, 1), stopped=stopped)

    train_split, held_out = (
        f"generated:0:{4 if asked.tiny else 400}:small",
        f"generated:9:{4 if asked.tiny else 60}:small",
    )
    if asked.games:
        train_split, held_out = "train", "valid_unseen"
    limit = ["--limit", "4" if asked.tiny else "60"]
    games = ["--env", "alfworld"]
    lessons: str | Path = asked.lessons or out / "lessons"
    if not asked.lessons:
        few = ["--limit", "4" if asked.tiny else "400"]
        agentbench("eval", *games, "--split", train_split, *few, "--policy", "expert", "--out", lessons)
    scorer, on_device = not asked.weights, json.dumps({"device": asked.device, "constrained": True})
    model = ["--policy", "scorer"] if scorer else ["--policy", f"hf:{asked.weights}", "--policy-options", on_device]
    agentbench("clone", "--from", lessons, *model, "--passes", "1", "--out", out / "cloned")
    own = [] if scorer else ["--device", asked.device]
    agentbench("eval", *games, "--split", held_out, *limit, "--policy", out / "cloned", *own, "--out", out / "before")
    adapters = [] if scorer or not asked.lora else ["--lora", str(asked.lora)]
    for number, scheme in enumerate(("grpo", "gigpo")):
        run = ["train", *games, "--split", train_split, "--eval-split", held_out, "--eval-tasks", limit[1]]
        run += ["--policy", out / "cloned", "--scheme", scheme, "--device", asked.device, *adapters]
        run += ["--tasks-per-step", "2" if asked.tiny else "16", "--eval-every", "1" if asked.tiny else "5"]
        run += ["--learning-rate", "0.001" if scorer else "0.00001", "--checkpoint-every", "1", "--out", out / scheme]
        run += ["--steps", "1000"]
        later = time.monotonic() + 0.75 * (end - time.monotonic()) / (2 - number)
        agentbench(*run, stop=lambda: time.monotonic() > later or (asked.tiny and bool(_metrics(out / scheme))))  # noqa: B023
        at = len(_metrics(out / scheme))
        agentbench(*run, "--resume", stop=lambda: len(_metrics(out / scheme)) > at + 1)  # noqa: B023
        rows = _metrics(out / scheme)
        curve = {row["step"]: row["eval/success"] for row in rows if "eval/success" in row}
        seconds = float(np.mean([row["seconds"] for row in rows if "seconds" in row]))
        figures = {"success": curve, "seconds_per_step": round(seconds, 2), "resumed_at": at, "steps": rows[-1]["step"]}
        asked.tell("learn", scheme=scheme, **figures, **_brought_back(out / scheme))


def _metrics(run: Path) -> list[dict[str, Any]]:
    from agentbench.runs.lines import METRICS_FILE, read_lines

    found = read_lines(run / METRICS_FILE) if (run / METRICS_FILE).is_file() else []
    return [row for row in found if row.get("step")]


def _brought_back(run: Path) -> dict[str, Any]:
    """Put what was learned beside its run where it is small enough to be carried; say how large it is."""
    policy = run / "best"
    size = sum(path.stat().st_size for path in policy.rglob("*") if path.is_file())
    if size <= ADAPTERS:
        shutil.copytree(policy, run.with_name(f"{run.name}-adapters"))
    return {"policy_mb": round(size / 2**20, 2), "brought_back": size <= ADAPTERS}


PARTS = {each.__name__: each for each in (versions, ceilings, configurations, decode, update, learn)}

if __name__ == "__main__":
    PARTS[sys.argv[1]](Asked(**json.loads(sys.argv[2])))
