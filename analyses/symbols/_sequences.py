"""Words of a symbolic sequence: numbers for them, their entropies, and shuffles that keep the counts of shorter words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from analyses.symbols.regions import PADDING, Regions


@dataclass(frozen=True, eq=False)
class Sequence:
    """Runs of symbols end to end; no word reaches across an end."""

    symbols: np.ndarray  # (symbols,) from 0
    left: np.ndarray  # (symbols,) symbols of the run from here on, this one included
    alphabet: int

    def words(self) -> Iterator[np.ndarray]:
        """For length 1, 2, ...: (symbols,) the number of the word that begins here, -1 where the run is too short."""
        now = self.symbols
        yield now
        length = 1
        while True:
            length += 1
            fits = np.flatnonzero(self.left >= length)
            longer = now[fits] * self.alphabet + self.symbols[fits + length - 1]
            now = np.full(len(self.symbols), PADDING)
            now[fits] = np.unique(longer, return_inverse=True)[1]
            yield now


def sequence(coded: Regions) -> Sequence:
    lengths = (coded.symbols != PADDING).sum(axis=1)
    left = np.concatenate([np.arange(length, 0, -1) for length in lengths] or [np.zeros(0, dtype=np.int64)])
    return Sequence(coded.symbols[coded.symbols != PADDING], left, len(coded.labels))


def counts(words: np.ndarray) -> np.ndarray:
    """(words,) how often each occurs."""
    return np.bincount(words[words != PADDING])


def entropy(counts: np.ndarray) -> float:
    """Shannon entropy in nats with the correction of Miller (1955) and Madow: (different words - 1) / (2 words) above the
    entropy of the shares. NaN without words."""
    total = counts.sum()
    if not total:
        return np.nan
    share = counts[counts > 0] / total
    return float(-(share * np.log(share)).sum() + (len(share) - 1) / (2 * total))


def shuffled_keeping(kept: Sequence, length: int, generator: np.random.Generator) -> Sequence:
    """Each run in random order, with exactly the same counts of words of ``length`` and, from length 2 on, the same ends.

    All such orders are equally likely: they are the Eulerian trails of the run's graph of words one shorter, and a trail is a
    random tree of last exits with the other exits of each node in random order (Kandel, Matias, Unger, Winkler, Discrete Appl.
    Math. 71, 171 (1996)); the tree comes from a loop-erased walk (Wilson 1996). The same null as Pethel and Hahs, Physica D
    269, 42 (2014). Costs O(symbols) in Python.
    """
    ends = np.append(0, np.flatnonzero(kept.left == 1) + 1)
    runs = [_run_shuffled(kept.symbols[a:b], length, generator) for a, b in pairwise(ends)]
    return Sequence(np.concatenate(runs) if runs else kept.symbols, kept.left, kept.alphabet)


def _run_shuffled(run: np.ndarray, length: int, generator: np.random.Generator) -> np.ndarray:
    if length == 1:
        return generator.permutation(run)
    if len(run) <= length:
        return run
    windows = np.lib.stride_tricks.sliding_window_view(run, length - 1)
    words, nodes = np.unique(windows, axis=0, return_inverse=True)
    trail = nodes.reshape(-1)
    order = trail[:-1].argsort(kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(trail[order])) + 1)
    exits = {int(trail[part[0]]): trail[part + 1].tolist() for part in parts}

    end, last = int(trail[-1]), dict[int, int]()
    for node in exits:
        walk, taken = node, dict[int, int]()
        while walk != end and walk not in last:  # a loop is erased by the later exit that overwrites the earlier
            taken[walk] = exits[walk][generator.integers(len(exits[walk]))]
            walk = taken[walk]
        walk = node
        while walk != end and walk not in last:
            last[walk] = taken[walk]
            walk = last[walk]
    for node, targets in exits.items():
        if node in last:
            targets.remove(last[node])
        targets[:] = generator.permutation(targets).tolist()
        if node in last:
            targets.insert(0, last[node])  # exits are taken from the back

    at = int(trail[0])
    visited = [at]
    for _ in range(len(trail) - 1):
        at = exits[at].pop()
        visited.append(at)
    return np.concatenate([words[visited[0]], words[visited[1:], -1]])
