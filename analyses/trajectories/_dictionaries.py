"""Observables in which a map is read as a linear operator: functions of states, (points, dim) -> (points, observables).

Any such function will do; these are frozen values, so that a report can name them. The constant is in none of them, since it is
an eigenfunction of every map and ``koopman_spectrum`` divides it out.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from hooks.errors import InputError

Dictionary = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Coordinates:
    """The state itself: dynamic mode decomposition."""

    def __call__(self, states: Float[np.ndarray, "points dim"]) -> Float[np.ndarray, "points dim"]:
        return states


@dataclass(frozen=True)
class Monomials:
    """Products of powers of the coordinates, of total degree 1 to ``degree``; (dim + degree choose degree) - 1 of them."""

    degree: int

    def __post_init__(self) -> None:
        if self.degree < 1:
            raise InputError(f"monomials have degree 1 at least, not {self.degree}")

    def __call__(self, states: Float[np.ndarray, "points dim"]) -> Float[np.ndarray, "points observables"]:
        axes = range(states.shape[1])
        chosen = [
            factors for d in range(1, self.degree + 1) for factors in itertools.combinations_with_replacement(axes, d)
        ]
        return np.stack([states[:, list(factors)].prod(axis=1) for factors in chosen], axis=1)


@dataclass(frozen=True)
class Harmonics:
    """cos and sin of 2 pi k . state / period, for whole vectors k != 0 with entries up to ``order``, one of each pair k, -k."""

    order: int
    period: float = 1.0

    def __post_init__(self) -> None:
        if not (self.order >= 1 and self.period > 0):
            raise InputError(f"harmonics have order 1 at least and a positive period, but {self} came")

    def __call__(self, states: Float[np.ndarray, "points dim"]) -> Float[np.ndarray, "points observables"]:
        span = range(-self.order, self.order + 1)
        waves = np.array([k for k in itertools.product(span, repeat=states.shape[1]) if k > (0,) * len(k)], dtype=float)
        phases = 2 * math.pi / self.period * states @ waves.T
        return np.concatenate([np.cos(phases), np.sin(phases)], axis=1)


@dataclass(frozen=True, eq=False)
class Gaussians:
    """exp(-|state - center|^2 / (2 width^2)) around each center."""

    centers: Float[np.ndarray, "observables dim"]
    width: float

    def __post_init__(self) -> None:
        if not (self.width > 0 and len(self.centers)):
            raise InputError(f"there is one center at least, and the width is positive, but {self} came")

    def __call__(self, states: Float[np.ndarray, "points dim"]) -> Float[np.ndarray, "points observables"]:
        squares = ((states**2).sum(axis=1)[:, None] - 2 * states @ self.centers.T) + (self.centers**2).sum(axis=1)
        return np.exp(-squares / (2 * self.width**2))

    def __repr__(self) -> str:
        told = hashlib.sha256(np.ascontiguousarray(self.centers, dtype=np.float64).tobytes()).hexdigest()[:8]
        return f"Gaussians({len(self.centers)} centers {told}, width={self.width:g})"
