"""Streaming parity: when a network begins to generalise to words of every length, has it become a machine of two states?

A rectified network reads bits and says after the last one whether the number of 1s is odd. Trained on all words of up to ten
bits it sits on a plateau, and then, within some twenty epochs, loss, error on long words and the number of its states fall
together: hidden states merge into a finite automaton, which Hopcroft's algorithm reduces to parity (van Rossem and Saxe, 2025).
Set-up of the authors' code: one layer, 100 units, biases 0 at first, Xavier-normal weights of gain 0.1, first state all ones,
mean squared error, SGD at 0.02 on batches of one length. Two controls: 30 % of the words, from which nothing is learned beyond
them, and gain 0.7, which generalises while the paper's rule of merging still counts hundreds of states.

A held symbol leaves a piecewise-linear map: parity is kept for ever under 0s if it has two stable fixed points, and under 1s if
it has a stable two-cycle; these are proved. Random words do not ask for it, since they hold no long run of 0s.

What is found: checkpoints of seed 2 at epochs 840 and 880 are right on all of 256 random words of length 50, and forget
that the number of 1s is odd after 67 and 40 zeros; at 800 and 920 both memories are there. With 30 % of the words the tree
of states is still growing when training ends, from 222 at epoch 200 to 1534 at 2000, so that its count depends on where one
stops; an earlier draw of the words gave 2043.

Weights of the five trainings are shipped; ``quick`` trains one of them again through its transition, ``full`` all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from analyses.maps.basins import basins
from analyses.result import Result
from analyses.series.falls import falls
from analyses.symbols.active_learning import LearnedAutomaton, learn_automaton
from analyses.symbols.exact_cycles import exact_cycles
from analyses.symbols.interchange import interchange
from analyses.symbols.replacement import replacement
from analyses.symbols.state_merging import StateMerging, merge_states
from case_studies._grammars import all_words, parity
from case_studies._study import CaseStudy, number_of
from case_studies._train import shipped_weights
from hooks.families import PiecewiseLinear
from hooks.families.recurrent import Layer, stacked
from hooks.symbol_reader import SymbolReader, symbol_reader
from hooks.watch import Watch, quiet
from interp.claims import Claim
from interp.journal import Journal
from interp.progress import meter

UNITS, LONGEST, BATCH, RATE = 100, 10, 128, 0.02
RULE = 0.01  # the paper's eps, of the norm of the states' standard deviation
EVERY = 10  # epochs between checkpoints
MOST_STATES = 64  # of a hypothesis, before learning gives up


@dataclass(frozen=True)
class Recipe:
    """What differs between trainings."""

    seed: int
    gain: float = 0.1
    share: float = 1.0  # of the words up to length 10
    epochs: int = 1000


RECIPES = {
    "seed 0": Recipe(0),
    "seed 1": Recipe(1),
    "seed 2": Recipe(2),
    "gain 0.7": Recipe(0, gain=0.7),
    "30 % of the words": Recipe(0, share=0.3, epochs=2000),
}
SEEDS = ("seed 0", "seed 1", "seed 2")
WIDE, PART = "gain 0.7", "30 % of the words"


@dataclass(frozen=True, eq=False)
class Networks:
    """Networks side by side: h' = relu(W_x[:, symbol] + W_h h + b), read as W_y h + c, from h = 1."""

    W_x: Tensor  # (networks, units, 2)
    W_h: Tensor  # (networks, units, units)
    b: Tensor  # (networks, units)
    W_y: Tensor  # (networks, 2, units)
    c: Tensor  # (networks, 2)

    def scores(self, words: Tensor) -> Tensor:
        """(networks, words, steps) -> after the last symbol, (networks, words, 2)."""
        state = torch.ones(*words.shape[:2], UNITS)
        pushes = self.W_x.mT + self.b[:, None]
        for symbols in words.unbind(2):
            push = pushes.gather(1, symbols[..., None].expand(-1, -1, UNITS))
            state = torch.relu(torch.baddbmm(push, state, self.W_h.mT))
        return torch.baddbmm(self.c[:, None], state, self.W_y.mT)

    def error(self, words: Tensor) -> np.ndarray:
        """Share of words (words, steps) that each network gets wrong."""
        with torch.no_grad():
            said = self.scores(words.expand(len(self.c), -1, -1)).argmax(dim=2)
        return (said != words.sum(dim=1) % 2).double().mean(dim=1).numpy()

    def reader(self, number: int, name: str) -> SymbolReader:
        """One of them."""
        W_x, W_h, b, W_y, c = (weights[number].double() for weights in vars(self).values())
        readout = nn.Linear(UNITS, 2)
        readout.load_state_dict({"weight": W_y, "bias": c})
        dynamics = stacked("relu", [Layer(W_x, W_h, b, torch.zeros_like(b))], readout=readout)
        return symbol_reader(dynamics, start=torch.ones(UNITS), outputs=("even", "odd"))


@dataclass(frozen=True, eq=False)
class Training:
    """Checkpoints, the first before any update."""

    names: tuple[str, ...]
    epochs: tuple[int, ...]
    networks: tuple[Networks, ...]
    losses: np.ndarray  # (checkpoints, networks), of the epoch that ends there

    def readers(self) -> dict[str, SymbolReader]:
        """The networks at the end."""
        return {name: self.networks[-1].reader(number, name) for number, name in enumerate(self.names)}


def begun(recipes: Sequence[Recipe]) -> Networks:
    """Before training: each network is drawn from its own seed."""
    drawn = []
    for recipe in recipes:
        generator = torch.Generator().manual_seed(recipe.seed)
        shapes = ((UNITS, 2), (UNITS, UNITS), (2, UNITS))
        W_x, W_h, W_y = (
            recipe.gain * (2 / sum(shape)) ** 0.5 * torch.randn(shape, generator=generator) for shape in shapes
        )
        drawn.append((W_x, W_h, torch.zeros(UNITS), W_y, torch.zeros(2)))
    return Networks(*(torch.stack(part) for part in zip(*drawn, strict=True)))


def trained(names: Sequence[str], *, epochs: int | None = None, watch: Watch = quiet) -> Training:
    """These networks, which share their words and their number of epochs, trained side by side (some 0.1 s an epoch for four).

    Each shuffles the words from its own seed, so that none depends on which others are beside it, beyond rounding.
    """
    recipes = [RECIPES[name] for name in names]
    words = training_words(recipes[0])
    total = recipes[0].epochs if epochs is None else epochs
    kept, at, losses = [], [], []
    for epoch, networks, loss in watch(_epochs(begun(recipes), recipes, words, total), total + 1):
        if epoch % EVERY == 0 or epoch == total:
            kept.append(Networks(*(weights.detach().clone() for weights in vars(networks).values())))
            at.append(epoch)
            losses.append(loss.numpy())
    return Training(tuple(names), tuple(at), tuple(kept), np.array(losses))


def training_words(recipe: Recipe) -> list[Tensor]:
    """(words, steps) of each length from 1 to 10, the share of them that is trained on drawn from the seed."""
    every = [torch.as_tensor(all_words(length)) for length in range(1, LONGEST + 1)]
    count = sum(map(len, every))
    order = torch.randperm(count, generator=torch.Generator().manual_seed(recipe.seed))
    chosen = torch.zeros(count, dtype=torch.bool)
    chosen[order[: round(recipe.share * count)]] = True
    parts = chosen.split([len(words) for words in every])
    return [words[part] for words, part in zip(every, parts, strict=True) if part.any()]


def _epochs(
    networks: Networks, recipes: Sequence[Recipe], data: list[Tensor], total: int
) -> Iterator[tuple[int, Networks, Tensor]]:
    weights = [part.requires_grad_() for part in vars(networks).values()]
    rates = (RATE, RATE, 2 * RATE, RATE, RATE)  # torch.nn.RNN has two biases, which move alike
    generators = [torch.Generator().manual_seed(100 + recipe.seed) for recipe in recipes]
    targets, count = torch.eye(2), sum(map(len, data))
    for epoch in range(total + 1):
        loss = torch.zeros(len(recipes))
        for words in data:
            order = torch.stack([torch.randperm(len(words), generator=generator) for generator in generators])
            for rows in order.split(BATCH, dim=1):
                batch = words[rows]
                errors = ((networks.scores(batch) - targets[batch.sum(dim=2) % 2]) ** 2).mean(dim=(1, 2))
                loss += errors.detach() * rows.shape[1] / count
                if epoch:
                    slopes = torch.autograd.grad(errors.sum(), weights)
                    with torch.no_grad():
                        for part, slope, rate in zip(weights, slopes, rates, strict=True):
                            part -= rate * slope
        yield epoch, networks, loss


def shipped() -> dict[str, SymbolReader]:
    """The networks of the weights beside this file, which ``trained`` made."""
    readers = {}
    for name, recipe in RECIPES.items():
        file = "streaming_parity" if recipe == Recipe(recipe.seed) else "streaming_parity_controls"
        kept = shipped_weights(file)
        parts = {part: kept[f"{name}.{part}"][None] for part in ("W_x", "W_h", "b", "W_y", "c")}
        readers[name] = Networks(**parts).reader(0, name)
    return readers


@dataclass(frozen=True, eq=False)
class Specimen:
    readers: Mapping[str, SymbolReader]
    trainings: tuple[Training, ...]  # whose curves are shown
    longest: int  # of the words whose states are merged
    tests: Mapping[int, int]  # length -> words
    note: str  # what titles end with where claims are not judged


def prepare(
    *, names: tuple[str, ...], trainings: tuple[tuple[str, ...], ...], epochs: int, longest: int, tests: Any, note: str
) -> Specimen:
    """The shipped networks of these names, and each group in ``trainings`` trained for so many epochs.

    With 0 epochs, a training takes as many as its recipe says, and its networks are examined in place of the shipped ones.
    """
    done = tuple(
        trained(group, epochs=epochs or None, watch=meter(f"training {', '.join(group)}")) for group in trainings
    )
    kept = shipped()
    readers = {name: kept[name] for name in names}
    for training in done:
        readers |= {} if epochs else training.readers()
    return Specimen(readers, done, longest, dict(tests), note)


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """Curves of the trainings; states, long words and exchanged states of each network; held symbols of the three seeds."""
    sentences = []
    for training in specimen.trainings:
        for number, name in enumerate(training.names):
            found = journal.note(
                f"falls in training, {name}{specimen.note}",
                falls,
                _curves(training, number, specimen.longest),
                at=training.epochs[1:],
                names=("loss", "error at length 50", "states"),
            )
            sentences.append(f"Training, {name}: {found.summary()}.")
    for name, reader in specimen.readers.items():
        end = f"{name}{specimen.note}"
        merged = journal.note(f"states, {end}", merge_states, reader, specimen.longest)
        same = merged.machine.minimal().isomorphic_to(parity())
        verdict = "parity's machine" if same else "not parity's machine"
        sentences.append(f"{name}: {verdict}: {merged.summary()}; {_at_rule(merged)} states at eps {RULE}.")
        learned = journal.note(f"learned, {end}", learn_automaton, reader, length=50, most_states=MOST_STATES)
        sentences.append(f"{name}, asked: {learned.summary()}.")
        for length, count in specimen.tests.items():
            words = np.random.default_rng(length).integers(2, size=(count, length))
            right = parity().says(words)
            right[:, : LONGEST + 1] = -1  # only places beyond the words trained on
            journal.note(
                f"length {length}, {end}", replacement, reader, words, right, {"parity": parity()}, partitions=19,
                edits=3, resamples=99,
            )  # fmt: skip
        swapped = journal.note(f"exchanged states, {end}", interchange, reader, parity())
        sentences.append(f"{name}: {swapped.summary()}.")
        if name in SEEDS:
            sentences += [f"{name}: {_held(journal, reader, symbol, end)}." for symbol in (0, 1)]
    return tuple(sentences)


def _curves(training: Training, number: int, longest: int) -> np.ndarray:
    """(3, checkpoints - 1) loss, error on 256 words of length 50, and states by the paper's rule.

    The checkpoint before the first update is left out: the loss there is twice that of the plateau.
    """
    words = torch.randint(2, (256, 50), generator=torch.Generator().manual_seed(50))
    after = training.networks[1:]
    states = [
        merge_states(networks.reader(number, ""), longest, thresholds=(RULE,), draws=0).counts[0]
        for networks in meter(f"states, {training.names[number]}")(iter(after), len(after))
    ]
    errors = [networks.error(words)[number] for networks in after]
    return np.array([training.losses[1:, number], errors, states])


def _held(journal: Journal, reader: SymbolReader, symbol: int, end: str) -> str:
    """Where visited states go under one symbol, and what of it is proved, in the coordinates u of h = relu(u)."""
    assert reader.dynamics is not None
    weights = {name: torch.as_tensor(reader.dynamics.weights[f"layers.0.{name}"]) for name in ("W_x", "W_h", "b_x")}
    push = weights["W_x"][:, symbol] + weights["b_x"]
    network = PiecewiseLinear(torch.zeros(UNITS, dtype=push.dtype), weights["W_h"], push, UNITS)
    words = np.random.default_rng(0).integers(2, size=(128, 30))
    visited = torch.tensor(reader.read(words).states[:, -1]) @ weights["W_h"].T + push
    ends = journal.note(f"where visited states go, {symbol} held, {end}", basins, network.dynamics(), visited)
    rests = [attractor for attractor, period in enumerate(ends.periods) if period]
    signs = [network.regions(torch.tensor(ends.orbit(attractor))).numpy() for attractor in rests]
    proved = journal.note(f"cycles, {symbol} held, {end}", exact_cycles, network, words=signs)
    return f"under {symbol} held, {ends.summary()}; {proved.summary()}"


def _at_rule(merged: StateMerging) -> int:
    """States at the paper's eps."""
    return int(merged.counts[np.abs(np.log(merged.thresholds / RULE)).argmin()])


def _over(
    title: str, read: Callable[[Any], float], worst: Callable[..., float]
) -> Callable[[Mapping[str, Result]], float]:
    """Over the three seeds; a KeyError where one of them is missing."""
    return lambda results: float(worst([read(results[f"{title}, {name}"]) for name in SEEDS]))


def _rests(period: int) -> Callable[[Any], float]:
    """How many stable cycles of this period are proved."""
    return lambda found: float((found.stable & found.proved & (found.periods == period)).sum())


def _is_parity(found: StateMerging | LearnedAutomaton) -> float:
    return float(found.found and found.machine.minimal().isomorphic_to(parity()))


PAPER = "van Rossem and Saxe 2025, figure of streaming parity"
AGAIN = "trained again from the authors' settings before this study"
EXACT, COUNT = "exactly", "a count"

study = CaseStudy(
    title="Streaming parity: a network becomes a finite automaton",
    citation="van Rossem and Saxe, Algorithm development in neural networks: insights from the streaming parity task, "
    "ICML 2025; code: loekvanrossem/rnn_structure",
    question="When a network begins to generalise to words of every length, has it become a machine of two states?",
    prepare=prepare,
    examine=examine,
    claims=(
        Claim("three seeds: least share right at length 10 000", 1, PAPER, 0, EXACT,
              _over("length 10000", lambda found: found.network, min)),
        Claim("three seeds: share whose machine is parity's, of two states", 1, f"{PAPER}: Hopcroft gives two", 0, EXACT,
              _over("states", _is_parity, np.mean)),
        Claim("three seeds: share of which questions end with parity's machine", 1, "nothing refutes it", 0, EXACT,
              _over("learned", _is_parity, np.mean)),
        Claim("three seeds: fewest states by the paper's rule", 32, f"{AGAIN}: 27 to 37", 10, "twice the range seen",
              _over("states", _at_rule, min)),
        Claim("three seeds: most states by the paper's rule", 32, f"{AGAIN}: 27 to 37", 10, "twice the range seen",
              _over("states", _at_rule, max)),
        Claim("three seeds: least interchange accuracy", 1, "states of a class are the same to the network", 0.01,
              "at least 0.99", _over("exchanged states", lambda found: found.accuracy, min)),
        Claim("three seeds: random partitions above chance, largest mean", 0, "no meaning", 0.05, "at most 0.05",
              _over("exchanged states", lambda found: np.mean(found.nulls[0].draws) - found.chance, max)),
        Claim("three seeds: fewest stable fixed points proved, 0 held", 2, "parity must stay under 0s", 0, COUNT,
              _over("cycles, 0 held", _rests(1), min)),
        Claim("three seeds: fewest stable two-cycles proved, 1 held", 1, "parity must alternate under 1s", 0, COUNT,
              _over("cycles, 1 held", _rests(2), min)),
        Claim("seed 0: epoch at which the number of states is halfway down", 550, f"{AGAIN}: 500 to 600", 50, "the range seen",
              number_of("falls in training, seed 0", lambda found: found.middles[2])),
        Claim("seed 0: epochs between the falls of loss, error and states", 0, f"{PAPER}: they fall together", 20,
              "the transition takes some 20 epochs", number_of("falls in training, seed 0", lambda found: found.spread)),
        Claim("three seeds: most epochs between these falls", 0, f"{PAPER}: they fall together", 20,
              "the transition takes some 20 epochs", _over("falls in training", lambda found: found.spread, max)),
        Claim("30 % of the words: share right at length 50", 0.5, f"{AGAIN}: 0.51", 0.06, "chance, and what short words leave",
              number_of(f"length 50, {PART}", lambda found: found.network)),
        Claim("30 % of the words: states by the paper's rule, of 2047 words", 2043, AGAIN, 20, "one in a hundred",
              number_of(f"states, {PART}", _at_rule)),
        Claim("30 % of the words: parity's machine found", 0, "no automaton", 0, "1 for yes",
              number_of(f"states, {PART}", _is_parity)),
        Claim("30 % of the words: questions end with a machine", 0, "no automaton", 0, "1 for yes",
              number_of(f"learned, {PART}", lambda found: found.found)),
        Claim("gain 0.7: share right at length 10 000", 1, AGAIN, 0, EXACT,
              number_of(f"length 10000, {WIDE}", lambda found: found.network)),
        Claim("gain 0.7: states by the paper's rule", 840, f"{AGAIN}: 785 to 900", 200, "the rule sees no automaton",
              number_of(f"states, {WIDE}", _at_rule)),
        Claim("gain 0.7: parity's machine found over some range of eps", 1, "it generalises, so its states must merge", 0,
              "1 for yes", number_of(f"states, {WIDE}", _is_parity)),
    ),
    scales={
        "tiny": {"names": ("seed 0",), "trainings": (("seed 0",),), "epochs": 3, "longest": 6, "tests": ((50, 16),),
                 "note": ", small"},
        "quick": {"names": tuple(RECIPES), "trainings": (("seed 0",),), "epochs": 620, "longest": LONGEST,
                  "tests": ((50, 512), (1000, 64), (10_000, 16)), "note": ""},
        "full": {"names": tuple(RECIPES), "trainings": ((*SEEDS, WIDE), (PART,)), "epochs": 0, "longest": LONGEST,
                 "tests": ((50, 512), (1000, 64), (10_000, 16)), "note": ""},
    },
)  # fmt: skip
