"""A network as the teacher of a learner: what it says after each prefix, and words after which a machine says otherwise.

Words are answered from a tree in which every prefix is read once. Whether a machine is the network's is asked of many words at
once: all short ones; words led to by the states (Weiss, Goldberg, Yahav, "Extracting automata from recurrent neural networks
using queries and counterexamples", ICML 2018: two words in one state of the machine whose states in the network are far apart,
or in two states of the machine but near in the network); random words; a few long ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.spatial.distance import cdist

from analyses.symbols._prefix_tree import read_tree
from analyses.symbols.automaton import Automaton
from hooks.symbol_reader import SymbolReader

Word = tuple[int, ...]
SHORT, LONGEST_SHORT = 2048, 64  # words at most up to the length that is read wholly, and that length at most
POOL = 1024  # words, short and random ones each, whose states are compared
DRAWN, STEPS = 32, 32  # random words of the pool and their length
NEAR, FAR, SUFFIXES, GUIDED = 64, 6, 64, 2048  # pairs; members of a state; short continuations; words of a kind
BASES = 14  # words that are repeated: all up to length 3 over two symbols
ASKED_AGAIN = 128  # words whose answer must not have changed


class ContradictionError(Exception):
    """One word was answered in two ways."""

    def __init__(self, word: Word, first: int, second: int) -> None:
        super().__init__(word)
        self.word, self.said = word, (first, second)


class Teacher:
    """Answers about one network, on words up to ``longest`` when comparing; counts the symbols that are read."""

    def __init__(self, reader: SymbolReader, generator: np.random.Generator, longest: int) -> None:
        self.reader, self.generator, self.longest = reader, generator, longest
        self.alphabet, self.symbols_read = len(reader.symbols), 0
        self._states = [reader.first(1)]
        self._said = [int(reader.says(self._states[0])[0])]
        self._children: list[dict[int, int]] = [{}]
        self._words: list[Word] = [()]

        self.short_length = min(longest, fitting(self.alphabet, SHORT))
        tree = read_tree(reader, self.short_length)
        short: list[Word] = [()]
        for parent, symbol in zip(tree.parents[1:].tolist(), tree.symbols[1:].tolist(), strict=True):
            short.append((*short[parent], symbol))
        self.short = short
        steps = min(longest, STEPS)
        drawn = random_words(self.alphabet, DRAWN, steps, generator)
        run = reader.read(drawn)
        self.symbols_read += len(short) - 1 + drawn.size
        kept = np.sort(generator.permutation(len(short))[:POOL])
        self.pool = [short[row] for row in kept]
        self.pool += [tuple(word[:n].tolist()) for word in drawn for n in range(1, steps + 1)]
        self.vectors = np.concatenate([tree.vectors[kept], run.states[:, 1:].reshape(-1, run.states.shape[2])])

    def says(self, word: Sequence[int]) -> list[int]:
        """The outputs after every prefix, the empty one first; what is not yet in the tree is read and kept."""
        path = [0]
        for symbol in word:
            after = self._children[path[-1]].get(symbol)
            if after is None:
                break
            path.append(after)
        rest = list(word[len(path) - 1 :])
        states = [self._states[path[-1]]]
        with torch.no_grad():
            for symbol in rest:
                states.append(self.reader.next(states[-1], torch.tensor([symbol])))
        for symbol, state in zip(rest, states[1:], strict=True):
            self._children[path[-1]][symbol] = len(self._said)
            self._words.append((*self._words[path[-1]], symbol))
            path.append(len(self._said))
            self._states.append(state)
            self._said.append(int(self.reader.says(state)[0]))
            self._children.append({})
        self.symbols_read += len(rest)
        return [self._said[node] for node in path]

    def said_along(self, ids: np.ndarray) -> np.ndarray:
        """(runs, steps) words -> (runs, steps + 1) outputs, read anew in one batch."""
        self.symbols_read += ids.size
        return self.reader.says_along(ids)

    def wrong(self, machine: Automaton, words: Sequence[Sequence[int]] | np.ndarray) -> Word | None:
        """The shortest prefix of any of these words, up to the longest asked, after which the two say different outputs."""
        if not len(words):
            return None
        ids, lengths = padded(words)
        ids = ids[:, : self.longest]
        said, expected = self.said_along(ids), machine.says(ids)
        differ = (said != expected) & (np.arange(ids.shape[1] + 1) <= lengths[:, None])
        if not differ.any():
            return None
        step = int(np.flatnonzero(differ.any(axis=0))[0])
        row = int(np.flatnonzero(differ[:, step])[0])
        word = tuple(ids[row, :step].tolist())
        alone = self.says(word)[-1]
        if alone == expected[row, step]:
            raise ContradictionError(word, int(said[row, step]), alone)
        return word

    def ask_again(self, longest: int) -> None:
        """Raise ContradictionError when a word of the tree, up to this length, is now answered in another way."""
        rows = [row for row, word in enumerate(self._words) if len(word) <= longest]
        rows = [rows[i] for i in self.generator.permutation(len(rows))[:ASKED_AGAIN]]
        ids, lengths = padded([self._words[row] for row in rows])
        now = self.said_along(ids)[np.arange(len(rows)), lengths]
        for row, said in zip(rows, now.tolist(), strict=True):
            if said != self._said[row]:
                raise ContradictionError(self._words[row], self._said[row], said)

    def all_as(self, machine: Automaton) -> bool:
        """Whether the machine says what the network said after every word in the tree."""
        ids, lengths = padded(self._words)
        return bool((machine.says(ids)[np.arange(len(ids)), lengths] == np.array(self._said)).all())

    def guided_words(self, machine: Automaton) -> list[Word]:
        """Words to ask of: from pairs near in the network but not in one state of the machine, each continued by a word that
        tells the two states apart; and from members of one state that are far apart, each continued by words that tell states
        apart and by short ones."""
        ids, lengths = padded(self.pool)
        places = machine.states(ids)[np.arange(len(ids)), lengths]
        telling = _telling(machine)
        apart = cdist(self.vectors, self.vectors)
        other = np.where(places[:, None] != places, apart, np.inf)
        nearest = other.argmin(axis=1)
        gaps = other[np.arange(len(other)), nearest]
        said = np.stack([machine.labels[_follow(machine, word)] for word in telling], axis=1)
        words = []
        for row in np.argsort(gaps, kind="stable")[:NEAR]:
            if np.isfinite(gaps[row]):
                word = telling[int((said[places[row]] != said[places[nearest[row]]]).argmax())]
                words += [self.pool[one] + word for one in (row, nearest[row])]
        far = [member for state in np.unique(places) for member in _spread(apart, np.flatnonzero(places == state))]
        words += [self.pool[member] + word for member in far for word in telling][:GUIDED]
        suffixes = [word for word in self.short if 0 < len(word) <= fitting(self.alphabet, SUFFIXES)]
        picked = self.generator.permutation(len(far) * len(suffixes))[:GUIDED]
        return words + [self.pool[far[pick // len(suffixes)]] + suffixes[pick % len(suffixes)] for pick in picked]

    def counting_words(self, machine: Automaton) -> list[Word]:
        """Short words repeated until the machine was in one of its states twice, where a counter was not, then others that
        count down; they are asked after every symbol."""
        bases, times = self.short[1 : 1 + BASES], len(machine) + 1
        return [one * times + other * (2 * times) for one in bases for other in bases]


def random_words(alphabet: int, count: int, length: int, generator: np.random.Generator) -> np.ndarray:
    """(count, length): each word draws its symbols alike, with shares of its own, even over all shares that sum to 1."""
    shares = generator.dirichlet(np.ones(alphabet), size=count).cumsum(axis=1)
    return (generator.random((count, length, 1)) > shares[:, None, :-1]).sum(axis=2).astype(np.int64)


def fitting(alphabet: int, most: int) -> int:
    """The greatest length, 1 to 64, with ``most`` words at most up to it; 1 if there is none."""
    length, words = 1, 1 + alphabet
    while length < LONGEST_SHORT and words + alphabet ** (length + 1) <= most:
        length += 1
        words += alphabet**length
    return length


def padded(words: Sequence[Sequence[int]] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(runs, longest) words, filled up with symbol 0, and their lengths."""
    if isinstance(words, np.ndarray):
        return words, np.full(len(words), words.shape[1])
    lengths = np.array([len(word) for word in words], dtype=np.int64)
    ids = np.zeros((len(words), int(lengths.max(initial=0))), dtype=np.int64)
    ids[np.arange(ids.shape[1]) < lengths[:, None]] = [symbol for word in words for symbol in word]
    return ids, lengths


def _telling(machine: Automaton) -> list[Word]:
    """Words, fewer than states, of which one tells any two states of a minimal machine apart."""
    words: list[Word] = [()]
    while True:
        said = np.stack([machine.labels[_follow(machine, word)] for word in words], axis=1)
        same = np.unique(said, axis=0, return_inverse=True)[1].reshape(-1)
        order = np.argsort(same, kind="stable")
        twins = np.flatnonzero(same[order[1:]] == same[order[:-1]])
        if not len(twins):
            return words
        one, two = (replace(machine, initial=int(order[twins[0] + side])) for side in (0, 1))
        word = one.told_apart(two)
        if word is None:
            return words
        words.append(word)


def _follow(machine: Automaton, word: Word) -> np.ndarray:
    """Where each state is after the word."""
    states = np.arange(len(machine))
    for symbol in word:
        states = machine.transitions[states, symbol]
    return states


def _spread(apart: np.ndarray, members: np.ndarray) -> list[int]:
    """The first member, then each time the one farthest from those taken."""
    taken = [int(members[0])]
    gaps = apart[members, taken[0]]
    while len(taken) < FAR and (gaps > 0).any():
        taken.append(int(members[gaps.argmax()]))
        gaps = np.minimum(gaps, apart[members, taken[-1]])
    return taken
