import numpy as np
import pytest

from analyses.trajectories.prediction_time import valid_prediction_time
from hooks.errors import InputError
from hooks.trajectory import Trajectory


def truth(runs=4, steps=20, dim=3):
    return Trajectory(np.random.default_rng(0).standard_normal((runs, steps + 1, dim)))


def off_by(errors, true):
    """The truth with an error along one axis, in its deviations."""
    spread = np.sqrt(((true.states - true.points().mean(axis=0)) ** 2).sum(axis=2).mean())
    states = true.states.copy()
    states[:, :, 0] += spread * errors
    return Trajectory(states)


def specimens():
    true = truth()
    cut = np.full((1, 3, 1), np.nan)
    cut[0, 0] = 0.0
    one = Trajectory(np.array([[[0.0], [1.0], [2.0]]]))
    return [
        valid_prediction_time(true, off_by(0.3 * np.arange(21), true), draws=3),
        valid_prediction_time(one, Trajectory(cut, lengths=np.array([1]))),
    ]


def test_an_error_that_doubles_is_too_large_where_it_passes_the_threshold():
    true = truth()
    sizes = np.array([1e-3, 1e-2, 1e-1, 0.0])  # 0.4 is passed after log2(0.4 / size): 8.6, 5.3, 2 exactly, never
    found = valid_prediction_time(true, off_by(sizes[:, None] * 2.0 ** np.arange(21), true), dt=0.5, threshold=0.401)
    assert found.steps.tolist() == [9, 6, 3, 20] and found.lasting.tolist() == [False, False, False, True]
    assert found.durations.tolist() == [4.5, 3.0, 1.5, 10.0]
    assert found.one_step == pytest.approx(2 * np.sqrt((sizes**2).mean()), rel=1e-9)


def test_a_perfect_forecast_lasts_and_beats_forecasts_of_other_runs_while_a_shuffled_one_does_not():
    true = truth(runs=40)
    found = valid_prediction_time(true, true)
    assert found.lasting.all() and found.nulls[0].beaten and not found.one_step
    shuffled = np.random.default_rng(1).permutation(true.states[:, 1:], axis=0)
    assert valid_prediction_time(true, true, threshold=np.float64(0.4)).checks[0].passed
    blind = valid_prediction_time(true, Trajectory(np.concatenate([true.states[:, :1], shuffled], axis=1)))
    assert blind.steps.mean() < 2  # step 1, or 2 where it is near by chance


def test_a_forecast_that_overflows_is_invalid_from_there():
    true = truth(1)
    states = np.where(np.arange(21)[None, :, None] < 7, true.states, np.nan)
    found = valid_prediction_time(true, Trajectory(states, lengths=np.array([7])))
    assert found.steps.tolist() == [7] and found.errors[7:].tolist() == [[np.inf] * 3] * 14 and found.nulls == ()


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(InputError, match="the same runs, steps"):
        valid_prediction_time(truth(4), truth(3))
    with pytest.raises(InputError, match="never moves"):
        valid_prediction_time(Trajectory(np.ones((1, 3, 1))), Trajectory(np.ones((1, 3, 1))))
    with pytest.raises(InputError, match="threshold and dt are positive"):
        valid_prediction_time(truth(), truth(), threshold=0.0)
    cut = np.where(np.arange(21)[None, :, None] < 7, truth(1).states, np.nan)
    with pytest.raises(InputError, match="runs that were cut"):
        valid_prediction_time(Trajectory(cut, lengths=np.array([7])), truth(1))
