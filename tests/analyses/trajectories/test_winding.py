"""A rotation turns by its angle, noise does not turn, and a linear process turns as its surrogates do."""

import numpy as np
import pytest

from analyses.trajectories.winding import winding
from hooks.errors import InputError
from hooks.trajectory import Trajectory

ANGLE = 2 * np.pi / 50


def circling(runs=6, steps=301, scale=1.0):
    phases = np.linspace(0, 2, runs)[:, None] + ANGLE * np.arange(steps)
    return Trajectory(scale * np.stack([2 * np.cos(phases), np.sin(phases), 0 * phases], axis=2))


def linear(growth, angle, runs=8, steps=400, seed=0):
    """x' = growth R(angle) x + noise."""
    rng = np.random.default_rng(seed)
    A = growth * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    x = np.zeros((runs, steps + 100, 2))
    for step in range(1, steps + 100):
        x[:, step] = x[:, step - 1] @ A.T + rng.standard_normal((runs, 2))
    return Trajectory(x[:, 100:])


def specimens():
    return [winding(circling(), draws=3), winding(Trajectory(np.ones((2, 10, 3))))]


def test_a_rotation_turns_by_its_angle():
    result = winding(circling(), draws=39)
    assert np.abs(result.turns) == pytest.approx(300 / 50, abs=1e-9)  # six whole periods: exact but for rounding
    assert abs(result.rate) == pytest.approx(1 / 50, abs=1e-11) and result.share == pytest.approx(1)
    assert result.nulls[0].beaten and "6 of 6 runs" in result.summary()


def test_the_radius_is_that_of_the_ellipse_and_scales():
    """301 steps are six periods and one state, so the mean square errs by 1 / 301 of the axes."""
    one, two = winding(circling(), draws=0), winding(circling(scale=2.0), draws=0)
    assert one.radius == pytest.approx(np.sqrt((4 + 1) / 2), rel=1 / 100)
    assert two.radius == pytest.approx(2 * one.radius, rel=1e-12) and two.rate == pytest.approx(one.rate, abs=1e-12)


def test_backwards_in_time_the_turns_are_backwards():
    forward = circling()
    back = winding(Trajectory(forward.states[:, ::-1]), draws=0)
    assert back.turns == pytest.approx(-winding(forward, draws=0).turns, abs=1e-9)


def test_noise_does_not_turn():
    result = winding(linear(0.9, 0.0))
    assert not any(null.beaten for null in result.nulls) and "not told apart" in result.summary()


def test_a_linear_rotation_beats_unrelated_phases_but_not_a_linear_process():
    apart, together = winding(linear(0.95, 0.2)).nulls
    assert apart.beaten and abs(apart.observed) > 0.5 * 0.2 / (2 * np.pi)
    assert not together.beaten


def test_what_does_not_move_in_a_plane_does_not_turn():
    for still in (np.ones((2, 10, 3)), np.arange(20.0).reshape(1, 20, 1), np.zeros((0, 5, 2))):
        result = winding(Trajectory(still))
        assert np.isnan(result.rate) and result.nulls == () and result.summary().startswith("0 of")
    line = np.arange(20.0)[None, :, None] * np.array([1.0, 2.0])
    assert np.isnan(winding(Trajectory(line)).rate)


def test_ragged_runs_are_refused():
    with pytest.raises(InputError, match="equal length"):
        winding(Trajectory(np.zeros((2, 5, 2)), lengths=np.array([5, 3])))
