"""Runs over which a series does not move: a unit that is off or saturated, which no scaling may be read from."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_opening


def flat_before(series: np.ndarray, tolerance: np.ndarray, run: int) -> np.ndarray | None:
    """(series, steps + 1): how many steps before each lie on a flat run; None without one.

    A run is ``run`` or more differences in a row of at most ``tolerance`` (series, 1) or (series, steps - 1).
    """
    still = np.abs(np.diff(series, axis=1)) <= tolerance
    if not still.any():
        return None
    still = binary_opening(still, np.ones((1, run)))
    flat = np.zeros(series.shape, dtype=bool)
    flat[:, :-1] |= still  # both ends of a difference
    flat[:, 1:] |= still
    return np.concatenate([np.zeros((len(series), 1), dtype=np.int64), np.cumsum(flat, axis=1)], axis=1)
