"""Which states of which texts an activation store holds, in which order, and how the work is cut: batches and chunks.

Texts stand by length, then by number, and a batch holds texts of one length: nothing is padded, so no padding can be read as a
state, and what a text gives depends on the batch alone, which is the same however often a run was killed or sharded. States
follow each other without gaps: text after text, position after position. A chunk is ``rows`` of them at every site.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from hooks.errors import InputError

Positions = Literal["all", "last"] | tuple[int, ...]
CHUNK_BYTES = 4 * 2**20  # of one site: what a disk reads in one go, and small beside the memory of a model
BATCHES = 8  # a chunk holds: what a kill may lose


@dataclass(frozen=True)
class Batch:
    """Texts of one length that run together."""

    texts: np.ndarray  # (texts,) their numbers
    positions: np.ndarray  # (kept,) of the states that are kept of each
    first: int  # of its rows
    last: int  # the row after them


@dataclass(frozen=True, eq=False)
class Layout:
    """The plan of a store: a pure function of the lengths of its texts and these settings.

    Parameters
    ----------
    lengths : (texts,) int64
        Tokens of each text.
    positions
        "all", "last" or positions, from the end where negative; a text that is too short has no state there.
    batch_tokens
        Tokens a forward pass at most, one text at least.
    rows
        States a chunk; 0 until it is chosen by ``chunked``.
    """

    lengths: np.ndarray
    positions: Positions
    batch_tokens: int
    rows: int = 0

    @cached_property
    def order(self) -> np.ndarray:
        """(texts,) their numbers in the order of the store."""
        return np.argsort(self.lengths, kind="stable")

    @cached_property
    def batches(self) -> tuple[Batch, ...]:
        """All forward passes, in the order of their rows."""
        found, first = [], 0
        for length, start, end in _runs(self.lengths[self.order]):
            kept = self.kept(length)
            size = max(1, self.batch_tokens // length)
            for begin in range(start, end, size) if len(kept) else ():
                texts = self.order[begin : min(begin + size, end)]
                found.append(Batch(texts, kept, first, first + len(texts) * len(kept)))
                first = found[-1].last
        return tuple(found)

    @property
    def states(self) -> int:
        return self.batches[-1].last if self.batches else 0

    @property
    def chunks(self) -> int:
        return -(-self.states // self.rows)

    def kept(self, length: int) -> np.ndarray:
        """Positions that are kept of a text of this length, ascending."""
        if self.positions == "all":
            return np.arange(length)
        wanted = (-1,) if self.positions == "last" else self.positions
        return np.unique([p % length for p in wanted if -length <= p < length]).astype(np.int64)

    def chunked(self, bytes_a_state: int) -> Layout:
        """With chunks of 4 MiB or eight batches, whichever is less, where a state of the widest site has this many bytes."""
        a_batch = self.states / max(1, len(self.batches))
        rows = min(CHUNK_BYTES // bytes_a_state, int(np.ceil(BATCHES * a_batch)), self.states)
        return Layout(self.lengths, self.positions, self.batch_tokens, max(1, rows))

    def chunk(self, number: int) -> tuple[int, int]:
        """(first row, the row after the last) of a chunk."""
        return number * self.rows, min((number + 1) * self.rows, self.states)

    def shard(self, number: int, of: int) -> range:
        """The chunks of shard ``number`` of ``of``, counted from 0: consecutive, as many in each."""
        return range(number * self.chunks // of, (number + 1) * self.chunks // of)

    def labels(self) -> tuple[np.ndarray, np.ndarray]:
        """(text, position) of every state, each (states,)."""
        texts = [np.repeat(batch.texts, len(batch.positions)) for batch in self.batches]
        positions = [np.tile(batch.positions, len(batch.texts)) for batch in self.batches]
        return np.concatenate(texts or [np.zeros(0, np.int64)]), np.concatenate(positions or [np.zeros(0, np.int64)])


def as_positions(positions: Any) -> Positions:
    """ "all", "last" or a tuple of positions.

    Raises
    ------
    InputError
        For anything else.
    """
    if positions in ("all", "last"):
        return positions
    wanted = () if isinstance(positions, str) else tuple(positions)
    if not wanted or not all(isinstance(p, int | np.integer) and not isinstance(p, bool) for p in wanted):
        raise InputError(f"positions are 'all', 'last' or whole numbers such as (0, -1), not {positions!r}")
    return tuple(sorted({int(p) for p in wanted}))


def digest_of(texts: Sequence[np.ndarray]) -> str:
    """A short name for the texts: equal tokens, equal name."""
    sha = hashlib.sha256(np.array([len(text) for text in texts], dtype="<i8").data)
    for text in texts:
        sha.update(text.astype("<i8").data)
    return sha.hexdigest()[:16]


def _runs(lengths: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """(length, first, the one after the last) of each run of equal lengths in a sorted array."""
    starts = np.flatnonzero(np.diff(lengths, prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(lengths)], strict=True):
        yield int(lengths[start]), int(start), int(end)
