"""How far can all weights be moved before the error is as large as what was learned, and does that fall with their number?

Method: E(size) is the largest error over random moves of all weights up to that size, a maximum that runs over the sizes in
ascending order, as the code of Wang, Li and Li measures it (Inverse approximation theory for nonlinear recurrent neural
networks, ICLR 2024, arXiv 2305.19190). A move is a Gaussian direction scaled to its size: in the largest entry (theirs), or in
Euclidean length. The theorem there concerns the limit of many units: where the error of ever larger networks stays small within
one radius of moves, what they approximate forgets exponentially. On finitely many networks the radius may fall for another
reason, that there are more weights to move: moves of one largest entry are longer by the square root of their number, moves of
one Euclidean length are not. So a radius that falls in the first and not in the second has counted the weights.

Takes an error, (batch, weights) -> (batch,), and for each architecture the weights of some networks (networks, weights); costs
draws evaluations of the error for each network and size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analyses.result import Check, Result, axes_or_new, counted
from hooks.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEVEL = 1.0  # of an error that is relative to the size of what was learned


@dataclass(frozen=True, eq=False)
class PerturbationError(Result):
    """Errors of moved networks, by architecture.

    Attributes
    ----------
    weights : (architectures,)
        How many each has, ascending.
    norm
        Of a move: "largest" entry or "euclidean" length.
    sizes : (sizes,)
        Ascending.
    unmoved : (architectures, networks)
    errors : (architectures, networks, sizes)
        The largest error up to this size.
    draws
        Moves of each network at each size.
    checks
        Errors of the unmoved networks, again one at a time.
    """

    weights: Int[np.ndarray, " architectures"]
    norm: str
    sizes: Float[np.ndarray, " sizes"]
    unmoved: Float[np.ndarray, "architectures networks"]
    errors: Float[np.ndarray, "architectures networks sizes"]
    draws: int
    checks: tuple[Check, ...]

    @property
    def curves(self) -> np.ndarray:
        """(architectures, sizes) medians over the networks."""
        return np.median(self.errors, axis=1)

    def radii(self, level: float = LEVEL) -> np.ndarray:
        """(architectures,) the size at which the curve reaches the level, on a line in logarithms; NaN where it is not seen."""
        return np.array([_reached(np.log(self.sizes), curve, level) for curve in self.curves])

    def slope(self, level: float = LEVEL) -> float:
        """d ln radius / d ln weights over the architectures: near -1/2 where the number of weights alone counts.

        NaN where fewer than three reach the level.
        """
        return _slope(self.weights, self.radii(level))

    @property
    def crossings(self) -> np.ndarray:
        """(architectures - 1,) the size at which each curve rises above that of the next smaller architecture and stays above.

        NaN where it is above at every size, or below at the largest.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            apart = np.diff(np.log(self.curves), axis=0)
        found = []
        for gap in apart:
            below = np.flatnonzero(~(gap > 0))
            last = below[-1] if len(below) else -1
            inside = 0 <= last < len(gap) - 1
            found.append(math.sqrt(self.sizes[last] * self.sizes[last + 1]) if inside else math.nan)
        return np.array(found, dtype=np.float64)

    def summary(self) -> str:
        """How many architectures reach an error of 1, at which sizes, and how that goes with their number of weights."""
        radii, slope = self.radii(), self.slope()
        seen = np.isfinite(radii)
        move = "the largest entry" if self.norm == "largest" else "Euclidean length"
        text = f"{seen.sum()} of {counted(len(radii), 'architecture')} reach an error of {LEVEL:g} by moves of up to "
        text += f"{self.sizes[-1]:.3g} in {move}"
        if seen.any():
            text += f", at {', '.join(f'{radius:.3g}' for radius in radii[seen])}"
        if math.isfinite(slope):
            text += f": as weights^{slope:.2f}"
        crossed = self.crossings[np.isfinite(self.crossings)]
        text += f"; {len(crossed)} of {counted(max(0, len(radii) - 1), 'pair')} of neighbouring curves cross"
        return text + (f", at {', '.join(f'{size:.3g}' for size in crossed)}" if len(crossed) else "")

    def plot(self, ax: Axes | None = None) -> Axes:
        """The curves by size."""
        ax = axes_or_new(ax)
        for number, curve in zip(self.weights, self.curves, strict=True):
            shown = np.isfinite(curve) & (curve > 0) & (curve < 1e6)
            ax.loglog(self.sizes[shown], curve[shown], "o-", markersize=3, label=f"{number} weights")
        ax.axhline(LEVEL, color="0.6", linewidth=0.8)
        ax.set(xlabel=f"size of the move ({self.norm})", ylabel="error")
        ax.legend(frameon=False, fontsize="small")
        return ax


def perturbation_error(
    error: Callable[[Tensor], Tensor],
    weights: Sequence[Any],
    *,
    sizes: Sequence[float] | Float[np.ndarray, " sizes"],
    norm: Literal["largest", "euclidean"] = "largest",
    draws: int = 30,
    generator: torch.Generator | None = None,
) -> PerturbationError:
    """Errors of networks whose weights are moved at random, by the size of the move.

    Parameters
    ----------
    error
        (batch, weights) -> (batch,), each row its own network, for every architecture; over the size of what was learned.
    weights : (networks, weights) for each architecture
        The same number of networks of each, of different numbers of weights.
    sizes
        Of the moves.
    norm
        What has that size: the largest entry, or the Euclidean length.
    draws
        Moves of each network at each size.
    generator
        Of the moves; seed 0 when left out.

    Raises
    ------
    InputError
        For no architecture, other numbers of networks, numbers of weights alike, sizes that are not positive and different, no
        draw, or an error of another shape.
    """
    groups = [torch.as_tensor(group, dtype=torch.float64) for group in weights]
    shapes = [tuple(group.shape) for group in groups]
    widths = [shape[-1] for shape in shapes]
    if (
        not groups
        or any(len(s) != 2 or s[0] != shapes[0][0] or not min(s) for s in shapes)
        or len(set(widths)) < len(widths)
    ):
        raise InputError(
            f"architectures have weights (networks, weights), as many networks each and different numbers of weights, but "
            f"shapes {shapes} came"
        )
    moves = np.unique(np.asarray(sizes, dtype=np.float64))
    if not len(moves) or len(moves) != len(sizes) or not (moves[0] > 0 and np.isfinite(moves[-1])) or draws < 1:
        raise InputError(f"sizes are positive and different and draws at least 1, but {list(sizes)} and {draws=} came")
    generator = generator or torch.Generator().manual_seed(0)
    groups = [groups[i] for i in np.argsort(widths)]

    unmoved, errors, alone = [], [], 0.0
    for group in groups:
        still = _errors(error, group)
        rows = np.stack([_errors(error, group[[k]])[0] for k in range(len(group))])
        alone = max(alone, float(np.abs(rows - still).max() / max(1e-300, np.abs(still).max())))
        largest = [still]
        for size in moves:
            directions = torch.randn(len(group), draws, group.shape[1], generator=generator, dtype=torch.float64)
            directions /= directions.abs().amax(2, True) if norm == "largest" else directions.norm(dim=2, keepdim=True)
            moved = _errors(error, (group[:, None] + size * directions).flatten(0, 1)).reshape(len(group), draws)
            largest.append(np.fmax(largest[-1], np.where(np.isnan(moved), np.inf, moved).max(axis=1)))
        unmoved.append(still)
        errors.append(np.stack(largest[1:], axis=1))
    return PerturbationError(
        weights=np.array(sorted(widths), dtype=np.int64),
        norm=norm,
        sizes=moves,
        unmoved=np.stack(unmoved),
        errors=np.stack(errors),
        draws=draws,
        checks=(Check("errors of the unmoved, one at a time, relative", 0.0, alone, 1e-9),),
    )


def _errors(error: Callable[[Tensor], Tensor], weights: Tensor) -> np.ndarray:
    with torch.no_grad():
        found = error(weights)
    if found.shape != (len(weights),):
        raise InputError(
            f"the error of {len(weights)} networks has shape ({len(weights)},), but {tuple(found.shape)} came"
        )
    return found.double().cpu().numpy()


def _reached(places: np.ndarray, curve: np.ndarray, level: float) -> float:
    above = np.flatnonzero(curve >= level)
    if not len(above) or above[0] == 0:
        return math.nan
    right = int(above[0])
    low, high = np.log(curve[right - 1]), np.log(min(curve[right], 1e300))
    share = (math.log(level) - low) / (high - low) if np.isfinite(low) else 1.0
    return float(np.exp(places[right - 1] + share * (places[right] - places[right - 1])))


def _slope(weights: np.ndarray, radii: np.ndarray) -> float:
    seen = np.isfinite(radii)
    return float(np.polyfit(np.log(weights[seen]), np.log(radii[seen]), 1)[0]) if seen.sum() >= 3 else math.nan
