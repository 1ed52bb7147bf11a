"""How does the map stretch and turn along its states? Eigenvalues and singular values of its Jacobian at each.

Non-normality is Henrici's departure: sqrt(|J|_F^2 - sum |eigenvalue|^2) / |J|_F, 0 for a normal matrix and near 1 when
transients, not eigenvalues, rule (Trefethen and Embree, Spectra and Pseudospectra, section 48). Takes (dynamics, states);
costs one Jacobian and its two decompositions a state, O(points dim^3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Complex, Float

from analyses.maps._eigenvalues import sorted_eigenvalues
from analyses.maps._plot import plot_eigenvalues
from analyses.result import Check, Result
from hooks.dynamics import Dynamics, as_drive, as_states, autonomous
from hooks.tangent import jacobian

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class JacobianSpectra(Result):
    """Spectra of the Jacobian at each state.

    Attributes
    ----------
    eigenvalues : (points, dim) complex
        Largest modulus first.
    singular_values : (points, dim)
        Largest first.
    nonnormality : (points,)
        Henrici's departure over the Frobenius norm, 0 to 1; 0 for a zero Jacobian.
    checks
        Products of moduli and of singular values agree (both are |det|), where the determinant is not lost to rounding.
    """

    eigenvalues: Complex[np.ndarray, "points dim"]
    singular_values: Float[np.ndarray, "points dim"]
    nonnormality: Float[np.ndarray, " points"]
    checks: tuple[Check, ...]

    @property
    def radii(self) -> np.ndarray:
        """(points,) spectral radius."""
        return np.abs(self.eigenvalues).max(axis=1, initial=0)

    def summary(self) -> str:
        """At how many states the map stretches, and how far from normal it is."""
        if not len(self.eigenvalues):
            return "no states, no spectra"
        stretches = int((self.singular_values[:, 0] > 1).sum())
        return (
            f"at {stretches} of {len(self.radii)} states a direction is stretched; spectral radius {np.median(self.radii):.3g} "
            f"(median; {self.radii.min():.3g} to {self.radii.max():.3g}), non-normality {np.median(self.nonnormality):.2f}"
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """All eigenvalues against the unit circle."""
        labels = ("where all lie inside the circle", "where some lie outside")
        return plot_eigenvalues(self.eigenvalues, self.radii < 1, ax, labels=labels)


def jacobian_spectra(dynamics: Dynamics, states: Any, *, drives: Any = None) -> JacobianSpectra:
    """Eigenvalues, singular values and non-normality of the Jacobian at given states.

    Parameters
    ----------
    states : (points, dim)
    drives : (inputs,) or (points, inputs)
        For a driven map.

    Raises
    ------
    DrivenError
        For a driven map without drives.
    """
    points = as_states(dynamics, states)
    drive = as_drive(dynamics, drives) if drives is not None else None
    if drive is None:
        autonomous(dynamics, "jacobian_spectra without drives")

    slopes = jacobian(dynamics, points, drive)
    matrices = slopes.double().cpu().numpy()
    eigenvalues = sorted_eigenvalues(slopes)
    singular_values = np.linalg.svd(matrices, compute_uv=False)
    size = (matrices**2).sum(axis=(1, 2))
    lost = np.clip(size - (np.abs(eigenvalues) ** 2).sum(axis=1), 0, None)

    # |det| survives rounding in both products when the smallest singular value is well above eps times the largest
    sound = singular_values[:, -1] > 1e-6 * singular_values[:, 0] if len(points) else np.zeros(0, dtype=bool)
    gaps = np.log(np.abs(eigenvalues[sound])).sum(axis=1) - np.log(singular_values[sound]).sum(axis=1)
    return JacobianSpectra(
        eigenvalues=eigenvalues,
        singular_values=singular_values,
        nonnormality=np.sqrt(np.divide(lost, size, out=np.zeros_like(size), where=size > 0)),
        checks=(
            Check("ln |det| from eigenvalues against singular values", 0.0, float(np.abs(gaps).max(initial=0)), 1e-6),
        ),
    )
