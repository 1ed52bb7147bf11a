"""The causal tests of a report: states exchanged between memories while the network runs, and units silenced."""

from __future__ import annotations

import numpy as np
import torch

from analyses.maps.unit_effects import unit_effects
from analyses.symbols.swap_test import swap_test
from hooks.dynamics import Dynamics
from hooks.trajectory import Trajectory
from interp.journal import Journal

SETTLE, SETTLED = (
    300,
    512,
)  # steps at rest after which a state is on its memory, and most states that are left alone so long
NEAR = 0.1  # of the smallest distance between two memories: a state this close is on one
EXCHANGED, HORIZON = 64, 20  # states, and steps run on after an exchange
WIDEST_SILENCED = 128  # units; of wider networks none is silenced
PIECES, PIECE = 16, 32  # runs, and steps of each, in which units are silenced
LARGEST = 6  # group of them
DRAWS = 99  # of every null


def causal_tests(
    journal: Journal,
    dynamics: Dynamics,
    held: Dynamics,
    trajectory: Trajectory,
    memories: list[np.ndarray],
    about: str = "",
) -> None:
    """Whether the memories are what the network itself goes by, and which units it says it with.

    Parameters
    ----------
    dynamics, held
        The network's map, and the same under the drive at which the memories rest.
    trajectory
        Of the driven map if it has drives, else of the held one.
    memories
        States of each, (period, dim). With fewer than two among those that the states lead to, none are exchanged.
    """
    running = dynamics if trajectory.drives is not None else held
    if len(memories) > 1:
        classes = memory_of(held, memories, trajectory)
        if len(np.unique(classes[classes >= 0])) > 1:
            horizon = min(HORIZON, trajectory.states.shape[1] // 2)
            title = f"{about}states exchanged between memories"
            journal.note(
                title, swap_test, running, trajectory, classes, horizon=horizon, states=EXCHANGED, partitions=DRAWS
            )
    runs = cut(trajectory, PIECE, PIECES)
    if dynamics.readout is not None and dynamics.dim <= WIDEST_SILENCED and len(runs.states) > 1:
        journal.note(f"{about}units silenced", unit_effects, running, runs, largest=LARGEST, controls=DRAWS)


def memory_of(held: Dynamics, memories: list[np.ndarray], trajectory: Trajectory) -> np.ndarray:
    """(runs, steps) the memory on which a state ends when left alone; -1 where on none, and for all but ``SETTLED`` states."""
    owner = np.repeat(np.arange(len(memories)), [len(orbit) for orbit in memories])
    phases = torch.as_tensor(np.concatenate(memories), dtype=held.dtype, device=held.device)
    between = torch.cdist(phases, phases)[torch.as_tensor(owner[:, None] != owner)]
    places = np.argwhere(trajectory.valid)
    places = places[np.unique(np.linspace(0, len(places) - 1, min(len(places), SETTLED)).astype(int))]
    states = torch.tensor(trajectory.states[tuple(places.T)], dtype=held.dtype, device=held.device)
    with torch.no_grad():
        gaps, nearest = torch.cdist(held.iterated(SETTLE)(states), phases).min(dim=1)
    on = (gaps <= NEAR * between.min()).cpu().numpy()
    classes = np.full(trajectory.states.shape[:2], -1)
    classes[tuple(places.T)] = np.where(on, owner[nearest.cpu().numpy()], -1)
    return classes


def cut(trajectory: Trajectory, steps: int, most: int) -> Trajectory:
    """Pieces of so many steps as runs of their own, evenly spaced over all that there are: shorter where the runs are, and at
    least two of one run."""
    assert trajectory.lengths is not None
    longest = int(trajectory.lengths.max(initial=0)) - 1
    steps = min(steps, max(1, longest // 2 if len(trajectory.states) == 1 else longest))
    places = [
        (run, first)
        for run, length in enumerate(trajectory.lengths.tolist())
        for first in range(0, length - steps, steps)
    ]
    kept = [places[i] for i in np.unique(np.linspace(0, len(places) - 1, min(len(places), most)).astype(int))]
    states = [trajectory.states[run, first : first + steps + 1] for run, first in kept]
    drives = None
    if trajectory.drives is not None:
        drives = np.array([trajectory.drives[run, first : first + steps] for run, first in kept]).reshape(
            len(kept), steps, trajectory.drives.shape[2]
        )
    return Trajectory(
        np.array(states).reshape(len(kept), steps + 1, trajectory.states.shape[2]),
        trajectory.clock,
        drives=drives,
        source=trajectory.source,
    )
