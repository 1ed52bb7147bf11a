"""Closed-form continuous-time cells as maps: an explicit answer of the state after an elapsed time ``dt``, without a solver.

Source: Hasani, Lechner, Amini, Liebenwein, Ray, Tschaikowski, Teschl and Rus, Closed-form continuous-time neural networks,
Nature Machine Intelligence 4 (2022): x(t) = sigmoid(-f t) g + (1 - sigmoid(-f t)) h, and the approximate solution that it
replaces, x(t) = B exp(-(w_tau + f) t) f + A. State: the units. Drive: the input vector. See ``liquid``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import gelu, linear, silu

from hooks.dynamics import Box, Dynamics, TensorLike
from hooks.errors import InputError
from hooks.families._parts import named_digest

ACTIVATIONS: Mapping[str, Any] = {
    "LeCun": lambda before: 1.7159 * torch.tanh(0.666 * before),
    "SiLU": silu,
    "ReLU": torch.relu,
    "Tanh": torch.tanh,
    "GELU": gelu,
    "": None,
}
MODES = ("default", "no_gate", "pure")


def closed_form(
    tensors: Mapping[str, Tensor],
    *,
    mode: str = "default",
    activation: str = "",
    dt: float = 1.0,
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
) -> Dynamics:
    """One or several closed-form cells, each fed by the next state of the one before, as a driven map over ``dt``.

    Parameters
    ----------
    tensors
        "layers.k.backbone.d.weight" and ".bias" of each cell's common layers, if it has any; "layers.k.ff1.weight" and
        so on of its heads ff1, ff2, time_a and time_b, or in mode "pure" of ff1 beside w_tau and A. All that a head or a first
        common layer reads is (input, state). "readout.weight" and "readout.bias" of a linear map of the last cell.
    mode
        "default": g (1 - s) + h s with s = sigmoid(time_a dt + time_b), g = tanh(ff1), h = tanh(ff2); "no_gate": g + h s;
        "pure": A - A exp(-dt (|w_tau| + |ff1|)) ff1.
    activation
        Of the common layers.
    dt
        Time that elapses in one step.

    Raises
    ------
    InputError
        For an unknown mode or activation, or a dt that is not positive and finite.
    """
    if mode not in MODES or activation not in ACTIVATIONS:
        known = f"{', '.join(MODES)} and {', '.join(name for name in ACTIVATIONS if name)}"
        raise InputError(f"mode {mode!r} with activation {activation!r} is no closed-form cell; there are {known}")
    if not 0 < dt < float("inf"):
        raise InputError(f"dt is a positive time, but {dt} came")
    own = {name: value.detach().to(dtype=dtype, device=device, copy=True) for name, value in tensors.items()}
    count = 1 + max(int(name.split(".")[1]) for name in own if name.startswith("layers."))
    cells = [
        {name.split(".", 2)[2]: value for name, value in own.items() if name.startswith(f"layers.{k}.")}
        for k in range(count)
    ]
    widths = [len(cell["ff1.weight"]) for cell in cells]
    first = cells[0].get("backbone.0.weight", cells[0]["ff1.weight"])
    inputs, dim, act = first.shape[1] - widths[0], sum(widths), ACTIVATIONS[activation]
    W, b = own.get("readout.weight"), own.get("readout.bias")

    def step(states: TensorLike, drive: TensorLike) -> TensorLike:
        entering, after, start = drive, [], 0
        for cell, width in zip(cells, widths, strict=True):
            entering = _after(cell, entering, states[..., start : start + width], mode, act, dt)
            after.append(entering)
            start += width
        return after[0] if count == 1 else torch.cat(after, -1)

    def box(_: Tensor | None) -> Box | None:
        if mode != "pure":
            edge = torch.ones(dim, dtype=dtype, device=device) * (1 if mode == "default" else 2)
            return -edge, edge
        # |f| exp(-dt |f|) <= 1 / (e dt), and exp(-dt |w_tau|) <= 1
        center = torch.cat([cell["A"][0] for cell in cells])
        reach = center.abs() / (math.e * dt) * (1 + 1e-12)
        return center - reach, center + reach

    def readout(states: Tensor) -> Tensor:
        last = states[..., dim - widths[-1] :]
        return last if W is None else linear(last, W, b)

    return Dynamics(
        step=step,
        dim=dim,
        name=f"closed-form continuous-time network, {dim} units",
        driven=True,
        inputs=inputs,
        dt=dt,
        dtype=dtype,
        device=device,
        readout=readout,
        box=box,
        fingerprint=named_digest(own, "CfC", mode, activation, dt),
        weights={
            "family": "closed-form continuous-time",
            "mode": mode,
            "activation": activation,
            "dt": torch.tensor(dt, dtype=torch.float64),
            **tensors,
        },
    )


def _after(
    cell: Mapping[str, Tensor], entering: TensorLike, state: TensorLike, mode: str, act: Any, dt: float
) -> TensorLike:
    """One cell's state after dt."""
    inputs = entering.shape[-1]
    depth = sum(name.startswith("backbone.") and name.endswith(".weight") for name in cell)

    def mixed(name: str) -> TensorLike:
        W = cell[f"{name}.weight"]
        return linear(state, W[:, inputs:]) + linear(entering, W[:, :inputs], cell[f"{name}.bias"])

    features: TensorLike = act(mixed("backbone.0")) if depth else None
    for d in range(1, depth):
        features = act(linear(features, cell[f"backbone.{d}.weight"], cell[f"backbone.{d}.bias"]))

    def head(name: str) -> TensorLike:
        return linear(features, cell[f"{name}.weight"], cell[f"{name}.bias"]) if depth else mixed(name)

    if mode == "pure":
        f = head("ff1")
        return cell["A"] - cell["A"] * torch.exp(-dt * (cell["w_tau"].abs() + torch.abs(f))) * f
    g, h = torch.tanh(head("ff1")), torch.tanh(head("ff2"))
    share = torch.sigmoid(head("time_a") * dt + head("time_b"))
    return g + share * h if mode == "no_gate" else g * (1.0 - share) + share * h
