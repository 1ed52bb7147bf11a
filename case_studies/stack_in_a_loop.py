"""A language model run on its own output: does iterating the whole stack converge, and is it the training that makes it?

Fumero, Moschella, Rodola and Locatello (ICLR 2026) iterate all layers of Qwen3-0.6B and SmolLM2 three hundred times from the
embeddings of a thousand texts and report that residuals shrink and norms stay bounded. No such model is trained to be run so.
Here the small GPT that reads Python's library, its whole stream at once: the blocks do not know the text, so all texts of one
length are starts of one map, and "does it converge" becomes "what does the map keep of a text".

Two readings of one iteration are told apart. Where the final norm is part of it, every output has about the same size, so that
bounded norms are the norm's doing and say nothing. Without it each block adds to the stream an amount that depends on the
stream's direction alone (pre-norm), so that steps tend to one length and the stream grows with the number of iterations; the
step over the norm shrinks as one over that number, without converging. Networks of random weights, and of the trained weights
in random places, say what is the architecture's. Three texts and one random twin were looked at before the claims were written.

What is found at quick scale: with the final norm every text and every noise ends on one and the same fixed point, by the
paper's rule within 57 iterations, so the map keeps nothing of a text. Networks of random weights do not get there in 300, but
those with the trained weights in random places do: convergence comes with the weights' size, not with what training arranged,
and that claim differs. Without the final norm nothing converges; a step has the same length after 150 and 300 iterations.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analyses.maps.loop_attractors import LoopAttractors, loop_attractors
from analyses.result import Result
from case_studies._ngram import library_source
from case_studies._small_gpt import as_bytes, shipped
from case_studies._study import CaseStudy, number_of
from hooks.dynamics import Dynamics, digest
from hooks.families import iterated_stack
from hooks.families.residual import residual
from hooks.stack import Stack, record_stream, stack_of
from hooks.twin import random_twin, scrambled_twin
from interp.claims import Claim
from interp.journal import Journal

ITERATIONS = 300
TOLERANCE = 1e-5  # of the paper's rule on foundation models: squared length of a step


@dataclass(frozen=True, eq=False)
class Specimen:
    """The trained network, texts (texts, tokens) of one length, and how many twins of each kind."""

    model: Any
    texts: np.ndarray
    twins: int
    iterations: int


def prepare(*, texts: int, tokens: int, twins: int, iterations: int) -> Specimen:
    """The shipped network and spans of modules that it has not seen."""
    _, held_out = library_source(least=1140)
    rng, rows = np.random.default_rng(0), [as_bytes(text) for text in held_out]
    spans = []
    for number in range(texts):
        row = rows[number % len(rows)]
        start = int(rng.integers(len(row) - tokens))
        spans.append(row[start : start + tokens])
    return Specimen(shipped(), np.stack(spans), twins, iterations)


def looped(model: Any, texts: np.ndarray, *, normed: bool) -> tuple[Dynamics, np.ndarray]:
    """All blocks as one map of the whole stream, with the final norm or without, and the embeddings of the texts."""
    stack = stack_of(model)
    bare = iterated_stack(residual(stack, texts[0], dtype=torch.float64), len(stack.blocks))
    starts = _embedded(stack, texts)
    if not normed:
        return bare, starts
    norm = copy.deepcopy(model.transformer.ln_f).double()

    def step(states: Tensor, _: Any) -> Tensor:
        return norm(bare.step(states, None).unflatten(1, (-1, stack.width))).flatten(1)

    name = f"{bare.name}, then the final norm"
    return replace(bare, step=step, name=name, fingerprint=digest(bare.fingerprint, *norm.parameters())), starts


def _embedded(stack: Stack, texts: np.ndarray) -> np.ndarray:
    """(texts, steps x width) of the stream before the first block."""
    first = record_stream(stack, texts).states[:, 0]
    return first.reshape(len(texts), -1)


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """Where texts and noise end, with the final norm and without, in the trained network and its twins."""
    sentences = []
    for name, model in _networks(specimen):
        last = specimen.iterations
        runs = [("with the final norm", last), ("without it", last // 2), ("without it", last)]
        for kind, steps in runs if name == "trained" else runs[:1]:
            dynamics, starts = looped(model, specimen.texts, normed=kind == "with the final norm")
            noise = np.random.default_rng(0).standard_normal(starts.shape) * starts.std()
            title = f"{name}, {kind}, {steps} iterations"
            found = journal.note(
                title, loop_attractors, dynamics, starts, noise=noise, steps=steps, tolerance=TOLERANCE
            )
            sentences.append(f"{title[:1].upper()}{title[1:]}. {_settled(found)} {found.summary()}.")
    return tuple(sentences)


def _networks(specimen: Specimen) -> Iterator[tuple[str, Any]]:
    yield "trained", specimen.model
    for seed in range(specimen.twins):
        yield f"random twin {seed}", random_twin(specimen.model, seed=seed)
        yield f"scrambled twin {seed}", scrambled_twin(specimen.model, seed=seed)


def _settled(found: LoopAttractors) -> str:
    """How many texts the published rule calls converged."""
    of_texts = found.stopped[found.from_noise == 0]
    return f"By the published rule {int((of_texts >= 0).sum())} of {len(of_texts)} texts converged."


def _ruled(found: Any) -> float:
    """Share of the texts that the published rule calls converged."""
    return float((found.stopped[found.from_noise == 0] >= 0).mean())


def _twins(kind: str, read: Callable[[Any], float]) -> Callable[[Mapping[str, Result]], float]:
    """Mean over the twins of one kind; a KeyError where none was run so long."""

    def measure(results: Mapping[str, Result]) -> float:
        last = f", with the final norm, {ITERATIONS} iterations"
        found = [one for title, one in results.items() if title.startswith(f"{kind} twin") and title.endswith(last)]
        if not found:
            raise KeyError(kind)
        return float(np.mean([read(one) for one in found]))

    return measure


def _strides(results: Mapping[str, Result]) -> float:
    """Median length of the last step after all iterations over that half-way."""
    half, whole = (results[f"trained, without it, {steps} iterations"] for steps in (ITERATIONS // 2, ITERATIONS))
    assert isinstance(half, LoopAttractors) and isinstance(whole, LoopAttractors)
    return float(np.median(whole.strides) / np.median(half.strides))


NORMED, BARE = (f"trained, {kind}, {ITERATIONS} iterations" for kind in ("with the final norm", "without it"))
STATED = "the paper's statement on Qwen3-0.6B and SmolLM2: residuals shrink"
TRAINS = "that it converges is the training's"
DERIVED = "pre-norm: what a block adds depends on the stream's direction alone"

study = CaseStudy(
    title="A language model run on its own output",
    citation="Fumero, Moschella, Rodola, Locatello, Navigating the latent space dynamics of neural models, ICLR 2026",
    question="Does a stack that is iterated on its own output converge, on what, and because of what?",
    prepare=prepare,
    examine=examine,
    claims=(
        Claim("with the final norm: share of the texts that converge by the paper's rule", 1, STATED, 0.05, "nearly all",
              number_of(NORMED, _ruled)),
        Claim("with the final norm: share of all starts that end on a fixed point with a residual", 1, STATED, 0.05,
              "nearly all", number_of(NORMED, lambda found: found.shares[0])),
        Claim("without it: share of the texts that converge by the paper's rule", 0, DERIVED, 0, "none",
              number_of(BARE, _ruled)),
        Claim("without it: last step's length over that half-way", 1, DERIVED, 0.2, "steps tend to one length", _strides),
        Claim("random twins with the final norm: share of the texts that converge", 0, TRAINS, 0.25,
              "most do not", _twins("random", _ruled)),
        Claim("scrambled twins with the final norm: share of the texts that converge", 0, TRAINS, 0.25,
              "most do not", _twins("scrambled", _ruled)),
    ),
    scales={
        "tiny": {"texts": 4, "tokens": 3, "twins": 0, "iterations": 20},
        "quick": {"texts": 24, "tokens": 8, "twins": 2, "iterations": ITERATIONS},
        "full": {"texts": 64, "tokens": 16, "twins": 9, "iterations": ITERATIONS},
    },
)  # fmt: skip
