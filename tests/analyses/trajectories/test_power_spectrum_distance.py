import math

import numpy as np
import pytest

from analyses.trajectories.power_spectrum_distance import power_spectrum_distance
from hooks.errors import InputError
from hooks.trajectory import Trajectory

STEPS = 4096


def wave(cycles, steps=STEPS, phase=0.0):
    return Trajectory(np.sin(2 * np.pi * cycles * np.arange(steps) / steps + phase)[None, :, None])


def noise(steps=STEPS, dim=1, seed=0, runs=1):
    return Trajectory(np.random.default_rng(seed).standard_normal((runs, steps, dim)))


def specimens():
    flat = Trajectory(np.zeros((1, 9, 1)))
    return [
        power_spectrum_distance(noise(64, 2), noise(64, 2, seed=1), others=noise(64, 2, seed=2, runs=2)),
        power_spectrum_distance(flat, flat),
    ]


@pytest.mark.parametrize("apart", [20, 40, 80])
def test_two_lines_smoothed_by_gaussians_are_as_far_apart_as_those(apart):
    found = power_spectrum_distance(wave(800), wave(800 + apart))
    # Bhattacharyya coefficient exp(-apart^2 / 8 sigma^2) of two Gaussians, each cut 80 bins from its middle: their product is a
    # Gaussian of the same sigma in the middle between them, of which 80.5 - apart / 2 bins to either side are left
    coefficient = math.exp(-(apart**2) / (8 * 20**2)) * math.erf((80.5 - apart / 2) / 20 / math.sqrt(2))
    assert found.distance == pytest.approx(math.sqrt(1 - coefficient / math.erf(80.5 / 20 / math.sqrt(2))), abs=1e-4)


def test_far_frequencies_are_at_1_and_phase_size_and_offset_do_not_matter():
    assert power_spectrum_distance(wave(200), wave(1500)).distance == pytest.approx(1, abs=1e-6)
    moved = Trajectory(5 + 3 * wave(200, phase=1.0).states)
    assert power_spectrum_distance(wave(200), moved).distance == pytest.approx(0, abs=1e-6)


def test_two_white_noises_are_apart_by_what_the_smoothing_leaves():
    # smoothed power is a mean of exponentials over 2 sigma sqrt pi = 71 bins: relative variance 1/71, H^2 = 2/71/8.
    # A mean over 12 coordinates with some 29 such bands each: good to 1 / sqrt(2 * 12 * 29) = 4 %
    found = power_spectrum_distance(noise(dim=12), noise(dim=12, seed=1))
    assert found.distance == pytest.approx(math.sqrt(2 / (2 * 20 * math.sqrt(math.pi)) / 8), rel=0.12)
    assert 0.5 < found.halves / found.distance < 3  # halves are smoothed alike in frequency, so over half the bins


def test_white_noise_of_the_true_kind_is_not_told_from_other_recordings_but_a_walk_is():
    others = noise(1024, seed=5, runs=19)
    same = power_spectrum_distance(noise(1024), noise(1024, seed=3), others=others)
    walk = Trajectory(noise(1024, seed=4).states.cumsum(axis=1))
    other = power_spectrum_distance(noise(1024), walk, others=others)
    assert not same.nulls[0].beaten and "not shown to differ" in same.summary()
    assert other.nulls[0].beaten and other.distance > 0.5


def test_constants_and_orbits_that_overflowed_are_told():
    both = Trajectory(np.concatenate([noise(64).states, np.ones((1, 64, 1))], axis=2))
    swapped = Trajectory(both.states[:, :, ::-1])
    assert power_spectrum_distance(both, both).distances == pytest.approx([0, 0], abs=1e-6)
    assert power_spectrum_distance(both, swapped).distances.tolist() == [1, 1]
    cut = np.where(np.arange(64)[None, :, None] < 60, noise(64).states, np.nan)
    assert power_spectrum_distance(noise(64), Trajectory(cut, lengths=np.array([60]))).distance == 1


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(InputError, match="the same steps, 8 at least, and coordinates"):
        power_spectrum_distance(noise(64), noise(65))
    with pytest.raises(InputError, match="the same steps, 8 at least"):
        power_spectrum_distance(noise(4), noise(4))
    with pytest.raises(InputError, match="generated needs one run, not 2"):
        power_spectrum_distance(noise(64), noise(64, runs=2), others=noise(64, runs=3))
    with pytest.raises(InputError, match="a number of bins, not -1"):
        power_spectrum_distance(noise(64), noise(64), smoothing=-1.0)
    cut = np.where(np.arange(64)[None, :, None] < 60, noise(64).states, np.nan)
    with pytest.raises(InputError, match="runs that were cut"):
        power_spectrum_distance(Trajectory(cut, lengths=np.array([60])), noise(64))
