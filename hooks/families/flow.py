"""Vector fields as maps: one step is the flow over a time ``dt``, the drive held constant meanwhile.

``flow`` takes fixed Runge-Kutta steps in torch, so the map is exactly what the scheme computes and its slope is exactly
that scheme's; ``adaptive`` lets scipy's error control choose the steps between samples. Exponents of either come out per
unit of time, since ``dt`` is set. A neural ODE is a module given as the field; one that is a chain of known layers is carried
as ``weights``. A cell that steps by itself is no field: see ``stepped`` and ``liquid``; a controlled equation: see
``controlled_flow``.

Source: Hairer, Norsett, Wanner, Solving Ordinary Differential Equations I, tables II.1.1 and II.1.2 (the schemes),
section I.14 (the variational equation), section II.5 (DOP853).
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from hooks.dynamics import Dynamics, TensorLike, digest
from hooks.errors import EnclosureError, InputError
from hooks.families._chains import chain, chain_weights
from hooks.families._parts import named_digest
from hooks.tangent import jacobian as slope_of

Method = Literal["euler", "midpoint", "rk4"]
SCHEMES: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    # name: (how far along the previous stage's slope each later stage looks, weights of the stages)
    "euler": ((), (1.0,)),
    "midpoint": ((0.5,), (0.0, 1.0)),
    "rk4": ((0.5, 0.5, 1.0), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),
}
INSTANTS = (0.0, 1.0, 2.71)  # at which a field of (t, x) must give the same


def flow(
    field: Callable[..., TensorLike],
    dim: int,
    *,
    dt: float,
    inputs: int = 0,
    method: Method = "rk4",
    substeps: int = 1,
    jacobian: Callable[[Tensor, Any], Tensor] | None = None,
    name: str = "",
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
) -> Dynamics:
    """A vector field under fixed Runge-Kutta steps, read as a map over ``dt``.

    Parameters
    ----------
    field
        (states, drive) -> (batch, dim), velocities per unit of time, in torch. Or a module whose forward takes x, (t, x), or
        with inputs (x, u): a copy in eval mode and ``dtype`` is used, the module itself is never changed.
    dim, inputs
        Widths of state and drive; 0 inputs for an autonomous field, whose drive is None.
    dt
        Time between the map's steps.
    method, substeps
        The scheme, of order 1, 2 or 4, and how many of its steps make one of the map's.
    jacobian
        (states, drive) -> (batch, dim, dim), the field's slope. With it the variational equation runs under the same scheme,
        which is the derivative of the step itself; without it autograd differentiates the step.
    name
        The module's class, or "flow", when left out.

    Returns
    -------
    Dynamics
        Its clock is time. The fingerprint is empty for a field that is no module: code has no digest. ``weights`` are there for
        a field that is data, a Linear or a Sequential of Linear and of CHAINED layers (``_chains``); otherwise what a report
        says of the map cannot be verified from the report.

    Raises
    ------
    InputError
        When dt is not positive and finite, substeps below 1, the method unknown; when a module's forward takes something
        else, or its velocity differs between three trial instants; or when a trial of the field raises or gives another shape.

    Notes
    -----
    Cost: stages x substeps evaluations of the field a step (1, 2 or 4 stages).
    """
    if method not in SCHEMES:
        raise InputError(f"no method {method!r}; there are {', '.join(SCHEMES)}")
    if substeps < 1:
        raise InputError(f"a step is made of at least one substep, not {substeps}")
    velocity, module = as_velocity(field, dim, dt, inputs, dtype, device)
    ahead, weights = SCHEMES[method]
    written = {} if module is None or inputs else chain_weights(module)
    if written:
        time = torch.tensor(dt, dtype=torch.float64)
        written = {"family": "flow", "method": method, "substeps": substeps, "dt": time, **written}
    width = dt / substeps

    def step(states: TensorLike, drive: Any) -> TensorLike:
        for _ in range(substeps):
            slopes = [velocity(states, drive)]
            for part in ahead:
                slopes.append(velocity(states + part * width * slopes[-1], drive))
            states = states + width * _weighted(weights, slopes)
        return states

    def push(states: Tensor, tangents: Tensor, drive: Any) -> tuple[Tensor, Tensor]:
        assert jacobian is not None
        for _ in range(substeps):
            slopes = [velocity(states, drive)]
            carried = [jacobian(states, drive) @ tangents]
            for part in ahead:
                at = states + part * width * slopes[-1]
                slopes.append(velocity(at, drive))
                carried.append(jacobian(at, drive) @ (tangents + part * width * carried[-1]))
            states = states + width * _weighted(weights, slopes)
            tangents = tangents + width * _weighted(weights, carried)
        return states, tangents

    return Dynamics(
        step=step,
        dim=dim,
        name=name or (type(field).__name__ if module is not None else "flow"),
        driven=bool(inputs),
        inputs=inputs,
        dt=dt,
        flow=True,
        dtype=dtype,
        device=device,
        jacobian=None if jacobian is None else lambda states, drive: push(states, _identity(states), drive)[1],
        push=None if jacobian is None else push,
        fingerprint=named_digest(written) if written else fingerprint_of(module, dt, method, substeps),
        weights=written,
    )


def chained(weights: Mapping[str, Any]) -> Dynamics:
    """The flow again, from the ``weights`` that it carries."""
    field = chain(weights)
    dim = next(layer.in_features for layer in field if isinstance(layer, nn.Linear))
    substeps, method = int(weights["substeps"]), weights["method"]
    return flow(field, dim, dt=float(weights["dt"]), method=method, substeps=substeps)


def adaptive(
    field: Callable[..., Tensor],
    dim: int,
    *,
    dt: float,
    inputs: int = 0,
    method: str = "DOP853",
    rtol: float = 1e-10,
    atol: float = 1e-12,
    jacobian: Callable[[Tensor, Any], Tensor] | None = None,
    name: str = "",
) -> Dynamics:
    """A vector field integrated by ``scipy.integrate.solve_ivp`` between samples ``dt`` apart, in float64 on the CPU.

    Parameters
    ----------
    field, dim, dt, inputs, jacobian, name
        As for ``flow``.
    method, rtol, atol
        Those of ``solve_ivp``: DOP853 of order 8, or "Radau", "LSODA" and its others for stiff fields.

    Returns
    -------
    Dynamics
        Its push integrates the variational equation beside the state under the same error control. A row that the solver gives
        up on is NaN.

    Raises
    ------
    InputError
        As ``flow``; when a tolerance is not positive; or from a step that autograd should follow, as for slopes in the drive.

    Notes
    -----
    Cost: every row is integrated by itself, for its steps are its own, so a batch costs as many times one row. The push has
    dim x (directions + 1) unknowns and one Jacobian an evaluation, by autograd when none is given. On Lorenz's field over
    dt = 0.1: 2 ms a row, and 15 ms a row for the push of three directions (one CPU core). ``flow`` is far faster where a fixed
    step will do.
    """
    from scipy.integrate import solve_ivp

    if not (rtol > 0 and atol > 0):
        raise InputError(f"tolerances are positive, but rtol = {rtol} and atol = {atol} came")
    velocity, module = as_velocity(field, dim, dt, inputs, torch.float64, "cpu")
    slope = jacobian or (lambda states, drive: slope_of(Dynamics(velocity, dim, driven=bool(inputs)), states, drive))

    def solved(right: Callable[[float, np.ndarray], np.ndarray], start: Tensor) -> Tensor:
        found = solve_ivp(right, (0.0, dt), start.numpy(), method=method, t_eval=[dt], rtol=rtol, atol=atol)
        return torch.from_numpy(found.y[:, -1].copy()) if found.success else torch.full_like(start, torch.nan)

    def step(states: TensorLike, drive: Any) -> Tensor:
        def right(_: float, x: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return velocity(torch.from_numpy(x)[None], here)[0].numpy()

        if not isinstance(states, Tensor):
            raise EnclosureError("scipy's steps are outside torch, so nothing can be proved of them; of flow's it can")
        if states.requires_grad or (isinstance(drive, Tensor) and drive.requires_grad):
            raise InputError(
                "scipy's steps have no slope by autograd: take push or jacobian, or flow for slopes in the drive"
            )
        after = torch.empty_like(states)
        for row, state in enumerate(states):
            here = _row(drive, row)
            after[row] = solved(right, state)
        return after

    def push(states: Tensor, tangents: Tensor, drive: Any) -> tuple[Tensor, Tensor]:
        directions = tangents.shape[2]

        def right(_: float, x: np.ndarray) -> np.ndarray:
            joint = torch.from_numpy(x).reshape(dim, 1 + directions)
            at = joint[:, 0][None]
            with torch.no_grad():
                return (
                    torch.cat([velocity(at, here)[0][:, None], slope(at, here)[0] @ joint[:, 1:]], 1).flatten().numpy()
                )

        after = torch.empty(len(states), dim, 1 + directions, dtype=states.dtype)
        for row, joint in enumerate(torch.cat([states[:, :, None], tangents], 2).detach()):
            here = _row(drive, row)
            after[row] = solved(right, joint.flatten()).reshape(dim, 1 + directions)
        return after[:, :, 0], after[:, :, 1:]

    return Dynamics(
        step=step,
        dim=dim,
        name=name or (type(field).__name__ if module is not None else "flow"),
        driven=bool(inputs),
        inputs=inputs,
        dt=dt,
        flow=True,
        jacobian=lambda states, drive: push(states, _identity(states), drive)[1],
        push=push,
        fingerprint=fingerprint_of(module, dt, method, rtol, atol),
    )


def as_velocity(
    field: Callable[..., Any], dim: int, dt: float, inputs: int, dtype: torch.dtype, device: str, channels: int = 0
) -> tuple[Callable[[TensorLike, Any], TensorLike], nn.Module | None]:
    """The field as (states, drive) -> velocities, tried once, and the copy of the module behind it.

    With channels, each coordinate has one velocity for each of them: (batch, dim, channels), or flat.
    """
    if not 0 < dt < float("inf"):
        raise InputError(f"dt is a positive time, but {dt} came")
    twin = None
    velocity: Callable[[TensorLike, Any], TensorLike] = field
    trial = torch.linspace(-1, 1, 2 * dim, dtype=dtype, device=device).reshape(2, dim)
    drive = torch.zeros(inputs, dtype=dtype, device=device) if inputs else None
    takes = 2
    if isinstance(field, nn.Module):
        twin = copy.deepcopy(field).to(dtype=dtype, device=device).eval().requires_grad_(False)
        takes = _positional(twin)
        if takes not in (1, 2) or (inputs and takes != 2):
            asked = "(x, u)" if inputs else "x or (t, x)"
            raise InputError(f"a field with {inputs} inputs takes {asked}, but {type(field).__name__} takes {takes}")
        velocity = _reading(twin, takes, inputs)
    try:
        with torch.no_grad():
            speeds: Any = velocity(trial, drive)
            others = (
                [twin(trial.new_tensor(t), trial) for t in INSTANTS]
                if twin is not None and takes == 2 and not inputs
                else []
            )
    except Exception as error:  # the user's code may raise anything
        raise InputError(
            f"the field fails on states of shape {tuple(trial.shape)} and {inputs} inputs: {type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}"
        ) from error
    shapes = [(2, dim, channels), (2, dim * channels)] if channels else [(2, dim)]
    if not isinstance(speeds, Tensor) or tuple(speeds.shape) not in shapes:
        came = tuple(speeds.shape) if isinstance(speeds, Tensor) else type(speeds).__name__
        wanted = " or ".join(map(str, shapes))
        raise InputError(f"the field must give velocities of shape {wanted} for {len(trial)} states; {came} came")
    if any(not torch.allclose(other, speeds, rtol=0, atol=0, equal_nan=True) for other in others):
        raise InputError(
            f"{type(field).__name__} depends on t, so its flow is no one map: make time a drive (forward(x, u), inputs=1) or a "
            f"coordinate"
        )
    return velocity, twin


def _positional(module: nn.Module) -> int:
    """Positional arguments that the forward needs."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    found = inspect.signature(module.forward).parameters.values()
    return sum(parameter.kind in kinds and parameter.default is inspect.Parameter.empty for parameter in found)


def _reading(twin: nn.Module, takes: int, inputs: int) -> Callable[[TensorLike, Any], TensorLike]:
    if inputs:
        return lambda states, drive: twin(states, drive.expand(len(states), inputs))
    if takes == 1:
        return lambda states, _: twin(states)
    return lambda states, _: twin(torch.zeros((), dtype=states.dtype, device=states.device), states)


def _weighted(weights: tuple[float, ...], slopes: list[Any]) -> Any:
    """Without the stages that weigh nothing."""
    total = None
    for weight, slope in zip(weights, slopes, strict=True):
        if weight:
            total = weight * slope if total is None else total + weight * slope
    return total


def _identity(states: Tensor) -> Tensor:
    width = states.shape[1]
    return torch.eye(width, dtype=states.dtype, device=states.device).expand(len(states), width, width)


def _row(drive: Any, row: int) -> Any:
    return drive[row : row + 1] if isinstance(drive, Tensor) and drive.ndim == 2 else drive


def fingerprint_of(module: nn.Module | None, *settings: Any) -> str:
    """Of a module's layers, weights and settings; empty for code."""
    return "" if module is None else digest(repr(module), *module.state_dict().values(), *settings)
