"""Where does the map nearly rest? Slow points: minima of the speed |F(x) - x| that are not fixed points.

Method: the Levenberg-Marquardt search of ``fixed_points`` on G(x) = F(x) - x from all starts at once; what it leaves off a
root goes down q = |G|^2 / 2 by Newton's method with the moduli of the Hessian's eigenvalues (saddle-free: Dauphin et al.,
NeurIPS 27, 2014). The Hessian is A'A + G.F'', A = DF - I, with F'' by central differences of DF along the 8 directions that A
shrinks most. Slow points are those of Sussillo and Barak, Neural Computation 25 (2013), as a class of their own: a start that
reaches a true fixed point is counted, not returned. At a smooth minimum with G /= 0, A'G = 0, so DF has the eigenvalue 1: the
point is the ghost of a fold, and the curvature of q says how far its pair of complex roots is and how long a passage takes.

Takes (dynamics, starts (starts, dim)); costs the search for fixed points, then about 17 Jacobians per step of each start left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from analyses.maps._eigenvalues import sorted_eigenvalues
from analyses.maps._equations import ENTRIES, fixed_point_equation
from analyses.maps._roots import DampedNewton, grouped, sweeps
from analyses.maps._starts import drawn_starts, trapping_box
from analyses.result import Check, Outcome, Result, axes_or_new, counted
from hooks.dynamics import Box, Dynamics, autonomous
from hooks.errors import InputError
from hooks.tangent import jacobian
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DIRECTIONS = 8  # along which F'' is measured: elsewhere A'A outweighs it
OFFSET = 1e-5  # of the central differences, times the size of the state: errors of 1e-10 and rounding of 1e-11
EPS = float(torch.finfo(torch.float64).eps)


@dataclass(frozen=True, eq=False)
class SlowPoints(Result):
    """The distinct slow points, slowest first.

    Attributes
    ----------
    points : (found, dim)
    speeds : (found,)
        |F(x) - x|, 2-norm, per step.
    gradients : (found,)
        |A'G|, the slope of q = |G|^2 / 2 that is left: 0 at a smooth minimum, more where the minimum is a kink.
    curvatures : (found,)
        Smallest eigenvalue of the Hessian of q; 0 to rounding where the speed is the same along a curve.
    root_distances : (found,)
        Distance of the two complex roots of F(x) = x to second order, |G| sqrt(2 / c), c the curvature of q along the direction
        v that A shrinks most; infinite where c is not positive.
    newton_steps : (found,)
        |A^-1 G|, the distance of the nearest root by one Newton step: far above ``root_distances`` at a minimum, where A is
        singular; comparable to it where a root is near after all.
    passage_times : (found,)
        Steps a state takes through the bottleneck, pi root_distance |v.G| / |G|^2.
    eigenvalues : (found, dim) complex
        Of the Jacobian, largest modulus first.
    near_one : (found,)
        Eigenvalues within ``near`` of 1: the directions in which the map hardly moves nor contracts.
    hits : (found,)
        Starts that ended there.
    landed : (starts,)
        For each start: its slow point, or -1.
    outcomes
        For each start: CONVERGED on a fixed point, STUCK where the speed falls no further (slow or not), or unfinished.
    speed
        The largest speed that was called slow.
    checks
        The fall of q that one more Newton step promises, as a share of q: fails at a kink of the map.
    """

    points: Float[np.ndarray, "found dim"]
    speeds: Float[np.ndarray, " found"]
    gradients: Float[np.ndarray, " found"]
    curvatures: Float[np.ndarray, " found"]
    root_distances: Float[np.ndarray, " found"]
    newton_steps: Float[np.ndarray, " found"]
    passage_times: Float[np.ndarray, " found"]
    eigenvalues: Complex[np.ndarray, "found dim"]
    near_one: Int[np.ndarray, " found"]
    hits: Int[np.ndarray, " found"]
    landed: Int[np.ndarray, " starts"]
    outcomes: tuple[Outcome, ...]
    speed: float
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """How many starts ended on slow points, how slow these are, and what the other starts did."""
        counts = Counter(self.outcomes)
        slow = int((self.landed >= 0).sum())
        text = f"{slow} of {len(self.outcomes)} starts ended on {counted(len(self.points), 'slow point')}"
        if slow:
            text += f", {self.speeds.min():.2g} per step at the slowest and {self.speeds.max():.2g} at the fastest"
            ghosts = np.isfinite(self.passage_times)
            text += f", {ghosts.sum()} of them ghosts of a fold"
            if ghosts.any():
                text += f" passed in {self.passage_times[ghosts].min():.3g} steps or more"
        text += f"; {counts[Outcome.CONVERGED]} on fixed points"
        if other := counts[Outcome.STUCK] - slow:
            text += f"; {other} where the speed falls no further but is above {self.speed:g} or not a minimum"
        unfinished = (Outcome.OUT_OF_STEPS, Outcome.OUT_OF_TIME, Outcome.DIVERGED)
        return text + "".join(f"; {counts[ending]} {ending.value}" for ending in unfinished if counts[ending])

    def plot(self, ax: Axes | None = None) -> Axes:
        """Speed of each slow point against the distance of the roots it is the ghost of, where that is known."""
        ax = axes_or_new(ax)
        known = np.isfinite(self.root_distances)
        ax.loglog(self.root_distances[known], self.speeds[known], "o", mfc="none", color="#0072b2")
        ax.set(xlabel="distance of the complex roots", ylabel="speed per step")
        return ax


@dataclass(frozen=True, eq=False)
class Descent:
    """All candidates after one more trial each."""

    states: Tensor  # (candidates, dim)
    active: Tensor  # indices where the speed still falls


def find_slow_points(
    dynamics: Dynamics,
    starts: Any,
    *,
    around: Any = None,
    generator: torch.Generator | None = None,
    method: DampedNewton | None = None,
    tolerance: float = 1e-10,
    speed: float = 0.05,
    near: float = 0.05,
    apart: float = 1e-6,
    steps: int = 100,
    watch: Watch = quiet,
) -> SlowPoints:
    """Find where an autonomous map moves slowly without resting.

    Parameters
    ----------
    starts, around, generator, method, watch
        As in ``find_fixed_points``.
    tolerance
        At this |F(x) - x| or less a state is a fixed point, and not returned.
    speed
        Minima of the speed above this are counted but not called slow, in units of the state per step.
    near
        Eigenvalues within this distance of 1 are counted in ``near_one``.
    apart
        Points closer than this (2-norm) are one.
    steps
        Most trials of the descent that follows the search.

    Returns
    -------
    SlowPoints
        points (found, dim), none when every start reached a fixed point.

    Raises
    ------
    DrivenError
        When the map takes a drive.
    InputError
        For starts as in ``find_fixed_points``, or a speed that is not above the tolerance.
    """
    dynamics = autonomous(dynamics, "find_slow_points")
    if not speed > tolerance:
        raise InputError(f"slow points are faster than fixed points: speed {speed} is not above tolerance {tolerance}")
    first = drawn_starts(dynamics, starts, around, generator or torch.Generator().manual_seed(0))
    method, box = method or DampedNewton(), trapping_box(dynamics)

    states = first.clone()
    equation = fixed_point_equation(dynamics)
    for sweep in watch(sweeps(equation, first, method=method, tolerance=tolerance, box=box), method.steps):
        states = sweep.states
    speeds = _gaps(dynamics, states).norm(dim=1)
    # the search ends where |G| stagnates or at its last trial: either may lie above a minimum of the speed
    left = torch.nonzero((speeds > tolerance) & torch.isfinite(speeds))[:, 0]
    descent = Descent(states[left], torch.arange(len(left), device=left.device))
    taken = 0
    for descent in watch(_descents(dynamics, states[left], box=box, steps=steps, tolerance=tolerance), steps):
        taken += 1
    states[left] = descent.states
    speeds = _gaps(dynamics, states).norm(dim=1)

    falling = torch.zeros_like(speeds, dtype=torch.bool)
    falling[left[descent.active]] = True
    rests = torch.nonzero((speeds > tolerance) & (speeds <= speed) & ~falling)[:, 0]
    gradients, hessians, _ = _second_order(dynamics, states[rests])
    curvatures = torch.linalg.eigvalsh(hessians)[:, 0]
    least = curvatures >= -_flat(hessians, speeds[rests])
    slow = rests[least]
    best, owner = grouped(states[slow], speeds[slow], apart)
    landed = torch.full((len(states),), -1, dtype=torch.int64, device=states.device)
    landed[slow] = owner

    points, chosen = states[slow][best], torch.nonzero(least)[:, 0][best]
    values = sorted_eigenvalues(jacobian(dynamics, points))
    root_distances, newton_steps, passage_times, promised = _ghosts(dynamics, points, hessians[chosen])
    unfinished = Outcome.OUT_OF_STEPS if taken == steps else Outcome.OUT_OF_TIME
    return SlowPoints(
        points=points.double().cpu().numpy(),
        speeds=speeds[slow][best].double().cpu().numpy(),
        gradients=gradients[chosen].norm(dim=1).double().cpu().numpy(),
        curvatures=curvatures[chosen].double().cpu().numpy(),
        root_distances=root_distances,
        newton_steps=newton_steps,
        passage_times=passage_times,
        eigenvalues=values,
        near_one=(np.abs(values - 1) <= near).sum(axis=1).astype(np.int64),
        hits=torch.bincount(owner, minlength=len(best)).cpu().numpy(),
        landed=landed.cpu().numpy(),
        outcomes=tuple(
            Outcome.CONVERGED if size <= tolerance
            else Outcome.DIVERGED if not size < float("inf")
            else unfinished if on
            else Outcome.STUCK
            for size, on in zip(speeds.tolist(), falling.tolist(), strict=True)
        ),
        speed=float(speed),
        checks=(Check("share of q that a further Newton step promises to gain", 0.0, promised, 1e-6),),
    )  # fmt: skip


def _descents(
    dynamics: Dynamics, starts: Tensor, *, box: Box | None, steps: int, tolerance: float
) -> Iterator[Descent]:
    """Saddle-free Newton on q, each state with its own damping, until the fall of q that a step promises is rounding."""
    states = starts.clone()
    halves = 0.5 * _gaps(dynamics, states).square().sum(1)  # q
    damping = torch.zeros_like(halves)
    active = torch.arange(len(states), device=states.device)
    for _ in range(steps):
        if not len(active):
            return
        gradients, hessians, _ = _second_order(dynamics, states[active])
        d, promised = _saddle_free(gradients, hessians, (2 * halves[active]).sqrt(), damping[active])
        trial = states[active] + d
        trial = trial if box is None else torch.clamp(trial, *box)
        size = 0.5 * _gaps(dynamics, trial).square().sum(1)
        better = size < halves[active]
        took, missed = active[better], active[~better]
        states[took], halves[took] = trial[better], size[better]
        damping[took] *= 0.1
        scale = torch.linalg.matrix_norm(hessians[~better], 2)
        damping[missed] = torch.maximum(10 * damping[missed], 1e-3 * scale)
        on = (promised > 4 * EPS * halves[active]) & ((2 * halves[active]).sqrt() > tolerance)
        active = active[on]
        yield Descent(states, active)


def _second_order(dynamics: Dynamics, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient (rows, dim) and Hessian (rows, dim, dim) of q, and A (rows, dim, dim)."""
    gaps, eye = _gaps(dynamics, states), torch.eye(dynamics.dim).to(states)
    A = jacobian(dynamics, states) - eye
    V = torch.linalg.svd(A).Vh[:, -DIRECTIONS:].mT  # (rows, dim, directions)
    directions = V.shape[2]
    offsets = OFFSET * states.abs().amax(1).clamp(min=1)
    bent = torch.empty_like(V)  # (G.F'') V
    for rows in torch.arange(len(states), device=states.device).split(
        max(1, ENTRIES // (2 * DIRECTIONS * dynamics.dim**2))
    ):
        shift = (offsets[rows, None, None] * V[rows]).mT
        ends = torch.stack([states[rows, None] + shift, states[rows, None] - shift]).reshape(-1, dynamics.dim)
        plus, minus = jacobian(dynamics, ends).reshape(2, len(rows), directions, dynamics.dim, dynamics.dim)
        bent[rows] = torch.einsum("bi,bkij->bjk", gaps[rows], plus - minus) / (2 * offsets[rows, None, None])
    half = bent @ V.mT - 0.5 * V @ (V.mT @ bent) @ V.mT
    return (gaps[:, None] @ A)[:, 0], A.mT @ A + half + half.mT, A


def _flat(hessians: Tensor, speeds: Tensor) -> Tensor:
    """Curvatures of q below this are rounding: of the differences of DF, and of A'A."""
    return 1e-8 * speeds + 1e-13 * torch.linalg.matrix_norm(hessians, 2)


def _saddle_free(gradients: Tensor, hessians: Tensor, speeds: Tensor, damping: Tensor) -> tuple[Tensor, Tensor]:
    """-(|H| + mu)^-1 A'G, no step along flat directions, and the fall of q it promises."""
    values, vectors = torch.linalg.eigh(hessians)
    along = (gradients[:, None] @ vectors)[:, 0]
    steep = values.abs() > _flat(hessians, speeds)[:, None]
    d = torch.where(steep, -along / (values.abs() + damping[:, None]), 0)
    return (vectors @ d[..., None])[..., 0], -(along * d).sum(1) / 2


def _ghosts(dynamics: Dynamics, points: Tensor, hessians: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Distance of the complex roots, length of a Newton step, steps of a passage; and the largest promised share of q."""
    gradients, _, A = _second_order(dynamics, points)
    gaps = _gaps(dynamics, points)
    speeds = gaps.norm(dim=1)
    v = torch.linalg.svd(A).Vh[:, -1]
    # on the slow curve x = v s: w.G = |G| + w.F''(v, v) s^2 / 2 with w = G / |G|, and c = v'Hv = |G| w.F''(v, v)
    c = (v * (hessians @ v[..., None])[..., 0]).sum(1)
    c = torch.where(c > _flat(hessians, speeds), c, 0)
    distances = speeds * (2 / c).sqrt()
    passages = torch.pi * distances * (v * gaps).sum(1).abs() / speeds.square()
    newton, failed = torch.linalg.solve_ex(A, gaps)
    newton = torch.where(failed == 0, newton.norm(dim=1).nan_to_num(torch.inf), torch.inf)
    _, promised = _saddle_free(gradients, hessians, speeds, torch.zeros_like(speeds))
    share = promised / (0.5 * speeds.square())
    distances, newton, passages = (each.double().cpu().numpy() for each in (distances, newton, passages))
    return distances, newton, passages, float(share.max()) if len(share) else 0.0


def _gaps(dynamics: Dynamics, states: Tensor) -> Tensor:
    with torch.no_grad():
        return dynamics(states) - states
