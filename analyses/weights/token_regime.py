"""Do tokens flow together or apart? The signs of the eigenvalues of S_C' S_B, and whether the shape alone forces them.

In a selective layer applied without end, without gate, convolution and norm, token l moves by the sum over j <= l of
(x_l' M x_j) times positive numbers times x_j, with M = S_C' S_B: B_j = S_B x_j is what token j writes and C_l = S_C x_l how
token l reads (Vo et al., Demystifying the token dynamics of deep selective state space models, ICLR 2025, arXiv 2410.03292).
All eigenvalues of the symmetric part of M negative: tokens vanish. All positive: they diverge. Signs of both kinds, which the
paper simulates and calls divergent: ``token_flow`` finds starts that vanish or come to rest as well.

The sign pattern is no finding where it is forced: x' M x = (S_C x) . (S_B x), and when all 2 width rows of S_B and S_C are
independent, both factors are free, so that exactly width eigenvalues are positive and width are negative, for any weights
(Sylvester's law). What training can change is their sizes: the positive share of them, here against S_B with its channels
permuted, which keeps each matrix's own spectrum and breaks what ties the two.

Takes S_B and S_C (width, channels); costs one QR of (channels, 2 width) a draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from analyses.result import Check, Null, Result, axes_or_new
from analyses.weights._pair_spectrum import as_pair, pair_spectrum, regime, signs
from hooks.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INDEPENDENT = 1e-10  # smallest singular value of the rows, as a share of the largest


@dataclass(frozen=True, eq=False)
class TokenRegime(Result):
    """The spectrum of one layer.

    Attributes
    ----------
    eigenvalues : (kept,)
        Of the symmetric part of S_C' S_B, descending; all beyond 2 width are 0 and left out.
    own : (channels,)
        The diagonal of S_C' S_B: mu of a channel that is alone.
    positive, negative
        Eigenvalues other than 0.
    regime
        convergent (all negative), divergent (all positive), mixed, or neutral (none).
    forced
        Whether all rows of S_B and S_C are independent, so that the signs could be no others.
    positive_share
        Sum of the positive eigenvalues over the sum of all sizes; NaN when all are 0.
    nulls
        The positive share with the channels of S_B permuted.
    checks
        The eigenvalues sum to the trace of S_C' S_B; where forced, width of them are positive.
    """

    eigenvalues: Float[np.ndarray, " kept"]
    own: Float[np.ndarray, " channels"]
    positive: int
    negative: int
    regime: str
    forced: bool
    positive_share: float
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """The signs, whether they were forced, and whether their sizes beat the null."""
        text = f"{self.positive} positive and {self.negative} negative eigenvalues of S_C' S_B: {self.regime}"
        text += ", forced by the shape whatever the weights" if self.forced else ""
        if self.positive + self.negative == 0:
            return text
        text += f"; positive share of their sizes {self.positive_share:.3f}"
        for null in self.nulls:
            text += f", {'beats' if null.beaten else 'does not beat'} {len(null.draws)} draws of {null.name} (p = {null.p:.2g})"
        return text + f"; {(self.own > 0).mean():.0%} of the channels have a positive mu of their own"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Eigenvalues in order."""
        ax = axes_or_new(ax)
        ax.plot(np.arange(1, len(self.eigenvalues) + 1), self.eigenvalues, "o", markersize=3)
        ax.axhline(0, color="0.6", linewidth=1)
        ax.set(xlabel="rank", ylabel="eigenvalue of the symmetric part of S_C' S_B")
        return ax


def token_regime(S_B: Any, S_C: Any, *, draws: int = 199, generator: np.random.Generator | None = None) -> TokenRegime:
    """Signs and sizes of the eigenvalues that say whether tokens vanish or diverge.

    Parameters
    ----------
    S_B, S_C : (width, channels)
        What a token writes and how it reads, as ``hooks.families.state_space.write_and_read`` takes them from a Mamba mixer.
    draws
        Of the null; none for 0.
    generator
        Draws them; a fixed seed when left out.

    Raises
    ------
    InputError
        For matrices of different shapes or with values that are not finite, or a negative number of draws.

    Notes
    -----
    The theory's layer has no gate, convolution, norm or other layers. Of a real Mamba this is a statement about its weights.
    """
    S_B, S_C = as_pair(S_B, S_C)
    if S_B.ndim != 2 or draws < 0:
        raise InputError(
            f"one pair of matrices and no negative number of draws are needed, but {S_B.shape}, {draws=} came"
        )
    generator = generator or np.random.default_rng(0)

    eigenvalues = pair_spectrum(S_B, S_C)
    positive, negative = (int(count) for count in signs(eigenvalues))
    sizes = np.linalg.svd(np.concatenate([S_B, S_C]), compute_uv=False)
    width, channels = S_B.shape
    forced = bool(channels >= 2 * width and len(sizes) and sizes[-1] > INDEPENDENT * sizes[0])
    share = float(_positive_share(eigenvalues))
    orders = generator.permuted(np.tile(np.arange(channels), (draws, 1)), axis=1)
    drawn = _positive_share(pair_spectrum(S_B[:, orders].swapaxes(0, 1), np.broadcast_to(S_C, (draws, *S_C.shape))))
    known = draws and np.isfinite(share)

    own = np.einsum("nc,nc->c", S_C, S_B)
    total = float(np.abs(eigenvalues).sum())
    checks = [Check("sum of the eigenvalues: trace", float(own.sum()), float(eigenvalues.sum()), 1e-10 * total)]
    if forced:
        checks.append(Check("positive eigenvalues of independent rows: the width", float(width), float(positive), 0.0))
    return TokenRegime(
        eigenvalues=np.ascontiguousarray(eigenvalues),
        own=own,
        positive=positive,
        negative=negative,
        regime=regime(positive, negative),
        forced=forced,
        positive_share=share,
        nulls=(Null("B's channels permuted", "writing is not tied to reading", "permutation", drawn, share),)
        if known
        else (),
        checks=tuple(checks),
    )


def _positive_share(eigenvalues: np.ndarray) -> np.ndarray:
    total = np.abs(eigenvalues).sum(axis=-1)
    positive = np.where(eigenvalues > 0, eigenvalues, 0.0).sum(axis=-1)
    return np.divide(positive, total, out=np.full_like(total, np.nan), where=total > 0)
