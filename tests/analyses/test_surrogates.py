import numpy as np
import pytest
import torch

from analyses.surrogates import (
    amplitude_adjusted,
    block_shuffled,
    increments_flipped,
    increments_shuffled,
    increments_turned,
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


def test_turned_increments_keep_their_lengths_and_entries_and_the_angles_between_rows_of_one_label():
    values = recording(rows=4, steps=30, channels=5)
    labels = np.array([0, 0, 1, 1])
    drawn = increments_turned(values, together=labels)
    steps, turned = np.diff(values, axis=1), np.diff(drawn, axis=1)
    np.testing.assert_allclose(drawn[:, 0], values[:, 0], atol=0)
    np.testing.assert_allclose(np.sort(np.abs(turned), axis=2), np.sort(np.abs(steps), axis=2), atol=1e-11)
    for one, other in ((0, 1), (2, 3)):  # one orthogonal map a label and step
        np.testing.assert_allclose((turned[one] * turned[other]).sum(1), (steps[one] * steps[other]).sum(1), atol=1e-9)
    assert np.abs((turned[0] * turned[2]).sum(1) - (steps[0] * steps[2]).sum(1)).max() > 0.1
    with pytest.raises(InputError, match=r"increments are turned among channels .* \(4, 30\) came"):
        increments_turned(values[:, :, 0])


def test_turned_increments_of_many_channels_point_anywhere():
    # cosine of two independent directions in 400 channels: mean 0, standard deviation 1 / 20; 99 pairs
    steps = np.diff(increments_turned(np.arange(100.0)[None, :, None] * np.ones(400)), axis=1)[0]
    cosines = (steps[1:] * steps[:-1]).sum(1) / 400
    assert abs(cosines.mean()) < 4 / 20 / np.sqrt(98) and cosines.std() == pytest.approx(1 / 20, rel=0.3)


@pytest.mark.parametrize("surrogate", [shuffled, increments_shuffled, increments_flipped, increments_turned])
def test_rows_of_one_label_share_a_draw(surrogate):
    one = recording(rows=1, steps=40, channels=3)
    values = np.repeat(one, 4, axis=0)
    drawn = surrogate(values, together=np.array(["b", "a", "b", "c"]), generator=torch.Generator().manual_seed(3))
    np.testing.assert_array_equal(drawn[0], drawn[2])
    assert not np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[1], drawn[3])
    with pytest.raises(InputError, match=r"together labels each of the 4 rows, but shape \(3,\) came"):
        surrogate(values, together=np.arange(3))


def test_a_walk_without_drift_has_none_and_keeps_the_second_moments():
    values = 2.0 * np.arange(400.0)[None, :, None] * np.ones(3) + recording(1, 400, 3)
    walked = random_walk(np.repeat(values, 200, axis=0), drift=False)
    steps, drawn = np.diff(values[0], axis=0), np.diff(walked, axis=1).reshape(-1, 3)
    moments = steps.T @ steps / len(steps)
    # 8e4 increments: four standard errors of a mean and of a product of Gaussians
    assert np.abs(drawn.mean(axis=0)).max() < 4 * np.sqrt(np.diag(moments).max() / len(drawn))
    np.testing.assert_allclose(drawn.T @ drawn / len(drawn), moments, atol=4 * np.sqrt(2 / len(drawn)) * moments.max())
