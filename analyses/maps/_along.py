"""Jacobians along recorded runs, for the analyses that multiply them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from hooks.dynamics import Dynamics, as_drive, as_states, autonomous
from hooks.errors import InputError
from hooks.tangent import jacobian
from hooks.trajectory import Trajectory

ENTRIES = 1 << 24  # slope entries that autograd holds at once


def slopes_along(dynamics: Dynamics, states: Any, drives: Any, analysis: str) -> list[np.ndarray]:
    """Of each run, its (steps, dim, dim) Jacobians in float64: at every state of an autonomous map; of a driven one, at every
    state that has a drive.

    ``states`` is a Trajectory with its own drives, or (steps, dim) or (runs, steps, dim) with ``drives`` (steps, inputs) or
    (runs, steps, inputs), one a state.
    """
    runs, driving = _runs(dynamics, states, drives, analysis)
    part = max(1, ENTRIES // dynamics.dim**2)
    slopes = []
    for number, run in enumerate(runs):
        drive = None if driving is None else driving[number]
        pieces = [
            jacobian(dynamics, run[first : first + part], None if drive is None else drive[first : first + part])
            for first in range(0, len(run), part)
        ]
        pieces.append(run.new_zeros(0, dynamics.dim, dynamics.dim))
        slopes.append(torch.cat(pieces).double().cpu().numpy())
    return slopes


def _runs(dynamics: Dynamics, states: Any, drives: Any, analysis: str) -> tuple[list[Tensor], list[Tensor] | None]:
    if isinstance(states, Trajectory):
        if drives is not None:
            raise InputError(f"{analysis} reads the drives of a trajectory, so it takes none beside it")
        assert states.lengths is not None
        if not dynamics.driven:
            kept = states.lengths
            given = None
        elif states.drives is None:
            raise InputError(
                f"{dynamics.name!r} takes a drive at every step, but the trajectory {states.source!r} has none"
            )
        else:
            kept = states.lengths - 1
            given = [as_drive(dynamics, drive[:steps]) for drive, steps in zip(states.drives, kept, strict=True)]
        return [_states(dynamics, run[:steps]) for run, steps in zip(states.states, kept, strict=True)], given

    stacked = torch.as_tensor(np.array(states) if not isinstance(states, Tensor) else states.detach())
    stacked = stacked[None] if stacked.ndim == 2 else stacked
    if stacked.ndim != 3:
        raise InputError(f"{analysis} takes runs of states (runs, steps, dim), but {tuple(stacked.shape)} came")
    if drives is None:
        autonomous(dynamics, f"{analysis} without drives")
        return [_states(dynamics, run) for run in stacked], None
    driving = as_drive(dynamics, drives)
    driving = driving[None] if driving.ndim == 2 else driving
    if driving.shape[:2] != stacked.shape[:2]:
        raise InputError(
            f"{analysis} takes one drive a state, {tuple(stacked.shape[:2])} of them, but {tuple(driving.shape)} came"
        )
    return [_states(dynamics, run) for run in stacked], list(driving)


def _states(dynamics: Dynamics, run: Any) -> Tensor:
    return as_states(dynamics, run if len(run) else np.zeros((0, dynamics.dim)))
