"""How far back does a sequence layer look? The matrix that mixes its tokens, and whether it is the layer.

Every layer with a linear form is a causal matrix for each channel and text (``LinearForm.mixing``), y_i = sum over j <= i of
M_ij u_j, be it attention, a state-space layer or a gated recurrence. Its rows say how much of a token's output comes from how
many tokens ago: here the share of |M_ij| by lag i - j, averaged over channels, texts and the tokens of the second half, whose
rows are long enough for every lag counted. That the matrix is the layer is a check: the outputs it gives beside the module's
own.

Takes mixing matrices (runs, channels, tokens, tokens); costs one pass over them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from analyses.result import Check, Result, axes_or_new, counted
from hooks.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class TokenMixing(Result):
    """Shares of a token's output by the age of what it is made of.

    Attributes
    ----------
    shares : (lags,)
        Of |M_ij| at lag 0, 1, ..., half the tokens; what is older is the rest to 1. NaN where no row has any weight.
    half_lag
        Lag within which half of the weight lies; infinite when it lies further back than the lags counted.
    mean_lag
        Over the lags counted.
    rows
        Rows of matrices averaged over; rows without weight are left out.
    apart
        Largest difference of the outputs from the module's own, as a share of the largest of these.
    checks
        The outputs are the module's own; no token hears a later one.
    """

    shares: Float[np.ndarray, " lags"]
    half_lag: float
    mean_lag: float
    rows: int
    apart: float
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """Whether the matrix is the layer, and how far back it looks."""
        agree = "are" if self.checks[0].passed else "are not"
        text = f"the outputs of the matrix {agree} the module's own ({self.apart:.1g} of the largest apart)"
        if not self.rows:
            return f"{text}; 0 rows have any weight"
        reach = (
            f"within {counted(int(self.half_lag), 'token')}"
            if np.isfinite(self.half_lag)
            else f"more than {len(self.shares) - 1} back"
        )
        return (
            f"{text}; half of the weight of a token lies {reach}, {self.shares[0]:.0%} on the token itself, "
            f"{max(0.0, 1 - self.shares.sum()):.0%} beyond lag {len(self.shares) - 1} ({self.rows} rows)"
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """The share of the weight by lag."""
        ax = axes_or_new(ax)
        ax.plot(np.arange(len(self.shares)), self.shares, "o-", markersize=3)
        ax.set(xlabel="tokens ago", ylabel="share of the weight")
        return ax


def token_mixing(mixing: Any, *, outputs: Any, own_outputs: Any, within: float = 1e-5) -> TokenMixing:
    """Shares of the weight by lag, and whether these matrices are the layer.

    Parameters
    ----------
    mixing : (runs, channels, tokens, tokens)
        M, output tokens first.
    outputs
        What M gives on the layer's values, through whatever the module does after it.
    own_outputs
        What the module gives, of the same shape.
    within
        The largest difference of the two that is rounding, as a share of the largest output.

    Raises
    ------
    InputError
        For matrices that are not square, outputs of different shapes, or values that are not finite.
    """
    M, said, own = (_array(part) for part in (mixing, outputs, own_outputs))
    if M.ndim != 4 or M.shape[2] != M.shape[3] or not M.size or said.shape != own.shape or not own.size:
        raise InputError(
            f"matrices (runs, channels, tokens, tokens) and two outputs of one shape are needed, but {M.shape}, {said.shape} "
            f"and {own.shape} came"
        )
    if not all(np.isfinite(part).all() for part in (M, said, own)):
        raise InputError("the matrices or outputs have values that are not finite")

    tokens = M.shape[2]
    lags = np.arange(tokens // 2 + 1)
    late = np.arange(tokens // 2, tokens)
    weights = np.abs(M[:, :, late])
    totals = weights.sum(axis=-1)
    by_lag = np.take_along_axis(weights, (late[:, None] - lags)[None, None], axis=3)
    with_weight = totals > 0
    shares = (by_lag[with_weight] / totals[with_weight][:, None]).mean(axis=0) if with_weight.any() else lags * np.nan
    reached = np.flatnonzero(np.cumsum(shares) >= 0.5)

    largest = float(np.abs(own).max())
    apart = float(np.abs(said - own).max()) / largest if largest else float(np.abs(said).max())
    return TokenMixing(
        shares=shares,
        half_lag=float(reached[0]) if len(reached) else float("inf"),
        mean_lag=float((lags * shares).sum() / shares.sum()),
        rows=int(with_weight.sum()),
        apart=apart,
        checks=(
            Check("difference of the outputs from the module's own, share of the largest", 0.0, apart, within),
            Check("largest weight of a later token", 0.0, float(np.abs(np.triu(M, 1)).max()), 0.0),
        ),
    )


def _array(values: Any) -> np.ndarray:
    return np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=np.float64)
