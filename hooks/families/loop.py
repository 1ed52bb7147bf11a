"""Networks that feed on their own output: an autoencoder in a loop, a block or a whole stack run again and again.

Each is a genuine map on the clock "iteration", with fixed points, cycles and Lyapunov exponents, unlike the pass through a
stack of finite depth. Depth-recurrent models inject the embedding of their input at every iteration; here that is the drive,
so that ``hold`` gives the map of one input and ``find_fixed_points(..., drives=)`` serves many at once.

Sources: Radhakrishnan, Belkin, Uhler, PNAS 117, 27162 (2020), memories of an autoencoder as fixed points of decode after
encode (its code loops through encode after decode, which has the same ones); Geiping et al., arXiv 2502.05171, recurrent depth.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from hooks.dynamics import Dynamics, TensorLike, digest, in_turn
from hooks.errors import DrivenError, InputError

Part = Callable[..., Any]


def loop(
    encode: Part,
    decode: Part,
    *,
    dim: int,
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
) -> Dynamics:
    """The map of a code z -> encode(decode(z)) of an autoencoder, or of any encoder and decoder.

    Parameters
    ----------
    encode, decode
        Modules, copied in eval mode and ``dtype``, or functions: (batch, dim) codes to whatever is decoded, and back.
    dim
        Numbers in a code.

    Returns
    -------
    Dynamics
        Autonomous; its readout is what the code says, flat.

    Raises
    ------
    InputError
        When a trial loop raises, or gives back codes of another shape.
    """
    inward, outward = _twin(encode, dtype, device), _twin(decode, dtype, device)

    def step(states: TensorLike, _: Any) -> TensorLike:
        return inward(outward(states))

    trial = torch.zeros(2, dim, dtype=dtype, device=device)
    _tried(lambda: step(trial, None), trial, "encode(decode(code))")
    return Dynamics(
        step=step,
        dim=dim,
        name=f"loop of a code of {dim} units",
        clock="iteration",
        dtype=dtype,
        device=device,
        readout=lambda states: outward(states).flatten(1),
        fingerprint=_fingerprint("loop", inward, outward),
    )


def recurrent_depth(
    core: Part,
    *,
    steps: int,
    width: int,
    injected: int | None = None,
    readout: Part | None = None,
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
) -> Dynamics:
    """The map of the stream of one text through a block that is run again and again.

    Parameters
    ----------
    core
        A module, copied in eval mode and ``dtype``, or a function: the stream (batch, steps, width) and what is injected
        (batch, steps, injected) -> the next stream.
    steps, width
        Positions of the text, numbers at each.
    injected
        Numbers injected at each position, ``width`` when left out; with 0 nothing is, and the core takes the stream alone.
    readout
        The stream -> what the network says; made flat.

    Returns
    -------
    Dynamics
        Of the whole stream flattened, (batch, steps x width), position after position, driven by what is injected, flattened
        likewise.

    Raises
    ------
    InputError
        When a trial step raises, or gives a stream of another shape.
    """
    features = width if injected is None else injected
    twin, said = _twin(core, dtype, device), None if readout is None else _twin(readout, dtype, device)

    def step(states: TensorLike, drive: Any) -> TensorLike:
        stream = states.unflatten(-1, (steps, width))
        if not features:
            return twin(stream).flatten(-2)
        return twin(stream, drive.expand(len(states), steps * features).unflatten(-1, (steps, features))).flatten(-2)

    trial = torch.zeros(2, steps * width, dtype=dtype, device=device)
    _tried(lambda: step(trial, torch.zeros(steps * features, dtype=dtype, device=device)), trial, "the core")
    return Dynamics(
        step=step,
        dim=steps * width,
        name=f"recurrent depth, {steps} positions of width {width}",
        clock="iteration",
        driven=bool(features),
        inputs=steps * features,
        dtype=dtype,
        device=device,
        readout=None if said is None else lambda states: said(states.unflatten(-1, (steps, width))).flatten(1),
        fingerprint=_fingerprint("recurrent depth", twin, steps),
    )


def iterated_stack(dynamics: Dynamics, blocks: int) -> Dynamics:
    """The whole stack as one map: its blocks 0, 1, ..., blocks - 1 are one iteration, and the stream enters again as it left.

    No network is trained to be run so, unless its blocks were looped in training: the map says what the stack does to its own
    output, not what the network computes.

    Parameters
    ----------
    dynamics
        A stack on the clock "layer", driven by the block's number.

    Raises
    ------
    DrivenError
        When the map is not driven, so that there are no blocks to choose.
    InputError
        For another clock, or no block.
    """
    if not dynamics.driven:
        raise DrivenError(f"{dynamics.name!r} takes no drive, so it has no blocks to run in turn")
    if dynamics.clock != "layer" or blocks < 1:
        raise InputError(
            f"iterated_stack takes a map of clock 'layer' and a block at least; {dynamics.clock!r}, {blocks} blocks came"
        )
    return replace(
        in_turn(dynamics, lambda _: range(blocks)),
        name=f"{dynamics.name}, {blocks} blocks an iteration",
        clock="iteration",
        driven=False,
        inputs=0,
        box=None,
        fingerprint=f"{dynamics.fingerprint}*{blocks}" if dynamics.fingerprint else "",
    )


def _twin(part: Part, dtype: torch.dtype, device: str) -> Part:
    """A module's copy, in eval mode; a function itself."""
    if not isinstance(part, nn.Module):
        return part
    return copy.deepcopy(part).to(dtype=dtype, device=device).eval().requires_grad_(False)


def _tried(step: Callable[[], Any], expected: Tensor, what: str) -> None:
    try:
        with torch.no_grad():
            after = step()
    except Exception as error:  # the user's code may raise anything
        raise InputError(
            f"{what} fails on states of shape {tuple(expected.shape)}: {type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}"
        ) from error
    if not isinstance(after, Tensor) or after.shape != expected.shape:
        came = tuple(after.shape) if isinstance(after, Tensor) else type(after).__name__
        raise InputError(f"{what} must give back the shape it takes, {tuple(expected.shape)} flat; {came} came")


def _fingerprint(kind: str, *parts: Any) -> str:
    """Of modules' structure and weights; empty where a part is code."""
    if any(callable(part) and not isinstance(part, nn.Module) for part in parts):
        return ""
    told: list[Any] = []
    for part in parts:
        told += [repr(part), *part.state_dict().values()] if isinstance(part, nn.Module) else [part]
    return digest(kind, *told)
