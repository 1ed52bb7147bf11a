"""Oscillators that solve puzzles: is an answer a state that comes to rest, do more steps help, and what does the energy tell?

Artificial Kuramoto oscillatory neurons (Miyato, Loewe, Geiger, Welling, ICLR 2025) are unit vectors that turn and pull each
other for so many steps. Trained on Sudoku they are reported to solve more of the harder puzzles when they run for longer than
they were trained, and the answer of lowest energy among many starts to be right more often. Here the puzzles are all 288 grids
of 4 x 4, 188 of them for training, the network has 8 oscillators of 4 numbers a cell, and the trained map is taken apart: does
it come to rest, from every start at the same point, with which exponents; does the energy fall as with symmetric couplings; and
which of this does an untrained network do.

What is found: more steps do help, in each network, and no answer rests. A solved puzzle is one chaotic attractor, the same from
every start, on which the cells go on saying the answer. The energy rises in every second step, as the coupling is as far from
symmetric as a random one, and its lowest value is no better a guess than any start's. Untrained networks rest more often.

The harder puzzles have 4 or 5 cells given, those of the training 6 to 10; every puzzle has one solution. Three networks were
trained for 8 steps by this file's ``trained`` (after 400 updates, tried first, they solved too few easy puzzles: 0.66 to 0.94)
and are shipped; "full" trains two more.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from analyses.maps.fixed_points import DampedNewton, find_fixed_points
from analyses.maps.lyapunov import lyapunov_spectrum
from analyses.series.paired import PairedDifference, paired_difference
from case_studies._study import CaseStudy, number_of
from case_studies._train import shipped_weights
from hooks.families.kuramoto import Kuramoto
from hooks.watch import Watch, quiet
from interp.claims import Claim
from interp.journal import Journal

CELLS, CHANNELS, WIDTH, HEADS = 16, 8, 4, 4
TRAINED_FOR, LONGER, LAST = 8, 64, 1000  # steps; the last to see whether anything still moves
EASY, HARD = (6, 7, 8, 9, 10), (4, 5)  # cells given
SHIPPED = (0, 1, 2)  # seeds
UPDATES, BATCH = 1000, 100
TWINS = 100  # first seed of the untrained networks
MORE = f"solved after {TRAINED_FOR} steps and after {LONGER}"
VOTE = "solved from one start and from the start of lowest energy"
AT_REST = 1e-8  # length of a step below which a state of 512 numbers of size 1/2 rests
RESTED = 12  # puzzles that are followed to the last step
NEAR = DampedNewton(
    steps=3
)  # from a state at rest; a search from afar would find points the iteration does not lead to


@cache
def grids() -> Tensor:
    """(288, 16) every 4 x 4 grid whose rows, columns and quarters hold 0 to 3 once."""
    rows = torch.tensor(list(itertools.permutations(range(4))))
    whole = rows[torch.cartesian_prod(*[torch.arange(24)] * 4)].reshape(-1, 4, 4)
    quarters = whole.reshape(-1, 2, 2, 2, 2).transpose(2, 3).reshape(-1, 4, 4)
    fits = [(part.sort(-1).values == torch.arange(4)).all(-1).all(-1) for part in (whole.mT, quarters)]
    return whole[fits[0] & fits[1]].flatten(1)


def split() -> tuple[Tensor, Tensor]:
    """(188, 16) grids of the training and (100, 16) held out."""
    order = torch.randperm(len(grids()), generator=torch.Generator().manual_seed(0))
    return grids()[order[:188]], grids()[order[188:]]


def puzzles(of: Tensor, count: int, given: tuple[int, ...], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Grids (count, 16) and which of their cells are given, drawn until ``count`` have one solution."""
    answers, masks = torch.zeros(0, CELLS, dtype=torch.int64), torch.zeros(0, CELLS, dtype=torch.bool)
    while len(answers) < count:
        rows = of[torch.randint(len(of), (2 * count,), generator=generator)]
        cells = torch.tensor(given)[torch.randint(len(given), (2 * count, 1), generator=generator)]
        shown = torch.rand(2 * count, CELLS, generator=generator).argsort(1).argsort(1) < cells
        one = ((rows[:, None] == grids()) | ~shown[:, None]).all(2).sum(1) == 1
        answers, masks = torch.cat([answers, rows[one]]), torch.cat([masks, shown[one]])
    return answers[:count], masks[:count]


class Solver(nn.Module):
    """Oscillators over the cells of a puzzle; the coupling is a sum of products of a cell's and an oscillator's part."""

    def __init__(self) -> None:
        super().__init__()
        dim = CHANNELS * WIDTH
        self.given = nn.Parameter(0.5 * torch.randn(4, dim))
        self.place = nn.Parameter(0.1 * torch.randn(CELLS, dim))
        self.between_cells = nn.Parameter(0.25 * torch.randn(HEADS, CELLS, CELLS))
        self.within_cells = nn.Parameter(0.5 * torch.randn(HEADS, dim, dim) / dim**0.5)
        self.turning = nn.Parameter(torch.zeros(CHANNELS, WIDTH, WIDTH))
        self.rate = nn.Parameter(torch.tensor(0.5))
        self.answer = nn.Linear(dim, 4)

    def stimulus(self, answers: Tensor, shown: Tensor) -> Tensor:
        """(puzzles, 16 x 32) what the given cells pull towards."""
        return (self.given[answers] * shown[..., None] + self.place).flatten(1)

    def forward(self, states: Tensor, stimulus: Tensor) -> Tensor:
        """One step of (puzzles, 16 x 32) states, as ``oscillators`` takes it."""
        cells = states.unflatten(1, (CELLS, -1))
        coupled = torch.einsum("hij,bjd,hed->bie", self.between_cells, cells, self.within_cells)
        x, pull = (part.reshape(-1, CELLS, CHANNELS, WIDTH) for part in (states, stimulus + coupled.flatten(1)))
        turned = ((self.turning - self.turning.mT) @ x[..., None])[..., 0]
        moved = x + self.rate * (turned + pull - (pull * x).sum(-1, keepdim=True) * x)
        return (moved / moved.norm(dim=-1, keepdim=True)).flatten(1)

    def scores(self, states: Tensor) -> Tensor:
        """(puzzles, 16, 4) of the four digits in every cell."""
        return self.answer(states.unflatten(1, (CELLS, -1)))

    def oscillators(self) -> Kuramoto:
        """The same in float64, its coupling formed."""
        pairs = zip(self.between_cells.detach().double(), self.within_cells.detach().double(), strict=True)
        turning = (self.turning - self.turning.mT).detach().double().repeat(CELLS, 1, 1)
        coupling = torch.stack([torch.kron(cells, within) for cells, within in pairs]).sum(0)
        return Kuramoto(coupling, turning, float(self.rate.detach()))


def random_states(count: int, generator: torch.Generator) -> Tensor:
    """(count, 16 x 32) float32 oscillators of random directions."""
    x = torch.randn(count, CELLS * CHANNELS, WIDTH, generator=generator)
    return (x / x.norm(dim=-1, keepdim=True)).flatten(1)


def untrained(seed: int) -> Solver:
    """Weights as drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Solver()


def trained(seed: int, *, updates: int = UPDATES, watch: Watch = quiet) -> Solver:
    """The network of this seed, trained on puzzles with 6 to 10 cells given: a minute on one core.

    Adam at 0.002 with cosine decay; the cross-entropy of the hidden cells over the last half of the steps.
    """
    module, (shown_grids, _) = untrained(seed), split()
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(module.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, updates)
    for _ in watch(iter(range(updates)), updates):
        answers, shown = puzzles(shown_grids, BATCH, EASY, generator)
        states, stimulus = random_states(BATCH, generator), module.stimulus(answers, shown)
        loss = torch.zeros(())
        for step in range(TRAINED_FOR):
            states = module(states, stimulus)
            if step >= TRAINED_FOR // 2:
                said = module.scores(states)[~shown]
                loss = loss + nn.functional.cross_entropy(said, answers[~shown]) / (TRAINED_FOR - TRAINED_FOR // 2)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return module.eval().requires_grad_(False)


def shipped(seed: int) -> Solver:
    """The network of this seed from the weights beside this file, which ``trained(seed)`` made."""
    module, prefix = untrained(seed), f"{seed}."
    kept = shipped_weights("kuramoto_neurons").items()
    module.load_state_dict({name.removeprefix(prefix): part for name, part in kept if name.startswith(prefix)})
    return module.eval().requires_grad_(False)


@dataclass(frozen=True, eq=False)
class Specimen:
    """Networks by name, how many puzzles of each kind, starts of a vote, puzzles whose exponents are taken, and their steps."""

    networks: Mapping[str, Solver]
    puzzles: int
    votes: int
    exponents: int
    steps: int


def prepare(
    *, seeds: tuple[int, ...], trainings: int, puzzles: int, votes: int, exponents: int, steps: int
) -> Specimen:
    """Shipped networks, ``trainings`` new ones, and an untrained one."""
    networks = {f"trained {seed}": shipped(seed) for seed in seeds}
    networks |= {f"trained {seed}": trained(seed) for seed in range(len(SHIPPED), len(SHIPPED) + trainings)}
    networks["untrained"] = untrained(TWINS).eval().requires_grad_(False)
    return Specimen(networks, puzzles, votes, exponents, steps)


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """Of every network: puzzles solved after how many steps, where states rest, what the energy tells, and exponents."""
    sentences = []
    for name, module in specimen.networks.items():
        said = [
            _solved(journal, name, module, kind, given, specimen) for kind, given in (("easy", EASY), ("hard", HARD))
        ]
        sentences += [*said, _exponents(journal, name, module, specimen)]
    return tuple(sentences)


def _solved(journal: Journal, name: str, module: Solver, kind: str, given: tuple[int, ...], specimen: Specimen) -> str:
    """From one random start a puzzle and from many: what is right when, whether it rests, and at which energy."""
    generator = torch.Generator().manual_seed(1)
    answers, shown = puzzles(split()[1], specimen.puzzles, given, generator)
    stimulus = module.stimulus(answers, shown)
    everyone, truth = (
        stimulus.repeat(specimen.votes, 1),
        (answers.repeat(specimen.votes, 1), shown.repeat(specimen.votes, 1)),
    )
    first = states = random_states(len(everyone), generator)
    early = None
    for step in range(1, LONGER + 1):
        states = module(states, everyone)
        early = states if step == TRAINED_FOR else early
    assert early is not None
    votes = _right(module, states, *truth).reshape(specimen.votes, -1)
    more = journal.note(
        f"{name}, {kind}: {MORE}",
        paired_difference,
        _right(module, early, *truth)[: len(answers)],
        votes[0],
        names=(f"{TRAINED_FOR} steps", f"{LONGER} steps"),
        unit="puzzle",
    )
    network = module.oscillators()
    lowest = network.energy(states.double(), everyone.double()).reshape(specimen.votes, -1).argmin(0).numpy()
    vote = journal.note(
        f"{name}, {kind}: {VOTE}",
        paired_difference,
        votes.mean(axis=0),
        votes[lowest, np.arange(len(answers))],
        names=(f"one of {specimen.votes} starts", "the start of lowest energy"),
        unit="puzzle",
    )
    few = min(RESTED, len(answers))
    rest = _rests(journal, f"{name}, {kind}", module, first[:few], answers[:few], shown[:few])
    return f"{name}, {kind} puzzles: {more.summary()}. {vote.summary()}. {rest}"


def _rests(journal: Journal, name: str, module: Solver, states: Tensor, answers: Tensor, shown: Tensor) -> str:
    """Whether solved and other puzzles end at a fixed point, and whether the energy fell on the way."""
    network, stimulus = module.oscillators(), module.stimulus(answers, shown).double()
    dynamics, now = network.dynamics(), states.double()
    energies, before = [network.energy(now, stimulus)], now
    for step in range(LAST):
        before, now = now, dynamics(now, stimulus)
        if step < LONGER:
            energies.append(network.energy(now, stimulus))
    rests = ((now - before).norm(dim=1) < AT_REST).numpy()
    solved = _right(module, now, answers, shown)
    found = journal.note(
        f"{name}: fixed points where {LAST} steps led", find_fixed_points, dynamics, now, drives=stimulus, method=NEAR
    )
    rises = float((torch.stack(energies).diff(dim=0) > 1e-9).double().mean())
    return (
        f"Of {len(now)} of them {solved.sum()} are solved after {LAST} steps; {(rests & solved).sum()} of these rest, and "
        f"{(rests & ~solved).sum()} of the others. {found.summary()}. The energy rises in {rises:.1%} of {LONGER} steps."
    )


def _right(module: Solver, states: Tensor, answers: Tensor, shown: Tensor) -> np.ndarray:
    """(puzzles,) bool: every hidden cell is said right."""
    said = module.scores(states.float()).argmax(-1)
    return ((said == answers) | shown).all(1).numpy()


def _exponents(journal: Journal, name: str, module: Solver, specimen: Specimen) -> str:
    """Leading exponents on a few hard puzzles, and how far the coupling is from symmetric."""
    network = module.oscillators()
    generator = torch.Generator().manual_seed(1)
    answers, shown = puzzles(split()[1], max(1, specimen.exponents), HARD, generator)
    stimulus = module.stimulus(answers, shown).double()
    said = []
    for number in range(specimen.exponents):
        spectrum = journal.note(
            f"{name}: exponents of hard puzzle {number}",
            lyapunov_spectrum,
            network.dynamics().hold(stimulus[number]),
            network.starts(4, generator=generator),
            steps=specimen.steps,
            burn_in=specimen.steps,
            directions=2,
        )
        said.append(spectrum.summary())
    J = network.coupling
    symmetric = float((J + J.T).square().sum() / (4 * J.square().sum()))
    return f"{name}: {symmetric:.3f} of the coupling is symmetric (one half if drawn at random). " + " ".join(
        f"Puzzle {number}: {one}." for number, one in enumerate(said)
    )


def _networks(results: Mapping[str, Any], ending: str) -> float:
    """Of the shipped networks, in how many the second number is larger; KeyError below three."""
    found: list[PairedDifference] = [results[f"trained {seed}, {ending}"] for seed in SHIPPED]
    return float(sum(one.larger for one in found))


PAPER = "Miyato et al. 2025, section 5.3, our reading"

study = CaseStudy(
    title="Oscillators that solve puzzles: rest, energy and more steps than trained",
    citation="Miyato, Loewe, Geiger, Welling, Artificial Kuramoto Oscillatory Neurons, ICLR 2025, arXiv 2410.13821",
    question="Is an answer a state at rest, do more steps and lower energies make it right, and is that training's doing?",
    prepare=prepare,
    examine=examine,
    claims=(
        Claim("networks of three that solve more of the hard puzzles in eight times the steps", 3, PAPER, 0,
              "a count; each by an exact sign test at 5 %", lambda results: _networks(results, f"hard: {MORE}")),
        Claim("networks of three whose lowest energy is right more often than a start", 3, PAPER, 0,
              "a count; each by an exact sign test at 5 %", lambda results: _networks(results, f"hard: {VOTE}")),
        Claim("network 0: easy held-out puzzles solved after 64 steps", 1, f"{PAPER}: near all in distribution", 0.05,
              "three standard errors at 200 puzzles", number_of(f"trained 0, easy: {MORE}", lambda one: one.second.mean())),
        Claim("untrained network: easy puzzles solved", 0, "4^-6 at least cells are guessed", 0.01, "chance",
              number_of(f"untrained, easy: {MORE}", lambda one: one.second.mean())),
    ),
    scales={
        "tiny": {"seeds": (), "trainings": 0, "puzzles": 3, "votes": 2, "exponents": 0, "steps": 100},
        "quick": {"seeds": SHIPPED, "trainings": 0, "puzzles": 200, "votes": 8, "exponents": 1, "steps": 200},
        "full": {"seeds": SHIPPED, "trainings": 2, "puzzles": 500, "votes": 32, "exponents": 8, "steps": 1000},
    },
)  # fmt: skip
