"""Moves of a sum of squares have a closed form, and say when a radius has counted the weights."""

import math

import numpy as np
import pytest
import torch

from analyses.weights.perturbation_error import perturbation_error
from hooks.errors import InputError

SIZES = np.geomspace(1e-3, 10, 41)


def squared_length(weights):
    return (weights**2).sum(1)


def specimens():
    return [
        perturbation_error(squared_length, [np.zeros((2, 3)), np.zeros((2, 6)), np.zeros((2, 12))], sizes=SIZES),
        perturbation_error(lambda weights: 0 * weights[:, 0], [np.ones((1, 1))], sizes=[1.0], draws=1),
    ]


def test_a_move_of_euclidean_length_r_has_the_error_r_squared():
    found = perturbation_error(squared_length, [np.zeros((2, 5)), np.zeros((2, 50))], sizes=SIZES, norm="euclidean")
    np.testing.assert_allclose(found.errors, np.broadcast_to(SIZES**2, (2, 2, 41)), rtol=1e-12)
    assert found.radii() == pytest.approx([1, 1], rel=1e-9) and (found.unmoved == 0).all()


def test_a_radius_in_the_largest_entry_counts_the_weights_and_one_in_length_does_not():
    """A Gaussian of n entries is sqrt n long and has the largest entry sqrt(2 ln n), about: from 8 to 512 weights the radius
    falls as n^-1/2 times the ratio of those, sqrt(ln 512 / ln 8), within a fifth; the maximum over thirty draws adds less."""
    groups = [np.zeros((3, n)) for n in (8, 32, 128, 512)]
    entry = perturbation_error(squared_length, groups, sizes=SIZES)
    expected = -0.5 + math.log(math.log(512) / math.log(8)) / 2 / math.log(64)
    assert entry.slope() == pytest.approx(expected, rel=0.2)
    assert abs(perturbation_error(squared_length, groups, sizes=SIZES, norm="euclidean").slope()) < 1e-9


def test_curves_cross_where_the_larger_network_loses_its_advantage():
    """Errors a + n r^2 of n weights moved by a length r sqrt n: 1 / n + n r^2 of two networks cross at r = 1 / sqrt(n n')."""

    def error(weights):
        return 1 / weights.shape[1] + weights.shape[1] * squared_length(weights)

    found = perturbation_error(error, [np.zeros((1, 10)), np.zeros((1, 40))], sizes=SIZES, norm="euclidean")
    assert found.crossings == pytest.approx([1 / 20], rel=(SIZES[1] / SIZES[0]) ** 0.5)  # the grid's half step
    same = perturbation_error(squared_length, [np.zeros((1, 4)), np.zeros((1, 64))], sizes=SIZES)
    assert np.isnan(same.crossings).all()  # above at every size


def test_errors_never_fall_with_the_size_and_overflow_is_infinite():
    found = perturbation_error(lambda w: torch.exp(1e3 * w[:, 0]), [np.zeros((2, 3))], sizes=[0.1, 1.0], draws=9)
    assert (np.diff(found.errors, axis=2) >= 0).all() and np.isinf(found.errors[..., 1]).all()
    holes = perturbation_error(lambda w: torch.where(w[:, 0] > 0, torch.nan, 1.0), [np.zeros((1, 2))], sizes=[1.0])
    assert np.isinf(holes.errors).all()


def test_the_order_of_architectures_does_not_matter_and_one_alone_has_no_slope():
    found = perturbation_error(squared_length, [np.zeros((1, 9)), np.zeros((1, 2))], sizes=SIZES)
    assert found.weights.tolist() == [2, 9] and math.isnan(found.slope()) and "0 of 1 pair" in found.summary()


def test_refusals():
    with pytest.raises(InputError, match=r"shapes \[\(1, 3\), \(2, 4\)\] came"):
        perturbation_error(squared_length, [np.zeros((1, 3)), np.zeros((2, 4))], sizes=SIZES)
    with pytest.raises(InputError, match="different numbers of weights"):
        perturbation_error(squared_length, [np.zeros((1, 3)), np.zeros((1, 3))], sizes=SIZES)
    with pytest.raises(InputError, match="sizes are positive and different"):
        perturbation_error(squared_length, [np.zeros((1, 3))], sizes=[0.0, 1.0])
    with pytest.raises(InputError, match=r"has shape \(2,\), but \(2, 3\) came"):
        perturbation_error(lambda w: w, [np.zeros((2, 3))], sizes=[1.0])
