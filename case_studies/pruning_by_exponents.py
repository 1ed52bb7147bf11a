"""Pruning by exponents: do the connections that carry the leading exponents carry the network?

Lyapunov noise pruning removes connections of randomly initialised recurrent spiking networks by noise covariance and Lyapunov
exponents. Spikes are out of scope here. The idea is tried on rate networks: each connection is scored, those of lowest score
are cut, and the exponents, and where there is one the task, are measured again. Scores: the size of its share in the leading
exponents (``exponent_carriers``); its weight, |W_ij|; |W_ij| times the variance of x_i - sign(W_ij) x_j along the orbit, the
covariance rule read without noise; and, as the control, random numbers, drawn several times. Units keep their leak.

Two kinds of network: the tanh network of the flip-flop study, trained, cut without repair; and random chaotic networks
(Sompolinsky, Crisanti, Sommers, PRL 61, 1988, with a leak), where the weights that stay are scaled to keep the norm of each
unit's input, since else every cut just lowers the gain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from analyses.maps.carriers import exponent_carriers
from analyses.maps.lyapunov import LyapunovSpectrum, lyapunov_spectrum
from analyses.result import Result
from analyses.trajectories.prediction_time import valid_prediction_time
from case_studies._study import CaseStudy, number_of
from case_studies._tasks import flip_flop
from case_studies.flip_flop_memory import BITS, UNITS, shipped
from hooks.dynamics import rollout
from hooks.families import LeakyRate
from hooks.trajectory import Trajectory
from interp.claims import Claim
from interp.journal import Journal

SIZE, GAIN, LEAK = 100, 3.0, 0.2  # of the random networks
LEADING = {"trained": 3, "random": 10}  # exponents that are shared out and compared
BURN_IN = 100
WRONG = BITS**-0.5  # deviations of the target by which the readout is off when one bit is at 0, halfway
RULES = ("exponents", "weight", "covariance")


@dataclass(frozen=True, eq=False)
class Specimen:
    """The networks, and how much to cut and measure."""

    trained: LeakyRate
    random: tuple[LeakyRate, ...]
    cuts: tuple[float, ...]
    draws: int
    steps: int


def prepare(*, networks: int, cuts: tuple[float, ...], draws: int, steps: int) -> Specimen:
    """The flip-flop network and ``networks`` random ones; shares ``cuts`` of the weights go, at random ``draws`` times."""
    module = shipped("tanh")
    (W_x, W_h, b_x, b_h), out = (weight.double() for weight in module.rnn.parameters()), module.readout
    one = torch.ones((), dtype=torch.float64)
    trained = LeakyRate(W_h, W_x, b_x + b_h, one, W_out=out.weight.double(), b_out=out.bias.double())
    return Specimen(trained, tuple(random_network(seed) for seed in range(networks)), cuts, draws, steps)


def random_network(seed: int) -> LeakyRate:
    """Weights of variance GAIN^2 / SIZE, none from a unit to itself."""
    W = torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    W = GAIN * W.fill_diagonal_(0.0) / np.sqrt(SIZE)
    none = torch.zeros(SIZE, 0, dtype=torch.float64)
    return LeakyRate(W, none, none.new_zeros(SIZE), none.new_tensor(LEAK))


def pruned(network: LeakyRate, scores: np.ndarray, cut: float, *, gain_kept: bool) -> LeakyRate:
    """The network without the share ``cut`` of its weights that score lowest; ``gain_kept`` scales each unit's others."""
    W = network.W.numpy().copy()
    there = np.flatnonzero(W)
    W.ravel()[there[np.argsort(scores.ravel()[there], kind="stable")[: round(cut * len(there))]]] = 0.0
    if gain_kept:
        before, after = (np.linalg.norm(weights, axis=1, keepdims=True) for weights in (network.W.numpy(), W))
        W = W * np.divide(before, after, out=np.ones_like(before), where=after > 0)
    return replace(network, W=torch.from_numpy(W))


def covariance_scores(W: np.ndarray, states: np.ndarray) -> np.ndarray:
    """|W_ij| var(x_i - sign(W_ij) x_j) over the states (points, units)."""
    C = np.cov(states.T)
    variances = np.diag(C)
    return np.abs(W) * (variances[:, None] + variances - 2 * np.sign(W) * C)


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """The trained network's exponents and trials after each cut, then the random networks' exponents."""
    names = {"trained": specimen.trained} | {f"random {k}": network for k, network in enumerate(specimen.random)}
    sentences = []
    for name, network in names.items():
        sentences += _examined(journal, name, network, specimen)
    return tuple(sentences)


def _examined(journal: Journal, name: str, network: LeakyRate, specimen: Specimen) -> list[str]:
    trained, steps = name == "trained", specimen.steps
    leading = LEADING[name.split()[0]]
    generator = torch.Generator().manual_seed(1)
    inputs = flip_flop(bits=BITS, runs=1, steps=steps + 2 * BURN_IN, generator=generator)[0][0] if trained else None
    starts = np.zeros((1, UNITS)) if trained else np.random.default_rng(1).standard_normal((8, SIZE))

    def spectrum(network: LeakyRate, title: str) -> LyapunovSpectrum:
        return journal.note(
            f"{name}: exponents {title}", lyapunov_spectrum, network.dynamics(), starts, steps=steps, directions=leading,
            burn_in=2 * BURN_IN if inputs is None else BURN_IN, drives=inputs,
        )  # fmt: skip

    whole = spectrum(network, "before")
    dynamics = network.dynamics()
    orbit = rollout(dynamics, starts[:1], drives=inputs, steps=None if trained else steps + 2 * BURN_IN).states[0]
    carriers = journal.note(
        f"{name}: carriers", exponent_carriers, dynamics, orbit[0] if trained else orbit[-1], steps=steps, directions=leading,
        burn_in=BURN_IN, drives=inputs,
    )  # fmt: skip
    scores = {
        "exponents": np.abs(carriers.shares),
        "weight": network.W.abs().numpy(),
        "covariance": covariance_scores(network.W.numpy(), orbit[BURN_IN:]),
    }
    random = np.random.default_rng(2)
    controls = {f"chance {draw + 1}": random.random(network.W.shape) for draw in range(specimen.draws)}
    before = f"; trials without an error: {_flawless(journal, name, 'before', network):.0%}" if trained else ""
    sentences = [
        f"{name}: exponents {', '.join(f'{value:.3g}' for value in _mean(whole)[:3])} before{before}. {carriers.summary()}."
    ]
    for cut in specimen.cuts:
        networks = {
            rule: pruned(network, score, cut, gain_kept=not trained) for rule, score in {**scores, **controls}.items()
        }
        changes = {rule: change(whole, spectrum(made, f"{cut:.0%} cut by {rule}")) for rule, made in networks.items()}
        by_chance = [changes[rule] for rule in controls]
        told = ", ".join(f"{changes[rule]:.2g} by {rule}" for rule in RULES)
        sentences.append(
            f"{name}, {cut:.0%} cut: the {leading} leading exponents change by {told}, {min(by_chance):.2g} to "
            f"{max(by_chance):.2g} by chance ({specimen.draws} draws)."
        )
        if trained:
            kept = {rule: _flawless(journal, name, f"{cut:.0%} cut by {rule}", networks[rule]) for rule in networks}
            lucky = [kept[rule] for rule in controls]
            told = ", ".join(f"{kept[rule]:.0%} by {rule}" for rule in RULES)
            sentences.append(
                f"{name}, {cut:.0%} cut: trials without an error {told}, {min(lucky):.0%} to {max(lucky):.0%} by chance."
            )
    return sentences


def _flawless(journal: Journal, name: str, title: str, network: LeakyRate) -> float:
    """Share of 64 fresh trials in which no bit is ever wrong."""
    inputs, targets = flip_flop(bits=BITS, runs=64, steps=64, generator=torch.Generator().manual_seed(3))
    truth = np.concatenate([targets[:, :1], targets], axis=1)  # the state before the first answer is given to both
    dynamics = network.dynamics()
    assert dynamics.readout is not None
    states = torch.from_numpy(rollout(dynamics, np.zeros((64, UNITS)), drives=inputs).states[:, 1:].copy())
    answers = np.concatenate([targets[:, :1], dynamics.readout(states).numpy()], axis=1)
    found = journal.note(
        f"{name}: trials {title}", valid_prediction_time, Trajectory(truth), Trajectory(answers), threshold=WRONG
    )
    return float(found.lasting.mean())


def _mean(spectrum: LyapunovSpectrum) -> np.ndarray:
    """Over all starts, whatever attractors they end on."""
    return spectrum.per_start.mean(axis=0)


def change(before: LyapunovSpectrum, after: LyapunovSpectrum) -> float:
    """Mean absolute change of the exponents, a step."""
    return float(np.abs(_mean(after) - _mean(before)).mean())


def _closer(name: str, cut: str, rule: str, results: Mapping[str, Result]) -> bool:
    """Whether the cut by this rule changes the exponents less than every cut by chance."""
    whole: Any = results[f"{name}: exponents before"]
    by_rule: Any = results[f"{name}: exponents {cut} cut by {rule}"]
    by_chance = [
        result for title, result in results.items() if title.startswith(f"{name}: exponents {cut} cut by chance")
    ]
    return change(whole, by_rule) < min(change(whole, result) for result in by_chance)  # type: ignore[arg-type]


def _share_closer(rule: str) -> Callable[[Mapping[str, Result]], float]:
    def measure(results: Mapping[str, Result]) -> float:
        names = [title.split(":")[0] for title in results if title.startswith("random") and title.endswith(" before")]
        if not names:
            raise KeyError("random networks")
        return float(np.mean([_closer(name, "50%", rule, results) for name in names]))

    return measure


def _trials(title: str) -> Callable[[Mapping[str, Result]], float]:
    return number_of(f"trained: trials {title}", lambda found: found.lasting.mean())


def _as_lucky(results: Mapping[str, Result]) -> float:
    by_rule = _trials("25% cut by exponents")(results)
    return sum(_trials(title.removeprefix("trained: trials "))(results) >= by_rule for title in results
               if title.startswith("trained: trials 25% cut by chance"))  # fmt: skip


IDEA = "the idea of Lyapunov noise pruning: what does not carry the exponents can go"
YES = "yes or no"

study = CaseStudy(
    title="Pruning by exponents: do the connections that carry the leading exponents carry the network?",
    citation="Lyapunov noise pruning (prune randomly initialised recurrent spiking networks by noise covariance and Lyapunov "
    "exponents), its idea on rate networks; not a reproduction of its spiking results",
    question="Does cutting the connections with the smallest share in the leading exponents keep exponents and task?",
    prepare=prepare,
    examine=examine,
    claims=(
        Claim("trained: trials without an error before", 1, "the task is solved", 0.02, "one trial in 64", _trials("before")),
        Claim("trained, 25 % cut by exponents: trials without an error", 1, IDEA, 0.05, "three trials in 64",
              _trials("25% cut by exponents")),
        Claim("trained, 25 % cut by exponents: chance draws that do as well", 0, IDEA, 0, "better than each",
              _as_lucky),
        Claim("trained, 50 % cut by exponents: exponents closer than by every chance draw", 1, IDEA, 0, YES,
              lambda results: _closer("trained", "50%", "exponents", results)),
        Claim("random networks, 50 % cut by exponents: share closer than by every chance draw", 1, IDEA, 0, "all networks",
              _share_closer("exponents")),
        Claim("random networks, 50 % cut by weight: share closer than by every chance draw", 1, "small weights matter least", 0,
              "all networks", _share_closer("weight")),
    ),
    scales={
        "tiny": {"networks": 0, "cuts": (0.1,), "draws": 3, "steps": 300},
        "quick": {"networks": 2, "cuts": (0.25, 0.5), "draws": 5, "steps": 1000},
        "full": {"networks": 5, "cuts": (0.1, 0.25, 0.5), "draws": 19, "steps": 4000},
    },
)  # fmt: skip
