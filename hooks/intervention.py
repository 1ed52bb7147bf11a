"""Interventions: a map with some of its units silenced, held, scaled or pushed is a map again, so every analysis applies to it.

After each step the state's coordinates are altered, x_i -> a_i x_i + b_i. Ablating and clamping (a = 0) alter the state before
the step and for the readout too, so that no start carries in what the network is to do without: x -> A(F(A(x))), read out as
A(x). Scaling and pushing alter what a step leaves, once: x -> A(F(x)).

A unit is a coordinate of the state. What a step reads of its own new state within itself is not altered: the next layer of a
stack hears a silenced unit's answer to that step, and the h of an LSTM its c, so there silence both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hooks.dynamics import Box, Dynamics, TensorLike, digest
from hooks.errors import InputError
from hooks.trajectory import Trajectory


def ablate(dynamics: Dynamics, units: Any, *, mean_of: Trajectory | None = None) -> Dynamics:
    """The map without what these units tell: they are zero, or at their mean, always.

    Parameters
    ----------
    units : whole numbers, or (dim,) bool
    mean_of
        States over which the mean of each unit is taken; zero when left out. The mean removes what a unit tells apart and
        keeps what it adds to every state.

    Raises
    ------
    InputError
        For a unit that the map does not have, or a trajectory of another width or without states.
    """
    chosen = as_units(dynamics, units)
    if mean_of is None:
        return clamp(dynamics, chosen, 0.0)
    seen = mean_of.points()
    if seen.shape[1] != dynamics.dim or not len(seen):
        raise InputError(f"means are of states {dynamics.dim} wide, one at least, but {seen.shape} came")
    return clamp(dynamics, chosen, seen.mean(axis=0)[chosen])


def clamp(dynamics: Dynamics, units: Any, values: Any) -> Dynamics:
    """The map with these units held at ``values``, one number or (units,), before and after every step and for the readout.

    A trapping box is kept where the values lie in it. Raises InputError for a unit that the map does not have, or values that
    do not fit or are not finite.
    """
    chosen = as_units(dynamics, units)
    gain, offset = _identity(dynamics)
    gain[chosen], offset[chosen] = 0.0, _values(dynamics, chosen, values, "values")
    return _altered(dynamics, gain, offset, f"{_counted(chosen)} held", always=True)


def scaled(dynamics: Dynamics, units: Any, factor: Any) -> Dynamics:
    """The map in which what a step leaves in these units is multiplied by ``factor``, one number or (units,).

    Every reader of the state hears the scaled unit. Raises InputError as ``clamp`` does.
    """
    chosen = as_units(dynamics, units)
    gain, offset = _identity(dynamics)
    gain[chosen] = _values(dynamics, chosen, factor, "factors")
    return _altered(dynamics, gain, offset, f"{_counted(chosen)} scaled", always=False)


def perturb(dynamics: Dynamics, push: Any) -> Dynamics:
    """The map in which ``push``, one number or (dim,), is added to the state after every step. InputError as ``clamp``."""
    gain, offset = _identity(dynamics)
    every = np.arange(dynamics.dim)
    offset[:] = _values(dynamics, every, push, "pushes")
    return _altered(dynamics, gain, offset, "pushed", always=False)


def perturbable(dynamics: Dynamics, units: Any) -> Dynamics:
    """The map that takes, after its own drive if it has one, a push for each of these units, added after the step.

    Noise, or a pulse at one moment, is then a drive like any other, and the map stays deterministic.

    Raises
    ------
    InputError
        For a unit that the map does not have, or a map whose drive is no vector.
    """
    if dynamics.driven and not dynamics.inputs:
        raise InputError(f"{dynamics.name!r} takes a drive that is no vector, so pushes cannot stand beside it")
    chosen, inputs = as_units(dynamics, units), dynamics.inputs
    spread = torch.eye(dynamics.dim, dtype=dynamics.dtype, device=dynamics.device)[torch.as_tensor(chosen)]
    jacobian, push = dynamics.jacobian, dynamics.push

    def own(drive: Tensor) -> Tensor | None:
        return drive[..., :inputs] if dynamics.driven else None

    def step(states: TensorLike, drive: Any) -> TensorLike:
        return dynamics.step(states, own(drive)) + drive[..., inputs:] @ spread

    def carried(states: Tensor, tangents: Tensor, drive: Any) -> tuple[Tensor, Tensor]:
        assert push is not None
        after, moved = push(states, tangents, own(drive))
        return after + drive[..., inputs:] @ spread, moved

    return replace(
        dynamics,
        step=step,
        name=f"{dynamics.name}, {_counted(chosen)} open to pushes",
        driven=True,
        inputs=inputs + len(chosen),
        flow=False,
        jacobian=None if jacobian is None else lambda states, drive: jacobian(states, own(drive)),
        push=None if push is None else carried,
        box=None,
        fingerprint=f"{dynamics.fingerprint}+{digest('open', chosen.tolist())[:8]}" if dynamics.fingerprint else "",
        weights={},
    )


def as_units(dynamics: Dynamics, units: Any) -> np.ndarray:
    """(units,) different whole numbers, of coordinates given by number, in that order, or by a (dim,) mask.

    Raises InputError for others.
    """
    given = np.atleast_1d(units.detach().cpu().numpy() if isinstance(units, Tensor) else np.asarray(units))
    if given.dtype == bool and given.shape == (dynamics.dim,):
        return np.flatnonzero(given)
    if not given.size:
        return np.zeros(0, dtype=np.int64)
    if given.ndim != 1 or given.dtype.kind not in "iu" or given.min() < 0 or given.max() >= dynamics.dim:
        raise InputError(
            f"units of {dynamics.name!r} are numbers 0 to {dynamics.dim - 1} or a mask ({dynamics.dim},), but "
            f"{given.dtype} {given[:8].tolist()} of shape {given.shape} came"
        )
    if len(np.unique(given)) != len(given):
        raise InputError(f"each unit is named once, but {given.tolist()} came")
    return given.astype(np.int64)


def _altered(dynamics: Dynamics, gain: Tensor, offset: Tensor, what: str, *, always: bool) -> Dynamics:
    jacobian, push, readout, box = dynamics.jacobian, dynamics.push, dynamics.readout, dynamics.box

    def alter(states: TensorLike) -> TensorLike:
        return states * gain + offset

    before: Callable[[TensorLike], TensorLike] = alter if always else lambda states: states
    entering = gain if always else torch.ones_like(gain)

    def slope(states: Tensor, drive: Any) -> Tensor:
        assert jacobian is not None
        return gain[:, None] * jacobian(before(states), drive) * entering

    def carried(states: Tensor, tangents: Tensor, drive: Any) -> tuple[Tensor, Tensor]:
        assert push is not None
        after, moved = push(before(states), entering[:, None] * tangents, drive)
        return alter(after), gain[:, None] * moved

    def within(drive: Any) -> Box | None:
        """The map's own box where altering takes it into itself."""
        own = None if box is None else box(drive)
        if own is None:
            return None
        low, high = own
        ends = torch.stack([alter(low), alter(high)])
        return own if bool(((ends >= low) & (ends <= high)).all()) else None

    return replace(
        dynamics,
        step=lambda states, drive: alter(dynamics.step(before(states), drive)),
        name=f"{dynamics.name}, {what}",
        flow=False,
        jacobian=None if jacobian is None else slope,
        push=None if push is None else carried,
        readout=None if readout is None else lambda states: readout(before(states)),
        box=None if box is None else within,
        fingerprint=f"{dynamics.fingerprint}+{digest(gain, offset, always)[:8]}" if dynamics.fingerprint else "",
        weights={},
    )


def _identity(dynamics: Dynamics) -> tuple[Tensor, Tensor]:
    gain = torch.ones(dynamics.dim, dtype=dynamics.dtype, device=dynamics.device)
    return gain, torch.zeros_like(gain)


def _values(dynamics: Dynamics, chosen: np.ndarray, values: Any, what: str) -> Tensor:
    given = torch.as_tensor(np.array(values) if not isinstance(values, Tensor) else values.detach())
    given = given.to(dtype=dynamics.dtype, device=dynamics.device)
    if given.shape not in ((), (len(chosen),)) or not torch.isfinite(given).all():
        raise InputError(
            f"{what} are one finite number or ({len(chosen)},), but {given.flatten()[:4].tolist()} of shape "
            f"{tuple(given.shape)} came"
        )
    return given.expand(len(chosen))


def _counted(units: np.ndarray) -> str:
    return f"unit {units[0]}" if len(units) == 1 else f"{len(units)} units"
