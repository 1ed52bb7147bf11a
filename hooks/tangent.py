"""How nearby states part in one step: Jacobians and carried tangents. The only file that touches autograd.

A family's hand-written ``jacobian`` and ``push`` are used where they exist; otherwise the Jacobian is one batched
reverse pass and ``push`` is forward mode, which never forms the Jacobian (k directions cost k tangent passes).
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hooks.dynamics import Dynamics
from hooks.errors import DrivenError, InputError


def jacobian(
    dynamics: Dynamics, states: Float[Tensor, "batch dim"], drive: Any = None
) -> Float[Tensor, "batch dim dim"]:
    """Slope of the step with respect to the state, [b, i, j] = d next_i / d state_j.

    Cost: one forward and ``dim`` backward passes in a batch; memory batch x dim x dim.
    """
    if dynamics.jacobian is not None:
        with torch.no_grad():
            return dynamics.jacobian(states, drive)
    return _reverse(lambda inputs: dynamics(inputs, drive), states, dynamics.dim)


def drive_jacobian(
    dynamics: Dynamics, states: Float[Tensor, "batch dim"], drive: Float[Tensor, "*batch inputs"]
) -> Float[Tensor, "batch dim inputs"]:
    """Slope of the step with respect to the drive, [b, i, j] = d next_i / d drive_j.

    ``drive`` is (inputs,) for the whole batch or (batch, inputs). Raises DrivenError for a map without one.
    """
    if not dynamics.inputs:
        raise DrivenError(f"{dynamics.name!r} takes no drive vector, so it has no drive Jacobian")
    rows = drive.expand(len(states), dynamics.inputs)
    return _reverse(lambda inputs: dynamics(states, inputs), rows, dynamics.dim)


def readout_jacobian(dynamics: Dynamics, states: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch outputs dim"]:
    """Slope of the readout with respect to the state; no outputs when the map has no readout."""
    readout = dynamics.readout
    if readout is None or not len(states):
        return states.new_zeros(len(states), 0, dynamics.dim)
    with torch.no_grad():
        outputs = readout(states[:1]).shape[1]
    return _reverse(readout, states, outputs)


def push(
    dynamics: Dynamics,
    states: Float[Tensor, "batch dim"],
    tangents: Float[Tensor, "rows units directions"],
    drive: Any = None,
) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "batch dim directions"]]:
    """The next states, and the tangents carried there by the Jacobian, without forming it.

    Forward mode is not implemented for torch's fused attention on CPU, so attention runs in its "math" form. A step that draws
    random numbers draws the same ones for every direction.

    Raises
    ------
    InputError
        When the first two axes of the tangents are not those of the states.
    DrivenError
        When the map takes a drive and none came.
    """
    if tangents.shape[:2] != states.shape:
        raise InputError(
            f"tangents of {tuple(states.shape)} states have those two axes and one for directions, "
            f"but {tuple(tangents.shape)} came"
        )
    if dynamics.push is not None:
        with torch.no_grad():
            return dynamics.push(states, tangents, drive)

    states = states.contiguous()  # rows that share their memory, as a constant map may give, have no dual

    def step(inputs: Tensor) -> Tensor:
        return dynamics(inputs, drive)

    def along(tangent: Tensor) -> Any:
        after, carried = torch.func.jvp(step, (states,), (tangent,))  # type: ignore[misc]
        return after, torch.zeros_like(tangent) + carried  # a step that ignores its state carries no axis of directions

    with torch.no_grad(), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        # the next states do not depend on the direction, so they come out unbatched
        directions: Any = torch.func.vmap(along, in_dims=2, out_dims=(None, 2), randomness="same")  # type: ignore[arg-type]
        after, carried = directions(tangents)
    return after, carried


def _reverse(function: Any, inputs: Tensor, outputs: int) -> Tensor:
    """(batch, outputs, inputs) slope of a row-independent function by one batched reverse pass."""
    with torch.enable_grad():
        inputs = inputs.detach().requires_grad_()
        after = function(inputs)
    seeds = torch.eye(outputs, dtype=after.dtype, device=after.device)[:, None, :].expand(outputs, *after.shape)
    if not after.requires_grad or not len(inputs):
        return inputs.new_zeros(len(inputs), outputs, inputs.shape[1])
    (rows,) = torch.autograd.grad(after, inputs, seeds, is_grads_batched=True, materialize_grads=True)
    return rows.transpose(0, 1).detach()
