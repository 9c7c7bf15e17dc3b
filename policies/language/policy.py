"""A causal language model of transformers as a policy that can be trained."""

from __future__ import annotations

import copy
import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from envs.base.errors import UserError
from policies.contract import Prompt, Response, Turn
from policies.language import loading, sequences
from policies.language.cache import PrefixCache, Work, weights_version
from policies.language.constraint import Trie
from policies.language.conversation import Writer, Written
from policies.language.decode import Answer, Request, Rules, decode, stop_check
from policies.language.engine import Engine
from policies.language.likelihood import judge
from policies.language.sequences import Sampled
from policies.language.settings import OPTIONS, LanguageSettings, language_settings, renamed, to_json
from policies.language.weights import ADAPTER, REFERENCE, Weights, add_adapters, add_reference, use_adapter
from policies.prompts import Fitted, fit_messages, make_settings
from policies.prompts.answers import answer_details
from policies.prompts.parsing import cut_by, parse_answer
from policies.trainable import Likelihood, read_policy

VERSION = 1


class LanguagePolicy:
    """Answers with a language model, and can judge its answers again.

    Args:
        settings: which model, and how it is used.
        model: the model, if it is loaded already.
        tokenizer: its tokenizer, if it is loaded already.

    Raises:
        UserError: the model or its tokenizer cannot be loaded or used.
    """

    has_critic = False
    whole_episodes = True
    """Minibatches should keep the steps of an episode together: they share their beginnings."""

    def __init__(self, settings: LanguageSettings, model: nn.Module | None = None, tokenizer: Any = None) -> None:
        self.options = settings
        self.temperature = settings.temperature
        self.tokenizer = loading.load_tokenizer(settings.model) if tokenizer is None else tokenizer
        self.writer = Writer(self.tokenizer, settings.thinking)
        self.prompts = make_settings(
            settings.environment,
            history=settings.history,
            thinking=settings.thinking,
            show_actions=settings.show_actions,
            template=settings.template,
        )
        model = loading.load_model(settings) if model is None else model
        rows = model.get_input_embeddings().weight.shape[0]  # type: ignore[operator]
        if len(self.tokenizer) > rows:
            raise UserError(
                f"the tokenizer of {settings.model} has {len(self.tokenizer)} tokens, its model only {rows}: "
                "they do not belong together"
            )
        limit = loading.context_length(model, settings)
        self.prompt_limit = None if limit is None else limit - settings.max_tokens
        if self.prompt_limit is not None and self.prompt_limit < 1:
            raise UserError(
                f"max_tokens = {settings.max_tokens} leaves no room in a context of {limit} tokens: set it lower"
            )
        if settings.lora:
            model = add_adapters(model, settings.lora, settings.lora_alpha, settings.seed)
        self.weights = Weights(model, adapters=bool(settings.lora))
        self.work = Work()
        self._adapter = ADAPTER
        self._cache = PrefixCache(settings.cache_mb * 2**20)
        self._seen: dict[str, Any] = {}
        self._engine: Engine | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._tokenizing: AbstractContextManager[Any] = nullcontext()

    # -- what every policy has -------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """``hf:`` and the last part of the model's name."""
        return f"hf:{Path(self.options.model).name}"

    @property
    def digest(self) -> str:
        """Hash of the settings that decide answers, the vocabulary, the chat template and the weights."""
        unimportant = ("model", "device", "cache_mb", "padded_tokens", "layout", "gradient_checkpointing", "seed")
        chosen = {name: value for name, value in self.settings().items() if name not in unimportant}
        chosen["max_new_tokens"] = chosen.pop("max_tokens")  # as it was called when the first runs were made
        words = sorted(self.tokenizer.get_vocab().items())
        parts = (VERSION, sorted(chosen.items()), self.prompts.as_dict(), words, self.tokenizer.chat_template)
        hashed = hashlib.sha256(repr(parts).encode())
        for name, tensor in sorted(self.weights.model.state_dict().items()):
            hashed.update(name.encode())
            hashed.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return hashed.hexdigest()[:16]

    @property
    def record(self) -> dict[str, Any]:
        """What a run records of it beside its options: the texts of its prompts, and torch's threads."""
        texts = {"prompts": self.prompts.as_dict(), "chat_template": self.tokenizer.chat_template}
        return {**texts, "threads": torch.get_num_threads()}

    def act(self, prompts: Sequence[Prompt]) -> list[Response]:
        """Answer each prompt; every draw is made with the prompt's own seed.

        Raises:
            ContextTooLong: task and observation alone are longer than the model's context.
        """
        with self._tokenizing:
            written = [self._write(prompt) for prompt in prompts]
            choices = [self._choices(prompt) for prompt in prompts]
        requests = [
            Request(prompt_ids.ids, prompt_ids.ends, prompt.seed, None if offered is None else Trie(tuple(offered)))
            for prompt, (prompt_ids, _), offered in zip(prompts, written, choices, strict=True)
        ]
        answers = self._decode(requests) if self._engine is None else self._engine.answer(requests, self._rules())
        with self._tokenizing:
            return [
                self._response(prompt, request, answer, fitted, offered)
                for prompt, request, answer, (_, fitted), offered in zip(
                    prompts, requests, answers, written, choices, strict=True
                )
            ]

    @property
    def submit(self) -> Callable[[Prompt], Future[Response]] | None:
        """Where another engine samples, what asks it for one prompt without waiting; else None."""
        threads = self._threads
        return None if threads is None else lambda prompt: threads.submit(lambda: self.act([prompt])[0])

    # -- what training needs ---------------------------------------------------------------------------

    @property
    def module(self) -> nn.Module:
        """The weights."""
        return self.weights

    def trace(self, prompt: Prompt, action: str) -> Sampled | None:
        """Return the trace of an action that somebody else took, as an answer without thoughts."""
        offered = self._choices(prompt)
        answer = tuple(self.writer.encode(f"<action>{action}</action>"))
        if offered is not None and answer not in offered:
            return None
        written, _ = self._write(prompt)
        ids = np.array(answer, np.int32)
        trie = None if offered is None else Trie(tuple(offered))
        return Sampled(written.ids, ids, np.zeros(len(ids), np.float32), written.ends, trie)

    def sampled(self, traces: Sequence[Sampled]) -> Likelihood:
        """Return the log-probabilities that the answers were sampled with."""
        width = max(trace.tokens for trace in traces)
        log_probs = torch.zeros(len(traces), width)
        mask = torch.zeros(len(traces), width, dtype=torch.bool)
        for row, trace in enumerate(traces):
            log_probs[row, : trace.tokens] = torch.from_numpy(trace.log_probs)
            mask[row, : trace.tokens] = True
        device = self._device
        log_probs, mask = log_probs.to(device), mask.to(device)
        return Likelihood(log_probs, torch.zeros_like(log_probs), mask, log_probs.new_zeros(len(traces)))

    def likelihood(self, traces: Sequence[Sampled]) -> Likelihood:
        """Judge answers with the present weights. There is no critic: the values are 0."""
        model = self.weights.model
        # Recomputing activations is only done by models that are in training mode; dropout is off all the same.
        model.train(self.options.gradient_checkpointing and torch.is_grad_enabled())
        try:
            with self._using_adapter():
                layout = self.options.layout == "episode"
                return judge(model, traces, self.temperature, layout, self.options.padded_tokens)
        finally:
            if not self.options.gradient_checkpointing:
                model.eval()

    def pieces(self, traces: Sequence[Sampled], budget: int) -> list[npt.NDArray[np.int64]]:
        """Cut steps into pieces of at most ``budget`` tokens of prompts and answers; what is shared counts once."""
        return sequences.pieces(sequences.lay_out(traces, self.options.layout == "episode"), budget)

    def reference(self) -> LanguagePolicy:
        """Return this policy as it is now, frozen: the same model with other adapters, or a copy without adapters."""
        frozen = copy.copy(self)
        frozen._cache = PrefixCache(self._cache.limit)
        if self.options.lora:
            add_reference(self.weights.model)
            frozen._adapter = REFERENCE
        else:
            frozen.weights = copy.deepcopy(self.weights)
            frozen.weights.requires_grad_(False)
        return frozen

    def settings(self) -> dict[str, Any]:
        """Return everything but the weights."""
        return {**to_json(self.options), "temperature": self.temperature}

    def save_companions(self, folder: Path) -> None:
        """Write what lies beside the weights: tokenizer, chat template and the model's configuration."""
        self.tokenizer.save_pretrained(folder)
        config: Any = self.weights.model.config
        config.save_pretrained(folder)

    def sampled_by(self, engine: Engine) -> LanguagePolicy:
        """Return this policy with its answers sampled by another engine, which is given the weights by other means.

        Prompts, parsing and traces stay those of this policy; it may be asked from many threads.

        Raises:
            UserError: answers are constrained, which no other engine does token by token as this one.
        """
        if self.options.constrained:
            raise UserError("constrained = true is for the engine of transformers: set constrained = false")
        other = copy.copy(self)
        other._engine, other._threads = engine, ThreadPoolExecutor(engine.concurrency)
        # A tokenizer is told anew before each call whether to see special tokens: one thread at a time.
        other._tokenizing = threading.Lock()
        return other

    # -- parts -----------------------------------------------------------------------------------------

    def _decode(self, requests: Sequence[Request]) -> list[Answer]:
        """Sample with the weights that are here."""
        self._forget_old_weights()
        with self._using_adapter():
            return decode(self.weights.model, requests, self._rules(), self._cache, self.work)

    def _write(self, prompt: Prompt) -> tuple[Written, Fitted]:
        """Return the prompt's ids, and its messages."""
        turns = prompt.history if self.options.history == "all" else ()
        answers = [_sampled_ids(turn) for turn in turns]

        def written(messages: Sequence[dict[str, str]]) -> Written:
            shown = (len(messages) - 2) // 2
            return self.writer.write(messages, answers[len(answers) - shown :])

        fitted = fit_messages(prompt, self.prompts, lambda each: len(written(each).ids), self.prompt_limit)
        return written(fitted.messages), fitted

    def _choices(self, prompt: Prompt) -> dict[tuple[int, ...], str] | None:
        """Return the answers that may be given under a constraint, with their actions."""
        if not self.options.constrained:
            return None
        offered = prompt.info.get("admissible_actions")
        if not offered:
            raise UserError("constrained = true chooses among admissible actions, but this environment lists none")
        filled = [action.replace("<query>", prompt.info["instruction"]) for action in offered]
        return {tuple(self.writer.encode(f"<action>{action}</action>")): action for action in filled}

    def _rules(self) -> Rules:
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

    def _response(
        self,
        prompt: Prompt,
        request: Request,
        answer: Answer,
        fitted: Fitted,
        offered: dict[tuple[int, ...], str] | None,
    ) -> Response:
        text = self.tokenizer.decode(answer.tokens, skip_special_tokens=False)
        reason = None
        if offered is not None:
            action = offered[tuple(answer.tokens)]
        else:
            shown = self.tokenizer.decode(answer.tokens, skip_special_tokens=True)
            parsed = parse_answer(shown, prompt.info.get("admissible_actions"), cut=cut_by(answer.finish))
            action, reason = parsed.action, parsed.reason
        details = answer_details(
            invalid=reason,
            finish=answer.finish,
            prompt_tokens=len(request.ids),
            answer_tokens=len(answer.tokens),
            model=Path(self.options.model).name,
            left_out=fitted.left_out,
            messages=fitted.messages if self.options.keep_messages else None,
            log_prob=float(sum(answer.log_probs)),
        )
        trace = Sampled(
            request.ids,
            np.array(answer.tokens, np.int32),
            np.array(answer.log_probs, np.float32),
            request.ends,
            request.trie,
        )
        return Response(action, text, details, trace)

    def _forget_old_weights(self) -> None:
        """Empty the cache when the weights have changed since it was filled."""
        version = weights_version(self.weights)
        if self._seen.get("version") != version:
            self._cache.clear()
            self._seen["version"] = version

    @contextmanager
    def _using_adapter(self) -> Iterator[None]:
        if self._adapter == ADAPTER:
            yield
            return
        use_adapter(self.weights.model, self._adapter)
        try:
            yield
        finally:
            use_adapter(self.weights.model, ADAPTER)

    @property
    def _device(self) -> torch.device:
        return next(self.weights.parameters()).device

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
        changed.weights = self.weights
        return changed

    def export(self, folder: Path) -> None:
        """Write an ordinary folder of transformers, adapters merged in."""
        model: Any = copy.deepcopy(self.weights.model)
        if self.options.lora:
            model = model.merge_and_unload()
        model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def _sampled_ids(turn: Turn) -> list[int] | None:
    return turn.trace.answer.tolist() if isinstance(turn.trace, Sampled) else None


def _base_model(settings: LanguageSettings) -> nn.Module:
    """Load the model that adapters were trained on: one of transformers, or a policy that was saved here."""
    folder = Path(settings.model)
    if not (folder / "policy.json").is_file():
        return loading.load_model(settings)
    _, options, weights = read_policy(folder)
    return load_saved(folder, options, weights).weights.model


def load_saved(folder: Path, options: dict[str, Any], weights: dict[str, Tensor]) -> LanguagePolicy:
    """Make a policy from what was saved of it: its own weights, or adapters for the model they were trained on.

    Raises:
        UserError: the model that adapters belong to is gone, or something does not fit.
    """
    settings = LanguageSettings(**options)
    model = _base_model(settings) if settings.lora else loading.empty_model(str(folder), settings)
    policy = LanguagePolicy(settings, model, loading.load_tokenizer(str(folder)))
    policy.module.load_state_dict(weights)
    return policy
