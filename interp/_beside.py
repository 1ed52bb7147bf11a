"""What stands around a recurrent layer: whose step it is, its readout, its learned start, and what comes before it.

Every decision is made by a simple rule, given in the function's docstring, and leaves a sentence for the report.
"""

from __future__ import annotations

import copy
import inspect
import itertools
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hooks.dynamics import Dynamics

READOUT_NAMES = ("readout", "fc", "linear", "out", "output", "decoder", "head", "h2o")
STATE_NAMES = ("h", "hx", "hc", "s")  # and every name with "state" or "hidden" in it
START_NAMES = ("h0", "h_0", "initial_state", "initial_hidden", "init_hidden", "initial_hiddens_1xd")
CELL_START_NAMES = ("c0", "c_0", "initial_cell", "init_cell")
DROPOUT = nn.modules.dropout._DropoutNd
SAME_MAP = 1e-9  # relative; both maps run in float64, so that agreement is to rounding


def takes_a_state(module: nn.Module) -> bool:
    """Whether the forward is a step: its first two arguments are an input and a state, and it needs no others.

    The second argument is a state when it is required, or when its name says so (STATE_NAMES).
    """
    try:
        arguments = list(inspect.signature(module.forward).parameters.values())
    except (TypeError, ValueError):
        return False
    arguments = [a for a in arguments if a.kind in (a.POSITIONAL_ONLY, a.POSITIONAL_OR_KEYWORD)]
    if len(arguments) < 2 or any(a.default is a.empty for a in arguments[2:]):
        return False
    name = arguments[1].name.lower()
    named = name in (*STATE_NAMES, *START_NAMES) or "state" in name or "hidden" in name
    return arguments[1].default is inspect.Parameter.empty or named


def same_map(one: Dynamics, other: Dynamics) -> bool:
    """Whether two driven maps give the same next states, to SAME_MAP, from 64 random states and drives."""
    if (one.dim, one.inputs) != (other.dim, other.inputs):
        return False
    generator = torch.Generator().manual_seed(0)
    states = 2 * torch.randn(64, one.dim, generator=generator, dtype=torch.float64)
    drives = torch.randn(64, one.inputs, generator=generator, dtype=torch.float64)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        first, second = one(states, drives), other(states, drives)
    return bool((first - second).abs().max() <= SAME_MAP * (1 + first.abs().max()))


def hands_its_state_on(module: nn.Module, cell: nn.RNNCellBase) -> bool | None:
    """Whether a trial run of (3, 5, inputs) gives the cell, at each call, the state that the call before left.

    None when the module does not run on such an input, or calls the cell less than twice with a state.
    """
    twin, place = copy.deepcopy((module, cell))
    calls: list[tuple[Tensor | None, Tensor]] = []

    def keep(_: nn.Module, args: tuple, options: dict, output: Any) -> None:
        given = args[1] if len(args) > 1 else options.get("hx")
        calls.append((None if given is None else _whole(given), _whole(output)))

    place.register_forward_hook(keep, with_kwargs=True)
    sequence = torch.randn(3, 5, place.input_size, generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            twin(sequence.to(place.weight_hh))
    except Exception:  # the user's forward may want anything
        return None
    links = [(left, entered) for (_, left), (entered, _) in itertools.pairwise(calls) if entered is not None]
    return all(left.shape == entered.shape and torch.equal(left, entered) for left, entered in links) if links else None


def step_readout(module: nn.Module, step: Dynamics, parts: int) -> tuple[nn.Linear | None, tuple[str, ...]]:
    """The linear layer that reads the state of a stepped module.

    When the forward returns (output, next state): the layer whose value at the next state is the output, held against 8 random
    steps to rounding. When it returns the next state alone: the one named as a readout (``readout_name``) that takes no part
    in the step.
    """
    twin, units = copy.deepcopy(module).to(step.dtype), step.dim // parts
    linears = {name: part for name, part in module.named_modules() if isinstance(part, nn.Linear)}
    used: set[str] = set()
    for name in linears:
        twin.get_submodule(name).register_forward_hook(lambda *_, name=name: used.add(name))
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(8, step.dim, generator=generator, dtype=step.dtype)
    drives = torch.randn(8, step.inputs, generator=generator, dtype=step.dtype)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        answer = twin(drives, states if parts == 1 else states.chunk(parts, -1))
        h = step(states, drives)[:, :units]
        output = answer[0] if isinstance(answer, tuple) and (parts == 1 or isinstance(answer[1], tuple)) else None
        if output is None:
            widths = {name: (part.out_features, part.in_features) for name, part in linears.items() if name not in used}
            name, said = readout_name(widths, units, ())
            return linears.get(name), said
        for name, linear in linears.items():
            if linear.in_features == units and isinstance(output, Tensor):
                said = twin.get_submodule(name)(h)
                if said.shape == output.shape and (said - output).abs().max() <= SAME_MAP * (1 + output.abs().max()):
                    return linear, (f"Its output is the linear layer {name!r} of the next state: the readout.",)
    itself = isinstance(output, Tensor) and torch.equal(output, h)
    return None, () if itself else ("Its output is no linear layer of the next state, so there is no readout.",)


def module_readout(module: nn.Module, path: str, layer: Any) -> tuple[nn.Linear | None, tuple[str, ...]]:
    """The linear layer that reads the state of the layer at ``path``, by the rule of ``readout_name``.

    What stands after the layer is what is registered after it; something else than dropout registered between the two
    (a norm, a nonlinearity) means that the linear layer does not read the state itself.
    """
    leaves = {name: part for name, part in module.named_modules() if not any(part.children())}
    names = list(leaves)
    linears = {name: part for name, part in leaves.items() if isinstance(part, nn.Linear)}
    after = names[names.index(path) + 1 :]
    widths = {name: (part.out_features, part.in_features) for name, part in linears.items()}
    notes = []
    name, said = readout_name(widths, layer.hidden_size, [key for key in linears if key in after])
    if name in after:
        between = [
            key for key in after[: after.index(name)] if not isinstance(leaves[key], (DROPOUT, nn.Identity, nn.Linear))
        ]
        if between:
            said = (f"{_listed(leaves, between)} stands between the state and {name!r}, so there is no readout.",)
            name = ""
    entering = [
        key for key in names[: names.index(path)] if key != name and next(leaves[key].parameters(), None) is not None
    ]  # fmt: skip
    if entering:
        notes.append(
            f"{_listed(leaves, entering)} stands before it: the drive is what enters the layer, {layer.input_size} wide, "
            f"not the network's input."
        )
    return linears.get(name), (*notes, *said)


def readout_name(
    widths: Mapping[str, tuple[int, int]], units: int, after: Collection[str]
) -> tuple[str, tuple[str, ...]]:
    """Which of some linear layers reads a state of ``units``; "" for none. ``widths`` maps a name to (outputs, inputs).

    The readout is ``units`` wide and either the only one so named (READOUT_NAMES) or the only one in ``after``, the layers
    known to stand after the state. It is refused when another layer continues it or leads to it: then both are part of an MLP
    head, which is no linear map of the state.
    """
    named = [name for name in widths if name.rsplit(".", 1)[-1] in READOUT_NAMES]
    fits = [name for name, (_, entering) in widths.items() if entering == units and (name in named or name in after)]
    sure = [name for name in fits if name in named]
    chosen = sure if len(sure) == 1 else fits
    if len(chosen) > 1:
        return "", (f"Several linear layers could read the state ({', '.join(chosen)}); none is used.",)
    if not chosen:
        return "", ()
    (name,) = chosen
    outputs = widths[name][0]
    order = list(widths)
    head = [
        other
        for other in order
        if other != name
        and (other in after or other in named)
        and (
            (widths[other][1] == outputs and order.index(other) > order.index(name)) or widths[other] == (units, units)
        )
    ]
    if head:
        return "", (f"{name!r} and {', '.join(map(repr, head))} may be one MLP head, so there is no readout.",)
    return name, (f"The linear layer {name!r} ({units} to {outputs}) was taken as readout.",)


def initial_state(
    tensors: Mapping[str, Tensor], dim: int, *, pair: bool = False
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """A learned initial state, by its name (START_NAMES), when its size fits; that of an LSTM (``pair``) is h, then c."""

    def named(names: tuple[str, ...]) -> list[Tensor]:
        return [
            value.detach().reshape(-1).double().cpu()
            for key, value in tensors.items()
            if key.rsplit(".", 1)[-1] in names
        ]

    hs, cs = named(START_NAMES), named(CELL_START_NAMES) if pair else []
    whole = [*hs, *(torch.cat([h, c]) for h in hs for c in cs if len(h) == len(c))]
    start = next((value for value in whole if len(value) == dim), None)
    if start is not None:
        return start.numpy(), ()
    if not hs:
        return None, ()
    sizes = ", ".join(str(len(value)) for value in (*hs, *cs))
    return None, (f"A learned initial state of {sizes} values does not fit the {dim} of the state; it is not used.",)


def _whole(state: Any) -> Tensor:
    """(h, c) side by side."""
    return torch.cat(state, -1) if isinstance(state, tuple) else state


def _listed(leaves: Mapping[str, nn.Module], names: list[str]) -> str:
    return ", ".join(f"{name!r} ({type(leaves[name]).__name__})" for name in names[:4])
