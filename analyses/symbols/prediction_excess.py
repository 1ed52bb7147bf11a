"""How far above the smallest possible loss is a predictor of tokens, where the true probabilities are known?

The expected loss of a prediction q of a token of true distribution p is -sum p ln q = H(p) + D(p | q): the entropy, which no
predictor falls below, and the divergence, which is the predictor's own (Cover and Thomas, Elements of Information Theory, 2nd
ed., section 5.4). Expectations over the next token are exact sums, so nothing is left of its sampling noise.

Takes log-probabilities and true probabilities (runs, steps, tokens); costs one pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from analyses.result import Check, Result, axes_or_new, counted
from hooks.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class PredictionExcess(Result):
    """Loss beside the smallest possible one, in nats a token.

    Attributes
    ----------
    entropies, losses : (steps,)
        Means over the runs of what is possible and of what is reached.
    excess : (steps,)
        Mean divergence; infinite where a token that can come was given no probability.
    share
        Total excess over total entropy; NaN where the next token is always known.
    predictions
        How many.
    checks
        Loss is entropy plus excess.
    """

    entropies: Float[np.ndarray, " steps"]
    losses: Float[np.ndarray, " steps"]
    excess: Float[np.ndarray, " steps"]
    share: float
    predictions: int
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """Loss, optimum, and the step with the largest excess."""
        worst = int(self.excess.argmax())
        return (
            f"{self.predictions} predictions lose {self.losses.mean():.4f} nats a token where {self.entropies.mean():.4f} are "
            f"possible: {self.share:.2%} above, and at most {self.excess[worst]:.2g} nats, after {counted(worst + 1, 'token')}"
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Loss and entropy by step."""
        ax = axes_or_new(ax)
        steps = np.arange(1, len(self.losses) + 1)
        ax.plot(steps, self.losses, "o-", color="#d55e00", markersize=4, label="reached")
        ax.plot(steps, self.entropies, "o-", color="#0072b2", markersize=4, label="possible")
        ax.set(xlabel="tokens seen", ylabel="nats a token")
        ax.legend(frameon=False, fontsize="small")
        return ax


def prediction_excess(log_probabilities: Any, truth: Any, *, weights: Any = None) -> PredictionExcess:
    """Hold predictions against the true distribution of the next token, step by step.

    Parameters
    ----------
    log_probabilities : (runs, steps, tokens)
        ln q, of distributions; scores must be normalised before.
    truth : (runs, steps, tokens)
        p given the same past.
    weights : (runs,)
        How much each run counts; alike when left out.

    Raises
    ------
    InputError
        For arrays of other or different shapes, weights that do not fit, or rows that are no distributions: sums differ from 1
        by more than 1e-4, which float32 keeps.
    """
    q, p = np.asarray(log_probabilities, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if p.ndim != 3 or q.shape != p.shape or not p.size:
        raise InputError(f"both take shape (runs, steps, tokens), but {q.shape} and {p.shape} came")
    share = np.ones(len(p)) if weights is None else np.asarray(weights, dtype=np.float64)
    if share.shape != (len(p),) or not (share >= 0).all() or not share.sum() > 0:
        raise InputError(f"weights are not negative and not all zero, one for each of {len(p)} runs")
    for name, sums in (("exp(log_probabilities)", np.exp(q).sum(2)), ("truth", p.sum(2))):
        if not (np.abs(sums - 1) < 1e-4).all():
            raise InputError(f"{name} sums to between {sums.min():.4g} and {sums.max():.4g} over tokens, not to 1")

    share = share / share.sum()
    can = p > 0
    logs = np.log(p, out=np.zeros_like(p), where=can)
    entropies = -share @ (p * logs).sum(2)
    losses = -share @ np.multiply(p, q, out=np.zeros_like(p), where=can).sum(2)
    excess = share @ np.multiply(p, logs - q, out=np.zeros_like(p), where=can).sum(2)
    finite = np.isfinite(losses)
    gap = np.abs(losses[finite] - entropies[finite] - excess[finite]).max(initial=0.0)
    return PredictionExcess(
        entropies=entropies,
        losses=losses,
        excess=excess,
        share=float(excess.sum() / entropies.sum()) if entropies.sum() > 0 else float("nan"),
        predictions=p.shape[0] * p.shape[1],
        checks=(Check("loss less entropy and excess", 0.0, float(gap), 1e-9),),
    )
