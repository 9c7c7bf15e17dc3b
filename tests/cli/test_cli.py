"""The command line: every command does its job, and every mistake is one clear line with exit code 2."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from envs.alfworld import problem

REPOSITORY = Path(__file__).resolve().parents[2]
Run = Callable[..., tuple[int, str, str]]


def evaluate(run: Run, policy: str, out: str, *more: object) -> tuple[int, str, str]:
    """Play twelve generated games, two of each type."""
    return run("eval", "--env", "alfworld", "--split", "generated:3:12", "--policy", policy, "--out", out, *more)


def test_help_names_every_command(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    for command in (
        "eval",
        "show",
        "replay",
        "compare-runs",
        "plan",
        "install",
        "verify",
        "envs",
        "policies",
        "doctor",
    ):
        assert re.search(rf"^\W*{command}\b", out, re.MULTILINE), command


def test_help_groups_the_commands(run: Run) -> None:
    panels = re.findall(r"^\W*─ (\w+) ─", run("--help")[1], re.MULTILINE)
    assert panels == ["Options", "Play", "Compare", "Credit", "Train", "Data", "Check"]


@pytest.mark.parametrize(("old", "new"), [("diff", "compare-runs"), ("compare", "compare-schemes")])
def test_an_old_name_does_the_same_and_prints_the_new_one(run: Run, old: str, new: str) -> None:
    assert not re.search(rf"^\W*{old} ", run("--help")[1], re.MULTILINE)
    evaluate(run, "mixed:0.5", "one", "--trials", 2, "--inline")
    arguments = ["one", *(["other"] if old == "diff" else ["--schemes", "grpo,gigpo"])]
    evaluate(run, "random", "other", "--trials", 2, "--inline")
    code, out, err = run(new, *arguments)
    assert code == 0 and "now called" not in err
    assert run(old, *arguments) == (0, out, f"agentbench: '{old}' is now called '{new}'\n{err}")


def test_an_evaluation_reads_every_game_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = problem._read_facts
    monkeypatch.setattr(problem, "_read_facts", lambda text: read.append(text) or original(text))
    assert run("eval", "--env", "alfworld", "--split", "generated:41:6", "--policy", "random", "--inline")[0] == 0
    assert len(read) == len(set(read)) == 6


def test_the_main_job_from_evaluation_to_replay(run: Run) -> None:
    code, out, _ = evaluate(run, "expert", "expert", "--workers", 2)
    assert code == 0 and "Pick2" in out
    episodes = pd.read_parquet("expert/episodes.parquet")
    assert {"task_id", "trial", "outcome", "won", "score", "steps"} <= set(episodes.columns)
    assert len(episodes) == 12 and episodes["won"].all()
    assert set(episodes["task_type"]) == {"Pick", "Look", "Clean", "Heat", "Cool", "Pick2"}
    code, again, _ = run("show", "expert", "--plot", "picture.png")
    assert code == 0 and Path("picture.png").read_bytes().startswith(b"\x89PNG")
    assert again.splitlines()[:8] == out.splitlines()[:8]
    code, text, _ = run("replay", "expert", "--episode", 3)
    assert code == 0 and "Your task is to" in text and text.count("> ") >= episodes["steps"][3]
    code, by_task, _ = run("replay", "expert", "--task", episodes["task_id"][3])
    assert by_task == text


def test_runs_of_the_same_folder_name_stay_apart_in_the_picture(run: Run) -> None:
    for folder, seed in (("a/run", 0), ("b/run", 1)):
        run("eval", "--split", "generated:4:6", "--policy", "random", "--seed", seed, "--out", folder)
    assert run("show", "a/run", "b/run", "--plot", "both.svg")[0] == 0
    picture = Path("both.svg").read_text()
    assert "a/run" in picture and "b/run" in picture
    assert "named twice" in run("show", "a/run", "a/run")[2]


def test_comparing_two_runs(run: Run) -> None:
    evaluate(run, "expert", "expert")
    evaluate(run, "random", "random")
    code, out, _ = run("compare-runs", "random", "expert")
    assert code == 0 and "McNemar" in out
    run("eval", "--split", "generated:4:6", "--policy", "random", "--out", "other")
    code, _, err = run("compare-runs", "random", "other")
    assert code == 2 and "task" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["eval", "--env", "alfwrld"], r"unknown environment 'alfwrld': did you mean alfworld"),
        (["eval", "--policy", "expret"], r"unknown policy 'expret': did you mean expert\?"),
        (["eval", "--split", "valid_unseen"], "agentbench install alfworld"),
        (["eval", "--split", "valid_unsen"], "did you mean valid_unseen"),
        (["eval", "--split", "generated:x:3"], "write generated:<seed>:<number>"),
        (["eval", "--trials", "0"], "trials must be a whole number from 1 to"),
        (["eval", "--workers", "0"], "workers must be a whole number from 1 to 512"),
        (["eval", "--limit", "0"], "limit must be a whole number from 1 to"),
        (["eval", "--trails", "3"], "unknown option '--trails': did you mean --trials"),
        (["eval", "--engine", "unity"], "engine"),
        (["eval", "--max-steps", "0"], "max_steps of environment .alfworld. must be a whole number from 1 to"),
        (["eval", "--task", "nothing-like-it"], "unknown task 'nothing-like-it'"),
        (["show", "nowhere"], "no run in nowhere"),
        (["replay", "nowhere", "--episode", "0"], "no run in nowhere"),
        (["install", "alfword"], r"did you mean alfworld"),
        (["report", "run", "--out", "page.pdf"], r"does not end in \.html"),
        (["install", "alfworld", "--from", "nowhere.zip"], "nowhere.zip"),
        (["verify", "alfworld", "--reference", "nowhere"], "no folder nowhere"),
        (["verify", "alfwrld", "--reference", "."], r"did you mean alfworld"),
        (["plan", "--tasks", "0"], "task"),
    ],
)
def test_a_mistake_is_one_clear_line(run: Run, arguments: list[str], message: str) -> None:
    code, _, err = run(*arguments)
    assert code == 2
    assert re.search(message, err), err
    assert len(err.strip().splitlines()) == 1 and err.startswith("agentbench: ")


def test_a_place_that_cannot_be_written_is_one_clear_line(run: Run) -> None:
    evaluate(run, "random", "run", "--limit", 1)
    for arguments in (["graph", "run"], ["compare-schemes", "run"], ["report", "run"]):
        code, _, err = run(*arguments, "--out", "run/run.json/picture.svg")
        assert code == 2 and len(err.strip().splitlines()) == 1 and err.startswith("agentbench: "), err


def test_a_missing_option_value_is_explained(run: Run) -> None:
    code, _, err = run("eval", "--trials", "many")
    assert code == 2 and "trials must be a whole number" in err


def test_replay_names_the_range_of_episodes(run: Run) -> None:
    evaluate(run, "random", "random", "--max-steps", 2)
    assert run("replay", "random", "--episode", 12)[0] == 2
    assert "episodes 0 to 11" in run("replay", "random", "--episode", 12)[2]
    assert "name one episode" in run("replay", "random")[2]


def test_lists_and_doctor(run: Run) -> None:
    assert "alfworld" in run("envs")[1]
    listed = run("policies")[1]
    assert "expert" in listed and "random" in listed
    code, out, _ = run("doctor")
    assert code == 0 and "agentbench install alfworld" in out and "core packages" in out


def test_one_environment_in_detail(run: Run) -> None:
    code, out, _ = run("envs", "alfworld", "--split", "generated:1:12")
    assert code == 0 and "--engine" in out and "12 tasks: 2 Clean, 2 Cool" in out
    code, out, _ = run("envs", "webshop", "--ceiling", "--split", "test")
    assert code == 0 and re.search(r"^all +\d+ +\d+ +100.0 +100.0", out, re.MULTILINE)
    code, _, err = run("envs", "alfworld", "--ceiling")
    assert code == 2 and "no ceiling below 1" in err
    assert run("envs", "--ceiling")[0] == 2


def test_the_shop_is_evaluated_like_any_other_environment(run: Run) -> None:
    code, out, _ = run(
        "eval", "--env", "webshop", "--split", "test", "--limit", 12, "--policy", "rule", "--out", "shop"
    )
    assert code == 0 and "score" in out
    code, text, _ = run("replay", "shop", "--episode", 0)
    assert code == 0 and "[SEP]" in text and "> search[" in text


def test_plan_answers_both_ways(run: Run) -> None:
    code, out, _ = run("plan", "--tasks", 134, "--trials", 4)
    assert code == 0 and "80" in out


def test_help_imports_nothing_heavy() -> None:
    """What keeps ``agentbench --help`` quick, without a clock."""
    script = (
        "import sys; sys.argv = ['agentbench', '--help']\n"
        "from agentbench.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'numpy', 'pandas', 'gymnasium', 'torch', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("words", "unneeded"),
    [
        (["show", "RUN"], {"scipy", "gymnasium", "torch", "matplotlib"}),
        (["report", "RUN", "--out", "page.html"], {"scipy", "gymnasium", "jinja2", "torch", "matplotlib"}),
    ],
)
def test_reading_a_run_imports_only_what_it_shows(
    words: list[str], unneeded: set[str], run: Run, tmp_path: Path
) -> None:
    """What keeps the commands that read a run quick and small, without a clock: a trial a task, no scheme on graphs."""
    run("eval", "--policy", "random", "--limit", 4, "--out", "run")
    script = (
        f"import sys; sys.argv = {['agentbench', *(each.replace('RUN', str(tmp_path / 'run')) for each in words)]!r}\n"
        "from agentbench.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print(sorted({unneeded!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_the_record_of_a_run_is_read_without_the_libraries_of_its_tables(run: Run, tmp_path: Path) -> None:
    run("eval", "--policy", "random", "--limit", 2, "--out", "run")
    script = (
        "import sys; sys.argv = ['agentbench']\n"
        f"import agentbench; print(agentbench.open_run({str(tmp_path / 'run')!r}).identity['policy'])\n"
        "print(sorted({'numpy', 'pandas', 'pyarrow', 'pydantic', 'gymnasium'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["random", "[]"]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_python_of_the_readme_runs(number: int, run: Run, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    run("eval", "--policy", "mixed:0.3", "--trials", 4, "--limit", 2, "--out", "results/mixed-8")
    script = tmp_path / "example.py"
    script.write_text(blocks[number])
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path, timeout=600)
    assert done.returncode == 0, done.stderr
