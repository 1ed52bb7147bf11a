"""Bounds must hold at every point of the box: checked against the step itself, and in 50-digit arithmetic."""

from fractions import Fraction

import mpmath
import pytest
import torch
from torch import nn

from analyses.maps.certificates import certify
from analyses.maps.fixed_points import find_fixed_points
from hooks.dynamics import Dynamics
from hooks.enclosure import EPS, ULPS, Ball, enclose, log_one_plus_exp
from hooks.errors import EnclosureError
from hooks.families import LeakyRate, PiecewiseLinear, recurrent, stepped
from hooks.tangent import jacobian
from tests.known import henon


def seeded(make):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return make()


def some(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


MAPS = {
    "tanh": lambda: recurrent(seeded(lambda: nn.RNN(2, 5))).hold([0.3, -0.2]),
    "relu": lambda: recurrent(seeded(lambda: nn.RNN(2, 5, nonlinearity="relu", num_layers=2))).hold([0.3, -0.2]),
    "gru": lambda: recurrent(seeded(lambda: nn.GRU(2, 5, num_layers=2))).hold([0.3, -0.2]),
    "lstm": lambda: recurrent(seeded(lambda: nn.LSTM(2, 5))).hold([0.3, -0.2]),
    "softplus": lambda: (
        LeakyRate(some(5, 5), some(5, 2), some(5), torch.tensor(0.3), "softplus").dynamics().hold([1.0, 2.0])
    ),
    "sigmoid": lambda: (
        LeakyRate(some(5, 5), some(5, 2), some(5), torch.tensor(0.3), "sigmoid").dynamics().hold([1.0, 2.0])
    ),
    "almost linear": lambda: PiecewiseLinear(some(5), some(5, 5), some(5), 2).dynamics(),
    "henon": henon,
    "waves and powers": lambda: Dynamics(
        lambda x, _: torch.stack(
            [torch.sin(x[:, 0]) * x[:, 1] ** 3, torch.cos(x[..., 1]) - torch.exp(x[:, 0])], dim=-1
        ),
        dim=2,
    ),
    "a sum of squares": lambda: Dynamics(lambda x, _: torch.stack([x.square().sum(1), x.sum(dim=-1)], dim=1), dim=2),
    "silu after a matrix": lambda: Dynamics(lambda x, _: nn.functional.silu(x @ some(3, 3)) + x.square() * 0.1, dim=3),
    "gru twice": lambda: recurrent(seeded(lambda: nn.GRU(2, 5))).hold([0.3, -0.2]).iterated(2),
}


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("radius", [0.0, 1e-8, 1e-2])
def test_step_and_slope_lie_within_the_bounds_all_over_the_box(name, radius):
    dynamics = MAPS[name]()
    centers = some(4, dynamics.dim, seed=2)
    bounds = enclose(dynamics, centers, torch.full_like(centers, radius))
    generator = torch.Generator().manual_seed(3)
    for _ in range(50):
        inside = centers + radius * (2 * torch.rand(centers.shape, generator=generator, dtype=torch.float64) - 1).sign()
        assert ((dynamics(inside) - bounds.value.mid).abs() <= bounds.value.rad).all()
        assert ((jacobian(dynamics, inside) - bounds.slope.mid).abs() <= bounds.slope.rad).all()


def test_bounds_are_tight_to_rounding_at_a_point():
    dynamics = MAPS["gru"]()
    centers = some(4, dynamics.dim, seed=2)
    bounds = enclose(dynamics, centers, torch.zeros_like(centers))
    assert bounds.value.rad.max() < 1e-13 and bounds.slope.rad.max() < 1e-13


def test_bounds_hold_in_exact_arithmetic_for_a_tanh_layer():
    """The step again in 50 digits: the float64 step differs from it, and the bound must cover the difference."""
    module = seeded(lambda: nn.RNN(2, 5))
    dynamics = recurrent(module).hold([0.3, -0.2])
    center = some(1, 5, seed=4)
    bounds = enclose(dynamics, center, torch.zeros_like(center))
    exact = lambda tensor: [mpmath.mpf(float(v)) for v in tensor.detach().double().flatten()]  # noqa: E731
    with mpmath.workdps(50):
        h, W, b_h, b_x = (
            exact(center),
            module.weight_hh_l0,
            exact(module.bias_hh_l0),
            exact(module.bias_ih_l0),
        )
        drive = [mpmath.mpf(0.3), mpmath.mpf(-0.2)]
        for unit in range(5):
            total = b_h[unit] + b_x[unit]
            total += sum(w * x for w, x in zip(exact(W[unit]), h, strict=True))
            total += sum(w * x for w, x in zip(exact(module.weight_ih_l0[unit]), drive, strict=True))
            gap = abs(mpmath.tanh(total) - mpmath.mpf(float(bounds.value.mid[0, unit])))
            assert gap <= mpmath.mpf(float(bounds.value.rad[0, unit]))


def test_elementary_functions_stay_within_the_assumed_rounding():
    """torch's tanh and sigmoid against 30 digits on 600 points: within the ULPS that the bounds allow."""
    points = torch.linspace(-30, 30, 601, dtype=torch.float64)
    with mpmath.workdps(30):
        for function, exact in (
            (torch.tanh, mpmath.tanh),
            (torch.sigmoid, lambda x: 1 / (1 + mpmath.exp(-x))),
            (torch.exp, mpmath.exp),
            (log_one_plus_exp, lambda x: mpmath.log1p(mpmath.exp(x))),
        ):
            ball = Ball.exact(points).through(function)
            for point, mid, rad in zip(points.tolist(), ball.mid.tolist(), ball.rad.tolist(), strict=True):
                assert abs(exact(mpmath.mpf(point)) - mpmath.mpf(mid)) <= mpmath.mpf(rad)
        for function, exact in ((torch.sin, mpmath.sin), (torch.cos, mpmath.cos)):
            for point, value in zip(points.tolist(), function(points).tolist(), strict=True):
                assert abs(exact(mpmath.mpf(point)) - mpmath.mpf(value)) <= ULPS * EPS


class Leaky(nn.Module):
    """A cell of torch's inside a step of the user's."""

    def __init__(self, cell):
        super().__init__()
        self.cell, self.hidden_size, self.input_size = cell, cell.hidden_size, cell.input_size

    def forward(self, x, h):
        if isinstance(self.cell, nn.LSTMCell):
            after, kept = self.cell(x, (h, 0.5 * h))
            return 0.5 * h + 0.25 * after + 0.25 * kept
        return 0.7 * h + 0.3 * self.cell(x, h)


@pytest.mark.parametrize("cell", [nn.GRUCell, nn.RNNCell, nn.LSTMCell, lambda *n: nn.RNNCell(*n, nonlinearity="relu")])
def test_torch_cells_inside_a_step_of_ones_own_are_bounded_and_proved(cell):
    """Bounds at points hold the step and its Jacobian to rounding, and a rest of the whole step is proved."""
    held = stepped(seeded(lambda: Leaky(cell(2, 4)))).hold([0.5, -0.5])
    states = some(5, 4)
    bounds = enclose(held, states, torch.zeros_like(states))
    assert ((bounds.value.mid - held(states)).abs() <= bounds.value.rad + 1e-14).all()
    assert ((bounds.slope.mid - jacobian(held, states)).abs() <= bounds.slope.rad + 1e-13).all()
    assert bounds.slope.rad.max() < 1e-12
    found = find_fixed_points(held, states)
    assert len(found.points) and certify(held, found.points).proved.all()


def test_slopes_of_saturating_units_stay_in_their_range_however_wide_the_box():
    """tanh' lies in (0, 1] and the logistic slope in (0, 1/4]; a box of radius 100 bounds them by just that."""
    wide = torch.full((1, 1), 100.0, dtype=torch.float64)
    for function, largest in ((torch.tanh, 1.0), (torch.sigmoid, 0.25)):
        bounds = enclose(Dynamics(lambda x, _, f=function: f(x), dim=1), torch.zeros(1, 1).double(), wide).slope
        assert float(bounds.mid - bounds.rad) >= -1e-12 and float(bounds.mid + bounds.rad) <= largest + 1e-12


def test_an_unknown_operation_is_refused_by_name():
    with pytest.raises(EnclosureError, match="'erf'"):
        enclose(Dynamics(lambda states, _: torch.erf(states), dim=2), some(1, 2), torch.zeros(1, 2).double())
    with pytest.raises(EnclosureError, match="float64"):
        enclose(
            Dynamics(lambda states, _: states, dim=2, dtype=torch.float32),
            some(1, 2),
            torch.zeros(1, 2).double(),
        )
    with pytest.raises(EnclosureError, match="but not with"):
        enclose(Dynamics(lambda states, _: states[0], dim=2), some(1, 2), torch.zeros(1, 2).double())


def test_quotients_absolute_values_and_lists_of_units_hold_exact_values_and_slopes():
    # (a / b)' = (a' b - a b') / b^2 in exact fractions; |x| at both signs and across the kink; units by a list
    steps = [
        lambda x, _: x[:, torch.tensor([1, 0])] / (x * x + 1),
        lambda x, _: torch.abs(x) / (2 - torch.abs(x[..., torch.tensor([1, 1])])),
    ]
    inside = torch.linspace(-1, 1, 9, dtype=torch.float64)
    for step in steps:
        dynamics = Dynamics(step, dim=2)
        for center in ([0.5, -0.25], [0.0, 1.0], [-0.7, 0.1]):
            here, radius = torch.tensor([center]).double(), torch.full((1, 2), 0.2).double()
            bound = enclose(dynamics, here, radius)
            around = here + 0.2 * torch.cartesian_prod(inside, inside)
            assert ((dynamics(around) - bound.value.mid).abs() <= bound.value.rad).all()
            away = around[(around.abs() > 1e-3).all(1)]  # where |x| has a slope
            assert ((jacobian(dynamics, away) - bound.slope.mid).abs() <= bound.slope.rad).all()
    a, b = Fraction(0.5), Fraction(-0.25)
    exact = enclose(Dynamics(steps[0], dim=2), torch.tensor([[0.5, -0.25]]).double(), torch.zeros(1, 2).double())
    assert abs(Fraction(float(exact.value.mid[0, 0])) - b / (a * a + 1)) <= Fraction(float(exact.value.rad[0, 0]))
    slope = -2 * a * b / (a * a + 1) ** 2
    assert abs(Fraction(float(exact.slope.mid[0, 0, 0])) - slope) <= Fraction(float(exact.slope.rad[0, 0, 0]))
    assert exact.value.rad.max() < 1e-15 and exact.slope.rad.max() < 1e-14


def test_a_divisor_that_may_be_zero_has_no_bound_and_proves_nothing():
    step = Dynamics(lambda x, _: 0.5 / 1.0 * x / (x + 1), dim=1)
    bound = enclose(step, torch.zeros(1, 1).double(), torch.full((1, 1), 1.5).double())
    assert not torch.isfinite(bound.value.rad).any()
    found = certify(step, [[0.0]])  # a ball that reaches -1 is refused: the other fixed point, -1/2, ends it before
    assert found.proved.all() and found.unique_within[0] < 0.5


def test_division_by_a_constant_is_bounded_and_anything_else_is_refused():
    third = enclose(Dynamics(lambda states, _: states / 3, dim=1), some(1, 1), torch.zeros(1, 1).double())
    exact = Fraction(float(some(1, 1))) / 3
    assert abs(Fraction(float(third.value.mid)) - exact) <= Fraction(float(third.value.rad))
    assert abs(Fraction(float(third.slope.mid)) - Fraction(1, 3)) <= Fraction(float(third.slope.rad))
    for step, message in [
        (lambda x, _: x / 0, "divides by zero"),
        (lambda x, _: x**0.5, "whole exponents from 1 on, not 0.5"),
        (lambda x, _: x**0, "whole exponents"),
        (lambda x, _: x + torch.ones(2), "would widen a state"),
        (lambda x, _: x[:, 0], "does not pass its state"),
        (lambda x, _: torch.stack([x, x], dim=1), "stack is bounded for parts"),
        (lambda x, _: x.norm(dim=1), "without a known bound"),
    ]:
        with pytest.raises(EnclosureError, match=message):
            enclose(Dynamics(step, dim=1), some(1, 1), torch.zeros(1, 1).double())
