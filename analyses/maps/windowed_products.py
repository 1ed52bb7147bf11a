"""How much do neighbours part over 4 steps, or 64? Singular values of Jacobian products over windows of a run.

The product J_(t+w-1) ... J_t takes a deviation w steps on; ln singular value / (w dt) are finite-time exponents, and their
distribution over windows says what the average exponent hides (Abarbanel, Brown, Kennel, J. Nonlinear Sci. 2, 1992). Method:
a QR sweep from one fixed orthogonal frame, the triangular factors multiplied as D U with the logarithms of the rows' sizes in D
(Stewart, BIT 37, 1997), so that nothing overflows; then a one-sided Jacobi decomposition of U' D, LAPACK's ``gejsv``, which
finds the smallest singular values as precisely as the largest (Drmac, Veselic, SIAM J. Matrix Anal. 29, 2008).

Takes (dynamics, a Trajectory or runs of states); costs a Jacobian a step, a QR a step and window length, and one
decomposition a window, each O(dim^3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from analyses.maps._along import slopes_along
from analyses.maps._products import log_singular_values
from analyses.result import Check, Result, axes_or_new
from hooks.dynamics import Dynamics
from hooks.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class WindowedProducts(Result):
    """Singular values of every product over windows that tile each run without overlap.

    Attributes
    ----------
    windows : (windows,)
        The lengths asked for, in steps.
    lengths : (products,)
        Steps of each product, its window.
    runs, firsts : (products,)
        The run it lies in, and the step at which it begins.
    log_singular_values : (products, kept)
        Largest first; -inf where a direction is annihilated.
    dt
        Clock units per step.
    checks
        With all directions: their sum against that of ln |det J| over the window, where no direction is annihilated. The
        largest residual of the decompositions.
    """

    windows: Int[np.ndarray, " windows"]
    lengths: Int[np.ndarray, " products"]
    runs: Int[np.ndarray, " products"]
    firsts: Int[np.ndarray, " products"]
    log_singular_values: Float[np.ndarray, "products kept"]
    dt: float
    checks: tuple[Check, ...]

    @property
    def exponents(self) -> np.ndarray:
        """(products, kept) finite-time exponents per unit of the clock."""
        return self.log_singular_values / (self.lengths[:, None] * self.dt)

    @property
    def counts(self) -> np.ndarray:
        """(windows,) products of each length."""
        return np.array([(self.lengths == window).sum() for window in self.windows], dtype=np.int64)

    @property
    def means(self) -> np.ndarray:
        """(windows, kept) mean finite-time exponents; NaN for a length without products."""
        return np.array([rows.mean(axis=0) if len(rows) else self._missing for rows in self._by_window()])

    @property
    def spreads(self) -> np.ndarray:
        """(windows, kept) standard deviation over the windows of one length; NaN below two of them or at -inf."""
        return np.array([_spread(rows) if len(rows) > 1 else self._missing for rows in self._by_window()])

    @property
    def _missing(self) -> np.ndarray:
        return np.full(self.log_singular_values.shape[1], np.nan)

    def _by_window(self) -> list[np.ndarray]:
        return [self.exponents[self.lengths == window] for window in self.windows]

    def summary(self) -> str:
        """The mean leading finite-time exponent and its spread at the shortest and the longest window."""
        told = [number for number, count in enumerate(self.counts) if count]
        if not told:
            return f"0 products: no run is as long as the shortest window, {self.windows.min()} steps"
        ends = sorted({told[0], told[-1]})
        parts = [
            f"{self.means[n, 0]:+.3g} ± {self.spreads[n, 0]:.2g} over {self.windows[n]} steps ({self.counts[n]} windows, "
            f"{(self.exponents[self.lengths == self.windows[n], 0] > 0).mean():.0%} stretch)"
            for n in ends
        ]
        short = len(self.windows) - len(told)
        return (
            f"{len(self.lengths)} products; leading finite-time exponent, mean ± spread over windows: {', '.join(parts)}"
            + (f"; {short} of {len(self.windows)} window lengths exceed every run" if short else "")
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """The leading finite-time exponents of every window, and their mean, by window length."""
        ax = axes_or_new(ax)
        shown = np.isfinite(self.log_singular_values[:, 0])
        ax.plot(
            self.lengths[shown] * self.dt, self.exponents[shown, 0], ".", color="0.7", markersize=3, label="each window"
        )
        told = self.counts > 0
        ax.plot(self.windows[told] * self.dt, self.means[told, 0], "o-", color="#0072b2", markersize=4, label="mean")
        ax.axhline(0, color="0.6", linewidth=1)
        ax.set(xlabel="window, clock units", ylabel="leading finite-time exponent")
        if told.any():
            ax.set_xscale("log")
        ax.legend(frameon=False, fontsize="small")
        return ax


def windowed_products(
    dynamics: Dynamics,
    states: Any,
    *,
    windows: Sequence[int] = (1, 4, 16, 64),
    directions: int | None = None,
    drives: Any = None,
) -> WindowedProducts:
    """Singular values of Jacobian products over windows of each run, never across runs.

    Parameters
    ----------
    states : Trajectory, (steps, dim) or (runs, steps, dim)
        Consecutive states of the map, or states along which its Jacobians are wanted, such as the data of teacher forcing.
    windows
        Lengths in steps, each at least 1. Windows of a length tile every run from its first step; a rest is left out.
    directions
        Leading singular values kept; all ``dim`` when left out.
    drives : (steps, inputs) or (runs, steps, inputs)
        One a state, for a driven map with states that are no Trajectory.

    Returns
    -------
    WindowedProducts
        No products of a length that exceeds every run.

    Raises
    ------
    DrivenError
        For a driven map without drives.
    InputError
        For no windows, one below 1, more directions than dim, or states and drives that do not fit.
    """
    kept = dynamics.dim if directions is None else directions
    if not windows or min(windows) < 1 or not 1 <= kept <= dynamics.dim:
        raise InputError(
            f"windows={tuple(windows)}, directions={kept}: need lengths of at least 1 step and 1 to {dynamics.dim} directions"
        )
    slopes = slopes_along(dynamics, states, drives, "windowed_products")
    lengths, runs, firsts = [], [], []
    rows, sums, residual = [np.zeros((0, dynamics.dim))], [np.zeros(0)], 0.0
    determinants = [np.linalg.slogdet(run)[1] for run in slopes]
    for window in windows:
        for number, run in enumerate(slopes):
            tiles = len(run) // window
            if not tiles:
                continue
            stacks = run[: tiles * window].reshape(tiles, window, *run.shape[1:])
            values, left = log_singular_values(stacks)
            rows.append(values)
            sums.append(determinants[number][: tiles * window].reshape(tiles, window).sum(axis=1))
            residual = max(residual, left)
            lengths.append(np.full(tiles, window))
            runs.append(np.full(tiles, number))
            firsts.append(window * np.arange(tiles))
    values, expected = np.concatenate(rows), np.concatenate(sums)
    sound = np.isfinite(expected) & np.isfinite(values).all(axis=1)
    gaps = np.abs(values[sound].sum(axis=1) - expected[sound]) / (1 + np.abs(values[sound]).sum(axis=1))
    checks = [Check("what is left off the diagonal of a product, as a share", 0.0, residual, 1e-6)]
    if kept == dynamics.dim:  # a share of all the stretching in the window: rounding is eps dim of each step's
        checks.append(
            Check("sum of ln singular values: sum of ln |det J|, share", 0.0, float(gaps.max(initial=0)), 1e-8)
        )
    return WindowedProducts(
        windows=np.array(windows, dtype=np.int64),
        lengths=_joined(lengths),
        runs=_joined(runs),
        firsts=_joined(firsts),
        log_singular_values=values[:, :kept],
        dt=dynamics.dt,
        checks=tuple(checks),
    )


def _spread(rows: np.ndarray) -> np.ndarray:
    finite = np.isfinite(rows).all(axis=0)
    return np.where(finite, np.where(np.isfinite(rows), rows, 0.0).std(axis=0, ddof=1), np.nan)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts]).astype(np.int64)
