"""`agentbench check` finds what is wrong, and finds nothing wrong with what is ours."""

import random

import gymnasium
import numpy as np
import pytest

import agentbench.check.environment as environment_checks
import agentbench.check.policy as policy_checks
import agentbench.check.scheme as scheme_checks
from agentbench.check import check_environment, check_policy, check_scheme
from agentbench.check.tables import random_table
from credit import SCHEMES
from credit.scheme import Scheme, scheme
from envs import Task, TextEnv
from policies import Response


def failures(outcomes):
    return {outcome.name: outcome.failures for outcome in outcomes if outcome.failures}


# -- what is ours ------------------------------------------------------------------------------------

QUICK = ("gigpo",)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in SCHEMES]
)
def test_our_schemes_keep_their_contract(name):
    assert failures(check_scheme(name)) == {}


@pytest.mark.parametrize(("name", "options"), [("alfworld", {"split": "generated:0:6"}), ("webshop", {})])
def test_our_environments_keep_their_contract(name, options):
    assert failures(check_environment(name, **options)) == {}


ALFWORLD = {"split": "generated:0:3"}
POLICIES = [(name, "alfworld", ALFWORLD) for name in ("random", "walkthrough", "expert", "mixed:0.5", "guided")]
POLICIES += [(name, "webshop", {}) for name in ("rule", "mixed:0.5", "walkthrough")]


@pytest.mark.parametrize(("spec", "env", "options"), POLICIES)
def test_our_policies_keep_their_contract(spec, env, options):
    assert failures(check_policy(spec, env, **options)) == {}


# -- environments that break a promise each ----------------------------------------------------------


class GoodEnv(TextEnv):
    """Say ``up`` three times."""

    name = "good"
    copies = 0

    def __init__(self, max_steps=5):
        super().__init__(max_steps)
        type(self).copies += 1
        self.count = 0

    @property
    def tasks(self):
        return [Task(f"t{index}", f"n{index}", "only", index) for index in range(4)]

    @property
    def digest(self):
        return f"good-{self.max_steps}"

    def _start(self, task):
        self.count = 0
        self._about = {"instruction": "up", "walkthrough": ["up"] * 3}
        return "start", self.info(True)

    def _act(self, action):
        self.count += action == "up"
        return f"at {self.count}", float(self.count == 3), self.count == 3, self.info(action == "up")

    def _save(self):
        return self.count

    def _load(self, state):
        self.count = state
        return self.info(True)

    def info(self, is_valid):
        return {"anchor": f"{self.count}", "admissible_actions": ["up"], "is_valid": is_valid, "won": self.count == 3,
                "score": self.count / 3}  # fmt: skip


class TwiceTheSameTask(GoodEnv):
    @property
    def tasks(self):
        return [Task("t", f"n{index}", "only", index) for index in range(2)]


class OtherTasksInEveryCopy(GoodEnv):
    @property
    def tasks(self):
        return [Task(f"{self.marker}-{index}", f"n{index}", "only", index) for index in range(2)]

    def __init__(self, max_steps=5):
        super().__init__(max_steps)
        self.marker = type(self).copies


class NoScore(GoodEnv):
    def info(self, is_valid):
        return {key: value for key, value in super().info(is_valid).items() if key != "score"}


class Random(GoodEnv):
    def _act(self, action):
        observation, *rest = super()._act(action)
        return f"{observation} {random.random()}", *rest


class ForgetsOnRestore(GoodEnv):
    def _load(self, state):
        return self.info(True)


class CrashesOnRubbish(GoodEnv):
    def _act(self, action):
        if action == "search[":
            raise IndexError("no bracket")
        return super()._act(action)


class InvalidCounts(GoodEnv):
    def _act(self, action):
        self.count = min(self.count + 1, 2)
        return "?", 0.0, False, self.info(action == "up")


class InvalidMoves(GoodEnv):
    """What is not understood shows only later."""

    def _act(self, action):
        if action != "up":
            self.count = min(self.count + 1, 2)
            return "?", 0.0, False, {**super().info(False), "won": False, "score": self.shown}
        found = super()._act(action)
        self.shown = found[-1]["score"]
        return found

    def _start(self, task):
        self.shown = 0.0
        return super()._start(task)


class NeverEnds(GoodEnv):
    def step(self, action):
        observation, reward, terminated, _, info = super().step(action)
        return observation, reward, terminated, False, info


class WonWithoutScore(GoodEnv):
    def info(self, is_valid):
        return {**super().info(is_valid), "score": 0.5}


class BlindDigest(GoodEnv):
    digest = "always"


class PaysAgain(GoodEnv):
    def step(self, action):
        observation, _, terminated, truncated, info = super().step(action)
        return observation, float(terminated), terminated, truncated, info


class ForgetsTheEnd(GoodEnv):
    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        self.after = getattr(self, "after", 0) + 1 if terminated or truncated else 0
        return observation, reward, terminated, truncated and self.after < 2, info


class NarrowSpace(GoodEnv):
    def __init__(self, max_steps=5):
        super().__init__(max_steps)
        self.observation_space = gymnasium.spaces.Text(3)


class NoCopies(GoodEnv):
    def __reduce__(self):
        raise TypeError("it holds a file")


class SharesItsInfo(GoodEnv):
    def step(self, action):
        *rest, info = super().step(action)
        self.about = getattr(self, "about", {"seen": []})
        return *rest, {**info, "about": self.about}


@pytest.mark.parametrize(
    ("kind", "check", "words"),
    [
        (PaysAgain, "a step after the end", "gave the reward 1"),
        (ForgetsTheEnd, "a step after the end", "gave truncated False instead of True"),
        (NarrowSpace, "spaces", "is not in the observation space"),
        (NoCopies, "a pickled and a deep copy", "it holds a file"),
        (SharesItsInfo, "what it gives", "after an earlier info was changed"),
        (TwiceTheSameTask, "tasks", "'t' belongs to more than one task"),
        (OtherTasksInEveryCopy, "tasks", "a second copy has other tasks"),
        (NoScore, "info", "info has no 'score'"),
        (Random, "the same seed", "the observation of step 1 is"),
        (ForgetsOnRestore, "snapshot", "after restoring"),
        (CrashesOnRubbish, "a string", "it raised IndexError: no bracket (test_check.py:"),
        (InvalidMoves, "a string", "is invalid, and yet 1 actions later the"),
        (InvalidCounts, "a string", "is invalid, and yet changed the episode"),
        (NeverEnds, "an episode ends", "truncated is False after 5 of 5 steps"),
        (WonWithoutScore, "an episode ends", "won is True with a score of 0.5"),
        (BlindDigest, "digest", "with another max_steps the digest is the same"),
    ],
)
def test_a_broken_promise_of_an_environment_is_found(monkeypatch, kind, check, words):
    monkeypatch.setattr(environment_checks, "make", lambda name, **options: kind(**options))
    found = failures(check_environment("it"))
    assert any(name.startswith(check) and words in " ".join(lines) for name, lines in found.items()), found


def test_a_good_environment_passes(monkeypatch):
    monkeypatch.setattr(environment_checks, "make", lambda name, **options: GoodEnv(**options))
    assert failures(check_environment("it")) == {}


def test_less_is_played_of_a_slow_environment_and_what_is_broken_is_found(monkeypatch):
    def steps(kind):
        count = []
        monkeypatch.setattr(kind, "_act", lambda *given, theirs=kind._act: count.append(1) or theirs(*given))
        monkeypatch.setattr(environment_checks, "make", lambda name, **options: kind(**options))
        return list(check_environment("it")), len(count)

    full, many = steps(GoodEnv)
    monkeypatch.setattr("agentbench.check.episodes.SLOW", -1.0)  # seconds: all are slow
    brief, few = steps(GoodEnv)
    assert few < many
    assert failures(brief) == {}
    assert brief[0].name == "slow to play, so each check plays 1 task and 4 steps of an episode"
    assert brief[1:] == full
    assert failures(steps(ForgetsOnRestore)[0]) != {}


# -- policies ----------------------------------------------------------------------------------------


class First:
    name, digest = "first", "first-1"

    def act(self, prompts):
        return [self.answer(prompt, index) for index, prompt in enumerate(prompts)]

    def answer(self, prompt, index):
        return Response((prompt.info["admissible_actions"] or ["look"])[0])


class Tuple(First):
    def act(self, prompts):
        return tuple(super().act(prompts))


class ByPlace(First):
    def answer(self, prompt, index):
        return Response(f"{index}")


class Counting(First):
    calls = 0

    def answer(self, prompt, index):
        Counting.calls += 1
        return Response(str(Counting.calls))


class NotText(First):
    def answer(self, prompt, index):
        return Response("look", details={"score": np.float32(1)})


class Strict(First):
    def answer(self, prompt, index):
        return Response(prompt.observation.splitlines()[0])


class BareText(First):
    def answer(self, prompt, index):
        return "look"


class NoAction(First):
    def answer(self, prompt, index):
        return Response(None)


class Silent(First):
    def act(self, prompts):
        return []


class OtherDigest(First):
    @property
    def digest(self):
        return str(id(self))


@pytest.mark.parametrize(
    ("kind", "check", "words"),
    [
        (Tuple, "a list of responses", "for 0 prompts it gave ()"),
        (ByPlace, "an answer does not depend on the batch", "one by one, prompt 1 gives '0' instead of '1'"),
        (Counting, "the same prompt gives the same answer", "asked again, prompt 0 gives"),
        (NotText, "a list of responses", "cannot be written as JSON"),
        (Strict, "a prompt of rubbish", "it raised IndexError"),
        (BareText, "it plays", "an answer is str, not a policies.Response"),
        (NoAction, "it plays", "an action is NoneType, not a string"),
        (Silent, "it plays", "for 1 prompt it gave []"),
        (OtherDigest, "name and digest", "a second copy has another digest"),
    ],
)
def test_a_broken_promise_of_a_policy_is_found(monkeypatch, kind, check, words):
    kept = []  # so that no two copies have one id
    monkeypatch.setattr(policy_checks, "make_policy", lambda spec, environment: kept.append(kind()) or kept[-1])
    found = failures(check_policy("it", "alfworld", **ALFWORLD))
    assert any(name.startswith(check) and words in " ".join(lines) for name, lines in found.items()), found


def test_a_good_policy_passes(monkeypatch):
    monkeypatch.setattr(policy_checks, "make_policy", lambda spec, environment: First())
    assert failures(check_policy("it", "alfworld", **ALFWORLD)) == {}


# -- schemes -----------------------------------------------------------------------------------------


def made(function, claims=()):
    needs, compares, claims, presets = scheme(claims=claims)(function).scheme_facts
    return Scheme(function.__name__, scheme(claims=claims)(function), needs, compares, claims, presets, *["text"] * 7)


def wrong_shape(steps):
    return np.zeros((len(steps), 1))


def infinite(steps):
    return np.full(len(steps), np.inf)


def by_code(steps):
    return steps.group * 1.0


def reads_state(steps):
    return steps.column("state") * 0.0


def plain_reward(steps):
    return steps.reward.copy()


def by_row(steps):
    return np.arange(len(steps)) * 1.0


@pytest.mark.parametrize(
    ("function", "claims", "check", "words"),
    [
        (wrong_shape, (), "one finite float64 a step", "float64 of shape"),
        (infinite, (), "one finite float64 a step", "is inf"),
        (by_code, (), "names of groups", "with other names"),
        (reads_state, (), "every needed column", "needs the column 'state'"),
        (plain_reward, ("shift",), "claims shift", "with 3 more at the end"),
        (plain_reward, ("zero_when_equal",), "claims zero_when_equal", "there is credit"),
        (plain_reward, ("zero_when_alone",), "claims zero_when_alone", "there is credit"),
        (plain_reward, ("scale_free",), "claims scale_free", "with 3 times the rewards"),
        (plain_reward, ("centred",), "claims centred", "sum over a group's first steps"),
        (by_row, ("scale",), "claims scale", "with 3 times the rewards"),
        (by_row, ("local",), "claims local", "beside another group"),
        (by_row, ("zero_without_reward",), "claims zero_without_reward", "there is credit"),
    ],
)
def test_a_broken_promise_of_a_scheme_is_found(monkeypatch, function, claims, check, words):
    monkeypatch.setattr(scheme_checks, "find", lambda name: made(function, claims))
    few = (random_table(0), random_table(1, dense=True))
    monkeypatch.setattr(scheme_checks, "tables", lambda: few)
    found = failures(check_scheme("it"))
    assert any(name.startswith(check) and words in " ".join(lines) for name, lines in found.items()), found


def test_a_scheme_that_keeps_its_promises_passes(monkeypatch):
    monkeypatch.setattr(
        scheme_checks, "find", lambda name: made(plain_reward, ("scale", "local", "zero_without_reward"))
    )
    assert failures(check_scheme("it")) == {}


def test_a_failure_is_a_line_and_exit_code_one(monkeypatch):
    from typer.testing import CliRunner

    from agentbench.cli.commands.check import app

    monkeypatch.setattr(environment_checks, "make", lambda name, **options: CrashesOnRubbish(**options))
    result = CliRunner().invoke(app, ["env", "alfworld"])
    assert result.exit_code == 1
    assert (
        "FAIL  a string that it does not understand changes nothing: it raised IndexError: no bracket" in result.stdout
    )
    assert "environment alfworld: 1 checks failed" in result.stdout
