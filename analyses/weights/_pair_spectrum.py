"""Eigenvalues of the symmetric part of S_C' S_B, from the rows of the two."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.linalg import eigvalsh, qr

from hooks.errors import InputError

ROUNDING = 1e-12  # of an eigenvalue that counts, as a share of the largest
CONVERGENT, DIVERGENT, MIXED, NEUTRAL = "convergent", "divergent", "mixed", "neutral"


def as_pair(S_B: Any, S_C: Any) -> tuple[np.ndarray, np.ndarray]:
    """The two as float64 (..., width, dim). Raises InputError unless their shapes are equal and their values finite."""
    S_B, S_C = np.asarray(S_B, dtype=np.float64), np.asarray(S_C, dtype=np.float64)
    if S_B.ndim < 2 or S_B.shape != S_C.shape or not (np.isfinite(S_B).all() and np.isfinite(S_C).all()):
        raise InputError(f"S_B and S_C are finite and (width, dim) alike, but {S_B.shape} and {S_C.shape} came")
    return S_B, S_C


def pair_spectrum(S_B: np.ndarray, S_C: np.ndarray) -> np.ndarray:
    """(..., min(dim, 2 width)) eigenvalues of (S_C' S_B + S_B' S_C) / 2, descending; all others are 0.

    With R = [S_B; S_C] of 2 width rows the matrix is R' J R / 2, J swapping the halves: it lives in the row space of R, where
    R' = Q T gives T J T' / 2.
    """
    width = S_B.shape[-2]
    T = np.asarray(qr(np.concatenate([S_B, S_C], axis=-2).swapaxes(-1, -2), mode="r"))
    swapped = np.concatenate([T[..., width:], T[..., :width]], axis=-1)
    return eigvalsh(swapped @ T.swapaxes(-1, -2) / 2)[..., ::-1]


def signs(eigenvalues: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many are positive and negative beyond rounding, along the last axis."""
    least = ROUNDING * np.abs(eigenvalues).max(axis=-1, keepdims=True, initial=0.0)
    return np.asarray((eigenvalues > least).sum(axis=-1)), np.asarray((eigenvalues < -least).sum(axis=-1))


def regime(positive: int, negative: int) -> str:
    """By the signs of the eigenvalues other than 0."""
    if not positive and not negative:
        return NEUTRAL
    return MIXED if positive and negative else DIVERGENT if positive else CONVERGENT
