import math

import numpy as np
import pytest
import torch

from analyses.maps.certificates import certify
from analyses.maps.cycles import Cycles, find_cycles
from analyses.maps.fixed_points import find_fixed_points
from analyses.maps.stability import classify
from hooks.dynamics import Dynamics
from hooks.errors import InputError
from tests.known import henon, logistic, rolled_tanh


def alternating(gain=2.0):
    """x' = -tanh(gain x): the memory is a two-cycle, +p and -p with p = tanh(gain p)."""
    box = (-torch.ones(1).double(), torch.ones(1).double())
    return Dynamics(lambda x, _: -torch.tanh(gain * x), dim=1, box=lambda _: box)


def test_henon_two_cycle_is_the_closed_form():
    cycles = find_cycles(henon(), 64, periods=(2,), around=(-2.0, 2.0))
    a, b = 1.4, 0.3
    root = math.sqrt(4 * a - 3 * (1 - b) ** 2)
    assert cycles.periods.tolist() == [2] and cycles.lower.tolist() == [2]
    assert np.sort(cycles.orbit(0)[:, 0]) == pytest.approx(
        [(1 - b - root) / (2 * a), (1 - b + root) / (2 * a)], abs=1e-12
    )
    assert np.prod(cycles.eigenvalues[0]).real == pytest.approx(
        0.3**2, abs=1e-12
    )  # det of the slope is -0.3 everywhere


def test_henon_has_the_known_numbers_of_cycles():
    """Primitive cycles of the Henon map for n = 2..6: 1, 0, 1, 0, 2 (roots of H^n: 4, 2, 8, 2, 16)."""
    cycles = find_cycles(henon(), 600, periods=range(2, 7), around=(-1.5, 1.5))
    counts = [int((cycles.periods == k).sum()) for k in range(2, 7)]
    assert counts == [1, 0, 1, 0, 2]
    assert (np.array(counts) * np.arange(2, 7) + cycles.lower).tolist() == [4, 2, 8, 2, 16]


def test_logistic_multipliers_are_powers_of_two():
    cycles = find_cycles(logistic(), 400, periods=(2, 3, 4), around=(0.0, 1.0))
    assert [int((cycles.periods == k).sum()) for k in (2, 3, 4)] == [1, 2, 3]
    moduli = np.abs(cycles.eigenvalues[:, 0])
    assert moduli == pytest.approx(2.0**cycles.periods, rel=1e-9)


@pytest.mark.parametrize("period", [7, 64])
def test_long_cycles_of_the_logistic_map_are_found_and_proved_by_all_their_states(period):
    """At r = 4 every k-cycle's multiplier is +-2^k; F^64 expands by 2e19, so neither search nor proof could go through it.
    All of the 18 cycles of period 7, (2^7 - 2) / 7, are found."""
    cycles = find_cycles(logistic(), 256, periods=(period,), around=(0.0, 1.0))
    assert len(cycles.periods) == 18 if period == 7 else len(cycles.periods) > 100
    assert np.log(np.abs(cycles.eigenvalues[:, 0])) / period == pytest.approx(math.log(2), abs=1e-9)
    proofs = certify(logistic(), cycles.points[:20])
    assert proofs.proved.all() and (proofs.unstable == 1).all() and proofs.overlapping == 0
    assert proofs.times == period and proofs.radii.max() < 1e-12


def test_a_repeated_short_cycle_is_not_proved_to_be_a_long_one():
    short = find_cycles(henon(), 64, periods=(2,), around=(-2.0, 2.0)).points
    assert certify(henon(), short).proved.all()
    twice = certify(henon(), np.concatenate([short, short], axis=1))
    assert not twice.proved.any() and twice.reasons == ("its period may be 2",)


def test_a_point_of_multiplier_minus_1_000025_is_told_from_the_two_cycle_beside_it():
    """rolled_tanh(4) rests at (0.3397, -0.7896, 0.8773, -0.5697) with multipliers 1.315957 and -1.000025: just past a flip, so
    that a two-cycle lies beside it. Both are proved, with their counts, in balls that do not meet."""
    dynamics = rolled_tanh(4)
    points, cycles = find_fixed_points(dynamics, 256), find_cycles(dynamics, 256, periods=(2,))
    row = np.abs(points.points - [0.3397449955, -0.789647671, 0.8772631418, -0.5696961631]).max(axis=1).argmin()
    assert np.sort(points.eigenvalues[row].real)[[0, -1]] == pytest.approx([-1.000025, 1.315957], abs=1e-6)
    proofs = certify(dynamics, points.points)
    assert proofs.proved.all() and proofs.unstable[row] == 2
    distances = np.linalg.norm(cycles.points - points.points[row], axis=2).max(axis=1)
    beside = distances.argmin()
    assert distances[beside] < 0.2  # the other points of the map lie further off
    own = certify(dynamics, cycles.points[[beside]])
    assert own.proved.all() and own.unstable[0] == (np.abs(cycles.eigenvalues[beside]) > 1).sum()
    gap = np.abs(cycles.points[beside] - points.points[row]).max(axis=1).min()
    assert (np.delete(np.linalg.norm(points.points - points.points[row], axis=1), row) > 0.2).all()
    assert gap > own.radii[0] + proofs.radii[row] and own.reasons == ("",)


def test_divisors_are_searched_too_but_not_reported():
    """F^4's index sum needs the two-cycle although only period 4 was asked."""
    cycles = find_cycles(alternating(), 64, periods=(4, 6))
    assert not len(cycles.periods) and cycles.lower.tolist() == [3, 3]
    assert all(check.passed for check in cycles.checks) and math.isfinite(cycles.stride)


def test_a_memory_that_alternates_is_found_and_proved():
    dynamics = alternating()
    points, cycles = find_fixed_points(dynamics, 64), find_cycles(dynamics, 64, periods=(2, 4))
    assert len(points.points) == 1 and not points.stable.any()
    assert cycles.periods.tolist() == [2] and cycles.stable.tolist() == [True]
    assert np.sort(cycles.orbit(0)[:, 0]) == pytest.approx([-0.9575040241, 0.9575040241], abs=1e-9)
    assert all(check.passed for check in (*points.checks, *cycles.checks))
    proofs = certify(dynamics, cycles.points[:, 0], times=2)
    assert proofs.proved.all() and (proofs.unstable == 0).all()
    assert classify(cycles).kinds == ("stable node",)  # the multiplier of F^2 is positive
    assert "1 cycle: 1 of period 2 (1 stable); none of period 4" in cycles.summary()


def test_a_fixed_point_is_not_proved_to_be_a_two_cycle():
    proofs = certify(alternating(), [[0.0]], times=2)
    assert not proofs.proved.any()
    assert proofs.reasons == ("its period may be 1",)


def test_multipliers_do_not_depend_on_the_phase():
    cycles = find_cycles(henon(), 400, periods=(4,), around=(-1.5, 1.5))
    power = henon().iterated(4)
    orbit = torch.as_tensor(cycles.orbit(0))
    from hooks.tangent import jacobian

    traces = torch.diagonal(jacobian(power, orbit), dim1=1, dim2=2).sum(1)
    assert traces.numpy() == pytest.approx(cycles.eigenvalues[0].sum().real, rel=1e-9)


def test_a_contraction_has_no_cycle():
    cycles = find_cycles(Dynamics(lambda x, _: 0.5 * x, dim=2), 16, periods=(2, 3), around=(-1.0, 1.0))
    assert cycles.points.shape == (0, 3, 2) and cycles.eigenvalues.shape == (0, 2)
    assert cycles.lower.tolist() == [1, 1]
    assert certify(Dynamics(lambda x, _: 0.5 * x, dim=2), cycles.points[:, 0], times=2).summary() == (
        "0 of 0 fixed points of F^2 proved to exist"
    )
    assert classify(cycles).summary() == "nothing to classify"


def test_period_one_is_refused():
    with pytest.raises(InputError, match="find_fixed_points"):
        find_cycles(alternating(), 4, periods=(1, 2))


def test_result_survives_writing():
    cycles = find_cycles(alternating(), 16)
    again = Cycles.from_dict(cycles.to_dict())
    assert np.array_equal(again.points, cycles.points, equal_nan=True) and again.searched == cycles.searched
    assert cycles.plot().get_xlabel()
