"""How fast does a state-space layer forget? Exponents of its state in closed form, mean ln Lambda: mean(Delta) A in Mamba.

A recurrence h_i = Lambda_i h_(i-1) + B_i u_i with diagonal Lambda has the tokens alone to thank for its slope, so its exponents
are the means of ln |Lambda_i|, coordinate by coordinate, for any weights. Mamba has Lambda = exp(Delta A) with Delta > 0 and
A < 0: all negative whatever the network reads or was trained on (Halloran, Gulati and Roysdon, arXiv 2406.00209, theorems 1
and 2). That is a property of the architecture; a random-weight twin has it too. Standard errors are those of block means over
the tokens, as in ``lyapunov``.

Takes ln |Lambda| (runs, tokens, dim), as ``StateSpaceLayer.log_decays`` gives it; costs one pass over it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from analyses.maps._sweeps import block_length
from analyses.maps._verdicts import standard_error
from analyses.maps.lyapunov import LyapunovSpectrum
from analyses.result import Check, Result, axes_or_new, counted
from hooks.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EQUAL = 1e-6  # an exponent by QR and in closed form
ROUNDING = 1e-12  # of a sum of exponents, for each of them


@dataclass(frozen=True, eq=False)
class StateExponents(Result):
    """Exponents of the coordinates of a state, per token.

    Attributes
    ----------
    exponents, standard_errors : (dim,)
        Mean over runs and tokens, descending. The error is NaN for a single block.
    coordinates : (dim,)
        The coordinate of the state that each belongs to.
    per_run : (runs, dim)
        In the same order.
    largest
        The largest ln |Lambda| of any token and coordinate: below 0, every token makes every distance shrink.
    tokens
        Averaged over, in each run.
    checks
        Where exponents by QR on the same drives came: each run's against these, and their sum, which no frame can spoil.
    """

    exponents: Float[np.ndarray, " dim"]
    standard_errors: Float[np.ndarray, " dim"]
    coordinates: Int[np.ndarray, " dim"]
    per_run: Float[np.ndarray, "runs dim"]
    largest: float
    tokens: int
    checks: tuple[Check, ...]

    @property
    def lifetimes(self) -> np.ndarray:
        """(dim,) tokens after which e^-1 of a difference is left; infinite where nothing is forgotten."""
        return np.divide(-1.0, self.exponents, out=np.full_like(self.exponents, np.inf), where=self.exponents != 0)

    @property
    def smallest_gap(self) -> float:
        """Between neighbouring exponents that differ: QR tells them apart after several times 1 / gap tokens."""
        gaps = -np.diff(self.exponents)
        return float(gaps[gaps > ROUNDING].min(initial=np.inf))

    def summary(self) -> str:
        """The signs, and whether they could have been others."""
        dim, tokens = len(self.exponents), f"over {counted(self.tokens, 'token')} in each of {len(self.per_run)} runs"
        negative, positive = int((self.exponents < 0).sum()), int((self.exponents > 0).sum())
        text = f"{negative} of {dim} exponents of the state are negative {tokens}"
        if dim:
            text += f", from {self.exponents[-1]:.3g} to {self.exponents[0]:.3g} a token"
        if negative == dim and self.largest < 0:
            text += (
                f"; by construction, for no token lets any difference grow (largest ln decay {self.largest:.2g}): no finding, "
                f"and as true of random weights; slowest memory {self.lifetimes[0]:.3g} tokens"
            )
        elif positive:
            text += f"; {positive} are positive: differences grow there"
        elif self.largest <= 0:
            text += f"; {dim - negative} are 0: what is written there is never forgotten, by construction"
        else:
            text += f"; on average alone, for single tokens let differences grow (largest ln decay {self.largest:.2g})"
        failed = [check for check in self.checks if not check.passed]
        if self.checks:
            text += f"; QR on the same drives {'differs' if failed else 'agrees'}: {(failed or self.checks)[0].got:.1g} apart"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """Exponents, largest first, with two standard errors."""
        ax = axes_or_new(ax)
        rank = np.arange(1, len(self.exponents) + 1)
        shown = np.isfinite(self.exponents)
        errors = np.nan_to_num(2 * self.standard_errors)
        ax.errorbar(rank[shown], self.exponents[shown], errors[shown], fmt="o", markersize=2, linewidth=0.6)
        ax.axhline(0, color="0.6", linewidth=1)
        ax.set(xlabel="coordinate of the state, slowest first", ylabel="exponent per token")
        return ax


def state_exponents(log_decays: Any, *, burn_in: int = 0, measured: LyapunovSpectrum | None = None) -> StateExponents:
    """Exponents of a diagonal recurrence in closed form.

    Parameters
    ----------
    log_decays : (runs, tokens, dim) or (tokens, dim)
        ln |Lambda|; -inf where a token wipes a coordinate.
    burn_in
        Tokens left out at the start of each run.
    measured
        Exponents by QR of the same map along the same drives, of the tokens after the same burn-in; with one run here, any
        number of starts. Its frame begins at random: directions whose rates differ by d are told apart after several times
        1 / d tokens of burn-in, and no sooner.

    Returns
    -------
    StateExponents

    Raises
    ------
    InputError
        For values that are NaN or +inf, no token after the burn-in, or a spectrum of other starts or more directions.
    """
    logs = np.asarray(log_decays.detach().cpu() if isinstance(log_decays, Tensor) else log_decays, dtype=np.float64)
    logs = logs[None] if logs.ndim == 2 else logs
    if logs.ndim != 3 or not 0 <= burn_in < logs.shape[1] or not len(logs):
        raise InputError(
            f"ln decays are (runs, tokens, dim) with a token after the burn-in, but {logs.shape} and burn_in={burn_in} came"
        )
    if np.isnan(logs).any() or (logs == np.inf).any():
        raise InputError(f"{int((np.isnan(logs) | (logs == np.inf)).sum())} ln decays are NaN or +inf")

    logs = logs[:, burn_in:]
    runs, tokens, dim = logs.shape
    length = block_length(tokens)
    whole = logs[:, : tokens // length * length].reshape(runs, -1, length, dim)
    per_run = logs.mean(axis=1)
    exponents = per_run.mean(axis=0)
    order = np.argsort(-exponents, kind="stable")

    return StateExponents(
        exponents=exponents[order],
        standard_errors=standard_error(whole.mean(axis=2).swapaxes(0, 1))[order],
        coordinates=order.astype(np.int64),
        per_run=per_run[:, order],
        largest=float(logs.max(initial=-np.inf)),
        tokens=tokens,
        checks=() if measured is None else _compared(per_run, measured),
    )


def _compared(per_run: np.ndarray, measured: LyapunovSpectrum) -> tuple[Check, ...]:
    by_qr = measured.per_start
    runs, dim = per_run.shape
    if by_qr.shape[1] > dim or runs not in (1, len(by_qr)):
        raise InputError(
            f"a spectrum of {by_qr.shape[0]} starts and {by_qr.shape[1]} directions is not of {runs} runs of {dim} coordinates"
        )
    closed = -np.sort(-per_run, axis=1)[:, : by_qr.shape[1]]
    apart = float(np.abs(-np.sort(-by_qr, axis=1) - closed).max(initial=0.0))
    checks = [Check("exponents by QR: largest difference from the closed form", 0.0, apart, EQUAL)]
    if by_qr.shape[1] == dim:
        gap = float(np.abs(by_qr.sum(axis=1) - closed.sum(axis=1)).max(initial=0.0))
        size = max(1.0, float(np.abs(closed).sum(axis=1).max(initial=0.0)))
        checks.append(Check("their sum: largest difference from the closed form", 0.0, gap, dim * ROUNDING * size))
    return tuple(checks)
