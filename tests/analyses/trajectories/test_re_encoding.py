import numpy as np
import pytest

from analyses.trajectories.re_encoding import re_encoding
from hooks.dynamics import rollout
from hooks.errors import InputError
from hooks.trajectory import Trajectory
from tests.known import linear

TURN = np.array([[0.99, 0.1], [-0.1, 0.99]])


def same(states):
    return states


def specimens():
    runs = rollout(linear(TURN), [[1.0, 0.0], [0.0, 1.0]], steps=12)
    return [
        re_encoding(runs, same, TURN, same, periods=(1, 3), horizons=(4, 12)),
        re_encoding(runs, same, 1e300 * TURN, same, periods=(1,), horizons=(12,)),
    ]


def test_an_exact_model_errs_by_rounding_whatever_the_period():
    runs = rollout(linear(TURN), np.random.default_rng(0).standard_normal((8, 2)), steps=200)
    found = re_encoding(runs, same, TURN, same, periods=(1, 10, 500), horizons=(100, 1000))
    assert found.periods.tolist() == [1, 10, 200] and found.horizons.tolist() == [100, 200]
    assert found.errors.max() < 1e-20 and found.diverged.max() == 0 and found.at_start == 0
    assert found.radius == pytest.approx(np.hypot(0.99, 0.1), abs=1e-12) and found.checks[0].passed


def circle(runs, steps, speed=0.05):
    """Turns of the unit circle."""
    angles = 2 * np.pi * np.random.default_rng(0).random(runs)[:, None] + speed * np.arange(steps + 1)
    return Trajectory(np.stack([np.cos(angles), np.sin(angles)], axis=2))


def test_errors_of_every_return_and_growth_in_between_are_those_of_their_closed_form():
    # K turns and grows by 1 + a; going back halves what the radius has beyond 1 and turns by b: too often is as bad as never
    a, b, speed = 0.002, 0.01, 0.05
    K = (1 + a) * np.array([[np.cos(speed), -np.sin(speed)], [np.sin(speed), np.cos(speed)]])

    def lift(x):
        size = np.linalg.norm(x, axis=1, keepdims=True)
        turned = x @ np.array([[np.cos(b), np.sin(b)], [-np.sin(b), np.cos(b)]])
        return turned / size * (1 + (size - 1) / 2)

    found = re_encoding(circle(20, 1000), lift, K, same, periods=(1, 5, 25, 100, 300), horizons=(1000,))
    n = np.arange(1, 1001)
    radius = np.empty(1000)
    for k in range(1000):
        radius[k] = (1 + a) * (1 + (radius[k - 1] - 1) / 2 if k else 1)
    each = (radius**2 - 2 * radius * np.cos(b * n) + 1).mean() / 2
    assert found.errors[0, 0] == pytest.approx(each, rel=1e-10)
    # never: (1 + a)^n times the truth, turned by the first lift alone
    n = np.arange(1, 1001)
    never = ((1 + a) ** (2 * n) - 2 * (1 + a) ** n * np.cos(b) + 1).mean() / 2
    assert found.errors[-1, 0] == pytest.approx(never, rel=1e-10)
    assert found.periods[0] < found.best[0] < found.periods[-1] and found.interior[0] == 1
    assert "100 % of resamplings" in found.summary()


def test_growth_diverges_unless_the_state_is_gone_back_to():
    truth = circle(5, 400)
    K = 1.05 * np.array([[np.cos(0.05), -np.sin(0.05)], [np.sin(0.05), np.cos(0.05)]])

    def lift(x):
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    found = re_encoding(truth, lift, K, same, periods=(1, 10), horizons=(400,))
    assert found.diverged.tolist() == [0, 0, 5] and found.radius == pytest.approx(1.05)
    # every step: the radius is 1.05, the angle exact, so a coordinate errs by 0.05^2 / 2
    assert found.errors[0, 0] == pytest.approx(0.05**2 / 2, rel=1e-9)


def test_an_overflow_is_an_infinite_error():
    runs = rollout(linear(TURN), [[1.0, 0.0]], steps=12)
    found = re_encoding(runs, same, 1e300 * TURN, same, periods=(1,), horizons=(12,))
    assert np.isinf(found.errors).all() and found.diverged.tolist() == [1, 1]


def test_parts_that_do_not_fit_are_refused():
    runs = rollout(linear(TURN), [[1.0, 0.0]], steps=12)
    with pytest.raises(
        InputError, match=r"1 states are lifted to shape \(1, 2\), which a matrix \(3, 3\) cannot advance"
    ):
        re_encoding(runs, same, np.eye(3), same)
    with pytest.raises(InputError, match=r"states of shape \(1, 2\) come back as \(1, 1\)"):
        re_encoding(runs, same, TURN, lambda z: z[:, :1])
    with pytest.raises(InputError, match="4 entries of the matrix are not finite"):
        re_encoding(runs, same, np.nan * TURN, same)
    with pytest.raises(InputError, match="steps, one at least"):
        re_encoding(runs, same, TURN, same, periods=(0,))
    with pytest.raises(InputError, match="runs of one length"):
        re_encoding(Trajectory(np.ones((2, 1, 1))), same, np.eye(1), same)
