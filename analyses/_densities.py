"""How far apart two clouds of states lie, in nats: KL(true || generated) of histograms, or of Gaussians on the states."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import logsumexp

from hooks.errors import InputError

CHUNK = 1 << 22  # distances held at once


@dataclass(frozen=True)
class Bins:
    """Histograms over the box of the true recording."""

    per_axis: int = 30
    smoothing: float = 1e-5


@dataclass(frozen=True)
class Mixture:
    """Gaussians of this variance, in squared units of the recording, on the states."""

    variance: float = 1.0
    points: int = 10_000
    draws: int = 1000


def cells_of(form: Bins, states: np.ndarray) -> float:
    """How many there are, with the one outside."""
    if form.per_axis < 1 or not form.smoothing > 0:
        raise InputError(f"bins an axis are at least 1 and their smoothing positive, but {form} came")
    return float(form.per_axis) ** states.shape[1] + 1


def by_bins(form: Bins, true: np.ndarray, generated: np.ndarray) -> tuple[float, float]:
    """The divergence and 0, since nothing is drawn.

    Only cells with states are stored; the empty ones are alike and enter by their number.
    """
    low, high = true.min(axis=0), true.max(axis=0)
    width = high - low
    cells = cells_of(form, true)
    kept = form.per_axis

    def places(states: np.ndarray) -> np.ndarray:
        scaled = np.divide(states - low, width, out=np.zeros_like(states), where=width > 0) * kept
        within = ((states >= low) & (states <= high)).all(axis=1)
        scaled[~within] = 0.0
        bins = np.minimum(scaled, kept - 1).astype(np.int64)
        return np.where(within, bins @ kept ** np.arange(bins.shape[1]), -1)

    _, cell = np.unique(np.concatenate([places(true), places(generated)]), return_inverse=True)
    occupied = int(cell.max()) + 1
    p, q = (
        (np.bincount(part, minlength=occupied) + form.smoothing) / (len(part) + form.smoothing * cells)
        for part in (cell[: len(true)], cell[len(true) :])
    )
    empty_p, empty_q = (form.smoothing / (len(part) + form.smoothing * cells) for part in (true, generated))
    return float((p * np.log(p / q)).sum() + (cells - occupied) * empty_p * np.log(empty_p / empty_q)), 0.0


def by_mixture(form: Mixture, true: np.ndarray, generated: np.ndarray, seed: int) -> tuple[float, float]:
    """The divergence and the standard error of its Monte-Carlo mean."""
    centers, others = (
        part[np.linspace(0, len(part) - 1, min(form.points, len(part))).astype(np.int64)] for part in (true, generated)
    )
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(centers), (form.draws,), generator=generator).numpy()
    noise = torch.randn(form.draws, centers.shape[1], generator=generator, dtype=torch.float64).numpy()
    drawn = centers[chosen] + np.sqrt(form.variance) * noise
    gaps = _log_density(drawn, centers, form.variance) - _log_density(drawn, others, form.variance)
    return float(gaps.mean()), float(gaps.std(ddof=1) / np.sqrt(form.draws))


def _log_density(states: np.ndarray, centers: np.ndarray, variance: float) -> np.ndarray:
    """(states,) without the constant that both mixtures share."""
    rows = max(1, CHUNK // len(centers))
    parts = []
    for first in range(0, len(states), rows):
        here = states[first : first + rows]
        squares = ((here[:, None] - centers) ** 2).sum(axis=2) if here.shape[1] <= 4 else _squares(here, centers)
        parts.append(logsumexp(-squares / (2 * variance), axis=1) - np.log(len(centers)))
    return np.concatenate(parts)


def _squares(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.maximum((one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * one @ other.T, 0.0)
