import math

import numpy as np
import pytest
import torch
from torch import nn

from analyses.maps.memory_function import memory_function
from analyses.result import Outcome
from hooks.dynamics import Dynamics
from hooks.errors import DrivenError, InputError
from hooks.families import recurrent


def modes(decays, weights):
    """h' = decay h + x, read as the weighted sum: M(t) = |sum weight decay^(t-1)|."""
    decays, weights = (torch.as_tensor(v, dtype=torch.float64) for v in (decays, weights))
    return Dynamics(
        lambda h, x: decays * h + x,
        dim=len(decays),
        driven=True,
        inputs=1,
        readout=lambda h: (h @ weights)[:, None],
    )


def specimens():
    return [
        memory_function(modes([0.9], [1.0]), [0.0], steps=40),
        memory_function(Dynamics(lambda h, x: 1e200 * h + x, dim=1, driven=True, inputs=1), [0.0], steps=9),
    ]


def test_a_leaky_unit_forgets_at_its_leak():
    found = memory_function(modes([0.9], [0.1]), [0.0], steps=100)
    assert found.memory == pytest.approx(0.1 * 0.9 ** np.arange(100), rel=1e-7, abs=1e-12)
    assert found.law == "exponential" and found.rate == pytest.approx(math.log(0.9), abs=1e-6)
    assert found.slowest == pytest.approx(math.log(0.9)) and all(check.passed for check in found.checks)


def test_an_integrator_remembers_for_ever():
    found = memory_function(modes([1.0], [1.0]), [0.0], steps=50)
    assert found.memory == pytest.approx(1.0, abs=1e-9) and found.rate == pytest.approx(0.0, abs=1e-9)


def test_many_leaks_make_a_power_law():
    """The integral of r^1.5 e^(-r t) over ln r is Gamma(1.5) t^-1.5; sixty rates reach from 0.2 to 10 000 steps."""
    rates = np.geomspace(1e-4, 5, 60)
    found = memory_function(modes(np.exp(-rates), rates**1.5), np.zeros(60), steps=1000)
    assert found.law == "power law" and found.power == pytest.approx(1.5, abs=0.15)


def test_a_delay_line_remembers_one_step_alone():
    """Five units in a row, the last one read: M is 1 at the fifth step and 0 at all others."""
    shift = torch.diag(torch.ones(4, dtype=torch.float64), -1)
    first = torch.eye(5, dtype=torch.float64)[0]
    line = Dynamics(lambda h, x: h @ shift.T + first * x, dim=5, driven=True, inputs=1, readout=lambda h: h[:, 4:])
    found = memory_function(line, np.zeros(5), steps=12)
    assert found.memory == pytest.approx(np.eye(12)[4], abs=1e-10)
    assert found.slowest == -math.inf and found.law == "nothing to fit"


def test_a_network_forgets_at_its_slowest_eigenvalue():
    """An untrained GRU at rest: in the end the response falls with the leading eigenvalue of its Jacobian."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        gru = recurrent(nn.GRU(2, 12))
    rest = torch.zeros(1, 12, dtype=torch.float64)
    for _ in range(400):
        rest = gru(rest, torch.zeros(2, dtype=torch.float64))
    found = memory_function(gru, rest, steps=60)
    tail = np.log(found.memory[50] / found.memory[40]) / 10
    assert tail == pytest.approx(found.slowest, abs=0.02) and found.checks[1].passed
    assert found.by_direction.shape == (60, 2) and found.checks[0].passed


def test_directions_are_scaled_to_one():
    one, many = modes([0.5], [1.0]), {"steps": 10}
    assert memory_function(one, [0.0], directions=[[3.0]], **many).memory == pytest.approx(
        memory_function(one, [0.0], **many).memory, abs=1e-9
    )


def test_an_overflow_is_an_outcome():
    assert specimens()[1].outcome is Outcome.DIVERGED and specimens()[1].summary().startswith("0 laws fitted")


def test_refusals():
    with pytest.raises(DrivenError, match="no input to change"):
        memory_function(Dynamics(lambda h, _: h, dim=1), [0.0], steps=3)
    with pytest.raises(InputError, match="need one state"):
        memory_function(modes([0.5], [1.0]), [[0.0], [1.0]], steps=3)
    with pytest.raises(InputError, match="directions other than zero"):
        memory_function(modes([0.5], [1.0]), [0.0], steps=3, directions=[[0.0]])
