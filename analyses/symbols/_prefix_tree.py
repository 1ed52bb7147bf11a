"""The prefix tree of a set of words, read by a network level by level: every prefix once, a level in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from analyses.symbols.automaton import UNKNOWN, Automaton
from hooks.errors import InputError
from hooks.symbol_reader import SymbolReader

MOST_NODES = 1 << 20
MISSING = -1


@dataclass(frozen=True, eq=False)
class PrefixTree:
    """Nodes are words, shorter ones first; node 0 is the empty word.

    Attributes
    ----------
    parents, symbols, depths : (nodes,)
        The word without its last symbol (-1 for the empty one), that symbol, and the length.
    children : (nodes, alphabet)
        The word one symbol longer; -1 where it is not in the tree.
    said : (nodes,)
        The output after each word.
    chances : (nodes, outputs)
        The probability of each output there.
    vectors : (nodes, dim)
        The state there.
    """

    parents: Int[np.ndarray, " nodes"]
    symbols: Int[np.ndarray, " nodes"]
    depths: Int[np.ndarray, " nodes"]
    children: Int[np.ndarray, "nodes alphabet"]
    said: Int[np.ndarray, " nodes"]
    chances: Float[np.ndarray, "nodes outputs"]
    vectors: Float[np.ndarray, "nodes dim"]

    def word(self, node: int) -> tuple[int, ...]:
        """The symbols of a node."""
        word: list[int] = []
        while node:
            word.append(int(self.symbols[node]))
            node = int(self.parents[node])
        return tuple(reversed(word))

    def outputs_of(self, machine: Automaton) -> Int[np.ndarray, " nodes"]:
        """What a machine says after each word; -1 where it does not know."""
        states = np.full(len(self.said), machine.initial)
        for depth in range(1, int(self.depths.max()) + 1):
            at = np.flatnonzero(self.depths == depth)
            before = states[self.parents[at]]
            states[at] = np.where(before < 0, UNKNOWN, machine.transitions[before, self.symbols[at]])
        return np.append(machine.labels, UNKNOWN)[states]


def read_tree(reader: SymbolReader, words: int | Sequence[Any]) -> PrefixTree:
    """All words up to a length, or all prefixes of the given words, with what the network says and where it is after each.

    Raises InputError for a negative length, more than 2^20 nodes or symbols that the reader does not know.
    """
    alphabet = len(reader.symbols)
    levels = _full_levels(alphabet, words) if isinstance(words, int) else _levels(alphabet, words)
    parents, symbols, depths = [np.array([MISSING])], [np.array([MISSING])], [np.array([0])]
    said, chances, vectors = [], [], []
    with torch.no_grad():
        states = reader.first(1)
        for depth, (above, read) in enumerate([(None, None), *levels]):
            if above is not None and read is not None:
                before = sum(len(level) for level in parents[:-1])
                states = reader.next(states[torch.as_tensor(above)], torch.as_tensor(read))
                parents.append(before + above)
                symbols.append(read)
                depths.append(np.full(len(read), depth))
            said.append(reader.says(states))
            chances.append(reader.probabilities(states))
            vectors.append(reader.vectors(states).double().cpu().numpy())
    parent, symbol = np.concatenate(parents), np.concatenate(symbols)
    children = np.full((len(parent), alphabet), MISSING)
    children[parent[1:], symbol[1:]] = np.arange(1, len(parent))
    return PrefixTree(
        parent,
        symbol,
        np.concatenate(depths),
        children,
        np.concatenate(said),
        np.concatenate(chances).astype(np.float64),
        np.concatenate(vectors),
    )


def _full_levels(alphabet: int, longest: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each level, every node's parent within the level above and its symbol."""
    nodes = sum(alphabet**depth for depth in range(longest + 1)) if longest >= 0 else 0
    if not 0 < nodes <= MOST_NODES:
        raise InputError(
            f"words up to length {longest} over {alphabet} symbols are {nodes}, but 1 to {MOST_NODES} are read: "
            "give a shorter length, or the words themselves"
        )
    widths = [alphabet**depth for depth in range(longest)]
    return [(np.repeat(np.arange(width), alphabet), np.tile(np.arange(alphabet), width)) for width in widths]


def _levels(alphabet: int, words: Sequence[Any]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The same of the prefixes of these words: equal ones are one node."""
    lengths = np.array([len(word) for word in words], dtype=np.int64)
    longest = int(lengths.max(initial=0))
    ids = np.full((len(words), longest), 0, dtype=np.int64)
    for row, word in enumerate(words):
        ids[row, : len(word)] = word
    if ids.size and not 0 <= ids.min() <= ids.max() < alphabet:
        raise InputError(f"symbols are 0 to {alphabet - 1}, but {ids.min()} to {ids.max()} came")
    if lengths.sum() > MOST_NODES:
        raise InputError(f"the words hold {lengths.sum()} symbols, but up to {MOST_NODES} are read")
    place, levels = np.zeros(len(words), dtype=np.int64), []
    for depth in range(longest):
        going = np.flatnonzero(lengths > depth)
        nodes, place[going] = np.unique(place[going] * alphabet + ids[going, depth], return_inverse=True)
        levels.append((nodes // alphabet, nodes % alphabet))
    return levels
