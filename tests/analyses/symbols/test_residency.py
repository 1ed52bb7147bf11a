"""Coins that are turned with a known probability last geometrically; the classes, the null and the cap follow."""

import numpy as np
import pytest
import torch

from analyses.symbols.residency import residency
from hooks.dynamics import Dynamics, rollout
from hooks.errors import DrivenError, InputError
from hooks.trajectory import Trajectory

CHANCES = np.array([0.9, 0.25, 0.02])


def coin():
    """State (side, chance): the side turns when the drive, uniform in [0, 1], is below the chance, which never changes."""

    def step(states, drive):
        side = torch.where(drive[..., 0] < states[:, 1], -states[:, 0], states[:, 0])
        return torch.stack([side, states[:, 1]], dim=1)

    return Dynamics(
        step, 2, name="coin", driven=True, inputs=1, readout=lambda x: torch.stack([3 * x[:, 0], -3 * x[:, 0]], dim=1)
    )


def tossed(chances=CHANCES, runs=20, steps=60, seed=0):
    starts = np.column_stack([np.ones(runs * len(chances)), np.repeat(chances, runs)])
    drives = np.random.default_rng(seed).random((len(starts), steps, 1))
    return rollout(coin(), starts, drives=drives)


def empty():
    return Trajectory(np.zeros((0, 3, 2)), drives=np.zeros((0, 2, 1)))


def specimens():
    return [residency(coin(), tossed(), states=50, replicas=5, draws=9), residency(coin(), empty())]


@pytest.fixture(scope="module")
def found():
    trajectory = tossed()
    result = residency(coin(), trajectory, states=300, replicas=40)
    return result, trajectory.states[result.runs, result.steps, 1]


def test_times_are_those_of_the_geometric_law_up_to_the_cap(found):
    """E min(T, c) = (1 - (1 - p)^c) / p; four standard errors of some 4000 runs, drawn from a pool of 3600 drives whose share
    below p errs by sqrt(p (1 - p) / 3600)."""
    result, chances = found
    for p in CHANCES:
        expected = (1 - (1 - p) ** 50) / p
        runs = (chances == p).sum() * 40
        error = np.sqrt(1 - p) / p / np.sqrt(runs) + expected * np.sqrt((1 - p) / p / 3600)
        assert abs(result.times[chances == p].mean() - expected) < 4 * error
    never = ((1 - chances) ** 50).mean()
    assert abs(result.capped - never) < 4 * np.sqrt(never * (1 - never) / 4000) + 0.02


def test_classes_follow_the_chance_of_a_change(found):
    result, chances = found
    assert (result.classes[chances == 0.9] == 0).all()  # 1.1 steps
    assert (result.classes[chances == 0.02] == 2).all()  # 32 steps
    assert (result.classes[chances == 0.25] == 1).mean() > 0.99  # 4 steps, 8 are seven standard errors away
    assert result.shares.sum() == pytest.approx(1) and result.checks[0].passed


def test_times_depend_on_the_state_where_the_chance_does(found):
    result, _ = found
    assert result.nulls[0].beaten and result.spread > 0.5
    same = residency(coin(), tossed(np.array([0.1])), states=200)
    assert not same.nulls[0].beaten and same.spread < 0.1
    assert "not told apart" in same.summary()


def test_an_unconfident_output_is_no_cluster():
    dull = residency(
        coin(), tossed(np.array([0.01])), readout=lambda x: torch.stack([x[:, 0], 0 * x[:, 0]], dim=1) / 10
    )
    assert (dull.classes == 3).all() and dull.confidence.max() < 0.6


def test_of_a_linear_network_the_linear_map_is_the_network():
    """Least squares gives the weights to rounding, so every run has the same times."""
    A, B = torch.tensor([[0.9, 0.1], [-0.1, 0.9]]).double(), torch.tensor([[1.0], [0.5]]).double()
    linear = Dynamics(
        lambda x, u: x @ A.T + u @ B.T,
        2,
        driven=True,
        inputs=1,
        readout=lambda x: torch.stack([x[:, 0], -x[:, 0]], dim=1),
    )
    drives = np.random.default_rng(1).standard_normal((10, 80, 1))
    result = residency(linear, rollout(linear, np.zeros((10, 2)), drives=drives), states=100)
    assert result.linear_spread == pytest.approx(result.spread, abs=1e-9)
    assert (result.linear_shares == result.shares).all()


def test_a_state_that_never_changes_reaches_the_cap():
    result = residency(coin(), tossed(np.array([0.0])), states=20, cap=7)
    assert (result.times == 7).all() and result.capped == 1 and np.isnan(result.spread) and result.nulls == ()


def test_no_state_gives_an_empty_result():
    result = residency(coin(), empty())
    assert len(result.times) == 0 and np.isnan(result.shares).all() and result.summary() == "0 states were followed"


def test_refusals_say_what_came():
    with pytest.raises(DrivenError, match="the trajectory holds none"):
        residency(coin(), Trajectory(np.zeros((1, 3, 2))))
    still = Dynamics(lambda x, _: x, 2, name="still")
    with pytest.raises(DrivenError, match="'still' takes no drive vector"):
        residency(still, tossed())
    with pytest.raises(InputError, match="transition <= cluster"):
        residency(coin(), tossed(), transition=9.0)
    with pytest.raises(InputError, match="1 output"):
        residency(coin(), tossed(), readout=lambda x: x[:, :1])
