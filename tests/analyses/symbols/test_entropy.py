import numpy as np
import pytest

from analyses.result import Outcome
from analyses.symbols._sequences import sequence
from analyses.symbols.entropy import EntropyRate, _match_rate, entropy_rate
from analyses.symbols.regions import regions
from case_studies._systems import SYSTEMS
from hooks.dynamics import rollout
from hooks.errors import InputError
from tests.analyses.symbols.shifts import CHAIN, GOLDEN, chain, coin, even, golden, stationary
from tests.known import logistic, skew_tent


def specimens():
    return [entropy_rate(regions(coin(400)), draws=2), entropy_rate(regions(np.zeros(0, dtype=np.int64)))]


def within(result, truth):
    """Four standard errors, and what words not seen and the correction's next order leave: 1 % and (words / windows)^2."""
    return abs(result.rate - truth) <= 4 * result.standard_error + 0.01 * truth + 1 / 20**2


@pytest.mark.parametrize(
    ("symbols", "truth"),
    [(coin(8000), np.log(2)), (golden(8000), GOLDEN), (even(8000), GOLDEN)],
    ids=["coin", "golden", "even"],
)
def test_shifts_of_known_entropy(symbols, truth):
    """The measures of maximal entropy: ln 2, and the log of the golden mean twice."""
    found = entropy_rate(regions(symbols), draws=19)
    assert within(found, truth) and found.outcome is Outcome.CONVERGED and found.checks[0].passed
    assert found.per_step == pytest.approx(found.rate, rel=1e-12)
    # match lengths: relative error of order 1 / log2(steps) = 0.08, from below; twice that
    assert 0.84 * truth < found.match_rate < 1.08 * truth
    assert found.nulls[0].beaten is bool(truth != np.log(2))


def test_a_markov_chain_by_steps_and_by_jumps():
    """Per step sum_i pi_i H(row i); jumps leave a region i with rate pi_i (1 - p_ii), and choose by the row without it."""
    visited = regions(chain(8, 4000))
    pi, leave = stationary(), 1 - CHAIN.diagonal()
    logs = np.log(np.where(CHAIN > 0, CHAIN, 1))
    assert within(entropy_rate(visited, draws=0), -(pi[:, None] * CHAIN * logs).sum())
    jumps = (CHAIN - np.diag(CHAIN.diagonal())) / leave[:, None]
    choice = -(jumps * np.log(np.where(jumps > 0, jumps, 1))).sum(axis=1)
    coded = entropy_rate(visited.jump_coded(), draws=19)
    rate = (pi * leave) @ choice / (pi @ leave)
    assert within(coded, rate) and coded.coding == "jumps"
    assert not coded.nulls[0].beaten  # the next jump does depend on the region alone
    # jumps a step are pi @ leave, and one symbol a run begins without a jump
    assert coded.per_step == pytest.approx(rate * (pi @ leave), rel=0.1)
    assert "how long stays last is not counted" in coded.summary()


def test_a_coin_held_for_five_steps_says_ln_2_a_turn():
    held = np.repeat(coin(4000), 5)
    visited = regions(held)
    found = entropy_rate(visited.read_at(np.arange(len(held))[None] % 5 == 2), draws=0)
    assert within(found, np.log(2)) and found.per_step == pytest.approx(found.rate / 5, rel=1e-12)
    assert "nats per turn" in found.summary()
    by_steps = entropy_rate(visited, draws=0, longest=12)
    # words of steps see the holding only in part, so they lie above ln 2 / 5, and their h never rises
    assert by_steps.rate > np.log(2) / 5 - 4 * by_steps.standard_error and by_steps.checks[0].passed


def test_words_shorter_than_a_stay_are_no_rate():
    """Stays of 40 steps, a coin after each: h of words of 12 falls slowly, and is more than twice too high."""
    found = entropy_rate(regions(np.repeat(coin(3000), 40)), draws=0, longest=12)
    assert found.rate > 2 * np.log(2) / 40 and found.outcome is Outcome.OUT_OF_STEPS
    assert found.mean_stay == pytest.approx(80, rel=0.05) and "words no longer than a stay of" in found.summary()


def test_lorenz_says_left_and_right_at_the_rate_of_its_exponent():
    """Pesin: 0.906 nats per unit of time x 0.751 units a turn = 0.680; the symbol is the sign of x where z is greatest."""
    lorenz = SYSTEMS["Lorenz63"]
    orbit = rollout(
        lorenz.make(dt=0.01), np.random.default_rng(0).normal(0, 1, (64, 3)), steps=12000, burn_in=2000
    ).states
    x, z = orbit[..., 0], orbit[..., 2]
    turns = np.zeros(x.shape, dtype=bool)
    turns[:, 1:-1] = (z[:, 1:-1] > z[:, :-2]) & (z[:, 1:-1] >= z[:, 2:])
    found = entropy_rate(regions((x > 0).astype(np.int64)).read_at(turns), draws=0)
    assert turns.size / turns.sum() == pytest.approx(75.1, rel=0.01)
    # h of the trusted word is from above, and low by 1 % at most: 3 % and four standard errors
    assert found.rate == pytest.approx(0.680, abs=0.03 * 0.680 + 4 * found.standard_error)


def test_maps_whose_entropy_is_their_exponent():
    """Pesin: the logistic map at 4, ln 2; the skew tent with top at 0.3, -0.3 ln 0.3 - 0.7 ln 0.7."""
    starts = np.random.default_rng(0).random((8, 1))
    for dynamics, cut, truth in (
        (logistic(4.0), 0.5, np.log(2)),
        (skew_tent(0.3), 0.3, -0.3 * np.log(0.3) - 0.7 * np.log(0.7)),
    ):
        states = rollout(dynamics, starts, steps=1000).states[..., 0]
        assert within(entropy_rate(regions((states > cut).astype(np.int64)), draws=0), truth)


def test_order_has_no_entropy():
    periodic = entropy_rate(regions(np.tile([0, 0, 1, 2], 250)), draws=19)
    # windows lost at the end unbalance four counts of 250 by one: (1 / 1000)^2 of a nat
    assert abs(periodic.rate) < 1e-5 and periodic.outcome is Outcome.CONVERGED and periodic.nulls[0].beaten
    assert periodic.conditional_entropies[0] == pytest.approx(1.5 * np.log(2) + 1 / 1000, abs=1e-9)
    one = entropy_rate(regions(np.zeros(500, dtype=np.int64)), draws=19)
    assert one.rate == 0.0 and one.per_step == 0.0 and not one.nulls[0].beaten


def test_too_little_to_say():
    none = entropy_rate(regions(np.zeros(0, dtype=np.int64)))
    assert none.outcome is Outcome.TOO_SHORT and np.isnan(none.rate) and none.nulls == ()
    assert "0 lengths of words seen often enough" in none.summary()
    few = entropy_rate(regions(np.arange(30)))
    assert few.trusted == 0 and np.isnan(few.per_step)


def test_match_lengths_against_their_definition():
    given = np.random.default_rng(1).integers(3, size=120)
    text = "".join(map(str, given))
    total = []
    for i in range(1, len(text)):
        length = 1
        while i + length <= len(text) and text.find(text[i : i + length], 0, i + length - 1) >= 0:
            length += 1
        if i + length <= len(text):  # else the end cuts the match
            total.append(length / np.log(i + 1))
    assert _match_rate(sequence(regions(given))) == pytest.approx(1 / np.mean(total), rel=1e-12)


def test_refusals_and_writing():
    with pytest.raises(InputError, match="words have one symbol at least"):
        entropy_rate(regions([0, 1]), longest=0)
    found = entropy_rate(regions(golden(500)), draws=2)
    again = EntropyRate.from_dict(found.to_dict())
    assert again.summary() == found.summary() and again.plot().get_ylabel() == "nats per step"
