"""The constructions have the properties that their theorems ask for, and the path integral the one that it has instead."""

import numpy as np
import pytest
import torch

from analyses.maps.contraction import certify_contraction
from case_studies.assemblies_of_rnns import (
    BUILT,
    DT,
    EPSILON,
    FEEDBACK,
    GRADIENT,
    PATH,
    REACH,
    WRONG_SIGN,
    assembly,
    contractive,
)  # fmt: skip
from hooks.tangent import jacobian


def field_slope(built, states):
    return (jacobian(built.dynamics, states) - torch.eye(states.shape[1], dtype=torch.float64)) / DT


def states(dim, number=200):
    generator = torch.Generator().manual_seed(1)
    return REACH * (2 * torch.rand(number, dim, generator=generator, dtype=torch.float64) - 1)


@pytest.mark.parametrize(("kind", "sign"), [(BUILT, -1), (WRONG_SIGN, 1)])
def test_feedback_is_antisymmetric_in_the_joint_metric_or_symmetric_where_it_is_broken(kind, sign):
    """Far out tanh is flat, so the slope is (1 - a) + a L there; a = 0.95 x 2 (1 - 0.7) / (1 - 0.49 + 4)."""
    built = assembly(kind, 3, modules=3, units=4)
    a = 0.95 * 0.6 / 4.51
    far = torch.full((1, 12), 50.0, dtype=torch.float64)
    L = (jacobian(built.dynamics, far)[0].numpy() - (1 - a) * np.eye(12)) / a
    T = np.sqrt(built.metric)
    scaled = T[:, None] * L / T
    np.testing.assert_allclose(scaled, sign * scaled.T, atol=1e-12)
    assert np.linalg.norm(scaled, 2) == pytest.approx(FEEDBACK, rel=1e-12)
    assert np.abs(scaled[:4, :4]).max() < 1e-12  # between modules only


def test_in_one_dimension_every_matrix_is_a_slope_and_the_path_integral_contracts():
    """f(x) = -int_0^x (A(u)^2 + e) du, so f' is the integrand, to the error of Gauss's rule of 8 nodes over 3 units."""
    built = contractive(PATH, 0, dim=1)
    assert (field_slope(built, states(1)) < -EPSILON + 1e-3).all()
    assert certify_contraction(built.dynamics, (-REACH, REACH), metric=built.metric).proved


@pytest.mark.parametrize("seed", range(3))
def test_in_two_it_points_inward_and_neighbours_part_all_the_same(seed):
    built, x = contractive(PATH, seed, dim=2), states(2)
    inward = (x * (built.dynamics(x) - x) / DT).sum(1)
    assert (inward <= -EPSILON * (x**2).sum(1)).all()  # of every node by itself, so it holds for the rule too
    origin = field_slope(built, torch.zeros(1, 2, dtype=torch.float64))[0]
    torch.testing.assert_close(origin, origin.T, rtol=1e-9, atol=1e-12)
    assert torch.linalg.eigvalsh(origin).max() <= -EPSILON + 1e-12
    proof = certify_contraction(built.dynamics, (-REACH, REACH), metric=built.metric)
    slope = field_slope(built, torch.tensor(proof.state)[None])[0]
    # the field itself parts neighbours there; it is not a step of Euler that is too long
    assert proof.disproved and torch.linalg.eigvalsh((slope + slope.T) / 2).max() > 0.1


def test_the_gradient_of_the_same_form_contracts():
    built = contractive(GRADIENT, 0, dim=2)
    slopes = field_slope(built, states(2))
    torch.testing.assert_close(slopes, slopes.mT, rtol=1e-9, atol=1e-12)
    assert torch.linalg.eigvalsh(slopes).max() <= -EPSILON + 1e-9
    assert certify_contraction(built.dynamics, (-REACH, REACH), metric=built.metric).proved
