"""Tomita's seven languages (1982) as tables and as patterns, written out twice so that each checks the other."""

import re

import numpy as np
import torch

from analyses.symbols.automaton import Automaton, automaton
from hooks.dynamics import Dynamics
from hooks.symbol_reader import SymbolReader, symbol_reader

# state -> (after 0, after 1); 1 where the word so far is in the language.
TABLES = {
    1: ([[1, 0], [1, 1]], [1, 0]),
    2: ([[2, 1], [0, 2], [2, 2]], [1, 0, 0]),
    3: ([[0, 1], [2, 0], [3, 4], [2, 1], [4, 4]], [1, 1, 0, 1, 0]),
    4: ([[1, 0], [2, 0], [3, 0], [3, 3]], [1, 1, 1, 0]),
    5: ([[1, 2], [0, 3], [3, 0], [2, 1]], [1, 0, 0, 0]),
    6: ([[1, 2], [2, 0], [0, 1]], [1, 0, 0]),
    7: ([[0, 1], [2, 1], [2, 3], [4, 3], [4, 4]], [1, 1, 1, 1, 0]),
}
SIZES = {1: 2, 2: 3, 3: 5, 4: 4, 5: 4, 6: 3, 7: 5}  # minimal and complete, by Myhill-Nerode classes


def tomita(number: int) -> Automaton:
    table, accepted = TABLES[number]
    return automaton(table, accepted, outputs=("no", "yes"))


def belongs(number: int, word: str) -> bool:
    """Whether a word over 0 and 1 is in the language."""
    match number:
        case 1:
            return re.fullmatch("1*", word) is not None
        case 2:
            return re.fullmatch("(10)*", word) is not None
        case 3:  # no odd run of 1s is followed by an odd run of 0s
            return re.search("(?<!1)1(11)*0(00)*(?!0)", word) is None
        case 4:
            return "000" not in word
        case 5:
            return word.count("0") % 2 == 0 and word.count("1") % 2 == 0
        case 6:
            return (word.count("0") - word.count("1")) % 3 == 0
        case 7:
            return re.fullmatch("0*1*0*1*", word) is not None
    raise ValueError(number)


def words(length: int) -> np.ndarray:
    """(2^length, length): every word of one length."""
    return (np.arange(2**length)[:, None] >> np.arange(length)[::-1]) & 1


def random_machine(states: int, symbols: int, seed: int) -> Automaton:
    """Edges and outputs drawn evenly."""
    rng = np.random.default_rng(seed)
    return automaton(rng.integers(0, states, (states, symbols)), rng.integers(0, 2, states))


def reader_of(machine: Automaton, *, noise: float = 0.0) -> SymbolReader:
    """A network that is this machine: its state is one-hot, seen with Gaussian noise that is the same for equal batches."""
    edges, said = torch.as_tensor(machine.transitions), torch.as_tensor(machine.labels)
    place = torch.eye(len(machine), dtype=torch.float64)

    def vectors(states: torch.Tensor) -> torch.Tensor:
        drawn = torch.randn(len(states), len(machine), generator=torch.Generator().manual_seed(len(states)))
        return place[states] + noise * drawn.double()

    return SymbolReader(
        symbols=machine.symbols,
        outputs=machine.outputs,
        first=lambda count: torch.full((count,), machine.initial),
        next=lambda states, ids: edges[states, ids],
        scores=lambda states: 1000 * torch.nn.functional.one_hot(said[states], len(machine.outputs)).double(),
        vectors=vectors,
        name="a machine as a network",
    )


def counting_reader(most: int = 10**9) -> SymbolReader:
    """Whether brackets are closed, none in excess: a counter of the open ones, an automaton only up to ``most``."""

    def count(states: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        after = (states + 1 - 2 * ids).clamp(max=most)
        return torch.where((states < 0) | (after < 0), -1, after)

    return SymbolReader(
        symbols=("(", ")"),
        outputs=("no", "yes"),
        first=lambda number: torch.zeros(number, dtype=torch.int64),
        next=count,
        scores=lambda states: (states == 0).double()[:, None] - 0.5,
        vectors=lambda states: states.double()[:, None],
        name="a counter",
    )


def saturating_network(machine: Automaton) -> SymbolReader:
    """A ReLU network that is this machine: units for its edges, 1 if the edge is taken and else 0, summed to a one-hot state.

    A unit's input is 2 if state and symbol fit, 1 if one does, else 0; relu(2 z - 2.5) - relu(2 z - 3.5) makes 1 and 0 of it,
    with slope 0 about these, so that small errors vanish in a step.
    """
    count, alphabet = machine.transitions.shape
    leaves = torch.as_tensor(np.repeat(np.eye(count), alphabet, axis=0))  # (edges, states)
    reads = torch.as_tensor(np.tile(np.eye(alphabet), (count, 1)))
    enters = torch.as_tensor(np.eye(count)[machine.transitions.reshape(-1)].T.copy())
    says = torch.as_tensor(np.eye(len(machine.outputs))[machine.labels].T.copy())
    linear = torch.nn.functional.linear

    def step(states: torch.Tensor, drive: torch.Tensor) -> torch.Tensor:
        z = linear(states, leaves) + linear(drive, reads)
        return linear(torch.relu(2 * z - 2.5) - torch.relu(2 * z - 3.5), enters)

    return symbol_reader(
        Dynamics(step, dim=count, driven=True, inputs=alphabet, name="a machine in ReLUs"),
        start=torch.eye(count, dtype=torch.float64)[machine.initial],
        readout=lambda states: linear(states, says),
        symbols=machine.symbols,
        outputs=machine.outputs,
    )
