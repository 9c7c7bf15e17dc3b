"""No secret lands in a file or on the screen, whatever a server, a package or a mistake of the user does with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.parse
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stub_server import chat, serving

from agentbench import evaluate
from agentbench.evaluation.config import check_config
from agentbench.runs.writer import claim
from agentbench.train.config import read_config
from envs.base.errors import UserError
from envs.base.safe_text import CUT, holds_secret, redacted, shown

KEY = 'sk-Planted/Key+"4711"\\9b1d\'zzzz'
PIECES = [KEY[start : start + 10] for start in range(len(KEY) - 9)]


def leaks(text: str) -> list[str]:
    """Return the pieces of the key in a text, also as they stand in JSON and in a URL."""
    forms = [text, text.replace("\\\\", "\\").replace('\\"', '"'), urllib.parse.unquote(text)]
    return [piece for piece in PIECES if any(piece in form for form in forms)]


# -- the one function ------------------------------------------------------------------------------------------


@given(before=st.text(), after=st.text())
def test_a_secret_is_cut_out_of_any_text_however_it_is_written(before: str, after: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOME_API_KEY", f" {KEY}\n")
        for form in (KEY, json.dumps(KEY), repr(KEY), urllib.parse.quote(KEY, safe="")):
            found = redacted(before + form + after)
            assert not leaks(found) and CUT in found


@pytest.mark.parametrize(
    "name",
    [
        *("OPENAI_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "db_password", "GITHUB_PAT"),
        *("OPENAI_API_KEY_2", "OPENAI_KEY1", "MY_API_KEYS", "PGPASSWORD", "SMTP_PASS", "MYSQL_PWD"),
    ],
)
def test_variables_whose_names_say_so_are_secret(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, KEY)
    assert redacted(f"<{KEY}>") == f"<{CUT}>"


def test_other_variables_and_short_values_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "EMPTY")  # what local servers are given
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "falsehood")
    monkeypatch.setenv("MONKEY", "chimpanzee")
    monkeypatch.setenv("PWD", "/home/somebody")
    text = "EMPTY falsehood chimpanzee /home/somebody"
    assert redacted(text) == text


def test_passwords_in_addresses_and_headers_are_cut_out_without_being_known() -> None:
    assert (
        redacted("at http://me:p@ss@host:80/v1?a=b@c, mail me@host")
        == f"at http://{CUT}@host:80/v1?a=b@c, mail me@host"
    )
    assert (
        redacted("{'Authorization': 'Bearer abcdef123456', 'x': 1}") == f"{{'Authorization': 'Bearer {CUT}', 'x': 1}}"
    )
    assert redacted("authorization: abcdef123456\nnext") == f"authorization: {CUT}\nnext"
    assert redacted("authorization=bcdef1234") == f"authorization={CUT}"


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Token SECRET", "Proxy-Authorization: ApiKey SECRET", "[('Authorization', 'Bearer SECRET')]",
        "(b'authorization', b'Bearer SECRET')", r'{\"Authorization\": \"Bearer SECRET\"}',
        "authorization:\tBasic SECRET",
    ],
)  # fmt: skip
def test_a_header_is_known_however_a_package_writes_it(text: str) -> None:
    found = redacted(text.replace("SECRET", "abcdef123456") + " next, please")
    assert CUT in found and "abcdef" not in found and "please" in found


# -- options: they are recorded, so none may hold a key --------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"api_key": "x"}, {"extra": {"headers": [{"X-Api-Key": "x"}]}}, {"llm_arguments": {"hf_token": "x"}},
        {"arguments": ["--api-key", "x"]}, {"arguments": ["--api-key=x"]}, {"base_url": "http://me:x@host"},
        {"note": f"see {KEY}"}, {"nested": [[{"deep": KEY}]]}, {"token": "x"}, {"password": 7},
        {"clientSecret": "x"}, {"accessToken": "x"}, {"PGPASSWORD": "x"}, {"aws_access_key_id": "x"},
        {"Ocp-Apim-Subscription-Key": "x"}, {"API Key ": "x"}, {"api_keys": ["x"]}, {"passphrase": "x"},
        {"command": "HF_TOKEN=x serve --port 1"}, {"command": "serve --api-key x"}, {"variables": ["OPENAI_API_KEY=x"]},
    ],
)  # fmt: skip
def test_an_option_with_a_key_is_refused_everywhere(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", KEY)
    assert holds_secret(options)
    for refuse in (
        lambda: check_config(policy_options=options),
        lambda: check_config(env_options=options),
        lambda: read_config(None, {"engine_options": options}),
        lambda: read_config(None, {"policy_options": options}),
    ):
        with pytest.raises(UserError, match="keys come from the environment alone") as refused:
            refuse()
        assert not leaks(str(refused.value))


def test_nothing_with_a_key_gets_into_run_json_by_another_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", KEY)
    for identity, record in (({"policy": f"mine {KEY}"}, {}), ({}, {"engine_options": {"api_key": "x"}})):
        with pytest.raises(UserError, match="keys come from the environment alone"):
            claim(tmp_path / "run", identity, record)
    assert not (tmp_path / "run").exists()


def test_a_key_in_the_place_of_its_variables_name_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give the name, never the key itself") as refused:
        evaluate("alfworld", "openai:stub", out=tmp_path / "run", policy_options={"key_variable": KEY})
    assert not leaks(str(refused.value)) and not (tmp_path / "run").exists()


def test_options_that_only_sound_like_it_are_taken() -> None:
    options = {
        "maxTokens": 5,
        "command": "serve --max-tokens=5 a=b",
        "max_tokens": 5,
        "stop_token_ids": [1],
        "key_variable": "MY_KEY",
        "eos_token": "</s>",
        "api_key": None,
    }
    assert not holds_secret({**options, "arguments": ["--max-num-batched-tokens", "5"], "return_token_ids": True})


# -- the whole way: a server that repeats the key, packages that fail with it -----------------------------------

BROKEN_SINK = """
import os
def init(**settings):
    return Run()
class Run:
    def log(self, numbers, step):
        raise ConnectionError(f"401 for {os.environ['WANDB_API_KEY']}")
    def finish(self):
        raise ConnectionError("gone: " + os.environ['WANDB_API_KEY'])
"""


def program(folder: Path, *arguments: str) -> str:
    """Run the program with the key in its environment; return all that it printed."""
    environment = {**os.environ, "OPENAI_API_KEY": KEY, "WANDB_API_KEY": KEY, "PYTHONPATH": str(folder / "packages")}
    command = [sys.executable, "-m", "agentbench", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=folder, timeout=300, check=False
    )
    return done.stdout + done.stderr


def leaky(body: dict[str, Any], number: int) -> Any:
    """Repeat the key in an answer, in an error that is cut in the middle of it, and in what is no answer at all."""
    return (
        chat(f"<think>my key is {KEY}</think><action>go to {KEY}</action>", reasoning=KEY),
        (500, {"error": {"message": "x" * 285 + KEY}}),
        b"<html>" + b"x" * 60 + KEY.encode() + b"</html>",
    )[number % 3]


def everything_in(folder: Path) -> str:
    return "\n".join(path.read_bytes().decode("utf-8", "replace") for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("secrets")
    (folder / "packages").mkdir()
    (folder / "packages" / "wandb.py").write_text(BROKEN_SINK)
    return folder


def test_a_server_that_repeats_the_key_has_it_neither_shown_nor_stored(place: Path) -> None:
    play = ["eval", "--env", "alfworld", "--split", "generated:0:3", "--max-steps", "4", "--workers", "2", "--policy"]
    with serving(leaky) as server:
        reached = ["openai:stub", "--base-url", server.url, "--attempts", "1", "--patience", "99"]
        printed = program(place, *play, *reached, "--out", "run")
        assert "success" in printed and CUT in everything_in(place / "run")
        assert any(KEY in headers["Authorization"] for headers in server.headers)
        server.answer = lambda body, number: (401, {"error": f"{KEY} is wrong"})
        printed += program(place, *play, *reached, "--out", "refused")
        server.answer = lambda body, number: (404, {"error": f"{KEY} has no model"})
        printed += program(place, *play, *reached, "--out", "unknown")
    assert f"HTTP 401: {CUT} is wrong" in printed and f"HTTP 404: {CUT} has no model" in printed
    printed += program(place, "replay", "run", "--episode", "0") + program(place, "report", "run")
    assert not leaks(printed) and not leaks(everything_in(place))


def test_a_sink_that_fails_with_the_key_has_it_neither_shown_nor_stored(place: Path) -> None:
    flags = [
        "--split",
        "generated:0:2",
        "--steps",
        "1",
        "--tasks-per-step",
        "1",
        "--group-size",
        "2",
        "--sinks",
        "wandb",
    ]
    printed = program(place, "train", "--out", "trained", "--env-options", '{"max_steps": 3}', *flags)
    assert f"sink 'wandb' failed and is left out: ConnectionError: 401 for {CUT}" in " ".join(printed.split())
    assert (place / "trained" / "policy" / "policy.json").exists()
    assert not leaks(printed) and not leaks(everything_in(place))


def test_an_unforeseen_error_shows_no_key_in_its_traceback(place: Path) -> None:
    lines = [
        "from agentbench.cli import program",
        "def fail(**_):",
        f"    raise RuntimeError('\\x1b[2J' + {KEY!r})",
        "program._command = fail",
    ]
    code = "\n".join([*lines, "program.main()"])
    environment = {**os.environ, "OPENAI_API_KEY": KEY}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1
    assert rf"RuntimeError: \x1b[2J{CUT}" in done.stderr and not leaks(done.stderr)


def test_an_unforeseen_error_in_a_thread_shows_none_either() -> None:
    lines = [
        "import threading",
        "from agentbench.cli import program",
        "def fail():",
        f"    raise RuntimeError({KEY!r})",
        "def app(**_):",
    ]
    code = "\n".join([*lines, "    threading.Thread(target=fail).start()", "program._command = app", "program.main()"])
    environment = {**os.environ, "OPENAI_API_KEY": KEY}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert f"RuntimeError: {CUT}" in done.stderr and not leaks(done.stderr)


class _Fails:
    name = digest = "fails"

    def act(self, prompts: list[Any]) -> list[Any]:
        raise RuntimeError(f"no entry with {KEY} at http://me:pass@host/")


def test_an_error_that_is_stored_with_an_episode_holds_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", KEY)
    result = evaluate("alfworld", _Fails(), split="generated:0:1", inline=True, out=tmp_path / "run")
    (episode,) = result.run.read_episodes()
    assert episode.error == f"the policy failed: RuntimeError: no entry with {CUT} at http://{CUT}@host/"


def test_shown_text_is_redacted_before_it_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", KEY)
    assert shown(f"\x1b{KEY}") == rf"\x1b{CUT}"
