"""Liquid time-constant cells: do the proved bounds hold, and does the cell forget?

A liquid cell, dx/dt = -(1/tau + f) x + f A, has a time constant tau / (1 + tau f) that depends on what it sees. Two theorems
bound it: the time constant lies between tau / (1 + tau W) and tau, W the largest that f can be, and the state between the least
and the largest of 0 and the reversals A (Hasani et al. 2021, theorems 1 and 2). Both are tested here along orbits of a trained
and of random cells. The time constants are not taken from their formula but from the slope: a unit without a synapse to itself,
in one implicit substep of width h, keeps the share s = dx'/dx = 1 / (1 + h / tau_sys) of what it was, so that
tau_sys = h s / (1 - s).

What the theorems do not say is measured: the exponents of the cell at rest under no input and along its inputs, beside an
ordinary continuous-time network, dx/dt = (-x + tanh(W x + ...)) / tau, trained on the same task: two bits to be held, so that
each has to forget its inputs' details and keep four memories. Exponents are per step of the task.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from analyses.maps.certificates import certify
from analyses.maps.fixed_points import find_fixed_points
from analyses.maps.lyapunov import LyapunovSpectrum, lyapunov_spectrum
from analyses.result import Result, counted
from analyses.trajectories.bounds import trajectory_bounds
from case_studies._study import CaseStudy, number_of
from case_studies._tasks import flip_flop
from case_studies._train import shipped_weights, train
from hooks.dynamics import Dynamics, rollout
from hooks.families import LeakyRate, LiquidTimeConstant
from hooks.tangent import jacobian
from hooks.trajectory import Trajectory
from interp.claims import Claim
from interp.journal import Journal

BITS, UNITS, UNFOLDS = 2, 16, 4
SETTLE = 50  # steps before exponents are taken
LEAK = 0.5  # of the ordinary network: dt / tau
RECIPE: Mapping[str, Any] = {"seed": 0, "updates": 800, "learning_rate": 2e-2, "goal": 1e-3}


class LiquidReader(nn.Module):
    """A liquid cell without synapses from a unit to itself, and a linear readout."""

    def __init__(self) -> None:
        super().__init__()
        for name, senders in (("", UNITS), ("sensory_", BITS)):
            self.register_parameter(f"{name}strength", nn.Parameter(torch.randn(senders, UNITS) - 1))
            self.register_parameter(f"{name}mu", nn.Parameter(0.3 * torch.randn(senders, UNITS)))
            self.register_parameter(f"{name}sigma", nn.Parameter(3 + torch.rand(senders, UNITS)))
            self.register_parameter(f"{name}erev", nn.Parameter(torch.sign(torch.randn(senders, UNITS))))
        self.leak = nn.Parameter(torch.zeros(UNITS))
        self.readout = nn.Linear(UNITS, BITS)

    def cell(self) -> LiquidTimeConstant:
        """The cell at these weights; gradients pass."""
        own: Any = {}
        for name in ("", "sensory_"):
            own[f"{name}w"] = softplus(getattr(self, f"{name}strength"))
            own |= {f"{name}{part}": getattr(self, f"{name}{part}") for part in ("mu", "sigma", "erev")}
        own["w"] = own["w"] * (1 - torch.eye(UNITS, dtype=own["w"].dtype))
        one = torch.ones_like(self.leak)
        return LiquidTimeConstant(**own, cm=one, gleak=softplus(self.leak), vleak=0 * one, unfolds=UNFOLDS)

    def forward(self, inputs: Tensor) -> Tensor:
        """(runs, steps, BITS) -> (runs, steps, BITS), from the zero state."""
        cell, answers = self.cell(), []
        states = inputs.new_zeros(len(inputs), UNITS)
        for drive in inputs.unbind(1):
            opened_in, pulled_in = _opened(cell, "sensory_", drive)
            for _ in range(UNFOLDS):
                opened, pulled = _opened(cell, "", states)
                states = (UNFOLDS * cell.cm * states + pulled + pulled_in) / (
                    UNFOLDS * cell.cm + cell.gleak + opened + opened_in
                )
            answers.append(states)
        return self.readout(torch.stack(answers, 1))


def _opened(cell: LiquidTimeConstant, kind: str, senders: Tensor) -> tuple[Tensor, Tensor]:
    w, mu, sigma, erev = (getattr(cell, f"{kind}{name}") for name in ("w", "mu", "sigma", "erev"))
    conductance = w * torch.sigmoid(sigma * (senders[:, :, None] - mu))
    return conductance.sum(1), (conductance * erev).sum(1)


class RateReader(nn.Module):
    """The ordinary continuous-time network with the same number of units, in Euler steps, and a linear readout."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent, self.entering = nn.Linear(UNITS, UNITS), nn.Linear(BITS, UNITS, bias=False)
        self.readout = nn.Linear(UNITS, BITS)

    def forward(self, inputs: Tensor) -> Tensor:
        """(runs, steps, BITS) -> (runs, steps, BITS), from the zero state."""
        states, answers = inputs.new_zeros(len(inputs), UNITS), []
        for drive in inputs.unbind(1):
            states = (1 - LEAK) * states + LEAK * torch.tanh(self.recurrent(states) + self.entering(drive))
            answers.append(states)
        return self.readout(torch.stack(answers, 1))


def trained(kind: str, seed: int = 0) -> nn.Module:
    """A liquid (two minutes) or an ordinary network (10 s) that holds two bits."""

    def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return flip_flop(bits=BITS, runs=64, steps=32, generator=generator)

    return train(LiquidReader if kind == "liquid" else RateReader, draw, **{**RECIPE, "seed": seed})[0]


def shipped(kind: str) -> nn.Module:
    """The network of this kind from the weights beside this file, which ``trained(kind)`` made."""
    module = LiquidReader() if kind == "liquid" else RateReader()
    module.load_state_dict(shipped_weights(f"two_bits_{kind}"))
    return module.double().eval().requires_grad_(False)


def random_liquid(seed: int, *, units: int, strength: float) -> LiquidTimeConstant:
    """A cell without inputs: conductances |N(0, 1)| strength / sqrt(units), reversals 1 or -1, no synapse to itself."""
    generator = torch.Generator().manual_seed(seed)

    def normal() -> Tensor:
        return torch.randn(units, units, generator=generator, dtype=torch.float64)

    w = (normal().abs() * strength / units**0.5).fill_diagonal_(0.0)
    one, none = torch.ones(units, dtype=torch.float64), torch.zeros(0, units, dtype=torch.float64)
    return LiquidTimeConstant(w, 0.1 * normal(), 5 + normal(), normal().sign(), none, none, none, none,
                              one, one, 0 * one, unfolds=UNFOLDS)  # fmt: skip


def measured_time_constants(network: LiquidTimeConstant, orbit: Trajectory) -> Trajectory:
    """h s / (1 - s) of each unit along the orbit, s the slope of its own next value in one implicit substep of width h."""
    h = 1 / network.unfolds
    substep = replace(network, unfolds=1).dynamics(dt=h)
    before = torch.from_numpy(orbit.states[:, :-1].reshape(-1, substep.dim).copy())
    drives = None if orbit.drives is None else torch.from_numpy(orbit.drives.reshape(len(before), -1).copy())
    kept = (
        jacobian(substep, before, drives).diagonal(dim1=1, dim2=2).reshape(len(orbit.states), -1, substep.dim).numpy()
    )
    return Trajectory(h * kept / (1 - kept))


@dataclass(frozen=True, eq=False)
class Specimen:
    """The trained networks, random liquid cells by strength, and the lengths of runs."""

    networks: Mapping[str, tuple[nn.Module, Dynamics]]
    liquid: LiquidTimeConstant
    random: Mapping[float, tuple[LiquidTimeConstant, ...]]
    trials: int
    starts: int
    steps: int


def prepare(*, cells: int, strengths: tuple[float, ...], units: int, trials: int, starts: int, steps: int) -> Specimen:
    """The shipped networks, and ``cells`` random cells of ``units`` at each of these ``strengths``."""
    liquid, ordinary = shipped("liquid"), shipped("ordinary")
    assert isinstance(liquid, LiquidReader) and isinstance(ordinary, RateReader)
    cell = liquid.cell()
    leak = torch.tensor(LEAK, dtype=torch.float64)
    rate = LeakyRate(ordinary.recurrent.weight, ordinary.entering.weight, ordinary.recurrent.bias, leak)
    random = {
        strength: tuple(random_liquid(seed, units=units, strength=strength) for seed in range(cells))
        for strength in strengths
    }
    networks = {"liquid": (liquid, cell.dynamics()), "ordinary": (ordinary, rate.dynamics())}
    return Specimen(networks, cell, random, trials, starts, steps)


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """Bounds along the trials, memories and exponents of both trained networks, then the random cells."""
    inputs, targets = flip_flop(bits=BITS, runs=specimen.trials, steps=64, generator=torch.Generator().manual_seed(9))
    sentences = []
    for kind, (module, dynamics) in specimen.networks.items():
        orbit = rollout(dynamics, np.zeros((specimen.trials, UNITS)), drives=inputs)
        answers = module.readout(torch.from_numpy(orbit.states[:, 1:].copy()))  # type: ignore[operator]
        right = float((answers.sign() == targets.sign()).double().mean())
        sentences.append(f"{kind}: {right:.1%} of the bits are right on {specimen.trials} fresh trials.")
        if kind == "liquid":
            sentences.append(_bounded(journal, "liquid", specimen.liquid, orbit))
        sentences += _exponents(journal, kind, dynamics, orbit, specimen)
    for strength, cells in specimen.random.items():
        sentences += _random(journal, strength, cells, specimen)
    return tuple(sentences)


def _bounded(journal: Journal, name: str, network: LiquidTimeConstant, orbit: Trajectory) -> str:
    """Theorems 1 and 2 along the orbit."""
    box = network.dynamics().box
    assert box is not None
    held = box(None)
    assert held is not None
    slowest = network.cm / network.gleak
    fastest = network.cm / (network.gleak + network.w.sum(0) + network.sensory_w.sum(0))
    constants = measured_time_constants(network, orbit)
    # the slope carries the epsilon of the denominator, 1e-8
    times = journal.note(
        f"{name}: time constants", trajectory_bounds, constants, fastest.numpy(), slowest.numpy(), rounding=1e-6
    )
    states = journal.note(f"{name}: states", trajectory_bounds, orbit, held[0].numpy(), held[1].numpy())
    values = constants.points()
    spread = np.median(values.max(axis=0) / values.min(axis=0))
    return (
        f"{name}, theorem 1: {times.summary()}; a unit's time constant varies by a factor of {spread:.2g} in the median. "
        f"Theorem 2, the states: {states.summary()}."
    )


def _exponents(journal: Journal, kind: str, dynamics: Dynamics, orbit: Trajectory, specimen: Specimen) -> list[str]:
    rest = dynamics.hold(np.zeros(BITS))
    ends = orbit.states[: specimen.starts, -1]
    points = journal.note(
        f"{kind}: fixed points without input", find_fixed_points, rest, 8 * specimen.starts, around=orbit
    )
    proofs = journal.note(f"{kind}: proofs of the fixed points", certify, rest, points.points)
    alone = journal.note(
        f"{kind}: exponents without input",
        lyapunov_spectrum,
        rest,
        ends,
        steps=specimen.steps,
        directions=2,
        burn_in=SETTLE,
    )
    drives, _ = flip_flop(bits=BITS, runs=1, steps=SETTLE + specimen.steps, generator=torch.Generator().manual_seed(10))
    driven = journal.note(
        f"{kind}: exponents along inputs", lyapunov_spectrum, dynamics, ends, steps=specimen.steps, directions=2,
        burn_in=SETTLE, drives=drives[0],
    )  # fmt: skip
    return [
        f"{kind}, no input: {counted(len(points.points), 'fixed point')}, {int(points.stable.sum())} stable, "
        f"{int(proofs.proved.sum())} proved; largest exponents {_range(alone)} on {counted(len(alone.sizes), 'attractor')}.",
        f"{kind}, along inputs: largest exponent {_range(driven)}: the state is forgotten "
        f"{'faster' if driven.exponents[0, 0] < alone.exponents[:, 0].max() else 'no faster'} than at its slowest memory.",
    ]


def _random(journal: Journal, strength: float, cells: tuple[LiquidTimeConstant, ...], specimen: Specimen) -> list[str]:
    leading, sentences = [], []
    for number, cell in enumerate(cells):
        name = f"random liquid cell {number + 1} of strength {strength:g}"
        dynamics = cell.dynamics()
        starts = 0.5 * np.random.default_rng(number).standard_normal((4, dynamics.dim))
        orbit = rollout(dynamics, np.clip(starts, -1, 1), steps=200)  # inside the reversals, as theorem 2 asks
        bounds = _bounded(journal, name, cell, orbit)
        sentences += [bounds] if not number else []
        spectrum = journal.note(
            f"{name}: exponents",
            lyapunov_spectrum,
            dynamics,
            starts,
            steps=specimen.steps,
            directions=2,
            burn_in=SETTLE,
        )
        leading += [spectrum.exponents[:, 0].max()]
    chaotic = sum(value > 0.01 for value in leading)
    return [
        *sentences,
        f"{counted(len(cells), 'random cell')} of strength {strength:g}: largest exponents {min(leading):.3g} to "
        f"{max(leading):.3g}; {chaotic} of them chaotic (above 0.01), which the theorems neither promise nor forbid.",
    ]


def _range(spectrum: LyapunovSpectrum) -> str:
    first = spectrum.exponents[:, 0]
    return f"{first[0]:.3g}" if len(first) == 1 else f"{first.min():.3g} to {first.max():.3g}"


def _random_violations(what: str) -> Any:
    def measure(results: Mapping[str, Result]) -> float:
        found: list[Any] = [
            result for title, result in results.items() if title.startswith("random") and title.endswith(what)
        ]
        if not found:
            raise KeyError(what)
        return float(sum(result.violations for result in found))

    return measure


def _of_both(kind: str) -> tuple[Claim, ...]:
    return (
        Claim(f"{kind}: stable fixed points without input", 2**BITS, "the task: 2^2 settings to be held", 0, "a count",
              number_of(f"{kind}: fixed points without input", lambda found: found.stable.sum())),
        Claim(f"{kind}: share of attractors without input with negative exponents", 1, "a memory that is held is stable", 0,
              "each must be", number_of(f"{kind}: exponents without input", lambda found: (found.exponents[:, 0] < 0).mean())),
        Claim(f"{kind}: the state before is forgotten along inputs", 1, "the task: the answer depends on the inputs alone", 0,
              "yes or no", number_of(f"{kind}: exponents along inputs", lambda found: found.exponents[0, 0] < 0)),
    )  # fmt: skip


FIRST, SECOND = "Hasani et al. 2021, theorem 1", "Hasani et al. 2021, theorem 2"
PROVED = "a theorem"

study = CaseStudy(
    title="Liquid time-constant cells: do the proved bounds hold, and does the cell forget?",
    citation="Hasani, Lechner, Amini, Rus, Grosu, Liquid time-constant networks, AAAI 2021",
    question="Do time constants and states keep their bounds, and are the exponents of a held and a driven cell negative?",
    prepare=prepare,
    examine=examine,
    claims=(
        Claim("liquid: time constants beyond their bounds", 0, FIRST, 0, PROVED,
              number_of("liquid: time constants", lambda found: found.violations)),
        Claim("liquid: states beyond their bounds", 0, SECOND, 0, PROVED,
              number_of("liquid: states", lambda found: found.violations)),
        Claim("random cells: time constants beyond their bounds", 0, FIRST, 0, PROVED, _random_violations("time constants")),
        Claim("random cells: states beyond their bounds", 0, SECOND, 0, PROVED, _random_violations("states")),
        *_of_both("liquid"),
        *_of_both("ordinary"),
    ),
    scales={
        "tiny": {"cells": 1, "strengths": (4.0,), "units": 8, "trials": 16, "starts": 8, "steps": 40},
        "quick": {"cells": 2, "strengths": (1.0, 10.0, 50.0), "units": 32, "trials": 64, "starts": 16, "steps": 500},
        "full": {"cells": 5, "strengths": (1.0, 10.0, 50.0), "units": 64, "trials": 200, "starts": 32, "steps": 2000},
    },
)  # fmt: skip
