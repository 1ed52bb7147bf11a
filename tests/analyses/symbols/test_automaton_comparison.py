import numpy as np
import pytest

from analyses.symbols.automaton import automaton
from analyses.symbols.automaton_comparison import compare_automata
from hooks.errors import InputError
from tests.known_automata import tomita, words

PARITY = automaton([[0, 1], [1, 0]], [0, 1], outputs=("no", "yes"))
DOUBLED = automaton([[2, 1], [1, 2], [0, 3], [3, 0]], [0, 1, 0, 1], outputs=("no", "yes"))


def specimens():
    return [compare_automata([tomita(number) for number in (1, 4, 4)]), compare_automata([])]


def test_a_machine_equals_its_copy_with_every_state_twice():
    found = compare_automata([PARITY, DOUBLED, tomita(5)], names=("parity", "twice", "even"))
    assert found.sizes.tolist() == [2, 2, 4] and found.kinds.tolist() == [0, 0, 2]
    assert found.isomorphic[0, 1] and found.distances[0, 1] == 0 and found.told_apart[0, 1] == -1
    assert all(check.passed for check in found.checks)
    assert found.summary().startswith("3 machines, 2 of them different; 2 are one of 2 states")


def test_seven_tomita_languages_differ_by_the_counted_share_of_words_and_at_the_first_word():
    machines = [tomita(number) for number in range(1, 8)]
    found = compare_automata(machines, longest=8)
    assert sorted(set(found.kinds)) == list(range(7)) and all(check.passed for check in found.checks)
    said = [[machine.says(words(length))[:, -1] for length in range(9)] for machine in machines]
    for i, j in zip(*np.triu_indices(7, 1), strict=True):
        shares = [(one != other).mean() for one, other in zip(said[i], said[j], strict=True)]
        assert found.distances[i, j] == pytest.approx(np.mean(shares), abs=1e-12)
        assert found.told_apart[i, j] == np.flatnonzero(shares)[0]


def test_one_machine_none_and_refusals():
    assert compare_automata([PARITY]).summary() == "1 machine, so nothing to compare"
    with pytest.raises(InputError, match=r"N2 reads \('0', '1', '2'\)"):
        compare_automata([PARITY, automaton([[0, 0, 0]], [0], outputs=("no", "yes"))])
    with pytest.raises(InputError, match="1 machines, 2 names"):
        compare_automata([PARITY], names=("a", "b"))
