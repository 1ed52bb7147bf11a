"""A finished or stopped run of ``_sweeps`` in numbers: growth block by block, and the attractor each start ends on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from analyses.maps._attractors import by_size, grouped, periods_of
from analyses.maps._sweeps import LAST, TAIL, WIDEST_DETERMINANT, Sweep, block_length, growth, stride_length
from analyses.result import Outcome
from hooks.dynamics import Dynamics
from hooks.tangent import jacobian

GROWS = 1.2  # times further out, quarter after quarter of a run: on the way to infinity (a drift: 1.5, then 1.33)
SHORTEST = 64  # steps below which quarters say nothing


@dataclass(frozen=True, eq=False)
class Run:
    """What the loop measured, start by start."""

    dynamics: Dynamics
    growth: np.ndarray  # (blocks, starts, directions) in each block, per unit of the clock and step
    within_layers: np.ndarray  # (blocks, starts, directions), no blocks without layers
    lengths: np.ndarray  # (blocks,) steps
    determinants: np.ndarray  # (starts,) mean ln |det J| per unit of the clock; NaN when not all directions were wanted
    drift: np.ndarray  # (starts,) growth of the speed of an autonomous flow per unit of the clock; else NaN
    groups: np.ndarray  # (starts,)
    shared: bool  # one drive in common, which makes starts alike
    resting: np.ndarray  # (starts,)
    periods: np.ndarray  # (starts,)
    planes: np.ndarray  # (attractors, directions): those of one pair of complex eigenvalues have one number
    outcome: Outcome


def measured(dynamics: Dynamics, sweep: Sweep, driving: Tensor | None, steps: int, burn_in: int) -> Run:
    """The loop's sums in numpy, and on which attractor each start ends."""
    done = sweep.step - burn_in
    blocks, log_det = growth(sweep, steps=steps, burn_in=burn_in)
    frames = blocks.double().cpu().numpy() / dynamics.dt
    k = frames.shape[3]
    lengths = np.full(len(frames), block_length(steps), dtype=np.float64)
    lengths[-1] = done - (len(frames) - 1) * block_length(steps)
    inside = torch.isfinite(sweep.states).all(1)
    if driving is None and done == steps >= SHORTEST:
        inside &= ~_growing(sweep.reach)
    bounded = inside.cpu().numpy() & ~np.isnan(frames[:, 0]).any(axis=(0, 2))
    drift = np.full(len(bounded), np.nan)
    if driving is None:
        # the rings in the order of time, without the starts that fill them up in a short run
        kept = -(-sweep.step // stride_length(steps))
        tail = sweep.tail.roll(-(kept % TAIL), 1)[:, -min(max(1, done // stride_length(steps)), TAIL) :]
        last = sweep.last.roll(-(sweep.step % LAST), 1)[:, -min(done, LAST) :]
        groups, resting = grouped(tail.double().cpu().numpy(), bounded)
        periods = periods_of(last.double().cpu(), LAST // 2).numpy()
        planes = _planes(dynamics, last, groups, periods, k)
        if dynamics.flow:
            with torch.no_grad():
                speed = (dynamics(sweep.states) - sweep.states).norm(dim=1)
            drift = (speed / sweep.speed).log().double().cpu().numpy() / (done * dynamics.dt)
    else:  # a stable driven map forgets where it started, so starts share an attractor when they share their drives
        alike = np.zeros(len(bounded), dtype=np.int64) if driving.ndim == 2 else np.arange(len(bounded))
        groups, resting = by_size(np.where(bounded, alike, -1)), np.zeros(len(bounded), dtype=bool)
        periods = np.full(len(bounded), -1, dtype=np.int64)
        planes = np.tile(np.arange(k), (int(groups.max(initial=-1)) + 1, 1))
    full = k == dynamics.dim <= WIDEST_DETERMINANT
    return Run(
        dynamics=dynamics,
        growth=frames[:, 0],
        within_layers=frames[:, 1] if frames.shape[1] > 1 else frames[:0, 0],
        lengths=lengths,
        determinants=log_det.double().cpu().numpy() / dynamics.dt / done if full else np.full(len(bounded), np.nan),
        drift=drift,
        groups=groups,
        shared=driving is not None and driving.ndim == 2,
        resting=resting,
        periods=periods,
        planes=planes,
        outcome=Outcome.CONVERGED if done == steps else Outcome.OUT_OF_TIME,
    )


def _growing(reach: Tensor) -> Tensor:
    """(starts,) bool: each of the last three quarters of a run reaches well beyond the one before, and the last stays there.

    The second condition lets slow outward spirals pass, which come back (Roessler's).
    """
    largest, smallest = reach
    return (largest[1] > GROWS * largest[0]) & (largest[2] > GROWS * largest[1]) & (smallest[2] > largest[0])


def _planes(dynamics: Dynamics, last: Tensor, groups: np.ndarray, periods: np.ndarray, k: int) -> np.ndarray:
    """(attractors, k) numbers of the invariant planes at rests and on cycles: one number for a pair of complex eigenvalues.

    Within such a plane a direction's growth oscillates, so that its mean converges as 1 / steps; that of both directions
    together does not oscillate.
    """
    attractors = int(groups.max(initial=-1)) + 1
    planes = np.tile(np.arange(k), (attractors, 1))
    first = np.array([int((groups == group).argmax()) for group in range(attractors)], dtype=np.int64)
    repeats = np.flatnonzero(periods[first] > 0) if dynamics.dim <= WIDEST_DETERMINANT else np.zeros(0, dtype=np.int64)
    if not len(repeats):
        return planes
    orbits, length = last[torch.as_tensor(first[repeats])], torch.as_tensor(periods[first[repeats]])
    product = torch.eye(dynamics.dim).to(orbits).repeat(len(repeats), 1, 1)
    for back in range(int(length.max()), 0, -1):
        rows = torch.nonzero(length >= back)[:, 0]
        product[rows] = jacobian(dynamics, orbits[rows, -back]) @ product[rows]
    for row, slope in zip(repeats, product.double().cpu().numpy(), strict=True):
        if np.isfinite(slope).all():
            values = np.linalg.eigvals(slope)
            values = values[np.argsort(-np.abs(values), kind="stable")][:k]
            pairs = np.flatnonzero((values[:-1].imag != 0) & (values[:-1] == values[1:].conj()))
            planes[row, pairs + 1] = pairs
    return planes
