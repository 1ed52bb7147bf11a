"""DynaMix: a mixture of almost-linear RNNs whose weights are set by a recording, the context, and by the state.

z' = sum_j w_j (A_j z + W_j phi(z) + h_j), phi = ReLU on the last P units. The gate compares D z with each context point c_t,
a_t = softmax(-|c_t - D z - noise|_1 / |tau_1|), and reads the context there: e = sum_t a_t (K_0 c_t + K_1 c_(t+1) + b); then
w = softmax(-M_2 relu(M_1 [e; z]) / |tau_2|). One parameter set for every system: the context says which.

Source: Hemmer and Durstewitz, True zero-shot inference of dynamical systems preserving long-term statistics, NeurIPS 2025, and
the parameters of the authors' Julia release. Their noise has the standard deviations ``noise``; it is drawn in every step,
inference included. Here it is left out, or is the drive.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from hooks.dynamics import Dynamics
from hooks.errors import InputError
from hooks.families._parts import named_digest


def dynamix(
    weights: Mapping[str, Any],
    context: Float[np.ndarray, "points outputs"] | Float[Tensor, "points outputs"],
    *,
    relu: int,
    noisy: bool = False,
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
) -> Dynamics:
    """The map of a parameter set under one context.

    Parameters
    ----------
    weights
        Arrays by name, J experts of ``dim`` units: A (J, dim), W (J, dim, dim), h (J, dim); of the gate: D (outputs, dim),
        kernel (2, outputs, outputs), the matrix on c_t and that on c_(t+1), bias (outputs,), M1 (hidden, outputs + dim),
        M2 (J, hidden), tau (2,), and with ``noisy`` noise (outputs,). Other names are ignored.
    context
        The recording, standardised as the parameters were trained: mean 0 and standard deviation 1 of every coordinate.
    relu
        P. The weights do not say it; the released ones have 2.
    noisy
        Whether the gate's noise is the drive: (outputs,) standard normal numbers a step, 0 for none.

    Returns
    -------
    Dynamics
        The readout is the first ``outputs`` units. Its Jacobian is written out: sum_j w_j J_j, and the gate's own slope.

    Raises
    ------
    InputError
        When a weight is missing, has another shape or is not finite, tau is 0, the context is not (two or more, outputs) and
        finite, or relu is not 0 to dim.

    Notes
    -----
    Cost: points x outputs + J dim^2 a state and step.
    """
    names = ("A", "W", "h", "D", "kernel", "bias", "M1", "M2", "tau", *(["noise"] if noisy else []))
    if missing := [name for name in names if name not in weights]:
        raise InputError(f"a DynaMix model needs the weights {', '.join(names)}; {', '.join(missing)} are missing")
    own = {name: torch.as_tensor(weights[name]).detach().to(dtype=dtype, device=device, copy=True) for name in names}
    points = torch.as_tensor(context).detach().to(dtype=dtype, device=device, copy=True)
    _refuse(own, points, relu)
    A, W, h, D, kernel, bias, M1, M2 = (own[name] for name in names[:8])
    outputs, dim = D.shape
    first, second = own["tau"].abs()
    spread = own.get("noise")
    seen, read = points[:-1], points[:-1] @ kernel[0].T + points[1:] @ kernel[1].T + bias
    cut = dim - relu

    def gates(z: Tensor) -> Tensor:
        return torch.cat([torch.ones_like(z[:, :cut]), (z[:, cut:] > 0).to(dtype)], dim=1)

    def attended(z: Tensor, drive: Any) -> tuple[Tensor, Tensor]:
        """(batch, points, outputs) offsets from the context, and (batch, points) attention."""
        at = z @ D.T if spread is None else z @ D.T + spread * drive
        offsets = seen - at[:, None, :]
        return offsets, torch.softmax(-offsets.abs().sum(2) / first, dim=1)

    def mixed(z: Tensor, attention: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, hidden) what enters the hidden layer, and (batch, experts) weights."""
        before = linear(torch.cat([attention @ read, z], dim=1), M1)
        return before, torch.softmax(-linear(torch.relu(before), M2) / second, dim=1)

    def experts(z: Tensor) -> Tensor:
        """(batch, experts, dim) where each would go."""
        return A * z[:, None, :] + torch.einsum("jmk,bk->bjm", W, gates(z) * z) + h

    def step(z: Tensor, drive: Any) -> Tensor:
        return (mixed(z, attended(z, drive)[1])[1][:, None, :] @ experts(z))[:, 0]

    def jacobian(z: Tensor, drive: Any) -> Tensor:
        offsets, attention = attended(z, drive)
        before, w = mixed(z, attention)
        # d e / d (D z): the covariance, under the attention, of what is read and of the offsets' signs
        signs = offsets.sign()
        pulled = attention[:, :, None] * signs
        covariance = read.T @ pulled - (attention @ read)[:, :, None] * pulled.sum(1)[:, None, :]
        entering = torch.cat([covariance @ D / first, torch.eye(dim).to(z).expand(len(z), dim, dim)], dim=1)
        scores = -(M2 * (before > 0).to(dtype)[:, None, :]) @ (M1 @ entering) / second
        slopes = w[:, :, None] * (scores - w[:, None, :] @ scores)
        local = torch.diag_embed(w @ A) + torch.einsum("bj,jmk->bmk", w, W) * gates(z)[:, None, :]
        return local + experts(z).mT @ slopes

    written: dict[str, Any] = {"family": "dynamix", **own, "context": points, "relu": relu}
    return Dynamics(
        step=step,
        dim=dim,
        name=f"DynaMix, {len(A)} experts of {dim} units, {len(points)} context points",
        driven=noisy,
        inputs=outputs if noisy else 0,
        dtype=dtype,
        device=device,
        jacobian=jacobian,
        readout=lambda states: states[..., :outputs],
        fingerprint=named_digest(written),
        weights=written,
    )


def _refuse(weights: Mapping[str, Tensor], context: Tensor, relu: int) -> None:
    experts, dim = weights["A"].shape if weights["A"].ndim == 2 else (0, 0)
    hidden, outputs = (len(weights[name]) if weights[name].ndim == 2 else 0 for name in ("M1", "D"))
    shapes = {
        "A": (experts, dim), "W": (experts, dim, dim), "h": (experts, dim), "D": (outputs, dim),
        "kernel": (2, outputs, outputs), "bias": (outputs,), "M1": (hidden, outputs + dim), "M2": (experts, hidden),
        "tau": (2,), "noise": (outputs,),
    }  # fmt: skip
    for name, value in weights.items():
        if tuple(value.shape) != shapes[name]:
            raise InputError(
                f"{name} of {experts} experts of {dim} units that read out {outputs} has shape {shapes[name]}, but "
                f"{tuple(value.shape)} came"
            )
        if not torch.isfinite(value).all():
            raise InputError(f"{name} has {int((~torch.isfinite(value)).sum())} values that are not finite")
    if not weights["tau"].all():
        raise InputError("both temperatures tau must differ from 0")
    if context.ndim != 2 or context.shape[1] != outputs or len(context) < 2 or not torch.isfinite(context).all():
        raise InputError(
            f"the context is a finite recording (points, {outputs}) of two points at least, but shape "
            f"{tuple(context.shape)} came"
        )
    if not 0 <= relu <= dim:
        raise InputError(f"of {dim} units 0 to {dim} are rectified, not {relu}")
