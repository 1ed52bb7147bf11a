"""Delay embeddings of recordings (runs, steps, variables), and the nearest states that are not neighbours in time."""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial import cKDTree

from analyses.series._turns import steps_per_turn

FARTHEST = 2048  # nearest states looked through for one beyond the window; a state with none is left out
REPEATS = 1e-12  # of the spread: states closer than this are the same state


def turn_of(runs: np.ndarray) -> float:
    """Steps in a turn at the median frequency, all variables and runs together; 2 when nothing moves."""
    if runs.shape[0] * runs.shape[2] == 0 or runs.shape[1] < 4:
        return 2.0
    turn = float(steps_per_turn(runs.swapaxes(1, 2), together=(0, 1)).item())
    return turn if math.isfinite(turn) else 2.0


def decorrelation(runs: np.ndarray) -> int:
    """The first step at which the autocorrelation, all variables together, is below 1 - 1/e."""
    steps = runs.shape[1]
    if steps < 2:
        return 1
    centred = runs - runs.mean(axis=1, keepdims=True)
    power = np.abs(np.fft.rfft(centred, 2 * steps, axis=1)) ** 2
    correlation = np.fft.irfft(power.sum(axis=(0, 2)))[: steps // 2]
    below = np.flatnonzero(correlation < (1 - math.exp(-1)) * correlation[0])
    return int(below[0]) if len(below) else 1


def embedded(runs: np.ndarray, dimension: int, delay: int, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """States (runs x steps, dimension x variables), run after run, and the rows with the whole horizon ahead."""
    length = runs.shape[1] - (dimension - 1) * delay
    if length <= horizon:
        return np.zeros((0, dimension * runs.shape[2])), np.zeros(0, dtype=np.int64)
    states = np.concatenate([runs[:, lag * delay : lag * delay + length] for lag in range(dimension)], axis=2)
    rows = np.arange(len(runs))[:, None] * length + np.arange(length - horizon)
    return states.reshape(-1, states.shape[2]), rows.reshape(-1)


def nearest(
    states: np.ndarray,
    usable: np.ndarray,
    chosen: np.ndarray,
    theiler: int,
    neighbours: int,
    same: float,
    *,
    norm: float = 2.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Distances and rows (chosen, neighbours) of the nearest states beyond the window and not the same; infinite for none."""
    tree = cKDTree(states[usable])
    position = np.zeros(len(states), dtype=np.int64)
    position[usable] = np.arange(len(usable))
    gaps = np.flatnonzero(np.diff(usable) > 1)
    run = np.searchsorted(gaps, np.arange(len(usable)))
    distances = np.full((len(chosen), neighbours), np.inf)
    partners = np.zeros((len(chosen), neighbours), dtype=np.int64)
    most = min(len(usable), neighbours + 2 * (2 * theiler + 1), FARTHEST + neighbours)  # the window hides 2 theiler + 1
    left, asked = np.arange(len(chosen)), min(neighbours + 8, most)
    while len(left):
        found, at = (part.reshape(len(left), -1) for part in tree.query(states[chosen[left]], k=asked, p=norm))
        mine = position[chosen[left]][:, None]
        apart = ((run[at] != run[mine]) | (np.abs(usable[at] - chosen[left][:, None]) > theiler)) & (found > same)
        enough = apart.sum(axis=1) >= neighbours
        order = np.argsort(~apart[enough], axis=1, kind="stable")[:, :neighbours]
        if enough.any():
            distances[left[enough]] = np.take_along_axis(found[enough], order, axis=1)
            partners[left[enough]] = usable[np.take_along_axis(at[enough], order, axis=1)]
        left = left[~enough] if asked < most else left[:0]
        asked = min(most, 4 * asked)
    return distances, partners
