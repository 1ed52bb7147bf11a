"""Eigenvalues of the slope at many points: all of them, or the leading ones of wide maps."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigs
from torch import Tensor

from analyses.maps._equations import ENTRIES, arnoldi
from hooks.dynamics import Dynamics
from hooks.tangent import jacobian, push

WIDEST_SPECTRUM = 128  # units; of wider maps the leading eigenvalues are taken
LEADING, LEADING_ERROR = 16, 1e-8  # of them; their error, as a share of the largest
RITZ = 64  # directions of the Krylov space they are sought in first


def sorted_eigenvalues(slopes: Tensor) -> np.ndarray:
    """Eigenvalues of (found, dim, dim) slopes, largest modulus first, conjugate pairs with the positive one first."""
    return _by_modulus(np.linalg.eigvals(slopes.double().cpu().numpy()).astype(np.complex128))


def eigenvalues_at(dynamics: Dynamics, points: Tensor, drives: Tensor | None = None) -> np.ndarray:
    """(found, kept) eigenvalues of DF at points, largest modulus first: all up to ``WIDEST_SPECTRUM`` units, else the
    ``LEADING`` ones from ``push`` alone: the first, and all outside the unit circle, to 1e-8 of it, the others roughly."""
    if dynamics.dim <= WIDEST_SPECTRUM:
        parts = torch.arange(len(points), device=points.device).split(max(1, ENTRIES // dynamics.dim**2))
        rows = [sorted_eigenvalues(jacobian(dynamics, points[p], None if drives is None else drives[p])) for p in parts]
        return np.concatenate([*rows, np.zeros((0, dynamics.dim), dtype=np.complex128)])
    values = np.full((len(points), LEADING), np.nan, dtype=np.complex128)
    for part in torch.arange(len(points), device=points.device).split(max(1, ENTRIES // (RITZ * dynamics.dim))):
        own = None if drives is None else drives[part]
        values[part.cpu().numpy()] = _leading(dynamics, points[part], own)
    return values


def _leading(dynamics: Dynamics, points: Tensor, drives: Tensor | None) -> np.ndarray:
    """Ritz values of one batched Arnoldi run from a fixed vector.

    ARPACK takes over, point by point, where the residual of the largest one, or of one that may lie outside the unit circle, is
    too large, and where the Krylov space ended, as it does where eigenvalues are multiple.
    """
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(dynamics.dim, generator=generator, dtype=torch.float64).to(points)
    _, H = arnoldi(
        lambda v: push(dynamics, points, v[..., None], drives)[1][..., 0], first.expand(len(points), -1), RITZ
    )
    ritz, y = np.linalg.eig(H[:, :RITZ].double().cpu().numpy())
    order = np.argsort(-np.abs(ritz), axis=1, kind="stable")[:, :LEADING]
    found = np.take_along_axis(ritz, order, 1).astype(np.complex128)
    last = np.abs(np.take_along_axis(y[:, -1], order, 1))
    residuals = H[:, RITZ, RITZ - 1].double().cpu().numpy()[:, None] * last
    ended = (H.diagonal(-1, 1, 2)[:, :RITZ] == 0).any(1).cpu().numpy()
    loose = residuals > LEADING_ERROR * np.abs(found).max(axis=1, keepdims=True)
    doubtful = (loose & (np.abs(found) + residuals >= 1)).any(axis=1) | loose[:, 0]
    for row in np.flatnonzero(doubtful | ended):
        drive = None if drives is None else drives[row : row + 1]

        def times(v: np.ndarray, point: Tensor = points[row : row + 1], drive: Tensor | None = drive) -> np.ndarray:
            tangent = torch.as_tensor(v.reshape(1, -1, 1)).to(point)
            return push(dynamics, point, tangent, drive)[1].double().cpu().numpy().ravel()

        operator = LinearOperator((dynamics.dim, dynamics.dim), matvec=times, dtype=np.float64)
        try:
            exact = eigs(operator, k=LEADING, v0=first.cpu().numpy(), tol=LEADING_ERROR, return_eigenvectors=False)
        except ArpackNoConvergence as error:
            exact = error.eigenvalues
        found[row] = np.nan
        found[row, : len(exact)] = exact
    return _by_modulus(found)


def _by_modulus(values: np.ndarray) -> np.ndarray:
    order = np.lexsort((-values.imag, -np.abs(values).round(12)), axis=-1)
    return np.take_along_axis(values, order, axis=-1)
