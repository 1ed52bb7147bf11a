import math
from itertools import islice, product

import numpy as np
import pytest
import torch

from analyses.maps.cycles import find_cycles
from analyses.result import Outcome
from analyses.symbols._words import necklaces
from analyses.symbols.exact_cycles import ExactCycles, exact_cycles
from analyses.symbols.exact_fixed_points import exact_fixed_points
from analyses.symbols.word_search import find_exact_cycles
from hooks.dynamics import rollout
from hooks.errors import InputError
from hooks.families import PiecewiseLinear, ShallowPiecewiseLinear


def network(A, W, h, relu):
    return PiecewiseLinear(*(torch.as_tensor(w, dtype=torch.float64) for w in (A, W, h)), relu)


def tent(left, right, peak):
    """x' = left x up to the peak, then falling with slope right, in u = x - peak."""
    return network([left], [[-left - right]], [left * peak - peak], 1)


def golden():
    """[0, 1] -> [1, 2] with slope 1 and [1, 2] -> [0, 2] with slope -2: Markov, with matrix [[0, 1], [1, 1]]."""
    return network([1.0], [[-3.0]], [1.0], 1)


def hand_made():
    """u repels its one rest and ends on 2, -2.5, 2, ..; x' = 5 relu(x) - 1.5 x + 1 > x at that rest, less 3 relu(u)."""
    return network([-1.5, -2.0], [[5, -3.0], [0, 2.25]], [1.0, -3.0], 2)


def specimens():
    return [exact_cycles(hand_made(), periods=(1, 2)), exact_cycles(network([1.0], [[0.0]], [1.0], 0), periods=(1,))]


def counts(cycles, most):
    return [int((cycles.real & (cycles.periods == k)).sum()) for k in range(1, most + 1)]


def by_exhaustion(net, k):
    """Words of length k that hold a cycle of that minimal period, by numpy: a return map a word, iterated with the network."""
    A, W, h = (w.numpy() for w in (net.A, net.W, net.h))
    dim, cut = len(A), len(A) - net.relu
    found = set()
    for word in product(product([False, True], repeat=net.relu), repeat=k):
        slope, shift = np.eye(dim), np.zeros(dim)
        for symbol in word:
            J = np.diag(A) + W * np.array([True] * cut + list(symbol))
            slope, shift = J @ slope, J @ shift + h
        if np.linalg.matrix_rank(np.eye(dim) - slope) < dim:
            assert np.linalg.matrix_rank(np.column_stack([np.eye(dim) - slope, shift])) == dim  # no orbit closes
            continue
        z = np.linalg.solve(np.eye(dim) - slope, shift)
        seen = []
        for _ in range(k):
            seen.append(tuple(bool(bit) for bit in z[cut:] > 0))
            z = A * z + W @ np.concatenate([z[:cut], np.maximum(z[cut:], 0)]) + h
        turns = [word[i:] + word[:i] for i in range(k)]
        if tuple(seen) == word and len(set(turns)) == k:
            found.add(min(turns))
    return found


def listed(cycles, k):
    rows = np.flatnonzero(cycles.real & (cycles.periods == k))
    return {tuple(tuple(symbol) for symbol in cycles.words[row, :k].tolist()) for row in rows}


def test_the_full_tent_has_two_to_the_k_points_and_entropy_log_2():
    found = exact_cycles(tent(2.0, 2.0, 0.5), periods=range(1, 11))
    assert found.fixed.tolist() == [2**k for k in range(1, 11)]
    assert counts(found, 10) == [2, 1, 2, 3, 6, 9, 18, 30, 56, 99]  # primitive necklaces of two colours, OEIS A001037
    np.testing.assert_allclose(found.growth_rates, math.log(2), atol=1e-12)  # 1 / zeta is 1 - 2 z, without a tail
    assert found.complete and found.empty == 0 and not found.stable.any()
    assert all(check.passed for check in found.checks)


def test_a_skew_tent_multiplies_the_slopes_of_its_word():
    """Slopes 3/2 and -3 fill [0, 1]: every word is real, and its multiplier is the product of the slopes, exact in floats."""
    found = exact_cycles(tent(1.5, 3.0, 2 / 3), periods=range(1, 8))
    assert found.fixed.tolist() == [2**k for k in range(1, 8)]
    ons = found.words[..., 0].sum(axis=1)
    np.testing.assert_allclose(found.eigenvalues[:, 0], (-3.0) ** ons * 1.5 ** (found.periods - ons), rtol=1e-13)


@pytest.mark.parametrize("slope", [1.7, 1.8, 1.9])
def test_a_tents_number_of_cycles_grows_by_the_log_of_its_slope(slope):
    """Entropy log s (Misiurewicz, Szlenk 1980). Coefficients of 1 / zeta stay bounded by 2, so the tail after z^13 is at most
    2 s^-13 / (s - 1) < 0.003 at the zero, whose slope is above 1/2: 0.01 is allowed."""
    found = exact_cycles(tent(slope, slope, 0.5), periods=range(1, 14))
    assert abs(found.growth_rates[-1] - math.log(slope)) < 0.01
    assert f"grows by {found.growth_rates[-1]:.4g} nats a step" in found.summary()


def test_a_three_cycle_of_the_tent_appears_at_the_golden_mean():
    """Period 3 needs a slope of at least 1.618 (its orbit from the peak is the first); above, both 3-cycles are there."""
    assert counts(exact_cycles(tent(1.618, 1.618, 0.5), periods=(3,)), 3)[2] == 0
    assert counts(exact_cycles(tent(1.6181, 1.6181, 0.5), periods=(3,)), 3)[2] == 2


def test_a_markov_map_has_the_trace_of_its_matrix_and_one_cycle_through_the_border():
    """Fixed points of F^k: the trace of [[0, 1], [1, 1]]^k, the Lucas numbers. The cycle 0, 1, 2 passes the kink at 1."""
    found = exact_cycles(golden(), periods=range(1, 10))
    assert found.fixed.tolist() == [1, 3, 4, 7, 11, 18, 29, 47, 76]
    np.testing.assert_allclose(found.growth_rates[1:], math.log((1 + 5**0.5) / 2), atol=1e-12)
    border = int(np.flatnonzero(found.border)[0])
    assert found.border.sum() == 1
    assert found.orbit(border)[:, 0].tolist() == [-1.0, 0.0, 1.0] and found.radii[border] == 0
    assert found.spelled(border) == "0 0 1" and "1 through a border" in found.summary()


def test_a_network_with_no_fixed_point_two_2_cycles_no_3_cycle_and_one_4_cycle():
    """Without a rest: x' > x at the rest of u. By hand the 2-cycles are x = -6/25, 34/25 and 2/15, 22/15 beside u = -5/2, 2."""
    net = hand_made()
    found = exact_cycles(net, periods=(1, 2, 3, 4))
    assert counts(found, 4) == [0, 2, 0, 1] and found.complete and found.proved.all()
    assert "3 real cycles, 0 stable: 2 of period 2, 1 of period 4; none of period 1, 3" in found.summary()
    two = found.points[:2, :2]
    expected = [[[-6 / 25, -2.5], [34 / 25, 2.0]], [[2 / 15, -2.5], [22 / 15, 2.0]]]
    rounding = 2.0**-52  # of the expected values, which lie below 2
    assert (np.abs(two - expected).max(axis=(1, 2)) <= found.radii[:2] + rounding).all() and found.radii.max() < 1e-11
    for k in range(1, 5):
        assert listed(found, k) == by_exhaustion(net, k)
    searched = find_cycles(net.dynamics(), 4 * torch.randn(64, 2, dtype=torch.float64), periods=(2, 3, 4))
    assert len(searched.periods) <= 3 and set(searched.periods.tolist()) <= {2, 4}


def test_a_contracting_shallow_network_has_exactly_one_fixed_point_and_no_2_cycle():
    """|A| + |W1| |W2| < 1 contracts, so by Banach there is one fixed point, and by the same no other cycle."""
    draw = torch.Generator().manual_seed(1)
    W1, W2, h1, h2 = (torch.randn(*s, generator=draw, dtype=torch.float64) for s in ((2, 5), (5, 2), (2,), (5,)))
    W1, W2 = (0.6 * w / torch.linalg.matrix_norm(w, 2) for w in (W1, W2))
    for clipped, periods in ((False, (1, 2)), (True, (1,))):
        net = ShallowPiecewiseLinear(torch.tensor([0.5, -0.3]).double(), W1, W2, h1, h2, clipped)
        found = exact_cycles(net.lifted(), periods=periods)
        assert counts(found, len(periods)) == [1, 0][: len(periods)] and found.complete and found.stable.all()
        z = torch.zeros(2, dtype=torch.float64)
        for _ in range(300):
            hidden = torch.relu(W2 @ z + h2) - (torch.relu(W2 @ z) if clipped else 0)
            z = net.A * z + W1 @ hidden + h1
        assert np.abs(found.points[0, 0, :2] - z.numpy()).max() < 1e-12  # 0.86^300 is below rounding
        np.testing.assert_allclose(net.states(z[None])[0].numpy(), found.points[0, 0], atol=1e-12)


def test_drawn_networks_agree_with_exhaustion_and_fixed_points_with_their_own_list():
    for seed in range(8):
        draw = np.random.default_rng(seed)
        net = network(draw.random(3) / 2, 2 * draw.normal(size=(3, 3)), draw.normal(size=3), 2)
        found = exact_cycles(net, periods=range(1, 5))
        for k in range(1, 5):
            assert listed(found, k) == by_exhaustion(net, k)
        assert all(check.passed for check in found.checks)
        rests = exact_fixed_points(net)
        assert np.array_equal(found.words[found.periods == 1, 0], rests.regions)
        assert np.abs(found.points[found.periods == 1, 0] - rests.points).max(initial=0) < 1e-9


def test_the_index_sum_of_each_iterate_is_1_where_orbits_are_proved_bounded():
    """u' = 1 - 2 relu(u) has the 2-cycle 1, -1: three points of F^2 whose indices sum to 1."""
    found = exact_cycles(network([0.0], [[-2.0]], [1.0], 1), periods=(1, 2, 3))
    names = {check.name: check.got for check in found.checks}
    assert [names[f"index sum of F^{k}"] for k in (1, 2, 3)] == [1.0, 1.0, 1.0]
    assert found.fixed.tolist() == [1, 3, 1]


def test_given_words_are_real_or_virtual_once_for_all_rotations_and_repetitions():
    words = [[[0, 0]], [[1, 1], [1, 0]], [[0, 1], [1, 0]], [[1, 0], [1, 1]], [[1, 1], [1, 0]] * 3]
    found = exact_cycles(hand_made(), words=words)
    assert [found.spelled(i) for i in range(3)] == ["00", "01 10", "10 11"]
    assert found.real.tolist() == [False, False, True] and found.proved.all() and np.isnan(found.residuals[:2]).all()
    assert found.points[0, 0] == pytest.approx([0.4, -1.0])  # x = -1.5 x + 1 asks for x > 0, which the word denies
    assert found.summary() == "1 real cycle, 0 stable: 1 of period 2; 2 words virtual"
    assert not found.complete


def test_a_quarter_turn_is_a_continuum_of_4_cycles():
    turn = network(np.zeros(2), [[0, -1.0], [1, 0]], np.zeros(2), 0)
    found = exact_cycles(turn, periods=range(1, 5))
    assert found.continua == 1 and counts(found, 4) == [1, 0, 0, 0] and np.isnan(found.growth_rates).all()
    solved = exact_cycles(turn, words=[np.zeros((4, 0), dtype=bool)])
    assert (
        solved.spelled(0) == "" and len(solved.periods) == 1
    )  # without rectified units a word repeats the empty symbol


def test_a_map_that_turns_by_72_steps_sends_the_reader_to_a_section():
    """An unstable spiral, held by a kink: its invariant circle has no exact cycle among the words that can be tried."""
    angle = 2 * math.pi / 72
    c, s = 1.01 * math.cos(angle), 1.01 * math.sin(angle)
    net = network(np.zeros(3), [[c, -s, -0.3], [s, c, 0], [c, -s, -0.3]], [0.0, 0.0, -2.0], 1)
    found = exact_cycles(net, periods=range(1, 7))
    assert counts(found, 6) == [1, 0, 0, 0, 0, 0] and found.turn == pytest.approx(72, abs=0.01)
    assert "takes 72 steps" in found.summary() and "hooks.section.return_map" in found.summary()
    with pytest.raises(InputError, match=r"equation in 4200 unknowns, more than 4096.*periods up to 682.*return_map"):
        find_exact_cycles(net, 4, periods=(700,))


def test_a_search_reaches_the_cycles_that_enumeration_lists_and_longer_ones():
    net = hand_made()
    found = find_exact_cycles(net, 200, periods=(2, 3, 4))
    assert counts(found, 4) == [0, 2, 0, 1] and found.proved.all() and not found.complete
    assert found.starts == 800 and "a search from 800 words" in found.summary()
    assert found.summary().endswith("of which led to no cycle: there may be others")
    long = find_exact_cycles(tent(1.5, 3.0, 2 / 3), 16, periods=(24,))
    assert (
        long.periods == 24
    ).sum() >= 12 and long.proved.all()  # every word is real; a draw repeats itself by chance alone
    assert long.residuals.max() < 1e-12


def test_a_search_of_an_affine_map_or_one_stopped_early_lists_what_it_has():
    affine = find_exact_cycles(network([0.5], [[0.0]], [1.0], 0), 3, periods=(2,))
    assert affine.points.tolist() == [[[2.0]]] and affine.periods.tolist() == [1] and affine.unsettled == 0
    first = find_exact_cycles(hand_made(), 50, periods=(2,), watch=lambda states, total: islice(states, 1))
    assert len(first.periods) == 0 and first.summary().endswith("there may be others; it ran out of time")


def test_words_at_close_returns_of_an_orbit_hold_its_cycles():
    """Every return of a chaotic orbit of the full tent shadows a cycle of the same word, as each word is real."""
    net = tent(1.5, 3.0, 2 / 3)
    orbit = rollout(net.dynamics(), [[-0.41]], steps=400)
    found = find_exact_cycles(net, orbit, periods=(5,))
    assert (found.periods == 5).sum() == 6 and found.unsettled == 0  # all (2^5 - 2) / 5 of them
    assert find_exact_cycles(net, rollout(net.dynamics(), [[0.1]], steps=3), periods=(5,)).periods.tolist() == [1]


def test_necklaces_are_least_rotations_with_their_period():
    words = np.array([[1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]], dtype=bool)[:, :, None]
    least, length = necklaces(words)
    assert least[..., 0].astype(int).tolist() == [[0, 1, 0, 1], [0, 0, 1, 1], [0, 0, 0, 0]] and length.tolist() == [
        2,
        4,
        1,
    ]


def test_stopped_early_it_is_not_complete():
    found = exact_cycles(tent(2.0, 2.0, 0.5), periods=(4,), watch=lambda states, total: islice(states, 1))
    assert not found.complete and found.undecided > 0 and found.outcome is Outcome.OUT_OF_TIME
    assert "words undecided (ran out of time)" in found.summary() and (found.fixed == -1).any()


def test_what_is_refused():
    net = hand_made()
    with pytest.raises(InputError, match=r"2\^24 words of length 12.*periods up to 11, or use find_exact_cycles"):
        exact_cycles(net, periods=(12,))
    with pytest.raises(InputError, match=r"periods of 1 and more, but \(0,\) came"):
        exact_cycles(net, periods=(0,))
    with pytest.raises(InputError, match=r"a word is \(length, 2\) bits"):
        exact_cycles(net, words=[[[1, 0, 1]]])
    with pytest.raises(InputError, match="1 of the 3 weights are not finite"):
        exact_cycles(network([0.0], [[float("nan")]], [0.0], 1))
    with pytest.raises(InputError, match="at least one word is drawn, not 0"):
        find_exact_cycles(net, 0, periods=(2,))
    with pytest.raises(InputError, match="2 units, but states of 1 came"):
        find_exact_cycles(net, rollout(tent(2.0, 2.0, 0.5).dynamics(), [[0.1]], steps=3), periods=(2,))
    with pytest.raises(InputError, match=r"a shallow PLRNN has A \(dim,\)"):
        ShallowPiecewiseLinear(*(torch.zeros(2) for _ in range(5)))


def test_result_survives_writing():
    found = exact_cycles(hand_made(), periods=(1, 2))
    again = ExactCycles.from_dict(found.to_dict())
    assert again.summary() == found.summary() and np.array_equal(again.words, found.words)
    assert found.plot().get_xlabel() == "real part of the eigenvalue"
