"""Bilinear state tracking: a recurrence that is linear in its state adds in a group; do its matrices turn by roots of unity?

h' = A_x h, without bias or additive input, is trained to say the product of up to ten elements of a group and tested on 500
(Ebrahimi and Memisevic, 2025). Every matrix should then act on the part of the state that is read as the group does: for
addition modulo m its leading eigenvalues are m-th roots of unity up to one scale. Real diagonal matrices have only the
signs +1 and -1 to offer, so they can tell parity and no other sum; of the permutations of three letters they can tell the
sign, which leaves one answer in three right.

The paper normalises the state in testing alone; here it is normalised in training too, since the loss is else driven to 0
by the growth of the state before the angles are learned, and words of 500 symbols fail. 32 units and 2000 updates stand for
its 256 units and 100 000.

What is found at ``quick``: shares right at length 500 are the paper's, and the diagonal network of S3 is right at one word
in three. Leading eigenvalues of a generator's matrix are 0.002 to 0.003 rad from roots of unity, more than half a state in
500 steps: over random words these errors partly cancel, but under one symbol held they add up, and nothing draws a state
back, as an attractor would. The machine merged modulo 5 has a sixth state, the empty word's, since no training word is
shorter than two symbols.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from analyses.maps.jacobian_spectra import JacobianSpectra, jacobian_spectra
from analyses.symbols.automaton import Automaton
from analyses.symbols.machine_comparison import compare_machines
from analyses.symbols.replacement import Replacement, replacement
from analyses.symbols.state_merging import merge_states
from case_studies._grammars import cyclic, symmetric
from case_studies._study import CaseStudy, number_of
from hooks.families.bilinear import bilinear
from hooks.symbol_reader import SymbolReader, symbol_reader
from hooks.watch import Watch, quiet
from interp.claims import Claim
from interp.journal import Journal
from interp.progress import meter

UNITS, LENGTHS, RUNS, RATE = 32, (2, 10), 64, 3e-3
GROUPS: Mapping[str, Automaton] = {
    "modulo 2": cyclic(2),
    "modulo 3": cyclic(3),
    "modulo 5": cyclic(5),
    "S3": symmetric(3),
}
DEPTHS = {
    "modulo 2": 9,
    "modulo 3": 6,
    "modulo 5": 4,
    "S3": 4,
}  # of the words whose states are merged, about a thousand
TURNS = {"modulo 2": (1, 2), "modulo 3": (1, 3), "modulo 5": (1, 5), "S3": (3, 3)}  # a symbol and its order
KINDS = ("full", "diagonal")
GAINS = {"full": 0.5, "diagonal": 1.0}
TEST = 500
HELD = 3000  # symbols for which a generator is held
LEADING = 0.97  # of the largest modulus: eigenvalues above it carry the state on


@dataclass(frozen=True, eq=False)
class Networks:
    """Networks side by side: h' = A_x h from h = first, read by W_y h; of a diagonal one A holds the diagonals."""

    A: Tensor  # (networks, symbols, units, units) or (networks, symbols, units)
    first: Tensor  # (networks, units)
    W_y: Tensor  # (networks, outputs, units)

    def scores(self, words: Tensor) -> Tensor:
        """(networks, words, steps) -> after the last symbol, of the normalised state, (networks, words, outputs)."""
        state = self.first[:, None].expand(-1, words.shape[1], -1)
        for symbols in words.unbind(2):
            if self.A.ndim == 3:
                state = state * self.A.gather(1, symbols[..., None].expand(-1, -1, UNITS))
            else:
                moved = torch.einsum("nxij,nbj->nbxi", self.A, state)
                state = moved.gather(2, symbols[..., None, None].expand(-1, -1, 1, UNITS))[:, :, 0]
            state = state / state.norm(dim=2, keepdim=True)
        return torch.einsum("nyi,nbi->nby", self.W_y, state)

    def reader(self, number: int, group: Automaton) -> SymbolReader:
        """One of them."""
        A, first, W_y = (weights[number].detach().double() for weights in vars(self).values())
        dynamics = bilinear(torch.diag_embed(A) if A.ndim == 2 else A, W_y=W_y)
        return symbol_reader(dynamics, start=first, symbols=group.symbols, outputs=group.outputs)


def trained(name: str, kind: str, *, updates: int, seeds: Sequence[int], watch: Watch = quiet) -> SymbolReader:
    """Of these seeds, side by side, the one with the smallest loss over the last tenth of training (10 s on one core)."""
    group = GROUPS[name]
    symbols, outputs = len(group.symbols), len(group.outputs)
    drawn = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        scale = GAINS[kind] * (UNITS**-0.5 if kind == "full" else 1.0)
        A = scale * torch.randn(symbols, UNITS, *((UNITS,) if kind == "full" else ()), generator=generator)
        W_y = UNITS**-0.5 * torch.randn(outputs, UNITS, generator=generator)
        drawn.append((A, torch.randn(UNITS, generator=generator), W_y))
    networks = Networks(*(torch.stack(part) for part in zip(*drawn, strict=True)))
    losses = torch.stack(list(watch(_updates(networks, group, updates), updates)))
    return networks.reader(int(losses[-max(1, updates // 10) :].mean(dim=0).argmin()), group)


def _updates(networks: Networks, group: Automaton, updates: int) -> Iterator[Tensor]:
    """Adam on the cross-entropy after the last symbol of words of one length, drawn anew each time: losses by network."""
    generator = torch.Generator().manual_seed(0)
    weights = [part.requires_grad_() for part in vars(networks).values()]
    optimiser = torch.optim.Adam(weights, lr=RATE)
    for _ in range(updates):
        length = int(torch.randint(LENGTHS[0], LENGTHS[1] + 1, (), generator=generator))
        words = torch.randint(len(group.symbols), (len(networks.first), RUNS, length), generator=generator)
        right = torch.as_tensor(group.says(words.flatten(0, 1).numpy())[:, -1])
        optimiser.zero_grad()
        losses = cross_entropy(networks.scores(words).flatten(0, 1), right, reduction="none").reshape(-1, RUNS).mean(1)
        losses.sum().backward()
        optimiser.step()
        yield losses.detach()


@dataclass(frozen=True, eq=False)
class Specimen:
    readers: Mapping[tuple[str, str], SymbolReader]  # by group and kind
    words: int
    note: str  # what titles end with where claims are not judged


def prepare(*, groups: tuple[str, ...], updates: int, seeds: tuple[int, ...], words: int, note: str) -> Specimen:
    """Both kinds for each group, trained here."""
    readers = {
        (name, kind): trained(name, kind, updates=updates, seeds=seeds, watch=meter(f"training {name}, {kind}"))
        for name in groups
        for kind in KINDS
    }
    return Specimen(readers, words, note)


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """Long words for both kinds; of the full one, its machine beside the group's, and a generator's matrix."""
    sentences = []
    for (name, kind), reader in specimen.readers.items():
        group, end = GROUPS[name], f"{name}, {kind}{specimen.note}"
        for length in (LENGTHS[1], TEST):
            words = np.random.default_rng(length).integers(len(group.symbols), size=(specimen.words, length))
            right = np.full((specimen.words, length + 1), -1)
            right[:, -1] = group.says(words)[:, -1]
            found = journal.note(
                f"length {length}, {end}", replacement, reader, words, right, {"group": group}, partitions=19, edits=3,
                resamples=99,
            )  # fmt: skip
            sentences.append(
                f"{name}, {kind}, length {length}: right at {found.network:.1%}, chance {found.chance:.1%}."
            )
        if kind == "full":
            merged = journal.note(f"states, {end}", merge_states, reader, DEPTHS[name])
            same = journal.note(f"machines, {end}", compare_machines, {"group": group, "merging": merged.machine})
            symbol, order = TURNS[name]
            assert reader.dynamics is not None
            matrices = bilinear(torch.as_tensor(reader.dynamics.weights["A"]), normalised=False)
            spectrum = journal.note(
                f"matrix of a generator, {end}", jacobian_spectra, matrices.hold(torch.eye(len(group.symbols))[symbol]),
                np.zeros((1, UNITS)),
            )  # fmt: skip
            sentences.append(f"{name}: {same.summary()}.")
            sentences.append(
                f"{name}: the {len(_leading(spectrum))} leading eigenvalues of the matrix of {group.symbols[symbol]}, of one "
                f"modulus within {1 - LEADING:.0%}, are at most {_off(order)(spectrum):.2g} rad from roots of unity, of order "
                f"{order}; {_held(reader, group, symbol, _off(order)(spectrum) * order / np.pi)}."
            )
    return tuple(sentences)


def _held(reader: SymbolReader, group: Automaton, symbol: int, states: float) -> str:
    """When the network is first wrong under one symbol, beside what an angle of so many half states a symbol predicts."""
    word = np.full((1, HELD), symbol)
    wrong = np.flatnonzero((reader.says_along(word) != group.says(word))[0, 1:])
    first = f"first wrong after {wrong[0] + 1} symbols" if len(wrong) else f"right for all of {HELD} symbols"
    return (
        f"held, it is {first}, and the angle is half a state off after {1 / states:.0f}"
        if states
        else f"held, it is {first}"
    )


def _leading(spectrum: JacobianSpectra) -> np.ndarray:
    """Eigenvalues of nearly the largest modulus."""
    eigenvalues = spectrum.eigenvalues[0]
    return eigenvalues[np.abs(eigenvalues) >= LEADING * np.abs(eigenvalues).max()]


def _off(order: int) -> Callable[[JacobianSpectra], float]:
    """Largest angle between a leading eigenvalue and the nearest root of unity of this order."""

    def read(spectrum: JacobianSpectra) -> float:
        turns = np.angle(_leading(spectrum)) * order / (2 * np.pi)
        return float(np.abs(turns - np.round(turns)).max() * 2 * np.pi / order)

    return read


def _scaled(found: Replacement) -> float:
    """Share right, chance at 0."""
    return float((found.network - found.chance) / (1 - found.chance))


def _same(found: Any) -> float:
    return float(found.same[0, 1])


PAPER = "table of modular addition at length 500, scaled so that chance is 0 (our reading)"
SIMULATES = "full bilinear networks simulate any automaton"
REPRESENTATION = "a representation of the group"
SIXTEENTH = "three standard errors at 512 words, and what chance is estimated by"

study = CaseStudy(
    title="Bilinear state tracking: groups by matrices",
    citation="Ebrahimi and Memisevic, Revisiting bi-linear state transitions in recurrent neural networks, 2025",
    question="Does a recurrence that is linear in its state become the group it tracks, and what can a diagonal one not do?",
    prepare=prepare,
    examine=examine,
    claims=(
        *(
            Claim(f"full, {name}: scaled share right at length 500", 1, PAPER if name != "S3" else SIMULATES, 0.02,
                  "ten words of 512", number_of(f"length {TEST}, {name}, full", _scaled))
            for name in GROUPS
        ),
        *(
            Claim(f"diagonal, {name}: scaled share right at length 500", paper, PAPER, 0.07, SIXTEENTH,
                  number_of(f"length {TEST}, {name}, diagonal", _scaled))
            for name, paper in {"modulo 2": 1, "modulo 3": 0, "modulo 5": 0}.items()
        ),
        Claim("diagonal, S3: share right at length 500", 1 / 3, "real diagonals tell the sign alone", 0.07, SIXTEENTH,
              number_of(f"length {TEST}, S3, diagonal", lambda found: found.network)),
        *(
            Claim(f"full, {name}: the merged machine is the group's", 1, "Cayley graph", 0, "1 for yes",
                  number_of(f"machines, {name}, full", _same))
            for name in GROUPS
        ),
        *(
            Claim(f"full, {name}: largest angle from a root of unity", 0, REPRESENTATION, float(np.pi / TURNS[name][1] / TEST),
                  "half a state in 500 steps", number_of(f"matrix of a generator, {name}, full", _off(TURNS[name][1])))
            for name in GROUPS
        ),
    ),
    scales={
        "tiny": {"groups": ("modulo 2",), "updates": 60, "seeds": (0,), "words": 32, "note": ", small"},
        "quick": {"groups": tuple(GROUPS), "updates": 2000, "seeds": (0, 1, 2), "words": 512, "note": ""},
        "full": {"groups": tuple(GROUPS), "updates": 20_000, "seeds": (0, 1, 2), "words": 2048, "note": ""},
    },
)  # fmt: skip
