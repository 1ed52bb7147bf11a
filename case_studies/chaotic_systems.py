"""Ten chaotic flows, re-measured: which exponents that a database stores can be right?

The database ``dysts`` (Gilpin, NeurIPS 2021 datasets track) stores exponents of more than a hundred chaotic systems, without
errors, and they get taken for ground truth. Here ten of its systems, written out from their own papers at the database's
parameters, are measured with error bars, and every stored number is held against the measurement and against what any spectrum
must keep: its sum is the mean divergence, one exponent is zero, the largest is one number, and the dimension follows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from analyses.maps.lyapunov import LyapunovSpectrum, lyapunov_spectrum
from analyses.maps.stated_spectrum import SURE, SpectrumAudit, audit_spectrum
from analyses.result import Result
from case_studies._study import CaseStudy, number_of
from case_studies._systems import SYSTEMS
from hooks.dynamics import Dynamics, rollout
from interp.claims import Claim
from interp.journal import Journal

DATABASE = "dysts 0.96, chaotic_attractors.json"
TOLERANCE = 0.05  # of the largest exponent


@dataclass(frozen=True)
class Stored:
    """What the database holds of one system: parameters, a start, and its three statements about the exponents."""

    system: str
    parameters: Mapping[str, float]
    start: tuple[float, ...]
    largest: float
    spectrum: tuple[float, ...]
    dimension: float


# Numbers as stored, to six digits. m0 and m1 of Chua's are the database's own roundings of -8/7 and -5/7.
STORED: Mapping[str, Stored] = {
    "Lorenz": Stored(
        "Lorenz63", {"beta": 2.667}, (-9.78693, -15.0385, 20.534),
        0.89171, (1.09109, 0.0299412, -14.9156), 2.07516,
    ),
    "Rossler": Stored(
        "Rossler", {"dt": 0.04}, (6.51344, 0.477201, 0.341643),
        0.150597, (0.0763301, 0.00752248, -5.74102), 2.01461,
    ),
    "Chua": Stored(
        "Chua", {"m0": -1.142857, "m1": -0.71429, "dt": 0.01}, (1.12624, -0.113865, -0.783244),
        1.23012, (0.460547, 0.00220483, -4.31908), 2.10727,
    ),
    "Chen": Stored(
        "Chen", {}, (3.26897, 5.29905, 19.4353),
        2.00596, (2.04712, -0.0503135, -11.8418), 2.16862,
    ),
    "LuChen": Stored(
        "Lu", {}, (10.9565, 9.88131, 22.6767),
        0.326687, (0.665185, 0.145034, -22.57), 2.0359,
    ),
    "Lorenz96": Stored(
        "Lorenz96", {"sites": 4, "forcing": 20.0, "dt": 0.01}, (-2.46821, 0.0957026, 1.59271, 10.2137),
        1.33617, (1.6247, 0.171852, -1.19363, -3.55046), 3.16982,
    ),
    "Thomas": Stored(
        "Thomas", {}, (2.19944, 2.36342, 3.2202),
        0.632405, (0.758969, 0.0573553, -6.42195), 2.12711,
    ),
    "Halvorsen": Stored(
        "Halvorsen", {}, (-8.68074, -2.47414, 0.0707758),
        0.696371, (0.586197, -0.0319539, -4.68763), 2.11824,
    ),
    "SprottA": Stored(
        "Nose-Hoover", {}, (1.54132, 1.4308, -1.52555),
        0.0129931, (0.0292599, 0.00499016, -0.00155613), 60.6653,
    ),
    "RabinovichFabrikant": Stored(
        "Rabinovich-Fabrikant", {}, (-1.82073, 0.834409, 0.207825),
        0.254144, (0.242336, 1.70685e-05, -0.671771), 2.36076,
    ),
}  # fmt: skip
NEAR = 0.01  # of the stored start's coordinates, in which the starts are drawn
SETTLE = 20.0  # times that neighbours' distance has grown by e before a run begins: enough to fill the attractor


@dataclass(frozen=True, eq=False)
class Specimen:
    """Each system with its starts, spread over the attractor, at its step and perhaps at half of it."""

    systems: Mapping[str, tuple[Dynamics, Tensor]]
    finer: Mapping[str, Dynamics]
    steps: int
    audited: bool


def prepare(*, starts: int, steps: int, settle: float, audited: bool, halved: bool) -> Specimen:
    """The ten systems, each with so many neighbours of the stored start followed until they are independent: for ``settle``
    over the stored largest exponent, and no shorter than 500 steps."""
    systems, finer = {}, {}
    for name, stored in STORED.items():
        system = SYSTEMS[stored.system]
        dynamics = system.make(**stored.parameters)
        noise = torch.rand(starts, dynamics.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        near = torch.tensor([stored.start], dtype=torch.float64) + NEAR * (2 * noise - 1)
        settled = max(500, round(settle / stored.largest / dynamics.dt))
        spread = rollout(dynamics, near, steps=1, burn_in=settled).states[:, 0]
        systems[name] = (dynamics, torch.from_numpy(spread.copy()))
        if halved:
            settings = {**stored.parameters, "dt": dynamics.dt / 2}
            finer[name] = system.make(**settings)
    return Specimen(systems, finer, steps, audited)


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """The spectrum of each system, the stored numbers held against it, and the spectrum again at half the step."""
    sentences, audits = [], []
    for name, (dynamics, starts) in specimen.systems.items():
        steps = specimen.steps
        spectrum = journal.note(
            f"{name}: exponents", lyapunov_spectrum, dynamics, starts, steps=steps, burn_in=steps // 4
        )
        if not specimen.audited:
            sentences.append(f"{name}. {spectrum.summary()}.")
        else:
            stored = STORED[name]
            audit = journal.note(
                f"{name}: stored exponents", audit_spectrum, spectrum, stored.spectrum,
                largest=stored.largest, dimension=stored.dimension, tolerance=TOLERANCE,
            )  # fmt: skip
            audits.append(audit)
            sentences.append(f"{name}. {audit.summary()}.")
        if name in specimen.finer:
            half = journal.note(
                f"{name}: exponents at half the step", lyapunov_spectrum, specimen.finer[name], starts,
                steps=2 * steps, burn_in=steps // 2,
            )  # fmt: skip
            sentences.append(f"{name}. At half the step: {half.summary()}.")
    if not audits:
        return ("The stored numbers are not held against runs this short.", *sentences)
    off = sum(bool(audit.apart[0]) for audit in audits)
    broken = sum(bool(audit.broken) for audit in audits)
    return (
        f"Of {len(audits)} stored spectra, {broken} break an identity that every spectrum keeps, and {off} state a largest "
        f"exponent that is off by more than three standard errors and {TOLERANCE:.0%}.",
        *sentences,
    )


def _audit(name: str, read: Callable[[SpectrumAudit], float]) -> Callable[[Mapping[str, Result]], float]:
    """Of the audit of this system."""
    return number_of(f"{name}: stored exponents", read)


def _shift(results: Mapping[str, Result]) -> float:
    """Largest change of a leading exponent under a halved step, over its standard error; a KeyError without such runs."""
    shifts = []
    for name in STORED:
        runs = []
        for title in ("exponents", "exponents at half the step"):
            spectrum = results[f"{name}: {title}"]
            assert isinstance(spectrum, LyapunovSpectrum)
            runs.append(spectrum.per_start[:, 0])
        # the two runs part within a few Lyapunov times, so they are independent
        error = np.sqrt(sum(run.var(ddof=1) / len(run) for run in runs))
        shifts.append(abs(runs[0].mean() - runs[1].mean()) / error)
    return float(max(shifts))


def _claims(name: str, stored: Stored) -> tuple[Claim, ...]:
    """The four numbers that the database stores, and the zero that it should."""
    slack = TOLERANCE * stored.spectrum[0]
    share = f"{TOLERANCE:.0%} of the stored largest exponent"
    return (
        Claim(f"{name}: largest exponent, stored apart", stored.largest, DATABASE, TOLERANCE * stored.largest, share,
              _audit(name, lambda audit: audit.measured[0])),
        Claim(f"{name}: largest exponent of the stored spectrum", stored.spectrum[0], DATABASE, slack, share,
              _audit(name, lambda audit: audit.measured[0])),
        Claim(f"{name}: sum of the stored spectrum (identity: mean divergence)", sum(stored.spectrum), DATABASE, slack, share,
              _audit(name, lambda audit: audit.required[0])),
        Claim(f"{name}: exponent of the stored spectrum nearest to 0 (identity: a flow has a zero)",
              min(stored.spectrum, key=abs), DATABASE, slack, share,
              _audit(name, lambda audit: audit.required[1])),
        Claim(f"{name}: Kaplan-Yorke dimension, stored", stored.dimension, DATABASE,
              TOLERANCE * stored.spectrum[0] / abs(stored.spectrum[-1]), f"what {share} changes in it",
              _audit(name, lambda audit: audit.dimension)),
    )  # fmt: skip


RUN = "three standard errors of the quick run and of the published one"
study = CaseStudy(
    title="Ten chaotic flows, re-measured: which stored exponents can be right?",
    citation="Gilpin, Chaos as an interpretable benchmark for forecasting and data-driven modelling, NeurIPS 2021 (dysts 0.96)",
    question="Which of the exponents that a database of chaotic systems stores agree with a measurement that has an error bar?",
    prepare=prepare,
    examine=examine,
    claims=(
        *(claim for name, stored in STORED.items() for claim in _claims(name, stored)),
        Claim("Lorenz: largest exponent, published", 0.9056, "Sprott's table, at beta 8/3", 0.012, RUN,
              _audit("Lorenz", lambda audit: audit.measured[0])),
        Claim("Rossler: largest exponent, published", 0.0714, "Sprott's table", 0.005, RUN,
              _audit("Rossler", lambda audit: audit.measured[0])),
        Claim("Chen: largest exponent, published", 2.0232, "the lyapunov-spectrum site, without an error", 0.06, RUN,
              _audit("Chen", lambda audit: audit.measured[0])),
        Claim("Lorenz96: largest exponent, computed elsewhere", 1.204, "computed once: +- 0.02", 0.09, RUN,
              _audit("Lorenz96", lambda audit: audit.measured[0])),
        *(Claim(f"{name}: sum of the measured exponents", divergence, formula, 1e-3, "what RK4 adds to it",
                number_of(f"{name}: exponents", lambda found: found.per_start.sum(axis=1).mean()))
          for name, divergence, formula in (
              ("Lorenz", -13.667, "divergence -(sigma + 1 + beta)"),
              ("Chen", -10.0, "divergence c - a - b"),
              ("LuChen", -21.0, "divergence c - a - b"),
              ("Lorenz96", -4.0, "divergence -sites"),
              ("Thomas", -5.55, "divergence -3 a"),
              ("Halvorsen", -4.2, "divergence -3 a"),
              ("RabinovichFabrikant", -0.46, "divergence 2 (gamma - a)"),
          )),
        Claim("largest shift of a leading exponent at half the step, in standard errors", 0, "no error of the integrator",
              1.2 * SURE, "the largest of ten normal deviates exceeds this in 3 of 1000 runs", _shift),
    ),
    scales={
        "tiny": {"starts": 16, "steps": 100, "settle": 0.0, "audited": False, "halved": False},
        "quick": {"starts": 128, "steps": 8000, "settle": SETTLE, "audited": True, "halved": False},
        "full": {"starts": 128, "steps": 32000, "settle": SETTLE, "audited": True, "halved": True},
    },
)  # fmt: skip
