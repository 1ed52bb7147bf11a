"""From increments to the leaders of their walk, and sums of their powers over blocks of time; used by wavelet_leaders."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from analyses.series._wavelets import Octave, coefficients, leaders

BLOCKS = 16  # of time
FLAT_SHARE = 0.25  # of the three intervals of a leader


@dataclass(frozen=True, eq=False)
class Sums:
    """Over the leaders kept in each block; y is ln L less ``centers``."""

    counts: np.ndarray  # (series, blocks, octaves)
    moments: np.ndarray  # (series, blocks, 3, octaves), of y, y^2, y^3
    powers: np.ndarray  # (series, blocks, orders, octaves), of exp(q (ln L - reference))
    centers: np.ndarray  # (series, octaves)
    references: np.ndarray  # (series, orders, octaves)
    left_out: np.ndarray  # (series, octaves), share


def increments(walks: np.ndarray) -> np.ndarray:
    """(series, steps); the last, from the last point back to the first, is their mean."""
    steps = np.diff(walks, axis=1)
    return np.concatenate([steps, steps.mean(axis=1, keepdims=True)], axis=1)


def octaves_of(steps: np.ndarray, moments: int, last: int, rounding: np.ndarray) -> list[Octave]:
    """Of the walk with these steps, less the line from end to end, in units of the steps' standard deviation.

    Steps that vary by no more than their ``rounding`` (series,) are taken for constant.
    """
    centred = steps - steps.mean(axis=1, keepdims=True)
    size = centred.std(axis=1, keepdims=True)
    moving = size > rounding[:, None]
    return coefficients(np.cumsum(np.where(moving, centred, 0.0) / np.where(moving, size, 1.0), axis=1), moments, last)


def growth(octaves: list[Octave], p: float, weights: np.ndarray, *, ends: int = 0) -> np.ndarray:
    """(series,) slope over octaves of log2 of the p-mean of the coefficients, or of the largest; NaN without any.

    ``weights`` are those of ``slope_weights`` over the last octaves; ``ends`` coefficients at either end are left out.
    """
    sizes = []
    for octave in octaves[-len(weights) :]:
        inside = np.abs(octave.values[:, octave.first + ends : octave.last - ends])
        top = inside.max(axis=1)
        unit = inside / np.where(top > 0, top, 1.0)[:, None]
        mean = (unit**p).mean(axis=1) ** (1 / p) if math.isfinite(p) else 1.0
        sizes.append(np.log2(np.where(top > 0, top * mean, np.nan)))
    return np.stack(sizes, axis=1) @ weights


def block_sums(
    octaves: list[Octave], steps: int, q: np.ndarray, first: int, moments: int, p: float, integration: np.ndarray,
    regularity: np.ndarray, flat: np.ndarray | None = None,
) -> Sums:  # fmt: skip
    """Sums over the leaders of octave ``first`` to the last; ``regularity`` (series,) is that after integration.

    ``flat`` counts the steps before each that lie on flat runs, (series, steps + 1).
    """
    parts = []
    for octave, values in zip(octaves, leaders(octaves, moments, p, integration), strict=True):
        if octave.j < first:
            continue
        begins = np.rint(octave.start + 2.0**octave.j * np.arange(-1, values.shape[1] - 1)).astype(np.int64)
        kept = values > 0
        if flat is not None:
            last, beyond = (
                flat[:, -1:] * (at // steps) + flat[:, at % steps] for at in (begins, begins + 3 * 2**octave.j)
            )
            kept &= beyond - last <= FLAT_SHARE * 3 * 2**octave.j
        logs = np.log(np.where(kept, values, 1.0)) - _unresolved(octave.j, p, regularity)[:, None]
        center = np.where(kept, logs, 0.0).sum(axis=1) / np.maximum(kept.sum(axis=1), 1)
        y = np.where(kept, logs - center[:, None], 0.0)
        top, bottom = y.max(axis=1)[:, None], y.min(axis=1)[:, None]
        reference = np.where(q > 0, top, bottom)
        powers = np.exp(q[:, None] * (y[:, None] - reference[:, :, None])) * kept[:, None]
        middle = (begins + 1.5 * 2.0**octave.j) % steps
        block = np.eye(BLOCKS)[np.minimum((middle * BLOCKS / steps).astype(np.int64), BLOCKS - 1)]
        cubes = np.stack([y, y**2, y**3], axis=1)
        parts.append((kept @ block, (cubes @ block).swapaxes(1, 2), (powers @ block).swapaxes(1, 2), center,
                      reference + center[:, None], 1 - kept.mean(axis=1)))  # fmt: skip
    return Sums(*(np.stack(part, axis=-1) for part in zip(*parts, strict=True)))


def summaries(sums: Sums, q: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log2 means (series, resamples, orders, octaves) and cumulants (series, resamples, 3, octaves) of ln L.

    Each block counts as often as it is weighted (resamples, blocks). NaN where more than half of the leaders are left out.
    """
    there = np.where(sums.left_out > 0.5, np.nan, 1.0)[:, None, None]
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample may hold no leader of an octave: NaN
        number = np.einsum("rb,sbj->srj", weights, sums.counts)[:, :, None]
        m1, m2, m3 = np.moveaxis(np.einsum("rb,sbmj->srmj", weights, sums.moments) / number, 2, 0)
        cumulants = np.stack([m1 + sums.centers[:, None], m2 - m1**2, m3 - 3 * m1 * m2 + 2 * m1**3], axis=2)
        means = np.einsum("rb,sbqj->srqj", weights, sums.powers) / number
        order = np.where(q == 0, 1.0, q)[:, None]
        logs = np.where(q[:, None] == 0, cumulants[:, :, :1], np.log(means) / order + sums.references[:, None])
    return there * logs / math.log(2), there * cumulants


def _unresolved(j: int, p: float, regularity: np.ndarray) -> np.ndarray:
    """(series,) ln of the share of p-leaders of octave j that octaves below 1 would have added, up to a constant.

    Leonarduzzi et al. 2016: mean powers 2^(j' eta), eta = p times the regularity, summed over j' from 1 to j, fall short of the
    sum over all j' up to j by 1 - 2^(-j eta).
    """
    if math.isinf(p):
        return np.zeros(len(regularity))
    eta = p * np.where(regularity > 0, regularity, np.inf)
    return np.log1p(-(2.0 ** (-j * eta))) / p
