import math

import numpy as np
import pytest
import torch

from analyses.maps.jacobian_spectra import jacobian_spectra
from hooks.dynamics import Dynamics, rollout
from hooks.errors import DrivenError
from hooks.trajectory import Trajectory
from tests.known import henon, linear


def test_henon_slopes_have_determinant_minus_b():
    states = torch.randn(32, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = jacobian_spectra(henon(), states)
    assert np.prod(found.eigenvalues, axis=1) == pytest.approx(-0.3, abs=1e-12)  # rounding of two products
    assert np.prod(found.singular_values, axis=1) == pytest.approx(0.3, abs=1e-12)
    assert all(check.passed for check in found.checks)


def test_normal_matrix_has_no_departure_and_a_shear_has_what_henrici_says():
    turn = [[math.cos(1), -math.sin(1)], [math.sin(1), math.cos(1)]]
    assert jacobian_spectra(linear(turn), np.zeros((1, 2))).nonnormality == pytest.approx(0, abs=1e-7)  # sqrt of eps
    shear = jacobian_spectra(linear([[0.5, 3.0], [0.0, 0.5]]), np.zeros((1, 2)))
    assert shear.nonnormality == pytest.approx(3 / math.sqrt(9.5), abs=1e-12)  # |strictly upper part| over |J|
    assert shear.radii == pytest.approx(0.5, abs=1e-7)  # a defective pair: eigenvalues are good to sqrt(eps)
    assert "at 1 of 1 states a direction is stretched" in shear.summary()


def test_zero_map_no_states_and_one_unit():
    zero = jacobian_spectra(linear(np.zeros((2, 2))), np.zeros((3, 2)))
    assert zero.nonnormality.tolist() == [0, 0, 0] and zero.radii.tolist() == [0, 0, 0]
    none = jacobian_spectra(linear([[0.5]]), np.zeros((0, 1)))
    assert none.eigenvalues.shape == (0, 1) and none.summary() == "no states, no spectra"
    one = jacobian_spectra(linear([[0.5]]), [[2.0]])
    assert one.eigenvalues.tolist() == [[0.5]]


def test_each_state_of_a_driven_map_under_its_own_drive():
    gain = Dynamics(lambda x, u: u * x, dim=1, driven=True, inputs=1)
    found = jacobian_spectra(gain, [[1.0], [1.0]], drives=[[2.0], [-3.0]])
    assert found.eigenvalues[:, 0].tolist() == [2, -3]
    with pytest.raises(DrivenError, match="without drives"):
        jacobian_spectra(gain, [[1.0]])


def test_time_constants_and_periods_are_in_clock_units():
    """x' = r R(a) x at dt = 0.5: -dt / ln r to fall by e, 2 pi dt / a a turn, whatever the state."""
    turn = 0.8 * np.array([[math.cos(0.3), -math.sin(0.3)], [math.sin(0.3), math.cos(0.3)]])
    found = jacobian_spectra(linear(turn, dt=0.5), np.zeros((1, 2)))
    assert found.time_constants == pytest.approx(-0.5 / math.log(0.8), abs=1e-12)
    assert found.periods == pytest.approx(math.pi / 0.3, abs=1e-12)
    real = jacobian_spectra(linear(np.diag([2.0, 1.0, 0.0])), np.zeros((1, 3)))
    assert real.time_constants[0].tolist() == [-1 / math.log(2), math.inf, 0.0]
    assert (real.periods == math.inf).all()
    assert jacobian_spectra(linear([[-0.5]]), [[0.0]]).periods == pytest.approx(2)  # sides alternate every step


def test_along_a_trajectory_the_padding_is_left_out_and_drives_are_its_own():
    states = np.full((2, 4, 1), 3.0)
    states[1, 2:] = np.nan
    runs = Trajectory(states, lengths=np.array([4, 2]))
    assert jacobian_spectra(linear([[0.5]]), runs).eigenvalues.tolist() == [[0.5]] * 6
    gain = Dynamics(lambda x, u: u * x, dim=1, driven=True, inputs=1)
    recorded = rollout(gain, [[1.0]], drives=np.array([[2.0], [-3.0]]))
    assert jacobian_spectra(gain, recorded).eigenvalues[:, 0].tolist() == [2, -3]
