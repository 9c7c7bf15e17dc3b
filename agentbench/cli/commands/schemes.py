"""``agentbench schemes``: which credit schemes there are, and what each computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from envs.base.terminal import say

if TYPE_CHECKING:
    from credit import Scheme


def schemes(name: Annotated[str | None, typer.Argument(help="one scheme, to read all about it")] = None) -> None:
    """List the credit schemes with equation, needed columns and source; or show all about one."""
    from credit import SCHEMES
    from credit.scheme import unknown

    if name is None:
        for scheme in SCHEMES.values():
            say(_short(scheme))
        say("\nmore about one: agentbench schemes NAME")
        return
    if name not in SCHEMES:
        raise unknown("scheme", name, SCHEMES)
    say(_long(SCHEMES[name]))


def _short(scheme: Scheme) -> str:
    needs = ", ".join(scheme.needs) or "nothing more"
    evidence = scheme.evidence.partition("\n")[0] or "–"
    return "\n".join(
        [
            f"\n{scheme.name}: {scheme.summary.partition(': ')[2] or scheme.summary or '–'}",
            _indented(scheme.equation, "    "),
            f"    needs {needs}; {evidence}; {' '.join(scheme.source.split()) or '–'}",
        ]
    )


def _long(scheme: Scheme) -> str:
    options = [f"{option} = {default!r}" for option, default in scheme.options.items()]
    presets = [
        f"compat={preset!r}: " + ", ".join(f"{option}={value!r}" for option, value in values.items())
        for preset, values in scheme.presets.items()
    ]
    parts = [
        ("equation", scheme.equation),
        ("symbols", scheme.symbols),
        ("source", scheme.source),
        ("cost, beyond arithmetic on the table", scheme.cost or "–"),
        ("when to use it", scheme.use or "–"),
        ("evidence and notes", scheme.evidence),
        ("needs", "group, episode, step, reward" + "".join(f", {column}" for column in scheme.needs)),
        ("options", "\n".join(options)),
        ("presets", "\n".join(presets)),
    ]
    return "\n\n".join([scheme.summary, *(f"{title}\n{_indented(text, '    ')}" for title, text in parts if text)])


def _indented(text: str, by: str) -> str:
    return "\n".join(by + line if line else line for line in text.splitlines())
