"""Recurrent networks as maps: torch's RNN, GRU and LSTM layers and cells.

State: the h of all layers side by side; for an LSTM the h of all layers, then the c of all layers (torch's order).
Drive: the input vector at that step. Steps are written in plain torch operations, so that they run on tensors, on
tangents and on enclosures alike; they agree with the fused module to rounding (tests/hooks/families).

Equations: those of torch.nn.RNN, GRU and LSTM (gates stacked r, z, n and i, f, g, o).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from hooks.dynamics import Box, Dynamics, TensorLike, digest
from hooks.errors import InputError
from hooks.families._parts import NONLINEARITIES, relu_ceiling, times

Cell = Literal["tanh", "relu", "gru", "lstm"]
GATES = {"tanh": 1, "relu": 1, "gru": 3, "lstm": 4}


@dataclass(frozen=True, eq=False)
class Layer:
    """Weights of one recurrent layer, gates stacked as torch stacks them."""

    W_x: Float[Tensor, "gates inputs"]
    W_h: Float[Tensor, "gates units"]
    b_x: Float[Tensor, " gates"]
    b_h: Float[Tensor, " gates"]

    @property
    def units(self) -> int:
        return self.W_h.shape[1]


def recurrent(
    module: nn.Module,
    *,
    readout: nn.Linear | None = None,
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
) -> Dynamics:
    """A torch recurrent layer or cell as a driven map of its full hidden state.

    Parameters
    ----------
    module
        nn.RNN (tanh or relu), nn.GRU, nn.LSTM of any depth, or one of their cells. It is read, never changed.
    readout
        Linear map of the last layer's h.

    Returns
    -------
    Dynamics
        dim = layers x units (twice that for an LSTM), inputs = module.input_size. Dropout between layers is off,
        as in eval mode.

    Raises
    ------
    InputError
        For a bidirectional layer (its state at a step depends on the future, so it is no map), for proj_size (its
        h is a projection that no layer of this family has), or for a module of another kind.
    """
    cell, layers = weights(module)
    return stacked(cell, layers, readout=readout, dtype=dtype, device=device)


def stacked(
    cell: Cell,
    layers: Sequence[Layer],
    *,
    readout: nn.Linear | None = None,
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
) -> Dynamics:
    """Layers of one kind, the first one first, as a driven map: what ``recurrent`` makes of a module."""
    layers = [
        Layer(*(w.detach().to(dtype=dtype, device=device, copy=True) for w in vars(layer).values())) for layer in layers
    ]
    units, depth, inputs = layers[0].units, len(layers), layers[0].W_x.shape[1]
    h_dim = units * depth
    step_cell, push_cell = CELLS[cell]
    lstm = cell == "lstm"

    def parts(states: TensorLike) -> list[tuple[TensorLike, ...]]:
        """State of each layer: (h,) or (h, c)."""
        hs = [states[..., i * units : (i + 1) * units] for i in range(depth)]
        if not lstm:
            return [(h,) for h in hs]
        return [(h, states[..., h_dim + i * units : h_dim + (i + 1) * units]) for i, h in enumerate(hs)]

    def joined(new: list[tuple[TensorLike, ...]], dim: int) -> TensorLike:
        return torch.cat([part[kind] for kind in range(1 + lstm) for part in new], dim=dim)

    def step(states: TensorLike, drive: Tensor) -> TensorLike:
        new: list[tuple[TensorLike, ...]] = []
        for layer, state in zip(layers, parts(states), strict=True):
            new.append(step_cell(layer, drive, state))
            drive = new[-1][0]
        return joined(new, -1)

    def push(states: Tensor, tangents: Tensor, drive: Tensor) -> tuple[Tensor, Tensor]:
        new, moved = [], []
        carried: Tensor | None = None
        for layer, state, tangent in zip(layers, parts(states), parts(tangents.mT), strict=True):
            after, along = push_cell(layer, drive, state, carried, tuple(part.mT for part in tangent))
            new.append(after)
            moved.append(along)
            drive, carried = after[0], along[0]
        return joined(new, -1), joined(moved, -2)

    def jacobian(states: Tensor, drive: Tensor) -> Tensor:
        return push(states, torch.eye(states.shape[1], dtype=dtype, device=device), drive)[1]  # one eye for the batch

    def box(drive: Tensor) -> Box | None:
        return _box(cell, layers, drive)

    kind = {"tanh": "RNN (tanh)", "relu": "RNN (ReLU)", "gru": "GRU", "lstm": "LSTM"}[cell]
    return Dynamics(
        step=step,
        dim=h_dim * (1 + lstm),
        name=f"{kind}, {units} units" + (f" x {depth} layers" if depth > 1 else ""),
        driven=True,
        inputs=inputs,
        dtype=dtype,
        device=device,
        jacobian=jacobian,
        push=push,
        readout=None if readout is None else _linear_readout(readout, slice(h_dim - units, h_dim), dtype, device),
        box=box,
        layers=tuple(i // units % depth for i in range(h_dim * (1 + lstm))) if depth > 1 else (),
        fingerprint=digest(cell, *(w for layer in layers for w in vars(layer).values()), *_weights_of(readout)),
        weights={
            "family": "recurrent",
            "cell": cell,
            **{f"layers.{k}.{name}": w for k, layer in enumerate(layers) for name, w in vars(layer).items()},
            **({} if readout is None else {f"readout.{name}": w.detach() for name, w in readout.named_parameters()}),
        },
    )


def weights(module: nn.Module) -> tuple[Cell, list[Layer]]:
    """Kind and weights, layer by layer, of a torch recurrent layer or cell.

    Raises
    ------
    InputError
        For what is no map of its hidden state: a bidirectional layer, one with proj_size, or a module of another kind.
    """
    if isinstance(module, nn.RNNBase):
        if module.bidirectional:
            raise InputError(
                "a bidirectional layer reads the future, so its hidden state is not a map of the state before. "
                "Analyse the forward direction alone: copy its weights (without the suffix _reverse) into a "
                "one-directional layer."
            )
        if module.proj_size:
            raise InputError(
                f"proj_size={module.proj_size}: the projected h and the full c have different widths, which this "
                f"family does not read. Fold the projection into a layer of your own and pass it as an explicit step."
            )
        suffixes = [f"_l{layer}" for layer in range(module.num_layers)]
    elif isinstance(module, nn.RNNCellBase):
        suffixes = [""]
    else:
        raise InputError(
            f"{type(module).__name__} is not one of torch's recurrent layers or cells. A module with a forward of "
            f"(input, state) enters through hooks.families.stepped, any step through Dynamics(step=...)."
        )
    gated: Cell | None = (
        "gru"
        if isinstance(module, nn.GRU | nn.GRUCell)
        else "lstm"
        if isinstance(module, nn.LSTM | nn.LSTMCell)
        else None
    )
    cell: Cell = gated or ("relu" if module.nonlinearity == "relu" else "tanh")
    layers = []
    for suffix in suffixes:
        W_x, W_h = getattr(module, f"weight_ih{suffix}"), getattr(module, f"weight_hh{suffix}")
        zero = W_h.new_zeros(len(W_h))
        b_x, b_h = (getattr(module, f"bias_{which}{suffix}", None) if module.bias else None for which in ("ih", "hh"))
        layers.append(Layer(W_x, W_h, zero if b_x is None else b_x, zero if b_h is None else b_h))
    return cell, layers


def _weights_of(readout: nn.Linear | None) -> tuple[Tensor, ...]:
    return () if readout is None else tuple(readout.parameters())


def _linear_readout(readout: nn.Linear, where: slice, dtype: torch.dtype, device: str) -> Callable[[Tensor], Tensor]:
    W = readout.weight.detach().to(dtype=dtype, device=device, copy=True)
    b = None if readout.bias is None else readout.bias.detach().to(dtype=dtype, device=device, copy=True)
    return lambda states: linear(states[..., where], W, b)


def _step_rnn(phi: Callable[[Tensor], Tensor]) -> Any:
    def step(layer: Layer, x: TensorLike, state: tuple[TensorLike, ...]) -> tuple[TensorLike, ...]:
        return (phi(linear(state[0], layer.W_h, layer.b_h) + linear(x, layer.W_x, layer.b_x)),)

    return step


def _push_rnn(name: str) -> Any:
    phi, slope, _ = NONLINEARITIES[name]

    def push(layer: Layer, x: Tensor, state: tuple[Tensor, ...], dx: Tensor | None, tangent: tuple[Tensor, ...]) -> Any:
        before = linear(state[0], layer.W_h, layer.b_h) + linear(x, layer.W_x, layer.b_x)
        after = phi(before)
        return (after,), (slope(before, after)[..., None] * _sum(times(layer.W_h, tangent[0]), layer, dx),)

    return push


def _step_gru(layer: Layer, x: TensorLike, state: tuple[TensorLike, ...]) -> tuple[TensorLike, ...]:
    h, units = state[0], layer.units
    from_x, from_h = linear(x, layer.W_x, layer.b_x), linear(h, layer.W_h, layer.b_h)
    r = torch.sigmoid(from_h[..., :units] + from_x[..., :units])
    z = torch.sigmoid(from_h[..., units : 2 * units] + from_x[..., units : 2 * units])
    n = torch.tanh(r * from_h[..., 2 * units :] + from_x[..., 2 * units :])
    return (n + z * (h - n),)


def _push_gru(
    layer: Layer, x: Tensor, state: tuple[Tensor, ...], dx: Tensor | None, tangent: tuple[Tensor, ...]
) -> Any:
    h, units = state[0], layer.units
    from_x, from_h = linear(x, layer.W_x, layer.b_x), linear(h, layer.W_h, layer.b_h)
    r = torch.sigmoid(from_h[..., :units] + from_x[..., :units])
    z = torch.sigmoid(from_h[..., units : 2 * units] + from_x[..., units : 2 * units])
    a = from_h[..., 2 * units :]
    n = torch.tanh(r * a + from_x[..., 2 * units :])
    d_h = times(layer.W_h, tangent[0])
    d = _sum(d_h, layer, dx)
    d_r = (r * (1 - r))[..., None] * d[..., :units, :]
    d_z = (z * (1 - z))[..., None] * d[..., units : 2 * units, :]
    # W_x dx reaches n directly, W_h dh through r
    d_n = r[..., None] * d_h[..., 2 * units :, :] + a[..., None] * d_r
    d_n = (1 - n * n)[..., None] * (d_n if dx is None else d_n + times(layer.W_x[2 * units :], dx))
    return (n + z * (h - n),), (d_n + d_z * (h - n)[..., None] + z[..., None] * (tangent[0] - d_n),)


def _step_lstm(layer: Layer, x: TensorLike, state: tuple[TensorLike, ...]) -> tuple[TensorLike, ...]:
    h, c = state
    units = layer.units
    before = linear(h, layer.W_h, layer.b_h) + linear(x, layer.W_x, layer.b_x)
    i, f = torch.sigmoid(before[..., :units]), torch.sigmoid(before[..., units : 2 * units])
    g, o = torch.tanh(before[..., 2 * units : 3 * units]), torch.sigmoid(before[..., 3 * units :])
    c = f * c + i * g
    return o * torch.tanh(c), c


def _push_lstm(
    layer: Layer, x: Tensor, state: tuple[Tensor, ...], dx: Tensor | None, tangent: tuple[Tensor, ...]
) -> Any:
    h, c = state
    units = layer.units
    before = linear(h, layer.W_h, layer.b_h) + linear(x, layer.W_x, layer.b_x)
    i, f = torch.sigmoid(before[..., :units]), torch.sigmoid(before[..., units : 2 * units])
    g, o = torch.tanh(before[..., 2 * units : 3 * units]), torch.sigmoid(before[..., 3 * units :])
    d = _sum(times(layer.W_h, tangent[0]), layer, dx)
    d_i, d_f = (
        (i * (1 - i))[..., None] * d[..., :units, :],
        (f * (1 - f))[..., None] * d[..., units : 2 * units, :],
    )
    d_g, d_o = (
        (1 - g * g)[..., None] * d[..., 2 * units : 3 * units, :],
        (o * (1 - o))[..., None] * d[..., 3 * units :, :],
    )
    d_c = f[..., None] * tangent[1] + c[..., None] * d_f + g[..., None] * d_i + i[..., None] * d_g
    c = f * c + i * g
    said = torch.tanh(c)
    return (o * said, c), (said[..., None] * d_o + (o * (1 - said * said))[..., None] * d_c, d_c)


def _sum(d_h: Tensor, layer: Layer, dx: Tensor | None) -> Tensor:
    return d_h if dx is None else d_h + times(layer.W_x, dx)


CELLS: Mapping[Cell, tuple[Any, Any]] = {
    "tanh": (_step_rnn(torch.tanh), _push_rnn("tanh")),
    "relu": (_step_rnn(torch.relu), _push_rnn("relu")),
    "gru": (_step_gru, _push_gru),
    "lstm": (_step_lstm, _push_lstm),
}


def _box(cell: Cell, layers: list[Layer], drive: Tensor) -> Box | None:
    """A trapping box. tanh and GRU: [-1, 1]. LSTM: |h| <= 1 and |c| <= i / (1 - f) with i, f at their largest.

    ReLU: [0, u] with u = relu(W u + ...) majorised, which exists when the positive part of W has radius below 1.
    """
    units = layers[0].units
    one = torch.ones(units * len(layers), dtype=layers[0].W_h.dtype, device=layers[0].W_h.device)
    if cell in ("tanh", "gru"):
        return -one, one
    low, high = drive, drive  # range of each layer's input
    lows, highs, cells = [], [], []
    for layer in layers:
        W, b = layer.W_x, layer.b_x + layer.b_h
        most = W.clamp(min=0) @ high + W.clamp(max=0) @ low + b
        if cell == "relu":
            top = relu_ceiling(layer.W_h, most)
            if top is None:
                return None
            low, high = torch.zeros_like(top), top
        else:
            most = (most + layer.W_h.abs().sum(1)) * (1 + 1e-12) + 1e-12
            i, forget = (
                torch.sigmoid(most[:units]),
                torch.sigmoid(-most[units : 2 * units]),
            )  # 1 - f at its smallest
            cells.append(i / forget * (1 + 1e-9))
            low, high = -one[:units], one[:units]
        lows.append(low)
        highs.append(high)
    return torch.cat([*lows, *(-c for c in cells)]), torch.cat([*highs, *cells])


__all__ = ["GATES", "recurrent", "stacked", "weights"]
