"""Teacher forcing: how strong must it be for gradients along chaotic data to stay bounded?

Hess, Monfared, Brenner and Durstewitz (ICML 2023) pull a forecaster's state towards the data by a share alpha at every step,
which puts a factor 1 - alpha on every Jacobian of a gradient's product, and set alpha* = 1 - 1 / N by an estimate N of the
Jacobian norm. Here a shallow PLRNN fitted to Lorenz63 is read along runs of data that it was not fitted to. Left out: a
schedule that anneals alpha, and attractor distances after training with different alpha (the paper's table), which take a
training each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from analyses.maps._forcing import parameter_bound
from analyses.maps.forcing_strength import forcing_strength
from analyses.maps.lyapunov import lyapunov_spectrum
from analyses.maps.windowed_products import WindowedProducts, windowed_products
from analyses.result import Result
from case_studies._shallow_plrnn import DT, STEPS, Fit, fitted_to_lorenz
from case_studies._study import CaseStudy, number_of
from hooks.dynamics import Dynamics
from interp.claims import Claim
from interp.journal import Journal

WINDOWS = (1, 10, 50, STEPS)
UNFORCED, CHOSEN, EVERY_STEP = "no forcing", "alpha* by the geometric mean norm", "alpha* by the largest norm"


@dataclass(frozen=True, eq=False)
class Specimen:
    forecaster: Fit
    steps: int


def prepare(*, runs: int, steps: int) -> Specimen:
    """The forecaster, fitted to so many runs and with as many held out; its own orbits are followed for ``steps``."""
    return Specimen(fitted_to_lorenz(runs=runs), steps)


def forced(dynamics: Dynamics, alpha: float) -> Dynamics:
    """The map from (1 - alpha) z + alpha z_data, the data its drive."""

    def step(states: torch.Tensor, data: torch.Tensor) -> torch.Tensor:
        return dynamics.step((1 - alpha) * states + alpha * data, None)

    return Dynamics(
        step, dim=dynamics.dim, name=f"forced by {alpha:.3g}", driven=True, inputs=dynamics.dim, dt=dynamics.dt
    )


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """The network's own exponent, the strengths, and products of Jacobians along held-out data without and with forcing."""
    fit = specimen.forecaster
    dynamics, network, data, held_out = fit.dynamics(), fit.network, fit.data, fit.held_out.states
    own = journal.note(
        "own exponents", lyapunov_spectrum, dynamics, data.states[:, 0], steps=specimen.steps, burn_in=500
    )
    bound = parameter_bound(*(weight.numpy() for weight in (network.A, network.W1, network.W2)))
    strengths = journal.note("forcing strengths", forcing_strength, dynamics, data, bound=bound)
    by_name = dict(zip(strengths.estimators, strengths.strengths.tolist(), strict=True))
    alphas = {UNFORCED: 0.0, CHOSEN: by_name["geometric mean"], EVERY_STEP: by_name["largest"]}
    products = {
        title: journal.note(
            title, windowed_products, forced(dynamics, alpha), held_out, windows=WINDOWS, drives=held_out
        )
        for title, alpha in alphas.items()
    }
    exponent = float(own.exponents[0, 0]) if len(own.sizes) else math.nan
    needed = 1 - math.exp(-max(exponent, 0.0) * DT)
    median = {title: float(np.median(_longest(found))) for title, found in products.items()}
    sentences = [
        f"Over {STEPS} steps of held-out data the median product of Jacobians grows to e^{median[UNFORCED]:.3g} without "
        f"forcing, and is e^{median[CHOSEN]:.3g} at alpha* = {alphas[CHOSEN]:.3g}, the default estimate.",
        f"Left to itself the network is a map with largest exponent {exponent:+.3g} ± {own.standard_errors[0, 0]:.1g} per "
        f"unit of time (Lorenz63: 0.906); {own.verdicts[0]}." if len(own.sizes) else f"{own.summary()}.",
        f"The strengths that follow from each norm: {', '.join(f'{name} {alpha:.3g}' for name, alpha in by_name.items())}.",
    ]  # fmt: skip
    for title, found in products.items():
        longest = _longest(found)
        sentences.append(
            f"With {title} (alpha = {alphas[title]:.3g}), over {STEPS} steps of held-out data, the norm of the product is "
            f"e^{median[title]:.3g} in the median run and e^{longest.max():.3g} at most; over any shorter window at most "
            f"e^{found.log_singular_values[found.lengths < STEPS, 0].max():.2g}."
        )
    sentences.append(
        f"The bound is sufficient, not necessary: products stop growing on average at 1 - exp(-exponent dt) = "
        f"{needed:.3g}; the default estimate is {alphas[CHOSEN] / max(needed, 1e-12):.1f} times that. It bounds the product "
        "over a run, not over every stretch of one: within a run gradients may still grow for a while before they fall."
    )
    return tuple(sentences)


def _longest(found: WindowedProducts) -> np.ndarray:
    return found.log_singular_values[found.lengths == STEPS, 0]


def _growth(found: Any) -> float:
    """Mean growth of ln norm per unit of time from the second longest window to the longest: a constant factor drops out."""
    short, long = (int(window) for window in found.windows[-2:])
    return float((found.means[-1, 0] * long - found.means[-2, 0] * short) / (long - short))


def _over_exponent(results: Mapping[str, Result]) -> float:
    own: Any = results["own exponents"]
    return _growth(results[UNFORCED]) / float(own.exponents[0, 0])


def _shift(results: Mapping[str, Result]) -> float:
    strengths: Any = results["forcing strengths"]
    return (_growth(results[CHOSEN]) - _growth(results[UNFORCED])) - math.log(1 - strengths.strength) / DT


BOUND = "(1 - alpha) N <= 1 bounds the product, Hess et al. 2023, our reading"

study = CaseStudy(
    title="Teacher forcing: how strong must it be for gradients along chaotic data to stay bounded?",
    citation="Hess, Monfared, Brenner, Durstewitz, Generalized Teacher Forcing for Learning Chaotic Dynamics, ICML 2023",
    question="Do products of Jacobians along data grow at the largest exponent unforced, and stay bounded from alpha* on?",
    prepare=prepare,
    examine=examine,
    claims=(
        Claim("no forcing: growth of the product over the largest exponent", 1, "product ~ exp(exponent T), our reading", 0.2,
              "over 6 units of time exponents spread by some 0.15, 0.03 over 20 runs; and data are not the network's own orbit",
              _over_exponent),
        Claim("no forcing: runs whose product exceeds 1, share", 1, "growth by e^7 on average", 0, "every run",
              number_of(UNFORCED, lambda found: (_longest(found) > 0).mean())),
        Claim("alpha* by the geometric mean norm: runs whose product exceeds 1, share", 0, BOUND, 0,
              "the product of norms bounds the norm, with a margin that held-out runs share",
              number_of(CHOSEN, lambda found: (_longest(found) > 0).mean())),
        Claim("alpha* by the largest norm: largest ln norm of any product, or 0", 0, BOUND, 0.1,
              "a held-out step may exceed the largest one seen by a little",
              number_of(EVERY_STEP, lambda found: max(0.0, found.log_singular_values[:, 0].max()))),
        Claim("alpha* by the geometric mean norm: shift of the rate less ln(1 - alpha) / dt", 0, "exact: Jacobians are scaled",
              1e-9, "rounding", _shift),
    ),
    scales={
        "tiny": {"runs": 8, "steps": 400},
        "quick": {"runs": 20, "steps": 4000},
        "full": {"runs": 100, "steps": 20000},
    },
)  # fmt: skip
