"""A chain Chialvo - Rulkov - Chialvo: how do its exponents change with the coupling, and when do the outer neurons synchronise?

Map neurons of two kinds, coupled diffusively in their fast variable. The coupling is this project's (``_maps.py``): it
need not be that of the chain in arXiv 2405.05675, and no number is compared with that paper. Known beforehand are identities.
Without coupling the exponents are those of the single neurons. The outer neurons are equal and see the same neighbour, so
states in which they agree stay so: there the spectrum is that of the chain folded at its middle, together with the transverse
exponents, which say whether a difference between the outer neurons dies out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from analyses.maps.exponent_curve import ExponentCurve, exponent_curve
from analyses.maps.lyapunov import LyapunovSpectrum, lyapunov_spectrum
from analyses.result import Result
from case_studies._maps import chialvo_rulkov_chain
from case_studies._study import CaseStudy
from hooks.dynamics import Dynamics, rollout
from interp.claims import Claim
from interp.journal import Journal

NEURONS = 3
COUPLINGS = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3)
FOLDED = (0, 1, 3, 4)  # of the state, (x, x, x, y, y, y), those of the first and the middle neuron
UNFOLD = (0, 1, 0, 2, 3, 2)  # and back: the third neuron does what the first does
DYING = 0.01  # a transverse exponent below minus this: differences die out
LONG = 4000  # steps from which on the claims are measured
CHAIN, FOLD, ACROSS = "The chain", "The chain folded", "Across the outer neurons"
FIRST, MIDDLE = "Chialvo's neuron alone", "Rulkov's neuron alone"
RUNS, CURVE = "exponents of each run", "exponents over the coupling"


@dataclass(frozen=True, eq=False)
class Specimen:
    """Starts of the chain, some for each coupling, and how they are run."""

    starts: Tensor  # (runs, 6), outer neurons equal
    couplings: Tensor  # (runs, 1)
    steps: int


def chain() -> Dynamics:
    """The chain driven by its coupling, in which the map is affine."""
    apart, joined = chialvo_rulkov_chain(NEURONS, 0.0), chialvo_rulkov_chain(NEURONS, 1.0)
    slope_apart, slope_joined = apart.jacobian, joined.jacobian
    assert slope_apart is not None and slope_joined is not None

    def step(states: Tensor, coupling: Tensor) -> Tensor:
        alone = apart.step(states, None)
        return alone + coupling * (joined.step(states, None) - alone)

    def slope(states: Tensor, coupling: Tensor) -> Tensor:
        alone = slope_apart(states, None)
        return alone + coupling[..., None] * (slope_joined(states, None) - alone)

    return Dynamics(
        step=step, dim=2 * NEURONS, name="Chialvo-Rulkov chain", driven=True, inputs=1, jacobian=slope,
        push=lambda states, tangents, coupling: (step(states, coupling), slope(states, coupling) @ tangents),
    )  # fmt: skip


def among(whole: Dynamics, kept: tuple[int, ...], filled: tuple[int, ...], name: str) -> Dynamics:
    """The map on states of which only some coordinates are free: coordinate i of the whole state is ``filled[i]`` of them."""
    spread = torch.zeros(whole.dim, len(kept), dtype=torch.float64)
    spread[torch.arange(whole.dim), list(filled)] = 1.0
    slope_of = whole.jacobian
    assert slope_of is not None

    def slope(states: Tensor, drive: Tensor) -> Tensor:
        return slope_of(states[:, list(filled)], drive)[:, list(kept)] @ spread

    def step(states: Tensor, drive: Tensor) -> Tensor:
        return whole.step(states[:, list(filled)], drive)[:, list(kept)]

    return Dynamics(
        step=step, dim=len(kept), name=name, driven=True, inputs=1, jacobian=slope,
        push=lambda states, tangents, drive: (step(states, drive), slope(states, drive) @ tangents),
    )  # fmt: skip


def transverse(whole: Dynamics) -> Dynamics:
    """How a small difference between the outer neurons is carried, driven by (folded state, coupling)."""
    slope_of = whole.jacobian
    assert slope_of is not None

    def slope(states: Tensor, drive: Tensor) -> Tensor:
        at = drive[..., :-1].expand(len(states), len(FOLDED))[:, list(UNFOLD)]
        J = slope_of(at, drive[..., -1:])
        return J[:, [0, 3]][:, :, [0, 3]] - J[:, [0, 3]][:, :, [2, 5]]

    def step(states: Tensor, drive: Tensor) -> Tensor:
        return (slope(states, drive) @ states[:, :, None])[:, :, 0]

    return Dynamics(
        step=step, dim=2, name="difference of the outer neurons", driven=True, inputs=len(FOLDED) + 1, jacobian=slope,
        push=lambda states, tangents, drive: (step(states, drive), slope(states, drive) @ tangents),
    )  # fmt: skip


def prepare(*, runs: int, steps: int) -> Specimen:
    """So many runs for each coupling; Rulkov's slow variable starts near -3.2, where its bursts take place."""
    couplings = torch.tensor(COUPLINGS, dtype=torch.float64).repeat_interleave(runs)[:, None]
    noise = torch.rand(len(couplings), len(FOLDED), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    folded = noise * torch.tensor([1.0, 1.0, 0.2, 0.2]) + torch.tensor([0.0, 0.0, 1.0, -3.2])
    return Specimen(folded[:, list(UNFOLD)], couplings, steps)


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """The chain's spectrum from its own and from equal outer neurons, folded, across, and of each neuron alone."""
    whole, steps, burn_in = chain(), specimen.steps, 3 * specimen.steps // 4
    held = specimen.couplings[:, None].expand(-1, burn_in + steps, 1)
    values = specimen.couplings[:, 0].numpy()
    folded = specimen.starts[:, list(FOLDED)]

    def curve(title: str, dynamics: Dynamics, starts: Tensor, drives: Tensor, directions: int | None) -> ExponentCurve:
        spectrum = journal.note(
            f"{title}: {RUNS}", lyapunov_spectrum, dynamics, starts,
            steps=steps, burn_in=burn_in, directions=directions, drives=drives,
        )  # fmt: skip
        return journal.note(f"{title}: {CURVE}", exponent_curve, spectrum, values, parameter="coupling")

    half = among(whole, FOLDED, UNFOLD, FOLD)
    visited = rollout(half, folded, steps=burn_in + steps, drives=held).states[:, :-1]
    full = curve(CHAIN, whole, specimen.starts, held, None)
    curve(FOLD, half, folded, held, None)
    along = torch.cat([torch.from_numpy(visited.copy()), held], 2)
    across = curve(ACROSS, transverse(whole), torch.zeros(len(folded), 2, dtype=torch.float64), along, 1)
    alone = held[values == 0]
    for title, neuron in ((FIRST, 0), (MIDDLE, 1)):
        kept = (neuron, NEURONS + neuron)
        single = among(whole, kept, (0, 0, 0, 1, 1, 1), title)
        start = specimen.starts[values == 0][:, list(kept)]
        journal.note(
            f"{title}: {RUNS}",
            lyapunov_spectrum,
            single,
            start,
            steps=steps,
            burn_in=burn_in,
            directions=1,
            drives=alone,
        )
    dying = across.exponents[:, 0] < -DYING
    counts = ", ".join(f"{count:.3g} at {value:g}" for count, value in zip(full.positive, full.values, strict=True))
    return (
        f"{CHAIN}. {full.summary()}.",
        f"{CHAIN}. Mean number of positive exponents: {counts}.",
        f"{CHAIN}. The coupling is this project's own choice, so nothing here is compared with a published chain.",
        f"{ACROSS}. Differences die out (transverse exponent below -{DYING:g}) at {int(dying.sum())} of {len(dying)} "
        f"couplings: {', '.join(f'{value:g}' for value in across.values[dying]) or 'none'}. Runs start with equal outer "
        f"neurons, so where differences grow, the chain leaves that state by rounding alone.",
    )


def _settled(results: Mapping[str, Result], title: str) -> LyapunovSpectrum:
    """The spectrum of this title; a KeyError when the run is too short for the claims."""
    spectrum = results[f"{title}: {RUNS}"]
    assert isinstance(spectrum, LyapunovSpectrum)
    if spectrum.running_steps.max() < LONG:
        raise KeyError("runs too short")
    return spectrum


def _alone(results: Mapping[str, Result]) -> float:
    """Largest distance, over the runs without coupling, of the three leading exponents from those of the neurons alone."""
    whole = _settled(results, CHAIN)
    first, middle = _settled(results, FIRST).per_start, _settled(results, MIDDLE).per_start
    expected = -np.sort(-np.concatenate([first, first, middle], axis=1), axis=1)
    found = -np.sort(-whole.per_start[: len(first)], axis=1)[:, :NEURONS]
    return float(np.abs(found - expected).max())


def _union(results: Mapping[str, Result]) -> float:
    """Largest distance, over the runs in which differences die out, of the chain's exponents from those of the folded chain,
    the leading transverse one, and the one that the sum then leaves."""
    whole, folded = _settled(results, CHAIN).per_start, _settled(results, FOLD).per_start
    leading = _settled(results, ACROSS).per_start
    left = whole.sum(axis=1, keepdims=True) - folded.sum(axis=1, keepdims=True) - leading
    expected = -np.sort(-np.concatenate([folded, leading, left], axis=1), axis=1)
    dying = leading[:, 0] < -DYING
    return float(np.abs(-np.sort(-whole, axis=1) - expected)[dying].max())


study = CaseStudy(
    title="A chain of map neurons: exponents over the coupling, and when do the outer ones synchronise?",
    citation="Chialvo, Chaos, Solitons and Fractals 5, 1995; Rulkov, PRL 86, 2001",
    question="How many exponents of a chain of map neurons are positive at which coupling, and do its outer neurons agree?",
    prepare=prepare,
    examine=examine,
    claims=(
        Claim("without coupling: largest distance of the leading exponents from those of the neurons alone", 0,
              "identity: same orbits, block-diagonal slopes", 0.005, "what two frames leave in a mean over T steps, 20 / T",
              _alone),
        Claim("where differences die out: largest distance of the exponents from the folded and transverse ones", 0,
              "identity: same orbits, block-triangular slopes", 0.02, "the same, with more directions that part slowly",
              _union),
    ),
    scales={
        "tiny": {"runs": 2, "steps": 100},
        "quick": {"runs": 8, "steps": 4000},
        "full": {"runs": 32, "steps": 40000},
    },
)  # fmt: skip
