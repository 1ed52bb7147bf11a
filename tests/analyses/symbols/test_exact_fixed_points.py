from fractions import Fraction
from itertools import islice, product

import numpy as np
import pytest
import torch

from analyses.maps.certificates import certify
from analyses.maps.fixed_points import find_fixed_points
from analyses.result import Outcome
from analyses.symbols._rational import Equations, Kind, decided
from analyses.symbols.exact_fixed_points import ExactFixedPoints, exact_fixed_points
from hooks.dynamics import Dynamics
from hooks.errors import InputError
from hooks.families import PiecewiseLinear


def network(A, W, h, relu):
    return PiecewiseLinear(*(torch.as_tensor(w, dtype=torch.float64) for w in (A, W, h)), relu)


def drawn(seed, *, dim=None, relu=None, gain=None):
    """Gains of 0.8 to 3 over sqrt(dim): none, one or several fixed points."""
    draw = np.random.default_rng(seed)
    dim = dim or int(draw.integers(2, 9))
    relu = int(draw.integers(0, dim + 1)) if relu is None else relu
    gain = gain or draw.choice([0.8, 1.5, 3.0])
    return network(draw.random(dim) / 2, gain * draw.normal(size=(dim, dim)) / dim**0.5, draw.normal(size=dim), relu)


def by_exhaustion(net):
    """Solve every region with numpy and keep what has its signs, in the order of the regions' bits."""
    A, W, h = (w.numpy() for w in (net.A, net.W, net.h))
    dim, cut = len(A), len(A) - net.relu
    points = []
    for region in product([False, True], repeat=net.relu):
        z = np.linalg.solve(np.eye(dim) - np.diag(A) - W * np.array([True] * cut + list(region)), h)
        if ((z[cut:] > 0) == region).all():
            points.append(z)
    return np.array(points).reshape(-1, dim)


def exact_solution(net, region):
    """(I - J) z = h by Gauss-Jordan elimination on fractions."""
    dim = len(net.A)
    A, W, h = (np.vectorize(Fraction, otypes=[object])(w.numpy()) for w in (net.A, net.W, net.h))
    gates = np.array([1] * (dim - net.relu) + [int(bit) for bit in region], dtype=object)
    rows = np.column_stack([np.eye(dim, dtype=int) * (1 - A) - W * gates, h])
    for k in range(dim):
        swap = k + int(np.flatnonzero(rows[k:, k])[0])
        rows[[k, swap]] = rows[[swap, k]]
        rows[k] = rows[k] / rows[k, k]
        for other in set(range(dim)) - {k}:
            rows[other] = rows[other] - rows[other, k] * rows[k]
    return rows[:, -1]


def test_exhaustion_over_all_regions_gives_the_same_list_on_100_seeds():
    counts = []
    for seed in range(100):
        net = drawn(seed)
        found, expected = exact_fixed_points(net, exact=True), by_exhaustion(net)
        assert found.complete and found.empty == 2**net.relu - len(expected)
        # numpy's solve loses some cond(I - J) eps, 1e-12 to 1e-10 here
        np.testing.assert_allclose(found.points, expected, rtol=1e-8, atol=1e-9)
        assert all(check.passed for check in found.checks) and found.rational.all()
        counts.append(len(expected))
    assert {0, 1, 2} <= set(counts)


def test_rational_arithmetic_alone_gives_the_same_regions():
    for seed in range(40):
        net = drawn(seed, dim=5, relu=1 + seed % 5)
        every = np.array(list(product([False, True], repeat=net.relu)), dtype=bool)
        decisions = list(decided(Equations.of(net), every))
        assert sum(len(decision.regions) for decision in decisions) == len(every)
        real = sorted(tuple(d.regions[0]) for d in decisions if d.kind is Kind.POINT)
        assert real == [tuple(region) for region in exact_fixed_points(net).regions]


@pytest.mark.parametrize("seed", [3, 5, 7, 23])
def test_radii_hold_against_fractions_and_a_point_moved_by_more_breaks_them(seed):
    net = drawn(seed, dim=6, relu=4)
    found = exact_fixed_points(net)
    assert len(found.points)
    for point, region, radius in zip(found.points, found.regions, found.radii, strict=True):
        true = exact_solution(net, region)
        off = [abs(Fraction(x) - y) for x, y in zip(point.tolist(), true, strict=True)]
        assert max(off) <= Fraction(radius) and 0 < radius < 1e-10
        assert all(
            abs(Fraction(x + 2.5 * radius) - y) > Fraction(radius) for x, y in zip(point.tolist(), true, strict=True)
        )


def test_skew_tent_rests_once_on_each_side():
    """x' = 1 + 1.25 x below 0 and 1 - 2 x above: rests at -4 and 1/3, with these slopes."""
    found = exact_fixed_points(network([1.25], [[-3.25]], [1.0], 1))
    np.testing.assert_allclose(found.points[:, 0], [-4, 1 / 3], atol=1e-14)
    assert found.regions.tolist() == [[False], [True]] and found.eigenvalues.tolist() == [[1.25], [-2.0]]
    assert "2 fixed points, 0 stable" in found.summary() and "the list is complete" in found.summary()


def test_winner_takes_all_has_two_winners_and_a_saddle_of_opposite_index():
    """u1 = 1 - 2 relu(u2), u2 = 1 - 2 relu(u1): (1, -1), (-1, 1), (1/3, 1/3); one excites nothing, so the sum must be 1."""
    found = exact_fixed_points(network([0.0, 0], [[0, -2.0], [-2, 0]], [1.0, 1], 2))
    np.testing.assert_allclose(found.points, [[-1, 1], [1, -1], [1 / 3, 1 / 3]], atol=1e-14)
    assert found.stable.tolist() == [True, True, False]
    index = next(check for check in found.checks if "index" in check.name)
    assert index.expected == index.got == 1


def test_index_sum_is_not_asserted_where_excitation_is_strong():
    """u' = 2 relu(u) - 1 rests at -1 and 1: indices 1 and -1, and no box traps."""
    found = exact_fixed_points(network([0.0], [[2.0]], [-1.0], 1))
    assert found.points[:, 0].tolist() == [-1, 1] and len(found.checks) == 1


def test_independent_units_multiply():
    """Eight units u' = 2 relu(u) - 1 rest at every corner of {-1, 1}^8; one corner has no unit on and is stable."""
    found = exact_fixed_points(network(np.zeros(8), 2 * np.eye(8), -np.ones(8), 8))
    assert found.points.tolist() == [list(map(float, corner)) for corner in product([-1, 1], repeat=8)]
    assert found.stable.sum() == 1 and found.empty == 0


def test_relu_network_and_its_leaky_twin_rest_at_the_same_points():
    W, b = drawn(1, dim=5, relu=5, gain=2.0).W, torch.ones(5, dtype=torch.float64)
    found = exact_fixed_points(PiecewiseLinear(torch.zeros(5).double(), W, b, 5))
    h = torch.from_numpy(found.points).clamp(min=0)
    assert len(h) and (torch.relu(h @ W.T + b) - h).abs().max() < 1e-13
    leaky = Dynamics(lambda x, _: 0.7 * x + 0.3 * torch.relu(x @ W.T + b), dim=5)
    assert (leaky(h) - h).abs().max() < 1e-13


def test_a_half_line_of_fixed_points_is_reported_with_its_end():
    """u' = relu(u): every u >= 0 rests; 0 belongs to the region of the unit off. relu(u) + 1 rests nowhere."""
    found = exact_fixed_points(network([0.0], [[1.0]], [0.0], 1))
    assert found.continua.tolist() == [[True]] and found.points.tolist() == [[0.0]]
    assert found.border.all() and not found.stable.any() and found.complete
    assert "1 on a border" in found.summary() and "1 region with a continuum" in found.summary()
    none = exact_fixed_points(network([0.0], [[1.0]], [1.0], 1))
    assert len(none.points) == len(none.continua) == 0 and none.empty == 2


def test_identity_on_an_orthant_is_singular_in_every_region_but_one():
    found = exact_fixed_points(network(np.zeros(3), np.eye(3), np.zeros(3), 3))
    assert len(found.continua) == 7 and found.points.tolist() == [[0.0, 0.0, 0.0]]


def test_singular_regions_that_meet_their_solutions_on_the_border_only_hold_none():
    """u1' = u2' = relu(u1) + relu(u2): on-on needs u2 = 0 and u1 = 0, which is the one point, of the region off-off."""
    found = exact_fixed_points(network(np.zeros(2), np.ones((2, 2)), np.zeros(2), 2))
    assert found.points.tolist() == [[0.0, 0.0]] and found.empty == 3 and len(found.continua) == 0


def test_units_that_keep_themselves_have_another_base_region():
    """A = 1 on a unit makes every region with that unit off singular; here none of those holds a point."""
    for seed in range(20):
        net = drawn(seed, dim=4, relu=3)
        net.A[1] = 1.0
        expected = by_exhaustion_where_on(net)
        found = exact_fixed_points(net, exact=True)
        np.testing.assert_allclose(found.points, expected, rtol=1e-8, atol=1e-9)
        assert found.decided_exactly == 4 and found.complete and not len(found.continua)


def by_exhaustion_where_on(net):
    """As by_exhaustion, over the regions with the first rectified unit on."""
    A, W, h = (w.numpy() for w in (net.A, net.W, net.h))
    solved = [
        (np.array(bits), np.linalg.solve(np.eye(4) - np.diag(A) - W * np.array([True, True, *bits]), h))
        for bits in product([False, True], repeat=2)
    ]
    return np.array([z for bits, z in solved if ((z[1:] > 0) == [True, *bits]).all()]).reshape(-1, 4)


def test_a_direction_left_alone_in_every_region_is_decided_in_rational_arithmetic():
    """x' = x + push, u' = u / 2 - 1 + relu(u) / 4: u rests at -2 only; x rests everywhere without a push, else nowhere."""
    for push, continua in ((0.0, [[False]]), (1.0, [])):
        found = exact_fixed_points(network([1.0, 0.5], [[0.0, 0], [0, 0.25]], [push, -1.0], 1))
        assert found.continua.tolist() == continua and found.decided_exactly == 2 and len(found.points) == 0


def test_a_zero_pivot_above_regular_regions_loses_none():
    """W_11 = 1 makes the first pivot 0, though the regions below are regular."""
    for seed in range(20):
        net = drawn(seed, dim=5, relu=5)
        net.A[0], net.W[0, 0] = 0.0, 1.0
        found = exact_fixed_points(net)
        np.testing.assert_allclose(found.points, by_exhaustion_of_regular(net), rtol=1e-7, atol=1e-8)


def by_exhaustion_of_regular(net):
    """The region with the first unit alone on is singular, and empty for drawn weights."""
    points = []
    for region in product([False, True], repeat=5):
        if region != (True, False, False, False, False):
            z = exact_solution(net, region).astype(float)
            if ((z > 0) == region).all():
                points.append(z)
    return np.array(points).reshape(-1, 5)


@pytest.mark.parametrize(
    ("c", "on", "border"), [(-1.0, False, True), (-1 - 2.0**-52, False, False), (-1 + 2.0**-53, True, False)]
)
def test_signs_below_rounding_are_decided_exactly(c, on, border):
    """u1 = 1 - 2 relu(u1) rests at 1/3, which is no float; u2 = 3 relu(u1) + c is 0 or the last bit of c."""
    found = exact_fixed_points(network([0.0, 0], [[-2.0, 0], [3, 0]], [1.0, c], 2))
    assert found.regions.tolist() == [[True, on]] and found.border.tolist() == [border] and found.rational.all()
    assert found.points[0, 1] == 1 + c and found.decided_exactly == 2
    assert found.stable.tolist() == [False] and found.radii[0] <= 2.0**-54


def test_a_product_below_the_smallest_float_keeps_its_sign():
    """u1 = 1e-200 switches u2 = 1e-200 relu(u1) on, at 1e-400."""
    found = exact_fixed_points(network([0.0, 0], [[0, 0.0], [1e-200, 0]], [1e-200, 0.0], 2))
    assert found.regions.tolist() == [[True, True]] and not found.border.any()
    assert found.points[0, 1] == 0 < found.radii[0]


def test_a_slope_that_rounds_to_one_is_not_taken_for_one():
    """0.1 + 0.9 is 1 in floats; the two doubles add to 1 + 1 / 2^55, so x' = 0.1 x + 0.9 relu(x) - 1 rests at 2^55."""
    assert Fraction(0.1) + Fraction(0.9) == 1 + Fraction(1, 2**55)
    found = exact_fixed_points(network([0.1], [[0.9]], [-1.0], 1), exact=True)
    assert found.points[:, 0].tolist() == [-1 / 0.9, 2.0**55] and found.radii[1] == 0
    assert found.decided_exactly == 1 and found.checks[0].tolerance == 1e-10 * 2.0**55


@pytest.mark.parametrize("relu", [0, 4])
def test_without_a_bias_the_origin_rests_and_with_one_points_scale_with_it(relu):
    net = drawn(5, dim=6, relu=relu)
    origin = exact_fixed_points(network(net.A, net.W, 0 * net.h, relu))
    assert (origin.points == 0).all() and len(origin.points) == 1 and origin.decided_exactly == 0
    one, four = (exact_fixed_points(network(net.A, net.W, scale * net.h, relu)) for scale in (1, 4))
    assert (one.regions == four.regions).all()
    assert np.abs(four.points - 4 * one.points).max() <= (four.radii + 4 * one.radii).max()


def test_no_rectified_unit_leaves_one_linear_system():
    found = exact_fixed_points(network([0.5, 0.25], [[0.0, 0.5], [0, 0.25]], [0.0, 1.0], 0))
    np.testing.assert_allclose(found.points, [[2.0, 2.0]], atol=1e-14)
    assert found.regions.shape == (1, 0) and found.stable.all()
    assert exact_fixed_points(network([1.0], [[0.0]], [0.0], 0)).continua.shape == (1, 0)
    assert exact_fixed_points(network([1.0], [[0.0]], [1.0], 0)).empty == 1


def test_search_from_starts_finds_no_other_point_and_certificates_agree():
    for seed in (3, 5, 23):
        net = drawn(seed, dim=6, relu=4)
        found = exact_fixed_points(net)
        starts = 5 * torch.randn(32, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        searched = find_fixed_points(net.dynamics(), starts)
        for point in searched.points:
            assert np.abs(found.points - point).max(axis=1).min() < 1e-9
        proofs = certify(net.dynamics(), found.points)
        assert proofs.proved.all() and ((proofs.unstable == 0) == found.stable).all()


def test_twelve_rectified_units_are_decided_among_20():
    net = drawn(4, dim=20, relu=12, gain=2.0)
    found = exact_fixed_points(net, exact=True)
    np.testing.assert_allclose(found.points, by_exhaustion(net), rtol=1e-8, atol=1e-8)
    assert found.empty + len(found.points) == 4096


def test_a_silent_unit_costs_no_rational_arithmetic():
    """A unit without weights and bias is exactly 0, so off."""
    net = drawn(2, dim=6, relu=6)
    for w in (net.W[3], net.W[:, 3], net.h[3:4]):
        w.zero_()
    found = exact_fixed_points(net)
    assert not found.regions[:, 3].any() and found.decided_exactly == 0 and found.complete


def test_stopped_early_says_what_is_undecided():
    net = drawn(0, dim=8, relu=8, gain=3.0)
    found = exact_fixed_points(net, watch=lambda states, total: islice(states, 3))
    assert not found.complete and found.outcome is Outcome.OUT_OF_TIME
    assert 0 < found.undecided == 256 - found.empty - len(found.points)
    assert f"{found.undecided} regions undecided (ran out of time)" in found.summary()


def test_weights_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="1 of the 3 weights are not finite"):
        exact_fixed_points(network([0.0], [[float("nan")]], [0.0], 1))


def test_the_callers_weights_stay_and_single_precision_is_exact():
    single = PiecewiseLinear(torch.zeros(1), torch.full((1, 1), 0.1, requires_grad=True), torch.ones(1), 1)
    found = exact_fixed_points(single)
    assert single.W.requires_grad and single.W.dtype == torch.float32
    true = 1 / (1 - Fraction(single.W.item()))
    assert abs(Fraction(found.points[0, 0]) - true) <= Fraction(found.radii[0])


def test_result_survives_writing():
    found = exact_fixed_points(network([0.0, 0], [[0, -2.0], [-2, 0]], [1.0, 1], 2))
    again = ExactFixedPoints.from_dict(found.to_dict())
    assert np.array_equal(again.points, found.points) and again.outcome is found.outcome
    assert again.summary() == found.summary()
    assert found.plot().get_xlabel() == "real part of the eigenvalue"
