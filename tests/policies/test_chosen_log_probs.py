"""The log-probabilities of sampled tokens: the same numbers and gradients as written out, in less memory."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="language models need torch: pip install -e '.[language]'")

from policies.language import forward  # noqa: E402

ROWS, VOCABULARY = 7, 50


def written_out(logits: Any, chosen: Any, temperature: float) -> tuple[Any, Any]:
    found = torch.log_softmax(logits.float() / (temperature or 1), -1)
    return found.gather(1, chosen[:, None])[:, 0], -(found.exp() * found).sum(-1)


@pytest.mark.parametrize("temperature", [0, 1, 0.6])
@pytest.mark.parametrize("at_once", [4_000_000, 2 * VOCABULARY, 1], ids=["all", "two rows", "one row"])
@pytest.mark.parametrize(("of_chosen", "of_entropy"), [(1.0, 0.0), (0.0, 1.0), (0.7, 0.3)])
def test_values_and_gradients_are_those_written_out(
    monkeypatch: pytest.MonkeyPatch, temperature: float, at_once: int, of_chosen: float, of_entropy: float
) -> None:
    monkeypatch.setattr(forward, "_ENTRIES", at_once)
    torch.manual_seed(0)
    own = (3 * torch.randn(ROWS, VOCABULARY)).requires_grad_()
    plain = own.detach().clone().requires_grad_()
    allowed = [None, [1, 2], *[None] * (ROWS - 3), [5]]
    chosen = torch.tensor([3, 2, 0, 49, 7, 7, 5])
    weights = torch.rand(ROWS)
    found, entropy = forward.chosen_log_probs(forward.forbid(own, allowed), chosen, temperature)
    expected, entropies = written_out(forward.forbid(plain, allowed), chosen, temperature)
    assert torch.equal(found, expected) and torch.allclose(entropy, entropies)
    for values, entropy_values in ((found, entropy), (expected, entropies)):
        loss: Any = 0.0
        if of_chosen:
            loss = loss + of_chosen * (weights * values).sum()
        if of_entropy:
            loss = loss + of_entropy * (weights * entropy_values).sum()
        loss.backward()
    assert torch.allclose(own.grad, plain.grad, atol=1e-7)
    assert torch.isfinite(own.grad).all() and own.grad.abs().max() > 0.01


def test_nothing_but_the_logits_is_kept_for_the_gradient() -> None:
    logits, chosen = torch.randn(ROWS, VOCABULARY, requires_grad=True), torch.zeros(ROWS, dtype=torch.long)
    kept: list[Any] = []

    def keep(each: Any) -> Any:
        kept.append(each)
        return each

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda each: each):
        forward.chosen_log_probs(logits, chosen, 1.0)
    assert {each.data_ptr() for each in kept} == {logits.data_ptr(), chosen.data_ptr()}
