"""Decode steps of a fixed shape say what the processor's own say, replayed from a graph or not."""

from __future__ import annotations

import copy
import gc
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="language models need torch: pip install -e '.[language]'")
pytest.importorskip("transformers", reason="language models need transformers: pip install -e '.[language]'")

import tiny_language as tiny  # noqa: E402
from pretended_device import PretendedDevice  # noqa: E402

from policies.language import blocks  # noqa: E402
from policies.language.blocks import BLOCK, Graphs  # noqa: E402
from policies.language.cache import PrefixCache, Work  # noqa: E402
from policies.language.decode import Answer, Request, Rules, decode  # noqa: E402

TOKENS = 14


class Here(Graphs):
    """Steps of a fixed shape on the processor, where there are no graphs."""

    def apply_to(self, device: Any) -> bool:
        return self.wanted


@pytest.fixture
def device() -> Iterator[PretendedDevice]:
    with PretendedDevice() as made:
        yield made


def rules(temperature: float = 1.0, tokens: int = TOKENS, ends: Any = (), stop: tuple[int, ...] = ()) -> Rules:
    """Rules under which two tokens in a row, or any of ``ends``, end an answer."""

    def is_stopped(sampled: Any) -> bool:
        return bool(stop) and tuple(sampled[-len(stop) :]) == stop

    return Rules(temperature, tokens, frozenset(ends), is_stopped)


def requests(lengths: tuple[int, ...] = (5, 31, 12, 31, 20)) -> list[Request]:
    generator = np.random.default_rng(0)
    return [Request(generator.integers(10, 300, length).astype(np.int32), seed=length) for length in lengths]


def answers(model: Any, asked: list[Request], how: Rules, graphs: Graphs | None = None) -> list[Answer]:
    return decode(model, asked, how, PrefixCache(2**30), Work(), graphs)


def equal(found: list[Answer], expected: list[Answer]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.tokens, ours.finish) == (theirs.tokens, theirs.finish)
        np.testing.assert_allclose(ours.log_probs, theirs.log_probs, atol=1e-5)


def on_gpu(model: Any) -> Any:
    return copy.deepcopy(model).to("cuda")


@pytest.mark.parametrize("family", ["qwen3", "llama"])
@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_a_fixed_step_says_what_the_loop_says(family: str, temperature: float) -> None:
    model = tiny.model(family)
    how = rules(temperature)
    graphs = Here()
    equal(answers(model, requests(), how, graphs), answers(model, requests(), how))
    assert (graphs.replayed, graphs.failure) == (0, "")  # there is nothing to replay here


@pytest.mark.parametrize("family", ["Mistral", "Gemma3Text", "Llama4Text"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_layers_see_their_window_in_it(family: str, attention: str) -> None:
    model = tiny.model(family, attn_implementation=attention)
    asked = requests((18, 40, 23))
    equal(answers(model, asked, rules(), Here()), answers(model, asked, rules()))


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_what_is_replayed_says_what_the_processor_says(device: PretendedDevice, temperature: float) -> None:
    model, how = tiny.model(), rules(temperature)
    expected = answers(model, requests(), how)
    graphs = Graphs()
    equal(answers(on_gpu(model), requests(), how, graphs), expected)
    # The first token is that of the prompt, the second warms up; all further ones are replayed.
    assert (graphs.captured, graphs.replayed, graphs.steps) == (1, TOKENS - 2, TOKENS - 1)
    assert (device.counts.captures, device.counts.replays) == (1, TOKENS - 2)


def test_answers_end_where_they_should_also_within_a_block(device: PretendedDevice) -> None:
    model = tiny.model()
    whole = answers(model, requests(), rules())
    # One answer ends with an end token, another behind two tokens, each at a place that is no block's end.
    ends, stop = {whole[0].tokens[5]}, tuple(whole[2].tokens[8:10])
    how = rules(ends=ends, stop=stop)
    expected = answers(model, requests(), how)
    lengths = [len(each.tokens) for each in expected]
    assert {"end", "stop", "length"} == {each.finish for each in expected}
    assert len(set(lengths)) > 2 and any(length % BLOCK for length in lengths if length < TOKENS)
    equal(answers(on_gpu(model), requests(), how, Graphs()), expected)
    equal(answers(model, requests(), how, Here()), expected)


def test_a_prompt_that_recurs_is_answered_by_each_seed_for_itself(device: PretendedDevice) -> None:
    model = tiny.model()
    asked = [Request(requests()[1].ids, seed=seed) for seed in range(6)]
    expected = answers(model, asked, rules())
    equal(answers(on_gpu(model), asked, rules(), Graphs()), expected)
    assert len({tuple(each.tokens) for each in expected}) > 3


def test_a_conversation_goes_on_over_turns_as_its_buffer_grows(
    device: PretendedDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of different lengths; the buffer grows, so its graphs go, and narrow graphs give way to wider ones."""
    monkeypatch.setattr(blocks, "WIDTH", 64)
    expected = tiny.traces(tiny.play(tiny.policy(tiny.model()), range(5), 5))
    player = tiny.policy(tiny.model().to("cuda"), device="cuda")
    found = tiny.traces(tiny.play(player, range(5), 5))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.answer.tolist() == theirs.answer.tolist()
        np.testing.assert_allclose(ours.log_probs, theirs.log_probs, atol=1e-5)
    assert player.graphs.captured > 1 and player.graphs.replayed > player.graphs.steps / 2
    assert player.work.reused > player.work.prefilled
    assert player.sampling_metrics() == {"decode/graph_share": round(player.graphs.replayed / player.graphs.steps, 4)}
    assert player.sampling_metrics() == {}
    assert f"{player.graphs.replayed} of {player.graphs.steps} decode steps" in str(player.usage)
    assert player.record["cuda_graphs"] is True


def test_a_later_call_replays_the_graphs_of_an_earlier_one(device: PretendedDevice) -> None:
    model, graphs, cache = on_gpu(tiny.model()), Graphs(), PrefixCache(2**30)
    first = decode(model, requests(), rules(), cache, Work(), graphs)
    # Prompts stay in their rows, and answers until equal ones replace them: two sets of rows, once there is room.
    for _ in range(2):
        decode(model, requests(), rules(), cache, Work(), graphs)
    before = graphs.captured
    with device.counted() as again:
        equal(decode(model, requests(), rules(), cache, Work(), graphs), first)
    assert (again.captures, again.replays) == (0, TOKENS - 1)
    # Another temperature is another graph, and so are other rows.
    decode(model, requests(), rules(0.5), cache, Work(), graphs)
    decode(model, requests()[:2], rules(), cache, Work(), graphs)
    assert graphs.captured == before + 2


def test_no_more_graphs_are_kept_than_are_allowed(device: PretendedDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "KEPT", 2)
    model, graphs, cache = on_gpu(tiny.model()), Graphs(), PrefixCache(2**30)
    for temperature in (0.5, 0.6, 0.7, 0.8, 0.5):
        equal(
            decode(model, requests(), rules(temperature), cache, Work(), graphs),
            answers(tiny.model(), requests(), rules(temperature)),
        )
        assert len(cache.buffer.prepared._ready) <= 2
    assert graphs.captured == 5


def test_a_step_is_captured_after_it_was_run_and_stays_where_it_is(
    device: PretendedDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Any, ...]] = []
    run = blocks.Step.run

    def watched(step: Any, *rest: Any) -> Any:
        with device.counted() as counts:
            made = run(step, *rest)
        where = (id(step), step.tokens.data_ptr(), step.positions.data_ptr())
        seen.append((where, counts.captures, counts.replays, counts.launches, counts.waits))
        return made

    monkeypatch.setattr(blocks.Step, "run", watched)
    answers(on_gpu(tiny.model()), requests(), rules(), Graphs())
    assert len(seen) == TOKENS - 1
    assert len({where for where, *_ in seen}) == 1
    (_, *warm_up), (_, *captured), *further = seen
    assert warm_up[:2] == [0, 0] and warm_up[2] > 100 and warm_up[3] == 0
    # Its draws are copied in, and what it says is copied out: three launches.
    assert captured == [1, 1, 3, 0]
    assert [rest for _, *rest in further] == [[0, 1, 3, 0]] * (TOKENS - 3)


def test_where_a_capture_fails_it_goes_on_without_and_says_so(
    device: PretendedDevice, caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny.model()
    expected = answers(model, requests(), rules())
    there, graphs = on_gpu(model), Graphs()
    there.model.layers[0].register_forward_hook(lambda *_: there.model.norm.weight.sum().item() and None)
    with caplog.at_level(logging.WARNING, "agentbench"):
        for _ in range(2):
            equal(answers(there, requests(), rules(), graphs), expected)
    assert (device.counts.captures, graphs.captured, graphs.replayed) == (1, 0, 0)
    assert graphs.metrics() == {"decode/graph_share": 0.0}
    assert "operation not permitted when stream is capturing" in str(graphs)
    assert ["sampling goes on without" in each.message for each in caplog.records] == [True]


def constrained(device: PretendedDevice) -> Any:
    player = tiny.policy(tiny.model().to("cuda"), device="cuda", constrained=True)
    tiny.play(player, range(3), 1)
    return player


def turned_off(device: PretendedDevice) -> Any:
    player = tiny.policy(tiny.model().to("cuda"), device="cuda", cuda_graphs=False)
    tiny.play(player, range(3), 1)
    assert player.record["cuda_graphs"] is False
    return player


def in_a_thread(device: PretendedDevice) -> Any:
    player = tiny.policy(tiny.model().to("cuda"), device="cuda")
    failures: list[BaseException] = []

    def play() -> None:
        try:
            with device._modes():
                tiny.play(player, range(3), 1)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=play)
    thread.start()
    thread.join()
    assert not failures
    return player


@pytest.mark.parametrize("play", [constrained, turned_off, in_a_thread])
def test_nothing_is_captured(device: PretendedDevice, play: Callable[[PretendedDevice], Any]) -> None:
    player = play(device)
    assert device.counts.captures == 0 and player.graphs.failure == ""
    assert player.sampling_metrics() == {"decode/graph_share": 0.0}


def test_the_setting_belongs_to_the_machine_and_a_processor_tells_nothing() -> None:
    on, off = tiny.policy(), tiny.policy(cuda_graphs=False)
    assert on.digest == off.digest and "cuda_graphs" not in on.settings()
    tiny.play(on, range(2), 1)
    assert on.sampling_metrics() == {} and not on.usage and "cuda_graphs" not in on.record


def test_new_weights_are_sampled_from(device: PretendedDevice) -> None:
    here, there = tiny.policy(), tiny.policy(tiny.model().to("cuda"), device="cuda")
    for player in (here, there):
        tiny.play(player, range(3), 1)
        with torch.no_grad():
            for each in player.weights.model.parameters():
                each.mul_(1.05)
        player.forget_computed()
    found, expected = (tiny.traces(tiny.play(player, range(3), 2)) for player in (there, here))
    assert [each.answer.tolist() for each in found] == [each.answer.tolist() for each in expected]


def test_a_policy_with_graphs_can_be_copied(device: PretendedDevice) -> None:
    player = tiny.policy(tiny.model().to("cuda"), device="cuda")
    first = tiny.traces(tiny.play(player, range(3), 1))
    other = copy.deepcopy(player)
    again = tiny.traces(tiny.play(other, range(3), 1))
    assert [each.answer.tolist() for each in again] == [each.answer.tolist() for each in first]


def test_what_is_forgotten_is_given_back_at_once() -> None:
    cache = PrefixCache(2**30)
    gc.disable()
    try:
        decode(tiny.model(), requests(), rules(), cache, Work(), Here())
        held = weakref.ref(cache.buffer._layers[0].keys)
        assert held() is not None and cache.buffer.prepared is not None
        cache.clear()
        assert held() is None and cache.buffer.prepared is None
    finally:
        gc.enable()
