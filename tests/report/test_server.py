from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from report_runs import make_episode

from agentbench.episodes import to_line
from agentbench.report import server as module
from agentbench.report.server import make_server


@contextmanager
def served(folder: Path) -> Iterator[str]:
    server = make_server([folder])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def get(address: str, **headers: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_it_listens_on_the_loopback_address_alone(weak: Path) -> None:
    server = make_server([weak])
    assert server.server_address[0] == "127.0.0.1"
    server.server_close()


def test_it_serves_the_page_its_data_and_steps_and_nothing_else(weak: Path) -> None:
    with served(weak) as base:
        assert get(f"{base}/")[1].startswith("<!doctype html>")
        assert json.loads(get(f"{base}/data.json")[1])["index"]["runs"][0]["name"] == "weak"
        assert get(f"{base}/steps/0-0.js?v=x")[1].startswith('agentbenchSteps("0-0",')
        paths = ["run.json", "episodes.jsonl", "../weak/run.json", "..%2f..%2fetc/passwd", "/etc/passwd"]
        paths += ["steps/../run.json", "steps/0-9.js", "steps/9-0.js", "steps/-1-0.js", "steps/0-0.js/../../run.json"]
        assert {path: get(f"{base}/{path}")[0] for path in paths} == dict.fromkeys(paths, 404)


def test_another_name_that_leads_here_is_refused(weak: Path) -> None:
    with served(weak) as base:
        assert get(base, Host="evil.example")[0] == 403
        assert get(base, Host="127.0.0.1.evil.example")[0] == 403
        assert get(base, Host="localhost:1")[0] == 200


def test_it_is_fresh_after_a_new_episode_and_quiet_while_nothing_changes(
    weak: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REST", 0.0)
    with served(weak) as base:
        first = json.loads(get(f"{base}/data.json")[1])
        assert get(f"{base}/data.json?version={first['version']}") == (204, "")
        with (weak / "episodes.jsonl").open("a") as file:
            file.write(to_line(make_episode(2, 0, ["hall"], True)))
        status, text = get(f"{base}/data.json?version={first['version']}")
        assert status == 200
        news = json.loads(text)
        assert len(news["index"]["runs"][0]["episodes"]["task"]) == 5
        assert news["version"] != first["version"]
