from __future__ import annotations

import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from report_runs import make_episode

from agentbench.report import server as module
from agentbench.report.server import make_server
from agentbench.runs.episodes import to_line
from envs.base.errors import UserError


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


@pytest.mark.parametrize("name", ["quality.csv", "metrics.jsonl", "episodes.jsonl", "truth.parquet", "run.json"])
def test_a_run_whose_file_is_a_link_to_another_file_is_not_shown(weak: Path, tmp_path: Path, name: str) -> None:
    secret = tmp_path / "private" / name
    secret.parent.mkdir()
    secret.write_text((weak / name).read_text() if (weak / name).exists() else "sample,scheme,cosine\nsecret,grpo,1\n")
    (weak / name).unlink(missing_ok=True)
    (weak / name).symlink_to(secret)
    with pytest.raises(UserError, match="is a link to a file outside of the run"):
        make_server([weak])


def test_a_link_within_the_run_is_followed(weak: Path) -> None:
    (weak / "kept").mkdir()
    (weak / "episodes.jsonl").rename(weak / "kept" / "episodes.jsonl")
    (weak / "episodes.jsonl").symlink_to("kept/episodes.jsonl")
    with served(weak) as base:
        assert json.loads(get(f"{base}/data.json")[1])["index"]["runs"][0]["expected"] == 4


def test_every_answer_forbids_what_could_be_made_of_it(weak: Path) -> None:
    with served(weak) as base:
        for path in ("/", "/data.json", "/steps/0-0.js", "/nothing"):
            try:
                headers = urllib.request.urlopen(base + path, timeout=20).headers
            except urllib.error.HTTPError as error:
                headers = error.headers
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert "default-src 'none'" in headers["Content-Security-Policy"]
            assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
            assert "Access-Control-Allow-Origin" not in headers


def test_another_name_that_leads_here_is_refused(weak: Path) -> None:
    with served(weak) as base:
        assert get(base, Host="evil.example")[0] == 403
        assert get(base, Host="127.0.0.1.evil.example")[0] == 403
        assert get(base, Host="localhost:1")[0] == 200


@pytest.mark.parametrize("address", ["http://[", "http://[\x1b[2J]", "http://[::1"])
def test_an_address_that_is_none_is_answered(weak: Path, address: str, capsys: pytest.CaptureFixture[str]) -> None:
    with served(weak) as base, socket.create_connection(("127.0.0.1", int(base.rpartition(":")[2])), 20) as browser:
        browser.sendall(f"GET {address} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert b" 404 " in browser.recv(100)
    assert capsys.readouterr().err == ""


def test_an_unforeseen_error_is_shown_as_text(
    weak: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "abcdef123456")

    def fail(*_: object) -> None:
        raise RuntimeError("\x1b[2J abcdef123456")

    with served(weak) as base:
        monkeypatch.setattr(module, "render", fail)
        with pytest.raises(OSError):
            urllib.request.urlopen(base, timeout=20)
    printed = capsys.readouterr().err
    assert r"RuntimeError: \x1b[2J <redacted>" in printed and "\x1b" not in printed


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
