"""Networks that are a machine are confirmed, in the coordinates that hold it; with another machine they are not."""

import math
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch

from analyses.symbols._controls import one_edit_away
from analyses.symbols.automaton import automaton
from analyses.symbols.interchange import Interchange, _chance, _shares, interchange
from hooks.errors import InputError
from hooks.intervention import ablate
from hooks.symbol_reader import prefix_reader, symbol_reader
from tests.hooks.test_symbol_reader import counting, turning
from tests.known_automata import SIZES, tomita
from tests.known_readers import PARITY, machine_reader, parity_reader, ring

COUNTER = automaton([[0, 1, 2], [1, 2, 0], [2, 0, 1]], [0, 1, 2])  # the sum of what is read, modulo 3


def specimens():
    constant = automaton([[0, 0]], [0])
    return [interchange(parity_reader(), PARITY, states=16), interchange(machine_reader(constant), constant, states=8)]


def test_parity_by_hand_has_two_states_that_can_be_exchanged():
    """Every swap is as predicted. Of 64 states each, 63 in 127 others are of the same parity, and a random class is right for
    half the donors: chance is the mean of the two."""
    result = interchange(parity_reader(), PARITY)
    assert result.within == result.across == result.accuracy == 1 and result.confirmed
    assert result.sizes.tolist() == [64, 64] and result.differing == 1
    assert result.chance == pytest.approx((63 / 127 + 1 / 2) / 2, abs=1e-12) and result.checks[0].passed
    assert np.quantile(result.nulls[0].draws, 0.95) < result.chance + 0.05
    assert set(result.kinds) == {"merged", "edge", "output"} and len(result.edits) == 8 and result.edits.max() < 0.9
    assert "confirmed" in result.summary() and np.array_equal(result.right, np.ones((2, 2)))


def test_chance_is_the_mean_over_every_partition():
    """Four words, three classes of sizes 2, 1, 1: all twelve assignments, one by one."""
    rng = np.random.default_rng(0)
    same, as_class = rng.random((4, 4)) < 0.5, rng.random((4, 4, 3)) < 0.4
    pairs = ~np.eye(4, dtype=bool)
    own = np.array([0, 0, 1, 2])
    every = [np.mean(_shares(np.array(order), same, as_class, pairs)) for order in permutations(own)]
    assert np.mean(every) == pytest.approx(_chance(own, same, as_class, pairs, 3), abs=1e-14)


@pytest.mark.parametrize("number", SIZES)
def test_tomita_machines_as_maps_are_confirmed(number):
    """Absorbing states are drawn as often as others; an idle coordinate that differs with every word does no harm."""
    result = interchange(machine_reader(tomita(number)), tomita(number), states=60)
    assert result.accuracy == 1 and result.confirmed and len(result.sizes) == SIZES[number]


def test_a_ring_read_as_a_shorter_or_longer_one_is_not_confirmed():
    reader = machine_reader(ring(5))
    assert interchange(reader, ring(5), states=60).confirmed
    for states in (4, 6, 10):
        wrong = interchange(reader, ring(states), states=60)
        assert not wrong.confirmed and wrong.accuracy < 0.9 and "not shown" in wrong.summary()


def test_every_machine_one_edit_away_is_told_from_the_machine():
    machine = tomita(3).minimal()
    kinds, machines = one_edit_away(machine, 1000, np.random.default_rng(0))
    assert len(machines) == 2 + 5 * 2 * 4 + 5 and kinds.count("edge") == 40
    assert all(machine.told_apart(other) is not None for other in machines)
    reader = machine_reader(tomita(3))
    for other in machines[::9]:
        assert not interchange(reader, other, states=60).confirmed


def test_a_linear_map_that_turns_is_confirmed_and_copies_of_states_are_merged_first():
    reader = symbol_reader(turning(), start=[1.0, 0.0])
    assert interchange(reader, COUNTER, states=48).confirmed
    twice = np.concatenate([COUNTER.transitions + 3, COUNTER.transitions])
    assert len(interchange(reader, automaton(twice, [0, 1, 2, 0, 1, 2]), states=48).sizes) == 3


def test_a_causal_model_is_asked_by_its_prefixes():
    reader = prefix_reader(counting, tokens=(0, 1, 2), begin=(3,))
    result = interchange(reader, COUNTER, states=24, longest=10, continuation=6)
    assert result.confirmed and result.sizes.tolist() == [8, 8, 8]
    with pytest.raises(InputError, match="no vectors of a map"):
        interchange(reader, COUNTER, subspace=np.eye(3))


def test_the_state_lies_in_the_coordinates_that_hold_it_and_in_no_others():
    """One-hot in the first five of seven: exchanged alone they do what the whole state does, the two idle ones nothing."""
    reader, machine = machine_reader(tomita(3)), tomita(3)
    held = interchange(reader, machine, states=60, subspace=np.eye(7)[:, :5])
    assert held.confirmed and held.subspace == 5 and "in 5 directions" in held.summary()
    idle = interchange(reader, machine, states=60, subspace=np.eye(7)[:, 5:])
    assert idle.within < 1 or idle.across < 0.5
    assert not idle.confirmed and idle.across == pytest.approx(1 - idle.differing, abs=1e-12)  # nothing was exchanged


def test_a_network_keeps_its_machine_without_idle_units_and_loses_it_without_others():
    reader, machine = machine_reader(tomita(3)), tomita(3)

    def without(units):
        start = reader.first(1)[0]
        return symbol_reader(
            ablate(reader.dynamics, units), start=start, symbols=machine.symbols, outputs=machine.outputs
        )

    assert interchange(without([5, 6]), machine, states=60).confirmed
    for unit in range(1, 5):  # of a state that is not one-hot the first unit is the largest
        assert not interchange(without([unit]), machine, states=60).confirmed


def test_outputs_that_flip_at_random_are_not_shown():
    """One output in fifty is another: of 21, and as many unchanged ones, all are right in 0.98^42 to 0.98^21 of the swaps."""
    reader, dice = parity_reader(), torch.Generator().manual_seed(0)

    def flipping(states):
        wrong = torch.rand(len(states), 1, generator=dice) < 0.02
        return torch.where(wrong, reader.scores(states).flip(1), reader.scores(states))

    result = interchange(replace(reader, scores=flipping), PARITY, states=32)
    assert 0.35 < result.within < 0.55 and 0.6 < result.across < 0.72
    assert not result.confirmed and "a share is below 0.99" in result.summary()


def test_one_class_few_words_early_stops_and_refusals():
    constant = automaton([[0, 0]], [0])
    alone = interchange(machine_reader(constant), constant, states=8)
    assert alone.nulls == () and math.isnan(alone.across) and alone.within == 1 and not alone.confirmed
    assert alone.summary().startswith("0 swaps can be compared: 8 words lead to 1 of 1 state")
    none = interchange(parity_reader(), PARITY, words=[])
    assert none.sizes.tolist() == [0, 0] and math.isnan(none.within) and not none.confirmed
    few = interchange(parity_reader(), PARITY, words=[(), (1,), (1, 1)])
    assert few.sizes.tolist() == [2, 1] and few.accuracy == 1
    with pytest.raises(InputError, match="share symbols and outputs"):
        interchange(parity_reader(), tomita(1))
    with pytest.raises(InputError, match="symbols of words are 0 to 1"):
        interchange(parity_reader(), PARITY, words=[(0, 2)])
    with pytest.raises(InputError, match="edges are unknown"):
        interchange(parity_reader(), automaton([[0, -1]], [0]))
    with pytest.raises(InputError, match="at least 1 and states 2"):
        interchange(parity_reader(), PARITY, states=1)
    with pytest.raises(InputError, match=r"a subspace is \(4, directions\)"):
        interchange(parity_reader(), PARITY, subspace=np.eye(3))


def test_equal_calls_give_equal_results_however_donors_are_chunked(monkeypatch):
    first = interchange(parity_reader(), PARITY, states=40)
    monkeypatch.setattr("analyses.symbols.interchange.NUMBERS", 500)
    assert interchange(parity_reader(), PARITY, states=40).to_dict() == first.to_dict()
    assert Interchange.from_dict(first.to_dict()).summary() == first.summary()
    half = interchange(
        parity_reader(), PARITY, states=40, watch=lambda chunks, total: (c for i, c in enumerate(chunks) if i < 5)
    )
    assert half.accuracy == 1
    assert first.plot().get_xlabel() == "class of the state put in"
