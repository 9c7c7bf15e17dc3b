"""``agentbench report``, ``view`` and ``export``: show runs in a browser, and take results out of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agentbench.analysis import SHOWN_SCHEMES
from envs.base.errors import UserError
from envs.base.terminal import say

DEFAULT_SCHEMES = ",".join(SHOWN_SCHEMES)

Runs = Annotated[
    list[Path], typer.Argument(help="folders of runs or sweeps; the first is what the others are compared with")
]
Schemes = Annotated[str, typer.Option("--schemes", help="credit schemes beside the steps: names, 'all' or 'none'")]


def report(
    runs: Runs,
    out: Annotated[Path, typer.Option(help="HTML file")] = Path("report.html"),
    schemes: Schemes = DEFAULT_SCHEMES,
    title: Annotated[str, typer.Option(help="of the page")] = "agentbench",
) -> None:
    """Write one self-contained page: results, learning curves, verdicts of sweeps, an episode reader, graphs."""
    import pyarrow as pa

    pa.set_memory_pool(pa.system_memory_pool())  # gives back what was read: a quarter less memory, and no slower
    from agentbench.report import make_report, write_page
    from agentbench.report.runs import warn_of_protected
    from agentbench.report.sweeps import run_folders
    from agentbench.runs.notes import print_state
    from agentbench.runs.run import names_of, open_run

    if out.suffix.lower() not in (".html", ".htm", ""):
        raise UserError(f"{out} does not end in .html: the page is written as HTML alone")
    folders = run_folders(runs)
    opened = list(map(open_run, folders))
    warn_of_protected(opened)
    print_state(zip(names_of(folders), opened, strict=True))
    page, *parts = write_page(make_report(runs, _names(schemes), title), out)
    say(f"page: {page} ({page.stat().st_size / 1e6:.1f} MB), to be opened in any browser")
    for folder in parts:
        say(f"steps: {folder}{'/'} belongs to it: keep them together")


def view(
    runs: Runs,
    port: Annotated[int, typer.Option(min=0, max=65535, help="on this machine; 0 for any that is free")] = 0,
    schemes: Schemes = DEFAULT_SCHEMES,
    browser: Annotated[bool, typer.Option(help="open the page in a browser")] = False,
) -> None:
    """Serve the page of runs to this machine alone, kept fresh while they continue; Ctrl-C ends it."""
    from agentbench.report.server import make_server

    server = make_server(runs, port, _names(schemes))
    address = f"http://127.0.0.1:{server.server_address[1]}/"
    try:  # from before the address is known: Ctrl-C is the usual end, however early it comes
        say(f"{address}  (Ctrl-C ends it)")
        if browser:
            import webbrowser

            webbrowser.open(address)
        server.serve_forever()
    except KeyboardInterrupt:
        say("ended")
    finally:
        server.server_close()


def export(
    runs: Runs,
    to: Annotated[str, typer.Option(help="csv, parquet, latex, chat, inspect, atif, verifiers or jsonl")],
    out: Annotated[Path, typer.Option(help="a folder for csv, parquet, atif and verifiers, a file for the others")],
    schemes: Annotated[str, typer.Option(help="csv and parquet: also each step's credit by these schemes")] = "none",
) -> None:
    """Write the tables behind the page, a LaTeX table, or the episodes as chats, lines or logs of other programs."""
    from agentbench.report.export import export as write
    from agentbench.report.sweeps import run_folders
    from agentbench.runs.notes import print_state
    from agentbench.runs.run import open_run

    written = write(runs, to, out, _names(schemes))
    print_state((str(folder), open_run(folder)) for folder in run_folders(runs))
    for path in written:
        say(f"written: {path}")


def _names(text: str) -> list[str]:
    from agentbench.analysis.advantages import scheme_names

    return [] if text.strip() == "none" else scheme_names(text)
