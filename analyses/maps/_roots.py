"""Roots of F(x) = x for many starts at once, and whether all are there: shared by fixed points and cycles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from analyses.maps._starts import fresh_starts, trapping_box
from analyses.result import Check, Outcome
from hooks.dynamics import Box, Dynamics
from hooks.errors import InputError
from hooks.tangent import jacobian
from hooks.watch import Watch

ENTRIES = 1 << 22  # Jacobian entries held at once: 32 MB in float64, a few cache-sized copies of it in flight
DEGENERATE = 1e-7  # |1 - eigenvalue| below this: the sign of det(I - DF) is not trusted
STAGNANT = 30  # trials without a fall of |G| by a tenth after which a start is called stuck


@dataclass(frozen=True)
class DampedNewton:
    """Settings of the search.

    Parameters
    ----------
    damping
        First Levenberg-Marquardt parameter: mu = damping |G|, so that the last steps are Newton's (Fan and Yuan,
        Computing 2005, give the quadratic rate for mu = |G|).
    steps
        Most trials a start is given.
    """

    damping: float = 1.0
    steps: int = 200

    def __post_init__(self) -> None:
        if not (self.damping > 0 and self.steps > 0):
            raise InputError(f"damping and steps are positive, but {self.damping} and {self.steps} came")


@dataclass(frozen=True, eq=False)
class Sweep:
    """All starts after one more trial each."""

    states: Tensor  # (starts, dim)
    residuals: Tensor  # (starts,) |F(x) - x|
    damping: Tensor  # (starts,)
    idle: Tensor  # (starts,) trials since |G| last fell by a tenth
    active: Tensor  # indices still searching


@dataclass(frozen=True, eq=False)
class Roots:
    """Distinct roots, and what each given start did."""

    states: Tensor  # (found, dim), polished
    residuals: Tensor  # (found,)
    hits: Tensor  # (found,) starts that ended there
    landed: Tensor  # (given starts,) root or -1
    outcomes: tuple[Outcome, ...]  # of the given starts
    extra_starts: int


def find_roots(
    dynamics: Dynamics,
    starts: Tensor,
    *,
    method: DampedNewton,
    tolerance: float,
    apart: float,
    rounds: int,
    generator: torch.Generator,
    watch: Watch,
    images: Callable[[Tensor], Tensor] | None = None,
) -> Roots:
    """Every root reached from the starts, and from further ones in the trapping box.

    Rounds of fresh starts go on while the index sum fails or the last round still found a new root; a map without a
    known trapping box gets none. ``images`` carries roots to others (along their cycles): each round starts from them too.
    """
    box = trapping_box(dynamics)
    states, residuals, ended_as = _searched(dynamics, starts, method, tolerance, box, watch)
    roots, group, hits = _distinct(dynamics, states, residuals, tolerance, apart, box)
    landed = group.clone()
    extra = 0
    for _ in range(rounds if box is not None else 0):
        assert box is not None
        fresh = fresh_starts(dynamics, box, roots, max(256, len(starts) // 2), generator)
        fresh = fresh if images is None else torch.cat([fresh, images(roots)])
        found, sizes, _ = _searched(dynamics, fresh, method, tolerance, box, watch)
        extra += len(fresh)
        before = len(roots)
        merged = torch.cat([roots, found[sizes <= tolerance]])
        roots, group, counts = _distinct(dynamics, merged, torch.zeros(len(merged)).to(merged), tolerance, apart, box)
        # known roots come first in the merge, so each keeps its number
        counts[:before] += hits - 1
        hits = counts
        if len(roots) == before and index_total(dynamics, roots) in (1.0, None):
            break

    order = hits.argsort(descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    landed = torch.where(landed >= 0, rank[landed.clamp(min=0)] if len(order) else landed, landed)
    roots = roots[order]
    return Roots(roots, _gaps(dynamics, roots).norm(dim=1), hits[order], landed, ended_as, extra)


def sweeps(
    dynamics: Dynamics, starts: Tensor, *, method: DampedNewton, tolerance: float, box: Box | None
) -> Iterator[Sweep]:
    """Levenberg-Marquardt on G(x) = F(x) - x, each start with its own damping, kept inside the box if there is one.

    A trial solves (A'A + mu I) d = -A'G with A = DF - I, is accepted when |G| falls, and then mu falls; else it
    rises. A start rests when |G| is at the tolerance, when it leaves every bound, or when trials keep failing.
    """
    states = starts.clone() if box is None else torch.clamp(starts, *box)
    gaps = _gaps(dynamics, states)
    residuals = gaps.norm(dim=1)
    damping = torch.full_like(residuals, method.damping)
    mark = residuals.clone()
    idle = torch.zeros(len(states), dtype=torch.int64, device=states.device)
    normals, gradients = _normal_equations(dynamics, states, gaps)
    active = torch.arange(len(states), device=states.device)
    for _ in range(method.steps):
        if not len(active):
            return
        d = _solved(normals, gradients, damping[active] * residuals[active])
        trial = states[active] + d
        trial = trial if box is None else torch.clamp(trial, *box)
        trial_gaps = _gaps(dynamics, trial)
        size = trial_gaps.norm(dim=1)
        better = size < residuals[active]
        took, missed = active[better], active[~better]
        states[took], residuals[took] = trial[better], size[better]
        damping[took] = (damping[took] * 0.1).clamp(min=1e-12)
        damping[missed] = (damping[missed] * 8).clamp(max=1e12)
        progress = residuals < 0.9 * mark
        mark = torch.where(progress, residuals, mark)
        idle = torch.where(progress, 0, idle + 1)
        normals[better], gradients[better] = _normal_equations(dynamics, trial[better], trial_gaps[better])
        on = (residuals[active] > tolerance) & (idle[active] < STAGNANT) & torch.isfinite(residuals[active])
        active, normals, gradients = active[on], normals[on], gradients[on]
        yield Sweep(states, residuals, damping, idle, active)


def polished(dynamics: Dynamics, states: Tensor, *, box: Box | None, steps: int = 6) -> tuple[Tensor, Tensor]:
    """Newton's method from states that are almost roots, as long as |G| falls: (states, residuals)."""
    gaps = _gaps(dynamics, states)
    residuals = gaps.norm(dim=1)
    eye = torch.eye(dynamics.dim).to(states)
    for _ in range(steps):
        A = jacobian(dynamics, states) - eye
        d, failed = torch.linalg.solve_ex(A, gaps)
        trial = torch.where((failed == 0)[:, None] & torch.isfinite(d).all(1, keepdim=True), states - d, states)
        trial = trial if box is None else torch.clamp(trial, *box)
        trial_gaps = _gaps(dynamics, trial)
        better = trial_gaps.norm(dim=1) < residuals
        if not better.any():
            break
        states = torch.where(better[:, None], trial, states)
        gaps = torch.where(better[:, None], trial_gaps, gaps)
        residuals = gaps.norm(dim=1)
    return states, residuals


def indices(dynamics: Dynamics, points: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(sign det(I - DF), smallest |1 - eigenvalue|) of each fixed point; sign 0 where the point is degenerate."""
    if not len(points):
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    slope = jacobian(dynamics, points).double().cpu().numpy()
    signs = np.linalg.slogdet(np.eye(dynamics.dim) - slope)[0]
    margins = np.abs(1 - np.linalg.eigvals(slope)).min(axis=1)
    return np.where(margins > DEGENERATE, signs, 0).astype(np.int64), margins


def index_total(dynamics: Dynamics, points: Tensor) -> float | None:
    """Sum of the indices, or None when a degenerate point leaves it undefined."""
    signs, _ = indices(dynamics, points)
    return None if (signs == 0).any() else float(signs.sum())


def index_checks(dynamics: Dynamics, points: Tensor, name: str = "F") -> tuple[Check, ...]:
    """The index sum on the trapping box as a Check; none without a box or with a degenerate point."""
    total = index_total(dynamics, points) if trapping_box(dynamics) is not None else None
    return () if total is None else (Check(f"index sum of {name} on its trapping box", 1.0, total, 0.0),)


def sorted_eigenvalues(slopes: Tensor) -> np.ndarray:
    """Eigenvalues of (found, dim, dim) slopes, largest modulus first, conjugate pairs with the positive one first."""
    values = np.linalg.eigvals(slopes.double().cpu().numpy()).astype(np.complex128)
    order = np.lexsort((-values.imag, -np.abs(values).round(12)), axis=-1)
    return np.take_along_axis(values, order, axis=-1)


def _searched(
    dynamics: Dynamics, starts: Tensor, method: DampedNewton, tolerance: float, box: Box | None, watch: Watch
) -> tuple[Tensor, Tensor, tuple[Outcome, ...]]:
    """Final states, residuals and outcomes of one round."""
    if not len(starts):
        return starts, starts.new_zeros(0), ()
    sweep, taken = None, 0
    for sweep in watch(sweeps(dynamics, starts, method=method, tolerance=tolerance, box=box), method.steps):
        taken += 1
    if sweep is None:
        gaps = _gaps(dynamics, starts).norm(dim=1)
        sweep = Sweep(starts, gaps, gaps, torch.zeros(len(starts), dtype=torch.int64), torch.arange(len(starts)))
    unfinished = Outcome.OUT_OF_STEPS if taken == method.steps else Outcome.OUT_OF_TIME

    def outcome(residual: float, misses: int) -> Outcome:
        if residual <= tolerance:
            return Outcome.CONVERGED
        if not residual < float("inf"):
            return Outcome.DIVERGED
        return Outcome.STUCK if misses >= STAGNANT else unfinished

    pairs = zip(sweep.residuals.tolist(), sweep.idle.tolist(), strict=True)
    return sweep.states, sweep.residuals, tuple(outcome(*pair) for pair in pairs)


def _distinct(
    dynamics: Dynamics, states: Tensor, residuals: Tensor, tolerance: float, apart: float, box: Box | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Distinct polished roots, the root of each state (-1: none), and how many states share each."""
    group = torch.full((len(states),), -1, dtype=torch.int64, device=states.device)
    converged = torch.nonzero(residuals <= tolerance)[:, 0]
    first, owner = _grouped(states[converged], residuals[converged], apart)
    rooted, _ = polished(dynamics, states[converged][first], box=box)
    # nearly degenerate roots come together only when polished; the order stays
    second, merged = _grouped(rooted, torch.zeros(len(rooted)).to(rooted), apart)
    group[converged] = merged[owner]
    return rooted[second], group, torch.bincount(group[converged], minlength=len(second))


def _grouped(states: Tensor, residuals: Tensor, apart: float) -> tuple[Tensor, Tensor]:
    """(best state of each group, group of each state): what lies within ``apart`` of the best one not yet taken."""
    owner = torch.full((len(states),), -1, dtype=torch.int64, device=states.device)
    best: list[int] = []
    for index in residuals.argsort(stable=True).tolist():
        if owner[index] < 0:
            owner[((states - states[index]).norm(dim=1) <= apart) & (owner < 0)] = len(best)
            best.append(index)
    return torch.tensor(best, dtype=torch.int64, device=states.device), owner


def _gaps(dynamics: Dynamics, states: Tensor) -> Tensor:
    with torch.no_grad():
        return dynamics(states) - states


def _normal_equations(dynamics: Dynamics, states: Tensor, gaps: Tensor) -> tuple[Tensor, Tensor]:
    """A'A and A'G, chunk by chunk."""
    dim = dynamics.dim
    eye = torch.eye(dim).to(states)
    normals, gradients = states.new_empty(len(states), dim, dim), torch.empty_like(states)
    for rows in torch.arange(len(states), device=states.device).split(max(1, ENTRIES // dim**2)):
        A = jacobian(dynamics, states[rows]) - eye
        normals[rows], gradients[rows] = A.mT @ A, (gaps[rows, None, :] @ A)[:, 0]
    return normals, gradients


def _solved(normals: Tensor, gradients: Tensor, mu: Tensor) -> Tensor:
    """(A'A + mu I)^-1 (-A'G) by Cholesky; where mu was too small for it, no step (the trial fails and mu grows)."""
    damped = normals + torch.diag_embed(mu[:, None].expand_as(gradients))
    factor, failed = torch.linalg.cholesky_ex(damped)
    d = -torch.cholesky_solve(gradients[..., None], factor)[..., 0]
    return torch.where((failed == 0)[:, None], d, torch.zeros_like(d))
