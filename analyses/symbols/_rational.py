"""Which regions of a piecewise-linear map hold fixed points, decided in rational arithmetic: for what bounds leave open.

Weights are dyadic rationals, so (I - J_S) z = h, z_on > 0, z_off <= 0 has an exact answer. It is written as M v = b, v >= 0,
with v = |z| on the rectified units and the others eliminated, and solved by the simplex method with Bland's rule on a tableau
of integers (Edmonds' pivots: every division is exact). A relaxation in which units may have either sign drops whole sets of
regions.

Takes a network and regions (regions, relu); costs about relu pivots of a (dim, relu) table for each region or set dropped,
in integers of some 50 dim bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from math import lcm

import numpy as np
from jaxtyping import Bool, Int

from hooks.families import PiecewiseLinear

ARTIFICIAL = 1 << 62  # in a basis: a variable that must be 0; after every column in Bland's order


class Kind(Enum):
    """What a region holds."""

    EMPTY = "no fixed point"
    POINT = "one fixed point"
    CONTINUUM = "a continuum of fixed points"


@dataclass(frozen=True, eq=False)
class Decision:
    """A set of regions that hold nothing, or one region and what it holds."""

    regions: Bool[np.ndarray, "regions relu"]
    kind: Kind
    point: tuple[Fraction, ...] = ()  # (dim,) the fixed point, if there is one alone


@dataclass(frozen=True, eq=False)
class Tableau:
    """Integers over one denominator: rows of table / scale, the right side last, with the column that is basic in each row."""

    table: np.ndarray
    scale: int
    basis: tuple[int, ...]
    free: int  # the first rows hold unrectified units, which have no sign


@dataclass(frozen=True, eq=False)
class Equations:
    """The fixed-point equations with the unrectified units eliminated.

    ``table / scale`` has the rows of the eliminated units first; its columns are rectified units on, the same units off,
    and the right side. ``loose``: a direction of unrectified units is left alone by the map in every region.
    """

    table: np.ndarray
    scale: int
    eliminated: int
    loose: bool

    @classmethod
    def of(cls, network: PiecewiseLinear) -> Equations:
        """Of these weights."""
        A, W, h = ([Fraction(x) for x in part.flatten().tolist()] for part in (network.A, network.W, network.h))
        dim, relu = len(A), network.relu
        cut = dim - relu
        rows = []
        for i in range(dim):
            own = [(1 - A[i]) * (i == j) for j in range(dim)]
            on = [own[j] - W[i * dim + j] for j in range(dim)]
            row = [*on, *(-x for x in own[cut:]), h[i]]  # an inactive unit is z = -v
            shared = lcm(*(x.denominator for x in row))
            rows.append([int(x * shared) for x in row])
        table, scale = np.array(rows, dtype=object).reshape(dim, dim + relu + 1), 1
        done = 0
        for column in range(cut):
            pivots = np.flatnonzero(table[done:, column])
            if len(pivots):
                swap = done + int(pivots[0])
                table[[done, swap]] = table[[swap, done]]
                table, scale = _pivoted(table, scale, done, column)
                done += 1
        return cls(table[:, cut:], scale, done, loose=done < cut)

    def vertex(self, columns: Int[np.ndarray, " columns"]) -> Tableau | None:
        """A basic solution of M v = b, v >= 0 in these columns; None if there is no solution."""
        table, free = self.table[:, [*columns, -1]], self.eliminated
        table[free + np.flatnonzero(table[free:, -1] < 0)] *= -1
        now: Tableau | None = Tableau(table, self.scale, (ARTIFICIAL,) * len(table), free)
        while True:
            assert now is not None  # a sum of values that are not negative falls no further than to 0
            waiting = [row for row in range(free, len(table)) if now.basis[row] == ARTIFICIAL]
            gains = now.table[waiting].sum(axis=0)
            entering = np.flatnonzero(gains[:-1] > 0)
            if gains[-1] == 0 or not len(entering):
                break
            now = _entered(now, int(entering[0]))
        if gains[-1] > 0:
            return None
        for row in waiting:  # an artificial variable at 0 leaves, or its row says 0 = 0
            nonzero = np.flatnonzero(now.table[row, :-1])
            now = _exchanged(now, row, int(nonzero[0])) if len(nonzero) else now
        return now

    def region(self, on: Bool[np.ndarray, " relu"]) -> Decision:
        """What one region holds: a solution with v_on > 0, several, or none."""
        units = range(len(on))
        start = self.vertex(np.arange(len(on)) + len(on) * ~on)
        if start is None:
            return Decision(on[None], Kind.EMPTY)
        values = _values(start)
        if any(on[i] and values[i] == 0 and not _moves(start, i, 1) for i in units):
            return Decision(on[None], Kind.EMPTY)  # it has solutions on its border only, which belong to other regions
        if self.loose or any(_moves(start, i, way) for i in units for way in (1, -1)):
            return Decision(on[None], Kind.CONTINUUM)
        linear = [Fraction(x, start.scale) for x in start.table[: self.eliminated, -1]]
        return Decision(on[None], Kind.POINT, (*linear, *(values[i] if on[i] else -values[i] for i in units)))


def decided(equations: Equations, regions: Bool[np.ndarray, "regions relu"]) -> Iterator[Decision]:
    """Every given region once; sets of them are dropped together where no point has the signs that they share."""
    stack = [regions] if len(regions) else []
    while stack:
        group = stack.pop()
        if len(group) == 1:
            yield equations.region(group[0])
        elif equations.vertex(np.flatnonzero(np.concatenate([group.any(axis=0), ~group.all(axis=0)]))) is None:
            yield Decision(group, Kind.EMPTY)
        else:
            unit = int((group != group[0]).any(axis=0).argmax())
            stack += [group[~group[:, unit]], group[group[:, unit]]]


def _pivoted(table: np.ndarray, scale: int, row: int, column: int) -> tuple[np.ndarray, int]:
    """The same equations with the column's unit vector in this row, and their positive denominator."""
    pivot = table[row, column]
    after = (table * pivot - np.multiply.outer(table[:, column], table[row])) // scale
    after[row] = table[row]
    return (after, pivot) if pivot > 0 else (-after, -pivot)


def _exchanged(now: Tableau, row: int, column: int) -> Tableau:
    table, scale = _pivoted(now.table, now.scale, row, column)
    return Tableau(table, scale, (*now.basis[:row], column, *now.basis[row + 1 :]), now.free)


def _entered(now: Tableau, column: int) -> Tableau | None:
    """The vertex after this column entered by Bland's rule; None if it grows without bound."""
    rows = now.free + np.flatnonzero(now.table[now.free :, column] > 0)
    ratios = [(Fraction(now.table[row, -1], now.table[row, column]), now.basis[row]) for row in rows]
    return _exchanged(now, int(rows[ratios.index(min(ratios))]), column) if ratios else None


def _values(now: Tableau) -> list[Fraction]:
    """Of each column at the vertex."""
    values = [Fraction(0)] * (now.table.shape[1] - 1)
    for row, column in enumerate(now.basis):
        if column != ARTIFICIAL:
            values[column] = Fraction(now.table[row, -1], now.scale)
    return values


def _moves(now: Tableau, column: int, way: int) -> bool:
    """Whether this variable can grow (way 1) or shrink (-1) from the vertex within M v = b, v >= 0."""
    start = _values(now)[column]
    after: Tableau | None = now
    while after is not None and _values(after)[column] == start:
        if column in after.basis:
            gains = -way * after.table[after.basis.index(column), :-1]
            gains[column] = 0
        else:
            gains = way * (np.arange(after.table.shape[1] - 1) == column)
        entering = np.flatnonzero(gains > 0)
        if not len(entering):
            return False
        after = _entered(after, int(entering[0]))
    return True
