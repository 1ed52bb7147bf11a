"""How does a loss's gradient grow or vanish with the unroll? Its log norm against the number of steps differentiated through.

The gradient of a loss at step T with respect to the start, by autograd through the unrolled map, is the loss's own slope
times the product of T Jacobians, so its norm goes as exp(lambda T), lambda the largest Lyapunov exponent: it explodes in a
chaotic map and vanishes in a contracting one (Bengio, Simard, Frasconi, IEEE Trans. Neural Networks 5, 1994; Metz, Freeman,
Schoenholz, Kachman, arXiv 2111.05803). The rate is the least-squares slope of ln norm against T for each start, its error the
spread over starts. With starts that differ by noise, the variance's share of the mean square tells noise from signal.

Takes (dynamics, starts (starts, dim)); costs one unroll of the longest length and a reverse pass over each length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analyses.maps._loss import Loss, projected
from analyses.result import Check, Result, axes_or_new
from hooks.dynamics import Dynamics, as_states, autonomous
from hooks.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NUDGE = 1e-6  # of the central difference that the gradient over one step is held against, in sizes of the state
AGREEMENT = (
    1e-4  # of the two, as a share: the difference is good to NUDGE times some bend of the map, and to eps / NUDGE
)
FAINTEST = 1e-5  # a slope below it drowns in the rounding of the difference


@dataclass(frozen=True, eq=False)
class GradientGrowth(Result):
    """Gradients of the loss at the end of unrolls, with respect to the start.

    Attributes
    ----------
    lengths : (lengths,)
        Steps unrolled, ascending.
    log_norms : (lengths, starts)
        ln |gradient|; -inf for a gradient of 0, NaN once the unroll or the gradient is not finite.
    noise_shares : (lengths,)
        Variance of the gradient over the starts, as a share of its mean square: near 0 they agree, near 1 the mean is lost in
        them. NaN for one start.
    log_variances : (lengths,)
        ln of that variance, summed over the coordinates.
    rates : (starts,)
        Slope of ln norm per unit of the clock, over lengths from ``settle`` on; NaN where a norm is not finite.
    settle
        The shortest length that the slopes are fitted over.
    dt
        Clock units per step.
    checks
        The gradient over one step against a central difference along a random direction, in the median start: a step that cuts
        the gradient, and any that autograd cannot follow, fails.
    """

    lengths: Int[np.ndarray, " lengths"]
    log_norms: Float[np.ndarray, "lengths starts"]
    noise_shares: Float[np.ndarray, " lengths"]
    log_variances: Float[np.ndarray, " lengths"]
    rates: Float[np.ndarray, " starts"]
    settle: int
    dt: float
    checks: tuple[Check, ...]

    @property
    def rate(self) -> float:
        """Mean slope over the starts that have one, per unit of the clock; NaN without any."""
        fitted = self.rates[np.isfinite(self.rates)]
        return float(fitted.mean()) if len(fitted) else math.nan

    @property
    def standard_error(self) -> float:
        """Of ``rate``, from the spread over starts; NaN below two."""
        fitted = self.rates[np.isfinite(self.rates)]
        return float(fitted.std(ddof=1) / len(fitted) ** 0.5) if len(fitted) > 1 else math.nan

    @property
    def variance_rate(self) -> float:
        """Half the slope of ln variance: at least ``rate``, as the largest gradients rule a mean square."""
        return float(_slopes(self.lengths, self.log_variances[:, None] / 2, self.settle, self.dt)[0])

    def summary(self) -> str:
        """The rate with its error, and whether gradients explode or vanish."""
        finite = int((~np.isnan(self.log_norms)).all(axis=0).sum())
        text = f"{finite} of {len(self.rates)} starts have finite gradients to {self.lengths[-1]} steps"
        if math.isfinite(self.rate):
            doubt = 3 * self.standard_error
            kind = (
                "explode"
                if self.rate > doubt
                else "vanish"
                if self.rate < -doubt
                else "keep their size within the error"
            )
            text += f"; they {kind}, at {self.rate:+.4g} ± {self.standard_error:.1g} per unit of the clock"
        if np.isfinite(self.noise_shares).any():
            first, last = self.noise_shares[[0, -1]]
            text += f"; noise share {first:.2g} at {self.lengths[0]} steps, {last:.2g} at {self.lengths[-1]}"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """ln norms of every start, their mean, and the fitted line."""
        ax = axes_or_new(ax)
        clock = self.lengths * self.dt
        shown = np.where(np.isfinite(self.log_norms), self.log_norms, np.nan)
        ax.plot(clock, shown[:, :64], color="0.8", linewidth=0.6)
        told = np.isfinite(shown).all(axis=1) & (shown.shape[1] > 0)
        mean = shown[told].mean(axis=1)
        ax.plot(clock[told], mean, "o", color="#0072b2", markersize=4, label="mean of ln |gradient|")
        fitted = self.lengths[told] >= self.settle
        if fitted.any() and math.isfinite(self.rate):
            at = clock[told][fitted]
            line = mean[fitted].mean() + self.rate * (at - at.mean())
            ax.plot(at, line, color="#d55e00", linewidth=1.2, label=f"slope {self.rate:+.3g}")
        ax.set(xlabel="unroll, clock units", ylabel="ln |gradient|")
        if told.any():
            ax.legend(frameon=False, fontsize="small")
        return ax


def gradient_growth(
    dynamics: Dynamics,
    starts: Any,
    *,
    lengths: Sequence[int],
    settle: int = 0,
    loss: Loss | None = None,
    generator: torch.Generator | None = None,
) -> GradientGrowth:
    """Gradients, with respect to the start, of a loss on the last state of unrolls of an autonomous map.

    Parameters
    ----------
    starts : (starts, dim)
        Spread over an attractor for the rate; one state with noise for the noise share.
    lengths
        Steps to unroll, each at least 1.
    settle
        The slopes are fitted over lengths of at least this many steps, after the gradient has turned to its growing direction.
    loss
        (batch, dim) -> (batch,), each row its own. Left out, the component along one random direction.
    generator
        Draws that direction; a fixed seed when left out.

    Returns
    -------
    GradientGrowth
        Rates are NaN with fewer than two lengths to fit.

    Raises
    ------
    DrivenError
        For a driven map: hold a drive first.
    InputError
        For no lengths or one below 1, or a loss of another shape.
    """
    dynamics = autonomous(dynamics, "gradient_growth")
    first = as_states(dynamics, starts)
    wanted = sorted(set(lengths))
    if not wanted or wanted[0] < 1:
        raise InputError(f"lengths={tuple(lengths)}: need unrolls of at least one step")
    measured = loss or projected(dynamics, generator)
    gradients = _gradients(dynamics, first, wanted, measured)

    norms = np.linalg.norm(gradients, axis=2)
    with np.errstate(divide="ignore"):
        log_norms = np.log(norms)
    shares, variances = _noise(gradients)
    return GradientGrowth(
        lengths=np.array(wanted, dtype=np.int64),
        log_norms=log_norms,
        noise_shares=shares,
        log_variances=variances,
        rates=_slopes(np.array(wanted), log_norms, settle, dynamics.dt),
        settle=settle,
        dt=dynamics.dt,
        checks=(_difference(dynamics, first, measured),),
    )


def _gradients(dynamics: Dynamics, starts: Tensor, lengths: list[int], loss: Loss) -> np.ndarray:
    """(lengths, starts, dim), NaN where a value is not finite."""
    found = []
    with torch.enable_grad():
        root = starts.clone().requires_grad_()
        now = root
        for step in range(1, lengths[-1] + 1):
            now = dynamics(now)
            if step not in lengths:
                continue
            values = loss(now)
            if values.shape != (len(starts),):
                raise InputError(
                    f"a loss of {len(starts)} states has shape ({len(starts)},), but {tuple(values.shape)} came"
                )
            (gradient,) = (
                torch.autograd.grad(values.sum(), root, retain_graph=True, materialize_grads=True)
                if values.requires_grad
                else (torch.zeros_like(starts),)
            )
            found.append(gradient.detach().double().cpu().numpy())
    stacked = np.stack(found)
    finite = np.isfinite(stacked).all(axis=2, keepdims=True)
    return np.where(finite, stacked, np.nan)


def _noise(gradients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(lengths,) variance over the starts as a share of the mean square, and its logarithm; NaN below two starts."""
    lengths, starts, dim = gradients.shape
    if starts < 2 or not dim:
        return np.full(lengths, np.nan), np.full(lengths, np.nan)
    size = np.abs(gradients).max(axis=(1, 2))  # squares of the gradients themselves may overflow
    scaled = gradients / np.where(size > 0, size, 1.0)[:, None, None]
    variance = scaled.var(axis=1, ddof=1).sum(axis=1)
    square = variance * (starts - 1) / starts + (scaled.mean(axis=1) ** 2).sum(axis=1)
    with np.errstate(divide="ignore"):
        logs = np.log(variance) + 2 * np.log(size)
    shares = np.divide(variance * (starts - 1) / starts, square, out=np.zeros(lengths), where=square != 0)
    return shares, logs


def _slopes(lengths: np.ndarray, logs: np.ndarray, settle: int, dt: float) -> np.ndarray:
    """(starts,) least-squares slopes against clock units."""
    kept = lengths >= settle
    if kept.sum() < 2:
        return np.full(logs.shape[1], np.nan)
    clock = lengths[kept] * dt
    clock = clock - clock.mean()
    sound = np.isfinite(logs[kept]).all(axis=0)
    slopes = clock @ np.where(sound, logs[kept], 0.0) / (clock @ clock)
    return np.where(sound, slopes, np.nan)


def _difference(dynamics: Dynamics, starts: Tensor, loss: Loss) -> Check:
    """The median gap between the slope over one step and a central difference, as a share of the gradient."""
    gradient = torch.as_tensor(_gradients(dynamics, starts, [1], loss)[0]).to(starts)
    direction = torch.randn(starts.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(starts)
    direction = direction / direction.norm(dim=1, keepdim=True)
    aside = NUDGE * starts.norm(dim=1, keepdim=True).clamp(min=1)
    with torch.no_grad():
        ahead, behind = (loss(dynamics(starts + sign * aside * direction)) for sign in (1, -1))
    slopes = (ahead - behind) / (2 * aside[:, 0])
    sizes = gradient.norm(dim=1) + slopes.abs()
    gaps = torch.where(sizes > FAINTEST, (slopes - (gradient * direction).sum(1)).abs() / sizes, 0 * sizes)
    worst = float(gaps.median()) if len(gaps) else 0.0
    return Check("gradient over one step: a central difference, share", 0.0, worst, AGREEMENT)
