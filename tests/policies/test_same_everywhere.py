"""A language model in transformers, in vLLM and behind a server: the same options mean and record the same."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stub_server
import toy_environment  # noqa: F401  (registers the toy)

from agentbench import evaluate
from policies import make_policy
from policies.contract import Turn

tiny: Any = pytest.importorskip("tiny_language", reason="needs transformers")

STAND_IN = Path(__file__).parents[1] / "support" / "stand_in_vllm"
KEYS = {
    *("invalid", "cut_answer", "finish", "prompt_tokens", "cached_tokens", "answer_tokens", "left_out", "model"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model on disk."""
    path = tmp_path_factory.mktemp("tiny") / "tiny-model"
    tiny.model().save_pretrained(path)
    tiny.tokenizer().save_pretrained(path)
    return path


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A stand-in where vLLM should be."""
    found = importlib.util.find_spec("vllm")  # of a module that other tests have left behind too
    if found is not None and STAND_IN not in Path(str(found.origin)).parents:
        pytest.skip("vLLM itself is here")
    monkeypatch.syspath_prepend(str(STAND_IN))
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    yield
    for name in [each for each in sys.modules if each.partition(".")[0] == "vllm"]:
        del sys.modules[name]


def three(folder: Path, url: str, **options: Any) -> list[Any]:
    """The same model's three ways of being reached, with the same options."""
    given: list[tuple[str, dict[str, Any]]] = [(f"hf:{folder}", {}), (f"vllm:{folder}", {})]
    given.append(("openai:stub", {"base_url": url}))
    return [make_policy(spec, environment="alfworld", options={**more, **options}) for spec, more in given]


def test_answers_record_the_same_keys(folder: Path, vllm: None) -> None:
    def cut(body: dict[str, Any], number: int) -> Any:
        answer = stub_server.chat("<think>on and on")
        answer["choices"][0]["finish_reason"] = "length"
        return answer

    with stub_server.serving(cut) as server:
        for player in three(folder, server.url, max_tokens=6):
            (answer,) = player.act([tiny.prompt()])
            details = answer.details
            assert KEYS <= set(details) <= {*KEYS, "log_prob"}, player.name
            json.dumps(details)
            assert details["cut_answer"] is True and details["finish"] == "length", player.name
            assert isinstance(details["invalid"], str) and answer.action == "", player.name
            assert details["prompt_tokens"] > 0 and details["answer_tokens"] > 0 and details["left_out"] == 0
            assert details["model"] == {"openai:stub": "stub"}.get(player.name, details["model"])
            assert details["model"].endswith(("tiny-model", "stub"))


def test_options_that_are_not_given_mean_the_same(folder: Path, vllm: None) -> None:
    names = ("temperature", "thinking", "stop", "max_tokens", "history", "show_actions", "keep_messages")
    players = three(folder, "http://127.0.0.1:9/v1")
    chosen = [{name: getattr(player.options, name) for name in names} for player in players]
    assert chosen[0] == chosen[1] == chosen[2]
    assert chosen[0]["temperature"] == 0 and chosen[0]["thinking"] is True and chosen[0]["max_tokens"] == 1024


def test_an_answer_ends_behind_a_stop_string_however_the_server_takes_it() -> None:
    whole = "<think>first <action> here</think><action>up</action>"
    answers = {
        "the server leaves it out and names it": (whole.removesuffix("</action>"), {"stop_reason": "</action>"}),
        "the server leaves it out": (whole.removesuffix("</action>"), {}),
        "the server does not know it": (whole + " and then <action>down</action>", {}),
        "the server keeps it": (whole, {"stop_reason": "</action>"}),
    }
    for said, more in answers.values():
        answer = stub_server.chat(said)
        answer["choices"][0] |= more
        with stub_server.serving(lambda body, number, answer=answer: answer) as server:  # type: ignore[misc]
            options = {"base_url": server.url, "stop": ["</action>"]}
            (found,) = make_policy("openai:stub", environment="toy", options=options).act([tiny.prompt()])
        assert found.text == whole and server.bodies[0]["stop"] == ["</action>"]
    cut = stub_server.chat("<action>u")
    cut["choices"][0]["finish_reason"] = "length"
    with stub_server.serving(lambda body, number: cut) as server:
        options = {"base_url": server.url, "stop": ["</action>"]}
        (found,) = make_policy("openai:stub", environment="toy", options=options).act([tiny.prompt()])
    assert found.text == "<action>u"


def test_messages_are_kept_as_they_were_sent_where_that_is_asked_for(folder: Path, vllm: None) -> None:
    past = [Turn("You see nothing.", "look", "<action>look</action>", tiny.ACTIONS)]
    with stub_server.serving() as server:
        kept, plain = (
            [each.act([tiny.prompt(past)])[0] for each in three(folder, server.url, max_tokens=6, keep_messages=keep)]
            for keep in (True, False)
        )
    sent = server.bodies[0]["messages"]
    assert len(sent) == 4 and all(answer.details["messages"] == sent for answer in kept)
    assert not any("messages" in answer.details for answer in plain)
    digests = [[each.digest for each in three(folder, server.url, keep_messages=keep)] for keep in (True, False)]
    assert digests[0] == digests[1]


def test_a_run_records_the_texts_of_its_prompts_and_keeps_its_messages(tmp_path: Path) -> None:
    template = tmp_path / "template.toml"
    template.write_text("system = 'Count well.'")
    with stub_server.serving() as server:
        options = {"base_url": server.url, "template": str(template), "keep_messages": True}
        result = evaluate(
            "toy", "openai:stub", out=tmp_path / "run", policy_options=options, inline=True, env_options={"tasks": 2}
        )
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["policy_record"]["prompts"]["template"]["system"] == "Count well."
    step = result.run.read_episodes()[0].steps[0]
    assert step.details["messages"][0] == {"role": "system", "content": "Count well."}
