"""AppWorld through its public face: our own tasks in the real engine, and what goes wrong."""

from __future__ import annotations

import json
import pickle
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from stub_server import chat, serving

from agentbench import Response, evaluate
from envs.appworld import AppWorldEnv
from envs.appworld.anchors import extend
from envs.appworld.env import code_of
from envs.appworld.floor import MINI_FLOOR
from envs.appworld.install import install
from envs.appworld.layout import VERSION, Layout, layout
from envs.appworld.tasks import open_tasks
from envs.base.errors import UserError
from policies import Prompt, make_policy

MakeEnv = Callable[..., AppWorldEnv]
PATIENT = {"step_timeout": 280.0, "start_timeout": 280.0}
"""The first reset starts the player: seconds on an idle machine, more beside other work."""

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


class Idle:
    """Says at once that the task is done."""

    name = digest = "idle"

    def act(self, prompts: Sequence[Prompt]) -> list[Response]:
        return [Response("apis.supervisor.complete_task()") for _ in prompts]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_solution_passes_through_the_whole_stack_and_doing_nothing_solves_none(
    make_env: MakeEnv, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from agentbench.cli.commands.show import print_runs

    make_env()
    expert = evaluate("appworld", "expert", split="mini", out=tmp_path / "expert", workers=2, **PATIENT)
    idle = evaluate("appworld", Idle(), split="mini", out=tmp_path / "idle", workers=2, **PATIENT)
    assert list(expert.frame["outcome"]) == ["success"] * 24 and set(expert.frame["steps"]) == {3}
    assert list(idle.frame["outcome"]) == ["failure"] * 24 and (idle.frame["score"] < 1).all()
    floor = idle.frame.set_index("task_name")["score"]
    assert floor.to_dict() == pytest.approx({name: MINI_FLOOR[name.rpartition("_")[0]] for name in floor.index})
    print_runs([expert.run])
    shown = capsys.readouterr().out
    assert f"does nothing but end the task is {floor.mean():.1%} on these tasks" in " ".join(shown.split())
    assert "difficulty 3" in shown and "Scenario Goal Completion, overall: 100.0% [" in shown and "of 8" in shown
    again = evaluate(
        "appworld", f"replay:{tmp_path / 'expert'}", split="mini", out=tmp_path / "again", limit=3, **PATIENT
    )
    assert list(again.frame["outcome"]) == ["success"] * 3


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


def test_a_snapshot_outlives_the_processes_and_is_checked_by_the_databases_digest(make_env: MakeEnv) -> None:
    env = make_env(anchor="database")
    _, info = env.reset(options={"task": "deletefiles_1"})
    walkthrough = info["walkthrough"]
    beginning = env.snapshot()
    for block in walkthrough[:2]:
        env.step(block)
    snapshot, anchor = env.snapshot(), env.step("pass")[4]["anchor"]
    env.close()
    with pytest.raises(UserError, match="reset"):
        env.step("pass")
    assert env.restore(snapshot)[1]["anchor"] == anchor
    assert env.step(walkthrough[2])[4]["won"]
    env.close()
    assert env.restore(beginning)[1]["anchor"] != anchor
    assert env.step("print(1)")[0] == "1"
    *point, (actions, database, *rest) = snapshot
    assert database == anchor
    with pytest.raises(RuntimeError, match="led to other databases than the first time"):
        env.restore((*point, (actions, "another digest", *rest)))


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


# -- a language model writes the code -------------------------------------------------------------------------


@pytest.mark.parametrize("history", ["all", 1])
def test_a_model_behind_a_server_solves_a_task_by_the_code_it_answers(
    make_env: MakeEnv, tmp_path: Path, history: str | int
) -> None:
    _, info = make_env().reset(options={"task": "findnumber_1"})
    look_up = 'print(apis.api_docs.show_api_doc(app_name="phone", api_name="search_contacts"))'
    blocks = [look_up, *info["walkthrough"]]

    def answer(body: dict, number: int) -> dict:
        return chat(f"<think>I look first.</think>So I write:\n```python\n{blocks[number]}\n```\nThat is all.")

    with serving(answer) as server:
        options = {"base_url": server.url, "history": history}
        result = evaluate("appworld", "openai:stub", split="mini", out=tmp_path / "run", tasks=["findnumber_1"],
                          inline=True, policy_options=options, **PATIENT)  # fmt: skip
    assert list(result.frame["outcome"]) == ["success"]
    (episode,) = result.run.read_episodes()
    assert [step.action for step in episode.steps] == [block.strip() for block in blocks]
    first, second, *_, last = ([message["content"] for message in body["messages"]] for body in server.bodies)
    assert "apis.api_docs.show_api_doc(" in first[0] and "```python" in first[-1]
    assert info["instruction"] in first[-1] and info["supervisor"]["email"] in first[-1]
    assert "relationship" in second[-1] and "Output 1:" in second[-1]
    assert ("Output 1:" in "".join(last)) == (history == "all")  # the window shows the last step alone


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


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_judge_that_times_out_is_an_error_and_nothing_finished_is_lost(place: Layout, tmp_path: Path) -> None:
    evaluation = place.whole("mini") / "data/tasks/alarmoff_1/ground_truth/evaluation.py"
    evaluation.write_text("while True:\n    pass\n")
    result = evaluate(
        "appworld", "expert", split="mini", out=tmp_path / "run", tasks=["countnotes_1", "alarmoff_1"],
        workers=1, attempts=1, **PATIENT, env_options={"judge_seconds": 3},
    )  # fmt: skip
    outcomes = dict(zip(result.frame["task_name"], result.frame["outcome"], strict=True))
    assert outcomes == {"countnotes_1": "success", "alarmoff_1": "error"}
    errors = [episode.error for episode in result.run.read_episodes() if episode.outcome == "error"]
    assert "the judge failed on task alarmoff_1: no answer within 3 s" in str(errors[0])


def test_a_damaged_package_is_told_with_what_mends_it(place: Layout) -> None:
    place.venv.unlink()
    (place.venv / "bin").mkdir(parents=True)
    place.python.symlink_to(Path(sys.executable).resolve())
    (place.venv / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n")
    env = AppWorldEnv()
    with pytest.raises(UserError, match=r"player did not start: .*appworld.*Type `agentbench install appworld`"):
        env.reset()


# -- bad input -----------------------------------------------------------------------------------------------

REFUSED = "bad option: {} of environment 'appworld' must be"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "minii"}, "unknown AppWorld split 'minii': did you mean mini?"),
        (
            {"anchor": "call"},
            f"{REFUSED.format('anchor')} one of calls, observation, database, got 'call': did you mean calls?",
        ),
        ({"step_seconds": 0}, f"{REFUSED.format('step_seconds')} a whole number from 1 to 86400, got 0"),
        ({"max_steps": 0}, f"{REFUSED.format('max_steps')} a whole number from 1 to 1000000, got 0"),
        ({"render_mode": "human"}, f"{REFUSED.format('render_mode')} ansi or none, got 'human'"),
    ],
)
def test_wrong_options_are_told(options: dict, message: str) -> None:
    with pytest.raises(UserError) as told:
        AppWorldEnv(**options)
    assert str(told.value) == message


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
    with pytest.raises(UserError, match=r"there is no|is not AppWorld's data|is not whole|cannot be unpacked"):
        install(None, lambda line: None, data=str(given))
    assert layout().record.read_bytes() == before
    assert not layout().index("official").exists()


def test_installing_again_changes_nothing(make_env: MakeEnv) -> None:
    make_env()
    before, lines = layout().record.read_bytes(), []
    install(None, lines.append)
    assert layout().record.read_bytes() == before and len(lines) == 1
