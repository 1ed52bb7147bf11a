"""Where does a network end that is fed its own output? Attractors of a loop, by starts from data and starts from noise.

Method: z -> f(z) from all starts at once. The published rule calls a start converged at its first step with |f(z) - z|^2 below
1e-6, and two attractors one when their cosine exceeds 0.99 (Fumero et al., ICLR 2026). A slow passage passes that rule, and two
attractors in one direction are one by it; so each start is iterated on until its steps are a millionth of its size, the rest
beside it is found by Levenberg-Marquardt and Newton (``_roots``) to a residual, and rests are distinct by distance. Both counts
are given. Starts that grow beyond every bound and those still moving are counted apart, with the period of short cycles.

Takes (dynamics, starts (starts, dim)); costs up to ``steps`` steps of the starts that still move, and some 10 Jacobians of
those that settle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from scipy.spatial.distance import cdist
from torch import Tensor

from analyses.maps._attractors import periods_of
from analyses.maps._eigenvalues import eigenvalues_at
from analyses.maps._plot import plot_eigenvalues
from analyses.maps._roots import DampedNewton, find_roots
from analyses.result import Check, Outcome, Result, counted
from hooks.dynamics import Dynamics, as_states, autonomous
from hooks.errors import InputError
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SETTLED = 1e-6  # of the size of a state (or of 1, if smaller): steps below this end a run
ARRIVED = 1e-3  # of that size: a rest this near to where a run ended is where it was going
BOUND = 1e6  # times the largest start (or 1): beyond it a run has left
ALIKE = 0.99  # cosine above which the published count calls two attractors one
TAIL = 64  # last states of a run, in which cycles up to half as long are told


@dataclass(frozen=True, eq=False)
class LoopAttractors(Result):
    """The rests that starts settle on, most often reached first; starts from data come before those from noise.

    Attributes
    ----------
    points : (found, dim)
    residuals : (found,)
        |f(z) - z|, 2-norm.
    eigenvalues : (found, kept) complex
        Of the Jacobian, largest modulus first, as in ``FixedPoints``.
    hits : (found, 2)
        Starts from data and from noise that end there.
    labels : (starts,)
        The rest that each start ends on; -1 for none.
    from_noise : (starts,)
        0 for data, 1 for noise.
    stopped : (starts,)
        The step at which the published rule calls the start converged, -1 for never.
    cosine_counts : (2,)
        Attractors from data and from noise as published: ends by that rule, told apart by their cosines.
    periods : (starts,)
        Of the short cycle that a start was still on at the last step; 0 for none.
    strides : (starts,)
        |f(z) - z| at each start's last step: large where an undecided start keeps moving, small where it is slow.
    outcomes
        How each start ended: OUT_OF_STEPS is undecided, STUCK a rest with no root beside it.
    checks
        The largest residual; starts accounted for.
    """

    points: Float[np.ndarray, "found dim"]
    residuals: Float[np.ndarray, " found"]
    eigenvalues: Complex[np.ndarray, "found kept"]
    hits: Int[np.ndarray, "found 2"]
    labels: Int[np.ndarray, " starts"]
    from_noise: Int[np.ndarray, " starts"]
    stopped: Int[np.ndarray, " starts"]
    cosine_counts: Int[np.ndarray, " 2"]
    periods: Int[np.ndarray, " starts"]
    strides: Float[np.ndarray, " starts"]
    outcomes: tuple[Outcome, ...]
    checks: tuple[Check, ...]

    @property
    def spectral_radii(self) -> np.ndarray:
        """(found,) largest |eigenvalue|."""
        return np.abs(self.eigenvalues[:, :1]).max(axis=1, initial=0)

    @property
    def stable(self) -> np.ndarray:
        """(found,) bool: an attractor, every eigenvalue inside the unit circle."""
        return self.spectral_radii < 1

    @property
    def shares(self) -> np.ndarray:
        """(3,) shares of all starts that converged, diverged, and are undecided."""
        converged, diverged = (self.outcomes.count(end) for end in (Outcome.CONVERGED, Outcome.DIVERGED))
        rest = len(self.outcomes) - converged - diverged
        return np.array([converged, diverged, rest]) / max(1, len(self.outcomes))

    def reached(self, kind: int) -> np.ndarray:
        """Numbers of the attractors on which starts from data (0) or noise (1) end."""
        return np.flatnonzero(self.stable & (self.hits[:, kind] > 0))

    @property
    def counts(self) -> np.ndarray:
        """(2,) attractors reached from data and from noise."""
        return np.array([len(self.reached(kind)) for kind in (0, 1)])

    @property
    def chamfer(self) -> float:
        """Between the attractors reached from data and those reached from noise: the mean distance to the nearest of the other
        set, over both; NaN where a set is empty."""
        data, noise = (self.points[self.reached(kind)] for kind in (0, 1))
        if not len(data) or not len(noise):
            return float("nan")
        apart = cdist(data, noise)
        return float((apart.min(axis=1).mean() + apart.min(axis=0).mean()) / 2)

    def basin_intervals(self, kind: int = 0) -> np.ndarray:
        """(found, 2) Clopper-Pearson 95 % intervals of each basin's share of the starts from data (0) or noise (1), all of them
        counted."""
        from scipy.stats import binomtest

        total = int((self.from_noise == kind).sum())
        found = [binomtest(int(hit), total).proportion_ci(0.95, "exact") for hit in self.hits[:, kind] if total]
        return np.array([(one.low, one.high) for one in found]).reshape(-1, 2)

    def summary(self) -> str:
        """How many starts converged onto how many attractors, by either count, and what the others did."""
        converged, sets = self.outcomes.count(Outcome.CONVERGED), (self.from_noise == 1).any()
        text = f"{converged} of {len(self.outcomes)} starts converged"
        if converged:
            attractors = int(self.stable.sum())
            text += f" onto {counted(attractors, 'attractor')}"
            if sets:
                both = int(((self.hits > 0).all(axis=1) & self.stable).sum())
                text += f" ({self.counts[0]} from data, {self.counts[1]} from noise, {both} from both)"
            if attractors:
                radii = self.spectral_radii[self.stable]
                text += f", spectral radius {np.median(radii):.3f} in the median and {radii.max():.3f} at most"
            text += f"; {int((~self.stable).sum())} of the rests attract nothing" if not self.stable.all() else ""
            published = " and ".join(map(str, self.cosine_counts if sets else self.cosine_counts[:1]))
            text += f"; by the published rule of stopping and cosines: {published}"
        stray = Counter(outcome.value for outcome in self.outcomes if outcome is not Outcome.CONVERGED)
        text += "".join(f"; {count} {ending}" for ending, count in stray.items())
        cycles = Counter(self.periods[self.periods > 0].tolist())
        text += "".join(f", {count} of them on a cycle of period {k}" for k, count in sorted(cycles.items()))
        late = self.strides[[end is Outcome.OUT_OF_STEPS for end in self.outcomes]]
        return text + (f", still moving by {np.median(late):.2g} a step in the median" if len(late) else "")

    def plot(self, ax: Axes | None = None) -> Axes:
        """Eigenvalues at the rests against the unit circle, those of attractors apart."""
        return plot_eigenvalues(self.eigenvalues, self.stable, ax, labels=("of attractors", "of other rests"))


@dataclass(frozen=True, eq=False)
class Sweep:
    """All starts after one more step of those that move."""

    step: int
    states: Tensor  # (starts, dim)
    stopped: Tensor  # (starts,) step of the published rule, -1 for not yet
    ends: Tensor  # (starts, dim) states there
    settled: Tensor  # (starts,) bool
    gone: Tensor  # (starts,) bool
    tail: Tensor  # (starts, kept, dim), a ring over the last steps
    strides: Tensor  # (starts,) of the last step


def loop_attractors(
    dynamics: Dynamics,
    starts: Any,
    *,
    noise: Any = None,
    steps: int = 3000,
    tolerance: float = 1e-6,
    apart: float = 1e-6,
    method: DampedNewton | None = None,
    watch: Watch = quiet,
) -> LoopAttractors:
    """Iterate an autonomous map from every start and tell on which attractor it ends.

    Parameters
    ----------
    starts : (starts, dim)
        Codes of data.
    noise : (more, dim)
        Codes of noise, for what the weights hold without data; none when left out.
    steps
        Most steps a start is given.
    tolerance
        Of the published rule, on |f(z) - z|^2; the paper's value.
    apart
        Rests closer than this (2-norm) are one.
    method
        Of the search for the root beside each rest.
    watch
        Wraps the loop: progress, budget.

    Raises
    ------
    DrivenError
        When the map takes a drive.
    InputError
        For starts of the wrong width, or no step.
    """
    dynamics = autonomous(dynamics, "loop_attractors")
    if steps < 1 or not tolerance > 0:
        raise InputError(f"a loop takes a step at least, to a positive tolerance, but {steps=} and {tolerance=} came")
    data = as_states(dynamics, starts)
    drawn = data[:0] if noise is None else as_states(dynamics, noise)
    first = torch.cat([data, drawn])
    from_noise = np.repeat([0, 1], [len(data), len(drawn)])

    never = torch.full((len(first),), -1, dtype=torch.int64, device=first.device)
    none = torch.zeros(len(first), dtype=torch.bool, device=first.device)
    sweep = Sweep(0, first, never, first, none, none, first[:, None], never * torch.nan)
    for sweep in watch(_sweeps(dynamics, first, steps, tolerance), steps):
        pass
    rows = torch.nonzero(sweep.settled)[:, 0]
    roots = find_roots(
        dynamics, sweep.states[rows], method=method or DampedNewton(), tolerance=1e-10, apart=apart, rounds=0,
        generator=torch.Generator(), watch=quiet,
    )  # fmt: skip
    beside = torch.nonzero(roots.landed >= 0)[:, 0]
    away = (roots.states[roots.landed[beside]] - sweep.states[rows[beside]]).norm(dim=1)
    beside = beside[away <= ARRIVED * _sizes(sweep.states[rows[beside]])]
    number = roots.landed.new_full((len(first),), -1).cpu()
    number[rows[beside].cpu()] = roots.landed[beside].cpu()
    kept, labels, points = _reached(number.numpy(), from_noise, roots.states)
    worst = float(roots.residuals[kept].max()) if len(kept) else 0.0

    late = sweep.step < steps and bool((~sweep.settled & ~sweep.gone).any())
    outcomes = tuple(_outcome(*row, late) for row in zip(
        (labels >= 0).tolist(), sweep.settled.tolist(), sweep.gone.tolist(), strict=True))  # fmt: skip
    still = torch.tensor([end is Outcome.OUT_OF_STEPS for end in outcomes], dtype=torch.bool)
    periods = torch.zeros(len(first), dtype=torch.int64)
    if still.any():
        ring = sweep.tail.roll(-(sweep.step % sweep.tail.shape[1]), 1).double().cpu()
        periods[still] = periods_of(ring[still], TAIL // 2)
        periods[periods == 1] = 0
    hits = np.stack([np.bincount(labels[(labels >= 0) & (from_noise == kind)], minlength=len(kept)) for kind in (0, 1)])
    ruled, ends = sweep.stopped.cpu().numpy() >= 0, sweep.ends.double().cpu().numpy()
    return LoopAttractors(
        points=points.double().cpu().numpy(),
        residuals=roots.residuals[kept].double().cpu().numpy(),
        eigenvalues=eigenvalues_at(dynamics, points),
        hits=hits.T.astype(np.int64),
        labels=labels,
        from_noise=from_noise,
        stopped=sweep.stopped.cpu().numpy(),
        cosine_counts=np.array([_by_cosine(ends[ruled & (from_noise == kind)]) for kind in (0, 1)], dtype=np.int64),
        periods=periods.numpy(),
        strides=sweep.strides.double().cpu().numpy(),
        outcomes=outcomes,
        checks=(
            Check("largest residual |f(z) - z|", 0.0, worst, 1e-10),
            Check("starts on a rest", float(outcomes.count(Outcome.CONVERGED)), float(hits.sum()), 0.0),
        ),
    )


def _sweeps(dynamics: Dynamics, first: Tensor, steps: int, tolerance: float) -> Iterator[Sweep]:
    states, ends = first.clone(), first.clone()
    stopped = torch.full((len(first),), -1, dtype=torch.int64, device=first.device)
    settled, gone = torch.zeros_like(stopped, dtype=torch.bool), torch.zeros_like(stopped, dtype=torch.bool)
    tail, last = first[:, None].repeat(1, min(TAIL, steps), 1), first.new_full((len(first),), torch.nan)
    bound = BOUND * float(first.norm(dim=1).max().clamp(min=1.0)) if len(first) else BOUND
    active = torch.arange(len(first), device=first.device)
    with torch.no_grad():
        for step in range(steps):
            if not len(active):
                return
            after = dynamics(states[active])
            strides = (after - states[active]).norm(dim=1)
            last[active] = strides
            ruled = active[(strides**2 < tolerance) & (stopped[active] < 0)]
            stopped[ruled], ends[ruled] = step, states[ruled]
            finite = torch.isfinite(after).all(1) & (after.norm(dim=1) <= bound)
            gone[active[~finite]] = True
            rests = strides <= SETTLED * _sizes(after)
            settled[active[finite & rests]] = True
            states[active[finite]] = after[finite]
            if step >= steps - tail.shape[1]:
                tail[:, step % tail.shape[1]] = states
            active = active[finite & ~rests]
            yield Sweep(step + 1, states, stopped, ends, settled, gone, tail, last)


def _sizes(states: Tensor) -> Tensor:
    return states.norm(dim=1).clamp(min=1.0)


def _reached(number: np.ndarray, from_noise: np.ndarray, roots: Tensor) -> tuple[np.ndarray, np.ndarray, Tensor]:
    """Roots on which a start ends, most often reached first, and the new number of each start's."""
    counts = np.bincount(number[number >= 0], minlength=len(roots))
    kept = np.argsort(-counts, kind="stable")[: int((counts > 0).sum())]
    rank = np.full(len(roots) + 1, -1, dtype=np.int64)  # the last one for -1
    rank[kept] = np.arange(len(kept))
    return kept, rank[number], roots[torch.as_tensor(kept, device=roots.device)]


def _outcome(on_a_rest: bool, settled: bool, gone: bool, late: bool) -> Outcome:
    if on_a_rest:
        return Outcome.CONVERGED
    if gone:
        return Outcome.DIVERGED
    if settled:
        return Outcome.STUCK
    return Outcome.OUT_OF_TIME if late else Outcome.OUT_OF_STEPS


def _by_cosine(states: np.ndarray) -> int:
    """Groups of states whose cosine with the first of the group exceeds ``ALIKE``; a state at zero is like none but zeros."""
    sizes = np.linalg.norm(states, axis=1, keepdims=True)
    units = states / np.maximum(sizes, 1e-300)
    groups, free = int((sizes == 0).any()), sizes[:, 0] > 0
    while free.any():
        free &= units @ units[int(free.argmax())] <= ALIKE
        groups += 1
    return groups
