import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from analyses.result import Outcome
from analyses.series.multifractal import mfdfa
from hooks.errors import InputError
from tests.known import binomial_cascade, cascading_noise, fractional_noise

Q = np.array([-5.0, -3, -2, -1, 1, 2, 3, 5])
PAPER = [1.8012, 1.6842, 1.5760, 1.4150, 1.0000, 0.8390, 0.7309, 0.6139]  # Kantelhardt et al. 2002, eq. 20, at a = 0.75


def specimens():
    noise = fractional_noise(0.7, 4096, 1)
    return [mfdfa(noise), mfdfa(np.concatenate([np.ones_like(noise), noise]), draws=0), mfdfa(np.zeros((2, 50)))]


def h_at(result, orders):
    return result.h[:, np.searchsorted(result.orders, orders)]


def test_binomial_cascade_has_its_exponents_and_its_width():
    """0.03: the bias of windows of 64 steps and more, whose finest structure the sampling cuts. It is the same at all orders,
    so the width has none; that orders end at 5 costs it 0.013, by the formula."""
    result = mfdfa(binomial_cascade(0.75, 16), draws=0)
    assert_allclose(h_at(result, Q)[0], PAPER, atol=0.03)
    assert_allclose(result.widths, math.log2(0.75 / 0.25), atol=0.03)
    assert_allclose(result.f.max(axis=1), 1, atol=1e-12)  # the support is a line: f = -tau(0) = 1
    assert all(check.passed for check in result.checks)


@pytest.mark.parametrize("H", [0.3, 0.5, 0.8])
def test_fractional_noise_has_one_exponent_on_the_average(H):
    """0.02: h(2) of one series has a deviation of 0.013 to 0.023 (published, 1e4 steps), of 40 in the mean three of 0.004, and
    a bias of 0.005. Blocks are not independent at H = 0.8, so that intervals at 95 % cover somewhat less."""
    result = mfdfa(fractional_noise(H, 8192, 40), draws=0)
    assert result.outcomes.count(Outcome.CONVERGED) >= 38
    found = h_at(result, [2.0])[:, 0]
    assert abs(np.nanmean(found) - H) < 0.02
    low, high = result.h_intervals[:, np.searchsorted(result.orders, 2.0)].T
    assert ((low < H) & (high > H)).mean() > 0.7


def test_width_of_fractional_noise_does_not_beat_its_nulls():
    """At 5 % a null is beaten by chance: of three rows one or none."""
    noise = mfdfa(np.concatenate([fractional_noise(H, 4096, 1, seed=1) for H in (0.3, 0.5, 0.8)]))
    assert noise.beats_nulls.sum() <= 1 and len(noise.nulls) == 6
    assert f"{noise.beats_nulls.sum()} of 3 series multifractal beyond their nulls" in noise.summary()


def test_noise_with_cascading_deviation_beats_both_nulls():
    """h(q) = (1 + V) / 2 - V q / 4, V = 2 variance / ln 2: each window's F^2 goes as its mass of a lognormal cascade. 0.12: the
    outermost levels are drawn once, and pull h of one series by some 0.04."""
    result = mfdfa(cascading_noise(0.05, 14))
    assert result.beats_nulls.all() and result.summary().startswith("1 of 1 series multifractal beyond their nulls")
    V = 0.1 / math.log(2)
    orders = np.array([-2.0, 0.0, 2.0, 4.0])
    assert_allclose(h_at(result, orders)[0], (1 + V) / 2 - V * orders / 4, atol=0.12)


def test_skewed_cascade_beats_its_shuffle_and_not_linear_noise_with_its_values():
    """8192 values so skewed with such a spectrum are as wide by themselves: not shown, though it is multifractal.

    Nineteen surrogates decide narrowly: in six draws the cascade beat the shuffle six times and linear noise once; with 4096
    values it beat the shuffle twice.
    """
    cascade = mfdfa(binomial_cascade(0.75, 13))
    assert [null.name for null in cascade.nulls] == ["shuffled", "IAAFT"]
    assert [null.beaten for null in cascade.nulls] == [True, False] and not cascade.beats_nulls.any()


def test_fluctuations_are_those_of_the_definition():
    """Polynomial by polynomial, window by window; rounding of the profile is 1e-13 of windows' residuals."""
    x = np.random.default_rng(0).standard_exponential(1024)
    scales, orders = [5, 8, 16, 64, 256], np.array([-3.0, -0.5, 0.0, 2.0])
    result = mfdfa(x, scales=scales, orders=orders, degree=2, draws=0)
    profile = np.cumsum(x - x.mean())
    for k, size in enumerate(scales):
        number = 1024 // size
        starts = (1024 - size - (1024 - size) // (number - 1) * (number - 1)) // 2
        t, squares = np.arange(size), []
        for v in range(number):
            y = profile[starts + v * ((1024 - size) // (number - 1)) :][:size]
            squares.append(((y - np.polyval(np.polyfit(t, y, 2), t)) ** 2).mean())
        squares = np.array(squares)
        F = [np.exp(np.log(squares).mean() / 2) if q == 0 else (squares ** (q / 2)).mean() ** (1 / q) for q in orders]
        assert_allclose(result.fluctuations[0, :, k], F, rtol=1e-9)


def test_overlapping_windows_give_the_same_exponents_with_less_scatter():
    noise = fractional_noise(0.5, 4096, 60)
    apart, over = (h_at(mfdfa(noise, draws=0, overlap=overlap), [-5.0, 2.0]) for overlap in (0.0, 0.5))
    assert abs(np.nanmean(apart[:, 1]) - np.nanmean(over[:, 1])) < 0.01
    assert np.nanstd(over[:, 0]) < np.nanstd(apart[:, 0])


@pytest.mark.parametrize("flat", [0.0, 7.0])
def test_flat_run_of_32_samples_in_a_cascade_changes_its_width_by_less_than_5_per_cent(flat):
    cascade = binomial_cascade(0.75, 14)
    cut = cascade.copy()
    cut[5000:5032] = flat * cut[5000]
    whole, guarded = (mfdfa(series, draws=0) for series in (cascade, cut))
    assert_allclose(guarded.widths, whole.widths, rtol=0.05)
    assert guarded.left_out.max() > 0 and whole.left_out.max() == 0
    assert "are flat and left out" in guarded.summary()


def test_saturated_run_of_32_samples_leaves_the_width_of_noise_as_narrow():
    """Its last digits still move. Over one range of scales the median series changes by less than 5 %; without the guard the
    run rules negative orders, and the width is some 3."""
    noise = 100 + np.random.default_rng(0).standard_normal((20, 2**14))
    saturated = noise.copy()
    saturated[:, 9000:9032] = 100 + 1e-10 * (noise[:, 9000:9032] - 100)
    scales = 2 ** np.arange(4, 10)
    before, after = (mfdfa(series, draws=0, scales=scales).widths for series in (noise, saturated))
    assert np.median(np.abs(after / before - 1)) < 0.05 and np.abs(after - before).max() < 0.02


def test_scale_and_mean_of_a_series_do_not_matter_and_rows_are_apart():
    noise = fractional_noise(0.6, 4096, 3)
    result = mfdfa(noise, draws=0)
    assert_allclose(mfdfa(1e30 * noise, draws=0).h, result.h, atol=1e-9)
    assert_allclose(mfdfa(noise + 100, draws=0).h, result.h, atol=1e-9)
    alone = mfdfa(noise[1], draws=0)
    assert_allclose(alone.h[0], result.h[1], atol=1e-12)
    assert_allclose(alone.width_intervals[0], result.width_intervals[1], atol=1e-12)


def test_trend_of_one_degree_less_leaves_no_trace():
    """A linear trend adds a parabola to the profile, which degree 2 takes out; degree 1 does not."""
    noise = fractional_noise(0.5, 4096, 1)
    trend = noise + 1e-2 * np.arange(4096)
    assert_allclose(
        mfdfa(trend, degree=2, draws=0).fluctuations, mfdfa(noise, degree=2, draws=0).fluctuations, rtol=1e-6
    )
    assert mfdfa(trend, draws=0).fluctuations[0, -1, -1] > 10 * mfdfa(noise, draws=0).fluctuations[0, -1, -1]


def test_unevenly_spaced_orders_give_the_same():
    noise = fractional_noise(0.5, 4096, 2)
    some = [-5.0, -4.5, -1.0, 0.0, 2.0, 5.0]
    few = mfdfa(noise, orders=some, draws=0)
    at = np.searchsorted(mfdfa(noise, draws=0).orders, some)
    assert_allclose(few.fluctuations, mfdfa(noise, draws=0).fluctuations[:, at], rtol=1e-12)


def test_rhythm_a_constant_and_a_short_series_give_no_number():
    """F of a rhythm of period 64 saturates beyond it: from slope 2 to slope 0 within 1.5 decades."""
    steps = np.arange(8192)
    result = mfdfa(np.stack([np.sin(2 * np.pi * steps / 64), np.full(8192, 3.0)]))
    assert result.outcomes == (Outcome.NO_SCALING, Outcome.NO_SCALING) and result.nulls == ()
    assert np.isnan(result.h).all() and np.isnan(result.widths).all() and (result.ranges == 0).all()
    assert result.misfits[0] > 0.15 and np.isnan(result.misfits[1])
    assert result.summary().startswith("0 of 2 series multifractal beyond their nulls; 0 of 2 scale over 1.5 decades")
    short = mfdfa(np.random.default_rng(0).standard_normal((3, 4095)))
    assert short.outcomes == (Outcome.TOO_SHORT,) * 3 and np.isnan(short.h).all()
    assert "0 of 3 series measured: each had too little data" in short.summary()
    for empty in (np.zeros((0, 5000)), np.zeros((2, 0)), np.zeros(1)):
        assert len(mfdfa(empty).outcomes) == np.atleast_2d(empty).shape[0]


def test_series_that_rests_most_of_the_time_is_measured_where_windows_are_left():
    """A unit that is off for 3000 steps of 8192: its windows are left out, the rest is white noise."""
    x = np.random.default_rng(0).standard_normal(8192)
    x[4000:7000] = 0.0
    result = mfdfa(x, draws=0)
    assert_allclose(result.left_out[0, 0], 3000 / 8192, atol=0.01)
    assert_allclose(h_at(result, [2.0]), 0.5, atol=0.1)
    sparse = np.where(np.random.default_rng(1).random(8192) < 0.98, 0.0, 1.0)  # rests between every two spikes
    assert mfdfa(sparse).outcomes == (Outcome.NO_SCALING,)


def test_draws_follow_the_generator_and_a_watch_may_stop_them():
    noise = fractional_noise(0.5, 4096, 2)
    first, again, other = (mfdfa(noise[0], draws=3, generator=torch.Generator().manual_seed(n)) for n in (1, 1, 2))
    np.testing.assert_array_equal(first.nulls[0].draws, again.nulls[0].draws)
    assert not np.array_equal(first.nulls[0].draws, other.nulls[0].draws)
    stopped = mfdfa(noise, draws=3, watch=lambda states, total: iter([next(states)]))
    assert len(stopped.nulls) == 2 and not stopped.beats_nulls.any()
    assert "0 of 2 series shown to be multifractal, for no null was drawn" in mfdfa(noise, draws=0).summary()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"orders": (-1.0, 2.0)}, "three orders at least"),
        ({"orders": (-20.0, 0.0, 20.0)}, "of size 15 at most"),
        ({"overlap": 1.0}, r"the overlap is in \[0, 1\)"),
        ({"degree": -1}, "degree and draws are not negative"),
        (
            {"scales": (3, 64)},
            "windows have 4 steps at least and 1024 at most, a quarter of the series, but 3 to 64 came",
        ),
        ({"scales": (16, 2000)}, "but 16 to 2000 came"),
    ],
)
def test_wrong_questions_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        mfdfa(np.zeros(4096), **wrong)


def test_wrong_series_are_refused():
    with pytest.raises(InputError, match=r"shape \(series, steps\) or \(steps,\), but \(2, 3, 4\) came"):
        mfdfa(np.zeros((2, 3, 4)))
    with pytest.raises(InputError, match="1 of 3 entries are not finite"):
        mfdfa([1.0, np.nan, 2.0])
