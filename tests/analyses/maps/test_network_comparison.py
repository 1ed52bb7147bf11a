import itertools
import math

import numpy as np
import pytest
import torch

from analyses.maps.cycles import find_cycles
from analyses.maps.fixed_points import FixedPoints, find_fixed_points
from analyses.maps.lyapunov import lyapunov_spectrum
from analyses.maps.network_comparison import compare_networks
from analyses.result import Outcome
from analyses.series.odd_one_out import odd_one_out
from hooks.dynamics import Dynamics
from hooks.errors import InputError
from tests.known import henon, linear, logistic, rolled_tanh


def specimens():
    points = [find_fixed_points(map_, 32) for map_ in (rolled_tanh(2), rolled_tanh(3))]
    spectra = [
        lyapunov_spectrum(map_, np.full((1, n), 0.1), steps=8) for map_, n in ((rolled_tanh(2), 2), (rolled_tanh(3), 3))
    ]
    return [compare_networks(points, spectra=spectra), compare_networks([])]


def rests(*maps, starts=64):
    return [find_fixed_points(one, starts, around=(-2.0, 2.0)) for one in maps]


def tanh_network(W, b):
    W, b = (torch.as_tensor(part, dtype=torch.float64) for part in (W, b))
    box = (-torch.ones(len(W), dtype=torch.float64), torch.ones(len(W), dtype=torch.float64))
    return Dynamics(lambda h, _: torch.tanh(h @ W.T + b), dim=len(W), box=lambda _: box)


def portrait(*spectra, dim):
    """Fixed points with given eigenvalues, as a search would return them."""
    found, none = len(spectra), np.zeros(len(spectra), dtype=np.int64)
    values = np.array(spectra, dtype=np.complex128).reshape(found, dim)
    points = np.arange(float(found))[:, None] * np.ones(dim)
    return FixedPoints(
        points, np.zeros(found), values, np.zeros((found, 0)), none, none, (Outcome.CONVERGED,) * found, 0, ()
    )


def test_two_contractions_are_apart_by_the_chordal_distance_of_their_eigenvalues():
    """x' = a x: chi(a, b) = |a - b| / sqrt((1 + a^2) (1 + b^2)) by hand; less than both prices, so they are partners."""
    a, b = 0.5, 0.2
    found = compare_networks(rests(linear([[a]]), linear([[b]])))
    expected = abs(a - b) / math.sqrt((1 + a * a) * (1 + b * b))
    np.testing.assert_allclose(found.distances, [[0, expected], [expected, 0]], atol=1e-12)
    assert found.unmatched[0, 1] == 0 and found.checks[0].passed


def test_an_attractor_and_its_time_reversal_are_equally_far_from_the_unit_circle():
    """chi(1 / a, 1) = chi(a, 1), and a source that meets nothing costs that."""
    half, double = compare_networks([portrait(dim=1), portrait([0.5], dim=1), portrait([2.0], dim=1)]).distances[0, 1:]
    assert half == pytest.approx(0.5 / math.sqrt(2 * 1.25), abs=1e-12) and double == pytest.approx(half, abs=1e-12)


def test_a_dead_unit_changes_nothing():
    one, two = rests(linear([[0.5]]), linear([[0.5, 0.0], [0.0, 0.0]]))
    found = compare_networks([one, two])
    assert found.distances[0, 1] < 1e-12 and found.dims == (1, 2) and found.compared == 2


@pytest.mark.parametrize("n", [2, 3, 4])
def test_rotated_copies_are_at_distance_below_1e_6(n):
    """F and Q F(Q' .): the same orbits and eigenvalues. Roots are polished to rounding, simple eigenvalues err by 1e-13."""
    maps = turned(rolled_tanh(n), n)
    points = rests(*maps, starts=256)
    cycles = [find_cycles(one, 64, periods=(2, 3), around=(-2.0, 2.0)) for one in maps] if n < 4 else []
    found = compare_networks(points, cycles=cycles)
    assert len(points[0].points) == {2: 3, 3: 3, 4: 9}[n]
    assert found.distances.max() < 1e-6 and found.attractor_distances.max() < 1e-6 and not found.unmatched.any()


def test_cycles_that_are_almost_none_cost_next_to_nothing():
    """Four fixed points of four rolled units have an eigenvalue -1: states near them return after two steps to the third order,
    so that each search counts some as 2-cycles. Their multipliers are 1 to 1e-5 or so, and their prices as small."""
    maps = turned(rolled_tanh(4), 4)
    cycles = [find_cycles(one, 64, around=(-2.0, 2.0)) for one in maps]
    found = compare_networks(rests(*maps), cycles=cycles)
    assert len(cycles[0].periods) != len(cycles[1].periods) and found.distances.max() < 1e-3


def turned(dynamics, seed):
    """The map, and itself in coordinates turned at random."""
    Q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((dynamics.dim, dynamics.dim)))
    Q = torch.tensor(Q)
    return dynamics, dynamics.through(lambda x: x @ Q.T, lambda z: z @ Q)


def test_permuted_units_with_flipped_signs_are_the_same_tanh_network():
    """tanh is odd: W -> P W P', b -> P b with a signed permutation P is exact."""
    rng = np.random.default_rng(0)
    W, b = 1.8 * rng.standard_normal((8, 8)) / math.sqrt(8), 0.1 * rng.standard_normal(8)
    P = np.eye(8)[rng.permutation(8)] * rng.choice([-1.0, 1.0], 8)
    found = compare_networks(rests(tanh_network(W, b), tanh_network(P @ W @ P.T, P @ b), starts=256))
    assert found.distances[0, 1] < 1e-6 and found.complete == ("yes", "yes")
    assert "1 pair below 1e-06, as copies in other coordinates are" in found.summary()


@pytest.mark.parametrize("before", [1e-2, 1e-4, 1e-6])
def test_the_distance_is_continuous_through_a_fold(before):
    """x' = x + p - x^2 has rests +-sqrt(p), slopes 1 -+ 2 sqrt(p), for p > 0 and none below: both prices vanish as sqrt(p)."""
    there, gone = (
        find_fixed_points(Dynamics(lambda x, _, p=p: x + p - x * x, dim=1), 64, around=(-1.0, 1.0))
        for p in (before, -before)
    )
    found = compare_networks([there, gone])
    assert len(there.points) == 2 and not len(gone.points) and found.unmatched[0, 1] == 2
    prices = [2 * math.sqrt(before) / math.sqrt(2 * (1 + (1 + sign * 2 * math.sqrt(before)) ** 2)) for sign in (1, -1)]
    assert found.distances[0, 1] == pytest.approx(
        math.hypot(*prices), rel=1e-4
    )  # roots to 1e-10 of slopes that differ by 2e-3


def test_a_flip_takes_one_orbit_from_the_fixed_point_to_a_cycle_of_small_price():
    """The logistic map at r = 3 -+ e: the fixed point's slope is 2 - r, and above, a 2-cycle of multiplier 4 + 2 r - r^2."""

    def at(r):
        return find_fixed_points(logistic(r), 64, around=(0.0, 1.0)), find_cycles(
            logistic(r), 64, periods=(2,), around=(0.0, 1.0)
        )

    (below, no_cycle), (above, cycle) = at(2.99), at(3.01)
    found = compare_networks([below, above], cycles=[no_cycle, cycle])
    multiplier = 4 + 2 * 3.01 - 3.01**2
    price = abs(multiplier - 1) / math.sqrt(2 * (1 + multiplier**2))
    moved = [0.02 / math.sqrt((1 + a**2) * (1 + (a + d) ** 2)) for a, d in ((-0.99, -0.02), (2.99, 0.02))]
    assert cycle.eigenvalues[0, 0].real == pytest.approx(multiplier, abs=1e-9)
    assert found.distances[0, 1] == pytest.approx(math.sqrt(price**2 + sum(m**2 for m in moved)), abs=1e-9)
    assert found.attractor_distances[0, 1] > 0.5  # the stable orbits are of other periods, and are not partners


def test_orbits_of_different_periods_are_never_partners():
    points, cycles = find_fixed_points(henon(), 64, around=(-2.0, 2.0)), find_cycles(henon(), 64, around=(-2.0, 2.0))
    none = find_cycles(linear(0.5 * np.eye(2)), 8, around=(-1.0, 1.0))
    found = compare_networks([points, points], cycles=[cycles, none])
    assert (
        found.unmatched[0, 1] == 1 and found.count_distances[0, 1] == 1 and found.cycles.sum(axis=1).tolist() == [1, 0]
    )


def test_the_triangle_inequality_and_the_matching_hold_against_all_matchings():
    """Up to four orbits of three random eigenvalues: the minimum over every partial matching, by enumeration."""
    rng = np.random.default_rng(1)
    many = [portrait(*(3 * rng.standard_normal((k, 3)) + 0j), dim=3) for k in (0, 1, 2, 3, 4, 4, 3, 2)]
    found = compare_networks(many)
    assert found.checks[0].passed
    for i, j in itertools.combinations(range(len(many)), 2):
        assert found.distances[i, j] == pytest.approx(
            by_enumeration(many[i].eigenvalues, many[j].eigenvalues), abs=1e-12
        )


def chi2(a, b):
    return abs(a - b) ** 2 / ((1 + abs(a) ** 2) * (1 + abs(b) ** 2))


def by_enumeration(X, Y):
    def apart(x, y):
        return min(sum(map(chi2, x, order)) for order in itertools.permutations(y))

    def price(x):
        return min(chi2(value, 1) for value in x)

    def best(left, right):
        if not left:
            return sum(map(price, right))
        alone = price(left[0]) + best(left[1:], right)
        paired = [apart(left[0], y) + best(left[1:], [z for z in right if z is not y]) for y in right]
        return min([alone, *paired])

    return math.sqrt(best(list(X), list(Y)))


def test_twenty_networks_of_one_portrait_and_one_with_another_number_of_stable_points():
    """x_i' = tanh(g_i x_i) in turned coordinates with small noise on the weights: two bits, four stable points; the odd one has
    three bits, eight. Without it none stands out."""
    rng = np.random.default_rng(0)

    def network(bits):
        Q = np.linalg.qr(rng.standard_normal((4, 4)))[0]
        gains = np.where(np.arange(4) < bits, 2.0, 0.4) + 0.02 * rng.standard_normal(4)
        W, turn = torch.tensor(np.diag(gains) + 0.02 * rng.standard_normal((4, 4))), torch.tensor(Q)
        return tanh_network(W, 0.01 * rng.standard_normal(4)).through(lambda x: x @ turn.T, lambda z: z @ turn)

    points = rests(*(network(3 if number == 13 else 2) for number in range(20)), starts=128)
    found = compare_networks(points)
    assert sorted(one.stable.sum() for one in points) == [4] * 19 + [8]
    matrices = found.count_distances, found.distances, found.attractor_distances
    verdicts = [odd_one_out(matrix, names=found.names) for matrix in matrices]
    assert all(one.stands_out and one.furthest == 13 and "N14 stands out" in one.summary() for one in verdicts)
    kept = np.delete(np.arange(20), 13)
    assert not odd_one_out(found.distances[np.ix_(kept, kept)]).stands_out


def test_exponents_stand_beside_and_rows_say_the_portrait():
    maps = linear([[0.5]]), linear([[2.0]])
    found = compare_networks(
        rests(*maps), spectra=[lyapunov_spectrum(one, [[0.0]], steps=64) for one in maps], names=("sink", "source")
    )
    np.testing.assert_allclose(found.exponents, [-math.log(2), math.log(2)], atol=1e-12)
    assert [row[:4] for row in found.lines] == [
        ("sink", "1", "1 stable", "none"),
        ("source", "1", "1 with 1", "none"),
    ]
    assert "of 2 kinds, at most 2 orbits apart" in found.summary()


def test_stopped_early_says_what_is_missing():
    def first(states, total):
        assert total == 3
        return itertools.islice(states, 1)

    found = compare_networks(rests(*(linear([[a]]) for a in (0.1, 0.2, 0.3))), watch=first)
    assert found.outcome is Outcome.OUT_OF_TIME and np.isnan(found.distances).sum() == 4
    assert "1 of 3 pairs of 3 networks compared, though the comparison or a search ran out of time" in found.summary()


def test_one_network_none_and_refusals():
    one = rests(linear([[0.5]]))
    assert compare_networks(one).summary() == "1 network, so nothing to compare"
    assert compare_networks([]).distances.shape == (0, 0)
    with pytest.raises(InputError, match="1 network came with 2 names: give one of each a network"):
        compare_networks(one, names=("a", "b"))
    two, three = (find_cycles(linear([[0.5]]), [[0.0]], periods=(k,)) for k in (2, 3))
    with pytest.raises(InputError, match="one list of periods"):
        compare_networks(one * 2, cycles=[two, three])
