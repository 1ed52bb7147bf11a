"""The range of scales over which curves lie on lines in log-log axes, and the slopes over it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

DECADES = 1.5  # of the shortest range
FEWEST = 4  # scales in it


class Lines:
    """Least-squares lines over every range of 1.5 decades or more and four scales at least.

    Attributes
    ----------
    ranges : (ranges, 2)
        First and last index into the scales.
    """

    def __init__(self, scales: Int[np.ndarray, " scales"]) -> None:
        x = np.log2(scales)
        first, last = np.triu_indices(len(x), FEWEST - 1)
        self.ranges = np.stack([first, last], axis=1)[x[last] - x[first] >= DECADES * np.log2(10)]
        index = np.arange(len(x))
        inside = (index >= self.ranges[:, :1]) & (index <= self.ranges[:, 1:])
        number = inside.sum(axis=1, keepdims=True)
        z = np.where(inside, x - (inside @ x)[:, None] / number, 0.0)
        squares = (z**2).sum(axis=1, keepdims=True)
        rank_two = (
            inside[:, :, None] * inside[:, None, :] / number[:, :, None]
            + z[:, :, None] * z[:, None, :] / squares[:, :, None]
        )
        self._inside = inside
        self._slope = np.concatenate([z / squares, np.full((1, len(x)), np.nan)])
        self._residual = (inside[:, :, None] * np.eye(len(x)) - rank_two) / number[:, :, None]  # y' R y: mean square
        self._error = (number / ((number - 2) * squares))[:, 0]  # squared error of the slope over that mean square

    def best(
        self, logs: Float[np.ndarray, "series curves scales"], misfit: float
    ) -> tuple[Int[np.ndarray, " series"], Float[np.ndarray, " series"]]:
        """Per series, the range with the smallest error of its slopes among those that fit, and how far curves are off.

        The distance is the root mean square over curves and the scales of the range; a range fits when it is at most
        ``misfit``. Where none does the range is -1, and the distance that of the closest; NaN where each holds a value that is
        not finite.
        """
        there = np.isfinite(logs).all(axis=1)
        y = np.where(there[:, None], logs, 0.0)
        y = y - y.mean(axis=2, keepdims=True)
        products = (y.transpose(0, 2, 1) @ y).reshape(len(y), -1) / y.shape[1]
        squares = np.maximum(products @ self._residual.reshape(len(self.ranges), -1).T, 0.0)
        squares[~there @ self._inside.T] = np.inf
        fits = squares <= misfit**2
        best = np.where(fits, squares * self._error, np.inf).argmin(axis=1)
        none = ~fits.any(axis=1)
        distances = np.sqrt(
            np.where(none, squares.min(axis=1), np.take_along_axis(squares, best[:, None], axis=1)[:, 0])
        )
        return np.where(none, -1, best), np.where(np.isinf(distances), np.nan, distances)

    def weights(self, chosen: Int[np.ndarray, " series"]) -> Float[np.ndarray, "series scales"]:
        """What log2 of a curve is summed with to give its slope over the chosen range; NaN for -1."""
        return self._slope[chosen]


def slopes(logs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Of curves (..., curves, scales) by weights (..., scales); scales out of the range may be NaN."""
    weights = weights[..., None, :]
    return (np.where(weights == 0, 0.0, logs) * weights).sum(axis=-1)
