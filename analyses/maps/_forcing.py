"""Estimates of the Jacobian norm that generalised teacher forcing is set by, and the strength that follows.

Source: Hess, Monfared, Brenner, Durstewitz, ICML 2023, and its published code, whose default is the geometric mean.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def norm_estimates(runs: Iterable[np.ndarray]) -> tuple[float, float, float]:
    """(largest, geometric mean, norm of the mean) of |J|_2 along runs of Jacobians, each (steps, dim, dim).

    A stack (batch, steps, dim, dim) is such runs. Mean and geometric mean are over the steps of a run, the largest over runs
    counts; 0 where there are no steps.
    """
    largest = product = mean = 0.0
    for run in runs:
        if not len(run):
            continue
        norms = np.linalg.norm(run, 2, axis=(1, 2))
        with np.errstate(divide="ignore"):
            product = max(product, float(np.exp(np.log(norms).mean())))
        largest = max(largest, float(norms.max()))
        mean = max(mean, float(np.linalg.norm(run.mean(axis=0), 2)))
    return largest, product, mean


def parameter_bound(diagonal: np.ndarray, *factors: np.ndarray) -> float:
    """|A|_max + |W1| |W2| ...: bounds |J|_2 of z' = A z + W1 relu(W2 z + h2) + h1 everywhere, A diagonal."""
    product = np.prod([np.linalg.norm(factor, 2) for factor in factors]) if factors else 0.0
    return float(np.abs(diagonal).max(initial=0) + product)


def strength_for(norm: float) -> float:
    """alpha* = max(0, 1 - 1 / norm), the weakest forcing with (1 - alpha) norm <= 1."""
    return max(0.0, 1.0 - 1.0 / norm) if norm > 0 else 0.0
