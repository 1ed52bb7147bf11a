"""Where does the map rest? Every root of F(x) = x that can be reached, each with its residual and eigenvalues.

Method: Levenberg-Marquardt on |F(x) - x|^2 from all starts at once (``_newton``), Newton to rounding at the distinct
roots, and, where the map has a trapping box, new starts until the index sum holds (``index``) or the rounds are spent.
The objective is that of Sussillo and Barak, Neural Computation 25 (2013); unlike descent on its mean, each start is
judged by its own residual, and what did not converge is counted, never returned as a point.

Takes (dynamics, starts (starts, dim)); costs some 10 to 30 Jacobians of the starts: O(starts dim^3).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Complex, Float, Int

from analyses.maps._plot import plot_eigenvalues
from analyses.maps._roots import DampedNewton, find_roots, index_checks, sorted_eigenvalues
from analyses.maps._starts import drawn_starts
from analyses.result import Check, Outcome, Result, counted
from hooks.dynamics import Dynamics, autonomous
from hooks.tangent import jacobian
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class FixedPoints(Result):
    """The distinct converged fixed points, most often reached first.

    Attributes
    ----------
    points : (found, dim)
    residuals : (found,)
        |F(x) - x|, 2-norm.
    eigenvalues : (found, dim) complex
        Of the Jacobian, largest modulus first.
    hits : (found,)
        Starts that ended there, those of later rounds included.
    landed : (starts,)
        For each start that was given: its point, or -1.
    outcomes
        For each start that was given: how it ended.
    extra_starts
        Starts added in later rounds, because the index sum did not hold.
    checks
        The index sum, when the map has a trapping box; the largest residual.
    """

    points: Float[np.ndarray, "found dim"]
    residuals: Float[np.ndarray, " found"]
    eigenvalues: Complex[np.ndarray, "found dim"]
    hits: Int[np.ndarray, " found"]
    landed: Int[np.ndarray, " starts"]
    outcomes: tuple[Outcome, ...]
    extra_starts: int
    checks: tuple[Check, ...]

    @property
    def stable(self) -> np.ndarray:
        """(found,) bool: every eigenvalue inside the unit circle."""
        return np.abs(self.eigenvalues).max(axis=1, initial=0) < 1

    def summary(self) -> str:
        """How many starts converged, onto what, and what the others did."""
        converged = self.outcomes.count(Outcome.CONVERGED)
        stray = Counter(outcome.value for outcome in self.outcomes if outcome is not Outcome.CONVERGED)
        return (
            f"{converged} of {len(self.outcomes)} starts converged"
            + (
                f" onto {counted(len(self.points), 'fixed point')}, {int(self.stable.sum())} stable"
                if converged
                else ""
            )
            + "".join(f"; {count} {ending}" for ending, count in stray.items())
            + (f"; {self.extra_starts} further starts were added" if self.extra_starts else "")
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Eigenvalues against the unit circle, stable points apart."""
        return plot_eigenvalues(self.eigenvalues, self.stable, ax)


def find_fixed_points(
    dynamics: Dynamics,
    starts: Any,
    *,
    around: Any = None,
    generator: torch.Generator | None = None,
    method: DampedNewton | None = None,
    tolerance: float = 1e-10,
    apart: float = 1e-6,
    rounds: int = 8,
    watch: Watch = quiet,
) -> FixedPoints:
    """Find the fixed points of an autonomous map.

    Parameters
    ----------
    starts : (starts, dim), or int
        States to search from; with an int, that many are drawn ``around`` something.
    around
        For an int: a Trajectory (visited states with Gaussian noise of half their own spread) or a box
        (lower, upper), each a number or (dim,). Left out, the map's trapping box.
    generator
        Draws the starts, and those of later rounds; a fixed seed when left out, so equal calls give equal results.
    method
        Damping and steps of the search.
    tolerance
        A start converged when |F(x) - x| is at most this. Points are then polished to rounding.
    apart
        Points closer than this (2-norm) are one.
    rounds
        Most rounds of further starts while the index sum on the trapping box fails.
    watch
        Wraps the search: progress, budget.

    Returns
    -------
    FixedPoints
        points (found, dim), none when nothing converged.

    Raises
    ------
    DrivenError
        When the map takes a drive.
    InputError
        For starts of the wrong width, or an int with nothing to draw around.
    """
    dynamics = autonomous(dynamics, "find_fixed_points")
    generator = generator or torch.Generator().manual_seed(0)
    first = drawn_starts(dynamics, starts, around, generator)

    roots = find_roots(
        dynamics,
        first,
        method=method or DampedNewton(),
        tolerance=tolerance,
        apart=apart,
        rounds=rounds,
        generator=generator,
        watch=watch,
    )

    worst = float(roots.residuals.max()) if len(roots.residuals) else 0.0
    return FixedPoints(
        points=roots.states.double().cpu().numpy(),
        residuals=roots.residuals.double().cpu().numpy(),
        eigenvalues=sorted_eigenvalues(jacobian(dynamics, roots.states)),
        hits=roots.hits.cpu().numpy(),
        landed=roots.landed.cpu().numpy(),
        outcomes=roots.outcomes,
        extra_starts=roots.extra_starts,
        checks=(
            *index_checks(dynamics, roots.states),
            Check("largest residual |F(x) - x|", 0.0, worst, tolerance),
        ),
    )
