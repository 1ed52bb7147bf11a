"""What drives a network, and the states that it then visits."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from hooks.dynamics import Dynamics, rollout
from hooks.errors import InputError
from hooks.trajectory import Trajectory

MOST_PULSES = 16


def driving_inputs(dynamics: Dynamics, inputs: Any) -> np.ndarray:
    """Inputs as (runs, steps, inputs) float64, or a refusal that says what came."""
    array = np.asarray(inputs)
    if not dynamics.inputs:
        raise InputError(f"{dynamics.name} takes no inputs, but an array of shape {array.shape} came")
    if array.dtype.kind != "f":
        raise InputError(
            f"inputs are floating-point numbers, but {array.dtype} came: convert with inputs.astype(float)"
        )
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[2] != dynamics.inputs:
        raise InputError(
            f"inputs have shape (runs, steps, {dynamics.inputs}) or (steps, {dynamics.inputs}), but {np.shape(inputs)} came"
        )
    if 0 in array.shape:
        raise InputError(f"the inputs are empty: shape {np.shape(inputs)}")
    if not np.isfinite(array).all():
        raise InputError(f"{int((~np.isfinite(array)).sum())} input values are not finite")
    return array.astype(np.float64)


def visited(
    dynamics: Dynamics, initial: np.ndarray | None, inputs: np.ndarray | None, seed: int
) -> tuple[Trajectory, tuple[str, ...]]:
    """States the network visits, under its inputs or at rest, and what was assumed to get them."""
    if inputs is not None:
        start = np.zeros(dynamics.dim) if initial is None else initial
        note = "The portrait is along the inputs; fixed points, cycles, basins and exponents are those with the drive at zero."
        return rollout(dynamics, np.tile(start, (len(inputs), 1)), drives=inputs), (note,)
    held = dynamics.hold(np.zeros(dynamics.inputs)) if dynamics.driven else dynamics
    generator = torch.Generator().manual_seed(seed)
    box = None if held.box is None else held.box(None)
    if box is None:
        starts = torch.randn(64, dynamics.dim, generator=generator, dtype=torch.float64)
        where = "64 standard normal states"
    else:
        low, high = (side.double().cpu() for side in box)
        starts = low + (high - low) * torch.rand(64, dynamics.dim, generator=generator, dtype=torch.float64)
        where = "64 states drawn in its trapping box"
    drive = (
        "No inputs were given: the drive is held at zero, and pulses are +1 and -1 on each channel. "
        if dynamics.driven
        else ""
    )
    return rollout(held, starts, steps=100), (f"{drive}Runs start from {where}.",)


def pulses_of(inputs: np.ndarray | None, rest: np.ndarray) -> dict[str, np.ndarray]:
    """Kicks of one input channel at a time: the values it takes in the data when they are few, else its extremes.

    Without data, +1 and -1 on each of the first channels.
    """
    kicks: dict[str, np.ndarray] = {}
    for channel in range(min(len(rest), MOST_PULSES // 2)):
        if inputs is None:
            values = rest[channel] + np.array([1.0, -1.0])
        else:
            seen = np.unique(inputs[..., channel])
            values = seen if len(seen) <= 4 else seen[[0, -1]]
        for value in sorted(values[values != rest[channel]], reverse=True):
            kick = rest.copy()
            kick[channel] = value
            kicks[f"{value:+g} on {channel + 1}"] = kick
    return kicks
