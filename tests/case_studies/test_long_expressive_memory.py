"""The network that is trained is the map that is examined; the held time steps are held; the data solve their equation."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from case_studies.long_expressive_memory import UNITS, fitzhugh_nagumo, held, made, memory, replaced_shares
from hooks.dynamics import rollout
from hooks.families import recurrent


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("dt", [1.0, 0.1])
def test_what_is_trained_is_what_is_examined(dt):
    module, inputs = made("LEM", dt).double(), noise(3, 30, 1)
    dynamics = memory(module).dynamics()
    states = torch.tensor(rollout(dynamics, np.zeros((3, 2 * UNITS)), drives=inputs).states[:, 1:])
    assert torch.allclose(module(inputs), dynamics.readout(states), atol=1e-13)


def test_held_time_steps_are_those_asked_for_in_every_state():
    network = memory(made("LEM").double())
    shares = np.linspace(0.01, 0.9, 2 * UNITS)
    steps = held(network, shares).time_steps(noise(5, 2 * UNITS), noise(5, 1))
    assert steps.numpy() == pytest.approx(np.tile(shares, (5, 1)), abs=1e-14)


def test_what_a_gru_replaces_is_read_off_its_own_step():
    """h' = (1 - z) n + z h: the share 1 - z is (h' - h) / (n - h), n the candidate of torch's equations."""
    module, inputs = made("GRU").double(), noise(2, 10, 1)
    dynamics = recurrent(module.layer)
    orbit = rollout(dynamics, 0.5 * noise(2, UNITS).tanh(), drives=inputs)
    shares = replaced_shares(module, orbit)
    h, after = torch.tensor(orbit.states[:, :-1]), torch.tensor(orbit.states[:, 1:])
    rnn = module.layer
    from_x = (inputs @ rnn.weight_ih_l0.mT + rnn.bias_ih_l0).chunk(3, -1)
    from_h = (h @ rnn.weight_hh_l0.mT + rnn.bias_hh_l0).chunk(3, -1)
    candidate = torch.tanh(from_x[2] + torch.sigmoid(from_x[0] + from_h[0]) * from_h[2])
    assert (after - h).numpy() == pytest.approx((shares * (candidate - h).numpy()), abs=1e-12)


def test_the_voltage_solves_the_equation():
    v = fitzhugh_nagumo(2, generator=torch.Generator().manual_seed(0), samples=200).numpy()
    field = lambda _, x: (x[0] - x[0] ** 3 / 3 - x[1] + 0.5, (x[0] + 0.7 - 0.8 * x[1]) / 50)  # noqa: E731
    for run in v:
        exact = solve_ivp(field, (0, 80), (run[0], 0.0), t_eval=0.4 * np.arange(201), rtol=1e-10, atol=1e-12).y[0]
        assert run == pytest.approx(exact, abs=1e-4)  # fourth order at steps of 0.05: 6e-6, times some spikes
