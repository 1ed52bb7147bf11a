import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from analyses.result import Outcome
from analyses.trajectories.havok import havok
from hooks.dynamics import rollout
from hooks.errors import InputError
from hooks.families import flow
from hooks.trajectory import Trajectory

DT = 0.005


def specimens():
    return [havok(tones(200), delays=10, rank=4, draws=3), havok(Trajectory(np.zeros((1, 5, 1))), delays=10, rank=4)]


def tones(steps):
    """Whole periods in a hundred steps, so that the mean is 0."""
    turn = 2 * np.pi * np.arange(steps) / 100
    return Trajectory((np.sin(turn) + 0.3 * np.cos(3 * turn))[None, :, None])


@pytest.fixture(scope="module")
def lorenz():
    def velocity(s, _):
        x, y, z = s.unbind(1)
        return torch.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z], 1)

    starts = np.random.default_rng(0).normal(0, 5, (10, 3)) + np.array([0, 0, 25])
    return rollout(flow(velocity, 3, dt=DT), starts, steps=2000, burn_in=1000)


def test_two_tones_are_four_linear_coordinates_that_step_exactly():
    found = havok(tones(500), delays=20, rank=8, draws=0)
    assert len(found.predicted) == 4 and found.dropped == 4  # a tone is two exponentials
    # of all four coordinates, three as the linear ones and one as the forcing: the step is exact
    assert found.predicted == pytest.approx(np.ones(4), abs=1e-9) and found.followed[0] == pytest.approx(1, abs=1e-9)
    assert found.nulls == () and found.checks[0].passed


def test_singular_values_of_one_tone_are_those_of_its_closed_form():
    period, delays = 40, 10
    wave = np.sqrt(2) * np.sin(2 * np.pi * np.arange(200 * period + delays - 1) / period)
    found = havok(Trajectory(wave[None, :, None]), delays=delays, rank=2, draws=0)
    # covariance cos(w (i - j)) of rank 2: eigenvalues (q +- sin(q w) / sin w) / 2
    w = 2 * np.pi / period
    expected = np.sqrt((delays + np.array([1, -1]) * math.sin(delays * w) / math.sin(w)) / 2)
    assert found.singular_values[:2] == pytest.approx(expected, rel=1e-3)  # the mean over windows cut at the ends


def test_lorenz_is_linear_but_for_a_forcing_with_long_tails(lorenz):
    found = havok(lorenz, delays=20, rank=8)
    # the source's statement: all but the last coordinate step linearly, the last does not
    assert found.predicted[:-1].min() > 0.99 and found.predicted[-1] < 0.6
    assert found.followed[0] > 0.9 and found.followed[1] < 0.3
    assert found.nulls[0].beaten and found.kurtosis > 5 > found.nulls[0].draws.max()
    assert "intermittent forcing is not shown" not in found.summary()


def test_forcing_rises_before_the_lobe_is_left(lorenz):
    found = havok(lorenz, delays=20, rank=8, draws=0)
    x = lorenz.states[:, :, 0]
    switch = np.sign(x[:, 1:]) != np.sign(x[:, :-1])
    ahead = np.stack([np.roll(switch, -lag, axis=1) for lag in range(80)]).any(
        axis=0
    )  # within 0.4 of time, after the window
    ahead[:, -80:] = False
    run, step = found.places.T
    inside = step < switch.shape[1] - 80
    soon = ahead[run[inside], step[inside]]
    power = found.forcing[inside] ** 2
    assert power[soon].mean() > 4 * power[~soon].mean()


def test_smooth_gaussian_noise_has_no_intermittent_forcing():
    noise = gaussian_filter1d(np.random.default_rng(0).standard_normal((10, 2000)), 15, axis=1)
    found = havok(Trajectory(noise[:, :, None]), delays=20, rank=8)
    # its last coordinate is badly predicted as well, which alone says nothing
    assert found.predicted[-1] < 0.8 and not found.nulls[0].beaten
    assert "so intermittent forcing is not shown" in found.summary()


def test_windows_stay_within_runs_and_say_where_they_end():
    steps = np.arange(60.0)
    runs = np.stack([np.sin(0.3 * steps), np.sin(0.3 * steps + 1), np.full(60, np.nan)])[:, :, None]
    runs[1, 40:] = np.nan
    runs[2, :5] = 0
    found = havok(Trajectory(runs, lengths=np.array([60, 40, 5])), delays=10, rank=4, draws=0)
    assert len(found.places) == 51 + 31 and found.places[0].tolist() == [0, 9] and found.places[-1].tolist() == [1, 39]
    centred = np.concatenate([runs[0, :, 0], runs[1, :40, 0]]).mean()
    last = np.sqrt(len(found.forcing)) * found.forcing  # the projection of the window on its shape, over its size
    window = runs[1, 30:40, 0] - centred
    size = found.singular_values[len(found.predicted) - 1] * np.sqrt(len(found.forcing))
    assert last[-1] == pytest.approx(window @ found.basis[:, -1] / size * len(found.forcing), rel=1e-6)


def test_what_is_constant_short_or_out_of_range():
    still = havok(Trajectory(np.ones((1, 100, 1))), delays=20, rank=8)
    assert len(still.predicted) == 0 and still.dropped == 8 and still.outcome is Outcome.CONVERGED
    assert "nothing is left to be a forcing" in still.summary()
    short = havok(tones(40), delays=20, rank=8)
    assert short.outcome is Outcome.TOO_SHORT and short.summary().startswith("0 delay coordinates")
    with pytest.raises(InputError, match="there are 1 coordinates, numbered from 0, but 1 was asked"):
        havok(tones(40), coordinate=1)
    with pytest.raises(InputError, match="2 <= rank <= delays"):
        havok(tones(40), delays=5, rank=6)
