"""Our decode loop: against plain forward passes, against transformers' own, whatever the batch and the cache."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="language models need torch: pip install -e '.[language]'")
pytest.importorskip("transformers", reason="language models need transformers: pip install -e '.[language]'")

import tiny_language as tiny  # noqa: E402

from policies.language.cache import Place, PrefixCache, Work  # noqa: E402
from policies.language.constraint import Trie  # noqa: E402
from policies.language.decode import Request, Rules, decode, stop_check  # noqa: E402
from policies.language.loading import prepare  # noqa: E402
from policies.language.sequences import Sampled  # noqa: E402
from policies.language.settings import LanguageSettings  # noqa: E402
from policies.language.threads import fastest  # noqa: E402


def rules(temperature: float = 1.0, tokens: int = 10, stops: tuple[str, ...] = ()) -> Rules:
    return Rules(temperature, tokens, frozenset([tiny.tokenizer().eos_token_id]), stop_check(tiny.tokenizer(), stops))


def plain_log_probs(model: Any, trace: Any, temperature: float = 1.0) -> Any:
    """One forward pass over prompt and answer, alone and without any cache."""
    with torch.no_grad():
        logits = model(torch.from_numpy(trace.ids.astype(np.int64))[None]).logits[0, len(trace.prompt) - 1 : -1]
    logits = logits / temperature
    if trace.trie is not None:
        for place in range(trace.tokens):
            keep = trace.trie.allowed(trace.answer[:place].tolist())
            row = torch.full_like(logits[place], -torch.inf)
            row[keep] = logits[place][keep]
            logits[place] = row
    answer = torch.from_numpy(trace.answer.astype(np.int64))
    return torch.log_softmax(logits, -1).gather(1, answer[:, None])[:, 0].numpy()


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("qwen3", {"temperature": 0.7}),
        ("llama", {}),
        ("qwen3", {"constrained": True}),
        pytest.param("qwen3", {}, marks=pytest.mark.slow),
        pytest.param("qwen3", {"history": 2}, marks=pytest.mark.slow),
        pytest.param("llama", {"constrained": True}, marks=pytest.mark.slow),
    ],
)
def test_sampled_log_probabilities_equal_a_plain_forward_pass(family: str, options: dict[str, Any]) -> None:
    model = tiny.model(family)
    player = tiny.policy(model, **options)
    for trace in tiny.traces(tiny.play(player, range(4), turns=3)):
        expected = plain_log_probs(model, trace, options.get("temperature", 1.0))
        np.testing.assert_allclose(trace.log_probs, expected, atol=1e-4)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", tiny.WINDOWS)
def test_layers_that_see_a_window_see_that_window(family: str, attention: str) -> None:
    model = tiny.model(family, attn_implementation=attention)
    found = tiny.traces(tiny.play(tiny.policy(model), range(3), turns=3))
    assert min(len(trace.prompt) for trace in found) > 48
    for trace in found:
        np.testing.assert_allclose(trace.log_probs, plain_log_probs(model, trace), atol=1e-4)


def test_greedy_decoding_equals_generate() -> None:
    model = tiny.model()
    player = tiny.policy(model, temperature=0.0, max_new_tokens=12, stop=())
    for trace in tiny.traces(tiny.play(player, range(3), turns=2)):
        prompt = torch.from_numpy(trace.prompt.astype(np.int64))[None]
        found = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=12, do_sample=False, pad_token_id=0
        )
        assert found[0, len(trace.prompt) :].tolist() == trace.answer.tolist()


@pytest.mark.parametrize("options", [{}, {"constrained": True}])
def test_an_answer_depends_on_neither_batch_nor_cache(options: dict[str, Any]) -> None:
    model = tiny.model()
    together = tiny.play(tiny.policy(model, **options), range(4), turns=3)
    without_cache = tiny.play(tiny.policy(model, cache_mb=0, **options), range(4), turns=3)
    alone = [tiny.play(tiny.policy(model, **options), [seed], turns=3)[0] for seed in range(4)]
    for other in (without_cache, alone):
        for ours, theirs in zip(tiny.traces(together), tiny.traces(other), strict=True):
            assert ours.answer.tolist() == theirs.answer.tolist()
            np.testing.assert_allclose(ours.log_probs, theirs.log_probs, atol=1e-5)
    answers = {tuple(trace.answer) for trace in tiny.traces(together)}
    assert len(answers) > 1


@pytest.mark.filterwarnings("error::FutureWarning")
def test_the_cache_saves_what_earlier_turns_computed() -> None:
    kept, fresh = tiny.policy(cache_mb=100), tiny.policy(cache_mb=0)
    longest = max(len(trace.ids) for trace in tiny.traces(tiny.play(kept, [1], turns=10)))
    tiny.play(fresh, [1], turns=10)
    assert kept.work.computed <= longest
    assert fresh.work.computed > 3 * kept.work.computed
    assert fresh.work.prefilled == kept.work.prefilled + kept.work.reused


def test_equal_prompts_are_computed_once_and_answered_each_for_itself() -> None:
    model = tiny.model()
    ids = np.arange(10, 60, dtype=np.int32)
    work = Work()
    requests = [Request(ids, seed=seed) for seed in range(8)]
    answers = decode(model, requests, rules(), PrefixCache(0), work)
    assert work.prefilled == 50 and work.reused == 7 * 50
    assert len({tuple(answer.tokens) for answer in answers}) > 4
    for seed, answer in enumerate(answers):
        alone = decode(model, [Request(ids, seed=seed)], rules(), PrefixCache(0), Work())[0]
        assert alone.tokens == answer.tokens


@pytest.mark.parametrize("limit", [2**30, 2**18, 0])
@pytest.mark.parametrize("seed", range(6))
def test_whatever_was_asked_before_no_other_keys_and_values_are_read(seed: int, limit: int) -> None:
    """First prompts come again, in batches of their own; conversations go on, and branch off at earlier turns."""
    model, cache = tiny.model(layers=1), PrefixCache(limit)
    draw = np.random.default_rng(seed)
    open_: list[tuple[Any, tuple[int, ...]]]
    open_ = [(draw.integers(5, 200, 30 + 10 * number).astype(np.int32), ()) for number in range(3)]
    for number in range(12):
        chosen = [open_[place] for place in draw.integers(0, len(open_), 3)] + [open_[number % 3]]
        requests = [Request(ids, ends, seed=100 * number + place) for place, (ids, ends) in enumerate(chosen)]
        for request, answer in zip(requests, decode(model, requests, rules(tokens=4), cache, Work()), strict=True):
            trace = Sampled(request.ids, np.array(answer.tokens, np.int32), np.array(answer.log_probs, np.float32))
            np.testing.assert_allclose(trace.log_probs, plain_log_probs(model, trace), atol=1e-4)
            if len(trace.ids) < 120:
                more = np.concatenate([trace.ids, draw.integers(5, 200, 8).astype(np.int32)])
                open_.append((more, (*request.ends, len(trace.ids))))


def test_draws_follow_the_distribution() -> None:
    model = tiny.model()
    ids = np.arange(10, 30, dtype=np.int32)
    draws = 2000
    answers = decode(
        model, [Request(ids, seed=seed) for seed in range(draws)], rules(2.0, tokens=1), PrefixCache(0), Work()
    )
    with torch.no_grad():
        expected = torch.softmax(model(torch.from_numpy(ids.astype(np.int64))[None]).logits[0, -1] / 2, -1).numpy()
    counts = np.bincount([answer.tokens[0] for answer in answers], minlength=len(expected))
    common = expected * draws > 5
    deviation = (counts - expected * draws)[common] / np.sqrt(expected * draws)[common]
    assert common.sum() > 20 and np.mean(deviation**2) < 1.6


def test_a_constraint_leaves_nothing_but_the_offered_answers_with_their_renormalised_probabilities() -> None:
    model = tiny.model()
    answers = [(5, 6, 7), (5, 6, 8), (5, 9), (4,)]
    ids = np.arange(10, 30, dtype=np.int32)
    found = decode(
        model, [Request(ids, seed=seed, trie=Trie(answers)) for seed in range(200)], rules(), PrefixCache(0), Work()
    )
    assert {tuple(answer.tokens) for answer in found} == set(answers)
    probabilities = {tuple(answer.tokens): np.exp(sum(answer.log_probs)) for answer in found}
    assert sum(probabilities.values()) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("stop", ["</action>", "é", "🙂"])
def test_a_stop_string_ends_an_answer_as_soon_as_it_is_complete(stop: str) -> None:
    tokenizer = tiny.tokenizer()
    ids = tokenizer.encode(f"look {stop}!", add_special_tokens=False)
    stopped = stop_check(tokenizer, (stop,))
    first = next(count for count in range(1, len(ids) + 1) if stopped(ids[:count]))
    assert stop in tokenizer.decode(ids[:first]) and stop not in tokenizer.decode(ids[: first - 1])


def test_the_cache_is_bounded_and_forgets_the_oldest() -> None:
    model = tiny.model()
    row = 2 * 2 * 2 * 20 * 16 * 4  # keys and values of two layers, two heads, 20 tokens
    cache = PrefixCache(limit=3 * row)
    ids = [np.arange(start, start + 10, dtype=np.int32) for start in range(10, 15)]
    for each in ids:
        decode(model, [Request(each, ends=(5,))], rules(tokens=10), cache, Work())
        assert cache.used <= cache.limit
    assert len(cache) == 3
    work = Work()
    decode(model, [Request(ids[0])], rules(tokens=1), cache, work)
    assert work.prefilled == 10 and cache.used <= cache.limit


def test_what_is_forgotten_is_never_what_a_prompt_continues_from() -> None:
    """With room for fewer conversations than play, each turn is answered as without any cache."""
    model = tiny.model()
    expected = tiny.play(tiny.policy(model, cache_mb=0), range(6), turns=3)
    for limit in (1, 40_000, 150_000, 400_000, 10**9):
        player = tiny.policy(model)
        player._cache = PrefixCache(limit)
        found = tiny.play(player, range(6), turns=3)
        assert player._cache.used <= limit
        for ours, theirs in zip(tiny.traces(found), tiny.traces(expected), strict=True):
            assert ours.answer.tolist() == theirs.answer.tolist()
            np.testing.assert_allclose(ours.log_probs, theirs.log_probs, atol=1e-5)


def test_a_conversation_goes_on_in_its_own_row() -> None:
    model, cache = tiny.model(), PrefixCache(2**30)
    ids = np.arange(10, 30, dtype=np.int32)
    prompts = [np.append(ids, np.int32(40 + number)) for number in range(3)]
    (first,) = decode(model, [Request(prompts[0], ends=(3,))], rules(), cache, Work())
    found = cache.take(np.append(prompts[0], first.tokens).astype(np.int32), ())
    assert found == (Place(0, 20 + 1 + len(first.tokens) - 1), "whole")
    follow = np.concatenate([prompts[0], first.tokens, [50, 51]]).astype(np.int32)
    work = Work()
    decode(model, [Request(follow, ends=(21 + len(first.tokens),))], rules(tokens=1), cache, work)
    assert work.prefilled == 3 and cache.buffer.rows == 1


def test_a_branch_computes_what_is_new_in_it_alone() -> None:
    """Four answers in one conversation, then branches off after each: only their own tokens go through the model."""
    model, cache = tiny.model(), PrefixCache(2**30)
    ids, ends, prompts = np.arange(10, 60, dtype=np.int32), (), []
    for number in range(4):
        (answer,) = decode(model, [Request(ids, ends, seed=number)], rules(tokens=5), cache, Work())
        ids = np.append(ids, answer.tokens).astype(np.int32)
        ends = (*ends, len(ids))
        prompts.append((np.append(ids, [60, 61, 62]).astype(np.int32), ends))
        ids = np.append(ids, [70, 71]).astype(np.int32)
    requests = [Request(each, up_to, seed=9) for each, up_to in prompts]
    work, plain = Work(), Work()
    found = decode(model, requests, rules(tokens=6), cache, work)
    expected = decode(model, requests, rules(tokens=6), PrefixCache(0), plain)
    assert [each.tokens for each in found] == [each.tokens for each in expected]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.log_probs, theirs.log_probs, atol=1e-5)
    assert work.prefilled == 4 * (3 + 1) < plain.prefilled / 14  # an answer's last token was not fed before
    # The conversation itself goes on where it was, and so does each branch.
    for prompt, answer in [
        (ids, []),
        *((each, answer.tokens) for (each, _), answer in zip(prompts, found, strict=True)),
    ]:
        more, work = np.concatenate([prompt, answer, [80]]).astype(np.int32), Work()
        end = len(prompt) + len(answer) if answer else ends[-1]
        decode(model, [Request(more, (end,), seed=3)], rules(tokens=1), cache, work)
        assert work.prefilled <= 4


def test_changed_weights_empty_the_cache() -> None:
    model = tiny.model()
    player = tiny.policy(model)
    first = tiny.play(player, range(3), turns=2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05)
    after = tiny.play(player, range(3), turns=2)
    fresh = tiny.play(tiny.policy(model), range(3), turns=2)
    for ours, theirs in zip(tiny.traces(after), tiny.traces(fresh), strict=True):
        np.testing.assert_array_equal(ours.answer, theirs.answer)
        np.testing.assert_allclose(ours.log_probs, theirs.log_probs, atol=1e-5)
    assert any(
        a.answer.tolist() != b.answer.tolist() for a, b in zip(tiny.traces(first), tiny.traces(after), strict=True)
    )


def test_weights_that_an_optimiser_changed_unseen_leave_nothing_behind() -> None:
    player = tiny.policy()
    optimizer = torch.optim.AdamW(player.module.parameters(), lr=0.05, fused=True)  # raises no version of a weight
    tiny.play(player, range(3), turns=2)
    for weight in player.module.parameters():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    player.forget_computed()
    found = tiny.traces(tiny.play(player, range(3), turns=2))
    with torch.no_grad():
        gap = (player.likelihood(found).log_probs - player.sampled(found).log_probs).abs().max()
    assert float(gap) < 1e-5


MEASURED = {
    "more threads only wait": ({1: 1.0, 2: 5.0, 4: 0.1, 6: 0.1}, 1),
    "two bring a little": ({1: 1.0, 2: 0.9, 4: 0.1, 6: 0.1}, 1),
    "two are best": ({1: 1.0, 2: 0.6, 4: 0.7, 6: 0.1}, 2),
    "all are best": ({1: 1.0, 2: 0.6, 4: 0.3, 6: 0.2}, 6),
}


@pytest.mark.parametrize(("seconds", "expected"), MEASURED.values(), ids=MEASURED.keys())
@pytest.mark.parametrize("by_user", [None, "environment", "option"])
def test_a_model_takes_the_threads_that_are_fastest_unless_the_user_says_a_number(
    monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float], expected: int, by_user: str | None
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if by_user == "environment":
        monkeypatch.setenv("OMP_NUM_THREADS", "6")
    monkeypatch.setattr("policies.language.threads._seconds", lambda model, ids, threads: seconds[threads])
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(6)
        prepare(tiny.model(), LanguageSettings(model="tiny", threads=3 if by_user == "option" else None))
        assert torch.get_num_threads() == {None: expected, "environment": 6, "option": 3}[by_user]
    finally:
        torch.set_num_threads(before)


def test_the_measurement_takes_a_number_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policies.language.threads.PATIENCE", 0.01)
    before, model = torch.get_num_threads(), tiny.model().train()
    drawn = torch.get_rng_state()
    try:
        assert fastest(model, 2) in (1, 2) and fastest(model, 1) == 1
        assert model.training and torch.equal(torch.get_rng_state(), drawn)
    finally:
        torch.set_num_threads(before)


def test_answers_do_not_depend_on_the_number_of_threads() -> None:
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            player = tiny.policy(prepare(tiny.model(), LanguageSettings(model="tiny", threads=threads)))
            found.append([trace.answer.tolist() for trace in tiny.traces(tiny.play(player, range(4), turns=2))])
            assert player.record["threads"] == threads
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1] == found[2]
