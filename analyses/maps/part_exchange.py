"""Where in its state does a network keep what it goes on with? Parts of the state are put in from other runs, and it reads on.

Each run stops at a step. Its whole state is replaced by another run's, and it goes on under its own drives: what it then says
is the donor's continuation, what it says untouched is its own, and the square between the two over the horizon is what there is
to carry over. With a part of the state put in alone, the share carried is 1 - |said - donor's|^2 / |own - donor's|^2: 1 where
nothing else is needed, 0 where it changes nothing, below 0 where it leads to what is neither. The loss without it is 1 less the
share of all the rest put in. Shares need not add to 1: parts may need each other, or say the same.

Null: as many coordinates drawn at random from all of the state. Intervals are percentiles over resampled runs. How the
difference of the two continuations fades with the steps is how long the network remembers what it had read.

Interchange interventions on parts of a state, as in Geiger, Lu, Icard and Potts (NeurIPS 2021) and in activation patching.
Takes a map, a Trajectory and named coordinates; costs runs x (2 parts + parts x draws) x horizon steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analyses.result import Check, Null, Result, axes_or_new, counted
from hooks.dynamics import Dynamics, as_drive, as_states
from hooks.errors import DrivenError, InputError
from hooks.intervention import as_units
from hooks.trajectory import Trajectory
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RESAMPLES = 999
NUMBERS = 1 << 20  # in the states of one batch of exchanges


@dataclass(frozen=True, eq=False)
class PartExchange(Result):
    """What each part of the state carries over.

    Attributes
    ----------
    names : (parts,)
    sizes : (parts,)
        Coordinates of each.
    shares, losses : (parts,)
        Share carried by the part alone, and lost without it; NaN where the continuations do not differ.
    late : (parts,)
        Share carried over the second half of the horizon alone: what lasts.
    intervals : (parts, 2)
        95 % of the shares over resampled runs.
    difference : (horizon,)
        Root mean square, over runs and outputs, between own and donor's continuation after each step.
    runs
        That took part, each as recipient once and as donor once.
    nulls
        "random coordinates" of each part's share. None for a part that is the whole state, or without draws.
    checks
        The whole state put in, taken as a part, carries all.
    """

    names: tuple[str, ...]
    sizes: Int[np.ndarray, " parts"]
    shares: Float[np.ndarray, " parts"]
    losses: Float[np.ndarray, " parts"]
    late: Float[np.ndarray, " parts"]
    intervals: Float[np.ndarray, "parts 2"]
    difference: Float[np.ndarray, " horizon"]
    runs: int
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """What each part carries, beside random coordinates, and how the difference fades."""
        if not np.isfinite(self.shares).any():
            return f"0 of {counted(len(self.names), 'part')} can be judged: the continuations of {self.runs} runs do not differ"
        above = {null.statistic: null for null in self.nulls if null.beaten and null.observed > np.median(null.draws)}
        said = []
        for number in np.argsort(-self.shares, kind="stable").tolist():
            name, (low, high) = self.names[number], self.intervals[number]
            text = (
                f"{name} {self.shares[number]:.0%} ({low:.0%} to {high:.0%}; of the second half "
                f"{self.late[number]:.0%}; {self.losses[number]:.0%} is lost without"
            )
            for null in self.nulls:
                if null.statistic == name:
                    text += f"; as many random coordinates {np.median(null.draws):.0%}"
            said.append(f"{text})")
        first, last = self.difference[0], self.difference[-1]
        tested = (
            f"{len(above)} of {counted(len(self.nulls), 'part')} carry more than random coordinates; "
            if self.nulls
            else ""
        )
        return (
            f"{tested}put in from another of {self.runs} runs, of its continuation {', '.join(said)}; the continuations differ "
            f"by {first:.3g} after a step and by {last:.3g} after {len(self.difference)}"
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Share carried by each part, with its interval; random coordinates as dots."""
        ax = axes_or_new(ax)
        here = np.arange(len(self.names))
        if np.isfinite(self.shares).any():
            ax.errorbar(here, self.shares, yerr=np.abs(self.intervals - self.shares[:, None]).T, fmt="o", label="alone")
            ax.plot(here, self.losses, "_", color="C3", ms=12, label="lost without")
            for null in self.nulls:
                ax.plot([self.names.index(null.statistic)] * len(null.draws), null.draws, ".", color="0.6", ms=3)
            ax.legend(fontsize=7, frameon=False)
        ax.set_xticks(here, self.names, rotation=30, ha="right", fontsize=7)
        ax.axhline(0, color="0.8", lw=1)
        ax.set(ylabel="share of the continuation")
        return ax


def exchange_parts(
    dynamics: Dynamics,
    trajectory: Trajectory,
    parts: Mapping[str, Any],
    *,
    horizon: int = 16,
    readout: Callable[[Tensor], Tensor] | None = None,
    draws: int = 19,
    generator: np.random.Generator | None = None,
    watch: Watch = quiet,
) -> PartExchange:
    """Put parts of the state in from other runs, and see whose continuation follows.

    Parameters
    ----------
    dynamics, trajectory
        The network and runs of it, two at least, with their drives if it takes any. Each run stops ``horizon`` steps before the
        shortest ends.
    parts
        Name -> coordinates, as ``hooks.intervention.ablate`` takes them, or a slice.
    horizon
        Steps that are run on.
    readout
        (batch, dim) -> (batch, outputs); the network's own when left out, else the state.
    draws
        Random groups of coordinates for each part: 19 at least to tell anything; none for 0.
    generator
        Pairs the runs and draws the groups; a fixed seed when left out.
    watch
        Wraps batches of exchanges: progress. Stopped early, what was not reached is NaN.

    Raises
    ------
    InputError
        When there are fewer than two runs, they are too short, there is no part, or a part does not fit.
    DrivenError
        When the map takes drives and the trajectory holds none.
    """
    assert trajectory.lengths is not None
    runs, stop = len(trajectory.states), int(trajectory.lengths.min(initial=1 << 30)) - 1 - horizon
    if runs < 2 or horizon < 1 or stop < 0 or trajectory.states.shape[2] != dynamics.dim:
        raise InputError(
            f"two runs at least, {dynamics.dim} wide and followed by {horizon} steps, are needed, but "
            f"{trajectory.states.shape} came"
        )
    if dynamics.driven and trajectory.drives is None:
        raise DrivenError(f"{dynamics.name!r} is driven, but the trajectory holds no drives")
    if not parts:
        raise InputError("one part of the state at least is put in, but none came")
    generator = generator or np.random.default_rng(0)
    every = np.arange(dynamics.dim)
    chosen = {name: as_units(dynamics, every[at] if isinstance(at, slice) else at) for name, at in parts.items()}
    order = generator.permutation(runs)
    donor = np.empty(runs, dtype=np.int64)
    donor[order] = np.roll(order, 1)  # one cycle through all, so that no run is its own donor

    groups = [every, *(units for units in chosen.values()), *(np.setdiff1d(every, units) for units in chosen.values())]
    drawn = [(name, units) for name, units in chosen.items() if 0 < len(units) < dynamics.dim for _ in range(draws)]
    groups += [np.sort(generator.choice(dynamics.dim, len(units), replace=False)) for _, units in drawn]
    on = _Onward(dynamics, trajectory, stop, horizon, readout or dynamics.readout or (lambda states: states))
    own, theirs = on.said(on.states), on.said(on.states[donor])
    left = np.full((len(groups), runs, horizon), np.nan)
    width = max(1, NUMBERS // (runs * dynamics.dim))
    chunks = [groups[first : first + width] for first in range(0, len(groups), width)]
    for number, off in enumerate(watch(_exchanges(on, donor, chunks, theirs), len(chunks))):
        left[number * width : number * width + len(off)] = off
    apart = ((own - theirs) ** 2).sum(axis=2)

    differs, K, half = bool(apart.sum() > 0), len(chosen), horizon // 2
    with np.errstate(invalid="ignore", divide="ignore"):
        carried = 1 - left.sum(axis=(1, 2)) / apart.sum()
        late = 1 - left[1 : K + 1, :, half:].sum(axis=(1, 2)) / apart[:, half:].sum()
    left, apart = left.sum(axis=2), apart.sum(axis=1)
    weights = generator.multinomial(runs, np.full(runs, 1 / runs), size=RESAMPLES)
    resampled = 1 - (left[1 : K + 1] @ weights.T) / np.maximum(weights @ apart, 1e-300)
    nulls = []
    for name in dict.fromkeys(name for name, _ in drawn) if differs else ():
        at = 1 + 2 * K + np.array([number for number, (other, _) in enumerate(drawn) if other == name])
        sample, observed = carried[at], float(carried[1 + list(chosen).index(name)])
        if np.isfinite(sample).all() and np.isfinite(observed):
            nulls.append(Null("random coordinates", "any as many coordinates do", "run", sample, observed, name))
    intervals = np.quantile(resampled, [0.025, 0.975], axis=1).T if differs else np.full((K, 2), np.nan)
    return PartExchange(
        names=tuple(chosen),
        sizes=np.array([len(units) for units in chosen.values()], dtype=np.int64),
        shares=carried[1 : K + 1],
        losses=1 - carried[K + 1 : 2 * K + 1],
        late=late,
        intervals=intervals,
        difference=np.sqrt(((own - theirs) ** 2).mean(axis=(0, 2))),
        runs=runs,
        nulls=tuple(nulls),
        checks=(Check("share that the whole state carries", 1.0, float(carried[0]), 1e-9),) if differs else (),
    )


@dataclass(frozen=True, eq=False)
class _Onward:
    """The runs from where they stop."""

    dynamics: Dynamics
    trajectory: Trajectory
    stop: int
    horizon: int
    says: Callable[[Tensor], Tensor]

    @property
    def states(self) -> Tensor:
        """(runs, dim) where they stop."""
        return as_states(self.dynamics, self.trajectory.states[:, self.stop])

    def said(self, now: Tensor) -> np.ndarray:
        """(rows, horizon, outputs) from these states, some for each run in turn, under the runs' own drives."""
        drives = self.trajectory.drives if self.dynamics.driven else None
        times = len(now) // len(self.trajectory.states)
        said = []
        with torch.no_grad():
            for t in range(self.stop, self.stop + self.horizon):
                drive = None if drives is None else as_drive(self.dynamics, drives[:, t]).repeat(times, 1)
                now = self.dynamics(now, drive)
                said.append(self.says(now).double().cpu().numpy())
        return np.stack(said, axis=1)


def _exchanges(
    on: _Onward, donor: np.ndarray, chunks: list[list[np.ndarray]], theirs: np.ndarray
) -> Iterator[np.ndarray]:
    """(groups, runs, horizon) squared distance from the donor's continuation with each group of coordinates put in."""
    own, others = on.states, on.states[torch.as_tensor(donor)]
    for groups in chunks:
        put = torch.zeros(len(groups), 1, own.shape[1], dtype=torch.bool, device=own.device)
        for row, units in zip(put, groups, strict=True):
            row[0, torch.as_tensor(units)] = True
        said = on.said(torch.where(put, others, own).flatten(0, 1))
        yield ((said.reshape(len(groups), *theirs.shape) - theirs) ** 2).sum(axis=3)
