import math

import numpy as np
import pytest
import torch
from torch import nn

from analyses.maps.certificates import certify
from analyses.maps.lyapunov import lyapunov_spectrum
from hooks.contract import check_dynamics
from hooks.dynamics import rollout
from hooks.errors import InputError
from hooks.families import controlled_flow
from hooks.tangent import drive_jacobian, jacobian

# two matrices that do not commute: dz = (A_1 dX_1 + A_2 dX_2) z
A = torch.tensor([[[-0.3, 1.0], [-1.0, -0.1]], [[0.2, 0.4], [0.0, -0.5]]], dtype=torch.float64)


def linear(z):
    return torch.einsum("cij,bj->bic", A, z)


def some(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Response(nn.Module):
    """A field of torchcde's form: (t, z) -> (batch, dim, channels); flat where asked."""

    def __init__(self, flat=False):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.mix = nn.Linear(3, 6)
        self.flat = flat

    def forward(self, t, z):
        answer = torch.tanh(self.mix(z))
        return answer if self.flat else answer.view(len(z), 3, 2)


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4)])
def test_a_linear_equation_along_a_straight_path_gives_the_taylor_polynomial_of_its_exponential(method, order):
    increment = torch.tensor([0.7, -0.4]).double()
    generator = torch.einsum("cij,c->ij", A, increment)
    polynomial = sum(torch.linalg.matrix_power(generator, k) / math.factorial(k) for k in range(order + 1))
    dynamics = controlled_flow(linear, 2, channels=2, method=method)
    assert (jacobian(dynamics, some(3, 2), increment) - polynomial).abs().max() < 1e-15
    # the exponential itself: error below |generator|^(order + 1) / (order + 1)!, and 2^-order of it in half the substeps
    exact = torch.linalg.matrix_exp(generator)
    fine = [controlled_flow(linear, 2, channels=2, method=method, substeps=n) for n in (32, 64)]
    errors = [(jacobian(one, some(1, 2), increment)[0] - exact).norm().item() for one in fine]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.1)


def test_a_sampled_path_multiplies_the_exponentials_of_its_increments_in_their_order():
    path = np.array([[0.0, 0.0], [0.5, 0.2], [0.4, 0.9], [1.0, -0.3]])
    product = torch.eye(2).double()
    for increment in np.diff(path, axis=0):
        product = torch.linalg.matrix_exp(torch.einsum("cij,c->ij", A, torch.tensor(increment))) @ product
    dynamics = controlled_flow(linear, 2, channels=2, substeps=40)
    run = rollout(dynamics, some(4, 2), drives=np.diff(path, axis=0))
    # RK4 at 40 substeps: (1.3 / 40)^4 / 120 of the state
    assert np.abs(run.states[:, -1] - (some(4, 2) @ product.T).numpy()).max() < 1e-7
    backwards = rollout(dynamics, some(4, 2), drives=np.diff(path, axis=0)[::-1].copy())
    assert np.abs(backwards.states[:, -1] - run.states[:, -1]).max() > 1e-2


def test_one_channel_depends_on_the_ends_of_its_path_alone_and_never_on_the_clock():
    # dz = z dX has z exp(X_end - X_0) along any path
    path = np.concatenate([[0.0], np.random.default_rng(0).normal(size=30).cumsum() / 3])
    runs = [
        rollout(controlled_flow(lambda z: z[..., None], 1, channels=1, dt=dt, substeps=20), [[1.5]],
                drives=np.diff(path)[:, None]).states[0, -1, 0]
        for dt in (1.0, 0.01)
    ]  # fmt: skip
    assert runs[0] == pytest.approx(1.5 * math.exp(path[-1]), rel=1e-6)
    assert runs[1] == pytest.approx(runs[0], rel=1e-12)
    still = controlled_flow(linear, 2, channels=2)(some(3, 2), torch.zeros(2).double())
    assert torch.equal(still, some(3, 2))


def test_exponents_along_a_path_are_the_growth_that_its_increments_give():
    # dz_i = a_i z_i dX: ln |z_i| moves by a_i (X_end - X_0), so an exponent is that over the time of the path; of several
    # coordinates the frame needs time to turn into them, but the sum is exact at once
    increments = 0.1 + some(60, 1) / 20
    growth = increments.sum().item() / (60 * 0.5)
    for rates in ([0.4], [0.4, -0.3, -1.0]):
        a = torch.tensor(rates, dtype=torch.float64)
        dynamics = controlled_flow(lambda z, a=a: (a * z)[..., None], len(a), channels=1, dt=0.5)
        found = lyapunov_spectrum(dynamics, np.ones((1, len(a))), steps=60, drives=increments)
        # RK4 of increments below 0.3: (0.3)^5 / 120 of each step's growth
        assert found.exponents[0].sum() == pytest.approx(sum(rates) * growth, abs=1e-4)


def test_a_module_enters_as_torchcde_writes_it_and_flat():
    states, drives = some(6, 3), some(6, 2, seed=1)
    square, flat = (
        controlled_flow(Response(), 3, channels=2, dt=0.5),
        controlled_flow(Response(True), 3, channels=2, dt=0.5),
    )
    for drive in (drives, drives[0]):
        check_dynamics(square, states, drive=drive)
        check_dynamics(flat, states, drive=drive)
        assert (square(states, drive) - flat(states, drive)).abs().max() < 1e-15
    assert square.dt == 0.5 and square.name == "Response" and square.fingerprint and not square.weights
    euler = controlled_flow(Response(), 3, channels=2, method="euler")
    W, b = Response().mix.weight.detach().double(), Response().mix.bias.detach().double()
    response = torch.tanh(states @ W.T + b).reshape(6, 3, 2)
    assert (euler(states, drives) - (states + torch.einsum("bic,bc->bi", response, drives))).abs().max() < 1e-15
    assert (drive_jacobian(euler, states, drives) - response).abs().max() < 1e-15  # Euler is linear in the increment


def test_the_rest_of_a_held_increment_is_proved_where_the_field_answers_flat():
    # dz = (1 - 2 z, 3 z) dX rests at z = 1 under the increment (3, 1): 3 (1 - 2 z) + 3 z = 0
    field = lambda z: torch.cat([1 - 2 * z, 3 * z], 1)  # noqa: E731
    held = controlled_flow(field, 1, channels=2).hold([3.0, 1.0])
    assert certify(held, [[1.0]]).proved.all()
    square = controlled_flow(lambda z: torch.stack([1 - 2 * z, 3 * z], 2), 1, channels=2).hold([3.0, 1.0])
    assert abs(square(torch.ones(1, 1).double()).item() - 1) < 1e-15 and not certify(square, [[1.0]]).proved.any()


def test_what_is_no_controlled_field_is_refused():
    with pytest.raises(InputError, match=r"velocities of shape \(2, 2, 3\) or \(2, 6\) for 2 states; \(2, 2, 2\) came"):
        controlled_flow(linear, 2, channels=3)
    with pytest.raises(InputError, match="at least one channel, not 0"):
        controlled_flow(linear, 2, channels=0)
    with pytest.raises(InputError, match="dt is a positive time"):
        controlled_flow(linear, 2, channels=2, dt=-1.0)
