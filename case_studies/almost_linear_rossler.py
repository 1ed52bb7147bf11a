"""Almost-linear RNNs of the Rossler system: is one rectified unit, so two linear regions, enough?

Brenner, Hemmer, Monfared and Durstewitz (NeurIPS 2024) train z' = A z + W phi(z) + h with 20 units, the last one rectified.
Here models of 0, 1 and 2 rectified units, four of 1 and two of each other, were trained in one batch on an own integration,
standardised, by their recipe with 40 000 of its 150 000 updates. The fit is shipped and analysed at the smaller scales; "full"
trains ten of each anew with all updates.

Models are judged against integrations that none was trained on, beside 19 independent integrations of the system itself. A turn
goes from one maximum of x to the next; its symbol says whether it enters the less visited region.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analyses.maps.lyapunov import lyapunov_spectrum
from analyses.symbols.almost_linear_fit import AlmostLinearFit, TeacherForcing, fit_almost_linear
from analyses.symbols.entropy import entropy_rate
from analyses.symbols.exact_fixed_points import exact_fixed_points
from analyses.symbols.forbidden_words import forbidden_words
from analyses.symbols.graph_comparison import compare_graphs
from analyses.symbols.markov_order import markov_order
from analyses.symbols.region_table import region_table
from analyses.symbols.regions import Regions, regions
from analyses.symbols.symbolic_graph import symbolic_graph
from analyses.trajectories.power_spectrum_distance import power_spectrum_distance
from analyses.trajectories.state_space_divergence import state_space_divergence
from case_studies._fits import free_runs, in_units, kept_fit, largest, said
from case_studies._study import CaseStudy, number_of
from case_studies._systems import SYSTEMS
from hooks.dynamics import rollout
from hooks.trajectory import Trajectory
from hooks.watch import Watch, quiet
from interp.claims import Claim
from interp.journal import Journal

DT, FINER = 0.08, 4  # time of a step of the recording, 73.2 of which are a turn, and integration steps in it
LATENT, RECORDED = 20, 100_000
ORBITS, OTHERS = 4, 19
A, B, C = 0.2, 0.2, 5.7
INNER = (C - math.sqrt(C * C - 4 * A * B)) / 2  # x of the fixed point that the attractor winds about; y = -x / a = -z
TRAINING = "training: Dstsp by P"


@dataclass(frozen=True, eq=False)
class Specimen:
    recorded: np.ndarray  # (1, steps, 3) to train on; no step when the fit is the shipped one
    anew: np.ndarray  # (ORBITS, steps, 3) that no model has seen
    others: np.ndarray  # (OTHERS, steps, 3), independent
    relu: tuple[int, ...]
    runs: int
    judged: bool  # whether the run is long enough for claims


def prepare(*, trained: bool, relu: tuple[int, ...], runs: int, steps: int, judged: bool) -> Specimen:
    """Integrations of the system: one to train on, if models are ``trained`` anew, others of ``steps`` each to judge by."""
    system = SYSTEMS["Rossler"]
    flow, start = system.make(dt=DT / FINER).iterated(FINER), np.array(system.start(3))
    recorded = rollout(flow, start[None], steps=RECORDED - 1, burn_in=1000).states if trained else np.zeros((1, 0, 3))
    aside = np.random.default_rng(0).normal(scale=0.5, size=(ORBITS + OTHERS, 3))
    anew = rollout(flow, start + aside, steps=steps - 1, burn_in=1000).states
    return Specimen(recorded, anew[:ORBITS], anew[ORBITS:], relu, runs, judged)


def fit(
    recorded: np.ndarray, *, relu: tuple[int, ...], runs: int, updates: int = 150_000, watch: Watch = quiet
) -> AlmostLinearFit:
    """Models of a recording; the shipped ones are of relu (0, 1, 1, 2), 2 runs and 40 000 updates."""
    recipe = TeacherForcing(steps=updates, every=8, length=300, learning_rates=(5e-3, 1e-5), noise=0.05)
    return fit_almost_linear(recorded, LATENT, relu, runs=runs, recipe=recipe, standardise=True, watch=watch)


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """The error curve over P; each model of P = 1 against the system; of the best its regions, fixed points and code."""
    judged = "" if specimen.judged else ", too short to judge"
    if specimen.recorded.size:
        made = journal.note(f"{TRAINING}{judged}", fit, specimen.recorded, relu=specimen.relu, runs=specimen.runs)
    else:
        made = journal.note(f"{TRAINING}{judged}", kept_fit, "rossler_almost_linear")
    steps = specimen.anew.shape[1]
    truth, others = in_units(made, specimen.anew), in_units(made, specimen.others)
    ranked = [int(run) for run in made.smallest.argsort() if made.relu[run] == 1][: None if specimen.judged else 2]
    free = {run: free_runs(made, run, orbits=ORBITS, steps=steps, burn_in=2000) for run in ranked}
    order = [run for run in ranked if len(free[run].states)]
    orbits = [free[run] for run in order]
    if len(order) < 2:
        return (f"{len(order)} of {len(ranked)} models of P = 1 run freely without overflowing: too few.",)
    far, apart, rates, errors = [], [], [], []
    for rank, (run, orbit) in enumerate(zip(order, orbits, strict=True), 1):
        one = Trajectory(said(made, orbit).states[:1])
        far.append(
            journal.note(f"Dstsp, run {rank}{judged}", state_space_divergence, truth, one, others=others).divergence
        )
        apart.append(
            journal.note(f"DH, run {rank}{judged}", power_spectrum_distance, truth, one, others=others).distance
        )
        spectrum = journal.note(
            f"exponents, run {rank}, per step{judged}",
            lyapunov_spectrum, made.model(run).dynamics(), orbit.states[:, 0], steps=steps, directions=2,
        )  # fmt: skip
        rates.append(largest(spectrum)[0] / DT)
        errors.append(largest(spectrum)[1] / DT)

    best, second = (made.model(run) for run in order[:2])
    code = journal.note(f"regions of the best run{judged}", regions, orbits[0], network=best)
    graph = journal.note(f"graph of the best run{judged}", symbolic_graph, code)
    points = journal.note(f"every fixed point of the best run{judged}", exact_fixed_points, best)
    table = journal.note(f"what the regions do{judged}", region_table, best, orbits[0], fixed_points=points)
    turns = journal.note(f"turns of the best run{judged}", by_turn, code, said(made, orbits[0]))
    rate = journal.note(f"entropy of the turns{judged}", entropy_rate, turns)
    memory = journal.note(f"Markov order of the turns{judged}", markov_order, turns)
    absent = journal.note(f"forbidden words of the turns{judged}", forbidden_words, turns)
    other = by_turn(regions(orbits[1], network=second), said(made, orbits[1]))
    alike = journal.note(f"turns of the two best runs{judged}", compare_graphs, turns, other, match="ranks")
    turn = DT * turns.duration / turns.visits.sum()
    return (
        f"P = 1, {len(order)} runs on fresh integrations: Dstsp {_spread(far)}, D_H {_spread(apart)}, largest exponent "
        f"{_spread(rates)} per unit of time (Rossler: 0.0714).",
        f"{made.saves[-1]} updates (the paper: 150 000). {made.summary()}.",
        f"The best of them in training: {graph.summary()}; {table.summary()}.",
        f"Its largest exponent is {rates[0]:.3g} ± {errors[0]:.1g} per unit of time, {rates[0] * turn:.3g} nats per turn; "
        f"its code per turn says {rate.summary()}.",
        f"Turns: {memory.summary()}; {absent.summary()}. Beside the second best run: {alike.summary()}.",
    )


def by_turn(code: Regions, orbits: Trajectory) -> Regions:
    """One symbol a turn, from a maximum of x to the next: whether a region other than the most visited is entered."""
    x = orbits.states[..., 0]
    begins = np.zeros(x.shape, dtype=bool)
    begins[:, 1:-1] = (x[:, 1:-1] > x[:, :-2]) & (x[:, 1:-1] >= x[:, 2:]) & (x[:, 1:-1] > 0)
    turn = begins.cumsum(axis=1)
    key = np.arange(len(x))[:, None] * (turn.max(initial=0) + 1) + turn
    entered = np.bincount(key.ravel(), code.symbols.ravel() > 0) > 0
    whole = begins & (turn < turn[:, -1:])
    return regions(entered[key].astype(np.int64)).read_at(whole)


def _spread(values: list[float]) -> str:
    return f"{np.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def _inner(results: Mapping[str, Any]) -> tuple[float, complex]:
    """Distance, in deviations, of the best run's nearest fixed point from the system's inner one; its leading eigenvalue."""
    made, found = results[TRAINING], results["every fixed point of the best run"]
    true = (INNER * np.array([1, -1 / A, 1 / A]) - made.shift) / made.scale
    gaps = np.linalg.norm(found.points[:, :3] - true, axis=1)
    nearest = int(gaps.argmin())
    return float(gaps[nearest]), complex(found.eigenvalues[nearest, 0])


def _of_inner(read: Callable[[float, complex], float]) -> Callable[[Mapping[str, Any]], float]:
    return lambda results: read(*_inner(results))


def _share_of_bound(results: Mapping[str, Any]) -> float:
    rate, turns = results["entropy of the turns"], results["turns of the best run"]
    growth = results["exponents, run 1, per step"].exponents[0, 0]
    return float(rate.rate / (growth * turns.duration / turns.visits.sum()))


PAPER = "Brenner et al. 2024, section 4, our reading"
JACOBIAN = "eigenvalues of the flow at its inner fixed point: 0.0970 +- 0.9952 i"

study = CaseStudy(
    title="Almost-linear RNNs of the Rossler system: one rectified unit, two regions?",
    citation="Brenner, Hemmer, Monfared, Durstewitz, Almost-Linear RNNs Yield Highly Interpretable Symbolic Codes in "
    "Dynamical Systems Reconstruction, NeurIPS 2024",
    question="Is P = 1 enough for the Rossler system, with two regions, its fixed point and its exponent?",
    prepare=prepare,
    examine=examine,
    claims=(
        Claim("P recommended by the error curve", 1, PAPER, 0, "a count", number_of(TRAINING, lambda fit: fit.recommended)),
        Claim("best run of P = 1: regions visited", 2, PAPER, 0, "a count",
              number_of("regions of the best run", lambda code: len(code.labels))),
        Claim("best run: largest exponent per unit of time", 0.0714, "Sprott's table, Rossler", 0.015,
              "a fifth: one run of the full recipe, measured elsewhere, had 0.099",
              number_of("exponents, run 1, per step", lambda found: largest(found)[0] / DT)),
        Claim("best run: second exponent per unit of time", 0, "a flow's direction of motion", 0.01,
              "a seventh of the first; a map need not have it: one run of the full recipe, measured elsewhere, had 0.040",
              number_of("exponents, run 1, per step", lambda found: found.exponents[0, 1] / DT)),
        Claim("best run: Dstsp, nats", 0, "a perfect model; one run of the full recipe, measured elsewhere, had 1.05", 2.1,
              "twice that", number_of("Dstsp, run 1", lambda found: found.divergence)),
        Claim("best run: DH", 0, "a perfect model; the authors' published weights of Lorenz63 have 0.123", 0.15,
              "no farther than theirs by much", number_of("DH, run 1", lambda found: found.distance)),
        Claim("best run: fixed point nearest to the system's inner one, deviations", 0, "a fixed point of the flow", 0.2,
              "no data lie there: the attractor leaves a hole of one deviation about it", _of_inner(lambda gap, _: gap)),
        Claim("best run: growth there per unit of time", 0.097, JACOBIAN, 0.05, "half: an affine region has one rate for all "
              "of it", _of_inner(lambda _, slope: math.log(abs(slope)) / DT)),
        Claim("best run: turning there, radians per unit of time", 0.995, JACOBIAN, 0.1, "the attractor turns at 1.07",
              _of_inner(lambda _, slope: abs(math.atan2(slope.imag, slope.real)) / DT)),
        Claim("best run: entropy of the turns over its largest exponent per turn", 0.5, "Pesin: a code says at most what the "
              "map does", 0.5, "0 to 1", _share_of_bound),
    ),
    scales={
        "tiny": {"trained": False, "relu": (), "runs": 0, "steps": 2000, "judged": False},
        "quick": {"trained": False, "relu": (), "runs": 0, "steps": 10_000, "judged": True},
        "full": {"trained": True, "relu": (0, 1, 2, 3), "runs": 10, "steps": 50_000, "judged": True},
    },
)  # fmt: skip
