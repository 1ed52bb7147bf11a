"""What is the smallest kick that makes a memory forget? The shortest displacement of its state into another basin.

Method: rays from the memory in many directions are searched for the first state in the wanted basin and bisected. From the
nearest crossings the direction descends on the boundary: it turns toward the boundary's normal at the crossing, by the
largest of a few shares of the way that still ends beyond the boundary, and the new ray is bisected. The normal is the
adjoint of the linearised orbit (``_attractors.normals``); at a minimum the kick is parallel to it. This is the search for
the design point in structural reliability (Hasofer and Lind, J. Eng. Mech. Div. ASCE 100, 1974; Rackwitz and Fiessler,
Comput. Struct. 9, 1978), with a basin's boundary for the limit state.

Takes (dynamics, memories); each turn costs some ten runs of rows x candidates x 7 orbits and the Jacobians along one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analyses.maps._attractors import PARTED, Attractors, crossings, ends, fates, given_attractors, normals
from analyses.result import Check, Result, axes_or_new
from hooks.dynamics import Dynamics, as_states, autonomous
from hooks.errors import InputError
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ANY = -1
SCAN = 16  # places tried along each ray before the bisection: what is thinner than a sixteenth of ``largest`` can be missed
RELATIVE = 1e-9  # of the size: width of the brackets
SHARES = (1.0, 0.5, 0.25, 0.1, 0.03)  # of the way from the kick's direction to the normal, tried at once
AROUND = (
    0.5,
    0.8,
    0.9,
    0.97,
    0.99,
    0.999,
    0.9999,
    1.0001,
    1.001,
    1.01,
    1.03,
    1.1,
    1.2,
)  # of the size the normal predicts
PARALLEL = 1e-8  # 1 - cosine with the normal below this: a local minimum, its size right to about as much
DISTINCT = 1e-3  # of the size: minima whose feet are farther apart are two
ASKEW = 1e-2  # aims are off by this, so that by symmetry alone no descent rests where the distance is largest
SMALLER, LARGER = 0.95, 1.05  # of the size, in the trials
JITTER = 1e-3  # of the size: trials start this far from the memory, in random directions


@dataclass(frozen=True, eq=False)
class MinimalKicks(Result):
    """The smallest kick found for each row: a source, one of its phases, and a target.

    Attributes
    ----------
    sources, phases, targets : (rows,)
        Memory kicked, its phase (0 for a fixed point), memory wanted; -1 for any other memory.
    reached : (rows,)
        The memory reached just beyond the boundary; -1 where no kick was found.
    kicks : (rows, dim)
        Displacement from the memory to the boundary; NaN where no kick was found.
    sizes : (rows,)
        2-norms; infinite where no direction tried leads to the target within ``largest``.
    cosines : (rows,)
        Between kick and boundary normal. 1 at a local minimum of a smooth boundary; less where the descent did not finish. A
        basin that does not touch the source's is nearest at a corner, where descent along one normal stops short: there the
        size is only a bound from above.
    minima : (rows,)
        Different local minima among the candidates. More of them may exist.
    above, below : (rows,)
        Share of the trials that reach the target at 1.05 and 0.95 of the size.
    random_share : (rows,)
        Share of random directions that reach the target at 1.05 of the size.
    trials
        In each of these shares, for each row. Those of ``above`` and ``below`` start at random displacements of a thousandth of
        the size from the memory.
    largest
        Sizes searched.
    checks
        Random directions at 0.95 of the size that reach the target: each would be a smaller kick.
    """

    sources: Int[np.ndarray, " rows"]
    phases: Int[np.ndarray, " rows"]
    targets: Int[np.ndarray, " rows"]
    reached: Int[np.ndarray, " rows"]
    kicks: Float[np.ndarray, "rows dim"]
    sizes: Float[np.ndarray, " rows"]
    cosines: Float[np.ndarray, " rows"]
    minima: Int[np.ndarray, " rows"]
    above: Float[np.ndarray, " rows"]
    below: Float[np.ndarray, " rows"]
    random_share: Float[np.ndarray, " rows"]
    trials: int
    largest: float
    checks: tuple[Check, ...]

    @property
    def local_minima(self) -> np.ndarray:
        """(rows,) bool: the kick is parallel to the boundary's normal."""
        return self.cosines >= 1 - PARALLEL

    def summary(self) -> str:
        """How many kicks were found, how many are local minima, their sizes, and what the trials said."""
        found = np.isfinite(self.sizes)
        text = f"{found.sum()} of {len(found)} kicks found"
        if found.any():
            low, high = self.sizes[found].min(), self.sizes[found].max()
            text += (
                f", {self.local_minima.sum()} of them local minima, sizes {low:.4g} to {high:.4g}; trials that flip: "
            )
            text += f"{self.above[found].mean():.1%} at 1.05 of the size, {self.below[found].mean():.1%} at 0.95, "
            text += f"{self.random_share[found].mean():.1%} of random directions at 1.05"
        return text + (f"; {(~found).sum()} without a way out up to {self.largest:.3g}" if not found.all() else "")

    def plot(self, ax: Axes | None = None) -> Axes:
        """Sizes row by row, local minima filled."""
        ax = axes_or_new(ax)
        for mask, fill in ((self.local_minima, "#0072b2"), (~self.local_minima, "none")):
            shown = mask & np.isfinite(self.sizes)
            ax.plot(np.flatnonzero(shown), self.sizes[shown], "o", markersize=5, color="#0072b2", markerfacecolor=fill)
        names = [
            f"{source}→{'any' if target < 0 else target}"
            for source, target in zip(self.sources, self.targets, strict=True)
        ]
        ax.set_xticks(range(len(names)), names, fontsize=7, rotation=90)
        ax.set(xlabel="memory and target", ylabel="smallest kick")
        ax.set_ylim(bottom=0)
        return ax


@dataclass(frozen=True, eq=False)
class Sweep:
    """All candidates after one more turn."""

    directions: Tensor  # (candidates, dim), unit
    low: Tensor  # (candidates,) the last size on the ray that does not reach the target
    high: Tensor  # (candidates,) the first that does
    cosines: Tensor  # (candidates,)
    active: Tensor  # indices still turning


@dataclass(frozen=True, eq=False)
class Problem:
    """Which states count as kicked out, for each line."""

    dynamics: Dynamics
    known: Attractors
    feet: Tensor  # (lines, dim) the memories' states
    sources: Tensor  # (lines,)
    targets: Tensor  # (lines,)
    steps: int

    def rows(self, rows: Tensor) -> Problem:
        return replace(self, feet=self.feet[rows], sources=self.sources[rows], targets=self.targets[rows])

    def reached(self, kicks: Tensor) -> Tensor:
        """(lines, tried): whether each of the kicks (lines, tried, dim) ends on the target."""
        labels = fates(self.dynamics, self.known, self.steps, self.feet[:, None] + kicks)
        elsewhere = (self.targets[:, None] == ANY) & (labels >= 0) & (labels != self.sources[:, None])
        return elsewhere | ((self.targets[:, None] >= 0) & (labels == self.targets[:, None]))


def minimal_kicks(
    dynamics: Dynamics,
    memories: Sequence[Any],
    *,
    pairs: Sequence[tuple[int, int | None]] | None = None,
    saddles: Any = None,
    largest: float | None = None,
    directions: int = 32,
    candidates: int = 6,
    turns: int = 40,
    trials: int = 100,
    near: float | None = None,
    steps: int = 5000,
    generator: torch.Generator | None = None,
    watch: Watch = quiet,
) -> MinimalKicks:
    """Find the smallest kick from memories into other basins.

    Parameters
    ----------
    memories
        Attractors, each the states of one, (period, dim). A cycle is kicked in each phase.
    pairs
        (source, target) memories by number; a target of None is any other memory. Left out, every memory to any other.
    saddles : (saddles, dim)
        States to aim at first, besides the other memories and random directions.
    largest
        Sizes searched; twice the largest distance between two memories when left out.
    directions
        Random directions from each memory.
    candidates
        Crossings from which the descent starts, for each row: the nearest into each basin first.
    turns
        Most turns of the descent.
    trials
        Kicks in each share of the result, for each row.
    near, steps
        Distance from a memory at which an orbit counts as arrived (left out: a hundredth of the smallest distance between two),
        and most steps until then. An orbit that escapes reaches no memory.
    generator
        Draws directions and trials; a fixed seed when left out.
    watch
        Wraps the descent; stopped early, the kicks so far are returned, with their cosines.

    Returns
    -------
    MinimalKicks
        The smallest of the minima that were reached: a bound from above on the true one, which the checks try to refute.

    Raises
    ------
    DrivenError
        When the map takes a drive.
    InputError
        For no memories or one that the map does not keep, numbers in ``pairs`` that name none, a target that is its source,
        or no directions or candidates.
    """
    dynamics = autonomous(dynamics, "minimal_kicks")
    known = given_attractors(dynamics, memories, near)
    wanted = [(memory, None) for memory in range(known.count)] if pairs is None else list(pairs)
    if any(not 0 <= a < known.count or (b is not None and (not 0 <= b < known.count or a == b)) for a, b in wanted):
        raise InputError(f"pairs name two different ones of {known.count} memories, from 0, but {wanted} came")
    if min(directions, candidates, turns, trials) < 1:
        raise InputError(
            f"directions={directions}, candidates={candidates}, turns={turns}, trials={trials}: all are 1 or more"
        )
    generator = generator or torch.Generator().manual_seed(0)
    places = [
        (int(index), a, ANY if b is None else b) for a, b in wanted for index in torch.nonzero(known.owner == a)[:, 0]
    ]
    table = torch.tensor(places, dtype=torch.int64).reshape(-1, 3).to(known.owner)
    feet, sources, targets = known.phases[table[:, 0]], table[:, 1], table[:, 2]
    problem = Problem(dynamics, known, feet, sources, targets, steps)
    largest = 2 * (float(torch.cdist(known.phases, known.phases).max()) or 1.0) if largest is None else largest

    aims = known.phases if saddles is None else torch.cat([known.phases, as_states(dynamics, saddles)])
    random = _random(len(feet), len(aims) + directions, dynamics.dim, generator).to(feet)
    toward = _unit(aims - feet[:, None]) + ASKEW * random[:, : len(aims)]
    rays = _unit(torch.cat([toward, random[:, len(aims) :]], dim=1))
    low, high = _first_crossings(problem, rays, largest)
    nearest = _varied(problem, rays, high)[:, :candidates]
    row, column = torch.nonzero(torch.isfinite(high.gather(1, nearest)), as_tuple=True)
    ray = nearest[row, column]
    u, outer = rays[row, ray], high[row, ray]
    cosines = torch.zeros_like(outer)
    for sweep in watch(_turns(problem.rows(row), u, low[row, ray], outer, turns), turns):
        u, outer, cosines = sweep.directions, sweep.high, sweep.cosines
    best, minima = _best(u * outer[:, None], cosines, row, len(feet))
    found = best >= 0
    kicks = torch.full_like(feet, torch.nan)
    kicks[found] = (u * outer[:, None])[best[found]]
    angles = torch.full_like(feet[:, 0], torch.nan)
    angles[found] = cosines[best[found]]

    sizes = kicks.norm(dim=1)
    around = JITTER * _random(len(feet), trials, dynamics.dim, generator).to(feet)
    anywhere = _random(len(feet), trials, dynamics.dim, generator).to(feet)
    tried = [
        LARGER * kicks[:, None] + around * sizes[:, None, None],
        SMALLER * kicks[:, None] + around * sizes[:, None, None],
    ]
    tried += [share * anywhere * sizes[:, None, None] for share in (LARGER, SMALLER)]
    flips = problem.reached(torch.cat(tried, dim=1)).reshape(len(feet), 4, trials)
    shares = torch.where(found[:, None], flips.double().mean(dim=2), torch.nan).cpu().numpy()
    reached = ends(dynamics, feet + torch.nan_to_num(kicks), known, steps)
    return MinimalKicks(
        sources=sources.cpu().numpy(),
        phases=(table[:, 0] - (known.owner[None] < sources[:, None]).sum(1)).cpu().numpy(),
        targets=targets.cpu().numpy(),
        reached=torch.where(found, reached, ANY).cpu().numpy(),
        kicks=kicks.double().cpu().numpy(),
        sizes=torch.where(found, sizes, torch.inf).double().cpu().numpy(),
        cosines=angles.double().cpu().numpy(),
        minima=minima,
        above=shares[:, 0],
        below=shares[:, 1],
        random_share=shares[:, 2],
        trials=trials,
        largest=float(largest),
        checks=(
            Check(
                "random directions at 0.95 of the size that reach the target", 0.0, float(flips[found, 3].sum()), 0.0
            ),
        ),
    )


def _first_crossings(problem: Problem, rays: Tensor, largest: float) -> tuple[Tensor, Tensor]:
    """(rows, rays) brackets of the first size on each ray that reaches the target; infinite where none does."""
    scan = torch.linspace(0, largest, SCAN + 1).to(rays)
    kicks = scan[1:, None] * rays[:, :, None]
    hit = problem.reached(kicks.flatten(1, 2)).reshape(*rays.shape[:2], SCAN)
    low, high = torch.full_like(rays[..., 0], torch.inf), torch.full_like(rays[..., 0], torch.inf)
    row, ray = torch.nonzero(hit.any(2), as_tuple=True)
    first = hit[row, ray].int().argmax(dim=1)
    low[row, ray], high[row, ray] = _narrowed(problem.rows(row), rays[row, ray], scan[first], scan[first + 1])
    return low, high


def _varied(problem: Problem, rays: Tensor, high: Tensor) -> Tensor:
    """(rows, rays) order of the rays: the nearest crossing into each basin, then the second nearest into each, and so on."""
    order = high.argsort(dim=1, stable=True)
    kicks = torch.nan_to_num(high[..., None] * rays, posinf=0.0, neginf=0.0)
    basin = fates(problem.dynamics, problem.known, problem.steps, problem.feet[:, None] + kicks).gather(1, order)
    rank = (basin[:, :, None] == basin[:, None]).tril(-1).sum(2)
    rank = torch.where(torch.isfinite(high.gather(1, order)), rank, rays.shape[1])
    return order.gather(1, rank.argsort(dim=1, stable=True))


def _turns(problem: Problem, u: Tensor, low: Tensor, high: Tensor, turns: int) -> Iterator[Sweep]:
    """Turn each kick toward the boundary's normal while that makes it shorter."""
    u, low, high = u.clone(), low.clone(), high.clone()
    cosines = torch.zeros_like(high)
    active = torch.arange(len(u), device=u.device)
    for _ in range(turns):
        if not len(active):
            return
        here, v, size = problem.rows(active), u[active], high[active]
        bracket = here.feet + low[active, None] * v, here.feet + size[:, None] * v
        n = normals(problem.dynamics, *bracket, PARTED * size, problem.steps)
        cosine = (n * v).sum(1)
        cosines[active] = cosine
        turned = v[:, None] + torch.tensor(SHARES).to(v)[:, None] * (n - v)[:, None]
        turned = turned / turned.norm(dim=2, keepdim=True)
        shorter = here.reached((1 - RELATIVE) * size[:, None, None] * turned)
        on = (cosine < 1 - PARALLEL) & shorter.any(1)
        active, here, n, size, cosine = active[on], problem.rows(active[on]), n[on], size[on], cosine[on]
        v = turned[on, shorter[on].int().argmax(dim=1)]
        # on a plane with this normal the new ray crosses at size cosine / (n . v)
        predicted = size * cosine / (n * v).sum(1)
        scan = torch.cat([torch.zeros_like(size)[:, None], predicted[:, None] * torch.tensor(AROUND).to(v)], dim=1)
        scan = torch.cat([scan.clamp(max=(1 - RELATIVE) * size[:, None]), (1 - RELATIVE) * size[:, None]], dim=1)
        first = here.reached(scan[:, 1:, None] * v[:, None]).int().argmax(dim=1)
        lines = torch.arange(len(active), device=u.device)
        u[active] = v
        low[active], high[active] = _narrowed(here, v, scan[lines, first], scan[lines, first + 1])
        yield Sweep(u, low, high, cosines, active)


def _narrowed(problem: Problem, u: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Brackets (lines,) on rays u (lines, dim), to RELATIVE of the size."""
    if not len(u):
        return low, high
    relative = float((RELATIVE * high / (high - low)).min().clamp(max=0.5))
    inside, outside = crossings(problem.reached, low[:, None] * u, high[:, None] * u, relative=relative)
    return inside.norm(dim=1), outside.norm(dim=1)


def _best(kicks: Tensor, cosines: Tensor, row: Tensor, rows: int) -> tuple[Tensor, np.ndarray]:
    """(rows,) the smallest candidate of each row, -1 for none, and how many different local minima its candidates are."""
    best = torch.full((rows,), -1, dtype=torch.int64, device=kicks.device)
    minima = np.zeros(rows, dtype=np.int64)
    sizes = kicks.norm(dim=1)
    parallel = cosines >= 1 - PARALLEL
    # of kicks equal to within their precision, one that is a local minimum
    score = torch.where(parallel, sizes, (1 + PARALLEL) * sizes)
    for number in range(rows):
        mine = torch.nonzero(row == number)[:, 0]
        if not len(mine):
            continue
        best[number] = mine[score[mine].argmin()]
        feet = kicks[mine[parallel[mine]]]
        close = torch.cdist(feet, feet) <= DISTINCT * sizes[best[number]]
        minima[number] = int((close.tril(-1).sum(1) == 0).sum())
    return best, minima


def _random(rows: int, count: int, dim: int, generator: torch.Generator) -> Tensor:
    """(rows, count, dim) unit vectors in uniformly random directions."""
    return _unit(torch.randn(rows, count, dim, generator=generator, dtype=torch.float64))


def _unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-300)
