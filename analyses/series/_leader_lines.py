"""Lines over octaves: what is measured of series at once, before their nulls; used by wavelet_leaders."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from analyses.series._flat import flat_before
from analyses.series._leader_sums import BLOCKS, block_sums, growth, increments, octaves_of, summaries
from analyses.series._scaling import slopes

RUN = 8  # differences that are rounding alone, in a row, make a flat run
OCTAVES = 5  # 1.5 decades
MISFIT = 0.1  # octaves of L
SURE = 4.0  # standard errors, which 16 blocks and leaders that overlap give too small
MARGIN = 0.5  # of minimal regularity: below, means over the octaves there are stay far from their limit
ENDS = 4  # coefficients at either end that the line from end to end may touch
WALK = 0.1  # growth of the root mean square coefficient: that of 1/f noise is 0, of a walk without memory 1/2


@dataclass(frozen=True, eq=False)
class Settings:
    """Of one call; ranges are first and last index into the octaves j."""

    q: np.ndarray
    j: np.ndarray
    ranges: list[tuple[int, int]]
    p: float
    moments: int
    walk: bool | None
    integration: float | None


@dataclass(frozen=True, eq=False)
class Measured:
    """What is measured of some series; one row each."""

    steps: np.ndarray
    summed: np.ndarray
    regularity: np.ndarray
    integration: np.ndarray
    log_means: np.ndarray
    cumulants: np.ndarray
    left_out: np.ndarray
    chosen: np.ndarray
    misfits: np.ndarray
    slopes: np.ndarray  # (octaves,), what points are summed with to give slopes
    c: np.ndarray
    c_errors: np.ndarray
    h: np.ndarray
    h_errors: np.ndarray
    reasons: np.ndarray


def counts_of(steps: int, j: np.ndarray) -> np.ndarray:
    """(octaves,) intervals of 2^j steps in a series."""
    return (steps // 2**j).astype(np.int64)


def measured(series: np.ndarray, at: Settings, resampled: np.ndarray) -> Measured:
    """All but the nulls; ``resampled`` (resamples, blocks) says how often each block of time counts."""
    counts, last = counts_of(series.shape[1], at.j), int(at.j[-1])
    weights = slope_weights(counts, at.ranges)
    everywhere = slope_weights(counts, [(0, len(at.j) - 1)])[0]
    rounding = 8 * np.finfo(np.float64).eps * np.abs(series).max(axis=1)
    steps = increments(series)
    octaves = octaves_of(steps, at.moments, last, rounding)
    summed = (
        growth(octaves, 2.0, everywhere, ends=min(at.moments, ENDS)) < WALK
        if at.walk is None
        else np.full(len(series), not at.walk)
    )
    if summed.any():
        steps = np.where(summed[:, None], series, steps)
        octaves = octaves_of(steps, at.moments, last, rounding)
    regularity = growth(octaves, at.p, everywhere)
    halves = np.clip(np.ceil(2 * (MARGIN - np.nan_to_num(regularity))), 0, 4) / 2 + 0.0
    integration = halves if at.integration is None else np.full(len(series), float(at.integration))

    flat = flat_before(steps, rounding[:, None], RUN)
    smooth = regularity + integration
    sums = block_sums(octaves, steps.shape[1], at.q, int(at.j[0]), at.moments, at.p, integration, smooth, flat)
    (log_means,), (cumulants,) = (whole.swapaxes(0, 1) for whole in summaries(sums, at.q, np.ones((1, BLOCKS))))
    means_again, cumulants_again = summaries(sums, at.q, resampled)
    chosen, misfits = straightest(log_means, _errors(means_again), counts, at.ranges)
    line = weights[chosen]
    c, c_again = (
        slopes(points, w) / math.log(2) for points, w in ((cumulants, line), (cumulants_again, line[:, None]))
    )
    c[:, 0] -= integration
    h = slopes(log_means, line) - integration[:, None]
    rows = (sums.left_out.min(axis=1), sums.left_out.max(axis=1), regularity + integration, chosen, misfits, c[:, 0])
    reasons = np.array([_reason(at.moments, *row) for row in zip(*(found.tolist() for found in rows), strict=True)])
    lost = (reasons != "")[:, None]
    return Measured(
        steps, summed, regularity, integration, log_means, cumulants, sums.left_out, chosen, misfits, line,
        np.where(lost, np.nan, c), np.where(lost, np.nan, _errors(c_again)), np.where(lost, np.nan, h),
        np.where(lost, np.nan, _errors(slopes(means_again, line[:, None]))), reasons,
    )  # fmt: skip


def _reason(
    moments: int, least_left_out: float, most_left_out: float, regularity: float, chosen: int, misfit: float, c1: float
) -> str:
    """Why there is no number; empty where there is."""
    if least_left_out == 1:
        return "constant or a line"
    if not regularity > 0:
        return f"a minimal regularity of {regularity:.2f} after integration, where leaders do not exist"
    if chosen < 0 and most_left_out > 0.5:
        return "most leaders of an octave lie on flat runs"
    if chosen < 0:
        return f"no {OCTAVES + 1} octaves on lines, {misfit:.2g} octaves off at best"
    return "as smooth as the wavelet can see" if c1 > moments - 0.5 else ""


def _errors(draws: np.ndarray) -> np.ndarray:
    """Standard error from resampled blocks (axis 1), of those draws that are finite; NaN with fewer than two.

    Their standard deviation times sqrt(B / (B - 1)): B blocks drawn from B spread less than B new ones.
    """
    there = np.isfinite(draws)
    number = there.sum(axis=1, keepdims=True)
    draws = np.where(there, draws, 0.0)
    apart = np.where(there, draws - draws.sum(axis=1, keepdims=True) / np.maximum(number, 1), 0.0)
    number = number[:, 0]
    return np.where(
        number > 1, np.sqrt(BLOCKS / (BLOCKS - 1) * (apart**2).sum(axis=1) / np.maximum(number - 1, 1)), np.nan
    )


def slope_weights(counts: np.ndarray, ranges: list[tuple[int, int]]) -> np.ndarray:
    """(ranges, octaves): what points are summed with to give the slope of the line over each range, weighted by counts."""
    weights = np.zeros((len(ranges), len(counts)))
    for row, (low, high) in enumerate(ranges):
        n, j = counts[low : high + 1], np.arange(low, high + 1)
        z = n * (j - n @ j / n.sum())
        weights[row, low : high + 1] = z / (z @ j)
    return weights


def straightest(
    points: np.ndarray, errors: np.ndarray, counts: np.ndarray, ranges: list[tuple[int, int]]
) -> tuple[np.ndarray, np.ndarray]:
    """For each series the widest range that lies on lines, or -1, and its misfit, or the smallest of all.

    Points and errors are (series, orders, octaves). At no octave do the points of all orders stray, in their root mean square,
    by more than MISFIT or SURE standard errors, whichever is larger; of ranges as wide, the smallest misfit decides.
    """
    weights = slope_weights(counts, ranges)
    misfits = np.full((len(ranges), len(points)), np.inf)
    ranks = np.full((len(ranges), len(points)), np.inf)
    for number, (low, high) in enumerate(ranges):
        share = counts[low : high + 1] / counts[low : high + 1].sum()
        y, j = points[:, :, low : high + 1], np.arange(low, high + 1)
        rest = y - (y @ share)[:, :, None] - slopes(points, weights[number])[:, :, None] * (j - j @ share)
        allowed = np.maximum(MISFIT, SURE * errors[:, :, low : high + 1])
        found = np.sqrt((rest**2 @ share).mean(axis=1))
        straight = ((rest / allowed) ** 2).mean(axis=1).max(axis=1) <= 1
        misfits[number] = np.where(np.isnan(found), np.inf, found)
        ranks[number] = np.where(straight, found - 1e6 * (high - low), np.inf)
    best = np.where(np.isfinite(ranks).any(axis=0), ranks.argmin(axis=0), -1)
    found = np.where(best >= 0, misfits[best, np.arange(len(points))], misfits.min(axis=0))
    return best, np.where(np.isinf(found), np.nan, found)
