"""Kaplan-Yorke dimensions of many spectra at once (Kaplan, Yorke, Lecture Notes in Mathematics 730, 1979)."""

from __future__ import annotations

import numpy as np

FLOOR = 1e-9  # a sum this close to zero is zero: rounding over a thousand steps


def kaplan_yorke(rows: np.ndarray) -> np.ndarray:
    """(rows,) dimensions of descending exponents, (rows, directions); NaN where their sum does not turn negative."""
    sums = np.cumsum(rows, axis=1)
    turned = sums < -FLOOR
    whole = turned.argmax(axis=1)  # exponents before the sum turns
    turning = np.take_along_axis(rows, whole[:, None], 1)[:, 0]
    before = np.take_along_axis(sums, np.maximum(whole - 1, 0)[:, None], 1)[:, 0]
    dimensions = whole + np.divide(before, -turning, out=np.zeros(len(rows)), where=turned.any(axis=1) & (whole > 0))
    return np.where(turned.any(axis=1), dimensions, np.nan)
