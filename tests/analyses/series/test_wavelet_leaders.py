import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from analyses.result import Outcome
from analyses.series._wavelets import coefficients, daubechies, leaders
from analyses.series.wavelet_leaders import wavelet_leaders
from hooks.errors import InputError
from tests.known import binomial_cascade, fractional_noise, lognormal_cascade, multifractal_noise

STEPS = 2**14
Q = np.array([-5.0, -3.0, -2.0, -1.0, 1.0, 2.0, 3.0, 5.0])


def measured(series, **options):
    return wavelet_leaders(series, draws=0, **options)


def four_errors(exponents):
    """Of the mean of independent series."""
    return 4 * exponents.std(axis=0, ddof=1) / math.sqrt(len(exponents))


@pytest.fixture(scope="module")
def cascade():
    return measured(binomial_cascade(0.75, 16), orders=Q)


def test_filters_are_those_of_daubechies():
    """Two moments in closed form; for ten, unit norm, orthogonality to even shifts and ten vanishing moments."""
    root = math.sqrt(3)
    assert_allclose(daubechies(1), [math.sqrt(0.5)] * 2, atol=1e-15)
    assert_allclose(daubechies(2), np.array([1 + root, 3 + root, 3 - root, 1 - root]) / math.sqrt(32), atol=1e-14)
    taps = daubechies(10)
    products = [taps[: len(taps) - 2 * k] @ taps[2 * k :] for k in range(10)]
    assert_allclose(products, np.eye(10)[0], atol=1e-9)  # roots of a polynomial of degree 9
    high = taps[::-1] * (-1.0) ** np.arange(20)
    assert_allclose(high @ np.linspace(-1, 1, 20)[:, None] ** np.arange(10), np.zeros(10), atol=1e-9)


def test_coefficients_keep_the_energy_of_a_periodic_series():
    """Parseval: with 2^-j sum d^2 undone and the mean of the series taken out, over all octaves."""
    walk = np.random.default_rng(0).standard_normal((2, 256))
    walk -= walk.mean(axis=1, keepdims=True)
    inside = [
        octave.values[:, octave.first : octave.last] * 2 ** (octave.j / 2) for octave in coefficients(walk, 3, 12)
    ]
    assert_allclose(sum((d**2).sum(axis=1) for d in inside[:8]), (walk**2).sum(axis=1), rtol=1e-10)


@pytest.mark.parametrize("p", [1.5, math.inf])
def test_leaders_are_what_their_definition_says_at_every_interval(p):
    """All intervals of all finer octaves inside three, one by one."""
    octaves = coefficients(np.random.default_rng(1).standard_normal((1, 128)), 2, 4)
    found = list(leaders(octaves, 2, p, np.array([0.5])))
    top = octaves[-1]
    for k in range(top.first, top.last):
        sizes = []
        for octave in octaves:
            step, offset = 2 ** (top.j - octave.j), 1  # coefficient k lies on interval k + N - 1
            inside = np.arange((k - 1 + offset) * step, (k + 2 + offset) * step) - offset
            d = np.abs(octave.values[0, inside]) * 2 ** (0.5 * octave.j)
            sizes.append(d.max() if math.isinf(p) else (d**p).sum() / step)
        expected = max(sizes) if math.isinf(p) else sum(sizes) ** (1 / p)
        assert found[-1][0, k - top.first] == pytest.approx(expected, rel=1e-12)


def test_binomial_cascade_has_its_exact_exponents_at_every_order(cascade):
    """h(q) = 1/q - ln(a^q + (1-a)^q) / (q ln 2), a = 0.75, within 0.03, the bar set for the best estimator at this length."""
    exact = 1 / Q - np.log(0.75**Q + 0.25**Q) / (Q * math.log(2))
    assert_allclose(cascade.h[0], exact, atol=0.03)
    assert_allclose(measured(binomial_cascade(0.75, 16), orders=Q, p=math.inf).h[0], exact, atol=0.03)
    assert cascade.summed[0] and all(check.passed for check in cascade.checks)


def test_binomial_cascade_has_the_cumulants_of_two_values(cascade):
    """h along a path takes 2 and log2(4/3) by fair coins: c1 is their mean, c2 = -(distance / 2)^2 ln 2, c3 = 0."""
    low, high = math.log2(4 / 3), 2.0
    expected = [(low + high) / 2, -(((high - low) / 2) ** 2) * math.log(2), 0.0]
    assert_allclose(cascade.c[0], expected, atol=0.03)
    assert_allclose([cascade.alpha.min(), cascade.alpha.max()], [low, high], atol=0.1)  # the width within 0.1 or so
    assert (cascade.f <= 1.01).all()


@pytest.mark.parametrize("H", [0.3, 0.5, 0.8])
def test_fractional_noise_and_its_walk_have_one_exponent(H):
    """c1 = H within 0.03; c2 = c3 = 0 within 0.01, the bound by which a peer's tests call a series monofractal."""
    noise = fractional_noise(H, STEPS, 16, seed=2)
    walk = np.concatenate([np.zeros((16, 1)), np.cumsum(noise, axis=1)], axis=1)
    of_noise, of_walk = measured(noise), measured(walk)
    assert of_noise.summed.all() and not of_walk.summed.any()
    for result in (of_noise, of_walk):
        assert_allclose(np.nanmean(result.c, axis=0), [H, 0, 0], atol=0.03)
        assert (np.abs(np.nanmean(result.c[:, 1:], axis=0)) < 0.01).all()
        assert np.isfinite(result.c[:, 0]).mean() >= 0.9


@pytest.mark.parametrize(("variance", "p"), [(0.02, 2.0), (0.08, 2.0), (0.08, math.inf)])
def test_multifractal_random_walk_has_its_cumulants(variance, p):
    """c1 = 1/2 + lambda^2 within 0.03, c2 = -lambda^2 within 0.01: four errors of the mean of 16 series are as large."""
    c = measured(multifractal_noise(variance, STEPS, 16, seed=3), p=p).c
    c = c[np.isfinite(c[:, 0])]
    assert_allclose(c.mean(axis=0), [0.5 + variance, -variance, 0.0], atol=0.03)
    assert abs(c[:, 1].mean() + variance) < max(0.01, four_errors(c)[1])


def test_lognormal_cascade_has_its_cumulants():
    """c1 = 1 - c2 / 2; as a measure it is near 1/f, so that it is said that its sum is the walk."""
    c = measured(lognormal_cascade(-0.1, 14, 16, seed=4), walk=False).c
    c = c[np.isfinite(c[:, 0])]
    assert len(c) >= 14
    assert (np.abs(c.mean(axis=0) - [1.05, -0.1, 0.0]) < np.maximum(four_errors(c), 0.02)).all()


def test_integration_is_taken_off_again_and_a_walk_of_noise_is_the_noise():
    noise = fractional_noise(0.6, STEPS, 4, seed=5)
    plain, more = measured(noise, integration=0.0), measured(noise, integration=1.0)
    # what is left is the bias of the less regular one and the spread of the more regular one, whose leaders are fewer
    assert_allclose(plain.c[:, 0], more.c[:, 0], atol=0.05)
    assert (more.integration == 1).all()
    assert_allclose(measured(1e6 + 1e-3 * noise).c, measured(noise).c, atol=1e-4)  # rounding of 1e6, and flat at none


def test_negative_regularity_is_integrated_and_without_that_refused():
    """White noise as a walk: strength -1/2, so that leaders exist from half an order on.

    Within 0.1: the line that joins its ends is as high as the noise, and its jump at the seam shows in the coarsest octaves.
    """
    noise = np.random.default_rng(6).standard_normal(STEPS)
    refused, raised = (measured(noise, walk=True, integration=order) for order in (0.0, 1.0))
    assert refused.outcomes == (Outcome.NO_SCALING,) and "where leaders do not exist" in refused.summary()
    assert np.isnan(refused.c).all() and np.isnan(refused.h).all()
    assert raised.c[0, 0] == pytest.approx(-0.5, abs=0.1)
    assert measured(noise, walk=True).integration[0] == 1.0  # to a regularity of 0.5 at least


def test_flat_runs_do_not_move_the_exponents():
    """32 steps held: the width changes by less than 5 %. 600 held: without their leaders the rest scales."""
    noise = multifractal_noise(0.08, STEPS, seed=7)
    held, longer = noise.copy(), noise.copy()
    held[:, 5000:5032], longer[:, 5000:5600] = noise[:, 5000:5001], noise[:, 5000:5001]
    whole, *others = (measured(series, orders=Q) for series in (noise, held, longer))
    for other, share in zip(others, (0.05, 0.2), strict=True):
        assert np.ptp(other.h) == pytest.approx(np.ptp(whole.h), rel=share)
        assert other.c[0, 1] == pytest.approx(whole.c[0, 1], abs=whole.c_errors[0, 1])
    assert others[1].left_out[0, 0] == pytest.approx(600 / STEPS, abs=0.01)
    assert "flat runs" in others[1].summary()


def test_intervals_hold_the_exponent_about_as_often_as_they_say():
    """40 series: binomial at 95 % has 33 or more with probability 0.9999; block errors are a little short, as its text says."""
    found = measured(fractional_noise(0.5, 2**13, 40, seed=8))
    held = (found.c_intervals[:, 1, 0] <= 0) & (found.c_intervals[:, 1, 1] >= 0)
    assert held[np.isfinite(found.c[:, 0])].sum() >= 33
    assert (found.c2_p < 0.05).sum() <= 7


def test_a_width_counts_only_beside_both_nulls():
    """A multifractal walk beats them; heavy tails without memory have c2 < 0 by their interval, and so have their shuffles."""
    walk = wavelet_leaders(multifractal_noise(0.08, 2**13, seed=9))
    assert walk.multifractal[0] and walk.summary().startswith("1 of 1 series multifractal beyond their nulls")
    assert [null.name for null in walk.nulls] == ["shuffled", "IAAFT"]
    tails = wavelet_leaders(np.random.default_rng(0).standard_t(3, size=STEPS))
    assert tails.c_intervals[0, 1, 1] < 0 and not tails.multifractal[0]


def test_what_does_not_scale_has_no_number():
    """Noise that forgets in 64 steps: a walk below, noise above; a sine; a constant; a line."""
    rng = np.random.default_rng(10)
    forgetting = np.zeros(2**15)
    for t, kick in enumerate(rng.standard_normal(2**15 - 1)):
        forgetting[t + 1] = math.exp(-1 / 64) * forgetting[t] + kick
    t = np.linspace(-1, 1, 2**15)
    found = measured(np.stack([forgetting, np.sin(300 * t), np.full_like(t, 3.0), t]))
    assert found.outcomes == (Outcome.NO_SCALING,) * 4
    assert found.reasons[0].startswith("no 6 octaves on lines") and found.reasons[2:] == ("constant or a line",) * 2
    assert np.isnan(found.c).all() and np.isnan(found.c_intervals).all() and not found.ranges.any()
    assert "0 of 4 series" in found.summary()


def test_too_short_a_series_is_said_to_be():
    found = measured(np.random.default_rng(0).standard_normal(4096))
    assert (
        found.outcomes == (Outcome.TOO_SHORT,) and "0 of 1 series measured: each had too little data" in found.summary()
    )
    assert measured(np.random.default_rng(0).standard_normal(4096), octaves=(3, 8)).outcomes == (Outcome.CONVERGED,)


def test_a_series_is_measured_alone_as_in_a_batch_and_in_any_unit():
    noise = fractional_noise(0.5, 2**13, 40, seed=11)  # two pieces
    batch, alone = measured(noise), measured(1e-30 * noise[37])
    assert_allclose(alone.c[0], batch.c[37], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"orders": (1.0, 2.0)}, "three finite orders at least"),
        ({"p": 0.0}, "p is above 0"),
        ({"moments": 0}, "moments from 1 to 10"),
        ({"octaves": (4, 12)}, "octaves lie from 1 to 9"),
        ({"integration": -0.5}, "integration from 0 to 4"),
    ],
)
def test_misuse_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        wavelet_leaders(np.zeros(2**13), **options)


@pytest.mark.slow
@pytest.mark.parametrize(("c1", "c2", "noise"), [(0.52, -0.02, 1), (0.58, -0.08, 2), (0.8, 0.0, 0)])
def test_pymultifracs_agrees_on_the_same_series(c1, c2, noise):
    """Within its own tests' bounds, series by series: 0.11 in c1 and 0.025 in c2; db3, p = 2, octaves 4 to 11, weights N_j."""
    pymultifracs = pytest.importorskip("pymultifracs")
    series = multifractal_noise(-c2, 2**15, 10) if noise else fractional_noise(c1, 2**15, 10)
    walks = np.cumsum(series, axis=1)
    ours = measured(walks, octaves=(4, 11), integration=0.0, walk=True).c
    p_leaders = pymultifracs.wavelet_analysis(walks.T, wt_name="db3").get_leaders(p_exp=2)
    theirs = pymultifracs.mfa(p_leaders, scaling_ranges=[(4, 11)], weighted="Nj", q=[2], n_cumul=3).cumulants
    for exponents in (ours, np.stack([np.ravel(theirs.c1), np.ravel(theirs.c2)], axis=1)):
        assert (np.abs(exponents[:, :2].mean(axis=0) - [c1, c2]) < [0.11, 0.025]).all()
    assert (np.abs(ours[:, 0] - np.ravel(theirs.c1)) < 0.11).all()
    assert (np.abs(ours[:, 1] - np.ravel(theirs.c2)) < 0.025).all()


def specimens():
    noise = fractional_noise(0.5, 2**13, seed=12)
    return [wavelet_leaders(noise, draws=3), measured(np.zeros((2, 2**13))), measured(np.zeros((1, 8)))]
