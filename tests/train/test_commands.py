"""``agentbench train`` as a user calls it: what it would take, how it goes, and what to do with the result."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs torch: pip install -e '.[train]'")

from agentbench.train.config import read_config
from agentbench.train.run import refuse_unfit_scheme

ROOT = Path(__file__).parents[2]
MAIN = (
    f"import sys; sys.path.insert(0, {str(ROOT / 'tests' / 'support')!r}); import toy_environment; "
    "from agentbench.cli import main; main()"
)
RUN = [
    *("train", "--env", "toy", "--split", "all", "--env-options", '{"tasks": 4, "max_steps": 6}', "--group-size", "4"),
    *("--tasks-per-step", "2", "--steps", "3", "--eval-split", "all", "--eval-every", "1", "--learning-rate", "0.01"),
]


def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", MAIN, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200", **environment},
        check=False,
    )


def test_a_dry_run_prints_every_setting_with_time_and_memory_and_trains_nothing(tmp_path: Path) -> None:
    done = call(*RUN, "--out", str(tmp_path / "run"), "--dry-run")
    assert done.returncode == 0, done.stderr
    for line in ("steps = 3  # training steps", "scheme = 'gigpo'  # credit scheme", "branch_every = 1  # with values"):
        assert f"\n{line}" in done.stdout
    found = re.search(r"about ([\d.]+) minutes for (\d+) environment steps, (\d+) MB of memory", done.stdout)
    assert found and int(found[2]) > 0 and int(found[3]) > 50
    assert not (tmp_path / "run").exists()


def test_a_run_shows_how_it_goes_and_its_folder_is_a_policy(tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = call(*RUN, "--out", str(out), FORCE_COLOR="1", TERM="xterm")
    assert done.returncode == 0, done.stderr
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", done.stderr)
    assert "gigpo on toy, training step 3 of 3" in shown  # the dashboard
    assert all(name in shown for name in ("eval/success", "entropy", "grad_norm", "memory_mb"))
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")
    done = call("eval", "--env", "toy", "--split", "all", "--policy", str(out), "--out", str(tmp_path / "eval"))
    assert done.returncode == 0, done.stderr
    assert "overall" in done.stdout


def test_without_a_terminal_it_says_a_line_now_and_then(tmp_path: Path) -> None:
    done = call(*RUN, "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("step 2/3: success ")]


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    done = call(*RUN, "--out", str(tmp_path / "run"), "--lerning-rate", "1")
    assert done.returncode != 0 and "did you mean --learning-rate" in done.stderr
    assert "Traceback" not in done.stderr


# A recipe's prompt template lies beside it.
RECIPES = sorted(path for path in (ROOT / "recipes").glob("*.toml") if not path.stem.endswith("-prompt"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_valid_for_every_scheme_it_names(path: Path) -> None:
    own = tomllib.loads(path.read_text(encoding="utf-8")).get("schemes", {})
    for scheme in ("grpo", "gigpo", "hgpo", "salt", *own):
        refuse_unfit_scheme(read_config(path, {"scheme": scheme}))
