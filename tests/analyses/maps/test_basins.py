import math

import numpy as np
import pytest
import torch

from analyses.maps.basins import DIVERGED, UNDECIDED, Basins, PlaneBasins, basins, plane_basins
from hooks.dynamics import Dynamics
from hooks.errors import DrivenError, InputError
from tests.known import cat_map, henon, linear, logistic

P = 0.9575040240772687  # root of x = tanh(2 x)
BITS = Dynamics(lambda x, _: torch.tanh(2 * x), dim=2, name="two bits", box=lambda _: (-torch.ones(2), torch.ones(2)))
CORNERS = [np.array([[a * P, b * P]]) for a in (1, -1) for b in (1, -1)]


def newton_for_cube_roots():
    def step(x, _):
        z = torch.complex(x[:, 0], x[:, 1])
        z = z - (z**3 - 1) / (3 * z**2)
        return torch.stack([z.real, z.imag], dim=1)

    return Dynamics(step, dim=2, name="Newton for z^3 = 1")


def turned(angle):
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def test_newton_for_cube_roots_has_three_equal_basins():
    """Turning a start by a third of a circle turns its whole orbit, so three turned copies of any starts share evenly."""
    third = np.random.default_rng(0).normal(size=(300, 2))
    result = basins(newton_for_cube_roots(), np.concatenate([third @ turned(k * 2 * math.pi / 3).T for k in range(3)]))
    assert result.kinds == ("fixed point",) * 3
    assert np.abs(result.sizes - 300).max() <= 2  # rounding may tip a start that lies on the fractal boundary
    assert ((result.intervals[:, 0] < 1 / 3) & (result.intervals[:, 1] > 1 / 3)).all()
    roots = {(round(math.cos(a), 9), round(math.sin(a), 9)) for a in (0, 2 * math.pi / 3, -2 * math.pi / 3)}
    assert {tuple(result.orbit(i)[0].round(9)) for i in range(3)} == roots


def test_two_bits_go_by_their_signs():
    result = basins(BITS, 400)
    ends = np.stack([result.orbit(i)[0] for i in range(4)])[result.labels]
    np.testing.assert_allclose(ends, P * np.sign(result.starts), atol=1e-12)
    assert result.fractions.sum() == 1.0 and result.checks[0].passed
    assert "400 of 400 starts settle, on 4 attractors (4 fixed points)" in result.summary()


def test_intervals_are_those_of_clopper_and_pearson():
    """Where all n of n starts agree the lower end is (0.05 / 2)^(1 / n), the upper one 1."""
    result = basins(linear([[0.5]]), np.ones((20, 1)))
    np.testing.assert_allclose(result.intervals, [[0.025 ** (1 / 20), 1.0]], rtol=1e-9)


def test_logistic_map_in_its_period_three_window():
    result = basins(logistic(3.83), 200, around=(0.01, 0.99))
    assert result.kinds == ("cycle of period 3",) and result.sizes[0] == 200
    orbit = result.orbit(0)[:, 0]
    np.testing.assert_allclose(3.83 * orbit * (1 - orbit), np.roll(orbit, -1), atol=1e-9)
    assert np.ptp(orbit) > 0.8


@pytest.mark.parametrize(("dynamics", "box"), [(cat_map(), (0.0, 1.0)), (logistic(4.0), (0.01, 0.99))])
def test_a_chaotic_set_is_one_attractor(dynamics, box):
    result = basins(dynamics, 200, around=box)
    assert result.kinds == ("moving set",) and result.orbit(0).shape == (64, dynamics.dim)
    assert result.fractions[0] >= 0.98  # a tail of 128 states is a finite sample; a start or two may look unsettled


def test_rest_inside_a_chaotic_set_is_told_apart():
    """0 and 3/4 are unstable fixed points of 4 x (1 - x), exact in binary; starts on them stay."""
    result = basins(logistic(4.0), [[0.3], [0.4], [0.0], [0.75]])
    assert sorted(result.kinds) == ["fixed point", "fixed point", "moving set"]


def test_invariant_circles_of_two_radii_are_two():
    circle = np.array([[math.cos(a), math.sin(a)] for a in np.linspace(0, 6, 10)])
    result = basins(linear(turned(1.0)), np.concatenate([circle, 3 * circle[:5]]))
    assert result.kinds == ("moving set",) * 2 and result.sizes.tolist() == [10, 5]


@pytest.mark.parametrize(
    "dynamics",
    [
        linear([[0.999]]),
        linear(0.999 * turned(1.0)),
        Dynamics(lambda x, _: x - x**3, dim=1),
        Dynamics(lambda x, _: x + 1e-7, dim=1),
    ],
)
def test_a_slow_passage_is_undecided(dynamics):
    """Still 3 % of the way out, spiralling, creeping in like t^(-1/2), drifting: none is where it will stay."""
    result = basins(dynamics, np.full((5, dynamics.dim), 0.5))
    assert len(result.sizes) == 0 and (result.labels == UNDECIDED).all()
    assert result.summary() == "0 of 5 starts settle; 5 had not settled"


def test_escaping_starts_are_their_own_class():
    result = basins(henon(), 200, around=(-2.0, 2.0))
    assert result.kinds == ("moving set",)
    escaped = (result.labels == DIVERGED).sum()
    assert 0 < escaped < 200 and result.checks[0].passed
    # the point (-2, -2) escapes at once: x' = 1 - 1.4 x^2 + y is below -6 and falls on
    assert basins(henon(), [[-2.0, -2.0]]).labels.tolist() == [DIVERGED]


def test_a_continuum_of_rests_is_not_one_attractor():
    assert basins(linear([[1.0]]), [[0.0], [1.0], [2.0], [2.0]]).sizes.tolist() == [2, 1, 1]


def test_nothing_to_do_and_refusals():
    assert basins(BITS, np.zeros((0, 2))).summary() == "0 of 0 starts settle"
    stopped = basins(BITS, 5, watch=lambda states, total: (state for state, _ in zip(states, range(3), strict=False)))
    assert (stopped.labels == UNDECIDED).all()
    with pytest.raises(InputError, match="at least 256 steps"):
        basins(BITS, 5, steps=10)
    with pytest.raises(InputError, match="no known trapping box"):
        basins(henon(), 5)
    with pytest.raises(DrivenError, match="basins needs one map"):
        basins(Dynamics(lambda x, u: x + u, dim=1, driven=True, inputs=1), [[0.0]])


def test_plane_shows_the_axes_between_two_bits():
    result = plane_basins(BITS, CORNERS, basis=np.eye(2), extent=((-1.0, 1.0), (-0.5, 1.0)), resolution=10)
    signs = result.ticks[0][:, None] < 0, result.ticks[1][None, :] < 0
    assert (result.fates == 2 * signs[0] + signs[1]).all()
    assert len(result.points) == 20  # each of 10 columns crosses y = 0 once, each of 10 rows x = 0
    assert np.abs(result.points).min(axis=1).max() <= result.widths.max()  # on an axis, to the bracket
    assert "100 of 100 states of the plane end on a given attractor; it cuts 4 basins" in result.summary()


def test_plane_away_from_the_origin_sees_two_basins():
    """In four dimensions, two of them held at 0.3: only the signs of the other two change."""
    four = Dynamics(lambda x, _: torch.tanh(2 * x), dim=4)
    memories = [P * np.array([[a, b, 1.0, 1.0]]) for a in (1, -1) for b in (1, -1)]
    axes = np.eye(4)[:2] @ np.kron(np.eye(2), turned(0.4)).T
    result = plane_basins(four, memories, basis=axes, origin=[0.5, 0.0, 0.3, 0.3], resolution=8)
    states = result.origin + result.points @ result.basis
    assert len(states) and np.abs(states[:, :2]).min(axis=1).max() <= result.widths.max()


def test_plane_without_a_boundary_and_refusals():
    calm = plane_basins(linear(0.5 * np.eye(2)), [[[0.0, 0.0]]], basis=np.eye(2), resolution=4)
    assert calm.points.shape == (0, 2) and (calm.fates == 0).all()
    with pytest.raises(InputError, match="1 directions"):
        plane_basins(BITS, CORNERS, basis=[[1.0, 0.0]])
    with pytest.raises(InputError, match="basins need attractors"):
        plane_basins(BITS, [], basis=np.eye(2))
    with pytest.raises(InputError, match="must be positive and below half"):
        plane_basins(BITS, CORNERS, basis=np.eye(2), near=5.0)


def test_results_survive_writing():
    result = basins(logistic(3.83), 5, around=(0.1, 0.9))
    again = Basins.from_dict(result.to_dict())
    assert np.array_equal(again.points, result.points) and again.summary() == result.summary()
    assert result.plot().get_xlabel() == "attractor"
    plane = plane_basins(BITS, CORNERS, basis=np.eye(2), resolution=4)
    assert np.array_equal(PlaneBasins.from_dict(plane.to_dict()).fates, plane.fates)
    assert plane.plot().get_xlabel() == "first direction"
