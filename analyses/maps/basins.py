"""Which share of the starts ends on which attractor? Basin fractions with binomial intervals.

Method: all starts are iterated in one batch and their last states grouped into attractors by recurrence (``_attractors``), so
that fixed points, cycles, invariant circles and chaotic sets all count. The last states are compared with those half-way: a
slow passage does not come back to where it was and is called undecided, never an attractor. Fractions are basin stability
(Menck et al., Nature Physics 9, 2013), with exact binomial intervals (Clopper and Pearson, Biometrika 26, 1934).

Takes (dynamics, starts (starts, dim)); costs (burn_in + steps) steps of all starts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.stats import binomtest
from torch import Tensor

from analyses.maps._attractors import (
    JOINED,
    by_size,
    crossings,
    fates,
    given_attractors,
    grouped,
    periods_of,
    rest_scales,
    typical_gaps,
)
from analyses.maps._starts import drawn_starts, trapping_box
from analyses.result import Check, Result, axes_or_new, counted
from hooks.dynamics import Dynamics, as_states, autonomous
from hooks.errors import InputError
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNDECIDED, DIVERGED = -1, -2
TAIL = 128  # states kept at either end of the second part of a run
LONGEST = TAIL // 2  # longest period told from a moving set
KEPT = 64  # states of a moving set in the result


@dataclass(frozen=True, eq=False)
class Basins(Result):
    """Attractors by the number of starts that end there, most first.

    Attributes
    ----------
    fractions : (attractors,)
        Shares of all starts, the undecided and diverged ones included.
    intervals : (attractors, 2)
        Clopper-Pearson 95 % intervals of these shares. They hold for independent starts: a grid or the states of one
        trajectory carry less information than they suggest.
    sizes : (attractors,)
    labels : (starts,)
        The attractor each start ends on; -1 undecided, -2 diverged.
    kinds
        "fixed point", "cycle of period k", or "moving set": chaotic, quasi-periodic, or a cycle longer than 64. A start that
        lies exactly on an unstable rest stays there and counts as one.
    periods : (attractors,)
        0 for a moving set.
    points : (attractors, kept, dim)
        All states of a fixed point or cycle, in order, and the last 64 of a moving set; padded with NaN.
    starts : (starts, dim)
        What was iterated.
    checks
        Sizes, undecided and diverged starts add up.
    """

    fractions: Float[np.ndarray, " attractors"]
    intervals: Float[np.ndarray, "attractors 2"]
    sizes: Int[np.ndarray, " attractors"]
    labels: Int[np.ndarray, " starts"]
    kinds: tuple[str, ...]
    periods: Int[np.ndarray, " attractors"]
    points: Float[np.ndarray, "attractors kept dim"]
    starts: Float[np.ndarray, "starts dim"]
    checks: tuple[Check, ...]

    def orbit(self, attractor: int) -> np.ndarray:
        """The states kept of one attractor, (period or 64, dim)."""
        states = self.points[attractor]
        return states[np.isfinite(states).all(axis=1)]

    def summary(self) -> str:
        """How many starts settled, on how many attractors of which kind, with the largest shares."""
        settled = int((self.labels >= 0).sum())
        text = f"{settled} of {len(self.labels)} starts settle"
        if settled:
            named = [(count, *kind.partition(" of ")) for kind, count in Counter(self.kinds).items()]
            kinds = ", ".join(counted(count, noun) + of + period for count, noun, of, period in named)
            text += f", on {counted(len(self.sizes), 'attractor')} ({kinds}): shares "
            pairs = zip(self.fractions[:4], self.intervals[:4], strict=True)
            text += ", ".join(f"{share:.3f} ({low:.3f} to {high:.3f})" for share, (low, high) in pairs)
            text += f" and {len(self.sizes) - 4} more" if len(self.sizes) > 4 else ""
        for label, words in ((UNDECIDED, "had not settled"), (DIVERGED, "left every bound")):
            count = int((self.labels == label).sum())
            text += f"; {count} {words}" if count else ""
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """Shares with their intervals, attractor by attractor."""
        ax = axes_or_new(ax)
        numbers = np.arange(1, len(self.sizes) + 1)
        error = np.abs(self.intervals.T - self.fractions).clip(min=0)
        ax.bar(numbers, self.fractions, yerr=error, color="#0072b2", ecolor="0.3", capsize=2)
        ax.set(xlabel="attractor", ylabel="share of the starts", xticks=numbers[:20])
        return ax


@dataclass(frozen=True, eq=False)
class Sweep:
    """All starts after one more step."""

    step: int
    states: Tensor  # (starts, dim)
    early: Tensor  # (starts, tail, dim), from the end of the burn-in on
    late: Tensor  # (starts, tail, dim), a ring


def basins(
    dynamics: Dynamics,
    starts: Any,
    *,
    around: Any = None,
    generator: torch.Generator | None = None,
    burn_in: int = 2000,
    steps: int = 1000,
    watch: Watch = quiet,
) -> Basins:
    """Estimate the basin fractions of an autonomous map.

    Parameters
    ----------
    starts : (starts, dim), or int
        With an int, that many are drawn ``around`` something: the fractions are those of this distribution.
    around
        For an int: a Trajectory (visited states with Gaussian noise of half their own spread) or a box (lower, upper), each a
        number or (dim,), drawn from uniformly. Left out, the map's trapping box.
    generator
        Draws the starts; a fixed seed when left out.
    burn_in
        Steps to reach an attractor: what approaches by a factor q a step needs ln(1e-6) / ln q of them.
    steps
        Steps after that, over which a start must come back to where it was, to a millionth of its size on a fixed point
        or cycle, to three typical gaps between neighbouring states on a moving set; 256 or more.
    watch
        Wraps the loop; every start is undecided when it ends early.

    Raises
    ------
    DrivenError
        When the map takes a drive.
    InputError
        For fewer than 256 steps, starts of the wrong width, or an int with nothing to draw around.
    """
    dynamics = autonomous(dynamics, "basins")
    if steps < 2 * TAIL or burn_in < 0:
        raise InputError(f"burn_in={burn_in}, steps={steps}: at least {2 * TAIL} steps are compared after the burn-in")
    generator = generator or torch.Generator().manual_seed(0)
    around = trapping_box(dynamics) if isinstance(starts, int) and around is None else around
    first = drawn_starts(dynamics, starts, around, generator)

    sweep = None
    for sweep in watch(_sweeps(dynamics, first, burn_in, steps), burn_in + steps):
        pass
    labels = np.full(len(first), UNDECIDED, dtype=np.int64)
    periods = np.zeros(len(first), dtype=np.int64)
    late = torch.zeros(len(first), TAIL, dynamics.dim, dtype=torch.float64)
    if sweep is not None:
        finite = torch.isfinite(sweep.states).all(1).cpu()
        labels[~finite.numpy()] = DIVERGED
        if sweep.step == burn_in + steps:
            late = sweep.late.roll(-(sweep.step % TAIL), 1).double().cpu()
            periods, settled = _recurrent(sweep.early.double().cpu(), late, finite)
            groups = _by_period(late.numpy(), periods, settled)
            labels = np.where(groups >= 0, groups, labels)

    sizes = np.bincount(labels[labels >= 0]).astype(np.int64) if (labels >= 0).any() else np.zeros(0, dtype=np.int64)
    members = [int(np.flatnonzero(labels == attractor)[0]) for attractor in range(len(sizes))]
    kept = [int(periods[member]) or KEPT for member in members]
    points = np.full((len(sizes), max(kept, default=0), dynamics.dim), np.nan)
    for row, member, count in zip(points, members, kept, strict=True):
        row[:count] = late[member, -count:].numpy()
    intervals = [binomtest(int(size), len(labels)).proportion_ci(0.95, method="exact") for size in sizes]
    lost = int((labels < 0).sum())
    return Basins(
        fractions=sizes / max(len(labels), 1),
        intervals=np.array([(interval.low, interval.high) for interval in intervals]).reshape(-1, 2),
        sizes=sizes,
        labels=labels,
        kinds=tuple(_kind(int(periods[member])) for member in members),
        periods=periods[members].astype(np.int64),
        points=points,
        starts=first.double().cpu().numpy(),
        checks=(Check("starts accounted for", float(len(labels)), float(sizes.sum() + lost), 0.0),),
    )


@dataclass(frozen=True, eq=False)
class PlaneBasins(Result):
    """Basins and their boundary in a plane, for a portrait.

    Attributes
    ----------
    origin : (dim,)
    basis : (2, dim)
        The plane is origin + coordinates basis.
    ticks : (2, resolution)
        Lattice coordinates along each direction.
    fates : (resolution, resolution)
        Attractor of lattice point (i, j), at ticks[0, i] and ticks[1, j]; -1 for none.
    points : (found, 2)
        Coordinates of the boundary on the lattice's edges.
    sides : (found, 2)
        The attractors of the two ends of each such edge.
    widths : (found,)
        Of the last brackets, in units of the state.
    checks
        None: the fates are what they are.
    """

    origin: Float[np.ndarray, " dim"]
    basis: Float[np.ndarray, "2 dim"]
    ticks: Float[np.ndarray, "2 resolution"]
    fates: Int[np.ndarray, "resolution resolution"]
    points: Float[np.ndarray, "found 2"]
    sides: Int[np.ndarray, "found 2"]
    widths: Float[np.ndarray, " found"]
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """How many lattice points have a fate, how many basins the plane cuts, how many boundary points were bracketed."""
        decided = self.fates >= 0
        basins = counted(len(np.unique(self.fates[decided])), "basin")
        text = f"{decided.sum()} of {self.fates.size} states of the plane end on a given attractor; it cuts {basins}"
        return f"{text}, with {counted(len(self.points), 'boundary point')}"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Basins as shades and the boundary as points, in the plane's coordinates."""
        ax = axes_or_new(ax)
        if self.fates.size:
            shades = np.where(self.fates < 0, np.nan, self.fates).T
            ax.pcolormesh(*self.ticks, shades, cmap="Pastel1", vmin=0, vmax=8, shading="nearest", rasterized=True)
        ax.plot(*self.points.T, ".", color="0.2", markersize=2)
        ax.set(xlabel="first direction", ylabel="second direction", aspect="equal")
        return ax


def plane_basins(
    dynamics: Dynamics,
    attractors: Sequence[Any],
    *,
    basis: Any,
    origin: Any = None,
    extent: float | tuple[tuple[float, float], tuple[float, float]] = 1.0,
    resolution: int = 40,
    near: float | None = None,
    steps: int = 5000,
    relative: float = 1e-6,
) -> PlaneBasins:
    """Find the boundary of the basins in a plane.

    Parameters
    ----------
    attractors, near, steps
        As in ``edge_state``.
    basis : (2, dim)
        Directions of the plane; those of a portrait are ``geometry.basis[:, :2].T``, with ``geometry.origin``.
    origin : (dim,)
        Zero when left out.
    extent
        ((low, high), (low, high)) along the two directions, or one number for (-extent, extent) along both.
    resolution
        Lattice points along each direction. What is thinner than the lattice is missed.
    relative
        Width of the brackets, in lattice spacings.

    Raises
    ------
    DrivenError
        When the map takes a drive.
    InputError
        For a basis that is not two directions, or a resolution below 2.
    """
    dynamics = autonomous(dynamics, "plane_basins")
    known = given_attractors(dynamics, attractors, near)
    plane = as_states(dynamics, basis)
    center = as_states(dynamics, np.zeros(dynamics.dim) if origin is None else origin)
    if len(plane) != 2 or len(center) != 1 or resolution < 2:
        raise InputError(
            f"a plane is an origin and 2 directions, with a lattice of 2 points and more a side, but {len(plane)} directions "
            f"and resolution={resolution} came"
        )
    ranges = ((-extent, extent),) * 2 if isinstance(extent, (int, float)) else extent
    ticks = torch.stack([torch.linspace(low, high, resolution) for low, high in ranges]).to(center)
    lattice = torch.cartesian_prod(*ticks).reshape(resolution, resolution, 2)
    ends = fates(dynamics, known, steps, center + lattice @ plane)

    one = torch.cat([lattice[:-1].reshape(-1, 2), lattice[:, :-1].reshape(-1, 2)])
    other = torch.cat([lattice[1:].reshape(-1, 2), lattice[:, 1:].reshape(-1, 2)])
    left = torch.cat([ends[:-1].reshape(-1), ends[:, :-1].reshape(-1)])
    right = torch.cat([ends[1:].reshape(-1), ends[:, 1:].reshape(-1)])
    edges = torch.nonzero((left != right) & (left >= 0) & (right >= 0))[:, 0]
    inside, outside = crossings(
        lambda tried: fates(dynamics, known, steps, center + tried @ plane) != left[edges, None],
        one[edges], other[edges], relative=relative,
    )  # fmt: skip
    return PlaneBasins(
        origin=center[0].double().cpu().numpy(),
        basis=plane.double().cpu().numpy(),
        ticks=ticks.double().cpu().numpy(),
        fates=ends.cpu().numpy(),
        points=((inside + outside) / 2).double().cpu().numpy(),
        sides=torch.stack([left[edges], right[edges]], dim=1).cpu().numpy(),
        widths=((outside - inside) @ plane).norm(dim=1).double().cpu().numpy(),
        checks=(),
    )


def _sweeps(dynamics: Dynamics, states: Tensor, burn_in: int, steps: int) -> Iterator[Sweep]:
    early = states[:, None].repeat(1, TAIL, 1)
    late = early.clone()
    with torch.no_grad():
        for step in range(burn_in + steps):
            states = dynamics(states)
            if burn_in <= step < burn_in + TAIL:
                early[:, step - burn_in] = states
            if step >= burn_in + steps - TAIL:
                late[:, step % TAIL] = states
            yield Sweep(step + 1, states, early, late)


def _recurrent(early: Tensor, late: Tensor, finite: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(periods (0: none), settled) of each start from its states after the burn-in and at the end, in order."""
    scales = rest_scales(torch.where(finite[:, None, None], late, 0.0))
    periods = periods_of(torch.where(finite[:, None, None], late, torch.nan), LONGEST)
    settled = finite & (periods > 0) & ((early - late[:, -1:]).norm(dim=2).amin(1) <= scales)
    moving = torch.nonzero(finite & (periods == 0))[:, 0]
    for rows in moving.split(64):
        gaps = torch.maximum(typical_gaps(late[rows]), scales[rows])
        back = torch.cdist(late[rows], early[rows]).amin(2).median(1).values
        settled[rows] = back <= JOINED * gaps
    return periods.numpy(), settled.numpy()


def _by_period(tails: np.ndarray, periods: np.ndarray, settled: np.ndarray) -> np.ndarray:
    """Attractor of each start, largest first, -1 where not settled; different periods are different attractors."""
    labels = np.full(len(tails), -1, dtype=np.int64)
    for period in np.unique(periods[settled]):
        found, _ = grouped(tails, settled & (periods == period))
        labels = np.where(found >= 0, found + labels.max(initial=-1) + 1, labels)
    return by_size(labels)


def _kind(period: int) -> str:
    return "moving set" if period == 0 else "fixed point" if period == 1 else f"cycle of period {period}"
