import numpy as np
import pytest
from numpy.testing import assert_array_equal

from analyses.symbols.automaton import automaton
from analyses.symbols.machine_comparison import MachineComparison, compare_machines
from hooks.errors import InputError
from tests.known_automata import tomita

PARITY = automaton([[0, 1], [1, 0]], [0, 1])
FOUR = automaton([[2, 1], [3, 0], [0, 3], [1, 2]], [0, 1, 0, 1])  # counts 1s and 0s modulo 2, and says the 1s alone
CONSTANT = automaton([[0, 0]], [0])


def specimens():
    return compare_machines({"one": PARITY, "two": FOUR, "constant": CONSTANT}), compare_machines({"alone": CONSTANT})


def test_machines_that_say_the_same_are_the_same_whatever_their_states():
    found = compare_machines({"two states": PARITY, "four states": FOUR})
    assert found.same.all() and found.told_apart == ("",) and found.distances.max() == 0
    assert_array_equal(found.sizes, [2, 2])
    assert found.summary().startswith("2 of 2 machines are the same")
    assert found.machine(1).isomorphic_to(PARITY)


def test_the_shortest_word_and_the_distance_of_parity_from_a_constant():
    """They differ first after the word 1, and after half of the words of each length but 0."""
    found, _ = specimens()
    assert found.told_apart == ("", "1", "1")
    assert np.isclose(found.distances[0, 2], 0.5 * 100 / 101)
    assert_array_equal(found.same, [[1, 1, 0], [1, 1, 0], [0, 0, 1]])


def test_seven_languages_are_seven_machines():
    found = compare_machines({f"Tomita {n}": tomita(n) for n in range(1, 8)})
    assert_array_equal(found.sizes, [2, 3, 5, 4, 4, 3, 5])
    assert_array_equal(found.same, np.eye(7, dtype=bool))
    assert [found.machine(n - 1).isomorphic_to(tomita(n)) for n in range(1, 8)] == [True] * 7


def test_one_machine_and_refusals():
    _, alone = specimens()
    assert alone.told_apart == () and alone.summary() == "1 of 1 machine are the same (states: alone 1)"
    with pytest.raises(InputError, match="none came"):
        compare_machines({})
    with pytest.raises(InputError, match="share symbols and outputs, but 'b'"):
        compare_machines({"a": PARITY, "b": tomita(1)})


def test_round_trip():
    found, _ = specimens()
    assert MachineComparison.from_dict(found.to_dict()).machine(0).isomorphic_to(PARITY)
