"""How does the map stretch and turn along its states? Eigenvalues and singular values of its Jacobian at each.

Non-normality is Henrici's departure: sqrt(|J|_F^2 - sum |eigenvalue|^2) / |J|_F, 0 for a normal matrix and near 1 when
transients, not eigenvalues, rule (Trefethen and Embree, Spectra and Pseudospectra, section 48). Takes (dynamics, states or a
Trajectory); costs one Jacobian and its two decompositions a state, O(points dim^3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from analyses.maps._along import slopes_along
from analyses.maps._eigenvalues import sorted_eigenvalues
from analyses.maps._plot import plot_eigenvalues
from analyses.result import Check, Result
from hooks.dynamics import Dynamics, as_drive, as_states, autonomous
from hooks.tangent import jacobian
from hooks.trajectory import Trajectory

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
    dt
        Clock units per step.
    checks
        Products of moduli and of singular values agree (both are |det|), where the determinant is not lost to rounding.
    """

    eigenvalues: Complex[np.ndarray, "points dim"]
    singular_values: Float[np.ndarray, "points dim"]
    nonnormality: Float[np.ndarray, " points"]
    dt: float
    checks: tuple[Check, ...]

    @property
    def radii(self) -> np.ndarray:
        """(points,) spectral radius."""
        return np.abs(self.eigenvalues).max(axis=1, initial=0)

    @property
    def time_constants(self) -> np.ndarray:
        """(points, dim) -dt / ln |eigenvalue| in clock units: how long a deviation along it takes to fall by a factor e, were
        the slope frozen; negative where it grows, infinite at modulus 1, 0 at eigenvalue 0."""
        moduli = np.abs(self.eigenvalues)
        with np.errstate(divide="ignore"):
            return np.where(moduli == 1, np.inf, -self.dt / np.log(moduli)) + 0.0  # -dt / -inf is -0

    @property
    def periods(self) -> np.ndarray:
        """(points, dim) 2 pi dt / |arg eigenvalue|, clock units a turn; infinite where nothing turns."""
        with np.errstate(divide="ignore"):
            return 2 * np.pi * self.dt / np.abs(np.angle(self.eigenvalues))

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
    states : (points, dim), or Trajectory
        Of a trajectory, all its states, run after run; under a driven map those that have a drive.
    drives : (inputs,) or (points, inputs)
        For a driven map and states that are no Trajectory.

    Raises
    ------
    DrivenError
        For a driven map without drives.
    InputError
        For states or drives of another width.
    """
    slopes = _slopes(dynamics, states, drives)
    matrices = slopes.double().cpu().numpy()
    eigenvalues = sorted_eigenvalues(slopes)
    singular_values = np.linalg.svd(matrices, compute_uv=False)
    size = (matrices**2).sum(axis=(1, 2))
    lost = np.clip(size - (np.abs(eigenvalues) ** 2).sum(axis=1), 0, None)

    # |det| survives rounding in both products when the smallest singular value is well above eps times the largest
    sound = singular_values[:, -1] > 1e-6 * singular_values[:, 0] if len(matrices) else np.zeros(0, dtype=bool)
    gaps = np.log(np.abs(eigenvalues[sound])).sum(axis=1) - np.log(singular_values[sound]).sum(axis=1)
    return JacobianSpectra(
        eigenvalues=eigenvalues,
        singular_values=singular_values,
        nonnormality=np.sqrt(np.divide(lost, size, out=np.zeros_like(size), where=size > 0)),
        dt=dynamics.dt,
        checks=(
            Check("ln |det| from eigenvalues against singular values", 0.0, float(np.abs(gaps).max(initial=0)), 1e-6),
        ),
    )


def _slopes(dynamics: Dynamics, states: Any, drives: Any) -> Tensor:
    """(points, dim, dim)"""
    if isinstance(states, Trajectory):
        runs = slopes_along(dynamics, states, drives, "jacobian_spectra")
        return torch.as_tensor(np.concatenate([np.zeros((0, dynamics.dim, dynamics.dim)), *runs]))
    points = as_states(dynamics, states)
    drive = as_drive(dynamics, drives) if drives is not None else None
    if drive is None:
        autonomous(dynamics, "jacobian_spectra without drives")
    return jacobian(dynamics, points, drive)
