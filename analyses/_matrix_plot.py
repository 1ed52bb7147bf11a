"""The drawing of a matrix of distances between named things."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from analyses.result import axes_or_new

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_NAMES = 40  # written along an axis; of more, every second, third, ...
LONGEST = 20  # letters of a name, the last ones


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
