"""Altered linear maps have the spectra and rests of altered matrices; altered networks of every kind are maps."""

import numpy as np
import pytest
import torch
from torch import nn

from analyses.maps.certificates import certify
from analyses.maps.fixed_points import find_fixed_points
from hooks.contract import check_dynamics, check_replay
from hooks.dynamics import Dynamics, rollout
from hooks.errors import InputError
from hooks.families import LeakyRate, PiecewiseLinear, flow, foreign, recurrent
from hooks.intervention import ablate, clamp, perturb, perturbable, scaled
from hooks.tangent import jacobian, push
from hooks.trajectory import Trajectory


def some(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear(matrix, C=None):
    readout = None if C is None else lambda x: x @ C.T
    return Dynamics(lambda x, _: x @ matrix.T, len(matrix), readout=readout, fingerprint="linear")


def networks():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        gru, lstm = recurrent(nn.GRU(2, 5), readout=nn.Linear(5, 1)), recurrent(nn.LSTM(2, 3, num_layers=2))
    rate = LeakyRate(W=some(5, 5), W_in=some(5, 2), b=some(5), leak=torch.tensor(0.3)).dynamics()
    pieces = PiecewiseLinear(some(4).abs() / 4, some(4, 4) / 4, some(4), 3).dynamics()
    swing = flow(lambda x, _: torch.stack([x[:, 1], -x[:, 0].sin()], 1), 2, dt=0.1)
    numpy = foreign(
        lambda x, _: np.tanh(2 * x), 3, jacobian=lambda x, _: np.stack([np.diag(2 / np.cosh(2 * r) ** 2) for r in x])
    )
    return {"GRU": gru, "LSTM": lstm, "rate": rate, "piecewise linear": pieces, "flow": swing, "numpy": numpy}


ALTERED = {
    "ablated": lambda f: ablate(f, [1]),
    "clamped": lambda f: clamp(f, [0, 1], [0.4, -0.3]),
    "scaled": lambda f: scaled(f, [1], 0.5),
    "pushed": lambda f: perturb(f, some(f.dim, seed=3)),
    "open": lambda f: perturbable(f, [0, 1]),
}


@pytest.mark.parametrize("altered", ALTERED)
@pytest.mark.parametrize("name", networks())
def test_an_altered_network_is_a_map_with_the_slope_of_its_step(name, altered):
    network = networks()[name]
    after = ALTERED[altered](network)
    states = some(4, network.dim)
    drives = some(4, after.inputs, seed=1) if after.driven else None
    check_dynamics(after, states, drive=drives)
    tangents = some(4, network.dim, 3, seed=2)
    carried = push(after, states, tangents, drives)[1]
    torch.testing.assert_close(carried, jacobian(after, states, drives) @ tangents, atol=1e-12, rtol=0)  # rounding
    assert not after.weights and not after.flow
    assert not network.fingerprint or after.fingerprint not in ("", network.fingerprint)


def test_ablated_units_of_a_linear_map_are_its_matrix_without_their_rows_and_columns():
    A, C = some(5, 5), some(2, 5, seed=1)
    kept = [0, 2, 4]
    silent = ablate(linear(A, C), [1, 3])
    expected = torch.zeros_like(A)
    expected[np.ix_(kept, kept)] = A[np.ix_(kept, kept)]
    states = some(3, 5, seed=2)
    assert torch.equal(jacobian(silent, states), expected.expand(3, 5, 5))
    torch.testing.assert_close(silent.readout(states), states[:, kept] @ C[:, kept].T, atol=1e-14, rtol=0)
    assert torch.equal(silent(states)[:, [1, 3]], torch.zeros(3, 2, dtype=torch.float64))
    mask = torch.tensor([False, True, False, True, False])
    assert torch.equal(ablate(linear(A), mask)(states), silent(states))
    assert torch.equal(ablate(ablate(linear(A), [1]), [3])(states), silent(states))


def test_values_go_to_units_in_the_order_in_which_they_are_named():
    held = clamp(linear(torch.eye(3).double()), [2, 0], [5.0, 7.0])
    assert held(torch.ones(1, 3).double()).tolist() == [[7.0, 1.0, 5.0]]


def test_a_gain_and_a_push_move_spectrum_and_rest_as_linear_algebra_says():
    A, s, b = some(4, 4) / 4, torch.tensor([0.5, 2.0], dtype=torch.float64), some(4, seed=1)
    weak = scaled(linear(A), [0, 2], s)
    gains = torch.diag(torch.tensor([0.5, 1.0, 2.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(jacobian(weak, some(1, 4))[0], gains @ A, atol=1e-15, rtol=0)
    rest = find_fixed_points(perturb(linear(A), b), some(4, 4))
    torch.testing.assert_close(
        torch.as_tensor(rest.points[0]), torch.linalg.solve(torch.eye(4).double() - A, b), atol=1e-9, rtol=0
    )


def test_the_mean_of_a_unit_is_taken_over_states():
    seen = Trajectory(np.array([[[1.0, 5.0], [3.0, 5.0], [np.nan, np.nan]]]), "time", lengths=np.array([2]))
    held = ablate(linear(torch.eye(2).double()), [0], mean_of=seen)
    assert held(torch.zeros(1, 2).double()).tolist() == [[2.0, 0.0]]


def test_a_push_as_a_drive_stands_after_the_networks_own():
    gru = networks()["GRU"]
    noisy, drives, noise = perturbable(gru, [4]), some(6, 2), some(6, 1, seed=1)
    run = rollout(noisy, torch.zeros(5), drives=torch.cat([drives, noise], 1))
    x = torch.zeros(1, 5).double()
    for u, kick in zip(drives, noise, strict=True):
        x = gru(x, u)
        x[:, 4] += kick
    np.testing.assert_allclose(run.states[0, -1], x[0], atol=1e-15)
    check_replay(noisy, run)
    free = perturbable(linear(torch.eye(2).double()), [0])
    assert rollout(free, torch.zeros(2), drives=np.ones((3, 1))).states[0, -1].tolist() == [3.0, 0.0]


def test_what_is_proved_of_an_altered_network_is_proved_of_the_altered_step():
    """Three units x' = tanh(2 x): without the third, 9 rests where there were 27, and each proof has its unit at zero."""
    bits = recurrent_bits(3)
    silent = ablate(bits, [2])
    points = find_fixed_points(silent, 64)  # drawn in the box, which zero keeps
    proof = certify(silent, points.points)
    assert len(points.points) == 9 and points.stable.sum() == 4 and proof.proved.all()
    assert not points.points[:, 2].any()
    assert clamp(bits, [2], 5.0).box(None) is None  # 5 is outside the box that tanh traps


def recurrent_bits(dim):
    cell = nn.RNN(1, dim)
    with torch.no_grad():
        for weight in cell.parameters():
            weight.zero_()
        cell.weight_hh_l0.copy_(2 * torch.eye(dim))
    return recurrent(cell).hold([0.0])


def test_no_unit_changes_nothing_and_what_does_not_fit_is_refused():
    gru = networks()["GRU"]
    states, drive = some(3, 5), some(2)
    for same in (ablate(gru, []), scaled(gru, [0], 1.0), perturb(gru, 0.0)):
        assert torch.equal(same(states, drive), gru(states, drive))
    with pytest.raises(InputError, match=r"0 to 4 or a mask"):
        ablate(gru, [5])
    with pytest.raises(InputError, match="named once"):
        ablate(gru, [1, 1])
    with pytest.raises(InputError, match="values are one finite number"):
        clamp(gru, [0, 1], [1.0, 2.0, 3.0])
    with pytest.raises(InputError, match="factors are one finite number"):
        scaled(gru, [0], float("nan"))
    with pytest.raises(InputError, match="5 wide"):
        ablate(gru, [0], mean_of=Trajectory(np.zeros((1, 2, 3)), "time"))
    with pytest.raises(InputError, match="no vector"):
        perturbable(Dynamics(lambda x, layer: x + layer, 2, driven=True), [0])
