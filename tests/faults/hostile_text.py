"""Hostile strings: as actions of real environments, as a model's answers, and as the contents of every file we read."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import journals
from tally import Tally

from agentbench import evaluate, open_run
from agentbench.importing import import_run
from agentbench.report import make_report, write_page
from agentbench.runs.episodes import MAX_TEXT
from envs import make
from policies.contract import Prompt, Response
from policies.prompts.parsing import parse_answer

SLOW = 10.0
"""Seconds of one action, answer or file that count as hanging. Generous: other jobs may run beside it."""

PIECES = (
    "\x00", "\x1b[2J\x1b]0;owned\x07", "\r\n", "\u202e", "\ufeff", "\ud800", "\udfff", "\U000e0041",
    "e\u0301" * 20, "ß", "İ", "ﬁ", "Ⅷ", "٣", "\u2028", "\x85", "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>", "&lt;", "]]>", "'; DROP TABLE steps; --", '" OR 1=1', "`id`",
    "$(reboot)", "; rm -rf /", "| cat /etc/passwd", "../../../etc/passwd", "file:///etc/passwd", "C:\\nul",
    "%s%n%x", "{0.__class__}", "{{7*7}}", "{% for x in range(10**9) %}", "${jndi:ldap://x}",
    "__import__('os').system('id')", "eval(1)", "lambda: 0", "[red]bold[/red]", "[link=http://x]", "(a+)+$",
    "a" * 64 + "!", "((((((((", "search[", "click[", "]", "[[", "[]", "search[]", "click[buy now]",
    "click[back to search]", "<action>", "</action>", "<think>", "</think>", "<|im_end|>", "<|endoftext|>",
    "\\boxed{", "```python\n", "```", "go to", "take", "put", "in/on", "look", "inventory", "help", "1e999",
    "NaN", "-0", "null", "true", "=cmd|' /C calc'!A0", "@SUM(1)", "\t", " ", "\\", '"', "'", "{", "}", ",",
    ":", "[", "\n", "😀", "é", "０", "one", "",
)  # fmt: skip


def hostile(generator: random.Random, known: Sequence[str] = ()) -> str:
    """Return a string that somebody might send to break us; ``known`` are good ones to spoil."""
    kind = generator.randrange(8)
    if kind == 0:
        return "".join(map(chr, generator.choices(range(0x250), k=generator.randrange(60))))
    if kind == 1:
        return "".join(chr(generator.randrange(0x110000)) for _ in range(generator.randrange(40)))
    if kind == 2 and known:
        return spoilt(generator.choice(known), generator)
    if kind == 3 and known:
        words = " ".join(generator.choices(known, k=3)).split()
        return generator.choice([" ", "  ", "\n", "\u00a0"]).join(generator.sample(words, min(len(words), 5)))
    if kind == 4 and generator.random() < 0.05:
        return generator.choice(PIECES) * generator.choice([1_000, MAX_TEXT + 1, 50_000])
    return "".join(generator.choices(PIECES, k=generator.randrange(1, 12)))


def spoilt(text: str, generator: random.Random) -> str:
    """Change a good string a little."""
    place = generator.randrange(len(text) + 1)
    ways: tuple[Callable[[], str], ...] = (
        lambda: text.upper(),
        lambda: f" {text}\n",
        lambda: text[:place] + generator.choice(PIECES) + text[place:],
        lambda: text[:place] + text[place + 1 :],
        lambda: text.replace(" ", "  "),
        lambda: text + text,
        lambda: text[::-1],
    )
    return generator.choice(ways)()


# -- as actions ------------------------------------------------------------------------------------------


def act_in_alfworld(folder: Path, times: int, generator: random.Random) -> Tally:
    """Send hostile actions to ALFWorld: what it does not list must change nothing."""
    return act(make("alfworld", split="generated:0:40", max_steps=50, anchor="state"), times, generator)


def act_in_webshop(folder: Path, times: int, generator: random.Random) -> Tally:
    """Send hostile actions to WebShop: what it does not understand must change nothing."""
    return act(make("webshop", max_steps=50, anchor="state"), times, generator)


def act(environment: Any, times: int, generator: random.Random) -> Tally:
    tally, over, info, observation = Tally(), True, {}, ""
    while tally.faults < times:
        if over:
            task = environment.tasks[generator.randrange(len(environment.tasks))]
            observation, info = environment.reset(options={"task": task.id})
        good = info["admissible_actions"] or info.get("example_actions") or []
        action = generator.choice(good) if generator.random() < 0.2 else hostile(generator, good)
        before, began = info["anchor"], time.monotonic()
        try:
            observation, reward, terminated, truncated, info = environment.step(action)
        except Exception as error:
            tally.blame("unclear", f"{action[:80]!r}: {error!r}")
            over = True
            continue
        tally.faults += action not in good
        tally.under_way += action not in good and info["is_valid"]
        over = terminated or truncated
        if time.monotonic() - began > SLOW:
            tally.blame("hung", f"{action[:80]!r} took {time.monotonic() - began:.0f} s")
        if not info["is_valid"] and (info["anchor"] != before or reward or info["won"]):
            tally.blame("wrong", f"{action[:80]!r} is invalid and changed something")
        if not isinstance(observation, str) or not 0 <= info["score"] <= 1:
            tally.blame("wrong", f"{action[:80]!r}: {observation!r:.80}, {info['score']}")
    return tally


# -- as answers of a model -------------------------------------------------------------------------------


class HostilePolicy:
    """Answers with hostile strings, drawn from each step's own seed."""

    name = "hostile"
    digest = "hostile-1"

    def act(self, prompts: Sequence[Prompt]) -> list[Response]:
        return [self.answer(prompt) for prompt in prompts]

    def answer(self, prompt: Prompt) -> Response:
        generator = random.Random(prompt.seed)
        good = prompt.info["admissible_actions"]
        text = hostile(generator, [*good, *(f"<think>x</think><action>{each}</action>" for each in good[:3])])
        parsed = parse_answer(text, good)
        return Response(parsed.action, text=text, details={"invalid": parsed.reason} if parsed.reason else {})


def answer(folder: Path, times: int, generator: random.Random) -> Tally:
    """Let a model answer hostile strings; the run must be stored, read, resumed and shown as any other."""
    tally, out = Tally(), folder / "run"
    about: dict[str, Any] = {
        "split": f"generated:0:{-(-times // 40)}",
        "env_options": {"max_steps": 40},
        "inline": True,
    }
    evaluate("alfworld", HostilePolicy(), out=out, seed=generator.randrange(1000), **about)
    run = open_run(out)
    table, steps = run.step_table, [step for episode in run.read_episodes() for step in episode.steps]
    tally.faults, tally.under_way = len(steps), int(table["is_valid"].sum())
    if list(table["action"]) != [step.action for step in steps] or len(table) != run.episodes["steps"].sum():
        tally.blame("wrong", "the table is not what was played")
    for step in steps:
        if step.text is None or max(len(step.text), len(step.action)) > MAX_TEXT + 100:
            tally.blame("wrong", f"{step.action[:80]!r} is not as it can be stored")
    page = folder / "page.html"
    write_page(make_report([out]), page)
    if "<script>alert(1)" in page.read_text(encoding="utf-8") or "<img src=x" in page.read_text(encoding="utf-8"):
        tally.blame("wrong", "the page holds markup of a model")
    import_run(exported(out, folder / "chats.jsonl"), folder / "imported")
    return tally


def exported(out: Path, path: Path) -> Path:
    from agentbench.report.export import FORMS
    from agentbench.report.runs import read_runs

    FORMS["chat"](read_runs([out]), path, [])
    return path


# -- as contents of files --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """One kind of file that we read.

    Attributes:
        path: of the file, below the folder of good ones.
        read: reads it, by way of what a user calls.
    """

    path: str
    read: Callable[[Path], object]


def readings(folder: Path) -> list[Reading]:
    """Make a good file of each kind below ``folder``, and say how it is read."""
    from webshop_small_catalogue import CUP, LAMP, MUG

    from agentbench.analysis.truth.table import read_truth
    from agentbench.report.runs import read_runs
    from agentbench.runs.lines import read_lines
    from agentbench.train.config import read_config
    from agentbench.train.outcomes import read_outcomes
    from agentbench.train.run import train
    from envs.webshop.catalogue import load_catalogue
    from policies import make_policy
    from policies.prompts.template import Template, read_template

    run, out = folder / "run", folder / "imported"
    evaluate("toy", "random", out=run, inline=True)
    exported(run, folder / "chats.jsonl")
    shutil.copytree(run, folder / "packed")
    journals.unpack(run)
    turns = [{"role": "user", "content": "at 0"}]
    line = {"example_id": 0, "prompt": turns, "completion": [{"role": "assistant", "content": "up"}], "reward": 1.0}
    (folder / "results.jsonl").write_text(json.dumps(line) + "\n")
    line = {"input": "<|im_start|>user\nat 0<|im_end|>", "output": "<action>up</action>", "score": 1.0, "step": 1}
    (folder / "dump.jsonl").write_text(json.dumps(line) + "\n")
    sample = {"id": "a", "epoch": 1, "input": "at 0", "messages": [*turns, {"role": "assistant", "content": "up"}]}
    sample["scores"] = {"match": {"value": "C"}}
    (folder / "log.json").write_text(
        json.dumps({"version": 2, "eval": {"task": "t", "model": "m"}, "samples": [sample]})
    )
    (folder / "train.toml").write_text('scheme = "gigpo"\nsteps = 3\n[schemes.gigpo]\nlearning_rate = 0.1\n')
    (folder / "template.toml").write_text('system = "play"\nuser = "{{ observation }} {% if actions %}x{% endif %}"\n')
    (folder / "truth").mkdir()
    (folder / "truth" / "truth.json").write_text('{"rollouts": 2, "gamma": 1.0}')
    small = {"env": "toy", "split": "all", "env_options": {"tasks": 2, "max_steps": 3}, "group_size": 2}
    small |= {"tasks_per_step": 2, "steps": 1, "eval_split": "all"}
    train(read_config(None, small), folder / "trained")
    shop = folder / "shop"
    shop.mkdir()
    (shop / "items_shuffle_1000.json").write_text(json.dumps([MUG, CUP, LAMP]))
    (shop / "items_ins_v2_1000.json").write_text(
        json.dumps({MUG["asin"]: {"attributes": ["red"], "instruction": "a mug"}})
    )
    (shop / "items_human_ins.json").write_text("{}")

    def importing(path: Path) -> object:
        shutil.rmtree(out, ignore_errors=True)
        return import_run(path, out)

    return [
        Reading("run/run.json", lambda path: open_run(path.parent).episodes),
        Reading("run/episodes.jsonl", lambda path: (open_run(path.parent).episodes, open_run(path.parent).step_table)),
        Reading("run/episodes.jsonl", lambda path: make_policy(f"replay:{path.parent}", environment="toy")),
        Reading("packed/episodes.jsonl.gz", lambda path: open_run(path.parent).episodes),
        Reading("packed/episodes.jsonl.gz", lambda path: make_policy(f"replay:{path.parent}", environment="toy")),
        Reading("chats.jsonl", importing),
        Reading("results.jsonl", importing),
        Reading("dump.jsonl", importing),
        Reading("log.json", importing),
        Reading("train.toml", lambda path: read_config(path, {})),
        Reading("template.toml", lambda path: read_template(path, Template("x"))),
        Reading("truth/truth.json", lambda path: read_truth(path.parent)),
        Reading("trained/metrics.jsonl", lambda path: read_lines(path)),
        Reading("trained/metrics.jsonl", lambda path: read_runs([path.parent])),
        Reading("trained/evaluation.json", lambda path: read_outcomes(path.parent, 1)),
        Reading("trained/policy/policy.json", lambda path: make_policy(str(path.parent), environment="toy")),
        Reading("shop/items_shuffle_1000.json", lambda path: load_catalogue(path.parent)),
        Reading("shop/items_ins_v2_1000.json", lambda path: load_catalogue(path.parent)),
        Reading("shop/items_human_ins.json", lambda path: load_catalogue(path.parent)),
    ]


def read_files(folder: Path, times: int, generator: random.Random) -> Tally:
    """Put hostile strings into every kind of file that we read: it is read, or refused in one line."""
    tally, kinds = Tally(), readings(folder)
    good = {each.path: (folder / each.path).read_bytes() for each in kinds}
    for number in range(times):
        kind = kinds[number % len(kinds)]
        path, content = folder / kind.path, spoilt_content(good[kind.path], generator)
        path.write_bytes(content)
        tally.faults += 1
        began = time.monotonic()
        tally.attempt(f"{kind.path} of {content[:100]!r}", lambda kind=kind, path=path: kind.read(path))
        if time.monotonic() - began > SLOW:
            tally.blame("hung", f"{kind.path} took {time.monotonic() - began:.0f} s: {content[:100]!r}")
        path.write_bytes(good[kind.path])
    return tally


def spoilt_content(content: bytes, generator: random.Random) -> bytes:
    """Put a hostile string in the place of the file, of a value in it, or of some of its bytes."""
    text = hostile(generator).encode("utf-8", "surrogatepass" if generator.random() < 0.3 else "replace")
    kind = generator.randrange(5)
    if kind == 0:
        return text
    if kind == 1:
        place = generator.randrange(len(content) + 1)
        return content[:place] + text + content[place + generator.choice([0, len(text)]) :]
    if kind == 2:
        return json.dumps(hostile(generator)).encode() + b"\n" + content
    if kind == 3:
        return generator.choice(
            [b"[" * 5_000, b'{"a":' * 5_000, b"a = " + b"[" * 5_000, b"\n" * 9, b"{}\n" * 3, content * 2]
        )
    places = list(values(content))
    if not places:
        return text
    start, end = generator.choice(places)
    other = generator.choice(
        [json.dumps(hostile(generator)), "null", "[]", "{}", "1e999", "-1", "NaN", "9" * 400, "true"]
    )
    return content[:start] + other.encode() + content[end:]


def values(content: bytes) -> Iterator[tuple[int, int]]:
    """Find numbers and quoted texts."""
    import re

    for found in re.finditer(rb'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?', content):
        yield found.span()
