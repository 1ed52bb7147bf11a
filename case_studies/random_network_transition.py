"""Random rate networks: at which gain does rest give way to chaos, and how does chaos grow with the number of units?

x' = -x + g J tanh(x) with Gaussian J of variance 1 / N. For N without bound, everything decays to zero below gain 1 and is
chaotic above (Sompolinsky, Crisanti, Sommers, PRL 61, 1988), where zero loses its stability by the circular law; and the
dimension is proportional to N (Engelken, Wolf, Abbott, arXiv 2006.02427). Networks of finite size scatter: below the gain at
which its own zero state turns unstable, a network's exponent is known exactly, g max Re eig(J) - 1; above, small networks may
rest or cycle.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from analyses.maps.exponent_curve import ExponentCurve, exponent_curve
from analyses.maps.jacobian_spectra import JacobianSpectra, jacobian_spectra
from analyses.maps.lyapunov import LyapunovSpectrum, lyapunov_spectrum
from analyses.result import Result
from case_studies._flows import couplings
from case_studies._study import CaseStudy
from hooks.dynamics import Dynamics
from hooks.families import flow
from interp.claims import Claim
from interp.journal import Journal

GAINS = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0)
LOUD = 10.0  # gain at which dimensions are compared: well above the transition, where small networks are chaotic too
DT, LOUD_DT = 0.1, 0.05  # RK4 steps: rates are of the order of the gain
LONG, LARGE = 1000, 100  # steps and units from which on the claims are measured
RUNS, CURVE = "exponents of each network at each gain", "exponents over the gain"
SLOPES, SIZE = "slopes at zero", "dimension"


@dataclass(frozen=True, eq=False)
class Specimen:
    """Ensembles by the number of units, at the two steps, and how they are run."""

    ensembles: Mapping[int, tuple[Dynamics, Dynamics]]
    networks: int
    steps: int


def ensemble(units: int, networks: int, dt: float) -> Dynamics:
    """Random networks as one map, driven by (gain, which network): each row of a batch is a run of its own network."""
    J = torch.stack([couplings(units, seed) for seed in range(networks)])

    def velocity(x: Tensor, drive: Tensor) -> Tensor:
        gain, own = drive[..., :1], J[drive[..., 1].long()]
        return gain * (torch.tanh(x)[:, None] @ own.mT)[:, 0] - x

    return flow(velocity, units, dt=dt, inputs=2, name=f"{networks} random networks of {units} units")


def prepare(*, sizes: tuple[int, ...], networks: int, steps: int) -> Specimen:
    """As many networks of each size, seeds 0, 1, ..."""
    ensembles = {units: (ensemble(units, networks, DT), ensemble(units, networks, LOUD_DT)) for units in sizes}
    return Specimen(ensembles, networks, steps)


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """For each size: slopes at zero, the largest exponent over gains and networks, and the dimension at a high gain."""
    which = torch.arange(specimen.networks, dtype=torch.float64)
    sentences = []
    for units, (dynamics, finer) in specimen.ensembles.items():
        about = f"{units} units"
        at_zero = journal.note(
            f"{about}: {SLOPES}", jacobian_spectra, dynamics, np.zeros((specimen.networks, units)),
            drives=torch.stack([torch.ones_like(which), which], 1),
        )  # fmt: skip
        limits = 1 / _rightmost(at_zero)
        sentences.append(
            f"{about}. Zero loses its stability at a gain of {limits.mean():.3f} ({limits.min():.3f} to {limits.max():.3f} "
            f"over {specimen.networks} networks; the circular law: 1)."
        )
        drives = torch.cartesian_prod(torch.tensor(GAINS, dtype=torch.float64), which)
        curve = _curve(journal, f"{about}: {RUNS}", f"{about}: {CURVE}", dynamics, drives, specimen.steps, 1)
        sentences.append(f"{about}. {curve.summary()}.")
        loud = torch.stack([torch.full_like(which, LOUD), which], 1)
        found = _curve(
            journal, f"{about}: exponents at gain {LOUD:g}", f"{about}: {SIZE}", finer, loud, specimen.steps, units // 6
        )
        size = found.dimensions[0]
        sentences.append(
            f"{about}. At gain {LOUD:g} the Kaplan-Yorke dimension "
            + (f"is {size:.2f} ± {found.dimension_errors[0]:.1g}, {size / units:.3f} a unit." if np.isfinite(size)
               else f"is not reached by the {units // 6} leading exponents of each network.")
        )  # fmt: skip
    return tuple(sentences)


def _curve(
    journal: Journal, runs: str, title: str, dynamics: Dynamics, drives: Tensor, steps: int, directions: int
) -> ExponentCurve:
    """The exponents of one run a drive, each from its own start, and their means over the networks."""
    starts = torch.randn(len(drives), dynamics.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    held = drives[:, None].expand(-1, steps + steps // 2, 2)
    spectrum = journal.note(
        runs, lyapunov_spectrum, dynamics, starts, steps=steps, burn_in=steps // 2, directions=directions, drives=held
    )
    return journal.note(title, exponent_curve, spectrum, drives[:, 0].numpy(), parameter="gain")


def _rightmost(at_zero: JacobianSpectra) -> np.ndarray:
    """(networks,) max Re eig(J), from the step's slope at zero under gain 1, whose rates are eig(J) - 1."""
    return 1 + np.log(at_zero.radii) / DT


def _sizes(results: Mapping[str, Result]) -> list[int]:
    """Of the ensembles, ascending; a KeyError when they are too small or ran too short for the claims."""
    sizes = sorted(int(title.split()[0]) for title in results if title.endswith(SLOPES))
    runs = results[f"{sizes[-1]} units: {RUNS}"]
    assert isinstance(runs, LyapunovSpectrum)
    if sizes[-1] < LARGE or runs.running_steps.max() < LONG:
        raise KeyError("networks too small or runs too short")
    return sizes


def _largest(title: str, read: Callable[..., float]) -> Callable[[Mapping[str, Result]], float]:
    """Read from a result of the largest networks."""

    def measure(results: Mapping[str, Result]) -> float:
        return float(read(results[f"{_sizes(results)[-1]} units: {title}"]))

    return measure


def _decay(results: Mapping[str, Result]) -> float:
    """Largest distance of an exponent from that of the zero state, over all networks and gains at which zero is stable."""
    misses = []
    for units in _sizes(results):
        at_zero, runs = results[f"{units} units: {SLOPES}"], results[f"{units} units: {RUNS}"]
        assert isinstance(at_zero, JacobianSpectra) and isinstance(runs, LyapunovSpectrum)
        expected = np.array(GAINS)[:, None] * _rightmost(at_zero) - 1
        found = runs.per_start[:, 0].reshape(expected.shape)
        misses.append(np.abs(found - expected)[expected < 0])
    return float(np.concatenate(misses).max())


def _growth(results: Mapping[str, Result]) -> float:
    """Slope of ln dimension over ln N between the two largest sizes."""
    small, large = _sizes(results)[-2:]
    dimensions = []
    for units in (small, large):
        found = results[f"{units} units: {SIZE}"]
        assert isinstance(found, ExponentCurve)
        dimensions.append(found.dimensions[0])
    return math.log(dimensions[1] / dimensions[0]) / math.log(large / small)


SCS = "Sompolinsky, Crisanti, Sommers 1988, N without bound"
study = CaseStudy(
    title="Random rate networks: at which gain does rest give way to chaos?",
    citation="Sompolinsky, Crisanti, Sommers, PRL 61, 1988; Engelken, Wolf, Abbott, arXiv 2006.02427",
    question="Where does the largest exponent of a random network cross zero, and does its dimension grow like N?",
    prepare=prepare,
    examine=examine,
    claims=(
        Claim("below its own limit each network has the exponent of its zero state: largest miss", 0,
              "g max Re eig(J) - 1, exact", 0.1, "what the start's frame leaves in a mean over T = 100: ln N / T is 0.06",
              _decay),
        Claim("largest networks: mean gain at which zero loses its stability", 1, "circular law", 0.1,
              "the edge of a finite spectrum is some 1 / sqrt N off, and scatters as much",
              _largest(SLOPES, lambda at_zero: (1 / _rightmost(at_zero)).mean())),
        Claim("largest networks: gain at which the mean largest exponent turns positive", 1, SCS, 0.5,
              "finite networks first rest elsewhere or cycle", _largest(CURVE, lambda curve: curve.crossing)),
        Claim("largest networks at gain 3: mean number of positive exponents among the first", 1, SCS, 0.25,
              "one network of four may cycle", _largest(CURVE, lambda curve: curve.positive[-1])),
        Claim("exponent of the dimension's growth with N, between the two largest sizes", 1, "Engelken et al.: extensive", 0.3,
              "scatter over networks, and an offset of some units below which there is no chaos", _growth),
    ),
    scales={
        "tiny": {"sizes": (16, 24), "networks": 2, "steps": 60},
        "quick": {"sizes": (100, 200), "networks": 4, "steps": 1000},
        "full": {"sizes": (100, 200, 400), "networks": 10, "steps": 4000},
    },
)  # fmt: skip
