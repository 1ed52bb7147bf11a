"""Network: what ``load`` returns, and how a state dict is recognised by its keys and shapes."""

from __future__ import annotations

import copy
import importlib
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hooks.dynamics import Dynamics
from hooks.errors import InputError, LoadError
from hooks.families import LeakyRate, PiecewiseLinear, dale, low_rank, recurrent, stepped
from hooks.families.recurrent import weights
from hooks.loading import loaded, tensors_of

RECURRENT = (nn.RNNBase, nn.RNNCellBase)
LAYERS = {1: nn.RNN, 3: nn.GRU, 4: nn.LSTM}  # rows of weight_hh over its columns
# Names under which leaky rate networks are saved, the first one being ours
RATE_NAMES: Mapping[str, tuple[str, ...]] = {
    "W": ("W", "W_rec", "w_rec", "wrec", "J", "h2h.weight", "recurrent.weight"),
    "W_in": ("W_in", "w_in", "win", "input2h.weight", "i2h.weight", "input.weight"),
    "b": ("b", "bias", "b_rec", "h2h.bias", "recurrent.bias"),
    "b_in": ("b_in", "input2h.bias", "i2h.bias", "input.bias"),
    "leak": ("leak", "alpha", "a"),
    "m": ("m",),
    "n": ("n",),
    "signs": ("signs", "dale", "ei"),
    "W_out": ("W_out", "w_out", "wout"),
    "b_out": ("b_out",),
}
READOUT_NAMES = ("readout", "fc", "linear", "out", "output", "decoder", "head", "h2o")
START_NAMES = ("h0", "h_0", "initial_state", "initial_hidden", "init_hidden", "initial_hiddens_1xd")
UNDERSTOOD = (
    "torch recurrent layers (weight_ih_l0 ...) and cells (weight_ih ...), leaky rate networks (W, W_in, b, leak) and "
    "almost-linear RNNs (A, W, h). Any other module enters with model='package.module:Class' (--model)"
)


@dataclass(frozen=True, eq=False)
class Network:
    """A network with its readout, where it came from, and what was assumed in reading it.

    Attributes
    ----------
    module
        nn.Module, LeakyRate, PiecewiseLinear or Dynamics. A copy in eval mode when it was an nn.Module of the user's.
    readout
        Linear map of the state, when one was found beside a torch layer.
    source
        File or class it came from.
    notes
        Sentences for the reader of a report.
    initial_state : (dim,) or None
        A learned initial state.
    """

    module: Any
    readout: nn.Linear | None = None
    source: str = ""
    notes: tuple[str, ...] = ()
    initial_state: np.ndarray | None = None

    @property
    def fingerprint(self) -> str:
        """Digest of weights and settings."""
        return self.dynamics().fingerprint

    def dynamics(self, *, dtype: torch.dtype = torch.float64, device: str = "cpu") -> Dynamics:
        """The network as a map. Raises LoadError for a module of no known family, InputError for a device that is not there."""
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"device {device!r} cannot be used here: {str(error).splitlines()[0][:120]}") from None
        module = self.module
        if isinstance(module, Dynamics):
            return module
        if isinstance(module, LeakyRate | PiecewiseLinear):
            return module.dynamics(dtype=dtype, device=device)
        if isinstance(module, RECURRENT):
            return recurrent(module, readout=self.readout, dtype=dtype, device=device)
        if isinstance(module, nn.Module):
            return stepped(module, readout=self.readout, dtype=dtype, device=device)
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
    """Read a trained recurrent network from an object or a file, executing nothing.

    Parameters
    ----------
    source
        A module (a recurrent layer or cell, one that contains exactly one, or one with a forward of (input, state)), a state
        dict, a LeakyRate, PiecewiseLinear or Dynamics, or the path of a file: safetensors, torch weights or checkpoint, npz.
    model, kwargs
        "package.module:Class" and its arguments: the class is built and given the state dict.
    nonlinearity
        "tanh" or "relu" of a plain RNN, or of a leaky rate network (tanh when left out, with a note): weights do not say it.
    relu
        Rectified units of an almost-linear RNN: weights do not say it.
    leak
        a = dt / tau of a leaky rate network, when the file does not hold it.
    trust
        Open files that execute code on opening. Only for files of your own.

    Raises
    ------
    LoadError
        One line that says what came and what to do.
    """
    name = str(source) if isinstance(source, str | Path) else type(source).__name__
    content = loaded(source, trust=trust) if isinstance(source, str | Path) else source
    if model is not None:
        return _of_module(_built(model, kwargs or {}, content, name), f"{name} in {model}")
    if isinstance(content, Network):
        return content
    if isinstance(content, LeakyRate | PiecewiseLinear | Dynamics):
        return Network(content, source=name)
    if isinstance(content, nn.Module):
        return _of_module(content, name)
    return _of_tensors(tensors_of(content, name=name), name, nonlinearity, relu, leak)


def _of_module(module: nn.Module, source: str) -> Network:
    """A module of the user's, copied: its one recurrent layer and the readout beside it, or its own step."""
    for key, value in module.state_dict().items():
        bad = int((~torch.isfinite(value)).sum()) if value.is_floating_point() else 0
        if bad:
            raise LoadError(f"{key!r} in {source} has {bad} of {value.numel()} values that are NaN or infinite")
    notes = []
    rates = [layer.p for layer in module.modules() if isinstance(layer, nn.Dropout)]
    rates += [layer.dropout for layer in module.modules() if isinstance(layer, nn.RNNBase)]
    if module.training and any(rate > 0 for rate in rates):
        notes.append("Dropout is on in the module that came; a copy in eval mode is analysed.")
    twin = copy.deepcopy(module).eval().requires_grad_(False)
    found = [(path, layer) for path, layer in twin.named_modules() if isinstance(layer, RECURRENT)]
    if not found:
        return Network(twin, source=source, notes=tuple(notes))
    if len(found) > 1:
        raise LoadError(
            f"{source} holds several recurrent layers ({', '.join(path for path, _ in found)}); pass the one to analyse"
        )
    layer = found[0][1]
    readouts = [
        (beside, linear)
        for beside, linear in twin.named_modules()
        if isinstance(linear, nn.Linear) and linear.in_features == layer.hidden_size
    ]
    if len(readouts) > 1:
        notes.append(
            f"Several linear layers could read the state ({', '.join(beside for beside, _ in readouts)}); none is used."
        )
    starts = {
        key: value.detach().double() for key, value in twin.named_parameters() if key.rsplit(".", 1)[-1] in START_NAMES
    }
    start = _initial(starts, _dim(layer))
    return Network(layer, readouts[0][1] if len(readouts) == 1 else None, source, tuple(notes), start)


def _of_tensors(
    tensors: dict[str, Tensor], source: str, nonlinearity: str | None, relu: int | None, leak: float | None
) -> Network:
    """A state dict recognised by its keys and shapes."""
    prefixes = sorted({match[1] for key in tensors if (match := re.fullmatch(r"(.*?)weight_hh(_l0)?", key))})
    if len(prefixes) > 1:
        raise LoadError(
            f"{source} holds several recurrent layers ({', '.join(repr(p) for p in prefixes)}); give one of them"
        )
    if prefixes:
        return _torch_layer(tensors, prefixes[0], source, nonlinearity)
    short = {_short(key): value for key, value in tensors.items()}
    if {"A", "W", "h"} <= set(short):
        return _almost_linear(short, source, relu)
    if _pick(short, "W_in") is not None and (_pick(short, "W") is not None or {"m", "n"} <= set(short)):
        return _leaky(short, source, nonlinearity, leak)
    listed = ", ".join(f"{key} {tuple(value.shape)}" for key, value in list(tensors.items())[:10])
    raise LoadError(f"{source} is not recognised. It holds {listed}. Understood are {UNDERSTOOD}.")


def _torch_layer(tensors: dict[str, Tensor], prefix: str, source: str, nonlinearity: str | None) -> Network:
    own = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
    if any("_reverse" in key for key in own):
        raise LoadError(
            f"{source}: a bidirectional layer reads the future, so its hidden state is not a map of the state before"
        )
    if any("weight_hr" in key for key in own):
        raise LoadError(f"{source}: an LSTM with proj_size has an h that is a projection, which is not read here")
    layered = "weight_hh_l0" in own
    W = own["weight_hh_l0" if layered else "weight_hh"]
    units, gates = W.shape[1], W.shape[0] // W.shape[1]
    if W.shape[0] != gates * units or gates not in LAYERS:
        raise LoadError(f"{source}: weight_hh has shape {tuple(W.shape)}, which is no RNN (1x), GRU (3x) or LSTM (4x)")
    options: dict[str, Any] = {}
    if gates == 1:
        if nonlinearity not in ("tanh", "relu"):
            raise LoadError(
                f"{source}: weights of a plain RNN do not say its nonlinearity: pass nonlinearity='tanh' or 'relu' "
                f"(--nonlinearity)"
            )
        options["nonlinearity"] = nonlinearity
    depth = len([key for key in own if re.fullmatch(r"weight_hh_l\d+", key)]) if layered else 1
    renamed = {
        key if layered else f"{key}_l0": value for key, value in own.items() if key.startswith(("weight_", "bias_"))
    }
    inputs = renamed["weight_ih_l0"].shape[1] if "weight_ih_l0" in renamed else 1
    layer = LAYERS[gates](
        inputs, units, depth, bias=any(key.startswith("bias_") for key in renamed), **options
    ).double()
    _fill(layer, renamed, source)
    others = {
        key: value for key, value in tensors.items() if key[len(prefix) :] not in own or not key.startswith(prefix)
    }
    readout, notes = _readout(others, units)
    return Network(layer.eval().requires_grad_(False), readout, source, notes, _initial(others, _dim(layer)))


def _almost_linear(short: dict[str, Tensor], source: str, relu: int | None) -> Network:
    if relu is None:
        raise LoadError(
            f"{source}: pass relu=P (--relu P), the number of rectified units of {{A, W, h}}: the weights do not say it"
        )
    A, B = short["A"], short.get("B")
    if A.ndim == 2:
        if not torch.equal(A, torch.diag(A.diagonal())):
            raise LoadError(f"{source}: A is a full matrix; the almost-linear RNN has a diagonal one")
        A = A.diagonal()
    if not 0 <= relu <= len(A):
        raise LoadError(f"{source}: relu={relu}, but there are {len(A)} units")
    outputs = 0 if B is None else min(B.shape)
    return Network(PiecewiseLinear(A, short["W"], short["h"], relu, outputs), source=source)


def _leaky(short: dict[str, Tensor], source: str, nonlinearity: str | None, leak: float | None) -> Network:
    W, W_in = _pick(short, "W"), _pick(short, "W_in")
    assert W_in is not None
    W = low_rank(short["m"], short["n"]) if W is None else W
    signs, a = _pick(short, "signs"), _pick(short, "leak")
    W = W if signs is None else dale(W, signs)
    if a is None and leak is None:
        raise LoadError(f"{source}: a leaky rate network without its leak a = dt / tau: pass leak= (--leak)")
    b, b_in = _pick(short, "b"), _pick(short, "b_in")
    total = sum((part for part in (b, b_in) if part is not None), start=W.new_zeros(len(W)))
    notes = () if nonlinearity else ("The file does not say the nonlinearity of its rate network; tanh was assumed.",)
    readout, more = _readout(short, len(W))
    W_out, b_out = _pick(short, "W_out"), _pick(short, "b_out")
    if W_out is None and readout is not None:
        W_out, b_out = readout.weight, readout.bias
    module = LeakyRate(
        W,
        W_in,
        total,
        torch.as_tensor(leak if leak is not None else a),
        nonlinearity or "tanh",
        W_out=W_out,
        b_out=b_out,
    )
    return Network(module, source=source, notes=(*notes, *more), initial_state=_initial(short, len(W)))


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
    except (ImportError, AttributeError, TypeError) as error:
        raise LoadError(f"{spec} with {dict(kwargs)} cannot be built: {error}") from None
    finally:
        sys.path.remove("")
    if not isinstance(made, nn.Module):
        raise LoadError(f"{spec} makes a {type(made).__name__}, not a torch module")
    _fill(made, {key: value.float() for key, value in tensors_of(content, name=name).items()}, name)
    return made


def _fill(module: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """Give the module its weights; what is missing, extra or misshapen is said in one line."""
    expected = module.state_dict()
    missing, extra = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
    wrong = [
        f"{key} {tuple(tensors[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in sorted(set(expected) & set(tensors))
        if tensors[key].shape != expected[key].shape
    ]
    if missing or extra or wrong:
        lists = (("missing", missing), ("unexpected", extra), ("wrong", wrong))
        parts = [f"{label}: {', '.join(keys[:6])}" for label, keys in lists if keys]
        raise LoadError(f"the weights in {source} do not fit {type(module).__name__}: {'; '.join(parts)}")
    module.load_state_dict(tensors)


def _readout(tensors: Mapping[str, Tensor], units: int) -> tuple[nn.Linear | None, tuple[str, ...]]:
    """The linear layer that reads the state, when exactly one is there."""
    found = {
        key.removesuffix(".weight"): value
        for key, value in tensors.items()
        if key.endswith(".weight")
        and value.ndim == 2
        and value.shape[1] == units
        and key.split(".")[-2] in READOUT_NAMES
    }
    if len(found) > 1:
        return None, (f"Several linear layers could read the state ({', '.join(found)}); none is used.",)
    for key, W in found.items():
        b = tensors.get(f"{key}.bias")
        linear = nn.Linear(units, len(W), bias=b is not None).double().requires_grad_(False)
        linear.load_state_dict({"weight": W} if b is None else {"weight": W, "bias": b})
        return linear, ()
    return None, ()


def _initial(tensors: Mapping[str, Tensor], dim: int) -> np.ndarray | None:
    """A learned initial state, when one of the right size is there."""
    for key, value in tensors.items():
        if key.rsplit(".", 1)[-1] in START_NAMES and value.numel() == dim:
            return value.reshape(-1).double().numpy()
    return None


def _pick(short: Mapping[str, Tensor], role: str) -> Tensor | None:
    return next((short[name] for name in RATE_NAMES[role] if name in short), None)


def _short(key: str) -> str:
    """A key without the prefixes that wrappers add, with the layer's own name kept before .weight and .bias."""
    parts = key.split(".")
    return ".".join(parts[-2:]) if parts[-1] in ("weight", "bias") else parts[-1]


def _dim(layer: nn.Module) -> int:
    cell, layers = weights(layer)
    return sum(part.units for part in layers) * (2 if cell == "lstm" else 1)
