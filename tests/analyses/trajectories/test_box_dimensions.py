"""Dimensions of clouds known in closed form: points, lines, squares, Cantor's set, and unequal weights on it."""

import math

import numpy as np
import pytest

from analyses.result import Outcome
from analyses.trajectories.box_dimensions import box_dimensions
from hooks.errors import InputError
from hooks.trajectory import Trajectory

THIRDS = 3.0 ** -np.arange(1, 7)


def cantor(digits=12):
    """All numbers of so many ternary digits 0 and 2, and how many digits of each are 2."""
    words = np.array(np.meshgrid(*[[0, 2]] * digits, indexing="ij")).reshape(digits, -1).T
    return words @ 3.0 ** -np.arange(1, digits + 1), (words == 2).sum(1)


def cloud(*columns):
    return Trajectory(np.column_stack(columns)[:, None])


def specimens():
    return [
        box_dimensions(cloud(np.linspace(0, 1, 500)), scales=THIRDS[:3]),
        box_dimensions(cloud(np.linspace(0, 1, 5)), scales=[0.001, 0.002, 0.003]),
    ]


def test_cantor_set_has_the_dimension_of_its_closed_form_at_every_order():
    """ln 2 / ln 3; grids moved at random cut the set unevenly, by less than 0.01 over whole powers of 3."""
    found = box_dimensions(cloud(cantor()[0]), scales=THIRDS)
    np.testing.assert_allclose(found.dimensions, math.log(2) / math.log(3), atol=0.01)
    assert found.outcome is Outcome.CONVERGED and found.checks[0].passed


def test_unequal_weights_give_the_binomial_measure():
    """Weights 0.8 and 0.2: D_q = ln(0.8^q + 0.2^q) / ((1 - q) ln 3), and the entropy over ln 3 at q = 1; D_0 as before."""
    points, ones = cantor()
    found = box_dimensions(cloud(points), scales=THIRDS, weights=0.2**ones * 0.8 ** (12 - ones), grids=64)
    entropy = -0.8 * math.log(0.8) - 0.2 * math.log(0.2)
    expected = [math.log(2) / math.log(3), entropy / math.log(3), -math.log(0.68) / math.log(3)]
    np.testing.assert_allclose(
        found.dimensions, expected, atol=0.015
    )  # random cuts, as above, of fewer boxes of weight
    assert (np.diff(found.dimensions) < -0.1).all()


def test_sierpinski_triangle_in_any_plane():
    """ln 3 / ln 2, also for the triangle of three coordinates that sum to 1; boxes cut by the rim cost 0.06 at order 0."""
    words = np.array(np.meshgrid(*[range(3)] * 9, indexing="ij")).reshape(9, -1).T
    points = np.tensordot(0.5 ** np.arange(1, 10), np.eye(3)[words], axes=(0, 1)) + 0.5**9 / 3
    plane = points @ np.array([[0.0, 0.0], [1.0, 0.0], [0.5, math.sqrt(0.75)]])
    for given in (plane, points):
        found = box_dimensions(Trajectory(given[:, None]), scales=0.5 ** np.arange(2, 7))
        np.testing.assert_allclose(found.dimensions, math.log(3) / math.log(2), atol=0.1)
        np.testing.assert_allclose(found.dimensions[1:], math.log(3) / math.log(2), atol=0.04)


def test_a_square_a_line_in_space_and_a_point():
    """2, 1 and 0: a grid of points has whole dimensions up to its rim, a box in width / 1 of them (half a tenth here)."""
    side = np.linspace(0, 1, 200)
    x, y = np.meshgrid(side, side)
    scales = np.geomspace(0.02, 0.2, 5)
    assert box_dimensions(cloud(x.ravel(), y.ravel()), scales=scales).dimensions == pytest.approx([2, 2, 2], abs=0.15)
    line = np.linspace(0, 1, 5000)
    assert box_dimensions(cloud(line, 2 * line, -line), scales=scales).dimensions == pytest.approx([1, 1, 1], abs=0.1)
    assert box_dimensions(cloud([0.3], [0.4]), scales=scales).dimensions.tolist() == [0, 0, 0]


def test_noise_fills_the_plane_below_its_size_and_leaves_larger_scales():
    """Of noise 0.01 on Cantor's set in a line: ln 2 / ln 3 above, more than a whole dimension below."""
    points, rng = cantor(14)[0], np.random.default_rng(0)
    blurred = cloud(points, 1e-2 * rng.standard_normal(len(points)))
    coarse = box_dimensions(blurred, scales=np.geomspace(0.1, 0.9, 6))
    fine = box_dimensions(blurred, scales=np.geomspace(3e-3, 9e-3, 4))
    assert coarse.dimensions[1] == pytest.approx(0.63, abs=0.1) and fine.dimensions[1] > 1.2


def test_a_cloud_too_sparse_for_its_scales_has_no_dimension():
    found = box_dimensions(cloud(np.linspace(0, 1, 5)), scales=[0.001, 0.002, 0.003])
    assert found.outcome is Outcome.TOO_SHORT and np.isnan(found.dimensions).all()
    assert found.summary().startswith("no dimension: the cloud had too little data")


def test_states_without_weight_and_padding_are_left_out():
    states = np.full((2, 3, 1), np.nan)
    states[0], states[1, 0] = [[0.0], [0.5], [9.0]], 0.25
    weights = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    found = box_dimensions(Trajectory(states, lengths=np.array([3, 1])), scales=[1.0, 2.0, 4.0], weights=weights)
    assert found.points == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scales": [0.1, 0.2]}, "three or more different positive widths"),
        ({"scales": [0.0, 0.1, 0.2]}, "three or more different positive widths"),
        ({"scales": [1.0, 2.0, 3.0], "orders": [-1.0]}, "orders are 0 or more"),
        ({"scales": [1.0, 2.0, 3.0], "grids": 0}, "grids 1 or more"),
        ({"scales": [1.0, 2.0, 3.0], "weights": [1.0, -1.0]}, "weights are not negative"),
        ({"scales": [1.0, 2.0, 3.0], "weights": [0.0, 0.0]}, "no state has a positive weight"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(InputError, match=message):
        box_dimensions(cloud([0.0, 1.0]), **options)
