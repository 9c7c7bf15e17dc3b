"""Every declared option of every environment, policy, scheme, problem and command refuses what it cannot be.

The cases are made from the declarations themselves: an option that is added is tested without another word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import gymnasium
import pytest
import typer

import agentbench
from agentbench.analysis.truth.problems import PROBLEMS
from agentbench.cli import app
from credit import SCHEMES
from envs.base.errors import UserError
from envs.base.options import LONE, Option, Typed, declared, read, resolve
from envs.registry import ENVIRONMENTS, options_of
from envs.webshop import WebShopEnv
from policies.registry import POLICIES

RUN = Path(__file__).parents[1] / "pinned" / "runs" / "alfworld"
WRONG = ("ten", "3.7", "inf", "nan", "1e30", str(10**20), "-1", "0", "banana", "[", "{", "")
ARGUMENT = {"hf": "hf:model", "openai": "openai:model", "vllm": "vllm:model"}
NEEDED = {"name": "alfworld", "scheme": "grpo", "schemes": "grpo", "out": "out.svg"}
Run = Callable[..., tuple[int, str, str]]


def refused(option: Option) -> list[str]:
    """Return the texts that the declaration of an option does not allow."""
    found = []
    for text in WRONG:
        try:
            read(option.kind, Typed(text))
        except ValueError:
            found.append(text)
    return found


def check(run: Run, options: Mapping[str, Option], *command: str) -> None:
    """Give the command every option with a value that it cannot have."""
    for name, option in options.items():
        flag = f"--{name.replace('_', '-')}"
        bad = refused(option)
        assert "" in bad, f"{flag} takes an empty text"
        for text in bad[:2] + bad[-1:]:
            code, _, err = run(*command, f"{flag}={text}")
            assert code == 2 and len(err.strip().splitlines()) == 1, (flag, text, err)
            assert err.startswith("agentbench: ") and (flag in err or name in err), (flag, text, err)
        if bool not in (option.kind,):
            code, _, err = run(*command, flag)
            assert code == 2 and name in err.replace("-", "_"), (flag, err)
            assert "needs a value" in err or "requires an argument" in err, (flag, err)


@pytest.mark.parametrize("env", list(ENVIRONMENTS))
def test_no_option_of_an_environment_takes_what_it_cannot_be(env: str, run: Run) -> None:
    options = {name: each for name, each in options_of(env).items() if name != "split"}  # the command's own
    check(run, options, "eval", "--env", env, "--out", "out")


@pytest.mark.parametrize("policy", ARGUMENT)
def test_no_option_of_a_policy_takes_what_it_cannot_be(policy: str, run: Run) -> None:
    check(run, POLICIES[policy].declared(), "eval", "--policy", ARGUMENT[policy], "--out", "out")


@pytest.mark.parametrize("scheme", list(SCHEMES))
def test_no_option_of_a_scheme_takes_what_it_cannot_be(scheme: str) -> None:
    for name, option in declared(SCHEMES[scheme].function, 1).items():
        for text in refused(option):
            with pytest.raises(UserError, match=f"bad option: {name} of scheme"):
                resolve(f"scheme {scheme!r}", {name: option}, {name: Typed(text)})
        if option.kind is not bool and type(option.default) in (int, float):
            for value in (float("nan"), float("inf"), -1e30, "ten", True):
                with pytest.raises(ValueError, match=name):
                    SCHEMES[scheme].function(_steps(), **{name: value})


def _steps() -> Any:
    from agentbench.analysis.advantages import read_run

    return read_run(RUN).steps


def test_options_of_schemes_are_refused_by_the_commands(run: Run) -> None:
    for arguments in (("--ddof", "-1"), ("--epsilon", "-1"), ("--gamma", "nan"), ("--compat", "banana"), ("--ddof",)):
        code, _, err = run("credit", RUN, "--scheme", "gigpo", *arguments)
        assert code == 2 and len(err.strip().splitlines()) == 1 and arguments[0][2:] in err, err


@pytest.mark.parametrize("problem", PROBLEMS)
def test_no_option_of_a_problem_takes_what_it_cannot_be(problem: str, run: Run) -> None:
    options = {name: each for name, each in declared(PROBLEMS[problem]).items() if name != "seed"}  # the command's own
    check(run, options, "truth", "--env", problem, "--out", "out")


def _commands(group: Any, *names: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            yield from _commands(command, *names, name)
        else:
            yield (*names, name), command


COMMANDS = dict(_commands(typer.main.get_command(app)))


@pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
def test_no_option_of_a_command_takes_what_it_cannot_be(names: tuple[str, ...], run: Run) -> None:
    command = COMMANDS[names]
    needed: list[str] = []
    for each in command.params:
        if each.param_type_name == "argument" and each.required:
            needed.append(NEEDED.get(each.name, str(RUN)))
        elif each.required:
            needed += [each.opts[0], NEEDED.get(each.name, "5m")]
    known = declared(command.callback)
    for each in command.params:
        if each.param_type_name == "argument" or each.name not in known:
            continue
        flag = each.opts[0]
        wrong = [""] if read_any(known[each.name]) else [*refused(known[each.name])[::4], ""]
        for text in wrong:
            code, _, err = run(*names, *needed, f"{flag}={text}")
            assert code == 2 and len(err.strip().splitlines()) == 1, (flag, text, err)
            assert err.startswith("agentbench: "), err
    code, _, err = run(*names, *needed, "--no-such-option", "1")
    assert code == 2 and "--no-such-option" in err and len(err.strip().splitlines()) == 1, err


def read_any(option: Option) -> bool:
    """Tell whether an option of a command may be any text, or is a flag."""
    return not any(type(each) in (int, float) for each in _samples(option))


def _samples(option: Option) -> Iterator[Any]:
    for text in ("1", "0.5", "5"):
        try:
            yield read(option.kind, Typed(text))
        except ValueError:
            continue


@pytest.mark.parametrize("text", ["false", "False", "NO", "off", "0"])
def test_the_sandbox_stays_on_however_no_is_written(text: str) -> None:
    known = options_of("appworld")
    assert resolve("", known, {"unsafe": Typed(text)}) == {"unsafe": False}
    assert resolve("", known, {"unsafe": text}) == {"unsafe": False}


@pytest.mark.parametrize("make", [agentbench.make, gymnasium.make, WebShopEnv])
def test_every_way_to_make_an_environment_reads_its_options(make: Any) -> None:
    from envs.registry import register

    register()
    first = {agentbench.make: ["webshop"], gymnasium.make: ["agentbench/WebShop-v0"]}.get(make, [])
    for text, is_offered in (("False", False), ("yes", True)):
        env = make(*first, compat=text, max_steps="3").unwrapped
        env.reset(seed=0)
        assert ("next >" in env.step("search[zzzqq]")[4]["clickables"]) is is_offered and env.max_steps == 3
    for wrong in ({"compat": "banana"}, {"max_steps": 3.7}, {"max_steps": None}, {"max_steps": True}, {"mode": "x"}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            make(*first, **wrong)


def test_text_stays_as_it_was_typed_where_text_is_meant() -> None:
    server = POLICIES["openai"].declared()
    assert resolve("", server, {"key_variable": Typed("123")}) == {"key_variable": "123"}
    assert resolve("", server, {"template": Typed("null")}) == {"template": "null"}
    assert resolve("", server, {"history": Typed("5"), "temperature": Typed("none")}) == {
        "history": 5, "temperature": None,
    }  # fmt: skip
    assert resolve("", options_of("webshop"), {"catalogue": Typed("1000")}) == {"catalogue": 1000}
    assert resolve("", options_of("webshop"), {"compat": LONE}) == {"compat": True}


def test_a_plain_annotation_or_a_default_is_declaration_enough() -> None:
    def plain(number: int, name: str | None = None, share=0.5, many=False) -> None: ...  # type: ignore[no-untyped-def]

    known = declared(plain)
    good = {"number": Typed("3"), "name": Typed("3"), "share": Typed("1e-3"), "many": Typed("Yes")}
    assert resolve("", known, good) == {"number": 3, "name": "3", "share": 1e-3, "many": True}
    for name, text in (("number", "3.7"), ("share", "inf"), ("many", "2"), ("name", "")):
        with pytest.raises(UserError, match=name):
            resolve("", known, {name: Typed(text)})


def test_options_at_the_wrong_door_are_shown_the_right_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"env_options=\{'max_steps': 3\}"):
        agentbench.evaluate(max_steps=3, out=tmp_path / "run")
    with pytest.raises(UserError, match=r"policy_options=\{'temperature': 1\}"):
        agentbench.evaluate(policy="openai:m", temperature=1, out=tmp_path / "run")


def test_a_run_records_the_options_that_were_in_force(tmp_path: Path) -> None:
    done = agentbench.evaluate(split="generated:0:1", env_options={"max_steps": "2"}, out=tmp_path / "run", inline=True)
    recorded = done.run.config["options"]["environment"]
    assert recorded["max_steps"] == 2 and recorded["engine"] == "fast" and recorded["split"] == "generated:0:1"
    assert done.run.config["identity"]["env_options"] == {"max_steps": 2}


def test_a_device_that_is_not_there_is_named() -> None:
    pytest.importorskip("torch")
    from envs.base.devices import check_device

    check_device("cpu")
    for name in ("banana", "cuda:77", "meta", "7"):
        with pytest.raises(UserError, match=f"no device '{name}' on this machine: there is cpu"):
            check_device(name)


def test_the_version_is_told(run: Run) -> None:
    assert run("--version")[:2] == (0, f"agentbench {agentbench.__version__}\n")


def test_options_are_listed_with_what_they_may_be(run: Run) -> None:
    code, out, _ = run("policies", "openai:model")
    assert code == 0 and all(f"--{name.replace('_', '-')}: " in out for name in POLICIES["openai"].declared())
    code, out, _ = run("envs", "webshop")
    assert code == 0 and "--mode: one of text, text_rich; default 'text'" in out and "steps after which" in out
