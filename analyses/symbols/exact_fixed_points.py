"""Where does a piecewise-linear map rest, and is that all? Every fixed point, by deciding each of its 2^P linear regions.

Method: z' = A z + W phi(z) + h with P rectified units is affine in each of 2^P regions. Region S holds a fixed point when
the solution of (I - J_S) z = h (Brenner, Hemmer, Monfared, Durstewitz, NeurIPS 2024) has its signs: units on > 0, units off
<= 0, so that a point on a border is counted once. A walk over principal pivots decides the regions in float64 balls and drops
subtrees by signs; what stays open is solved alone with a bound of the inverse (Rump, Acta Numerica 19 (2010), section 10),
then in rational arithmetic, which is exact because weights are dyadic rationals (``_regions``, ``_rational``).

Takes a PiecewiseLinear network. h' = relu(W h + b) is one in u = W h + b, with A = 0, the same W, h = b and relu = dim, and
rests at relu(u); a leaky network h' = (1 - a) h + a relu(W h + b) rests there too. Costs at most 2^P leaves; about 1 s for
P = 20.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from analyses.maps._eigenvalues import sorted_eigenvalues
from analyses.maps._plot import plot_eigenvalues
from analyses.result import Check, Outcome, Result, counted
from analyses.symbols._rational import Decision, Equations, Kind, decided
from analyses.symbols._regions import Share, batches, complement, reduced, slopes, solutions, walk
from hooks.enclosure import EPS
from hooks.errors import InputError
from hooks.families import PiecewiseLinear
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ENTRIES = 1 << 21  # entries of I - J held at once


@dataclass(frozen=True, eq=False)
class ExactFixedPoints(Result):
    """All fixed points, by region; regions are in the order of their bits.

    Attributes
    ----------
    points : (found, dim)
    radii : (found,)
        The true fixed point lies within this distance in every coordinate, for these weights in exact arithmetic.
    residuals : (found,)
        |F(x) - x| in float64, 2-norm.
    regions : (found, relu) bool
        Which rectified units are on.
    border : (found,) bool
        A rectified unit is exactly 0 there: the map has a kink at the point and its eigenvalues are those of one side.
    eigenvalues : (found, dim) complex
        Of diag(A) + W diag(1, .., 1, region), largest modulus first.
    rational : (found,) bool
        The region's signs were decided in rational arithmetic.
    continua : (continua, relu) bool
        Regions that hold a continuum of fixed points: I - J is singular and many solutions have the region's signs. Its ends
        on borders of the region may be among the points.
    empty
        Regions proved to hold no fixed point: the solution is virtual, or there is none.
    undecided
        Regions not reached before the loop was stopped.
    decided_exactly
        Regions that float64 bounds left open and rational arithmetic decided.
    outcome
        Whether the loop ended or was stopped.
    checks
        The largest residual; the sum of indices where it must be 1; with ``exact``, that rational arithmetic agrees.
    """

    points: Float[np.ndarray, "found dim"]
    radii: Float[np.ndarray, " found"]
    residuals: Float[np.ndarray, " found"]
    regions: Bool[np.ndarray, "found relu"]
    border: Bool[np.ndarray, " found"]
    eigenvalues: Complex[np.ndarray, "found dim"]
    rational: Bool[np.ndarray, " found"]
    continua: Bool[np.ndarray, "continua relu"]
    empty: int
    undecided: int
    decided_exactly: int
    outcome: Outcome
    checks: tuple[Check, ...]

    @property
    def complete(self) -> bool:
        """Every region is decided: there is no fixed point but the points and the continua."""
        return self.undecided == 0

    @property
    def stable(self) -> np.ndarray:
        """(found,) bool: every eigenvalue inside the unit circle; False on a border, where they do not decide."""
        return (np.abs(self.eigenvalues).max(axis=1, initial=0) < 1) & ~self.border

    def summary(self) -> str:
        """How many points, how many stable, and whether the list is proved complete."""
        text = f"{counted(len(self.points), 'fixed point')}, {int(self.stable.sum())} stable"
        if len(self.points):
            text += f", each within {self.radii.max():.1g} of where it is given"
        if self.border.any():
            text += f"; {int(self.border.sum())} on a border between regions, of unknown stability"
        if len(self.continua):
            text += f"; {counted(len(self.continua), 'region')} with a continuum of them"
        text += f"; {counted(self.empty, 'region')} proved empty, {self.decided_exactly} decided in rational arithmetic"
        if self.complete:
            return f"{text}: the list is complete"
        return (
            f"{text}; {counted(self.undecided, 'region')} undecided ({self.outcome.value}): there may be other points"
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Eigenvalues against the unit circle, those of stable points apart."""
        return plot_eigenvalues(self.eigenvalues, self.stable, ax)


def exact_fixed_points(network: PiecewiseLinear, *, exact: bool = False, watch: Watch = quiet) -> ExactFixedPoints:
    """Every fixed point of a piecewise-linear map, with a proof that the list is complete.

    Parameters
    ----------
    network
        Its unrectified units are eliminated in one region: all rectified units off where that is well conditioned, else the
        best of some drawn. If none of them has a regular I - J, rational arithmetic decides everything: slow beyond P = 12.
    exact
        Decide the regions of the points again in rational arithmetic, and the points' radii: a check counts what differs.
    watch
        Wraps the batches of regions: progress, budget. Stopped early, the result says how many regions are undecided.

    Returns
    -------
    ExactFixedPoints
        A theorem on the map with these weights in exact arithmetic, if ``complete`` and IEEE arithmetic is relied on.

    Raises
    ------
    InputError
        When a weight is not finite.
    """
    network = replace(network, **{name: getattr(network, name).detach().double().cpu() for name in ("A", "W", "h")})
    weights = torch.cat([network.A, network.W.flatten(), network.h])
    if not torch.isfinite(weights).all():
        raise InputError(f"{int((~torch.isfinite(weights)).sum())} of the {len(weights)} weights are not finite")
    equations = cache(lambda: Equations.of(network))

    shares: list[Share] = []
    decisions: list[Decision] = []
    for settled in watch(_settled(network, equations), batches(network.relu)):
        decisions.append(settled) if isinstance(settled, Decision) else shares.append(settled)
    alone, continua = ([d.regions for d in decisions if d.kind is kind] for kind in (Kind.POINT, Kind.CONTINUUM))
    empty = sum(share.empty for share in shares) + sum(len(d.regions) for d in decisions if d.kind is Kind.EMPTY)
    undecided = 2**network.relu - empty - len(continua) - len(alone) - sum(len(share.real) for share in shares)

    none = np.zeros((0, network.relu), dtype=bool)
    regions = np.concatenate([none, *(share.real.numpy() for share in shares), *alone])
    regions = regions[np.lexsort((np.zeros(len(regions)), *regions.T[::-1]))]
    bits, cut = torch.from_numpy(regions), len(network.A) - network.relu
    some = bits.split(max(1, ENTRIES // len(network.A) ** 2))
    balls = [solutions(network, part) for part in some]
    mid, rad = torch.cat([ball.mid for ball in balls]), torch.cat([ball.rad for ball in balls])
    points, radii = mid.numpy(), rad.amax(1).numpy()
    doubtful = (mid.abs() <= rad)[:, cut:].any(1) | ~torch.isfinite(rad).all(1)
    again = {row: equations().region(regions[row]) for row in range(len(regions)) if exact or doubtful[row]}
    bounded = [row for row in again if radii[row] < np.inf]
    differ = sum(not _agrees(again[row], points[row], float(radii[row])) for row in bounded)
    for row in torch.nonzero(doubtful)[:, 0].tolist():
        points[row], radii[row] = _rounded(again[row].point)
    rational = np.array([row in again for row in range(len(points))], dtype=bool)
    border = np.array([row in again and 0 in again[row].point[cut:] for row in range(len(points))], dtype=bool)

    states = torch.from_numpy(points)
    residuals = (network.dynamics()(states) - states).norm(dim=1).numpy()
    scale = max(1.0, float(np.abs(points).max(initial=0)))
    regular = not undecided and not continua and not border.any()
    return ExactFixedPoints(
        points=points,
        radii=radii,
        residuals=residuals,
        regions=regions,
        border=border,
        eigenvalues=np.concatenate([sorted_eigenvalues(slopes(network, part)) for part in some]),
        rational=rational,
        continua=np.concatenate([none, *continua]),
        empty=empty,
        undecided=undecided,
        decided_exactly=sum(len(decision.regions) for decision in decisions),
        outcome=Outcome.OUT_OF_TIME if undecided else Outcome.CONVERGED,
        checks=(
            Check("largest residual |F(x) - x|", 0.0, float(residuals.max(initial=0)), 1e-10 * scale),
            *(_index_checks(network, bits) if regular else ()),
            *((Check("points that rational arithmetic decides otherwise", 0.0, float(differ), 0.0),) if again else ()),
        ),
    )


def _settled(network: PiecewiseLinear, equations: Callable[[], Equations]) -> Iterator[Share | Decision]:
    """Every region once, in floats if they decide it."""
    for share in walk(network):
        yield share
        if len(share.open):
            yield from decided(equations(), share.open.numpy())


def _index_checks(network: PiecewiseLinear, regions: Bool[Tensor, "found relu"]) -> tuple[Check, ...]:
    """The sum of indices against 1, when fixed points of every H_s(u) = s (C relu(u) + c), 0 <= s <= 1, are proved bounded.

    With the unrectified units eliminated the rectified ones satisfy u = C relu(u) + c. As relu(u) <= C+ relu(u) + c+, with +
    the positive part, a v > 0 with C+ v < v bounds relu(u) and so u: the degree of u - H_1(u) is that of the identity, 1.
    """
    off = torch.zeros(network.relu, dtype=torch.bool)
    table = reduced(network, off)
    C = (table.mid + table.rad)[len(network.A) - network.relu :, :-1].clamp(min=0)
    v = torch.linalg.solve_ex(torch.eye(len(C)).to(C) - C, torch.ones(len(C)).to(C)).result
    if not ((v > 0) & (C @ v * (1 + 2 * (len(C) + 4) * EPS) < v)).all() or not torch.isfinite(table.rad).all():
        return ()
    dets = torch.linalg.slogdet(complement(network, torch.cat([off[None], regions])).mid).sign
    total = float((dets[1:] * dets[0]).sum())
    return (Check("index sum of u - C relu(u) - c", 1.0, total, 0.0),)


def _agrees(decision: Decision, state: np.ndarray, radius: float) -> bool:
    """The region holds one point, within the radius of the state."""
    return decision.kind is Kind.POINT and _distance(decision.point, state) <= radius


def _rounded(point: tuple[Fraction, ...]) -> tuple[np.ndarray, float]:
    """The nearest float64 point, and a bound of its distance in every coordinate."""
    nearest = np.array([float(x) for x in point])
    return nearest, _distance(point, nearest)


def _distance(point: tuple[Fraction, ...], state: np.ndarray) -> float:
    """Largest difference of a coordinate, rounded up."""
    exact = max(abs(x - Fraction(y)) for x, y in zip(point, state.tolist(), strict=True))
    return float(np.nextafter(float(exact), np.inf)) if exact else 0.0
