"""Jacobians of blocks: does training make early blocks turn and late ones symmetric, couple them, and funnel what passes?

Fernando and Guitchounts (arXiv 2605.14258) decompose the Jacobians of the blocks of three large language models: early blocks
non-normal and dominated by rotation, late ones near symmetric; products of blocks of low rank; both learned, not architectural.
Aubry, Meng, Sugolov and Papyan (ICLR 2025) find the leading singular vectors of blocks coupled across depth, and that training
makes them so. Here both are asked of a small GPT trained on Python's standard library, at the last token of held-out texts with
its context held as it was (the paper feeds one token alone), beside networks of the same shape with random weights and beside
Gaussian blocks of the same size. Model, data and depth are others than theirs, so their claims are held as yes or no; rotation
and symmetry are measured on the update J - I, since the skip connection's identity is symmetric whatever the block does.

What is found here: training does all four things beyond every twin, but the changes through depth are small, and the funnel is
the work of the first two blocks, which rewrite a small embedding by an update several times its size; the others keep the rank.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analyses.maps.block_spectra import COUPLING, FALL, RISE, block_spectra
from analyses.maps.depth_growth import RANK, depth_growth
from analyses.result import Result
from analyses.trajectories._depth import TWIN
from case_studies._ngram import library_source
from case_studies._small_gpt import as_bytes, shipped, trained, untrained
from case_studies._study import CaseStudy
from hooks.dynamics import Dynamics
from hooks.families.residual import residual
from hooks.stack import record_stream, stack_of
from hooks.trajectory import Trajectory
from interp.claims import Claim
from interp.journal import Journal

FRESH = 2000  # seed of the untrained network that is examined as if it were trained
ENOUGH = 19  # twins, below which rank cannot decide at 5 %
TEXTS = 4  # below which a mean over texts says yes or no by chance


@dataclass(frozen=True, eq=False)
class Specimen:
    """The network, texts it has not seen (texts, tokens), and how many twins and Gaussian draws to hold it against."""

    model: Any
    texts: np.ndarray
    twins: int
    draws: int


def prepare(*, texts: int, tokens: int, twins: int, draws: int, train: bool) -> Specimen:
    """The shipped network, or one trained now, and spans of modules that it has not seen."""
    training, held_out = library_source(least=1140)
    model = trained(training, seed=1)[0] if train else shipped()
    rng = np.random.default_rng(5)
    spans = []
    for number in range(texts):
        row = as_bytes(held_out[number % len(held_out)])
        start = int(rng.integers(len(row) - tokens))
        spans.append(row[start : start + tokens])
    return Specimen(model, np.stack(spans), twins, draws)


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """Spectra and products of the blocks of the trained network and of an untrained one, each beside the same twins."""
    spectra, growths = [], []
    for seed in range(specimen.twins):
        maps, stream = along_depth(untrained(1 + seed), specimen.texts)
        spectra.append(block_spectra(maps, stream, draws=0))
        growths.append(depth_growth(maps, stream, outputs="distribution", draws=0))
    sentences = []
    for about, model in (("trained", specimen.model), ("untrained", untrained(FRESH))):
        maps, stream = along_depth(model, specimen.texts)
        blocks = journal.note(f"{about}: blocks", block_spectra, maps, stream, twins=spectra, draws=specimen.draws)
        growth = journal.note(
            f"{about}: depth", depth_growth, maps, stream,
            outputs="distribution", twins=growths, draws=specimen.draws,
        )  # fmt: skip
        sentences += [f"{about}. {blocks.summary()}.", f"{about}. {growth.summary()}."]
    return tuple(sentences)


def along_depth(model: Any, texts: np.ndarray) -> tuple[Sequence[Dynamics], Trajectory]:
    """Of each text's last token: the map through the blocks, whose readout is the scores of the next byte, and the stream."""
    exact = copy.deepcopy(model).double()
    stack = stack_of(exact)
    maps = [
        replace(
            residual(stack, text, positions=-1), readout=lambda states: exact.lm_head(exact.transformer.ln_f(states))
        )
        for text in texts
    ]
    return maps, record_stream(stack, texts, positions=-1)


def _of(title: str, read: Callable[[Any], float]) -> Callable[[Mapping[str, Result]], float]:
    """A number, or a yes or no, of the result of this title; a KeyError where it saw fewer than ``TEXTS`` texts."""

    def measure(results: Mapping[str, Result]) -> float:
        found: Any = results[title]
        if len(found.bounds) < TEXTS:
            raise KeyError(title)
        return float(read(found))

    return measure


def _learned(title: str, statistic: str, sign: int) -> Callable[[Mapping[str, Result]], float]:
    """1 where a number lies beyond its twins in this direction at 0.05; a KeyError with too few of them."""

    def measure(results: Mapping[str, Result]) -> float:
        found: Any = results[title]
        null = next((one for one in found.nulls if (one.name, one.statistic) == (TWIN, statistic)), None)
        if null is None or len(null.draws) < ENOUGH:
            raise KeyError(statistic)
        return float(null.beaten and sign * (null.observed - np.median(null.draws)) > 0)

    return measure


def _thirds(values: np.ndarray) -> tuple[float, float]:
    third = max(1, values.shape[1] // 3)
    return float(values[:, :third].mean()), float(values[:, -third:].mean())


def _early(found: Any) -> float:
    logs = np.log(found.effective_ranks.mean(axis=0))
    return float((logs[2] - logs[0]) / (logs[-1] - logs[0]))


READING = "arXiv 2605.14258, abstract: our reading, other model and data"
COUPLED = "arXiv 2407.07810, abstract: our reading, other model and data"
YES = "yes or no"
BLOCKS, DEPTH = "trained: blocks", "trained: depth"
FOUND = ((FALL, "blocks", 1), (RISE, "blocks", 1), (COUPLING, "blocks", 1), (RANK, "depth", -1))

study = CaseStudy(
    title="Jacobians of blocks: what does training do to the slopes of a transformer's layers?",
    citation="Fernando, Guitchounts, Dynamics of the transformer residual stream, arXiv 2605.14258, 2026; Aubry, Meng, "
    "Sugolov, Papyan, Transformer block coupling and its correlation with generalization in LLMs, ICLR 2025, arXiv 2407.07810",
    question="Are early blocks turning, late ones symmetric, all coupled, and their product of low rank, and is it learned?",
    prepare=prepare,
    examine=examine,
    claims=(
        Claim("trained: non-normality falls from the first third of blocks to the last", 1, READING, 0, YES,
              _of(BLOCKS, lambda found: found.statistics[FALL] > 0)),
        Claim("trained: the symmetric share rises", 1, READING, 0, YES, _of(BLOCKS, lambda found: found.statistics[RISE] > 0)),
        Claim("trained: the first third of blocks is dominated by rotation (symmetric share below 1/2)", 1, READING, 0, YES,
              _of(BLOCKS, lambda found: _thirds(found.symmetric_shares)[0] < 0.5)),
        Claim("trained: the last third is near symmetric (symmetric share above 3/4)", 1, READING, 0, YES,
              _of(BLOCKS, lambda found: _thirds(found.symmetric_shares)[1] > 0.75)),
        Claim("trained: the effective rank of the product falls at every block", 1, READING, 0, YES,
              _of(DEPTH, lambda found: bool((np.diff(found.effective_ranks.mean(axis=0)) < 0).all()))),
        Claim("trained: share of the fall of ln effective rank that the first two blocks make", 0.2, "2 blocks of 12, were it "
              "gradual", 0.2, "twice that is still gradual", _of(DEPTH, _early)),
        Claim("learned: the fall of non-normality is beyond the twins'", 1, READING, 0, YES, _learned(BLOCKS, FALL, 1)),
        Claim("learned: the rise of the symmetric share is beyond the twins'", 1, READING, 0, YES, _learned(BLOCKS, RISE, 1)),
        Claim("learned: the effective rank is below the twins'", 1, READING, 0, YES, _learned(DEPTH, RANK, -1)),
        Claim("learned: the coupling is beyond the twins'", 1, COUPLED, 0, YES, _learned(BLOCKS, COUPLING, 1)),
        *(Claim(f"null: an untrained network's {statistic} is beyond the twins'", 0, "it is one of them", 0,
                "wrong for one untrained network in forty", _learned(f"untrained: {what}", statistic, sign))
          for statistic, what, sign in FOUND),
    ),
    scales={
        "tiny": {"texts": 1, "tokens": 8, "twins": 1, "draws": 1, "train": False},
        "quick": {"texts": 4, "tokens": 32, "twins": 19, "draws": 39, "train": False},
        "full": {"texts": 32, "tokens": 128, "twins": 39, "draws": 99, "train": True},
    },
)  # fmt: skip
