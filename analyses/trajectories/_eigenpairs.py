"""Eigenpairs of an operator fitted to pairs of states, the constant divided out, and their residuals on other pairs.

Serves ``koopman.py``, whose docstring has the equations. Sums of G, A and L are kept for every unit (a run, a piece of one, or
a group of runs), so that a fit to any resampling of units costs no pass over the states.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from hooks.trajectory import Trajectory

FEW, MOST = 10, 100  # units: fewer runs than FEW are cut into 2 FEW pieces in all, more than MOST are taken in groups
FOLDS = 5
DRIFT = 1e3  # deviations: a function that needs a larger constant to be an eigenfunction drifts, as x' = x + 1 does
LEVEL = (0.05, 0.95)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Observables now, orthonormal over the pairs and of mean 0, the same ones next, and the unit of each pair."""

    P: np.ndarray
    Q: np.ndarray
    units: np.ndarray


@dataclass(frozen=True, eq=False)
class Eigenpairs:
    """g = P @ vectors, of unit variance, with K g = values g + means on the span; g + constants are eigenfunctions."""

    values: np.ndarray
    vectors: np.ndarray
    means: np.ndarray

    @property
    def absorbed(self) -> np.ndarray:
        """Whether a constant can take up the mean."""
        return np.abs(self.means) <= DRIFT * np.abs(self.values - 1)

    @property
    def constants(self) -> np.ndarray:
        """What takes it up; 0 where none can."""
        gap = self.values - 1
        return np.where(self.absorbed, self.means / np.where(gap == 0, 1, gap), 0)

    def ordered(self, order: np.ndarray) -> Eigenpairs:
        return Eigenpairs(self.values[order], self.vectors[:, order], self.means[order])


def units_of(trajectory: Trajectory) -> np.ndarray:
    """The run of each pair, or its piece of a run, or its group of runs, numbered from 0."""
    runs, steps = np.nonzero(trajectory.valid[:, 1:])
    _, runs = np.unique(runs, return_inverse=True)
    count = int(runs.max(initial=-1)) + 1
    if not count:
        return runs
    if count >= FEW:
        return runs * min(count, MOST) // count
    pieces = -(-2 * FEW // count)
    lengths = np.bincount(runs)[runs]
    return np.unique(runs * pieces + steps * pieces // lengths, return_inverse=True)[1]


def eigenpairs(K: np.ndarray, means: np.ndarray) -> Eigenpairs:
    """Of a matrix, and of what it gives each observable of a constant."""
    values, vectors = (half.astype(np.complex128) for half in np.linalg.eig(K))
    return Eigenpairs(values, vectors, means @ vectors)


def differences(pairs: Pairs, eigen: Eigenpairs) -> np.ndarray:
    """Residuals from the differences themselves."""
    after = pairs.Q @ eigen.vectors - np.where(eigen.absorbed, eigen.means, 0)
    return np.sqrt((np.abs(after - eigen.values * (pairs.P @ eigen.vectors)) ** 2).mean(axis=0))


def moments_of(pairs: Pairs) -> np.ndarray:
    """(units, 3, 1 + rank, 1 + rank): sums of G, A and L over the pairs of each unit, the constant first."""
    P, Q = (np.column_stack([np.ones(len(half)), half]) for half in (pairs.P, pairs.Q))
    members = [np.flatnonzero(pairs.units == unit) for unit in range(int(pairs.units.max()) + 1)]
    return np.stack([[P[of].T @ P[of], P[of].T @ Q[of], Q[of].T @ Q[of]] for of in members])


def fitted_to(moments: np.ndarray) -> Eigenpairs:
    """From sums of G and A."""
    K = np.linalg.pinv(moments[0], rcond=1e-12, hermitian=True) @ moments[1]
    return eigenpairs(K[1:, 1:], K[0, 1:])


def residuals_of(moments: np.ndarray, eigen: Eigenpairs) -> np.ndarray:
    """From sums of G, A and L."""
    G, A, L = moments
    w = np.vstack([np.zeros_like(eigen.values), eigen.vectors])
    after = np.vstack([-np.where(eigen.absorbed, eigen.means, 0), eigen.vectors])
    cross = (w.conj() * (A @ after)).sum(axis=0)
    square = (after.conj() * (L @ after)).sum(axis=0).real - 2 * (eigen.values.conj() * cross).real
    size = (w.conj() * (G @ w)).sum(axis=0).real
    square += np.abs(eigen.values) ** 2 * size
    variance = size - np.abs(G[0] @ w) ** 2 / G[0, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt(np.maximum(square, 0) / variance)


def _matched(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For each value, the index of its partner among as many others."""
    return linear_sum_assignment(np.abs(values[:, None] - others))[1]


def residuals_held_out(moments: np.ndarray, eigen: Eigenpairs) -> np.ndarray:
    """Of the eigenpairs fitted without each fold of units, on that fold; root mean square over the folds."""
    folds = np.arange(len(moments)) % min(FOLDS, len(moments))
    squares = []
    for fold in range(int(folds.max()) + 1):
        fitted = fitted_to(moments[folds != fold].sum(axis=0))
        judged = residuals_of(moments[folds == fold].sum(axis=0), fitted)
        squares.append(judged[_matched(eigen.values, fitted.values)] ** 2)
    found = np.sqrt(np.nan_to_num(np.mean(squares, axis=0), nan=np.inf))
    conjugates = np.abs(eigen.values[:, None] - eigen.values.conj()).argmin(axis=1) if len(found) else []
    return np.maximum(found, found[conjugates])  # a pair may be matched unevenly, and is judged as one


def intervals_of(moments: np.ndarray, eigen: Eigenpairs, bags: int, generator: np.random.Generator) -> np.ndarray:
    """(found, 2, 2): modulus and angle, at both ends of LEVEL over bags of units."""
    if not bags:
        return np.full((len(eigen.values), 2, 2), np.nan)
    units = len(moments)
    counts = generator.multinomial(units, np.full(units, 1 / units), size=bags)
    found = []
    for sums in np.tensordot(counts.astype(float), moments[:, :2], axes=1):
        values = fitted_to(sums).values
        found.append(values[_matched(eigen.values, values)])
    values = np.array(found)
    turned = np.angle(eigen.values) + np.angle(values * eigen.values.conj())
    return np.moveaxis(np.quantile([np.abs(values), turned], LEVEL, axis=1), (0, 1, 2), (2, 1, 0))
