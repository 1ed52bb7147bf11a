"""Machines against languages written as patterns, and identities of minimal forms, walks over pairs and distances."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from analyses.symbols.automaton import Automaton, automaton
from hooks.errors import InputError
from tests.known_automata import SIZES, belongs, tomita, words

PARITY = automaton([[0, 1], [1, 0]], [0, 1])


def specimens() -> list[Automaton]:
    return [tomita(3), automaton([[-1, -1]], [0], chances=[[0.5, 0.5]])]


def shuffled(machine: Automaton, seed: int = 0) -> Automaton:
    return machine.renumbered(np.random.default_rng(seed).permutation(len(machine)))


def doubled(machine: Automaton) -> Automaton:
    """The same language with every state twice, and a state out of reach."""
    n = len(machine)
    twice = np.concatenate([machine.transitions + n, machine.transitions, np.zeros((1, len(machine.symbols)), int)])
    return automaton(twice, [*machine.labels, *machine.labels, 0], outputs=machine.outputs)


@pytest.mark.parametrize("number", SIZES)
def test_tomita_machines_say_what_the_patterns_say_and_are_minimal(number):
    machine = tomita(number)
    for length in range(11):
        every = words(length)
        expected = [belongs(number, "".join(map(str, word))) for word in every.tolist()]
        assert np.array_equal(machine.says(every)[:, -1], expected)
    assert len(machine.minimal()) == len(machine) == SIZES[number]


@pytest.mark.parametrize("number", SIZES)
def test_copies_of_states_are_merged_again_and_names_do_not_matter(number):
    machine = tomita(number)
    big = shuffled(doubled(machine), seed=number)
    assert len(big) == 2 * len(machine) + 1
    assert big.minimal().isomorphic_to(machine)
    assert np.array_equal(big.minimal().transitions, machine.minimal().transitions)
    assert big.told_apart(machine) is None and big.distance_to(machine) == 0


def test_a_shortest_word_tells_two_languages_apart():
    for one in SIZES:
        for other in SIZES:
            word = tomita(one).told_apart(tomita(other))
            if one == other:
                assert word is None
                continue
            text = "".join(map(str, word))
            assert belongs(one, text) != belongs(other, text)
            shorter = [w for length in range(len(text)) for w in words(length).tolist()]
            assert all(belongs(one, "".join(map(str, w))) == belongs(other, "".join(map(str, w))) for w in shorter)


def test_the_distance_of_parity_from_always_no_is_a_half_of_the_words():
    # An equal number of words of each length from 1 is odd; the empty one is even: 10 x 1/2 of 11 lengths.
    never = automaton([[0, 0]], [0])
    assert PARITY.distance_to(never, longest=10) == pytest.approx(
        5 / 11, abs=1e-12
    )  # halves and tenths: rounding alone


def test_the_distance_counts_words_as_enumeration_does():
    one, other = tomita(3), tomita(7)
    shares = [(one.says(words(n))[:, -1] != other.says(words(n))[:, -1]).mean() for n in range(9)]
    assert one.distance_to(other, longest=8) == pytest.approx(np.mean(shares), abs=1e-12)
    assert one.distance_to(other) == pytest.approx(other.distance_to(one), abs=1e-12)


def test_an_unknown_edge_stays_unknown_and_tells_apart():
    partial = automaton([[0, 1], [-1, 0]], [0, 1])
    assert not partial.complete
    assert partial.says([[1, 0, 1]]).tolist() == [[0, 1, -1, -1]]
    assert partial.told_apart(PARITY) == (1, 0)
    assert partial.minimal().isomorphic_to(partial)


def test_a_mealy_machine_may_be_smaller():
    # Says whether the last symbol was 1: two Moore states, one Mealy state.
    last = automaton([[0, 1], [0, 1]], [0, 1])
    assert len(last.minimal()) == 2 and len(last.minimal(mealy=True)) == 1


def test_written_forms_hold_every_edge():
    machine = tomita(6)
    graph = machine.to_networkx()
    assert graph.number_of_nodes() == 3 and graph.number_of_edges() == 6
    assert machine.to_dot().count("->") == 7 and machine.to_graphml().count("<edge ") == 6
    peer = pytest.importorskip("aalpy") and machine.to_aalpy()
    for word in words(6).tolist():
        assert peer.execute_sequence(peer.initial_state, [str(s) for s in word])[-1] == (
            "yes" if belongs(6, "".join(map(str, word))) else "no"
        )


def test_fifty_states_are_drawn():
    rng = np.random.default_rng(0)
    machine = automaton(rng.integers(0, 50, (50, 2)), rng.integers(0, 2, 50))
    ax = machine.plot(Figure().add_subplot())
    assert len(ax.texts) == 50


@pytest.mark.parametrize(
    ("edges", "labels", "words_of"),
    [([[2, 0]], [0], "0 to 0"), ([[0, 0]], [0, 1], "came"), ([], [], "at least"), ([[0, 0]], [-1], "from 0")],
)
def test_tables_that_are_no_machine_are_refused(edges, labels, words_of):
    with pytest.raises(InputError, match=words_of):
        automaton(edges, labels)
    with pytest.raises(InputError, match="same symbols"):
        PARITY.told_apart(tomita(1))
    with pytest.raises(InputError, match="initial state"):
        PARITY.renumbered(np.array([1]))
