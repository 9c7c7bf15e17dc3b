"""Model servers that are slow, break off, refuse, and talk rubbish: the evaluation ends as with a good one."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import stub_server
from kills import evaluate_at_last
from tally import Tally, finished, tables

from agentbench import evaluate

RUBBISH = (
    b"",
    b"<html>502 Bad Gateway</html>",
    b"\x00\xff" * 100,
    b"[" * 100_000,
    b'{"choices": []}',
    b'{"choices": [{"message": null}]}',
    b'{"choices": [{"message": {"content": 7}}]}',
    b'{"choices": [{"message": {"content": {"text": "up"}}}]}',
    b"null",
)


def misbehave(generator: random.Random) -> Any:
    """Choose what a request gets instead of an answer: see :class:`stub_server.StubServer`."""
    waiting = generator.choice([None, "0", "0.02", "soon", "-1"])
    return generator.choice(
        [
            "close",
            "half",
            "hang",
            (429, {"error": {"message": "too many"}}, waiting),
            (500, {"error": "broken"}),
            (503, {"error": {"message": "starting"}}, waiting),
            generator.choice(RUBBISH),
            generator.choice(RUBBISH),
        ]
    )


def fail_requests(folder: Path, times: int, generator: random.Random) -> Tally:
    """Answer every other request badly, until enough were."""
    tally = Tally()

    def answer(body: dict[str, Any], number: int) -> Any:
        if tally.faults >= times or generator.random() < 0.5:
            time.sleep(generator.choice([0.0, 0.0, 0.2]))  # slow, but within the deadline
            return stub_server.up(body, number)
        tally.faults += 1
        return misbehave(generator)

    about: dict[str, Any] = {"trials": 10, "workers": 2, "inline": True}
    port = play_well(folder / "whole", about)
    about |= {"policy_options": reached(port, attempts=12, timeout=1.0)}
    with stub_server.serving(answer, port):
        while tally.faults < times:
            out, before = folder / f"bad-{tally.faults}", tally.faults
            evaluate_at_last(out, "openai:stub", about)
            tally.under_way += tally.faults - before
            if tables(out) != tables(folder / "whole"):
                tally.blame("wrong", f"{out.name} ended otherwise")
    return tally


def lose_servers(folder: Path, times: int, generator: random.Random) -> Tally:
    """Let a server fail for good after some answers: the run must stop with one message, and go on later."""
    tally, about = Tally(), {"trials": 4, "inline": True}
    port = play_well(folder / "whole", about)
    about |= {"policy_options": reached(port, attempts=2, timeout=0.3, patience=4)}
    for number in range(times):
        out, last, way = folder / f"lost-{number}", generator.randrange(10, 70), misbehave(generator)

        def answer(body: dict[str, Any], count: int, last: int = last, way: Any = way) -> Any:
            return stub_server.up(body, count) if count < last else way

        with stub_server.serving(answer, port):
            tally.faults += 1
            label = f"{way!r:.60}"
            tally.attempt(label, lambda out=out: evaluate("toy", "openai:stub", out=out, **about))
            tally.under_way += bool(finished(out))
        before = finished(out)
        with stub_server.serving(port=port):
            evaluate_at_last(out, "openai:stub", about)
        if not finished(out).startswith(before):
            tally.blame("lost", f"{out.name} lost what was finished")
        if tables(out) != tables(folder / "whole"):
            tally.blame("wrong", f"{out.name} ended otherwise")
    return tally


def play_well(out: Path, about: dict[str, Any]) -> int:
    """Evaluate against a good server, and return its port: the address of a server is part of what a run is."""
    with stub_server.serving() as server:
        evaluate("toy", "openai:stub", out=out, **about, policy_options=reached(server.server_port))
        return server.server_port


def reached(port: int, **options: Any) -> dict[str, Any]:
    return {"base_url": f"http://127.0.0.1:{port}/v1", "backoff": 0.01, **options}
