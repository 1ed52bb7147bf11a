"""What separates two attractors? The state on their boundary that its states tend to, and the boundary around it.

``edge_state``: edge tracking (Battelino et al., Physica D 32, 1988; Skufca, Yorke, Eckhardt, Phys. Rev. Lett. 96, 2006). A
bracket of two states with different fates is advanced, and narrowed by bisection whenever its ends part, until it settles; what
it settles on is polished by Newton. ``separatrix``: the stable manifold of that saddle, by bisection along its unstable
direction from a lattice of points of its stable eigenspace.

Take (dynamics, states, attractors); a state's fate is the attractor that its orbit comes near first. Cost: tens of batch runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from analyses.maps._attractors import NOWHERE, Attractors, crossings, ends, fates, given_attractors
from analyses.maps._eigenvalues import sorted_eigenvalues
from analyses.maps._equations import fixed_point_equation, polished
from analyses.result import Check, Outcome, Result, axes_or_new, counted
from hooks.dynamics import Dynamics, as_states, autonomous
from hooks.errors import InputError
from hooks.tangent import jacobian
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Of the two states' distance: brackets are narrowed to the first, and again when they part to the second.
NARROW, WIDE = 1e-10, 1e-6
STILL = 1e-4  # of the two states' distance: a track that repeats this closely is tried as a saddle
LONGEST = 16  # longest period of a saddle cycle that is tried
ASIDE = 1e-5  # of the two states' distance: the step along the unstable direction that tells a saddle's two sides
SCAN = 24  # places tried along a line before the bisection


@dataclass(frozen=True, eq=False)
class EdgeState(Result):
    """The state between two basins.

    Attributes
    ----------
    states : (period, dim)
        The saddle or saddle cycle; none when the track did not settle (a chaotic edge, too few rounds).
    residual
        Largest |F^period(x) - x|.
    eigenvalues : (dim,) complex
        Of the Jacobian of F^period, largest modulus first; NaN when not settled.
    unstable
        How many of them lie outside the unit circle. An edge state of two basins has one.
    sides
        The attractors reached from either side along the unstable direction; -1 for none.
    track : (kept, dim)
        Middles of the bracket, step by step: an orbit on the boundary.
    outcome
        CONVERGED on a saddle or saddle cycle; OUT_OF_STEPS when the track still moved; OUT_OF_TIME.
    checks
        When settled: one unstable direction; one of its two sides in the basin of ``first``; the residual.
    """

    states: Float[np.ndarray, "period dim"]
    residual: float
    eigenvalues: Complex[np.ndarray, " dim"]
    unstable: int
    sides: tuple[int, int]
    track: Float[np.ndarray, "kept dim"]
    outcome: Outcome
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """Whether the track settled, on what, and what lies on its two sides."""
        if not len(self.states):
            return f"0 edge states: after {counted(len(self.track), 'step')} on the boundary the track {self.outcome.value}"
        if self.unstable != 1:
            return f"0 edge states: the track rests on a corner of several basins, with {self.unstable} unstable directions"
        kind = "saddle" if len(self.states) == 1 else f"saddle cycle of period {len(self.states)}"
        text = f"1 edge state, a {kind} between attractors {self.sides[0]} and {self.sides[1]}: largest eigenvalues "
        text += ", ".join(f"{abs(value):.4g}" for value in self.eigenvalues[:2])
        return f"{text}, residual {self.residual:.1g}"

    def plot(self, ax: Axes | None = None) -> Axes:
        """How far the track is from its last state, step by step."""
        ax = axes_or_new(ax)
        far = np.linalg.norm(self.track - self.track[-1:], axis=1)[:-1] if len(self.track) else np.zeros(0)
        ax.semilogy(np.where(far > 0, far, np.nan), color="#0072b2", linewidth=1)
        ax.set(xlabel="step on the boundary", ylabel="distance from the last state")
        return ax


@dataclass(frozen=True, eq=False)
class Sweep:
    """The bracket after one more narrowing and advance."""

    inside: Tensor  # (1, dim)
    outside: Tensor  # (1, dim)
    track: tuple[Tensor, ...]  # middles so far, each (dim,)


def edge_state(
    dynamics: Dynamics,
    first: Any,
    second: Any,
    *,
    attractors: Sequence[Any],
    near: float | None = None,
    rounds: int = 60,
    steps: int = 5000,
    tolerance: float = 1e-10,
    watch: Watch = quiet,
) -> EdgeState:
    """Track the boundary of the first state's basin, met on the way to the second, until it settles.

    Behind that boundary may lie a third basin: ``sides`` says which. Symmetric states may lead to a corner of several basins,
    with more than one unstable direction, which an odd pair of states avoids.

    Parameters
    ----------
    first, second : (dim,)
        States with different fates, often two attractors.
    attractors
        Each the states of one, (period, dim).
    near
        Distance from an attractor at which an orbit counts as arrived; a hundredth of the smallest distance between two
        attractors when left out. It must lie inside every basin.
    rounds, steps
        Most narrowings (the ends part from 1e-10 to 1e-6 of the two states' distance in between), and most steps of an orbit
        before its fate counts as open.
    tolerance
        On the residual of the polished saddle.

    Raises
    ------
    DrivenError
        When the map takes a drive.
    InputError
        When the two states do not end on two different attractors, or the map does not keep one of these.
    """
    dynamics = autonomous(dynamics, "edge_state")
    known = given_attractors(dynamics, attractors, near)
    pair = torch.cat([as_states(dynamics, first), as_states(dynamics, second)])
    own = ends(dynamics, pair, known, steps).tolist() if len(pair) == 2 else []
    if len(own) != 2 or NOWHERE in own or own[0] == own[1]:
        raise InputError(
            f"edge tracking starts from two states that end on two different attractors, but {len(pair)} came that end on "
            f"{own} (-1: none within {steps} steps)"
        )
    size = float((pair[1] - pair[0]).norm())
    settled, taken, track = pair[:0], 0, pair[:0]
    for sweep in watch(_tracked(dynamics, pair, known, own[0], size, rounds, steps), rounds):
        taken, track = taken + 1, torch.stack(sweep.track)
        settled = _repeated(dynamics, track[-2 * LONGEST :], size, tolerance)
        if len(settled) and _unstable(dynamics, settled) == 1:
            break
    residual, unstable, sides = float("nan"), 0, [NOWHERE, NOWHERE]
    eigenvalues = np.full(dynamics.dim, np.nan, dtype=np.complex128)
    checks: tuple[Check, ...] = ()
    if len(settled):
        power = dynamics.iterated(len(settled))
        slope = jacobian(power, settled[:1])
        eigenvalues, unstable = sorted_eigenvalues(slope)[0], _unstable(dynamics, settled)
        aside = ASIDE * size * torch.as_tensor(_eigenvectors(slope)[:, :1].T.copy()).to(settled)
        sides = ends(dynamics, torch.cat([settled[:1] - aside, settled[:1] + aside]), known, steps).tolist()
        sides = sides[::-1] if sides[1] == own[0] else sides
        with torch.no_grad():
            residual = float((power(settled) - settled).norm(dim=1).max())
        checks = (
            Check("unstable directions of the edge state", 1.0, float(unstable), 0.0),
            Check("sides in the first basin", 1.0, float(sides.count(own[0])), 0.0),
            Check("residual |F^k(x) - x|", 0.0, residual, tolerance),
        )
    unfinished = Outcome.OUT_OF_STEPS if taken == rounds else Outcome.OUT_OF_TIME
    return EdgeState(
        states=settled.double().cpu().numpy(),
        residual=residual,
        eigenvalues=eigenvalues,
        unstable=unstable,
        sides=(sides[0], sides[1]),
        track=track.double().cpu().numpy(),
        outcome=Outcome.CONVERGED if len(settled) else unfinished,
        checks=checks,
    )


def _tracked(
    dynamics: Dynamics, pair: Tensor, known: Attractors, own: int, size: float, rounds: int, steps: int
) -> Iterator[Sweep]:
    """Narrow the bracket, advance both ends until they part, and so on."""
    inside, outside = pair[:1], pair[1:]
    track: tuple[Tensor, ...] = ()
    for _ in range(rounds):
        relative = NARROW * size / max(NARROW * size, float((outside - inside).norm()))
        inside, outside = crossings(
            lambda tried: fates(dynamics, known, steps, tried) != own, inside, outside, relative=relative
        )
        advanced: list[Tensor] = []
        with torch.no_grad():
            while len(advanced) < max(LONGEST, steps // rounds) and (outside - inside).norm() < WIDE * size:
                advanced.append(((inside + outside) / 2)[0])
                inside, outside = dynamics(inside), dynamics(outside)
        track += tuple(advanced)
        yield Sweep(inside, outside, track)


def _repeated(dynamics: Dynamics, tail: Tensor, size: float, tolerance: float) -> Tensor:
    """(period, dim) states of the saddle or saddle cycle that the end of a track repeats; none when it still moves."""
    for period in range(1, min(LONGEST, len(tail) - 1) + 1):
        if (tail[-1] - tail[-1 - period]).norm() > STILL * size:
            continue
        equation = fixed_point_equation(dynamics.iterated(period))
        state, residual = polished(equation, tail[-1:], box=None)
        if float(residual) > tolerance or (state[0] - tail[-1]).norm() > 100 * STILL * size:
            continue
        states = [state]
        with torch.no_grad():
            for _ in range(period - 1):
                states.append(polished(equation, dynamics(states[-1]), box=None)[0])
        return torch.cat(states)
    return tail[:0]


def _unstable(dynamics: Dynamics, cycle: Tensor) -> int:
    """Eigenvalues outside the unit circle, of a fixed point or around a cycle."""
    return int((np.abs(sorted_eigenvalues(jacobian(dynamics.iterated(len(cycle)), cycle[:1]))) > 1).sum())


@dataclass(frozen=True, eq=False)
class Separatrix(Result):
    """Points of a saddle's stable manifold.

    Attributes
    ----------
    saddle : (dim,)
    basis : (directions, dim)
        Orthonormal directions of the stable eigenspace in which the lattice lies.
    normal : (dim,)
        Unit unstable direction along which each line was searched.
    offsets : (lattice, directions)
        Coordinates of each lattice point along ``basis``.
    heights, widths : (lattice,)
        Where the boundary crosses each line, the bend of the manifold away from its eigenspace, and the width of the bracket;
        NaN where it does not.
    closest : (lattice,)
        How close the orbit of each point comes to the saddle, until the ends of its bracket part.
    sides
        The attractors on either side of the saddle.
    checks
        Points whose orbit comes no closer to the saddle than a tenth of where it began.
    """

    saddle: Float[np.ndarray, " dim"]
    basis: Float[np.ndarray, "directions dim"]
    normal: Float[np.ndarray, " dim"]
    offsets: Float[np.ndarray, "lattice directions"]
    heights: Float[np.ndarray, " lattice"]
    widths: Float[np.ndarray, " lattice"]
    closest: Float[np.ndarray, " lattice"]
    sides: tuple[int, int]
    checks: tuple[Check, ...]

    @property
    def points(self) -> np.ndarray:
        """(lattice, dim) saddle + offsets basis + heights normal."""
        return self.saddle + self.offsets @ self.basis + self.heights[:, None] * self.normal

    def summary(self) -> str:
        """How many lines cross the boundary, how far it bends, and how close its points' orbits come to the saddle."""
        found = np.isfinite(self.heights)
        text = f"{found.sum()} of {len(found)} lines cross the boundary between attractors {self.sides[0]} and {self.sides[1]}"
        if not found.any():
            return text
        text += f"; it bends up to {np.abs(self.heights[found]).max():.2g} from the stable eigenspace"
        return f"{text}; orbits of its points come within {self.closest[found].max():.2g} of the saddle"

    def plot(self, ax: Axes | None = None) -> Axes:
        """The bend of the boundary over the first lattice direction."""
        ax = axes_or_new(ax)
        along = self.offsets[:, 0] if self.offsets.shape[1] else np.zeros(len(self.heights))
        ax.plot(along, self.heights, ".", color="#0072b2", markersize=4)
        ax.axhline(0, color="0.6", linewidth=1)
        ax.set(xlabel="along the slowest stable direction", ylabel="along the unstable direction")
        return ax


def separatrix(
    dynamics: Dynamics,
    saddle: Any,
    *,
    attractors: Sequence[Any],
    basis: Any = None,
    extent: float | None = None,
    resolution: int = 15,
    near: float | None = None,
    steps: int = 5000,
) -> Separatrix:
    """Sample the stable manifold of a saddle with one unstable direction.

    Parameters
    ----------
    saddle : (dim,)
        A fixed point with one eigenvalue outside the unit circle; for a saddle cycle pass ``dynamics.iterated(period)``.
    attractors, near, steps
        As in ``edge_state``.
    basis : (directions, dim)
        Stable directions of the lattice, one or two; when left out, the slowest two (one in two dimensions, none in one).
    extent
        Half the width of the lattice and of the lines; when left out, half the distance to the nearest attractor.
    resolution
        Lattice points along each direction.

    Raises
    ------
    DrivenError
        When the map takes a drive.
    InputError
        When the point is not fixed (|F(x) - x| above 1e-6), or has not exactly one unstable eigenvalue.
    """
    dynamics = autonomous(dynamics, "separatrix")
    known = given_attractors(dynamics, attractors, near)
    center = as_states(dynamics, saddle)
    slope = jacobian(dynamics, center)
    unstable = _unstable(dynamics, center[:1])
    with torch.no_grad():
        residual = float((dynamics(center) - center).norm())
    if len(center) != 1 or unstable != 1 or residual > 1e-6:
        raise InputError(
            f"a separatrix is the stable manifold of one saddle with one unstable direction, but "
            f"{counted(len(center), 'point')} came, with {unstable} unstable directions and |F(x) - x| = {residual:.1e}"
        )
    vectors = _eigenvectors(slope)
    normal = torch.as_tensor(vectors[:, 0]).to(center)
    spanning = vectors[:, 1:3] if basis is None else as_states(dynamics, basis).mT.double().cpu().numpy()
    plane = torch.as_tensor(np.linalg.qr(spanning)[0].T.copy()).to(center)
    size = extent or 0.5 * float((known.phases - center).norm(dim=1).min())
    ticks = np.linspace(-size, size, resolution)
    offsets = torch.tensor(list(product(ticks, repeat=len(plane)))).to(center)
    feet = center + offsets @ plane

    heights = torch.linspace(-size, size, SCAN).to(center)
    fate = fates(dynamics, known, steps, feet[:, None] + heights[:, None] * normal)
    sides = ends(dynamics, center + ASIDE * size * torch.tensor([[-1.0], [1.0]]).to(center) * normal, known, steps)
    change = (fate[:, :-1] == sides[0]) & (fate[:, 1:] != sides[0]) & (sides[0] != sides[1])
    # of several crossings of a folded boundary, the one closest to the eigenspace
    middle = torch.where(change, (heights[:-1] + heights[1:]).abs(), torch.inf)
    lines = torch.nonzero(change.any(1))[:, 0]
    start = middle[lines].argmin(1)
    low, high = (feet[lines] + heights[start + end][:, None] * normal for end in (0, 1))
    low, high = crossings(lambda tried: fates(dynamics, known, steps, tried) != sides[0], low, high, relative=NARROW)
    found = (low + high) / 2
    closest = _closest(dynamics, low, high, center, 0.1 * size, steps)
    begun = (found - center).norm(dim=1)
    astray = (closest > 0.1 * begun) & (begun > 1e3 * NARROW * size)

    def placed(values: Tensor) -> np.ndarray:
        return torch.full_like(feet[:, 0], torch.nan).index_put((lines,), values).double().cpu().numpy()

    return Separatrix(
        saddle=center[0].double().cpu().numpy(),
        basis=plane.double().cpu().numpy(),
        normal=normal.double().cpu().numpy(),
        offsets=offsets.double().cpu().numpy(),
        heights=placed((found - feet[lines]) @ normal),
        widths=placed((high - low).norm(dim=1)),
        closest=placed(closest),
        sides=(int(sides[0]), int(sides[1])),
        checks=(Check("points whose orbits do not approach the saddle", 0.0, float(astray.sum()), 0.0),),
    )


def _closest(dynamics: Dynamics, inside: Tensor, outside: Tensor, center: Tensor, apart: float, steps: int) -> Tensor:
    """How close the middle of each bracket comes to the saddle until its ends are apart."""
    closest = ((inside + outside) / 2 - center).norm(dim=1)
    together = torch.ones(len(inside), dtype=torch.bool, device=inside.device)
    with torch.no_grad():
        for _ in range(steps):
            together &= (outside - inside).norm(dim=1) < apart
            if not together.any():
                break
            distances = ((inside + outside) / 2 - center).norm(dim=1)
            closest = torch.where(together, torch.minimum(closest, distances), closest)
            inside, outside = dynamics(inside), dynamics(outside)
    return closest


def _eigenvectors(slope: Tensor) -> np.ndarray:
    """(dim, dim) unit right eigenvectors of a (1, dim, dim) slope as columns, largest modulus first; a pair gives its plane."""
    values, vectors = np.linalg.eig(slope[0].double().cpu().numpy())
    order = np.lexsort((-values.imag, -np.abs(values).round(12)))
    values, vectors = values[order], vectors[:, order]
    real = np.where(values.imag < 0, vectors.imag, vectors.real)
    return real / np.linalg.norm(real, axis=0)
