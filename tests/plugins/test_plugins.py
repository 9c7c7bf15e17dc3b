"""Plug-ins: packages with entry points, put on the path as an installer would, and used through the command line."""

import importlib.metadata
import os
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest
from plugin_packages import EXAMPLES, agentbench, install_examples, write_package

from credit import CreditError
from credit.plugins import SchemeTable
from credit.scheme import scheme
from envs.base.errors import UserError
from envs.base.plugins import PluginTable

GROUPS = {"environments": "guess", "policies": "halve", "schemes": "fading"}


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    return install_examples(tmp_path_factory.mktemp("site"))


def test_the_examples_are_short():
    for module in EXAMPLES.glob("*.py"):
        limit = {"example_trainable": 110, "train_with_trl_openenv": 100}.get(module.stem, 60)
        assert len(module.read_text().splitlines()) <= limit, module


def test_the_examples_play_and_earn_credit(examples, tmp_path):
    run = tmp_path / "run"
    played = agentbench(
        examples, "eval", "--env", "guess", "--policy", "halve:0.3", "--trials", 4, "--largest", 5, "--out", run
    )
    assert played.returncode == 0, played.stderr
    assert "halve on guess" in played.stdout
    credited = agentbench(examples, "credit", run, "--scheme", "fading,grpo", "--gamma", "0.9")
    assert credited.returncode == 0, credited.stderr
    assert "20 episodes" in credited.stdout
    assert "fading" in credited.stdout
    unknown = agentbench(examples, "credit", run, "--scheme", "fadin")
    assert (unknown.returncode, "did you mean fading" in unknown.stderr) == (2, True)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), GROUPS.items())
def test_the_examples_are_listed(examples, kind, name):
    command = {"environments": "envs", "policies": "policies", "schemes": "schemes"}[kind]
    listed = agentbench(examples, command)
    assert listed.returncode == 0, listed.stderr
    assert f"\n{name}" in listed.stdout


@pytest.mark.parametrize(
    "arguments", [("env", "guess"), ("policy", "halve:0.5", "--env", "guess"), ("scheme", "fading")]
)
def test_the_examples_keep_their_contracts(examples, arguments):
    checked = agentbench(examples, "check", *arguments)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "FAIL" not in checked.stdout
    assert "keeps its contract" in checked.stdout


def scheme_page(folder):
    """Make the page of all schemes with the packages of a folder installed."""
    site = EXAMPLES.parent / "site"
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{site}"}
    code = "import schemes; print(schemes.document())"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert made.returncode == 0, made.stderr
    return made.stdout


def test_the_page_of_schemes_has_those_of_plug_ins(examples):
    page = scheme_page(examples)
    row = next(line for line in page.splitlines() if line.startswith("| [`fading`]"))
    assert row.endswith("| none | the first lines of a scheme of your own | none |")
    assert "### fading" in page


SILENT = """
from credit.scheme import scheme

@scheme()
def silent(steps):
    return 0.0 * steps.reward
"""


def test_a_scheme_that_does_not_say_what_it_costs_gets_a_dash(tmp_path):
    folder = write_package(tmp_path, "quiet", {"schemes": {"silent": "silent:silent"}}, {"silent": SILENT})
    assert "| [`silent`](#silent) | – | – | – | – | – |" in scheme_page(folder)
    assert "\nsilent: –" in agentbench(folder, "schemes").stdout
    told = agentbench(folder, "schemes", "silent").stdout
    assert "when to use it\n    –" in told
    assert "arithmetic on the table\n    –" in told
    checked = agentbench(folder, "check", "scheme", "silent")
    assert checked.returncode == 1
    assert "no Summary, Equation, Symbols, Source, Cost, Use, Evidence" in checked.stdout


def test_gymnasium_makes_an_environment_of_a_plug_in(examples):
    code = 'import agentbench, gymnasium; print(gymnasium.make("agentbench/guess-v0", largest=3).reset(seed=0)[0])'
    environment = {**os.environ, "PYTHONPATH": str(examples)}
    command = [sys.executable, "-W", "ignore", "-c", code]
    made = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=examples)
    assert made.stdout == "Guess a number from 1 to 3.\n"


BROKEN = {
    "environments": {"torn": "torn_module:Env", "alfworld": "torn_module:Env", "wrong": "collections:OrderedDict"},
    "policies": {"torn": "torn_module:POLICY", "random": "torn_module:POLICY", "wrong": "collections:OrderedDict"},
    "schemes": {"torn": "torn_module:scheme", "grpo": "torn_module:scheme", "wrong": "collections:OrderedDict"},
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """Install a package whose plug-ins cannot be imported, take our names, or are something else."""
    text = "from pathlib import Path\nPath(__file__).with_name('imported').touch()\nraise RuntimeError('torn')\n"
    return write_package(tmp_path_factory.mktemp("site"), "broken", BROKEN, {"torn_module": text})


def test_nothing_imports_a_plug_in_before_it_is_asked_for(broken):
    (broken / "imported").unlink(missing_ok=True)
    assert agentbench(broken, "--help").returncode == 0
    code = "import agentbench; agentbench.make('alfworld', split='generated:0:1')"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(broken)}, cwd=broken)
    assert not (broken / "imported").exists()


@pytest.mark.parametrize(("command", "own"), [("envs", "alfworld"), ("policies", "random"), ("schemes", "grpo")])
def test_a_broken_plug_in_is_named_and_the_rest_goes_on(broken, command, own):
    listed = agentbench(broken, command)
    assert listed.returncode == 0, listed.stderr
    assert f"\n{own}" in f"\n{listed.stdout}"
    assert "\ntorn" not in listed.stdout
    lines = listed.stderr.splitlines()
    assert any("plug-in 'torn'" in line and "RuntimeError: torn" in line and "broken 0.1.0" in line for line in lines)
    assert any(f"plug-in '{own}'" in line and "is refused" in line for line in lines)
    assert any("plug-in 'wrong'" in line and "TypeError" in line for line in lines)
    assert len(lines) == 3


def test_a_broken_plug_in_asked_for_by_name_is_one_line(broken):
    asked = agentbench(broken, "eval", "--env", "torn")
    assert asked.returncode == 2
    told = asked.stderr.splitlines()[-1]
    assert told.startswith(
        "agentbench: plug-in 'torn' (torn_module:Env, package broken 0.1.0) cannot be used: RuntimeE"
    )


def fake_points(monkeypatch, *points):
    made = [EntryPoint(name, value, group) for name, value, group in points]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group: [p for p in made if p.group == group])


def test_two_packages_with_one_name_are_both_refused(monkeypatch, caplog):
    fake_points(monkeypatch, ("one", "math:pi", "g"), ("one", "math:e", "g"), ("two", "math:tau", "g"))
    table = PluginTable("number", "g", {"own": 1.0}, lambda point: point.load())
    assert sorted(table) == ["own", "two"]
    assert "'one' (math:e) and plug-in 'one' (math:pi) both name their number 'one'" in caplog.text
    with pytest.raises(UserError, match="both name"):
        table["one"]
    with pytest.raises(KeyError):
        table["three"]
    assert ("one" in table, "three" in table) == (True, False)


def test_a_name_that_no_command_line_takes_is_refused(monkeypatch):
    fake_points(monkeypatch, ("My Env", "math:pi", "g"))
    table = PluginTable("number", "g", {}, lambda point: point.load())
    assert (table.usable_names(), list(table)) == ([], [])
    with pytest.raises(UserError, match="small letters"):
        table["My Env"]


def test_two_schemes_with_one_name_are_both_refused(monkeypatch):
    group = "agentbench.schemes"
    fake_points(monkeypatch, ("one", "math:pi", group), ("one", "math:e", group), ("gigpo", "math:e", group))
    table = SchemeTable({"gigpo": "ours"})
    assert list(table) == ["gigpo"]
    assert table["gigpo"] == "ours"
    with pytest.raises(CreditError, match="both name"):
        table["one"]


def test_a_scheme_under_another_name_is_refused(monkeypatch):
    fake_points(monkeypatch, ("other", "credit.schemes.rloo:rloo", "agentbench.schemes"))
    with pytest.raises(CreditError, match="called 'rloo', and the entry point 'other'"):
        SchemeTable({})["other"]


FRAGILE = """
from envs import TextEnv
from policies import PolicyEntry

class FragileEnv(TextEnv):
    def __init__(self, split="short"):
        self.cells = {"short": 3}[split]

def make(argument, environment):
    return int(argument)

FRAGILE = PolicyEntry("fragile", "takes a number", make)
"""


def test_a_plug_in_that_cannot_be_made_is_one_line_that_says_where(tmp_path):
    points = {"environments": {"fragile": "fragile:FragileEnv"}, "policies": {"fragile": "fragile:FRAGILE"}}
    folder = write_package(tmp_path, "brittle", points, {"fragile": FRAGILE})
    for arguments, reason in (
        (("--env", "fragile", "--split", "long", "--policy", "random"), "KeyError: 'long' (fragile.py:7)"),
        (("--env", "alfworld", "--policy", "fragile:x"), "'x' (fragile.py:10)"),
    ):
        found = agentbench(folder, "eval", *arguments, "--out", tmp_path / "run")
        assert found.returncode == 2
        (line,) = found.stderr.splitlines()
        assert line.startswith("agentbench: plug-in 'fragile' (fragile:") and line.endswith(reason)
        assert "package brittle 0.1.0) failed: " in line


@pytest.mark.parametrize(
    ("claims", "option", "reason"),
    [
        (("scales",), "gamma: float = 1.0", "unknown claim 'scales': did you mean scale"),
        ((), "gamma=1.0", "option 'gamma' needs an annotation and a default"),
        ((), "gamma: float", "option 'gamma' needs an annotation and a default"),
    ],
)
def test_a_scheme_declared_wrongly_is_refused_where_it_is_declared(claims, option, reason):
    source = f"@scheme(claims={claims!r})\ndef mine(steps, *, {option}):\n    return steps.reward"
    with pytest.raises(CreditError, match=reason):
        exec(source, {"scheme": scheme})  # as its module is executed when it is imported
