"""Forecasters in closed loop: does a small error of one step make the right attractor?

Five forecasters of Lorenz63 learn the next state from the true ones: a linear and a quadratic one on a delay embedding (ridge
regression; the second is a next-generation reservoir computer, Gauthier et al., Nat. Commun. 12, 5564, 2021), an echo-state
network of which only the readout is fitted (Jaeger 2001; Pathak et al., PRL 120, 024102, 2018), a residual MLP and a GRU, both
trained by gradient descent on the error of one step. Fed with its own output each is an autonomous map, and it is asked what
any map is asked: its exponents, its fixed points with proofs, how long it stays with the truth, and how far its attractor is
from the true one, beside the distance of independent true recordings.

Exponents are per unit of Lorenz's time. The linear forecaster is the control: its error of one step is small, and no linear map
has a bounded chaotic orbit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from analyses.maps.certificates import certify
from analyses.maps.fixed_points import find_fixed_points
from analyses.maps.lyapunov import LyapunovSpectrum, lyapunov_spectrum
from analyses.result import counted
from analyses.trajectories.power_spectrum_distance import PowerSpectrumDistance, power_spectrum_distance
from analyses.trajectories.prediction_time import valid_prediction_time
from analyses.trajectories.state_space_divergence import StateSpaceDivergence, state_space_divergence
from case_studies._forecasters import (
    DEVIATION,
    DT,
    MEAN,
    RECIPES,
    WARM,
    Forecaster,
    delayed,
    looped,
    reservoir,
    scaled,
    shipped,
    trained,
)  # fmt: skip
from case_studies._study import CaseStudy, number_of
from case_studies._systems import SYSTEMS
from hooks.dynamics import Dynamics, rollout
from hooks.trajectory import Trajectory
from interp.claims import Claim
from interp.journal import Journal

LORENZ = SYSTEMS["Lorenz63"].make(dt=DT)
EQUILIBRIA = np.array([[0.0, 0.0, 0.0], *([s * math.sqrt(72), s * math.sqrt(72), 27.0] for s in (1, -1))])
KINDS = ("linear", "quadratic", "reservoir", "MLP", "GRU")


@dataclass(frozen=True, eq=False)
class Specimen:
    """The data in centred and scaled coordinates, and the forecasters."""

    forecasters: Mapping[str, Forecaster]
    training: np.ndarray  # (steps, 3)
    tests: Trajectory  # (runs, WARM + horizon, 3)
    recordings: Trajectory  # the reference first, then the independent ones
    starts: int
    steps: int


def prepare(
    *, kinds: tuple[str, ...], training: int, units: int, other_seeds: int, tests: int, horizon: int, climate: int, starts: int,
    steps: int,
) -> Specimen:  # fmt: skip
    """True orbits from one state and its neighbours, long apart, and the forecasters of these kinds.

    ``training`` steps to learn from, ``tests`` runs of ``horizon`` steps, recordings of ``climate`` steps, ``starts`` and
    ``steps`` of the exponents; reservoirs of ``units``; as many more MLPs and GRUs, of the seeds 1, 2, ..., as ``other_seeds``.
    """
    near = np.array([1.0, 2.0, 20.0]) + 1e-2 * np.random.default_rng(1).standard_normal((1 + tests + 20, 3))
    begun = rollout(LORENZ, near, steps=0, burn_in=2500).states[:, 0]  # 50 units of time: e^45 further apart
    learned = rollout(LORENZ, begun[:1], steps=training).states[0]
    data = scaled(learned)
    makers: Mapping[str, Callable[[], Forecaster]] = {
        "linear": lambda: delayed(data, delays=4, quadratic=False, ridge=1e-9),
        "quadratic": lambda: delayed(data, delays=2, quadratic=True, ridge=1e-9),
        "reservoir": lambda: reservoir(data, units=units),
        "MLP": lambda: looped(shipped("MLP")),
        "GRU": lambda: looped(shipped("GRU")),
    }
    forecasters = {kind: makers[kind]() for kind in kinds}
    for seed in range(1, other_seeds + 1):
        forecasters |= {f"{kind} of seed {seed}": looped(trained(kind, seed, data)) for kind in RECIPES}
    return Specimen(
        forecasters=forecasters,
        training=data,
        tests=Trajectory(scaled(rollout(LORENZ, begun[1 : 1 + tests], steps=WARM + horizon).states)),
        recordings=Trajectory(scaled(rollout(LORENZ, begun[-20:], steps=climate - 1).states)),
        starts=starts,
        steps=steps,
    )


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """The true system's exponents, then each forecaster's account, headed by what its error of one step is worth."""
    visited = specimen.recordings.states[:, 0] * DEVIATION + MEAN
    begun = visited[np.resize(np.arange(20), specimen.starts)]
    begun = begun + 1e-3 * np.random.default_rng(2).standard_normal(begun.shape)
    apart = rollout(LORENZ, begun, steps=0, burn_in=1000).states[:, 0]
    real = journal.note("true system: exponents", lyapunov_spectrum, LORENZ, apart, steps=specimen.steps)
    accounts = [_account(journal, kind, forecaster, specimen) for kind, forecaster in specimen.forecasters.items()]
    forecasts: Mapping[str, Any] = {kind: journal.results[f"{kind}: forecasts"] for kind in specimen.forecasters}
    spectra: Mapping[str, Any] = {kind: journal.results[f"{kind}: exponents"] for kind in specimen.forecasters}
    ordered = sorted(forecasts, key=lambda kind: forecasts[kind].one_step)
    worth = "; ".join(
        f"{kind} {forecasts[kind].one_step:.2g} deviations, {_leading(spectra[kind])}" for kind in ordered
    )
    return (
        f"By error of one step, with the largest exponent in closed loop (true: {real.exponents[0, 0]:.3g}): {worth}.",
        f"Lorenz63 itself: {_spelled(real)}.",
        *(sentence for account in accounts for sentence in account),
    )


def _account(journal: Journal, kind: str, forecaster: Forecaster, specimen: Specimen) -> tuple[str, ...]:
    loop, tests, recordings = forecaster.loop, specimen.tests.states, specimen.recordings.states
    reference, others = Trajectory(recordings[:1]), recordings[1:]

    alone = _said(loop, rollout(loop, forecaster.begin(tests[:, : WARM + 1]), steps=tests.shape[1] - WARM - 2))
    words = Trajectory(np.concatenate([tests[:, WARM : WARM + 1], alone.states], axis=1), lengths=1 + _lengths(alone))
    times = journal.note(
        f"{kind}: forecasts", valid_prediction_time, Trajectory(tests[:, WARM:]), words, threshold=0.4, dt=DT
    )

    settled = forecaster.begin(specimen.training[None, -WARM:])
    orbit = _said(loop, rollout(loop, settled, steps=recordings.shape[1] - 1))
    like = Trajectory(others[:, : _lengths(orbit)[0]])
    distance = journal.note(f"{kind}: attractor", state_space_divergence, reference, orbit, others=like)
    rhythm = journal.note(
        f"{kind}: power spectrum", power_spectrum_distance, reference, orbit, others=Trajectory(others)
    )
    many = forecaster.begin(_stretches(specimen, specimen.starts))
    spectrum = journal.note(
        f"{kind}: exponents",
        lyapunov_spectrum,
        loop,
        many,
        steps=specimen.steps,
        directions=min(loop.dim, 4),
        burn_in=WARM,
    )
    forgets = ""
    if forecaster.driven is not None:
        steps = min(specimen.steps, len(specimen.training) - WARM)
        memory = journal.note(
            f"{kind}: exponents when driven by the truth", lyapunov_spectrum, forecaster.driven,
            np.zeros((1, forecaster.driven.dim)), steps=steps, directions=1, burn_in=WARM,
            drives=specimen.training[: WARM + steps],
        )  # fmt: skip
        rate = float(memory.exponents[0, 0])
        what = "more slowly" if rate > THIRD else "faster"
        whose = "so its third exponent is its memory's own" if rate > THIRD else "so its third exponent may be Lorenz's"
        forgets = (
            f" Driven by the truth it forgets at {rate:.3g}, {what} than Lorenz63 contracts ({THIRD:.4g}), {whose}."
        )

    elif len(spectrum.exponents) and abs(spectrum.exponents[0, 2] - THIRD) > NEAR:
        forgets = (
            f" It has no hidden memory that could hide Lorenz63's contraction ({THIRD:.4g}), so its own differs: the data, "
            "all on the attractor, do not show how states off it return."
        )

    rests = scaled(EQUILIBRIA)
    held = forecaster.begin(np.repeat(rests[:, None], WARM, axis=1))  # after a long rest at each true equilibrium
    points = journal.note(
        f"{kind}: fixed points",
        find_fixed_points,
        loop,
        np.concatenate([held, forecaster.begin(_stretches(specimen, 64))]),
    )
    proofs = journal.note(f"{kind}: proofs of the fixed points", certify, loop, points.points)
    where = _said(loop, Trajectory(points.points[:, None])).states[:, 0]
    still = int((proofs.unstable == 0).sum())
    spurious = f", so {counted(still, 'attractor')} that Lorenz63 does not have" if still else ""
    nearest = np.linalg.norm(rests[:, None] - where, axis=2).min(axis=1, initial=np.inf)
    return (
        f"{kind}, forecasts: one step errs by {times.one_step:.2g} deviations, and forecasts are valid for "
        f"{np.median(times.durations):.2g} units of time in the median.",
        f"{kind}, climate: {_spelled(spectrum)}; its attractor is {_beside(distance.divergence, distance)} nats from the "
        f"true one, its power spectrum {_beside(rhythm.distance, rhythm)} away.{forgets}",
        f"{kind}, rest: {counted(len(points.points), 'fixed point')}, {int(proofs.proved.sum())} proved, with "
        f"{', '.join(map(str, sorted(proofs.unstable.tolist())))} unstable directions (Lorenz63's have 1, 2, 2){spurious}; "
        f"the nearest to the true ones (origin, right, left) are {', '.join(f'{gap:.2g}' for gap in nearest)} deviations off.",
    )


def _said(loop: Dynamics, states: Trajectory) -> Trajectory:
    """What the loop says, in place of its states."""
    assert loop.readout is not None
    with torch.no_grad():
        words = loop.readout(torch.from_numpy(np.nan_to_num(states.states)).flatten(0, 1)).numpy()
    words = words.reshape(*states.states.shape[:2], 3)
    return Trajectory(np.where(states.valid[:, :, None], words, np.nan), lengths=states.lengths)


def _lengths(trajectory: Trajectory) -> np.ndarray:
    assert trajectory.lengths is not None
    return trajectory.lengths


def _stretches(specimen: Specimen, number: int) -> np.ndarray:
    """(number, WARM, 3) of the training orbit, evenly spaced."""
    first = np.linspace(0, len(specimen.training) - WARM, number).astype(np.int64)
    return specimen.training[first[:, None] + np.arange(WARM)]


def _leading(spectrum: LyapunovSpectrum) -> str:
    return f"{spectrum.exponents[0, 0]:.3g}" if len(spectrum.exponents) else "unbounded"


def _spelled(spectrum: LyapunovSpectrum) -> str:
    if not len(spectrum.exponents):
        return "its orbits leave every bound"
    row, error = spectrum.exponents[0, :3], spectrum.standard_errors[0]
    numbers = ", ".join(f"{value:.3g} ± {doubt:.1g}" for value, doubt in zip(row, error, strict=False))
    return f"exponents {numbers} ({spectrum.verdicts[0]}, {int(spectrum.sizes[0])} of {len(spectrum.attractor)} starts)"


def _beside(value: float, result: StateSpaceDivergence | PowerSpectrumDistance) -> str:
    draws = result.nulls[0].draws
    return f"{value:.3g} (independent true recordings: {draws.min():.3g} to {draws.max():.3g})"


def _chaotic(found: LyapunovSpectrum) -> float:
    """The share of starts that end on a chaotic attractor."""
    return sum(size for size, said in zip(found.sizes, found.verdicts, strict=True) if said == "chaotic") / len(
        found.attractor
    )


def _shares(kind: str) -> tuple[Claim, ...]:
    """What it is for a forecaster's loop to share the exponents and the equilibria of the system."""
    exponents, proofs = f"{kind}: exponents", f"{kind}: proofs of the fixed points"
    third = () if kind == "reservoir" else (
        Claim(f"{kind}: third exponent", THIRD, SPROTT, NEAR, TENTH, number_of(exponents, lambda found: found.exponents[0, 2])),
    )  # fmt: skip
    return (
        Claim(f"{kind}: largest exponent", 0.9056, SPROTT, 0.09, TENTH,
              number_of(exponents, lambda found: found.exponents[0, 0])),
        Claim(f"{kind}: second exponent", 0, "a flow has a zero exponent; a map fitted to one need not", 0.09,
              "a tenth of the largest", number_of(exponents, lambda found: found.exponents[0, 1])),
        *third,
        Claim(f"{kind}: fixed points proved", 3, EQUATIONS, 0, "a count", number_of(proofs, lambda found: found.proved.sum())),
        Claim(f"{kind}: their unstable directions", 5, f"{EQUATIONS}: 1 + 2 + 2", 0, "a count",
              number_of(proofs, lambda found: found.unstable.sum())),
    )  # fmt: skip


THIRD, NEAR = -14.5723, 1.46
SPROTT = "Lorenz63's, Sprott's table"
EQUATIONS = "Lorenz63's equilibria, from its equations"
TENTH = "ten percent: whether the loop shares the exponent, not how well"

study = CaseStudy(
    title="Forecasters in closed loop: does a small error of one step make the right attractor?",
    citation="the question of Panda (abao1999/panda): does a forecaster's closed-loop map share the Lyapunov spectrum of the "
    "system it forecasts; distances of attractors after DurstewitzLab/GTF-shPLRNN",
    question="Which of Lorenz63's exponents, equilibria and attractor does a trained forecaster keep when it runs alone?",
    prepare=prepare,
    examine=examine,
    claims=(
        Claim("true system: largest exponent", 0.9056, SPROTT, 0.045,
              "three standard errors 0.19 / sqrt(T) of the shortest run, T = 160",
              number_of("true system: exponents", lambda found: found.exponents[0, 0])),
        Claim("linear: share of starts on a chaotic orbit", 0, "a linear map has no bounded chaotic orbit", 0, "a theorem",
              number_of("linear: exponents", _chaotic)),
        Claim("linear: attractor told from independent recordings", 1, "a rest is no strange attractor", 0, "yes or no",
              number_of("linear: attractor", lambda found: found.nulls[0].beaten)),
        *(claim for kind in KINDS[1:] for claim in _shares(kind)),
    ),
    scales={
        "tiny": {"kinds": KINDS[:2], "training": 5000, "units": 0, "other_seeds": 0, "tests": 8, "horizon": 300,
                 "climate": 2000, "starts": 16, "steps": 500},
        "quick": {"kinds": KINDS, "training": 20_000, "units": 300, "other_seeds": 0, "tests": 64, "horizon": 500,
                  "climate": 20_000, "starts": 16, "steps": 3000},
        "full": {"kinds": KINDS, "training": 20_000, "units": 300, "other_seeds": 2, "tests": 200, "horizon": 500,
                 "climate": 50_000, "starts": 16, "steps": 20_000},
    },
)  # fmt: skip
