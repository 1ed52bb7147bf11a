"""Proofs for all words: networks that are machines by construction, an interval known exactly, and networks that fail."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from analyses.symbols.automaton import automaton
from analyses.symbols.machine_proof import MachineProof, prove_machine
from analyses.symbols.machine_verdict import judge
from hooks.dynamics import Dynamics
from hooks.errors import InputError
from hooks.symbol_reader import symbol_reader
from tests.known_automata import reader_of, saturating_network, tomita

PARITY = automaton([[0, 1], [1, 0]], [0, 1])
LAST = automaton([[0, 1], [0, 1]], [0, 1])
ALWAYS = automaton([[0, 0]], [0])


def leaky(threshold: float, leak: float = 0.4):
    """x' = leak x + symbol, which says whether x is above the threshold."""
    line = Dynamics(lambda x, u: leak * x + u, dim=1, driven=True, inputs=1, name="a leaky sum")
    return symbol_reader(line, drives=[[0.0], [1.0]], readout=lambda x: x, threshold=threshold)


def specimens() -> list[MachineProof]:
    return [prove_machine(LAST, leaky(0.8)), prove_machine(PARITY, leaky(0.8), deepest=1)]


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 6, 7])
def test_a_relu_network_that_is_a_tomita_machine_is_proved_to_be_it(number):
    machine = tomita(number)
    reader = saturating_network(machine)
    assert not judge(machine, reader, lengths=(50,), words=20, draws=0).refuted  # the construction itself
    proof = prove_machine(machine, reader)
    assert proof.proved and proof.depth == 0 and proof.checks[0].passed
    # Slopes vanish about the states and scores are 1 and 0.
    assert proof.stretches.max() < 1e-9 and proof.margins.min() == pytest.approx(1, abs=1e-6)
    assert "after every word of any length" in proof.summary()


def test_another_machine_is_not_proved():
    wrong = replace(PARITY, labels=np.array([1, 0]))
    proof = prove_machine(wrong, saturating_network(PARITY), deepest=2)
    assert not proof.proved and len(proof.reasons) == 3
    assert "says otherwise in the middle of a cell" in proof.summary()


def test_cells_of_a_leaky_sum_are_the_intervals_that_are_known():
    # After a 1 the sum lies in [1, 5/3], after a 0 in [0, 2/3]: radius 1/3, and 0.8 - 2/3 = 2/15 below the threshold.
    proof = prove_machine(LAST, leaky(0.8))
    assert proof.proved and proof.depth == 0
    assert np.allclose(proof.centers[:, 0], [1 / 3, 4 / 3], atol=1e-9)
    assert (proof.stretches <= 0.4 * (1 + 1e-9)).all() and (proof.stretches >= 0.4 * (1 - 1e-9)).all()
    # Radii are 2 % above the least ones: 0.34 instead of 1/3, so the margins are 0.0067 less, and no more than is true.
    assert 2 / 15 - 0.01 < proof.margins[0] <= 2 / 15
    assert 0.2 - 0.01 < proof.margins[1] <= 0.2


def test_no_proof_where_the_threshold_cuts_the_interval():
    assert not prove_machine(LAST, leaky(0.66)).proved  # a long run of 1s, then 0, ends at 2/3
    assert prove_machine(LAST, leaky(0.68)).proved
    assert not prove_machine(LAST, leaky(1.01)).proved  # 1 after a long run of 0s


def test_telling_the_last_symbols_apart_makes_cells_small_enough():
    # The sum stays below 5/3 = 1.6667; one cell of radius 1.02 x 5/6 reaches 1.683.
    proof = prove_machine(ALWAYS, leaky(1.67))
    assert proof.proved and proof.depth > 0 and len(proof.reasons) == proof.depth
    assert "may hold states with another output" in proof.reasons[0]
    assert not prove_machine(ALWAYS, leaky(1.666)).proved


def test_a_network_that_fails_only_beyond_forty_symbols_is_not_proved():
    counter = Dynamics(lambda x, u: x + 1 + 0 * u, dim=1, driven=True, inputs=1)
    reader = symbol_reader(counter, drives=[[0.0], [1.0]], readout=lambda x: x, threshold=40.5)
    assert not judge(ALWAYS, reader, lengths=(40,), draws=0).refuted
    proof = prove_machine(ALWAYS, reader, deepest=2)
    assert not proof.proved and "not proved" in proof.summary()


def test_a_machine_on_a_tanh_network_and_one_output():
    # Bistable: the sign of x remembers whether a 1 was ever read.
    latch = Dynamics(lambda x, u: torch.tanh(3 * x + 6 * u), dim=1, driven=True, inputs=1)
    reader = symbol_reader(latch, drives=[[0.0], [1.0]], start=[-0.995], readout=lambda x: x)
    ever = automaton([[0, 1], [1, 1]], [0, 1])
    proof = prove_machine(ever, reader)
    assert proof.proved and (proof.stretches < 0.2).all()
    # At the fixed point +-0.9949 of tanh(3 x) the score is that far from 0.
    assert proof.margins.min() == pytest.approx(0.99, abs=0.02)


def test_a_step_without_known_bounds_proves_nothing():
    odd = Dynamics(lambda x, u: torch.erf(x) + u, dim=1, driven=True, inputs=1)
    proof = prove_machine(LAST, symbol_reader(odd, drives=[[-2.0], [2.0]], readout=lambda x: x), deepest=0)
    assert not proof.proved and "erf" in proof.summary()


def test_what_no_proof_can_be_of_is_refused():
    with pytest.raises(InputError, match="no map with a state of its own"):
        prove_machine(PARITY, reader_of(PARITY))
    with pytest.raises(InputError, match="1 edges of the machine are unknown"):
        prove_machine(automaton([[0, -1]], [0]), leaky(2.0))
    with pytest.raises(InputError, match="the machine reads"):
        prove_machine(automaton([[0]], [0]), leaky(2.0))
