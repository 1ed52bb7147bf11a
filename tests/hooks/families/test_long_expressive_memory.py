"""One step against a loop over units, exact cases, the authors' layout, the box, and the bound of the slope."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from analyses.maps.fixed_points import find_fixed_points
from hooks.contract import check_dynamics
from hooks.dynamics import Dynamics, rollout
from hooks.errors import InputError
from hooks.families import LongExpressiveMemory, long_expressive_memory, rebuilt
from hooks.tangent import jacobian, push


def drawn(units=5, inputs=2, *, dt=1.0, size=1.0, seed=0, outputs=0):
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return size * torch.randn(*shape, generator=g, dtype=torch.float64)

    own = {f"W_{part}": normal(units, units) for part in "12zy"}
    own |= {f"V_{part}": normal(units, inputs) for part in "12zy"}
    own |= {f"b_{part}": normal(units) for part in "12zy"}
    read = {"W_out": normal(outputs, units), "b_out": normal(outputs)} if outputs else {}
    return LongExpressiveMemory(**own, **read, dt=dt)


def inside(count, dim, seed=1):
    return 2 * torch.rand(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def by_hand(n, z, y, u):
    """The equations, one unit at a time."""

    def told(part, i, within):
        W, V, b = (getattr(n, f"{kind}_{part}") for kind in "WVb")
        recurrent = sum(float(W[i, j]) * within[j] for j in range(n.units))
        return recurrent + sum(float(V[i, k]) * u[k] for k in range(len(u))) + float(b[i])

    new = []
    for i in range(n.units):
        d = n.dt * sigmoid(told("1", i, y))
        new.append((1 - d) * z[i] + d * math.tanh(told("z", i, y)))
    after = []
    for i in range(n.units):
        e = n.dt * sigmoid(told("2", i, y))
        after.append((1 - e) * y[i] + e * math.tanh(told("y", i, new)))
    return new + after


@pytest.mark.parametrize("dt", [1.0, 0.3])
def test_one_step_is_the_equations_written_out(dt):
    network = drawn(dt=dt)
    state, u = inside(1, 10), [0.7, -1.2]
    expected = by_hand(network, state[0, :5].tolist(), state[0, 5:].tolist(), u)
    got = network.dynamics()(state, torch.tensor(u, dtype=torch.float64))
    assert got[0].numpy() == pytest.approx(np.array(expected), abs=1e-14)


@pytest.mark.parametrize(("units", "inputs"), [(1, 1), (5, 2), (4, 0)])
def test_the_contract_holds_and_the_map_comes_back_from_its_weights(units, inputs):
    dynamics = drawn(units, inputs, dt=0.5, outputs=2).dynamics()
    drive = inside(8, inputs) if inputs else None
    assert dynamics.driven == (inputs > 0)
    states = inside(8, 2 * units)
    check_dynamics(dynamics, states, drive=drive)
    again = rebuilt(dynamics.weights)
    assert torch.equal(again(states, drive), dynamics(states, drive)) and again.fingerprint == dynamics.fingerprint
    assert torch.equal(again.readout(states), dynamics.readout(states))


def test_the_slope_and_the_push_by_hand_are_those_of_autograd():
    dynamics, states, u = drawn(dt=0.7).dynamics(), inside(6, 10), inside(6, 2, seed=3)
    by_autograd = jacobian(Dynamics(dynamics.step, dim=10, driven=True, inputs=2), states, u)
    assert torch.allclose(jacobian(dynamics, states, u), by_autograd, atol=1e-13)
    tangents = inside(60, 3, seed=4).reshape(6, 10, 3)
    _, carried = push(dynamics, states, tangents, u)
    assert torch.allclose(carried, by_autograd @ tangents, atol=1e-13)


def test_gates_that_see_nothing_leave_a_leaky_integrator():
    """With every W and V zero, z and y relax to tanh(b) by 1 - dt sigmoid(b_1) and 1 - dt sigmoid(b_2) a step."""
    none, b = torch.zeros(1, 1).double(), {"1": -2.0, "2": 1.0, "z": 0.4, "y": -0.8}
    network = LongExpressiveMemory(
        **{f"{kind}_{part}": none for kind in "WV" for part in "12zy"},
        **{f"b_{part}": torch.tensor([value], dtype=torch.float64) for part, value in b.items()},
        dt=0.25,
    )
    rest = np.tanh([b["z"], b["y"]])
    rates = 1 - 0.25 * np.array([sigmoid(b["1"]), sigmoid(b["2"])])
    start = np.array([0.9, 0.3])
    path = rollout(network.dynamics().hold([0.0]), start, steps=20).states[0]
    assert path == pytest.approx(rest + (start - rest) * rates ** np.arange(21)[:, None], abs=1e-14)
    steps = network.time_steps(torch.tensor(start)[None], torch.zeros(1).double())[0]
    assert 1 - steps.numpy() == pytest.approx(rates, abs=1e-15)


def test_states_never_leave_the_box_and_its_fixed_points_have_an_index_sum_of_one():
    dynamics = drawn(8, 2, size=3.0).dynamics()
    low, high = dynamics.box(None)
    run = rollout(dynamics, inside(16, 16), drives=5 * inside(300, 2, seed=7))
    assert (run.states >= low.numpy()).all() and (run.states <= high.numpy()).all()
    found = find_fixed_points(drawn(3, 1, size=3.0).dynamics().hold([0.0]), 256)
    index = next(check for check in found.checks if check.name.startswith("index sum"))
    assert index.expected == index.got == 1  # Lefschetz: a map of a box into itself


@pytest.mark.parametrize(("dt", "size"), [(1.0, 0.2), (1.0, 2.0), (0.1, 0.2), (0.1, 2.0)])
def test_no_slope_in_the_box_exceeds_the_bound(dt, size):
    network = drawn(6, 2, dt=dt, size=size)
    slopes = jacobian(network.dynamics(), inside(2000, 12), 10 * inside(2000, 2, seed=5))
    assert slopes.abs().sum(-1).max() <= network.growth_bound()


def test_a_gate_at_its_steepest_reaches_the_bound_but_for_what_it_forgets():
    """z = -1 drawn to tanh(20) = 1 by a gate at 1/2: the row of z' is 1 - dt/2 + dt w/2, dt/2 below the bound 1 + dt w/2."""
    none, w, dt = torch.zeros(1, 1).double(), 6.0, 0.5
    own = {f"{kind}_{part}": none for kind in "WV" for part in "12zy"} | {f"b_{part}": none[0] for part in "12zy"}
    network = LongExpressiveMemory(**{**own, "W_1": none + w, "b_z": none[0] + 20}, dt=dt)
    slope = jacobian(network.dynamics().hold([0.0]), torch.tensor([[-1.0, 0.0]]).double())[0]
    assert slope.abs().sum(1).max() == pytest.approx(1 - dt / 2 + dt * w / 2, abs=1e-12)
    assert network.growth_bound() == pytest.approx(1 + dt * w / 2, abs=1e-15)


def test_the_bound_over_a_fixed_time_does_not_grow_as_steps_become_finer():
    """(1 + dt c)^(1/dt) tends to e^c from below; c itself carries a term of order dt, 2 % of it at dt = 0.01 here."""
    bounds = [drawn(4, 1, dt=dt, size=0.5).growth_bound() ** (1 / dt) for dt in (1e-2, 1e-3, 1e-4)]
    assert abs(math.log(bounds[2] / bounds[1])) < abs(math.log(bounds[1] / bounds[0])) < 1


def test_a_cell_in_the_authors_layout_is_read_as_its_forward_computes():
    g = torch.Generator().manual_seed(0)
    cell = nn.Module()
    cell.inp2hid, cell.hid2hid, cell.transform_z = nn.Linear(2, 16), nn.Linear(4, 12), nn.Linear(4, 4)
    cell.dt = 0.8
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=g))
    readout = nn.Linear(4, 1).double()
    cell.double()
    state, u = inside(3, 8), inside(3, 2, seed=2)
    z, y = state.chunk(2, dim=1)
    # forward(x, y, z) of LEMCell in tk-rusch/LEM: the first of each stack is y's time step
    i_1, i_2, i_z, i_y = cell.inp2hid(u).chunk(4, 1)
    h_1, h_2, h_y = cell.hid2hid(y).chunk(3, 1)
    bar, plain = cell.dt * torch.sigmoid(i_1 + h_1), cell.dt * torch.sigmoid(i_2 + h_2)
    z = (1 - plain) * z + plain * torch.tanh(i_y + h_y)
    y = (1 - bar) * y + bar * torch.tanh(cell.transform_z(z) + i_z)
    network = long_expressive_memory(cell, readout=readout)
    after = network.dynamics()(state, u)
    assert torch.allclose(after, torch.cat([z, y], 1), atol=1e-14)
    assert torch.allclose(network.dynamics().readout(after), readout(y), atol=1e-14)
    with pytest.raises(
        InputError, match="Linear has no inp2hid, hid2hid, transform_z, dt: a cell of the authors' layout"
    ):
        long_expressive_memory(readout)


def test_weights_that_do_not_fit_and_other_time_steps_are_refused():
    own = {name: value for name, value in vars(drawn()).items() if value is not None}
    with pytest.raises(InputError, match=r"W_2 has shape \(4, 4\); 5 units and 2 inputs need \(5, 5\)"):
        LongExpressiveMemory(**{**own, "W_2": torch.eye(4)})
    with pytest.raises(InputError, match=r"V_y has shape \(5, 3\); 5 units and 2 inputs need \(5, 2\)"):
        LongExpressiveMemory(**{**own, "V_y": torch.zeros(5, 3)})
    for dt in (0.0, 1.5, float("nan")):
        with pytest.raises(InputError, match=r"dt lies in \(0, 1\]"):
            LongExpressiveMemory(**{**own, "dt": dt})
