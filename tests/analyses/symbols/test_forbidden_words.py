import numpy as np
import pytest

from analyses.symbols._sequences import sequence, shuffled_keeping
from analyses.symbols.forbidden_words import ForbiddenWords, forbidden_words
from analyses.symbols.regions import regions
from hooks.errors import InputError
from tests.analyses.symbols.shifts import chain, coin, even, golden


def specimens():
    return [forbidden_words(regions(golden(300))), forbidden_words(regions(np.zeros(0, dtype=np.int64)))]


def forbidden(found):
    return [word for word, is_forbidden in zip(found.spelled(), found.forbidden, strict=True) if is_forbidden]


def test_shifts_of_known_grammar():
    """A coin forbids nothing; the golden mean 11 alone; the even shift 1 0^odd 1, each of them minimal."""
    assert forbidden(forbidden_words(regions(coin(3000)), longest=6)) == []
    found = forbidden_words(regions(golden(3000)), longest=6)
    assert forbidden(found) == ["1 1"] and found.seen[:5].tolist() == [2, 3, 5, 8, 13]  # Fibonacci
    assert forbidden(forbidden_words(regions(even(3000)), longest=6)) == ["1 0 1", "1 0 0 0 1"]


def test_a_period_of_three_symbols_forbids_all_pairs_but_its_own():
    found = forbidden_words(regions(np.tile([0, 1, 2], 100)), longest=4)
    assert sorted(forbidden(found)) == ["0 0", "0 2", "1 0", "1 1", "2 1", "2 2"] and found.seen.tolist() == [
        3,
        3,
        3,
        3,
    ]


def test_jumps_forbid_what_the_chain_forbids_and_not_the_repetitions_that_no_jump_has():
    coded = regions(chain(4, 1000)).jump_coded()
    assert sorted(forbidden(forbidden_words(coded, longest=3))) == ["0 2", "2 0"]


def test_p_of_absence_against_shuffles():
    """A word expected 2.25 times: the share of 2000 shuffles without it, within four binomial errors and the ends' 1 / 20."""
    generator = np.random.default_rng(0)
    symbols = np.zeros(40, dtype=np.int64)
    symbols[[3, 8, 13, 18, 23, 28, 33, 37, 38]] = [1, 1, 1, 1, 1, 1, 1, 2, 2]
    found = forbidden_words(regions(symbols), longest=2)
    row = found.spelled().index("1 2")
    run = sequence(regions(symbols))
    absent = 0
    for _ in range(2000):
        drawn = shuffled_keeping(run, 1, generator).symbols
        absent += not ((drawn[:-1] == 1) & (drawn[1:] == 2)).any()
    assert found.p[row] == pytest.approx(absent / 2000, abs=4 * np.sqrt(0.25 / 2000) + 0.05 * found.p[row])
    assert not found.forbidden[row] and "too rare to say" in found.summary()


def test_a_rare_symbol_is_not_called_forbidden_anywhere():
    """One 2 among 200 tosses follows and precedes one symbol each: what it does not precede is no grammar."""
    symbols = coin(200)
    symbols[100] = 2
    found = forbidden_words(regions(symbols), longest=3)
    assert len(found.words) > 0 and forbidden(found) == []


def test_words_are_counted_by_hand_across_short_runs():
    """Runs 01, 10, 2: words 01 and 10 occur; of nine pairs seven are absent."""
    found = forbidden_words(regions([[0, 1], [1, 0], [2, 2]], lengths=[2, 2, 1]), longest=3)
    assert found.lengths.tolist()[:7] == [2] * 7 and found.seen.tolist() == [3, 2, 0] and found.checks[0].passed
    assert set(found.spelled()[7:]) == {"0 1 0", "1 0 1"}


def test_boring_sequences_refusals_and_writing():
    one = forbidden_words(regions(np.zeros(50, dtype=np.int64)))
    assert one.words.shape == (0, 4) and one.checks[0].passed
    with pytest.raises(InputError, match="two symbols at least, not 1"):
        forbidden_words(regions([0, 1]), longest=1)
    found = forbidden_words(regions(even(500)), longest=5)
    assert ForbiddenWords.from_dict(found.to_dict()).summary() == found.summary()
    assert found.plot().get_ylabel() == "-log10 p of absence"
