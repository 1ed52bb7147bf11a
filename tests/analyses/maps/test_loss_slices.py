import numpy as np
import pytest

from analyses.maps.loss_slices import loss_slices
from hooks.dynamics import Dynamics
from hooks.errors import DrivenError, InputError
from tests.known import linear, logistic


def specimens():
    line = np.linspace(0, 1, 65)[:, None]
    return [
        loss_slices(logistic(), line, lengths=(1, 40)),
        loss_slices(Dynamics(lambda x, _: x * x, dim=1), 8 * line, lengths=(1, 12)),
    ]


def first(states):
    return states[:, 0]


def test_the_logistic_map_folds_the_interval_once_more_every_step():
    """At r = 4 each step doubles the rises and falls between 0 and 1: 2, 4, 8 times the range."""
    found = loss_slices(logistic(), np.linspace(0, 1, 4001)[:, None], lengths=(1, 2, 3), loss=first)
    assert found.roughness == pytest.approx([2, 4, 8], rel=1e-4)  # a peak between two points is missed by (2^T h)^2
    assert all(null.beaten for null in found.nulls) and found.checks[0].passed
    assert "3 of 3 slices are smoother" in found.summary()


def test_a_long_chaotic_unroll_cannot_be_told_from_shuffled_values():
    """2^60 folds over 400 points: neighbours are independent, so the share of shuffled is 1 give or take 1 / sqrt(400)."""
    found = loss_slices(logistic(), np.linspace(0.2, 0.8, 400)[:, None] + 1e-3, lengths=(60,))
    assert found.of_shuffled == pytest.approx(1, abs=0.2) and not found.nulls[0].beaten


def test_a_parameter_enters_as_a_held_drive():
    """x_T = u^T: monotone in u."""
    power = Dynamics(lambda x, u: u * x, dim=1, driven=True, inputs=1)
    found = loss_slices(power, [1.0], drives=np.linspace(0.5, 1.5, 11)[:, None], lengths=(3,), loss=first)
    np.testing.assert_allclose(found.losses[0], np.linspace(0.5, 1.5, 11) ** 3, atol=1e-14)
    assert found.roughness == pytest.approx(1, abs=1e-12)


def test_a_constant_slice_and_one_that_overflows():
    flat = loss_slices(linear([[0.0]]), np.linspace(0, 1, 5)[:, None], lengths=(1,))
    assert flat.roughness.tolist() == [0] and flat.of_shuffled.tolist() == [0]
    rest = loss_slices(linear([[1.0]]), 1 + 1e-15 * np.arange(5.0)[:, None], lengths=(1,), loss=first)
    assert rest.roughness.tolist() == [0]  # a range of rounding is none
    burst = loss_slices(Dynamics(lambda x, _: x * x, dim=1), np.linspace(1, 3, 5)[:, None], lengths=(1, 12))
    assert np.isfinite(burst.roughness[0]) and np.isnan(burst.roughness[1])


def test_refusals():
    with pytest.raises(InputError, match="need a step, three points"):
        loss_slices(logistic(), [[0.3]], lengths=(1,))
    gain = Dynamics(lambda x, u: u * x, dim=1, driven=True, inputs=1)
    with pytest.raises(InputError, match="2 starts, 3 points"):
        loss_slices(gain, [[0.3], [0.4]], drives=np.ones((3, 1)), lengths=(1,))
    with pytest.raises(DrivenError, match="without drives"):
        loss_slices(gain, [[0.3]], lengths=(1,))
