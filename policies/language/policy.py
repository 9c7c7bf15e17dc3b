"""A causal language model of transformers as a policy that can be trained.

It asks and reads answers as every language model in this process does (:mod:`policies.language.speaker`), samples with
our own loop (:mod:`policies.language.decode`), and learns (:mod:`policies.language.learner`).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from envs.base.digest import digest_of_stream
from envs.base.errors import UserError
from policies.contract import Likelihood, Prompt, Response, SampledLogProbs
from policies.language import loading
from policies.language.blocks import Graphs
from policies.language.cache import PrefixCache, Work, weights_version
from policies.language.constraint import Offered, Trie
from policies.language.conversation import Writer
from policies.language.critic import Critic
from policies.language.decode import Answer, Request, Rules, decode, stop_check
from policies.language.endings import CutAnswers, warn_of_endless_answers
from policies.language.engine import Engine
from policies.language.learner import Learner
from policies.language.room import free_of_gpu
from policies.language.sequences import Sampled
from policies.language.served import ServedPolicy
from policies.language.settings import OPTIONS, LanguageSettings, language_settings, renamed, to_json
from policies.language.speaker import Asked, Speaker
from policies.language.weights import Weights, add_adapters
from policies.prompts import make_settings
from policies.prompts.parsing import ParsedAnswer, cut_by, parse_answer
from policies.prompts.template import render
from policies.saved import POLICY_FILE
from policies.trainable import read_policy

VERSION = 1

CRITIC = "critic_values"
"""What a saved policy says of its critic: how many values it estimates."""

CACHE_MB = 1024
"""Memory of keys and values that are kept where nothing is said, and no GPU has more."""


class LanguagePolicy:
    """Answers with a language model, and can score its answers again.

    Args:
        settings: which model, and how it is used.
        model: the model, if it is loaded already.
        tokenizer: its tokenizer, if it is loaded already.

    Attributes:
        speaker: what writes its prompts and reads its answers.
        learner: its weights as what is trained.

    Raises:
        UserError: the model or its tokenizer cannot be loaded or used.
    """

    def __init__(self, settings: LanguageSettings, model: nn.Module | None = None, tokenizer: Any = None) -> None:
        self.options = settings
        self.temperature = settings.temperature
        self.tokenizer = loading.load_tokenizer(settings.model) if tokenizer is None else tokenizer
        writer = Writer(self.tokenizer, settings.thinking)
        prompts = make_settings(
            settings.environment,
            history=settings.history,
            thinking=settings.thinking,
            show_actions=settings.show_actions,
            template=settings.template,
        )
        model = loading.load_model(settings) if model is None else model
        limit = loading.prompt_limit(model, len(self.tokenizer), settings)
        self.speaker = Speaker(writer, prompts, Path(settings.model).name, limit, settings.keep_messages)
        if settings.lora:
            model = add_adapters(model, settings.lora, settings.lora_alpha, settings.seed)
        self.learner = Learner(Weights(model, adapters=bool(settings.lora)), settings)
        self.work = Work()
        self.graphs = Graphs(settings.cuda_graphs)
        kept = max(CACHE_MB * 2**20, free_of_gpu(model) // 4)
        self._cache = PrefixCache(kept if settings.cache_mb is None else settings.cache_mb * 2**20)
        self._seen: dict[str, Any] = {}
        self._cut = CutAnswers()
        if not settings.constrained:
            warn_of_endless_answers(settings.model, writer, self.rules())

    # -- what every policy has -------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """``hf:`` and the last part of the model's name."""
        return f"hf:{Path(self.options.model).name}"

    @property
    def digest(self) -> str:
        """Hash of the settings that decide answers, the vocabulary, the chat template and the weights."""
        unimportant = ("model", "device", "cache_mb", "padded_tokens", "layout", "gradient_checkpointing", "seed")
        chosen = {name: value for name, value in self.settings().items() if name not in (*unimportant, CRITIC)}
        chosen["max_new_tokens"] = chosen.pop("max_tokens")  # as it was called when the first runs were made
        words = sorted(self.tokenizer.get_vocab().items())
        parts = (VERSION, sorted(chosen.items()), self.speaker.prompts.as_dict(), words, self.tokenizer.chat_template)
        weights = (
            name.encode() + tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
            for name, tensor in sorted(self.weights.model.state_dict().items())
        )
        return digest_of_stream(chain([repr(parts).encode()], weights))

    @property
    def record(self) -> dict[str, Any]:
        """What a run records of it beside its options: the texts of its prompts, torch's threads, CUDA graphs."""
        texts = {"prompts": self.speaker.prompts.as_dict(), "chat_template": self.tokenizer.chat_template}
        on_gpu = {"cuda_graphs": self.options.cuda_graphs} if next(self.module.parameters()).is_cuda else {}
        return {**texts, "threads": torch.get_num_threads(), **on_gpu}

    @property
    def usage(self) -> Graphs:
        """How many decode steps of a GPU were replayed."""
        return self.graphs

    def sampling_metrics(self) -> dict[str, float]:
        """Return which share of a GPU's decode steps were replayed since it was last asked; nothing on a processor."""
        return self.graphs.metrics()

    def act(self, prompts: Sequence[Prompt]) -> list[Response]:
        """Answer each prompt; every draw is made with the prompt's own seed.

        Raises:
            ContextTooLong: task and observation alone are longer than the model's context.
        """
        asked = [self.speaker.ask(prompt) for prompt in prompts]
        choices = [self._choices(prompt) for prompt in prompts]
        requests = [
            Request(each.written.ids, each.written.ends, each.prompt.seed, _trie(offered))
            for each, offered in zip(asked, choices, strict=True)
        ]
        self._forget_old_weights()
        with self.learner.in_use():
            answers = decode(self.weights.model, requests, self.rules(), self._cache, self.work, self.graphs)
        self._cut.note(answers, self.options.max_tokens)
        return [self.read(*each) for each in zip(asked, answers, choices, strict=True)]

    def prompt_tokens(self, prompt: Prompt) -> int:
        """Return the tokens of a prompt.

        Raises:
            ContextTooLong: it does not fit into the model's context.
        """
        return len(self.speaker.ask(prompt).written.ids)

    def with_temperature(self, temperature: float) -> LanguagePolicy:
        """Return this policy, with the same weights, sampled and judged at another temperature."""
        other = copy.copy(self)
        other.temperature = temperature
        return other

    # -- what training needs ---------------------------------------------------------------------------

    @property
    def weights(self) -> Weights:
        """The model, and which part of it is trained and saved."""
        return self.learner.weights

    @property
    def module(self) -> nn.Module:
        """The weights."""
        return self.weights

    def trace(self, prompt: Prompt, action: str) -> Sampled | None:
        """Return the trace of an action that somebody else took, as an answer without thoughts."""
        offered = self._choices(prompt)
        answer = self._as_answer(action)
        if offered is not None and answer not in offered.actions:
            return None
        written = self.speaker.ask(prompt).written
        ids = np.array(answer, np.int32)
        return Sampled(written.ids, ids, np.zeros(len(ids), np.float32), written.ends, _trie(offered))

    def sampled(self, traces: Sequence[Sampled]) -> SampledLogProbs:
        """Return the log-probabilities that the answers were sampled with."""
        return self.learner.sampled(traces)

    def likelihood(self, traces: Sequence[Sampled]) -> Likelihood:
        """Judge answers with the present weights; values are there if there is a critic."""
        return self.learner.likelihood(traces, self.temperature)

    def pieces(self, traces: Sequence[Sampled], budget: int) -> list[npt.NDArray[np.int64]]:
        """Cut steps into pieces of at most ``budget`` tokens of prompts and answers; what is shared counts once."""
        return self.learner.pieces(traces, budget)

    def sequence_lengths(self, traces: Sequence[Sampled]) -> list[int]:
        """Return the tokens of every sequence that answers are judged as; what steps share counts once."""
        return self.learner.lengths(traces)

    def reads_answers_of(self, other: object) -> bool:
        """Return whether another policy is a language model with the same tokens."""
        return isinstance(other, LanguagePolicy) and other.tokenizer.get_vocab() == self.tokenizer.get_vocab()

    def retraced(self, prompt: Prompt, trace: Sampled) -> Sampled:
        """Return the trace of an answer that another model sampled, after this one's own prompt."""
        written = self.speaker.ask(prompt).written
        return replace(trace, prompt=written.ids, ends=written.ends)

    def reference(self) -> LanguagePolicy:
        """Return this policy as it is now, frozen: the same model with other adapters, or a copy without adapters."""
        frozen = copy.copy(self)
        frozen.learner = self.learner.frozen()
        frozen._cache, frozen._seen = PrefixCache(self._cache.limit), {}
        return frozen

    @property
    def critic(self) -> Critic | None:
        """What estimates values, where it was asked for."""
        return self.weights.critic

    @property
    def has_critic(self) -> bool:
        """Whether there are values."""
        return self.critic is not None

    def with_critic(self, values: int) -> LanguagePolicy:
        """Return this policy, with the same weights, and a critic that estimates so many values a step."""
        other = copy.copy(self)
        other.learner = self.learner.with_critic(values)
        return other

    def settings(self) -> dict[str, Any]:
        """Return everything but the weights."""
        critic = {} if self.critic is None else {CRITIC: self.critic.values}
        return {**to_json(self.options), "temperature": self.temperature, **critic}

    def save_companions(self, folder: Path) -> None:
        """Write what lies beside the weights: tokenizer, chat template and the model's configuration."""
        self.tokenizer.save_pretrained(folder)
        config: Any = self.weights.model.config
        config.save_pretrained(folder)

    def sampled_by(self, engine: Engine) -> ServedPolicy:
        """Return this policy with its answers sampled by another engine, which is given the weights by other means.

        Prompts, parsing and traces stay those of this policy.

        Raises:
            UserError: answers are constrained, which no other engine does token by token as this one.
        """
        if self.options.constrained:
            raise UserError("constrained = true is for the engine of transformers: set constrained = false")
        return ServedPolicy(self, engine)

    # -- parts -----------------------------------------------------------------------------------------

    def rules(self) -> Rules:
        """Return how answers are sampled."""
        ends = {self.tokenizer.eos_token_id}
        configured = getattr(self.weights.model.generation_config, "eos_token_id", None)
        ends |= set(configured if isinstance(configured, list) else [configured])
        return Rules(
            temperature=self.temperature,
            max_new_tokens=self.options.max_tokens,
            end_tokens=frozenset(each for each in ends if each is not None),
            is_stopped=stop_check(self.tokenizer, self.options.stop),
            stop=self.options.stop,
        )

    def read(self, asked: Asked, answer: Answer, offered: Offered | None = None) -> Response:
        """Make the response of a sampled answer; ``offered`` are those that could be given, None for any."""
        if offered is not None:
            parsed = ParsedAnswer(offered.actions[tuple(answer.tokens)])
        else:
            shown = self.tokenizer.decode(answer.tokens, skip_special_tokens=True)
            admissible = asked.prompt.info.get("admissible_actions")
            parsed = parse_answer(shown, admissible, cut=cut_by(answer.finish))
        return self.speaker.response(
            asked,
            parsed,
            text=self.tokenizer.decode(answer.tokens, skip_special_tokens=False),
            tokens=answer.tokens,
            log_probs=answer.log_probs,
            finish=answer.finish,
            trie=_trie(offered),
        )

    def _choices(self, prompt: Prompt) -> Offered | None:
        """Return the answers that may be given under a constraint, with their actions."""
        if not self.options.constrained:
            return None
        offered = prompt.info.get("admissible_actions")
        if not offered:
            raise UserError("constrained = true chooses among admissible actions, but this environment lists none")
        filled = [action.replace("<query>", prompt.info["instruction"]) for action in offered]
        return Offered({self._as_answer(action): action for action in filled})

    def _as_answer(self, action: str) -> tuple[int, ...]:
        return tuple(self.speaker.writer.encode(render(self.speaker.prompts.template.answer, action=action)))

    def forget_computed(self) -> None:
        """Empty the cache of keys and values: the weights have changed."""
        self._cache.clear()

    def _forget_old_weights(self) -> None:
        """Empty the cache when the weights have changed since it was filled."""
        version = weights_version(self.weights)
        if self._seen.get("version") != version:
            self._cache.clear()
            self._seen["version"] = version

    @property
    def adapters(self) -> int:
        """Rank of its adapters, 0 where it has none."""
        return self.options.lora

    def with_adapters(self, rank: int, source: Path) -> LanguagePolicy:
        """Return a policy that trains adapters of a rank on top of this one, which is saved in ``source``."""
        settings = replace(self.options, lora=rank, model=str(source), temperature=self.temperature)
        return LanguagePolicy(settings, self.weights.model, self.tokenizer)

    def with_options(self, options: dict[str, Any]) -> LanguagePolicy:
        """Return a policy with the same weights and other settings.

        Raises:
            UserError: an unknown option, or one that only a new policy can have (``lora``, ``precision``).
        """
        for name in ("lora", "lora_alpha", "precision"):
            if name in options and options[name] != getattr(self.options, name):
                raise UserError(f"{name} of a saved policy cannot be changed by an option")
        own = {name: value for name, value in self.settings().items() if name in OPTIONS}
        settings = language_settings(
            self.options.model, self.options.environment, {**own, **renamed(options), "lora": 0}
        )
        changed = LanguagePolicy(settings, self.weights.model, self.tokenizer)
        changed.options = replace(settings, lora=self.options.lora)
        changed.learner = Learner(self.weights, changed.options)
        return changed

    def export(self, folder: Path) -> None:
        """Write an ordinary folder of transformers, adapters merged in."""
        model: Any = copy.deepcopy(self.weights.model)
        if self.options.lora:
            model = model.merge_and_unload()
        model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def _trie(offered: Offered | None) -> Trie | None:
    return None if offered is None else offered.trie


def _base_model(settings: LanguageSettings) -> nn.Module:
    """Load the model that adapters were trained on: one of transformers, or a policy that was saved here."""
    folder = Path(settings.model)
    if not (folder / POLICY_FILE).is_file():
        return loading.load_model(settings)
    _, options, weights = read_policy(folder)
    return load_saved(folder, {**options, "device": settings.device}, weights).weights.model


def load_saved(folder: Path, options: dict[str, Any], weights: dict[str, Tensor]) -> LanguagePolicy:
    """Make a policy from what was saved of it: its own weights, or adapters for the model they were trained on.

    Raises:
        UserError: the model that adapters belong to is gone, or something does not fit.
    """
    options = dict(options)
    values = options.pop(CRITIC, 0)
    settings = LanguageSettings(**options)
    model = _base_model(settings) if settings.lora else loading.empty_model(str(folder), settings)
    policy = LanguagePolicy(settings, model, loading.load_tokenizer(str(folder)))
    policy = policy.with_critic(values) if values else policy
    policy.module.load_state_dict(weights)
    return policy
