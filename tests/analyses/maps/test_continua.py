import math

import numpy as np
import pytest
import torch

import interp
from analyses.maps.continua import Continuum, chart_continuum
from analyses.maps.fixed_points import find_fixed_points
from analyses.result import Outcome
from hooks.dynamics import Dynamics, rollout
from hooks.errors import DrivenError, InputError
from tests.known import linear


def ring(turn=lambda angle: 0 * angle, *, contraction=0.5, others=0):
    """r' = r + (1 - contraction) r (1 - r), angle' = angle + turn(angle), rotated among ``others`` that decay."""
    generator = torch.Generator().manual_seed(0)
    dim = 2 + others
    Q = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64)).Q

    def step(x, _):
        y = x @ Q
        radius, angle = y[:, :2].norm(dim=1), torch.atan2(y[:, 1], y[:, 0])
        radius, angle = radius + (1 - contraction) * radius * (1 - radius), angle + turn(angle)
        flat = torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], dim=1)
        return torch.cat([flat, 0.3 * y[:, 2:]], dim=1) @ Q.T

    return Dynamics(step, dim=dim, name="ring"), Q[:, 0].numpy()


def two_unit_line():
    """Mutual inhibition of two saturating units: every point of x + y = 1 in the unit square rests, nothing else does."""
    W = torch.tensor([[0.5, -0.5], [-0.5, 0.5]], dtype=torch.float64)
    return Dynamics(lambda x, _: torch.clamp(x @ W.T + 0.5, 0, 1), dim=2, name="two units")


def ring_network(units=32, gain=2.0):
    """x' = W tanh(x), W = (2 gain / units) cos(differences of angle): it rests on bumps R cos(a - b), b anywhere."""
    angles = 2 * math.pi * torch.arange(units, dtype=torch.float64) / units
    W = 2 * gain / units * torch.cos(angles[:, None] - angles)
    R = 1.0
    for _ in range(200):
        R = 2 * gain / units * float((torch.cos(angles) * torch.tanh(R * torch.cos(angles))).sum())
    return Dynamics(lambda x, _: torch.tanh(x) @ W.T, dim=units, name="ring network"), R, R * torch.cos(angles)


@pytest.mark.parametrize("others", [0, 18])
def test_ring_is_closed_with_the_length_of_its_circle(others):
    dynamics, at = ring(others=others)
    chart = chart_continuum(dynamics, 1.01 * at)  # off the ring: moved onto it
    assert chart.kind == "ring attractor" and chart.closed and chart.outcome is Outcome.CONVERGED
    assert chart.length == pytest.approx(2 * math.pi, rel=1e-9)  # arcs of circles are exact on a circle
    assert chart.transverse == pytest.approx(0.5, abs=1e-8)  # d r' / d r = contraction at r = 1
    assert chart.along == pytest.approx(1, abs=1e-8) and chart.largest_drift < 1e-10
    assert np.linalg.norm(chart.points, axis=1) == pytest.approx(1, abs=1e-8)
    assert len(chart.fixed_points) == 0 and all(check.passed for check in chart.checks) and len(chart.checks) == 3


def test_ring_network_is_a_ring_of_bumps():
    dynamics, R, bump = ring_network()
    chart = chart_continuum(dynamics, bump.numpy(), step=1.5)
    assert chart.kind == "ring attractor"
    assert chart.length == pytest.approx(
        2 * math.pi * R * math.sqrt(32 / 2), rel=1e-6
    )  # |cos(a - b)| over b: units / 2
    # tanh makes only odd harmonics: at a whole bump from unit to unit the grid is felt by the 31st, below 1e-6 of R
    assert 0 < chart.largest_drift < 1e-6 * R
    assert chart.transverse.max() < 1


def test_integrator_is_a_line_from_wall_to_wall():
    """The eigenvector (1, 0.6) / |.| of eigenvalue 1 leaves the box at x = +-1: the chord is 2 sqrt(1 + 0.36)."""
    dynamics = linear([[0.7, 0.5], [0.3, 0.5]])  # eigenvalues 1 and 0.2, eigenvector (1, 0.6)
    chart = chart_continuum(dynamics, [0.0, 0.0], box=(-1.0, 1.0))
    assert chart.kind == "line attractor" and not chart.closed
    assert chart.length == pytest.approx(2 * math.sqrt(1.36), abs=chart.length_error) and chart.length_error < 1e-4
    assert chart.transverse == pytest.approx(0.2, abs=1e-12)
    assert chart.ends == ("on the wall of the box",) * 2 and chart.outcome is Outcome.CONVERGED


def test_saturating_pair_is_a_finite_line():
    chart = chart_continuum(two_unit_line(), [0.4, 0.6])
    assert chart.kind == "line attractor" and chart.ends == ("where its eigenvalue leaves 1",) * 2
    assert chart.length == pytest.approx(math.sqrt(2), abs=chart.length_error) and chart.length_error < 1e-4
    assert np.diff(chart.arclength).min() > 0


@pytest.mark.parametrize("waves", [1, 3])
def test_perturbed_ring_is_a_closed_curve_with_alternating_fixed_points(waves):
    size = 0.01
    dynamics, at = ring(lambda angle: size * torch.sin(waves * angle))
    chart = chart_continuum(dynamics, at)
    assert chart.kind == f"closed curve of slow points with {2 * waves} fixed points"
    # a chord of the unit circle is 2 sin(size / 2); the chart lies off the circle by O(size^2)
    assert chart.largest_drift == pytest.approx(size, rel=0.01)
    assert sorted(chart.fixed_along) == pytest.approx([1 - waves * size] * waves + [1 + waves * size] * waves, abs=1e-6)
    assert (np.diff(np.sign(chart.fixed_along - 1)) != 0).all()
    assert chart.length == pytest.approx(2 * math.pi, abs=chart.length_error) and chart.length_error < 0.01
    assert np.abs(np.linalg.norm(chart.points, axis=1) - 1).max() == pytest.approx(chart.offset, rel=0.2)


def test_slowly_rotating_ring_has_drift_and_no_fixed_point():
    dynamics, at = ring(lambda angle: 0 * angle + 0.02)
    chart = chart_continuum(dynamics, at)
    assert chart.kind == "closed curve of slow points with 0 fixed points"
    assert (
        np.abs(chart.drift) == pytest.approx(0.02, rel=0.01) and (np.sign(chart.drift) == np.sign(chart.drift[0])).all()
    )
    assert chart.crossing_time == pytest.approx(2 * math.pi / 0.02, rel=0.01)
    # the invariant circle has radius 1: the chart's distance from it is measured, not assumed
    assert np.abs(np.linalg.norm(chart.points, axis=1) - 1).max() == pytest.approx(chart.offset, rel=0.05)
    assert chart.length == pytest.approx(2 * math.pi, abs=1.1 * chart.length_error)


def test_bistable_line_has_two_attracting_points_and_a_saddle_between():
    """s' = s + a s (1 - s^2) on the parabola y = 0.2 s^2 to first order in a; eigenvalues 1 + a and 1 - 2 a."""
    a = 0.01
    line = Dynamics(
        lambda x, _: torch.stack([x[:, 0] + a * x[:, 0] * (1 - x[:, 0] ** 2), 0.5 * x[:, 1] + 0.1 * x[:, 0] ** 2], 1), 2
    )
    chart = chart_continuum(line, [0.0, 0.0])
    assert chart.kind == "curve of slow points with 3 fixed points"
    order = np.argsort(chart.fixed_points[:, 0])
    assert chart.fixed_points[order] == pytest.approx(np.array([[-1, 0.2], [0, 0], [1, 0.2]]), abs=1e-8)
    assert chart.fixed_along == pytest.approx([1 - 2 * a, 1 + a, 1 - 2 * a], abs=1e-8)
    # it ends where 1 + a (1 - 3 s^2) = 0.95: s^2 = 2
    assert np.abs(chart.points[[0, -1], 0]) == pytest.approx(math.sqrt(2), abs=1e-3)


def test_ghost_of_a_fold_is_a_curve_without_fixed_points():
    chart = chart_continuum(Dynamics(lambda x, _: x + 1e-4 + x**2, dim=1), [0.0])
    assert chart.kind == "curve of slow points with 0 fixed points"
    assert np.abs(chart.drift).min() == pytest.approx(1e-4) and chart.transverse.max() == 0


@pytest.mark.parametrize("eigenvalue", [0.97, 1.03, 0.9999])
def test_slow_direction_of_a_hyperbolic_point_is_not_a_continuum(eigenvalue):
    chart = chart_continuum(linear([[eigenvalue, 0.0], [0.1, 0.4]]), [0.0, 0.0], box=(-1.0, 1.0))
    assert chart.hyperbolic and chart.kind == "not a continuum" and chart.length > 1.9
    assert f"like its eigenvalue {eigenvalue}" in chart.summary()


def test_cubic_rest_is_no_hyperbolic_point():
    """s' = s - 0.01 s^3: eigenvalue 1 at its one fixed point, so the drift is not linear in the distance."""
    chart = chart_continuum(Dynamics(lambda x, _: x - 0.01 * x**3, dim=1), [0.1], box=(-1.0, 1.0))
    assert not chart.hyperbolic and chart.kind == "curve of slow points with 1 fixed point"


def test_fast_hyperbolic_point_has_nothing_to_chart():
    chart = chart_continuum(linear([[0.5, 0.0], [0.0, 2.0]]), [0.0, 0.0])
    assert chart.kind == "not a continuum" and chart.points.shape == (1, 2) and chart.length == 0
    assert chart.near_null.tolist() == [0] and "eigenvalue nearest 1: 0.5" in chart.summary()


@pytest.mark.parametrize("matrix", [np.eye(2), np.diag([1.0, 0.99, 0.2]), [[1.0, -0.01], [0.01, 1.0]]])
def test_surface_is_counted_and_not_charted(matrix):
    chart = chart_continuum(linear(matrix), np.zeros(len(matrix)))
    assert chart.kind == "2 near-null directions, not one curve" and len(chart.points) == 1


def test_line_of_saddles_is_no_attractor():
    chart = chart_continuum(linear([[1.0, 0.0], [0.0, 1.5]]), [0.0, 0.0], box=(-1.0, 1.0))
    assert chart.kind == "line of fixed points, not attracting"


def test_one_unit_that_keeps_everything_is_a_line():
    chart = chart_continuum(linear([[1.0]]), [0.3], box=(-1.0, 1.0))
    assert chart.kind == "line attractor" and chart.length == pytest.approx(2, abs=chart.length_error)
    assert chart.start > 0 and chart.points[chart.start] == pytest.approx([0.3])


def test_rollouts_end_on_the_chart():
    dynamics, at = ring(others=3)
    chart = chart_continuum(dynamics, at)
    starts = chart.points[::7] + 0.05 * torch.randn(9, 5, generator=torch.Generator().manual_seed(1)).numpy()
    ends = rollout(dynamics, starts, steps=80).states[:, -1]
    nearest = np.linalg.norm(ends[:, None] - chart.points, axis=2).min(axis=1)
    assert nearest.max() < 0.06  # half a chord of 0.1


def test_saddle_of_a_trained_flip_flop_is_not_a_continuum():
    network = interp.load("case_studies/weights/flip_flop_gru.safetensors").dynamics().hold([0.0, 0.0, 0.0])
    points = find_fixed_points(network, 64)
    saddle = points.points[~points.stable][0]
    assert chart_continuum(network, saddle).kind == "not a continuum"


def test_line_without_walls_runs_out_of_steps_and_an_interruption_says_so():
    chart = chart_continuum(linear([[1.0]]), [0.0], steps=20)
    assert chart.outcome is Outcome.OUT_OF_STEPS and chart.length == pytest.approx(2 * 20 * 0.1)
    stopped = chart_continuum(linear([[1.0]]), [0.0], watch=lambda places, total: iter(()))
    assert stopped.outcome is Outcome.OUT_OF_TIME and stopped.kind == "not a continuum"


def test_refusals():
    with pytest.raises(InputError, match="from one point, but 2 came"):
        chart_continuum(linear([[1.0]]), [[0.0], [1.0]])
    with pytest.raises(InputError, match="lies outside the box"):
        chart_continuum(linear([[1.0]]), [3.0], box=(-1.0, 1.0))
    with pytest.raises(InputError, match="step and steps are positive"):
        chart_continuum(linear([[1.0]]), [0.0], step=0.0)
    with pytest.raises(DrivenError, match="chart_continuum needs one map"):
        chart_continuum(Dynamics(lambda x, u: x + u, dim=1, driven=True, inputs=1), [0.0])


def test_result_survives_writing_and_draws():
    dynamics, at = ring(lambda angle: 0.01 * torch.sin(angle))
    for chart in (chart_continuum(dynamics, at), chart_continuum(linear([[0.5]]), [0.0])):
        again = Continuum.from_dict(chart.to_dict())
        assert again.kind == chart.kind and np.array_equal(again.drift, chart.drift)
        assert chart.plot().get_xlabel() == "first principal direction"
