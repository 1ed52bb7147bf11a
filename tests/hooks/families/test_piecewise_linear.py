import pytest
import torch

from hooks.contract import check_dynamics
from hooks.errors import InputError
from hooks.families import PiecewiseLinear, ShallowPiecewiseLinear
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


@pytest.mark.parametrize("clipped", [False, True])
def test_a_lifted_shallow_network_has_its_orbits_readout_and_eigenvalues(clipped):
    generator = torch.Generator().manual_seed(3)
    A, W1, W2, h1, h2 = (torch.randn(*s, generator=generator).double() / 2 for s in ((3,), (3, 7), (7, 3), (3,), (7,)))
    net = ShallowPiecewiseLinear(A, W1, W2, h1, h2, clipped)
    z = torch.randn(5, 3, generator=generator).double()
    lifted = net.lifted().dynamics()
    check_dynamics(lifted, net.states(z))
    hidden = torch.relu(z @ W2.T + h2) - (torch.relu(z @ W2.T) if clipped else 0)
    after = A * z + hidden @ W1.T + h1
    assert (lifted(net.states(z)) - net.states(after)).abs().max() < 1e-13
    assert (lifted.readout(lifted(net.states(z))) - after).abs().max() < 1e-13
    gates = (z[0] @ W2.T + h2 > 0).double() - ((z[0] @ W2.T > 0).double() if clipped else 0)
    own = torch.linalg.eigvals(torch.diag(A) + W1 * gates @ W2)
    found = torch.linalg.eigvals(jacobian(lifted, net.states(z[:1]))[0])
    largest = found[found.abs().argsort(descending=True)[:3]]
    assert (torch.sort(largest.abs()).values - torch.sort(own.abs()).values).abs().max() < 1e-12  # the others are 0
