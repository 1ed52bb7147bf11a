"""What matrices of distances between named things share: an identity, and a drawing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from analyses.result import axes_or_new

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_NAMES = 40  # written along an axis; of more, every second, third, ...
LONGEST = 20  # letters of a name, the last ones


def longest_detour(distances: np.ndarray) -> float:
    """The largest D(i, k) - D(i, j) - D(j, k), which the triangle inequality says is 0."""
    excess = distances[:, None, :] - distances[:, :, None] - distances[None]
    return float(np.nanmax(excess, initial=0.0)) if excess.size else 0.0


def plot_matrix(distances: np.ndarray, names: Sequence[str], label: str, ax: Axes | None = None) -> Axes:
    """Distances by colour, 0 the darkest, with the names on both axes."""
    ax = axes_or_new(ax)
    if np.isfinite(distances).any():
        ax.figure.colorbar(ax.imshow(distances, cmap="viridis", vmin=0), ax=ax, label=label)
    places = range(0, len(names), 1 + len(names) // (MOST_NAMES + 1))
    shown = [name if len(name) <= LONGEST else f"…{name[-LONGEST:]}" for name in names][:: places.step]
    ax.set_xticks(places, shown, rotation=90, fontsize="small")
    ax.set_yticks(places, shown, fontsize="small")
    return ax
