import numpy as np
import pytest

from analyses.result import Outcome
from analyses.symbols._sequences import sequence
from analyses.symbols.markov_order import MarkovOrder, _statistic, markov_order
from analyses.symbols.regions import regions
from hooks.errors import InputError
from tests.analyses.symbols.shifts import chain, coin, even, golden


def specimens():
    return [markov_order(regions(golden(300)), highest=1, draws=39), markov_order(regions(np.zeros(0, dtype=np.int64)))]


def second_order(steps):
    """The next bit repeats the one before last with probability 0.8: orders 0 and 1 fail, 2 holds."""
    draws, symbols = np.random.default_rng(2).random(steps), np.zeros(steps, dtype=np.int64)
    for t in range(2, steps):
        symbols[t] = symbols[t - 2] ^ (draws[t] < 0.2)
    return symbols


@pytest.mark.parametrize(
    ("symbols", "order"),
    [(coin(1000), 0), (golden(1000), 1), (chain(4, 500), 1), (second_order(1000), 2), (np.tile([0, 0, 1, 2], 60), 2)],
    ids=["coin", "golden", "chain", "two back", "periodic 0012"],
)
def test_known_orders(symbols, order):
    found = markov_order(regions(symbols), highest=2, draws=59)
    assert found.order == order and found.outcome is Outcome.CONVERGED and len(found.p) == 3


def test_two_back_hides_from_order_zero():
    """Neighbours are independent, so order 0 passes against order 1; order 1 fails."""
    assert markov_order(regions(second_order(1000)), highest=2, draws=59).rejected.tolist() == [False, True, False]


def test_the_jumps_of_a_chain_are_of_order_one():
    assert markov_order(regions(chain(4, 800)).jump_coded(), highest=2, draws=59).order == 1


def test_the_even_shift_has_no_finite_order():
    """Whether the zeros so far are even is remembered for ever: sofic, of no finite type."""
    found = markov_order(regions(even(3000)), highest=3, draws=79)
    assert found.order == -1 and found.outcome is Outcome.OUT_OF_STEPS and len(found.p) == 4
    assert "memory beyond 3 steps" in found.summary()


def test_order_zero_is_rejected_as_often_as_it_should_be():
    """One coin in twenty at 5 %: of 100, more than 12 has probability 2e-3 (binomial)."""
    rejected = sum(markov_order(regions(coin(100, seed)), highest=0, draws=19).order == -1 for seed in range(100))
    assert 0 < rejected <= 12


def test_statistic_of_pairs_is_the_textbook_g_of_their_table():
    """scipy's log-likelihood ratio of the 3 x 3 table of (now, next)."""
    from scipy.stats import chi2_contingency

    symbols = np.random.default_rng(0).integers(3, size=300)
    table = np.zeros((3, 3))
    np.add.at(table, (symbols[:-1], symbols[1:]), 1)
    expected = chi2_contingency(table, correction=False, lambda_="log-likelihood").statistic
    assert _statistic(sequence(regions(symbols)), 0) == pytest.approx(expected, rel=1e-9)


def test_boring_sequences_refusals_and_writing():
    assert markov_order(regions(np.zeros(50, dtype=np.int64))).order == 0
    none = markov_order(regions(np.zeros(0, dtype=np.int64)))
    assert none.outcome is Outcome.TOO_SHORT and none.summary() == "0 orders tested: too few symbols"
    with pytest.raises(InputError, match="testing 5 of them at 5 % needs 99 draws"):
        markov_order(regions([0, 1]), draws=98)
    found = markov_order(regions(golden(200)), highest=1, draws=39)
    assert MarkovOrder.from_dict(found.to_dict()).summary() == found.summary()
    assert found.plot().get_ylabel() == "G"
