"""How long does a continuation stay the same after one of its tokens is swapped, and is it shorter where the model is unsure?

The divergence time of a swap is the number of tokens after it, within the horizon, that are still those of the unswapped
continuation. Decoding by branching at "chaotic points" (SED) presumes that continuations part sooner where the model's next
token is most uncertain. Those points are flagged (the share of each text with the largest entropy), and their mean time is set
beside the mean of as many positions of the same texts, drawn at random, and beside the flags turned along each text, which
keeps how they cluster. The swap is for the model's second choice.

Takes ``Continuations`` (hooks.continuations); costs a mean over positions for each draw.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analyses.result import Check, Null, Result, axes_or_new, counted
from hooks.continuations import Continuations
from hooks.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class DivergenceTimes(Result):
    """Times after swaps, and which swaps were made where the model is unsure.

    Attributes
    ----------
    times : (texts, steps)
        Tokens after the swap that stay the same; the horizon where the texts never part in it.
    parted : (texts, steps)
        Whether they do.
    differing : (texts, steps)
        Share of the tokens within the horizon that differ: small where texts come together again.
    uncertainty : (texts, steps)
        Entropy of the next token, nats.
    flagged : (texts, steps)
        The most uncertain positions of each text.
    flagged_time, mean_time
        Mean times of the flagged positions, and of all.
    horizon
        Tokens after each swap.
    """

    times: np.ndarray
    parted: np.ndarray
    differing: np.ndarray
    uncertainty: np.ndarray
    flagged: np.ndarray
    flagged_time: float
    mean_time: float
    horizon: int
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    def summary(self) -> str:
        swaps = f"{int(self.parted.sum())} of {counted(self.parted.size, 'swap')} part the text within {self.horizon} tokens"
        if not self.nulls:
            return f"{swaps}; with every position flagged there is nothing to compare."
        said = (
            f"{swaps}; where the model is unsure ({int(self.flagged.sum())} positions) after {self.flagged_time:.3g} tokens in "
            f"the mean, anywhere after {self.mean_time:.3g}"
        )
        odds = ", ".join(f"p {null.p:.2g} beside {null.name}" for null in self.nulls)
        beaten = all(null.beaten for null in self.nulls)
        there = "sooner" if self.flagged_time < self.mean_time else "later"
        verdict = f"texts part {there} there" if beaten else "not shown: texts part there no sooner than elsewhere"
        return f"{said}; {verdict} ({odds})."

    def plot(self, ax: Axes | None = None) -> Axes:
        ax = axes_or_new(ax)
        for chosen, label, marker in ((~self.flagged, "other positions", "."), (self.flagged, "flagged", "x")):
            ax.plot(self.uncertainty[chosen], self.times[chosen], marker, label=label, alpha=0.6)
        ax.set(xlabel="entropy of the swapped token (nats)", ylabel="tokens that stay the same")
        ax.legend()
        return ax


def divergence_times(
    written: Continuations, *, share: float = 0.1, draws: int = 999, generator: np.random.Generator | None = None
) -> DivergenceTimes:
    """When continuations part after a swap, at the most uncertain positions and anywhere.

    Parameters
    ----------
    written
        From ``hooks.continuations``.
    share
        Of each text's positions that are flagged, rounded up.
    draws, generator
        Of each null; a fixed seed when left out.

    Raises
    ------
    InputError
        For a share outside (0, 1] or draws below 0.
    """
    if not (0 < share <= 1 and draws >= 0):
        raise InputError(f"share lies in (0, 1] and draws are 0 or more, but {share=} and {draws=} came")
    generator = np.random.default_rng(0) if generator is None else generator
    texts, steps, horizon = written.swapped.shape
    after = np.lib.stride_tricks.sliding_window_view(written.tokens[:, 1:], horizon, axis=1)[:, :steps]
    differs = written.swapped != after
    parted = differs.any(axis=2)
    times = np.where(parted, differs.argmax(axis=2), horizon)
    count = math.ceil(share * steps)
    flagged = np.zeros((texts, steps), dtype=bool)
    most = np.argsort(-written.uncertainty, axis=1, kind="stable")[:, :count]
    np.put_along_axis(flagged, most, True, axis=1)

    observed = float(times[flagged].mean())
    nulls: tuple[Null, ...] = ()
    if draws and count < steps:
        anywhere = np.argsort(generator.random((draws, texts, steps)), axis=2)[:, :, :count]
        random = np.take_along_axis(times[None], anywhere, axis=2).mean(axis=(1, 2))
        turns = generator.integers(0, steps, (draws, texts, 1))
        turned = np.take_along_axis(times[None], (most[None] + turns) % steps, axis=2).mean(axis=(1, 2))
        nulls = (
            Null(
                "swaps at random positions",
                "texts part no sooner where the model is unsure",
                "token",
                random,
                observed,
            ),
            Null("flags turned along each text", "nor where it is unsure for a while", "token", turned, observed),
        )
    return DivergenceTimes(
        times=times.astype(np.int64),
        parted=parted,
        differing=differs.mean(axis=2),
        uncertainty=written.uncertainty,
        flagged=flagged,
        flagged_time=observed,
        mean_time=float(times.mean()),
        horizon=horizon,
        nulls=nulls,
        checks=(
            Check(
                "share changed when a token is swapped for itself",
                0.0,
                float((written.control != after[:, 0]).mean()),
                0.0,
            ),
        ),
    )
