"""Machines against networks that are machines: agreement is exact, and a counterexample is a shortest one."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import beta

from analyses.symbols.automaton import automaton
from analyses.symbols.machine_verdict import MachineVerdict, judge
from hooks.errors import InputError
from tests.known_automata import belongs, counting_reader, reader_of, tomita

PARITY = automaton([[0, 1], [1, 0]], [0, 1])


def specimens() -> list[MachineVerdict]:
    right = judge(tomita(3), reader_of(tomita(3)), truth=tomita(3), lengths=(20, 50), words=20)
    return [right, judge(PARITY, reader_of(PARITY), lengths=(), draws=0)]


def test_a_network_that_is_the_machine_agrees_on_all_words_and_lengths():
    verdict = judge(tomita(6), reader_of(tomita(6)), truth=tomita(6), lengths=(50, 2000))
    assert verdict.stands and verdict.truth == "equal" and verdict.checks[0].passed
    assert verdict.agreements.tolist() == verdict.throughout.tolist() == verdict.accuracies.tolist() == [1, 1]
    # Clopper and Pearson, 100 of 100: from the 2.5 % point of Beta(100, 1) to 1.
    assert np.allclose(verdict.intervals, [beta.ppf(0.025, 100, 1), 1.0], atol=1e-9)
    assert verdict.nulls[0].beaten and "no word tells them apart" in verdict.summary()


def test_the_counterexample_is_a_shortest_word_of_one_language_alone():
    verdict = judge(tomita(3), reader_of(tomita(7)), lengths=(30,), words=50)
    assert verdict.refuted and not verdict.stands
    text = "".join(map(str, verdict.counterexample))
    assert belongs(3, text) != belongs(7, text)
    shorter = ("".join(word) for length in range(len(text)) for word in product("01", repeat=length))
    assert all(belongs(3, word) == belongs(7, word) for word in shorter)


def test_a_difference_far_beyond_the_short_words_is_found_by_random_ones():
    late = automaton([[min(n + 1, 40)] * 2 for n in range(41)], [0] * 40 + [1])
    verdict = judge(automaton([[0, 0]], [0]), reader_of(late), lengths=(30, 60), words=10)
    assert verdict.agreements.tolist() == [1.0, 0.0]
    assert verdict.refuted and len(verdict.counterexample) == 40


def test_a_saturated_counter_is_judged_right_only_as_deep_as_it_counts():
    saturated = [[n + 1 if n < 3 else 3, n - 1 if n else 4] for n in range(4)] + [[4, 4]]
    machine = automaton(saturated, [1, 0, 0, 0, 0], symbols=("(", ")"), outputs=("no", "yes"))
    assert not judge(machine, counting_reader(3), lengths=(20,)).refuted
    verdict = judge(machine, counting_reader(), lengths=(20,))
    assert verdict.counterexample == (0, 0, 0, 0, 1, 1, 1) and "(((()))" in verdict.summary()


def test_where_nearly_all_words_have_one_answer_agreement_is_no_evidence():
    verdict = judge(tomita(1), reader_of(tomita(1)), lengths=(3000,), words=30)
    assert verdict.agreements[0] == 1 and not verdict.nulls[0].beaten and not verdict.stands


def test_a_wrong_machine_against_the_truth():
    verdict = judge(PARITY, reader_of(PARITY), truth=automaton([[0, 0]], [0]), lengths=(9,), words=400)
    assert verdict.truth == "different" and verdict.agreements[0] == 1
    # Shares even over [0, 1]: the number of 1s among 9 symbols is even over 0 to 9, odd half the time; sd 0.025.
    assert verdict.accuracies[0] == pytest.approx(0.5, abs=0.1)
    assert "not the true one" in verdict.summary()


def test_unknown_edges_agree_with_nothing():
    partial = automaton([[0, -1]], [0], outputs=("0", "1"))
    assert judge(partial, reader_of(PARITY), lengths=(9,), words=5).refuted


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(InputError, match="the machine reads"):
        judge(PARITY, counting_reader())
    with pytest.raises(InputError, match="one word at least"):
        judge(PARITY, reader_of(PARITY), words=0)
