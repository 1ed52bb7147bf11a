"""A driven map that feeds on what it says: a forecaster in closed loop.

A forecaster is trained with the true value as its drive and says the next one. Left to itself it takes its own readout for
the drive; then it is an autonomous map of its hidden state, with equilibria, exponents and an attractor of its own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from hooks.dynamics import Dynamics, TensorLike
from hooks.errors import DrivenError, InputError


def closed_loop(dynamics: Dynamics) -> Dynamics:
    """The autonomous map x -> step(x, readout(x)).

    Parameters
    ----------
    dynamics
        A driven map whose readout is as wide as its drive: what it says in a state is what it takes for the next step.

    Returns
    -------
    Dynamics
        Of the same state, with the same readout. Its slope, by autograd, is J + (dF/du) (d readout / dx). A box that traps the
        driven map under any drive is not known to it, so there is none; nor has it layers, for the first hears the last.

    Raises
    ------
    DrivenError
        When the map takes no drive vector.
    InputError
        When it has no readout, or one of another width.
    """
    if not dynamics.inputs:
        raise DrivenError(f"{dynamics.name!r} takes no drive vector, so there is no loop to close")
    readout = dynamics.readout
    if readout is None:
        raise InputError(f"{dynamics.name!r} has no readout to drive it: give one where the map is made (readout=)")
    width = _width(dynamics)
    if width != dynamics.inputs:
        raise InputError(
            f"{dynamics.name!r} says {width} numbers but takes {dynamics.inputs}, so it cannot drive itself"
        )

    def step(states: TensorLike, _: Any) -> TensorLike:
        return dynamics.step(states, readout(states))

    return replace(
        dynamics, step=step, name=f"{dynamics.name}, in closed loop", driven=False, inputs=0,
        jacobian=None, push=None, box=None, layers=(),
        fingerprint=f"{dynamics.fingerprint}@" if dynamics.fingerprint else "", weights={},
    )  # fmt: skip


def _width(dynamics: Dynamics) -> int:
    assert dynamics.readout is not None
    with torch.no_grad():
        said = dynamics.readout(torch.zeros(1, dynamics.dim, dtype=dynamics.dtype, device=dynamics.device))
    return said.shape[1]
