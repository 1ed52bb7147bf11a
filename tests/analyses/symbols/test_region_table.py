import math

import numpy as np
import pytest
import torch

from analyses.symbols.exact_fixed_points import exact_fixed_points
from analyses.symbols.region_table import RegionTable, region_table
from hooks.dynamics import rollout
from hooks.errors import InputError
from hooks.families import PiecewiseLinear
from hooks.trajectory import Trajectory

TURN = 72


def network(A, W, h, relu):
    return PiecewiseLinear(*(torch.as_tensor(w, dtype=torch.float64) for w in (A, W, h)), relu)


def spiral(growth, tilt=0.3):
    """z turns by 1/72 and grows; u = z1 - 2 pulls z1 back when it is on."""
    angle = 2 * math.pi / TURN
    c, s = growth * math.cos(angle), growth * math.sin(angle)
    return network(np.zeros(3), [[c, -s, -tilt], [s, c, 0], [c, -s, -tilt]], [0.0, 0.0, -2.0], 1)


def specimens():
    net = spiral(1.01)
    return [
        region_table(net, rollout(net.dynamics(), [[1.0, 0, -1]], steps=50)),
        region_table(net, Trajectory(np.zeros((0, 2, 3)), "time"), fixed_points=exact_fixed_points(net)),
    ]


def test_an_unstable_spiral_is_read_as_one_with_its_steps_a_turn():
    """Off, the pair is 1.01 e^(+-i 2 pi / 72) about the origin, where u = -2: real, and a turn takes 72 steps."""
    net = spiral(1.01)
    orbit = rollout(net.dynamics(), [[1.0, 0, -1]], steps=2000, burn_in=500)
    table = region_table(net, orbit, fixed_points=exact_fixed_points(net))
    off = int(np.flatnonzero(~table.regions[:, 0])[0])
    assert table.real[off] and table.proved[off] and np.abs(table.points[off]).max() == 2
    assert table.turns[off] == pytest.approx(TURN, rel=1e-12)
    assert table.roles[off] == "unstable spiral, one turn in 72 steps"
    on = float((orbit.states[0, :, 2] > 0).mean())
    assert table.shares[table.regions[:, 0]].sum() == on > 0 and table.visited == 2
    assert "unstable spiral, one turn in 72 steps" in table.summary()
    assert table.lines[off][:3] == ("0", f"{1 - on:.1%}", "real")
    assert all(check.passed for check in table.checks)


def test_virtual_points_say_where_they_lie_and_unvisited_real_ones_have_a_row():
    """u' = 1 - 2 relu(u): off, the point 1 is on, so virtual; on, the point 1/3 flips by -2; the 2-cycle visits both."""
    net = network([0.0], [[-2.0]], [1.0], 1)
    cycle = rollout(net.dynamics(), [[1.0]], steps=9)
    table = region_table(net, cycle)
    assert table.shares.tolist() == [0.5, 0.5] and table.real.tolist() == [False, True]
    assert table.roles == ("virtual stable node, its point in region 1", "unstable flip, every direction grows")
    off_only = Trajectory(np.full((1, 4, 1), -1.0), "time")
    assert len(region_table(net, off_only).regions) == 1
    both = region_table(net, off_only, fixed_points=exact_fixed_points(net))
    assert both.shares.tolist() == [1.0, 0.0] and both.regions[:, 0].tolist() == [False, True]
    assert "1 region visited, 0 with a real fixed point, and 1 never visited that hold one" in both.summary()


def test_stable_saddle_and_degenerate_regions():
    diagonal = [[0.5, 0, 0], [0, 1.5, 0], [0, 0, 0.25]]
    table = region_table(network(np.zeros(3), diagonal, np.ones(3), 0), Trajectory(np.ones((1, 1, 3)), "time"))
    assert (
        table.roles == ("saddle, 1 of 3 directions grows",)
        and table.lines[0][0] == ""
        and table.lines[0][3] == "1.5, 0.5"
    )
    stable = region_table(network(np.zeros(1), [[-0.5]], [1.0], 0), Trajectory(np.ones((1, 1, 1)), "time"))
    assert (
        stable.roles == ("stable flip",) and "the only region (100.0% of the states): stable flip" in stable.summary()
    )
    still = region_table(network([1.0], [[0.0]], [0.0], 0), Trajectory(np.ones((1, 1, 1)), "time"))
    assert still.roles == ("no single fixed point: an eigenvalue is 1",)


def test_no_more_rows_than_asked():
    net = network(np.zeros(6), np.zeros((6, 6)), np.ones(6), 6)
    states = np.random.default_rng(0).normal(size=(1, 500, 6))
    table = region_table(net, Trajectory(states, "time"), most=5)
    assert len(table.regions) == 5 and table.visited > 50 and "least visited have no row" in table.summary()
    assert table.checks[0].passed and (np.diff(table.shares) <= 0).all()


def test_states_of_another_width_are_refused():
    with pytest.raises(InputError, match="3 units, but states of 1 came"):
        region_table(spiral(1.01), Trajectory(np.zeros((1, 1, 1)), "time"))


def test_result_survives_writing():
    found = specimens()[0]
    again = RegionTable.from_dict(found.to_dict())
    assert again.summary() == found.summary() and again.roles == found.roles
    assert "share of the states" in found.plot().get_xlabel()
