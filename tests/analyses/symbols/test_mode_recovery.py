"""Equal partitions have index 1 under any names, independent ones 0; switches of a drawn chain are read off its own symbols."""

from itertools import pairwise

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from analyses.result import Outcome
from analyses.symbols.mode_recovery import mode_recovery
from hooks.errors import InputError
from tests.analyses.symbols.test_hidden_markov import A, chain

RUNS, STEPS = 8, 400


def specimens():
    modes = chain(4, 50)
    return [mode_recovery(2 - modes, modes, draws=9), mode_recovery(np.zeros((0, 5), int), np.zeros((0, 5), int))]


def test_modes_under_other_names_are_recovered():
    modes = chain(RUNS, STEPS)
    result = mode_recovery(np.array([7, 0, 3])[modes], modes)
    assert result.adjusted_rand == 1 and (result.recalled == 1).all() and (result.purities == 1).all()
    assert (result.symbols[result.matched] == [7, 0, 3]).all()
    assert (result.switches == result.symbol_switches).all()
    # four standard errors sqrt(p q / n) of rows of 700 steps at least
    assert np.abs(result.switches - A).max() < 4 * np.sqrt(0.1 * 0.9 / 700)
    assert result.dwells[0] == pytest.approx(1 / (1 - np.diag(result.switches)))
    assert result.beyond_chance and "3 of 3 modes" in result.summary()


def test_independent_symbols_have_index_zero_and_equal_their_null():
    """Stays last about 20 steps, so n / 20 of n steps are independent; the index of m such steps scatters by about 1 / m."""
    result = mode_recovery(chain(RUNS, STEPS, seed=5), chain(RUNS, STEPS, seed=6))
    assert abs(result.adjusted_rand) < 4 * 20 / (RUNS * STEPS) and not result.beyond_chance
    assert "not shown to name the modes" in result.summary()


def test_a_share_of_wrong_symbols_lowers_the_index_to_the_square_of_what_is_left():
    """Two balanced modes, symbols right in a share a: the index is (2 a - 1)^2 for many steps; error of a: sqrt(a b / n)."""
    modes = np.repeat([[0, 1] * 20], 5, axis=1).repeat(50, axis=0)
    wrong = np.random.default_rng(0).random(modes.shape) > 0.75
    result = mode_recovery(modes ^ wrong, modes, draws=0)
    error = np.sqrt(0.75 * 0.25 / modes.size)
    assert abs(result.adjusted_rand - 0.25) < 4 * error * 2 and result.nulls == ()  # slope 4 (2 a - 1) = 2
    assert np.abs(result.recalled - 0.75).max() < 4 * np.sqrt(2) * error


def test_the_index_is_that_of_scikit_learn_and_counts_no_padding():
    rng = np.random.default_rng(0)
    modes = rng.integers(3, size=(5, 40))
    symbols = np.where(rng.random(modes.shape) < 0.6, modes, rng.integers(5, size=modes.shape))
    for row, length in enumerate((40, 3, 0, 17, 1)):
        symbols[row, length:] = modes[row, length:] = -1
    result = mode_recovery(symbols, modes, draws=3)
    kept = modes >= 0
    assert result.adjusted_rand == pytest.approx(adjusted_rand_score(modes[kept], symbols[kept]), abs=1e-12)
    assert result.counts.sum() == kept.sum() == 61
    steps = [pair for row in modes for pair in pairwise(row[row >= 0])]
    expected = [[np.mean([then == b for now, then in steps if now == a]) for b in range(3)] for a in range(3)]
    assert np.allclose(result.switches, expected)


def test_symbols_that_split_modes_are_pure_though_their_index_is_below_1():
    """Two modes of n / 2 steps, each halved: (s - e) / (m - e) of pairs, s = n^2 / 8, e = s / 2, m = 3 s / 2, so 1 / 2."""
    modes = np.tile([0, 1], (1, 5000))
    result = mode_recovery(modes + 2 * (np.arange(modes.size) % 4 > 1), modes, draws=0)
    assert result.purity == 1 and result.adjusted_rand == pytest.approx(0.5, abs=1e-3)  # to order 1 / n
    assert (result.recalled == 0.5).all()


def test_the_null_keeps_runs_and_knows_a_period():
    """One periodic run, symbols a quarter late: as good as a shift at random; one mode a run: every shift is in vain."""
    modes = np.tile([0, 0, 0, 0, 1, 1, 1, 1], 50)
    late = mode_recovery(np.roll(modes, 2), modes)
    assert abs(late.adjusted_rand) < 0.01 and not late.beyond_chance
    apart = np.repeat([[0], [1]], 30, axis=1)
    still = mode_recovery(apart, apart)
    assert still.adjusted_rand == 1 and (still.nulls[0].draws == 1).all() and not still.beyond_chance


def test_too_few_symbols_leave_a_mode_without_one():
    modes = np.array([[0, 0, 0, 1, 1, 2]])
    result = mode_recovery(np.minimum(modes, 1), modes)
    assert result.matched.tolist() == [0, 1, -1] and result.recalled.tolist() == [1, 1, 0]
    assert np.isnan(result.symbol_switches[2]).all() and "2 of 3 modes" in result.summary()


def test_where_nothing_can_be_recovered_it_is_said():
    empty = mode_recovery(np.zeros((3, 0), int), np.zeros((3, 0), int))
    assert empty.outcome is Outcome.TOO_SHORT and np.isnan(empty.adjusted_rand) and empty.nulls == ()
    constant = mode_recovery(np.arange(6), np.zeros(6))
    assert constant.outcome is Outcome.DEGENERATE and constant.adjusted_rand == 0 and not constant.beyond_chance
    assert "nothing to recover" in constant.summary()


def test_refusals_say_what_came():
    modes = np.array([[0, 1, -1]])
    with pytest.raises(InputError, match=r"\(1, 2\) and \(1, 3\)"):
        mode_recovery(modes[:, :2], modes)
    with pytest.raises(InputError, match="whole numbers"):
        mode_recovery(modes + 0.5, modes)
    with pytest.raises(InputError, match="end at different steps"):
        mode_recovery(np.array([[0, 1, 1]]), modes)
    with pytest.raises(InputError, match="before the end of a run"):
        mode_recovery(modes[:, ::-1], modes[:, ::-1])
