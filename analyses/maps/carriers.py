"""Which connections carry the leading exponents? The share of each entry of the Jacobian in their sum.

Method: along an orbit with Jacobians J_t, let V_t span the k leading directions carried forward and U_t those carried backward
by the transposes. The sum of the k leading exponents is the mean of ln |det U_(t+1)^T J_t V_t|, but for a part that telescopes.
Its derivative with respect to J_t is G_t = U_(t+1) (U_(t+1)^T J_t V_t)^-T V_t^T, for one direction u v^T / (u^T J v). The share
of the entry (i, j) is the mean of J_ij G_ij: for a network whose Jacobian is linear in the weight between two units it is, to
first order and along this orbit, what the sum of the exponents loses a step when that weight is taken away. The shares of all
entries add up to k at every step.

First order, and the orbit is held: how the orbit itself moves when a weight goes is not in it, so a measurement after the cut
has the last word. Where the covariant directions come near to tangency, as in most chaotic networks, u^T J v passes near 0 and
the mean over the orbit settles slowly or not at all: the shares of the two halves of the orbit stand beside each other.

Source: derivative of a determinant (Jacobi); for one direction that of an eigenvalue, u^T dA v / (u^T v). Takes (dynamics, one
start); costs one Jacobian and two QRs of (dim, k) a step, and memory for (steps + 2 burn-ins) Jacobians.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from analyses.result import Check, Result, axes_or_new, counted
from hooks.dynamics import Dynamics, as_drive, as_states, autonomous
from hooks.errors import InputError
from hooks.tangent import jacobian

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CHUNK = 1 << 22  # Jacobian entries found at once
SETTLED = 0.9  # correlation between the halves of the orbit


@dataclass(frozen=True, eq=False)
class ExponentCarriers(Result):
    """Shares of Jacobian entries in the sum of the leading exponents.

    Attributes
    ----------
    shares : (dim, dim)
        Of the entry (i, j), the influence of unit j on unit i; they sum to ``directions``. Positive: without it the sum of the
        exponents would be lower.
    directions
    halves
        Correlation of the shares over the first and over the second half of the orbit, entry by entry; NaN where all are equal.
    exponent_sum
        Of the leading exponents on this orbit, per unit of the clock, with the QR of the forward pass.
    steps
        Averaged over.
    checks
        The shares sum to ``directions``; none where a direction is annihilated.
    """

    shares: Float[np.ndarray, "dim dim"]
    directions: int
    halves: float
    exponent_sum: float
    steps: int
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """How few entries hold half of the absolute shares."""
        sizes = np.sort(np.abs(self.shares).ravel())[::-1]
        if not np.isfinite(sizes).all() or not sizes.sum():
            return f"0 of {sizes.size} connections have a share: a leading direction is annihilated"
        half = int(np.searchsorted(np.cumsum(sizes), sizes.sum() / 2)) + 1
        text = f"{half} of {sizes.size} connections hold half of the shares in {counted(self.directions, 'leading exponent')}, "
        text += f"whose sum is {self.exponent_sum:.3g} on an orbit of {self.steps} steps; over its halves shares correlate at "
        return text + f"{self.halves:.2f}" + ("" if self.halves > SETTLED else ", so they have not settled")

    def plot(self, ax: Axes | None = None) -> Axes:
        """The shares as an image, from unit (column) to unit (row)."""
        ax = axes_or_new(ax)
        most = float(np.nanmax(np.abs(self.shares), initial=0.0)) or 1.0
        ax.imshow(self.shares, cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest")
        ax.set(xlabel="from", ylabel="to", title=f"share, at most {most:.2g}")
        return ax


def exponent_carriers(
    dynamics: Dynamics, start: Any, *, steps: int, directions: int = 1, burn_in: int = 100, drives: Any = None
) -> ExponentCarriers:
    """Share of each Jacobian entry in the sum of the leading exponents along one orbit.

    Parameters
    ----------
    start : (dim,)
    steps
        Averaged over.
    directions
        How many leading exponents are added up.
    burn_in
        Steps before and after those, in which the forward and the backward directions settle.
    drives : (steps + 2 burn_in, inputs)
        Of a driven map.

    Returns
    -------
    ExponentCarriers
        NaN where a leading direction is annihilated.

    Raises
    ------
    DrivenError
        For a driven map without drives.
    InputError
        For several starts, no steps, more directions than dim, or drives too short.
    """
    now = as_states(dynamics, start)
    total = steps + 2 * burn_in
    if len(now) != 1 or steps < 1 or burn_in < 0 or not 1 <= directions <= dynamics.dim:
        raise InputError(
            f"{len(now)} starts, steps={steps}, burn_in={burn_in}, directions={directions}: need one start, a step and 1 to "
            f"{dynamics.dim} directions"
        )
    driving = None if drives is None else as_drive(dynamics, drives)
    if driving is None:
        autonomous(dynamics, "exponent_carriers without drives")
    elif driving.ndim != 2 or len(driving) < total:
        raise InputError(f"{total} drives are needed, but shape {tuple(driving.shape)} came")

    slopes = _slopes(dynamics, now, driving, total)
    forward = _frame(dynamics.dim, directions, slopes)
    frames, growth = torch.empty(total, dynamics.dim, directions, dtype=slopes.dtype, device=slopes.device), 0.0
    for t in range(total):
        frames[t] = forward
        forward, upper = torch.linalg.qr(slopes[t] @ forward)
        if burn_in <= t < burn_in + steps:
            growth += float(upper.diagonal().abs().log().sum())
    backward = _frame(dynamics.dim, directions, slopes)
    parts = torch.zeros(2, dynamics.dim, dynamics.dim, dtype=slopes.dtype, device=slopes.device)
    for t in reversed(range(burn_in, total)):
        if t < burn_in + steps:
            ahead = slopes[t] @ frames[t]
            middle, trouble = torch.linalg.inv_ex(backward.T @ ahead)
            gradient = (frames[t] @ middle @ backward.T).T
            parts[int(2 * (t - burn_in) >= steps)] += slopes[t] * (gradient if not trouble else torch.nan)
        backward = torch.linalg.qr(slopes[t].T @ backward)[0]
    found = (parts.sum(0) / steps).double().cpu().numpy()
    one, other = (part.ravel() - part.mean() for part in parts.double().cpu().numpy())
    sizes = float(np.sqrt((one @ one) * (other @ other)))
    return ExponentCarriers(
        shares=found,
        directions=directions,
        halves=float(one @ other) / sizes if sizes > 0 else float("nan"),
        exponent_sum=growth / steps / dynamics.dt,
        steps=steps,
        checks=(Check("sum of the shares", float(directions), float(found.sum()), 1e-6 * directions),)
        if np.isfinite(found).all()
        else (),
    )


def _slopes(dynamics: Dynamics, now: Tensor, driving: Tensor | None, total: int) -> Tensor:
    """(total, dim, dim) along the orbit."""
    states = torch.empty(total, dynamics.dim, dtype=now.dtype, device=now.device)
    with torch.no_grad():
        for t in range(total):
            states[t] = now[0]
            now = dynamics(now, None if driving is None else driving[t])
    rows = max(1, CHUNK // dynamics.dim**2)
    parts = range(0, total, rows)
    at = [(states[k : k + rows], None if driving is None else driving[:total][k : k + rows]) for k in parts]
    return torch.cat([jacobian(dynamics, here, drive) for here, drive in at])


def _frame(dim: int, directions: int, like: Tensor) -> Tensor:
    """A frame in general position."""
    random = torch.randn(dim, directions, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.linalg.qr(random)[0].to(like)
