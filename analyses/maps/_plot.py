"""Drawings that several map analyses share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Complex

from analyses.result import axes_or_new

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_eigenvalues(
    eigenvalues: Complex[np.ndarray, "found dim"],
    stable: Bool[np.ndarray, " found"],
    ax: Axes | None = None,
    *,
    labels: tuple[str, str] = ("of stable points", "of unstable points"),
) -> Axes:
    """Eigenvalues in the complex plane against the unit circle, those of stable points filled."""
    ax = axes_or_new(ax)
    turn = np.exp(2j * np.pi * np.linspace(0, 1, 361))
    ax.plot(turn.real, turn.imag, color="0.6", linewidth=1)
    for mask, label, fill in (
        (stable, labels[0], "#0072b2"),
        (~stable, labels[1], "none"),
    ):
        if not mask.any():
            continue
        values = eigenvalues[mask].ravel()
        edge = "#0072b2" if fill != "none" else "#d55e00"
        ax.scatter(values.real, values.imag, s=14, facecolors=fill, edgecolors=edge, linewidths=0.8, label=label)
    ax.set(xlabel="real part of the eigenvalue", ylabel="imaginary part", aspect="equal")
    if eigenvalues.size:
        ax.legend(frameon=False, fontsize="small")
    return ax
