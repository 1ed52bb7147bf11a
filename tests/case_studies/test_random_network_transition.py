"""One row of the ensemble is one network, whatever runs beside it; its slope at zero is what the study takes it to be."""

import numpy as np
import torch

from analyses.maps.jacobian_spectra import jacobian_spectra
from case_studies._flows import couplings, random_rate_network
from case_studies.random_network_transition import DT, _rightmost, ensemble
from hooks.contract import check_dynamics


def test_a_row_of_the_ensemble_is_its_own_network_at_its_own_gain():
    networks = ensemble(6, 3, DT)
    states = torch.randn(2, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drives = torch.tensor([[1.5, 2.0], [0.5, 1.0]], dtype=torch.float64)
    after = networks(states, drives)
    for row, (gain, seed) in enumerate(((1.5, 2), (0.5, 1))):
        alone = random_rate_network(6, gain, seed, DT)(states[row : row + 1])
        assert (after[row] - alone[0]).abs().max() < 1e-14  # rounding
    check_dynamics(networks, states, drive=drives)


def test_the_gain_limit_comes_from_the_rightmost_eigenvalue_of_the_couplings():
    drives = np.array([[1.0, 0.0], [1.0, 1.0]])
    found = _rightmost(jacobian_spectra(ensemble(40, 2, DT), np.zeros((2, 40)), drives=drives))
    expected = [float(torch.linalg.eigvals(couplings(40, seed)).real.max()) for seed in (0, 1)]
    # RK4's multiplier is exp(rate dt) to (|rate| dt)^5 / 120, rates below 2: 3e-6, over dt
    np.testing.assert_allclose(found, expected, atol=3e-5)
