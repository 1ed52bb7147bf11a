"""A recurrent network that emulates a hidden Markov model: where are the states, and what makes it change between them?

Torre and colleagues ("RNNs emulating hidden Markov models", 2025, code EliaTorre/hmmrnn) train ReLU networks without biases on
Gaussian noise to emit the symbols of small hidden Markov models. Their account: without input one fixed point, with noise a
sustained rotation between regions where the output lasts, zones where noise kicks the state out, and passages, driven by a few
kick units. Here the two-state chain is trained at the reduced size (50 units, 10 inputs, sequences of 40, batches of 512, 6000
updates; ``_emulators``), beside the cycle of four states (4000 updates), and every step of the account is measured beside the
chain's network before training and with its trained weights in random places. The fully connected model is left out: at this
size its training had not left the plateau after 3000 updates.

Found: one rest, the origin, reached from every visited state (searched, not proved unique); the response contracts under noise;
the three classes of residence are there, but a linear map fitted to the activity has them in the same shares, so they show no
mechanism; there is no net rotation; the activity is no chain of few states. Units found by their sign alone hold the changes: a
triplet of one direction silenced, and nine changes in ten are gone, the output that it would leave is said in 99 of 100 steps,
and random triplets do neither. Silencing both triplets together leaves more changes. The network says rare symbols and changes
too seldom: at this batch size the Sinkhorn loss of the process itself is larger than the network's, so training goes past it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analyses.maps.basins import basins
from analyses.maps.fixed_points import find_fixed_points
from analyses.maps.lyapunov import LyapunovSpectrum, lyapunov_spectrum
from analyses.maps.unit_ablation import UnitAblation, unit_ablation
from analyses.symbols.hidden_markov import hidden_markov
from analyses.symbols.regions import Regions, regions
from analyses.symbols.residency import residency
from analyses.symbols.transition_units import transition_units
from analyses.trajectories.winding import winding
from case_studies._emulators import (
    SYMBOLS,
    Recipe,
    cycle,
    emulator,
    linear_chain,
    shipped_emulator,
    sinkhorn_divergence,
    spoken,
)
from case_studies._processes import HiddenProcess
from case_studies._study import CaseStudy, number_of
from case_studies._train import Reader
from hooks.dynamics import Dynamics, rollout
from hooks.families import recurrent as recurrent_map
from hooks.trajectory import Trajectory
from interp.claims import Claim
from interp.journal import Journal

RECIPE = Recipe()
CYCLE_RECIPE = Recipe(clip=0.3, updates=4000)
TRAINED, UNTRAINED, SHUFFLED, CYCLE = "trained", "untrained", "weights in random places", "cycle"
BURN_IN = 100  # steps from the zero state, against exponents of some 0.1 a step
BOUNDED = 300  # steps of the shuffled network, which grows without bound
GROUP = 3  # units of a group: the paper's triplets
ALL = "all groups"


@dataclass(frozen=True, eq=False)
class Specimen:
    """The networks with what they did under the same noise, and what is asked of them."""

    process: HiddenProcess
    modules: Mapping[str, Reader]
    driven: Mapping[str, Trajectory]
    symbols: Mapping[str, np.ndarray]  # (runs, steps), drawn from each network's logits; of a process, its own
    settings: Mapping[str, int]
    note: str  # what titles end with where claims are not judged


def prepare(*, runs: int, steps: int, note: str = "", **settings: int) -> Specimen:
    """The shipped networks, the chain's before training and with its weights permuted, from rest under one draw of noise."""
    generator = torch.Generator().manual_seed(99)
    process, trained = linear_chain(2), shipped_emulator("emulator_chain", RECIPE)
    modules = {
        TRAINED: trained,
        UNTRAINED: emulator(RECIPE),
        SHUFFLED: _shuffled(trained),
        CYCLE: shipped_emulator("emulator_cycle", CYCLE_RECIPE),
    }
    noise = torch.randn(runs, BURN_IN + steps, RECIPE.inputs, generator=generator, dtype=torch.float64)
    kept = {name: BURN_IN + (min(steps, BOUNDED) if name == SHUFFLED else steps) for name in modules}
    driven = {name: _driven(module, noise[:, : kept[name]]) for name, module in modules.items()}
    symbols = {}
    for name, module in modules.items():
        logits = module.readout(torch.tensor(driven[name].states, dtype=torch.float32))
        symbols[name] = spoken(logits.detach(), generator).argmax(-1).numpy()
    symbols["process"] = process.sample(runs=runs, steps=steps + 1, generator=generator).numpy()
    symbols["process of the cycle"] = cycle().sample(runs=runs, steps=steps + 1, generator=generator).numpy()
    return Specimen(process, modules, driven, symbols, settings, note)


def _map(module: Reader) -> Dynamics:
    return recurrent_map(module.rnn, readout=module.readout)


def _driven(module: Reader, noise: Tensor) -> Trajectory:
    return rollout(_map(module), np.zeros((len(noise), RECIPE.units)), drives=noise, burn_in=BURN_IN)


def _shuffled(module: Reader) -> Reader:
    """The same weights, each matrix in random order."""
    generator, other = torch.Generator().manual_seed(0), emulator(RECIPE)
    other.load_state_dict({
        name: w.flatten()[torch.randperm(w.numel(), generator=generator)].reshape(w.shape)
        for name, w in module.state_dict().items()
    })  # fmt: skip
    return other


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """What the networks say, and how; where those that were trained rest, and how they answer to noise."""
    options, note = specimen.settings, specimen.note
    for name, symbols in specimen.symbols.items():
        journal.note(f"{name}: symbols{note}", regions, symbols)
        some = Trajectory(symbols[: options["chains"], : options["links"], None].astype(np.float64), clock="token")
        journal.note(
            f"{name}: hidden states of the symbols{note}", hidden_markov, some,
            states=range(1, options["tried"] + 1), emissions="categorical", starts=3,
            draws=options["surrogates"] if name == TRAINED else 0,
        )  # fmt: skip

    for name, module in specimen.modules.items():
        dynamics, driven = _map(module), specimen.driven[name]
        journal.note(f"{name}: turns under noise{note}", winding, driven, draws=options["draws"])
        residence = journal.note(
            f"{name}: residence times{note}", residency, dynamics, driven,
            states=options["states"], replicas=20, cap=50, draws=options["draws"],
        )  # fmt: skip
        # The pre-activation of the next step but for its noise
        before = driven.states @ module.state_dict()["rnn.weight_hh_l0"].double().numpy().T
        found = journal.note(
            f"{name}: units that drive changes{note}", transition_units, residence, before, draws=options["draws"]
        )
        groups = found.groups(GROUP)
        if len(groups) > 1:
            groups[ALL] = tuple(dict.fromkeys(unit for group in groups.values() for unit in group))
        journal.note(
            f"{name}: units silenced{note}", unit_ablation, dynamics, _head(driven, options["ablated"]),
            units=groups, draws=options["draws"],
        )  # fmt: skip

    for name in (TRAINED, CYCLE):
        dynamics, driven = _map(specimen.modules[name]), specimen.driven[name]
        held, points = dynamics.hold(np.zeros(RECIPE.inputs)), driven.points()[:: options["every"]]
        journal.note(f"{name}: fixed points without input{note}", find_fixed_points, held, points)
        journal.note(f"{name}: where noise-free runs end{note}", basins, held, points, burn_in=3000, steps=256)
        assert driven.drives is not None
        journal.note(
            f"{name}: exponents under noise{note}", lyapunov_spectrum, dynamics, driven.states[:8, 0],
            steps=options["pushed"], directions=1, drives=driven.drives[:8],
        )  # fmt: skip

    dynamics, driven = _map(specimen.modules[TRAINED]), specimen.driven[TRAINED]
    assert driven.drives is not None
    points = driven.points()
    louder = rollout(dynamics, 2 * driven.states[:, 0], drives=2 * driven.drives)
    journal.note(f"trained: turns under noise twice as large{note}", winding, louder, draws=0)
    axes = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2][:3]
    plane = Trajectory(driven.states[: options["chains"], : options["links"]]).project(axes.T, points.mean(axis=0))
    journal.note(
        f"trained: hidden states of the activity{note}", hidden_markov, plane,
        states=range(1, options["most"] + 1), starts=3, draws=options["surrogates"],
    )  # fmt: skip
    said = (f"{title}: {result.summary()}." for title, result in journal.results.items())
    return (*said, _finite_batches(specimen))


def _head(driven: Trajectory, steps: int) -> Trajectory:
    assert driven.drives is not None
    return Trajectory(driven.states[:, :steps], drives=driven.drives[:, : steps - 1])


def _finite_batches(specimen: Specimen) -> str:
    """The loss that training saw, of the network and of the process itself."""
    generator = torch.Generator().manual_seed(1)
    pairs = []
    for _ in range(specimen.settings["batches"]):
        fresh, other = (
            specimen.process.sample(runs=RECIPE.batch, steps=RECIPE.length, generator=generator) for _ in range(2)
        )
        noise = torch.randn(RECIPE.batch, RECIPE.length, RECIPE.inputs, generator=generator)
        heard, again = (torch.nn.functional.one_hot(one, SYMBOLS).float().flatten(1) for one in (fresh, other))
        drawn = spoken(specimen.modules[TRAINED](noise), generator).flatten(1)
        pairs.append([float(sinkhorn_divergence(one, heard)) for one in (drawn, again)])
    (network, process), errors = np.mean(pairs, axis=0), np.std(pairs, axis=0) / np.sqrt(len(pairs))
    verdict = "less than" if network + 3 * errors.sum() < process else "not told from or more than"
    return (
        f"The loss of training, over batches of {RECIPE.batch}, is {network:.3g} ± {errors[0]:.1g} for the network and "
        f"{process:.3g} ± {errors[1]:.1g} for the process itself: {verdict} the process. Where it is less, the loss at this "
        f"batch size is not least at the process, and pulls towards sequences with fewer rare symbols and changes."
    )


def _share(symbol: int) -> Callable[[Regions], float]:
    return lambda said: float(said.occupancy[said.labels == symbol].sum())


def _changes(said: Regions) -> float:
    """Changes of the symbol a step."""
    return float(said.jumps.sum() / (said.visits.sum() - len(said.symbols)))


def _stays(said: Regions, symbol: int) -> float:
    """P(symbol | symbol): a stay of n steps has n - 1 of them; the last step of a run leads nowhere."""
    at = said.symbols == np.flatnonzero(said.labels == symbol)[0]
    return float((at[:, :-1] & at[:, 1:]).sum() / at[:, :-1].sum())


def _changing(process: HiddenProcess) -> float:
    """Exactly: 1 - sum over symbols of P(x, then x)."""
    return 1 - float(sum(process.stationary @ T @ T.sum(axis=1) for T in process.transitions))


def _sign(spectrum: LyapunovSpectrum) -> float:
    """Of the largest exponent if it is told from 0 by three standard errors; 0 otherwise."""
    exponent, error = spectrum.exponents[0, 0], spectrum.standard_errors[0, 0]
    return float(np.sign(exponent)) if abs(exponent) > 3 * error else 0.0


def _ratio(results: Mapping[str, Result]) -> float:
    radius = number_of("trained: turns under noise twice as large", lambda found: found.radius)
    return radius(results) / number_of("trained: turns under noise", lambda found: found.radius)(results)


def _cut(cut: UnitAblation, group: str) -> float:
    """Share of the changes gone without this group; 0 where none was found."""
    return float(cut.cuts[cut.names.index(group)]) if group in cut.names else 0.0


def _median(cut: UnitAblation, kind: int) -> float:
    return float(cut.random_cuts[cut.names.index(ALL), kind]) if ALL in cut.names else float("nan")


def _beside(what: str, read: Callable[[Any], float]) -> Callable[[Mapping[str, Result]], float]:
    """Of the cycle's network, less that of its process."""
    own, other = (number_of(f"{name}: {what}", read) for name in (CYCLE, "process of the cycle"))
    return lambda results: own(results) - other(results)


CHAIN, RING = linear_chain(2), cycle()
SHARES = CHAIN.stationary @ CHAIN.transitions.sum(axis=2).T
PROCESS = "the process, in closed form"
EARLY = "two such networks of the paper's authors, in an early version, were analysed before this study"
TARGET = "the paper's account"
EXACT = "a count"
ONE_GROUP = "four fifths at least; asked after a first run had silenced both groups together"
SAID, HIDDEN = "trained: symbols", "trained: hidden states of the symbols"

study = CaseStudy(
    title="A network that emulates a hidden Markov model",
    citation="Torre et al., RNNs emulating hidden Markov models, 2025; code github.com/EliaTorre/hmmrnn (MIT)",
    question="Where does a network that was trained to emit a hidden Markov model keep its states, and what changes them?",
    prepare=prepare,
    examine=examine,
    claims=(
        Claim("share of the first symbol", SHARES[0], PROCESS, 0.05, "an early network of the authors: 0.48 and 0.51",
              number_of(SAID, _share(0))),
        Claim("share of the rare symbol", SHARES[1], PROCESS, 0.005, "half of it", number_of(SAID, _share(1))),
        Claim("changes of the symbol a step", _changing(CHAIN), PROCESS, 0.1 * _changing(CHAIN), "a tenth of it",
              number_of(SAID, _changes)),
        Claim("P(first symbol | first symbol)", 0.99**2 * 0.475 / SHARES[0], PROCESS, 0.03, "half the chance of a change",
              number_of(SAID, lambda said: _stays(said, 0))),
        Claim("hidden states that the symbols need", 2, PROCESS, 0, EXACT, number_of(HIDDEN, lambda found: found.states)),
        Claim("P(hidden state stays)", 0.95, PROCESS, 0.02, "dwell times of 14 to 33 steps, of 20",
              number_of(HIDDEN, lambda found: np.diag(found.transitions).mean())),
        Claim("fixed points without input", 1, TARGET, 0, EXACT,
              number_of("trained: fixed points without input", lambda found: len(found.points))),
        Claim("share of visited states that end at the origin without input", 1, TARGET, 0, "every one",
              number_of("trained: where noise-free runs end", lambda ends: sum(
                  share for k, share in enumerate(ends.fractions) if np.abs(ends.orbit(k)).max() < 1e-6))),
        Claim("sign of the largest exponent under noise", -1, EARLY, 0, "at three standard errors; -0.03 to -0.25 a step there",
              number_of("trained: exponents under noise", _sign)),
        Claim("net turns in 1000 steps", 10, EARLY, 5, "5 to 15 there",
              number_of("trained: turns under noise", lambda found: 1000 * abs(found.rate))),
        Claim("radius under noise twice as large, over the radius", 2, "positive homogeneity", 1e-9, "rounding", _ratio),
        Claim("classes of residence with 1 % of the states or more", 3, TARGET, 0, EXACT,
              number_of("trained: residence times", lambda found: (found.shares[:3] >= 0.01).sum())),
        Claim("outputs with units that drive their changes", 2, TARGET, 0, EXACT,
              number_of("trained: units that drive changes", lambda found: found.driving.any(axis=1).sum())),
        Claim("share of the changes gone without all the units found", 1, TARGET, 0.2, "four fifths at least",
              number_of("trained: units silenced", lambda cut: _cut(cut, ALL))),
        Claim("share of the changes gone without those that leave the first symbol alone", 1, TARGET, 0.2, ONE_GROUP,
              number_of("trained: units silenced", lambda cut: _cut(cut, "leaving 0"))),
        Claim("share of the changes gone without those that leave the last symbol alone", 1, TARGET, 0.2, ONE_GROUP,
              number_of("trained: units silenced", lambda cut: _cut(cut, "leaving 2"))),
        Claim("changes gone without as many random units as all found, median", 0, TARGET, 0.2, "a fifth at most",
              number_of("trained: units silenced", lambda cut: _median(cut, 0))),
        Claim("changes gone without units of activity like all found, median", 0, TARGET, 0.2, "a fifth at most",
              number_of("trained: units silenced", lambda cut: _median(cut, 1))),
        Claim("whether the activity itself is a hidden Markov chain", 0, "an orbit, not jumps: the paper's account", 0, EXACT,
              number_of("trained: hidden states of the activity", lambda found: found.discrete)),
        Claim("untrained: hidden states that the symbols need", 1, "nothing was learnt", 0, EXACT,
              number_of("untrained: hidden states of the symbols", lambda found: found.states)),
        Claim("untrained: share of the states in clusters", 0, "nothing was learnt", 0.01, "1 % by chance",
              number_of("untrained: residence times", lambda found: found.shares[2])),
        Claim("weights in random places: hidden states that the symbols need", 1, "the places matter", 0, EXACT,
              number_of(f"{SHUFFLED}: hidden states of the symbols", lambda found: found.states)),
        Claim("cycle: share of the middle symbol", 0.5, PROCESS, 0.05, "as of the chain",
              number_of("cycle: symbols", _share(1))),
        Claim("cycle: changes of the symbol a step", _changing(RING), PROCESS, 0.1 * _changing(RING), "a tenth of it",
              number_of("cycle: symbols", _changes)),
        Claim("cycle: hidden states that the symbols need, less those of the process's", 0, PROCESS, 0, EXACT,
              _beside("hidden states of the symbols", lambda found: found.states)),
        Claim("cycle: fixed points without input", 1, TARGET, 0, EXACT,
              number_of("cycle: fixed points without input", lambda found: len(found.points))),
        Claim("cycle: sign of the largest exponent under noise", -1, TARGET, 0, "at three standard errors",
              number_of("cycle: exponents under noise", _sign)),
    ),
    scales={
        "tiny": {"note": " (short)", "runs": 8, "steps": 100, "pushed": 50, "chains": 8, "links": 25, "tried": 2, "most": 2,
                 "surrogates": 1, "draws": 5, "states": 80, "ablated": 60, "every": 50, "batches": 1},
        "quick": {"runs": 32, "steps": 1000, "pushed": 1000, "chains": 16, "links": 300, "tried": 5, "most": 6,
                  "surrogates": 19, "draws": 99, "states": 2000, "ablated": 300, "every": 50, "batches": 8},
        "full": {"runs": 64, "steps": 3000, "pushed": 3000, "chains": 32, "links": 600, "tried": 5, "most": 6,
                 "surrogates": 19, "draws": 199, "states": 4000, "ablated": 600, "every": 50, "batches": 32},
    },
)  # fmt: skip
