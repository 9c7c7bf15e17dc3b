"""Runs that version 0.1.0 stored: they open, hold the same numbers and resume to the same lines in later versions.

``runs/`` has a small run of each kind as 0.1.0 wrote it. Digests in identities decide whether a run resumes: a change
of how anything is hashed or laid out as a table shows here, and nowhere else before a user meets it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentbench import advantages, evaluate, open_run
from agentbench.importing import import_run
from credit import Steps
from envs.base.digest import sealed

RUNS = Path(__file__).parent / "runs"
LINES, METRICS = "episodes.jsonl", "metrics.jsonl"

STEP_TABLES = {
    "alfworld": "6dc26c59163f5c9d",
    "webshop": "03220aef2dfbfef8",
    "imported": "43645d79b8c66c09",
}
TEXT_TABLES = {
    "alfworld": "dc1359fd93138f26",
    "webshop": "32a9c4f23f039f7c",
    "imported": "4d48b7e6c3951882",
}
ADVANTAGES = {"grpo": 13.435009843, "gigpo": 44.912409944, "salt": 10.606586718, "mapo": 20.843397588}
STEP_COLUMNS = [
    *("episode", "task_id", "trial", "step", "observation", "action", "reward", "is_valid", "terminated", "truncated"),
    *("score", "anchor", "next_anchor", "admissible_actions", "text"),
]
EPISODE_COLUMNS = [
    *("episode", "task_id", "trial", "outcome", "won", "score", "steps", "task_type", "task_name", "instruction"),
    *("total_reward", "invalid_actions", "terminated", "truncated", "error", "final_observation"),
]


def copy_of(name: str, tmp_path: Path) -> Path:
    """Copy a stored run to where it may be written to."""
    return Path(shutil.copytree(RUNS / name, tmp_path / name))


def digest_of_steps(steps: Steps) -> str:
    """Hash every column that a scheme can read, codes of texts included."""
    columns = (
        "group",
        "episode",
        "step",
        "reward",
        "state",
        "next_state",
        "action",
        "is_valid",
        "terminated",
        "truncated",
    )
    digest = hashlib.sha256()
    for name in columns:
        digest.update(name.encode() + np.ascontiguousarray(getattr(steps, name)).tobytes())
    for name in sorted(steps.extra):
        digest.update(name.encode() + np.ascontiguousarray(steps.extra[name]).tobytes())
    return digest.hexdigest()[:16]


def digest_of_tables(folder: Path) -> str:
    """Hash the two tables of a run as version 0.1.0 had them: later versions may add columns, and change none."""
    run = open_run(folder)
    steps, episodes = run.step_table[STEP_COLUMNS], run.episodes[EPISODE_COLUMNS]
    text = steps.to_json(orient="records") + episodes.to_json(orient="records")
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def without_timing(line: str) -> dict[str, Any]:
    """Read a line without what differs between two plays of the same episode."""
    record: dict[str, Any] = json.loads(line)
    return {name: value for name, value in record.items() if name not in ("timing", "crc32")}


def cut_in_half(folder: Path) -> list[str]:
    """Forget the second half of a run's episodes, as a kill does; return the lines that stay."""
    path = folder / LINES
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = lines[: len(lines) // 2]
    path.write_text("".join(kept), encoding="utf-8")
    return kept


@pytest.mark.parametrize("name", STEP_TABLES)
def test_a_stored_run_gives_the_step_table_and_the_tables_that_it_gave(name: str, tmp_path: Path) -> None:
    folder = copy_of(name, tmp_path)
    assert digest_of_steps(open_run(folder).steps()) == STEP_TABLES[name]
    assert digest_of_tables(folder) == TEXT_TABLES[name]


def test_a_stored_run_gives_the_advantages_that_it_gave(tmp_path: Path) -> None:
    steps = open_run(copy_of("alfworld", tmp_path)).steps()
    found = {name: round(float(np.abs(advantages(name, steps)).sum()), 9) for name in ("grpo", "gigpo", "salt", "mapo")}
    assert found == ADVANTAGES


@pytest.mark.parametrize("name", ["alfworld", "webshop"])
def test_a_stored_evaluation_resumes_to_the_lines_that_it_had(name: str, tmp_path: Path) -> None:
    folder = copy_of(name, tmp_path)
    whole = sorted((RUNS / name / LINES).read_text(encoding="utf-8").splitlines())
    kept = cut_in_half(folder)
    config = open_run(folder).config["config"]
    settings = {key: config[key] for key in ("split", "trials", "seed", "limit", "env_options")}
    evaluate(config["env"], config["policy"], out=folder, inline=True, **settings)
    lines = (folder / LINES).read_text(encoding="utf-8").splitlines(keepends=True)
    assert lines[: len(kept)] == kept
    assert list(map(without_timing, sorted(lines))) == list(map(without_timing, whole))


def test_a_stored_import_goes_on_to_the_bytes_that_it_had(tmp_path: Path) -> None:
    folder = copy_of("imported", tmp_path)
    cut_in_half(folder)
    import_run(folder / "chat.jsonl", folder)
    assert (folder / LINES).read_bytes() == (RUNS / "imported" / LINES).read_bytes()


def test_a_stored_training_run_resumes_to_the_same_rollouts(tmp_path: Path) -> None:
    """Its checkpoints are left out, so it begins anew; what was counted is compared, not what hardware rounds."""
    pytest.importorskip("torch", reason="training needs torch: pip install -e '.[train]'")
    from agentbench.runs.lines import read_metrics
    from agentbench.train.config import TrainConfig
    from agentbench.train.run import train

    folder = copy_of("trained", tmp_path)
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    record["identity"]["policy_options"] = {"codes": "word"}  # as every scorer read them then
    (folder / "run.json").write_text(json.dumps(sealed({key: record[key] for key in record if key != "seal"})))
    identity = open_run(folder).config["identity"]
    config = TrainConfig(**{name: value for name, value in identity.items() if name != "kind"})
    train(config, folder, resume=True)
    counted = (
        "step",
        "episodes",
        "errors",
        "environment_steps",
        "success",
        "score",
        "advantage/groups",
        "eval/success",
    )
    before, after = (
        [{name: row.get(name) for name in counted} for row in read_metrics(path / METRICS)]
        for path in (RUNS / "trained", folder)
    )
    assert after == before
