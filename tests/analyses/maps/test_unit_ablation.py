"""A switch with one unit that turns it: without that unit, alone, the switch stays."""

import numpy as np
import pytest
import torch

from analyses.maps.unit_ablation import LIKE, RANDOM, unit_ablation
from hooks.dynamics import Dynamics, rollout
from hooks.errors import DrivenError, InputError
from hooks.trajectory import Trajectory

DRIVER, IDLE = 1, 10


def switch():
    """State (side, driver, ten idle units). The driver comes on in a tenth of the steps, turns the side and goes off.
    Idle units copy noise."""

    def step(states, drive):
        on = states[:, DRIVER] > 0
        side = torch.where(on, -states[:, 0], states[:, 0])
        driver = (drive[..., 0] < 0.1).to(states) * ~on
        return torch.cat([side[:, None], driver[:, None], drive[..., 1:].expand(len(states), IDLE)], dim=1)

    return Dynamics(
        step, 2 + IDLE, name="switch", driven=True, inputs=1 + IDLE,
        readout=lambda x: torch.stack([5 * x[:, 0], -5 * x[:, 0]], dim=1),
    )  # fmt: skip


def running(runs=16, steps=200, seed=0):
    rng = np.random.default_rng(seed)
    starts = np.zeros((runs, 2 + IDLE))
    starts[:, 0] = 1
    drives = rng.random((runs, steps, 1 + IDLE))
    drives[..., 1:] -= 0.5
    return rollout(switch(), starts, drives=drives)


def specimens():
    trajectory = running(4, 60)
    still = Dynamics(lambda x, _: x, 2, readout=lambda x: x)
    return [
        unit_ablation(switch(), trajectory, units={"driver": [DRIVER]}, draws=3),
        unit_ablation(still, rollout(still, [[1.0, 0.0]], steps=3), units={}),
    ]


def test_without_the_driver_nothing_changes_and_without_others_all_does():
    trajectory = running()
    ablated = unit_ablation(switch(), trajectory, units={"driver": [DRIVER], "idle": [5], "side": [0]}, draws=29)
    # The driver comes on in a tenth of the steps at which it is off: once in eleven
    assert abs(ablated.intact - 1 / 11) < 4 * ablated.intact_error
    assert ablated.rates[0] == 0 and ablated.cuts[0] == 1
    assert ablated.rates[1] == ablated.intact  # the idle units reach nothing, to the bit
    assert ablated.rates[2] == 0  # without the side itself both outputs are equal
    assert (ablated.shares[1] == [1, 0]).all()  # held where it began
    assert ablated.overflowed == 0 and ablated.checks[0].got == 0
    assert [null.name for null in ablated.nulls[:2]] == [RANDOM, LIKE]


def test_random_units_seldom_stop_it():
    trajectory = running()
    ablated = unit_ablation(switch(), trajectory, units={"driver": [DRIVER]}, draws=99)
    random, like = ablated.nulls
    assert np.isin(np.round(random.draws, 12), np.round([0.0, ablated.intact], 12)).all()  # the side, or an idle unit
    # one of the eleven others is the side: four standard errors of 99 draws
    assert abs((random.draws == 0).mean() - 1 / 11) < 4 * np.sqrt(10) / 11 / np.sqrt(99)
    assert (like.draws == ablated.intact).all() and like.beaten  # the side is the most active unit, far from the driver
    assert np.allclose(ablated.random_cuts, 0)


def test_a_map_without_drives_is_silenced_as_well():
    """(a, b) -> (b, a) says another output at every step; without one of the two it still does, without both it is at rest."""
    swap = Dynamics(lambda x, _: x.flip(1), 2, readout=lambda x: x)
    trajectory = rollout(swap, [[1.0, 0.5]], steps=20)
    result = unit_ablation(swap, trajectory, units={"one": [1], "both": [0, 1]})
    assert result.intact == 1 and result.rates[1] == 0
    assert result.rates[0] == 0  # (a, 0) -> (0, a) is silenced to the origin
    assert result.nulls == ()  # no two other units


def test_a_blown_up_run_is_counted():
    double = Dynamics(lambda x, _: 1e200 * x, 3, readout=lambda x: x)
    with_one = Trajectory(np.array([[[1.0, 0.0, 0.0], [1e200, 0.0, 0.0]]]))
    assert unit_ablation(double, with_one, units={"second": [1]}, draws=1).overflowed == 0
    still = Trajectory(np.array([[[1.0, 0.0, 0.0]] * 4]))
    assert unit_ablation(double, still, units={"second": [1]}, draws=0).overflowed == 2


def test_refusals_say_what_came():
    trajectory = running()
    for group in ([], [1, 1], [12], [-1]):
        with pytest.raises(InputError, match="different units from 0 to 11"):
            unit_ablation(switch(), trajectory, units={"odd": group})
    with pytest.raises(InputError, match="two steps after the burn-in"):
        unit_ablation(switch(), trajectory, units={}, burn_in=200)
    with pytest.raises(DrivenError, match="holds no drives"):
        unit_ablation(switch(), Trajectory(trajectory.states), units={})
    with pytest.raises(InputError, match="says nothing"):
        unit_ablation(Dynamics(lambda x, _: x, 2), Trajectory(np.zeros((1, 3, 2))), units={})
