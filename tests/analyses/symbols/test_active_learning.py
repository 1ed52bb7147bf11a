"""Networks that are known machines are learned exactly; a counter and a noisy one end in a failure with its evidence."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from analyses.result import Outcome
from analyses.symbols._teacher import Teacher, random_words
from analyses.symbols.active_learning import LearnedAutomaton, learn_automaton
from analyses.symbols.automaton import automaton
from hooks.errors import InputError
from tests.known_automata import SIZES, counting_reader, random_machine, reader_of, tomita

pytest.importorskip("aalpy")
ALGORITHMS = ("L#", "KV", "L*")


def noisy_reader(seed: int = 0):
    sure, drawn = reader_of(tomita(5)), torch.Generator().manual_seed(seed)
    return replace(
        sure, scores=lambda states: sure.scores(states) / 1000 + torch.randn(len(states), 2, generator=drawn)
    )


def specimens() -> list[LearnedAutomaton]:
    return [
        learn_automaton(reader_of(tomita(3)), long_words=0),
        learn_automaton(noisy_reader()),
        learn_automaton(counting_reader(), most_queries=1),
    ]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("number", SIZES)
def test_tomita_machines_are_learned(number, algorithm):
    learned = learn_automaton(reader_of(tomita(number)), algorithm=algorithm)
    assert learned.found and learned.checks[0].passed
    assert learned.machine.isomorphic_to(tomita(number).minimal())
    assert len(learned.counterexamples) == len(learned.sizes) - 1


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_fifty_states_over_four_letters_are_learned(algorithm):
    machine = random_machine(50, 4, seed=5)
    assert len(machine.minimal()) == 50
    learned = learn_automaton(reader_of(machine), algorithm=algorithm)
    assert learned.found and learned.machine.isomorphic_to(machine.minimal())
    # Every hypothesis that fell did so by a word after which the two differ.
    assert (np.diff(learned.sizes) > 0).all()


def test_a_word_that_no_random_word_holds_is_found_by_the_states():
    # Says yes after 13 zeros in a row, and ever since: far apart in the network although the machine has merged them.
    states = 14
    edges = [[n + 1, 0] for n in range(states - 1)] + [[states - 1] * 2]
    machine = automaton(edges, [0] * (states - 1) + [1])
    learned = learn_automaton(reader_of(machine))
    assert learned.found and learned.machine.isomorphic_to(machine)
    assert set(learned.found_by) <= {"states", "repeated words"}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_counter_grows_until_it_is_given_up_with_its_sizes_and_words(algorithm):
    learned = learn_automaton(counting_reader(), algorithm=algorithm, most_states=25)
    assert learned.outcome is Outcome.OUT_OF_STEPS and not learned.found
    assert learned.sizes[-1] > 25 and "needs more than 25 states" in learned.summary()
    assert "refuted by" in learned.summary()
    reader = counting_reader()
    for word, size in zip(learned.counterexamples, learned.sizes, strict=False):
        assert size < learned.sizes[-1]
        assert 0 <= reader.after([word])[0][0] <= 1


def test_a_network_that_is_an_automaton_up_to_a_length_is_learned_up_to_it():
    # A clock of 30 ticks, then another answer for good: below 30 symbols it always says no.
    late = automaton([[min(n + 1, 30)] * 2 for n in range(31)], [0] * 30 + [1])
    up_to = learn_automaton(reader_of(late), length=20, longest=29)
    assert up_to.found and len(up_to.labels) == 1
    beyond = learn_automaton(reader_of(late), length=20, longest=30)
    assert beyond.found and beyond.machine.isomorphic_to(late)


def test_a_counter_that_saturates_is_learned():
    learned = learn_automaton(counting_reader(9))
    assert learned.found and len(learned.labels) == 11  # 0 to 9 and the dead state


def test_noise_ends_in_the_word_that_was_answered_in_two_ways():
    learned = learn_automaton(noisy_reader())
    assert learned.outcome is Outcome.INCONSISTENT and not learned.found
    assert set(learned.contradiction[1]) == {0, 1} and "answered one word in two ways" in learned.summary()
    assert learned.queries < 1000 and not learned.checks


def test_questions_and_time_end_the_run():
    learned = learn_automaton(counting_reader(), most_queries=50)
    assert learned.outcome is Outcome.OUT_OF_STEPS and "asked 50 questions" in learned.summary()
    assert learned.queries == 50

    def soon(states, total):
        for number in states:
            yield number
            if number == 20:
                return

    learned = learn_automaton(counting_reader(), watch=soon)
    assert learned.outcome is Outcome.OUT_OF_TIME and learned.queries == 20


def test_the_bound_holds_for_a_rare_mistake():
    # A machine that errs on a share p of random words passes m of them with probability (1 - p)^m: for p = epsilon at most
    # delta / 2 in the first query, by the number of words that is asked.
    learned = learn_automaton(reader_of(automaton([[0, 0]], [1])), epsilon=0.05, delta=0.1)
    assert learned.asked >= np.log(0.1 / 2) / np.log(1 - 0.05)
    assert "with confidence 0.9 at most 0.05" in learned.summary()


def test_one_symbol_one_state_and_one_output():
    assert len(learn_automaton(reader_of(automaton([[0]], [0]))).labels) == 1
    cycle = automaton([[(n + 1) % 7] for n in range(7)], [1, 0, 0, 0, 0, 0, 0])
    for algorithm in ALGORITHMS:
        assert learn_automaton(reader_of(cycle), algorithm=algorithm).machine.isomorphic_to(cycle)


def test_three_outputs_are_learned():
    thirds = automaton([[1, 0], [2, 1], [0, 2]], [0, 1, 2])
    assert learn_automaton(reader_of(thirds)).machine.isomorphic_to(thirds)


def test_a_prefix_is_read_once():
    teacher = Teacher(reader_of(tomita(4)), np.random.default_rng(0), 100)
    begin = teacher.symbols_read
    assert teacher.says((0, 0, 0)) == [1, 1, 1, 0]
    assert teacher.says((0, 0)) == [1, 1, 1] and teacher.symbols_read == begin + 3


def test_random_words_hold_long_runs_and_all_symbols_alike():
    words = random_words(3, 4000, 20, np.random.default_rng(0))
    # Shares are even over the simplex: each symbol a third of the time, sd of the mean sqrt(1/18 / 4000) = 0.0037 and less.
    assert np.abs(np.bincount(words.ravel(), minlength=3) / words.size - 1 / 3).max() < 0.015
    # All 20 symbols alike: 3 E[p^20] with p ~ Beta(1, 2): 3 x 2 / (21 x 22) = 0.013, against 3^-19 for even words.
    assert (words == words[:, :1]).all(axis=1).mean() == pytest.approx(6 / (21 * 22), abs=0.006)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"algorithm": "RPNI"}, "one of KV, L#"),
        ({"epsilon": 0.0}, "between 0 and 1"),
        ({"length": 0}, "length is 1 at least"),
        ({"length": 20, "longest": 10}, "longer than the longest"),
        ({"most_states": 0}, "most_states"),
    ],
)
def test_what_cannot_be_learned_is_refused(options, said):
    with pytest.raises(InputError, match=said):
        learn_automaton(reader_of(tomita(1)), **options)
