"""The peak memory that is promised for cloning a model of 135 million weights is kept, by a process with a limit."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[train]'")
pytest.importorskip("transformers", reason="language models need transformers: pip install -e '.[language]'")
pytest.importorskip("resource", reason="peak memory is told by the system's resource module")

from agentbench import evaluate  # noqa: E402
from agentbench.train.model_init import run_texts, train_tokenizer  # noqa: E402

LIMIT_MB = 4096
CLONE = """
import resource, sys
from agentbench.cli import main
status = main()
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
sys.exit(status)
"""


def shaped_like_smollm2(folder: Path, run: Path) -> Path:
    """Write a model of 135 million weights with SmolLM2's shape and random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = train_tokenizer(run_texts(run), 600, 8192)
    config = LlamaConfig(
        vocab_size=49_152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_cloning_a_model_of_135_million_weights_stays_below_4_gb(tmp_path: Path) -> None:
    run = tmp_path / "expert"
    evaluate("alfworld", "expert", split="generated:0:6:small", out=run)
    real = os.environ.get("AGENTBENCH_SMOLLM2", "")
    model = Path(real) if real else shaped_like_smollm2(tmp_path / "model", run)
    options = {"constrained": True, "show_actions": False}
    arguments = ["clone", "--policy", f"hf:{model}", "--policy-options", json.dumps(options), "--from", str(run)]
    arguments += ["--out", str(tmp_path / "out"), "--passes", "1", "--held-out", "0.2", "--threads", "1"]
    done = subprocess.run(
        [sys.executable, "-c", CLONE, *arguments], capture_output=True, text=True, check=False, timeout=3500
    )
    assert done.returncode == 0, done.stderr[-2000:]
    peak = int(re.findall(r"peak (\d+)", done.stdout)[0])
    promised = float(re.findall(r"peak memory about ([\d.]+) GB", done.stderr)[0]) * 1000
    assert peak < LIMIT_MB and promised < LIMIT_MB
    assert peak < 1.15 * promised
