"""Does each token act on the states by one linear map, as it acts on the beliefs of a hidden Markov process?

Method: of a process with matrices T^(x), a belief b and a token x of probability p, p b' = b T^(x) exactly: Bayes' rule is
linear before it is normalised (the operators of Jaeger, Neural Computation 12, 1371, 2000). T^(x) is fitted to the transitions
of each token by least squares, without an offset, on all folds of runs but one, and scored on that one. As a null the tokens
are given to other transitions: what one map for all tokens explains.

Takes a Trajectory of read beliefs, the tokens between its steps and their probabilities; costs dim x dim sums a transition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int

from analyses.result import Check, Null, Result, axes_or_new, counted
from hooks.errors import InputError
from hooks.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class TokenOperators(Result):
    """One linear map a token, before normalising.

    Attributes
    ----------
    operators : (tokens, dim, dim)
        Fitted to all transitions; a row vector goes from the left, b T.
    r2
        Share of the variance of p b' that the maps explain, held out; NaN where it never varies.
    counts : (tokens,)
        Transitions of each.
    checks
        The fit leaves errors uncorrelated with the states.
    nulls
        Tokens given to other transitions.
    """

    operators: Float[np.ndarray, "tokens dim dim"]
    r2: float
    counts: Int[np.ndarray, " tokens"]
    checks: tuple[Check, ...]
    nulls: tuple[Null, ...]

    def summary(self) -> str:
        """The share explained, and how much of it any map would explain."""
        if np.isnan(self.r2):
            return "no map is fitted: the states never vary"
        (null,) = self.nulls
        text = "" if null.beaten else "no more than with shuffled tokens: "
        text += (
            f"R2 {self.r2:.4f} of {self.counts.sum()} held-out transitions by {counted(len(self.counts), 'linear map')}"
        )
        return (
            text
            + f"; tokens shuffled: {np.median(null.draws):.4f}, at most {null.draws.max():.4f} in {len(null.draws)}"
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """The maps side by side."""
        ax = axes_or_new(ax)
        ax.imshow(np.hstack(list(self.operators)), cmap="viridis")
        ax.set(xlabel="token, next state", ylabel="state", xticks=[], yticks=[])
        return ax


def token_operators(
    trajectory: Trajectory,
    tokens: Any,
    probabilities: Any,
    *,
    folds: int = 5,
    shuffles: int = 99,
    generator: torch.Generator | None = None,
) -> TokenOperators:
    """Fit p b' = b T^(x) over all transitions, token by token.

    Parameters
    ----------
    tokens, probabilities : (runs, steps - 1)
        Token t, which took state t to state t + 1, and how likely it was there, whoever says so; padding is not read.
    folds
        Of whole runs, at most as many.
    shuffles
        Draws of the null, 19 at least for p = 0.05.
    generator
        Of folds and shuffles; seed 0 when left out.

    Raises
    ------
    InputError
        For tokens or probabilities that do not fit the trajectory, a token that is no whole number from 0 upwards, a
        probability outside 0 to 1, fewer than 2 folds or 1 shuffle, or no transition.
    """
    follows = trajectory.valid[:, 1:]
    x, p = np.asarray(tokens), np.asarray(probabilities, dtype=np.float64)
    if x.shape != follows.shape or p.shape != follows.shape or not follows.any():
        raise InputError(f"tokens and probabilities take shape {follows.shape}, but {x.shape} and {p.shape} came")
    heard, likely = x[follows], p[follows]
    if heard.dtype.kind not in "iu" or heard.min() < 0 or not ((likely >= 0) & (likely <= 1)).all():
        raise InputError("tokens are whole numbers from 0 and probabilities lie between 0 and 1")
    if not 2 <= folds <= len(follows) or shuffles < 1:
        raise InputError(f"folds are 2 to {len(follows)} and shuffles 1 or more, not {folds} and {shuffles}")
    generator = generator or torch.Generator().manual_seed(0)
    fold = np.repeat((torch.randperm(len(follows), generator=generator) % folds).numpy(), follows.sum(1))

    now, after = trajectory.pairs()
    target = likely[:, None] * after
    kinds = int(heard.max()) + 1
    score = _score(now, target, heard, fold, folds, kinds)
    drawn = []
    for _ in range(shuffles):
        order = torch.randperm(len(heard), generator=generator).numpy()
        drawn.append(_score(now, target, heard[order], fold, folds, kinds))
    operators = np.stack([_fit(now[heard == k], target[heard == k]) for k in range(kinds)])
    errors = target - np.einsum("ni,nij->nj", now, operators[heard])
    size = max(np.abs(now).mean() * np.abs(target).mean() * len(now), np.finfo(np.float64).tiny)
    null = Null("tokens shuffled", "one map serves all tokens", "transition", np.array(drawn), score)

    return TokenOperators(
        operators=operators,
        r2=score,
        counts=np.bincount(heard, minlength=kinds).astype(np.int64),
        checks=(Check("correlation of errors and states", 0.0, float(np.abs(now.T @ errors).max() / size), 1e-8),),
        nulls=() if np.isnan(score) else (null,),
    )


def _fit(now: np.ndarray, target: np.ndarray) -> np.ndarray:
    return np.linalg.lstsq(now, target, rcond=None)[0]


def _score(now: np.ndarray, target: np.ndarray, heard: np.ndarray, fold: np.ndarray, folds: int, kinds: int) -> float:
    """R2 over all transitions, each predicted by the maps of the other folds."""
    read = np.empty(target.shape)
    for k in range(folds):
        for kind in range(kinds):
            seen, wanted = (heard == kind) & (fold != k), (heard == kind) & (fold == k)
            read[wanted] = now[wanted] @ _fit(now[seen], target[seen])
    spread = ((target - target.mean(0)) ** 2).sum()
    if not spread > np.finfo(np.float64).eps * (target**2).sum():
        return float("nan")
    return float(1 - ((target - read) ** 2).sum() / spread)
