"""How far free-running orbits of many models lie from recorded states: Dstsp, in nats, for the selection of a checkpoint.

KL(recorded || orbit). Up to five coordinates of histograms: 30 bins on each axis between the smallest and the largest recorded
value, one further cell for all states outside, 1e-5 added to every cell's count. Beyond, where that smoothing would outweigh
the states, of mixtures: a Gaussian of variance 1 on each of at most 10 000 evenly spaced states, log densities compared at 1000
draws from the recorded mixture, always the same ones. Orbits that are not finite get infinity.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

BINS, SMOOTHING, MOST_BINNED = 30, 1e-5, 5
CENTRES, DRAWS = 10_000, 1000

Divergence = Callable[[np.ndarray], np.ndarray]  # (models, points, outputs) -> (models,)


def divergence_from(recorded: np.ndarray) -> Divergence:
    """The divergence of orbits from recorded states (points, outputs)."""
    single = _binned(recorded) if recorded.shape[1] <= MOST_BINNED else _mixed(recorded)
    return lambda orbits: np.array([single(orbit) if np.isfinite(orbit).all() else np.inf for orbit in orbits])


def _binned(recorded: np.ndarray) -> Callable[[np.ndarray], float]:
    """Only occupied cells are stored; the empty ones are alike and enter by their number."""
    low, high = recorded.min(axis=0), recorded.max(axis=0)
    width = high - low
    outside = BINS ** recorded.shape[1]
    cells = outside + 1

    def cell(states: np.ndarray) -> np.ndarray:
        within = ((states >= low) & (states <= high)).all(axis=1)
        scaled = np.divide(states - low, width, out=np.zeros_like(states), where=(width > 0) & within[:, None]) * BINS
        place = np.minimum(scaled, BINS - 1).astype(np.int64) @ BINS ** np.arange(len(low))
        return np.where(within, place, outside)

    visited, visits = np.unique(cell(recorded), return_counts=True)

    def divergence(orbit: np.ndarray) -> float:
        seen, times = np.unique(cell(orbit), return_counts=True)
        occupied = np.union1d(visited, seen)
        counts = np.zeros((2, len(occupied)))
        counts[0, np.searchsorted(occupied, visited)], counts[1, np.searchsorted(occupied, seen)] = visits, times
        totals = counts.sum(axis=1) + SMOOTHING * cells
        p, q = (counts + SMOOTHING) / totals[:, None]
        empty = (cells - len(occupied)) * SMOOTHING / totals[0] * np.log(totals[1] / totals[0])
        return float((p * np.log(p / q)).sum() + empty)

    return divergence


def _mixed(recorded: np.ndarray) -> Callable[[np.ndarray], float]:
    def spread(states: np.ndarray) -> torch.Tensor:
        rows = np.linspace(0, len(states) - 1, min(CENTRES, len(states))).astype(np.int64)
        return torch.from_numpy(states[rows])

    def log_density(states: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
        """Without the constant that both mixtures share."""
        squares = torch.cdist(states, centres).square()
        return torch.logsumexp(-squares / 2, 1) - np.log(len(centres))

    generator = torch.Generator().manual_seed(0)
    centres = spread(recorded)
    chosen = torch.randint(len(centres), (DRAWS,), generator=generator)
    drawn = centres[chosen] + torch.randn(DRAWS, centres.shape[1], generator=generator, dtype=centres.dtype)
    own = log_density(drawn, centres)
    return lambda orbit: float((own - log_density(drawn, spread(orbit))).mean())
