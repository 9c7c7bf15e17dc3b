"""A shopper by rule: search for the instruction, open the first hit, choose the options it names, buy.

It sees only what any agent sees (the page and what can be clicked), in either observation mode. The rule
baseline of Yao et al. 2022 does the same without choosing options.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from envs.base.digest import digest_of
from policies.contract import Prompt, Response, Turn

VERSION = 1

_BUTTONS = ("back to search", "< prev", "next >", "description", "features", "reviews", "buy now")
_MARKS = re.compile(r"\[(?:clicked )?button_?\]")


class WebshopRule:
    """The rule agent, a floor for every other one."""

    name = "rule"

    @property
    def digest(self) -> str:
        """Short hash of what decides the answers."""
        return digest_of(self.name, VERSION)

    def act(self, prompts: Sequence[Prompt]) -> list[Response]:
        """Answer each prompt."""
        return [Response(_next_action(prompt)) for prompt in prompts]


def _next_action(prompt: Prompt) -> str:
    lines = page_lines(prompt.observation)
    names = [action.removeprefix("click[").removesuffix("]") for action in prompt.info["admissible_actions"] or ()]
    instruction = instruction_of(lines)
    if "buy now" in names:
        wanted = mentioned_options(lines, names, instruction)
        for value in wanted:
            if not _has_chosen(prompt.history, value):
                return f"click[{value}]"
        return "click[buy now]"
    if "next >" in names and names[-1] != "next >":  # a page of results lists its products last
        return f"click[{names[names.index('next >') + 1]}]"
    searches = sum(turn.action.startswith("search[") for turn in prompt.history)
    words = query_of(instruction).split()
    return f"search[{' '.join(words[: max(1, len(words) >> searches)])}]"  # half as long each time nothing is found


def page_lines(observation: str) -> list[str]:
    """Return the texts of a page, whichever of the two modes it was printed in, without the marks."""
    lines = observation.split(" [SEP] ") if " [SEP] " in observation else observation.split("\n")
    return [_MARKS.sub("", line).strip() for line in lines if line and not line.startswith("You have clicked ")]


def instruction_of(lines: Sequence[str]) -> str:
    """Return the instruction on a page; empty if the page shows none."""
    for place, line in enumerate(lines[:-1]):
        if line.strip() == "Instruction:":
            return lines[place + 1]
    return ""


def query_of(instruction: str) -> str:
    """Return what to search for: the instruction without its opening and its price clause, and no brackets."""
    text = re.sub(r", and price lower than [0-9.]+ dollars$", "", instruction)
    text = re.sub(r"^find me ", "", text, flags=re.IGNORECASE)
    return " ".join(re.sub(r"[\[\]]", " ", text).split()) or "product"


def mentioned_options(lines: Sequence[str], names: Sequence[str], instruction: str) -> list[str]:
    """Return the option values of an item page that the instruction names, at most one for each option.

    The page lists an option's name, which cannot be clicked, and then its values, which can. Of several
    values named, the longest is taken.
    """
    values = [name for name in names if name not in _BUTTONS]
    groups: list[list[str]] = []
    for line in lines:
        if line not in values:
            groups.append([])
        elif groups:
            groups[-1].append(line)
    wanted = instruction.lower()
    chosen = []
    for group in groups:
        named = [value for value in group if re.search(rf"(?<!\w){re.escape(value)}(?!\w)", wanted)]
        if named:
            chosen.append(max(named, key=len))
    return chosen


def _has_chosen(history: Sequence[Turn], value: str) -> bool:
    """Return whether the value was clicked since the last search."""
    for turn in reversed(history):
        if turn.action == f"click[{value}]":
            return True
        if turn.action.startswith("search["):
            return False
    return False
