import math

import numpy as np
import pytest
import torch

from analyses.maps.covariant_vectors import covariant_vectors
from analyses.result import Outcome
from case_studies._systems import SYSTEMS
from hooks.dynamics import Dynamics
from hooks.errors import DrivenError, InputError
from tests.known import cat_map, henon, linear

GOLDEN = math.log((3 + math.sqrt(5)) / 2)


def uniform(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_checks(result):
    assert all(check.passed for check in result.checks), [c for c in result.checks if not c.passed]


def assert_lines(vectors, expected):
    """Columns agree up to sign, to rounding of a hundred products."""
    overlap = np.abs((vectors * (expected / np.linalg.norm(expected, axis=0))).sum(axis=-2))
    assert overlap == pytest.approx(np.ones_like(overlap), abs=1e-12)


def test_cat_map_has_the_eigenvectors_of_its_matrix_at_right_angles_everywhere():
    found = covariant_vectors(cat_map(), uniform(2, 2), steps=100)
    _, eigenvectors = np.linalg.eigh([[2.0, 1.0], [1.0, 1.0]])
    assert_lines(found.vectors, eigenvectors[:, ::-1])
    assert found.vector_exponents == pytest.approx(np.array([[GOLDEN, -GOLDEN]] * 2), abs=1e-12)
    assert found.finite_time == pytest.approx(np.broadcast_to([GOLDEN, -GOLDEN], (2, 10, 2)), abs=1e-12)
    assert found.subspace_angles == pytest.approx(np.full((2, 9), math.pi / 2), abs=1e-12)  # the matrix is symmetric
    assert found.determined.all() and found.summary().startswith("4 of 4 vectors are determined")
    assert_checks(found)


def test_a_matrix_that_is_not_normal_has_its_eigenvectors_and_not_the_frame():
    A = np.array([[2.0, 1.0, 0.3], [0.0, 0.7, 1.0], [0.0, 0.0, 0.2]])
    found = covariant_vectors(linear(A, dt=0.1), [[0.0, 0.0, 0.0]], steps=60)
    _, eigenvectors = np.linalg.eig(A)
    assert_lines(found.vectors, eigenvectors)
    assert found.vector_exponents[0] == pytest.approx(np.log([2.0, 0.7, 0.2]) / 0.1, abs=1e-11)
    # the plane of the second and third eigenvectors has the left eigenvector of 2 as its normal
    normal = np.linalg.inv(eigenvectors)[0]
    assert found.subspace_angles[0] == pytest.approx(math.asin(1 / np.linalg.norm(normal)), abs=1e-12)
    between = np.arccos(np.abs((eigenvectors[:, :-1] * eigenvectors[:, 1:]).sum(axis=0)))
    assert found.neighbour_angles[0, :, 4] == pytest.approx(between, abs=1e-12)
    assert (found.unstable.tolist(), found.stable.tolist()) == ([1], [2])
    assert_checks(found)
    leading = covariant_vectors(linear(A), [[0.0, 0.0, 0.0]], steps=60, directions=1)
    assert_lines(leading.vectors, eigenvectors[:, :1])
    assert leading.isolated.all() and leading.neighbour_angles.shape == (1, 0, 9)


def test_a_skew_product_has_its_fibre_for_one_vector_and_a_graph_over_the_base_for_the_other():
    # x' = x + golden mean mod 1, y' = y / 2 + cos 2 pi x: the fibre (0, 1) is covariant, and (1, s) where s' = s / 2 + g
    def step(z, _):
        x, y = z[:, 0], z[:, 1]
        return torch.stack([(x + (math.sqrt(5) - 1) / 2) % 1, y / 2 + torch.cos(2 * math.pi * x)], dim=1)

    found = covariant_vectors(Dynamics(step, dim=2), [[0.3, 0.1]], steps=60)
    assert_lines(found.vectors[:, :, :, 1:], np.array([[0.0], [1.0]]))
    assert found.exponents[0, 1] == pytest.approx(-math.log(2), abs=0.02)  # a bounded turn of the frame over 60 steps
    assert found.vector_exponents[0, 1] == pytest.approx(-math.log(2), abs=1e-12)
    slopes = found.vectors[:, 0, 1, 0] / found.vectors[:, 0, 0, 0]
    g = -2 * math.pi * np.sin(2 * math.pi * found.states[:-1, 0, 0])
    assert slopes[1:] == pytest.approx(slopes[:-1] / 2 + g, abs=1e-10)
    assert (found.unstable.tolist(), found.stable.tolist()) == ([0], [1])  # the base turns rigidly: a zero exponent


def test_henon_vectors_are_carried_to_themselves_and_its_manifolds_come_close():
    found = covariant_vectors(henon(), [[0.1, 0.1]], steps=600, every=1)
    states, vectors = found.states[:, 0], found.vectors[:, 0]
    slopes = np.zeros((600, 2, 2))  # written out here: [[-2 a x, 1], [b, 0]]
    slopes[:, 0, 0], slopes[:, 0, 1], slopes[:, 1, 0] = -2.8 * states[:, 0], 1.0, 0.3
    carried = slopes @ vectors
    grown = np.linalg.norm(carried, axis=1)
    overlap = np.abs((carried / grown[:, None] * np.roll(vectors, -1, axis=0)).sum(axis=1))[:-1]
    assert overlap == pytest.approx(np.ones_like(overlap), abs=1e-12)
    assert np.log(grown).mean(axis=0) == pytest.approx(found.vector_exponents[0], abs=1e-12)
    # det J = -0.3 everywhere, and for vectors at the angle a: ln g1 + ln g2 = ln 0.3 + ln sin a' - ln sin a
    assert found.exponents.sum() == pytest.approx(math.log(0.3), abs=1e-12)
    assert abs(found.exponents[0, 0] - 0.41922) < 4 * found.standard_errors[0, 0] < 0.1  # Sprott 2003
    assert found.subspace_angles[0, 0] < math.radians(2)  # tangencies: not hyperbolic at these parameters
    assert found.finite_time.mean(axis=1) == pytest.approx(found.vector_exponents, abs=1e-12)
    assert_checks(found)


def test_the_vector_of_a_flows_zero_exponent_is_its_velocity():
    """Lorenz 1963: the direction of motion is covariant and neither grows nor shrinks in the mean."""
    system = SYSTEMS["Lorenz63"]
    found = covariant_vectors(system.make(), [system.start(3)], steps=500, burn_in=1500, after=1500)
    x, y, z = found.states[:, 0].T
    velocity = np.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z], axis=1)
    along = np.abs((found.vectors[:, 0, :, 1] * velocity).sum(axis=1)) / np.linalg.norm(velocity, axis=1)
    # 15 units of time on either side bring the frame within e^(-0.9 x 15) = 1e-6, and 1 - cos is half its square
    assert along == pytest.approx(np.ones_like(along), abs=1e-8)
    # its exponent is that of the speed's own growth, a boundary term: ln of a ratio of speeds over 5 units of time
    assert abs(found.vector_exponents[0, 1]) < math.log(20) / 5
    assert_checks(found)


def test_a_pair_that_turns_shares_its_exponent_and_has_no_vectors_of_its_own():
    c, s = 0.9 * math.cos(1), 0.9 * math.sin(1)
    turn = [[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 0.2]]
    found = covariant_vectors(linear(turn), [[1.0, 0.0, 0.0]], steps=60)
    assert found.isolated.tolist() == [[False, False, True]]
    assert (
        found.unmet[0, 1] > 0.01 and found.unmet[0, 2] < 1e-12
    )  # two backward passes keep their distance in the plane
    assert found.summary().startswith("1 of 3 vectors are determined, ") and "2 share their exponent" in found.summary()
    assert_checks(found)


def test_boring_and_bad_maps_are_values_not_exceptions():
    one = covariant_vectors(linear([[-0.5]]), [[1.0]], steps=10)
    assert abs(one.vectors).tolist() == [[[[1.0]]]] * 10 and one.determined.all()
    assert one.vector_exponents[0, 0] == pytest.approx(math.log(0.5), abs=1e-14)
    flat = covariant_vectors(linear(np.diag([0.5, 0.0])), [[1.0, 1.0]], steps=10)
    assert flat.exponents[0, 1] == -np.inf and np.isnan(flat.vectors[..., 1]).all()
    assert flat.determined.tolist() == [[True, False]]
    assert_checks(flat)
    out = covariant_vectors(linear([[1e200]]), [[1.0], [0.0]], steps=10)
    assert np.isnan(out.exponents[0]).all() and out.determined.tolist() == [[False], [True]]
    assert "1 start left every bound" in out.summary()
    none = covariant_vectors(linear([[0.5]]), np.zeros((0, 1)), steps=10)
    assert none.summary().startswith("0 of 0 vectors")


def test_a_stopped_run_has_no_vectors():
    found = covariant_vectors(cat_map(), uniform(1, 2), steps=10, watch=lambda states, total: iter(list(states)[:150]))
    assert found.outcome is Outcome.OUT_OF_TIME and found.vectors.shape == (0, 1, 2, 2)
    assert found.summary() == "0 of 2 vectors: the run ran out of time before its backward pass was over"


def test_refusals():
    with pytest.raises(DrivenError, match="covariant_vectors"):
        covariant_vectors(Dynamics(lambda x, u: x + u, dim=1, driven=True, inputs=1), [[0.0]], steps=20)
    with pytest.raises(InputError, match="1 to 1 directions"):
        covariant_vectors(linear([[0.5]]), [[0.0]], steps=20, directions=2)
    with pytest.raises(InputError, match="windows no longer than the steps"):
        covariant_vectors(linear([[0.5]]), [[0.0]], steps=5)
