import math

import numpy as np
import pytest

from analyses.trajectories.stream_geometry import stream_geometry
from hooks.errors import InputError
from hooks.trajectory import Trajectory


def circle(steps=64, dim=5):
    angle = 2 * np.pi * np.arange(steps) / steps
    states = np.zeros((1, steps, dim))
    states[0, :, 1], states[0, :, 3] = np.cos(angle), np.sin(angle)
    return Trajectory(states)


def test_a_circle_uses_two_directions_equally_and_moves_at_one_speed():
    found = stream_geometry(circle())
    assert found.variance_shares[:3] == pytest.approx([0.5, 0.5, 0], abs=1e-12)
    assert found.participation_ratio == pytest.approx(2, abs=1e-12)
    assert found.speeds[0] == pytest.approx(2 * math.sin(math.pi / 64), abs=1e-12)  # chord of one step
    assert all(check.passed for check in found.checks)


def test_a_line_uses_one_direction_and_rotation_of_the_state_changes_nothing():
    rng = np.random.default_rng(0)
    line = Trajectory(rng.standard_normal((3, 20, 1)) * np.array([3.0, 4.0, 0.0]))
    assert stream_geometry(line).participation_ratio == pytest.approx(1, abs=1e-12)
    cloud = rng.standard_normal((4, 50, 6)) * np.arange(1, 7)
    turn = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    one, other = stream_geometry(Trajectory(cloud)), stream_geometry(Trajectory(cloud @ turn))
    assert one.variance_shares == pytest.approx(other.variance_shares, abs=1e-12)
    assert one.participation_ratio == pytest.approx(other.participation_ratio, abs=1e-10)
    assert np.abs(one.portrait) == pytest.approx(np.abs(other.portrait), abs=1e-10)  # up to the sign of a direction


def test_a_rest_one_state_and_one_unit():
    rest = stream_geometry(Trajectory(np.full((2, 5, 3), 7.0)))
    assert rest.participation_ratio == 0 and rest.summary() == "the trajectory never moves, so it has no directions"
    assert rest.speeds.tolist() == [[0, 0, 0]] * 2
    assert np.isnan(stream_geometry(Trajectory(np.ones((1, 1, 2)))).speeds).all()
    one = stream_geometry(Trajectory(np.arange(6.0).reshape(1, 6, 1)))
    assert one.participation_ratio == 1 and one.basis.tolist() == [[1.0]]


def test_padding_is_not_read():
    states = circle().states.copy()
    padded = np.concatenate([states, np.full((1, 9, 5), np.nan)], axis=1)
    ragged = Trajectory(padded, lengths=np.array([64]))
    assert stream_geometry(ragged).variance_shares == pytest.approx(
        stream_geometry(circle()).variance_shares, abs=1e-12
    )


def test_refusals():
    with pytest.raises(InputError, match="kept=0"):
        stream_geometry(circle(), kept=0)
    with pytest.raises(InputError, match="0 states"):
        stream_geometry(Trajectory(np.zeros((0, 3, 2))))
