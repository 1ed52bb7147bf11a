"""Relaxations come to rest, coordinates go there and back, and a start's memory is that of where it rests."""

import numpy as np
import pytest
import torch

from case_studies.flip_flop_memory import BITS, UNITS, shipped
from case_studies.surrogate_of_a_network import NUMBERS, OUTPUTS, REST, RUNS, _memories, kept, relaxations
from hooks.contract import check_dynamics
from hooks.families import recurrent


@pytest.fixture(scope="module")
def gru():
    module = shipped("GRU")
    return recurrent(module.rnn, readout=module.readout)


def test_relaxations_end_on_the_eight_memories(gru):
    rest = relaxations(gru, runs=100, seed=7, steps=REST)
    assert np.abs(rest.states[:, -1] - rest.states[:, -2]).max() < 1e-3  # of units within [-1, 1]; slowest near borders
    signs = gru.readout(gru.hold(np.zeros(BITS))(torch.from_numpy(rest.states[:, -1].copy()))).numpy() > 0
    assert len(np.unique(signs, axis=0)) == 8


def test_coordinates_go_there_and_back_and_networks_are_maps():
    made = kept()
    x = np.random.default_rng(0).standard_normal((5, OUTPUTS))
    assert np.abs(made.seen(made.hidden(x)) - x).max() < 1e-6  # the basis is kept in float32
    assert made.relu.tolist() == [P for P in NUMBERS for _ in range(RUNS)]
    for run in (0, len(made.relu) - 1):
        check_dynamics(made.network(run).dynamics(), made.starts(run, np.zeros((3, UNITS))))


def test_states_at_rest_belong_to_as_many_memories_as_the_surrogate_has(gru):
    """A class is a place: the same state twice has the same one, and -1 is kept for what overflows."""
    rest = relaxations(gru, runs=50, seed=8, steps=1).states
    named = _memories(kept(), len(kept().relu) - 1, np.concatenate([rest, rest]))
    assert named.shape == (100, 2) and (named[:50] == named[50:]).all() and (named >= 0).all()
