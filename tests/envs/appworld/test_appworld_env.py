"""AppWorld through its public face: our own tasks in the real engine, and what goes wrong."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from envs.appworld import AppWorldEnv
from envs.appworld.anchors import extend
from envs.appworld.env import code_of
from envs.appworld.install import install
from envs.appworld.layout import VERSION, layout
from envs.appworld.tasks import open_tasks
from envs.errors import UserError
from policies import Prompt, make_policy

MakeEnv = Callable[..., AppWorldEnv]
COLLATERAL = (
    'apis.phone.create_alarm(time="04:00", label="Collateral", access_token=apis.phone.login('
    'username=apis.supervisor.show_profile()["phone_number"], password=[each["password"] for each in '
    'apis.supervisor.show_account_passwords() if each["account_name"] == "phone"][0])["access_token"])'
)


def finish(env: AppWorldEnv, task: str, *, before: str | None = None) -> dict:
    """Play a task's solution, with a block of other code before its last."""
    _, info = env.reset(options={"task": task})
    for block in info["walkthrough"][:-1]:
        observation, _, terminated, _, info = env.step(block)
        assert info["is_valid"] and not terminated, observation
    if before:
        assert env.step(before)[4]["is_valid"]
    _, reward, terminated, _, info = env.step(info["walkthrough"][-1])
    assert terminated and reward == float(info["won"])
    return info


# -- the tasks -------------------------------------------------------------------------------------------


def test_the_mini_split_has_eight_scenarios_of_three_variants_in_three_difficulties(make_env: MakeEnv) -> None:
    tasks = make_env().tasks
    scenarios = Counter(task.name.rpartition("_")[0] for task in tasks)
    assert len(scenarios) == 8 and set(scenarios.values()) == {3}
    assert set(Counter(task.type for task in tasks)) == {"difficulty 1", "difficulty 2", "difficulty 3"}
    assert len({task.id for task in tasks}) == 24 and [task.index for task in tasks] == list(range(24))


@pytest.mark.slow
def test_every_solution_solves_its_task_and_doing_nothing_solves_none(make_env: MakeEnv) -> None:
    env = make_env()
    for task in env.tasks:
        assert finish(env, task.name)["won"], task.name
        env.reset(options={"task": task.id})
        _, reward, terminated, _, info = env.step("apis.supervisor.complete_task()")
        assert terminated and reward == 0.0 and not info["won"] and info["score"] < 1.0, task.name


@pytest.mark.parametrize("task", ["findnumber_2", "deletefiles_1", "requestmoney_3", "notetoproject_1"])
def test_a_change_beside_the_task_is_a_failure(make_env: MakeEnv, task: str) -> None:
    env = make_env()
    info = finish(env, task)
    assert info["won"] and info["score"] == 1.0 and not info["requirements_failed"]
    info = finish(env, task, before=COLLATERAL)
    assert not info["won"] and info["requirements_failed"] == ["Nothing changed but what was asked for."]


def test_a_wrong_answer_is_a_failure(make_env: MakeEnv) -> None:
    env = make_env()
    env.reset(options={"task": "countnotes_1"})
    info = env.step("apis.supervisor.complete_task(answer=99)")[4]
    assert not info["won"] and info["requirements_failed"] == ["The answer is the right one."]


# -- episodes --------------------------------------------------------------------------------------------


def test_an_episode_shows_the_instruction_then_what_was_printed(make_env: MakeEnv) -> None:
    env = make_env()
    observation, info = env.reset(options={"task": "alarmoff_1"})
    assert observation == info["instruction"] and "alarm" in observation
    assert set(info["supervisor"]) == {"first_name", "last_name", "email", "phone_number"}
    assert {"venmo", "todoist", "phone"} <= set(info["apps"]) and info["admissible_actions"] is None
    assert env.step("x = 20\nprint(x + 1)")[0] == "21"
    assert env.step("```python\nprint(x + 2)\n```")[0] == "22"
    observation, _, terminated, _, info = env.step("print(unknown)")
    assert "NameError" in observation and info["error"] == observation and not info["is_valid"] and not terminated
    observation, _, _, _, info = env.step("this is no code")
    assert "Syntax error" in observation and not info["is_valid"]


def test_a_long_output_shows_its_ends(make_env: MakeEnv) -> None:
    env = make_env(output_limit=100)
    env.reset(options={"task": "alarmoff_1"})
    observation = env.step("print('a' * 500 + 'b' * 500)")[0]
    assert observation == f"{'a' * 50}\n[... 900 characters left out ...]\n{'b' * 50}"


def test_an_episode_that_is_cut_is_judged_too(make_env: MakeEnv) -> None:
    env = make_env(max_steps=2)
    _, info = env.reset(options={"task": "alarmoff_1"})
    env.step(info["walkthrough"][0])
    _, reward, terminated, truncated, info = env.step(info["walkthrough"][1])
    assert truncated and not terminated and info["requirements_passed"] is not None
    assert reward == float(info["won"])


def test_the_same_actions_give_the_same_episode(make_env: MakeEnv) -> None:
    env, runs = make_env(), []
    for _ in range(2):
        observation, info = env.reset(seed=1, options={"task": "requestmoney_1"})
        run = [(observation, info["anchor"])]
        for block in info["walkthrough"]:
            observation, _, _, _, info = env.step(block)
            run.append((observation, info["anchor"]))
        observation, _, _, _, _ = env.step("import random\nprint(random.random())")
        runs.append([*run, observation])
    assert runs[0] == runs[1]


def test_a_snapshot_goes_on_exactly_there(make_env: MakeEnv) -> None:
    env = make_env(anchor="database")
    _, info = env.reset(options={"task": "deletefiles_1"})
    walkthrough = info["walkthrough"]
    env.step(walkthrough[0])
    snapshot = pickle.loads(pickle.dumps(env.snapshot()))
    before = env.step("kept = tokens")[4]["anchor"]
    after = env.step(walkthrough[1])[4]["anchor"]
    assert before != after
    _, info = env.restore(snapshot)
    assert info["anchor"] == before
    assert "NameError" in env.step("print(kept)")[0]
    assert env.step(walkthrough[1])[4]["anchor"] == after
    assert env.step(walkthrough[2])[4]["won"]


def test_two_worlds_do_not_see_each_other(make_env: MakeEnv) -> None:
    envs = [make_env(), make_env(max_steps=49)]
    infos = [env.reset(options={"task": "alarmoff_1"})[1] for env in envs]
    first, second = envs
    for place in range(2):
        for env, info in zip(envs, infos, strict=True):
            env.step(info["walkthrough"][place])
    first.step("mine = 1\n" + COLLATERAL)
    assert "NameError" in second.step("print(mine)")[0]
    assert not first.step(infos[0]["walkthrough"][2])[4]["won"]
    assert second.step(infos[1]["walkthrough"][2])[4]["won"]


def test_the_expert_plays_the_solution(make_env: MakeEnv) -> None:
    env, policy = make_env(), make_policy("expert", environment="appworld")
    observation, info = env.reset(options={"task": "alarmoff_3"})
    task = env.find_task("alarmoff_3")
    [response] = policy.act([Prompt(task, observation, info, (), 0)])
    assert response.action == info["walkthrough"][0]
    with pytest.raises(UserError, match="comes with none"):
        policy.act([Prompt(task, observation, {**info, "walkthrough": None}, (), 0)])


# -- anchors, and small things, without the engine -------------------------------------------------------------


def test_the_calls_anchor_ignores_tokens_and_the_order_of_arguments_but_no_output() -> None:
    one = [["get", "/phone/alarms", {"access_token": "a", "page_index": 0, "label": "x"}]]
    two = [["get", "/phone/alarms", {"label": "x", "page_index": 0, "access_token": "b"}]]
    other = [["get", "/phone/alarms", {"label": "y", "page_index": 0, "access_token": "b"}]]
    assert extend("", one, "seen") == extend("", two, "seen")
    assert (
        len({extend("", one, "seen"), extend("", one, "other"), extend("", other, "seen"), extend("b", one, "seen")})
        == 4
    )


def test_code_may_come_in_a_fence() -> None:
    assert code_of("```python\nprint(1)\n```") == "print(1)\n"
    assert code_of("```\nprint(1)\n``` and so on") == "print(1)\n"
    assert code_of("print('```')") == "print('```')"


# -- bad input -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "minii"}, "did you mean mini"),
        ({"anchor": "call"}, "did you mean calls"),
        ({"step_seconds": 0}, "step_seconds must be at least 1"),
        ({"max_steps": 0}, "max_steps must be at least 1"),
        ({"render_mode": "human"}, "render mode"),
    ],
)
def test_wrong_options_are_told(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        AppWorldEnv(**options)


def test_what_is_not_installed_is_told(private_home: Path) -> None:
    with pytest.raises(UserError, match="AppWorld is not installed: type `agentbench install appworld`"):
        AppWorldEnv()


def test_another_version_or_a_damaged_record_is_told(private_home: Path) -> None:
    place = layout()
    place.folder.mkdir(parents=True)
    place.record.write_text(json.dumps({"version": "0.0.1"}))
    with pytest.raises(UserError, match=f"AppWorld 0.0.1 is installed and this version plays {VERSION}"):
        open_tasks("mini")
    place.record.write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        open_tasks("mini")
    place.record.write_text(json.dumps({"version": VERSION}))
    with pytest.raises(UserError, match=r"lacks .*python"):
        open_tasks("mini")


def test_official_splits_ask_for_their_data(make_env: MakeEnv) -> None:
    make_env()
    if not layout().index("official").is_file():
        with pytest.raises(UserError, match="needs the official data: type `agentbench install appworld --data"):
            AppWorldEnv(split="test_normal")


@pytest.mark.parametrize("what", ["missing", "empty folder", "half a folder", "no bundle"])
def test_data_that_are_none_are_told_and_change_nothing(make_env: MakeEnv, tmp_path: Path, what: str) -> None:
    make_env()
    given = tmp_path / "data"
    if what != "missing":
        given.mkdir()
    if what == "half a folder":
        for part in ("datasets", "tasks", "base_dbs", "api_docs"):
            (given / part).mkdir()
    if what == "no bundle":
        given = tmp_path / "data.bundle"
        given.write_bytes(b"no bundle")
    before = layout().record.read_bytes()
    with pytest.raises(UserError, match=r"there is no|is not AppWorld's data|has 0 tasks and should have 90|unpacking"):
        install(None, lambda line: None, data=str(given))
    assert layout().record.read_bytes() == before
    assert not layout().index("official").exists()


def test_installing_again_changes_nothing(make_env: MakeEnv) -> None:
    make_env()
    before, lines = layout().record.read_bytes(), []
    install(None, lines.append)
    assert layout().record.read_bytes() == before and len(lines) == 1
