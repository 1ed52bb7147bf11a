"""Daubechies wavelet coefficients of periodic series, and the (p-)leaders built on them, batched over series.

The filter of N vanishing moments comes from the spectral factorisation of Daubechies (Comm. Pure Appl. Math. 41, 909, 1988).
Coefficients are those of the orthonormal wavelet over 2^(j/2), so that a singularity of strength h gives 2^(jh). A series of
any length is wrapped around at its ends, far enough for the last octave; what lies outside serves its neighbours alone.

The energy of such a wavelet is centred on its support, and sample n stands for time n plus the first moment of the filter. So
coefficient k of octave j belongs to the dyadic interval k + N - 1, whose halves belong to the coefficients 2 k + N - 1 and
2 k + N of the octave below: intervals of all octaves nest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Octave:
    """Coefficients (series, coefficients) of octave j; those from ``first`` to before ``last`` are centred on the series."""

    j: int
    values: np.ndarray
    first: int
    last: int
    start: float  # the step where the dyadic interval of coefficient ``first`` begins


def daubechies(moments: int) -> np.ndarray:
    """(2 moments,) low-pass filter of extremal phase and unit norm."""
    y = np.roots([math.comb(moments - 1 + k, k) for k in reversed(range(moments))]).astype(np.complex128)
    middle = 1 - 2 * y  # y = (2 - z - 1/z) / 4: each root is two, z and 1/z, of which one lies inside the circle
    z = middle + np.sqrt(middle**2 - 1)
    taps = np.poly(np.concatenate([-np.ones(moments), np.where(np.abs(z) < 1, z, 1 / z)])).real
    return taps * (math.sqrt(2) / taps.sum())


def coefficients(walk: np.ndarray, moments: int, last: int) -> list[Octave]:
    """Octaves 1 to ``last`` of periodic series (series, steps)."""
    steps, margin = walk.shape[1], 2 * (moments + 1) * 2**last
    low = daubechies(moments) / math.sqrt(2)
    high = low[::-1] * (-1.0) ** np.arange(len(low))
    shift = float(np.arange(len(low)) @ low)  # sample n stands for time n + shift
    smooth = np.pad(walk, ((0, 0), (margin, margin)), mode="wrap")
    found = []
    for j in range(1, last + 1):
        end = 2 * ((smooth.shape[1] - len(low)) // 2) + 1
        detail, smooth = (
            sum((weight * smooth[:, tap : tap + end : 2] for tap, weight in enumerate(taps)), np.zeros(()))
            for taps in (high, low)
        )
        # the interval of coefficient k has its centre (k + N - 1/2) 2^j - shift - margin steps after step 0
        first, beyond = (math.ceil((edge + margin + shift) / 2**j - moments + 0.5) for edge in (0, steps))
        found.append(Octave(j, detail, first, beyond, (first + moments - 1) * 2.0**j - shift - margin))
    return found


def leaders(octaves: list[Octave], moments: int, p: float, integration: np.ndarray) -> Iterator[np.ndarray]:
    """(series, leaders) of each octave: the supremum, or p-mean, over three intervals and all octaves below.

    Coefficients are first multiplied by 2^(j integration), one order of fractional integration a series. The p-mean is
    (sum over dyadic intervals in the three of |d|^p 2^(j' - j))^(1/p).
    """
    below = np.zeros((0, 0))
    for octave in octaves:
        own = np.abs(octave.values) * 2.0 ** (octave.j * integration[:, None])
        own = own**p if math.isfinite(p) else own
        if octave.j > 1:
            left, right = (below[:, moments - 1 + side :: 2][:, : own.shape[1]] for side in (0, 1))
            own = own + (left + right) / 2 if math.isfinite(p) else np.maximum(own, np.maximum(left, right))
        below = own
        before, here, after = (own[:, octave.first + side : octave.last + side] for side in (-1, 0, 1))
        if math.isfinite(p):
            yield (before + here + after) ** (1 / p)
        else:
            yield np.maximum(here, np.maximum(before, after))
