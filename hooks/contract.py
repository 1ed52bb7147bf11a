"""What every family must satisfy: one function that any ``Dynamics`` passes before a number is drawn from it."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from hooks.dynamics import Dynamics, as_drive, as_states
from hooks.errors import ContractError, DrivenError
from hooks.tangent import jacobian
from hooks.trajectory import Trajectory

ROUNDING = 1e3  # c in c * eps: a few hundred operations a coordinate, with room for the order of a batched matmul


def check_dynamics(dynamics: Dynamics, states: Any, *, drive: Any = None) -> None:
    """Raise ContractError unless the step is a map: shape, dtype, repeatability, row independence, slope.

    Parameters
    ----------
    states : (batch, dim)
        A few states to try it on; 8 are plenty.
    drive
        (inputs,) or (batch, inputs) for a driven map.

    Notes
    -----
    (i) shape and dtype are preserved; (ii) the same state and drive give the same answer, bit for bit; (iii) a row
    does not depend on the others beyond rounding; (iv) finite in, finite out; (v) the Jacobian agrees with a
    central difference; (vi) inputs are not modified; (viii) a claimed trapping box traps. (vii), replay, is
    ``check_replay``. Cost: some 4 dim steps of the batch, on three states.
    """
    states = as_states(dynamics, states)
    drive = None if drive is None else as_drive(dynamics, drive)
    if dynamics.driven and drive is None:
        raise DrivenError(f"check_dynamics of {dynamics.name!r} needs a drive: pass drive=")
    kept, kept_drive = states.clone(), drive.clone() if isinstance(drive, Tensor) else drive
    name = dynamics.name
    with torch.no_grad():
        after, again = dynamics.step(states, drive), dynamics.step(states, drive)
    if after.shape != states.shape or after.dtype != states.dtype:
        raise ContractError(
            f"a step of {name!r} must keep shape and dtype: {tuple(states.shape)} {states.dtype} went in, "
            f"{tuple(after.shape)} {after.dtype} came out"
        )
    if not torch.equal(states, kept) or (isinstance(drive, Tensor) and not torch.equal(drive, kept_drive)):
        raise ContractError(f"a step of {name!r} modifies its input; return a new tensor instead")
    if not torch.isfinite(after).all():
        raise ContractError(f"a step of {name!r} gives values that are not finite from finite states")
    if not torch.equal(after, again):
        raise ContractError(
            f"two steps of {name!r} from the same states differ by {(after - again).abs().max():.3g}: the step is not "
            f"deterministic. The noise is drawn in the step itself (a module is stepped in eval mode, without dropout): take "
            f"it out, or make it a drive."
        )
    _check_rows(dynamics, states, drive, after)
    _check_slope(dynamics, states[:3], drive[:3] if isinstance(drive, Tensor) and drive.ndim == 2 else drive)
    _check_box(dynamics, drive)


def check_replay(dynamics: Dynamics, trajectory: Trajectory, *, tolerance: float = 1e-9) -> float:
    """Largest relative error of stepping each recorded state onto the next; ContractError when above ``tolerance``.

    The map and the record must tell the same story. The tolerance is for states recorded in the map's own dtype;
    states recorded by a fused float32 module are good to 1e-6.
    """
    now, after = trajectory.pairs()
    if not len(now):
        return 0.0
    drive = None
    if dynamics.driven:
        if trajectory.drives is None:
            raise DrivenError(f"{dynamics.name!r} is driven, but the trajectory holds no drives to replay")
        drive = as_drive(dynamics, trajectory.drives[trajectory.valid[:, 1:]])
    with torch.no_grad():
        stepped = dynamics(as_states(dynamics, now), drive).double().cpu().numpy()
    error = float(np.abs(stepped - after).max() / max(1.0, np.abs(after).max()))
    if error > tolerance:
        raise ContractError(
            f"stepping the recorded states of {dynamics.name!r} misses the next ones by {error:.3g} (allowed "
            f"{tolerance:.3g}): the map and the record are not of the same network, drives or settings"
        )
    return error


def _check_rows(dynamics: Dynamics, states: Tensor, drive: Any, after: Tensor) -> None:
    per_row = isinstance(drive, Tensor) and drive.ndim == 2
    for row in range(min(3, len(states))):
        twice = [
            row,
            row,
        ]  # not the row alone: batch-norm layers refuse that, which says less than this check
        with torch.no_grad():
            alone = dynamics(states[twice], drive[twice] if per_row else drive)[0]
        gap = (alone - after[row]).abs().max()
        allowed = ROUNDING * torch.finfo(states.dtype).eps * max(1.0, float(after.abs().max()))
        if gap > allowed:
            raise ContractError(
                f"row {row} of a step of {dynamics.name!r} changes by {gap:.3g} when the other rows are left out "
                f"(rounding allows {allowed:.3g}): a state's successor depends on the batch. Batch statistics "
                f"do this, in eval mode too where a layer keeps no running ones: give it fixed statistics, or another layer."
            )


def _check_slope(dynamics: Dynamics, states: Tensor, drive: Any) -> None:
    """Central differences of step eps^(1/3): error about eps^(2/3) where the step is smooth.

    A kink between the two sides (ReLU) is told from a wrong Jacobian by halving: at a kink one side still agrees.
    """
    eps = torch.finfo(states.dtype).eps
    width = eps ** (1 / 3)
    slope = jacobian(dynamics, states, drive)
    scale = max(1.0, float(slope.abs().max()))
    for axis in range(dynamics.dim) if dynamics.dim <= 64 else range(0, dynamics.dim, dynamics.dim // 64):
        shift = torch.zeros_like(states)
        shift[:, axis] = width
        with torch.no_grad():
            up, here, down = (dynamics(states + sign * shift, drive) for sign in (1, 0, -1))
        sides = torch.stack([(up - down) / (2 * width), (up - here) / width, (here - down) / width])
        gap = float((sides - slope[..., axis]).abs().amin(0).max())
        allowed = max(1e3 * eps ** (2 / 3) * scale, 100 * eps / width * max(1.0, float(here.abs().max())))
        if gap > allowed:
            raise ContractError(
                f"the Jacobian of {dynamics.name!r} disagrees with a central difference along coordinate {axis} by "
                f"{gap:.3g} (allowed {allowed:.3g})"
            )


def _check_box(dynamics: Dynamics, drive: Any) -> None:
    box = (
        dynamics.box(drive)
        if dynamics.box is not None and not (isinstance(drive, Tensor) and drive.ndim == 2)
        else None
    )
    if box is None:
        return
    low, high = box
    corners = torch.rand(64, dynamics.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    corners = torch.cat([corners, corners.round()]).to(low)
    with torch.no_grad():
        after = dynamics(low + (high - low) * corners, drive)
    slack = ROUNDING * torch.finfo(low.dtype).eps * (1 + torch.maximum(low.abs(), high.abs()))
    if not ((after >= low - slack) & (after <= high + slack)).all():
        raise ContractError(f"the trapping box claimed for {dynamics.name!r} does not hold its own images")
