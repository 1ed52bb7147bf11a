import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.signal import lfilter
from scipy.special import gamma

from analyses.result import Outcome
from analyses.series.long_range import QUANTITIES, long_range
from hooks.errors import InputError
from tests.known import fractional_noise

S, H, J, DFA = range(4)
STEPS = 2048


def specimens():
    return [long_range(fractional_noise(0.7, 1024, 3), draws=2), long_range(np.zeros((2, 5)))]


@pytest.fixture(scope="module")
def noises():
    """Exponent -> the result of 100 series of fractional noise."""
    return {h: long_range(fractional_noise(h, STEPS, 100), draws=0) for h in (0.5, 0.7, 0.8)}


@pytest.mark.parametrize("h", [0.5, 0.7, 0.8])
def test_all_exponents_of_fractional_noise_are_its_h(noises, h):
    # One series scatters by at most 0.07 (H, DFA), 100 and as many of the calibration by 0.07 sqrt(2) / 10 = 0.01: three of it.
    # S and J, with one or two windows at the longest scale, scatter by some 0.2: sqrt(2) / 10 of it is 0.03, and three 0.09.
    result = noises[h]
    assert result.outcomes == (Outcome.CONVERGED,) * 4
    assert_allclose(result.exponents[[H, DFA]], h, atol=0.03)
    assert_allclose(result.exponents[[S, J]], h, atol=0.09)
    assert_allclose(np.nanmean(result.by_series[:, [H, DFA]], axis=0), h, atol=0.03)
    assert all(check.passed for check in result.checks)


def test_the_bias_of_r_over_s_is_the_one_measured_by_other_code(noises):
    # 200 series of 2048 steps over scales 16 to 1024 gave these; four errors of sqrt(1 / 100 + 1 / 200) 0.05 are 0.024
    for h, slope in ((0.5, 0.544), (0.7, 0.709), (0.8, 0.783)):
        assert noises[h].raw[H] == pytest.approx(slope, abs=0.024)
        assert noises[h].calibration[np.isclose(noises[h].hursts, h), H] == pytest.approx(slope, abs=0.024)


def test_r_over_s_of_white_noise_has_the_mean_of_anis_and_lloyd(noises):
    for scale, measured in zip(noises[0.5].scales[:8], noises[0.5].curves[H], strict=False):
        r = np.arange(1, scale)
        exact = gamma((scale - 1) / 2) / gamma(scale / 2) / math.sqrt(math.pi) * np.sqrt((scale - r) / r).sum()
        windows = 100 * (STEPS // scale)  # an R/S scatters by 0.3 of its mean (Feller: 0.27 for the range)
        assert measured == pytest.approx(exact, rel=4 * 0.3 / math.sqrt(windows))


@pytest.mark.parametrize("order", [1, 2])
def test_the_fluctuation_of_dfa_is_that_of_the_projected_covariance(order):
    h, scales = 0.7, (8, 11, 16, 23, 32, 64, 256)
    result = long_range(fractional_noise(h, 1024, 100, seed=1), scales=scales, order=order, draws=0)
    variance = 1 - 1024.0 ** (2 * h - 2)  # of a series about its own mean, by which it is divided
    for scale, measured in zip(scales[:6], result.curves[DFA], strict=False):
        k = np.arange(1, scale + 1.0)
        walk = (k[:, None] ** (2 * h) + k ** (2 * h) - np.abs(k[:, None] - k) ** (2 * h)) / 2
        basis = np.linalg.qr(k[:, None] ** np.arange(order + 1))[0]
        exact = np.trace(walk - basis @ (basis.T @ walk)) / scale
        # a window's mean square scatters by its own size at most: 4 / sqrt(windows), half of it for the root; variance 2 %
        assert measured == pytest.approx(math.sqrt(exact / variance), rel=2 / math.sqrt(100 * (1024 // scale)) + 0.02)


def test_the_variance_of_increments_of_white_noise_is_that_of_a_bridge():
    result = long_range(fractional_noise(0.5, 1024, 100, seed=2), draws=0)
    n = result.scales[:5].astype(float)  # about its mean over t, which has variance of order n^2 / steps
    assert_allclose(result.curves[J, :5], np.sqrt(n * (1 - n / 1024)), rtol=0.08)
    # |normal| below 0.5 with deviation sqrt(n): the shares of the shortest scales, 1e5 steps of which 1 / n are independent
    share = np.array([math.erf(0.5 / math.sqrt(2 * scale)) for scale in n])
    assert_allclose(result.curves[S, :5], share, rtol=0.12)


def test_the_spread_and_the_interval_are_those_of_repeated_series(noises):
    for h in (0.5, 0.7):
        # standard deviations of 100 draws err by 7 %; two of them by 10 %: three of it
        assert_allclose(noises[h].by_series[:, [H, DFA]].std(axis=0), noises[h].spread[[H, DFA]], rtol=0.3)
        width = np.diff(noises[h].intervals[[H, DFA]], axis=1)[:, 0]
        assert_allclose(width, 2 * 1.96 * noises[h].spread[[H, DFA]] * math.sqrt(2 / 100), rtol=0.4)
    alone = long_range(fractional_noise(0.7, STEPS, 1, seed=3), draws=0)  # too few for a bootstrap
    assert np.diff(alone.intervals[H])[0] == pytest.approx(2 * 1.96 * noises[0.7].spread[H] * math.sqrt(1.01), rel=0.4)


@pytest.mark.slow
def test_intervals_of_95_per_cent_cover():
    for rows in (1, 40):
        covered = []
        for seed in range(100):
            found = long_range(fractional_noise(0.7, 1024, rows, seed=seed), draws=0)
            covered.append((found.intervals[:, 0] <= 0.7) & (found.intervals[:, 1] >= 0.7))
        # one calibration serves all, so that its own error is shared: not below 85 % for 95
        assert (np.mean(covered, axis=0)[[H, DFA]] >= 0.85).all()


def test_shuffles_are_beaten_by_memory_and_block_shuffles_by_memory_beyond_the_block():
    long = long_range(fractional_noise(0.8, STEPS, 40))
    assert all(null.beaten for null in long.nulls if null.name.startswith(("H", "DFA")))
    shuffle = next(null for null in long.nulls if null.name == "H: steps shuffled")
    assert (
        np.median(shuffle.draws) == pytest.approx(0.5, abs=0.03) and long.exponents[H] - np.median(shuffle.draws) > 0.1
    )

    white = np.random.default_rng(0).standard_normal((40, STEPS))
    short = long_range(lfilter([1.0], [1.0, -0.3], white))  # remembers 1 / ln(1 / 0.3) steps: 0.8
    by_name = {null.name: null for null in short.nulls}
    assert by_name["H: steps shuffled"].beaten and not by_name["H: blocks of 128 shuffled"].beaten
    assert "with blocks of 128 shuffled (not told apart)" in short.summary()

    alone = {null.name: null for null in long_range(white).nulls}
    assert not alone["H: steps shuffled"].beaten


def test_a_crossover_has_no_exponent():
    slow = lfilter([1.0], [1.0, -0.95], np.random.default_rng(0).standard_normal((40, STEPS)))  # twenty steps of memory
    result = long_range(slow, draws=2)
    assert (
        result.outcomes[DFA] is Outcome.NO_SCALING
        and np.isnan(result.exponents[DFA])
        and np.isnan(result.intervals[DFA]).all()
    )
    assert (
        result.halves[DFA, 0] > result.halves[DFA, 1] + 0.15
        and "DFA had no range of scaling (halves" in result.summary()
    )
    assert not any(null.name.startswith("DFA") for null in result.nulls)


def test_origin_and_unit_of_a_series_do_not_matter():
    series = fractional_noise(0.6, 1024, 2)
    one, other = long_range(series, draws=0), long_range(7 - 3 * series, draws=0)
    assert_allclose(other.curves, one.curves, rtol=1e-9)
    assert_allclose(other.by_series, one.by_series, atol=1e-9)


def test_a_constant_is_left_out_and_a_flat_stretch_is_no_trouble():
    series = fractional_noise(0.6, 1024, 4)
    series[1] = 2.0
    series[2, :200] = 0.0
    result = long_range(series, draws=0)
    assert (
        result.used == 3 and np.isnan(result.by_series[1]).all() and np.isfinite(result.by_series[[0, 2, 3], H]).all()
    )
    assert "over 3 of 4 series" in result.summary()
    assert long_range(np.ones((2, 2000))).outcomes == (Outcome.NO_SCALING,) * 4


def test_too_little_is_an_outcome():
    short = long_range(np.zeros((3, 1011)))
    assert short.outcomes == (Outcome.TOO_SHORT,) * 4 and short.by_series.shape == (3, 4) and np.isnan(short.raw).all()
    assert "0 of 4 exponents over 0 of 3 series: S had too little data" in short.summary()
    enough = long_range(fractional_noise(0.5, 1012, 20), draws=0)
    assert enough.outcomes[H] is Outcome.CONVERGED and enough.scales[[0, -1]].tolist() == [16, 506]
    narrow = long_range(fractional_noise(0.5, 1024, 1), scales=(25, 50, 75, 100, 200, 300))
    assert narrow.outcomes == (Outcome.NO_SCALING,) * 4 and np.isnan(narrow.exponents).all()
    assert long_range(np.zeros((0, 1100))).exponents.shape == (len(QUANTITIES),)
    longest = long_range(fractional_noise(0.5, 1024, 1), scales=(16, 32, 64, 128, 256, 513))
    assert longest.outcomes == (Outcome.TOO_SHORT,) * 4


def test_refusals():
    with pytest.raises(InputError, match=r"shape \(series, steps\) or \(steps,\), but \(1, 2, 3\) came"):
        long_range(np.zeros((1, 2, 3)))
    with pytest.raises(InputError, match="1 of 3 entries are not finite"):
        long_range([0.0, math.nan, 1.0])
    with pytest.raises(InputError, match=r"scales are 6 ascending whole numbers from 4 on, not \[16, 32\]"):
        long_range(np.zeros(2000), scales=(16, 32))
    with pytest.raises(InputError, match="order=0"):
        long_range(np.zeros(2000), order=0)
