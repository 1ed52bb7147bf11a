"""An exact machine recovers everything, a fixed share of wrong outputs its arithmetic, a constant nothing."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from analyses.symbols.automaton import automaton
from analyses.symbols.replacement import Replacement, replacement
from hooks.errors import InputError
from hooks.families import affine_pieces
from hooks.symbol_reader import symbol_reader
from tests.hooks.test_symbol_reader import turning
from tests.known_automata import tomita
from tests.known_readers import PARITY, machine_reader, parity_reader, ring

WORDS = np.random.default_rng(5).integers(2, size=(200, 30))


def specimens():
    constant = automaton([[0, 0]], [0], outputs=("0", "1"))
    few = WORDS[:20, :6]
    return [
        replacement(parity_reader(), few, PARITY.says(few), {"machine": PARITY}),
        replacement(machine_reader(constant), few, PARITY.says(few), {"machine": constant, "parity": PARITY}),
    ]


def test_the_machine_of_parity_recovers_all_and_nothing_near_it_does():
    result = replacement(parity_reader(), WORDS, PARITY.says(WORDS), {"machine": PARITY})
    assert result.network == 1 and result.shares[0] == result.fidelity[0] == 1
    assert result.intervals[0].tolist() == [1, 1]
    assert np.abs(result.nulls[0].draws).max() < 0.1 and result.nulls[0].beaten
    assert np.nanmax(result.edits) < 0.5 and result.edit_p[0] == pytest.approx(1 / 9)
    assert result.summary().startswith("machine recovers 100.0%")


def test_shares_are_what_the_definition_says():
    """Targets of which a quarter is turned: the network is right at 3/4, an account that never says 1 where the zeros are."""
    rng = np.random.default_rng(0)
    truth = PARITY.says(WORDS)
    targets = np.where(rng.random(truth.shape) < 0.25, 1 - truth, truth)
    zero = automaton([[0, 0]], [0], outputs=("0", "1"))
    result = replacement(parity_reader(), WORDS, targets, {"parity": PARITY, "zero": zero, "ring": ring(4)})
    network, zeros = (truth == targets).mean(), (targets == 0).mean()
    chance = max(zeros, 1 - zeros)
    assert (result.network, result.chance) == (network, chance)
    fours = (ring(4).says(WORDS) == targets).mean()
    expected = [1.0, (zeros - chance) / (network - chance), (fours - chance) / (network - chance)]
    assert result.shares == pytest.approx(expected, abs=1e-12)
    assert (result.intervals[:, 0] <= result.shares).all() and (result.shares <= result.intervals[:, 1]).all()
    assert result.fidelity == pytest.approx([1, (truth == 0).mean(), (truth == ring(4).says(WORDS)).mean()])


def test_places_that_are_not_asked_do_not_count():
    targets = np.full((200, 31), -1)
    targets[:, -1] = PARITY.says(WORDS)[:, -1]
    swapped = automaton(PARITY.transitions, [0, 1], initial=1)  # wrong everywhere
    result = replacement(parity_reader(), WORDS, targets, {"machine": PARITY, "swapped": swapped})
    assert result.asked == 200 and result.shares[0] == 1 and result.performance[1] == 0


def test_affine_pieces_of_the_right_classes_recover_a_rectified_network_and_random_ones_do_not():
    """One affine map for each parity is exact on h = relu(W h + V x - 1), whose units are linear in each state and symbol."""
    reader = parity_reader()
    seen = np.random.default_rng(1).integers(2, size=(40, 20))
    run = reader.read(seen)
    # the four one-hot states are classes of one state each: x -> B u + b is exact
    classes = run.states.argmax(axis=2)

    def pieces(labels):
        dynamics = affine_pieces(run, labels)
        start = run.states[0, 0]
        return symbol_reader(dynamics, drives=reader.drives, start=start, readout=reader.dynamics.readout)

    rng = np.random.default_rng(2)
    random = [pieces(rng.permutation(classes.ravel()).reshape(classes.shape)) for _ in range(19)]
    account = {"affine pieces": pieces(classes)}
    result = replacement(reader, WORDS, PARITY.says(WORDS), account, partitioned={"affine pieces": random})
    assert result.shares[0] == 1 and result.nulls[0].p == 1 / 20 and result.nulls[0].draws.max() < 0.5
    assert result.edits.size == 0 and result.edit_p[0] == 1


def test_classes_that_are_not_needed_are_said_not_to_matter():
    """A turn for each symbol is linear, so that pieces of any classes are exact."""
    words = np.random.default_rng(0).integers(3, size=(60, 12))
    counter = automaton([[0, 1, 2], [1, 2, 0], [2, 0, 1]], [0, 1, 2])
    reader = symbol_reader(turning(), start=[1.0, 0.0])
    run = reader.read(words)
    classes, rng = counter.says(words), np.random.default_rng(1)

    def pieces(labels):
        dynamics = affine_pieces(run, labels, per_drive=True)
        return symbol_reader(dynamics, start=[1.0, 0.0], readout=reader.scores)

    random = [pieces(rng.permutation(classes.ravel()).reshape(classes.shape)) for _ in range(19)]
    result = replacement(reader, words, classes, {"pieces": pieces(classes)}, partitioned={"pieces": random})
    assert result.shares[0] == 1 and result.nulls[0].p == 1
    assert "p = 1: its classes are not shown to matter" in result.summary()


def test_three_outputs_and_another_network_as_the_account():
    words = np.random.default_rng(0).integers(3, size=(100, 12))
    counter = automaton([[0, 1, 2], [1, 2, 0], [2, 0, 1]], [0, 1, 2])
    reader = symbol_reader(turning(), start=[1.0, 0.0])
    result = replacement(reader, words, counter.says(words), {"machine": counter, "network": machine_reader(counter)})
    assert result.shares.tolist() == [1, 1] and result.chance == pytest.approx(1 / 3, abs=0.05)
    assert len(result.nulls) == 1 and result.nulls[0].statistic == "machine"


def test_a_network_at_chance_an_unknown_edge_and_refusals():
    constant = automaton([[0, 0]], [0], outputs=("0", "1"))
    idle = replacement(machine_reader(constant), WORDS, PARITY.says(WORDS), {"machine": constant})
    assert math.isnan(idle.shares[0]) and idle.nulls == () and "nothing to recover" in idle.summary()
    partial = replacement(
        parity_reader(), WORDS, PARITY.says(WORDS), {"partial": automaton([[0, -1]], [0], outputs=("0", "1"))}
    )
    assert partial.nulls == () and partial.shares[0] < 0  # wrong once the edge is needed
    with pytest.raises(InputError, match=r"targets \(runs, steps \+ 1\)"):
        replacement(parity_reader(), WORDS, WORDS, {"machine": PARITY})
    with pytest.raises(InputError, match="-1 where none is asked"):
        replacement(parity_reader(), WORDS, np.full((200, 31), -1), {"machine": PARITY})
    with pytest.raises(InputError, match="one account at least"):
        replacement(parity_reader(), WORDS, PARITY.says(WORDS), {})
    with pytest.raises(InputError, match="another language"):
        replacement(parity_reader(), WORDS, PARITY.says(WORDS), {"tomita": tomita(1)})


def test_results_repeat_and_are_written():
    reader = parity_reader()
    noisy = replace(reader, scores=lambda z: reader.scores(z) + 0.1 * torch.sin(1e3 * z.sum(1, keepdim=True)))
    first, second = (replacement(noisy, WORDS, PARITY.says(WORDS), {"machine": PARITY}) for _ in range(2))
    assert first.to_dict() == second.to_dict()
    assert Replacement.from_dict(first.to_dict()).summary() == first.summary()
    assert first.plot().get_ylabel() == "share of performance recovered"
