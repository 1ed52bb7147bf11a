"""Coffee automaton: does the apparent complexity of cream stirred into coffee rise and then fall, and only where it interacts?

Aaronson, Carroll and Ouellette (arXiv 1405.6903): a square of cells, its upper half cream. In the interacting automaton
neighbours change places, so that a cell holds one particle; in the control each cream particle walks by itself, and a cell
holds any number. Apparent complexity is the compressed size of what is left after averaging over cells.

Here a sweep pairs all cells along one axis (drawn, as is the offset) and swaps each pair with probability 1/2, where the paper
swaps one drawn pair a step. Walkers step along a drawn axis with probability 1/2, so that both diffuse at 1/8 a sweep, and
the slowest mode of the square decays over 8 (width / pi)^2 sweeps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analyses.result import Result
from analyses.series.complexity import compressed_complexity
from case_studies._study import CaseStudy
from interp.claims import Claim
from interp.journal import Journal

GRAIN = 8
MIXED = 4.0  # decay times of the slowest mode that are run: 2 % of it are left
KINDS = ("interacting", "walkers")
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "three levels": {"levels": 3, "settled": False},
    "seven levels, settled": {"levels": 7, "settled": True},
}


@dataclass(frozen=True, eq=False)
class Specimen:
    """Frames (frames, width, width) of each automaton and width: cream in every cell."""

    frames: Mapping[tuple[str, int], np.ndarray]


def interacting(width: int, times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Frames at these sweeps of the automaton whose neighbours change places."""
    cream = _start(width)
    frames: list[np.ndarray] = []
    for sweep in range(int(times[-1]) + 1):
        if sweep == times[len(frames)]:
            frames.append(cream.copy())
        axis, offset = rng.integers(2, size=2)
        view = cream if axis else cream.T
        pairs = view[:, offset : width - (width - offset) % 2]
        one, other = pairs[:, ::2], pairs[:, 1::2]
        changed = (one ^ other) & rng.integers(0, 2, one.shape, dtype=np.uint8)
        one ^= changed
        other ^= changed
    return np.array(frames, dtype=np.float64)


def walkers(width: int, times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Frames at these sweeps of cream that walks by itself, turned back at the walls."""
    places = np.argwhere(_start(width))
    frames: list[np.ndarray] = []
    everyone = np.arange(len(places))
    for sweep in range(int(times[-1]) + 1):
        if sweep == times[len(frames)]:
            frames.append(np.bincount(places @ [width, 1], minlength=width * width).reshape(width, width))
        draw = rng.integers(0, 8, len(places))  # axis, whether, and which way
        axis = draw & 1
        moved = places[everyone, axis] + ((draw >> 1) & 1) * ((draw >> 2) * 2 - 1)
        places[everyone, axis] = np.clip(moved, 0, width - 1)
    return np.array(frames, dtype=np.float64)


def _start(width: int) -> np.ndarray:
    return np.repeat(np.arange(width) < width // 2, width).reshape(width, width).astype(np.uint8)


def prepare(*, widths: tuple[int, ...], frames: int) -> Specimen:
    """Both automata at these widths from seed 0, at sweeps spaced evenly in the logarithm, the start first."""
    made = {}
    for width in widths:
        last = MIXED * 8 * (width / math.pi) ** 2
        times = np.unique(np.concatenate([[0], np.geomspace(1, last, frames - 1)]).astype(int))
        for kind, run in (("interacting", interacting), ("walkers", walkers)):
            made[kind, width] = run(width, times, np.random.default_rng(0))
    return Specimen(made)


def examine(journal: Journal, specimen: Specimen) -> tuple[str, ...]:
    """Compressed sizes of every run, by both ways of making it coarse."""
    sentences = []
    for (kind, width), frames in specimen.frames.items():
        for name, options in VARIANTS.items():
            found = journal.note(
                _title(kind, width, name), compressed_complexity, frames, grain=GRAIN, span=(0.0, 1.0), **options
            )
            sentences.append(f"{kind}, width {width}, {name}. {found.summary()}.")
    sentences.append(
        "Both automata have the same mean density at every sweep, since exclusion leaves the heat equation of the mean as it "
        "is; they differ in fluctuations, p (1 - p) against p in a cell of mean p. What the size takes from the spreading "
        "front is therefore common to both, and walkers add flicker near the cuts of levels."
    )
    sentences.append(
        "Compressed sizes are some tens of bytes at these widths; what is claimed is counted above that of a constant frame. "
        "One run a width: its spread over seeds is not shown."
    )
    return tuple(sentences)


def _title(kind: str, width: int, variant: str) -> str:
    return f"{kind}, width {width}: {variant}"


def _height(result: Any, frame: int) -> float:
    """Coarse bytes of a frame above a constant."""
    return float(result.coarse[frame] - result.constant[1])


def _at(width: int, variant: str, read: Callable[[Any, Any], float]) -> Callable[[Mapping[str, Result]], float]:
    """Of the interacting automaton and the walkers at a width."""
    return lambda results: read(*(results[_title(kind, width, variant)] for kind in KINDS))


def _growth(variant: str) -> Callable[[Mapping[str, Result]], float]:
    """Exponent of the greatest height by width, over the widths of the full scale."""

    def measure(results: Mapping[str, Result]) -> float:
        found: list[Any] = [results[_title("interacting", width, variant)] for width in WIDTHS]
        return float(np.polyfit(np.log(WIDTHS), np.log([_height(one, one.peak) for one in found]), 1)[0])

    return measure


WIDTHS = (32, 64, 96, 128)
PAPER = "sections 5 and 6, our reading"
PLAIN, SETTLED = VARIANTS

study = CaseStudy(
    title="Coffee automaton: complexity rises and falls",
    citation="Aaronson, Carroll, Ouellette, Quantifying the rise and fall of complexity in closed systems: the coffee "
    "automaton, arXiv 1405.6903, 2014",
    question="Is the average over cells longest to write between order and mixture, and only where cream and coffee interact?",
    prepare=prepare,
    examine=examine,
    claims=tuple(
        claim
        for variant in VARIANTS
        for claim in (
            Claim(f"{variant}: greatest complexity at width 64 between the ends", 1, PAPER, 0, "neither end's frame, 1 for yes",
                  _at(64, variant, lambda one, _: float(0 < one.peak < len(one.coarse) - 1))),
            Claim(f"{variant}: complexity once mixed over its greatest, width 64", 0, PAPER, 0.5, "falls by half at least",
                  _at(64, variant, lambda one, _: _height(one, -1) / _height(one, one.peak))),
            Claim(f"{variant}: greatest of walkers over greatest of the interacting, width 64", 0, PAPER, 0.5,
                  "stays small: half at most",
                  _at(64, variant, lambda one, two: _height(two, two.peak) / _height(one, one.peak))),
            Claim(f"{variant}: exponent of the greatest complexity by width", 1, PAPER, 0.3,
                  "about linear, four widths over a factor of four", _growth(variant)),
        )
    ),
    scales={
        "tiny": {"widths": (32,), "frames": 12},
        "quick": {"widths": (32, 64), "frames": 40},
        "full": {"widths": WIDTHS, "frames": 60},
    },
)  # fmt: skip
