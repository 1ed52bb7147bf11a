"""What grows with the scale in the sums of series, and how fast: the four statistics behind S, H, J and DFA."""

from __future__ import annotations

import numpy as np

QUANTITIES = ("S", "H", "J", "DFA")
POWERS = np.array([-1.0, 1.0, 0.5, 0.5])  # of the averaged statistic that grows as n to the exponent


def slope_weights(n: np.ndarray) -> np.ndarray:
    """(scales, 4): least squares over all scales, the lower half, the upper half; and the upper slope less the lower."""
    logs, half = np.log(n), len(n) // 2
    weights = np.zeros((len(n), 4))
    for column, part in enumerate((slice(None), slice(len(n) - half), slice(half, None))):
        centred = logs[part] - logs[part].mean()
        weights[part, column] = centred / (centred**2).sum()
    weights[:, 3] = weights[:, 2] - weights[:, 1]
    return weights


def standardised(series: np.ndarray) -> np.ndarray:
    """Each series with mean 0 and variance 1."""
    return (series - series.mean(axis=1, keepdims=True)) / series.std(axis=1, keepdims=True)


def growing(x: np.ndarray, n: np.ndarray, threshold: float, order: int) -> np.ndarray:
    """(series, quantities, scales): hit share, mean R/S, variance, squared fluctuation of standardised series."""
    X = np.concatenate([np.zeros((len(x), 1)), np.cumsum(x, axis=1)], axis=1)
    found = np.empty((len(x), len(QUANTITIES), len(n)))
    for k, scale in enumerate(n):
        moved = X[:, scale:] - X[:, :-scale]
        found[:, 0, k] = (np.abs(moved) <= threshold).mean(axis=1)
        found[:, 2, k] = moved.var(axis=1)
        count = x.shape[1] // scale
        windows = x[:, : count * scale].reshape(len(x), count, scale)
        sums = np.cumsum(windows - windows.mean(axis=2, keepdims=True), axis=2)
        deviations = windows.std(axis=2)
        flat = deviations <= 1e-9  # of a unit step: rounding, so the window has no R/S
        ratios = np.where(flat, 0.0, np.ptp(sums, axis=2) / np.where(flat, 1.0, deviations)).sum(axis=1)
        moving = (~flat).sum(axis=1)
        found[:, 1, k] = np.where(moving, ratios, np.nan) / np.maximum(moving, 1)
        basis = np.linalg.qr(np.vander(np.linspace(-1, 1, scale), order + 1))[0]
        profiles = X[:, 1 : count * scale + 1].reshape(len(x), count, scale)
        found[:, 3, k] = ((profiles - (profiles @ basis) @ basis.T) ** 2).mean(axis=(1, 2))
    return found


def slopes_of(statistics: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(..., quantities, columns); NaN where a statistic is 0."""
    logs = POWERS[:, None] * np.log(np.where(statistics > 0, statistics, np.nan))
    return logs @ weights
