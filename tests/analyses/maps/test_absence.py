import math

import numpy as np
import pytest
import torch

from analyses.maps.absence import Absence, certify_absence
from analyses.maps.certificates import certify
from analyses.maps.fixed_points import find_fixed_points
from hooks.dynamics import Dynamics
from hooks.errors import DrivenError, InputError
from tests.known import henon, linear, logistic, rolled_tanh

P = 0.9575040240772687  # root of x = tanh(2 x)


def bits(n):
    return Dynamics(lambda x, _: torch.tanh(2 * x), dim=n, name="bits")


def proved_balls(dynamics, starts, box):
    points = find_fixed_points(dynamics, starts, around=box).points
    return points, certify(dynamics, points).unique_within


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_all_three_to_the_n_fixed_points_of_the_bits_are_enclosed_and_no_other(n):
    result = certify_absence(bits(n), (-1.0, 1.0))
    low, high = result.inhabited.transpose(1, 0, 2)
    assert len(low) == 3**n and not len(result.remaining) and not result.proved
    known = np.stack(np.meshgrid(*[[-P, 0.0, P]] * n, indexing="ij"), -1).reshape(-1, n)
    # the last digit of P is rounded
    inside = ((known[:, None] >= low - 1e-15) & (known[:, None] <= high + 1e-15)).all(2)
    assert (inside.sum(0) == 1).all() and (inside.sum(1) == 1).all()


COMPLETE = [(rolled_tanh(2), 3), (rolled_tanh(3), 3), (rolled_tanh(4), 9), (bits(1), 3), (bits(2), 9), (bits(3), 27)]


@pytest.mark.parametrize(("dynamics", "count"), COMPLETE)
def test_a_list_of_certified_points_is_proved_complete(dynamics, count):
    balls = proved_balls(dynamics, 512, (-1.0, 1.0))
    assert len(balls[0]) == count
    result = certify_absence(dynamics, (-1.0, 1.0), except_for=balls)
    assert result.proved and result.checks[0].passed
    assert f"no fixed point beside those in {count} excepted balls: proved" in result.summary()


def test_a_point_missing_from_the_list_is_enclosed():
    points, radii = proved_balls(rolled_tanh(3), 64, (-1.0, 1.0))
    result = certify_absence(rolled_tanh(3), except_for=(points[1:], radii[1:]))
    assert not result.proved and len(result.inhabited) == 1 and not len(result.remaining)
    assert (points[0] >= result.inhabited[0, 0]).all() and (points[0] <= result.inhabited[0, 1]).all()


def test_henon_has_two_fixed_points_in_a_wide_box_and_none_between_them():
    dynamics = henon()
    balls = proved_balls(dynamics, 64, (-2.0, 2.0))
    assert certify_absence(dynamics, (-10.0, 10.0), except_for=balls).proved
    assert certify_absence(dynamics, ([-1.0, -1.0], [0.6, 1.0])).proved


@pytest.mark.parametrize(("times", "count"), [(1, 2), (2, 4), (3, 2), (4, 8), (5, 2)])
def test_henons_iterates_have_as_many_fixed_points_as_galias_proved(times, count):
    """Galias, Int. J. Bifurcation Chaos 11 (2001): 2, 4, 2, 8, 2, the one off the attractor counted."""
    result = certify_absence(henon().iterated(times), (-1.6, 1.6))
    assert len(result.inhabited) == count and not len(result.remaining)


def test_logistic_iterates_have_two_to_the_k_fixed_points():
    for k in (1, 2, 3, 4):
        result = certify_absence(logistic().iterated(k), (-0.1, 1.05))
        assert len(result.inhabited) == 2**k and not len(result.remaining)


@pytest.mark.parametrize("gap", [1e-2, 1e-6, 1e-10])
def test_a_near_miss_is_told_from_a_fixed_point(gap):
    """x' = x + x^2 + gap misses the diagonal by gap at 0; with -gap it meets it at +-sqrt(gap)."""
    assert certify_absence(Dynamics(lambda x, _: x + x * x + gap, dim=1), (-1.0, 1.0)).proved
    result = certify_absence(Dynamics(lambda x, _: x + x * x - gap, dim=1), (-1.0, 1.0))
    assert len(result.inhabited) == 2 and not len(result.remaining)
    (a, b), (c, d) = sorted(result.inhabited[..., 0].tolist())
    assert a <= -math.sqrt(gap) <= b and c <= math.sqrt(gap) <= d


def test_a_continuum_and_a_double_root_are_left_undecided():
    line = certify_absence(linear([[1.0, 0.0], [0.0, 0.5]]), (-1.0, 1.0), splits=500)
    assert not line.proved and not len(line.inhabited) and len(line.remaining)
    assert np.abs(line.remaining[..., 1]).max() < 1e-9  # along the line y = 0, to the margin of narrowed sides
    double = certify_absence(Dynamics(lambda x, _: x + x * x, dim=1), (-1.0, 1.0), splits=500)
    assert not double.proved and double.undecided < 1e-5 and "not shown" in double.summary()


def test_a_box_of_one_state_and_one_dimension():
    assert certify_absence(bits(1), ([0.5], [0.5])).proved
    assert not certify_absence(bits(1), ([0.0], [0.0]), splits=10).proved
    assert certify_absence(linear([[0.0]]), (-1.0, 1.0)).inhabited.shape == (1, 2, 1)


def test_overflow_clears_nothing_wrongly():
    """exp(x) / 10 meets the diagonal at 0.1118 and 3.5772; e^1000 overflows."""
    grows = Dynamics(lambda x, _: torch.exp(x) / 10, dim=1)
    result = certify_absence(grows, (-1.0, 1000.0))
    assert len(result.inhabited) + len(result.remaining) >= 2
    for root in (0.11183255915896297, 3.577152063957297):
        parts = np.concatenate([result.inhabited, result.remaining])[..., 0]
        assert ((parts[:, 0] <= root) & (root <= parts[:, 1])).any()


def test_a_spent_budget_leaves_parts_and_a_stopped_watch_the_whole_box():
    assert len(certify_absence(rolled_tanh(4), splits=3).remaining) > 0
    stopped = certify_absence(bits(1), (-1.0, 1.0), watch=lambda states, total: iter(()))
    assert stopped.examined == 0 and stopped.undecided == 1.0


def test_unknown_operations_are_a_reason_and_misuse_is_refused():
    result = certify_absence(Dynamics(lambda x, _: torch.atan(x), dim=1), (-1.0, 1.0))
    assert not result.proved and "'atan'" in result.summary()
    with pytest.raises(InputError, match="no known trapping box"):
        certify_absence(henon())
    with pytest.raises(InputError, match="the lower nowhere above the upper"):
        certify_absence(henon(), (1.0, -1.0))
    with pytest.raises(InputError, match=r"shape \(2,\)"):
        certify_absence(henon(), (np.zeros(3), np.ones(3)))
    with pytest.raises(InputError, match="2 excepted points need as many radii"):
        certify_absence(henon(), (-1.0, 1.0), except_for=(np.zeros((2, 2)), np.ones(3)))
    with pytest.raises(InputError, match="float32: load it in float64"):
        certify_absence(Dynamics(lambda x, _: x, dim=1, dtype=torch.float32), (-1.0, 1.0))
    with pytest.raises(DrivenError, match=r"dynamics\.hold"):
        certify_absence(Dynamics(lambda x, u: x + u, dim=1, driven=True, inputs=1), (-1.0, 1.0))


def test_no_excepted_points_and_balls_that_meet():
    empty = certify_absence(bits(1), (0.2, 0.5), except_for=(np.zeros((0, 1)), np.zeros(0)))
    assert empty.proved and empty.points.shape == (0, 1)
    assert not certify_absence(bits(1), (0.2, 0.5), except_for=([[0.0], [0.1]], [0.2, 0.2])).checks[0].passed
    assert certify_absence(bits(1), (0.2, 0.5), except_for=([[0.0]], [math.nan])).points.shape == (0, 1)


def test_result_survives_writing():
    result = certify_absence(rolled_tanh(2), splits=3)
    again = Absence.from_dict(result.to_dict())
    assert np.array_equal(again.remaining, result.remaining) and again.summary() == result.summary()
    assert result.plot().get_xlabel() == "state 1"
