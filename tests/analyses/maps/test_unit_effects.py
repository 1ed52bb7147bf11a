"""A network whose units 3 and 7 alone carry the bit: they are found, and others of their activity do nothing."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from analyses.maps.unit_effects import UnitEffects, decisions, switches, unit_effects
from hooks.dynamics import Dynamics, rollout
from hooks.errors import DrivenError, InputError
from hooks.families import recurrent
from hooks.intervention import ablate
from hooks.trajectory import Trajectory

DIM = 10


def memory():
    """Units 3 and 7 keep the sign of the last pulse, each x' = tanh(2 x + 4 u); eight others hear noise and are not heard."""
    W = torch.zeros(DIM, DIM).double()
    W[3, 3] = W[7, 7] = 2.0
    V = torch.eye(DIM, DIM).double() * 1.5
    V[3, 3] = V[7, 7] = 0.0
    V = torch.cat([V, torch.zeros(DIM, 1).double()], dim=1)
    V[3, DIM] = V[7, DIM] = 4.0
    return Dynamics(
        lambda x, u: torch.tanh(x @ W.T + u @ V.T), DIM, driven=True, inputs=DIM + 1, name="memory",
        readout=lambda x: x[:, [3]] + x[:, [7]],
    )  # fmt: skip


def recorded(runs=24, steps=30, seed=0):
    rng = np.random.default_rng(seed)
    pulses = rng.choice([-1.0, 0, 1], size=(runs, steps, 1), p=[0.1, 0.8, 0.1])
    drives = np.concatenate([rng.standard_normal((runs, steps, DIM)), pulses], axis=2)
    starts = np.zeros((runs, DIM))
    starts[:, [3, 7]] = rng.choice([-1, 1], size=(runs, 1))
    return rollout(memory(), starts, drives=drives)


def specimens():
    deaf = Dynamics(lambda x, _: x / 2, 3, readout=lambda x: 0 * x[:, :1])
    return [unit_effects(memory(), recorded()), unit_effects(deaf, rollout(deaf, np.eye(3), steps=4))]


def test_the_two_units_that_carry_the_bit_are_found_and_no_other():
    result = unit_effects(memory(), recorded())
    assert result.group.tolist() == [3, 7] and result.confirmed
    assert result.effects[3] == pytest.approx(result.effects[7], rel=1e-9)  # the same unit twice
    assert np.delete(result.effects, [3, 7]).max() == 0  # nobody hears them
    assert result.grown == pytest.approx(result.grown[0] * np.array([1, 2]), rel=1e-9)
    assert result.every == pytest.approx(result.grown[1], rel=1e-9)
    assert result.nulls[0].draws.max() == 0 and len(result.nulls[0].draws) == math.comb(8, 2)
    assert (
        "2 of 10 units (3, 7), silenced, change the measure" in result.summary() and "100% of what" in result.summary()
    )


def test_an_effect_is_that_of_the_ablated_network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        gru = recurrent(nn.GRU(2, 5), readout=nn.Linear(5, 3))
    run = rollout(gru, np.zeros((4, 5)), drives=np.random.default_rng(0).standard_normal((4, 7, 2)))
    result = unit_effects(gru, run, candidates=[[0], [1, 4]], largest=1)

    def said(dynamics, states):
        return dynamics.readout(torch.tensor(states).flatten(0, 1)).unflatten(0, (4, 8)).numpy(force=True)

    for number, units in enumerate([[0], [1, 4]]):
        silent = ablate(gru, units, mean_of=run)
        change = said(silent, rollout(silent, run.states[:, 0], drives=run.drives).states) - said(gru, run.states)
        assert result.effects[number] == pytest.approx(math.sqrt((change**2).mean()), rel=1e-12)
    zero = ablate(gru, [0])
    change = said(zero, rollout(zero, run.states[:, 0], drives=run.drives).states) - said(gru, run.states)
    at_zero = unit_effects(gru, run, level=0.0, largest=1)
    assert at_zero.effects[0] == pytest.approx(math.sqrt((change**2).mean()), rel=1e-12)
    assert at_zero.activity[0] == pytest.approx(math.sqrt((run.points()[:, 0] ** 2).mean()), rel=1e-12)
    assert result.activity[1] == pytest.approx(math.sqrt(run.points()[:, [1, 4]].var(axis=0).mean()), rel=1e-12)


def test_decisions_and_switches_are_counted():
    said = torch.tensor([[[1.0, 0], [0, 1], [0, 1], [1, 0], [1, 0]]]).double()
    assert switches(said).tolist() == [[0.5]] and decisions(said)[0].tolist() == said.flatten().tolist()
    assert switches(said[..., :1] - 0.5).tolist() == [[0.5]] and decisions(said[..., :1] - 0.5)[0].tolist() == [
        1,
        0,
        0,
        1,
        1,
    ]


def test_without_the_units_of_the_bit_it_does_not_switch():
    """Held at their means neither moves: of the network's switches none is left."""
    run = recorded()
    result = unit_effects(
        memory(), run, candidates=[[3, 7], *[[unit] for unit in range(DIM) if unit not in (3, 7)]], measure=switches
    )
    assert result.base > 0.05 and result.measured[0] == 0 and result.order.tolist() == [0]
    assert result.measured[1:] == pytest.approx(result.base, abs=1e-12)
    silent = ablate(memory(), result.group, mean_of=run)
    again = rollout(silent, run.states[:, 0], drives=run.drives)
    assert float(switches(silent.readout(torch.tensor(again.states).flatten(0, 1)).unflatten(0, (24, 31))).sum()) == 0


def test_a_network_of_equal_units_shows_no_group():
    """Forty independent units heard alike: any group of a size does what any other does."""
    net = Dynamics(lambda x, u: 0.5 * x + u, 40, driven=True, inputs=40, readout=lambda x: x.mean(1, keepdim=True))
    drives = np.random.default_rng(0).standard_normal((40, 20, 40))
    result = unit_effects(net, rollout(net, np.zeros((40, 40)), drives=drives), largest=3)
    assert not result.confirmed and "not shown to matter more" in result.summary()
    assert result.grown[-1] < 0.5 * result.every


def test_nobody_heard_one_unit_an_overflow_and_refusals():
    deaf = Dynamics(lambda x, _: x / 2, 3, readout=lambda x: 0 * x[:, :1])
    run = rollout(deaf, np.eye(3), steps=4)
    nothing = unit_effects(deaf, run)
    assert nothing.order.size == 0 and nothing.nulls == () and "0 of 3 units matter" in nothing.summary()
    one = Dynamics(lambda x, _: x / 2, 1, readout=lambda x: x)
    alone = unit_effects(one, rollout(one, [[1.0], [2.0]], steps=3))
    assert alone.group.tolist() == [0] and alone.nulls == () and "no other units" in alone.summary()
    held = Dynamics(lambda x, _: torch.stack([x[:, 0], x[:, 1] ** 2 + x[:, 0] * x[:, 1]], 1), 2, readout=lambda x: x)
    wild = unit_effects(held, rollout(held, [[-0.9, 0.9], [0.9, 0.01]], steps=14))
    assert np.isfinite(wild.effects).any()
    with pytest.raises(InputError, match="no readout"):
        unit_effects(Dynamics(lambda x, _: x, 1), Trajectory(np.zeros((2, 2, 1)), "time"))
    with pytest.raises(InputError, match="two runs"):
        unit_effects(one, rollout(one, [[1.0]], steps=3))
    with pytest.raises(InputError, match="one candidate at least"):
        unit_effects(one, rollout(one, [[1.0], [2.0]], steps=3), candidates=[])
    with pytest.raises(InputError, match="one finite number"):
        unit_effects(one, rollout(one, [[1.0], [2.0]], steps=3), level=[0.0, 1.0])
    with pytest.raises(DrivenError, match="no drives"):
        unit_effects(memory(), Trajectory(np.zeros((2, 2, DIM)), "time"))


def test_equal_calls_give_equal_results_however_candidates_are_chunked(monkeypatch):
    first = unit_effects(memory(), recorded())
    monkeypatch.setattr("analyses.maps.unit_effects.NUMBERS", 20_000)
    second = unit_effects(memory(), recorded())
    assert first.order.tolist() == second.order.tolist()
    assert np.abs(first.effects - second.effects).max() < 1e-12  # a batch's size moves last bits
    assert UnitEffects.from_dict(first.to_dict()).summary() == first.summary()
    assert first.plot().get_xlabel() == "activity of the unit"
    assert (
        not unit_effects(memory(), Trajectory(recorded().states + 0.1, "time", drives=recorded().drives))
        .checks[0]
        .passed
    )
