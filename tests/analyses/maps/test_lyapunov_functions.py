import math

import numpy as np
import pytest
import torch
from scipy.linalg import solve_discrete_lyapunov
from torch.nn.functional import linear as affine

from analyses.maps.lyapunov_functions import LyapunovTrial, falsify_lyapunov_function
from hooks.dynamics import Dynamics
from hooks.errors import DrivenError, InputError
from tests.known import linear

UNIT = (-1.0, 1.0)


def quadratic(P):
    """x' P x, in operations that can be bounded."""
    P = torch.as_tensor(P, dtype=torch.float64)
    return lambda x: affine(x * affine(x, P), torch.ones(1, len(P), dtype=torch.float64))[:, 0]


def stable_linear(n):
    """A random map of spectral radius 0.9 and P with A' P A - P = -I, written for V and for V falling by |x|^2."""
    A = torch.randn(n, n, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    A = A * 0.9 / torch.linalg.eigvals(A).abs().max()
    return Dynamics(lambda x, _: affine(x, A), dim=n, name="stable"), solve_discrete_lyapunov(A.numpy().T, np.eye(n))


def euler(field, dim, dt=0.01):
    def step(x, _):
        parts = field(*(x[:, i] for i in range(dim)))
        return torch.stack([x[:, i] + dt * parts[i] for i in range(dim)], dim=1)

    return Dynamics(step, dim=dim, name="Euler step", dt=dt)


@pytest.mark.parametrize("n", range(1, 11))
def test_the_lyapunov_equations_quadratic_is_accepted_and_its_negative_rejected_in_1_to_10_dimensions(n):
    dynamics, P = stable_linear(n)
    accepted = falsify_lyapunov_function(dynamics, quadratic(P), box=UNIT, splits=2000)
    assert not accepted.falsified and not accepted.level and accepted.definite
    assert accepted.proved == (n <= 2)  # in this budget
    # E = -x'x in each direction, half widths 1: curvature -2, and V's is twice the smallest eigenvalue of P
    assert accepted.curvatures == pytest.approx([2 * np.linalg.eigvalsh(P)[0], -2], rel=1e-6)
    rejected = falsify_lyapunov_function(dynamics, quadratic(-P), box=UNIT)
    assert rejected.falsified and "no Lyapunov function" in rejected.summary()


def pendulum(x):
    """Khalil, Nonlinear Systems, example 4.4, with a = b = 1, doubled."""
    return 2 * (1 - torch.cos(x[:, 0])) + quadratic([[0.5, 0.5], [0.5, 1.0]])(x)


@pytest.mark.parametrize(
    ("field", "V", "dim"),
    [
        # x' = -x + y^2, y' = -y: half of V' is -x^2 - y^2 + x y^2, below 0 for x < 1
        (lambda x, y: (-1 * x + y * y, -1 * y), quadratic(np.eye(2)), 2),
        (lambda x, y: (y, -torch.sin(x) - y), pendulum, 2),
        # Lorenz below its pitchfork, r = 1/2: V = x^2 / sigma + y^2 + z^2
        (lambda x, y, z: (10 * y - 10 * x, 0.5 * x - y - x * z, x * y - 8 / 3 * z), quadratic(np.diag([0.1, 1, 1])), 3),
    ],
)  # fmt: skip
def test_known_functions_of_textbook_flows_are_accepted_and_rejected_with_the_sign_flipped(field, V, dim):
    step = euler(field, dim)
    accepted = falsify_lyapunov_function(step, V, box=(-0.7, 0.7), shell=0.1, splits=20_000)
    assert not accepted.falsified and accepted.definite and accepted.proved == (dim == 2)
    assert falsify_lyapunov_function(step, lambda x: -V(x), box=(-0.7, 0.7)).falsified


def test_eulers_method_spoils_a_marginal_function_near_the_centre():
    """x' = -y - x^3, y' = x - y^3, V = x^2 + y^2: the step adds dt^2 |x|^2, and takes 2 dt (x^4 + y^4) away.

    On the axes it fails for x^2 < dt (1 + x^4) / 2; on the diagonals for r^2 < dt (1 + r^4 / 4), and nowhere beyond.
    """
    dt = 0.01
    step = euler(lambda x, y: (-1 * y - x**3, x - y**3), 2, dt)
    result = falsify_lyapunov_function(step, quadratic(np.eye(2)), box=UNIT, equilibrium=[0.0, 0.0])
    assert result.falsified and result.condition == "V falls"
    assert (result.state**2).sum() < dt * (1 + 1e-3) and result.change > result.rounding
    x, y = result.state
    assert result.change == pytest.approx(
        dt**2 * ((y + x**3) ** 2 + (x - y**3) ** 2) - 2 * dt * (x**4 + y**4), abs=1e-12
    )


def test_a_loss_under_gradient_descent_falls_below_the_largest_stable_rate():
    """Loss x'Hx / 2 + 7 with the largest curvature 10: it falls for rates below 2 / 10 and rises along that axis above."""
    H = torch.diag(torch.tensor([1.0, 10.0], dtype=torch.float64))

    def descent(rate):
        return Dynamics(lambda x, _: x - rate * affine(x, H), dim=2)

    def loss(x):
        return quadratic(H / 2)(x) + 7

    assert falsify_lyapunov_function(descent(0.19), loss, box=UNIT).proved
    rises = falsify_lyapunov_function(descent(0.21), loss, box=UNIT)
    assert rises.falsified and abs(rises.state[1]) > 3 * abs(rises.state[0])


def hopfield(n=6, a=0.05):
    """x' = x + a (-x + W tanh(x) + b), and Cohen and Grossberg's energy (1983), which falls along the flow of symmetric W."""
    generator = torch.Generator().manual_seed(0)
    W = 0.15 * torch.randn(n, n, generator=generator, dtype=torch.float64)
    W, b = (W + W.mT) / 2, 0.3 * torch.randn(n, generator=generator, dtype=torch.float64)

    def energy(x):
        s = torch.tanh(x)
        return -0.5 * (s * affine(s, W)).sum(1) - s @ b + (x * s - torch.log(torch.cosh(x))).sum(1)

    return Dynamics(lambda x, _: x + a * (-x + affine(torch.tanh(x), W, b)), dim=n, name="Hopfield"), energy


def test_cohen_and_grossbergs_energy_is_accepted_from_a_found_equilibrium_but_not_proved():
    dynamics, energy = hopfield()
    result = falsify_lyapunov_function(dynamics, energy, box=(-3.0, 3.0))
    assert not result.falsified and result.definite and result.checks[0].passed
    assert np.abs(result.equilibrium).max() > 0.01  # b moves it away from 0
    assert (
        not result.proved
        and "not proved: a matrix product is bounded for" in result.summary()
        and "not falsified" in result.summary()
    )
    assert falsify_lyapunov_function(dynamics, lambda x: -energy(x), box=(-3.0, 3.0)).falsified


@pytest.mark.parametrize("width", [0.1, 0.03])
def test_a_failure_in_a_small_corner_or_dent_is_found(width):
    """x' = x / 2, V = |x|^2 less a spike: at a corner of [-1, 1]^4, and inside, where the ascent must find it."""
    half = Dynamics(lambda x, _: 0.5 * x, dim=4)

    def dented(centre, spread):
        return lambda x: (x * x).sum(1) * (1 - 1.2 * torch.exp(-((x - centre) ** 2).sum(1) / spread**2))

    corner = falsify_lyapunov_function(half, dented(1.0, width), box=UNIT, equilibrium=np.zeros(4))
    assert corner.falsified and np.abs(corner.state - 1).max() < 2 * width
    inside = falsify_lyapunov_function(half, dented(0.37, 4 * width), box=UNIT, equilibrium=np.zeros(4))
    assert inside.falsified


def test_a_second_fixed_point_falsifies_every_function():
    """x' = tanh(2x) rests at 0 and +-0.9575, where no V can fall; 0 is unstable."""
    bits = Dynamics(lambda x, _: torch.tanh(2 * x), dim=1)
    assert falsify_lyapunov_function(bits, quadratic([[1.0]]), box=UNIT, equilibrium=[0.0]).falsified
    P = 0.9575040240772687
    moved = falsify_lyapunov_function(bits, lambda x: (x[:, 0] - P) ** 2, box=UNIT, equilibrium=[P])
    assert moved.falsified and moved.state[0] <= 1e-9  # V rises, or stays, from 0 downwards


def test_a_conserved_function_is_level_not_falling():
    turn = linear([[0.6, -0.8], [0.8, 0.6]])
    # the step of known.linear uses a matrix product, which is bounded too
    result = falsify_lyapunov_function(turn, quadratic(np.eye(2)), box=UNIT)
    assert result.level and not result.falsified and not result.proved and not result.definite
    assert "equality to rounding" in result.summary()


def test_the_margin_is_the_share_of_v_that_each_step_must_take():
    """x' = x / 2 leaves a quarter of x^2: a margin of 0.74 holds, 0.76 does not."""
    half = linear([[0.5]])
    assert falsify_lyapunov_function(half, quadratic([[1.0]]), box=UNIT, margin=0.74).proved
    assert falsify_lyapunov_function(half, quadratic([[1.0]]), box=UNIT, margin=0.76).falsified


def test_a_degenerate_function_is_proved_outside_the_shell_and_open_inside():
    slow = Dynamics(lambda x, _: x - 0.1 * x**3, dim=1)
    result = falsify_lyapunov_function(slow, lambda x: (x**4)[:, 0], box=UNIT, equilibrium=[0.0])
    assert result.proved and not result.definite
    assert "the quadratic forms decide nothing" in result.summary()


def test_a_constant_map_and_a_function_that_is_not_finite():
    constant = Dynamics(lambda x, _: 0 * x, dim=2)
    assert falsify_lyapunov_function(constant, quadratic(np.eye(2)), box=UNIT).proved
    broken = falsify_lyapunov_function(linear([[0.5]]), lambda x: torch.sqrt(x[:, 0]), box=UNIT, equilibrium=[0.0])
    assert broken.falsified and not broken.proved


def test_an_equilibrium_on_the_corner_of_the_box_is_no_violation():
    result = falsify_lyapunov_function(linear([[0.5, 0.0], [0.0, 0.2]]), quadratic(np.eye(2)), box=(0.0, 1.0))
    assert result.proved and result.definite and result.equilibrium == pytest.approx([0, 0], abs=1e-12)


def test_equal_calls_give_equal_results_and_a_stopped_watch_proves_nothing():
    dynamics, P = stable_linear(3)
    first, second = (falsify_lyapunov_function(dynamics, quadratic(P), box=UNIT, splits=10) for _ in range(2))
    assert np.array_equal(first.state, second.state) and first.summary() == second.summary()
    stopped = falsify_lyapunov_function(dynamics, quadratic(P), box=UNIT, watch=lambda states, total: iter(()))
    assert not stopped.proved and not stopped.falsified and "none was tried" in stopped.summary()


def test_refusals_say_what_came():
    half = linear([[0.5]])
    with pytest.raises(InputError, match=r"\(2, 1\) came for 2 states"):
        falsify_lyapunov_function(half, lambda x: x * x, box=UNIT)
    with pytest.raises(InputError, match="lies outside the box"):
        falsify_lyapunov_function(half, quadratic([[1.0]]), box=UNIT, equilibrium=[2.0])
    with pytest.raises(InputError, match="a box with volume"):
        falsify_lyapunov_function(half, quadratic([[1.0]]), box=([0.0], [0.0]))
    with pytest.raises(InputError, match="margin=2"):
        falsify_lyapunov_function(half, quadratic([[1.0]]), box=UNIT, margin=2.0)
    with pytest.raises(InputError, match="no fixed point"):
        falsify_lyapunov_function(Dynamics(lambda x, _: x + 1, dim=1), quadratic([[1.0]]), box=UNIT)
    with pytest.raises(DrivenError, match=r"dynamics\.hold"):
        falsify_lyapunov_function(Dynamics(lambda x, u: x + u, dim=1, driven=True), quadratic([[1.0]]), box=UNIT)


def test_result_survives_writing():
    result = falsify_lyapunov_function(linear([[0.5]]), lambda x: torch.sqrt(x[:, 0]), box=UNIT, equilibrium=[0.0])
    again = LyapunovTrial.from_dict(result.to_dict())
    assert again.summary() == result.summary() and (math.isnan(again.value) or again.value == result.value)
    assert result.plot().get_xlabel() == "state 1"
