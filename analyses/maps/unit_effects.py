"""Which units does what a network says depend on? Each is silenced alone, and the smallest group that matters is grown.

A unit, or a group of them that goes together (the h and c of an LSTM's unit), is held at its mean over the recorded states, or
at zero, before and after every step and for the readout (``hooks.intervention.ablate``), and the network runs again from the
recorded starts under the recorded drives. The effect is the root mean square, over runs and numbers, of the change of a
measure: what is said at every step, or what the caller makes of it, such as the share of steps at which the decision switches
(``switches``).

The group grows by the candidate that adds the most, until it does ``ENOUGH`` of what silencing every unit does. Growing looks
at every second run; what is reported of the group is its effect on the others, beside that of random groups of as many of the
remaining candidates whose activity (root mean square deviation from where they are held) is nearest. Units that stand in for
each other fully, so that silencing one alone changes nothing, are not found by growing.

The altered map itself is ``ablate(dynamics, result.group, mean_of=trajectory)``: its fixed points, exponents or machine are
found as those of any map.

Takes a map and a Trajectory with its drives; costs candidates x group x runs x steps, in batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from analyses.result import Check, Null, Result, axes_or_new, counted
from hooks.dynamics import Dynamics, as_drive, as_states
from hooks.errors import DrivenError, InputError
from hooks.intervention import as_units
from hooks.trajectory import Trajectory
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NUMBERS = 1 << 22  # held at once
ENOUGH = 0.9  # of the effect of silencing all units
TRIED = 20  # random groups drawn for each one kept

Measure = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class UnitEffects(Result):
    """What silencing units does.

    Attributes
    ----------
    members : (candidates, dim)
        Units of each candidate.
    effects : (candidates,)
        Of each candidate alone, over all runs; NaN where a run overflowed.
    activity : (candidates,)
        Root mean square deviation of its units from where they are held.
    measured : (candidates,)
        Mean of the measure without it.
    base
        Mean of the measure of the network itself.
    order : (grown,)
        Candidates in the order in which the group took them.
    grown : (grown,)
        Effect of the group after each, on the runs that growing did not see.
    every
        Effect of silencing all units, on these runs.
    runs, steps
        Run again for each candidate.
    nulls
        "random units": the effect of random groups of the size of the group, of nearest activity, on these runs. None where no
        group was grown, or there are no other candidates.
    checks
        The network run again is the record.
    """

    members: Bool[np.ndarray, "candidates dim"]
    effects: Float[np.ndarray, " candidates"]
    activity: Float[np.ndarray, " candidates"]
    measured: Float[np.ndarray, " candidates"]
    base: float
    order: Int[np.ndarray, " grown"]
    grown: Float[np.ndarray, " grown"]
    every: float
    runs: int
    steps: int
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    @property
    def group(self) -> np.ndarray:
        """(units,) of the group that was grown, ascending."""
        return np.flatnonzero(self.members[self.order].any(axis=0))

    @property
    def confirmed(self) -> bool:
        """Whether silencing the group does more than silencing random ones of its size and activity does."""
        return (
            bool(self.nulls) and self.nulls[0].beaten and self.nulls[0].observed > float(np.median(self.nulls[0].draws))
        )

    def summary(self) -> str:
        """How many units matter, which, how much of everything they do, and what random ones do."""
        dim = self.members.shape[1]
        if not len(self.order):
            return f"0 of {counted(dim, 'unit')} matter: no unit silenced alone changes the measure"
        group, share = self.group, self.grown[-1] / self.every if self.every else np.nan
        named = ", ".join(map(str, group[:12].tolist())) + (", ..." if len(group) > 12 else "")
        text = (
            f"{counted(len(group), 'unit')} of {dim} ({named}), silenced, changes the measure by {self.grown[-1]:.3g}"
            if len(group) == 1
            else f"{len(group)} of {counted(dim, 'unit')} ({named}), silenced, change the measure by {self.grown[-1]:.3g}"
        )
        text += f", {share:.0%} of what silencing all does; one alone by {np.nanmax(self.effects):.3g} at most"
        if not self.nulls:
            return f"{text}; there are no other units to compare with"
        null = self.nulls[0]
        text += (
            f"; {counted(len(null.draws), 'random group')} of this size and nearest activity by {np.median(null.draws):.3g}, "
            f"{null.draws.max():.3g} at most (p = {null.p:.2g})"
        )
        return text if self.confirmed else f"{text}: not shown to matter more than others"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Effect of each candidate against its activity, the group's in colour."""
        ax = axes_or_new(ax)
        ax.plot(self.activity, self.effects, ".", color="0.6")
        ax.plot(self.activity[self.order], self.effects[self.order], "o", color="C0")
        for number in self.order.tolist():
            units = np.flatnonzero(self.members[number]).tolist()
            at = (self.activity[number], self.effects[number])
            ax.annotate(", ".join(map(str, units[:3])), at, (5, 3), textcoords="offset points", fontsize=7)
        ax.set(xlabel="activity of the unit", ylabel="effect of silencing it alone")
        return ax


def unit_effects(
    dynamics: Dynamics,
    trajectory: Trajectory,
    *,
    candidates: Sequence[Any] | None = None,
    level: Any = None,
    measure: Measure | None = None,
    readout: Callable[[Tensor], Tensor] | None = None,
    largest: int = 8,
    controls: int = 199,
    generator: np.random.Generator | None = None,
    watch: Watch = quiet,
) -> UnitEffects:
    """Silence each unit of a network, and grow the smallest group on which what it says depends.

    Parameters
    ----------
    dynamics, trajectory
        The network and runs of it, two at least, with their drives if it takes any; cut to the shortest. Of a SymbolReader:
        ``reader.dynamics`` and ``reader.read(words)``.
    candidates
        Groups of units that are silenced together, each as ``hooks.intervention.ablate`` takes them; single units when left
        out.
    level
        Where silenced units are held, one number or (dim,); at their means over the trajectory when left out.
    measure
        What is said, (runs, steps + 1, outputs), to numbers (runs, any); the outputs themselves when left out.
    readout
        (batch, dim) -> (batch, outputs); the network's own when left out.
    largest
        Most candidates in the group.
    controls
        Most random groups.
    generator
        A fixed seed when left out.
    watch
        Wraps the rounds of growing: progress. Stopped early, the group is what was grown so far.

    Raises
    ------
    InputError
        When there is no readout, the states have another width, there are fewer than two runs or no step, a candidate is
        empty, or a number is below 1.
    DrivenError
        When the map takes drives and the trajectory holds none.
    """
    says = readout or dynamics.readout
    if says is None:
        raise InputError(f"{dynamics.name!r} has no readout to measure an effect on: pass readout=")
    if min(largest, controls) < 1:
        raise InputError(f"largest and controls are at least 1, but {largest} and {controls} came")
    assert trajectory.lengths is not None
    runs, steps = len(trajectory.states), int(trajectory.lengths.min(initial=1 << 30)) - 1
    if runs < 2 or steps < 1 or trajectory.states.shape[2] != dynamics.dim:
        raise InputError(
            f"two runs of a step at least, {dynamics.dim} wide, are needed: the group is grown on one half and judged on the "
            f"other; {trajectory.states.shape} of {steps} steps came"
        )
    if dynamics.driven and trajectory.drives is None:
        raise DrivenError(f"{dynamics.name!r} is driven, but the trajectory holds no drives")
    generator = generator or np.random.default_rng(0)
    members = _members(dynamics, candidates)
    points = trajectory.points()
    held = points.mean(axis=0) if level is None else np.asarray(level, dtype=np.float64)
    if held.shape not in ((), (dynamics.dim,)) or not np.isfinite(held).all():
        raise InputError(f"a level is one finite number or ({dynamics.dim},), but shape {held.shape} came")
    held = np.broadcast_to(held, dynamics.dim)
    spread = ((points - held) ** 2).mean(axis=0)
    activity = np.sqrt((members * spread).sum(axis=1) / np.maximum(members.sum(axis=1), 1))
    again = _Again(dynamics, trajectory, steps, says, measure or (lambda said: said.flatten(1)), held)

    base, strayed = again.base()
    single, measured = again.squares(members, base)
    all_units = again.squares(np.ones((1, dynamics.dim), dtype=bool), base)[0][0]
    seen, unseen = np.arange(runs) % 2 == 0, np.arange(runs) % 2 == 1
    order: list[int] = []
    for state in watch(_growth(again, members, base, single, all_units, seen, largest), largest):
        order = state
    groups = np.array([members[order[: size + 1]].any(axis=0) for size in range(len(order))]).reshape(-1, dynamics.dim)
    grown = _effect(again.squares(groups, base)[0][:, unseen])

    nulls: tuple[Null, ...] = ()
    if len(order) and len(order) < len(members):
        others = _matched(members, activity, order, controls, generator)
        draws = _effect(again.squares(others, base)[0][:, unseen])
        draws = draws[np.isfinite(draws)]
        if len(draws):
            nulls = (Null("random units", "any units of this activity do as much", "unit", draws, float(grown[-1])),)
    scale = max(1.0, float(np.abs(points).max(initial=0)))
    return UnitEffects(
        members=members,
        effects=_effect(single),
        activity=activity,
        measured=measured,
        base=float(base.mean()),
        order=np.array(order, dtype=np.int64),
        grown=grown,
        every=float(_effect(all_units[None, unseen])[0]),
        runs=runs,
        steps=steps,
        nulls=nulls,
        checks=(Check("unchanged runs off what was recorded", 0.0, strayed, 1e-6 * scale),),
    )


def switches(said: Float[Tensor, "runs steps outputs"]) -> Float[Tensor, "runs 1"]:
    """Share of steps at which the decision changes: the largest output, or the sign of the only one."""
    decided = (said > 0).long()[..., 0] if said.shape[2] == 1 else said.argmax(dim=2)
    return (decided[:, 1:] != decided[:, :-1]).double().mean(dim=1, keepdim=True)


def decisions(said: Float[Tensor, "runs steps outputs"]) -> Float[Tensor, "runs numbers"]:
    """Every decision as zeros and ones, one-hot if there are several outputs."""
    if said.shape[2] == 1:
        return (said[..., 0] > 0).double()
    return torch.nn.functional.one_hot(said.argmax(dim=2), said.shape[2]).double().flatten(1)


@dataclass(frozen=True, eq=False)
class _Again:
    """The recorded runs, with units held where they are to be."""

    dynamics: Dynamics
    trajectory: Trajectory
    steps: int
    says: Callable[[Tensor], Tensor]
    measure: Measure
    level: np.ndarray

    def base(self) -> tuple[Tensor, float]:
        """(runs, numbers) measure of the network itself, and how far it leaves the record."""
        unaltered = torch.ones(1, self.dynamics.dim, dtype=self.dynamics.dtype, device=self.dynamics.device)
        states, said = self._run(unaltered, torch.zeros_like(unaltered))
        recorded = self.trajectory.states[:, : self.steps + 1]
        return self.measure(said).double().cpu(), float(np.abs(states.double().cpu().numpy() - recorded).max())

    def squares(self, silent: np.ndarray, base: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Without each group (groups, dim): mean squared change of the measure (groups, runs), and its mean (groups,)."""
        runs = len(self.trajectory.states)
        width = max(1, NUMBERS // (runs * (self.steps + 1) * self.dynamics.dim))
        level = torch.tensor(self.level, dtype=self.dynamics.dtype, device=self.dynamics.device)
        changed, measured = [np.zeros((0, runs))], [np.zeros(0)]
        for first in range(0, len(silent), width):
            held = torch.as_tensor(silent[first : first + width]).to(level)
            measure = self.measure(self._run(1 - held, held * level)[1]).double().cpu()
            measure = measure.reshape(len(held), runs, -1)
            changed.append((measure - base).square().mean(dim=2).numpy())
            measured.append(measure.mean(dim=(1, 2)).numpy())
        return np.concatenate(changed), np.concatenate(measured)

    def _run(self, gain: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        """States (groups x runs, steps + 1, dim), altered, and what is said in them."""
        runs = len(self.trajectory.states)
        gain, offset = gain.repeat_interleave(runs, 0), offset.repeat_interleave(runs, 0)
        groups = len(gain) // runs
        now = as_states(self.dynamics, self.trajectory.states[:, 0]).repeat(groups, 1) * gain + offset
        drives = self.trajectory.drives if self.dynamics.driven else None
        visited = [now]
        with torch.no_grad():
            for t in range(self.steps):
                drive = None if drives is None else as_drive(self.dynamics, drives[:, t]).repeat(groups, 1)
                now = self.dynamics(now, drive) * gain + offset
                visited.append(now)
            states = torch.stack(visited, dim=1)
            said = self.says(states.flatten(0, 1)).unflatten(0, states.shape[:2])
        return states, said


def _growth(
    again: _Again,
    members: np.ndarray,
    base: Tensor,
    single: np.ndarray,
    all_units: np.ndarray,
    seen: np.ndarray,
    largest: int,
) -> Iterator[list[int]]:
    """The group after each round, as long as it gains and does less than enough."""
    order: list[int] = []
    reached, enough = 0.0, ENOUGH * float(_effect(all_units[None, seen])[0])
    effects = _effect(single[:, seen])
    while len(order) < min(largest, len(members)):
        effects[order] = np.nan
        if not np.nanmax(effects, initial=0.0) > reached:
            return
        order = [*order, int(np.nanargmax(effects))]
        reached = float(effects[order[-1]])
        yield order
        if reached >= enough:
            return
        effects = _effect(again.squares(members[order].any(axis=0) | members, base)[0][:, seen])


def _effect(squares: np.ndarray) -> np.ndarray:
    """(groups,) root of the mean over runs; NaN where it is not finite."""
    mean = np.sqrt(squares.mean(axis=1))
    return np.where(np.isfinite(mean), mean, np.nan)


def _members(dynamics: Dynamics, candidates: Sequence[Any] | None) -> np.ndarray:
    if candidates is None:
        return np.eye(dynamics.dim, dtype=bool)
    members = np.zeros((len(candidates), dynamics.dim), dtype=bool)
    for row, units in zip(members, candidates, strict=True):
        row[as_units(dynamics, units)] = True
    if not len(members) or not members.any(axis=1).all():
        raise InputError("a candidate is a unit at least, and one candidate at least is silenced")
    return members


def _matched(
    members: np.ndarray, activity: np.ndarray, order: list[int], count: int, generator: np.random.Generator
) -> np.ndarray:
    """(groups, dim): different groups of as many of the other candidates, of all that were drawn those of nearest activity."""
    others = np.setdiff1d(np.arange(len(members)), order)
    size = min(len(order), len(others))
    tried = TRIED * count
    if comb(len(others), size) <= tried:
        groups = np.array(list(islice(combinations(others.tolist(), size), tried)))
    else:
        drawn = generator.random((tried, len(others))).argsort(axis=1)[:, :size]
        groups = np.unique(np.sort(others[drawn], axis=1), axis=0)
        groups = groups[generator.permutation(len(groups))]
    wanted = np.sqrt((activity[order] ** 2).mean())
    off = np.abs(np.sqrt((activity[groups] ** 2).mean(axis=1)) - wanted)
    return np.array([members[group].any(axis=0) for group in groups[np.argsort(off, kind="stable")[:count]]])
