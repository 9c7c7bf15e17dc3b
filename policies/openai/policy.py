"""A language model behind an OpenAI-compatible server (vLLM, llama.cpp, a hosted one) as a policy."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, Literal

from pydantic import Field

from envs.base.digest import digest_of
from envs.base.errors import UserError
from envs.base.log import log
from envs.base.safe_text import cut_out, redacted, without_half_characters
from policies.contract import Prompt, Response
from policies.language.settings import LONGEST_ANSWER
from policies.openai.background import Background
from policies.openai.chat_client import ChatClient, ClientSettings, TooLong, key_from_environment
from policies.prompts import ContextTooLong, Fitted, Message, PromptSettings, fit_messages, make_settings
from policies.prompts.answers import answer_details
from policies.prompts.parsing import cut_by, parse_answer

VERSION = 1
BYTES_A_TOKEN = 3
"""A server's tokenizer is not at hand: text counts as one token per 3 bytes, rather too many than too few."""

TOKENS_A_MESSAGE = 8

Price = Annotated[float, Field(ge=0, le=1e9)]


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Options of the policy ``openai:MODEL``.

    Attributes:
        base_url: the server, up to ``/v1``.
        key_variable: the environment variable that holds the key; nothing else ever does.
        temperature: of the sampling, 0 for the likeliest token; None leaves it to the server.
        top_p: share of the likeliest tokens that are sampled from; None leaves it to the server.
        max_tokens: longest answer, in tokens.
        stop: an answer ends behind any of these strings; the server is asked to stop there.
        max_tokens_name: what the server calls that (``max_completion_tokens`` at some hosted models).
        max_context: longest prompt, in tokens as estimated here; None: until the server says that it is too long.
        history: number of past steps that are shown, or ``all``.
        thinking: ask for reasoning before the action.
        show_actions: list the admissible actions.
        template: TOML file that replaces the benchmark's texts.
        seeded: send each step's own seed, where there is sampling.
        require_tokens: stop if the server does not return token ids and log-probabilities (training needs them).
        extra: further fields of the request, such as ``{"chat_template_kwargs": {"enable_thinking": false}}``.
        concurrency: most requests at the same time.
        timeout: seconds that one try may take.
        attempts: tries of one request.
        backoff: seconds before the second try; doubled before each further one, up to 30.
        patience: requests in a row that may fail before the run stops.
        price_in: cost of a million prompt tokens, in any currency.
        price_cached: cost of a million prompt tokens that the server took from its cache; None: as the others.
        price_out: cost of a million answer tokens.
        keep_messages: store the chat of every step as it was sent (``details.messages``).
    """

    base_url: str = "http://localhost:8000/v1"
    key_variable: str = "OPENAI_API_KEY"
    temperature: Annotated[float, Field(ge=0, le=1000)] | None = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=10_000_000)] = LONGEST_ANSWER
    max_tokens_name: str = "max_tokens"
    max_context: Annotated[int, Field(ge=1, le=100_000_000)] | None = None
    history: Annotated[int, Field(ge=0, le=1_000_000)] | Literal["all"] = "all"
    thinking: bool = True
    show_actions: bool = True
    template: str | None = None
    seeded: bool = True
    require_tokens: bool = False
    extra: dict[str, Any] | None = None
    concurrency: Annotated[int, Field(ge=1, le=100_000)] = 64
    timeout: Annotated[float, Field(gt=0, le=1e7)] = 120.0
    attempts: Annotated[int, Field(ge=1, le=1000)] = 7
    backoff: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    patience: Annotated[int, Field(ge=1, le=1_000_000)] = 8
    price_in: Price = 0.0
    price_cached: Price | None = None
    price_out: Price = 0.0
    stop: tuple[str, ...] = ()
    keep_messages: bool = False


OPTIONS = tuple(each.name for each in fields(ServerOptions))
HOW_NOT_WHAT = (
    *("key_variable", "require_tokens", "concurrency", "timeout", "attempts", "backoff", "patience"),
    *("price_in", "price_cached", "price_out", "template", "keep_messages"),
)
"""Options that say how the work is done and not what comes out, and the file whose texts are: not in the digest."""


@dataclass(frozen=True, slots=True)
class SampledTokens:
    """What a server says of the tokens that it sampled.

    Attributes:
        prompt_ids: token ids of the prompt as the server wrote it.
        token_ids: ids of the sampled tokens.
        log_probs: log-probability of each of them.
    """

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    log_probs: tuple[float, ...]

    @property
    def tokens(self) -> int:
        """Number of sampled tokens."""
        return len(self.token_ids)


@dataclass(slots=True)
class Usage:
    """What was asked of the server so far, and what it cost."""

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    answer_tokens: int = 0
    retries: int = 0
    cost: float = 0.0

    def __bool__(self) -> bool:
        return self.requests > 0

    def __str__(self) -> str:
        cached = f" ({self.cached_tokens} of them cached)" if self.cached_tokens else ""
        text = (
            f"{self.requests} answers, {self.prompt_tokens} prompt tokens{cached}, {self.answer_tokens} answer tokens"
        )
        text += f", {self.retries} retries" if self.retries else ""
        return text + (f", cost {self.cost:.4f}" if self.cost else "")


class OpenAIPolicy:
    """Asks a chat server for every action, all prompts at the same time.

    Args:
        model: the model's id at the server.
        environment: short name of the environment; it decides the prompts.
        options: everything else.

    Raises:
        UserError: an option has a value that it cannot have.
    """

    def __init__(self, model: str, environment: str, options: ServerOptions | None = None) -> None:
        if not model:
            raise UserError("policy 'openai' needs the model's id at the server: write openai:MODEL")
        options = options or ServerOptions()
        _check(options)
        self.model, self.options = model, options
        self.prompts: PromptSettings = make_settings(
            environment,
            history=options.history,
            thinking=options.thinking,
            show_actions=options.show_actions,
            template=options.template,
        )
        key = key_from_environment(options.key_variable)
        self._client = ChatClient(
            ClientSettings(options.base_url, key, options.timeout, options.attempts, options.backoff, options.patience)
        )
        self._other_models: set[str] = set()
        self._usage, self._places = Usage(), asyncio.Semaphore(options.concurrency)
        self._background = Background(at_end=self._client.close)

    @property
    def name(self) -> str:
        """``openai:MODEL``."""
        return f"openai:{self.model}"

    @property
    def digest(self) -> str:
        """Changes with the model, the server and every option that decides the answers."""
        decisive = {name: value for name, value in asdict(self.options).items() if name not in HOW_NOT_WHAT}
        if not decisive["stop"]:  # the first runs were made without the option
            del decisive["stop"]
        return digest_of("openai", VERSION, model=self.model, prompts=self.prompts.as_dict(), **decisive)

    @property
    def record(self) -> dict[str, Any]:
        """What a run records of it beside its options: the texts of its prompts."""
        return {"prompts": self.prompts.as_dict()}

    @property
    def usage(self) -> Usage:
        """What was asked so far."""
        self._usage.retries = self._client.retries
        return self._usage

    def act(self, prompts: Sequence[Prompt]) -> list[Response]:
        """Ask for each prompt.

        Raises:
            PassingFailure, RefusedRequest: no answer to a prompt (:mod:`policies.openai.chat_client`).
            ContextTooLong: a task and observation that do not fit into the context.
            UserError: the server cannot be used at all.
        """
        return [answer.result() for answer in [self.submit(prompt) for prompt in prompts]]

    def submit(self, prompt: Prompt) -> Future[Response]:
        """Ask for one prompt; its answer comes later, or one of the exceptions of :meth:`act`."""
        return self._background.submit(self._answer(prompt))

    async def _answer(self, prompt: Prompt) -> Response:
        async with self._places:
            limit = self.options.max_context
            while True:
                fitted = fit_messages(prompt, self.prompts, estimated_tokens, limit)
                try:
                    answer = await self._client.ask(self._request(fitted.messages, prompt.seed))
                except TooLong as refused:
                    # The server counts exactly, the estimate does not: leave more steps out until it agrees.
                    limit = estimated_tokens(fitted.messages) * 3 // 4
                    if fitted.left_out >= len(prompt.history) or limit < TOKENS_A_MESSAGE:
                        raise ContextTooLong(str(refused)) from refused
                    continue
                return self._response(answer, fitted, prompt)

    def _request(self, messages: list[Message], seed: int) -> dict[str, Any]:
        options = self.options
        body: dict[str, Any] = {"model": self.model, "messages": messages, options.max_tokens_name: options.max_tokens}
        if options.temperature is not None:
            body["temperature"] = options.temperature
        if options.top_p is not None:
            body["top_p"] = options.top_p
        if options.stop:
            body["stop"] = list(options.stop)
        if options.seeded and options.temperature != 0:
            body["seed"] = seed % 2**31
        if options.require_tokens:
            body |= {"logprobs": True, "return_token_ids": True}
        return body | (options.extra or {})

    def _response(self, answer: dict[str, Any], fitted: Fitted, prompt: Prompt) -> Response:
        choice = answer["choices"][0]
        # A server that repeats its key must not have it stored. All else is the agent's: an address with a password,
        # or a word that is somebody's secret here, may be part of what it does.
        text = cut_out(
            without_half_characters(stopped_text(choice, self.options.stop)), self._client.settings.key or ""
        )
        parsed = parse_answer(text, prompt.info.get("admissible_actions"), cut=cut_by(choice.get("finish_reason")))
        trace = sampled_tokens(answer)
        if trace is None and self.options.require_tokens:
            raise UserError(
                f"{self.options.base_url} returns no token ids and log-probabilities: it can be evaluated, but nothing "
                "can be trained from it; vLLM's server returns them (return_token_ids)"
            )
        details = answer_details(
            invalid=parsed.reason,
            finish=_word(choice.get("finish_reason")),
            model=self._answering(answer),
            left_out=fitted.left_out,
            messages=fitted.messages if self.options.keep_messages else None,
            log_prob=None if trace is None else sum(trace.log_probs),
            **self._count(answer),
        )
        return Response(parsed.action, text=text, details=details, trace=trace)

    def _count(self, answer: dict[str, Any]) -> dict[str, Any]:
        usage = read_usage(answer)
        asked, cached, said = usage or (0, 0, 0)
        options = self.options
        price_cached = options.price_in if options.price_cached is None else options.price_cached
        cost = ((asked - cached) * options.price_in + cached * price_cached + said * options.price_out) / 1e6
        self._usage.requests += 1
        self._usage.prompt_tokens += asked
        self._usage.cached_tokens += cached
        self._usage.answer_tokens += said
        self._usage.cost += cost
        known = {"prompt_tokens": asked, "cached_tokens": cached, "answer_tokens": said}
        return {**(known if usage else {"prompt_tokens": None, "answer_tokens": None}), "cost": cost or None}

    def _answering(self, answer: dict[str, Any]) -> str | None:
        """Return the model that the server says answered; warn once of each that is not the one that was asked for."""
        said = _word(answer.get("model"))
        if said not in (None, self.model, *self._other_models):
            self._other_models.add(str(said))
            log.warning(
                "%s answers as the model %s, asked for was %s: each step records who answered (details.model)",
                *(self.options.base_url, said, self.model),
            )
        return said


def text_of(message: dict[str, Any]) -> str:
    """Return the whole answer: reasoning that the server keeps apart, words, and tool calls, as one text."""
    thoughts = message.get("reasoning_content") or message.get("reasoning")
    words = message.get("content")
    if isinstance(words, list):  # some servers send parts
        words = "".join(str(part.get("text", "")) for part in words if isinstance(part, dict))
    text = f"<think>{thoughts}</think>" if isinstance(thoughts, str) else ""
    text += words if isinstance(words, str) else ""
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else []:
        function = call.get("function") if isinstance(call, dict) else None
        text += f"<tool_call>{json.dumps(function)}</tool_call>"
    return text


def stopped_text(choice: dict[str, Any], stops: Sequence[str]) -> str:
    """Return the whole answer, which ends behind the first stop string as with every other engine.

    A server that knows stop strings leaves the one out that it met: it is put back where the server names it (vLLM), or
    where it closes a tag that stands open. A server that does not know them says more, which is cut.
    """
    text = text_of(choice["message"])
    words = len(text_of({**choice["message"], "content": None, "tool_calls": None}))  # where the thoughts end
    ends = [place + len(stop) for stop in stops if (place := text.find(stop, words)) >= 0]
    if ends:
        return text[: min(ends)]
    met = choice.get("stop_reason")
    if isinstance(met, str) and met in stops:
        return text + met
    if choice.get("finish_reason") == "stop" and "stop_reason" not in choice:
        open_ones = [stop for stop in stops if stop.startswith("</") and f"<{stop[2:]}" in text[words:]]
        return text + next(iter(open_ones), "")
    return text


def sampled_tokens(answer: dict[str, Any]) -> SampledTokens | None:
    """Return the ids and log-probabilities of an answer, or None where the server does not give all of them."""
    choice = answer["choices"][0]
    try:
        prompt_ids = answer.get("prompt_token_ids") or choice["prompt_token_ids"]
        ids = tuple(int(token) for token in choice["token_ids"])
        log_probs = tuple(float(token["logprob"]) for token in choice["logprobs"]["content"])
        whole = len(ids) == len(log_probs) and all(map(math.isfinite, log_probs))
        return SampledTokens(tuple(int(token) for token in prompt_ids), ids, log_probs) if whole else None
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def read_usage(answer: dict[str, Any]) -> tuple[int, int, int] | None:
    """Return prompt tokens (cached ones included), cached prompt tokens and answer tokens; None where there are none.

    Cached ones stand in ``prompt_tokens_details.cached_tokens`` (OpenAI, vLLM, SGLang), ``prompt_cache_hit_tokens``
    (DeepSeek) or ``cache_read_input_tokens`` (Anthropic, whose ``input_tokens`` leave out all that has to do with the
    cache).
    """
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        return None
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    inside = details.get("cached_tokens") if isinstance(details, dict) else None
    flat = (usage.get(name) for name in ("prompt_cache_hit_tokens", "cache_read_input_tokens", "cached_tokens"))
    cached = next((number for each in (inside, *flat) if (number := _number(each))), 0)
    if "prompt_tokens" in usage:
        asked = _number(usage["prompt_tokens"])
    elif "input_tokens" in usage:
        apart = cached if "cache_read_input_tokens" in usage else 0
        asked = _number(usage["input_tokens"]) + apart + _number(usage.get("cache_creation_input_tokens"))
    else:
        return None
    return asked, min(cached, asked), _number(usage.get("completion_tokens", usage.get("output_tokens")))


def estimated_tokens(messages: Sequence[Message]) -> int:
    """Estimate the length of messages in tokens: see :data:`BYTES_A_TOKEN`."""
    return sum(TOKENS_A_MESSAGE - -len(each["content"].encode()) // BYTES_A_TOKEN for each in messages)


def _word(value: Any) -> str | None:
    """Return a name that a server gave, short and without what must not be stored; None where it gave none."""
    return redacted(without_half_characters(value))[:200] if isinstance(value, str) and value else None


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def _check(options: ServerOptions) -> None:
    if "" in options.stop:
        raise UserError("stop: an empty text would end every answer at its beginning")
    for name in ("max_tokens", "concurrency", "attempts", "patience"):
        if getattr(options, name) < 1:
            raise UserError(f"{name} must be at least 1, got {getattr(options, name)}")
    for name in ("price_in", "price_cached", "price_out"):
        if (price := getattr(options, name)) is not None and not 0 <= price < math.inf:
            raise UserError(f"{name} must be at least 0, got {price}")
    if not 0 <= options.backoff < math.inf:
        raise UserError(f"backoff must be a number of seconds, got {options.backoff}")
    if not 0 < options.timeout < math.inf:
        raise UserError(f"timeout must be a number of seconds above 0, got {options.timeout}")
    if options.temperature is not None and not 0 <= options.temperature < math.inf:
        raise UserError(f"temperature must be at least 0, got {options.temperature}")
