"""Kuramoto's own results, a Lyapunov function, and the contract."""

import math

import pytest
import torch

from analyses.maps.lyapunov import lyapunov_spectrum
from hooks.contract import check_dynamics
from hooks.dynamics import rollout
from hooks.errors import InputError
from hooks.families import Kuramoto
from hooks.tangent import jacobian


def mean_field(speeds: torch.Tensor, K: float, rate: float) -> Kuramoto:
    """Kuramoto's model: phases of given speeds, each pulled by K times the mean field."""
    n = len(speeds)
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    return Kuramoto(torch.kron(torch.full((n, n), K / n), torch.eye(2)).double(), speeds[:, None, None] * turn, rate)


def drawn(oscillators: int, width: int, *, symmetric: bool, turning: float, rate: float = 0.1) -> Kuramoto:
    g = torch.Generator().manual_seed(0)
    J = torch.randn(oscillators * width, oscillators * width, generator=g).double() / math.sqrt(oscillators * width)
    omega = turning * torch.randn(oscillators, width, width, generator=g).double()
    return Kuramoto((J + J.T) / 2 if symmetric else J, omega - omega.mT, rate)


@pytest.mark.parametrize("K", [2.0, 3.0, 4.0])
def test_the_order_parameter_of_lorentzian_speeds_is_kuramotos(K):
    """r = sqrt(1 - 2 / K) for speeds of half-width 1 (Kuramoto 1975; Strogatz, Physica D 143, 1 (2000), eq. 4.7)."""
    n = 400
    speeds = torch.tan(math.pi * ((torch.arange(n, dtype=torch.float64) + 0.5) / n - 0.5))
    network = mean_field(speeds.clamp(-100, 100), K, 0.01)
    still = torch.zeros(2 * n, dtype=torch.float64)
    states = network.starts(1, generator=torch.Generator().manual_seed(0))
    step, sizes = network.dynamics(), []
    for number in range(3000):
        states = step(states, still)
        if number >= 2000:
            sizes.append(float(network.order(states)[0]))
    # Over 1000 steps = 10 units of time; a finite network wavers by 1 / sqrt(n) = 0.05, at the onset K = 2 by n^(-1/4) = 0.22.
    assert sum(sizes) / len(sizes) == pytest.approx(math.sqrt(1 - 2 / K), abs=0.22 if K == 2 else 0.05)


def test_the_energy_falls_where_coupling_is_symmetric_and_nothing_turns():
    network = drawn(12, 3, symmetric=True, turning=0.0)
    c = torch.randn(36, generator=torch.Generator().manual_seed(1)).double()
    states = network.starts(8, generator=torch.Generator().manual_seed(2))
    path = torch.tensor(rollout(network.dynamics().hold(c), states, steps=200).states)
    energies = torch.stack([network.energy(path[:, t], c) for t in range(201)])
    assert (energies.diff(dim=0) <= 1e-12).all() and (energies[0] - energies[-1] > 1).all()


def test_two_alike_oscillators_come_together_at_the_rate_of_their_coupling():
    """d(theta)/dt = -K sin(theta): near synchrony a difference of phases shrinks by 1 - rate K a step."""
    network = mean_field(torch.zeros(2).double(), 2.0, 0.1)
    together = torch.tensor([[1.0, 0.0, 1.0, 0.0]], dtype=torch.float64)
    values = torch.linalg.eigvals(jacobian(network.dynamics(), together, torch.zeros(4).double())[0]).real.sort().values
    # Two radial directions, the difference of phases, and the common phase.
    assert values == pytest.approx([0.0, 0.0, 0.8, 1.0], abs=1e-12)


def test_every_oscillator_has_one_exponent_of_minus_infinity():
    network = drawn(4, 2, symmetric=False, turning=1.0)
    spectrum = lyapunov_spectrum(
        network.dynamics().hold(torch.ones(8).double()),
        network.starts(2, generator=torch.Generator().manual_seed(0)),
        steps=200,
        burn_in=50,
    )
    assert (spectrum.per_start[:, 4:] < -15).all() and (spectrum.per_start[:, :4] > -15).all()


def test_the_map_keeps_the_contract_and_lengths():
    network = drawn(5, 3, symmetric=False, turning=0.5)
    states = network.starts(6, generator=torch.Generator().manual_seed(0))
    c = torch.randn(6, 15, generator=torch.Generator().manual_seed(3)).double()
    check_dynamics(network.dynamics(), states, drive=c)
    after = network.dynamics()(2 * states, c).reshape(6, 5, 3)
    assert (after.norm(dim=-1) - 1).abs().max() < 1e-14
    assert network.order(torch.tensor([[1.0, 0, 0, 1, 0, 0]], dtype=torch.float64)).item() == 1


def test_weights_that_make_no_oscillators_are_refused():
    zero = torch.zeros(2, 2, 2)
    with pytest.raises(InputError, match="coupling"):
        Kuramoto(torch.zeros(3, 3), zero, 0.1)
    with pytest.raises(InputError, match="antisymmetric"):
        Kuramoto(torch.zeros(4, 4), torch.ones(2, 2, 2), 0.1)
    with pytest.raises(InputError, match="above 0"):
        Kuramoto(torch.zeros(4, 4), zero, 0.0)
