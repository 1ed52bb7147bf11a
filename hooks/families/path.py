"""One-parameter families of maps: a drive that moves on a line, weights that move from checkpoint to checkpoint.

Each is a function p -> autonomous ``Dynamics``, the input of ``analyses.maps.continuation``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hooks.dynamics import Dynamics, as_drive
from hooks.errors import DrivenError, InputError

Family = Callable[[float], Dynamics]


def along_drive(dynamics: Dynamics, first: Any, last: Any) -> Family:
    """The map under the held drive (1 - p) first + p last, for any number p.

    With ``last - first`` a unit vector and that component of ``first`` zero, p is the component's value.

    Parameters
    ----------
    first, last : (inputs,)

    Raises
    ------
    DrivenError
        For a map without a drive vector.
    InputError
        For drives that are not of shape (inputs,), or equal.
    """
    if not dynamics.inputs:
        raise DrivenError(f"{dynamics.name!r} takes no drive vector, so there is none to move")
    begin, end = as_drive(dynamics, first), as_drive(dynamics, last)
    if begin.ndim != 1 or end.ndim != 1:
        raise InputError(
            f"a path runs between two drives of shape ({dynamics.inputs},), not {begin.shape}, {end.shape}"
        )
    if torch.equal(begin, end):
        raise InputError("the first and the last drive are equal, so the path between them has no length")
    return lambda p: dynamics.hold((1 - p) * begin + p * end)


def along_weights(checkpoints: Sequence[Any], read: Callable[[Any], Dynamics]) -> Family:
    """The map at weights that run straight from each checkpoint to the next; at p = 0, 1, 2, ... they are the checkpoints'.

    Parameters
    ----------
    checkpoints
        Two or more networks of one architecture: all nn.Modules, or all state dicts. They are copied in float64 (a
        weight stored in float32 would move in jumps of 1e-7) and never changed.
    read
        Such a network -> autonomous map: of a module, ``lambda module: recurrent(module).hold(drive)``; of a state dict,
        ``lambda weights: PiecewiseLinear(**weights, relu=4).dynamics()``. It is given a new copy at every p.

    Returns
    -------
    Family
        Defined on 0 <= p <= len(checkpoints) - 1; InputError elsewhere. Entries that are not floating point are those of
        the nearest checkpoint.

    Raises
    ------
    InputError
        For fewer than two checkpoints, or names or shapes that differ.
    """
    if len(checkpoints) < 2:
        raise InputError(f"a path of weights runs between two checkpoints at least, but {len(checkpoints)} came")
    stored = [_copied(checkpoint) for checkpoint in checkpoints]
    shapes = [{name: tuple(tensor.shape) for name, tensor in weights.items()} for weights in stored]
    for number, other in enumerate(shapes):
        if other != shapes[0]:
            differing = sorted(name for name in shapes[0].keys() | other if shapes[0].get(name) != other.get(name))
            raise InputError(f"checkpoints 0 and {number} are not of one architecture: they differ in {differing[:4]}")
    twin = copy.deepcopy(checkpoints[0]).double() if isinstance(checkpoints[0], nn.Module) else None

    def network(p: float) -> Dynamics:
        if not 0 <= p <= len(stored) - 1:
            raise InputError(
                f"the path of {len(stored)} checkpoints runs from 0 to {len(stored) - 1}, but p = {p} came"
            )
        left = min(int(p), len(stored) - 2)
        share = p - left
        weights = {
            name: torch.lerp(here, stored[left + 1][name], share)
            if here.is_floating_point()
            else stored[left + round(share)][name]
            for name, here in stored[left].items()
        }
        if twin is None:
            return read(weights)
        module = copy.deepcopy(twin)
        module.load_state_dict(weights)
        return read(module)

    return network


def _copied(checkpoint: nn.Module | Mapping[str, Tensor]) -> dict[str, Tensor]:
    weights = checkpoint.state_dict() if isinstance(checkpoint, nn.Module) else checkpoint
    return {
        name: tensor.detach().to(torch.float64 if tensor.is_floating_point() else tensor.dtype, copy=True)
        for name, tensor in weights.items()
    }
