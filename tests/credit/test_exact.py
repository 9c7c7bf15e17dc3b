"""Exact values: a process solved with a pencil, and the gradient against finite differences."""

import numpy as np
import pytest

from credit.tools.exact import Process, cosine, group_gradient, group_steps, quality, solve


@pytest.fixture
def corridor():
    """Two states, two actions: 0 stays, 1 continues with chance 1/2; going on from state 1 ends with reward 1."""
    return {
        "num_states": 3,
        "num_actions": 2,
        "horizon": 2,
        "start": 0,
        "observation": [0, 1, 1],
        "policy": [[0.5, 0.5], [0.25, 0.75]],
        "transitions": [
            [[[1.0, 0, 0.0, False]], [[0.5, 1, 0.0, False], [0.5, 0, 0.0, False]]],
            [[[1.0, 1, 0.0, False]], [[0.5, 2, 1.0, True], [0.5, 1, 0.0, False]]],
            [[[1.0, 2, 0.0, False]], [[1.0, 2, 0.0, False]]],
        ],
    }


def test_values_by_hand(corridor):
    solution = solve(Process.read(corridor))
    # last step: state 1 wins with .75 * .5
    np.testing.assert_allclose(solution.V[1], [0, 0.375, 0])
    # first step, state 0: action 0 stays (0), action 1 reaches state 1 half the time
    np.testing.assert_allclose(solution.Q[0, 0], [0, 0.1875])
    assert solution.objective == pytest.approx(0.09375)
    np.testing.assert_allclose(solution.A[0, 0], [-0.09375, 0.09375])


def test_the_gradient_equals_finite_differences(corridor):
    logits = np.log(np.array(corridor["policy"]))

    def objective(theta):
        policy = np.exp(theta) / np.exp(theta).sum(axis=1, keepdims=True)
        return solve(Process.read({**corridor, "policy": policy.tolist()})).objective

    gradient = solve(Process.read(corridor)).gradient
    for index in np.ndindex(logits.shape):
        step = np.zeros_like(logits)
        step[index] = 1e-5
        slope = (objective(logits + step) - objective(logits - step)) / 2e-5
        assert gradient[index] == pytest.approx(slope, abs=1e-10)


def test_quality_of_a_perfect_and_of_a_silent_estimate():
    exact = [np.array([0.5, -0.5, 0.01]), np.array([-0.3, 0.3])]
    gradient = np.array([[1.0, -1.0]])
    perfect = quality(exact, exact, [gradient, gradient], gradient)
    assert perfect == pytest.approx(dict.fromkeys(perfect, 1.0))
    silent = quality([np.zeros(3), np.zeros(2)], exact, [0 * gradient] * 2, gradient)
    assert silent == dict.fromkeys(perfect, 0.0)
    assert cosine(gradient, -gradient) == pytest.approx(-1)


def test_the_groups_gradient_is_the_score_weighted_sum():
    policy = np.array([[0.25, 0.75]])
    gradient = group_gradient(np.array([2.0, -1.0]), np.array([0, 0]), np.array([0, 1]), policy, episodes=2)
    # (2 * (onehot(0) - pi) - 1 * (onehot(1) - pi)) / 2
    np.testing.assert_allclose(gradient, [[(1.5 + 0.25) / 2, (-1.5 - 0.25) / 2]])


def test_recorded_rows_become_steps():
    rows = {
        "trajectory": [4, 4, 7],
        "step": [0, 1, 0],
        "state": [0, 2, 1],
        "observation": [0, 1, 0],
        "action": [1, 1, 0],
        "next_state": [2, 3, 0],
        "reward": [0.0, 1.0, 0.0],
        "terminated": [False, True, False],
    }
    steps = group_steps(rows, np.array([0, 0, 1, 1]))
    assert steps.state.tolist() == [0, 1, 0]
    assert steps.next_state.tolist() == [1, -1, 0]
    assert steps.truncated.tolist() == [False, False, True]
