import numpy as np
import pytest
import torch
from torch import nn

from hooks.contract import check_dynamics, check_replay
from hooks.dynamics import Dynamics, rollout
from hooks.errors import DrivenError, InputError
from hooks.families import LeakyRate, closed_loop, recurrent
from hooks.tangent import drive_jacobian, jacobian, readout_jacobian


def states(rows, dim):
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def weights(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rate_network(units=6, inputs=2):
    W, W_in, W_out = weights(units, units, seed=2), weights(units, inputs, seed=3), weights(inputs, units, seed=4)
    b, b_out, leak = weights(units, seed=5), weights(inputs, seed=6), torch.tensor(0.3)
    return LeakyRate(W, W_in, b, leak, W_out=W_out, b_out=b_out)


def test_feeding_back_a_linear_readout_of_a_rate_network_adds_a_low_rank_part_to_its_weights():
    open_loop = rate_network()
    W = open_loop.W + open_loop.W_in @ open_loop.W_out
    same = LeakyRate(W, torch.zeros(6, 0), open_loop.b + open_loop.W_in @ open_loop.b_out, open_loop.leak).dynamics()
    closed, at = closed_loop(open_loop.dynamics()), states(8, 6)
    torch.testing.assert_close(closed(at), same(at), rtol=0, atol=1e-14)
    torch.testing.assert_close(jacobian(closed, at), jacobian(same, at), rtol=0, atol=1e-13)
    assert not closed.driven and closed.box is None and closed.name.endswith("in closed loop")


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_a_trained_forecaster_in_closed_loop_is_a_map_and_its_slope_has_the_part_through_the_drive(kind):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        open_loop = recurrent(kind(3, 5), readout=nn.Linear(5, 3))
    closed = closed_loop(open_loop)
    at = states(4, closed.dim)
    check_dynamics(closed, at)
    check_replay(closed, rollout(closed, at, steps=10))
    said = open_loop.readout(at)
    # chain rule: dF/dx + dF/du du/dx
    by_hand = jacobian(open_loop, at, said) + drive_jacobian(open_loop, at, said) @ readout_jacobian(open_loop, at)
    torch.testing.assert_close(jacobian(closed, at), by_hand, rtol=0, atol=1e-13)
    assert closed.fingerprint != open_loop.fingerprint and not closed.weights


def test_the_input_of_each_step_is_what_was_said_before_it():
    module = nn.GRU(1, 4, batch_first=True).double()
    readout = nn.Linear(4, 1).double()
    closed = closed_loop(recurrent(module, readout=readout))
    h = torch.zeros(1, 1, 4, dtype=torch.float64)
    with torch.no_grad():
        for _ in range(5):
            _, h = module(readout(h[0])[None], h)
    alone = rollout(closed, torch.zeros(1, 4), steps=5).states[0, -1]
    np.testing.assert_allclose(alone, h[0, 0].detach().numpy(), rtol=0, atol=1e-13)


def test_a_loop_that_cannot_be_closed_is_refused():
    with pytest.raises(DrivenError, match="takes no drive vector, so there is no loop to close"):
        closed_loop(Dynamics(lambda x, _: x, dim=1))
    with pytest.raises(InputError, match="has no readout to drive it"):
        closed_loop(recurrent(nn.GRU(1, 2)))
    with pytest.raises(InputError, match="says 3 numbers but takes 1, so it cannot drive itself"):
        closed_loop(recurrent(nn.GRU(1, 2), readout=nn.Linear(2, 3)))
