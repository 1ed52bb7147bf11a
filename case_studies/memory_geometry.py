"""Does the geometry of memory change before the loss drops?

Recurrent networks are said to learn memory tasks abruptly: a search, then a restructuring of phase space prior to the drop of
the loss; and a penalty on the speed of states (temporal consistency) is said to accelerate training (Haputhanthri et al., arXiv
2502.07256). Here a leaky tanh network and an almost-linear RNN of 64 units learn the three-bit flip-flop (pulses with
probability 0.1 a step, 50 steps), all networks of a kind as one batch. At every fortieth update: the loss on fixed trials, the
fixed points without input from states that hold each of the eight memories, those that are stable, and the spectral radius at
the zero state. Every series gets one change point, and the lead is the difference of two. The penalty is our reading of the
paper's: lambda times the mean of |r(t + 1) - r(t)|^2.

Two controls have the same inputs. "copy" asks for the input itself, which needs no memory; "shuffled" for the memory of another
trial, which cannot be learned. Neither should have anything that leads anything.

Measured at full scale, six seeds: no lead is shown, because nothing drops. The logarithm of the leaky networks' loss falls
along a line, which explains 98 % of its variance where a step explains 74 %; in the loss itself it is 72 % against 63 %. For
the almost-linear networks it is 85 % against 78 % in the logarithm. Memories arrive one by one: a lasting second stable point
at a loss of 0.2 to 0.4, the eighth of the almost-linear networks near 0.1; the leaky ones hold six or seven in the end.
The step in their number is later than that of the loss in five leaky networks of six; in the almost-linear ones it is earlier
in four, and together with it in two. Under the penalty three leaky networks of six learn a checkpoint or so later, and two
almost-linear ones sooner; the others at the same checkpoint. Of the controls only one leaky network on shuffled targets ever
has a second stable point. This is Adam at one rate on one task; the paper's tasks with a long plateau are not among it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from analyses.maps.fixed_points import FixedPoints, find_fixed_points
from analyses.maps.jacobian_spectra import jacobian_spectra
from analyses.result import Result
from analyses.series.change_point import ChangePoints, Lead, change_point, lead_of_change
from case_studies._study import CaseStudy
from case_studies._tasks import flip_flop
from hooks.dynamics import Dynamics, digest
from interp.claims import Claim
from interp.journal import Journal
from interp.progress import meter

Kind = Literal["leaky", "almost-linear"]
Weights = Mapping[str, Tensor]  # each with the networks on its first axis

BITS, UNITS, RECTIFIED, LEAK, GAIN = 3, 64, 16, 0.2, 0.9
BATCH, STEPS, PULSE, RATE, CLIP = 32, 50, 0.1, 1e-3, 1.0
EVERY, JUDGED = 40, 64  # updates between checkpoints; fixed trials that the loss is read on
PENALTY: Mapping[Kind, float] = {"leaky": 0.1, "almost-linear": 0.01}  # a tenth of the loss at the start, or less
MEMORY, CONSISTENT, COPY, SHUFFLED = "memory", "memory with consistency", "copy", "shuffled"
KINDS: tuple[Kind, ...] = ("leaky", "almost-linear")
LEARNED = 0.2  # the loss at which the task counts as learned: a fifth of the targets' variance


@dataclass(frozen=True, eq=False)
class Training:
    """One network over its training: the loss at each checkpoint, and weights with the checkpoints on their first axis."""

    kind: Kind
    losses: np.ndarray
    weights: Weights


@dataclass(frozen=True, eq=False)
class Specimen:
    """Networks by kind, condition and seed."""

    networks: Mapping[tuple[Kind, str, int], Training]
    updates: tuple[int, ...]


def drawn(kind: Kind, seed: int) -> dict[str, Tensor]:
    """Weights before training: recurrent ones of variance GAIN^2 / N, and a readout of zero, so that the loss begins at 1."""
    generator = torch.Generator().manual_seed(seed)
    W = GAIN * torch.randn(UNITS, UNITS, generator=generator) / UNITS**0.5
    W_in = torch.randn(UNITS, BITS, generator=generator) / BITS**0.5
    read = {"W_out": torch.zeros(BITS, UNITS), "b_out": torch.zeros(BITS)}
    if kind == "almost-linear":
        return {"A": torch.full((UNITS,), 1 - LEAK), "W": LEAK * W, "W_in": W_in, "b": torch.zeros(UNITS), **read}
    return {"W": W, "W_in": W_in, "b": torch.zeros(UNITS), **read}


def advanced(kind: Kind, weights: Weights, states: Tensor, entering: Tensor | None) -> Tensor:
    """(networks, batch, units) one step on, each network on its own states."""
    b = weights["b"][:, None].expand_as(states) if entering is None else entering
    if kind == "leaky":
        return (1 - LEAK) * states + LEAK * torch.tanh(torch.baddbmm(b, states, weights["W"].mT))
    return weights["A"][:, None] * states + torch.baddbmm(b, _rectified(states), weights["W"].mT)


def _rectified(states: Tensor) -> Tensor:
    return torch.cat([states[..., :-RECTIFIED], torch.relu(states[..., -RECTIFIED:])], dim=-1)


def answers(kind: Kind, weights: Weights, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """(networks, batch, steps, bits) inputs -> answers, and states (networks, batch, steps, units), from the zero state."""
    entering = torch.einsum("kbti,kni->tkbn", inputs, weights["W_in"]) + weights["b"][:, None]
    states, visited = torch.zeros_like(entering[0]), []
    for each in entering:
        states = advanced(kind, weights, states, each)
        visited.append(states)
    path = torch.stack(visited, dim=2)
    return torch.einsum("kbtn,kon->kbto", path, weights["W_out"]) + weights["b_out"][:, None, None], path


def trials(condition: str, runs: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Inputs, and what the condition asks for."""
    inputs, memory = flip_flop(bits=BITS, runs=runs, steps=STEPS, generator=generator, pulse=PULSE)
    order = torch.randperm(runs, generator=generator)
    return inputs, {COPY: inputs, SHUFFLED: memory[order]}.get(condition, memory)


def trained(kind: Kind, settings: tuple[tuple[str, int], ...], updates: int) -> tuple[Training, ...]:
    """Networks of (condition, seed), trained at once by Adam on the squared error, each with its own clipped gradient."""
    starts = [drawn(kind, seed) for _, seed in settings]
    weights = {name: torch.stack([each[name] for each in starts]).requires_grad_() for name in starts[0]}
    generators = [torch.Generator().manual_seed(1000 + seed) for _, seed in settings]
    fixed = _beside([trials(condition, JUDGED, torch.Generator().manual_seed(99)) for condition, _ in settings])
    penalty = torch.tensor([PENALTY[kind] if condition == CONSISTENT else 0.0 for condition, _ in settings])
    optimiser = torch.optim.Adam(weights.values(), lr=RATE)

    def states() -> Iterator[int]:
        for update in range(updates + 1):
            yield update
            inputs, targets = _beside(
                [
                    trials(condition, BATCH, generator)
                    for (condition, _), generator in zip(settings, generators, strict=True)
                ]
            )
            said, path = answers(kind, weights, inputs)
            speed = path.diff(dim=2).square().sum(dim=3).mean(dim=(1, 2))
            optimiser.zero_grad()
            ((said - targets).square().mean(dim=(1, 2, 3)) + penalty * speed).sum().backward()
            slopes = [each.grad for each in weights.values() if each.grad is not None]
            norms = sum(slope.flatten(1).square().sum(dim=1) for slope in slopes) ** 0.5
            for slope in slopes:
                slope *= (CLIP / norms).clamp(max=1).reshape(-1, *(1,) * (slope.ndim - 1))
            optimiser.step()

    losses, kept = [], []
    for update in meter(f"training, {kind}")(states(), updates + 1):
        if update % EVERY == 0:
            with torch.no_grad():
                said, _ = answers(kind, weights, fixed[0])
                losses.append((said - fixed[1]).square().mean(dim=(1, 2, 3)).double())
            kept.append({name: each.detach().clone() for name, each in weights.items()})
    history = {name: torch.stack([each[name] for each in kept], dim=1) for name in weights}
    return tuple(
        Training(
            kind, torch.stack(losses, dim=1)[row].numpy(), {name: each[row].double() for name, each in history.items()}
        )
        for row in range(len(settings))
    )


def _beside(pairs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    inputs, targets = zip(*pairs, strict=True)
    return torch.stack(inputs), torch.stack(targets)


def over_training(training: Training) -> Dynamics:
    """All checkpoints as one map without input: the drive is the number of the checkpoint that a row of a batch follows."""
    kind, weights = training.kind, training.weights

    def own(drive: Tensor) -> dict[str, Tensor]:
        return {name: each[drive[..., 0].long()] for name, each in weights.items() if name in ("A", "W", "b")}

    def step(states: Tensor, drive: Tensor) -> Tensor:
        return advanced(kind, own(drive), states[:, None], None)[:, 0]

    def slopes(states: Tensor, drive: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Diagonal, gain of each row of W, gain of each column."""
        mine = own(drive)
        if kind == "leaky":
            after = torch.tanh((mine["W"] @ states[..., None])[..., 0] + mine["b"])
            return torch.full_like(states, 1 - LEAK), LEAK * (1 - after**2), torch.ones_like(states)
        on = torch.cat([torch.ones_like(states[:, :-RECTIFIED]), (states[:, -RECTIFIED:] > 0).to(states)], dim=1)
        return mine["A"], torch.ones_like(states), on

    def jacobian(states: Tensor, drive: Tensor) -> Tensor:
        diagonal, rows, columns = slopes(states, drive)
        return torch.diag_embed(diagonal) + rows[..., None] * own(drive)["W"] * columns[:, None]

    def push(states: Tensor, tangents: Tensor, drive: Tensor) -> tuple[Tensor, Tensor]:
        diagonal, rows, columns = slopes(states, drive)
        carried = rows[..., None] * (own(drive)["W"] @ (columns[..., None] * tangents))
        return step(states, drive), diagonal[..., None] * tangents + carried

    return Dynamics(
        step, UNITS, f"{kind} network over training", driven=True, inputs=1, jacobian=jacobian, push=push,
        fingerprint=digest(kind, *weights.values()),
    )  # fmt: skip


def holding(training: Training) -> tuple[Tensor, Tensor]:
    """States of every checkpoint after a random trial, a pulse on every bit and 0 or 20 silent steps, two of each of the eight
    settings; and the number of the checkpoint beside each."""
    signs = torch.cartesian_prod(*(torch.tensor([-1.0, 1.0]),) * BITS)
    before, _ = flip_flop(bits=BITS, runs=2**BITS, steps=20, generator=torch.Generator().manual_seed(98), pulse=PULSE)
    inputs = torch.cat([before, signs[:, None], torch.zeros(2**BITS, 20, BITS)], dim=1).double()
    checkpoints = len(training.losses)
    _, path = answers(training.kind, training.weights, inputs.expand(checkpoints, -1, -1, -1))
    states = path[:, :, [20, 40]].flatten(1, 2)
    numbers = torch.arange(checkpoints, dtype=torch.float64).repeat_interleave(states.shape[1])
    return states.flatten(0, 1), numbers[:, None]


def prepare(*, seeds: int, controls: int, updates: int) -> Specimen:
    """Networks of the seeds 0, 1, ... with and without the penalty, and as many of each control as asked for."""
    settings = tuple((condition, seed) for condition in (MEMORY, CONSISTENT) for seed in range(seeds))
    settings += tuple((condition, seed) for condition in (COPY, SHUFFLED) for seed in range(controls))
    networks = {
        (kind, *setting): training
        for kind in KINDS
        for setting, training in zip(settings, trained(kind, settings, updates), strict=True)
    }
    return Specimen(networks, tuple(range(0, updates + 1, EVERY)))


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """Fixed points over training of each network, then change points and leads of each kind and condition."""
    sentences = []
    for kind, condition in dict.fromkeys(key[:2] for key in specimen.networks):
        about = f"{kind}, {condition}"
        own = [each for key, each in specimen.networks.items() if key[:2] == (kind, condition)]
        counts, radii = [], []
        for seed, training in enumerate(own):
            dynamics, (starts, numbers) = over_training(training), holding(training)
            found = journal.note(f"{about}, seed {seed}: fixed points over training", find_fixed_points, dynamics, starts,
                                 drives=numbers)  # fmt: skip
            counts.append(_counts(found, len(training.losses)))
            at_zero = journal.note(
                f"{about}, seed {seed}: slopes at zero", jacobian_spectra, dynamics, np.zeros((len(training.losses), UNITS)),
                drives=numbers.unique(dim=0),
            )  # fmt: skip
            radii.append(at_zero.radii)
        losses = np.log([each.losses for each in own])
        changes = {
            name: journal.note(f"{about}: {name}", change_point, series, times=specimen.updates)
            for name, series in ((LOSS, losses), (STABLE, np.array(counts)), (RADIUS, np.array(radii)))
        }
        for name in (STABLE, RADIUS):
            lead = journal.note(f"{about}: {name} before the loss", lead_of_change, changes[name], changes[LOSS])
            sentences.append(f"{about}. {name.capitalize()} against the loss: {lead.summary()}.")
        ends = ", ".join(f"{series[-1]:.0f}" for series in counts)
        sentences.append(
            f"{about}. Loss at the end {np.exp(losses[:, -1]).min():.3f} to {np.exp(losses[:, -1]).max():.3f}; stable fixed "
            f"points {ends}. {changes[LOSS].summary()}."
        )
    return tuple(sentences)


LOSS, STABLE, RADIUS = "logarithm of the loss", "number of stable fixed points", "spectral radius at zero"


def _counts(found: FixedPoints, checkpoints: int) -> np.ndarray:
    """(checkpoints,) stable fixed points."""
    return np.bincount(found.drives[found.stable, 0].astype(np.int64), minlength=checkpoints).astype(np.float64)


def _change(results: Mapping[str, Result], kind: Kind, condition: str, name: str) -> ChangePoints:
    """A KeyError where training was too short to judge."""
    found = results[f"{kind}, {condition}: {name}"]
    assert isinstance(found, ChangePoints)
    if found.times[-1] < LONG:
        raise KeyError("trained too briefly")
    return found


def _lead(results: Mapping[str, Result], kind: Kind, condition: str, name: str) -> Lead:
    _change(results, kind, condition, name)
    found = results[f"{kind}, {condition}: {name} before the loss"]
    assert isinstance(found, Lead)
    return found


def _of_change(kind: Kind, condition: str, name: str, read: Callable[[ChangePoints], Any]) -> Callable[..., float]:
    return lambda results: float(read(_change(results, kind, condition, name)))


def _of_lead(kind: Kind, condition: str, name: str, read: Callable[[Lead], Any]) -> Callable[..., float]:
    return lambda results: float(read(_lead(results, kind, condition, name)))


def _sooner(kind: Kind) -> Callable[[Mapping[str, Result]], float]:
    """Share of seeds that learn at an earlier checkpoint under the penalty, ties counting half."""

    def measure(results: Mapping[str, Result]) -> float:
        plain, consistent = (_learned(_change(results, kind, each, LOSS)) for each in (MEMORY, CONSISTENT))
        return float((consistent < plain).mean() + (consistent == plain).mean() / 2)

    return measure


def _learned(found: ChangePoints) -> np.ndarray:
    """(series,) first update at which the loss is at most LEARNED, infinite where it never is."""
    low = found.series <= np.log(LEARNED)
    return np.where(low.any(axis=1), found.times[low.argmax(axis=1)], np.inf)


def _claims(kind: Kind) -> tuple[Claim, ...]:
    return (
        Claim(f"{kind}: share of seeds with eight stable fixed points at the end", 1, "2^3 memories", 0, "each",
              _of_change(kind, MEMORY, STABLE, lambda found: (found.series[:, -1] == 2**BITS).mean())),
        Claim(f"{kind}: share of seeds whose loss drops abruptly", 1, ABRUPT, 0.2, ONE,
              _of_change(kind, MEMORY, LOSS, lambda found: np.mean([each == "abrupt" for each in found.verdicts]))),
        Claim(f"{kind}: share of seeds whose stable points change before the loss", 1, BEFORE, 0.2, ONE,
              _of_lead(kind, MEMORY, STABLE, lambda lead: (lead.leads > 0).mean())),
        Claim(f"{kind}: share of seeds with that lead beyond its interval, both changes abrupt", 1, BEFORE, 0.2, ONE,
              _of_lead(kind, MEMORY, STABLE, lambda lead: ((lead.low > 0) & lead.abrupt).mean())),
        Claim(f"{kind}: p of the sign test of that lead", 0, BEFORE, 0.05, "the usual level",
              _of_lead(kind, MEMORY, STABLE, lambda lead: lead.p if lead.positive >= lead.negative else 1.0)),
        Claim(f"{kind}: share of seeds whose spectral radius changes before the loss", 1, BEFORE, 0.2, ONE,
              _of_lead(kind, MEMORY, RADIUS, lambda lead: (lead.leads > 0).mean())),
        Claim(f"{kind}: share of seeds that learn sooner under the penalty", 1, SOONER, 0.2, ONE, _sooner(kind)),
        Claim(f"{kind}, copy: most stable fixed points at any time", 1, "no memory is asked for", 0, "one rest",
              _of_change(kind, COPY, STABLE, lambda found: found.series.max())),
        Claim(f"{kind}, copy: share of seeds with a lead of stable points", 0, "nothing restructures", 0, "none",
              _of_lead(kind, COPY, STABLE, lambda lead: (lead.leads > 0).mean())),
        Claim(f"{kind}, shuffled: share of seeds with a lead of stable points over an abrupt drop", 0, "nothing is learned", 0,
              "none", _of_lead(kind, SHUFFLED, STABLE, lambda lead: ((lead.leads > 0) & lead.abrupt).mean())),
    )  # fmt: skip


LONG = 1500  # updates from which on the claims are measured
ABRUPT, BEFORE = (
    "abrupt learning, the paper's abstract",
    "geometric restructuring precedes rapid comprehension, abstract",
)
SOONER = "abstract: consistency accelerates training"
ONE = "one seed of six may differ"

study = CaseStudy(
    title="Geometry of memory: what changes before the loss drops?",
    citation="Haputhanthri, Storan, Jiang, Raheja, Shai, Akengin, Miolane, Schnitzer, Dinc, Tanaka, Understanding and "
    "controlling the geometry of memory organization in RNNs, arXiv 2502.07256; flip-flop: Sussillo and Barak, Neural "
    "Computation 25, 2013",
    question="Does the phase space of a network change before its loss drops, with and without temporal consistency?",
    prepare=prepare,
    examine=examine,
    claims=tuple(claim for kind in KINDS for claim in _claims(kind)),
    scales={
        "tiny": {"seeds": 1, "controls": 0, "updates": 40},
        "quick": {"seeds": 2, "controls": 1, "updates": 1520},
        "full": {"seeds": 6, "controls": 2, "updates": 1600},
    },
)
