"""A stack of blocks as a map: depth is its clock, the residual stream its state, and the layer index its drive.

A block is stepped by calling it again with the arguments that it got when the text ran through the whole network (masks, rotary
positions, position numbers), its stream exchanged. That is what the network does to such a stream: putting the state into a
full forward pass by a hook gives the same numbers at many times the cost. Called without those arguments, blocks with rotary
positions silently lose them.

The state is the stream at one position while the rest is held as recorded, at several, or at all. States have the stream's own
dtype. One step costs one block on (batch, steps, width), whatever the number of positions.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from hooks.capture import first_tensor
from hooks.contract import ROUNDING
from hooks.dynamics import Dynamics, digest
from hooks.errors import ContractError, InputError
from hooks.stack import Stack, as_texts, positions_in, stack_of


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a block: what came in, and what came out."""

    block: nn.Module
    args: tuple[Any, ...]
    options: dict[str, Any]
    entered: Tensor  # (1, steps, width)
    left: Tensor
    together: bool = True  # whether the arguments serve a batch; where they do not, each stream is run alone

    def again(self, stream: Tensor) -> Tensor:
        """What the block makes of other streams, (batch, steps, width), all else as it was."""
        if not self.together and len(stream) > 1:
            return torch.cat([self.again(row) for row in stream.split(1)])
        args, options = _fresh(self.args), _fresh(self.options)
        if args and isinstance(args[0], Tensor):
            args = (stream, *args[1:])
        else:
            options[next(key for key, value in options.items() if isinstance(value, Tensor))] = stream
        return first_tensor(self.block(*args, **options), "the block")


def residual(
    stack: Stack | nn.Module, tokens: Any, *, positions: Any = None, dtype: torch.dtype | None = None
) -> Dynamics:
    """The blocks of a stack as a map of the stream of one text, driven by the layer index.

    Parameters
    ----------
    stack
        A Stack, or a model that ``stack_of`` reads. Left as it is.
    tokens : (steps,), or (1, steps)
        The text whose stream is recorded and, outside the state, held.
    positions
        Of the state: an index, several or a slice; the whole stream, flattened, when left out. The state is
        (kept positions x width), position after position.
    dtype
        Of a copy that is stepped in place of the model itself. Wider than float32 it helps only as far as the blocks keep it:
        many norms and softmaxes compute in float32 whatever comes in.

    Returns
    -------
    Dynamics
        Clock "layer". Drive k, a whole number from 0, or one for each state as (batch, 1), applies block k.
        ``record_stream(...).drives`` holds these numbers; where the blocks run several times in one pass, they count on.

    Raises
    ------
    InputError
        When not one text came, a position lies outside it, or a drive is no layer of the stack.
    ContractError
        When a block called again with the same stream and arguments does not give what it gave in the full pass.

    Notes
    -----
    Costs four forward passes of the one text. Where a block's arguments are laid out for one text (ALiBi of BLOOM), a batch is
    stepped state by state. Later positions of a causal text take part in every step and change nothing before
    them: leave them out of ``tokens`` where the state lies earlier.
    """
    stack = stack_of(stack)
    text = torch.as_tensor(tokens)
    (text,) = as_texts(text if text.ndim == 2 + text.is_floating_point() and len(text) == 1 else text[None])
    where = torch.as_tensor(positions_in(len(text), positions))
    if not len(where):
        raise InputError(f"positions {positions} choose none of the {len(text)} steps, so there is no state")
    if dtype is not None:
        stack = replace(stack, module=copy.deepcopy(stack.module).to(dtype))
    calls = recorded_calls(stack, text)
    streams = torch.promote_types(calls[0].entered.dtype, calls[-1].left.dtype)
    where = where.to(calls[0].entered.device)

    def step(states: Tensor, drive: Any) -> Tensor:
        layers = _layers(drive, len(states), len(calls))
        if (layers == layers[:1]).all():
            return after(states, int(layers[0])) if len(layers) else states
        found, back = [], []
        for layer in layers.unique().tolist():
            (rows,) = torch.nonzero(layers == layer, as_tuple=True)
            found.append(after(states[rows.to(states.device)], layer))
            back.append(rows)
        return torch.cat(found)[torch.cat(back).argsort().to(states.device)]

    def after(states: Tensor, layer: int) -> Tensor:
        call = calls[layer]
        moved = states.reshape(len(states), len(where), stack.width).to(call.entered.dtype)
        rest = call.entered.expand(len(states), -1, -1)
        stream = moved if len(where) == len(text) else rest.index_copy(1, where, moved)
        return call.again(stream)[:, where].reshape(states.shape).to(states.dtype)

    held = "the whole stream" if len(where) == len(text) else f"position {', '.join(map(str, where.tolist()))}"
    return Dynamics(
        step=step,
        dim=len(where) * stack.width,
        name=f"{stack.name}, {held} of {len(text)}",
        clock="layer",
        driven=True,
        dtype=streams,
        device=str(calls[0].entered.device),
        fingerprint=digest(stack.fingerprint, text, tuple(where.tolist())),
    )


def recorded_calls(stack: Stack, text: Tensor) -> tuple[Call, ...]:
    """Every call of a block in one pass of this text, in the order in which they ran.

    Raises
    ------
    ContractError
        When a block called again does not give what it gave then.
    """
    entered: list[tuple[Any, Any]] = []
    calls: list[Call] = []
    handles = []

    def enters(block: nn.Module, args: Any, options: Any) -> None:
        entered.append((_kept(args), _kept(options)))

    def leaves(block: nn.Module, args: Any, output: Any) -> None:
        given, options = entered.pop()
        stream = first_tensor([*given, *options.values()], "the block")
        calls.append(Call(block, given, options, stream, first_tensor(output, "the block").detach()))

    try:
        for path in stack.blocks:
            block = stack.module.get_submodule(path)
            handles += [block.register_forward_pre_hook(enters, with_kwargs=True), block.register_forward_hook(leaves)]
        stack.run(text[None])
    finally:
        for handle in handles:
            handle.remove()
    for layer, call in enumerate(calls):
        shape = (1, len(text), stack.width)
        if call.entered.shape != shape or call.left.shape != shape:
            raise ContractError(
                f"block {layer} of {stack.name} takes {tuple(call.entered.shape)} and gives {tuple(call.left.shape)}, "
                f"so its stream is not (texts, steps, width) = {shape}"
            )
        with torch.no_grad():
            gap = float((call.again(call.entered) - call.left).abs().max())
        allowed = ROUNDING * torch.finfo(call.left.dtype).eps * max(1.0, float(call.left.abs().max()))
        if not gap <= allowed:
            raise ContractError(
                f"block {layer} of {stack.name}, called again with the same stream and arguments, gives values that differ by "
                f"{gap:.3g}: it keeps a memory of its own, or draws random numbers"
            )
        calls[layer] = replace(call, together=_serves_a_batch(call, allowed))
    return tuple(calls)


def _serves_a_batch(call: Call, allowed: float) -> bool:
    """Whether two equal streams together give what one gives: some masks are laid out for the batch that was recorded."""
    try:
        with torch.no_grad():
            return bool((call.again(call.entered.expand(2, -1, -1)) - call.left).abs().max() <= allowed)
    except RuntimeError:  # the shapes do not fit
        return False


def _layers(drive: Any, batch: int, depth: int) -> Tensor:
    """The layer of each state."""
    layers = torch.as_tensor(drive).cpu()
    if layers.numel() not in (1, batch) or not ((layers == layers.round()) & (layers >= 0) & (layers < depth)).all():
        raise InputError(
            f"the drive of a stack is one of its {depth} layers, or one for each of {batch} states; {drive} came"
        )
    return layers.reshape(-1).long().expand(batch)


def _kept(value: Any) -> Any:
    """Tensors as they are, without gradients; copies of everything that a block might change (caches)."""
    return _walked(value, lambda part: part.detach() if isinstance(part, Tensor) else copy.deepcopy(part))


def _fresh(value: Any) -> Any:
    return _walked(value, lambda part: part if isinstance(part, Tensor) else copy.deepcopy(part))


def _walked(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, tuple | list) and type(value) in (tuple, list):
        return type(value)(_walked(part, change) for part in value)
    return {key: _walked(part, change) for key, part in value.items()} if type(value) is dict else change(value)
