"""Training language models: two layouts and one gradient, adapters, saving, and what cannot work."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="language models need torch: pip install -e '.[language]'")
pytest.importorskip("transformers", reason="language models need transformers: pip install -e '.[language]'")
pytest.importorskip("peft", reason="adapters need peft: pip install -e '.[language]'")

import tiny_language as tiny  # noqa: E402

from agentbench.train.config import TrainConfig  # noqa: E402
from agentbench.train.loss import policy_loss, token_weights  # noqa: E402
from agentbench.train.model_init import choose_shape, init_model, parse_size  # noqa: E402
from agentbench.train.run import make_learner  # noqa: E402
from agentbench.train.settings import LossSettings  # noqa: E402
from envs.base.digest import sealed  # noqa: E402
from envs.base.errors import UserError  # noqa: E402
from policies.language.loading import checkpoint_activations  # noqa: E402
from policies.language.sequences import lay_out  # noqa: E402
from policies.language.settings import in_training  # noqa: E402
from policies.registry import load_policy, make_policy  # noqa: E402
from policies.trainable import save_policy  # noqa: E402


def gradient(player: Any, traces: list[Any]) -> tuple[float, Any]:
    """Loss and gradient of a policy-gradient update with made-up advantages."""
    player.module.zero_grad(set_to_none=True)
    new, old = player.likelihood(traces), player.sampled(traces)
    generator = torch.Generator().manual_seed(1)
    steps = len(traces)
    parts = policy_loss(
        new=new.log_probs,
        old=old.log_probs,
        advantages=torch.randn(steps, generator=generator),
        mask=new.mask,
        weights=token_weights(new.mask.sum(1), torch.arange(steps), "step"),
        episode=torch.arange(steps),
        settings=LossSettings(entropy_coefficient=0.1),
        entropy=new.entropy,
    )
    parts.loss.backward()
    found = [each.grad.flatten() for each in player.module.parameters() if each.grad is not None]
    return float(parts.loss.detach()), torch.cat(found)


SLOW_LORA = pytest.param({"lora": 4}, marks=pytest.mark.slow)


@pytest.mark.parametrize("options", [{}, {"constrained": True}, SLOW_LORA])
def test_both_layouts_give_the_same_loss_and_gradient(options: dict[str, Any]) -> None:
    player = tiny.policy(**options)
    traces = tiny.traces(tiny.play(player, range(3), turns=4))
    order = np.random.default_rng(0).permutation(len(traces))
    traces = [traces[place] for place in order]
    whole = gradient(player, traces)
    object.__setattr__(player.options, "layout", "step")
    stepwise = gradient(player, traces)
    assert len(lay_out(traces, True)) == 3 and len(lay_out(traces, False)) == 12
    assert whole[0] == pytest.approx(stepwise[0], abs=1e-6)
    assert float((whole[1] - stepwise[1]).abs().max()) < 1e-5 * float(stepwise[1].abs().max()) + 1e-7


def test_gradient_checkpointing_and_small_passes_change_no_gradient() -> None:
    model = tiny.model()
    player = tiny.policy(model)
    traces = tiny.traces(tiny.play(player, range(3), turns=2))
    expected = gradient(player, traces)
    checkpointed = tiny.policy(model, padded_tokens=300)
    checkpoint_activations(model)
    object.__setattr__(checkpointed.options, "gradient_checkpointing", True)
    found = gradient(checkpointed, traces)
    assert found[0] == pytest.approx(expected[0], abs=1e-6)
    assert torch.allclose(found[1], expected[1], atol=1e-5)


@pytest.mark.parametrize("options", [{"temperature": 0.6}, {"constrained": True}, {"history": 1}, SLOW_LORA])
def test_the_first_updates_ratio_is_one(options: dict[str, Any]) -> None:
    player = tiny.policy(**options)
    traces = tiny.traces(tiny.play(player, range(3), turns=3))
    with torch.no_grad():
        new, old = player.likelihood(traces), player.sampled(traces)
    assert torch.equal(new.mask, old.mask)
    assert int(new.mask.sum()) == sum(trace.tokens for trace in traces)
    ratio = (new.log_probs - old.log_probs)[new.mask].exp()
    assert float((ratio - 1).abs().max()) < 1e-5


@pytest.mark.parametrize("options", [{}, SLOW_LORA])
def test_after_each_update_the_sampler_has_the_trainers_weights(options: dict[str, Any]) -> None:
    player = tiny.policy(**options)
    optimizer = torch.optim.AdamW(player.module.parameters(), lr=0.01)
    before = None
    for _ in range(3):
        probe = tiny.traces(tiny.play(player, range(2), turns=2))
        with torch.no_grad():
            gap = (player.likelihood(probe).log_probs - player.sampled(probe).log_probs).abs().max()
        assert float(gap) < 1e-5
        assert before is None or any(
            a.log_probs.tolist() != b.log_probs.tolist() for a, b in zip(before, probe, strict=False)
        )
        before = probe
        gradient(player, probe)
        optimizer.step()


def test_adapters_change_nothing_at_first_and_are_all_that_is_trained() -> None:
    model = tiny.model()
    plain = tiny.traces(tiny.play(tiny.policy(model), range(3), turns=2))
    frozen = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    player = tiny.policy(model, lora=4)
    adapted = tiny.traces(tiny.play(player, range(3), turns=2))
    assert [trace.answer.tolist() for trace in plain] == [trace.answer.tolist() for trace in adapted]
    gradient(player, adapted)
    optimizer = torch.optim.AdamW([each for each in player.module.parameters() if each.requires_grad], lr=0.1)
    optimizer.step()
    assert all("lora_" in name for name in player.module.state_dict())
    held = player.module.model.state_dict()
    for name, tensor in frozen.items():
        inner = f"base_model.model.{name}"
        assert torch.equal(held[inner if inner in held else inner.replace(".weight", ".base_layer.weight")], tensor)


@pytest.mark.parametrize("options", [{}, {"lora": 4}])
def test_the_reference_stays_what_it_was_without_a_second_model(options: dict[str, Any]) -> None:
    player = tiny.policy(**options)
    traces = tiny.traces(tiny.play(player, range(3), turns=2))
    optimizer = torch.optim.AdamW(player.module.parameters(), lr=0.05)
    gradient(player, traces)
    optimizer.step()  # so that the adapters are no longer nothing
    with torch.no_grad():
        then = player.likelihood(traces).log_probs
    reference = player.reference()
    assert (reference.module is player.module) == bool(options)
    for _ in range(2):
        gradient(player, traces)
        optimizer.step()
        with torch.no_grad():
            assert torch.allclose(reference.likelihood(traces).log_probs, then, atol=1e-6)
            assert not torch.allclose(player.likelihood(traces).log_probs, then, atol=1e-3)


def saved_model(folder: Path, **more: Any) -> Path:
    tiny.model(**more).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("options", "tied"), [({}, True), ({"lora": 4}, False)])
def test_a_saved_policy_answers_as_before(tmp_path: Path, options: dict[str, Any], tied: bool) -> None:
    base = saved_model(tmp_path / "base", tie_word_embeddings=tied)
    player: Any = make_policy(f"hf:{base}", environment="alfworld", options={"max_new_tokens": 9, **options})
    traces = tiny.traces(tiny.play(player, range(3), turns=2))
    optimizer = torch.optim.AdamW(player.module.parameters(), lr=0.05)
    gradient(player, traces)
    optimizer.step()
    save_policy(player, tmp_path / "saved")
    loaded: Any = load_policy(tmp_path / "saved")
    ours, theirs = (tiny.traces(tiny.play(each, range(3), turns=2)) for each in (player, loaded))
    assert [trace.answer.tolist() for trace in ours] == [trace.answer.tolist() for trace in theirs]
    assert loaded.digest == player.digest
    player.export(tmp_path / "exported")
    exported: Any = make_policy(f"hf:{tmp_path / 'exported'}", environment="alfworld", options={"max_new_tokens": 9})
    again = tiny.traces(tiny.play(exported, range(3), turns=2))
    for one, other in zip(ours, again, strict=True):
        assert one.answer.tolist() == other.answer.tolist()
        np.testing.assert_allclose(one.log_probs, other.log_probs, atol=1e-4)


def damage(folder: Path, how: str) -> None:
    if how == "no weights":
        (folder / "model.safetensors").unlink()
    elif how == "torn weights":
        (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])
    elif how == "fewer weights":
        from safetensors.torch import load_file, save_file

        weights = load_file(folder / "model.safetensors")
        weights.pop("model.norm.weight")
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
    elif how == "no template":
        (folder / "chat_template.jinja").unlink()
    elif how == "no tokenizer":
        (folder / "tokenizer.json").unlink()
        (folder / "tokenizer_config.json").unlink()
    elif how == "no configuration":
        (folder / "config.json").unlink()
    elif how == "adapters alone":
        (folder / "config.json").rename(folder / "adapter_config.json")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no weights", "holds no weights"),
        ("torn weights", "cannot load the model"),
        ("fewer weights", "lacks 1 of the model's weights, the first is model.norm.weight"),
        ("no template", "has no chat template"),
        ("no tokenizer", "cannot load a tokenizer"),
        ("no configuration", "holds no model of transformers"),
        ("adapters alone", "holds adapters alone, without their model"),
        ("no folder", "there is no folder"),
    ],
)
def test_a_model_that_cannot_be_used_is_named_in_one_line(tmp_path: Path, how: str, message: str) -> None:
    folder = tmp_path / "model"
    if how != "no folder":
        damage(saved_model(folder), how)
    with pytest.raises(UserError, match=message) as raised:
        make_policy(f"hf:{folder}", environment="alfworld")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tokens": 0}, "max_tokens of .* from 1 to"),
        ({"max_tokens": 9000}, "leaves no room"),
        ({"max_new_tokens": 9000}, "max_tokens = 9000 leaves no room"),
        ({"max_tokens": 9, "max_new_tokens": 8}, "old name of max_tokens: give one"),
        ({"max_token": 9}, "did you mean max_tokens"),
        ({"stop": ["</action>", ""]}, "an empty text would end every answer"),
        ({"device": "banana"}, "there is no device 'banana' on this machine: there is cpu"),
        ({"device": "cuda:99"}, "there is no device 'cuda:99' on this machine: there is cpu"),
        ({"device": "meta"}, "there is no device 'meta' on this machine: there is cpu"),
        ({"layout": "steps"}, "layout of .*did you mean step"),
        ({"constrained": True, "thinking": True}, "no room for thoughts"),
    ],
)
def test_a_bad_option_is_named(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    folder = saved_model(tmp_path / "model")
    with pytest.raises(UserError, match=message) as refused:
        make_policy(f"hf:{folder}", environment="alfworld", options=options)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("spec", "message"), [("hf:nothing", "there is no folder nothing"), ("hf:", "needs a model")])
def test_a_wrong_name_is_told_at_once(spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_policy(spec, environment="alfworld")


def test_a_file_where_a_folder_should_be_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "big.gguf").write_bytes(b"GGUF")
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"")
    for named, message in (
        (folder, r"name the file, hf:.*big.gguf"),
        (tmp_path / "none" / "missing.GGUF", r"there is no file .*missing.GGUF"),
        (weights, "is a file: give the folder"),
    ):
        with pytest.raises(UserError, match=message) as refused:
            make_policy(f"hf:{named}", environment="alfworld")
        assert "\n" not in str(refused.value)


def test_a_policy_that_was_saved_with_the_old_names_is_the_same_one(tmp_path: Path) -> None:
    base = saved_model(tmp_path / "base")
    player: Any = make_policy(f"hf:{base}", environment="alfworld", options=in_training({"max_tokens": 9}))
    save_policy(player, tmp_path / "saved")
    path = tmp_path / "saved" / "policy.json"
    record = json.loads(path.read_text())
    del record["seal"]
    assert not {"threads", "keep_messages", "max_new_tokens"} & set(record["settings"])
    record["settings"]["max_new_tokens"] = record["settings"].pop("max_tokens")
    path.write_text(json.dumps(sealed(record)))
    loaded: Any = load_policy(tmp_path / "saved")
    assert loaded.options.max_tokens == 9 and loaded.digest == player.digest
    assert loaded.with_options({"max_new_tokens": 7}).options.max_tokens == 7


def test_a_saved_model_is_evaluated_with_other_options(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from agentbench import open_run
    from agentbench.cli import app

    options = in_training({"lora": 4, "max_tokens": 9})
    player: Any = make_policy(f"hf:{saved_model(tmp_path / 'base')}", environment="alfworld", options=options)
    save_policy(player, tmp_path / "trained" / "policy")
    spec, run = str(tmp_path / "trained"), ["eval", "--env", "alfworld", "--split", "generated:0:1:small", "--inline"]

    def play(*flags: str, out: str = "out") -> Any:
        command = [*run, "--policy", spec, "--max-steps", "2", "--out", str(tmp_path / out), *flags]
        return CliRunner().invoke(app, command)

    assert play("--keep-messages", "--temperature", "0", "--max-tokens", "3").exit_code == 0
    (episode,) = open_run(tmp_path / "out").read_episodes()
    assert all(step.details["messages"] and step.details["answer_tokens"] <= 3 for step in episode.steps)
    changed: Any = make_policy(spec, environment="alfworld", options={"temperature": 0, "keep_messages": True})
    assert (changed.options.temperature, changed.options.max_tokens, changed.options.lora) == (0, 9, 4)
    plain: Any = make_policy(spec, environment="alfworld")
    assert plain.digest == make_policy(spec, environment="alfworld", options={"keep_messages": True}).digest
    assert plain.digest == player.digest != changed.digest
    for flags, said in (
        (("--lora", "8"), "lora of a saved policy cannot be changed"),
        (("--tempreature", "0"), "did you mean --temperature"),
        (("--temperature", "warm"), "temperature of policy"),
        (("--device", "cuda:99"), "cuda:99"),
    ):
        refused = play(*flags, out="refused").exception
        assert isinstance(refused, UserError) and said in str(refused), refused


def test_a_saved_scorer_takes_no_options_and_an_unreadable_policy_is_told(tmp_path: Path) -> None:
    save_policy(make_learner(TrainConfig(policy="scorer")), tmp_path)
    with pytest.raises(UserError, match="takes no options, got 'temperature'"):
        make_policy(str(tmp_path), environment="alfworld", options={"temperature": 0})
    with pytest.raises(UserError, match="takes no options, got 'temperature'"):
        make_learner(TrainConfig(policy=str(tmp_path), policy_options={"temperature": 0}))
    (tmp_path / "policy.json").write_text("[")
    with pytest.raises(UserError, match="holds no readable policy"):
        make_policy(str(tmp_path), environment="alfworld", options={"temperature": 0})


def test_a_new_model_in_training_draws_and_a_model_that_is_evaluated_takes_the_likeliest(tmp_path: Path) -> None:
    base = saved_model(tmp_path / "base")
    learner: Any = make_learner(TrainConfig(policy=f"hf:{base}", policy_options={"max_new_tokens": 9}))
    chosen = learner.options
    assert (chosen.temperature, chosen.thinking, chosen.stop, chosen.max_tokens) == (1.0, False, ("</action>",), 9)
    player: Any = make_policy(f"hf:{base}", environment="alfworld", options={"constrained": True})
    assert player.options.temperature == 0 and player.options.thinking is False


def test_adapters_of_a_model_that_is_gone_are_refused(tmp_path: Path) -> None:
    base = saved_model(tmp_path / "base")
    save_policy(make_policy(f"hf:{base}", environment="alfworld", options={"lora": 4}), tmp_path / "saved")  # type: ignore[arg-type]
    shutil.rmtree(base)
    with pytest.raises(UserError, match="there is no folder"):
        load_policy(tmp_path / "saved")


def test_a_saved_policy_behind_hf_is_told_how_it_is_named(tmp_path: Path) -> None:
    base = saved_model(tmp_path / "model")
    cloned, trained = tmp_path / "cloned", tmp_path / "trained"
    player: Any = make_policy(f"hf:{base}", environment="alfworld")
    for folder in (cloned, trained / "policy"):
        save_policy(player, folder)
    for place in (cloned, trained, trained / "policy"):
        with pytest.raises(UserError, match=f"name it without hf:, as --policy {place}$"):
            make_policy(f"hf:{place}", environment="alfworld")
        assert load_policy(place)


def test_sizes_of_new_models(tmp_path: Path) -> None:
    assert parse_size("5m") == 5e6 and parse_size("1.5b") == 1.5e9
    with pytest.raises(UserError, match="a model's size"):
        parse_size("big")
    for wanted in (5e5, 5e6, 1e8):
        assert 0.8 < choose_shape(wanted, 2048).parameters(2048) / wanted < 1.25
    with pytest.raises(UserError, match="did you mean qwen3"):
        init_model(tmp_path, tokenizer_from=tmp_path, family="qwen")
