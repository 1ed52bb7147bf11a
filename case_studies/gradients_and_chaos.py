"""Gradients and chaos: a gradient through an unrolled network grows at the rate at which neighbours part.

Metz, Freeman, Schoenholz and Kachman ("Gradients are not all you need", arXiv 2111.05803) trace exploding gradient norm and
variance to the spectrum of the recurrent Jacobian. Here the two sides are measured apart: gradients by autograd through the
unroll, exponents by QR along an earlier stretch of the orbits. Rough losses, and smooth ones after truncation, are held
against contracting networks as the control. The paper's specimens (a physics simulator's policy, a learned optimiser,
packings) are not rebuilt: rate networks of several gains, Lorenz63 and two trained networks stand in their place, and the
numbers claimed are derived, not the paper's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analyses.maps.gradient_growth import GradientGrowth, gradient_growth
from analyses.maps.jacobian_spectra import jacobian_spectra
from analyses.maps.loss_slices import LossSlices, loss_slices
from analyses.maps.lyapunov import LyapunovSpectrum, lyapunov_spectrum
from analyses.result import Result
from case_studies._shallow_plrnn import fitted_to_lorenz
from case_studies._study import CaseStudy, number_of
from case_studies._systems import SYSTEMS
from case_studies.flip_flop_memory import shipped
from hooks.dynamics import Dynamics, rollout
from hooks.families import recurrent as recurrent_map
from interp.claims import Claim
from interp.journal import Journal

# unrolls of the rate, in Lyapunov times 1 / |exponent|: after transients of a slope that is not normal
FITTED = (12, 24, 36, 48)
# of noise and slices: 40 e-foldings lift the narrowest difference, 1e-6, to the attractor's size
UNROLLS = (1, 2, 5, 10, 20, 40)
NOISE = 1e-6  # standard deviation of the noise on the start
SLICE = 401  # points, over 2e-2 of a start coordinate or 1 % of a gain


@dataclass(frozen=True, eq=False)
class System:
    """A map, starts for it, and where its loss is sliced: ``gains`` (points, 1) as drives of ``by_gain``, or along a start."""

    dynamics: Dynamics
    starts: np.ndarray
    by_gain: Dynamics | None = None
    gains: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Specimen:
    systems: Mapping[str, System]
    steps: int
    burn_in: int


def rate_networks(units: int, seed: int = 0) -> Dynamics:
    """x' = tanh(g W x), W_ij of variance 1 / units, its gain g the drive."""
    W = torch.randn(units, units, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) / math.sqrt(units)

    def step(states: Tensor, gain: Tensor) -> Tensor:
        return torch.tanh(gain * (states @ W.T))

    def push(states: Tensor, tangents: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
        after = step(states, gain)
        return after, (1 - after**2)[..., None] * (gain[..., None] * (W @ tangents))

    return Dynamics(step, dim=units, name="rate network", driven=True, inputs=1, push=push)


def prepare(*, gains: tuple[float, ...], units: int, starts: int, steps: int, burn_in: int) -> Specimen:
    """Rate networks of these gains, Lorenz63 as a map, the flip-flop GRU with its input held at zero, and a forecaster of
    Lorenz63 that runs on its own forecasts."""
    generator = torch.Generator().manual_seed(1)
    networks = rate_networks(units)
    spread = torch.randn(starts, units, generator=generator, dtype=torch.float64).numpy()
    systems = {
        rate(gain): System(networks.hold([gain]), spread, networks, gain * np.linspace(0.995, 1.005, SLICE)[:, None])
        for gain in gains
    }
    around = torch.randn(starts, 3, generator=generator, dtype=torch.float64).numpy()
    systems["Lorenz63"] = System(SYSTEMS["Lorenz63"].make(dt=0.04), np.array([1.0, 2.0, 20.0]) + around)
    gru = recurrent_map(shipped("GRU").rnn)
    at = 2 * torch.rand(starts, gru.dim, generator=generator, dtype=torch.float64).numpy() - 1
    systems["trained GRU"] = System(gru.hold(np.zeros(gru.inputs)), at)
    forecaster = fitted_to_lorenz()
    rows = np.linspace(0, len(forecaster.data.points()) - 1, starts).astype(int)
    systems["trained forecaster"] = System(forecaster.dynamics(), forecaster.data.points()[rows])
    return Specimen(systems, steps, burn_in)


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """Exponent, gradient growth, gradients under noise and loss slices of each system."""
    sentences = [
        _examined(journal, name, system, specimen.steps, specimen.burn_in) for name, system in specimen.systems.items()
    ]
    measured = journal.results
    ratios = [_ratio(name)(measured) for name in specimen.systems if f"{name}: gradient growth" in measured]
    close = sum(abs(ratio - 1) <= 0.1 for ratio in ratios)
    sentences.insert(
        0,
        f"In {close} of {len(ratios)} systems the gradient of a loss at the end of an unroll, by autograd through all steps, "
        "grows or vanishes within 10 % of the rate at which neighbours part, by QR on an earlier stretch of their orbits. "
        "The loss is sliced along the gain of rate networks and the start of the others; total variation over range is 1 for a "
        "monotone slice, 0 for a constant one.",
    )
    sentences.append(
        "Not shown: gradients in weights. The rate is that of the gradient in the start; in a contracting network the gradient "
        "in a parameter does not vanish, since the last steps keep their share of it."
    )
    return tuple(sentences)


def _examined(journal: Journal, name: str, system: System, steps: int, burn_in: int) -> str:
    dynamics = system.dynamics
    spectrum = journal.note(
        f"{name}: exponents", lyapunov_spectrum, dynamics, system.starts, steps=steps, burn_in=burn_in, directions=2
    )
    if not len(spectrum.sizes):
        return f"{name}. {spectrum.summary()}."
    starts = system.starts[spectrum.attractor == 0]
    # beyond the stretch that the exponents were measured on, so that the two sides share no steps
    on = rollout(dynamics, starts, steps=0, burn_in=burn_in + steps).states[:, 0]
    exponent, error = float(spectrum.exponents[0, 0]), float(spectrum.standard_errors[0, 0])

    def unrolls(times: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(max(1, math.floor(n / (abs(exponent) * dynamics.dt))) for n in times)

    growth = journal.note(
        f"{name}: gradient growth", gradient_growth, dynamics, on, lengths=unrolls(FITTED), settle=unrolls(FITTED)[0]
    )
    noise = np.random.default_rng(0).standard_normal((64, dynamics.dim))
    noisy = journal.note(
        f"{name}: gradients under noise",
        gradient_growth,
        dynamics,
        on[:1] + NOISE * noise,
        lengths=unrolls(UNROLLS),
        settle=unrolls(UNROLLS)[-1],  # starts around one state are no sample of rates, so none is fitted
    )
    if system.by_gain is not None:
        slices = journal.note(
            f"{name}: loss slices",
            loss_slices,
            system.by_gain,
            starts[0],
            lengths=unrolls(UNROLLS),
            drives=system.gains,
        )
    else:
        line = np.linspace(-0.01, 0.01, SLICE)[:, None]
        slices = journal.note(f"{name}: loss slices", loss_slices, dynamics, on[0] + line, lengths=unrolls(UNROLLS))
    text = (
        f"{name}. Largest exponent {exponent:+.4g} ± {error:.1g}, gradient rate {growth.rate:+.4g} ± "
        f"{growth.standard_error:.1g}, ratio {growth.rate / exponent:.3f}"
    )
    if exponent < 0:
        rest = journal.note(f"{name}: slope at rest", jacobian_spectra, dynamics, on[:1])
        text += f"; at rest ln |leading eigenvalue| is {math.log(rest.radii[0]) / dynamics.dt:+.4g}"
        if np.ptp(on, axis=0).max() < 1e-6:
            text += " (all starts end on one fixed point, so their spread is no error bar)"
    unit = "Lyapunov time" if exponent > 0 else "time constant"
    first, last = slices.lengths[0], slices.lengths[-1]
    return (
        f"{text}. Unrolled over {first} {'step' if first == 1 else 'steps'} (one {unit} or just less), the loss slice has "
        f"total variation {slices.roughness[0]:.3g} times its range; over {last} steps (40) {slices.roughness[-1]:.3g} times, "
        f"{slices.of_shuffled[-1]:.2g} of what the same values have in random order. Noise of {NOISE:g} on the start is "
        f"{noisy.noise_shares[0]:.1g} of the gradient's mean square at the short unroll and {noisy.noise_shares[-1]:.2g} at "
        "the long one."
    )


def rate(gain: float) -> str:
    """The name of the rate network of this gain."""
    return f"rate network, gain {gain:g}"


def _ratio(name: str) -> Callable[[Mapping[str, Result]], float]:
    def measure(results: Mapping[str, Result]) -> float:
        spectrum: Any = results[f"{name}: exponents"]
        growth: Any = results[f"{name}: gradient growth"]
        assert isinstance(spectrum, LyapunovSpectrum) and isinstance(growth, GradientGrowth)
        return growth.rate / float(spectrum.exponents[0, 0])

    return measure


def _at_rest(name: str) -> Callable[[Mapping[str, Result]], float]:
    def measure(results: Mapping[str, Result]) -> float:
        growth: Any = results[f"{name}: gradient growth"]
        rest: Any = results[f"{name}: slope at rest"]
        return growth.rate * growth.dt / math.log(rest.radii[0])

    return measure


def _slice(name: str, read: Callable[[LossSlices], float]) -> Callable[[Mapping[str, Result]], float]:
    return number_of(f"{name}: loss slices", read)


def _noise(name: str, at: int) -> Callable[[Mapping[str, Result]], float]:
    return number_of(f"{name}: gradients under noise", lambda growth: growth.noise_shares[at])


CRITERION = "gradient norm ~ exp(exponent x unroll), arXiv 2111.05803, our reading"
TENTH = "fixed before the run; a factor of e^3 between the ends of the 36 e-foldings fitted would be 8 %"
CONTROLS = (rate(0.5), rate(0.75), rate(0.9), "trained GRU")
CHAOTIC = (rate(1.25), rate(1.5), rate(2.0), "Lorenz63", "trained forecaster")
SMOOTH = "a smooth slice this narrow is constant (0), monotone (1) or turns once or twice (up to 3)"
SQUARED = "1e-6 squared, times how much the map bends"

study = CaseStudy(
    title="Gradients and chaos: does backpropagation blow up at the rate at which neighbours part?",
    citation="Metz, Freeman, Schoenholz, Kachman, Gradients are not all you need, arXiv 2111.05803, 2021",
    question="Does a gradient through an unroll grow at the largest exponent, and is the loss of a short unroll smooth again?",
    prepare=prepare,
    examine=examine,
    claims=(
        *(Claim(f"{name}: gradient rate over largest exponent", 1, CRITERION, 0.1, TENTH, _ratio(name))
          for name in (*CONTROLS, *CHAOTIC)),
        *(Claim(f"{name}: gradient rate over ln |eigenvalue| at rest", 1, "one matrix carries it, our derivation", 0.1,
                "as above", _at_rest(name)) for name in CONTROLS),
        *(Claim(f"{name}: roughness at 40 Lyapunov times, share of shuffled", 1, "neighbours part by e^40, our derivation", 0.5,
                "correlated neighbours would give a few hundredths, independent ones 1",
                _slice(name, lambda slices: slices.of_shuffled[-1])) for name in CHAOTIC),
        *(Claim(f"{name}: total variation over range at one Lyapunov time", 1, "truncation smooths the loss, our reading", 2,
                SMOOTH, _slice(name, lambda slices: slices.roughness[0])) for name in CHAOTIC),
        *(Claim(f"{name}: total variation over range at 40 time constants", 1, "control: nothing grows", 2, SMOOTH,
                _slice(name, lambda slices: slices.roughness[-1])) for name in CONTROLS),
        *(Claim(f"{name}: noise share of the gradient at 40 Lyapunov times", 1, "1e-6 grows by e^40, our derivation", 0.15,
                "the mean of 64 independent gradients keeps 1/64, heavy tails more", _noise(name, -1)) for name in CHAOTIC),
        *(Claim(f"{name}: noise share of the gradient at one Lyapunov time", 0, "1e-6 grows by e, our derivation", 1e-3,
                SQUARED, _noise(name, 0)) for name in CHAOTIC),
        *(Claim(f"{name}: noise share of the gradient at 40 time constants", 0, "control: nothing grows", 1e-3, SQUARED,
                _noise(name, -1)) for name in CONTROLS),
    ),
    scales={
        "tiny": {"gains": (0.5, 2.0), "units": 64, "starts": 16, "steps": 400, "burn_in": 200},
        "quick": {"gains": (0.5, 0.75, 1.5, 2.0), "units": 128, "starts": 32, "steps": 1500, "burn_in": 400},
        "full": {"gains": (0.5, 0.75, 0.9, 1.25, 1.5, 2.0), "units": 256, "starts": 32, "steps": 4000, "burn_in": 1000},
    },
)  # fmt: skip
