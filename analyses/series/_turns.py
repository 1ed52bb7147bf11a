"""What analyses of series share: reading the array, taking it in pieces, and how many steps one turn takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from hooks.errors import InputError
from hooks.trajectory import Trajectory

AT_ONCE = 2**18  # steps held in one pass: 2 MB


def as_series(data: Any, dimensions: tuple[int, ...], shapes: str) -> np.ndarray:
    """Numbers as float64; refuses another number of axes, and entries not finite or out of range.

    Of a Trajectory every unit of every run is a series, or, where runs of several variables are asked for, every run.
    """
    if isinstance(data, Trajectory):
        series = data.series()
        data = series if 3 not in dimensions else data.states
    array = np.asarray(data.detach().cpu() if isinstance(data, torch.Tensor) else data, dtype=np.float64)
    if array.ndim not in dimensions:
        raise InputError(f"a recording has shape {shapes}, but {array.shape} came")
    if not np.isfinite(array).all():
        raise InputError(
            f"{(~np.isfinite(array)).sum()} of {array.size} entries are not finite: cut the recording before them"
        )
    largest = float(max(array.max(initial=0.0), -array.min(initial=0.0)))  # no copy of the array
    if largest and not 1e-100 < largest < 1e100:
        raise InputError(f"squares of entries up to {largest:.0e} leave the range of float64: rescale the recording")
    return array


def pieces(series: np.ndarray) -> Iterator[np.ndarray]:
    """Series (series, steps), as many at a time as ``AT_ONCE`` steps hold, one at least."""
    at_once = max(1, AT_ONCE // series.shape[1])
    for first in range(0, len(series), at_once):
        yield series[first : first + at_once]


def still(series: np.ndarray) -> np.ndarray:
    """Whether each series (..., steps) is constant to rounding."""
    if not series.size:
        return np.ones(series.shape[:-1], dtype=bool)
    return np.ptp(series, axis=-1) <= 1e-12 * np.abs(series).max(axis=-1)


def steps_per_turn(series: np.ndarray, *, together: tuple[int, ...] = ()) -> np.ndarray:
    """Steps in one turn of each series (..., steps) at its median frequency: half the variance is slower, half faster.

    From the periodogram under a Hann window, summed over the axes ``together``; at least 2, and infinite for a constant.
    """
    steps = series.shape[-1]
    window = np.hanning(steps)
    centred = series - (series * window).sum(axis=-1, keepdims=True) / window.sum()
    power = np.abs(np.fft.rfft(centred * window))[..., 1:] ** 2
    below = np.cumsum(power.sum(axis=together, keepdims=True), axis=-1)
    median = 1 + (below < below[..., -1:] / 2).sum(axis=-1)
    return np.where(still(series).all(axis=together, keepdims=True), np.inf, steps / median)
