"""Is one of these networks unlike the others? The one that lies furthest out, against what the spread of the others gives.

Statistic: for each network, its mean distance to the others, less the mean of what the others have among themselves, in
standard deviations of the latter (a deleted residual); the largest over the networks is asked. A largest there always is, so
the null has to say how large it gets. Networks without structure are drawn for this: the candidate is left out, the distances
of the others are brought to coordinates (classical scaling, negative eigenvalues set to 0), and as many networks as came are
drawn from a Gaussian of the same principal variances; the largest statistic of each draw makes the null. It holds where the
others spread like one cloud: measured on Gaussian clouds of 6 to 20 networks in 1 to 30 dimensions, one stands out in 0 to 7 %
of them; with tails as long as Student's t with 4 degrees of freedom, in 7 to 23 %. Solutions of several kinds widen the
spread, and two alike odd ones hide each other: then none stands out.

Sources: Gower, Biometrika 53, 325 (1966), classical scaling; Grubbs, Ann. Math. Stat. 21, 27 (1950), the extreme deviate.
Takes a matrix of distances, as ``network_comparison`` or ``similarity`` give; costs draws x networks^2 x dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from analyses.result import Check, Null, Outcome, Result, axes_or_new, counted
from hooks.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEWEST = 4  # networks: of three, the others have one distance, and so no spread
ALIKE = 1e5  # deviations, from which on the others are said to be alike
BATCH = 2**22  # numbers of the drawn networks held at once


@dataclass(frozen=True, eq=False)
class OddOneOut(Result):
    """The network that lies furthest out.

    Attributes
    ----------
    names
        Of the networks.
    means : (networks,)
        Mean distance to the others; NaN for a network without distances, which is left out.
    deviations : (networks,)
        The statistic of each.
    furthest
        The network of the largest one; -1 where there is none.
    stands_out
        Whether it is beyond the null.
    outcome
        TOO_SHORT with fewer than four networks.
    nulls
        "one cloud".
    checks
        None: any matrix of distances has an answer.
    """

    names: tuple[str, ...]
    means: Float[np.ndarray, " networks"]
    deviations: Float[np.ndarray, " networks"]
    furthest: int
    stands_out: bool
    outcome: Outcome
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """Which network, how far out, and what one cloud gives."""
        has = np.isfinite(self.means)
        text = f"{int(has.sum())} of {counted(len(has), 'network')} asked"
        if self.outcome is Outcome.TOO_SHORT:
            return f"{text}: {FEWEST} are needed to tell one from the spread of the others"
        name, out = self.names[self.furthest], self.deviations[self.furthest]
        text += f": {name} stands out" if self.stands_out else f": none stands out; furthest is {name}"
        text += f", at mean distance {self.means[self.furthest]:.3g} from the others (median of all "
        text += f"{np.nanmedian(self.means):.3g}), "
        text += f"{out:.3g} deviations beyond what these are apart" if out < ALIKE else "while these are alike"
        for null in self.nulls:
            text += f"; one cloud of networks gives {np.median(null.draws):.2g}, and {np.quantile(null.draws, 0.95):.2g} or "
            text += f"more in one of twenty (p = {null.p:.2g})"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """Mean distances to the others, the one that stands out in another colour."""
        ax = axes_or_new(ax)
        order = np.argsort(-np.nan_to_num(self.means))[:40]
        colors = ["#d55e00" if self.stands_out and row == self.furthest else "#0072b2" for row in order]
        ax.barh(range(len(order)), self.means[order], color=colors)
        ax.set_yticks(range(len(order)), [self.names[row] for row in order], fontsize="small")
        ax.invert_yaxis()
        ax.set_xlabel("mean distance to the others")
        return ax


def odd_one_out(
    distances: Any,
    *,
    names: Sequence[str] = (),
    draws: int = 999,
    rounding: float = 1e-6,
    generator: np.random.Generator | None = None,
) -> OddOneOut:
    """The network that lies furthest from the others, and whether that is beyond what the others' spread gives.

    Parameters
    ----------
    distances : (networks, networks)
        Symmetric, not negative, 0 on the diagonal. A network whose distances are all NaN is left out.
    names
        N1, N2, ... when left out.
    draws
        Of the null, 19 at least.
    rounding
        Spreads below this are taken for it, so that rotated copies are not told apart by rounding.
    generator
        Of the draws; numpy's with seed 0 when left out.

    Raises
    ------
    InputError
        For what is no matrix of distances, names that do not fit, or options out of range.
    """
    given = np.array(distances, dtype=np.float64)
    count = len(given)
    names = tuple(names) or tuple(f"N{number + 1}" for number in range(count))
    if given.shape != (count, count) or len(names) != count:
        raise InputError(f"distances of {len(names)} named networks came with shape {given.shape}")
    if draws < 19 or not rounding > 0:
        raise InputError(f"19 draws at least and a positive rounding are needed, but {draws=}, {rounding=} came")
    off = np.where(np.eye(count, dtype=bool), np.nan, given)
    has = np.isfinite(off).any(axis=1)
    known = given[np.ix_(has, has)]
    np.fill_diagonal(known, 0.0)
    if not (np.isfinite(known).all() and (known >= 0).all() and np.allclose(known, known.T, rtol=1e-6, atol=rounding)):
        raise InputError(
            f"distances are symmetric, finite and not negative, or NaN for all of a network, but {given.shape} with "
            f"{int(np.isnan(off[has][:, has]).sum()) - int(has.sum())} NaN came"
        )
    means, deviations = np.full(count, np.nan), np.full(count, np.nan)
    kept = np.flatnonzero(has)
    if len(kept) < FEWEST:
        means[kept] = known.sum(axis=1) / max(len(kept) - 1, 1)
        return OddOneOut(names, means, deviations, -1, False, Outcome.TOO_SHORT, (), ())

    means[kept] = known.sum(axis=1) / (len(kept) - 1)
    deviations[kept] = _deviations(known, rounding)
    furthest = int(np.nanargmax(deviations))
    others = np.delete(np.arange(len(kept)), np.searchsorted(kept, furthest))
    scales = _principal_deviations(known[np.ix_(others, others)])
    generator = generator or np.random.default_rng(0)
    drawn = np.concatenate(
        [
            _deviations(_apart(generator.standard_normal((part, len(kept), len(scales))) * scales), rounding).max(
                axis=1
            )
            for part in _parts(draws, len(kept) * len(kept) * max(1, len(scales)))
        ]
    )
    observed = float(deviations[furthest])
    null = Null("one cloud", "the networks spread like one Gaussian cloud", "network", drawn, observed)
    beyond = null.beaten and observed > float(np.median(drawn))
    return OddOneOut(names, means, deviations, furthest, beyond, Outcome.CONVERGED, (null,), ())


def _parts(draws: int, numbers: int) -> list[int]:
    """Sizes of batches of draws."""
    size = max(1, BATCH // numbers)
    return [min(size, draws - first) for first in range(0, draws, size)]


def _deviations(distances: np.ndarray, rounding: float) -> np.ndarray:
    """(..., networks, networks) -> (..., networks) deleted residuals of the mean distances."""
    count = distances.shape[-1]
    sums = distances.sum(axis=-1)
    among = (sums[..., None, :] - distances) / (count - 2)  # [i, j]: of j, among all but i
    among[..., np.arange(count), np.arange(count)] = np.nan
    center, spread = np.nanmean(among, axis=-1), np.nanstd(among, axis=-1, ddof=1)
    return (sums / (count - 1) - center) / np.maximum(spread, rounding)


def _principal_deviations(distances: np.ndarray) -> np.ndarray:
    """Standard deviations along the axes of classical scaling."""
    count = len(distances)
    centering = np.eye(count) - 1 / count
    values = np.linalg.eigvalsh(-centering @ distances**2 @ centering / 2)
    return np.sqrt(np.maximum(values, 0.0)[::-1][: count - 1] / (count - 1))


def _apart(points: np.ndarray) -> np.ndarray:
    """(draws, networks, dims) -> distances."""
    return np.sqrt(((points[:, :, None] - points[:, None]) ** 2).sum(axis=-1))
