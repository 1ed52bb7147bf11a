import numpy as np
import pytest

from analyses.trajectories.bounds import trajectory_bounds
from hooks.dynamics import rollout
from hooks.errors import InputError
from hooks.trajectory import Trajectory
from tests.known import logistic


def specimens():
    ramp = Trajectory(np.linspace(0, 1, 6).reshape(1, 3, 2))
    return [trajectory_bounds(ramp, -1.0, 2.0), trajectory_bounds(ramp, 0.5, np.inf)]


def test_the_logistic_map_keeps_its_interval_and_uses_nearly_all_of_it():
    found = trajectory_bounds(rollout(logistic(), [[0.3]], steps=5000), 0.0, 1.0)
    # density 1 / (pi sqrt(x (1 - x))): 5000 steps come within 1e-6 of either end
    assert found.violations == 0 and found.used[0] == pytest.approx(1, abs=1e-4) and found.checks[0].passed
    assert found.quantiles[2, 0] == pytest.approx(0.5, abs=0.05)  # its median
    tighter = trajectory_bounds(rollout(logistic(), [[0.3]], steps=5000), 0.0, 0.5)
    assert (
        tighter.violations == pytest.approx(2500, abs=150) and not tighter.checks[0].passed
    )  # half of the density is beyond
    assert tighter.worst == pytest.approx(0.5, abs=1e-4) and "the others are up to 0.5 beyond" in tighter.summary()


def test_each_coordinate_has_its_own_bounds_and_padding_is_not_read():
    states = np.array([[[0.0, 5.0], [1.0, 7.0], [np.nan, np.nan]]])
    found = trajectory_bounds(Trajectory(states, lengths=np.array([2])), [0.0, 5.0], [1.0, 9.0])
    assert found.violations == 0 and found.values == 4 and found.used.tolist() == [1.0, 0.5] and found.worst == 0.0


def test_rounding_is_allowed_and_a_constant_has_an_interval_of_no_width():
    still = Trajectory(np.full((1, 3, 1), 1.0))
    assert trajectory_bounds(still, 1.0, 1.0).used.tolist() == [0.0]
    assert trajectory_bounds(still, 1.0 + 1e-13, 2.0).violations == 0
    assert trajectory_bounds(still, 1.0 + 1e-11, 2.0).violations == 3


def test_bounds_that_are_none_are_refused():
    still = Trajectory(np.ones((1, 3, 2)))
    with pytest.raises(InputError, match=r"have shape \(2,\), but \(3,\) and \(\) came"):
        trajectory_bounds(still, [0.0, 0.0, 0.0], 1.0)
    with pytest.raises(InputError, match="1 of 2 are not"):
        trajectory_bounds(still, [0.0, 2.0], 1.0)
