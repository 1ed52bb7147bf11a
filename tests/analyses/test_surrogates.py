import numpy as np
import pytest
import torch

from analyses.surrogates import (
    amplitude_adjusted,
    block_shuffled,
    increments_flipped,
    increments_shuffled,
    phase_randomised,
    random_walk,
    shuffled,
)
from hooks.errors import InputError

EVERY = [shuffled, increments_shuffled, increments_flipped, random_walk, phase_randomised, amplitude_adjusted,
         lambda series, **options: block_shuffled(series, block=3, **options)]  # fmt: skip


def recording(rows=3, steps=257, channels=None, seed=0):
    """Correlated and skewed: an autoregression of exponential noise."""
    noise = np.random.default_rng(seed).exponential(size=(rows, steps, channels or 1))
    for t in range(1, steps):
        noise[:, t] += 0.8 * noise[:, t - 1]
    return noise if channels else noise[:, :, 0]


def spectrum(values):
    return np.abs(np.fft.rfft(values, axis=1))


def skewness(values):
    return ((values - values.mean()) ** 3).mean() / values.std() ** 3


@pytest.mark.parametrize("surrogate", EVERY)
@pytest.mark.parametrize("steps", [0, 1, 2, 3, 64, 65])
def test_shape_is_kept_the_input_is_untouched_and_a_seed_gives_the_same_again(surrogate, steps):
    values = recording(2, 65)[:, :steps]
    before = values.copy()
    first = surrogate(values, generator=torch.Generator().manual_seed(1))
    assert first.shape == values.shape and first.dtype == np.float64
    np.testing.assert_array_equal(values, before)
    np.testing.assert_array_equal(first, surrogate(values, generator=torch.Generator().manual_seed(1)))
    if steps > 60:
        assert not np.array_equal(first, surrogate(values, generator=torch.Generator().manual_seed(2)))
        assert not np.array_equal(first[0], first[1])


@pytest.mark.parametrize("surrogate", EVERY)
def test_a_constant_stays_constant(surrogate):
    np.testing.assert_allclose(surrogate(np.full((2, 16), 3.0)), 3.0, rtol=1e-15)


@pytest.mark.parametrize("channels", [None, 4])
def test_a_shuffle_keeps_the_values_and_the_channels_together(channels):
    values = recording(channels=channels)
    drawn = shuffled(values)
    np.testing.assert_array_equal(np.sort(drawn, axis=1), np.sort(values, axis=1))
    if channels:  # each row of channels is one of the recording's
        assert {tuple(step) for step in drawn[0]} == {tuple(step) for step in values[0]}


def test_a_block_shuffle_keeps_the_order_within_blocks_and_the_rest():
    values = np.arange(11.0)[None]
    drawn = block_shuffled(values, block=4)[0]
    starts = [int(np.flatnonzero(drawn == first)[0]) for first in (0.0, 4.0, 8.0)]
    for first, begin in zip((0.0, 4.0, 8.0), starts, strict=True):
        length = 3 if first == 8.0 else 4
        np.testing.assert_array_equal(drawn[begin : begin + length], first + np.arange(length))
    np.testing.assert_array_equal(block_shuffled(values, block=11), values)


@pytest.mark.parametrize("channels", [None, 3])
def test_walks_begin_where_the_series_does_and_keep_their_increments(channels):
    values = recording(channels=channels)
    steps = np.diff(values, axis=1)
    mixed, flipped = increments_shuffled(values), increments_flipped(values)
    np.testing.assert_allclose(mixed[:, [0, -1]], values[:, [0, -1]], atol=1e-11)  # a sum of 257 in another order
    np.testing.assert_allclose(np.sort(np.diff(mixed, axis=1), axis=1), np.sort(steps, axis=1), atol=1e-11)
    np.testing.assert_allclose(np.abs(np.diff(flipped, axis=1)), np.abs(steps), atol=1e-11)
    assert 0.3 < (np.diff(flipped, axis=1) * steps > 0).mean() < 0.7


def test_a_random_walk_has_the_mean_and_covariance_of_the_increments():
    values = recording(1, 401, 3, seed=2).cumsum(axis=1)
    steps = np.diff(values, axis=1)[0]
    walks = np.diff(random_walk(np.repeat(values, 500, axis=0)), axis=1).reshape(-1, 3)
    # 200 000 independent increments: 4 standard errors of a mean and of a covariance
    sizes = steps.std(axis=0)
    assert (np.abs(walks.mean(axis=0) - steps.mean(axis=0)) < 4 * sizes / np.sqrt(len(walks))).all()
    far = np.abs(np.cov(walks.T, bias=True) - np.cov(steps.T, bias=True))
    assert (far < 4 * np.sqrt(2 / len(walks)) * sizes[:, None] * sizes[None]).all()


@pytest.mark.parametrize("steps", [256, 257])
def test_random_phases_keep_the_spectra_and_cross_spectra(steps):
    values = recording(2, steps, 3)
    drawn = phase_randomised(values)
    here, there = np.fft.rfft(values, axis=1), np.fft.rfft(drawn, axis=1)
    np.testing.assert_allclose(np.abs(there), np.abs(here), rtol=1e-9)
    crossed = here[:, :, :1] * here.conj(), there[:, :, :1] * there.conj()
    np.testing.assert_allclose(*crossed, rtol=1e-9, atol=1e-9 * np.abs(crossed[0]).max())
    # the skewness of exponential noise is gone: phases make it Gaussian
    many = phase_randomised(np.repeat(values[:1, :, 0], 200, axis=0))
    assert (
        abs(((many - many.mean()) ** 3).mean() / many.std() ** 3)
        < 0.3
        < ((values - values.mean()) ** 3).mean() / values.std() ** 3
    )


def test_amplitude_adjustment_keeps_the_values_exactly_and_nearly_the_spectrum():
    values = recording(4, 2048)
    drawn = amplitude_adjusted(values)
    np.testing.assert_array_equal(np.sort(drawn, axis=1), np.sort(values, axis=1))
    expected = spectrum(values)[:, 1:]
    left, shuffle = (
        ((spectrum(kind)[:, 1:] - expected) ** 2).sum(axis=1) / (expected**2).sum(axis=1)
        for kind in (drawn, shuffled(values))
    )
    assert left.max() < 0.01 < 0.2 < shuffle.min()  # under a per cent of the variance, as its docstring says


def test_what_is_no_recording_is_refused():
    with pytest.raises(InputError, match=r"but shape \(5,\) came"):
        shuffled(np.zeros(5))
    with pytest.raises(InputError, match="1 values of the series are not finite"):
        phase_randomised([[1.0, np.nan]])
    with pytest.raises(InputError, match="one step at least, not 0"):
        block_shuffled(np.zeros((1, 4)), block=0)
    with pytest.raises(InputError, match=r"takes series \(rows, steps\), but shape \(1, 4, 2\)"):
        amplitude_adjusted(np.zeros((1, 4, 2)))
