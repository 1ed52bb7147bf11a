"""On which attractor does an orbit end, and where along a line does that change? Shared by the analyses of basins.

``grouped`` tells attractors apart by recurrence, from final states alone; ``ends`` looks up given attractors; ``crossings``
brackets the first change along many lines at once; ``normals`` gives the boundary's normal at such brackets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from hooks.dynamics import Dynamics, as_states
from hooks.errors import InputError
from hooks.tangent import jacobian

NOWHERE = -1
REST = 1e-6  # of the size of a state (or of 1, if smaller): movement below this is rest
JOINED = 3.0  # typical gaps between neighbouring states of a tail: two tails this close are on one attractor
SAMPLE = 32  # states of a tail compared with another's
NEAR = 1e-2  # of the smallest distance between two attractors: a state this close has arrived
PARTS = 7  # points tried inside a bracket at once: each pass divides it by eight, three bits
PARTED = 1e-2  # of the length of the line: the two ends of a bracket, followed until they are this far apart
ENTRIES = 1 << 22  # distances or Jacobian entries held at once: 32 MB in float64


@dataclass(frozen=True, eq=False)
class Attractors:
    """Given attractors: every state of each, and how close counts as arrived."""

    phases: Tensor  # (phases, dim), the attractors' states one after another
    owner: Tensor  # (phases,) attractor of each
    count: int
    near: float


def given_attractors(dynamics: Dynamics, orbits: Sequence[Any], near: float | None) -> Attractors:
    """The user's attractors, each (period, dim).

    Raises InputError for none or an empty one, for a ``near`` that cannot tell them apart, and for states that the map takes
    farther than ``near`` from all states of their attractor.
    """
    states = [as_states(dynamics, orbit) for orbit in orbits]
    if not states or not all(len(orbit) for orbit in states):
        raise InputError(
            f"basins need attractors, each the states of one, (period, {dynamics.dim}), but {len(states)} came with "
            f"{[len(orbit) for orbit in states]} states"
        )
    phases = torch.cat(states)
    owner = torch.cat([torch.full((len(orbit),), i) for i, orbit in enumerate(states)]).to(phases.device)
    apart = torch.cdist(phases, phases)[owner[:, None] != owner[None, :]]
    scale = float(apart.min()) if len(apart) else max(1.0, float(phases.norm(dim=1).max()))
    near = NEAR * scale if near is None else near
    if not 0 < near < max(scale / 2, 1e-300):
        raise InputError(f"near={near:.3g} must be positive and below half the attractors' distance, {scale:.3g}")
    with torch.no_grad():
        moved = torch.cdist(dynamics(phases), phases)
    moved = torch.where(owner[:, None] == owner, moved, torch.inf).amin(1)
    if not (moved <= near).all():
        worst = int(moved.argmax())
        raise InputError(
            f"attractors are mapped onto themselves, but {dynamics.name!r} takes a state of attractor {int(owner[worst])} to "
            f"{float(moved[worst]):.2g} from all of its states; near={near:.2g} is allowed"
        )
    return Attractors(phases, owner, len(states), near)


def ends(dynamics: Dynamics, states: Tensor, attractors: Attractors, steps: int) -> Tensor:
    """(batch,) the attractor within whose ``near`` each orbit comes first, NOWHERE after ``steps`` steps without."""
    labels = torch.full((len(states),), NOWHERE, dtype=torch.int64, device=states.device)
    active = torch.arange(len(states), device=states.device)
    with torch.no_grad():
        for _ in range(steps + 1):
            distances, which = torch.cdist(states, attractors.phases).min(dim=1)
            arrived = distances <= attractors.near
            labels[active[arrived]] = attractors.owner[which[arrived]]
            on = ~arrived & torch.isfinite(states).all(1)
            if not on.all():
                active, states = active[on], states[on]
            if not len(active):
                break
            states = dynamics(states)
    return labels


def fates(dynamics: Dynamics, attractors: Attractors, steps: int, states: Tensor) -> Tensor:
    """``ends`` of (..., dim) states, with the leading axes kept."""
    return ends(dynamics, states.reshape(-1, dynamics.dim), attractors, steps).reshape(states.shape[:-1])


def crossings(
    beyond: Callable[[Tensor], Tensor], inside: Tensor, outside: Tensor, *, relative: float
) -> tuple[Tensor, Tensor]:
    """Bracket, on each line from inside to outside, the first place seen where ``beyond`` becomes true.

    Parameters
    ----------
    beyond
        (lines, tried, dim) states -> (lines, tried) bool, taken to be false at ``inside`` and true at ``outside``.
    inside, outside : (lines, dim)
    relative
        Width wanted, in lengths of the line.

    Returns
    -------
    inside, outside : (lines, dim)
        The narrowed brackets.
    """
    shares = torch.linspace(0, 1, PARTS + 2).to(inside)[1:-1, None]
    lines = torch.arange(len(inside), device=inside.device)
    for _ in range(int(np.ceil(np.log(1 / relative) / np.log(PARTS + 1)))):
        tried = inside[:, None] + shares * (outside - inside)[:, None]
        passed = torch.cat([beyond(tried), torch.ones(len(lines), 1, dtype=torch.bool, device=lines.device)], dim=1)
        first = passed.int().argmax(dim=1)
        marks = torch.cat([inside[:, None], tried, outside[:, None]], dim=1)
        inside, outside = marks[lines, first], marks[lines, first + 1]
    return inside, outside


def normals(dynamics: Dynamics, inside: Tensor, outside: Tensor, apart: Tensor, steps: int) -> Tensor:
    """(lines, dim) unit normals of the boundary at brackets, pointing outward.

    Both ends of a bracket are followed until they are ``apart`` (lines,), and their separation there is pulled back through
    the transposed Jacobians along the way. Along the boundary one direction outgrows all others, so the pulled-back covector
    turns into the boundary's normal whatever it was (it is the leading right singular vector of DF^t).
    """
    parting = outside - inside
    before, after = inside, outside
    middles, parted = [], torch.zeros(len(inside), dtype=torch.bool, device=inside.device)
    last = torch.zeros(len(inside), dtype=torch.int64, device=inside.device)
    with torch.no_grad():
        for _ in range(steps):
            parted = parted | ((after - before).norm(dim=1) >= apart) | ~torch.isfinite(after - before).all(1)
            if parted.all():
                break
            middles.append((before + after) / 2)
            before = torch.where(parted[:, None], before, dynamics(before))
            after = torch.where(parted[:, None], after, dynamics(after))
            finite = torch.isfinite(after - before).all(1)
            parting = torch.where((~parted & finite)[:, None], after - before, parting)
            last = torch.where(parted | ~finite, last, last + 1)
    covector = _unit(parting)
    for step in reversed(range(int(last.max()) if len(last) else 0)):
        rows = torch.nonzero(last > step)[:, 0]
        for part in rows.split(max(1, ENTRIES // dynamics.dim**2)):
            slopes = jacobian(dynamics, middles[step][part])
            covector[part] = _unit((covector[part, None, :] @ slopes)[:, 0])
    return covector


def grouped(tails: np.ndarray, settled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Attractor of each start by recurrence, most often reached first (-1 where not settled), and whether it rests there.

    Two starts share an attractor when their ``tails`` (starts, kept, dim), the last states of each in order, come closer than
    three times the typical gap between neighbouring states within a tail (nothing on a fixed point or short cycle, so a
    millionth of the states' size counts too). Each group is compared from its first member, so that the cost is
    O(attractors starts kept dim) and not quadratic in the starts.
    """
    labels, resting = np.full(len(tails), -1, dtype=np.int64), np.zeros(len(tails), dtype=bool)
    rows = np.flatnonzero(settled)
    if not len(rows):
        return labels, resting
    clouds = torch.as_tensor(tails[rows], dtype=torch.float64)
    gaps, scales = typical_gaps(clouds), rest_scales(clouds)
    rest = gaps <= scales
    gaps = torch.maximum(gaps, scales)
    resting[rows] = rest.numpy()
    links: list[tuple[int, int]] = []
    free = torch.ones(len(rows), dtype=torch.bool)
    sample = clouds[:, -SAMPLE:]
    while free.any():
        first = int(free.int().argmax())
        others = sample[:, -1:] if rest[first] else sample
        nearest = torch.cat(
            [torch.cdist(clouds[first], part).amin((1, 2)) for part in _chunks(others, clouds.shape[1])]
        )
        close = nearest <= JOINED * torch.maximum(gaps, gaps[first])
        close[first] = True
        links.extend((first, int(other)) for other in torch.nonzero(close)[:, 0])
        free &= ~close
    one, other = np.array(links).T
    joined = coo_array((np.ones(len(one)), (one, other)), shape=(len(rows), len(rows)))
    labels[rows] = by_size(connected_components(joined, directed=False)[1])
    return labels, resting


def typical_gaps(clouds: Tensor) -> Tensor:
    """(starts,) median distance of a state of a tail (starts, kept, dim) to the nearest other one."""
    gaps = []
    for part in _chunks(clouds, clouds.shape[1]):
        within = torch.cdist(part, part)
        within.diagonal(dim1=1, dim2=2).fill_(float("inf"))
        gaps.append(within.amin(2).median(1).values)
    return torch.cat(gaps) if gaps else clouds.new_zeros(0)


def rest_scales(clouds: Tensor) -> Tensor:
    """(starts,) movement that counts as rest."""
    return REST * clouds.abs().amax((1, 2)).clamp(min=1.0)


def periods_of(tails: Tensor, longest: int) -> Tensor:
    """(starts,) smallest period up to ``longest`` at which a tail (starts, kept, dim) repeats within rest; 0 for none."""
    scales = rest_scales(tails)
    periods = torch.zeros(len(tails), dtype=torch.int64)
    for k in range(1, min(longest, tails.shape[1] - 1) + 1):
        repeats = (tails[:, k:] - tails[:, :-k]).norm(dim=2).amax(1) <= scales
        periods[repeats & (periods == 0)] = k
    return periods


def by_size(labels: np.ndarray) -> np.ndarray:
    """The same groups, numbered by size, largest first; labels below 0 stay."""
    counts = np.bincount(labels[labels >= 0]) if (labels >= 0).any() else np.zeros(0, dtype=np.int64)
    rank = np.empty_like(counts)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    return np.where(labels >= 0, rank[labels.clip(min=0)] if len(rank) else labels, labels).astype(np.int64)


def _chunks(clouds: Tensor, against: int) -> tuple[Tensor, ...]:
    return clouds.split(max(1, ENTRIES // (clouds.shape[1] * max(against, clouds.shape[2]))))


def _unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1e-300)
