"""Kaplan-Yorke dimensions of many spectra at once (Kaplan, Yorke, Lecture Notes in Mathematics 730, 1979)."""

from __future__ import annotations

import numpy as np

FLOOR = 1e-9  # no exponent or sum is claimed to be known better: rounding over a thousand steps


def kaplan_yorke(rows: np.ndarray) -> np.ndarray:
    """(rows,) dimensions of descending exponents, (rows, directions); NaN where their sum does not turn negative."""
    whole, before, turning = _turned(rows)
    return whole + np.divide(before, -turning, out=np.zeros(len(rows)), where=whole > 0)


def kaplan_yorke_errors(rows: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """(rows,) bounds of their standard errors, as if those of the exponents were fully correlated.

    D = j + S_j / |l|, l the first exponent after the sum S_j turns: its errors are those of S_j, and of l by S_j / l^2.
    """
    whole, before, turning = _turned(rows)
    summed = np.where(np.arange(rows.shape[1]) < whole[:, None], errors, 0.0).sum(axis=1)
    own = np.take_along_axis(errors, np.nan_to_num(whole).astype(int)[:, None], 1)[:, 0]
    found = np.divide(summed - before / turning * own, -turning, out=np.zeros(len(rows)), where=whole > 0)
    return np.where(np.isnan(whole), np.nan, found)


def _turned(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(rows,) how many exponents come before their sum turns negative, NaN where it does not; that sum; the next exponent."""
    sums = np.cumsum(rows, axis=1)
    turned = sums < -FLOOR
    at = turned.argmax(axis=1)
    turning = np.take_along_axis(rows, at[:, None], 1)[:, 0]
    before = np.take_along_axis(sums, np.maximum(at - 1, 0)[:, None], 1)[:, 0]
    return np.where(turned.any(axis=1), at, np.nan), before, turning
