"""A run in which everything failed says what failed, and its exit code is not 0; nothing is lost where a part did."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toy_environment import ToyEnv, UpPolicy

from agentbench import UserError, evaluate, open_run
from agentbench.runs.failures import NothingJudgedError, commonest

Run = Callable[..., tuple[int, str, str]]


def broken(monkeypatch: pytest.MonkeyPatch, *, reset: bool, odd: bool = False) -> None:
    """Have the toy fail at each reset, or at each step; with ``odd`` in every second task alone."""

    def fail(env: Any, *_: Any) -> Any:
        raise RuntimeError(f"port {8000 + env._task.index} is taken")

    name = "_start" if reset else "_act"
    kept = getattr(ToyEnv, name)

    def sometimes(env: Any, argument: Any) -> Any:
        return fail(env) if env._task.index % 2 or not odd else kept(env, argument)

    monkeypatch.setattr(ToyEnv, name, sometimes)


def test_reasons_that_differ_in_numbers_alone_are_one() -> None:
    assert commonest(["port 1 is taken", "gone", "port 22 is taken", "at 0xff"]) == ("port 1 is taken", 2)


@pytest.mark.parametrize("reset", [True, False])
def test_an_evaluation_without_a_result_says_why_and_exits_with_1(
    run: Run, monkeypatch: pytest.MonkeyPatch, reset: bool, caplog: pytest.LogCaptureFixture
) -> None:
    call = ("eval", "--env", "toy", "--policy", "random", "--inline", "--trials", 2, "--attempts", 1, "--out", "run")
    with monkeypatch.context() as while_broken:
        broken(while_broken, reset=reset)
        code, out, err = run(*call)
    assert code == 1
    assert "errors: 12 of 12 episodes ended in an error; the commonest (12 times): the environment failed:" in out
    assert "is taken" in out and "no episode was judged" in err and "--retry-errors" in err
    assert len(open_run("run").episodes) == 12, "every episode is stored"
    assert "none was judged so far: 10 of 10 episodes" in caplog.text, "it is told before the end"
    code, again, _ = run("show", "run")
    assert code == 0 and "12 of 12 episodes ended in an error" in again
    code, _, _ = run(*call, "--retry-errors")
    assert code == 0 and open_run("run").episodes["outcome"].ne("error").all()


def test_some_errors_are_counted_and_the_exit_code_is_0(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch, reset=False, odd=True)
    code, out, err = run("eval", "--env", "toy", "--policy", "random", "--inline", "--attempts", 1, "--out", "run")
    assert code == 0 and "no episode was judged" not in err
    assert "errors: 3 of 6 episodes ended in an error; the commonest (3 times)" in out


def test_an_import_of_errors_alone_exits_with_1(run: Run) -> None:
    lines = [
        {"task": f"t{number}", "messages": [{"role": "user", "content": "go"}], "error": "the server was gone"}
        for number in range(2)
    ]
    Path("log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, out, err = run("import", "log.jsonl", "--out", "run")
    assert code == 1 and "2 of 2 episodes ended in an error; the commonest (2 times): the server was gone" in out
    assert "no episode was judged" in err


def test_training_on_errors_alone_exits_with_1(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    broken(monkeypatch, reset=False)
    settings = ("--env", "toy", "--split", "all", "--tasks-per-step", 2, "--group-size", 2, "--steps", 1)
    code, _, err = run("train", "--out", "run", *settings, "--workers", 0)
    assert code == 1 and "4 of 4 episodes ended in an error; the commonest (4 times)" in err


def test_truth_of_errors_alone_exits_with_1(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from agentbench.analysis.truth import run as truth

    kept = truth.evaluate
    monkeypatch.setattr(truth, "evaluate", lambda *names, **settings: kept(*names, **settings, inline=True))
    broken(monkeypatch, reset=True)
    code, _, err = run("truth", "--env", "toy", "--policy", "random", "--group-size", 2, "--tasks", 2, "--out", "run")
    assert code == 1 and "4 of 4 episodes ended in an error" in err and not Path("run/truth.parquet").exists()


def test_truth_says_in_one_line_what_failed_while_it_was_found(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from agentbench.analysis.truth import run as truth

    def fail(*_: Any, **__: Any) -> Any:
        raise ConnectionError("the server is gone")

    monkeypatch.setattr(truth, "branch", fail)
    code, _, err = run("truth", "--env", "toy", "--policy", "random", "--group-size", 2, "--workers", 1, "--out", "run")
    assert code == 2 and "ConnectionError: the server is gone" in err and "Traceback" not in err


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


class Hungry(UpPolicy):
    name = "hungry"

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def act(self, prompts: Any) -> Any:
        if prompts[0].task.index == 2:
            raise self.error
        return super().act(prompts)


@pytest.mark.parametrize("error", [MemoryError(), OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")])
def test_a_policy_out_of_memory_ends_the_run_with_what_to_lower(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(UserError, match=r"'hungry' ran out of memory when it was asked for 1 actions.* lower parallel"):
        evaluate("toy", Hungry(error), out=tmp_path / "run", inline=True, workers=1)
    assert len(open_run(tmp_path / "run").episodes) == 2, "what was finished is stored"


@pytest.mark.parametrize("told", ["CUDA error: device-side assert triggered", "cuBLAS error: not initialized"])
def test_a_device_that_failed_ends_the_run_and_is_not_asked_prompt_by_prompt(tmp_path: Path, told: str) -> None:
    with pytest.raises(UserError, match=r"'hungry': its device failed .* continue with --resume"):
        evaluate("toy", Hungry(RuntimeError(told)), out=tmp_path / "run", inline=True, workers=4)
    assert (open_run(tmp_path / "run").episodes["outcome"] != "error").all(), "no episode is to blame"


def test_held_out_errors_are_a_warning_and_training_goes_on(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("torch")
    kept = ToyEnv._act

    def fail_in_last(env: Any, action: str) -> Any:
        if env.split == "last":
            raise RuntimeError("the toy is broken")
        return kept(env, action)

    monkeypatch.setattr(ToyEnv, "_act", fail_in_last)
    settings = ("--env", "toy", "--split", "all", "--tasks-per-step", 2, "--group-size", 2, "--steps", 1)
    with caplog.at_level(logging.WARNING):
        code, _, err = run("train", "--out", "run", *settings, "--workers", 0, "--eval-split", "last")
    assert code == 0, err
    assert "held-out tasks: 1 of 1 episodes ended in an error; the commonest (1 times)" in caplog.text


def test_the_exit_code_is_part_of_the_error() -> None:
    assert UserError.exit_code == 2 and NothingJudgedError.exit_code == 1


@pytest.mark.parametrize("command", ["eval", "truth", "train"])
def test_no_command_goes_on_for_ever_with_a_limit_that_no_worker_meets(run: Run, command: str) -> None:
    if command == "train":
        pytest.importorskip("torch")
    more: dict[str, tuple[object, ...]] = {
        "eval": ("--policy", "random"),
        "truth": ("--policy", "random", "--group-size", 2),
        "train": ("--split", "all", "--tasks-per-step", 1, "--group-size", 2, "--steps", 1),
    }
    code, _, err = run(command, "--env", "toy", "--out", "run", "--workers", 1, "--memory-limit", 2, *more[command])
    assert code == 2 and "and the limit is 2 MB (memory_limit): raise it" in err


def test_groups_that_are_all_equal_are_told_once_and_training_ends(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is ever won, whatever is played again in the place of equal groups."""
    pytest.importorskip("torch")
    kept = ToyEnv._info
    monkeypatch.setattr(ToyEnv, "_info", lambda env, valid: {**kept(env, valid), "won": False, "score": 0.0})
    settings = ("--env", "toy", "--split", "all", "--tasks-per-step", 1, "--group-size", 2, "--steps", 3)
    code, _, err = run("train", "--out", "run", *settings, "--workers", 0, "--drop-equal-groups", "true")
    assert code == 0, err
    assert caplog.text.count("all episodes of each group came out equal") == 1
