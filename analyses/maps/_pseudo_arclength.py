"""Following a branch G(x, q) = 0 by pseudo-arclength and cutting down what changes on it: what ``continuation`` is made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch

from analyses.maps._eigenvalues import sorted_eigenvalues
from analyses.result import Outcome
from hooks.dynamics import Dynamics, autonomous
from hooks.errors import InputError
from hooks.families.path import Family
from hooks.tangent import jacobian

APART = 1e-6  # states closer than this are one
BEND = 0.975  # least cosine between a step and the tangents at both of its ends
BOUND = 1e6  # norm of a state beyond which a branch has left every bound
DIFFERENCE = 1e-7  # half width of the central difference in q: short, so that it seldom straddles a kink of the family
FINEST = 1e-10  # length at which cutting stops, in units of 1 + |x|
KINK = 1e-3  # share of the longest step below which any bend is a kink of the map or of the family
MARGIN = 1e-7  # an eigenvalue this close to the unit circle leaves its side open
NEWTON = 8  # most corrections of a prediction
SHORTEST = 1e-6  # share of the longest step below which a branch is lost


@dataclass(frozen=True, eq=False)
class Point:
    """A point z = (x, q) of a branch, its unit tangent, eigenvalues and residual."""

    z: np.ndarray
    tangent: np.ndarray
    eigenvalues: np.ndarray
    residual: float

    @property
    def margins(self) -> np.ndarray:
        return np.abs(self.eigenvalues) - 1

    @property
    def unstable(self) -> int:
        return int((self.margins > 0).sum())

    @property
    def side(self) -> tuple[float, int, int]:
        """What changes at a bifurcation: the signs of dq/ds and of det(DF - I), and the number of unstable eigenvalues."""
        below = (self.eigenvalues.imag == 0) & (self.eigenvalues.real < 1)
        return float(np.sign(self.tangent[-1])), int(below.sum()) % 2, self.unstable

    @property
    def decided(self) -> bool:
        return bool((np.abs(np.append(self.margins, self.tangent[-1])) > MARGIN).all())

    @property
    def leaving(self) -> bool:
        """At an end of the span, heading out of it."""
        share, heading = float(self.z[-1]), float(self.tangent[-1])
        return (share == 1 and heading > 0) or (share == 0 and heading < 0)

    def reversed(self) -> Point:
        return replace(self, tangent=-self.tangent)


@dataclass(frozen=True, eq=False)
class Path:
    """A branch so far: its points in order, and the roots at the starts' parameter that lie on it."""

    points: tuple[Point, ...]
    roots: tuple[int, ...]
    outcome: Outcome = Outcome.OUT_OF_TIME
    closed: bool = False


@dataclass(frozen=True, eq=False)
class Curve:
    """G(x, q) = F(x; low + q (high - low)) - x on 0 <= q <= 1, and Newton's method on it."""

    family: Family
    low: float
    high: float
    tolerance: float
    dim: int

    def parameter(self, share: float) -> float:
        # exact at the end of the span, which a family may not be defined beyond
        return self.high if share >= 1 else self.low + share * (self.high - self.low)

    def at(self, z: np.ndarray) -> tuple[Dynamics, torch.Tensor]:
        """The map at q and the state as its batch of one."""
        dynamics = autonomous(self.family(self.parameter(float(z[-1]))), "continue_fixed_points")
        if dynamics.dim != self.dim:
            raise InputError(f"the maps of a family share one dim, but {self.dim} and {dynamics.dim} came")
        return dynamics, torch.as_tensor(z[None, :-1], dtype=dynamics.dtype, device=dynamics.device)

    def gap(self, z: np.ndarray) -> np.ndarray:
        dynamics, state = self.at(z)
        with torch.no_grad():
            return (dynamics(state) - state)[0].double().cpu().numpy()

    def slope(self, z: np.ndarray) -> np.ndarray:
        """(dim, dim + 1): DF - I beside dG/dq."""
        ends = np.clip([z[-1] - DIFFERENCE, z[-1] + DIFFERENCE], 0, 1)
        before, after = (self.gap(np.append(z[:-1], end)) for end in ends)
        A = jacobian(*self.at(z))[0].double().cpu().numpy() - np.eye(self.dim)
        return np.column_stack([A, (after - before) / (ends[1] - ends[0])])

    def corrected(self, guess: np.ndarray, normal: np.ndarray) -> np.ndarray | None:
        """The root in the plane through ``guess`` normal to ``normal``; None when Newton fails or leaves the span."""
        if not 0 <= guess[-1] <= 1:
            return None
        z, gap, slope = guess, self.gap(guess), self.slope(guess)
        for _ in range(NEWTON):
            size = np.linalg.norm(gap)
            ahead = z - _solved(np.vstack([slope, normal]), np.append(gap, normal @ (z - guess)))
            if not np.isfinite(ahead).all() or abs(ahead[-1] - 0.5) > 0.5 + 1e-12:
                return z if size <= self.tolerance else None
            ahead[-1] = min(max(ahead[-1], 0.0), 1.0)
            after = self.gap(ahead)
            if size <= self.tolerance:
                return ahead if np.linalg.norm(after) <= size else z
            if not np.isfinite(after).all():
                return None
            z, gap = ahead, after
            # the last correction takes the slope it has
            slope = slope if np.linalg.norm(gap) <= self.tolerance else self.slope(z)
        return None

    def point(self, z: np.ndarray, along: np.ndarray | None = None) -> Point:
        """The point at a root, its tangent on the side of ``along``; without one, towards higher parameters."""
        slope = self.slope(z)
        if along is None:
            tangent = np.linalg.svd(slope)[2][-1]
            tangent = -tangent if tangent[-1] < 0 else tangent
        else:
            tangent = _solved(np.vstack([slope, along]), np.eye(self.dim + 1)[-1])
        eigenvalues = sorted_eigenvalues(torch.as_tensor(slope[:, :-1] + np.eye(self.dim))[None])[0]
        return Point(z, tangent / np.linalg.norm(tangent), eigenvalues, float(np.linalg.norm(self.gap(z))))

    def between(self, a: Point, b: Point, share: float) -> Point | None:
        """The point over this share of the chord; None when it is far from the chord, or on a branch that crosses there."""
        chord = b.z - a.z
        length, guess = np.linalg.norm(chord), a.z + share * chord
        z = self.corrected(guess, chord / length)
        if z is None or np.linalg.norm(z - guess) > 1.5 * min(share, 1 - share) * length:
            return None
        there = self.point(z, chord)
        return there if there.tangent @ chord > length / 2 else None

    def ahead(self, here: Point, length: float) -> Point | None:
        """The point one step on, on the end of the span when the step would pass it; None when the step fails."""
        guess, normal = here.z + length * here.tangent, here.tangent
        landing = not 0 <= guess[-1] <= 1
        if landing:
            end = 1.0 if here.tangent[-1] > 0 else 0.0
            guess = here.z + (end - here.z[-1]) / here.tangent[-1] * here.tangent
            guess[-1], normal = end, np.eye(self.dim + 1)[-1]
        z = self.corrected(guess, normal)
        if z is None or np.linalg.norm(z - guess) > length / 2 or (z == here.z).all():
            return None
        there = self.point(z, z - here.z)
        return None if landing and not there.leaving else there

    def around(self, here: Point, length: float) -> Point | None:
        """The point this much further in the parameter alone, or in the state alone.

        A kink may turn a branch by more than 90 degrees: one of the family keeps the parameter's direction, one of the map
        the state's.
        """
        parameter = np.arange(self.dim + 1) == self.dim
        for part in (parameter, ~parameter):
            normal = np.where(part, here.tangent, 0.0)
            if normal.any():
                normal /= np.linalg.norm(normal)
                z = self.corrected(here.z + length * normal, normal)
                if z is not None and np.linalg.norm(z - here.z) <= length / KINK:
                    return self.point(z, z - here.z)
        return None


def followed(curve: Curve, roots: np.ndarray, step: float, steps: int) -> Iterator[tuple[Path, ...]]:
    """All branches so far, after each further point; a root that a branch passes begins none."""
    done: tuple[Path, ...] = ()
    for number in range(len(roots)):
        if any(number in path.roots for path in done):
            continue
        first = curve.point(roots[number])
        path, outcome = Path((first,), (number,)), Outcome.CONVERGED
        for way in (1, -1):
            here, reach = first if way > 0 else first.reversed(), step
            for taken in range(steps + 1):
                if here.leaving:
                    break
                if taken == steps:
                    outcome = Outcome.OUT_OF_STEPS
                    break
                ahead, reach = _stepped(curve, here, reach, step)
                if ahead is None or np.linalg.norm(ahead.z) > BOUND:
                    outcome = Outcome.STUCK if ahead is None else Outcome.DIVERGED
                    break
                closed = way > 0 and taken > 1 and _passes(first, here, ahead)
                here = first if closed else ahead
                points = (*path.points, here) if way > 0 else (here.reversed(), *path.points)
                path = replace(path, points=points, closed=closed)
                yield (*done, path)
                if closed:
                    break
            if path.closed:
                break
        path = replace(path, outcome=outcome, roots=(number, *_further_roots(curve, path, roots)))
        done = (*done, path)
        yield done


def _stepped(curve: Curve, here: Point, reach: float, step: float) -> tuple[Point | None, float]:
    """The next point and the next step to try: halved until it holds, doubled after a straight one."""
    size = 1 + float(np.linalg.norm(here.z[:-1]))
    while reach > SHORTEST * step:
        kinked = reach < KINK * step
        there = curve.ahead(here, reach * size) or (curve.around(here, reach * size) if kinked else None)
        if there is not None:
            chord = (there.z - here.z) / np.linalg.norm(there.z - here.z)
            straight = min(chord @ here.tangent, chord @ there.tangent)
            if kinked or (straight > BEND and not _jumped(curve, here, there)):
                return there, min(step, 2 * reach) if straight > (3 + BEND) / 4 else reach
        reach /= 2
    return None, reach


def _jumped(curve: Curve, here: Point, there: Point) -> bool:
    """Whether the step lands on another branch: det(DF - I) / (dq/ds) keeps its sign along one but for branch points."""
    same = here.side[0] * (-1) ** here.side[1] == there.side[0] * (-1) ** there.side[1]
    return not same and any(np.linalg.norm(b.z - a.z) > APART for a, b in brackets_of(curve, here, there))


def _passes(first: Point, here: Point, ahead: Point) -> bool:
    """Whether the step from here goes through the first point, in its direction."""
    before, after = (first.tangent @ (point.z - first.z) for point in (here, ahead))
    far = max(np.linalg.norm(ahead.z - first.z), np.linalg.norm(here.z - first.z))
    return bool(
        before < 0 <= after and far < 1.5 * np.linalg.norm(ahead.z - here.z) and here.tangent @ first.tangent > 0
    )


def _further_roots(curve: Curve, path: Path, roots: np.ndarray) -> list[int]:
    """Roots after the path's own that it passes: it is solved at their parameter wherever it crosses it."""
    level, on = roots[0, -1], set()
    for a, b in pairwise(path.points if len(roots) > path.roots[0] + 1 else ()):
        if (a.z[-1] - level) * (b.z[-1] - level) > 0 or a.z[-1] == b.z[-1]:
            continue
        guess = a.z + (level - a.z[-1]) / (b.z[-1] - a.z[-1]) * (b.z - a.z)
        z = curve.corrected(np.append(guess[:-1], level), np.eye(curve.dim + 1)[-1])
        if z is not None and np.linalg.norm(z - guess) <= np.linalg.norm(b.z - a.z):
            on |= set(np.flatnonzero(np.linalg.norm(roots - z, axis=1) <= APART).tolist())
    return sorted(root for root in on if root > path.roots[0])


def brackets_of(curve: Curve, a: Point, b: Point, *, halve: bool = False) -> list[tuple[Point, Point]]:
    """The shortest segments between these points across which the side changes."""
    if a.side == b.side:
        return []
    middle = _cut(curve, a, b, 0.5 if halve else _share(a, b))
    if middle is None:
        return [(a, b)]
    parts = []
    for begin, end in ((a, middle), (middle, b)):
        slow = bool(np.linalg.norm(end.z - begin.z) > np.linalg.norm(b.z - a.z) / 2)
        parts.append(brackets_of(curve, begin, end, halve=slow and not halve))
    left, right = parts
    if left and right:
        # rounding spreads one change over several places (on the arms of a pitchfork det(DF - I) only touches zero):
        # a side that no decided point confirms is none
        begin, end = left[-1][1], right[0][0]
        inner = None if begin is end else _cut(curve, begin, end, 0.5)
        if inner is None or not inner.decided:
            begin, end = left.pop()[0], right.pop(0)[1]
            left += [_turn(curve, begin, end)] if begin.side != end.side else []
    return [*left, *right]


def _cut(curve: Curve, a: Point, b: Point, share: float) -> Point | None:
    """A point between, at this share of the chord or near a third; None when the segment is short enough or it fails."""
    length, finest = float(np.linalg.norm(b.z - a.z)), FINEST * (1 + float(np.linalg.norm(a.z)))
    if length <= finest:
        return None
    least = finest / length / 2
    cuts = (min(max(share, least), 1 - least), 0.3, 0.7)
    return next((point for cut in cuts if (point := curve.between(a, b, cut)) is not None), None)


def _turn(curve: Curve, a: Point, b: Point) -> tuple[Point, Point]:
    """The segment cut to where dq/ds changes sign, if it does; eigenvalues stay those of a and b, told from rounding there."""
    begin, end = a, b
    while a.side[0] != b.side[0] and (middle := _cut(curve, begin, end, 0.5)) is not None:
        begin, end = (middle, end) if middle.side[0] == a.side[0] else (begin, middle)
    return replace(begin, eigenvalues=a.eigenvalues), replace(end, eigenvalues=b.eigenvalues)


def _share(a: Point, b: Point) -> float:
    """Where to cut a segment: twice as far from its nearer end as the secant's root of dq/ds, or of the nearest |m| - 1."""
    turned = a.side[0] != b.side[0]
    first, last = (
        float(point.tangent[-1] if turned else point.margins[np.abs(point.margins).argmin()]) for point in (a, b)
    )
    root = first / (first - last) if first * last < 0 else 0.5
    return min(2 * root, 0.5) if root < 0.5 else max(2 * root - 1, 0.5)


def _solved(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The solution; the shortest one where the matrix is singular (on a branch point)."""
    try:
        return np.linalg.solve(matrix, right)
    except np.linalg.LinAlgError:
        return np.linalg.lstsq(matrix, right)[0]
