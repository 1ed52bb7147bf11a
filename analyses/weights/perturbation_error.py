"""How large a change of all its weights does a network bear before it no longer does what it did?

Method: the perturbation error of Wang, Li and Li (ICLR 2024, arXiv 2305.19190): to every weight noise is added, scaled so that
the largest change is ``size``; E(size) is the largest error over draws, and over all smaller sizes. Draws keep their direction
from size to size. Networks of growing width whose curves share a radius approximate their target stably.

Takes an error, a function of (draws, weights) -> (draws,), and the weights; costs sizes x draws evaluations in a batch. The
worst of random directions is below the worst of all directions: a radius read from it is an upper bound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from analyses.result import Check, Result, axes_or_new
from hooks.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZES = (0.0, *(1e-3 * 2 ** (i / 2) for i in range(21)))  # the paper's, to 1.02


@dataclass(frozen=True, eq=False)
class PerturbationError(Result):
    """Error by size of the perturbation.

    Attributes
    ----------
    sizes : (sizes,)
        Largest change of a weight, ascending, 0 first.
    errors : (sizes, draws)
        Infinite where the network overflows.
    worst : (sizes,)
        E: the largest over draws and smaller sizes.
    allowed
        Error up to which the network still does what it did.
    radius
        The largest size with E at most ``allowed``; NaN when the unperturbed error is above it.
    checks
        At size 0 every draw has the same error.
    """

    sizes: Float[np.ndarray, " sizes"]
    errors: Float[np.ndarray, "sizes draws"]
    worst: Float[np.ndarray, " sizes"]
    allowed: float
    radius: float
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """How many sizes are borne, the radius, and the error without a perturbation."""
        borne = int((self.worst <= self.allowed).sum())
        text = f"{borne} of {len(self.sizes)} sizes are borne by the worst of {self.errors.shape[1]} draws: "
        text += f"error {self.worst[0]:.3g} unperturbed, at most {self.allowed:.3g} "
        return text + (f"up to changes of {self.radius:.3g}" if borne else "nowhere")

    def plot(self, ax: Axes | None = None) -> Axes:
        """E and every draw by size."""
        ax = axes_or_new(ax)
        ax.loglog(self.sizes[1:], self.errors[1:], ".", color="0.75", markersize=2)
        ax.loglog(self.sizes[1:], self.worst[1:], "o-", markersize=3)
        ax.axhline(self.allowed, color="0.5", linewidth=1, linestyle="--")
        ax.set(xlabel="largest change of a weight", ylabel="error")
        return ax


def perturbation_error(
    error: Callable[[Float[Tensor, "draws weights"]], Float[Tensor, " draws"]],
    weights: Any,
    *,
    allowed: float,
    sizes: Sequence[float] = SIZES,
    draws: int = 30,
    generator: torch.Generator | None = None,
) -> PerturbationError:
    """Error of a network under random changes of all its weights.

    Parameters
    ----------
    error
        Of each of a batch of weight vectors; 0 or more.
    weights : (weights,)
    allowed
        Error up to which the network still does what it did.
    sizes
        Ascending from 0.
    draws
        Random directions: Gaussian, scaled to a largest entry of 1.
    generator
        Of the directions; seed 0 when left out.

    Raises
    ------
    InputError
        For weights that are no finite vector, sizes not ascending from 0, no draw, or an error of another shape.
    """
    around = torch.as_tensor(weights, dtype=torch.float64)
    steps = np.asarray(sizes, dtype=np.float64)
    if around.ndim != 1 or not len(around) or not around.isfinite().all():
        raise InputError(f"weights are one finite vector, but shape {tuple(around.shape)} came")
    if len(steps) < 2 or steps[0] != 0 or not (np.diff(steps) > 0).all() or draws < 1:
        raise InputError(f"sizes ascend from 0 and a draw is needed, but {tuple(sizes)[:4]} and {draws=} came")
    generator = generator or torch.Generator().manual_seed(0)
    directions = torch.randn(draws, len(around), generator=generator, dtype=torch.float64)
    directions = directions / directions.abs().amax(1, keepdim=True)

    rows = []
    with torch.no_grad():
        for size in steps:
            got = error(around + size * directions)
            if got.shape != (draws,):
                raise InputError(f"an error of ({draws},) was expected, but {tuple(got.shape)} came")
            rows.append(got.double().cpu().nan_to_num(nan=torch.inf, posinf=torch.inf).numpy())
    errors = np.array(rows)
    worst = np.maximum.accumulate(errors.max(axis=1))
    spread = float(np.ptp(errors[0])) if np.isfinite(errors[0]).all() else np.nan
    borne = int((worst <= allowed).sum())
    return PerturbationError(
        sizes=steps,
        errors=errors,
        worst=worst,
        allowed=float(allowed),
        radius=float(steps[borne - 1]) if borne else np.nan,
        checks=(Check("spread of the unperturbed error", 0.0, spread, 1e-12 * (1 + abs(float(worst[0])))),),
    )
