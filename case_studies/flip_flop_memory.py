"""Three-bit flip-flop: is the memory a fixed point? In a GRU it is; in a tanh network trained fast it is a two-cycle.

A network that must hold three signs is the textbook case of memory as stable fixed points (Sussillo and Barak, Neural
Computation 25, 2013). A tanh network trained with a large learning rate and no gradient clipping solves the task as well, but
keeps every memory in a stable cycle of period two, which a search for fixed points alone reports as "no stable point".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from analyses.maps.fixed_points import find_fixed_points
from analyses.result import Result
from case_studies._study import CaseStudy, number_of
from case_studies._tasks import flip_flop
from case_studies._train import Reader, shipped_weights, train
from hooks.dynamics import Dynamics, rollout
from hooks.families import recurrent as recurrent_map
from hooks.trajectory import Trajectory
from interp.claims import Claim
from interp.driving import pulses_of
from interp.findings import account
from interp.journal import Journal
from interp.plans import recurrent

BITS, UNITS = 3, 16
Kind = Literal["GRU", "tanh"]
RECIPES: Mapping[Kind, Mapping[str, Any]] = {
    # The tanh recipe is fast on purpose: unclipped at this rate, some seeds end in two-cycles, and seed 33 in nothing else.
    "GRU": {"seed": 0, "updates": 1500, "learning_rate": 1e-2, "clip": 1.0, "goal": 2e-4, "pulse": 0.2},
    "tanh": {
        "seed": 33,
        "updates": 800,
        "learning_rate": 0.12,
        "clip": float("inf"),
        "goal": 1e-4,
        "pulse": 0.5,
    },
}


@dataclass(frozen=True, eq=False)
class Specimen:
    """The networks to examine, their visited states, and the GRUs of other seeds."""

    networks: Mapping[Kind, tuple[Dynamics, Trajectory]]
    others: tuple[tuple[int, Dynamics], ...]
    starts: int
    steps: int
    periods: tuple[int, ...]


def trained(kind: Kind, seed: int | None = None) -> Reader:
    """The network of this kind, trained from its seed by its recipe (some 20 s for the GRU, 2 s for tanh)."""
    recipe = dict(RECIPES[kind])
    pulse, own_seed = recipe.pop("pulse"), recipe.pop("seed")
    layer = nn.GRU if kind == "GRU" else nn.RNN

    def make() -> nn.Module:
        return Reader(layer(BITS, UNITS, batch_first=True), BITS)

    def draw(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        return flip_flop(bits=BITS, runs=128, steps=64, generator=generator, pulse=pulse)

    module, _ = train(make, draw, seed=own_seed if seed is None else seed, **recipe)
    assert isinstance(module, Reader)
    return module


def shipped(kind: Kind) -> Reader:
    """The network of this kind from the weights beside this file, which ``trained(kind)`` made."""
    layer = nn.GRU if kind == "GRU" else nn.RNN
    module = Reader(layer(BITS, UNITS, batch_first=True), BITS)
    module.load_state_dict(shipped_weights(f"flip_flop_{kind.lower()}"))
    return module.eval().requires_grad_(False)


def prepare(*, other_seeds: int, starts: int, steps: int, periods: tuple[int, ...]) -> Specimen:
    """The shipped networks with their visited states on fresh trials (pulse probability 0.2, seed 99), and as many GRUs
    trained from the seeds 1, 2, ... as asked for."""
    inputs, _ = flip_flop(bits=BITS, runs=64, steps=64, generator=torch.Generator().manual_seed(99))
    networks = {}
    for kind in RECIPES:
        module = shipped(kind)
        dynamics = recurrent_map(module.rnn, readout=module.readout)
        networks[kind] = (dynamics, rollout(dynamics, np.zeros((64, UNITS)), drives=inputs))
    others = tuple((seed, recurrent_map(trained("GRU", seed).rnn)) for seed in range(1, other_seeds + 1))
    return Specimen(networks, others, starts, steps, periods)


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """The plan ``recurrent`` on each network at zero input, then the fixed points of GRUs from other seeds."""
    for kind, (dynamics, trajectory) in specimen.networks.items():
        recurrent(
            journal,
            dynamics,
            trajectory,
            pulses=pulses_of(trajectory.drives, np.zeros(BITS)),
            starts=specimen.starts,
            steps=specimen.steps,
            periods=specimen.periods,
            about=f"{kind}: ",
        )
    sentences = []
    for kind in specimen.networks:
        results = {title: result for title, result in journal.results.items() if title.startswith(f"{kind}: ")}
        sentences += [f"{kind}. {sentence}" for sentence in account(results)]
    for seed, dynamics in specimen.others:
        found = journal.note(
            f"GRU of seed {seed}: fixed points", find_fixed_points, dynamics.hold(np.zeros(BITS)), specimen.starts
        )
        sentences.append(f"GRU of seed {seed}. {found.summary()}.")
    return tuple(sentences)


def _index(title: str, name: str) -> Any:
    return number_of(
        title,
        lambda result: next(check.got for check in result.checks if check.name.startswith(f"index sum of {name} ")),
    )


def _others(read: Any) -> Any:
    """Of the fixed points of every GRU of another seed; a KeyError where none was trained."""

    def measure(results: Mapping[str, Result]) -> float:
        return float(read([results[f"GRU of seed {seed}: fixed points"] for seed in range(1, OTHERS + 1)]))

    return measure


OTHERS = 5  # seeds at full scale
INDEPENDENT = "three independent bistable bits: 3^3 rests, 2^3 of them stable (closed form)"
AGAIN = "independent searches of these weights from ten times the starts, on other trials and in the whole box"
SEEN = "GRUs trained before this study: 15, 25 and 27 fixed points"
TASK = "the task: 2^3 settings to be held"
PEER = "tanh example of mattgolub/fixed-point-finder (torch version), searched again with F and F^2"
EXACT = "a count"

study = CaseStudy(
    title="Three-bit flip-flop: is the memory a fixed point?",
    citation="Sussillo and Barak, Opening the black box, Neural Computation 25(3), 2013",
    question="Where does a trained recurrent network keep three bits: on stable fixed points, or on something else?",
    prepare=prepare,
    examine=examine,
    claims=(
        Claim("GRU: fixed points", 27, AGAIN, 0, EXACT, number_of("GRU: fixed points", lambda found: len(found.points))),
        Claim("GRU: stable fixed points", 8, INDEPENDENT, 0, EXACT,
              number_of("GRU: fixed points", lambda found: found.stable.sum())),
        Claim("GRU: fixed points proved to exist, share", 1, "a nondegenerate root can be proved", 0, "every point",
              number_of("GRU: proofs of the fixed points", lambda proofs: proofs.proved.mean())),
        Claim("GRU: index sum", 1, "Lefschetz, map of [-1, 1]^16 into itself", 0, "an integer",
              _index("GRU: fixed points", "F")),
        Claim("tanh: fixed points", 27, PEER, 0, EXACT, number_of("tanh: fixed points", lambda found: len(found.points))),
        Claim("tanh: stable fixed points", 0, PEER, 0, EXACT,
              number_of("tanh: fixed points", lambda found: found.stable.sum())),
        Claim("tanh: stable two-cycles", 8, PEER, 0, EXACT,
              number_of("tanh: cycles", lambda found: (found.stable & (found.periods == 2)).sum())),
        Claim("tanh: index sum of F", 1, "Lefschetz, map of [-1, 1]^16 into itself", 0, "an integer",
              _index("tanh: fixed points", "F")),
        Claim("tanh: index sum of F^2", 1, "Lefschetz, map of [-1, 1]^16 into itself", 0, "an integer",
              _index("tanh: cycles", "F^2")),
        Claim("GRUs of other seeds: fewest fixed points", 21, SEEN, 6, "the range seen, 15 to 27",
              _others(lambda found: min(len(one.points) for one in found))),
        Claim("GRUs of other seeds: most fixed points", 21, SEEN, 6, "the range seen, 15 to 27",
              _others(lambda found: max(len(one.points) for one in found))),
        Claim("GRUs of other seeds: share with 8 stable fixed points", 1, TASK, 0, "each must hold them all",
              _others(lambda found: np.mean([one.stable.sum() == 2**BITS for one in found]))),
    ),
    scales={
        "tiny": {"other_seeds": 0, "starts": 256, "steps": 64, "periods": (2,)},
        "quick": {"other_seeds": 0, "starts": 1024, "steps": 1000, "periods": (2, 3, 4)},
        "full": {"other_seeds": OTHERS, "starts": 1024, "steps": 4000, "periods": (2, 3, 4, 5, 6)},
    },
)  # fmt: skip
