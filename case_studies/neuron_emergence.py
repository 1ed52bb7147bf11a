"""Does a "degree of emergence" read from weights see what a network learned, or how large its weights are?

Xiao et al. (ICLR 2025, arXiv 2402.09099) measure the multifractal spectrum of weights around units, see its peak move left and
its width grow in training, and call the product emergence. Here a one-layer transformer learns to add modulo a prime, the
network of Nanda et al. (ICLR 2023) in its smallest faithful size: it memorises first and generalises some thousand updates
later, so that what is learned, and when, is known. Beside it stand the same network on labels in random order, which can only
be memorised; its weights shuffled within each matrix; and the network at the start with every weight doubled.

What is found: emergence as published falls below 0 in the network that generalises, whose weights the decay has made small, and
rises in the one that memorises. Free of scale both differ from their shuffles, and by much the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from analyses.result import Result
from analyses.weights.neuron_multifractal import neuron_multifractal
from case_studies._study import CaseStudy, number_of
from hooks.connections import Connection, connections
from interp.claims import Claim
from interp.journal import Journal
from interp.progress import meter

HEADS = 4
SHARE = 0.6  # of all pairs, trained on: with half of them so small a network generalises much later


class Block(nn.Module):
    """Attention and a rectified layer, without normalisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, HEADS, bias=False, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, stream: Tensor) -> Tensor:
        """(batch, steps, width) -> (batch, width), the last position alone."""
        here = stream[:, -1:]
        here = here + self.self_attn(here, stream, stream, need_weights=False)[0]
        return (here + self.linear2(self.linear1(here).relu()))[:, 0]


class Adder(nn.Module):
    """Scores of a + b modulo the prime from the tokens a, b and "="."""

    def __init__(self, prime: int, width: int) -> None:
        super().__init__()
        self.embed, self.unembed = nn.Embedding(prime + 1, width), nn.Linear(width, prime, bias=False)
        self.position = nn.Parameter(torch.empty(3, width))
        self.layers = nn.ModuleList([Block(width)])
        for weights in self.parameters():
            if weights.ndim == 2:
                nn.init.normal_(weights, std=1 / math.sqrt(width))

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, 3) -> (batch, prime)."""
        return self.unembed(self.layers[0](self.embed(tokens) + self.position))


@dataclass(frozen=True, eq=False)
class Training:
    """Checkpoints of one training, and how well each does."""

    checkpoints: tuple[tuple[Connection, ...], ...]
    updates: tuple[int, ...]
    fitted: tuple[float, ...]  # share of the pairs trained on that are right
    held: tuple[float, ...]  # of the others

    def __str__(self) -> str:
        right = f"{self.fitted[-1]:.0%} of the trained pairs and {self.held[-1]:.0%} of the others"
        return f"{right} after {self.updates[-1]} updates"


@dataclass(frozen=True, eq=False)
class Specimen:
    adds: Training
    memorises: Training
    samples: int
    draws: int
    judged: bool


def prepare(*, prime: int, width: int, updates: int, samples: int, draws: int, judged: bool) -> Specimen:
    """Both networks, trained from one start on the same pairs."""
    pairs = torch.cartesian_prod(torch.arange(prime), torch.arange(prime))
    tokens = torch.cat([pairs, torch.full((len(pairs), 1), prime)], dim=1)
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(pairs), generator=generator)
    sums = pairs.sum(1) % prime
    random = sums[torch.randperm(len(pairs), generator=generator)]
    split = int(SHARE * len(pairs))
    adds, memorises = (
        _trained(prime, width, tokens[order], labels[order], split, updates, name)
        for labels, name in ((sums, "training on sums"), (random, "training on random labels"))
    )
    return Specimen(adds, memorises, samples, draws, judged)


def _trained(prime: int, width: int, tokens: Tensor, labels: Tensor, split: int, updates: int, name: str) -> Training:
    """AdamW on all pairs at once with the weight decay of 1 that makes the network generalise; loss in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Adder(prime, width)
    kept = sorted({0, updates, *(2**i for i in range(updates.bit_length() - 1))})
    rows = []
    for update in meter(name)(_updates(network, tokens[:split], labels[:split], updates), updates + 1):
        if update in kept:
            with torch.no_grad():
                right = (network(tokens).argmax(1) == labels).double()
            rows.append((connections(network), update, float(right[:split].mean()), float(right[split:].mean())))
    return Training(*zip(*rows, strict=True))


def _updates(network: nn.Module, tokens: Tensor, labels: Tensor, updates: int) -> Iterator[int]:
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=1.0)
    warm = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda update: min(1.0, (update + 1) / 10))
    yield 0
    for update in range(1, updates + 1):
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(tokens).double(), labels).backward()
        optimiser.step()
        warm.step()
        yield update


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """The spectrum of both trainings as published and free of scale, of boxes in the graph, and of doubled weights."""
    judged = "" if specimen.judged else ", too short to judge"
    options: dict[str, Any] = {"resamplings": specimen.samples, "draws": specimen.draws}
    first = specimen.adds.checkpoints[0]
    doubled = [Connection(join.source, join.target, 2 * join.weight) for join in first]
    twice = journal.note(
        f"every weight of the network at the start doubled{judged}", neuron_multifractal, [first, doubled], **options
    )
    for training, name in ((specimen.adds, "sums"), (specimen.memorises, "random labels")):
        for form in ("released", "normalised"):
            journal.note(
                f"trained on {name}, {form} form{judged}",
                neuron_multifractal,
                training.checkpoints,
                form=form,
                **options,
            )
    ends = [specimen.adds.checkpoints[0], specimen.adds.checkpoints[-1]]
    journal.note(
        f"trained on sums, distance form{judged}",
        neuron_multifractal, ends, form="distance", resamplings=min(4, specimen.samples), draws=specimen.draws,
    )  # fmt: skip
    return (
        f"Trained on sums the network has {specimen.adds}; trained on random labels, {specimen.memorises}.",
        f"Doubling every weight of the untrained network, which changes no structure, gives an emergence of "
        f"{twice.emergence[-1]:.3g}.",
    )


def _kept(results: Mapping[str, Result]) -> float:
    """Share of the released emergence that shuffled weights have."""
    found: Any = results["trained on sums, released form"]
    return float(np.median(found.nulls[0].draws) / found.emergence[-1])


def _beyond_memory(results: Mapping[str, Result]) -> float:
    """Sign of the emergence of the network that generalises less that of the one that can only memorise."""
    sums, labels = (
        number_of(f"trained on {name}, released form", lambda found: found.emergence[-1])(results)
        for name in ("sums", "random labels")
    )
    return float(np.sign(sums - labels))


PAPER = "Xiao et al., arXiv 2402.09099, as the released code computes it"

study = CaseStudy(
    title="Emergence from weights: what was learned, or how large the weights are?",
    citation="Xiao, Zhang, Bogdan et al., Neuron-based Multifractal Analysis of Neuron Interaction Dynamics in Large Models, "
    "ICLR 2025, arXiv 2402.09099; the network: Nanda et al., ICLR 2023, arXiv 2301.05217",
    question="Does the degree of emergence exceed what the same weights in random places give, and does it tell a network "
    "that generalises from one that memorises?",
    prepare=prepare,
    examine=examine,
    claims=(
        Claim("emergence after training, released form: its sign", 1, f"{PAPER}: E rises", 0, "a sign",
              number_of("trained on sums, released form", lambda found: np.sign(found.emergence[-1]))),
        Claim("share of it that shuffled weights keep", 0, "E is read as a sign of structure", 0.5,
              "half or more would be size, not structure", _kept),
        Claim("emergence of a network whose weights were doubled", 0, "no structure was added", 0.05,
              "a twentieth of the published values near 1",
              number_of("every weight of the network at the start doubled", lambda found: found.emergence[-1])),
        Claim("emergence less that of the network that can only memorise, released form: its sign", 1,
              "what generalises emerged", 0, "a sign", _beyond_memory),
        Claim("nulls beaten, normalised form", 4, "structure beyond each matrix's spread", 0, "all four, at p = 0.05 each",
              number_of("trained on sums, normalised form", lambda found: sum(null.beaten for null in found.nulls))),
        Claim("nulls beaten by the network that can only memorise, normalised form", 0, "it learned nothing to generalise", 0,
              "none", number_of("trained on random labels, normalised form",
                                lambda found: sum(null.beaten for null in found.nulls))),
    ),
    scales={
        "tiny": {"prime": 7, "width": 32, "updates": 32, "samples": 2, "draws": 3, "judged": False},
        "quick": {"prime": 31, "width": 64, "updates": 4000, "samples": 10, "draws": 39, "judged": True},
        "full": {"prime": 113, "width": 128, "updates": 14_000, "samples": 10, "draws": 99, "judged": True},
    },
)  # fmt: skip
