"""A tiny model with random weights, made as a user would: a run, then ``agentbench model init``."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers", reason="language models need transformers: pip install -e '.[language]'")
    from agentbench.cli import app

    folder = tmp_path_factory.mktemp("tiny")
    runner = CliRunner()
    run, model = folder / "run", folder / "model"
    played = ["eval", "--env", "alfworld", "--split", "generated:0:4", "--policy", "expert", "--out", str(run)]
    made = ["model", "init", "--out", str(model), "--tokenizer-from", str(run), "--size", "60k", "--vocabulary", "400"]
    for command in (played, made):
        result = runner.invoke(app, command, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    return model
