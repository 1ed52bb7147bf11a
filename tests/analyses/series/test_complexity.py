import math
import zlib

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import erf

from analyses.result import Outcome
from analyses.series.complexity import compressed_complexity, lempel_ziv, sample_entropy
from hooks.errors import InputError


def specimens():
    rng = np.random.default_rng(0)
    return [
        lempel_ziv(rng.standard_normal((2, 50))),
        sample_entropy(np.zeros((1, 5))),
        compressed_complexity(rng.random((2, 8, 8)), grain=2),
        compressed_complexity(np.zeros((0, 4, 4)), grain=2),
    ]


def phrases(text, symbols=2):
    return int(lempel_ziv([float(letter) for letter in text], symbols=symbols, draws=0).counts[0, 0])


def test_phrases_of_the_textbook_strings():
    """0 001 10 100 1000 101 (Kaspar and Schuster 1987); a constant has two phrases, a period of p distinct symbols p + 1."""
    assert phrases("0001101001000101") == 6
    assert phrases("0" * 100) == 2 and phrases("01" * 5000) == 3 and phrases("0123" * 200, symbols=4) == 5


def test_phrases_equal_the_definition_written_out():
    """Each phrase the shortest word that does not begin earlier, by trying every start."""
    rng = np.random.default_rng(0)
    for symbols in (2, 3):
        for _ in range(30):
            word = np.concatenate([np.arange(symbols), rng.integers(0, symbols, 40)])
            rng.shuffle(word)
            word = np.repeat(word, rng.integers(1, 3))
            begin = count = 0
            text = "".join(map(str, word))
            while begin < len(text):
                length = 1
                while begin + length <= len(text) and text[begin : begin + length] in text[: begin + length - 1]:
                    length += 1
                begin, count = begin + length, count + 1
            assert phrases(text, symbols=symbols) == count


def test_lempel_ziv_tends_to_the_entropy_rate_of_independent_draws():
    """Corrections are a share of order log log N / log N, 0.26 at 2^15 steps. Coins of 0.5 and 0.1: 1 and 0.469 bits."""
    rng = np.random.default_rng(0)
    series = (rng.random((2, 2**15)) < [[0.5], [0.1]]).astype(float)
    found = lempel_ziv(series, draws=0)
    for value, rate in zip(found.values, (1.0, -0.1 * math.log2(0.1) - 0.9 * math.log2(0.9)), strict=True):
        assert abs(value / rate - 1) < 0.15


def test_nulls_are_beaten_by_a_cycle_not_by_noise():
    noise = np.random.default_rng(0).standard_normal(500)
    series = np.stack([np.sin(np.arange(500.0)), noise])
    for found in (lempel_ziv(series), sample_entropy(series)):
        assert found.p[0] <= 0.05 < found.p[1] and "1 unlike their shuffles" in found.summary()


def test_sample_entropy_of_uniform_and_gaussian_noise_in_closed_form():
    """-ln of the chance that two values lie within r: 2 u - u^2 for r = u of the range, erf(r / 2) for r deviations.
    The deviation itself errs by 1 / sqrt(2 N) = 1.1 %, the mean density of the Gaussian by 2 * 0.39 / sqrt(N) = 1.2 %; 0.05 is
    three of both together."""
    rng = np.random.default_rng(0)
    found = sample_entropy(np.stack([rng.random(4000), rng.standard_normal(4000)]), draws=0)
    u = 0.2 / math.sqrt(12)
    assert_allclose(found.values, [-math.log(2 * u - u * u), -math.log(erf(0.1))], atol=0.05)


def test_sample_entropy_of_a_cycle_is_zero_by_its_definition():
    """Period two: every window that agrees goes on to agree."""
    assert sample_entropy(np.tile([0.0, 1.0], 50), draws=0).values.tolist() == [0.0]


def test_coarse_size_is_greatest_between_order_and_mixture():
    """A front, large blots and fine noise: only blots are long to write once averaged; a constant is the overhead."""
    rng = np.random.default_rng(0)
    front = np.repeat([1.0, 0.0], 32)[:, None] * np.ones((64, 64))
    blots = np.kron(rng.integers(0, 2, (8, 8)), np.ones((8, 8)))
    found = compressed_complexity(np.stack([front, blots, rng.integers(0, 2, (64, 64)).astype(float)]), grain=8)
    assert found.peak == 1 and found.nulls[0].beaten
    assert found.fine[2] == found.fine.max() and "3 frames compressed" in found.summary()
    assert found.constant[0] == len(zlib.compress(bytes(64 * 64), 9))


def test_a_cell_near_a_cut_takes_the_level_of_its_row():
    row = np.array([0.49, 0.51, 0.49, 0.49])
    field = np.stack([np.stack([row, row + 0.2])])
    plain, settled = (
        compressed_complexity(field, grain=1, levels=10, span=(0, 1), settled=s, draws=0) for s in (False, True)
    )
    assert settled.coarse[0] <= plain.coarse[0]


def test_a_constant_a_short_and_no_series():
    still = lempel_ziv(np.ones((1, 100)))
    assert still.counts.tolist() == [[2, 100]] and still.nulls == ()
    short = sample_entropy(np.zeros((2, 5)))
    assert short.outcome is Outcome.TOO_SHORT and "0 of 2 series read" in short.summary()
    rising = sample_entropy(np.arange(20.0) ** 3, tolerance=1e-9, draws=0)
    assert math.isnan(rising.values[0])
    assert lempel_ziv(np.zeros((0, 50))).values.shape == (0,)


def test_refusals():
    with pytest.raises(InputError, match="symbols=1"):
        lempel_ziv(np.zeros(20), symbols=1)
    with pytest.raises(InputError, match="tolerance=0"):
        sample_entropy(np.zeros(20), tolerance=0.0)
    with pytest.raises(InputError, match="grain is 1 to 4"):
        compressed_complexity(np.zeros((1, 4, 4)), grain=5)
    with pytest.raises(InputError, match="from less to more"):
        compressed_complexity(np.zeros((1, 4, 4)), grain=2, span=(1.0, 0.0))


def test_equal_to_antropy():
    antropy = pytest.importorskip("antropy")
    x = np.random.default_rng(0).standard_normal(600)
    assert_allclose(sample_entropy(x, draws=0).values[0], antropy.sample_entropy(x), atol=1e-9)
    assert phrases((x > np.median(x)).astype(int)) == antropy.lziv_complexity((x > np.median(x)).astype(int))
