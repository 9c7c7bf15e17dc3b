"""Checking a policy against :mod:`policies.contract`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from agentbench.check.outcome import RUBBISH, Check, Outcome, run_checks
from agentbench.runs.provenance import stable_seed
from envs.base.errors import UserError, error_line
from envs.contract import TextEnv
from envs.registry import make
from policies.contract import Policy, Prompt, Response, Turn, response_faults
from policies.registry import make_policy

TASKS = 3  # that are played
STEPS = 6  # of each


def check_policy(spec: str, env: str = "alfworld", **options: Any) -> Iterator[Outcome]:
    """Check the policy ``spec`` on prompts of an environment; ``options`` go to the environment's class.

    Raises:
        UserError: unknown names, a plug-in that cannot be used, or a policy that cannot play that environment.
    """
    policy = make_policy(spec, environment=env)
    other = partial(make_policy, spec, environment=env)
    try:
        prompts = _prompts(policy, make(env, **options))
    except UserError:
        raise
    except _NoAnswerError as error:
        yield Outcome("it plays", (str(error),))
        return
    except Exception as error:  # the policy is a stranger's: that it fails at once is the finding
        yield Outcome("it plays", (f"it raised {error_line(error)}",))
        return
    checks: list[tuple[str, Check]] = [
        ("name and digest: texts, the same in every copy", partial(_identity, policy, other)),
        ("a list of responses, one for each prompt, in order", partial(_types, policy, prompts)),
        ("an answer does not depend on the batch", partial(_batches, policy, prompts)),
        ("the same prompt gives the same answer, in every copy", partial(_determinism, policy, other, prompts)),
        ("a prompt of rubbish gives an answer or a UserError", partial(_rubbish, policy, prompts[0])),
    ]
    yield from run_checks(checks)


def _prompts(policy: Policy, environment: TextEnv) -> list[Prompt]:
    """Play the beginning of a few tasks with the policy; return every prompt that it was given."""
    prompts = []
    for task in list(environment.tasks)[:TASKS]:
        observation, info = environment.reset(seed=0, options={"task": task.id})
        prompt = Prompt.first(task, observation, info, stable_seed(0, task.id, 0, 0))
        for step in range(1, STEPS + 1):
            prompts.append(prompt)
            answer = _one_answer(policy, prompt)
            observation, _, terminated, truncated, info = environment.step(answer.action)
            if terminated or truncated:
                break
            prompt = prompt.after(answer, observation, info, stable_seed(0, task.id, 0, step))
    return prompts


class _NoAnswerError(Exception):
    """What the policy gave cannot be played; the text says why."""


def _one_answer(policy: Policy, prompt: Prompt) -> Response:
    answers = policy.act([prompt])
    if len(answers) != 1:
        raise _NoAnswerError(f"for 1 prompt it gave {answers!r:.60}")
    for fault in response_faults(answers[0]):
        if "JSON" not in fault:  # that can be played, and is reported below
            raise _NoAnswerError(fault)
    return answers[0]


def _identity(policy: Policy, other: Callable[[], Policy]) -> Iterator[str]:
    for what in ("name", "digest"):
        value = getattr(policy, what)
        if not isinstance(value, str) or not value:
            yield f"its {what} is {value!r:.60}, not a text"
        elif getattr(other(), what) != value:
            yield f"a second copy has another {what}"


def _types(policy: Policy, prompts: list[Prompt]) -> Iterator[str]:
    for batch in ([], prompts[:1], prompts):
        answers = policy.act(batch)
        if not isinstance(answers, list) or len(answers) != len(batch):
            yield f"for {len(batch)} prompts it gave {answers!r:.60}"
            continue
        for answer in answers:
            yield from response_faults(answer)


def _said(answers: Sequence[Response]) -> list[tuple[Any, ...]]:
    return [(answer.action, answer.text, answer.details) for answer in answers]


def _batches(policy: Policy, prompts: list[Prompt]) -> Iterator[str]:
    together = _said(policy.act(prompts))
    yield from _compare("one by one", [_said(policy.act([prompt]))[0] for prompt in prompts], together)
    yield from _compare("in the other order", _said(policy.act(prompts[::-1]))[::-1], together)
    yield from _compare("in two halves", _said(policy.act(prompts[::2])), together[::2])


def _determinism(policy: Policy, other: Callable[[], Policy], prompts: list[Prompt]) -> Iterator[str]:
    first = _said(policy.act(prompts))
    yield from _compare("asked again", _said(policy.act(prompts)), first)
    yield from _compare("in a second copy", _said(other().act(prompts)), first)


def _compare(what: str, found: list[tuple[Any, ...]], expected: list[tuple[Any, ...]]) -> Iterator[str]:
    for index, (one, two) in enumerate(zip(expected, found, strict=True)):
        if one != two:
            yield f"{what}, prompt {index} gives {two[0]!r:.60} instead of {one[0]!r:.60}"
            return


def _rubbish(policy: Policy, prompt: Prompt) -> Iterator[str]:
    turns = (Turn(RUBBISH[3], RUBBISH[5]), Turn("", ""))
    kept = {
        "task_id": prompt.task.id,
        "task_type": "",
        "instruction": "",
        "anchor": "",
        "is_valid": False,
        "won": False,
    }
    changed = [replace(prompt, observation=text, history=history) for text in RUBBISH for history in ((), turns)]
    changed += [replace(prompt, info={**prompt.info, "admissible_actions": offered}) for offered in (None, [], [""])]
    changed += [
        replace(prompt, info={**kept, "score": 0.0, "admissible_actions": None}),
        replace(prompt, seed=2**63 - 1),
    ]
    for each in changed:
        try:
            answers = policy.act([each])
        except UserError:
            continue  # one clear line is a good answer to rubbish
        except Exception as error:  # any other is what is looked for
            yield f"observation {each.observation!r:.30}: it raised {error_line(error)}"
            continue
        for answer in answers:
            yield from response_faults(answer)
