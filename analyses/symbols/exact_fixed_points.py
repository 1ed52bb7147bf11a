"""Where does a piecewise-linear map rest, and is that all? Every fixed point, by deciding each of its 2^P linear regions.

Method: z' = A z + W phi(z) + h with P rectified units is affine in each of 2^P regions. Region S holds a fixed point when
the solution of (I - J_S) z = h (Brenner, Hemmer, Monfared, Durstewitz, NeurIPS 2024) has its signs: units on > 0, units off
<= 0, so that a point on a border is counted once. A walk over principal pivots decides the regions in float64 balls and drops
subtrees by signs; what stays open is solved alone with a bound of the inverse (Rump, Acta Numerica 19 (2010), section 10),
then in rational arithmetic, which is exact because weights are dyadic rationals (``_census``).

Takes a PiecewiseLinear network. h' = relu(W h + b) is one in u = W h + b, with A = 0, the same W, h = b and relu = dim, and
rests at relu(u); a leaky network h' = (1 - a) h + a relu(W h + b) rests there too. Costs at most 2^P leaves; about 1 s for
P = 20.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float

from analyses.maps._eigenvalues import sorted_eigenvalues
from analyses.maps._plot import plot_eigenvalues
from analyses.result import Check, Outcome, Result, counted
from analyses.symbols._census import ENTRIES, census, in_float64, index_checks, places
from analyses.symbols._rational import Equations
from analyses.symbols._regions import slopes
from hooks.families import PiecewiseLinear
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
    network = in_float64(network)
    equations = cache(lambda: Equations.of(network))
    all_regions = census(network, equations, watch)
    regions, undecided, continua = all_regions.regions, all_regions.undecided, all_regions.continua
    placed = places(network, equations, regions, exact=exact)
    bits = torch.from_numpy(regions)

    states = torch.from_numpy(placed.points)
    residuals = (network.dynamics()(states) - states).norm(dim=1).numpy()
    scale = max(1.0, float(np.abs(placed.points).max(initial=0)))
    regular = not undecided and not len(continua) and not placed.border.any()
    some = bits.split(max(1, ENTRIES // len(network.A) ** 2))
    return ExactFixedPoints(
        points=placed.points,
        radii=placed.radii,
        residuals=residuals,
        regions=regions,
        border=placed.border,
        eigenvalues=np.concatenate([sorted_eigenvalues(slopes(network, part)) for part in some]),
        rational=placed.rational,
        continua=continua,
        empty=all_regions.empty,
        undecided=undecided,
        decided_exactly=all_regions.decided_exactly,
        outcome=Outcome.OUT_OF_TIME if undecided else Outcome.CONVERGED,
        checks=(
            Check("largest residual |F(x) - x|", 0.0, float(residuals.max(initial=0)), 1e-10 * scale),
            *(index_checks(network, bits) if regular else ()),
            *(
                (Check("points that rational arithmetic decides otherwise", 0.0, float(placed.differ), 0.0),)
                if placed.again
                else ()
            ),
        ),
    )
