"""Is this point one of a continuum? The curve of slow points through it: a line, a ring, or neither, with its drift.

Method: pseudo-arclength continuation (Keller, in Applications of Bifurcation Theory, 1977, 359-384) of the states where the
displacement G(x) = F(x) - x is parallel to the near-null eigenvector v(x) of A = DF - I. The predictor goes along v; the
corrector is Newton's method in the hyperplane across the step, on the bordered matrix [[A, v], [v', 0]], regular where A has
one near-null direction; what is left of G along v is the drift. Where G = 0 this is the curve of fixed points itself; else it
is the intrinsic low-dimensional manifold (Maas and Pope, Combustion and Flame 88, 1992), which is off the invariant curve by
O(drift^2 x curvature); that distance is estimated from the images of the charted states and carried into the length's error.

Takes (dynamics, point (dim,)); costs some 4 Jacobians and solves O(dim^3) for each charted state, one after another.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.interpolate import CubicSpline
from scipy.optimize import brentq

from analyses.maps._arclength import CLOSED, FINEST, LOST, STEEP, Limits, Place, gaps, placed, walk
from analyses.maps._equations import ENTRIES
from analyses.maps._starts import trapping_box
from analyses.result import Check, Outcome, Result, axes_or_new, counted
from hooks.dynamics import Dynamics, as_states, autonomous
from hooks.errors import InputError
from hooks.tangent import jacobian
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINEAR = 2.0  # a drift within this factor of (eigenvalue - 1) x distance is that of one hyperbolic point
OUT_OF_STEPS, STOPPED = "not reached within the steps", "not reached in time"
ENDINGS = {LOST: Outcome.STUCK, OUT_OF_STEPS: Outcome.OUT_OF_STEPS, STOPPED: Outcome.OUT_OF_TIME}  # worst first


@dataclass(frozen=True, eq=False)
class Continuum(Result):
    """The charted curve, in order along it; one state where there was nothing to chart.

    Attributes
    ----------
    points : (kept, dim)
        A closed curve does not repeat its first state.
    tangents : (kept, dim)
        Unit near-null eigenvectors, pointing along the order of the points.
    arclength : (kept,)
        From the first point.
    drift : (kept,)
        Displacement along the tangent in one step, signed, in units of the state.
    along : (kept,)
        Eigenvalue of the Jacobian along the curve.
    transverse : (kept,)
        Largest modulus of the other eigenvalues: the curve attracts where it is below 1. 0 in one dimension.
    near_null : (kept,)
        Eigenvalues within ``near`` of 1: 1 on a curve, 0 at a hyperbolic point, 2 on a surface.
    fixed_points : (fixed, dim)
        Isolated fixed points on the curve: zeros of the drift, in order. Pairs closer together than a step may be missed.
    fixed_arclength : (fixed,)
    fixed_along : (fixed,)
        Their eigenvalue along the curve: below 1, neighbours on the curve are drawn in.
    start
        Row of the state that the chart was started from.
    length, length_error
        Arc length (the closing arc included), and its doubt: how much it changes when every second state is left out, how
        closely the ends are located, and ``offset`` times the angle through which the curve turns.
    offset
        Estimated distance of the chart from the invariant curve: the largest distance between the image of a charted state and
        the chart, over 1 - transverse eigenvalue.
    closed
        Whether the curve came back to its start.
    ends
        Why the curve ends at its first and at its last point.
    still
        The share of the length that the drift may be, per step, on what is called an attractor.
    outcome
        CONVERGED when closed or both ends were reached; STUCK when the curve was lost.
    checks
        The transverse part of G; the fixed points' |G|; for a closed curve, its gap.
    """

    points: Float[np.ndarray, "kept dim"]
    tangents: Float[np.ndarray, "kept dim"]
    arclength: Float[np.ndarray, " kept"]
    drift: Float[np.ndarray, " kept"]
    along: Float[np.ndarray, " kept"]
    transverse: Float[np.ndarray, " kept"]
    near_null: Int[np.ndarray, " kept"]
    fixed_points: Float[np.ndarray, "fixed dim"]
    fixed_arclength: Float[np.ndarray, " fixed"]
    fixed_along: Float[np.ndarray, " fixed"]
    start: int
    length: float
    length_error: float
    offset: float
    closed: bool
    ends: tuple[str, str]
    still: float
    outcome: Outcome
    checks: tuple[Check, ...]

    @property
    def largest_drift(self) -> float:
        """Largest displacement along the curve in one step."""
        return float(np.abs(self.drift).max())

    @property
    def crossing_time(self) -> float:
        """Steps it takes at least to drift along the whole curve, length / largest drift; infinite without drift."""
        return self.length / self.largest_drift if self.largest_drift > 0 else float("inf")

    @property
    def hyperbolic(self) -> bool:
        """Whether the drift, at both ends of an open curve, is that of its one fixed point: (eigenvalue - 1) x distance."""
        if self.closed or len(self.fixed_points) != 1:
            return False
        expected = (self.fixed_along[0] - 1) * (self.arclength[[0, -1]] - self.fixed_arclength[0])
        drift = self.drift[[0, -1]]
        return bool(
            (expected * drift > 0).all()
            and (np.abs(drift) <= LINEAR * np.abs(expected)).all()
            and (np.abs(expected) <= LINEAR * np.abs(drift)).all()
        )

    @property
    def kind(self) -> str:
        """What the curve is, in words.

        "ring attractor" and "line attractor" when the drift is at most ``still`` x length per step and every transverse
        eigenvalue lies inside the unit circle; "not a continuum" without a near-null direction, or when the drift is
        that of one hyperbolic fixed point within a factor of 2; a curve of slow points else.
        """
        directions = int(self.near_null[self.start])
        if directions > 1:
            return f"{directions} near-null directions, not one curve"
        if directions == 0 or self.length == 0:
            return "not a continuum"
        if self.largest_drift <= self.still * self.length:
            shape = "ring" if self.closed else "line"
            return f"{shape} attractor" if self.transverse.max() < 1 else f"{shape} of fixed points, not attracting"
        if self.hyperbolic:
            return "not a continuum"
        return f"{'closed ' * self.closed}curve of slow points with {counted(len(self.fixed_points), 'fixed point')}"

    def summary(self) -> str:
        """How many states were charted, what they form, its length, drift and contraction."""
        text = f"{counted(len(self.points), 'state')} charted: {self.kind}"
        if self.length == 0:
            return f"{text}; eigenvalue nearest 1: {self.along[0]:.4g}, {self.near_null[0]} of them near it"
        text += f"; length {self.length:.5g} +- {self.length_error:.1g}, "
        text += CLOSED if self.closed else f"open (one end {self.ends[0]}, the other {self.ends[1]})"
        text += (
            f"; drift at most {self.largest_drift:.2g} per step, {self.crossing_time:.2g} steps or more for its length"
        )
        text += f"; transverse eigenvalues at most {self.transverse.max():.3g}"
        if len(self.fixed_points):
            text += f"; {counted(len(self.fixed_points), 'isolated fixed point')}, "
            text += f"{(self.fixed_along < 1).sum()} attracting along it"
        if self.hyperbolic:
            text += f"; the drift grows with the distance from it, like its eigenvalue {self.fixed_along[0]:.6g}"
        if more := int((self.near_null != 1).sum()):
            text += f"; {counted(more, 'state')} with more or fewer than one near-null direction"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """The curve in its first two principal directions, coloured by drift; crosses are isolated fixed points."""
        ax = axes_or_new(ax)
        center = self.points.mean(axis=0)
        principal = np.linalg.svd(self.points - center, full_matrices=False)[2][:2]
        curve, fixed = (
            np.pad((each - center) @ principal.T, ((0, 0), (0, 1))) for each in (self.points, self.fixed_points)
        )
        largest = self.largest_drift or 1.0
        dots = ax.scatter(curve[:, 0], curve[:, 1], c=self.drift, s=9, cmap="coolwarm", vmin=-largest, vmax=largest)
        ax.plot(fixed[:, 0], fixed[:, 1], "x", color="0.2")
        ax.figure.colorbar(dots, ax=ax, label="drift per step")
        ax.set(xlabel="first principal direction", ylabel="second principal direction")
        ax.set_aspect("equal", adjustable="datalim")
        return ax


def chart_continuum(
    dynamics: Dynamics,
    point: Any,
    *,
    box: Any = None,
    step: float = 0.1,
    steps: int = 2000,
    near: float = 0.05,
    speed: float = 0.1,
    still: float = 1e-6,
    tolerance: float = 1e-10,
    watch: Watch = quiet,
) -> Continuum:
    """Follow the curve of slow points through a fixed or slow point, in both directions.

    Parameters
    ----------
    point : (dim,)
        A fixed or slow point, or a state near one: it is moved onto the curve across its near-null direction.
    box
        (lower, upper), each a number or (dim,), in which to stay. Left out, the map's trapping box if it has one.
    step
        Longest chord from state to state, in units of the state; shorter where the curve turns.
    steps
        Most states in each direction.
    near
        Largest |eigenvalue - 1| of a near-null direction. The curve ends where its eigenvalue leaves this.
    speed
        The curve ends where its drift per step exceeds this.
    still
        Largest drift per step, as a share of the length, of what is called an attractor: at 1e-6 a memory takes a million
        steps or more to drift along it.
    tolerance
        Largest transverse part of F(x) - x, 2-norm, on the curve.
    watch
        Wraps the walk: progress, budget.

    Returns
    -------
    Continuum
        A single point when its eigenvalues within ``near`` of 1 are not exactly one, or nothing slow is near it.

    Raises
    ------
    DrivenError
        When the map takes a drive.
    InputError
        When more or less than one point comes, it is not in the box, or a step is not positive.
    """
    dynamics = autonomous(dynamics, "chart_continuum")
    given = as_states(dynamics, point)
    if len(given) != 1:
        raise InputError(f"a chart starts from one point, but {len(given)} came: chart each of them")
    if not (step > 0 and steps > 0):
        raise InputError(f"step and steps are positive, but {step} and {steps} came")
    box = trapping_box(dynamics) if box is None else box
    if box is not None:
        low, high = (torch.as_tensor(side).to(given).expand(dynamics.dim) for side in box)
        if not ((given[0] >= low) & (given[0] <= high)).all():
            raise InputError("the point to chart from lies outside the box: widen box=")
        box = low, high
    limits = Limits(box, step, steps, near, speed, tolerance)

    values, vectors = torch.linalg.eig(jacobian(dynamics, given)[0])
    nearest = int((values - 1).abs().argmin())
    tangent = vectors[:, nearest].real
    tangent = tangent * tangent[tangent.abs().argmax()].sign() / tangent.norm()
    if int(((values - 1).abs() <= near).sum()) == 1:
        first = placed(dynamics, given[0], tangent, tolerance)
        reason = limits.broken_by(first)
    else:
        drift, slope = float(gaps(dynamics, given)[0] @ tangent), float(values[nearest].real) - 1
        first, reason = Place(given[0], tangent, drift, slope, residual=0.0), STEEP

    def walked(origin: Place) -> tuple[list[Place], Place]:
        """The places after the origin, and the last word on why there are no more."""
        places = [replace(origin, end=reason)] if reason else list(watch(walk(dynamics, origin, limits), steps))
        if places and places[-1].end:
            return places[:-1], places[-1]
        return places, replace(origin, end=OUT_OF_STEPS if len(places) == steps else STOPPED)

    forward, last = walked(first)
    closed = last.end == CLOSED
    backward, before = ([], last) if closed else walked(first.reversed())
    places = [*(place.reversed() for place in reversed(backward)), first, *forward]
    return _charted(dynamics, places, before, last, start=len(backward), limits=limits, still=still)


def _charted(
    dynamics: Dynamics, places: list[Place], before: Place, last: Place, *, start: int, limits: Limits, still: float
) -> Continuum:
    """The numbers of a chart whose walks ended with ``before`` and ``last``."""
    states = torch.stack([place.state for place in places])
    points = states.double().cpu().numpy()
    tangents = torch.stack([place.tangent for place in places]).double().cpu().numpy()
    drift, along = np.array([place.drift for place in places]), np.array([1 + place.slope for place in places])
    closed, kept = last.end == CLOSED, len(places)
    loop = np.append(np.arange(kept), 0) if closed else np.arange(kept)
    arcs, turns = _arcs(points[loop], tangents[loop])
    arclength = np.concatenate([[0.0], arcs.cumsum()])
    length = float(arclength[-1])
    halved = np.append(loop[:-1:2], loop[-1])
    coarse = _arcs(points[halved], tangents[halved])[0].sum()

    values = np.concatenate(
        [
            np.linalg.eigvals(jacobian(dynamics, rows).double().cpu().numpy())
            for rows in states.split(max(1, ENTRIES // dynamics.dim**2))
        ]
    )
    others = np.abs(values)
    others[np.arange(kept), np.abs(values - along[:, None]).argmin(axis=1)] = 0
    transverse = others.max(axis=1)
    images = points + gaps(dynamics, states).double().cpu().numpy()
    offset = _offset(images, points[loop], arclength, drift, transverse, closed)
    unlocated = 0.0 if closed or kept == 1 else 2 * FINEST * limits.step

    fixed, fixed_arclength = _fixed_points(dynamics, places, arcs, closed, limits.tolerance)
    rest = max((abs(place.drift) + place.residual for place in fixed), default=0.0)
    largest = max(place.residual for place in places)
    gap = (Check("gap where the curve closes", 0.0, last.gap, 1e-6 * length),) if closed else ()
    return Continuum(
        points=points,
        tangents=tangents,
        arclength=arclength[:kept],
        drift=drift,
        along=along,
        transverse=transverse,
        near_null=(np.abs(values - 1) <= limits.near).sum(axis=1).astype(np.int64),
        fixed_points=np.array([place.state.tolist() for place in fixed], dtype=np.float64).reshape(-1, dynamics.dim),
        fixed_arclength=np.array(fixed_arclength, dtype=np.float64),
        fixed_along=np.array([1 + place.slope for place in fixed], dtype=np.float64),
        start=start,
        length=length,
        length_error=float(abs(length - coarse) + turns.sum() * offset + unlocated),
        offset=offset,
        closed=closed,
        ends=(before.end, last.end),
        still=float(still),
        outcome=next((ENDINGS[end] for end in ENDINGS if end in (before.end, last.end)), Outcome.CONVERGED),
        checks=(
            Check("largest transverse part of F(x) - x", 0.0, largest, limits.tolerance),
            Check("largest |F(x) - x| of the fixed points", 0.0, rest, 2 * limits.tolerance),
            *gap,
        ),
    )


def _arcs(points: np.ndarray, tangents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From each point to the next: the arc of the circle with their chord and the turn of their tangents, and that turn."""
    chords = np.linalg.norm(np.diff(points, axis=0), axis=1)
    turns = 2 * np.arcsin(np.clip(np.linalg.norm(np.diff(tangents, axis=0), axis=1) / 2, 0, 1))
    return chords / np.sinc(turns / (2 * np.pi)), turns


def _fixed_points(
    dynamics: Dynamics, places: list[Place], arcs: np.ndarray, closed: bool, tolerance: float
) -> tuple[list[Place], list[float]]:
    """Where the drift changes sign, or vanishes at one or two places, and the arc length there.

    A stretch of three places and more at rest holds no isolated fixed point.
    """
    kept, arclength = len(places), np.concatenate([[0.0], arcs.cumsum()])
    moving = [i for i, place in enumerate(places) if abs(place.drift) > tolerance]
    pairs = list(itertools.pairwise(moving))
    edges = [(-1, moving[0]), (moving[-1], kept)] if moving else []
    pairs += [(moving[-1], moving[0] + kept)] if closed and moving else edges
    found = []
    for before, after in pairs:
        if 2 <= after - before <= 3:
            row = (before + 1) % kept
            found.append((float(arclength[row]), places[row]))
        elif after == before + 1 and (closed or 0 <= before < kept - 1):
            here, then = places[before], places[after % kept]
            if here.drift * then.drift < 0:
                chord = float((then.state - here.state) @ here.tangent)

                reach = brentq(_drift, 0.0, chord, args=(dynamics, here, then, chord, tolerance))
                place = placed(dynamics, here.state + reach * here.tangent, here.tangent, tolerance)
                found.append((float(arclength[before] + arcs[before] * reach / chord), place))
    found.sort(key=lambda pair: pair[0])
    return [place for _, place in found], [where for where, _ in found]


def _drift(reach: float, dynamics: Dynamics, here: Place, then: Place, chord: float, tolerance: float) -> float:
    """Drift at a distance along the chord from one place to the next; 0 within the tolerance."""
    place = placed(dynamics, here.state + reach * here.tangent, here.tangent, tolerance) if reach < chord else then
    return place.drift if abs(place.drift) > tolerance else 0.0


def _offset(
    images: np.ndarray, points: np.ndarray, arclength: np.ndarray, drift: np.ndarray, across: np.ndarray, closed: bool
) -> float:
    """Largest distance of the chart from the invariant curve: how far images lie off it, over 1 - transverse eigenvalue."""
    if len(images) < 3:
        return 0.0
    curve = CubicSpline(arclength, points, bc_type="periodic" if closed else "not-a-knot")
    foot = arclength[: len(images)] + drift
    within = closed | ((foot >= 0) & (foot <= arclength[-1]))
    for _ in range(3):
        foot = foot + ((images - curve(foot)) * curve(foot, 1)).sum(axis=1)
    off = np.linalg.norm(images - curve(foot), axis=1) / np.maximum(np.abs(1 - across), 1e-300)
    return float(off[within].max(initial=0))
