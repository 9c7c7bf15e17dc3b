"""The commands and Python blocks of README and docs: how they are found, and what is changed before a test runs them.

Three tables say all that is not as the reader would type it: :data:`CHANGES` makes commands small, :data:`NOT_RUN`
names those that cannot run in a test and why (they are still checked for names that do not exist), and :data:`SLOW`
those that only ``pytest -m slow`` runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<body>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL)
SHELL = ("bash", "sh", "shell", "console", "")

CHANGES = (
    # (what is written, what is run, why)
    (r"--split (valid_unseen|test_normal)", "--split generated:0:4", "the official games need a download"),
    (r"--goals synthetic ", "", "WebShop's products need a download: the generated catalogue stands in"),
    (r"generated:(\d+):\d+(:small)?", r"generated:\1:4:small", "a few small games"),
    (r"(--env webshop .*--split test|--split test .*--env webshop)", r"\1 --limit 3", "a few goals"),
    (r"^agentbench eval +(?!.*(--split|--limit))", "agentbench eval --limit 2 ", "a few tasks of the default split"),
    (r"--limit 20", "--limit 3", "a few tasks"),
    (r"--trials 8", "--trials 2", "few rollouts"),
    (r"^agentbench eval ", "agentbench eval --inline ", "no worker processes: they have tests of their own"),
    (r"--episode \d+", "--episode 1", "the run is smaller"),
    (r"localhost:8000/v1", "SERVER/v1", "a server of the tests stands in for a model's"),
    (r"^agentbench clone (.*)--passes \d+", r"agentbench clone \1--passes 1", "shorter"),
    (
        r"^agentbench (train|sweep) (.*)--config recipes/alfworld-scorer.toml",
        r"agentbench \1 \2--config recipes/alfworld-scorer.toml --split generated:1:4:small "
        r"--eval-split generated:9:2:small --eval-tasks 2 --steps 1 --tasks-per-step 2 --group-size 2",
        "one small training step",
    ),
    (r"--schemes grpo,gigpo,hgpo,salt,mapo --seeds 5", "--schemes grpo,gigpo --seeds 1", "fewer runs"),
    (r"--seeds 12 (.*)--tune learning_rate=\S+ .* --tune-seeds 3 .*", r"--seeds 1 \1--tune learning_rate=1e-4,1e-3 "
     r"--tune-seeds 1 --tune-split generated:5:4:small --tune-eval-split generated:6:2:small", "fewer runs"),
    (r"^agentbench truth (.*)--tasks 20", r"agentbench truth \1--tasks 1 --split generated:0:1:small --max-steps 8 "
     r"--rollouts 2", "few branches"),
    (r"--problems all --sweep", "--problems chain --groups 16", "one problem"),
    (r"--group-size 8", "--group-size 2", "few rollouts"),
    (r"hf:Qwen/Qwen2.5-1.5B-Instruct", "hf:models/stand-in", "no model can be downloaded in a test"),
    (r" --device cuda| --precision bfloat16", "", "no GPU in a test"),
    (
        r"^agentbench eval (.*--policy hf:models/stand-in)",
        r"agentbench eval --max-steps 2 --max-new-tokens 4 \1",
        "short answers, short episodes",
    ),
    (r"^agentbench eval (.*--policy results/gigpo)$", r"agentbench eval --max-steps 2 \1", "short episodes"),
    (
        r"^agentbench train (.*--policy hf:models/stand-in)",
        r"""agentbench train --policy-options '{"max_new_tokens": 4}' \1""",
        "short answers",
    ),
    (
        r"^agentbench train (?!.*--config)(.*)--scheme gigpo",
        r"agentbench train \1--scheme gigpo --steps 1 --tasks-per-step 2 --group-size 2 --split generated:1:4:small "
        r"""--env-options '{"max_steps": 3}'""",
        "one small training step",
    ),
    (r"--size 5m", "--size 60k", "a tiny model"),
    (r"\bLOGS\b", "logs/chat.jsonl", "a log of two conversations that the test writes"),
    (r'split="generated:0:20"', 'split="generated:0:2:small"', "a few small games"),
)  # fmt: skip

NOT_RUN = {
    "make test-gpu": "needs a GPU; its script is run with --tiny in tests/gpu",
    "python tests/gpu/run.py --parts versions,ceilings,decode": "needs a GPU",
    "python tests/gpu/run.py --parts learn --weights first-half second-half": "needs a GPU and a model",
    "python tests/gpu/run.py --tiny --device cpu": "takes minutes; tests/gpu runs its parts",
    # the command as it is written, without its comment: why no test runs it as a command of the documentation
    "agentbench plan --seeds --sweep results/tuning --difference 0.05": "reads a sweep; test_sweep.py has one",
    "agentbench report results/sweep --out sweep.html": "the same; tests/report/test_sweeps.py has one",
    "agentbench sweep --merge results/part-a results/part-b --out results/sweep": "the same",
    "agentbench quality results/truth --schemes grpo,gigpo --columns my_scores.parquet": (
        "reads a file of the reader's own: tests/analysis/test_columns.py"
    ),
    "python tests/benchmarks/bench_prediction.py --add houses results/quality/quality.csv "
    "results/sweep/curves.parquet": "writes a published page; tests/analysis/test_prediction.py runs it elsewhere",
    "zcat results/run/episodes.jsonl.gz | head -1": "the system's: tests/runs/test_journal.py reads as it does",
    """python -c 'import pandas; print(pandas.read_json("results/run/episodes.jsonl.gz", lines=True))'""": "the same",
    "make demo": "installs into a virtual environment; CI runs it by itself",
    "make test": "runs this very test; CI runs it by itself",
    "source .venv/bin/activate": "the tests run in their own environment",
    "cp -r docs/examples my-plugin": "copies the example package, which the tests use where it is",
    "pip install -e my-plugin": "installs; tests/plugins/test_plugins.py puts the example package on the path instead",
    "pip install -e '.[train]'": "installs",
    "pip install -e '.[language]'": "installs",
    "pip install -e '.[trl]'": "installs",
    "agentbench train --policy results/cloned --engine vllm --env alfworld --split generated:1:200:small "
    "--out results/rl-vllm": "needs vLLM",
    "make vllm": "needs vLLM and a GPU",
    "pip install -e '.[verl]'": "installs",
    "pip install -e '.[openenv]'": "installs",
    "agentbench serve --env alfworld --split generated:0:64 --port 8000 --max-sessions 64": (
        "serves until Ctrl-C: tests/integrations/test_openenv.py"
    ),
    "python docs/examples/train_with_trl_openenv.py Qwen/Qwen3-4B results/served 100 http://127.0.0.1:8000": (
        "needs TRL, a server and a model: tests/integrations/test_trl_openenv.py"
    ),
    "pip install -e '.[inspect]'": "installs",
    "inspect eval agentbench/alfworld --model openai/gpt-5-mini -T split=valid_unseen --limit 20 --epochs 2": (
        "needs Inspect and a model: tests/integrations/test_inspect.py"
    ),
    "agentbench import logs --out results/inspected": "the same",
    "pip install -e . -e agentbench/integrations/verifiers": "installs",
    "vf-eval agentbench-verifiers --env.taskset.env alfworld --env.taskset.split valid_unseen -n 20 -r 2 "
    "--model openai/gpt-5-mini": "needs verifiers and a model: tests/integrations/test_verifiers.py",
    "agentbench import outputs --out results/verified": "the same",
    "pip install -e '.[ray]'": "installs",
    "agentbench eval --env alfworld --policy expert --parallel 64 --executor ray --out results/cluster": (
        "starts a cluster: tests/cluster/test_ray.py"
    ),
    "agentbench truth --env alfworld --policy mixed:0.7 --executor ray:127.0.0.1:6379 --out results/truth-cluster": (
        "needs a cluster: tests/cluster/test_ray.py"
    ),
    "agentbench eval --env webshop --policy vllm:Qwen/Qwen2.5-7B-Instruct --llm-arguments "
    "'{\"tensor_parallel_size\": 2}' --engines 4 --parallel 64 --executor ray --out results/vllm-cluster": (
        "needs a cluster with GPUs: tests/cluster/test_ray_engine.py"
    ),
    "agentbench train --policy results/cloned --engine vllm --executor ray --workers 8 --parallel 64 --env alfworld "
    "--split generated:1:200:small --out results/rl": "needs vLLM on a cluster: tests/train/test_ray_server.py",
    "python docs/examples/train_with_trl.py results/tiny results/trl 2": "needs TRL: tests/integrations/test_trl.py",
    "python docs/examples/train_with_trl_tools.py Qwen/Qwen3-4B results/tools 100": (
        "needs TRL, and a model that calls tools: tests/integrations/test_trl_tools.py"
    ),
    "python docs/examples/advantages_with_verl.py results/verl gigpo": "needs verl: tests/integrations/test_verl.py",
    "agentbench install alfworld": "downloads the official games",
    "agentbench install webshop": "downloads WebShop's products",
    "agentbench install webshop --from FOLDER": "needs a copy of WebShop's products",
    "agentbench install webshop --size full": "downloads WebShop's products",
    "agentbench install appworld": "downloads AppWorld's package",
    "agentbench install appworld --data download": "downloads AppWorld's data",
    "agentbench eval --env appworld --split mini --policy expert": "AppWorld is not installed: tests/envs/appworld",
    "agentbench eval --env appworld --split test_normal --policy openai:MODEL --max-steps 50": "needs AppWorld's data",
    "agentbench verify alfworld --reference FOLDER": "needs recordings: tests/reference",
    "agentbench verify webshop --reference FOLDER": "needs recordings: tests/reference",
    "agentbench view results/run": "serves until Ctrl-C: tests/report/test_server.py",
    "agentbench eval --env webshop --policy vllm:Qwen/Qwen2.5-1.5B-Instruct --parallel 64": "needs vLLM and a GPU",
    "python -m envs.webshop.nouns FOLDER [MODEL]": "needs spaCy and WebShop's products",
    "torchrun --standalone --nproc-per-node 2 -m agentbench train --config recipes/alfworld-scorer.toml "
    "--out results/two": "several processes: tests/train/test_distributed.py",
    "agentbench check env guess": "needs the example package installed: tests/plugins/test_plugins.py",
    "agentbench check policy halve --env guess": "needs the example package installed: tests/plugins/test_plugins.py",
    "agentbench check scheme fading": "needs the example package installed: tests/plugins/test_plugins.py",
    "agentbench eval --env guess --policy halve:0.3 --trials 4 --out results/guess": (
        "needs the example package installed: tests/plugins/test_plugins.py"
    ),
    "agentbench credit results/guess --scheme fading,grpo": (
        "needs the example package installed: tests/plugins/test_plugins.py"
    ),
}

SLOW = (
    # what a slow command begins with: each loads transformers, or starts training runs as processes of their own
    "agentbench sweep",
    "agentbench quality --problems",
    "agentbench model",
    "agentbench clone --policy hf:",
    "agentbench train --policy results/cloned",
    "agentbench train --env alfworld --policy hf:",
    "agentbench eval --env alfworld --policy hf:",
    "agentbench eval --env alfworld --policy results/gigpo",
)


@dataclass(frozen=True)
class Block:
    """One command or one Python block of a document.

    Attributes:
        line: where it stands, from 1.
        language: ``bash`` or ``python``.
        text: the command on one line, without its comment; or the whole Python block.
    """

    line: int
    language: str
    text: str

    @property
    def small(self) -> str:
        """The text with all :data:`CHANGES` made."""
        text = self.text
        for pattern, replacement, _ in CHANGES:
            text = re.sub(pattern, replacement, text)
        return text

    @property
    def slow(self) -> bool:
        """Whether only the slow tests run it."""
        return self.language == "bash" and self.text.startswith(SLOW)


def documents() -> list[Path]:
    """Return README and every page of the documentation that is written by hand."""
    return [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


def blocks(document: Path) -> list[Block]:
    """Return the commands and Python blocks of a document, in its order."""
    text = document.read_text(encoding="utf-8")
    found: list[Block] = []
    for fence in FENCE.finditer(text):
        line = text.count("\n", 0, fence.start()) + 2
        indent = len(fence["indent"])
        lines = [each[indent:] for each in fence["body"].splitlines()]
        if fence["language"] == "python":
            found.append(Block(line, "python", "\n".join(lines) + "\n"))
        elif fence["language"] in SHELL:
            joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
            commands = (" ".join(re.sub(r"(^|\s+)#.*", "", each).split()) for each in joined.splitlines())
            found += [Block(line, "bash", command) for command in commands if command]
    return found
