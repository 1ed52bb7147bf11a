import pytest
import torch

from hooks.contract import check_dynamics
from hooks.errors import InputError
from hooks.families import PiecewiseLinear
from hooks.tangent import jacobian


def network(relu=2):
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    return PiecewiseLinear(draw(5), draw(5, 5), draw(5), relu, outputs=3)


@pytest.mark.parametrize("relu", [0, 2, 5])
def test_step_follows_the_equation_and_the_contract(relu):
    net = network(relu)
    z = torch.randn(6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    phi = z.clone()
    phi[:, 5 - relu :] = phi[:, 5 - relu :].clamp(min=0)
    assert (net.dynamics()(z) - (z * net.A + phi @ net.W.T + net.h)).abs().max() < 1e-14
    check_dynamics(net.dynamics(), z)


def test_map_is_affine_within_a_region_so_its_jacobian_is_exact_there():
    net = network()
    z = torch.randn(1, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    step = torch.full_like(z, 1e-3)
    assert torch.equal(net.regions(z), net.regions(z + step))
    moved = net.dynamics()(z + step) - net.dynamics()(z)
    assert (moved - step @ jacobian(net.dynamics(), z)[0].T).abs().max() < 1e-14


def test_readout_is_the_first_units():
    z = torch.arange(5.0)[None]
    assert network().dynamics().readout(z).tolist() == [[0.0, 1.0, 2.0]]


def test_the_observation_is_the_readout_and_part_of_the_fingerprint():
    net = network()
    B = torch.arange(10.0).double().reshape(2, 5)
    seen = PiecewiseLinear(net.A, net.W, net.h, 2, B=B)
    z = torch.randn(3, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert (seen.dynamics().readout(z) - z @ B.T).abs().max() < 1e-14
    other = PiecewiseLinear(net.A, net.W, net.h, 2, B=2 * B)
    assert seen.dynamics().fingerprint != other.dynamics().fingerprint


def test_refusals():
    with pytest.raises(InputError, match="A \\(dim,\\)"):
        PiecewiseLinear(torch.tensor(0.5), torch.zeros(1, 1), torch.zeros(1), 1)
    for fields in ({"B": torch.zeros(2, 4)}, {"B": torch.zeros(2, 3), "outputs": 1}):
        with pytest.raises(InputError, match=r"B is \(observed, 3\)"):
            PiecewiseLinear(torch.zeros(3), torch.zeros(3, 3), torch.zeros(3), 1, **fields)
    with pytest.raises(InputError, match="A \\(dim,\\)"):
        PiecewiseLinear(torch.zeros(3), torch.zeros(3, 2), torch.zeros(3), 1)
    with pytest.raises(InputError, match="relu=4"):
        PiecewiseLinear(torch.zeros(3), torch.zeros(3, 3), torch.zeros(3), 4)
