"""A map in other coordinates: code -> decode -> one step of the map -> encode -> next code.

Where ``encode`` undoes ``decode`` and the other way round, this is the same map seen otherwise. Where it does not (a few
principal components, an autoencoder's bottleneck, a sparse dictionary), it is another map, whose distance from the network is
for the caller to measure: ``unexplained`` says what the coordinates lose of recorded states.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hooks.dynamics import Dynamics, TensorLike
from hooks.errors import InputError
from hooks.tangent import jacobian, push, readout_jacobian


class Coordinates(NamedTuple):
    """A pair of functions: ``dynamics.through(*coordinates)``."""

    encode: Callable[[TensorLike], TensorLike]  # (batch, dim) -> (batch, codes)
    decode: Callable[[TensorLike], TensorLike]


def through(
    dynamics: Dynamics, encode: Callable[[TensorLike], TensorLike], decode: Callable[[TensorLike], TensorLike]
) -> Dynamics:
    """The map z -> encode(step(decode(z), drive)).

    Parameters
    ----------
    encode, decode
        (batch, dim) states to (batch, codes) codes and back, row by row, in the map's dtype.

    Raises
    ------
    InputError
        When a state that is encoded and decoded has another shape or dtype.

    Notes
    -----
    A hand-written slope is kept, between those of ``encode`` and ``decode``; a trapping box and the weights are not.
    """
    with torch.no_grad():
        trial = torch.zeros(2, dynamics.dim, dtype=dynamics.dtype, device=dynamics.device)
        codes = encode(trial)
        back = decode(codes)
    if (
        codes.ndim != 2
        or len(codes) != 2
        or codes.dtype != trial.dtype
        or (back.shape, back.dtype) != (trial.shape, trial.dtype)
    ):
        raise InputError(
            f"states {tuple(trial.shape)} of {trial.dtype} were encoded to {tuple(codes.shape)} of {codes.dtype} and decoded "
            f"to {tuple(back.shape)} of {back.dtype}; encode takes (batch, {dynamics.dim}) to (batch, codes), decode goes back"
        )
    readout = dynamics.readout
    inner = replace(dynamics, readout=encode)
    outer = replace(dynamics, dim=codes.shape[1], readout=decode)

    def step(codes: TensorLike, drive: Any) -> TensorLike:
        return encode(dynamics.step(decode(codes), drive))

    def product(codes: Tensor, drive: Any) -> Tensor:
        states = decode(codes)
        after = dynamics.step(states, drive)
        return readout_jacobian(inner, after) @ jacobian(dynamics, states, drive) @ readout_jacobian(outer, codes)

    def carried(codes: Tensor, tangents: Tensor, drive: Any) -> tuple[Tensor, Tensor]:
        after, moved = push(dynamics, decode(codes), readout_jacobian(outer, codes) @ tangents, drive)
        return encode(after), readout_jacobian(inner, after) @ moved

    by_hand = dynamics.jacobian is not None or dynamics.push is not None
    return replace(
        dynamics,
        step=step,
        dim=codes.shape[1],
        name=f"{dynamics.name}, in {codes.shape[1]} coordinates",
        flow=False,
        jacobian=product if by_hand else None,
        push=carried if by_hand else None,
        readout=None if readout is None else lambda codes: readout(decode(codes)),
        box=None,
        fingerprint="",
        layers=(),
        weights={},
    )


def principal(states: Any, kept: int) -> Coordinates:
    """The ``kept`` leading principal components of states, (points, dim); all of them only turn and shift.

    Raises
    ------
    InputError
        When there are fewer states or coordinates than components.
    """
    from sklearn.decomposition import PCA

    points = torch.as_tensor(states)
    if points.ndim != 2 or not 1 <= kept <= min(points.shape):
        raise InputError(f"{kept} principal components were asked of states of shape {tuple(points.shape)}")
    fitted = PCA(kept, svd_solver="full").fit(points.double().cpu().numpy())
    basis, origin = (torch.as_tensor(part).to(points) for part in (fitted.components_.T, fitted.mean_))
    return Coordinates(lambda at: (at - origin) @ basis, lambda codes: codes @ basis.T + origin)


def unexplained(states: Any, encode: Callable[[Tensor], Tensor], decode: Callable[[Tensor], Tensor]) -> float:
    """What the coordinates lose of states, (points, dim): the squared error of decode(encode(x)) by that of the mean.

    0 where every state comes back, 1 where the mean of the states would have done as well; more is possible.

    Raises
    ------
    InputError
        When the states do not differ, so that there is nothing to explain.
    """
    points = torch.as_tensor(states)
    spread = (points - points.mean(0)).square().sum()
    if points.ndim != 2 or not spread > 0:
        raise InputError(f"states of shape {tuple(points.shape)} that do not differ leave nothing to explain")
    with torch.no_grad():
        return float((points - decode(encode(points))).square().sum() / spread)
