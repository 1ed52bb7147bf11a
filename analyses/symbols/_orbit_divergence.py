"""How far free-running orbits of many models lie from recorded states, for the selection of a checkpoint: Dstsp, in nats.

The stated forms of ``state_space_divergence``: 30 bins an axis up to five coordinates, mixtures beyond, where the smoothing of
so many cells would outweigh the states.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from analyses._densities import Bins, Mixture, by_bins, by_mixture

MOST_BINNED = 5  # coordinates
Divergence = Callable[[np.ndarray], np.ndarray]  # (models, points, outputs) -> (models,)


def divergence_from(recorded: np.ndarray) -> Divergence:
    """The divergence of orbits from recorded states (points, outputs); infinite for an orbit that is not finite."""

    def single(orbit: np.ndarray) -> float:
        if not np.isfinite(orbit).all():
            return np.inf
        binned = recorded.shape[1] <= MOST_BINNED
        return by_bins(Bins(), recorded, orbit)[0] if binned else by_mixture(Mixture(), recorded, orbit, 0)[0]

    return lambda orbits: np.array([single(orbit) for orbit in orbits])
