import numpy as np
import pytest
import torch

from hooks.contract import check_dynamics
from hooks.dynamics import Dynamics, rollout
from hooks.errors import InputError
from hooks.families import affine_pieces
from hooks.trajectory import Trajectory
from tests.known import linear


def some(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_one_class_of_a_linear_map_is_that_map():
    A = some(3, 3) / 3
    run = rollout(linear(A), some(8, 3), steps=5)
    fitted = affine_pieces(run, np.zeros((8, 6), dtype=int))
    states = some(5, 3, seed=2)
    torch.testing.assert_close(
        fitted(states), states @ A.T, atol=1e-10, rtol=0
    )  # rounding, by the fit's condition of about 10
    check_dynamics(fitted, states)


def test_regions_of_a_piecewise_linear_map_are_recovered_with_their_drive():
    """x' = 0.5 x + 0.8 relu(x) + u: slope 1.3 on the right and 0.5 on the left. Means of symmetric states part them at zero."""
    net = Dynamics(lambda x, u: 0.5 * x + 0.8 * torch.relu(x) + u, 1, driven=True, inputs=1)
    starts = torch.cat([torch.linspace(-2, -0.1, 20), torch.linspace(0.1, 2, 20)]).double()[:, None]
    run = rollout(net, starts, drives=some(40, 1, 1))
    fitted = affine_pieces(run, (run.states[:, :, 0] > 0).astype(int))
    x, u = torch.tensor([[-1.5], [-0.1], [0.1], [1.7]]).double(), some(4, 1, seed=3)
    torch.testing.assert_close(fitted(x, u), net(x, u), atol=1e-10, rtol=0)
    check_dynamics(fitted, x, drive=u)


def test_a_map_that_is_linear_under_each_symbol_is_recovered_symbol_by_symbol():
    """x' = R_s x, a turn for each of three symbols: linear under each, and in state and one-hot symbol together not."""
    turns = torch.linalg.qr(some(3, 2, 2))[0]
    net = Dynamics(
        lambda x, u: ((u @ turns.flatten(1)).unflatten(-1, (2, 2)) @ x[:, :, None])[..., 0], 2, driven=True, inputs=3
    )
    symbols = np.eye(3)[np.random.default_rng(0).integers(3, size=(20, 6))]
    run = rollout(net, some(20, 2), drives=symbols)
    states, drives = some(6, 2, seed=4), torch.eye(3).double().repeat(2, 1)
    each = affine_pieces(run, np.zeros((20, 7), dtype=int), per_drive=True)
    torch.testing.assert_close(each(states, drives), net(states, drives), atol=1e-10, rtol=0)
    check_dynamics(each, states, drive=drives)
    assert (affine_pieces(run, np.zeros((20, 7), dtype=int))(states, drives) - net(states, drives)).abs().max() > 0.3


def test_a_class_of_one_step_gives_that_step_and_what_does_not_fit_is_refused():
    run = Trajectory(np.array([[[1.0, 2.0], [3.0, 4.0]]]), "time")
    assert affine_pieces(run, [[5, -1]])(torch.tensor([[1.0, 2.0]]).double())[0].tolist() == pytest.approx([3.0, 4.0])
    with pytest.raises(InputError, match=r"whole numbers \(1, 2\)"):
        affine_pieces(run, [[0]])
    with pytest.raises(InputError, match="no drives"):
        affine_pieces(run, [[0, 0]], per_drive=True)
    with pytest.raises(InputError, match="no step starts"):
        affine_pieces(run, [[-1, 0]])
