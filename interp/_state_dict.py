"""A state dict recognised by its keys and shapes: torch recurrent layers, leaky rate networks, piecewise-linear RNNs."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from hooks.errors import LoadError
from hooks.families import LeakyRate, PiecewiseLinear, ShallowPiecewiseLinear, dale, low_rank
from interp._beside import CELL_START_NAMES, START_NAMES, initial_state, readout_name

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
SHALLOW = ("A", "W1", "W2", "h1", "h2")
UNDERSTOOD = (
    "torch recurrent layers (weight_ih_l0 ...) and cells (weight_ih ...), leaky rate networks (W, W_in, b, leak), "
    "almost-linear RNNs (A, W, h) and shallow PLRNNs (A, W1, W2, h1, h2). Any other module enters with "
    "model='package.module:Class' (--model)"
)


class Found(NamedTuple):
    """What a state dict holds."""

    module: Any
    readout: nn.Linear | None
    notes: tuple[str, ...]
    initial_state: np.ndarray | None


def recognised(tensors: dict[str, Tensor], source: str, choices: Mapping[str, Any]) -> Found:
    """The network in a state dict. ``choices`` is what its weights may not say: nonlinearity, relu, leak; None if not given."""
    prefixes = sorted({match[1] for key in tensors if (match := re.fullmatch(r"(.*?)weight_hh(_l0)?", key))})
    if len(prefixes) > 1:
        raise LoadError(
            f"{source} holds several recurrent layers ({', '.join(repr(p) for p in prefixes)}); give one of them"
        )
    if prefixes:
        return _torch_layer(tensors, prefixes[0], source, choices)
    short = {_short(key): value for key, value in tensors.items()}
    if {"A", "W", "h"} <= set(short):
        return _almost_linear(short, source, choices)
    if set(SHALLOW) <= set(short):
        return _shallow(short, source, choices)
    roles = {role for role, names in RATE_NAMES.items() if any(name in short for name in names)}
    if {"W_in", "W"} <= roles or {"W_in", "m", "n"} <= roles:
        return _leaky(short, source, choices)
    listed = ", ".join(f"{key} {tuple(value.shape)}" for key, value in list(tensors.items())[:10])
    raise LoadError(f"{source} is not recognised. It holds {listed}. Understood are {UNDERSTOOD}.")


def _torch_layer(tensors: dict[str, Tensor], prefix: str, source: str, choices: Mapping[str, Any]) -> Found:
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
    refuse_choices(source, LAYERS[gates].__name__, choices, but=("nonlinearity",) if gates == 1 else ())
    options: dict[str, Any] = {}
    nonlinearity = choices["nonlinearity"]
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
    filled(layer, renamed, source)
    others = {
        key: value for key, value in tensors.items() if key[len(prefix) :] not in own or not key.startswith(prefix)
    }
    readout, notes, seen = _readout(others, units)
    start, more = initial_state(others, depth * units * (2 if gates == 4 else 1), pair=gates == 4)
    unread = _unread(others, {*seen, *START_NAMES, *CELL_START_NAMES})
    return Found(layer.eval().requires_grad_(False), readout, (*notes, *more, *unread), start)


def _almost_linear(short: dict[str, Tensor], source: str, choices: Mapping[str, Any]) -> Found:
    refuse_choices(source, "almost-linear RNN", choices, but=("relu",))
    relu = choices["relu"]
    if relu is None:
        raise LoadError(
            f"{source}: pass relu=P (--relu P), the number of rectified units of {{A, W, h}}: the weights do not say it"
        )
    A, W, h, B = _diagonal(short["A"], source), short["W"], short["h"], short.get("B")
    if A.ndim == 1 and not 0 <= relu <= len(A):
        raise LoadError(f"{source}: relu={relu}, but there are {len(A)} units")
    notes = _unread(short, {"A", "W", "h", "B", *START_NAMES})
    outputs = 0
    if B is not None:
        if B.ndim != 2 or B.shape[1] != len(A) or len(B) > len(A):
            raise LoadError(f"{source}: B is (observed, {len(A)}), but {tuple(B.shape)} came")
        # the authors' files: B takes an observation to a first state, and units 1 to N are read out
        outputs = len(B)
        notes = (
            f"B was read as the map from an observation to a first state; the first {outputs} units are read out.",
            *notes,
        )
    start, more = initial_state(short, A.numel())
    return Found(PiecewiseLinear(A, W, h, relu, outputs), None, (*more, *notes), start)


def _shallow(short: dict[str, Tensor], source: str, choices: Mapping[str, Any]) -> Found:
    refuse_choices(source, "shallow PLRNN", choices)
    A, W1, W2, h1, h2 = (short[name] for name in SHALLOW)
    network = ShallowPiecewiseLinear(_diagonal(A, source), W1, W2, h1, h2)
    dim, hidden = len(network.A), len(network.h2)
    start, more = initial_state(short, dim)
    lifted = None if start is None else network.states(torch.as_tensor(start)[None])[0].numpy()
    notes = (
        f"A shallow PLRNN of {dim} units and {hidden} hidden ones, read as unclipped (the weights do not say it): the "
        f"almost-linear RNN of state [z, W2 z + h2] has the same orbits, and the same eigenvalues but for {hidden} zeros.",
    )
    return Found(network.lifted(), None, (*notes, *more, *_unread(short, {*SHALLOW, *START_NAMES})), lifted)


def _diagonal(A: Tensor, source: str) -> Tensor:
    """(dim,), also of a diagonal matrix."""
    if A.ndim == 2 and not torch.equal(A, torch.diag(A.diagonal())):
        raise LoadError(f"{source}: A is a full matrix; the linear part of a piecewise-linear RNN is diagonal")
    return A.diagonal() if A.ndim == 2 else A


def _leaky(short: dict[str, Tensor], source: str, choices: Mapping[str, Any]) -> Found:
    refuse_choices(source, "leaky rate network", choices, but=("nonlinearity", "leak"))
    nonlinearity, leak = choices["nonlinearity"], choices["leak"]
    roles = {role: name for role, names in RATE_NAMES.items() if (name := next((n for n in names if n in short), ""))}
    given = {role: short[name] for role, name in roles.items()}
    W = given["W"] if "W" in given else low_rank(given["m"], given["n"])
    if "signs" in given:
        W = dale(W, given["signs"].to(W))
    if leak is None and "leak" not in given:
        raise LoadError(f"{source}: a leaky rate network without its leak a = dt / tau: pass leak= (--leak)")
    notes = [] if nonlinearity else ["The file does not say the nonlinearity of its rate network; tanh was assumed."]
    if leak is not None and "leak" in given:
        notes.append(f"leak={leak} was given and stands in place of {roles['leak']!r} in the file.")
    biases = [given[role] for role in ("b", "b_in") if role in given]
    readout, said, seen = _readout(short, len(W)) if "W_out" not in given else (None, (), ())
    W_out, b_out = given.get("W_out"), given.get("b_out")
    if readout is not None:
        W_out, b_out = readout.weight, readout.bias
    module = LeakyRate(
        W,
        given["W_in"],
        sum(biases[1:], start=biases[0]) if biases else W.new_zeros(len(W)),
        torch.as_tensor(leak if leak is not None else given["leak"]),
        nonlinearity or "tanh",
        W_out=W_out,
        b_out=b_out,
    )
    start, more = initial_state(short, len(W))
    unread = _unread(short, {*roles.values(), *seen, *START_NAMES})
    return Found(module, None, (*notes, *said, *more, *unread), start)


def refuse_choices(source: str, kind: str, choices: Mapping[str, Any], *, but: Collection[str] = ()) -> None:
    """Raise LoadError for a choice that was given where this kind of network has none."""
    idle = [name for name, value in choices.items() if value is not None and name not in but]
    if idle:
        said = ", ".join(f"{name}= (--{name})" for name in idle)
        raise LoadError(f"{source} ({kind}): leave out {said}, which would change nothing")


def filled(module: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
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


def _readout(tensors: Mapping[str, Tensor], units: int) -> tuple[nn.Linear | None, tuple[str, ...], tuple[str, ...]]:
    """The linear layer that reads the state, by the rule of ``readout_name``; what was assumed; the keys that were read."""
    linears = {
        key.removesuffix(".weight"): value
        for key, value in tensors.items()
        if key.endswith(".weight") and value.ndim == 2
    }
    name, notes = readout_name({key: (W.shape[0], W.shape[1]) for key, W in linears.items()}, units, ())
    if not name:
        return None, notes, ()
    W, b = linears[name], tensors.get(f"{name}.bias")
    linear = nn.Linear(units, len(W), bias=b is not None).double().requires_grad_(False)
    filled(linear, {"weight": W} if b is None else {"weight": W, "bias": b}, name)
    return linear, notes, (f"{name}.weight", f"{name}.bias")


def _unread(tensors: Mapping[str, Tensor], read: Collection[str]) -> tuple[str, ...]:
    """A sentence that names the tensors of a file that are no part of the map."""
    left = [
        f"{key} {tuple(value.shape)}"
        for key, value in tensors.items()
        if key not in read and key.rsplit(".", 1)[-1] not in {*read, "num_batches_tracked"}
    ]
    return (f"Not read: {', '.join(left[:6])}{', ...' if len(left) > 6 else ''}.",) if left else ()


def _short(key: str) -> str:
    """A key without the prefixes that wrappers add, with the layer's own name kept before .weight and .bias."""
    parts = key.split(".")
    return ".".join(parts[-2:]) if parts[-1] in ("weight", "bias") else parts[-1]
