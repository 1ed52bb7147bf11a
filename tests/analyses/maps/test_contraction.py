import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import linear as affine

from analyses.maps._norms import norm_bounds
from analyses.maps.contraction import Contraction, certify_contraction
from hooks.dynamics import Dynamics
from hooks.enclosure import Ball
from hooks.errors import DrivenError, InputError
from hooks.families import recurrent
from tests.known import henon, linear


def assembly(seed, *, share=0.95, feedback=-1.0, loop=None, phi=torch.relu):
    """Kozachkov, Ennis and Slotine, eq. 2 and 3, in Euler steps: r' = (1 - a) r + a (W phi(r) + L r + u).

    Two to four modules of four to eight units; |T |W| T^-1|_2 = sigma and |T L T^-1|_2 = s, with L_ji = -M_j^-1 L_ij' M_i;
    ``share`` of the largest step that the theorem allows. Returns the map, its metric, a, sigma, s.
    """
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    sizes = [4 + int(5 * rand(1)) for _ in range(2 + int(3 * rand(1)))]
    module = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    own, above = module[:, None] == module, module[:, None] < module
    n = sum(sizes)
    M = 0.25 + 4 * rand(n)
    T = M.sqrt()
    W, B = (rand(n, n) * 2 - 1) * own, (rand(n, n) * 2 - 1) * above
    sigma, s = float(0.3 + 0.6 * rand(1)), float(1.5 + 1.5 * rand(1))
    W = W * sigma / torch.linalg.matrix_norm(T[:, None] * W.abs() / T, 2)
    L = B - (B.mT * M) / M[:, None]
    scale = s / torch.linalg.matrix_norm(T[:, None] * L / T, 2)
    L = scale * (B + feedback * (B.mT * M) / M[:, None])
    if loop is not None:
        W = W * loop / sigma
    a = share * 2 * (1 - sigma) / (1 - sigma**2 + s**2)
    rest, u = (1 - a) * torch.eye(n) + a * L, a * (rand(n) * 2 - 1)
    step = Dynamics(lambda r, _: affine(r, rest, u) + affine(phi(r), a * W), dim=n, name="assembly")
    return step, M, a, sigma, s


@pytest.mark.parametrize("phi", [torch.relu, torch.tanh])
def test_a_contracting_assembly_is_certified_in_100_of_100_draws(phi):
    for seed in range(100):
        dynamics, M, a, sigma, s = assembly(seed, phi=phi)
        result = certify_contraction(dynamics, (-10.0, 10.0), metric=M)
        theorem = math.sqrt((1 - a) ** 2 + a**2 * s**2) + a * sigma
        assert theorem < 1 and result.proved and result.rate <= theorem * (1 + 1e-12)
        assert result.examined == 1  # slopes fill [0, 1] over the box: the bound is the one for all states
        assert result.norm <= result.rate and result.checks[0].passed


def test_orbits_of_a_certified_assembly_meet_at_the_rate_and_end_at_its_rest():
    dynamics, M, *_ = assembly(7)
    result = certify_contraction(dynamics, (-10.0, 10.0), metric=M)
    assert result.reach > 0 and "orbits from within" in result.summary()
    directions = torch.randn(64, dynamics.dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    reach = result.reach * directions / directions.norm(dim=1, keepdim=True)
    rest = torch.as_tensor(result.rest)
    states = rest + reach / M.sqrt()
    for step in range(1, 200):
        states = dynamics(states)
        distance = ((states - rest) * M.sqrt()).norm(dim=1).max()
        assert distance <= result.reach * result.rate**step * (1 + 1e-9) + 1e-12


def test_feedback_of_the_wrong_sign_is_refused_with_the_failing_state():
    """With L symmetric, the slope where no unit is active is (1 - a) + a L, whose norm exceeds 1 when s > 1."""
    for seed in range(50):
        dynamics, M, *_ = assembly(seed, feedback=1.0)
        result = certify_contraction(dynamics, (-10.0, 10.0), metric=M, splits=10)
        assert result.disproved and not result.proved
        slope = torch.func.jacrev(lambda r, step=dynamics: step(r[None])[0])(torch.as_tensor(result.state))
        T = M.sqrt()
        assert torch.linalg.matrix_norm(T[:, None] * slope / T, 2) >= 1
        assert (np.abs(result.state) <= 10).all() and "no contraction in this metric" in result.summary()


def test_a_step_beyond_what_idle_units_allow_is_refused():
    """Where no unit is active the norm is sqrt((1 - a)^2 + a^2 s^2) in this metric: 1 or more from a = 2 / (1 + s^2) on."""
    for seed in range(20):
        *_, a, _, s = assembly(seed, share=1.0)
        beyond = assembly(seed, share=1.01 * 2 / (1 + s**2) / a)
        assert certify_contraction(beyond[0], (-10.0, 10.0), metric=beyond[1], splits=10).disproved


def test_a_module_scaled_above_its_condition_is_never_certified():
    """Self-excitation of a unit alone: W = loop > 1 on the diagonal gives slope 1 - a + a loop > 1 where it is active."""
    for seed in range(20):
        dynamics, M, *_ = assembly(seed, loop=4.0)
        assert not certify_contraction(dynamics, (-10.0, 10.0), metric=M, splits=10).proved
    single = Dynamics(lambda r, _: 0.9 * r + 0.1 * 1.5 * torch.relu(r), dim=1)
    result = certify_contraction(single, (-1.0, 1.0))
    assert result.disproved and result.state[0] > 0 and result.norm == pytest.approx(1.05, rel=1e-12)


def test_metrics_of_assemblies_are_found_when_none_is_given():
    for seed in range(3):
        dynamics, *_ = assembly(seed)
        assert certify_contraction(dynamics, (-10.0, 10.0)).proved


def test_a_shear_contracts_in_another_metric_only():
    """[[0.5, 10], [0, 0.5]] has norm 10.02 and spectral radius 0.5: a metric exists for any rate above 0.5."""
    shear = linear([[0.5, 10.0], [0.0, 0.5]])
    plain = certify_contraction(shear, (-1.0, 1.0), metric=[1.0, 1.0])
    assert plain.disproved and plain.norm == pytest.approx(np.linalg.norm([[0.5, 10], [0, 0.5]], 2), rel=1e-12)
    assert "another metric may do" in plain.summary()
    sought = certify_contraction(shear, (-1.0, 1.0))
    assert sought.proved and 0.5 <= sought.rate < 0.6
    J, M = np.array([[0.5, 10.0], [0.0, 0.5]]), sought.metric
    assert np.linalg.eigvals(np.linalg.solve(M, J.T @ M @ J)).max() <= sought.rate**2 * (1 + 1e-9)


def test_branch_and_bound_decides_where_one_box_does_not():
    """x' = 0.24 x + 0.25 x^3 has slopes 0.24 + 0.75 x^2 in [0.24, 0.99] on [-1, 1]; one enclosure gives 0.24 + 0.75 [-1, 1]."""
    cubic = Dynamics(lambda x, _: 0.24 * x + 0.25 * x**3, dim=1)
    result = certify_contraction(cubic, (-1.0, 1.0))
    assert result.proved and 0.99 - 1e-12 <= result.rate < 1
    steeper = Dynamics(lambda x, _: 0.26 * x + 0.25 * x**3, dim=1)
    failing = certify_contraction(steeper, (-1.0, 1.0))
    assert failing.disproved and abs(failing.state[0]) >= math.sqrt(0.74 / 0.75) - 1e-9 and failing.spectral_radius >= 1
    turning = Dynamics(lambda x, _: 0.9 * torch.sin(x), dim=2)
    assert 0.9 <= certify_contraction(turning, (-1.0, 1.0)).rate < 1


def test_several_fixed_points_are_no_contraction_in_any_metric():
    result = certify_contraction(Dynamics(lambda x, _: torch.tanh(2 * x), dim=3), (-1.0, 1.0))
    assert result.disproved and "no constant metric helps" in result.summary()
    assert certify_contraction(henon(), (-1.0, 1.0)).disproved


def test_an_isometry_is_left_undecided_and_a_contraction_without_rest_says_so():
    turn = certify_contraction(linear([[0.6, -0.8], [0.8, 0.6]]), (-1.0, 1.0), splits=20)
    assert not turn.proved and turn.norm <= turn.rate and turn.rate == pytest.approx(1, abs=1e-9)
    leaves = certify_contraction(Dynamics(lambda x, _: 0.5 * x + 5, dim=1), (-1.0, 1.0))
    assert leaves.proved and not leaves.traps and leaves.reach == 0 and np.isnan(leaves.rest).all()
    assert "that there is one is not shown" in leaves.summary()


def test_a_trapping_box_and_constants():
    constant = certify_contraction(Dynamics(lambda x, _: 0 * x + 0.3, dim=2), (-1.0, 1.0))
    assert constant.proved and constant.rate < 1e-100 and constant.traps
    assert constant.rest == pytest.approx([0.3, 0.3])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        small = recurrent(nn.RNN(1, 4)).hold([0.0])
    weak = Dynamics(lambda h, _: 0.2 * small.step(h, None), dim=4, box=lambda _: (-torch.ones(4), torch.ones(4)))
    assert certify_contraction(weak).traps


@pytest.mark.parametrize("n", [1, 3, 16])
def test_norm_bounds_hold_and_are_sharp_for_points_and_positive_balls(n):
    generator = torch.Generator().manual_seed(n)
    mid, rad = torch.randn(50, n, n, generator=generator).double(), torch.rand(50, n, n, generator=generator).double()
    exact = torch.linalg.matrix_norm(mid, 2)
    bounds = norm_bounds(Ball.exact(mid))
    assert (bounds >= exact * (1 - 1e-14)).all() and (bounds <= exact * (1 + 1e-11)).all()
    wide = norm_bounds(Ball(mid, rad))
    for _ in range(20):
        sign = torch.randint(2, mid.shape, generator=generator) * 2 - 1
        assert (torch.linalg.matrix_norm(mid + sign * rad, 2) <= wide).all()
    # a matrix without negative entries is widened along its own signs: the bound is that of mid + rad to Perron's accuracy
    largest = torch.linalg.matrix_norm(rad + rad, 2)
    assert (norm_bounds(Ball(rad, rad)) <= largest * (1 + 1e-6)).all()
    assert torch.isinf(norm_bounds(Ball(mid * math.nan, rad))).all()


def test_unknown_operations_are_a_reason_and_misuse_is_refused():
    result = certify_contraction(Dynamics(lambda x, _: torch.atan(x) / 2, dim=1), (-1.0, 1.0))
    assert not result.proved and not result.disproved and "'atan'" in result.summary() and math.isinf(result.rate)
    with pytest.raises(InputError, match="symmetric and positive definite"):
        certify_contraction(henon(), (-1.0, 1.0), metric=[[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(InputError, match="symmetric and positive definite"):
        certify_contraction(henon(), (-1.0, 1.0), metric=[[1.0, 0.5], [0.0, 1.0]])
    with pytest.raises(InputError, match=r"2 by 2, but shape \(3, 3\) came"):
        certify_contraction(henon(), (-1.0, 1.0), metric=[1.0, 1.0, 1.0])
    with pytest.raises(InputError, match="no known trapping box"):
        certify_contraction(henon())
    with pytest.raises(DrivenError, match=r"dynamics\.hold"):
        certify_contraction(Dynamics(lambda x, u: x + u, dim=1, driven=True, inputs=1), (-1.0, 1.0))


def test_a_stopped_watch_proves_nothing_and_the_result_survives_writing():
    stopped = certify_contraction(linear([[0.5]]), (-1.0, 1.0), watch=lambda states, total: iter(()))
    assert not stopped.proved and math.isinf(stopped.rate)
    again = Contraction.from_dict(stopped.to_dict())
    assert again.summary() == stopped.summary() and np.array_equal(again.transform, stopped.transform)
    assert stopped.plot().get_ylabel()
