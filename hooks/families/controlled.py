"""Controlled differential equations as maps: dz = f(z) dX, one step a stretch of the control path.

The drive of a step is the increment of the path over it, X(t + dt) - X(t), with the path straight in between: a sampled path
gives its own differences, ``np.diff(path, axis=0)``. A path with curvature between the samples is sampled more finely.

Source: Kidger, Morrill, Foster and Lyons, Neural controlled differential equations for irregular time series, NeurIPS 2020,
section 3; linear interpolation of the control: Morrill, Kidger, Yang and Lyons, arXiv 2106.11028.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from hooks.dynamics import Dynamics, TensorLike
from hooks.errors import InputError
from hooks.families.flow import Method, as_velocity, fingerprint_of, flow


def controlled_flow(
    field: Callable[..., TensorLike],
    dim: int,
    *,
    channels: int,
    dt: float = 1.0,
    method: Method = "rk4",
    substeps: int = 1,
    name: str = "",
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
) -> Dynamics:
    """A controlled differential equation under fixed Runge-Kutta steps, driven by the increments of its control.

    Parameters
    ----------
    field
        states -> (batch, dim, channels), or the same side by side, (batch, dim channels): how each coordinate answers to each
        channel. Proofs follow the second form. Or a module whose forward takes z or (t, z), as for ``torchcde``; a copy in
        eval mode is used.
    channels
        Of the control path. Time, where the model was given it, is one of them, and its increment is part of the drive.
    dt
        Time between samples: what exponents are counted by. It has no part in the step, which depends on the increment alone.
    method, substeps, name, dtype, device
        As for ``flow``.

    Returns
    -------
    Dynamics
        Without weights: what a report says of it cannot be verified from the report.

    Raises
    ------
    InputError
        As ``flow``, and for less than one channel.

    Notes
    -----
    A step by RK4 is off by substeps (|f'| |increment| / substeps)^5 or so. Cost: that of ``flow``.
    """
    if channels < 1:
        raise InputError(f"a control path has at least one channel, not {channels}")
    own: Any = field if isinstance(field, torch.nn.Module) else lambda states, _: field(states)
    answer, module = as_velocity(own, dim, dt, 0, dtype, device, channels)

    def velocity(states: TensorLike, increment: Tensor) -> TensorLike:
        response = answer(states, None)
        if response.ndim == 2:  # side by side: (batch, dim, channels) flattened
            if increment.ndim == 1:
                return torch.nn.functional.linear(response, torch.kron(_eye(increment, dim), increment[None] / dt))
            response = response.reshape(len(response), dim, channels)
        return (response * (increment / dt)[..., None, :]).sum(-1)

    dynamics = flow(velocity, dim, dt=dt, inputs=channels, method=method, substeps=substeps, dtype=dtype, device=device)
    return replace(
        dynamics,
        name=name or (type(field).__name__ if module is not None else "controlled flow"),
        fingerprint=fingerprint_of(module, "increments", channels, dt, method, substeps),
    )


def _eye(like: Tensor, width: int) -> Tensor:
    return torch.eye(width, dtype=like.dtype, device=like.device)
