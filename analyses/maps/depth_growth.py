"""How far does a deviation grow on its way through a stack, and into how few directions is it funnelled?

Of the product of the slopes of the first n blocks: its singular values, ln of them over n as growth rates a block, and its
effective rank, the participation ratio (sum s^2)^2 / sum s^4 of its singular values over dim: 1 for an isometry, 1 / dim when
one direction is left. Of the readout after the last n blocks: the singular values of what the network then says. A stack of
finite depth has no limit that the rates would converge to: they are finite-depth growth rates, not Lyapunov exponents.

With ``outputs="distribution"`` a readout of scores (logits) is read as 2 sqrt(softmax), whose Euclidean distance is sqrt(2 KL)
of the distributions to first order (the Fisher metric): output divergence, in sqrt(nats). Products are swept by QR and never
formed (``_products``); beyond 512 units subspace iteration with pushes and pulls gives the leading values, with a bound each,
and random directions the rest of the two sums. The funnel is the claim of Fernando and Guitchounts, arXiv 2605.14258.

Takes one driven map of clock "layer" a text, and its recorded states; costs a Jacobian and a QR a block, a decomposition a
depth and text, O(dim^3), and as much for each Gaussian draw; above 512 units some 10 passes of 24 directions forth and back a
depth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analyses.maps._blocks import (
    DRAWS,
    GAUSSIAN,
    LEADING,
    NULL_WIDTH,
    PROBES,
    SETTLED,
    UNSTRUCTURED,
    WIDEST,
    Link,
    block_link,
    fitting,
    gaussian_blocks,
    leading,
    nulls_of,
    readout_link,
    readout_slope,
    replay_miss,
    replayed,
    slopes_of,
    told,
    update_traces,
)  # fmt: skip
from analyses.maps._products import prefix_log_singular_values
from analyses.result import Check, Null, Result, axes_or_new, counted
from analyses.trajectories._depth import TWIN, UNLEARNED
from hooks.dynamics import Dynamics
from hooks.errors import InputError
from hooks.trajectory import Trajectory
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RATE, RANK, SAID = "leading growth rate", "effective rank", "leading growth rate of the output"
QUARTERS = 4  # depths of wide stacks


@dataclass(frozen=True, eq=False)
class DepthGrowth(Result):
    """Singular values of products of blocks.

    Attributes
    ----------
    depths : (depths,)
        Numbers of blocks, ascending from 0 to all of them.
    log_singular_values : (texts, depths, kept)
        Of the first n blocks, largest first; -inf where a direction is annihilated.
    output_log_values : (texts, depths, outputs kept)
        Of the readout after the last n blocks; no columns without a readout.
    bounds, output_bounds : (texts, depths)
        The largest error of a singular value, as a share of the leading one; 0 where slopes were formed.
    effective_ranks : (texts, depths)
        Participation ratio over dim.
    dim
        Units of the stream.
    nulls
        Of three numbers over the whole stack, each a mean over texts: the leading growth rate a block, the same of the output
        above what the readout alone gives, and the effective rank.
    checks
        The maps replay the recorded states; the sum of all rates is that of ln |det J|, or the largest bound.
    """

    depths: Int[np.ndarray, " depths"]
    log_singular_values: Float[np.ndarray, "texts depths kept"]
    output_log_values: Float[np.ndarray, "texts depths said"]
    bounds: Float[np.ndarray, "texts depths"]
    output_bounds: Float[np.ndarray, "texts depths"]
    effective_ranks: Float[np.ndarray, "texts depths"]
    dim: int
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    @property
    def rates(self) -> np.ndarray:
        """(texts, depths, kept) finite-depth growth rates a block; NaN at depth 0."""
        with np.errstate(invalid="ignore"):
            return self.log_singular_values / np.where(self.depths > 0, self.depths, np.nan)[:, None]

    @property
    def output_rates(self) -> np.ndarray:
        """(texts, depths, outputs kept) the same of the output, above the readout's own singular values."""
        with np.errstate(invalid="ignore"):
            grown = self.output_log_values - self.output_log_values[:, :1]
            return grown / np.where(self.depths > 0, self.depths, np.nan)[:, None]

    @property
    def statistics(self) -> dict[str, float]:
        """The numbers that are held against nulls."""
        said = self.output_rates[:, -1, 0].mean() if self.output_log_values.shape[2] else np.nan
        ranks = self.effective_ranks[:, -1].mean()
        return {RATE: float(self.rates[:, -1, 0].mean()), SAID: float(said), RANK: float(ranks)}

    def summary(self) -> str:
        """The leading finite-depth growth rates with their spread over texts, and the funnel, each beside its nulls."""
        texts, numbers = len(self.rates), self.statistics
        spread = f" ± {self.rates[:, -1, 0].std(ddof=1):.2g} over texts" if texts > 1 else ""
        text = (
            f"{counted(int(self.depths[-1]), 'block')} in {counted(texts, 'text')}: leading finite-depth growth rate "
        )
        text += f"{numbers[RATE]:+.3g}{spread} a block{told(self.nulls, RATE)}"
        if np.isfinite(numbers[SAID]):
            text += f", of the output {numbers[SAID]:+.3g}{told(self.nulls, SAID)}"
        first = self.effective_ranks[:, 1].mean()  # where a funnel may already end
        text += f"; effective rank of the product, share of {self.dim}: {first:.3g} after "
        text += f"{counted(int(self.depths[1]), 'block')}, {numbers[RANK]:.3g} after all{told(self.nulls, RANK)}"
        if not any(null.name == TWIN for null in self.nulls):
            text += "; no twins were given, so nothing says that training did it"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """The funnel: effective rank by depth, each text and the mean."""
        ax = axes_or_new(ax)
        ax.plot(self.depths, self.effective_ranks.T, color="0.8", linewidth=0.6)
        ax.plot(self.depths, self.effective_ranks.mean(axis=0), "o-", color="#0072b2", markersize=3)
        ax.set(xlabel="blocks", ylabel="effective rank of the product, share of the width", yscale="log")
        return ax


@dataclass(frozen=True)
class _Grown:
    """What is known of one text."""

    log_values: np.ndarray  # (depths, kept)
    output_log_values: np.ndarray
    bounds: np.ndarray  # (depths,)
    output_bounds: np.ndarray
    ranks: np.ndarray  # (depths,)
    sizes: np.ndarray  # (blocks,)
    readout: np.ndarray  # (said, dim), its slope or one of the same singular values; no rows where there is none
    gap: float  # of the sum rule, as a share
    missed: float


def depth_growth(
    dynamics: Sequence[Dynamics],
    trajectory: Trajectory,
    *,
    kept: int | None = None,
    depths: Sequence[int] | None = None,
    outputs: Literal["values", "distribution"] = "values",
    twins: Sequence[DepthGrowth] = (),
    draws: int = DRAWS,
    generator: torch.Generator | None = None,
    watch: Watch = quiet,
) -> DepthGrowth:
    """Finite-depth growth rates and effective ranks of the products of blocks along recorded states.

    Parameters
    ----------
    dynamics
        One map a run, driven by the layer's number: it takes site l of the run to site l + 1.
    trajectory
        Clock "layer"; one run a text, and none padded.
    kept
        Leading singular values wanted, by pushes and pulls alone, at any width. Left out: all up to 512 units, 16 above.
    depths
        Numbers of blocks at which products are taken, beside 0 and all. Left out: every one, or the quarters of a wide stack.
    outputs
        Whether the readout's values are compared, or the distributions of which they are the scores.
    twins
        The same analysis of random-weight twins on the same texts: one draw of the null each; 19 or more decide at 5 %.
    draws
        Of Gaussian blocks, at most 256 wide; 0 for none. The output's rate is held against them up to that width.
    generator
        Of the draws and random directions; a fixed seed when left out.
    watch
        Wraps the texts.

    Raises
    ------
    InputError
        When maps and runs do not fit each other, or a number of directions or blocks does not fit them.
    """
    paths = fitting(dynamics, trajectory, "depth_growth")
    dim, blocks = trajectory.states.shape[2], trajectory.states.shape[1] - 1
    formed = kept is None and dim <= WIDEST
    if depths is None:
        depths = range(blocks + 1) if formed else np.linspace(0, blocks, QUARTERS + 1).astype(int).tolist()
    chosen = np.unique([0, *depths, blocks])
    if draws < 0 or (kept is not None and not 1 <= kept <= dim) or chosen[0] < 0 or chosen[-1] > blocks:
        raise InputError(
            f"kept={kept}, depths={list(depths)}, draws={draws}: need 1 to {dim} directions, 0 to {blocks} blocks, and no "
            f"negative draws"
        )
    generator = generator or torch.Generator().manual_seed(0)
    maps = [_as_distribution(one) if outputs == "distribution" else one for one in dynamics]

    wanted = None if formed else min(dim, LEADING) if kept is None else kept
    found: list[_Grown] = list(watch(_texts(maps, paths, chosen, wanted, generator), len(paths)))
    if not found:
        raise InputError("the watch stopped depth_growth before its first text: give it more time")

    sizes = np.sqrt(np.mean([one.sizes**2 for one in found], axis=0))
    drawn = []
    for draw in range(draws):
        said = found[draw % len(found)].readout if dim <= NULL_WIDTH else np.zeros((0, NULL_WIDTH))
        one = _of_slopes(gaussian_blocks(sizes, dim, generator), said, np.array([0, blocks]))
        drawn.append(_result([one], np.array([0, blocks]), dim).statistics)
    result = _result(found, chosen, dim)
    what = "sum of ln singular values against ln |det J|, share" if formed else "largest bound, share of the leading"
    worst = max(one.gap for one in found) if formed else max(result.bounds.max(), result.output_bounds.max())
    return replace(
        result,
        nulls=(
            *nulls_of(result.statistics, [twin.statistics for twin in twins], TWIN, UNLEARNED[TWIN]),
            *nulls_of(result.statistics, drawn, GAUSSIAN, UNSTRUCTURED),
        ),
        checks=(
            replayed([one.missed for one in found], dynamics),
            Check(what, 0.0, float(worst), 1e-8 if formed else 1e2 * SETTLED),
        ),
    )


def _result(found: Sequence[_Grown], depths: np.ndarray, dim: int) -> DepthGrowth:
    """Without nulls and checks."""
    return DepthGrowth(
        depths=depths.astype(np.int64),
        log_singular_values=np.array([one.log_values for one in found]),
        output_log_values=np.array([one.output_log_values for one in found]),
        bounds=np.array([one.bounds for one in found]),
        output_bounds=np.array([one.output_bounds for one in found]),
        effective_ranks=np.array([one.ranks for one in found]),
        dim=dim,
        nulls=(),
        checks=(),
    )


def _as_distribution(dynamics: Dynamics) -> Dynamics:
    scores = dynamics.readout
    if scores is None:
        raise InputError(f"{dynamics.name!r} has no readout, so there are no distributions to compare")
    return replace(dynamics, readout=lambda states: 2 * (0.5 * scores(states).log_softmax(dim=-1)).exp())


def _texts(
    dynamics: Sequence[Dynamics],
    paths: Sequence[Tensor],
    depths: np.ndarray,
    kept: int | None,
    generator: torch.Generator,
) -> Iterator[_Grown]:
    for one, path in zip(dynamics, paths, strict=True):
        missed = replay_miss(one, path)
        if kept is None:
            said = np.zeros((0, one.dim)) if one.readout is None else _triangle(readout_slope(one, path[-1]))
            yield replace(_of_slopes(slopes_of(one, path), said, depths), missed=missed)
        else:
            yield replace(_by_pushes(one, path, kept, depths, generator), missed=missed)


def _triangle(slope: np.ndarray) -> np.ndarray:
    """At most dim rows with the singular values of the slope, also in every product from the right."""
    return np.linalg.qr(slope)[1] if len(slope) > slope.shape[1] else slope


def _of_slopes(slopes: np.ndarray, readout: np.ndarray, depths: np.ndarray) -> _Grown:
    """From J (blocks, dim, dim) and a readout's slope (said, dim), said at most dim."""
    blocks, dim, _ = slopes.shape
    logs = np.concatenate([np.zeros((1, dim)), prefix_log_singular_values(slopes)])
    tails = np.zeros((blocks + 1, len(readout)))
    if len(readout):
        square = np.zeros((dim, dim))
        square[: len(readout)] = readout  # rows of 0 add singular values 0, which come last
        backwards = np.concatenate([square[None], slopes[::-1]]).swapaxes(1, 2)
        tails = prefix_log_singular_values(backwards)[:, : len(readout)]
    determinants = np.linalg.slogdet(slopes)[1]
    sound = np.isfinite(determinants).all() and np.isfinite(logs).all()
    gap = abs(logs[-1].sum() - determinants.sum()) / (1 + np.abs(logs[-1]).sum()) if sound else 0.0
    tops = logs.max(axis=1, keepdims=True)
    squares = np.exp(2 * (logs - np.where(np.isfinite(tops), tops, 0.0)))
    fourths = (squares**2).sum(axis=1)
    return _Grown(
        log_values=logs[depths],
        output_log_values=tails[depths],
        bounds=np.zeros(len(depths)),
        output_bounds=np.zeros(len(depths)),
        ranks=(squares.sum(axis=1) ** 2 / np.where(fourths > 0, fourths, 1.0) / dim)[depths],
        sizes=np.sqrt(((slopes - np.eye(dim)) ** 2).sum(axis=(1, 2))),
        readout=readout,
        gap=float(gap),
        missed=0.0,
    )


def _by_pushes(dynamics: Dynamics, path: Tensor, kept: int, depths: np.ndarray, generator: torch.Generator) -> _Grown:
    """From products with the slopes and their transposes alone."""
    blocks, dim = len(path) - 1, dynamics.dim
    links = [block_link(dynamics, path, block) for block in range(blocks)]
    outlet = [] if dynamics.readout is None else [readout_link(dynamics, path)]
    outputs = 0 if dynamics.readout is None else dynamics.readout(path[-1:]).shape[1]
    said = min(kept, outputs)
    logs, tails = np.zeros((len(depths), kept)), np.zeros((len(depths), said))
    bounds, output_bounds, ranks = np.zeros(len(depths)), np.zeros(len(depths)), np.ones(len(depths))
    for row, depth in enumerate(depths):
        if depth:
            found = leading(links[:depth], path[0], kept, generator)
            logs[row], bounds[row] = _logs(found.values), found.bounds.max() / max(found.values[0], 1e-300)
            ranks[row] = _rank(links[:depth], found.values, found.right, generator) / dim
        if outlet:
            found = leading(links[blocks - depth :] + outlet, path[0], said, generator)
            tails[row], output_bounds[row] = _logs(found.values), found.bounds.max() / max(found.values[0], 1e-300)
    return _Grown(
        log_values=logs,
        output_log_values=tails,
        bounds=bounds,
        output_bounds=output_bounds,
        ranks=ranks,
        sizes=update_traces(dynamics, path, generator)[0],
        readout=np.zeros((0, dim)),
        gap=0.0,
        missed=0.0,
    )


def _rank(links: Sequence[Link], values: np.ndarray, right: Tensor, generator: torch.Generator) -> float:
    """(sum s^2)^2 / sum s^4: leading values exactly, the rest from random directions off their right singular vectors."""
    probes = torch.randn(len(right), PROBES, generator=generator, dtype=torch.float64).to(right)
    probes = probes - right @ (right.mT @ probes)
    there = probes
    for forward, _ in links:
        there = forward(there)
    back = there
    for _, pulled in reversed(links):
        back = pulled(back)
    back = back - right @ (right.mT @ back)
    squares = (values**2).sum() + float(there.double().square().sum()) / PROBES
    fourths = (values**4).sum() + float(back.double().square().sum()) / PROBES
    return float(squares**2 / fourths) if fourths > 0 else 0.0


def _logs(values: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(values)
