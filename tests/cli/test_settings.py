"""Settings are declared once: the help lists them from there, one mechanism names what is wrong, defaults agree."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import typer.main

from agentbench.analysis.truth.run import make_truth
from agentbench.cli import app
from agentbench.evaluation.config import EvaluateConfig
from agentbench.train.config import TrainConfig
from agentbench.train.settings import CorrectionSettings, LossSettings
from envs.base.options import REQUIRED, declared
from envs.registry import ENVIRONMENTS
from envs.registry import options_of as env_options_of
from policies.registry import POLICIES

Run = Callable[..., tuple[int, str, str]]
COMMANDS: Any = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("command", "model", "without"),
    [
        ("eval", EvaluateConfig, {"tasks"}),
        ("train", TrainConfig, set()),
        ("sweep", TrainConfig, {"scheme", "seed"}),
    ],
)
def test_help_lists_every_setting_with_its_default(command: str, model: Any, without: set[str], run: Run) -> None:
    code, out, _ = run(command, "--help")
    lines = " ".join(out.replace("│", " ").split())
    assert code == 0
    for name, option in declared(model).items():
        flag = f"--{name.replace('_', '-')} "
        assert (flag in lines) is (name not in without), name
        assert name in without or lines.count(flag) == 1, f"{name} is listed twice"
        if name not in without and option.default_text not in ("", "none", "no"):
            assert f"[default: {option.default_text}]" in lines, name
    for heading in model.panels.values():
        assert heading in out


def test_every_setting_is_described() -> None:
    owners = {"eval": declared(EvaluateConfig), "train": declared(TrainConfig)}
    owners |= {name: POLICIES[name].declared() for name in POLICIES.own}
    owners |= {name: env_options_of(name) for name in ENVIRONMENTS.own}
    nameless = [f"{owner}: {name}" for owner, known in owners.items() for name, each in known.items()
                if not each.description]  # fmt: skip
    for name, command in COMMANDS.items():
        nameless += [f"{name}: {each.name}" for each in getattr(command, "params", ()) if not each.help]
    assert nameless == []


def test_the_list_of_commands_imports_no_settings_and_the_help_of_training_no_torch() -> None:
    script = (
        "import sys; sys.modules['torch'] = None; sys.argv = ['agentbench', *{arguments}]\n"
        "from agentbench.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print(sorted({{'pydantic', 'agentbench.train.config'}} & set(sys.modules)))"
    )

    def ends_with(*arguments: str) -> str:
        code = script.format(arguments=list(arguments))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[-1]

    assert ends_with("--help") == "[]"
    assert ends_with("train", "--help") == "['agentbench.train.config', 'pydantic']"


@pytest.mark.parametrize(
    ("command", "listed_by"),
    [
        (
            "eval --policy openai:x --temprature 1",
            "'agentbench envs alfworld' and 'agentbench policies openai' list them",
        ),
        ("eval --env webshop --max-stepz 1", "'agentbench eval --help' and 'agentbench envs webshop' list them"),
        ("train --out x --lerning-rate 1", "'agentbench train --help' lists them"),
        ("sweep --out x --schemes grpo --lerning-rate 1", "'agentbench sweep --help' lists them"),
        ("clone --out x --lerning-rate 1", "see 'agentbench clone --help'"),
        ("truth --out x --max-stepz 1", "'agentbench truth --help' and 'agentbench envs alfworld' list them"),
        ("credit x --scheme gigpo --gama 1", "'agentbench credit --help' and 'agentbench schemes NAME' list them"),
        ("compare-schemes x --gama 1", "'agentbench compare-schemes --help' and 'agentbench schemes NAME' list them"),
        ("install alfworld --form x", "'agentbench install --help' lists them"),
        ("envs alfworld --max-stepz 1", "'agentbench envs alfworld' list them"),
    ],
)
def test_an_unknown_option_names_the_commands_that_list_them(command: str, listed_by: str, run: Run) -> None:
    code, _, err = run(*command.split())
    assert code == 2 and listed_by in err and len(err.splitlines()) == 1, err


def test_a_yes_or_no_setting_can_be_switched_off_by_its_name(run: Run) -> None:
    arguments = ("eval", "--split", "generated:0:1:small", "--policy", "walkthrough", "--out", "run")
    assert run(*arguments, "--no-inline", "--workers", "1")[0] == 0
    assert "unknown option '--no-inlin'" in run(*arguments, "--no-inlin")[2]


def test_what_may_be_none_is_none_by_that_word() -> None:
    from agentbench.train.config import TrainConfig

    assert TrainConfig(eval_split="none").eval_split is None
    assert TrainConfig(eval_split="valid_unseen").eval_split == "valid_unseen"


def test_options_by_name_go_over_those_in_json(run: Run) -> None:
    import agentbench

    options = ("--env-options", '{"max_steps": 3, "engine": "fast"}', "--max-steps", "2")
    assert run("eval", "--split", "generated:0:1:small", "--inline", "--out", "run", *options)[0] == 0
    assert agentbench.load("run").config["identity"]["env_options"] == {"max_steps": 2, "engine": "fast"}


def test_the_command_line_and_python_have_the_same_defaults() -> None:
    pairs: list[tuple[str, Any]] = [("eval", EvaluateConfig), ("truth", make_truth), ("train", TrainConfig)]
    if importlib.util.find_spec("torch"):
        from agentbench.train.clone import clone

        pairs.append(("clone", clone))
    compared = 0
    for name, owner in pairs:
        theirs = declared(owner)
        for option in declared(COMMANDS[name].callback).values():
            if option.name in theirs and theirs[option.name].default is not REQUIRED:
                assert option.default == theirs[option.name].default, (name, option.name)
                compared += 1
    assert compared > 15
    # The same as a part of the whole: made alone, the parts have the defaults of a training.
    assert TrainConfig().loss_settings() == LossSettings()
    assert TrainConfig(correction="token").correction_settings() == CorrectionSettings()


def test_language_models_call_the_same_thing_the_same_with_the_same_default() -> None:
    kinds = [POLICIES[name].declared() for name in ("hf", "openai", "vllm")]
    shared = set.intersection(*map(set, kinds))
    assert shared >= {"temperature", "max_tokens", "max_context", "stop", "history", "thinking", "show_actions"}
    for name in shared:
        assert len({repr(known[name].default) for known in kinds}) == 1, name
