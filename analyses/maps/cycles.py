"""What does the map repeat? Its k-cycles: roots of F^k(x) = x of minimal period k, distinct up to phase.

Method: to period 4 the search of ``fixed_points`` on F iterated k times; beyond, where F^k is ill-conditioned, the same search
on all k states at once (multiple shooting, ``_equations``), from the stretches of the starts' orbits that return most
closely. Roots that already repeat after a divisor of k are set aside, and the index sum is taken over all roots of F^k,
those of smaller period included. A map that approximates a flow has invariant circles rather than k-cycles at most periods
(``hooks.section`` gives its return map, whose fixed points are its cycles).

Takes (dynamics, starts (starts, dim)); costs k times the search for fixed points, for each period k.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from analyses.maps._eigenvalues import WIDEST_SPECTRUM, eigenvalues_at, sorted_eigenvalues
from analyses.maps._equations import fixed_point_equation, polished, shooting_equation
from analyses.maps._plot import plot_eigenvalues
from analyses.maps._roots import DampedNewton, Roots, find_roots, index_check, indices_of
from analyses.maps._starts import drawn_starts, trapping_box
from analyses.result import Check, Outcome, Result, counted
from hooks.dynamics import Dynamics, autonomous
from hooks.errors import InputError
from hooks.tangent import jacobian
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes


SHOOTING = 5  # periods from which all states of a cycle are sought at once
STRIDERS, SETTLED = 64, 128  # starts and steps by which the stride is measured
FLOWS = (
    0.2  # of an orbit's spread in one step: below it the map is taken to approximate a flow (Lorenz at dt 0.01: 0.03)
)


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
    eigenvalues : (found, kept) complex
        Of the Jacobian of F^k around the cycle (its multipliers), largest modulus first.
    hits : (found,)
        Starts that ended on the cycle.
    searched
        The periods that were searched.
    lower : (searched,)
        Roots of F^k of smaller period, set aside, for each searched k.
    stride
        Median step over the spread of its orbit; NaN when every orbit comes to rest.
    outcome
        OUT_OF_TIME when a search was stopped early, CONVERGED when all were done.
    checks
        The index sum of each F^k, when the map has a trapping box; the largest residual.
    """

    periods: Int[np.ndarray, " found"]
    points: Float[np.ndarray, "found longest dim"]
    residuals: Float[np.ndarray, " found"]
    eigenvalues: Complex[np.ndarray, "found kept"]
    hits: Int[np.ndarray, " found"]
    searched: tuple[int, ...]
    lower: Int[np.ndarray, " searched"]
    stride: float
    outcome: Outcome
    checks: tuple[Check, ...]

    @property
    def stable(self) -> np.ndarray:
        """(found,) bool: every multiplier inside the unit circle."""
        return np.abs(self.eigenvalues).max(axis=1, initial=0) < 1

    @property
    def flow_like(self) -> bool:
        """Whether the map seems to approximate a flow: few exact cycles are then to be expected."""
        return self.stride < FLOWS

    def orbit(self, cycle: int) -> np.ndarray:
        """The states of one cycle, (period, dim)."""
        return self.points[cycle, : self.periods[cycle]]

    def summary(self) -> str:
        """How many cycles of each period, and how many of them are stable."""
        found = {k: self.periods == k for k in sorted(set(self.periods.tolist()))}
        counts = [f"{rows.sum()} of period {k} ({(rows & self.stable).sum()} stable)" for k, rows in found.items()]
        empty = ", ".join(str(k) for k in self.searched if k not in found)
        text = f"{counted(len(self.periods), 'cycle')}: {', '.join(counts)}" if counts else "no cycles"
        text = f"{text}; none of period {empty}" if counts and empty else f"{text} of period {empty}" if empty else text
        if self.outcome is Outcome.OUT_OF_TIME:
            text += f"; the search {self.outcome.value}, so more may be there"
        if self.flow_like:
            text += (
                f"; a step is {self.stride:.1%} of an orbit's spread, as in maps that approximate flows, which have invariant "
                f"circles rather than exact cycles: take a return map (hooks.section)"
            )
        return text

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
        find_roots,
        method=method,
        tolerance=tolerance,
        apart=apart,
        rounds=rounds,
        generator=generator,
        watch=watch,
    )
    # Every divisor's cycles are found first: they are roots of F^k too, and hard to reach through it.
    rests = search(dynamics, first)
    known, ended = {1: list(rests.states[:, None])}, list(rests.outcomes)
    orbits: list[Tensor] = []
    hits: list[int] = []
    multipliers: list[np.ndarray] = []
    lower: list[int] = []
    checks: list[Check] = []
    for k in sorted({d for period in wanted for d in range(2, period + 1) if period % d == 0}):
        smaller = [orbit for d, cycles in known.items() if k % d == 0 for orbit in cycles]
        found, counts, others, outcomes = _of_period(dynamics, k, first, smaller, search, apart)
        ended.extend(outcomes)
        known[k] = found
        if k not in wanted:
            continue
        lower.append(len(others))
        checks.extend(_index_check(dynamics, k, found, others))
        order = np.argsort(-np.array(counts, dtype=np.int64), kind="stable")
        orbits.extend(found[i] for i in order)
        hits.extend(counts[i] for i in order)
        multipliers.extend(_multipliers(dynamics, found)[order])

    residuals = np.array([float((dynamics(orbit) - orbit.roll(-1, 0)).norm(dim=1).max()) for orbit in orbits])
    checks.append(Check("largest residual |F(x_i) - x_(i+1)|", 0.0, float(residuals.max(initial=0)), tolerance))
    points = np.full((len(orbits), wanted[-1], dynamics.dim), np.nan)
    for row, orbit in zip(points, orbits, strict=True):
        row[: len(orbit)] = orbit.double().cpu().numpy()
    return Cycles(
        periods=np.array([len(orbit) for orbit in orbits], dtype=np.int64),
        points=points,
        residuals=residuals,
        eigenvalues=np.array(multipliers, dtype=np.complex128).reshape(len(orbits), -1 if orbits else dynamics.dim),
        hits=np.array(hits, dtype=np.int64),
        searched=wanted,
        lower=np.array(lower, dtype=np.int64),
        outcome=Outcome.OUT_OF_TIME if Outcome.OUT_OF_TIME in ended else Outcome.CONVERGED,
        stride=_stride(dynamics, first[:STRIDERS]),
        checks=tuple(checks),
    )


def _of_period(
    dynamics: Dynamics, k: int, starts: Tensor, smaller: list[Tensor], search: Callable[..., Roots], apart: float
) -> tuple[list[Tensor], list[int], list[Tensor], tuple[Outcome, ...]]:
    """Cycles (k, dim) of minimal period k, the starts that reached each, the orbits of smaller period, k states too, and how
    the starts ended."""
    others = [orbit.roll(-i, 0).repeat(k // len(orbit), 1) for orbit in smaller for i in range(len(orbit))]
    if k < SHOOTING:
        roots = search(dynamics.iterated(k), torch.cat([*smaller, starts]), images=partial(_images, dynamics, k))
        orbits = _phases(dynamics, roots.states, k)
    else:
        roots = search(_cyclic(dynamics, k), _returning(dynamics, starts, k), equation=shooting_equation(dynamics, k))
        orbits = roots.states.reshape(-1, k, dynamics.dim)
    prime = torch.tensor([_minimal_period(orbit, apart) == k for orbit in orbits], dtype=torch.bool)
    found, counts = _up_to_phase(orbits[prime], roots.hits[prime], apart)
    known = torch.cat([starts[:0], *smaller])
    new = [orbit for orbit in orbits[~prime] if not ((known - orbit[0]).norm(dim=1) <= apart).any()]
    return found, counts, [*others, *new], roots.outcomes


def _images(dynamics: Dynamics, k: int, states: Tensor) -> Tensor:
    """Where these states are after 1 to k - 1 steps."""
    carried = []
    with torch.no_grad():
        for _ in range(k - 1):
            states = dynamics(states)
            carried.append(states)
    return torch.cat(carried)


def _phases(dynamics: Dynamics, roots: Tensor, k: int) -> Tensor:
    """(found, k, dim) the orbit of each root of F^k, each phase polished as a root of its own, so that a strongly
    expanding cycle keeps its precision all around."""
    equation = fixed_point_equation(dynamics.iterated(k))
    phases = [roots]
    for _ in range(k - 1):
        phases.append(polished(equation, dynamics(phases[-1]), box=None)[0])
    return torch.stack(phases, 1)


def _cyclic(dynamics: Dynamics, k: int) -> Dynamics:
    """The map (x_0, ..., x_(k-1)) -> (F(x_(k-1)), F(x_0), ..., F(x_(k-2))), whose fixed points are F's k-cycles.

    det(I - DP) of this map P is det(I - DF^k), so its index sum is that of F^k.
    """
    dim, box = dynamics.dim, trapping_box(dynamics)

    def step(flat: Tensor, _: Any) -> Tensor:
        return dynamics(flat.reshape(-1, dim)).reshape(-1, k, dim).roll(1, 1).reshape(flat.shape)

    tiled = None if box is None else (box[0].repeat(k), box[1].repeat(k))
    return replace(
        dynamics, step=step, dim=k * dim, jacobian=None, push=None, readout=None,
        box=None if tiled is None else lambda _: tiled,
    )  # fmt: skip


def _returning(dynamics: Dynamics, starts: Tensor, k: int) -> Tensor:
    """(starts, k dim) the k states after which each start's orbit, followed for 3 k steps, comes back most closely."""
    orbit = [starts]
    with torch.no_grad():
        for _ in range(3 * k):
            orbit.append(dynamics(orbit[-1]))
    states = torch.stack(orbit, 1)
    gone = ~(states.abs() < 1e100).all(2, keepdim=True)
    states = torch.where(gone, starts[:, None], states)
    returns = (states[:, k:] - states[:, :-k]).norm(dim=2)
    begin = torch.where(gone[:, k:, 0], float("inf"), returns).argmin(1)
    rows = begin[:, None] + torch.arange(k, device=starts.device)
    return states.gather(1, rows[..., None].expand(-1, -1, dynamics.dim)).reshape(len(starts), -1)


def _slopes(dynamics: Dynamics, orbits: list[Tensor]) -> Tensor:
    """(found, dim, dim) slope of F^k around each orbit (k, dim), as the product of the slopes at its states."""
    total = torch.eye(dynamics.dim, dtype=dynamics.dtype, device=dynamics.device).expand(len(orbits), -1, -1)
    for states in _stacked(dynamics, orbits).unbind(1) if orbits else ():
        total = jacobian(dynamics, states) @ total
    return total


def _stacked(dynamics: Dynamics, orbits: list[Tensor]) -> Tensor:
    """(found, k, dim), also of none."""
    none = torch.zeros(0, 1, dynamics.dim, dtype=dynamics.dtype, device=dynamics.device)
    return torch.stack(orbits) if orbits else none


def _multipliers(dynamics: Dynamics, orbits: list[Tensor]) -> np.ndarray:
    if not orbits or dynamics.dim <= WIDEST_SPECTRUM:
        return sorted_eigenvalues(_slopes(dynamics, orbits))
    return eigenvalues_at(dynamics.iterated(len(orbits[0])), torch.stack([orbit[0] for orbit in orbits]))


def _index_check(dynamics: Dynamics, k: int, found: list[Tensor], others: list[Tensor]) -> tuple[Check, ...]:
    """The index sum of F^k: each cycle counts once a phase, each root of smaller period once."""
    if trapping_box(dynamics) is None or dynamics.dim > WIDEST_SPECTRUM:
        return ()
    box = trapping_box(dynamics)
    cycles, smaller = (
        indices_of(_slopes(dynamics, orbits), _stacked(dynamics, orbits)[:, 0], box)[0] for orbits in (found, others)
    )
    degenerate = (cycles == 0).any() or (smaller == 0).any()
    return index_check(None if degenerate else float(k * cycles.sum() + smaller.sum()), f"F^{k}")


def _stride(dynamics: Dynamics, starts: Tensor) -> float:
    """Median step over the spread of its orbit, over the starts whose orbits still move as much after ``SETTLED`` steps."""
    orbit = [starts]
    with torch.no_grad():
        for _ in range(3 * SETTLED):
            orbit.append(dynamics(orbit[-1]))
    early, late = (torch.stack(orbit[n * SETTLED : (n + 1) * SETTLED], 1) for n in (1, 2))
    before, spread = (states.std(dim=1).norm(dim=1) for states in (early, late))
    steps = (late[:, 1:] - late[:, :-1]).norm(dim=2).median(1).values
    moving = torch.isfinite(spread) & (spread > 0.5 * before)
    moving &= spread > 1e-6 * late.abs().amax((1, 2)).clamp(min=1.0)
    return float((steps / spread)[moving].median()) if moving.any() else float("nan")


def _minimal_period(orbit: Tensor, apart: float) -> int:
    """The smallest divisor of its length after which the orbit (k, dim) returns."""
    k = len(orbit)
    return next(d for d in range(1, k + 1) if k % d == 0 and (orbit[d % k] - orbit[0]).norm() <= apart)


def _up_to_phase(orbits: Tensor, hits: Tensor, apart: float) -> tuple[list[Tensor], list[int]]:
    """One orbit (k, dim) for all phases of a cycle, and the starts that reached any of them."""
    kept: list[Tensor] = []
    counts: list[int] = []
    for orbit, count in zip(orbits, hits.tolist(), strict=True):
        known = next((i for i, other in enumerate(kept) if ((other - orbit[0]).norm(dim=1) <= apart).any()), None)
        if known is not None:
            counts[known] += count
            continue
        kept.append(orbit)
        counts.append(count)
    return kept, counts
