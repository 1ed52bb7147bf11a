"""Roots of G(X) = 0 for many starts at once, and whether all are there: shared by fixed points and cycles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from analyses.maps._equations import (
    ENTRIES,
    STORED,
    WIDEST_DENSE,
    Equation,
    anderson,
    fixed_point_equation,
    polished,
)
from analyses.maps._starts import fresh_starts, trapping_box
from analyses.result import Check, Outcome
from hooks.dynamics import Box, Dynamics
from hooks.errors import InputError
from hooks.tangent import jacobian
from hooks.watch import Watch

DEGENERATE = 1e-7  # |1 - eigenvalue| below this: the sign of det(I - DF) is not trusted
ACCELERATED = 60  # steps of Anderson acceleration that a stuck start of a wide map is given
MOST_FRESH = 4  # times the first number: how far rounds grow that find nothing while the index sum fails
EDGE = 1e-9  # of the box's width: a coordinate this close to a side touches it
WIDEST_INDEX = (
    512  # units; wider maps go without an index sum, which costs a determinant and the eigenvalues of a point
)


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
    """All starts after one more trial of those that are searching."""

    states: Tensor  # (starts, unknowns)
    residuals: Tensor  # (starts,) |G|
    damping: Tensor  # (starts,)
    idle: Tensor  # (starts,) trials since |G| last fell by a tenth
    trials: Tensor  # (starts,)


@dataclass(frozen=True, eq=False)
class Roots:
    """Distinct roots, and what each given start did."""

    states: Tensor  # (found, unknowns), polished
    residuals: Tensor  # (found,)
    hits: Tensor  # (found,) starts that ended there
    landed: Tensor  # (given starts,) root or -1
    drives: Tensor  # (found, inputs) each root's own, no columns when the map has none
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
    drives: Tensor | None = None,
    within: Box | None = None,
    equation: Equation | None = None,
    images: Callable[[Tensor], Tensor] | None = None,
) -> Roots:
    """Every fixed point of the map reached from the starts, and from further ones in the trapping box.

    Rounds of fresh starts go on while the index sum fails or the last round still found a new root; without a known trapping
    box they are drawn ``within`` another one and only the second holds, without any there are none. While the sum fails, so
    that a root is missing, a quarter of them starts again, pushed away from the known ones (deflation), and rounds that find
    nothing grow. ``images`` carries roots to others (along their cycles): each round starts from them too. ``equation`` has the
    map's fixed points as its roots; F(x) = x when left out. With ``drives`` (starts, inputs) each start has its own map; roots
    under different drives are different, and no rounds are added.
    """
    equation = equation or fixed_point_equation(dynamics, drives)
    box = trapping_box(dynamics, drives)
    states, residuals, ended_as = searched(equation, starts, method, tolerance, box, watch)
    roots, group, hits, firsts = distinct(equation, states, residuals, tolerance, apart, box, drives)
    landed = group.clone()
    ended_as = tuple(
        Outcome.STUCK if end is Outcome.CONVERGED and root < 0 else end
        for end, root in zip(ended_as, landed.tolist(), strict=True)
    )
    counted = box is not None and drives is None and dynamics.dim <= WIDEST_INDEX
    extra, total = 0, index_total(dynamics, roots) if counted else None
    drawn_in = box if box is not None else within
    count = least = max(256, len(starts) // (2 if dynamics.dim <= WIDEST_DENSE else 4))
    for _ in range(rounds if drawn_in is not None and drives is None and (counted or box is None) else 0):
        assert drawn_in is not None
        fresh = fresh_starts(dynamics, drawn_in, roots, max(count, len(roots)), generator, traps=box is not None)
        fresh = fresh if images is None else torch.cat([fresh, images(roots)])
        found, sizes, _ = searched(equation, fresh, method, tolerance, box, watch)
        if total not in (1.0, None):
            pushed, theirs, _ = searched(equation, fresh[::4], method, tolerance, box, watch, avoid=roots)
            found, sizes = torch.cat([found, pushed]), torch.cat([sizes, theirs])
        extra += len(fresh)
        before = len(roots)
        merged = torch.cat([roots, found[sizes <= tolerance]])
        roots, _, counts, _ = distinct(equation, merged, torch.zeros(len(merged)).to(merged), tolerance, apart, box)
        # known roots come first in the merge, so each keeps its number
        counts[:before] += hits - 1
        hits, total = counts, index_total(dynamics, roots) if counted else None
        if len(roots) == before and total in (1.0, None):
            break
        if len(roots) == before:  # one is missing and hard to reach
            count = min(2 * count, MOST_FRESH * least)

    order = hits.argsort(descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    landed = torch.where(landed >= 0, rank[landed.clamp(min=0)] if len(order) else landed, landed)
    roots = roots[order]
    own = roots.new_zeros(len(roots), 0) if drives is None else drives[firsts[order]]
    rows = order if drives is None else firsts[order]
    return Roots(roots, equation.gaps(roots, rows).norm(dim=1), hits[order], landed, own, ended_as, extra)


def sweeps(
    equation: Equation,
    starts: Tensor,
    *,
    method: DampedNewton,
    tolerance: float,
    box: Box | None,
    avoid: Tensor | None = None,
) -> Iterator[Sweep]:
    """Levenberg-Marquardt on G, each start with its own damping, kept inside the box if there is one.

    A trial solves (A'A + mu I) d = -A'G, is accepted when |G| falls, and then mu falls; else it rises. A start rests when
    |G| is at the tolerance, when it leaves every bound, or when trials keep failing. Roots to ``avoid`` multiply G by a
    pole at the nearest one (deflation: Farrell, Birkisson, Funke, SIAM J. Sci. Comput. 37, 2015), which for
    Newton's step is a factor 1 / (1 - d . grad ln m) by the Sherman-Morrison formula.
    """
    pole = None if avoid is None or not len(avoid) else _pole(avoid)
    states = starts.clone() if box is None else torch.clamp(starts, *box)
    every = torch.arange(len(states), device=states.device)
    residuals = equation.gaps(states, every).norm(dim=1)
    merits = residuals if pole is None else residuals * pole(states)[0]
    damping = torch.full_like(residuals, method.damping)
    mark = merits.clone()
    idle = torch.zeros_like(every)
    trials = torch.zeros_like(every)
    for active in every.split(max(1, STORED // equation.stored)):
        gaps = equation.gaps(states[active], active)
        model = equation.model(states[active], gaps, active)
        for _ in range(method.steps):
            if not len(active):
                break
            d = equation.step(model, damping[active] * residuals[active])
            if pole is not None:
                d = d / (1 - (d * pole(states[active])[1]).sum(1)).clamp(min=0.1)[:, None]
            trial = states[active] + d
            trial = trial if box is None else torch.clamp(trial, *box)
            trial_gaps = equation.gaps(trial, active)
            sizes = trial_gaps.norm(dim=1)
            trial_merits = sizes if pole is None else sizes * pole(trial)[0]
            better = trial_merits < merits[active]
            took, missed = active[better], active[~better]
            states[took], residuals[took] = trial[better], sizes[better]
            merits[took] = trial_merits[better]
            damping[took] = (damping[took] * 0.1).clamp(min=1e-12)
            damping[missed] = (damping[missed] * 8).clamp(max=1e12)
            progress = merits[active] < 0.9 * mark[active]
            mark[active] = torch.where(progress, merits[active], mark[active])
            idle[active] = torch.where(progress, 0, idle[active] + 1)
            trials[active] += 1
            on = (
                (residuals[active] > tolerance) & (idle[active] < equation.patience) & torch.isfinite(residuals[active])
            )
            renew = better & on  # the others keep their model, or need none
            if renew.any():
                for part, new in zip(
                    model, equation.model(trial[renew], trial_gaps[renew], active[renew]), strict=True
                ):
                    part[renew] = new
            active, model = active[on], tuple(part[on] for part in model)
            yield Sweep(states, residuals, damping, idle, trials)


def searched(
    equation: Equation,
    starts: Tensor,
    method: DampedNewton,
    tolerance: float,
    box: Box | None,
    watch: Watch,
    avoid: Tensor | None = None,
) -> tuple[Tensor, Tensor, tuple[Outcome, ...]]:
    """Final states, residuals and outcomes of one round."""
    if not len(starts):
        return starts, starts.new_zeros(0), ()
    batches = -(-len(starts) // max(1, STORED // equation.stored))
    sweep = None
    for sweep in watch(
        sweeps(equation, starts, method=method, tolerance=tolerance, box=box, avoid=avoid), method.steps * batches
    ):
        pass
    if sweep is None:
        gaps = equation.gaps(starts, torch.arange(len(starts), device=starts.device)).norm(dim=1)
        none = torch.zeros(len(starts), dtype=torch.int64)
        sweep = Sweep(starts, gaps, gaps, none, none)

    def outcome(residual: float, misses: int, trials: int) -> Outcome:
        if residual <= tolerance:
            return Outcome.CONVERGED
        if not residual < float("inf"):
            return Outcome.DIVERGED
        if misses >= equation.patience:
            return Outcome.STUCK
        return Outcome.OUT_OF_STEPS if trials >= method.steps else Outcome.OUT_OF_TIME

    states, residuals = sweep.states, sweep.residuals
    left = torch.nonzero((residuals > tolerance) & (sweep.idle >= equation.patience))[:, 0]
    if starts.shape[1] > WIDEST_DENSE and avoid is None and len(left):
        tried, sizes = anderson(equation, states[left], left, box=box, tolerance=tolerance, steps=ACCELERATED)
        kept = sizes < residuals[left]
        states[left[kept]], residuals[left[kept]] = tried[kept], sizes[kept]
    rows = zip(residuals.tolist(), sweep.idle.tolist(), sweep.trials.tolist(), strict=True)
    return states, residuals, tuple(outcome(*row) for row in rows)


def distinct(
    equation: Equation,
    states: Tensor,
    residuals: Tensor,
    tolerance: float,
    apart: float,
    box: Box | None,
    drives: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Distinct polished roots, the root of each state (-1: none), how many states share each, and the first of them."""
    group = torch.full((len(states),), -1, dtype=torch.int64, device=states.device)
    converged = torch.nonzero(residuals <= tolerance)[:, 0]

    def key(points: Tensor, rows: Tensor) -> Tensor:
        return points if drives is None else torch.cat([points, drives[rows]], 1)

    first, owner = grouped(key(states[converged], converged), residuals[converged], apart)
    rows = converged[first]
    rooted, left = polished(equation, states[rows], box=box, rows=rows)
    real = torch.nonzero(_near_a_root(equation, rooted, left, rows, apart))[:, 0]
    # nearly degenerate roots come together only when polished; the order stays
    second, merged = grouped(key(rooted[real], rows[real]), torch.zeros(len(real)).to(rooted), apart)
    number = torch.full((len(rows),), -1, dtype=torch.int64, device=states.device)
    number[real] = merged
    group[converged] = number[owner]
    kept = group[converged]
    return rooted[real[second]], group, torch.bincount(kept[kept >= 0], minlength=len(second)), rows[real[second]]


def _near_a_root(equation: Equation, states: Tensor, residuals: Tensor, rows: Tensor, apart: float) -> Tensor:
    """(batch,) bool: |G| is rounding, or Newton's step is short. Beside a fold |G| is below a tolerance without a root."""
    rounding = 64 * torch.finfo(states.dtype).eps * (1 + states.norm(dim=1))
    real = residuals <= rounding
    open_ = torch.nonzero(~real)[:, 0]
    if len(open_):
        d = equation.newton(states[open_], equation.gaps(states[open_], rows[open_]), rows[open_])
        real[open_] = d.norm(dim=1) <= apart
    return real


def indices(dynamics: Dynamics, points: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(sign det(I - DF), smallest |1 - eigenvalue| or a lower bound of it) of each fixed point.

    The sign is 0 where the point is degenerate or on the edge of the box.
    """
    parts = torch.arange(len(points), device=points.device).split(max(1, ENTRIES // dynamics.dim**2))
    found = [indices_of(jacobian(dynamics, points[part]), points[part], trapping_box(dynamics)) for part in parts]
    return np.concatenate([signs for signs, _ in found] or [np.zeros(0, dtype=np.int64)]), np.concatenate(
        [margins for _, margins in found] or [np.zeros(0)]
    )


def indices_of(slopes: Tensor, points: Tensor, box: Box | None) -> tuple[np.ndarray, np.ndarray]:
    """The same from the slopes (found, dim, dim).

    A point on the boundary of the box has an index in it only when the coordinates that touch are constant around it, as those
    of a silent ReLU unit are.
    """
    matrices = slopes.double().cpu().numpy()
    A = np.eye(matrices.shape[-1]) - matrices
    signs = np.linalg.slogdet(A)[0]
    if A.shape[-1] <= WIDEST_DENSE:
        margins = np.abs(1 - np.linalg.eigvals(matrices)).min(axis=1, initial=np.inf)
    else:  # the smallest singular value bounds it from below, and the norm of the inverse that: seven times faster
        inverse = torch.linalg.inv_ex(torch.as_tensor(A)).inverse
        margins = np.nan_to_num(1 / torch.linalg.matrix_norm(inverse).numpy(), nan=0.0)
    trusted = margins > DEGENERATE
    if box is not None:
        low, high = box
        touching = torch.minimum(points - low, high - points) <= EDGE * (high - low)
        trusted &= ~(touching & (slopes.abs().amax(2) > 0)).any(1).cpu().numpy()
    return np.where(trusted, signs, 0).astype(np.int64), margins


def index_total(dynamics: Dynamics, points: Tensor) -> float | None:
    """Sum of the indices, or None when a degenerate point leaves it undefined or the map is too wide for them."""
    if dynamics.dim > WIDEST_INDEX:
        return None
    signs, _ = indices(dynamics, points)
    return None if (signs == 0).any() else float(signs.sum())


def index_checks(dynamics: Dynamics, points: Tensor, name: str = "F") -> tuple[Check, ...]:
    """The index sum on the trapping box as a Check; none without a box, with a degenerate point, or for too wide a map."""
    return index_check(index_total(dynamics, points) if trapping_box(dynamics) is not None else None, name)


def index_check(total: float | None, name: str) -> tuple[Check, ...]:
    """A Check of a sum that is known."""
    return () if total is None else (Check(f"index sum of {name} on its trapping box", 1.0, total, 0.0),)


def grouped(states: Tensor, residuals: Tensor, apart: float) -> tuple[Tensor, Tensor]:
    """(best state of each group, group of each state): what lies within ``apart`` of the best one not yet taken."""
    owner = torch.full((len(states),), -1, dtype=torch.int64, device=states.device)
    best: list[int] = []
    for index in residuals.argsort(stable=True).tolist():
        if owner[index] < 0:
            owner[((states - states[index]).norm(dim=1) <= apart) & (owner < 0)] = len(best)
            best.append(index)
    return torch.tensor(best, dtype=torch.int64, device=states.device), owner


def _pole(roots: Tensor) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """states -> (m, grad ln m) of m = 1 + (w / distance)^2 to the nearest root; w is the typical distance of neighbours."""
    gaps = torch.cdist(roots, roots).fill_diagonal_(float("inf"))
    width = float(gaps.amin(1).median()) if len(roots) > 1 else roots.shape[1] ** 0.5

    def pole(states: Tensor) -> tuple[Tensor, Tensor]:
        distance, nearest = torch.cdist(states, roots).min(1)
        distance = distance.clamp(min=1e-12)
        ratio = (width / distance) ** 2
        away = states - roots[nearest]
        return 1 + ratio, (-2 * ratio / (1 + ratio) / distance**2)[:, None] * away

    return pole
