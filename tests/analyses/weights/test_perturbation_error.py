import numpy as np
import pytest
import torch

from analyses.weights.perturbation_error import SIZES, perturbation_error
from hooks.errors import InputError


def largest(weights):
    return weights.abs().amax(1)


def specimens():
    return [
        perturbation_error(largest, [0.0, 0.0], allowed=0.1),
        perturbation_error(lambda w: 1 / (w - w).sum(1), [0.0], allowed=0.1),  # overflows unperturbed
    ]


def test_the_largest_weight_is_the_size_itself():
    found = perturbation_error(largest, np.zeros(7), allowed=0.1)
    assert found.worst == pytest.approx(SIZES) and found.errors == pytest.approx(np.tile(SIZES, (30, 1)).T)
    assert found.radius == max(size for size in SIZES if size <= 0.1)


def test_worst_is_over_smaller_sizes_too():
    """An error that falls again: what was borne at a larger size was not at a smaller one."""
    bump = lambda w: torch.exp(-(((w.abs().amax(1) - 0.1) / 0.05) ** 2))  # noqa: E731
    found = perturbation_error(bump, [0.0], allowed=0.5)
    assert (np.diff(found.worst) >= 0).all() and found.radius < 0.1


def test_one_weight_has_two_directions():
    found = perturbation_error(lambda w: (w[:, 0] - 1).abs(), [1.0], allowed=1.0, draws=8)
    assert found.errors[-1] == pytest.approx(SIZES[-1])


def test_an_error_above_what_is_allowed_has_no_radius():
    found = perturbation_error(lambda w: 1 + w.abs().sum(1), [0.0], allowed=0.5)
    assert np.isnan(found.radius) and "nowhere" in found.summary() and np.isinf(specimens()[1].worst).all()


def test_refusals():
    with pytest.raises(InputError, match="ascend from 0"):
        perturbation_error(largest, [0.0], allowed=1.0, sizes=(0.1, 0.2))
    with pytest.raises(InputError, match="one finite vector"):
        perturbation_error(largest, [[0.0]], allowed=1.0)
    with pytest.raises(InputError, match=r"\(30,\) was expected"):
        perturbation_error(lambda w: w, [0.0], allowed=1.0)
