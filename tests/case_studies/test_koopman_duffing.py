import numpy as np
import torch

from case_studies._flows import duffing
from case_studies.koopman_duffing import HALF_WIDTHS, WELL, around
from hooks.contract import check_dynamics
from hooks.dynamics import rollout
from hooks.tangent import jacobian


def energy(states):
    x, v = states[..., 0], states[..., 1]
    return v**2 / 2 - x**2 / 2 + x**4 / 4


def test_the_step_has_the_wells_eigenvalue_and_undamped_it_keeps_energy():
    dynamics = duffing()
    check_dynamics(dynamics, np.random.default_rng(0).uniform(-2, 2, (8, 2)))
    slope = jacobian(dynamics, torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)).numpy()
    eigenvalues = np.linalg.eigvals(slope)
    assert np.abs(eigenvalues[eigenvalues.imag > 0] - WELL).max() < 1e-7  # RK4 in steps of 0.025: 0.025^5 / 120 of ten
    orbit = rollout(duffing(0.0, dt=0.02, substeps=2), [[0.5, 0.5], [1.5, 1.0]], steps=1000).states
    assert np.ptp(energy(orbit), axis=1).max() < 1e-6


def test_starts_around_a_well_cannot_leave_it():
    starts = around(np.ones(1000), np.random.default_rng(0))
    corner = np.array([1 - HALF_WIDTHS[0], HALF_WIDTHS[1]])
    assert energy(starts).max() < 0 and energy(corner) < 0 and (starts[:, 0] > 0).all()  # the saddle has energy 0
