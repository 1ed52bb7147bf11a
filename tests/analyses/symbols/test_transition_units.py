"""A switch with one unit that turns it: the unit is found, by its sign where the switch lasts and where it turns."""

import numpy as np
import pytest

from analyses.symbols.residency import residency
from analyses.symbols.transition_units import transition_units
from hooks.errors import InputError
from tests.analyses.maps.test_unit_ablation import DRIVER, IDLE, running, switch


def specimens():
    trajectory = running(8, 120)
    residence = residency(switch(), trajectory, states=300, replicas=5, draws=3)
    return [
        transition_units(residence, trajectory.states - 0.5, draws=3),
        transition_units(residence, np.zeros_like(trajectory.states)[..., :0], draws=0),
    ]


@pytest.fixture(scope="module")
def found():
    trajectory = running()
    residence = residency(switch(), trajectory, states=400, replicas=20)
    return trajectory, residence, transition_units(residence, trajectory.states - 0.5)


def test_the_unit_that_turns_the_switch_is_found(found):
    """Where it is on the side turns at the next step (time 1); elsewhere after the geometric law, p the share of drives that
    turn it on, and the step of turning, at most 50."""
    trajectory, residence, result = found
    on = residence.times < 2
    p = (trajectory.drives[..., 0] < 0.1).mean()
    assert np.abs(residence.times[~on].mean() - 1 - (1 - (1 - p) ** 49) / p) < 0.5  # 4 standard errors of 7000 runs
    assert result.symbols.tolist() == [0, 1]
    assert (result.driving == (np.arange(2 + IDLE) == DRIVER)).all()
    assert np.allclose(result.levels[:, 0, DRIVER], 0.5) and np.allclose(result.levels[:, 2, DRIVER], -0.5)  # exact
    assert result.nulls[0].beaten and "1 of 12 units" in result.summary()


def test_groups_are_the_best_separated_units(found):
    _, _, result = found
    assert result.groups() == {"leaving 0": (DRIVER,), "leaving 1": (DRIVER,)}


def test_classes_in_random_order_have_no_driving_unit(found):
    _, _, result = found
    assert result.nulls[0].draws.max() <= 1  # 24 chances at four standard errors a draw


def test_an_output_that_never_changes_drives_nothing():
    trajectory = running(4, 60)
    residence = residency(switch(), trajectory, states=100, cap=1, transition=0.5, cluster=0.6)
    result = transition_units(residence, trajectory.states)
    assert len(result.symbols) == 0 and result.groups() == {} and result.nulls == ()


def test_activations_of_another_recording_are_refused(found):
    trajectory, residence, _ = found
    with pytest.raises(InputError, match="activations are of the trajectory"):
        transition_units(residence, trajectory.states[:, :3])
