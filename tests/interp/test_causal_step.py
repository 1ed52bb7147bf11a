"""Memories that a network goes by are confirmed by exchange; which memory a state leads to, and pieces of runs."""

import numpy as np
import torch

from analyses.maps.unit_effects import UnitEffects
from analyses.symbols.swap_test import SwapTest
from hooks.dynamics import Dynamics, rollout
from hooks.families import LeakyRate
from hooks.trajectory import Trajectory
from interp.causal_step import causal_tests, cut, memory_of
from interp.findings import account
from interp.journal import Journal

P = 0.9575040240772687  # root of x = tanh(2 x)
MEMORIES = [np.array([[P]]), np.array([[-P]])]


def latch(readout=True):
    rate = {"W": torch.tensor([[2.0]]), "W_in": torch.tensor([[3.0]]), "b": torch.zeros(1), "leak": torch.tensor(1.0)}
    return LeakyRate(**rate, W_out=torch.tensor([[1.0]]) if readout else None).dynamics()


def pulsed(dynamics, runs=20, steps=60):
    drives = np.random.default_rng(0).choice([-1.0, 0, 1], size=(runs, steps, 1), p=[0.05, 0.9, 0.05])
    return rollout(dynamics, np.zeros((runs, 1)) + 0.1, drives=drives)


def test_a_state_leads_to_the_memory_of_its_sign_and_the_saddle_to_none():
    held = latch().hold([0.0])
    seen = Trajectory(np.array([[[0.3], [-2.0], [0.0]], [[-1e-3], [P], [np.nan]]]), "time", lengths=np.array([3, 2]))
    assert memory_of(held, MEMORIES, seen).tolist() == [[0, 1, -1], [1, 0, -1]]


def test_the_latch_goes_by_its_memories():
    dynamics, journal = latch(), Journal()
    causal_tests(journal, dynamics, dynamics.hold([0.0]), pulsed(dynamics), MEMORIES)
    swaps, silenced = journal.results.values()
    assert isinstance(swaps, SwapTest) and swaps.confirmed and isinstance(silenced, UnitEffects)
    sentences = account(journal.results)
    assert sentences[0].startswith("Causal test: the network goes by its memories")
    assert sentences[1].startswith("Units silenced, measured by what is said: 1 unit of 1 (0)")


def test_classes_that_the_network_does_not_go_by_are_not_confirmed():
    """A unit that halves has no memory: of two labels at its sides each is as near to the other as distance makes it."""
    half = Dynamics(lambda x, _: x / 2, 1, readout=lambda x: x)
    run = rollout(half, np.random.default_rng(0).standard_normal((40, 1)), steps=12)
    journal = Journal()
    causal_tests(journal, half, half, run, [np.array([[1e-6]]), np.array([[-1e-6]])])
    assert not any(isinstance(result, SwapTest) for result in journal.results.values())  # all end between the two


def test_without_readout_or_second_memory_nothing_is_asked():
    journal, dynamics = Journal(), latch(readout=False)
    causal_tests(journal, dynamics, dynamics.hold([0.0]), pulsed(dynamics), MEMORIES[:1])
    assert journal.findings == ()


def test_pieces_are_runs_of_their_own():
    states = np.arange(2 * 11).reshape(2, 11, 1).astype(float)
    drives = np.arange(2 * 10).reshape(2, 10, 1).astype(float)
    cuts = cut(Trajectory(states, "time", drives=drives), 4, 16)
    assert cuts.states[:, :, 0].tolist() == [
        [0, 1, 2, 3, 4],
        [4, 5, 6, 7, 8],
        [11, 12, 13, 14, 15],
        [15, 16, 17, 18, 19],
    ]
    assert cuts.drives[:, :, 0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [10, 11, 12, 13], [14, 15, 16, 17]]
    assert len(cut(Trajectory(states, "time"), 4, 3).states) == 3
    assert len(cut(Trajectory(states[:1], "time"), 32, 16).states) == 2  # two of one run
    assert len(cut(Trajectory(np.zeros((3, 1, 1)), "time"), 4, 16).states) == 0
