"""What is lost when units fall silent: does the network still change what it says, and would it without any other units?

Method: groups of units are silenced, h -> m * F(m * h, u) with m = 0 on the group, under the recorded drives, and changes of
the most probable output are counted. The nulls silence as many units drawn from all others, and as many of like mean
activity (for each unit one of the five nearest). Source of the question: the kick neurons of Torre et al., RNNs emulating
hidden Markov models (2025), interventions with factor 0.

Takes a map and a Trajectory; costs groups x (1 + 2 draws) x runs x steps rows of the map.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from analyses.result import Check, Null, Result, axes_or_new, counted
from hooks.dynamics import Dynamics, as_drive, as_states
from hooks.errors import DrivenError, InputError
from hooks.trajectory import Trajectory
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEAREST = 5  # units of like activity, from which one is drawn for each unit
ROWS = 1 << 13  # stepped at once
REPLAYED = 1e-6  # of the mean activity: what float32 recordings replay to
RANDOM, LIKE = "random units", "units of like activity"


@dataclass(frozen=True, eq=False)
class UnitAblation(Result):
    """Changes of the most probable output, a step, with groups of units silenced.

    Attributes
    ----------
    names, units
        Of each group, and its units.
    intact, intact_error
        Changes a step of the whole network, with its standard error over runs.
    rates, rate_errors : (groups,)
        The same with each group silenced.
    shares : (1 + groups, outputs)
        Of the steps at which each output was the most probable one; the whole network first.
    overflowed
        Rows of silenced runs that did not stay finite; they count as never changing from there on.
    nulls
        Two for each group: of its rate, under "random units" and "units of like activity". None where too few units are left.
    checks
        The recorded states follow under no silence.
    """

    names: tuple[str, ...]
    units: tuple[tuple[int, ...], ...]
    intact: float
    intact_error: float
    rates: Float[np.ndarray, " groups"]
    rate_errors: Float[np.ndarray, " groups"]
    shares: Float[np.ndarray, "rows outputs"]
    overflowed: int
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    @property
    def cuts(self) -> np.ndarray:
        """(groups,) share of the changes that silence takes away; NaN where the whole network never changes."""
        return 1 - self.rates / self.intact if self.intact else np.full(len(self.rates), np.nan)

    @property
    def random_cuts(self) -> np.ndarray:
        """(groups, 2) median of the same over random units and units of like activity; NaN without nulls."""
        table = np.full((len(self.names), 2), np.nan)
        for null in self.nulls:
            column = int(null.name != RANDOM)
            gone = 1 - np.median(null.draws) / self.intact if self.intact else np.nan
            table[self.names.index(null.statistic), column] = gone
        return table

    def summary(self) -> str:
        """How often the output changes, and how much of that each group takes away, beside random groups."""
        text = f"the whole network changes its output in {self.intact:.3g} ± {self.intact_error:.1g} of the steps"
        for number, (name, units) in enumerate(zip(self.names, self.units, strict=True)):
            text += f"; without {counted(len(units), 'unit')} ({name}) {self.cuts[number]:.0%} of the changes are gone"
            for null in (null for null in self.nulls if null.statistic == name):
                verdict = f"p = {null.p:.2g}" if null.beaten else f"not told apart, p = {null.p:.2g}"
                gone = 1 - np.median(null.draws) / self.intact if self.intact else np.nan
                text += f", without as many {null.name} {gone:.0%} ({verdict})"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """Rates with each group silenced, and those of the random groups."""
        ax = axes_or_new(ax)
        ax.axhline(self.intact, color="0.6", linewidth=0.8, label="whole network")
        for null in self.nulls:
            at = self.names.index(null.statistic) + (0.15 if null.name == RANDOM else 0.3)
            ax.plot(
                np.full(len(null.draws), at), null.draws, ".", color="C0" if null.name == RANDOM else "C1", markersize=2
            )
        ax.errorbar(range(len(self.names)), self.rates, 2 * self.rate_errors, fmt="ks", label="group silenced")
        ax.set_xticks(range(len(self.names)), self.names, fontsize=7)
        ax.set(ylabel="changes of the output a step", title="dots: random units (blue), of like activity (orange)")
        ax.legend(frameon=False, fontsize=7)
        return ax


def unit_ablation(
    dynamics: Dynamics,
    trajectory: Trajectory,
    *,
    units: Mapping[str, Sequence[int]],
    burn_in: int = 0,
    readout: Callable[[Tensor], Tensor] | None = None,
    draws: int = 99,
    generator: np.random.Generator | None = None,
    watch: Watch = quiet,
) -> UnitAblation:
    """Silence groups of units and count how often the network still changes what it says.

    Parameters
    ----------
    dynamics, trajectory
        The network, and runs of equal length; their first states and their drives are used again.
    units
        Name -> units of a group, coordinates of the state.
    burn_in
        Steps at the head of each run that are not counted.
    readout
        (batch, dim) -> (batch, outputs); the network's own when left out.
    draws
        Random groups of each kind, for each group.
    generator
        Of the random groups; a fixed seed when left out.
    watch
        Wraps the batches of rows. Stopped early, the nulls have fewer draws; it must not be stopped before the first one.

    Raises
    ------
    InputError
        When a group is empty or names a unit that is not there or names one twice, runs are ragged, fewer than two steps are
        left, or the map has no readout.
    DrivenError
        When the map takes drives and the trajectory holds none.
    """
    groups = [tuple(int(unit) for unit in group) for group in units.values()]
    for name, group in zip(units, groups, strict=True):
        if not group or len(set(group)) < len(group) or min(group) < 0 or max(group) >= dynamics.dim:
            raise InputError(f"a group holds different units from 0 to {dynamics.dim - 1}, but {name!r} is {group}")
    runs, steps, _ = trajectory.states.shape
    if not trajectory.valid.all() or steps - burn_in < 2 or burn_in < 0:
        raise InputError(f"runs of equal length keep two steps after the burn-in, but {steps} steps and {burn_in} came")
    says = readout or dynamics.readout
    if says is None:
        raise InputError(f"{dynamics.name!r} says nothing: pass readout=, (batch, dim) -> (batch, outputs)")
    if dynamics.driven and trajectory.drives is None:
        raise DrivenError(f"{dynamics.name!r} is driven, but the trajectory holds no drives")
    generator = generator or np.random.default_rng(0)

    activity = np.abs(trajectory.points()).mean(axis=0)
    silenced, kinds = list(groups), []
    for name, group in zip(units, groups, strict=True):
        others = np.setdiff1d(np.arange(dynamics.dim), group)
        if len(others) >= 2 * len(group):
            for kind, draw in ((RANDOM, _any_units), (LIKE, _like_units)):
                silenced += [draw(group, others, activity, generator) for _ in range(draws)]
                kinds.append((name, kind))
    masks = torch.ones(1 + len(silenced), dynamics.dim, dtype=dynamics.dtype, device=dynamics.device)
    for row, group in enumerate(silenced, 1):
        masks[row, list(group)] = 0.0
    starts = as_states(dynamics, trajectory.states[:, 0])
    drives = None if trajectory.drives is None else as_drive(dynamics, trajectory.drives)
    chunks = masks.split(max(1, ROWS // max(1, runs)))
    outputs = says(starts).shape[1]

    done = list(watch((_spoken(dynamics, says, starts, drives, part, burn_in, steps) for part in chunks), len(chunks)))
    changes = np.concatenate([np.zeros((0, runs)), *(part[0] for part in done)])
    changes = np.concatenate([changes, np.full((len(masks) - len(changes), runs), np.nan)])
    shares = np.concatenate([np.zeros((0, outputs)), *(part[1] for part in done)])[: 1 + len(groups)]
    rates, errors = changes.mean(axis=1), changes.std(axis=1, ddof=1 if runs > 1 else 0) / np.sqrt(runs)
    last = done[0][2] if done else np.full((runs, dynamics.dim), np.nan)
    strayed = float(np.abs(last - trajectory.states[:, -1]).max(initial=0))

    scale = max(1.0, float(activity.max(initial=0)))
    drawn = rates[1 + len(groups) :].reshape(len(kinds), draws if kinds else 0)
    observed = dict(zip(units, rates[1:], strict=False))
    hypothesis = {RANDOM: "any units do as well", LIKE: "any units as active do as well"}
    return UnitAblation(
        names=tuple(units),
        units=tuple(groups),
        intact=float(rates[0]),
        intact_error=float(errors[0]),
        rates=rates[1 : 1 + len(groups)],
        rate_errors=errors[1 : 1 + len(groups)],
        shares=shares,
        overflowed=sum(part[3] for part in done),
        nulls=tuple(
            Null(kind, hypothesis[kind], "group of units", row[np.isfinite(row)], float(observed[name]), name)
            for (name, kind), row in zip(kinds, drawn, strict=True)
            if np.isfinite(row).any()
        ),
        checks=(Check("last states of the whole network off the recorded ones", 0.0, strayed, REPLAYED * scale),),
    )


def _any_units(
    group: tuple[int, ...], others: np.ndarray, activity: np.ndarray, generator: np.random.Generator
) -> tuple[int, ...]:
    return tuple(map(int, generator.choice(others, len(group), replace=False)))


def _like_units(
    group: tuple[int, ...], others: np.ndarray, activity: np.ndarray, generator: np.random.Generator
) -> tuple[int, ...]:
    """For each unit, in random order, one of the five others nearest in activity that are not taken yet."""
    taken: list[int] = []
    for unit in generator.permutation(group):
        left = np.setdiff1d(others, taken)
        near = left[np.argsort(np.abs(activity[left] - activity[unit]), kind="stable")[:NEAREST]]
        taken.append(int(generator.choice(near)))
    return tuple(taken)


def _spoken(
    dynamics: Dynamics,
    says: Callable[[Tensor], Tensor],
    starts: Tensor,
    drives: Tensor | None,
    masks: Tensor,
    burn_in: int,
    steps: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Under each mask: changes of the output a step, (masks, runs); shares of the outputs, (masks, outputs); the last states
    under the first mask; rows that overflowed."""
    runs, rows = len(starts), len(masks) * len(starts)
    mask = masks.repeat_interleave(runs, 0)
    with torch.no_grad():
        now = mask * starts.repeat(len(masks), 1)
        changes = torch.zeros(rows, dtype=torch.int64, device=now.device)
        said = says(now).argmax(dim=1)
        counts = torch.zeros(rows, says(starts).shape[1], dtype=torch.int64, device=now.device)
        for step in range(1, steps):
            now = mask * dynamics(now, None if drives is None else drives[:, step - 1].repeat(len(masks), 1))
            logits = says(now)
            says_now = torch.where(torch.isfinite(logits).all(dim=1), logits.argmax(dim=1), said)
            if step > burn_in:
                changes += says_now != said
                counts[torch.arange(rows), says_now] += 1
            said = says_now
    finite = torch.isfinite(now).all(dim=1)
    per_run = (changes.double() / (steps - 1 - burn_in)).reshape(len(masks), runs)
    shares = counts.reshape(len(masks), runs, -1).sum(dim=1).double() / max(1, runs * (steps - 1 - burn_in))
    return per_run.cpu().numpy(), shares.cpu().numpy(), now[:runs].double().cpu().numpy(), int((~finite).sum())
