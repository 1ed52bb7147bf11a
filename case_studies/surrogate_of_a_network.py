"""A surrogate of a network: does the graph of an almost-linear RNN fitted to a flip-flop GRU name the GRU's own memories?

Almost-linear RNNs (Brenner, Hemmer, Monfared, Durstewitz, NeurIPS 2024) are fitted to the hidden states of a trained GRU that
holds three bits, as it comes to rest at zero input from between visited states. Their regions and fixed points describe the
surrogate. Whether they describe the GRU is then asked of the GRU: states that it visits in its task are exchanged within and
across the classes that the surrogate names, and it runs on.

How many rectified units it takes: each of the 2^P regions holds one fixed point at most, a stable one has index +1, and on a
bounded attractor the indices add up to 1; so at most (2^P + 1) / 2 are stable, and 8 need P = 4 or more. A product of three
bistable bits of three linear pieces each has P = 6.

Models are judged where a memory shows, 1000 steps on: over the 80 steps that they are fitted to, starts near a border decide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from analyses.maps.fixed_points import find_fixed_points
from analyses.result import Result
from analyses.symbols.almost_linear_fit import TeacherForcing, fit_almost_linear
from analyses.symbols.exact_fixed_points import exact_fixed_points
from analyses.symbols.regions import regions
from analyses.symbols.swap_test import swap_test
from analyses.symbols.symbolic_graph import symbolic_graph
from case_studies._study import CaseStudy, number_of
from case_studies._tasks import flip_flop
from case_studies._train import shipped_weights
from case_studies.flip_flop_memory import BITS, UNITS, shipped
from hooks.dynamics import Dynamics, rollout
from hooks.families import PiecewiseLinear, recurrent
from hooks.trajectory import Trajectory
from interp.claims import Claim
from interp.journal import Journal
from interp.progress import meter

LATENT, OUTPUTS = 17, 3  # units; principal components that are fitted
NUMBERS, RUNS = (3, 4, 6, 8, 12), 4  # rectified units, and models of each
REST = 80  # steps of a relaxation, in which the GRU comes to rest
HELD = 1000  # steps after which a surrogate says which memory a state belongs to, and is judged on fresh relaxations
UPDATES = 8000
FROM_OWN = "GRU: fixed points from the surrogate's"
REGIONS = "best surrogate: regions"
SINKS = "GRU: swaps between the surrogate's memories"
NOW = "GRU: swaps between the surrogate's regions"
COARSE = f"GRU: swaps between the memories of P = {NUMBERS[0]}"


@dataclass(frozen=True, eq=False)
class Surrogates:
    """Models of the coordinates ((hidden state - origin) @ basis - shift) / scale."""

    relu: np.ndarray
    A: np.ndarray
    W: np.ndarray
    h: np.ndarray
    L: np.ndarray
    basis: np.ndarray
    origin: np.ndarray
    shift: np.ndarray
    scale: np.ndarray

    def network(self, run: int) -> PiecewiseLinear:
        A, W, h = (torch.from_numpy(weight[run].copy()) for weight in (self.A, self.W, self.h))
        return PiecewiseLinear(A, W, h, int(self.relu[run]), OUTPUTS)

    def seen(self, states: np.ndarray) -> np.ndarray:
        """(..., OUTPUTS) of hidden states."""
        return ((states - self.origin) @ self.basis - self.shift) / self.scale

    def starts(self, run: int, states: np.ndarray) -> np.ndarray:
        x = self.seen(states)
        return np.concatenate([x, x @ self.L[run].T], axis=1)

    def hidden(self, points: np.ndarray) -> np.ndarray:
        """Hidden states of a surrogate's states, as far as the components carry them."""
        return self.origin + (self.shift + self.scale * points[:, :OUTPUTS]) @ self.basis.T


@dataclass(frozen=True, eq=False)
class Specimen:
    dynamics: Dynamics
    task: Trajectory  # visited under pulses
    held_out: Trajectory  # relaxations that nothing was fitted to
    surrogates: Surrogates
    states: int  # of the swap tests
    partitions: int


def relaxations(dynamics: Dynamics, *, runs: int, seed: int, steps: int) -> Trajectory:
    """The network at zero input, from states between two that it visits in its task: both sides of every border."""
    inputs, _ = flip_flop(bits=BITS, runs=200, steps=30, generator=torch.Generator().manual_seed(seed))
    visited = rollout(dynamics, np.zeros((200, UNITS)), drives=inputs).states[:, 1:].reshape(-1, UNITS)
    draw = np.random.default_rng(seed)
    one, other = visited[draw.integers(len(visited), size=(2, runs))]
    share = draw.uniform(size=(runs, 1))
    return rollout(dynamics.hold(np.zeros(BITS)), share * one + (1 - share) * other, steps=steps)


def trained(dynamics: Dynamics, *, runs: int = RUNS, updates: int = UPDATES) -> Surrogates:
    """Fitted to 600 relaxations, free-running over each whole one (a minute or two for all)."""
    rest = relaxations(dynamics, runs=600, seed=1, steps=REST)
    origin = rest.points().mean(axis=0)
    basis = np.linalg.svd(rest.points() - origin, full_matrices=False)[2][:OUTPUTS].T
    recipe = TeacherForcing(
        steps=updates, every=REST, length=REST - 1, batch=32, learning_rates=(5e-3, 1e-5), noise=0.02
    )
    # one save, at the end: Dstsp of a single orbit can't judge a map with eight attractors
    fit = fit_almost_linear(
        rest.project(basis, origin), LATENT, NUMBERS, runs=runs, recipe=recipe, standardise=True, select_every=updates,
        orbit=REST, watch=meter("training almost-linear RNNs"),
    )  # fmt: skip
    return Surrogates(fit.relu, fit.A, fit.W, fit.h, fit.L, basis, origin, fit.shift, fit.scale)


def kept() -> Surrogates:
    """What ``trained`` made, from the weights beside this file."""
    tensors = shipped_weights("flip_flop_almost_linear")
    return Surrogates(
        **{name: (part.double() if part.is_floating_point() else part).numpy() for name, part in tensors.items()}
    )


def prepare(*, train: bool, states: int, partitions: int) -> Specimen:
    """The shipped GRU, its states on fresh trials (seed 99), fresh relaxations, and the surrogates, shipped or trained anew."""
    module = shipped("GRU")
    dynamics = recurrent(module.rnn, readout=module.readout)
    inputs, _ = flip_flop(bits=BITS, runs=64, steps=64, generator=torch.Generator().manual_seed(99))
    return Specimen(
        dynamics=dynamics,
        task=rollout(dynamics, np.zeros((64, UNITS)), drives=inputs),
        held_out=relaxations(dynamics, runs=400, seed=2, steps=HELD),
        surrogates=trained(dynamics) if train else kept(),
        states=states,
        partitions=partitions,
    )


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """The GRU's memories, each surrogate's fixed points, the graph of the best one, and the swap tests on the GRU."""
    dynamics, made, rest = specimen.dynamics, specimen.surrogates, specimen.held_out
    found = journal.note("GRU: fixed points", find_fixed_points, dynamics.hold(np.zeros(BITS)), 1024)
    errors = np.array([_error(made, run, rest) for run in range(len(made.relu))])
    points = {}
    for P in NUMBERS:
        for rank, run in enumerate(np.argsort(np.where(made.relu == P, errors, np.inf))[: (made.relu == P).sum()], 1):
            network = made.network(run)
            points[run] = journal.note(f"P = {P}, model {rank}: fixed points", exact_fixed_points, network)
    best = int(errors.argmin())
    network, own = made.network(best), points[best].points[points[best].stable]
    from_own = journal.note(FROM_OWN, find_fixed_points, dynamics, made.hidden(own), drives=np.zeros(BITS), rounds=0)
    orbits = rollout(network.dynamics(), made.starts(best, rest.states[:, 0]), steps=HELD)
    visited = journal.note(REGIONS, regions, orbits, network=network)
    graph = journal.note("best surrogate: graph", symbolic_graph, visited)

    options: dict[str, Any] = {"states": specimen.states, "partitions": specimen.partitions}
    named = _memories(made, best, specimen.task.states)
    sinks = journal.note(SINKS, swap_test, dynamics, specimen.task, named, **options)
    codes = _codes(network, made.starts(best, specimen.task.states.reshape(-1, UNITS)))
    now = journal.note(NOW, swap_test, dynamics, specimen.task, codes.reshape(named.shape), **options)
    few = int(np.argmin(np.where(made.relu == NUMBERS[0], errors, np.inf)))
    coarse = journal.note(
        COARSE, swap_test, dynamics, specimen.task, _memories(made, few, specimen.task.states), **options
    )

    stable = [f"{P}: {max(points[run].stable.sum() for run in points if made.relu[run] == P)}" for P in NUMBERS]
    gap, between = _gap(found, made.hidden(own))
    ends = np.unique(visited.symbols[:, -1])
    rests = len(points[best].points)
    return (
        f"{_answer(sinks, from_own, own)} The best surrogate, by its error {HELD} steps into relaxations that it was not "
        f"fitted to, has {made.relu[best]} rectified units, {rests} fixed points, {len(own)} of them stable; "
        f"a memory of the GRU is at most {gap:.2g} from one, and {between:.2g} at least from another memory.",
        f"From {len(rest.states)} starts its orbits visit {len(visited.labels)} regions with {len(graph.sources)} edges, and "
        f"end in {len(ends)} of them.",
        f"Most stable fixed points of a surrogate, by its rectified units P: {', '.join(stable)}. At most (2^P + 1) / 2 are "
        f"possible while orbits stay bounded: 4 for P = 3.",
        f"Swaps in the GRU between the memories named by the surrogate: {sinks.summary()}.",
        f"Between the regions that the surrogate's state is in at the time: {now.summary()}.",
        f"Between the memories named by the best surrogate of {NUMBERS[0]} rectified units: {coarse.summary()}.",
    )


def _answer(sinks: Any, from_own: Any, own: np.ndarray) -> str:
    if sinks.confirmed and len(own) == len(from_own.points) == from_own.stable.sum() == 2**BITS:
        return "Yes: each memory that the surrogate names is one of the GRU's, and swaps in the GRU confirm it."
    return "Not shown: the graph is the surrogate's."


def _error(made: Surrogates, run: int, rest: Trajectory) -> float:
    """Root mean square error after HELD steps from held-out starts, in standard deviations of the recording."""
    ends = rollout(made.network(run).dynamics().iterated(HELD), made.starts(run, rest.states[:, 0]), steps=1)
    error = np.sqrt(np.mean((ends.states[:, 1, :OUTPUTS] - made.seen(rest.states[:, -1])) ** 2))
    return float(error) if np.isfinite(error) else np.inf


def _codes(network: PiecewiseLinear, states: np.ndarray) -> np.ndarray:
    """The region's bits as a number, first unit highest; -1 for a state that is not finite."""
    on = states[:, len(network.A) - network.relu :] > 0
    return np.where(np.isfinite(states).all(axis=1), on @ (1 << np.arange(network.relu)[::-1]), -1)


def _memories(made: Surrogates, run: int, states: np.ndarray) -> np.ndarray:
    """(runs, steps) the region that the surrogate is in after running on by itself from each state."""
    network = made.network(run)
    ends = rollout(network.dynamics().iterated(HELD), made.starts(run, states.reshape(-1, UNITS)), steps=1)
    return _codes(network, ends.states[:, 1]).reshape(states.shape[:2])


def _gap(found: Any, own: np.ndarray) -> tuple[float, float]:
    """Largest distance of a memory of the GRU from the surrogate's nearest, and the smallest between two memories."""
    memories = found.points[found.stable]
    between = np.linalg.norm(memories[:, None] - memories, axis=2)
    gaps = np.linalg.norm(memories[:, None] - own, axis=2).min(axis=1, initial=np.inf)
    return float(gaps.max(initial=0)), float(between[~np.eye(len(memories), dtype=bool)].min(initial=np.inf))


def _few(results: Mapping[str, Any]) -> float:
    stable = [found.stable.sum() for title, found in results.items() if title.startswith(f"P = {NUMBERS[0]}, ")]
    return float(max(stable))


def _best(read: Callable[[Any], float]) -> Callable[[Mapping[str, Result]], float]:
    """Of the fixed points of the best surrogate, which is the first with as many regions' bits as the graph has."""

    def measure(results: Mapping[str, Any]) -> float:
        P = results[REGIONS].bits.shape[1]
        return float(read(results[f"P = {P}, model 1: fixed points"]))

    return measure


TASK = "the task: 2^3 settings to be held"
EXACT = "a count"

study = CaseStudy(
    title="A surrogate of a network: does its graph name the network's own memories?",
    citation="Brenner, Hemmer, Monfared, Durstewitz, Almost-Linear RNNs Yield Highly Interpretable Symbolic Codes in "
    "Dynamical Systems Reconstruction, NeurIPS 2024; the network: Sussillo and Barak, Neural Computation 25(3), 2013",
    question="Do the memories of an almost-linear RNN fitted to a flip-flop GRU's states stand for the GRU's own?",
    prepare=prepare,
    examine=examine,
    claims=(
        Claim("GRU: stable fixed points", 8, TASK, 0, EXACT, number_of("GRU: fixed points", lambda found: found.stable.sum())),
        Claim("best surrogate: stable fixed points", 8, TASK, 0, EXACT, _best(lambda found: found.stable.sum())),
        Claim("best surrogate: all fixed points", 27, "three independent bistable bits: 3^3, as the GRU has", 0, EXACT,
              _best(lambda found: len(found.points))),
        Claim("best surrogate: regions that hold a stable fixed point", 8, "one a memory", 0, EXACT,
              _best(lambda found: len(np.unique(found.regions[found.stable], axis=0)))),
        Claim("GRU: memories reached in a search from the surrogate's", 8, TASK, 0, EXACT,
              number_of(FROM_OWN, lambda found: found.stable.sum())),
        Claim(f"P = {NUMBERS[0]}: most stable fixed points of a surrogate", 2, "at most (2^P + 1) / 2 by the index sum", 2,
              "0 to 4", _few),
        Claim("GRU: pairs of the surrogate's memories told apart by swaps", 28, "8 memories: 28 pairs", 0, EXACT,
              number_of(SINKS, lambda found: found.told_apart.sum() // 2)),
        Claim("GRU: the surrogate's memories confirmed by swaps (1: yes)", 1, "its memories are the GRU's", 0, "yes or no",
              number_of(SINKS, lambda found: found.confirmed)),
    ),
    scales={
        "tiny": {"train": False, "states": 64, "partitions": 39},
        "quick": {"train": False, "states": 160, "partitions": 199},
        "full": {"train": True, "states": 256, "partitions": 499},
    },
)  # fmt: skip
