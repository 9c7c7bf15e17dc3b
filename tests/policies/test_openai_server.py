"""A language model behind a server, against a server that misbehaves: nothing hangs, nothing finished is lost."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import journals
import pytest
import toy_environment  # noqa: F401  (registers the toy)
from stub_server import chat, serving, up

from agentbench import Response, UserError, evaluate, open_run
from envs.contract import Task
from policies import POLICIES, Prompt, Turn, make_policy
from policies.openai.chat_client import ChatClient, ClientSettings, PassingFailure, RefusedRequest
from policies.openai.policy import OPTIONS, OpenAIPolicy, SampledTokens, ServerOptions, read_usage, text_of

QUICK = {"backoff": 0.01, "timeout": 30.0}


def run(url: str, out: Path, model: str = "stub", **settings: Any) -> Any:
    """Evaluate on the toy, in this process."""
    options = {"base_url": url, **QUICK, **settings.pop("policy_options", {})}
    settings = {"workers": 6, "inline": True, **settings}
    return evaluate("toy", f"openai:{model}", out=out, policy_options=options, **settings)


def prompt(steps: int = 0) -> Prompt:
    info = {"instruction": "count", "admissible_actions": ["stay", "up"]}
    turns = [Turn(f"at {k}", "up", "<action>up</action>", ("stay", "up")) for k in range(steps)]
    return Prompt(Task("id", "name", "type", 0), f"at {steps}", info, turns, seed=2**40 + 7)


def policy(url: str, **options: Any) -> OpenAIPolicy:
    return OpenAIPolicy("stub", "toy", ServerOptions(base_url=url, **{**QUICK, **options}))


def test_a_good_server_wins_every_task_and_is_counted(tmp_path: Path, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    with serving() as server:
        result = run(server.url, tmp_path / "run", policy_options={"price_in": 2.0, "price_out": 10.0})
    assert list(result.frame["outcome"]) == ["success"] * 6
    assert len(server.bodies) == 21  # 1 + 2 + … + 6 steps
    step = result.run.read_episodes()[0].steps[0]
    assert step.text == "<think>higher</think><action>up</action>" and step.action == "up"
    assert (step.details["prompt_tokens"], step.details["answer_tokens"]) == (100, 10)
    assert step.details["cost"] == pytest.approx(0.0003)
    assert "21 answers, 2100 prompt tokens, 210 answer tokens, cost 0.0063" in caplog.text
    body = next(body for body in server.bodies if len(body["messages"]) == 4)
    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "user"]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("stub", 0.0, 1024) and "seed" not in body


def test_the_tables_do_not_depend_on_workers_concurrency_or_retries(tmp_path: Path) -> None:
    def moody(body: dict[str, Any], number: int) -> Any:
        return (503, {"error": "busy"}) if number % 3 == 0 else up(body, number)

    tables = []
    with serving(moody) as server:
        for workers, concurrency in ((1, 1), (6, 64), (6, 2)):
            out = tmp_path / f"{workers}-{concurrency}"
            run(server.url, out, workers=workers, policy_options={"concurrency": concurrency})
            tables.append([(out / f"{name}.parquet").read_bytes() for name in ("episodes", "steps")])
    assert tables[0] == tables[1] == tables[2]


FAULTS: dict[str, Any] = {
    "closes the connection": "close",
    "hangs": "hang",
    "answers half a JSON": "half",
    "answers cut JSON": b'{"choices": [{"message"',
    "answers garbage": b"\xff\xfe<html>",
    "answers an error as a success": {"error": {"message": "no"}},
    "has no choices": {"choices": []},
    "has a message of another kind": {"choices": [{"message": "up"}]},
    "is overloaded": (429, {"error": {"message": "slow down"}}),
    "asks for a pause": (429, {"error": {"message": "slow down"}}, "0.05"),
    "breaks": (500, ["?"]),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_that_passes_costs_nothing(fault: Any) -> None:
    with serving(lambda body, number: fault if number in (0, 2) else up(body, number)) as server:
        asked = policy(server.url, timeout=1.5 if fault == "hang" else 30.0)
        responses = [asked.act([prompt()])[0] for _ in range(2)]
    assert [response.action for response in responses] == ["up", "up"]
    # A kept connection that is closed is opened anew, and that is no retry.
    assert len(server.bodies) == 4 and 1 <= asked.usage.retries <= 2 == asked.usage.requests


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_that_lasts_is_told_after_bounded_tries(fault: Any) -> None:
    with serving(lambda body, number: fault) as server, pytest.raises(PassingFailure):
        policy(server.url, attempts=2, timeout=1.5 if fault == "hang" else 30.0).act([prompt()])
    assert len(server.bodies) == 2


def test_a_request_that_fails_spoils_its_own_episode_alone(tmp_path: Path) -> None:
    def unlucky(body: dict[str, Any], number: int) -> Any:
        return (500, {"error": "no luck"}) if "count to 3" in body["messages"][1]["content"] else up(body, number)

    with serving(unlucky) as server:
        result = run(server.url, tmp_path / "run", policy_options={"attempts": 2})
        frame = result.frame.set_index("task_name")
        assert frame.loc["toy:2", "outcome"] == "error" and "HTTP 500: no luck" in frame.loc["toy:2", "error"]
        assert list(frame["outcome"]).count("success") == 5
        server.answer = up
        again = run(server.url, tmp_path / "run", policy_options={"attempts": 2}, retry_errors=True)
    assert list(again.frame["outcome"]) == ["success"] * 6


def test_a_server_that_is_gone_stops_the_run_and_loses_nothing(tmp_path: Path) -> None:
    with serving(lambda body, number: up(body, number) if number < 60 else "close") as server:
        with pytest.raises(UserError, match=r"3 requests in a row failed.*--retry-errors"):
            run(server.url, tmp_path / "run", trials=20, policy_options={"attempts": 2, "patience": 3})
        finished = open_run(tmp_path / "run").read_episodes()
        assert sum(episode.won for episode in finished) >= 10
        assert [episode.outcome for episode in finished].count("error") <= 2
        server.answer = up
        options = {"attempts": 2, "patience": 3}
        result = run(server.url, tmp_path / "run", trials=20, policy_options=options, retry_errors=True)
    assert list(result.frame["outcome"]) == ["success"] * 120


NO_MODEL: dict[str, tuple[int, Any]] = {
    "vLLM": (404, {"object": "error", "message": "The model `stab` does not exist.", "code": 404}),
    "llama.cpp": (400, {"error": {"code": 400, "message": "model 'stab' not found", "type": "invalid_request_error"}}),
    "LiteLLM": (400, {"error": {"message": "/chat/completions: Invalid model name passed in model=stab."}}),
    "Ollama": (404, {"error": {"message": 'model "stab" not found, try pulling it first', "type": "api_error"}}),
    "transformers serve": (400, {"detail": "stab is not a local folder and is not a valid model identifier"}),
    "transformers serve, in its own fault": (500, {"detail": "stab is not a valid model identifier listed on the hub"}),
    "a hosted one": (400, {"error": {"message": "Model Not Exist", "type": "invalid_request_error"}}),
    "a router": (400, {"error": {"message": "stab is not a valid model ID", "code": 400}}),
    "a code alone": (400, {"error": {"message": "see the manual", "code": "model_not_found"}}),
    "words nobody knows": (400, {"error": {"message": "das model stab gibt es nicht"}}),
    "a list of problems": (422, {"detail": [{"loc": ["body", "model"], "msg": "unknown model stab"}]}),
}


@pytest.mark.parametrize("answer", NO_MODEL.values(), ids=NO_MODEL.keys())
def test_a_wrong_model_stops_the_run_and_is_told_with_those_that_there_are(answer: Any, tmp_path: Path) -> None:
    with (
        serving(lambda body, number: answer) as server,
        pytest.raises(UserError, match=r"has no model 'stab'.*it has other, stub") as refused,
    ):
        run(server.url, tmp_path / "run", model="stab")
    assert "\n" not in str(refused.value)
    assert len(server.bodies) <= 6  # those that were under way, and none tried again


ONE_REQUEST = {
    "This model's maximum context length is 500 tokens, your prompt has 900": "ContextTooLong",
    "the request exceeds the available context size": "ContextTooLong",
    "The input token count (900) exceeds the maximum number of tokens allowed (500)": "ContextTooLong",
    "prompt is too long: 900 tokens > 500 maximum": "ContextTooLong",
    "temperature 2 is not supported with this model": "RefusedRequest",
    "the content was filtered": "RefusedRequest",
}


@pytest.mark.parametrize(("said", "raised"), ONE_REQUEST.items())
def test_a_refusal_of_one_request_is_the_error_of_one_episode(said: str, raised: str, tmp_path: Path) -> None:
    def refuse(body: dict[str, Any], number: int) -> Any:
        unlucky = "count to 3" in body["messages"][1]["content"]
        return (400, {"error": {"message": said}}) if unlucky else up(body, number)

    with serving(refuse) as server:
        frame = run(server.url, tmp_path / "run").frame.set_index("task_name")
    assert list(frame["outcome"]).count("success") == 5
    assert frame.loc["toy:2", "outcome"] == "error" and raised in frame.loc["toy:2", "error"]


def test_a_server_that_answers_as_another_model_is_recorded_and_warned_of_once(tmp_path: Path, caplog: Any) -> None:
    with serving() as server:
        result = run(server.url, tmp_path / "run", model="wanted")
    steps = [step for episode in result.run.read_episodes() for step in episode.steps]
    assert {step.details["model"] for step in steps} == {"stub"}
    warnings = [each.getMessage() for each in caplog.records if "answers as the model stub" in each.getMessage()]
    assert len(warnings) == 1 and "asked for was wanted" in warnings[0]


USAGES: dict[str, tuple[Any, tuple[int, int, int] | None]] = {
    "OpenAI, vLLM": (
        {"prompt_tokens": 100, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 80}}, (100, 80, 10),
    ),
    "DeepSeek": ({"prompt_tokens": 100, "completion_tokens": 10, "prompt_cache_hit_tokens": 80}, (100, 80, 10)),
    "Anthropic": (
        {"input_tokens": 5, "cache_creation_input_tokens": 15, "cache_read_input_tokens": 80, "output_tokens": 10},
        (100, 80, 10),
    ),
    "Anthropic by way of a proxy": (
        {"prompt_tokens": 100, "completion_tokens": 10, "cache_read_input_tokens": 80}, (100, 80, 10),
    ),
    "responses": (
        {"input_tokens": 100, "input_tokens_details": {"cached_tokens": 80}, "output_tokens": 10}, (100, 80, 10),
    ),
    "no word of a cache": ({"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": None}, (9, 0, 1)),
    "more cached than asked": ({"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 99}}, (10, 10, 0)),
    "no numbers": ({"prompt_tokens": "many", "completion_tokens": True}, (0, 0, 0)),
    "nothing": (None, None),
}  # fmt: skip


@pytest.mark.parametrize(("usage", "expected"), USAGES.values(), ids=USAGES.keys())
def test_tokens_are_counted_as_servers_tell_them(usage: Any, expected: Any) -> None:
    assert read_usage({"usage": usage}) == expected


def test_cached_prompt_tokens_are_stored_and_priced_apart(tmp_path: Path, caplog: Any) -> None:
    caplog.set_level(logging.INFO)

    def cached(body: dict[str, Any], number: int) -> Any:
        answer = up(body, number)
        answer["usage"]["prompt_tokens_details"] = {"cached_tokens": 80}
        return answer

    prices = {"price_in": 2.0, "price_cached": 0.5, "price_out": 10.0}
    with serving(cached) as server:
        result = run(server.url, tmp_path / "run", env_options={"tasks": 1}, policy_options=prices)
        (unpriced,) = policy(server.url, price_in=2.0, price_out=10.0).act([prompt()])
    details = result.run.read_episodes()[0].steps[0].details
    assert details["prompt_tokens"] == 100 and details["cached_tokens"] == 80
    assert details["cost"] == pytest.approx((20 * 2.0 + 80 * 0.5 + 10 * 10.0) / 1e6)
    assert unpriced.details["cost"] == pytest.approx(0.0003)
    assert "100 prompt tokens (80 of them cached), 10 answer tokens, cost 0.0002" in caplog.text


def test_a_server_that_dies_before_its_first_answer_and_comes_back_is_asked_again() -> None:
    gone = threading.Event()

    def die(body: dict[str, Any], number: int) -> Any:
        gone.set()
        return "close"

    with ThreadPoolExecutor(1) as pool:
        with serving(die) as server:
            port = server.server_port
            answer = pool.submit(lambda: policy(server.url, attempts=9, backoff=0.2).act([prompt()])[0])
            assert gone.wait(20)
        time.sleep(0.5)  # nobody listens
        with serving(port=port):
            assert answer.result(60).action == "up"


def test_a_server_that_was_never_there_is_told_at_once(tmp_path: Path) -> None:
    with serving() as server:
        url = server.url
    with pytest.raises(UserError, match=r"no server answers at .* fix --base-url"):
        run(url, tmp_path / "run")


def test_a_refused_request_is_not_tried_again() -> None:
    with (
        serving(lambda body, number: (400, {"error": {"message": "temperature: unsupported"}})) as server,
        pytest.raises(RefusedRequest, match="HTTP 400: temperature: unsupported"),
    ):
        policy(server.url).act([prompt()])
    assert len(server.bodies) == 1


# -- keys ----------------------------------------------------------------------------------------------------


def test_the_key_comes_from_the_environment_and_is_written_nowhere(
    tmp_path: Path, monkeypatch: Any, caplog: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    key = "sk-very-secret-123"
    monkeypatch.setenv("MY_KEY", f" {key}\n")

    def leaky(body: dict[str, Any], number: int) -> Any:
        return up(body, number) if number % 4 else (500, {"error": {"message": f"bad key {key}!"}})

    with serving(leaky) as server:
        run(server.url, tmp_path / "run", policy_options={"attempts": 1, "key_variable": "MY_KEY", "patience": 99})
        assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {key}"}
        assert key not in repr(vars(policy(server.url, key_variable="MY_KEY"))["_client"].settings)
        with pytest.raises(UserError) as refused:
            server.answer = lambda body, number: (401, {"error": {"message": f"Incorrect key: {key}"}})
            run(server.url, tmp_path / "other", policy_options={"key_variable": "MY_KEY"})
    assert "check the key" in str(refused.value) and key not in str(refused.value)
    lines = b"".join(journals.stored(tmp_path / "run"))
    assert b"bad key" in lines and key.encode() not in lines
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or key.encode() not in path.read_bytes()
    assert key not in caplog.text


@pytest.mark.parametrize(
    ("url", "key", "warned"),
    [
        ("http://models.example/v1", "sk-long-enough", True), ("https://models.example/v1", "sk-long-enough", False),
        ("http://localhost:1/v1", "sk-long-enough", False), ("http://[::1]:1/v1", "sk-long-enough", False),
        ("http://127.0.0.1.example/v1", "sk-long-enough", True), ("http://a.example/v1", None, False),
        ("http://127.0.0.2/v1", "sk-long-enough", False),
    ],
)  # fmt: skip
def test_a_key_that_would_travel_in_the_open_is_warned_of(url: str, key: str | None, warned: bool, caplog: Any) -> None:
    ChatClient(ClientSettings(url, key))
    assert ("without encryption" in caplog.text) is warned
    assert key is None or key not in caplog.text


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"base_url": "http://me:secret@host/v1"}, "no user, password or query"),
        ({"base_url": "http://host/v1?key=secret"}, "no user, password or query"),
        ({"base_url": "localhost:8000"}, "is no base URL"),
        ({"base_url": "http://host:x/v1"}, "base URL is none"),
        ({"base_url": "http://host/v1 x"}, "is no base URL"),
        ({"api_key": "secret"}, "keys come from the environment alone"),
        ({"extra": {"api_key": "secret"}}, "keys come from the environment alone"),
        ({"extra": {"extra_headers": [{"Authorization": "Bearer secret"}]}}, "keys come from the environment alone"),
        ({"max_tokens": "secret"}, "max_tokens of policy .openai. must be a whole number"),
        ({"max_tokens": 0}, "max_tokens.* must be"),
        ({"temperature": -1}, "temperature.* must be"),
        ({"timeout": 0}, "timeout.* must be a"),
        ({"thinking": "perhaps"}, "thinking of policy .openai. must be yes or no"),
        ({"tempreature": 1}, "did you mean temperature"),
    ],
)
def test_a_bad_option_is_told_without_its_value(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem) as refused:
        make_policy("openai:stub", environment="toy", options=options)
    assert "secret" not in str(refused.value)


def test_the_list_of_policies_names_every_option() -> None:
    assert sorted(POLICIES["openai"].declared()) == sorted(OPTIONS)
    pytest.importorskip("torch")
    from policies.vllm.engine import OPTIONS as VLLM_OPTIONS

    assert sorted(POLICIES["vllm"].declared()) == sorted(VLLM_OPTIONS)
    with pytest.raises(UserError, match="takes no options, got 'temperature'"):
        make_policy("random", environment="toy", options={"temperature": 1})
    with pytest.raises(UserError, match="write openai:MODEL"):
        make_policy("openai", environment="toy")


def test_the_digest_changes_with_what_decides_the_answers_and_with_nothing_else(tmp_path: Path) -> None:
    base = policy("http://host/v1").digest
    path = tmp_path / "t.toml"
    path.write_text("user = '{{ observation }}'")
    decisive = ({"temperature": 1.0}, {"max_tokens": 5}, {"history": 3}, {"thinking": False}, {"template": str(path)})
    digests = [policy("http://host/v1", **options).digest for options in decisive]
    assert len({base, policy("http://other/v1").digest, *digests}) == 7
    for options in ({"concurrency": 3}, {"timeout": 5.0}, {"attempts": 2}, {"price_in": 1.0}, {"price_cached": 1.0}):
        assert policy("http://host/v1", **options).digest == base


# -- answers -------------------------------------------------------------------------------------------------


def test_sampling_sends_the_seed_of_the_step() -> None:
    with serving() as server:
        policy(server.url, temperature=0.7).act([prompt()])
        policy(server.url, temperature=None, seeded=False, extra={"top_k": 5}).act([prompt()])
    first, second = server.bodies
    assert first["seed"] == 7 and first["temperature"] == 0.7
    assert "seed" not in second and "temperature" not in second and second["top_k"] == 5


def test_an_invalid_answer_is_recorded_with_its_reason(tmp_path: Path) -> None:
    def wordy(body: dict[str, Any], number: int) -> Any:
        answer = chat("<think>on and on")
        answer["choices"][0]["finish_reason"] = "length"
        return answer

    with serving(wordy) as server:
        result = run(server.url, tmp_path / "run", env_options={"tasks": 1})
    assert list(result.frame["outcome"]) == ["failure"] and list(result.frame["invalid_actions"]) == [10]
    step = result.run.read_episodes()[0].steps[0]
    assert step.action == "" and step.details["invalid"] == "the thinking was not closed" and step.details["cut_answer"]


def test_what_looks_like_a_secret_in_an_action_is_played_as_it_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "password")
    said = 'curl -H "Authorization: Bearer $TOKEN" http://me:pass@host/ --data password=4711'
    with serving(lambda body, number: chat(f"<action>{said}</action>")) as server:
        (response,) = policy(server.url).act([prompt()])
    assert response.action == said and said in (response.text or "")


def test_half_a_character_in_an_answer_is_no_failure_of_the_server(tmp_path: Path) -> None:
    """It comes back in the next prompt, whose length is counted where there is a limit."""
    with serving(lambda body, number: chat("<action>\ud800</action>")) as server:
        result = run(server.url, tmp_path / "run", env_options={"tasks": 1}, policy_options={"max_context": 5000})
    assert list(result.frame["outcome"]) == ["failure"]


def test_an_answer_in_any_shape_becomes_one_text() -> None:
    assert text_of({"content": "a"}) == "a" and text_of({"content": None}) == "" and text_of({}) == ""
    assert text_of({"reasoning_content": "why", "content": "b"}) == "<think>why</think>b"
    assert text_of({"content": [{"type": "text", "text": "a"}, {"text": "b"}, 3]}) == "ab"
    call = {"function": {"name": "act", "arguments": json.dumps({"action": "up"})}}
    with serving(lambda body, number: chat(None, tool_calls=[call])) as server:
        assert policy(server.url).act([prompt()])[0].action == "up"


def test_a_context_that_overflows_is_cut_until_the_server_takes_it() -> None:
    def small(body: dict[str, Any], number: int) -> Any:
        if len(body["messages"]) > 8:
            return (400, {"error": {"message": "This model's maximum context length is 500 tokens."}})
        return up(body, number)

    with serving(small) as server:
        response = policy(server.url, patience=1).act([prompt(steps=20)])[0]
        assert response.action == "up" and response.details["left_out"] >= 17
        by_setting = policy(server.url, max_context=400).act([prompt(steps=20)])[0]
    assert by_setting.details["left_out"] > 0
    assert "Task: count" in server.bodies[-1]["messages"][1]["content"]


def test_tokens_come_along_where_the_server_gives_them_and_are_demanded_for_training() -> None:
    def exact(body: dict[str, Any], number: int) -> Any:
        assert body["logprobs"] and body["return_token_ids"]
        answer = chat("<action>up</action>")
        answer["prompt_token_ids"] = [1, 2, 3]
        answer["choices"][0] |= {"token_ids": [7, 8], "logprobs": {"content": [{"logprob": -0.5}, {"logprob": -1}]}}
        return answer

    with serving(exact) as server:
        trace = policy(server.url, require_tokens=True).act([prompt()])[0].trace
        assert trace == SampledTokens((1, 2, 3), (7, 8), (-0.5, -1.0)) and trace.tokens == 2
        server.answer = up
        assert policy(server.url).act([prompt()])[0].trace is None
        with pytest.raises(UserError, match="can be evaluated, but nothing can be trained"):
            policy(server.url, require_tokens=True).act([prompt()])


# -- nobody waits for another --------------------------------------------------------------------------------


def test_requests_overlap_up_to_the_limit(tmp_path: Path) -> None:
    def slow(body: dict[str, Any], number: int) -> Any:
        time.sleep(1.0 if number < 6 else 0.02)
        return up(body, number)

    for limit, most in ((64, 6), (2, 2)):
        with serving(slow) as server:
            run(server.url, tmp_path / str(limit), policy_options={"concurrency": limit})
        assert server.most == most


def test_a_slow_answer_holds_nobody_else_up(tmp_path: Path) -> None:
    release, done = threading.Event(), []

    def one_waits(body: dict[str, Any], number: int) -> Any:
        if "count to 1" in body["messages"][1]["content"]:
            done.append(release.wait(20))
        return up(body, number)

    def watch(progress: Any) -> None:
        if progress.finished == 5:
            release.set()

    with serving(one_waits) as server:
        result = run(server.url, tmp_path / "run", policy_options={"timeout": 30.0}, on_progress=watch)
    assert done == [True] and list(result.frame["outcome"]) == ["success"] * 6


class Patient:
    """Answers at once, but for one task only when a worker of another was replaced."""

    name, digest = "patient", "patient-1"

    def __init__(self) -> None:
        self.asked: list[int] = []
        self._threads = ThreadPoolExecutor(4)

    def act(self, prompts: Any) -> list[Response]:
        return [self.submit(prompt).result() for prompt in prompts]

    def submit(self, prompt: Prompt) -> Future[Response]:
        return self._threads.submit(self._answer, prompt)

    def _answer(self, one: Prompt) -> Response:
        self.asked.append(one.task.index)
        if one.task.index == 1 and len(one.history) == 0:
            deadline = time.monotonic() + 120
            while self.asked.count(0) < 2 and time.monotonic() < deadline:
                time.sleep(0.01)
        return Response("up")


def test_environments_are_supervised_while_the_policy_thinks(tmp_path: Path) -> None:
    """Task 0 hangs; its deadline passes and it is played again although an answer for task 1 is still to come."""
    patient = Patient()
    options = {"tasks": 2, "faults": {"0": "sleep"}, "times": 1, "folder": str(tmp_path)}
    result = evaluate("toy", patient, out=tmp_path / "run", workers=2, step_timeout=5.0, env_options=options)
    assert list(result.frame["outcome"]) == ["success"] * 2 and patient.asked.count(0) == 2


def test_an_interrupted_run_does_not_wait_for_the_server(tmp_path: Path) -> None:
    def stop(progress: Any) -> None:
        if progress.finished:
            raise KeyboardInterrupt

    def one_hangs(body: dict[str, Any], number: int) -> Any:
        return "hang" if "count to 6" in body["messages"][1]["content"] else up(body, number)

    with serving(one_hangs) as server:
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            run(server.url, tmp_path / "run", policy_options={"timeout": 60.0}, on_progress=stop)
        assert time.monotonic() - start < 30


def test_an_interrupted_run_ends_what_it_asked_for(tmp_path: Path) -> None:
    """The server sees the connection close, so that it need not answer what nobody waits for."""

    asked, closed = threading.Event(), threading.Event()

    def stop(progress: Any) -> None:
        if progress.finished:
            raise KeyboardInterrupt

    def one_hangs(body: dict[str, Any], number: int) -> Any:
        if "count to 6" in body["messages"][1]["content"]:
            asked.set()
            return closed
        assert asked.wait(60)
        return up(body, number)

    with serving(one_hangs) as server:
        with pytest.raises(KeyboardInterrupt):
            run(server.url, tmp_path / "run", policy_options={"timeout": 60.0}, on_progress=stop)
        assert closed.wait(60)


def test_one_client_asks_many_things_at_once_and_confuses_no_answers() -> None:
    async def ask(client: ChatClient, number: int) -> list[str]:
        found = []
        for turn in range(5):
            answer = await client.ask({"model": "stub", "messages": [{"content": f"{number}/{turn}"}]})
            found.append(answer["choices"][0]["message"]["content"])
        return found

    async def ask_all(client: ChatClient) -> list[list[str]]:
        return await asyncio.gather(*[ask(client, number) for number in range(10)])

    with serving(lambda body, number: chat(body["messages"][0]["content"])) as server:
        found = asyncio.run(ask_all(ChatClient(ClientSettings(server.url))))
    assert found == [[f"{number}/{turn}" for turn in range(5)] for number in range(10)]


def test_a_policy_answers_a_batch_at_once() -> None:
    together = threading.Barrier(4)

    def meet(body: dict[str, Any], number: int) -> Any:
        together.wait(20)
        return up(body, number)

    with serving(meet) as server:
        responses = policy(server.url, timeout=30.0).act([prompt()] * 4)
    assert [response.action for response in responses] == ["up"] * 4


# -- HTTP ------------------------------------------------------------------------------------------------------

BODY = json.dumps(chat("<action>up</action>")).encode()
CHUNKS = b"".join(b"%x;part\r\n%b\r\n" % (len(part), part) for part in (BODY[:7], BODY[7:90], BODY[90:]))
SHAPES = {
    "with its length": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY),
    "in chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%b0\r\nTrailer: x\r\n\r\n" % CHUNKS,
    "up to the end": b"HTTP/1.1 200 OK\r\n\r\n" + BODY,
    "of the old protocol": b"HTTP/1.0 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY),
    "after an interim one": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200\r\nContent-Length:%d\r\n\r\n%b"
    % (len(BODY), BODY),
}
WRONG = {
    "silence": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "another protocol": b"SSH-2.0-OpenSSH\r\n\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "a wrong length": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "a huge length": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
    "a wrong chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "half a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\nabc",
    "an endless head": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
}


@contextmanager
def raw_server(answer: bytes) -> Iterator[str]:
    """Answer every connection with some bytes, whatever it asks, and close it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer_one(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                connection.recv(65536)
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass

        def work() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=answer_one, args=listening.accept()[:1], daemon=True).start()

        threading.Thread(target=work, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"


@pytest.mark.parametrize("answer", SHAPES.values(), ids=SHAPES.keys())
def test_an_answer_may_have_any_shape_that_http_knows(answer: bytes) -> None:
    with raw_server(answer) as url:
        assert [each.action for each in policy(url, timeout=20.0).act([prompt()] * 2)] == ["up", "up"]


@pytest.mark.parametrize("answer", WRONG.values(), ids=WRONG.keys())
def test_what_is_no_http_is_a_failure_of_this_request_alone(answer: bytes) -> None:
    with raw_server(answer) as url, pytest.raises(PassingFailure):
        policy(url, attempts=2, timeout=20.0).act([prompt()])


def test_a_second_answer_to_a_request_is_not_taken_for_that_to_the_next() -> None:
    late = json.dumps(chat("<action>stay</action>")).encode()
    second = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(late), late)

    def work() -> None:
        with suppress(OSError):
            while True:
                with listening.accept()[0] as connection:
                    while connection.recv(65536):
                        connection.sendall(SHAPES["with its length"] + second)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=work, daemon=True).start()
        asked = policy(f"http://127.0.0.1:{listening.getsockname()[1]}/v1")
        assert [asked.act([prompt()])[0].action for _ in range(3)] == ["up"] * 3
    assert asked.usage.retries == 0


@pytest.mark.parametrize("through_proxy", [False, True])
def test_a_server_behind_tls_is_asked_directly_or_through_a_proxy(
    tmp_path: Path, monkeypatch: Any, through_proxy: bool
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("making a certificate needs openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*make, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    monkeypatch.setattr(
        "policies.openai.http_connection.trusted", lambda: ssl.create_default_context(cafile=certificate)
    )
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving() as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        url = server.url.replace("http://127.0.0.1", "https://localhost")
        with proxying(server.server_port) as (proxy, seen):
            if through_proxy:
                monkeypatch.setenv("HTTPS_PROXY", proxy)
            assert policy(url, timeout=20.0).act([prompt()])[0].action == "up"
        assert seen == ([f"CONNECT localhost:{server.server_port} HTTP/1.1"] if through_proxy else [])
        monkeypatch.setattr("policies.openai.http_connection.trusted", ssl.create_default_context)
        monkeypatch.delenv("HTTPS_PROXY", raising=False)
        with pytest.raises(UserError, match="certificate"):
            policy(url, timeout=20.0).act([prompt()])


@contextmanager
def proxying(target: int) -> Iterator[tuple[str, list[str]]]:
    """A proxy that leads one connection to a port of this machine, and notes what it was asked for."""
    seen: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def pump(source: socket.socket, sink: socket.socket) -> None:
            with suppress(OSError):
                while data := source.recv(65536):
                    sink.sendall(data)
                sink.shutdown(socket.SHUT_WR)

        def work() -> None:
            with suppress(OSError):
                inner, _ = listening.accept()
                seen.append(inner.recv(65536).decode().splitlines()[0])
                outer = socket.create_connection(("127.0.0.1", target))
                inner.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                threading.Thread(target=pump, args=(inner, outer), daemon=True).start()
                pump(outer, inner)

        threading.Thread(target=work, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", seen
