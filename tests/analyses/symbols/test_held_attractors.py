import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from analyses.maps.basins import basins
from analyses.symbols.automaton import automaton
from analyses.symbols.held_attractors import HeldAttractors, held_attractors
from hooks.dynamics import Dynamics
from hooks.errors import InputError
from hooks.symbol_reader import symbol_reader
from tests.known_automata import reader_of, tomita

PULL = 0.1  # what is left of an offset after a symbol


def network(machine):
    """The machine written as a map: states near corner i of a cube go near corner T(i), offsets shrunk; it says the label."""
    states, symbols = machine.transitions.shape
    corners, edges = torch.eye(states, dtype=torch.float64), torch.as_tensor(machine.transitions)

    def step(x, drive):
        at, read = x.argmax(dim=1), drive.argmax(dim=-1)
        return corners[edges[at, read]] + PULL * (x - corners[at])

    dynamics = Dynamics(step, states, "corners", driven=True, inputs=symbols)
    start = corners[machine.initial] + 0.05
    says = torch.nn.functional.one_hot(torch.as_tensor(machine.labels), len(machine.outputs)).double()
    return symbol_reader(dynamics, start=start, readout=lambda x: says[x.argmax(dim=1)], outputs=machine.outputs)


def attracted(machine, *words):
    reader = network(machine)
    starts = np.eye(len(machine)) + 0.02
    return held_attractors(reader, [(w, basins(reader.held(w), starts, burn_in=20, steps=256)) for w in words])


def specimens():
    return attracted(tomita(5), (0,), (1,)), attracted(automaton([[0, 0]], [0]), (0,))


@pytest.mark.parametrize("number", [1, 3, 5, 6, 7])
def test_attractors_of_single_symbols_are_the_machine_where_every_state_is_on_one(number):
    found = attracted(tomita(number), (0,), (1,))
    assert found.machine.minimal().isomorphic_to(tomita(number))
    assert found.strays == 0 and found.moving == 0 and found.unsettled == 0
    assert found.margins.max() < PULL**5  # a probe of six symbols leaves a millionth of the offset


def test_a_state_on_no_cycle_of_a_held_word_is_missing_until_a_longer_word_is_held():
    """(10)* holds its first state under 01 alone: under 0 and under 1 everything goes to the sink."""
    short, longer = attracted(tomita(2), (0,), (1,)), attracted(tomita(2), (0,), (1,), (0, 1))
    assert len(short.machine.minimal()) == 1
    assert longer.machine.minimal().isomorphic_to(tomita(2))
    assert attracted(tomita(4), (0,), (1,), (0, 1), (0, 0, 1)).machine.minimal().isomorphic_to(tomita(4))


def test_points_are_counted_by_hand():
    """Modulo 3, a symbol held is one three-cycle: a third of its states are where each phase is."""
    found = attracted(tomita(6), (0,))
    assert_array_equal(found.periods, [3, 3, 3])
    assert_allclose(np.sort(found.points.argmax(axis=1)), [0, 1, 2])
    assert found.words == ("0",) and found.labels.sum() == 1


def test_a_word_held_is_its_symbols_in_turn():
    reader = network(tomita(5))
    states = torch.eye(4, dtype=torch.float64) + 0.02
    once = reader.dynamics(reader.dynamics(states, reader.drives[[0]].expand(4, -1)), reader.drives[[1]].expand(4, -1))
    held = reader.held((0, 1))
    assert not held.driven and torch.equal(held(states), once)
    assert_array_equal(reader.held((1,))(states), reader.dynamics(states, reader.drives[[1]].expand(4, -1)))


def test_one_state_and_refusals():
    _, one = specimens()
    assert (
        len(one.points) == 1
        and one.margins.max() < 1e-9
        and one.summary().startswith("1 point on attractors of 1 held")
    )
    no_map = reader_of(tomita(1))
    with pytest.raises(InputError, match="is no map"):
        held_attractors(no_map, [])
    with pytest.raises(InputError, match="held under a word of one symbol at least"):
        network(tomita(1)).held(())
    with pytest.raises(InputError, match="has a fixed point or cycle"):
        held_attractors(network(tomita(1)), [])
    with pytest.raises(InputError, match="at most 4096 words of one length"):
        held_attractors(network(tomita(1)), [], probe=13)


def test_round_trip():
    found, _ = specimens()
    again = HeldAttractors.from_dict(found.to_dict())
    assert again.machine.isomorphic_to(found.machine)
