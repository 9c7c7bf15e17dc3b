"""Every command and Python block of README and docs runs: small, in their order, each document in a folder of its own.

What is changed before it runs, what is not run and what is slow stands in ``tests/support/documented_commands.py``.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from documented_commands import CHANGES, NOT_RUN, REPOSITORY, SLOW, Block, blocks, documents
from stub_server import serving
from typer.testing import CliRunner

from agentbench.cli import app

DOCUMENTS = [document for document in documents() if blocks(document)]
READY = ("a", "b", "run", "demo-random", "demo-expert")
"""Runs that documents speak of without having made them: they lie in ``results/`` before the first command."""


def name_of(document: Path) -> str:
    return document.relative_to(REPOSITORY).as_posix()


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("played") / "run"
    arguments = ["--split", "generated:0:3:small", "--policy", "mixed:0.5", "--trials", "2", "--inline"]
    assert CliRunner().invoke(app, ["eval", *arguments, "--out", str(folder)]).exit_code == 0
    return folder


@pytest.fixture
def workplace(tmp_path: Path, played: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like a checkout in which ``make demo`` has been run."""
    (tmp_path / "results").mkdir()
    (tmp_path / "recipes").symlink_to(REPOSITORY / "recipes")
    for name in READY:
        shutil.copytree(played, tmp_path / "results" / name)
    (tmp_path / "logs").mkdir()
    say = [{"role": "user", "content": "find the key"}, {"role": "assistant", "content": "I look."}]
    lines = [json.dumps({"task_id": "key", "messages": say, "reward": reward}) for reward in (0.0, 1.0)]
    (tmp_path / "logs" / "chat.jsonl").write_text("\n".join(lines) + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    return tmp_path


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving() as started:
        yield started.url.removeprefix("http://").removesuffix("/v1").rstrip("/")


def complaint(block: Block, server: str) -> str | None:
    """Run a command or a Python block; return what went wrong."""
    try:
        if block.language == "python":
            exec(compile(block.small, "documented", "exec"), {"__name__": "documented"})
            return None
        words = shlex.split(block.small.replace("SERVER", server))
        if words[0] != "agentbench":
            return f"no test knows how to run {words[0]!r}: list the command in NOT_RUN, with the reason"
        arguments: list[str] = []
        for word in words[1:]:
            arguments += map(str, sorted(Path().glob(word))) if "*" in word else [word]
        result = CliRunner().invoke(app, arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if result.exit_code == 0:
        return None
    return f"exit code {result.exit_code}: {result.exception or ''} {result.output[-500:]}"


def complaints(document: Path, server: str, slow: bool) -> list[str]:
    found = []
    for block in blocks(document):
        if block.text in NOT_RUN or (block.slow and not slow):
            continue
        if problem := complaint(block, server):
            found.append(f"{name_of(document)}:{block.line}: {block.text}\n  run as: {block.small}\n  {problem}")
    return found


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_what_a_document_says_runs(document: Path, workplace: Path, server: str) -> None:
    if "agentbench train" in document.read_text(encoding="utf-8"):
        pytest.importorskip("torch", reason="training needs torch: pip install -e '.[train]'")
    found = complaints(document, server, slow=False)
    assert not found, "\n\n".join(found)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "document", [each for each in DOCUMENTS if any(block.slow for block in blocks(each))], ids=name_of
)
def test_what_a_document_says_runs_slow_commands_too(document: Path, workplace: Path, server: str) -> None:
    for package in ("torch", "transformers", "tokenizers", "peft"):
        pytest.importorskip(package, reason="language models need more packages: pip install -e '.[language]'")
    if document.name == "training-language-models.md":
        make_model(workplace / "models" / "stand-in")
    found = complaints(document, server, slow=True)
    assert not found, "\n\n".join(found)


def make_model(folder: Path) -> None:
    """Make the tiny model that stands in for one that would be downloaded."""
    command = ["model", "init", "--size", "60k", "--tokenizer-from", "results/run", "--out", str(folder)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, (result.output, result.exception)


def all_commands() -> list[Block]:
    return [block for document in DOCUMENTS for block in blocks(document) if block.language == "bash"]


def test_the_tables_name_nothing_that_is_not_written_anywhere() -> None:
    written = {block.text for block in all_commands()}
    assert set(NOT_RUN) <= written, "commands in NOT_RUN that no document has"
    assert all(any(text.startswith(prefix) for text in written) for prefix in SLOW)
    everything = {block.text for document in DOCUMENTS for block in blocks(document)}
    changed = "\n".join(everything | {block.small for document in DOCUMENTS for block in blocks(document)})
    unused = [pattern for pattern, _, _ in CHANGES if not re.search(pattern, changed, flags=re.MULTILINE)]
    assert not unused, f"changes that change nothing: {unused}"


def test_no_two_pages_play_different_things_into_one_folder() -> None:
    """Whoever follows two pages one after the other must not be told that a folder holds another run."""
    played: dict[str, set[tuple[str, ...]]] = {}
    for block in all_commands():
        words = shlex.split(block.text)
        if words[:2] == ["agentbench", "eval"] and "--out" in words:
            options = dict(zip(words[2::2], words[3::2], strict=False))
            folder = options.pop("--out")
            for how in ("--workers", "--parallel"):
                options.pop(how, None)
            played.setdefault(folder, set()).add(tuple(sorted(" ".join(pair) for pair in options.items())))
    assert {folder: ways for folder, ways in played.items() if len(ways) > 1} == {}


@pytest.mark.parametrize("command", sorted({block.text for block in all_commands() if block.text in NOT_RUN}))
def test_a_command_that_is_not_run_names_only_what_exists(command: str) -> None:
    words = shlex.split(command)
    if words[0] == "make":
        assert (
            subprocess.run(["make", "-n", words[1]], cwd=REPOSITORY, capture_output=True, check=False).returncode == 0
        )
    elif words[:2] == ["pip", "install"]:
        extras = re.findall(r"\[(\w+)\]", command)
        known = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert set(extras) <= set(known)
    elif words[:2] == ["python", "-m"]:
        assert (REPOSITORY / (words[2].replace(".", "/") + ".py")).is_file()
    elif words[:2] == ["python", "-c"]:
        compile(words[2], command, "exec")
    elif words[0] == "python":
        assert (REPOSITORY / words[1]).is_file()
    elif words[0] == "cp":
        assert (REPOSITORY / words[-2]).exists()
    elif "agentbench" in words:
        assert_parses(words[words.index("agentbench") + 1 :])
    else:
        assert words[0] in ("source", "inspect", "vf-eval", "zcat")  # others' programs


def assert_parses(words: list[str]) -> None:
    """Hold the words of a command against the command line: its name, and the name of every option."""
    from agentbench.cli.commands.options import check_names, parse_extra
    from agentbench.evaluation.config import EvaluateConfig
    from agentbench.train.config import TrainConfig
    from envs.registry import ENVIRONMENTS, load, option_names
    from policies.registry import options_of

    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        name, *words = words
        assert name in command.commands, f"there is no command {name}"
        command = command.commands[name]
    context = command.make_context(name, list(words))
    known = {*TrainConfig.model_fields} if name == "train" else set()
    if name == "eval":
        known |= {*EvaluateConfig.model_fields}
    if name == "eval" and context.params["env"] in ENVIRONMENTS:
        known |= {*option_names(context.params["env"]), *options_of(context.params["policy"])}
    if name == "install":
        import inspect

        known |= {*inspect.signature(load(ENVIRONMENTS[context.params["name"]].installer)).parameters}
    # what follows the folder of --merge are further folders
    more = [word for word in context.args if word.startswith("--")] if "--merge" in words else context.args
    check_names(context, parse_extra(more), known)
