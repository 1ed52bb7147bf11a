import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from analyses.maps.lyapunov import lyapunov_spectrum
from case_studies._systems import SYSTEMS
from hooks.contract import check_dynamics
from hooks.dynamics import rollout
from hooks.errors import InputError
from hooks.families import adaptive
from hooks.tangent import jacobian, push

FLOWS = (
    "Lorenz63", "Rossler", "Chen", "Lu", "Chua", "Thomas", "Halvorsen", "Nose-Hoover", "Rabinovich-Fabrikant", "Lorenz96",
    "random rate network",
)  # fmt: skip
LENGTHS = {  # of which runs: starts, burn-in, steps, changed settings
    ("Lorenz63", 1): (128, 500, 1000, {}),
    ("Lorenz63", 3): (256, 500, 1000, {"dt": 0.005}),
    ("Rossler", 0): (64, 1000, 3000, {"dt": 0.04}),
    ("Chen", 1): (320, 500, 1000, {}),
    ("Lorenz96", 1): (32, 600, 1000, {"dt": 0.05}),
    ("Lorenz96", 2): (256, 300, 1000, {}),
    ("logistic", 0): (256, 50, 1000, {}),
    ("Henon", 1): (256, 50, 2000, {}),
    ("Ikeda", 1): (256, 50, 2000, {}),
    ("standard map", 1): (256, 50, 1000, {}),
    ("cat map", 1): (16, 50, 100, {}),
    ("Aubry-Andre", 1): (64, 50, 2000, {}),
}


def starts(system, dynamics, count):
    """The system's start and others within 0.05 of it; psi = 0 stays."""
    noise = (
        0.1 * torch.rand(count, dynamics.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.05
    )
    noise[0] = 0
    if system.name == "Aubry-Andre":
        noise[:, :2] = 0
    return torch.tensor([system.start(dynamics.dim)], dtype=torch.float64) + noise


@pytest.mark.parametrize("name", SYSTEMS)
def test_each_is_a_map_with_the_slope_that_autograd_finds(name):
    system = SYSTEMS[name]
    dynamics = system.make()
    run = rollout(dynamics, system.start(dynamics.dim), steps=400)
    assert run.lengths[0] == 401 and np.abs(run.states).max() < 100  # stays in its basin
    states = torch.from_numpy(run.states[0, 10::50].copy())
    check_dynamics(dynamics, states)
    by_autograd = replace(dynamics, jacobian=None, push=None)
    expected = jacobian(by_autograd, states)
    assert (jacobian(dynamics, states) - expected).abs().max() < 1e-12 * max(1.0, float(expected.abs().max()))
    tangents = torch.ones(len(states), dynamics.dim, 2).double()
    after, carried = push(dynamics, states, tangents)
    assert torch.equal(after, dynamics(states)) and torch.allclose(carried, expected @ tangents, atol=1e-11)


@pytest.mark.parametrize(
    ("name", "reference"),
    [(s.name, r) for s in SYSTEMS.values() for r in s.references if r.quantity == "sum"],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_exponents_sum_to_the_mean_log_determinant(name, reference):
    # holds along any stretch of any orbit. Maps: rounding. Flows: RK4's own determinant differs by (fastest rate x dt)^5 / 120
    # a step, below 1e-6 per unit of time at a tenth of the usual dt
    system = SYSTEMS[name]
    flows = name in FLOWS
    finer = {"dt": system.parameters["dt"] / 10} if flows else {}
    dynamics = system.make(**reference.parameters, **finer)
    found = lyapunov_spectrum(dynamics, starts(system, dynamics, 1), steps=100, burn_in=20)
    assert found.per_start.sum() == pytest.approx(reference.values[0], abs=1e-6 if flows else 1e-12)


@pytest.mark.parametrize(("name", "number"), LENGTHS)
def test_exponents_meet_their_references_within_four_standard_errors(name, number):
    # independent starts give the standard error: neighbours within 0.05, followed until their distance has grown by e^10, and
    # then for 0 to 150 steps more, so in any phase of the slowest turn, Rossler's; a fixed 1e-3 for
    # Aubry-Andre, whose error is a boundary term of order 1 / steps
    system, (count, burn_in, steps, settings) = SYSTEMS[name], LENGTHS[name, number]
    reference = system.references[number]
    dynamics = system.make(**reference.parameters, **settings)
    wanted = np.array(reference.values)
    apart = math.ceil(10 / (wanted[0] * dynamics.dt))
    orbits = rollout(dynamics, starts(system, dynamics, count), steps=150, burn_in=apart).states
    spread = orbits[np.arange(count), np.linspace(0, 150, count).astype(int)]
    found = lyapunov_spectrum(dynamics, spread, steps=steps, burn_in=burn_in, directions=len(wanted))
    measured, error = found.per_start.mean(0), found.per_start.std(0, ddof=1) / math.sqrt(count)
    assert (error < 0.03).all()  # the comparison says something
    allowed = reference.tolerance + (1e-3 if name == "Aubry-Andre" else 4 * error + 1e-9)
    assert (np.abs(measured - wanted) <= allowed).all(), (measured, error)


def test_every_reference_of_exponents_is_compared():
    listed = {(s.name, n) for s in SYSTEMS.values() for n, r in enumerate(s.references) if r.quantity == "exponents"}
    assert listed == set(LENGTHS)


def test_rk4_follows_the_same_field_as_the_adaptive_integrator():
    # Lorenz over one unit of time from the start: RK4's error of about (dt)^4 times growth, 1e-5 at dt = 0.01
    sigma, rho, beta = 10.0, 28.0, 8 / 3

    def velocity(s, _):
        return torch.stack(
            [sigma * (s[:, 1] - s[:, 0]), s[:, 0] * (rho - s[:, 2]) - s[:, 1], s[:, 0] * s[:, 1] - beta * s[:, 2]], 1
        )

    start = torch.tensor([[1.0, 2.0, 20.0]]).double()
    exact = adaptive(velocity, 3, dt=1.0)(start)
    assert (SYSTEMS["Lorenz63"].make(dt=0.0025).iterated(400)(start) - exact).abs().max() < 1e-5


def test_aubry_andre_below_the_transition_does_not_localise():
    # extended states: bounded products, exponents of order 1 / steps
    system = SYSTEMS["Aubry-Andre"]
    found = lyapunov_spectrum(system.make(strength=0.5), [[0.0, 0.0, 0.1]], steps=1500, burn_in=100)
    assert abs(found.exponents[0, 0]) < 5e-3
    for strength in (1.5, 3.0):
        found = lyapunov_spectrum(system.make(strength=strength), [[0.0, 0.0, 0.1]], steps=1500, burn_in=100)
        assert found.exponents[0, 0] == pytest.approx(math.log(strength), abs=5e-3)


def test_a_random_network_rests_below_gain_one_and_is_chaotic_well_above():
    system = SYSTEMS["random rate network"]
    quiet = system.make(gain=0.5)
    # slowest rate about 1 - 0.5: e^-25 after 50 units of time
    assert np.abs(rollout(quiet, system.start(100), steps=500).states[0, -1]).max() < 1e-6
    loud = system.make()
    found = lyapunov_spectrum(loud, starts(system, loud, 8), steps=1000, burn_in=500, directions=1).per_start[:, 0]
    assert found.mean() > 4 * found.std(ddof=1) / math.sqrt(8) and found.mean() > 0.02


def test_neurons_without_coupling_go_their_own_ways():
    system = SYSTEMS["Chialvo-Rulkov chain"]
    p = system.parameters
    chain, alone = system.make(coupling=0.0), system.make(neurons=1)
    states = torch.rand(5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(chain(states)[:, [0, 3]], alone(states[:, [0, 3]]))
    x, y = states[:, :3].unbind(1), states[:, 3:].unbind(1)
    # determinants by hand, neuron by neuron; exchanges of rows and columns cancel
    chialvo = [x[i] * torch.exp(y[i] - x[i]) * (p["a"] * (2 - x[i]) + p["b"] * x[i]) for i in (0, 2)]
    rulkov = -2 * p["alpha"] * x[1] / (1 + x[1] ** 2) ** 2 + p["sigma"]
    assert (torch.linalg.det(jacobian(chain, states)) - chialvo[0] * rulkov * chialvo[1]).abs().max() < 1e-13
    coupled = system.make()(states) - chain(states)
    assert coupled[:, :3].sum(1).abs().max() < 1e-15 and coupled[:, 3:].abs().max() == 0  # what one gives another takes


def test_parameters_name_the_map_and_wrong_ones_are_refused():
    lorenz = SYSTEMS["Lorenz63"]
    assert lorenz.make().fingerprint == lorenz.make(rho=28.0).fingerprint != lorenz.make(rho=30.0).fingerprint
    assert lorenz.make(dt=0.005).dt == 0.005 and lorenz.make().name == "Lorenz63"
    with pytest.raises(InputError, match="Lorenz63 has no parameter 'r'; it has sigma, rho, beta, dt"):
        lorenz.make(r=28.0)
    with pytest.raises(InputError, match="couples four neighbours, but 3 sites came"):
        SYSTEMS["Lorenz96"].make(sites=3)
    with pytest.raises(InputError, match="at least one neuron, but 0 came"):
        SYSTEMS["Chialvo-Rulkov chain"].make(neurons=0)
