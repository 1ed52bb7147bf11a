"""The map is one whose slope is right, and it forecasts data that it was not fitted to."""

import numpy as np
import torch

from case_studies._shallow_plrnn import fitted_to_lorenz
from hooks.contract import check_dynamics


def test_the_network_is_a_map_that_forecasts_runs_held_out():
    fit = fitted_to_lorenz(runs=8)
    dynamics = fit.dynamics()
    now, after = fit.held_out.pairs()
    states = torch.from_numpy(now.copy())
    check_dynamics(dynamics, states[:5])
    missed = dynamics(states).numpy() - after
    # 256 planes over an attractor some four deviations wide: cells of a tenth or so, and a bend of order 1 across them
    assert np.sqrt((missed**2).mean()) < 0.01 < np.sqrt(((after - now) ** 2).mean()) / 10
    lifted = fit.network.lifted().dynamics()
    same = lifted(fit.network.states(states))[:, :3] - dynamics(states)
    assert same.abs().max() < 1e-8  # rounding times weights of ridge regression, which cancel
