"""What does each linear region of a piecewise-linear map do? The table a person reads, one row a region.

A region's affine map has one fixed point, (I - J)^-1 h. It is real when it lies in the region (its own signs are the region's),
else virtual: the state is led out of the region, and a virtual point still shapes how (Brenner, Hemmer, Monfared, Durstewitz,
NeurIPS 2024). The leading eigenvalues of J say whether states spiral, and in how many steps.

Takes a PiecewiseLinear network and states it visits; costs one inverse of I - J a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float

from analyses.maps._eigenvalues import sorted_eigenvalues
from analyses.result import Check, Result, axes_or_new, counted
from analyses.symbols._census import in_float64
from analyses.symbols._regions import slopes
from analyses.symbols._words import solved
from analyses.symbols.exact_fixed_points import ExactFixedPoints
from hooks.errors import InputError
from hooks.families import PiecewiseLinear
from hooks.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TURNING = 1e-9  # of an angle


@dataclass(frozen=True, eq=False)
class RegionTable(Result):
    """Regions, the most visited first, then those never visited that hold a fixed point.

    Attributes
    ----------
    regions : (rows, relu) bool
        Which rectified units are on.
    shares : (rows,)
        Of the states that were given.
    points : (rows, dim)
        Fixed point of the region's affine map, wherever it lies; NaN where it is not unique.
    real : (rows,) bool
        The fixed point lies in the region; else it is virtual, or there is none.
    proved : (rows,) bool
        That it is real, or not, is proved.
    points_regions : (rows, relu) bool
        The region in which the fixed point lies.
    eigenvalues : (rows, dim) complex
        Of the region's slope, largest modulus first.
    visited
        How many regions were visited; those beyond ``most`` have no row.
    checks
        The shares, with those of regions without a row, sum to 1.
    """

    regions: Bool[np.ndarray, "rows relu"]
    shares: Float[np.ndarray, " rows"]
    points: Float[np.ndarray, "rows dim"]
    real: Bool[np.ndarray, " rows"]
    proved: Bool[np.ndarray, " rows"]
    points_regions: Bool[np.ndarray, "rows relu"]
    eigenvalues: Complex[np.ndarray, "rows dim"]
    visited: int
    checks: tuple[Check, ...]

    @property
    def turns(self) -> np.ndarray:
        """(rows,) steps of one turn of the leading pair of eigenvalues; inf where the leading one is real."""
        leading = self.eigenvalues[:, 0]
        angles = np.where(np.abs(leading.imag) > TURNING * np.abs(leading), np.abs(np.angle(leading)), 0.0)
        return np.divide(2 * np.pi, angles, out=np.full(len(angles), np.inf), where=angles > 0)

    @property
    def roles(self) -> tuple[str, ...]:
        """What each region does: "unstable spiral, one turn in 72.4 steps", "virtual stable node, leads to region 10"."""
        return tuple(self._role(row) for row in range(len(self.regions)))

    @property
    def lines(self) -> tuple[tuple[str, ...], ...]:
        """The table: region, share of the states, fixed point, leading eigenvalues, what it does."""
        return tuple(
            (
                _spelled(self.regions[row]),
                _percent(self.shares[row]),
                ("real" if self.real[row] else "virtual") + ("" if self.proved[row] else ", not proved"),
                _leading(self.eigenvalues[row]),
                self.roles[row],
            )
            for row in range(len(self.regions))
        )

    def summary(self) -> str:
        """How many regions are visited and how many hold a real fixed point; then what the most visited ones do."""
        seen = int((self.shares > 0).sum())
        text = f"{counted(self.visited, 'region')} visited, {int(self.real[:seen].sum())} with a real fixed point"
        if others := len(self.regions) - seen:
            text += f", and {others} never visited that hold one"
        if self.visited > seen:
            text += f"; the {self.visited - seen} least visited have no row"
        for line in self.lines[:4]:
            text += f"; {line[0] or 'the only region'} ({line[1]} of the states): {line[4]}"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """Share of the states in each region, with what it does."""
        ax = axes_or_new(ax)
        rows = np.arange(min(len(self.regions), 16))
        ax.barh(rows, self.shares[rows], height=0.4, color=["#0072b2" if real else "0.7" for real in self.real[rows]])
        ax.set(xlabel="share of the states (blue: real fixed point)", xlim=(0, 1), ylim=(len(rows) - 0.4, -0.6))
        ax.set_yticks(rows, [_spelled(self.regions[row]) for row in rows])
        for row in rows:
            ax.annotate(self.roles[row], (0.01, row - 0.35), fontsize="x-small", va="center")
        return ax

    def _role(self, row: int) -> str:
        values, turn = self.eigenvalues[row], self.turns[row]
        if not np.isfinite(self.points[row]).all():
            return "no single fixed point: an eigenvalue is 1"
        growing = int((np.abs(values) > 1).sum())
        spiral = "spiral" if np.isfinite(turn) else "node" if values[0].real >= 0 else "flip"
        grows = f"{growing} of {counted(len(values), 'direction')} grow{'s' if growing == 1 else ''}"
        if growing == 0:
            text = f"stable {spiral}"
        elif growing == 2 and spiral == "spiral":
            text = "unstable spiral"
        else:
            text = f"saddle, {grows}" if growing < len(values) else f"unstable {spiral}, every direction grows"
        text += f", one turn in {turn:.3g} steps" if np.isfinite(turn) else ""
        return text if self.real[row] else f"virtual {text}, its point in region {_spelled(self.points_regions[row])}"


def region_table(
    network: PiecewiseLinear,
    trajectory: Trajectory,
    *,
    fixed_points: ExactFixedPoints | None = None,
    most: int = 64,
) -> RegionTable:
    """The regions that states visit, each with its fixed point, eigenvalues and what it does.

    Parameters
    ----------
    trajectory
        States of the network, past their transient.
    fixed_points
        All fixed points of the network: regions that hold one and were not visited then have a row too.
    most
        Visited regions with a row.

    Raises
    ------
    InputError
        For weights that are not finite, or states of another width.
    """
    network = in_float64(network)
    states = trajectory.points()
    if states.shape[1] != len(network.A):
        raise InputError(f"the network has {len(network.A)} units, but states of {states.shape[1]} came")
    seen, counts = np.unique(network.regions(torch.from_numpy(states)).numpy(), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    regions, shares = seen[order], counts[order] / max(1, counts.sum())
    if fixed_points is not None:
        known = {row.tobytes() for row in seen}
        others = [row for row in np.unique(fixed_points.regions, axis=0) if row.tobytes() not in known]
        regions = np.concatenate([regions, np.array(others, dtype=bool).reshape(len(others), network.relu)])
        shares = np.concatenate([shares, np.zeros(len(others))])
    rest = (counts.sum() - counts[order].sum()) / max(1, counts.sum())
    listed = solved(network, regions[:, None])
    points = listed.points[:, 0]
    return RegionTable(
        regions=regions,
        shares=shares,
        points=points,
        real=listed.real,
        proved=listed.proved,
        points_regions=points[:, len(network.A) - network.relu :] > 0,
        eigenvalues=sorted_eigenvalues(slopes(network, torch.from_numpy(regions))),
        visited=len(seen),
        checks=(Check("sum of shares", 1.0 if len(states) else 0.0, float(shares.sum() + rest), 1e-12),),
    )


def _spelled(region: np.ndarray) -> str:
    return "".join("01"[int(bit)] for bit in region)


def _percent(share: float) -> str:
    return "< 0.1%" if 0 < share < 5e-4 else f"{share:.1%}"


def _leading(values: np.ndarray) -> str:
    """The first pair; or the first one and what follows it."""
    turning = np.abs(values.imag) > TURNING * np.abs(values)
    shown = [
        f"{v.real:.4g} ± {abs(v.imag):.4g}i" if turns else f"{v.real:.4g}"
        for v, turns in zip(values, turning, strict=True)
    ]
    return shown[0] if turning[0] else ", ".join(shown[:2])
