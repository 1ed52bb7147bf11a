from collections import Counter
from itertools import islice, permutations

import numpy as np
import pytest

from analyses.symbols._sequences import counts, entropy, sequence, shuffled_keeping
from analyses.symbols.regions import regions


def grams(symbols, length):
    return Counter(tuple(symbols[i : i + length]) for i in range(len(symbols) - length + 1))


@pytest.mark.parametrize("length", [1, 2, 3])
def test_shuffles_are_uniform_over_all_orders_with_the_same_words_and_ends(length):
    """Against the list of all permutations of nine symbols; chi-square within four standard deviations of its mean."""
    run = sequence(regions([0, 1, 0, 0, 1, 1, 0, 2, 0]))
    given = tuple(run.symbols.tolist())
    ends = (given[: length - 1], given[len(given) - length + 1 :])
    allowed = {
        other
        for other in set(permutations(given))
        if grams(other, length) == grams(given, length)
        and (length == 1 or (other[: length - 1], other[len(other) - length + 1 :]) == ends)
    }
    generator, draws = np.random.default_rng(0), 40 * len(allowed)
    drawn = Counter(tuple(shuffled_keeping(run, length, generator).symbols.tolist()) for _ in range(draws))
    assert set(drawn) <= allowed
    chi = sum((drawn[other] - 40) ** 2 / 40 for other in allowed)
    assert abs(chi - (len(allowed) - 1)) <= 4 * np.sqrt(2 * max(len(allowed) - 1, 1))


def test_words_do_not_reach_across_runs():
    runs = sequence(regions([[3, 3, 4], [4, 3, 0]], lengths=[3, 2]))
    per_length = [sorted(counts(words).tolist()) for words in islice(runs.words(), 4)]
    assert per_length == [[2, 3], [1, 1, 1], [1], []]  # 33, 34, 43; 334


def test_miller_madow_of_known_counts():
    """(1, 1, 2): entropy of shares 1.5 ln 2, corrected by 2 / 8."""
    assert entropy(np.array([1, 1, 2])) == pytest.approx(1.5 * np.log(2) + 0.25, abs=1e-12)
    assert entropy(np.array([7])) == 0.0 and np.isnan(entropy(np.zeros(0, dtype=np.int64)))
