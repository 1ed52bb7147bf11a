import numpy as np
import pytest
import torch
from torch import nn

from hooks.contract import check_dynamics
from hooks.coordinates import principal, unexplained
from hooks.dynamics import Dynamics, rollout
from hooks.errors import InputError
from hooks.families import foreign, recurrent
from hooks.families.residual import residual
from hooks.tangent import jacobian, push
from tests.tiny import WIDTH, tiny, tokens


def some(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


TURN = torch.linalg.qr(some(6, 6))[0]


def gru():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return recurrent(nn.GRU(2, 6), dtype=torch.float64)


def test_logistic_and_tent_are_one_map_in_other_coordinates():
    # x = sin^2(pi z / 2) takes the tent map to the logistic map at 4 (Ulam, von Neumann)
    logistic = Dynamics(lambda x, _: 4 * x * (1 - x), 1)
    tent = logistic.through(lambda x: 2 / torch.pi * torch.asin(x.sqrt()), lambda z: torch.sin(torch.pi * z / 2) ** 2)
    z = torch.tensor([[0.1], [0.3], [0.7], [0.95]], dtype=torch.float64)
    torch.testing.assert_close(tent(z), 1 - (2 * z - 1).abs(), atol=1e-12, rtol=0)
    slopes = torch.tensor([2.0, 2.0, -2.0, -2.0], dtype=torch.float64)
    torch.testing.assert_close(jacobian(tent, z)[:, 0, 0], slopes, atol=1e-10, rtol=0)


def test_a_turn_of_the_axes_changes_coordinates_and_nothing_else():
    dynamics, drive = gru(), some(2)
    turned = dynamics.through(lambda x: x @ TURN, lambda z: z @ TURN.T)
    states = some(4, 6)
    check_dynamics(turned, states @ TURN, drive=drive)
    torch.testing.assert_close(turned(states @ TURN, drive), dynamics(states, drive) @ TURN, atol=1e-13, rtol=0)
    expected = TURN.T @ jacobian(dynamics, states, drive) @ TURN
    torch.testing.assert_close(jacobian(turned, states @ TURN, drive), expected, atol=1e-12, rtol=0)
    tangents = some(4, 6, 3, seed=2)
    torch.testing.assert_close(push(turned, states @ TURN, tangents, drive)[1], expected @ tangents, atol=1e-12, rtol=0)
    there = rollout(turned, states @ TURN, drives=drive.expand(9, 2))
    here = rollout(dynamics, states, drives=drive.expand(9, 2))
    np.testing.assert_allclose(there.states, here.states @ TURN.numpy(), atol=1e-12)


def test_a_map_that_autograd_cannot_follow_keeps_its_own_slope():
    numpy = foreign(
        lambda x, _: np.tanh(2 * x),
        3,
        jacobian=lambda x, _: np.stack([np.diag(2 / np.cosh(2 * row) ** 2) for row in x]),
    )
    halved = numpy.through(lambda x: x / 2, lambda z: 2 * z)
    z = some(2, 3)
    torch.testing.assert_close(jacobian(halved, z), torch.diag_embed(2 / torch.cosh(4 * z) ** 2), atol=1e-12, rtol=0)


def test_principal_components_lose_what_their_variances_say():
    scales = torch.tensor([4.0, 2.0, 1.0, 0.5, 0.1, 0.0], dtype=torch.float64)
    states = some(500, 6) * scales @ TURN + 3
    values = torch.linalg.eigvalsh(torch.cov(states.T)).flip(0)
    for kept in range(1, 7):
        lost = unexplained(states, *principal(states, kept))
        assert lost == pytest.approx(float(values[kept:].sum() / values.sum()), abs=1e-12)
    assert unexplained(states, lambda x: x, lambda z: 0 * z + states.mean(0)) == pytest.approx(1)


def test_a_residual_stream_in_its_leading_components():
    dynamics = residual(tiny("gpt2"), tokens(1, 5), positions=2)
    states = torch.randn(40, WIDTH, generator=torch.Generator().manual_seed(0))
    small = dynamics.through(*principal(states, 3))
    assert small.dim == 3 and small.clock == "layer"
    check_dynamics(small, states[:4, :3], drive=0)


def test_refusals_say_what_came():
    dynamics = gru()
    with pytest.raises(InputError, match=r"decode goes back"):
        dynamics.through(lambda x: x[:, :2], lambda z: z)
    with pytest.raises(InputError, match=r"float32"):
        dynamics.through(lambda x: x.float(), lambda z: z.double())
    with pytest.raises(InputError, match="7 principal components"):
        principal(some(9, 6), 7)
    with pytest.raises(InputError, match="nothing to explain"):
        unexplained(torch.ones(4, 2), lambda x: x, lambda z: z)
