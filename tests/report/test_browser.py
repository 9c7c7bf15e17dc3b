"""The page in a real browser, as people use it: pointer, keyboard, links; and nothing on the console."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from report_runs import EVIL, Writer, make_episode, write_run

from agentbench.report import make_report, page, write_page
from agentbench.report.server import make_server
from agentbench.runs.episodes import to_line
from agentbench.runs.run import open_run
from credit.tools.graph import trajectory_graph

Open = Callable[..., Any]
WAIT_SECONDS = 20


def wait(browser: Any, condition: str, *arguments: Any) -> Any:
    """Wait until a piece of script gives something that is true, and return it."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, WAIT_SECONDS, 0.05).until(
        lambda driver: driver.execute_script(f"return {condition}", *arguments), condition
    )


def texts(browser: Any, selector: str) -> list[str]:
    script = "return [...document.querySelectorAll(arguments[0])].map((element) => element.textContent)"
    return browser.execute_script(script, selector)


def press(browser: Any, *keys: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    chain = ActionChains(browser)
    for key in keys:
        chain.send_keys(key)
    chain.perform()


@pytest.fixture
def opened(browser: Any, weak: Path, strong: Path, tmp_path: Path) -> Iterator[Open]:
    """Open the page of the two runs at an address within it; at the end the console must be empty."""

    def go(route: str = "#/", title: str = "Results") -> Any:
        (out,) = write_page(make_report([weak, strong], ["gigpo", "grpo"]), tmp_path / "page.html")
        browser.get("about:blank")
        browser.get(f"{out.as_uri()}{route}")
        wait(browser, "document.querySelector('h1')?.textContent === arguments[0]", title)
        return browser

    browser.get_log("browser")
    yield go
    assert browser.get_log("browser") == []


def test_it_shows_the_results_with_intervals(opened: Open) -> None:
    browser = opened()
    assert texts(browser, "[data-table=runs] tbody td:nth-child(1)") == ["weak", "strong"]
    assert texts(browser, "[data-table=runs] tbody td:nth-child(5)")[0].startswith("25.0 %[")
    assert texts(browser, "[data-table=comparisons] tbody td:nth-child(6)")[0].startswith("+75.0[")
    assert len(texts(browser, "figure circle")) == 6


def test_text_of_a_run_is_shown_and_not_run(opened: Open) -> None:
    browser = opened("#/episode/weak/task-0/0", "house 0")
    assert "</script><script>window.evil = 1</script>" in texts(browser, "td.observation")[0]
    assert browser.execute_script("return window.evil") is None
    assert texts(browser, "main img") == []


ROUTES = (
    "#/", "#/episodes", "#/episode/RUN/TASK/0", "#/group/RUN/TASK", "#/graph/RUN/TASK", "#/training", "#/quality",
)  # fmt: skip


def hostile(folder: Path) -> Path:
    """Write a run whose every text is markup that would run: names, ids, settings, notes, errors, metrics."""
    episodes = []
    for trial in range(3):
        made = make_episode(0, trial, ["hall", "attic", "hall"], trial == 1)
        steps = [
            replace(step, observation=EVIL, action=EVIL, text=EVIL, admissible_actions=[EVIL]) for step in made.steps
        ]
        made = replace(made, task_id=EVIL, task_name=EVIL, task_type=EVIL, instruction=EVIL, steps=steps)
        failed = {"outcome": "error", "won": False, "error": EVIL} if trial == 2 else {}
        episodes.append(replace(made, final_observation=EVIL, **failed))
    identity = {"policy": EVIL, "env": EVIL, "split": EVIL, "scheme": EVIL, "env_options": {EVIL: [EVIL]}, EVIL: EVIL}
    write_run(folder, episodes, **identity)
    record = json.loads((folder / "run.json").read_text())
    more = {"notes": [EVIL], "started": EVIL, "kind": EVIL, "protected": EVIL, "versions": {EVIL: EVIL}}
    (folder / "run.json").write_text(json.dumps(record | more))
    rows = [{"step": step, "eval/success": 0.5, EVIL: 1.0, "reward": 0.1} for step in range(2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    quoted = '"' + EVIL.replace('"', '""') + '"'
    table = f"sample,scheme,cosine,cosine_low,cosine_high\n{quoted},{quoted},0.5,0.4,0.6\n"
    (folder / "quality.csv").write_text(table)
    return folder


@pytest.mark.parametrize("served", [False, True], ids=["file", "server"])
def test_no_text_of_a_run_is_run_on_any_page(browser: Any, tmp_path: Path, served: bool) -> None:
    name = "<img src=x onerror=window.evil=3>"
    folders = [hostile(tmp_path / "a" / name), hostile(tmp_path / "a" / "other")]
    server = make_server(folders)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (out,) = write_page(make_report(folders, ["gigpo", "grpo"], title=EVIL), tmp_path / "page.html")
    base = f"http://127.0.0.1:{server.server_address[1]}/" if served else out.as_uri()
    browser.get_log("browser")
    try:
        for route in ROUTES:
            browser.get("about:blank")
            browser.get(base + route.replace("RUN", quote(name, safe="")).replace("TASK", quote(EVIL, safe="")))
            wait(browser, "document.querySelector('main h1')")
            assert browser.execute_script("return window.evil") is None, route
            planted = "return document.querySelectorAll('main img, header img, main script').length"
            assert browser.execute_script(planted) == 0, route
            assert "Not here" not in texts(browser, "h1"), route
            if route.startswith(("#/episode/", "#/group", "#/graph")):
                assert EVIL in browser.execute_script("return document.querySelector('main').textContent"), route
        assert browser.get_log("browser") == []
    finally:
        server.shutdown()
        server.server_close()
        browser.get("about:blank")


def test_another_site_in_the_same_browser_reads_nothing(browser: Any, weak: Path) -> None:
    """A page of another origin may ask the viewer's address, and gets neither data, nor script, nor a frame."""
    viewer = make_server([weak])
    port = viewer.server_address[1]
    attack = f"""<!doctype html><body><script>
      window.stolen = [];
      window.agentbenchSteps = (name) => stolen.push(name);
      const told = (what) => stolen.push(what);
      window.asked = Promise.allSettled([
        fetch("http://127.0.0.1:{port}/data.json").then((answer) => answer.text()).then(told),
        fetch("http://localhost:{port}/data.json").then((answer) => answer.text()).then(told),
        new Promise((done) => {{
          const script = document.createElement("script");
          script.src = "http://127.0.0.1:{port}/steps/0-0.js";
          script.onload = script.onerror = done;
          document.head.append(script);
        }}),
        new Promise((done) => {{
          const frame = document.createElement("iframe");
          frame.src = "http://127.0.0.1:{port}/";
          frame.onload = done;
          document.body.append(frame);
        }}),
      ]).then(() => {{ window.done = true; }});
    </script>"""

    class Attacker(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(attack.encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    attacker = ThreadingHTTPServer(("127.0.0.1", 0), Attacker)
    for server in (viewer, attacker):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        browser.get(f"http://localhost:{attacker.server_address[1]}/")
        wait(browser, "window.done")
        assert browser.execute_script("return window.stolen") == []
        browser.switch_to.frame(0)
        assert browser.execute_script("return document.getElementById('data')") is None  # a page of the browser's own
    finally:
        browser.switch_to.default_content()
        browser.get("about:blank")
        browser.get_log("browser")
        for server in (viewer, attacker):
            server.shutdown()
            server.server_close()


def test_episodes_are_filtered_and_searched(opened: Open) -> None:
    from selenium.webdriver.support.ui import Select

    browser = opened("#/episodes", "Episodes")
    wait(browser, "document.getElementById('found').textContent === '8 episodes'")
    outcome = next(s for s in browser.find_elements("css selector", "select") if "failure" in s.text)
    Select(outcome).select_by_value("failure")
    wait(browser, "document.getElementById('found').textContent === '3 episodes'")
    search = browser.find_element("id", "search")
    search.send_keys("house 1")
    wait(browser, "document.getElementById('found').textContent === '2 episodes'")
    search.clear()
    search.send_keys("cellar")
    wait(browser, "document.getElementById('found').textContent === '0 episodes'")
    browser.find_element("css selector", "input[type=checkbox]").click()
    wait(browser, "document.getElementById('found').textContent === '1 episode'")
    assert "q=cellar" in browser.current_url  # a search can be passed on as a link


def test_a_link_opens_an_episode_and_the_arrow_keys_go_through_it(opened: Open) -> None:
    from selenium.webdriver.common.keys import Keys

    browser = opened("#/episodes?run=weak", "Episodes")
    wait(browser, "document.querySelector('[data-table=episodes] a')")
    browser.find_element("css selector", "[data-table=episodes] a").click()
    wait(browser, "document.querySelector('h1').textContent === 'house 0' && document.querySelector('tr.current')")
    assert texts(browser, "thead th")[4:] == ["gigpo", "grpo"]
    current = "document.querySelector('tr.current').dataset.step"
    press(browser, Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    assert wait(browser, current) == "2"
    press(browser, Keys.ARROW_LEFT)
    assert wait(browser, current) == "1" and "step=1" in browser.current_url
    press(browser, "n")
    wait(browser, "location.hash.startsWith('#/episode/weak/task-0/1')")
    press(browser, "/")
    assert browser.execute_script("return document.activeElement.id") == "search"
    press(browser, "attic")
    wait(browser, "document.getElementById('steps-found').textContent === '1 of 2 steps'")
    assert texts(browser, "mark") == ["attic", "attic"]


def test_the_credit_is_coloured_by_its_sign(opened: Open) -> None:
    browser = opened("#/episode/weak/task-0/1", "house 0")
    wait(browser, "document.querySelector('td.credit')")
    assert set(texts(browser, "td.credit.pos")) and not texts(browser, "td.credit.neg")
    browser.execute_script("location.hash = '#/episode/weak/task-0/0'")
    wait(browser, "document.querySelectorAll('td.credit.neg').length === 6")


def test_a_group_stands_side_by_side_and_shares_its_states(opened: Open) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    browser = opened("#/group/weak/task-0", "house 0")
    assert len(texts(browser, ".columns section")) == 2
    ActionChains(browser).move_to_element(browser.find_element("css selector", ".columns li")).perform()
    wait(browser, "document.querySelectorAll('li.same').length === 3")  # the hall, twice here and once there
    browser.find_element("css selector", "li[data-step='1']").click()
    wait(browser, "document.querySelector('tr.current')?.dataset.step === '1'")


def test_the_graph_has_the_states_and_transitions_of_the_credit_room(opened: Open, weak: Path) -> None:
    browser = opened("#/graph/weak/task-0", "house 0")
    expected = trajectory_graph(open_run(weak).steps(), group="task-0")
    size = f"{len(expected)} states, {expected.number_of_edges()} transitions"
    assert texts(browser, "#graph-size") == [size]
    assert len(texts(browser, "g[data-part=node]")) == len(expected)
    assert len(texts(browser, "path.edge")) == expected.number_of_edges()
    before = browser.execute_script("return document.querySelector('.map svg').getAttribute('viewBox')")
    press(browser, "+")
    assert browser.execute_script("return document.querySelector('.map svg').getAttribute('viewBox')") != before
    browser.execute_script("document.querySelector('g[data-part=node]').focus()")
    wait(browser, "document.querySelector('.map aside').textContent.includes('visits')")


def test_the_graph_of_trees_draws_each_step_once_and_branches_from_their_parents(browser: Any, tmp_path: Path) -> None:
    root = make_episode(0, 0, ["hall", "attic", "roof"], False)
    branch = replace(make_episode(0, 1, ["attic", "sky"], True), parent=0, fork=1, fork_by="snapshot")
    at_once = replace(make_episode(0, 2, ["attic", "cellar"], False), parent=1, fork=1, fork_by="snapshot")
    twig = replace(make_episode(0, 3, ["sky"], False), parent=1, fork=2, fork_by="replay")
    alone = make_episode(0, 4, ["hall"], False)
    run = write_run(tmp_path / "grown", [root, branch, at_once, twig, alone])
    (out,) = write_page(make_report([run], ["tree_grpo"]), tmp_path / "page.html")
    browser.get_log("browser")
    browser.get("about:blank")
    browser.get(f"{out.as_uri()}#/graph/grown/task-0")
    wait(browser, "document.querySelector('#graph-size')?.textContent === '9 steps played, 3 forks'")
    assert len(texts(browser, "path.edge")) == 9 and len(texts(browser, "path.fork")) == 3
    assert len(texts(browser, "g[data-part=node]")) == 9 + 2, "a situation after every step, and two at the start"
    # Every fork begins where a step of another episode ended: at a node that is there already.
    begins = (
        "[...document.querySelectorAll('path.fork')].map((each) => each.getAttribute('d').match(/M(\\S+) (\\S+?)Q/))"
    )
    circles = "[...document.querySelectorAll('g[data-part=node] circle')]"
    places = f"{circles}.map((at) => at.getAttribute('cx') + ' ' + at.getAttribute('cy'))"
    after_one, after_two = "150 0", "300 40"  # in the line of the root, and of the branch below it
    found = browser.execute_script(f"return {begins}.map((each) => each[1] + ' ' + each[2])")
    assert sorted(found) == sorted([after_one, after_one, after_two])
    assert set(found) <= set(browser.execute_script(f"return {places}"))
    edges = "[...document.querySelectorAll('path.edge')].map((each) => each.__part)"
    script = f"return {edges}.filter((each) => each.count === arguments[0]).map((each) => each.action)"
    assert browser.execute_script(script, 4) == ["leave hall"], "the step that four episodes have in common, once"
    browser.find_element("css selector", "select option[value=states]").click()
    expected = trajectory_graph(open_run(run).steps(), group="task-0")
    size = f"{len(expected)} states, {expected.number_of_edges()} transitions"
    wait(browser, "document.querySelector('#graph-size').textContent === arguments[0]", size)
    browser.get(f"{out.as_uri()}#/episode/grown/task-0/3")
    wait(browser, "document.querySelector('.branch')?.textContent === 'goes on from step 2 of trial 1'")
    assert texts(browser, "table.steps tbody tr td:first-child") == ["2"]
    assert browser.get_log("browser") == []


def test_the_graph_tells_of_what_is_pointed_at_and_zooms_with_the_wheel(opened: Open) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

    browser = opened("#/graph/weak/task-0", "house 0")
    node = browser.find_element("css selector", "g[data-part=node] circle")
    ActionChains(browser).move_to_element(node).perform()
    wait(browser, "document.querySelector('.map aside').textContent.includes('visits')")
    width = "return Number(document.querySelector('.map svg').getAttribute('viewBox').split(' ')[2])"
    before = browser.execute_script(width)
    ActionChains(browser).scroll_from_origin(ScrollOrigin.from_element(node), 0, -200).perform()
    wait(
        browser,
        "Number(document.querySelector('.map svg').getAttribute('viewBox').split(' ')[2]) < arguments[0]",
        before,
    )


def test_the_theme_changes_and_tables_sort(opened: Open) -> None:
    browser = opened()
    background = "return getComputedStyle(document.body).backgroundColor"
    seen = {browser.execute_script(background)}
    for _ in range(2):
        browser.find_element("id", "theme").click()
        seen.add(browser.execute_script(background))
    assert len(seen) == 2
    browser.find_element("css selector", "[data-table=runs] th:nth-child(5) button").click()
    assert texts(browser, "[data-table=runs] tbody td:nth-child(1)") == ["strong", "weak"]
    browser.execute_script("localStorage.clear()")


def test_a_table_is_copied_as_text(opened: Open) -> None:
    browser = opened()
    browser.execute_script(
        "Object.defineProperty(navigator, 'clipboard', {value: {writeText: async (text) => { window.copied = text; }}})"
    )
    browser.find_element("css selector", ".tools .copy").click()
    header, *rows = wait(browser, "window.copied").strip().split("\n")
    assert header.split("\t")[:2] == ["run", "task_type"]
    assert [row.split("\t")[0] for row in rows] == ["weak", "strong"]


def test_steps_are_read_from_files_beside_the_page(
    browser: Any, weak: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "INLINE_BYTES", 10)
    out, _ = write_page(make_report([weak]), tmp_path / "page.html")
    browser.get_log("browser")
    browser.get(f"{out.as_uri()}#/episode/weak/task-1/0")
    wait(browser, "document.querySelectorAll('table.steps tbody tr').length === 2")
    assert browser.get_log("browser") == []


def test_learning_curves_show_how_many_seeds_there_are(browser: Any, train_run: Writer, tmp_path: Path) -> None:
    folders = [train_run(f"g-{seed}", [0.1, 0.2 + seed / 10], seed=seed) for seed in range(3)]
    folders.append(train_run("alone", [0.1, 0.9], scheme="grpo"))
    (out,) = write_page(make_report(folders), tmp_path / "page.html")
    browser.get(f"{out.as_uri()}#/training")
    wait(browser, "document.querySelector('.legend')")
    assert texts(browser, ".legend span") == ["gigpo (3 seeds)", "grpo (1 seed: no result by itself)"]
    assert browser.execute_script("return document.querySelectorAll('figure path[stroke-dasharray]').length") == 1


def test_the_quality_of_schemes_is_drawn_for_the_chosen_sample(browser: Any, weak: Path, tmp_path: Path) -> None:
    from selenium.webdriver.support.ui import Select

    rows = "".join(f"{sample},{scheme},0.5,0.4,0.6\n" for sample in ("chain", "door") for scheme in ("exact", "grpo"))
    (weak / "quality.csv").write_text("sample,scheme,cosine,cosine_low,cosine_high\n" + rows + "door,salt,0.1,,\n")
    (out,) = write_page(make_report([weak]), tmp_path / "page.html")
    browser.get_log("browser")
    browser.get(f"{out.as_uri()}#/quality")
    wait(browser, "document.querySelectorAll('figure circle').length === 2")
    Select(browser.find_element("css selector", "main select")).select_by_value("door")
    wait(browser, "document.querySelectorAll('figure circle').length === 3")
    assert len(texts(browser, "[data-table=quality] tbody tr")) == 5
    assert browser.get_log("browser") == []


def test_the_served_page_takes_up_a_new_episode(browser: Any, weak: Path) -> None:
    server = make_server([weak])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    browser.get_log("browser")
    try:
        browser.get(f"http://127.0.0.1:{server.server_address[1]}/#/episodes")
        wait(browser, "document.getElementById('found')?.textContent === '4 episodes'")
        with (weak / "episodes.jsonl").open("a") as file:
            file.write(to_line(make_episode(2, 0, ["cave"], True)))
        wait(browser, "document.getElementById('found').textContent === '5 episodes'")
        browser.execute_script("location.hash = '#/episode/weak/task-2/0'")
        wait(browser, "document.querySelector('td.observation')?.textContent.includes('you are in cave')")
        assert browser.get_log("browser") == []
    finally:
        server.shutdown()
        server.server_close()
        browser.get("about:blank")


def test_a_step_shows_the_whole_answer_and_why_it_did_not_count(browser: Any, tmp_path: Path) -> None:
    episode = make_episode(0, 0, ["hall", "attic"], False)
    details = {"cut_answer": True, "prompt_tokens": 90, "cached_tokens": 40, "answer_tokens": 8, "model": "served"}
    episode.steps[0].text, episode.steps[0].details = f"thinking {EVIL}", {"invalid": f"no action {EVIL}", **details}
    (out,) = write_page(make_report([write_run(tmp_path / "model", [episode])], ["grpo"]), tmp_path / "page.html")
    browser.get(out.as_uri())
    wait(browser, "document.querySelector('table[data-table=reasons]')")
    assert f"no action {EVIL}" in texts(browser, "table[data-table=reasons] td")
    assert "100.0 %" in texts(browser, "table[data-table=answers] td")
    browser.get(f"{out.as_uri()}#/episode/model/task-0/0")
    wait(browser, "document.querySelector('.why')")
    assert texts(browser, ".why") == [f"broke the format: no action {EVIL}"]
    said = "cut at the longest answer, 90 tokens of prompt (40 cached), 8 of answer, served"
    assert texts(browser, ".about") == [said]
    assert f"thinking {EVIL}" in texts(browser, "details.offered .mono")
    browser.find_element("css selector", "option[value=broke]").click()
    wait(browser, "document.querySelectorAll('table.steps tbody tr').length === 1")
    assert not browser.execute_script("return window.evil")
