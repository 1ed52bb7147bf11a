"""What does the map repeat? Its k-cycles: roots of F^k(x) = x of minimal period k, distinct up to phase.

Method: the search of ``fixed_points`` on F iterated k times; every root's whole orbit is followed and polished, roots
that already repeat after a divisor of k are set aside, and the index sum is taken over all roots of F^k, those of
smaller period included. F^k is well conditioned for the short, weakly unstable cycles of task-trained networks; long
unstable ones need multiple shooting. A map that approximates a flow has invariant circles rather than k-cycles at
most periods.

Takes (dynamics, starts (starts, dim)); costs k times the search for fixed points, for each period k.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from analyses.maps._plot import plot_eigenvalues
from analyses.maps._roots import DampedNewton, find_roots, index_checks, polished, sorted_eigenvalues
from analyses.maps._starts import drawn_starts
from analyses.result import Check, Result, counted
from hooks.dynamics import Dynamics, autonomous
from hooks.errors import InputError
from hooks.tangent import jacobian
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class Cycles(Result):
    """The distinct cycles of minimal period 2 and more, by period, then most often reached first.

    Attributes
    ----------
    periods : (found,)
        Minimal periods.
    points : (found, longest, dim)
        The states of each cycle in order, padded with NaN.
    residuals : (found,)
        Largest |F(x_i) - x_{i+1}| around the cycle.
    eigenvalues : (found, dim) complex
        Of the Jacobian of F^k around the cycle (its multipliers), largest modulus first.
    hits : (found,)
        Starts that ended on the cycle.
    searched
        The periods that were searched.
    lower : (searched,)
        Roots of F^k of smaller period, set aside, for each searched k.
    checks
        The index sum of each F^k, when the map has a trapping box; the largest residual.
    """

    periods: Int[np.ndarray, " found"]
    points: Float[np.ndarray, "found longest dim"]
    residuals: Float[np.ndarray, " found"]
    eigenvalues: Complex[np.ndarray, "found dim"]
    hits: Int[np.ndarray, " found"]
    searched: tuple[int, ...]
    lower: Int[np.ndarray, " searched"]
    checks: tuple[Check, ...]

    @property
    def stable(self) -> np.ndarray:
        """(found,) bool: every multiplier inside the unit circle."""
        return np.abs(self.eigenvalues).max(axis=1, initial=0) < 1

    def orbit(self, cycle: int) -> np.ndarray:
        """The states of one cycle, (period, dim)."""
        return self.points[cycle, : self.periods[cycle]]

    def summary(self) -> str:
        """How many cycles of each period, and how many of them are stable."""
        found = {k: self.periods == k for k in sorted(set(self.periods.tolist()))}
        counts = [f"{rows.sum()} of period {k} ({(rows & self.stable).sum()} stable)" for k, rows in found.items()]
        empty = ", ".join(str(k) for k in self.searched if k not in found)
        text = f"{counted(len(self.periods), 'cycle')}: {', '.join(counts)}" if counts else "no cycles"
        return f"{text}; none of period {empty}" if counts and empty else f"{text} of period {empty}" if empty else text

    def plot(self, ax: Axes | None = None) -> Axes:
        """Multipliers against the unit circle, those of stable cycles apart."""
        return plot_eigenvalues(self.eigenvalues, self.stable, ax)


def find_cycles(
    dynamics: Dynamics,
    starts: Any,
    *,
    periods: Sequence[int] = (2,),
    around: Any = None,
    generator: torch.Generator | None = None,
    method: DampedNewton | None = None,
    tolerance: float = 1e-10,
    apart: float = 1e-6,
    rounds: int = 8,
    watch: Watch = quiet,
) -> Cycles:
    """Find the cycles of an autonomous map.

    Parameters
    ----------
    starts, around, generator, method, tolerance, rounds, watch
        As in ``find_fixed_points``; the tolerance is on |F^k(x) - x|.
    periods
        Minimal periods to search, each 2 or more.
    apart
        States closer than this (2-norm) are one; a root that returns this close after a divisor of k has that
        smaller period.

    Returns
    -------
    Cycles
        None when nothing of these periods was reached.

    Raises
    ------
    DrivenError
        When the map takes a drive.
    InputError
        For a period below 2, or starts as in ``find_fixed_points``.
    """
    dynamics = autonomous(dynamics, "find_cycles")
    wanted = tuple(sorted({int(k) for k in periods}))
    if not wanted or wanted[0] < 2:
        raise InputError(f"cycles have periods of 2 and more, but {tuple(periods)} came; period 1 is find_fixed_points")
    generator = generator or torch.Generator().manual_seed(0)
    first = drawn_starts(dynamics, starts, around, generator)

    method = method or DampedNewton()
    search = partial(
        find_roots, method=method, tolerance=tolerance, apart=apart, rounds=rounds, generator=generator, watch=watch
    )
    # roots of smaller periods, those of F first: roots of their multiples too, and hard to reach through F^k
    known = search(dynamics, first).states
    orbits: list[Tensor] = []
    hits: list[int] = []
    multipliers: list[np.ndarray] = []
    lower: list[int] = []
    checks: list[Check] = []
    for k in wanted:
        power = dynamics.iterated(k)
        roots = search(power, torch.cat([known, first]), images=partial(_images, dynamics, k))
        known = torch.cat([known, roots.states])
        prime = torch.tensor([_minimal_period(dynamics, x, k, apart) == k for x in roots.states], dtype=torch.bool)
        found, counts = _up_to_phase(dynamics, roots.states[prime], roots.hits[prime], k, apart)
        lower.append(int((~prime).sum()))
        every = torch.cat([roots.states[~prime], *found])
        checks.extend(index_checks(power, every, f"F^{k}"))
        slopes = jacobian(power, torch.stack([orbit[0] for orbit in found])) if found else None
        order = np.argsort(-np.array(counts, dtype=np.int64), kind="stable")
        orbits.extend(found[i] for i in order)
        hits.extend(counts[i] for i in order)
        if slopes is not None:
            multipliers.extend(sorted_eigenvalues(slopes)[order])

    residuals = np.array([float((dynamics(orbit) - orbit.roll(-1, 0)).norm(dim=1).max()) for orbit in orbits])
    checks.append(Check("largest residual |F(x_i) - x_(i+1)|", 0.0, float(residuals.max(initial=0)), tolerance))
    points = np.full((len(orbits), wanted[-1], dynamics.dim), np.nan)
    for row, orbit in zip(points, orbits, strict=True):
        row[: len(orbit)] = orbit.double().cpu().numpy()
    return Cycles(
        periods=np.array([len(orbit) for orbit in orbits], dtype=np.int64),
        points=points,
        residuals=residuals,
        eigenvalues=np.array(multipliers, dtype=np.complex128).reshape(len(orbits), dynamics.dim),
        hits=np.array(hits, dtype=np.int64),
        searched=wanted,
        lower=np.array(lower, dtype=np.int64),
        checks=tuple(checks),
    )


def _images(dynamics: Dynamics, k: int, states: Tensor) -> Tensor:
    """Where these states are after 1 to k - 1 steps."""
    carried = []
    with torch.no_grad():
        for _ in range(k - 1):
            states = dynamics(states)
            carried.append(states)
    return torch.cat(carried)


def _minimal_period(dynamics: Dynamics, root: Tensor, k: int, apart: float) -> int:
    """The smallest divisor of k after which the root returns."""
    state = root[None]
    for steps in range(1, k):
        state = dynamics(state)
        if k % steps == 0 and (state[0] - root).norm() <= apart:
            return steps
    return k


def _up_to_phase(
    dynamics: Dynamics, roots: Tensor, hits: Tensor, k: int, apart: float
) -> tuple[list[Tensor], list[int]]:
    """Orbits (k, dim), one for all phases of a cycle, and the starts that reached any of them.

    Each phase is polished as a root of its own, so that a strongly expanding cycle keeps its precision all around.
    """
    orbits: list[Tensor] = []
    counts: list[int] = []
    power = dynamics.iterated(k)
    for root, count in zip(roots, hits.tolist(), strict=True):
        known = next((i for i, orbit in enumerate(orbits) if ((orbit - root).norm(dim=1) <= apart).any()), None)
        if known is not None:
            counts[known] += count
            continue
        phases = [root[None]]
        for _ in range(k - 1):
            phases.append(polished(power, dynamics(phases[-1]), box=None)[0])
        orbits.append(torch.cat(phases))
        counts.append(count)
    return orbits, counts
