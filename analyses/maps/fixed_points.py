"""Where does the map rest? Every root of F(x) = x that can be reached, each with its residual and eigenvalues.

Method: Levenberg-Marquardt on |F(x) - x|^2 from all starts at once (``_equations``: dense to 48 units, within a Krylov space
above), Newton to rounding at the distinct roots, and, where the map has a trapping box, new starts until the index sum holds
(``index``) or the rounds are spent; while it fails, some of them are deflated from the roots that are known.
The objective is that of Sussillo and Barak, Neural Computation 25 (2013); unlike descent on its mean, each start is
judged by its own residual, and what did not converge is counted, never returned as a point.

Takes (dynamics, starts (starts, dim)); costs some 10 to 30 Jacobians of the starts, O(starts dim^3), or 24 times as many pushes
of one direction, O(starts dim^2) for a dense network.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from analyses.maps._eigenvalues import eigenvalues_at
from analyses.maps._equations import fixed_point_equation
from analyses.maps._plot import plot_eigenvalues
from analyses.maps._roots import DampedNewton, find_roots, index_checks, searched
from analyses.maps._starts import as_box, drawn_starts, trapping_box
from analyses.result import Check, Outcome, Result, counted
from hooks.dynamics import Dynamics, as_drive, as_states, autonomous
from hooks.errors import DrivenError, InputError
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
    eigenvalues : (found, kept) complex
        Of the Jacobian, largest modulus first: all of them up to 128 units; beyond, 16 leading ones, of which the first
        and those outside the unit circle are good to 1e-8 and the others rough.
    drives : (found, inputs)
        The drive each point rests under, when starts came with drives of their own; else no columns.
    hits : (found,)
        Starts that ended there, those of later rounds included.
    landed : (starts,)
        For each start that was given: its point, or -1.
    outcomes
        For each start that was given: how it ended.
    extra_starts
        Starts added in later rounds.
    checks
        The index sum, when the map has a trapping box; the largest residual.
    """

    points: Float[np.ndarray, "found dim"]
    residuals: Float[np.ndarray, " found"]
    eigenvalues: Complex[np.ndarray, "found kept"]
    drives: Float[np.ndarray, "found inputs"]
    hits: Int[np.ndarray, " found"]
    landed: Int[np.ndarray, " starts"]
    outcomes: tuple[Outcome, ...]
    extra_starts: int
    checks: tuple[Check, ...]

    @property
    def stable(self) -> np.ndarray:
        """(found,) bool: every eigenvalue inside the unit circle."""
        return np.abs(self.eigenvalues[:, :1]).max(axis=1, initial=0) < 1

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
    drives: Any = None,
    around: Any = None,
    coarse: Dynamics | None = None,
    generator: torch.Generator | None = None,
    method: DampedNewton | None = None,
    tolerance: float = 1e-10,
    apart: float = 1e-6,
    rounds: int = 8,
    watch: Watch = quiet,
) -> FixedPoints:
    """Find the fixed points of an autonomous map, or of a driven one under one held drive a start.

    Parameters
    ----------
    starts : (starts, dim), or int
        States to search from; with an int, that many are drawn ``around`` something.
    drives : (starts, inputs) or (inputs,)
        Held, a driven map's drive for each start. Points under different drives are different.
    around
        For an int: a Trajectory (visited states with Gaussian noise of half their own spread) or a box
        (lower, upper), each a number or (dim,), filled with Sobol points. Left out, the map's trapping box.
    coarse
        The same map in float32, on a device without float64: the starts search there first, and what they reach is searched
        and polished on ``dynamics``.
    generator
        Draws the starts, and those of later rounds; a fixed seed when left out, so equal calls give equal results.
    method
        Damping and steps of the search.
    tolerance
        A start converged when |F(x) - x| is at most this. Points are then polished to rounding.
    apart
        Points closer than this (2-norm) are one.
    rounds
        Most rounds of further starts, while the index sum on the trapping box fails or the last round found a new point; a map
        without one has rounds of the second kind only, when ``around`` is a box.
    watch
        Wraps the search: progress, budget.

    Returns
    -------
    FixedPoints
        points (found, dim), none when nothing converged.

    Raises
    ------
    DrivenError
        When the map takes a drive and none came, or the other way round.
    InputError
        For starts or drives of the wrong width or number, or an int with nothing to draw around.
    """
    if drives is None:
        dynamics = autonomous(dynamics, "find_fixed_points without drives")
    generator = generator or torch.Generator().manual_seed(0)
    method = method or DampedNewton()
    held = None if drives is None else as_drive(dynamics, drives)
    if held is not None and not dynamics.inputs:
        raise DrivenError(f"{dynamics.name!r} takes no drive vector, but drives came")
    first = drawn_starts(dynamics, starts, around, generator, drives=held)
    if held is not None:
        if held.ndim > 2 or (held.ndim == 2 and len(held) != len(first)):
            raise InputError(
                f"drives for {len(first)} starts have shape ({len(first)}, {dynamics.inputs}), but {tuple(held.shape)} came"
            )
        held = held.expand(len(first), dynamics.inputs)
    if coarse is not None:
        first = _coarsely(coarse, first, held, method, watch).to(first)

    roots = find_roots(
        dynamics,
        first,
        drives=held,
        within=as_box(dynamics, around) if isinstance(starts, int) and isinstance(around, tuple) else None,
        method=method,
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
        eigenvalues=eigenvalues_at(dynamics, roots.states, None if held is None else roots.drives),
        drives=roots.drives.double().cpu().numpy(),
        hits=roots.hits.cpu().numpy(),
        landed=roots.landed.cpu().numpy(),
        outcomes=roots.outcomes,
        extra_starts=roots.extra_starts,
        checks=(
            *(index_checks(dynamics, roots.states) if held is None else ()),
            Check("largest residual |F(x) - x|", 0.0, worst, tolerance),
        ),
    )


def _coarsely(coarse: Dynamics, starts: Tensor, drives: Tensor | None, method: DampedNewton, watch: Watch) -> Tensor:
    """Where the starts come to rest on the coarse map, to its rounding."""
    if coarse.dim != starts.shape[1]:
        raise InputError(f"the coarse map has {coarse.dim} units, the map itself {starts.shape[1]}")
    held = None if drives is None else as_drive(coarse, drives)
    tolerance = 32 * torch.finfo(coarse.dtype).eps * coarse.dim**0.5
    equation = fixed_point_equation(coarse, held)
    return searched(equation, as_states(coarse, starts), method, tolerance, trapping_box(coarse, held), watch)[0]
