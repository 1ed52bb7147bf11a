"""Networks that are known machines are merged back into them; a counter is not; the curve counts what it should."""

import numpy as np
import pytest
import torch

from analyses.symbols._prefix_tree import read_tree
from analyses.symbols.automaton import automaton
from analyses.symbols.state_merging import StateMerging, merge_states
from hooks.dynamics import Dynamics
from hooks.errors import InputError
from hooks.symbol_reader import symbol_reader
from tests.known_automata import SIZES, counting_reader, random_machine, reader_of, tomita

PARITY = automaton([[0, 1], [1, 0]], [0, 1])


def specimens() -> list[StateMerging]:
    return [merge_states(reader_of(tomita(5)), 5, draws=5), merge_states(reader_of(tomita(1)), 0, draws=0)]


@pytest.mark.parametrize("number", SIZES)
def test_a_network_that_is_a_tomita_machine_with_noise_is_merged_into_it(number):
    # One-hot states lie sqrt 2 apart; noise of 0.003 in five coordinates moves them by 0.02 at most.
    result = merge_states(reader_of(tomita(number), noise=0.003), 8)
    assert result.found and result.checks[0].passed
    assert result.machine.minimal().isomorphic_to(tomita(number))
    assert result.sizes[result.chosen] == SIZES[number] and result.conflict_rates[result.chosen] == 0
    assert result.nulls[0].beaten and result.counts[0] > SIZES[number]
    assert (np.diff(result.counts) <= 0).all()  # holds for isotropic clusters, not in general


def test_the_plateau_ends_where_two_states_are_one():
    # Even and odd lie d apart: all distances are 0 or d, the spread is the norm of the standard deviation.
    reader = reader_of(tomita(4))
    result = merge_states(reader, 6, thresholds=np.geomspace(0.5, 4, 60).tolist())
    vectors = read_tree(reader, 6).vectors
    spread = np.linalg.norm(vectors.std(axis=0))
    assert result.scale == pytest.approx(spread, rel=1e-12)
    apart = np.sqrt(2) / spread  # of one-hot states
    below, above = result.thresholds[result.thresholds < apart], result.thresholds[result.thresholds >= apart]
    assert result.plateau == (below[0], below[-1])
    # Beyond, the three that say yes are one; the pair (yes, 0) then has two successors, of four pairs seen.
    assert result.counts[len(below)] == 2 and len(above)
    assert result.conflict_rates[len(below)] == pytest.approx(1 / 4, abs=1e-15)
    assert "the same for eps" in result.summary()


def test_grouping_is_the_sequential_rule():
    # The rule written out word by word, on states without any structure and over several blocks.
    rng = np.random.default_rng(0)
    table = torch.as_tensor(rng.standard_normal((4096, 3)))
    where = Dynamics(lambda x, u: 2 * x + u, dim=1, driven=True, inputs=1)
    reader = symbol_reader(where, drives=[[0.0], [1.0]], start=[1.0], readout=lambda x: x - 1e9)
    scattered = type(reader)(**vars(reader) | {"vectors": lambda states: table[states[:, 0].long()]})
    result = merge_states(scattered, 10, thresholds=[0.05, 0.2], threshold=0.2, draws=0)
    vectors = read_tree(scattered, 10).vectors
    assert len(vectors) == 2047
    for eps, count in zip((0.05, 0.2), result.counts, strict=True):
        founders, groups = [], []
        for vector in vectors:
            near = np.flatnonzero(
                np.linalg.norm(np.array(founders).reshape(-1, 3) - vector, axis=1) <= eps * result.scale
            )
            groups.append(int(near[0]) if len(near) else len(founders))
            if not len(near):
                founders.append(vector)
        assert len(founders) == count
    assert np.array_equal(groups, result.groups)


def test_fifty_states_and_four_letters_are_found_from_words_that_reach_them():
    machine = random_machine(50, 4, seed=1)
    words = np.random.default_rng(0).integers(0, 4, (300, 40))
    result = merge_states(reader_of(machine), list(words), draws=19)
    assert result.found and result.machine.minimal().isomorphic_to(machine.minimal())


def test_a_counter_is_no_finite_automaton_and_the_sentence_says_so():
    result = merge_states(counting_reader(), 9)
    assert not result.found
    assert "not shown to be the network's automaton" in result.summary() or "no finite automaton" in result.summary()


def test_conflicts_are_decided_by_majority():
    # Of the five edges that leave "no" under 0, those of ε and of 3 stay there and three lead to "yes".
    edges = [[1, 2, 3, 4], [5, 0, 0, 0], [5, 0, 0, 0], [5, 0, 0, 0], [6, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    reader = reader_of(automaton(edges, [0, 0, 0, 0, 0, 1, 0]))
    result = merge_states(reader, [[0, 0], [1, 0], [2, 0], [3, 0]], thresholds=[10.0])
    machine = result.machine
    assert machine.transitions.tolist() == [[1, 0, 0, 0], [-1, -1, -1, -1]]
    assert result.agreements.tolist() == [pytest.approx(6 / 9)]  # 0, 00 and 30 are told otherwise
    assert result.conflict_rates.tolist() == [pytest.approx(1 / 4)]
    assert not result.found


def test_one_state_one_symbol_and_the_empty_word():
    always = automaton([[0]], [1])
    result = merge_states(reader_of(always), 12)
    assert result.found and result.sizes[0] == 1 and result.scale == 0.0
    alone = merge_states(reader_of(PARITY), 0)
    assert not alone.found and "no finite automaton" in alone.summary()


def test_states_that_overflow_are_never_merged():
    grows = Dynamics(lambda x, u: x * 1e200 + u, dim=1, driven=True, inputs=1)
    reader = symbol_reader(grows, drives=[[0.0]], start=[1.0], readout=lambda x: x)
    result = merge_states(reader, 5, draws=0)
    assert result.counts.max() >= 4 and not result.found


def test_a_watch_that_stops_leaves_the_machine_of_the_words_so_far():
    def stopped(states, total):
        yield next(iter(states))

    result = merge_states(reader_of(tomita(7)), 11, watch=stopped)
    assert len(result.groups) == 1024 and result.machine.minimal().isomorphic_to(tomita(7))


@pytest.mark.parametrize(
    ("words", "options", "said"),
    [
        (3, {"thresholds": [0.0, 1.0]}, "positive"),
        (3, {"thresholds": []}, "one at least"),
        (40, {}, "shorter length"),
        (-1, {}, "up to length -1"),
        ([[0, 2]], {}, "0 to 2 came"),
    ],
)
def test_what_cannot_be_merged_is_refused(words, options, said):
    with pytest.raises(InputError, match=said):
        merge_states(reader_of(PARITY), words, **options)
