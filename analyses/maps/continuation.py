"""How do the fixed points move, vanish and turn unstable as one parameter changes? Branches, and where they bifurcate.

Method: pseudo-arclength continuation of G(x, p) = F(x; p) - x = 0 (Keller 1977; Kuznetsov, Elements of Applied Bifurcation
Theory, sections 10.2 and 10.3): a step along the unit tangent, then Newton's method in the plane normal to it, so that
folds are passed. A step is halved until Newton converges and the step makes less than 13 degrees with the tangents at both
its ends; a step onto a neighbouring branch is told by the sign of det(DF - I) / (dq/ds), and halved too.
Lengths are those of (x, q), q = (p - low) / (high - low). DF is the map's own Jacobian; dF/dq a central difference of half
width 1e-7 (error about 1e-9; one-sided at the span's ends), which steers Newton's method and moves no root.

Bifurcations: between neighbouring points of a branch, the sign of dq/ds, the sign of det(DF - I) and the number of
eigenvalues outside the unit circle are compared; where one changes, the segment is cut down to a length of 1e-10. Both
signs: fold; one of them: branch point (pitchfork, transcritical); neither: flip at -1, Neimark-Sacker at exp(+-i angle).
Eigenvalues that jump over the circle (the point meets a kink of the map): border collision. Not shown: two bifurcations
that undo each other within one step (a smaller ``step`` finds them), and the branches that leave a branch point.

Takes (family p -> map, starts (starts, dim)); costs some 6 Jacobians and 27 steps of the map a point, O(dim^3) each.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float, Int

from analyses.maps._pseudo_arclength import APART, MARGIN, Curve, Path, Point, brackets_of, followed
from analyses.maps._roots import DampedNewton, find_roots
from analyses.result import Check, Outcome, Result, axes_or_new, counted
from hooks.dynamics import Dynamics, as_states, autonomous
from hooks.errors import InputError
from hooks.families.path import Family
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EPS = float(np.finfo(np.float64).eps)
LOCATED = 1e-8  # a bracket narrower than this locates a bifurcation
ON_CIRCLE = 1e-5  # an eigenvalue this close to the circle at a located bifurcation is on it


@dataclass(frozen=True, eq=False)
class Branches(Result):
    """Branches of fixed points over the parameter, point by point along each, and the bifurcations on them.

    Attributes
    ----------
    branch, parameters, arclength, residuals : (points,)
        The branch a point belongs to; its parameter; its distance along the branch (chords in (x, q)); |F(x) - x|.
    states, eigenvalues : (points, dim)
        Eigenvalues of the Jacobian, largest modulus first.
    unstable : (points,)
        Eigenvalues outside the unit circle.
    outcomes, closed : branches
        CONVERGED when the branch closed, or was followed both ways to the span's ends; else how it ended. Whether it closed.
    kinds
        Of each bifurcation: "fold", "branch point", "flip", "Neimark-Sacker", "border collision"; "several at once" when
        eigenvalues of different kinds cross together; "unresolved" when the cutting failed. A branch point is listed on each
        branch through it.
    where, brackets : (found,)
        Its parameter, and what is left of it between the points next to it: the change of the parameter there, for a fold what
        the branch may still rise beyond them.
    where_states : (found, dim)
    angles : (found,)
        Of the eigenvalue on the unit circle, 0 to pi: 0 for a fold or branch point, pi for a flip; NaN where none is told.
    branch_of : (found,)
    sides : (found, 2)
        Eigenvalues outside the circle just before and just after it along the branch.
    landed : (starts,)
        The branch of each start, or -1 when it reached no fixed point.
    at, span
        Parameter of the starts; lowest and highest parameter.
    checks
        At each bifurcation as many eigenvalues lie on the circle as the number outside changes by (0 where a branch turns
        back at a branch point); every bracket is narrow; the largest residual.
    """

    branch: Int[np.ndarray, " points"]
    parameters: Float[np.ndarray, " points"]
    arclength: Float[np.ndarray, " points"]
    residuals: Float[np.ndarray, " points"]
    states: Float[np.ndarray, "points dim"]
    eigenvalues: Complex[np.ndarray, "points dim"]
    unstable: Int[np.ndarray, " points"]
    outcomes: tuple[Outcome, ...]
    closed: Bool[np.ndarray, " branches"]
    kinds: tuple[str, ...]
    where: Float[np.ndarray, " found"]
    brackets: Float[np.ndarray, " found"]
    where_states: Float[np.ndarray, "found dim"]
    angles: Float[np.ndarray, " found"]
    branch_of: Int[np.ndarray, " found"]
    sides: Int[np.ndarray, "found 2"]
    landed: Int[np.ndarray, " starts"]
    at: float
    span: tuple[float, float]
    checks: tuple[Check, ...]

    @property
    def undecided(self) -> np.ndarray:
        """(points,) bool: an eigenvalue within 1e-7 of the unit circle, so that no bifurcation is read from this point."""
        return (np.abs(np.abs(self.eigenvalues) - 1) <= MARGIN).any(axis=1)

    def summary(self) -> str:
        """How many branches were followed to their ends, the bifurcations by kind and place, and what is left open."""
        total, missed, open_points = len(self.outcomes), int((self.landed < 0).sum()), int(self.undecided.sum())
        text = f"{self.outcomes.count(Outcome.CONVERGED)} of {total} {'branch' if total == 1 else 'branches'} followed"
        text += f" to the span's ends or closed; {counted(len(self.kinds), 'bifurcation') if self.kinds else 'no bifurcation'}"
        for kind, count in sorted(Counter(self.kinds).items()):
            places = np.sort(self.where[[other == kind for other in self.kinds]])
            text += (
                f"; {kind} ({count}) at p = {', '.join(f'{p:.6g}' for p in places[:4])}{', ...' if count > 4 else ''}"
            )
        for outcome, count in Counter(self.outcomes).items():
            if outcome is not Outcome.CONVERGED:
                text += f"; {count} {'lost where no step holds' if outcome is Outcome.STUCK else outcome.value}"
        if missed:
            text += f"; {missed} of {len(self.landed)} starts reached no fixed point at p = {self.at:g}"
        if open_points > len(self.kinds):  # a point may well fall on each bifurcation
            text += f"; {open_points} of {len(self.branch)} points have an eigenvalue on the unit circle to 1e-7"
            text += " and show no bifurcation"
        return text

    def plot(self, ax: Axes | None = None, *, coordinate: int | None = None) -> Axes:
        """Bifurcation diagram: a coordinate of the state (the one that varies most when left out) over the parameter.

        Stable parts are solid, unstable ones dashed, bifurcations marked.
        """
        ax = axes_or_new(ax)
        if coordinate is None:
            coordinate = int(self.states.var(axis=0).argmax()) if self.states.size else 0
        for number in range(len(self.outcomes)):
            rows = np.flatnonzero(self.branch == number)
            stable = self.unstable[rows] == 0
            for run in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(stable)) + 1):
                drawn = rows[
                    run[0] : run[-1] + 2
                ]  # with the first point of the next run, so that the curve has no gaps
                color, line = ("#0072b2", "-") if stable[run[0]] else ("#d55e00", "--")
                ax.plot(self.parameters[drawn], self.states[drawn, coordinate], line, color=color, linewidth=1.2)
        for marker, kind in zip("osD^vXP", sorted(set(self.kinds)), strict=False):
            rows = np.array([other == kind for other in self.kinds])
            ax.plot(self.where[rows], self.where_states[rows, coordinate], marker, color="0.2", mfc="w", label=kind)
        ax.set(xlabel="parameter", ylabel=f"state, coordinate {coordinate}", xlim=self.span)
        if self.kinds:
            ax.legend(frameon=False, fontsize="small")
        return ax


def continue_fixed_points(
    family: Family,
    starts: Any,
    *,
    at: float,
    span: tuple[float, float],
    step: float = 0.05,
    steps: int = 500,
    tolerance: float = 1e-10,
    watch: Watch = quiet,
) -> Branches:
    """Follow fixed points over a parameter, both ways from where they are known, and locate their bifurcations.

    Parameters
    ----------
    family
        p -> autonomous map, for every p of the span; see ``hooks.families.path``. For k-cycles,
        ``lambda p: family(p).iterated(k)``.
    starts : (starts, dim)
        Fixed points of ``family(at)``, or states near them. Starts on one branch give one branch.
    at, span
        Parameter of the starts; (low, high), which holds it.
    step
        Longest step, in units of 1 + |x|, the parameter counted in units of the span.
    steps
        Most points each way.
    tolerance
        On |F(x) - x|, 2-norm; each point is corrected once more after that.
    watch
        Wraps the loop over all points: progress, budget.

    Returns
    -------
    Branches
        No branch when no start reached a fixed point. Bifurcations at the ends of the span are not claimed.

    Raises
    ------
    DrivenError
        When the family gives maps that take a drive.
    InputError
        For one map instead of a family, a span without length, ``at`` outside of it, a step or a number of steps that is
        not positive, starts of the wrong width, or maps of differing dim.
    """
    low, high = span
    if isinstance(family, Dynamics):
        raise InputError(
            f"a family gives a map for each parameter, but one map, {family.name!r}, came: see along_drive"
        )
    if not (np.isfinite([low, high]).all() and low < high):
        raise InputError(f"the span runs from a lower to a higher finite parameter, but ({low:g}, {high:g}) came")
    if not low <= at <= high:
        raise InputError(f"the starts are at p = {at:g}, outside the span ({low:g}, {high:g})")
    if not (step > 0 and steps > 0):
        raise InputError(f"step and steps are positive, but {step} and {steps} came")
    first = autonomous(family(at), "continue_fixed_points")
    curve = Curve(family, float(low), float(high), tolerance, first.dim)
    found = find_roots(
        first, as_states(first, starts), method=DampedNewton(), tolerance=tolerance, apart=APART, rounds=0,
        generator=torch.Generator(), watch=quiet,
    )  # fmt: skip
    share = (at - low) / (high - low)
    roots = np.column_stack([found.states.double().cpu().numpy(), np.full(len(found.states), share)])

    paths: tuple[Path, ...] = ()
    for paths in watch(followed(curve, roots, step, steps), 2 * steps * len(roots)):
        pass
    owner = {root: number for number, path in enumerate(paths) for root in path.roots}
    unbegun = [root for root in range(len(roots)) if root not in owner]  # when time ran out
    owner.update({root: len(paths) + number for number, root in enumerate(unbegun)})
    paths += tuple(Path((curve.point(roots[root]),), (root,)) for root in unbegun)
    landed = np.array([owner.get(root, -1) for root in found.landed.tolist()], dtype=np.int64)
    return _branches(curve, paths, landed, float(at))


def _kind(a: Point, b: Point) -> tuple[str, float, int]:
    """(kind, angle, change of the unstable number, -1 for any) of the bifurcation between two points next to it."""
    critical = a.eigenvalues[np.abs(np.abs(a.eigenvalues) - 1) <= ON_CIRCLE]
    if not len(critical):
        return ("border collision" if np.linalg.norm(b.z - a.z) <= APART else "unresolved"), np.nan, -1
    turned, crossed = a.side[0] != b.side[0], a.side[1] != b.side[1]
    if turned:
        return ("fold", 0.0, len(critical)) if crossed else ("branch point", 0.0, 0)
    real = np.where(critical.real > 0, "branch point", "flip")
    kinds = np.where(critical.imag == 0, real, "Neimark-Sacker")
    if len(set(kinds)) > 1:
        return "several at once", np.nan, len(critical)
    return str(kinds[0]), float(np.abs(np.angle(critical[0]))), len(critical)


def _doubt(a: Point, b: Point) -> float:
    """How far q of the bifurcation between a and b may be from theirs: a fold lies beyond both."""
    steepest = max(abs(a.tangent[-1]), abs(b.tangent[-1]))
    return float(max(abs(b.z[-1] - a.z[-1]), steepest * np.linalg.norm(b.z - a.z), EPS))


def _branches(curve: Curve, paths: tuple[Path, ...], landed: np.ndarray, at: float) -> Branches:
    points, dim, width = [point for path in paths for point in path.points], curve.dim, curve.high - curve.low
    z = np.array([point.z for point in points]).reshape(-1, dim + 1)
    branch = np.repeat(np.arange(len(paths), dtype=np.int64), [len(path.points) for path in paths])
    chords = [np.linalg.norm(np.diff(z[branch == number], axis=0), axis=1) for number in range(len(paths))]

    located = [
        (number, a, b)
        for number, path in enumerate(paths)
        for begin, end in pairwise(point for point in path.points if point.decided)
        for a, b in brackets_of(curve, begin, end)
    ]
    kinds = [_kind(a, b) for _, a, b in located]
    sides = np.array([(a.unstable, b.unstable) for _, a, b in located], dtype=np.int64).reshape(-1, 2)
    changes = np.abs(np.diff(sides, axis=1))[:, 0].tolist()
    amiss = sum(0 <= expected != change for change, (*_, expected) in zip(changes, kinds, strict=True))
    middles = np.array([(a.z + b.z) / 2 for _, a, b in located]).reshape(-1, dim + 1)
    brackets = width * np.array([_doubt(a, b) for _, a, b in located])
    residuals = np.array([point.residual for point in points])
    narrow = LOCATED * max(1.0, abs(curve.low), abs(curve.high))
    return Branches(
        branch=branch,
        parameters=np.array([curve.parameter(share) for share in z[:, -1]]),
        arclength=np.concatenate([np.zeros(0), *(np.append(0.0, lengths.cumsum()) for lengths in chords)]),
        residuals=residuals,
        states=z[:, :-1],
        eigenvalues=np.array([point.eigenvalues for point in points], dtype=np.complex128).reshape(-1, dim),
        unstable=np.array([point.unstable for point in points], dtype=np.int64),
        outcomes=tuple(path.outcome for path in paths),
        closed=np.array([path.closed for path in paths], dtype=bool),
        kinds=tuple(kind for kind, _, _ in kinds),
        where=np.array([curve.parameter(share) for share in middles[:, -1]]),
        brackets=brackets,
        where_states=middles[:, :-1],
        angles=np.array([angle for _, angle, _ in kinds]),
        branch_of=np.array([number for number, _, _ in located], dtype=np.int64),
        sides=sides,
        landed=landed,
        at=at,
        span=(curve.low, curve.high),
        checks=(
            Check("bifurcations whose unstable count does not change by what is on the circle", 0.0, float(amiss), 0.0),
            Check("widest bracket of a bifurcation", 0.0, float(brackets.max(initial=0)), narrow),
            Check("largest residual |F(x) - x|", 0.0, float(residuals.max(initial=0)), curve.tolerance),
        ),
    )
