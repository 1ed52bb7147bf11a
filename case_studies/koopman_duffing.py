"""Koopman spectra: which eigenvalues of the unforced Duffing oscillator can be read from its orbits, and none of a mixing map?

x'' = -x' / 2 + x - x^3, sampled every 0.25, the example of Williams, Kevrekidis and Rowley (2015) and of later linear recurrent
autoencoders. Around each well the slope has eigenvalues -1/4 +- i sqrt(2 - 1/16), so the operator has mu = exp(0.25 (-1/4 +- i
1.392)), of modulus 0.9394 and angle 0.3480, with |mu|^2 and other products; a function that is constant on each basin has
eigenvalue 1. Dictionaries: 35 monomials of degree up to 7 for orbits that stay in the well at x = 1, 96 Gaussians on a grid for
orbits in both wells, 196 for orbits from the whole square [-2, 2]^2.

There the eigenfunction of mu is not smooth: a state at distance d from the stable manifold of the saddle stays for a time
-ln d / 0.781, so that |phi| grows as d^(-0.25 / 0.781) and turns without end, and no smooth dictionary holds it. On a mixing
map K has no eigenvalue but 1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analyses.result import Result
from analyses.trajectories.koopman import Dictionary, Gaussians, Harmonics, Monomials, koopman_spectrum
from case_studies._flows import duffing
from case_studies._maps import cat_map, logistic, standard_map
from case_studies._study import CaseStudy, number_of
from hooks.dynamics import Dynamics, rollout
from hooks.trajectory import Trajectory
from interp.claims import Claim
from interp.journal import Journal

DT = 0.25
WELL = np.exp(DT * (-0.25 + 1j * math.sqrt(2 - 0.25**2)))
NEAR = 0.05  # eigenvalues this close to WELL are counted as its own
HALF_WIDTHS = (0.35, 0.3)  # of the starts around a well, all below the saddle's energy
ONE, TWO, SQUARE = "one well", "two wells", "whole square"


def _grid(width: float, height: float, columns: int, rows: int) -> np.ndarray:
    axes = np.linspace(-width, width, columns), np.linspace(-height, height, rows)
    return np.array(list(itertools.product(*axes)))


DICTIONARIES: Mapping[str, Dictionary] = {
    ONE: Monomials(7),
    TWO: Gaussians(_grid(1.6, 1.0, 12, 8), 0.5),
    SQUARE: Gaussians(_grid(2.0, 2.0, 14, 14), 0.5),
}
MIXING: Mapping[str, tuple[Dynamics, float, Dictionary]] = {
    "cat map": (cat_map(), 1.0, Harmonics(3)),
    "standard map at kick 20": (standard_map(20.0), 2 * math.pi, Harmonics(3, period=2 * math.pi)),
    "logistic map at 4": (logistic(), 1.0, Monomials(8)),
}


@dataclass(frozen=True, eq=False)
class Specimen:
    """Orbits by title, and how often to resample."""

    orbits: Mapping[str, Trajectory]
    bags: int
    draws: int


def around(side: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Starts in the wells at x = +1 or -1."""
    return np.column_stack([side, np.zeros(len(side))]) + rng.uniform(-1, 1, (len(side), 2)) * HALF_WIDTHS


def prepare(*, runs: int, square: int, bags: int, draws: int) -> Specimen:
    """Orbits of 20 steps in the wells, of 10 from the square (``square`` runs, as in Williams et al.), and of mixing maps."""
    rng = np.random.default_rng(0)
    orbits = {
        ONE: rollout(duffing(dt=DT), around(np.ones(runs), rng), steps=20),
        TWO: rollout(duffing(dt=DT), around(np.where(np.arange(runs) % 2, 1.0, -1.0), rng), steps=20),
    }
    if square:
        orbits[SQUARE] = rollout(duffing(dt=DT), rng.uniform(-2, 2, (square, 2)), steps=10)
    for name, (dynamics, period, _) in MIXING.items():
        orbits[name] = rollout(dynamics, period * rng.random((runs, dynamics.dim)), steps=20)
    return Specimen(orbits, bags, draws)


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """The spectrum of every set of orbits."""
    dictionaries = {**DICTIONARIES} | {name: dictionary for name, (_, _, dictionary) in MIXING.items()}
    sentences = []
    for title, orbits in specimen.orbits.items():
        found = journal.note(
            title, koopman_spectrum, orbits, dictionary=dictionaries[title], bags=specimen.bags, draws=specimen.draws
        )
        sentences.append(f"{title}. {found.summary()}.")
        if title in DICTIONARIES:
            k = found.nearest(WELL)
            sentences.append(
                f"{title}. Nearest to the well's {abs(WELL):.4f} and {np.angle(WELL):.4f} (modulus, angle) is "
                f"{abs(found.eigenvalues[k]):.4f} and {np.angle(found.eigenvalues[k]):.4f}, with a residual of "
                f"{found.held_out[k]:.2g} on what was left out: {'verified' if found.verified[k] else 'spurious'}."
            )
    return tuple(sentences)


def _nearest(title: str, read: Callable[[Any, int], float]) -> Callable[[Mapping[str, Result]], float]:
    return number_of(title, lambda found: read(found, found.nearest(WELL)))


def _own(title: str) -> Callable[[Mapping[str, Result]], float]:
    """Verified eigenvalues near the well's."""
    return number_of(title, lambda found: (found.verified & (np.abs(found.eigenvalues - WELL) < NEAR)).sum())


def _between(found: Any) -> float:
    """Share of the variance of the function of eigenvalue 1 that lies between the wells, at fresh states."""
    side = np.repeat([-1.0, 1.0], 200)
    values = DICTIONARIES[TWO](around(side, np.random.default_rng(1))) @ found.coefficients[:, found.nearest(1.0)]
    left, right = values[side < 0], values[side > 0]
    return float(1 - (np.var(left) + np.var(right)) / 2 / np.var(values))


SLOPE = "slope at the wells, closed form"
ASKED = "the tolerance of a verified eigenpair"
NO_MORE = "an integer"

study = CaseStudy(
    title="Koopman spectra of the unforced Duffing oscillator, and of maps that mix",
    citation="Williams, Kevrekidis, Rowley, J. Nonlinear Sci. 25, 2015; Colbrook, Townsend, Commun. Pure Appl. Math. 77, 2024",
    question="Which Koopman eigenvalues can be read from orbits, and which are an artefact of the dictionary?",
    prepare=prepare,
    examine=examine,
    claims=(
        Claim("one well: modulus", abs(WELL), SLOPE, 5e-4, "three digits",
              _nearest(ONE, lambda found, k: abs(found.eigenvalues[k]))),
        Claim("one well: angle", float(np.angle(WELL)), SLOPE, 5e-4, "three digits",
              _nearest(ONE, lambda found, k: np.angle(found.eigenvalues[k]))),
        Claim("one well: residual on orbits left out", 0, "an eigenpair of the operator", 1e-2, ASKED,
              _nearest(ONE, lambda found, k: found.held_out[k])),
        Claim("two wells: verified eigenvalues within 0.05 of the well's", 2, "one for each well", 0, NO_MORE, _own(TWO)),
        Claim("two wells: second eigenvalue 1", 1, "the basins are invariant", 1e-3, "a tenth of the residual asked for",
              number_of(TWO, lambda found: abs(found.eigenvalues[found.nearest(1.0)]))),
        Claim("two wells: share of its function's variance between the wells", 1, "constant on each basin", 0.01, "a hundredth",
              number_of(TWO, _between)),
        Claim("whole square: verified eigenvalues within 0.05 of the well's", 0, "singular on the saddle's stable manifold", 0,
              NO_MORE, _own(SQUARE)),
        *(Claim(f"{name}: verified eigenpairs but the constant", 0, "a mixing map has none", 0, NO_MORE,
                number_of(name, lambda found: found.verified.sum())) for name in MIXING),
    ),
    scales={
        "tiny": {"runs": 60, "square": 0, "bags": 10, "draws": 19},
        "quick": {"runs": 200, "square": 500, "bags": 50, "draws": 19},
        "full": {"runs": 1000, "square": 1000, "bags": 200, "draws": 39},
    },
)  # fmt: skip
