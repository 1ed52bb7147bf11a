"""The three forms of a search step: dense, Krylov and shooting."""

import pytest
import torch

from analyses.maps import _equations
from analyses.maps._equations import (
    anderson,
    arnoldi,
    fixed_point_equation,
    polished,
    shooting_equation,
)
from hooks.dynamics import Dynamics
from hooks.families import recurrent
from tests.known import henon, linear


def some(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("k", [2, 3, 4, 7])
def test_a_shooting_step_solves_the_whole_system(k):
    """(A'A + mu I) d = -A'G with the (k dim) matrix A written out."""
    W = some(3, 3)
    dynamics = Dynamics(lambda x, _: torch.tanh(x @ W.T), dim=3)
    equation = shooting_equation(dynamics, k)
    flat, mu, rows = some(5, 3 * k, seed=1), torch.full((5,), 0.3, dtype=torch.float64), torch.arange(5)
    G = equation.gaps(flat, rows)
    A = torch.stack([torch.autograd.functional.jacobian(lambda x: equation_of(dynamics, x, k), row) for row in flat])
    expected = -torch.linalg.solve(A.mT @ A + 0.3 * torch.eye(3 * k), A.mT @ G[..., None])[..., 0]
    assert torch.allclose(equation.step(equation.model(flat, G, rows), mu), expected, atol=1e-12)
    assert torch.allclose(G[0], equation_of(dynamics, flat[0], k), atol=1e-14)


def equation_of(dynamics, flat, k):
    orbit = flat.reshape(k, -1)
    return (dynamics.step(orbit, None) - orbit.roll(-1, 0)).flatten()


def test_a_krylov_step_is_newtons_where_the_space_suffices(monkeypatch):
    """DF of rank 5 in 60 units: A = DF - I has at most 6 distinct eigenvalues, so 6 directions span the solution."""
    U, V = some(60, 5), some(5, 60, seed=1)
    dynamics = Dynamics(lambda x, _: torch.tanh(x @ (U @ V / 60).T) + 0.1, dim=60)
    monkeypatch.setattr(_equations, "FORCING", 1e-9)
    states, rows = 0.1 * some(4, 60, seed=2), torch.arange(4)
    wide = fixed_point_equation(dynamics)
    monkeypatch.setattr(_equations, "WIDEST_DENSE", 60)
    dense = fixed_point_equation(dynamics)
    G = wide.gaps(states, rows)
    assert torch.allclose(wide.newton(states, G, rows), dense.newton(states, G, rows), atol=1e-7)


def test_arnoldi_relation_and_a_space_that_ends():
    A, first = some(6, 6), some(2, 6, seed=1)
    V, H = arnoldi(lambda v: v @ A.T, first, 4)
    assert torch.allclose(V[:, :4] @ A.T, H.mT @ V, atol=1e-12)
    assert torch.allclose(V @ V.mT, torch.eye(5).double().expand(2, 5, 5), atol=1e-12)
    V, H = arnoldi(lambda v: 2 * v, first, 3)  # every vector is an eigenvector
    assert H[:, 0, 0].tolist() == [2.0, 2.0] and not V[:, 1:].any() and not H[:, :, 1:].any()


def test_anderson_solves_an_affine_map_in_as_many_steps_as_it_has_directions():
    """On x' = A x + b with 4 units a memory of 6 is GMRES, done in 5 steps, also where iteration itself diverges."""
    A, b = 3 * some(4, 4), some(4, seed=1)
    equation = fixed_point_equation(Dynamics(lambda x, _: x @ A.T + b, dim=4))
    states, sizes = anderson(equation, some(3, 4, seed=2), torch.arange(3), box=None, tolerance=1e-9, steps=8)
    assert (sizes <= 1e-9).all()
    assert torch.allclose(states, torch.linalg.solve(torch.eye(4) - A, b).expand(3, 4), atol=1e-8)


def test_polishing_never_makes_a_root_worse():
    equation = fixed_point_equation(henon())
    root = torch.tensor([[0.6313544770895047, 0.3 * 0.6313544770895047]], dtype=torch.float64)
    again, size = polished(equation, root, box=None)
    assert float(size) <= float(equation.gaps(root, torch.arange(1)).norm()) and torch.allclose(again, root)
    none, sizes = polished(equation, root[:0], box=None)
    assert none.shape == (0, 2) and sizes.shape == (0,)


def test_one_direction_and_many_are_carried_alike_by_a_gru():
    """``push`` multiplies all directions in one product; the Jacobian is its image of the identity."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        held = recurrent(torch.nn.GRU(2, 7)).hold([0.1, 0.2])
    states, directions = some(3, 7), some(3, 7, 4, seed=1)
    assert torch.allclose(held.push(states, directions, None)[1], held.jacobian(states, None) @ directions, atol=1e-14)


def test_a_linear_map_needs_one_step_of_any_kind():
    dynamics = linear(0.5 * torch.eye(3))
    for equation, flat in ((fixed_point_equation(dynamics), some(2, 3)), (shooting_equation(dynamics, 3), some(2, 9))):
        rows = torch.arange(2)
        d = equation.newton(flat, equation.gaps(flat, rows), rows)
        assert torch.allclose(flat + d, torch.zeros_like(flat), atol=1e-12)
