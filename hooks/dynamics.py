"""Dynamics: a network read as a map, the one noun that every analysis takes.

A family (``hooks/families``) is a function from a network to a ``Dynamics``; an intervention is a function from a
``Dynamics`` to another. Analyses never ask where the map came from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hooks.errors import DrivenError, InputError
from hooks.trajectory import Clock, Trajectory

Box = tuple[Tensor, Tensor]
TensorLike = Any  # what a step takes and gives: a Tensor, or an enclosure that answers torch functions in its place


@dataclass(frozen=True, eq=False)
class Dynamics:
    """One step of a network: ``step(states, drive) -> next states``, for a batch of independent states.

    Parameters
    ----------
    step
        (batch, dim) states and a drive -> (batch, dim). Must keep the invariants of ``hooks.contract``.
    dim
        Coordinates of a state.
    name, clock, dt
        What to call it; what one step is; clock units per step (flows).
    flow
        Whether a step is the flow of a vector field over ``dt``. Without a drive, or under a held one, such a map carries its
        own velocity along, so that off every equilibrium one exponent is zero.
    driven
        Whether every step needs a drive. Freeze one with ``hold``.
    inputs
        Width of the drive vector; 0 when there is none or it is not a vector. A drive is (inputs,) for the
        whole batch or (batch, inputs).
    dtype, device
        Of the states.
    jacobian
        Hand-written (states, drive) -> (batch, dim, dim); ``hooks.tangent`` uses autograd otherwise.
    push
        Hand-written (states, tangents, drive) -> (next states, carried tangents), for ``hooks.tangent.push``.
    readout
        What the network says in a state: (batch, dim) -> (batch, outputs).
    box
        drive -> (lower, upper), each (dim,): a box that the step under this drive maps into itself, so that every
        fixed point in it can be counted; None when no such box is known. It may return None for a drive.
    fingerprint
        Digest of weights and settings, of a held drive too; names saved work.
    layers
        The layer of each coordinate, where a layer's next state depends on its own state and on layers of lower number alone;
        empty where nothing is claimed.
    weights
        Tensors and settings from which ``hooks.families.rebuilt`` makes the map again; empty where only code does.
    """

    step: Callable[[TensorLike, Any], TensorLike]
    dim: int
    name: str = "map"
    clock: Clock = "time"
    driven: bool = False
    inputs: int = 0
    dt: float = 1.0
    flow: bool = False
    dtype: torch.dtype = torch.float64
    device: str = "cpu"
    jacobian: Callable[[Tensor, Any], Tensor] | None = None
    push: Callable[[Tensor, Tensor, Any], tuple[Tensor, Tensor]] | None = None
    readout: Callable[[Tensor], Tensor] | None = None
    box: Callable[[Any], Box | None] | None = None
    fingerprint: str = ""
    layers: tuple[int, ...] = ()
    weights: Mapping[str, Tensor | str | int] = field(default_factory=dict)

    def __call__(self, states: Float[Tensor, "batch dim"], drive: Any = None) -> Float[Tensor, "batch dim"]:
        """The states one step later. Raises DrivenError when a drive is needed and none came."""
        if self.driven and drive is None:
            raise DrivenError(
                f"{self.name!r} takes a drive at every {self.clock} step and none came. "
                f"Pass drive=, or freeze one: dynamics.hold(drive)."
            )
        return self.step(states, drive)

    def hold(self, drive: Any) -> Dynamics:
        """The autonomous map under one constant drive, (inputs,).

        Raises
        ------
        DrivenError
            When the map takes no drive.
        InputError
            When the drive has another width, is a batch of drives, or is not finite.
        """
        if not self.driven:
            raise DrivenError(f"{self.name!r} takes no drive, so there is none to hold")
        held = as_drive(self, drive)
        if self.inputs and held.ndim > 1:
            raise InputError(f"hold takes one drive, but an array of shape {tuple(held.shape)} came")
        jacobian, push, box = self.jacobian, self.push, self.box
        return replace(
            self,
            fingerprint=f"{self.fingerprint}.{digest(held)[:8]}" if self.fingerprint else "",
            weights={**self.weights, "drive": held} if self.weights and isinstance(held, Tensor) else {},
            step=lambda states, _: self.step(states, held),
            driven=False,
            inputs=0,
            jacobian=None if jacobian is None else lambda states, _: jacobian(states, held),
            push=None if push is None else lambda states, tangents, _: push(states, tangents, held),
            box=None if box is None else lambda _: box(held),
        )

    def iterated(self, times: int) -> Dynamics:
        """The map F applied ``times`` times under the same drive; its fixed points are F's cycles.

        Raises
        ------
        InputError
            When ``times`` is below 1.
        """
        if times < 1:
            raise InputError(f"a map is iterated at least once, not {times} times")
        if times == 1:
            return self
        return replace(
            in_turn(self, lambda drive: repeat(drive, times)),
            name=f"{self.name}, {times} steps",
            fingerprint=f"{self.fingerprint}^{times}" if self.fingerprint else "",
            dt=self.dt * times,
        )

    def through(
        self, encode: Callable[[TensorLike], TensorLike], decode: Callable[[TensorLike], TensorLike]
    ) -> Dynamics:
        """The map of codes, z -> encode(step(decode(z))): the network's own only as far as decoding undoes encoding.

        ``hooks.coordinates`` has the conditions, and ``unexplained`` for what is lost. Raises InputError when encode and decode
        do not fit the states.
        """
        from hooks.coordinates import through

        return through(self, encode, decode)


def in_turn(dynamics: Dynamics, drives: Callable[[Any], Iterable[Any]]) -> Dynamics:
    """The map that takes one step under each of ``drives(drive)``, in order; a hand-written slope and push are kept."""
    jacobian, push = dynamics.jacobian, dynamics.push

    def step(states: TensorLike, drive: Any) -> TensorLike:
        for one in drives(drive):
            states = dynamics.step(states, one)
        return states

    def product(states: Tensor, drive: Any) -> Tensor:
        assert jacobian is not None
        total = None
        for one in drives(drive):
            slope = jacobian(states, one)
            total = slope if total is None else slope @ total
            states = dynamics.step(states, one)
        assert total is not None
        return total

    def carried(states: Tensor, tangents: Tensor, drive: Any) -> tuple[Tensor, Tensor]:
        assert push is not None
        for one in drives(drive):
            states, tangents = push(states, tangents, one)
        return states, tangents

    return replace(
        dynamics,
        step=step,
        jacobian=None if jacobian is None else product,
        push=None if push is None else carried,
        weights={},
    )


def digest(*settings: Any) -> str:
    """A short name for weights and settings: equal bytes, equal name."""
    sha = hashlib.sha256()
    for setting in settings:
        if isinstance(setting, Tensor):
            array = setting.detach().double().cpu().contiguous().numpy()
            sha.update(str(array.shape).encode())
            sha.update(array.data)
        else:
            sha.update(repr(setting).encode())
    return sha.hexdigest()[:16]


def as_states(dynamics: Dynamics, states: Any) -> Float[Tensor, "batch dim"]:
    """The one converter of user states (array or tensor, one state or a batch) into the map's dtype and device.

    Raises
    ------
    InputError
        When the width is not ``dynamics.dim``, or a value is not finite.
    """
    tensor = torch.as_tensor(np.array(states) if not isinstance(states, Tensor) else states.detach())
    tensor = tensor.to(dtype=dynamics.dtype, device=dynamics.device)
    tensor = tensor[None] if tensor.ndim == 1 else tensor
    if tensor.ndim != 2 or tensor.shape[1] != dynamics.dim:
        raise InputError(
            f"states of {dynamics.name!r} have shape (batch, {dynamics.dim}), but {tuple(tensor.shape)} came"
        )
    if not torch.isfinite(tensor).all():
        raise InputError(f"{int((~torch.isfinite(tensor)).any(1).sum())} of the {len(tensor)} states are not finite")
    return tensor


def as_drive(dynamics: Dynamics, drive: Any) -> Any:
    """A drive in the map's dtype and device. Of a map without a drive vector: arrays become tensors (whole numbers stay whole),
    and what is no array (a layer index) passes as it is.

    Raises
    ------
    InputError
        When the last axis is not ``dynamics.inputs`` wide, or a value is not finite.
    """
    if not dynamics.inputs:
        if not isinstance(drive, np.ndarray):
            return drive
        tensor = torch.as_tensor(np.array(drive), device=dynamics.device)
        return tensor.to(dynamics.dtype) if tensor.is_floating_point() else tensor
    tensor = torch.as_tensor(np.array(drive) if not isinstance(drive, Tensor) else drive.detach())
    tensor = tensor.to(dtype=dynamics.dtype, device=dynamics.device)
    if tensor.ndim == 0 or tensor.shape[-1] != dynamics.inputs:
        raise InputError(f"{dynamics.name!r} takes drives {dynamics.inputs} wide, but shape {tuple(tensor.shape)} came")
    if not torch.isfinite(tensor).all():
        raise InputError(f"the drive has {int((~torch.isfinite(tensor)).sum())} values that are not finite")
    return tensor


def autonomous(dynamics: Dynamics, analysis: str) -> Dynamics:
    """The map itself if it takes no drive.

    Raises
    ------
    DrivenError
        When it takes one; the message names the analysis.
    """
    if dynamics.driven:
        raise DrivenError(
            f"{analysis} needs one map, but {dynamics.name!r} takes a drive at every {dynamics.clock} step. "
            f"Freeze one first: dynamics.hold(drive)."
        )
    return dynamics


def rollout(
    dynamics: Dynamics, starts: Any, *, steps: int | None = None, drives: Any = None, burn_in: int = 0
) -> Trajectory:
    """States that follow from these starts: ``steps`` + 1 of them a run, the start first.

    Parameters
    ----------
    starts : (runs, dim) or (dim,)
    steps
        May be left out when drives are given.
    drives : (steps, inputs) for all runs or (runs, steps, inputs)
        Drive t takes state t to state t + 1. The first ``burn_in`` of them are spent before the record begins.
    burn_in
        Steps taken and dropped.

    Returns
    -------
    Trajectory
        (runs, steps + 1, dim) float64. A run that overflows is cut before its first state that is not finite.

    Raises
    ------
    DrivenError
        When drives came for a map that takes none, or none came for one that takes them.
    InputError
        When the drives do not fit the starts, the map or the steps, no number of steps is given, or a run overflows during the
        burn-in.
    """
    now = as_states(dynamics, starts)
    driving = None
    if drives is not None:
        if not dynamics.driven:
            raise DrivenError(f"{dynamics.name!r} takes no drive, but drives came")
        driving = as_drive(dynamics, drives)
        driving = driving.expand(len(now), *driving.shape) if driving.ndim == 2 else driving
        if driving.ndim != 3 or len(driving) != len(now):
            raise InputError(
                f"drives for {len(now)} starts have shape (steps, {dynamics.inputs}) or ({len(now)}, steps, "
                f"{dynamics.inputs}), but {tuple(driving.shape)} came"
            )
        available = driving.shape[1] - burn_in
        steps = available if steps is None else steps
        if not 0 <= steps <= available:
            raise InputError(f"{steps} steps after {burn_in} of burn-in were asked, but {driving.shape[1]} drives came")
    if steps is None or steps < 0:
        raise InputError("say how many steps to take: steps=, or one drive for each of them")
    autonomous(dynamics, "rollout without drives") if driving is None else None

    states = torch.empty(len(now), steps + 1, dynamics.dim, dtype=dynamics.dtype, device=dynamics.device)
    with torch.no_grad():
        for t in range(burn_in):
            now = dynamics(now, None if driving is None else driving[:, t])
        states[:, 0] = now
        for t in range(steps):
            now = dynamics(now, None if driving is None else driving[:, burn_in + t])
            states[:, t + 1] = now

    recorded = states.double().cpu().numpy()
    finite = np.isfinite(recorded).all(axis=2)
    lengths = np.where(finite.all(axis=1), steps + 1, finite.argmin(axis=1))
    if (lengths == 0).any():
        raise InputError(
            f"run {int(lengths.argmin())} of {dynamics.name!r} is not finite after {burn_in} steps of burn-in"
        )
    recorded[np.arange(steps + 1) >= lengths[:, None]] = np.nan
    used = None if driving is None else driving[:, burn_in : burn_in + steps].double().cpu().numpy()
    return Trajectory(recorded, dynamics.clock, lengths=lengths, drives=used, source=dynamics.name)
