"""Which input takes which memory to which? The mechanism itself, as a table and a graph.

Each memory (an attractor of the map at rest) is kicked by each pulse, held for some steps, and left to settle at rest; where
it ends is looked up among the memories: the one whose nearest state is within a tenth of the smallest distance between two
memories (with a single memory, within 0.1). A memory that is a cycle is kicked in every phase. Controls: without a pulse each
memory must keep itself, and the table is made again with pulses 0.8 and 1.25 times as far from rest.

Takes (driven dynamics, memories); costs (hold + settle) steps of phases x (3 pulses + 1) states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from analyses.result import Check, Result, axes_or_new
from hooks.dynamics import Dynamics, as_drive, as_states
from hooks.errors import DrivenError, InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NOWHERE, DEPENDS = -1, -2
NEAR = 0.1  # of the smallest distance between two memories: a state this close has settled on one
SCALES = (0.8, 1.25)  # weaker and stronger pulses of the robustness control


@dataclass(frozen=True, eq=False)
class Transitions(Result):
    """Where each pulse takes each memory.

    Attributes
    ----------
    targets : (memories, pulses)
        The memory reached; -1 for none of them, -2 when it depends on the phase of a cycle.
    robust : (memories, pulses)
        Whether a memory is reached, and pulses 0.8 and 1.25 times as far from rest reach the same.
    pulses : (pulses, inputs)
        The whole drive while the pulse is held, the part at rest included.
    memory_names, pulse_names
        What the table calls them.
    hold, settle
        Steps the pulse is held, and steps at rest after it.
    checks
        Without a pulse every memory keeps itself.
    """

    targets: Int[np.ndarray, "memories pulses"]
    robust: Bool[np.ndarray, "memories pulses"]
    pulses: Float[np.ndarray, "pulses inputs"]
    memory_names: tuple[str, ...]
    pulse_names: tuple[str, ...]
    hold: int
    settle: int
    checks: tuple[Check, ...]

    @property
    def deterministic(self) -> bool:
        """Whether every pulse takes every memory to one memory: a finite automaton."""
        return bool((self.targets >= 0).all())

    @property
    def setting(self) -> np.ndarray:
        """(pulses,) bool: every memory is taken to one, and a second application stays there, as when a pulse sets a value."""
        rows, pulses = self.targets.shape
        twice = np.stack([self.targets[self.targets[:, p].clip(min=0), p] for p in range(pulses)], axis=1).reshape(
            rows, pulses
        )
        return ((twice == self.targets) & (self.targets >= 0)).all(axis=0)

    def summary(self) -> str:
        """How many of the kicks end on a memory, how many change it, how many are robust."""
        landed = self.targets >= 0
        changed = landed & (self.targets != np.arange(len(self.targets))[:, None])
        text = f"{landed.sum()} of {landed.size} kicks end on a known memory; {changed.sum()} change it"
        text += f"; {self.robust.sum()} end in the same place at 0.8 and 1.25 of the pulse"
        if (self.targets == DEPENDS).any():
            text += f"; {(self.targets == DEPENDS).sum()} depend on the phase of the cycle"
        return text

    def to_networkx(self) -> nx.MultiDiGraph:
        """Memories as nodes, kicks that end on one as edges with the key ``pulse``."""
        graph = nx.MultiDiGraph()
        graph.add_nodes_from(self.memory_names)
        for (memory, pulse), target in np.ndenumerate(self.targets):
            if target >= 0:
                graph.add_edge(self.memory_names[memory], self.memory_names[target], pulse=self.pulse_names[pulse])
        return graph

    def plot(self, ax: Axes | None = None) -> Axes:
        """The table: rows are memories, columns pulses, entries the memory reached; a dot where not robust."""
        ax = axes_or_new(ax)
        changed = (self.targets >= 0) & (self.targets != np.arange(len(self.targets))[:, None])
        if self.targets.size:
            ax.imshow(np.where(self.targets < 0, 0.5, changed), cmap="Blues", vmin=0, vmax=3, aspect="auto")
        for (row, column), target in np.ndenumerate(self.targets):
            name = {NOWHERE: "none", DEPENDS: "phase"}.get(int(target), self.memory_names[max(target, 0)])
            ax.text(
                column,
                row,
                name + ("" if self.robust[row, column] else " ·"),
                ha="center",
                va="center",
                fontsize=7,
            )
        ax.set_xticks(range(len(self.pulse_names)), self.pulse_names, fontsize=7)
        ax.set_yticks(range(len(self.memory_names)), self.memory_names, fontsize=7)
        ax.set(xlabel="pulse", ylabel="memory")
        return ax


def transitions(
    dynamics: Dynamics,
    memories: Sequence[Any],
    pulses: Any,
    *,
    rest: Any,
    memory_names: Sequence[str] | None = None,
    pulse_names: Sequence[str] | None = None,
    hold: int = 1,
    settle: int = 500,
) -> Transitions:
    """Kick every memory with every pulse and look where it settles.

    Parameters
    ----------
    dynamics
        The driven map.
    memories
        Attractors at rest: each the states of one in order, (period, dim), a fixed point (1, dim).
    pulses : (pulses, inputs)
        Drives, each held for ``hold`` steps in place of ``rest``.
    rest : (inputs,)
        The drive after the pulse, and in the control.
    memory_names, pulse_names
        Of the table, all different; M1, M2, ... and P1, P2, ... when left out.
    hold, settle
        Steps of the pulse, and steps at rest after it.

    Returns
    -------
    Transitions
        (0, pulses) or (memories, 0) when there is nothing to kick or to kick with.

    Raises
    ------
    DrivenError
        For a map without a drive.
    InputError
        For memories or pulses of the wrong width, or names that do not match them in number.
    """
    if not dynamics.inputs:
        raise DrivenError(f"transitions need a map with a drive to kick it through, and {dynamics.name!r} has none")
    orbits = [as_states(dynamics, orbit) for orbit in memories]
    kicks, still = as_drive(dynamics, pulses), as_drive(dynamics, rest)
    if kicks.ndim != 2:
        raise InputError(f"pulses have shape (pulses, {dynamics.inputs}), but {tuple(kicks.shape)} came")
    memory_names = tuple(memory_names or (f"M{i + 1}" for i in range(len(orbits))))
    pulse_names = tuple(pulse_names or (f"P{i + 1}" for i in range(len(kicks))))
    for kind, names, count in (("memories", memory_names, len(orbits)), ("pulses", pulse_names, len(kicks))):
        if len(names) != count or len(set(names)) != count:
            raise InputError(f"{count} {kind} need {count} different names, but {list(names)} came")

    def table(scale: float) -> np.ndarray:
        return _table(dynamics, orbits, still + scale * (kicks - still), still, hold, settle)

    targets = table(1.0)
    robust = (targets >= 0) & np.all([table(scale) == targets for scale in SCALES], axis=0)
    kept = _table(dynamics, orbits, still[None], still, hold, settle)[:, 0]
    lost = int((kept != np.arange(len(orbits))).sum())
    return Transitions(
        targets=targets,
        robust=robust,
        pulses=kicks.double().cpu().numpy(),
        memory_names=memory_names,
        pulse_names=pulse_names,
        hold=hold,
        settle=settle,
        checks=(Check("memories lost without a pulse", 0.0, float(lost), 0.0),),
    )


def _table(dynamics: Dynamics, orbits: list[Tensor], kicks: Tensor, rest: Tensor, hold: int, settle: int) -> np.ndarray:
    """(memories, kicks): the memory every phase ends on, NOWHERE, or DEPENDS."""
    shape = (len(orbits), len(kicks))
    if 0 in shape:
        return np.zeros(shape, dtype=np.int64)
    phases = torch.cat(orbits)
    owner = torch.cat([torch.full((len(orbit),), i) for i, orbit in enumerate(orbits)]).to(phases.device)
    states = phases.repeat_interleave(len(kicks), 0)
    drives = kicks.repeat(len(phases), 1)
    with torch.no_grad():
        for _ in range(hold):
            states = dynamics(states, drives)
        for _ in range(settle):
            states = dynamics(states, rest)
    distances = torch.cdist(states, phases)
    nearest, which = distances.min(dim=1)
    apart = torch.cdist(phases, phases)[owner[:, None] != owner[None, :]]
    near = NEAR * (float(apart.min()) if len(apart) else 1.0)
    ends = torch.where(nearest <= near, owner[which], NOWHERE).reshape(len(phases), len(kicks)).cpu().numpy()
    targets = np.full(shape, DEPENDS, dtype=np.int64)
    for memory in range(len(orbits)):
        rows = ends[owner.cpu().numpy() == memory]
        same = (rows == rows[0]).all(axis=0)
        targets[memory, same] = rows[0, same]
    return targets
