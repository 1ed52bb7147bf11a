"""Any module with a forward of (input, state) as a map."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from hooks.dynamics import Dynamics, TensorLike, digest
from hooks.errors import InputError


def stepped(
    module: nn.Module,
    *,
    dim: int | None = None,
    inputs: int | None = None,
    parts: int = 1,
    readout: nn.Linear | None = None,
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
) -> Dynamics:
    """A module whose forward takes (input, state), read as a driven map by autograd.

    Parameters
    ----------
    module
        Its forward takes (batch, inputs) and (batch, dim) and returns the next state, or (output, next state).
        A copy in eval mode and ``dtype`` is stepped; the module itself is never changed.
    dim, inputs
        Widths; read from ``hidden_size`` and ``input_size`` when the module has them.
    parts
        2 when its state is a tuple (h, c), each (batch, dim / 2), which lie side by side here.
    readout
        Linear map of the state, or of the first of its parts.

    Raises
    ------
    InputError
        When a width is unknown, or one trial step raises or does not give a state of the same shape.
    """
    widths = []
    for name, given, attribute in (("dim", dim, "hidden_size"), ("inputs", inputs, "input_size")):
        width = given if given is not None else getattr(module, attribute, None)
        if not isinstance(width, int):
            raise InputError(
                f"{type(module).__name__} does not say its {attribute}: pass {name}=, or give it that attribute"
            )
        widths.append(width)
    dim, inputs = widths
    twin = copy.deepcopy(module).to(dtype=dtype, device=device).eval().requires_grad_(False)

    def step(states: TensorLike, drive: Tensor) -> TensorLike:
        answer: Any = twin(drive.expand(len(states), inputs), states if parts == 1 else states.chunk(parts, -1))
        if parts == 1:
            return answer[1] if isinstance(answer, tuple) else answer
        return torch.cat(answer[1] if isinstance(answer[1], tuple) else answer, -1)

    trial = torch.zeros(2, dim, dtype=dtype, device=device)
    try:
        after: Any = step(trial, torch.zeros(inputs, dtype=dtype, device=device))
    except Exception as error:  # the user's code may raise anything
        raise InputError(
            f"forward(input, state) of {type(module).__name__} fails on an input of shape {(len(trial), inputs)} and a state "
            f"of shape {tuple(trial.shape)}: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        ) from error
    if not isinstance(after, Tensor) or after.shape != trial.shape:
        came = tuple(after.shape) if isinstance(after, Tensor) else type(after).__name__
        raise InputError(
            f"forward(input, state) of {type(module).__name__} must return the next state, or (output, next state), "
            f"of shape {tuple(trial.shape)} for {len(trial)} states; {came} came"
        )
    W = None if readout is None else readout.weight.detach().to(dtype=dtype, device=device, copy=True)
    b = None if readout is None or readout.bias is None else readout.bias.detach().to(trial)
    return Dynamics(
        step=step,
        dim=dim,
        name=f"{type(module).__name__}, {dim} units",
        driven=True,
        inputs=inputs,
        dtype=dtype,
        device=device,
        readout=None if W is None else lambda states: nn.functional.linear(states[..., : W.shape[1]], W, b),
        fingerprint=digest(type(module).__name__, *twin.state_dict().values(), W, b),
    )
