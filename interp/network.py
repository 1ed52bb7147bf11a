"""Network: what ``load`` returns, and how a module is read: as its one recurrent layer, or by its own step."""

from __future__ import annotations

import copy
import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hooks.dynamics import Dynamics
from hooks.errors import InputError, LoadError
from hooks.families import (
    LeakyRate,
    LiquidTimeConstant,
    LongExpressiveMemory,
    PiecewiseLinear,
    encode_decode,
    is_encode_decode,
    is_liquid,
    liquid,
    recurrent,
    stepped,
)
from hooks.families.recurrent import weights
from hooks.loading import loaded, tensors_of
from hooks.pretrained import is_pretrained, is_transformers, pretrained
from interp._beside import (
    DROPOUT,
    hands_its_state_on,
    initial_state,
    module_readout,
    same_map,
    step_readout,
    takes_a_state,
)
from interp._state_dict import UNDERSTOOD, filled, recognised, refuse_choices

RECURRENT = (nn.RNNBase, nn.RNNCellBase)
STACK = "is a stack of blocks, whose map needs a text: interp.residual(load(source).module, tokens)"
FIELD = "a vector field, as a neural ODE's, enters by interp.flow(module, dim, dt=)"
FORWARDS = {kind.forward for kind in (nn.RNN, nn.GRU, nn.LSTM, nn.RNNCell, nn.GRUCell, nn.LSTMCell)}  # torch's own


@dataclass(frozen=True, eq=False)
class Network:
    """A network with its readout, where it came from, and what was assumed in reading it.

    Attributes
    ----------
    module
        nn.Module, LeakyRate, LiquidTimeConstant, LongExpressiveMemory, PiecewiseLinear or Dynamics. A copy in eval mode when it
        was an nn.Module of the user's.
    readout
        Linear map of the state, when one was found beside a torch layer.
    source
        File or class it came from.
    notes
        Sentences for the reader of a report.
    initial_state : (dim,) or None
        A learned initial state.
    widths
        Arguments of ``hooks.families.stepped`` (dim, inputs, parts) for a module that is stepped by its own forward.
    """

    module: Any
    readout: nn.Linear | None = None
    source: str = ""
    notes: tuple[str, ...] = ()
    initial_state: np.ndarray | None = None
    widths: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Digest of weights and settings."""
        return self.dynamics().fingerprint

    @property
    def piecewise_linear(self) -> PiecewiseLinear | None:
        """The network as an almost-linear RNN, where it is one: its fixed points can then be listed with proof."""
        return self.module if isinstance(self.module, PiecewiseLinear) else None

    @property
    def encodes(self) -> bool:
        """Whether it is an autoencoder, whose map is that of its codes (``hooks.families.encode_decode``)."""
        if self.widths or isinstance(self.module, RECURRENT) or not is_encode_decode(self.module):
            return False
        return not is_transformers(self.module) and not takes_a_state(self.module)

    def dynamics(self, *, dtype: torch.dtype = torch.float64, device: str = "cpu") -> Dynamics:
        """The network as a map. Raises LoadError for a module of no known family, InputError for a device that is not there."""
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"device {device!r} cannot be used here: {str(error).splitlines()[0][:120]}") from None
        module = self.module
        if isinstance(module, Dynamics):
            return module
        if isinstance(module, LeakyRate | LiquidTimeConstant | LongExpressiveMemory | PiecewiseLinear):
            return module.dynamics(dtype=dtype, device=device)
        if isinstance(module, RECURRENT) and not self.widths:
            return recurrent(module, readout=self.readout, dtype=dtype, device=device)
        if isinstance(module, nn.Module) and is_liquid(module):
            return liquid(module, dtype=dtype, device=device)
        if is_transformers(module):
            raise LoadError(f"{type(module).__name__} {STACK}")
        if self.encodes:
            return encode_decode(module).dynamics(dtype=dtype, device=device)
        if isinstance(module, nn.Module):
            if not self.widths and not takes_a_state(module):
                raise LoadError(
                    f"{type(module).__name__} holds no recurrent layer and has no forward of (input, state); {FIELD}"
                )
            return stepped(module, **self.widths, readout=self.readout, dtype=dtype, device=device)
        raise LoadError(f"{type(module).__name__} is no network: {UNDERSTOOD}")


def load(
    source: Any,
    *,
    model: str | None = None,
    kwargs: Mapping[str, Any] | None = None,
    nonlinearity: str | None = None,
    relu: int | None = None,
    leak: float | None = None,
    trust: bool = False,
) -> Network:
    """Read a trained network from an object, a file, a folder or a hub id, executing nothing.

    Parameters
    ----------
    source
        A module (a recurrent layer or cell, a liquid one of ``ncps``, one that contains exactly one, an autoencoder, or one
        with a forward of (input, state)), a state dict, a LeakyRate, LiquidTimeConstant, LongExpressiveMemory,
        PiecewiseLinear or Dynamics, or the path of a file: safetensors, torch weights or checkpoint, npz. Of transformers: a
        model, a folder with its config.json and weights, or a hub id, looked for in the local cache first. Such a model is
        not copied when it is in eval mode.
    model, kwargs
        "package.module:Class" and its arguments: the class is built and given the state dict.
    nonlinearity
        "tanh" or "relu" of a plain RNN, or of a leaky rate network (tanh when left out, with a note): weights do not say it.
    relu
        Rectified units of an almost-linear RNN: weights do not say it.
    leak
        a = dt / tau of a leaky rate network, when the file does not hold it.
    trust
        Open files that execute code on opening, and run the code that a model of transformers brings. Only for your own.

    Raises
    ------
    LoadError
        One line that says what came and what to do.
    """
    name = str(source) if isinstance(source, str | Path) else type(source).__name__
    content = source
    if isinstance(source, str | Path):
        content = (
            pretrained(source, trust=trust) if is_pretrained(source) and model is None else loaded(source, trust=trust)
        )
    choices = {"nonlinearity": nonlinearity, "relu": relu, "leak": leak}
    if model is None and not isinstance(
        content,
        Network | LeakyRate | LiquidTimeConstant | LongExpressiveMemory | PiecewiseLinear | Dynamics | nn.Module,
    ):
        found = recognised(tensors_of(content, name=name), name, choices)
        return Network(found.module, found.readout, name, found.notes, found.initial_state)
    refuse_choices(name, "network that says all of this itself", choices)
    if model is not None:
        return _of_module(_built(model, kwargs or {}, content, name), f"{name} in {model}")
    if isinstance(content, Network):
        return content
    return _of_module(content, name) if isinstance(content, nn.Module) else Network(content, source=name)


def _of_module(module: nn.Module, source: str) -> Network:
    """A module of the user's, copied: its one recurrent layer and the readout beside it, or its own step."""
    for key, value in module.state_dict().items():
        bad = int((~torch.isfinite(value)).sum()) if value.is_floating_point() else 0
        if bad:
            raise LoadError(f"{key!r} in {source} has {bad} of {value.numel()} values that are NaN or infinite")
    notes = []
    rates = [layer.p for layer in module.modules() if isinstance(layer, DROPOUT) and layer.training]
    rates += [layer.dropout for layer in module.modules() if isinstance(layer, nn.RNNBase) and layer.training]
    if any(rate > 0 for rate in rates):
        notes.append("Dropout is on in the module that came; a copy in eval mode is analysed.")
    if is_transformers(module) and not any(part.training for part in module.modules()):
        return Network(module, source=source)
    twin = copy.deepcopy(module).eval().requires_grad_(False)
    if isinstance(twin, RECURRENT) and type(twin).forward in FORWARDS:
        return Network(twin, source=source, notes=tuple(notes))
    cells = [path for path, layer in twin.named_modules() if is_liquid(layer)]
    cells = [path for path in cells if not any(_within(path, other) for other in cells)]
    if len(cells) == 1 and (
        not takes_a_state(twin) or cells == [""] or hasattr(twin.get_submodule(cells[0]), "rnn_cell")
    ):
        return _of_liquid(twin, cells[0], source, notes)
    found = {path: layer for path, layer in twin.named_modules() if isinstance(layer, RECURRENT)}
    if not any(isinstance(layer, nn.RNNBase) for layer in found.values()) and takes_a_state(twin):
        return _of_step(twin, found, source, notes)
    if not found:
        return Network(twin, source=source, notes=tuple(notes))
    if len(found) > 1:
        raise LoadError(f"{source} holds several recurrent layers ({', '.join(found)}); pass the one to analyse")
    ((path, layer),) = found.items()
    return _of_layer(twin, path, layer, source, notes)


def _of_liquid(twin: nn.Module, path: str, source: str, notes: list[str]) -> Network:
    """The one liquid cell of a module, or layer around one, with the time between its steps said."""
    cell = twin.get_submodule(path)
    kind = type(cell).__name__
    if path:
        notes = [*notes, f"The {kind} {path!r} inside {type(twin).__name__} is analysed, not the module's own forward."]
    said = f"The {kind} is read with a time of 1 between its steps; with another: interp.liquid(cell, dt=)."
    return Network(cell, source=source, notes=(*notes, said))


def _of_layer(twin: nn.Module, path: str, layer: nn.Module, source: str, notes: list[str]) -> Network:
    """The one recurrent layer of a module, with what stands around it said."""
    if type(layer).forward not in FORWARDS:
        raise LoadError(
            f"{type(layer).__name__} has a forward of its own, so torch's equations are not its map: pass a module with a "
            f"forward of (input, state), or an explicit step, Dynamics(step=...)"
        )
    notes = [
        *notes,
        f"The {type(layer).__name__} {path!r} inside {type(twin).__name__} is analysed, not the module's own forward.",
    ]
    if isinstance(layer, nn.RNNCellBase):
        kept = hands_its_state_on(twin, layer)
        if kept is False:
            raise LoadError(
                f"{source} changes the state between the calls of its {type(layer).__name__} {path!r}, so the cell alone is "
                f"not its map: give it a forward of (input, state), which is then stepped"
            )
        if kept is None:
            notes.append("What that forward does to the state between the calls of the cell was not seen.")
    readout, said = module_readout(twin, path, layer)
    start, more = initial_state(twin.state_dict(), _dim(layer), pair=isinstance(layer, nn.LSTM | nn.LSTMCell))
    return Network(layer, readout, source, (*notes, *said, *more), start)


def _of_step(twin: nn.Module, found: Mapping[str, Any], source: str, notes: list[str]) -> Network:
    """A module whose forward takes (input, state), with cells inside or none: stepped by that forward.

    Widths are the module's own (input_size, hidden_size), else those of its one cell. When a cell gives the same next states
    as the forward, its hand-written slopes and bounds are used in place of autograd.
    """
    kind = type(twin).__name__
    path, cell = next(iter(found.items())) if len(found) == 1 else ("", None)
    widths: dict[str, Any] = {}
    if cell is not None:
        pair = isinstance(cell, nn.LSTMCell)
        own = {name: getattr(twin, name, getattr(cell, name)) for name in ("hidden_size", "input_size")}
        widths = {"dim": own["hidden_size"] * (1 + pair), "inputs": own["input_size"], "parts": 1 + pair}
    try:
        step = stepped(twin, **widths)
    except InputError as error:
        if cell is not None and hands_its_state_on(twin, cell):
            return _of_layer(twin, path, cell, source, notes)  # a forward over whole sequences
        raise LoadError(f"{source} has a forward of (input, state) that cannot be stepped: {error}; {FIELD}") from error
    readout, said = step_readout(twin, step, widths.get("parts", 1))
    start, more = initial_state(twin.state_dict(), step.dim, pair=widths.get("parts") == 2)
    if cell is not None and type(cell).forward in FORWARDS and same_map(recurrent(cell), step):
        notes.append(
            f"{kind} steps as its {type(cell).__name__} {path!r} does, on 64 random states: the cell is analysed."
        )
        return Network(cell, readout, source, (*notes, *said, *more), start)
    notes.append(f"{kind} is stepped by its own forward of (input, state).")
    return Network(twin, readout, source, (*notes, *said, *more), start, widths)


def _built(spec: str, kwargs: Mapping[str, Any], content: Any, name: str) -> nn.Module:
    """The class that ``spec`` names, built and given the weights."""
    if isinstance(content, nn.Module):
        return content
    path, _, attribute = spec.partition(":")
    if not attribute:
        raise LoadError(f"model is 'package.module:Class', not {spec!r}")
    sys.path.insert(0, "")
    try:
        made = getattr(importlib.import_module(path), attribute)(**kwargs)
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise LoadError(f"{spec} with {dict(kwargs)} cannot be built: {said}") from error
    finally:
        sys.path.remove("")
    if not isinstance(made, nn.Module):
        raise LoadError(f"{spec} makes a {type(made).__name__}, not a torch module")
    made, tensors = made.double(), tensors_of(content, name=name)
    while (first := _first(tensors)) and first != _first(made.state_dict()):
        tensors = {key.removeprefix(first): value for key, value in tensors.items()}
    filled(made, tensors, name)
    return made


def _first(tensors: Mapping[str, Any]) -> str:
    """The prefix that all keys share, up to their first dot; "" when there is none."""
    firsts = {key.partition(".")[0] + "." if "." in key else "" for key in tensors}
    return firsts.pop() if len(firsts) == 1 else ""


def _within(path: str, other: str) -> bool:
    """Whether the module at ``path`` is a part of the one at ``other``."""
    return path != other and (not other or path.startswith(f"{other}."))


def _dim(layer: nn.Module) -> int:
    cell, layers = weights(layer)
    return sum(part.units for part in layers) * (2 if cell == "lstm" else 1)
