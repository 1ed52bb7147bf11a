"""Are all the fixed points there? The index sum on a trapping box.

A continuous map of a box into itself has fixed-point index 1 on it (Lefschetz; the map is homotopic to a constant), so
when its fixed points are non-degenerate, the sum of sign det(I - DF) over all of them is 1. Necessary for a list to be
complete: one missing point, or any odd number, breaks it. Not sufficient: a missed pair of opposite signs does not.

Takes (dynamics, points (found, dim)); costs one Jacobian and its eigenvalues a point.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from analyses.maps._roots import index_checks, indices
from analyses.maps._starts import trapping_box
from analyses.result import Check, Result, axes_or_new, counted
from hooks.dynamics import Dynamics, as_states, autonomous
from hooks.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class IndexSum(Result):
    """Indices of fixed points and their sum.

    Attributes
    ----------
    indices : (found,)
        +1 or -1; 0 for a degenerate point, whose sign is not trusted, and for one on the boundary of the box.
    margins : (found,)
        Smallest |1 - eigenvalue|: how far from degenerate. Beyond 48 units a lower bound of it, 1 / |(I - DF)^-1|.
    times
        The sum is over fixed points of the map iterated this often.
    boxed
        Whether a trapping box is known, so that the sum must be 1.
    checks
        The sum against 1; none without a box or with a point of index 0.
    """

    indices: Int[np.ndarray, " found"]
    margins: Float[np.ndarray, " found"]
    times: int
    boxed: bool
    checks: tuple[Check, ...]

    @property
    def total(self) -> int:
        """The sum of the indices."""
        return int(self.indices.sum())

    def summary(self) -> str:
        """The sum, and what it says about completeness."""
        name = "F" if self.times == 1 else f"F^{self.times}"
        head = f"{counted(len(self.indices), 'fixed point')} of {name}, index sum {self.total}"
        if not self.boxed:
            return f"{head}; no trapping box is known, so nothing follows about completeness"
        if (self.indices == 0).any():
            untrusted = int((self.indices == 0).sum())
            return (
                f"{head}; {untrusted} are degenerate or on the edge of the box, so nothing follows about completeness"
            )
        verdict = "as a complete list must" if self.total == 1 else "and must have 1: at least one is missing"
        return f"{head}, {verdict}"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Index of each point over its distance from degeneracy."""
        ax = axes_or_new(ax)
        ax.scatter(self.margins, self.indices, s=14, color="#0072b2")
        ax.set(xlabel="smallest |1 - eigenvalue|", ylabel="index", yticks=[-1, 0, 1])
        return ax


def index_sum(dynamics: Dynamics, points: Any, *, times: int = 1) -> IndexSum:
    """Sum of sign det(I - DF^times) over the given fixed points of F^times.

    Parameters
    ----------
    points : (found, dim)
        All fixed points of the iterated map in its box; for ``times`` > 1 those of F are among them.
    times
        How often the map is iterated.

    Raises
    ------
    DrivenError
        When the map takes a drive.
    InputError
        When a point moves by more than 1e-6 under the iterated map, so is no fixed point of it.
    """
    iterated = autonomous(dynamics, "index_sum").iterated(times)
    states = as_states(iterated, points)
    moved = (iterated(states) - states).norm(dim=1)
    if (moved > 1e-6).any():
        row = int(moved.argmax())
        raise InputError(
            f"point {row} moves by {float(moved[row]):.3g} in {times} step(s), so it is no fixed point to count"
        )

    signs, margins = indices(iterated, states)
    name = "F" if times == 1 else f"F^{times}"
    return IndexSum(signs, margins, times, trapping_box(iterated) is not None, index_checks(iterated, states, name))
