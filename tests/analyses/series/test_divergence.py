import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.signal import lfilter

from analyses.result import Outcome
from analyses.series.divergence import Divergence, divergence_rate
from hooks.dynamics import rollout
from hooks.errors import InputError
from tests.analyses.series.test_zero_one import logistic_series, lorenz
from tests.known import henon

# Beyond the stated error, of which the range's choice is no part: the curve bends towards saturation before its end, and
# neighbours turn to the fastest direction only after its beginning.
BIAS = 0.05


def agrees(result, exponent, bias=BIAS):
    return abs(result.rate - exponent) <= 3 * result.rate_error + bias * exponent


@pytest.fixture(scope="module")
def chaotic():
    return divergence_rate(logistic_series(4.0, 3000), dimension=1)


def test_logistic_parts_at_ln_2(chaotic):
    assert agrees(chaotic, math.log(2), bias=0.01)  # one direction only, so no alignment to wait for
    assert chaotic.first >= 0 and chaotic.last - chaotic.first >= 4
    assert chaotic.nulls[0].beaten and not chaotic.nulls[0].draws.any()
    assert all(check.passed for check in chaotic.checks)


def test_logistic_at_397_parts_at_the_mean_log_slope_of_its_own_orbit():
    x = logistic_series(3.97, 3000)
    assert agrees(divergence_rate(x, draws=0), np.log(np.abs(3.97 * (1 - 2 * x))).mean())


def test_embedding_and_neighbours_leave_the_exponent():
    x = logistic_series(4.0, 3000)
    assert agrees(divergence_rate(x, draws=0), math.log(2), bias=0.01)
    assert agrees(divergence_rate(x, dimension=1, neighbours=5, draws=0), math.log(2), bias=0.02)


def test_saturation_is_that_of_two_independent_states():
    """E ln|x - y| = -ln 4 for x, y independent with the arcsine density: the logarithmic capacity of [0, 1] is 1/4."""
    result = divergence_rate(logistic_series(4.0, 20_000), dimension=1, draws=0)
    assert_allclose(
        result.saturation, -math.log(4), atol=0.02
    )  # 80 000 pairs of standard deviation 1.3, weakly dependent


@pytest.mark.parametrize("variables", [1, 2])
def test_henon_from_one_variable_or_two(variables):
    states = rollout(henon(), [[0.1, 0.1]], steps=4000).states[0, 1000:]
    assert agrees(divergence_rate(states[:, :variables], draws=0), 0.41922)


def test_the_stated_error_holds_over_forty_recordings_of_henon():
    """Within two errors 95 % of the time: of 40, 34 or more but for a chance below 1 % (binomial)."""
    states = rollout(henon(), [[0.1, 0.1]], steps=40 * 2000 + 1000).states[0, 1001:].reshape(40, 2000, 2)
    results = [divergence_rate(recording, draws=0) for recording in states]
    assert sum(abs(result.rate - 0.41922) <= 2 * result.rate_error for result in results) >= 34


@pytest.mark.parametrize("variables", [1, 3])
def test_lorenz_per_unit_of_time(variables):
    """100 units of time: neighbours are far apart and the range short, so within 10 % beyond the error that it states."""
    states = lorenz(10_000)
    result = divergence_rate(states[:, :variables], dt=0.01)
    assert agrees(result, 0.9056, bias=0.1) and 0.6 < result.rate < 1.2
    assert result.nulls[0].beaten


def test_runs_are_joined_and_time_is_in_units_of_the_clock(chaotic):
    x = logistic_series(4.0, 3000)
    runs = divergence_rate(x.reshape(10, 300, 1), dimension=1, dt=0.5, draws=0)
    assert agrees(runs, math.log(2) / 0.5, bias=0.01)
    assert runs.pairs > 10 * (300 - 60 - 1) - 20


@pytest.mark.parametrize("dimension", [1, 3, 6])
def test_white_noise_has_no_linear_range(dimension):
    result = divergence_rate(np.random.default_rng(0).standard_normal(3000), dimension=dimension)
    assert math.isnan(result.rate) and result.first == result.last == -1
    assert "within 1.5 of saturation" in result.reason and "no linear range" in result.summary() and result.nulls == ()


def test_coloured_noise_has_no_linear_range():
    noise = np.random.default_rng(0).standard_normal(4000)
    smooth = np.convolve(noise, np.hanning(40), "valid")
    walk = np.cumsum(noise)
    assert all(math.isnan(divergence_rate(x, draws=0).rate) for x in (smooth, walk))


def test_neighbours_on_a_sine_do_not_part():
    """sin(0.37 n): states are points of a circle turned by the same angle, so distances stay as they are."""
    result = divergence_rate(np.sin(0.37 * np.arange(3000)), draws=0)
    assert "neighbours do not part" in result.reason
    assert_allclose(result.curve, result.curve[0], atol=0.01)  # distances in the embedding turn on an ellipse


@pytest.mark.parametrize("series", [np.full(1000, 0.1), np.tile([0.0, 1.0, 3.0], 400)])
def test_a_constant_and_an_exact_cycle_have_no_pairs(series):
    result = divergence_rate(series)
    assert result.pairs == 0 and math.isnan(result.rate) and "a constant, an exact cycle" in result.summary()
    assert result.curve.shape == (0,) and result.nulls == ()


def test_too_short_is_said():
    result = divergence_rate(np.random.default_rng(0).standard_normal(150))
    assert result.outcome is Outcome.TOO_SHORT and "fewer than 200" in result.summary()
    assert divergence_rate(np.zeros(0)).outcome is Outcome.TOO_SHORT
    assert divergence_rate(np.zeros((3, 1, 2))).outcome is Outcome.TOO_SHORT


def test_pairs_are_further_apart_in_time_than_the_window():
    """A slow spiral: the nearest state is the next in time, which the window excludes, so S(0) is the gap of its arms."""
    t = np.linspace(0, 20 * math.pi, 4000)
    spiral = np.stack([t * np.cos(t), t * np.sin(t)], axis=1)  # arms 2 pi apart, 400 steps a turn
    result = divergence_rate(spiral, theiler=200, horizon=20, draws=0)
    assert 1.5 < result.curve[0] < math.log(2 * math.pi) + 0.05
    assert divergence_rate(spiral, theiler=0, horizon=20, draws=0).curve[0] < 0


def test_a_window_or_a_number_of_neighbours_that_leaves_none_is_said():
    x = np.random.default_rng(0).standard_normal(400)
    for options in ({"theiler": 400}, {"neighbours": 360}, {"neighbours": 4000}):
        result = divergence_rate(x, **options)
        assert result.pairs == 0 and "too wide a window" in result.reason


def test_refusals():
    with pytest.raises(InputError, match=r"at least 1, .* but \(1, 0, "):
        divergence_rate(np.zeros(500), dimension=0)
    with pytest.raises(InputError, match=r"dt=0"):
        divergence_rate(np.zeros(500), dt=0.0)
    with pytest.raises(InputError, match="not finite"):
        divergence_rate([0.0, math.inf])
    with pytest.raises(InputError, match=r"up to 1e\+200 .* rescale"):
        divergence_rate([0.0, 1e200])


def test_result_survives_writing_and_draws_its_range(chaotic):
    again = Divergence.from_dict(chaotic.to_dict())
    assert again.summary() == chaotic.summary()
    drawn = chaotic.plot()
    assert len(drawn.lines) == 3 and drawn.get_xlabel() == "time"
    assert_allclose(drawn.lines[1].get_xdata(), chaotic.times[chaotic.first : chaotic.last + 1])


def test_a_smooth_start_of_linear_noise_is_no_line():
    """Noise of one resonance, ringing for 100 steps, at 60 settings: smooth and correlated, but it has no exponent."""
    generator, lines = np.random.default_rng(0), 0
    for turn in np.linspace(4, 120, 60):
        pole = 0.99 * np.exp(2j * np.pi / turn)
        x = lfilter([1], [1, -2 * pole.real, abs(pole) ** 2], generator.standard_normal(2000))
        lines += math.isfinite(divergence_rate(x, draws=0).rate)
    assert lines <= 3  # 5 % of 60
