"""Leaky rate networks as maps: r' = (1 - a) r + a phi(W r + W_in x + b), with E/I signs or low rank in W.

State: the rates. Drive: the input vector at that step. The step runs on tensors, on tangents and on enclosures alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from hooks.dynamics import Box, Dynamics, TensorLike, digest
from hooks.errors import InputError
from hooks.families._parts import NONLINEARITIES, relu_ceiling, times


@dataclass(frozen=True, eq=False)
class LeakyRate:
    """A leaky rate network r' = (1 - a) r + a phi(W r + W_in x + b).

    Parameters
    ----------
    W : (units, units)
        Recurrent weights as they act; see ``dale`` and ``low_rank`` for constrained ones.
    W_in : (units, inputs)
    b : (units,)
    leak : () or (units,)
        a = dt / tau, in (0, 1]: one for all units, or each its own.
    nonlinearity
        tanh, relu, sigmoid or softplus.
    W_out, b_out
        Linear readout, (outputs, units) and (outputs,).

    Raises
    ------
    InputError
        For an unknown nonlinearity, shapes that do not fit one another, or a leak outside (0, 1].
    """

    W: Tensor
    W_in: Tensor
    b: Tensor
    leak: Tensor
    nonlinearity: str = "tanh"
    W_out: Tensor | None = None
    b_out: Tensor | None = None

    def __post_init__(self) -> None:
        if self.nonlinearity not in NONLINEARITIES:
            raise InputError(f"the nonlinearity is one of {', '.join(NONLINEARITIES)}, not {self.nonlinearity!r}")
        units = self.W.shape[0] if self.W.ndim else 1
        kinds: dict[str, tuple[int | str, ...]] = {
            "W": (units, units),
            "W_in": (units, "inputs"),
            "b": (units,),
            "W_out": ("outputs", units),
        }
        if self.W_out is not None and self.W_out.ndim:
            kinds["b_out"] = (len(self.W_out),)
        for name, shape in kinds.items():
            value = getattr(self, name)
            fits = value is None or (
                value.ndim == len(shape)
                and all(isinstance(n, str) or n == m for n, m in zip(shape, value.shape, strict=True))
            )
            if not fits:
                said = f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
                raise InputError(f"{name} has shape {tuple(value.shape)}; {units} units need {said}")
        leak = torch.as_tensor(self.leak, dtype=self.W.dtype)
        if leak.shape not in ((), (units,)) or not ((leak > 0) & (leak <= 1)).all():
            raise InputError(
                f"the leak a = dt / tau lies in (0, 1], one number or one for each of {units} units; {leak} came"
            )
        object.__setattr__(self, "leak", leak)

    def dynamics(self, *, dtype: torch.dtype = torch.float64, device: str = "cpu") -> Dynamics:
        """The network as a driven map of its rates, dim = units; autonomous when W_in has no columns."""
        W, W_in, b, a = (
            w.detach().to(dtype=dtype, device=device, copy=True) for w in (self.W, self.W_in, self.b, self.leak)
        )
        phi, slope, (low, high) = NONLINEARITIES[self.nonlinearity]
        keep = 1 - a

        def entering(drive: Tensor | None) -> Tensor:
            return b if drive is None else linear(drive, W_in, b)

        def step(states: TensorLike, drive: Tensor | None) -> TensorLike:
            return keep * states + a * phi(linear(states, W) + entering(drive))

        def push(states: Tensor, tangents: Tensor, drive: Tensor | None) -> tuple[Tensor, Tensor]:
            before = linear(states, W) + entering(drive)
            after = phi(before)
            gain = a * slope(before, after)
            return keep * states + a * after, _rows(keep, states) * tangents + gain[..., None] * times(W, tangents)

        def jacobian(states: Tensor, drive: Tensor | None) -> Tensor:
            before = linear(states, W) + entering(drive)
            return (a * slope(before, phi(before)))[..., None] * W + torch.diag(keep.expand(len(W)))

        def box(drive: Tensor | None) -> Box | None:
            if self.nonlinearity != "relu":
                return None if high == float("inf") else (torch.full_like(b, low), torch.full_like(b, high))
            top = relu_ceiling(W, entering(drive))
            return None if top is None else (torch.zeros_like(top), top)

        readout = None
        if self.W_out is not None:
            W_out = self.W_out.detach().to(dtype=dtype, device=device, copy=True)
            b_out = W_out.new_zeros(len(W_out)) if self.b_out is None else self.b_out.detach().to(W_out)
            readout = lambda states: linear(states, W_out, b_out)  # noqa: E731
        return Dynamics(
            step=step,
            dim=len(W),
            name=f"leaky rate network ({self.nonlinearity}), {len(W)} units",
            driven=W_in.shape[1] > 0,
            inputs=W_in.shape[1],
            dtype=dtype,
            device=device,
            jacobian=jacobian,
            push=push,
            readout=readout,
            box=box,
            fingerprint=digest(self.nonlinearity, W, W_in, b, a, self.W_out, self.b_out),
            weights={"family": "leaky rate", **_given(self)},
        )


def dale(W: Float[Tensor, "units units"], signs: Float[Tensor, "*signs"]) -> Float[Tensor, "units units"]:
    """Recurrent weights under Dale's law: |W| times the sign of the sending unit, column by column.

    Parameters
    ----------
    W : (units, units)
    signs : (units,)
        +1 for an excitatory unit, -1 for an inhibitory one.

    Raises
    ------
    InputError
        For any other sign, or when there is not one for each unit.
    """
    if signs.shape != (W.shape[1],) or not (signs.abs() == 1).all():
        raise InputError(
            f"each of the {W.shape[1]} units is excitatory (+1) or inhibitory (-1), but {signs.tolist()} came"
        )
    return W.abs() * signs


def low_rank(m: Float[Tensor, "*m"], n: Float[Tensor, "*n"]) -> Float[Tensor, "units units"]:
    """Recurrent weights m n^T / units of a low-rank network (Mastrogiuseppe and Ostojic, Neuron 2018).

    Parameters
    ----------
    m, n : (units, rank)

    Raises
    ------
    InputError
        When the two have not the same shape.
    """
    if m.ndim != 2 or m.shape != n.shape:
        raise InputError(f"m and n have one shape (units, rank), but {tuple(m.shape)} and {tuple(n.shape)} came")
    return m @ n.mT / len(m)


def _given(network: Any) -> dict[str, Tensor | str | int]:
    """The fields of a network's dataclass that are not None."""
    return {name: value for name, value in vars(network).items() if value is not None}


def _rows(gain: Tensor, states: Tensor) -> Tensor:
    """A per-unit gain made to multiply tangents (batch, units, directions)."""
    return gain.expand(states.shape[-1])[:, None]
