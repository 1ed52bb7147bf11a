"""Do the attractors account for the loop? Put simple accounts in its place and see where starts that were held out end.

Accounts, each built from what was found and known starts alone: the nearest attractor; its linear pieces, z -> p + J (z - p)
with p the attractor nearest to z at every step and J the slope there; the end of the nearest known start (a map of basins). The
share of held-out starts that end where the loop itself takes them stands beside that of a random assignment of the same
attractors in the same numbers.

Takes (dynamics, attractors (found, dim), held_out (starts, dim)); costs ``steps`` steps of the held-out starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analyses.maps._attractors import NOWHERE, ends, given_attractors
from analyses.result import Check, Null, Result, axes_or_new
from hooks.dynamics import Dynamics, as_states, autonomous
from hooks.errors import InputError
from hooks.tangent import jacobian

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEAREST, LINEAR, BASINS = "nearest attractor", "linear pieces", "end of the nearest known start"


@dataclass(frozen=True, eq=False)
class AttractorAccount(Result):
    """Where held-out starts end, in the loop and in each account of it.

    Attributes
    ----------
    ends : (starts,)
        The attractor that the loop takes each to, -1 for none within the steps.
    names
        Of the accounts.
    predicted : (accounts, starts)
        -1 where an account comes to no attractor.
    recovered : (accounts,)
        Share of the starts with an end for which the account says the same one; NaN without any.
    intervals : (accounts, 2)
        Clopper-Pearson, 95 %.
    attractors
        How many there are.
    checks
        None: the shares are what they are.
    nulls
        The same share with each account's predictions in random order; none for a single attractor, where there is nothing to
        tell.
    """

    ends: Int[np.ndarray, " starts"]
    names: tuple[str, ...]
    predicted: Int[np.ndarray, "accounts starts"]
    recovered: Float[np.ndarray, " accounts"]
    intervals: Float[np.ndarray, "accounts 2"]
    attractors: int
    checks: tuple[Check, ...]
    nulls: tuple[Null, ...]

    def summary(self) -> str:
        """Share recovered by each account, beside chance."""
        known = int((self.ends != NOWHERE).sum())
        where = f"one of {self.attractors} attractors" if self.attractors > 1 else "the one attractor"
        text = f"{known} of {len(self.ends)} held-out starts end on {where}"
        if not known:
            return text
        chance = {null.statistic: float(np.median(null.draws)) for null in self.nulls}
        said = [
            f"{name} {share:.3f} ({low:.3f} to {high:.3f}"
            + (f"; in random order {chance[name]:.3f})" if name in chance else ")")
            for name, share, (low, high) in zip(self.names, self.recovered, self.intervals, strict=True)
        ]
        text += f"; share of these that each account recovers: {', '.join(said)}"
        return text + ("" if self.nulls else "; with one attractor there is nothing to tell")

    def plot(self, ax: Axes | None = None) -> Axes:
        """Share recovered by each account with its interval, and a cross for the random assignment."""
        ax = axes_or_new(ax)
        rows = np.arange(len(self.names))[::-1]
        error = np.abs(self.intervals.T - self.recovered)
        ax.errorbar(
            self.recovered, rows, xerr=error, fmt="o", color="#0072b2", ecolor="0.4", capsize=2, label="account"
        )
        if self.nulls:
            chance = [np.median(null.draws) for null in self.nulls]
            ax.plot(chance, rows, "x", color="0.4", label="random, equal sizes")
            ax.legend(frameon=False, fontsize="small")
        ax.set(xlabel="share of held-out starts", xlim=(-0.02, 1.02), yticks=rows, yticklabels=self.names)
        return ax


def attractor_account(
    dynamics: Dynamics,
    attractors: Any,
    held_out: Any,
    *,
    known: Any,
    known_ends: Any,
    steps: int = 3000,
    draws: int = 999,
    generator: np.random.Generator | None = None,
) -> AttractorAccount:
    """Replace the loop by its attractors and count the held-out starts that end in the same place.

    Parameters
    ----------
    attractors : (found, dim)
        Stable fixed points.
    held_out : (starts, dim)
        Starts that were not used to find them.
    known : (more, dim)
        Starts whose ends are known.
    known_ends : (more,)
        The attractor of each, -1 for none.
    steps
        Most steps of the loop, and of its linear pieces.
    draws
        Random assignments.
    generator
        Of the draws; a fixed seed when left out.

    Raises
    ------
    DrivenError
        When the map takes a drive.
    InputError
        Without attractors, for points that the map moves, or known ends that do not fit the known starts or the attractors.
    """
    dynamics = autonomous(dynamics, "attractor_account")
    generator = generator or np.random.default_rng(0)
    points = as_states(dynamics, attractors)
    given = given_attractors(dynamics, [point[None] for point in points], None)
    starts, seen = as_states(dynamics, held_out), as_states(dynamics, known)
    labels = np.asarray(known_ends)
    if labels.shape != (len(seen),) or labels.dtype.kind != "i" or not ((labels >= -1) & (labels < len(points))).all():
        raise InputError(
            f"known ends are ({len(seen)},) numbers of attractors, -1 to {len(points) - 1}, but {labels.shape} came"
        )
    told = torch.as_tensor(labels[labels >= 0], device=starts.device)
    if not len(told):
        raise InputError("known starts with an end are needed, and none came")

    truth = ends(dynamics, starts, given, steps)
    with torch.no_grad():
        accounts = {
            NEAREST: torch.cdist(starts, points).argmin(1),
            LINEAR: ends(_pieces(dynamics, points), starts, given, steps),
            BASINS: told[torch.cdist(starts, seen[torch.as_tensor(labels >= 0, device=starts.device)]).argmin(1)],
        }
    landed = truth.cpu().numpy()
    predicted = torch.stack(list(accounts.values())).cpu().numpy().astype(np.int64)
    decided = landed != NOWHERE
    right = (predicted == landed)[:, decided]
    nulls = []
    if len(points) > 1 and decided.any():
        orders = np.array([generator.permutation(int(decided.sum())) for _ in range(draws)])
        for name, row, hits in zip(accounts, predicted[:, decided], right, strict=True):
            shares = (row[orders] == landed[decided]).mean(axis=1)
            said = "which attractor an account gives a start says nothing of where the loop takes it"
            nulls.append(Null("random assignment of equal sizes", said, "start", shares, float(hits.mean()), name))
    return AttractorAccount(
        ends=landed.astype(np.int64),
        names=tuple(accounts),
        predicted=predicted,
        recovered=right.mean(axis=1) if decided.any() else np.full(len(predicted), np.nan),
        intervals=np.array([_interval(int(hits.sum()), len(hits)) for hits in right]),
        attractors=len(points),
        checks=(),
        nulls=tuple(nulls),
    )


def _pieces(dynamics: Dynamics, points: Tensor) -> Dynamics:
    """The loop's linearisation at whichever point is nearest."""
    slopes = jacobian(dynamics, points)

    def step(states: Tensor, _: Any) -> Tensor:
        nearest = torch.cdist(states, points).argmin(1)
        return points[nearest] + (slopes[nearest] @ (states - points[nearest])[..., None])[..., 0]

    return Dynamics(step, dynamics.dim, "linear pieces", dtype=dynamics.dtype, device=dynamics.device)


def _interval(hits: int, total: int) -> tuple[float, float]:
    from scipy.stats import binomtest

    if not total:
        return float("nan"), float("nan")
    found = binomtest(hits, total).proportion_ci(0.95, method="exact")
    return found.low, found.high
