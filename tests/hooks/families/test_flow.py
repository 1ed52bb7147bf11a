import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from analyses.maps.certificates import certify
from analyses.maps.fixed_points import find_fixed_points
from hooks.contract import check_dynamics
from hooks.dynamics import Dynamics, rollout
from hooks.errors import InputError
from hooks.families import adaptive, flow, rebuilt
from hooks.tangent import drive_jacobian, jacobian, push

A = torch.tensor([[-0.3, 1.0], [-1.0, -0.1]], dtype=torch.float64)


def spiral(x, _):
    return x @ A.T


def spiral_slope(x, _):
    return A.expand(len(x), 2, 2)


def pendulum(x, _):
    return torch.stack([x[:, 1], -torch.sin(x[:, 0])], 1)


def pendulum_slope(x, _):
    zero, one = torch.zeros_like(x[:, 0]), torch.ones_like(x[:, 0])
    return torch.stack([zero, one, -torch.cos(x[:, 0]), zero], 1).reshape(-1, 2, 2)


def states(count=6, dim=2):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Field(nn.Module):
    """tanh of a linear map, as a neural ODE writes it."""

    def __init__(self, dim=2, inputs=0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.mix, self.drop = nn.Linear(dim + inputs, dim), nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(torch.tanh(self.mix(x)))


class Timed(Field):
    strength = 0.0

    def forward(self, t, x):
        return super().forward(x) + self.strength * t


class Driven(Field):
    def forward(self, x, u):
        return super().forward(torch.cat([x, u], 1))


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4)])
def test_a_linear_field_gives_the_taylor_polynomial_of_its_exponential(method, order):
    # on x' = A x a scheme of order p with p stages is sum_{k <= p} (dt A)^k / k! exactly
    polynomial = sum(torch.linalg.matrix_power(0.2 * A, k) / math.factorial(k) for k in range(order + 1))
    assert (jacobian(flow(spiral, 2, dt=0.2, method=method), states())[0] - polynomial).abs().max() < 1e-15
    thirds = flow(spiral, 2, dt=0.6, method=method, substeps=3)
    assert (jacobian(thirds, states())[0] - torch.linalg.matrix_power(polynomial, 3)).abs().max() < 1e-15
    assert thirds.dt == 0.6 and thirds.clock == "time"


@pytest.mark.parametrize("method", ["euler", "midpoint", "rk4"])
def test_the_variational_equation_under_the_same_scheme_is_the_slope_of_the_step(method):
    by_hand = flow(pendulum, 2, dt=0.3, method=method, substeps=2, jacobian=pendulum_slope)
    by_autograd = flow(pendulum, 2, dt=0.3, method=method, substeps=2)
    check_dynamics(by_hand, states())
    check_dynamics(by_autograd, states())
    after, carried = push(by_hand, states(), states(12).reshape(6, 2, 2))
    expected, tangents = push(by_autograd, states(), states(12).reshape(6, 2, 2))
    assert torch.equal(after, expected) and (carried - tangents).abs().max() < 1e-14


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4)])
def test_the_error_falls_with_the_order(method, order):
    # halving the step divides the error over a fixed time by 2^order, to a few per cent in the asymptotic range
    exact = adaptive(pendulum, 2, dt=1.0)(states())
    errors = [(flow(pendulum, 2, dt=1.0, method=method, substeps=n)(states()) - exact).norm() for n in (64, 128)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.1)


def test_adaptive_steps_meet_the_matrix_exponential_in_state_and_tangents():
    exact = torch.linalg.matrix_exp(1.5 * A)
    for given in (None, spiral_slope):
        dynamics = adaptive(spiral, 2, dt=1.5, jacobian=given)
        after, carried = push(dynamics, states(2), torch.eye(2).double().expand(2, 2, 2))
        # local errors of 1e-10 over some ten steps
        assert (after - states(2) @ exact.T).abs().max() < 1e-8 and (carried - exact).abs().max() < 1e-8
    check_dynamics(adaptive(pendulum, 2, dt=1.0, rtol=1e-12, atol=1e-13), states(3))


def test_adaptive_rows_have_their_own_drives_and_a_blow_up_is_nan():
    leak = adaptive(lambda x, u: u - x, 1, dt=1.0, inputs=1)
    x, u = states(3, 1), states(6, 1)[3:]
    assert (leak(x, u) - (u + (x - u) * math.exp(-1))).abs().max() < 1e-8
    burst = adaptive(
        lambda x, _: x**2, 1, dt=2.0
    )  # 1 / (1/x - t): infinite at t = 1 from x = 1, at 2/3 when t = 2 from -2
    after = burst(torch.tensor([[1.0], [-2.0]]).double())
    assert after[0].isnan() and after[1].item() == pytest.approx(-0.4, abs=1e-8)


def test_a_neural_ode_enters_as_x_as_t_x_and_as_x_u_and_stays_as_it_was():
    x = states()
    for module, inputs in ((Field(), 0), (Timed(), 0), (Driven(inputs=3), 3)):
        module.train()
        dynamics = flow(module, 2, dt=0.1, inputs=inputs)
        drive = torch.ones(inputs).double() if inputs else None
        check_dynamics(dynamics, x, drive=drive)
        assert module.training and module.mix.weight.dtype == torch.float32 and module.mix.weight.requires_grad
        assert dynamics.fingerprint and dynamics.name == type(module).__name__
        assert dynamics.fingerprint != flow(module, 2, dt=0.2, inputs=inputs).fingerprint
    W, b = Field().mix.weight.detach().double(), Field().mix.bias.detach().double()
    assert (flow(Field(), 2, dt=0.1, method="euler")(x) - (x + 0.1 * torch.tanh(x @ W.T + b))).abs().max() < 1e-15
    assert (flow(Timed(), 2, dt=0.1)(x) - flow(Field(), 2, dt=0.1)(x)).abs().max() == 0
    assert (adaptive(Field(), 2, dt=0.1)(x) - flow(Field(), 2, dt=0.1)(x)).abs().max() < 1e-6  # RK4: (dt / 2)^5 or so


def test_a_flow_stays_one_when_held_or_iterated():
    leak = flow(lambda x, u: u - x, 1, dt=0.05, inputs=1)
    assert leak.flow and leak.hold([2.0]).flow and leak.hold([2.0]).iterated(3).flow
    assert adaptive(lambda x, _: -x, 1, dt=0.1).flow and not Dynamics(lambda x, _: x, dim=1).flow


def test_a_driven_flow_holds_its_drive_through_the_step():
    leak = flow(lambda x, u: u - x, 1, dt=0.05, inputs=1)
    run = rollout(leak, [[0.0]], drives=torch.ones(40, 1).double())
    # RK4 on a linear field: error T dt^4 / 120 = 1e-7
    assert run.states[0, -1, 0] == pytest.approx(1 - math.exp(-2), abs=2e-7)
    assert abs(leak.hold([2.0])(torch.tensor([[2.0]]).double()).item() - 2.0) < 1e-15


def test_what_is_no_field_is_refused():
    timed = Timed()
    timed.strength = 1.0
    with pytest.raises(InputError, match="Timed depends on t, so its flow is no one map: make time a drive"):
        flow(timed, 2, dt=0.1)
    with pytest.raises(InputError, match=r"a field with 2 inputs takes \(x, u\), but Field takes 1"):
        flow(Field(), 2, dt=0.1, inputs=2)
    with pytest.raises(InputError, match=r"velocities of shape \(2, 2\) for 2 states; \(2, 1\) came"):
        flow(lambda x, _: x[:, :1], 2, dt=0.1)
    with pytest.raises(InputError, match="the field fails on states of shape"):
        flow(lambda x, _: x @ torch.eye(3).double(), 2, dt=0.1)
    with pytest.raises(InputError, match="dt is a positive time, but 0"):
        flow(spiral, 2, dt=0.0)
    with pytest.raises(InputError, match="at least one substep"):
        flow(spiral, 2, dt=0.1, substeps=0)
    with pytest.raises(InputError, match="tolerances are positive"):
        adaptive(spiral, 2, dt=0.1, rtol=0.0)


def test_adaptive_steps_refuse_a_slope_in_the_drive_instead_of_giving_zero():
    leak = {"dim": 1, "dt": 1.0, "inputs": 1}
    x, u = states(3, 1), torch.ones(1).double()
    with pytest.raises(
        InputError, match="no slope by autograd: take push or jacobian, or flow for slopes in the drive"
    ):
        drive_jacobian(adaptive(lambda x, u: u - x, **leak), x, u)
    # RK4 of one unit of time: 1 - (1 - 1 + 1/2 - 1/6 + 1/24)
    assert (drive_jacobian(flow(lambda x, u: u - x, **leak), x, u) - (1 - 0.375)).abs().max() < 1e-15
    assert torch.allclose(
        jacobian(adaptive(lambda x, u: u - x, **leak), x, u), torch.tensor(math.exp(-1)).double(), atol=1e-8
    )


def lorenz(x, _):
    return torch.stack(
        [10 * (x[:, 1] - x[:, 0]), x[:, 0] * (28 - x[:, 2]) - x[:, 1], x[:, 0] * x[:, 1] - 8 / 3 * x[:, 2]], 1
    )


@pytest.mark.parametrize("dt", [0.001, 0.02])
def test_the_equilibria_of_a_flow_are_proved_as_fixed_points_of_its_step(dt):
    # a Runge-Kutta step rests where the field does; of Lorenz's points the origin has one unstable direction, the wings two
    side = math.sqrt(8 / 3 * 27)
    found = certify(flow(lorenz, 3, dt=dt), [[0, 0, 0], [side, side, 27], [-side, -side, 27]])
    assert found.proved.all() and found.unstable.tolist() == [1, 2, 2]
    assert found.radii.max() < 1e-11 and found.unique_within.min() > 0.1 and found.overlapping == 0
    refused = certify(adaptive(lorenz, 3, dt=dt), [[0.0, 0, 0]])
    assert refused.reasons[0].startswith("scipy's steps are outside torch, so nothing can be proved of them")


def chain(*kinds):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(2, 8), *(kind() for kind in kinds), nn.Linear(8, 2, bias=False))


def test_a_field_that_is_a_chain_of_known_layers_is_carried_as_data_and_any_other_is_not():
    x = states()
    for module in (chain(nn.Tanh), chain(nn.SiLU, nn.Dropout), chain(nn.Softplus, nn.Identity), nn.Linear(2, 2)):
        dynamics = flow(module, 2, dt=0.3, method="midpoint", substeps=2)
        again = rebuilt(dynamics.weights)
        assert torch.equal(again(x), dynamics(x)) and again.fingerprint == dynamics.fingerprint and again.dt == 0.3
        json.dumps({name: value for name, value in dynamics.weights.items() if not isinstance(value, torch.Tensor)})
    code = chain(nn.Tanh)
    code[1] = nn.Softplus(beta=2.0)  # a setting of its own
    hooked = chain(nn.Tanh)
    hooked[0].register_forward_hook(lambda *_: None)
    for module in (Field(), Timed(), code, hooked, nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))):
        assert not flow(module, 2, dt=0.3).weights and flow(module, 2, dt=0.3).fingerprint
    assert not flow(spiral, 2, dt=0.3).weights and not flow(spiral, 2, dt=0.3).fingerprint


def test_fields_of_the_same_weights_and_other_layers_have_other_names():
    names = {flow(chain(kind), 2, dt=0.1).fingerprint for kind in (nn.Tanh, nn.ReLU, nn.Sigmoid)}
    names |= {flow(nn.Sequential(chain(kind), nn.LayerNorm(2)), 2, dt=0.1).fingerprint for kind in (nn.Tanh, nn.ReLU)}
    names |= {adaptive(chain(kind), 2, dt=0.1).fingerprint for kind in (nn.Tanh, nn.ReLU)}
    assert len(names) == 7
    net = chain(nn.Tanh)
    before = flow(net, 2, dt=0.1).fingerprint
    with torch.no_grad():
        net[0].weight[0, 0] += 1e-6
    assert flow(net, 2, dt=0.1).fingerprint != before


def test_the_rests_of_a_neural_ode_are_proved():
    # -x + 2 tanh(x) in each coordinate: 0 and the two roots of x = 2 tanh(x), so nine points of which four are stable
    net = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2))
    eye, small = torch.eye(2), 1e-3
    with torch.no_grad():
        # -x as a tanh of its own in its linear range: -1000 tanh(x / 1000)
        net[0].weight.copy_(torch.cat([eye, small * eye]))
        net[2].weight.copy_(torch.cat([2 * eye, -eye / small], 1))
        net[0].bias.zero_(), net[2].bias.zero_()
    dynamics = flow(net, 2, dt=0.2)
    found = find_fixed_points(dynamics, 3 * states(64))
    proofs = certify(dynamics, found.points)
    assert len(found.points) == 9 and proofs.proved.all() and (proofs.unstable == 0).sum() == 4
    root = 1.9150080481545  # x = 2 tanh(x); 1000 tanh(x / 1000) is x to 2e-6
    assert np.abs(np.sort(np.unique(np.round(found.points, 4))) - [-root, 0, root]).max() < 1e-4
