"""A function of the state is told, one of half the state is not, and a symmetry hides what it exchanges."""

import math

import numpy as np
import pytest

from analyses.result import Outcome
from analyses.series.delay_embedding import delay_embedded
from analyses.trajectories.neighbour_readout import neighbour_readout
from case_studies._systems import SYSTEMS
from hooks.dynamics import rollout
from hooks.errors import InputError
from hooks.trajectory import Trajectory


def recorded(name, steps, **options):
    system = SYSTEMS[name]
    dynamics = system.make(**options)
    return rollout(dynamics, [list(system.start(dynamics.dim))], steps=steps - 1, burn_in=1000).states


def specimens():
    x = recorded("Henon", 400)
    return [
        neighbour_readout(Trajectory(x), x, ahead=(0, 1), draws=3),
        neighbour_readout(Trajectory(x[:, :9]), x[:, :9]),
    ]


def test_henon_is_told_by_two_delays_and_not_by_one():
    """y(t) = 0.3 x(t - 1) is in two delays of x; x alone has two pasts, x(t - 1) and one near -x(t - 1)."""
    states = recorded("Henon", 4000)
    x, y = states[:, 1:, :1], states[:, 1:, 1:]
    two = delay_embedded(states[..., 0], dimension=2, delay=1)
    from_two, from_one = (neighbour_readout(Trajectory(source), y, theiler=1) for source in (two, x))
    assert from_two.r2[0] > 0.999 and from_two.nulls[0].beaten
    assert from_one.r2[0] < 0.5


def test_one_step_of_a_map_is_forecast_and_chaos_is_not_for_long():
    """Errors of the logistic map at 4 double at each step, on the average: 1e-3 apart, all is lost after ten."""
    states = recorded("logistic", 3000)
    found = neighbour_readout(Trajectory(states), states, ahead=(1, 4, 20), theiler=0)
    assert found.r2[0] > 0.9999 and found.r2[0] > found.r2[1] > 0.9 and found.r2[2] < 0.05


def test_neighbours_that_know_nothing_add_their_own_variance():
    """Independent targets: R2 is -1/neighbours, within four standard errors of 3000 squares, sqrt(2 / 3000) of each."""
    rng = np.random.default_rng(0)
    states, y = rng.standard_normal((1, 3001, 3)), rng.standard_normal((1, 3001, 1))
    for neighbours in (1, 5):
        found = neighbour_readout(Trajectory(states), y, neighbours=neighbours, theiler=0)
        assert found.r2[0] == pytest.approx(-1 / neighbours, abs=4 * math.sqrt(2 / 3000) * (1 + 1 / neighbours))
        assert not found.nulls[0].beaten and found.summary().startswith("no more than its null")


def test_the_z_of_lorenz_does_not_know_which_wing_it_is_on():
    """(x, y, z) -> (-x, -y, z) maps orbits to orbits: no number of delays of z tells the sign of x, and |x| is told."""
    states = recorded("Lorenz63", 6000, dt=0.03)
    source = Trajectory(delay_embedded(states[..., 2], dimension=5, delay=3))
    beside = states[:, 12:]
    found = neighbour_readout(source, np.concatenate([beside, abs(beside[..., :1])], axis=2))
    x, y, z, size = found.per_target[0]
    assert max(x, y) < 0 and z > 0.99 and size > 0.9


def test_runs_are_told_by_each_other_and_never_across_their_ends():
    states = recorded("Henon", 2000)
    whole = neighbour_readout(Trajectory(states), states, ahead=(1,), theiler=0, draws=0)
    cut = neighbour_readout(Trajectory(states.reshape(20, 100, 2)), states.reshape(20, 100, 2), ahead=(1,), theiler=0)
    assert cut.states == 20 * 99 and abs(cut.r2[0] - whole.r2[0]) < 1e-3
    padded = np.where(np.arange(100)[:, None] < 60, states[:, :100], np.nan)
    short = Trajectory(padded, lengths=np.array([60]))
    assert neighbour_readout(short, padded, ahead=(1,), theiler=0, draws=0).states == 59


def test_few_states_and_targets_that_never_vary_tell_nothing():
    states = recorded("Henon", 300)
    few = neighbour_readout(Trajectory(states[:, :30]), states[:, :30])
    assert few.outcome is Outcome.TOO_SHORT and math.isnan(few.r2[0]) and few.nulls == ()
    still = neighbour_readout(Trajectory(np.linspace(0, 1, 300)[None, :, None]), np.ones((1, 300, 2)))
    assert still.theiler == 30  # no turn is seen, so a tenth of the steps
    assert math.isnan(still.r2[0]) and still.nulls == ()


def test_refusals():
    states = recorded("Henon", 60)
    with pytest.raises(InputError, match=r"targets have shape \(1, 60, targets\), but \(60, 2\) came"):
        neighbour_readout(Trajectory(states), states[0])
    with pytest.raises(InputError, match="1 targets are not finite"):
        neighbour_readout(Trajectory(states), np.where(np.arange(60)[:, None] == 7, np.nan, states))
    with pytest.raises(InputError, match="neighbours and references are at least 1"):
        neighbour_readout(Trajectory(states), states, ahead=(-1,))
