import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from analyses.result import Outcome
from analyses.series.zero_one import ZeroOne, zero_one_test
from hooks.dynamics import rollout
from hooks.errors import InputError
from tests.known import logistic

# K is 0 or 1 in the limit. A bounded M correlates with 200 lags by chance, about 1 / sqrt(200) at one frequency and less in the
# median of 100; a walk's M strays from its line by a share of order 0.1, which costs the correlation about its square.
NEAR = 0.05
STEPS = 2000


def logistic_series(r, steps=STEPS):
    return rollout(logistic(r), [[0.3]], steps=steps + 1000).states[0, 1001:, 0]


def lorenz(steps, dt=0.01):
    """Lorenz 1963 by Runge-Kutta, past its transient; a turn takes 75 steps of 0.01."""

    def field(s):
        return np.array([10 * (s[1] - s[0]), s[0] * (28 - s[2]) - s[1], s[0] * s[1] - 8 / 3 * s[2]])

    s, states = np.array([1.0, 1.0, 25.0]), []
    for _ in range(steps + 1000):
        a = field(s)
        b = field(s + dt / 2 * a)
        c = field(s + dt / 2 * b)
        s = s + dt / 6 * (a + 2 * b + 2 * c + field(s + dt * c))
        states.append(s)
    return np.array(states[1000:])


@pytest.fixture(scope="module")
def four():
    return zero_one_test(np.stack([logistic_series(r) for r in (4.0, 3.97, 3.5, 3.55)]))


def test_logistic_is_chaotic_at_4_and_397_and_periodic_at_35_and_355(four):
    """r = 3.5 has a stable four-cycle, r = 3.55 a stable eight-cycle: both below the accumulation point 3.5699."""
    assert_allclose(four.K, [1, 1, 0, 0], atol=NEAR)
    assert four.verdicts == ("irregular", "irregular", "regular", "regular")
    assert [null.beaten for null in four.nulls] == [True, True, False, False]
    assert "2 of 4 series irregular (chaos or noise" in four.summary()
    assert all(check.passed for check in four.checks)


def test_standard_map_is_chaotic_by_its_saddle_and_regular_in_its_island():
    """ChaosTools' tests: chaos from (0.001, 0.008) and none from (pi, 0.01) at kick 1, whichever observable is recorded."""
    x, p = np.array([0.001, math.pi]), np.array([0.008, 0.01])
    states = []
    for _ in range(STEPS):
        p = (p + np.sin(x)) % (2 * math.pi)
        x = (x + p) % (2 * math.pi)
        states.append([x, p])
    for series in np.moveaxis(np.array(states), 0, -1):
        result = zero_one_test(np.sin(series))
        assert_allclose(result.K, [1, 0], atol=NEAR)
        assert result.verdicts == ("irregular", "regular")


def test_displacement_by_fft_is_the_displacement_by_its_definition():
    """The definition written out: p, q, M(n), and the correlation of M with n."""
    x = logistic_series(3.8, 400)
    result = zero_one_test(x, frequencies=3, draws=0)
    centred = x - x.mean()
    for c, K in zip(result.frequencies, result.by_frequency[0], strict=True):
        j = np.arange(1, 401)
        p, q = np.cumsum(centred * np.cos(c * j)), np.cumsum(centred * np.sin(c * j))
        M = [np.mean((p[n : 360 + n] - p[:360]) ** 2 + (q[n : 360 + n] - q[:360]) ** 2) for n in range(1, 41)]
        assert_allclose(K, np.corrcoef(np.arange(1, 41), M)[0, 1], atol=1e-10)


def test_quasi_periodic_circle_map_is_regular():
    """theta' = theta + 0.38 - 0.5 / (2 pi) sin(2 pi theta) is invertible (0.5 < 1), so it has no chaos."""
    theta, series = 0.1, []
    for _ in range(STEPS):
        theta += 0.38196 - 0.5 / (2 * math.pi) * math.sin(2 * math.pi * theta)
        series.append(math.sin(2 * math.pi * theta))
    result = zero_one_test(series)
    assert_allclose(result.K, 0, atol=NEAR)
    assert result.verdicts == ("regular",)


def test_white_noise_gives_one_and_the_summary_says_that_the_test_cannot_tell():
    result = zero_one_test(np.random.default_rng(0).standard_normal(STEPS))
    assert_allclose(result.K, 1, atol=NEAR)
    assert "chaos or noise: the test cannot tell" in result.summary()


def test_a_flow_sampled_too_finely_is_said_to_be_and_the_advised_stride_repairs_it():
    z = lorenz(12000)[:, 2]
    fine = zero_one_test(z, draws=0)
    assert fine.K[0] < 0.2 and fine.verdicts == ("sampled too finely",)
    assert 60 < fine.steps_per_turn[0] < 90  # 75.1 between maxima of z
    assert f"take stride={fine.advised_strides[0]}" in fine.summary()
    coarse = zero_one_test(z, stride=int(fine.advised_strides[0]))
    assert_allclose(coarse.K, 1, atol=NEAR)
    assert coarse.verdicts == ("irregular",) and coarse.advised_strides[0] == coarse.stride


def test_a_slow_sine_is_not_called_regular_until_it_is_strided():
    sine = np.sin(0.01 * np.arange(200_000))
    slow = zero_one_test(sine[:2000], draws=0)
    assert slow.verdicts == ("sampled too finely",)
    assert zero_one_test(sine, stride=157, draws=0).verdicts == ("regular",)


def test_origin_and_unit_do_not_matter(four):
    again = zero_one_test(1e3 + 7 * logistic_series(4.0), draws=0)
    assert_allclose(again.by_frequency[0], four.by_frequency[0], atol=1e-8)


def test_damping_lowers_k_of_a_cycle_under_weak_noise():
    """A four-cycle with 20 % of noise: its walk diffuses; the damping lowers K, and leaves full chaos above 0.8."""
    noise = np.random.default_rng(0).standard_normal(STEPS)
    noisy = logistic_series(3.5) + 0.2 * noise * logistic_series(3.5).std()
    plain, damped = (zero_one_test(noisy, damping=damping, draws=0).K[0] for damping in (0.0, 2.5))
    assert plain > damped + 0.1
    assert zero_one_test(logistic_series(4.0), damping=2.5, draws=0).K[0] > 0.8


def test_constant_and_short_series_are_said():
    still = zero_one_test(np.full((1, 500), 0.1))
    assert still.K.tolist() == [0.0] and still.verdicts == ("constant",) and still.nulls == ()
    short = zero_one_test(np.zeros((2, 299)))
    assert short.outcome is Outcome.TOO_SHORT and np.isnan(short.K).all() and "0 of 2 series tested" in short.summary()
    assert zero_one_test(np.zeros((0, 500))).K.shape == (0,)


def test_refusals():
    with pytest.raises(InputError, match=r"shape \(series, steps\) or \(steps,\), but \(1, 2, 3\) came"):
        zero_one_test(np.zeros((1, 2, 3)))
    with pytest.raises(InputError, match="1 of 3 entries are not finite"):
        zero_one_test([0.0, math.nan, 1.0])
    with pytest.raises(InputError, match="stride=0"):
        zero_one_test(np.zeros(500), stride=0)


def test_result_survives_writing(four):
    again = ZeroOne.from_dict(four.to_dict())
    assert_allclose(again.by_frequency, four.by_frequency, atol=0)
    assert again.summary() == four.summary() and again.plot().get_ylabel() == "K"
